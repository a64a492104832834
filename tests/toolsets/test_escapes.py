"""Nothing outside of a workspace is ever read, written, listed, moved or removed.

Everything that could lead out is laid out beside and inside of a workspace, and every operation is tried on it: at rest, with the
world changed before each single system call, and with somebody changing it all the time.
"""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenroom.errors import InvalidArgument
from greenroom.interfaces import ToolContext, ToolError
from greenroom.toolsets import folder
from greenroom.toolsets.contained import Workspace
from greenroom.toolsets.folder import CheckedFolder
from greenroom.toolsets.workspace import WorkspaceTools
from toolsets.calling import call

SECRET = b"the secret"
Snapshot = dict[str, tuple[int, bytes]]
REFUSED = (InvalidArgument, FileNotFoundError, FileExistsError)

descriptors_only = pytest.mark.skipif(not folder.HAS_DESCRIPTORS, reason="without descriptors a race is not promised")


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Durability is another matter, and makes thousands of small worlds slow."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the workspace that looks like one of its own."""
    path = tmp_path / "outside"
    (path / "below").mkdir(parents=True)
    for name in ("file", "victim", "below/file"):
        (path / name).write_bytes(SECRET)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "workspaces" / "session"


@pytest.fixture
def workspace(root: Path) -> Workspace:
    workspace = Workspace(root)
    for path in ("a/file", "a/victim", "a/below/file", "b/file", "file"):
        workspace.write_bytes(path, b"inside")
    return workspace


@pytest.fixture(params=["descriptors", "checked"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "checked":
        monkeypatch.setattr(folder, "HAS_DESCRIPTORS", False)


def snapshot(path: Path) -> Snapshot:
    return {
        str(found.relative_to(path)): (found.lstat().st_mode, b"" if found.is_dir() else found.read_bytes())
        for found in path.rglob("*")
    }


def everything_read(workspace: Workspace) -> Iterator[bytes]:
    for entry in workspace.iter_files():
        yield workspace.read_bytes(entry.path)


OPERATIONS: dict[str, Callable[[Workspace, str], Any]] = {
    "list": lambda workspace, path: workspace.list(path),
    "walk": lambda workspace, path: list(workspace.walk(path)),
    "read": lambda workspace, path: workspace.read_bytes(f"{path}/file"),
    "read it": lambda workspace, path: workspace.read_bytes(path),
    "write": lambda workspace, path: workspace.write_bytes(f"{path}/file", b"written"),
    "write new": lambda workspace, path: workspace.write_bytes(f"{path}/new/file", b"written"),
    "write it": lambda workspace, path: workspace.write_bytes(path, b"written"),
    "append": lambda workspace, path: workspace.append_bytes(f"{path}/file", b"written"),
    "append to it": lambda workspace, path: workspace.append_bytes(path, b"written"),
    "make folder": lambda workspace, path: workspace.make_folder(f"{path}/new/folder"),
    "move out of it": lambda workspace, path: workspace.move(f"{path}/file", "moved"),
    "move into it": lambda workspace, path: workspace.move("b/file", f"{path}/new"),
    "move over": lambda workspace, path: workspace.move("b/file", f"{path}/file", replace=True),
    "move it": lambda workspace, path: workspace.move(path, "moved"),
    "copy out of it": lambda workspace, path: workspace.copy(f"{path}/file", "copied"),
    "copy folder out of it": lambda workspace, path: workspace.copy(f"{path}/below", "copied"),
    "copy into it": lambda workspace, path: workspace.copy("b", f"{path}/new"),
    "copy it": lambda workspace, path: workspace.copy(path, "copied"),
    "remove": lambda workspace, path: workspace.remove(f"{path}/victim"),
    "remove folder": lambda workspace, path: workspace.remove(f"{path}/below", recursive=True),
    "remove it": lambda workspace, path: workspace.remove(path, recursive=True),
    "usage": lambda workspace, _: workspace.usage(),
    "find": lambda workspace, path: workspace.find(f"{path}/file"),
}
ON_THE_ENTRY_ITSELF = {"move it", "remove it", "usage"}
"""What may succeed on a link, since it concerns the link and not what is behind it."""


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("operation", OPERATIONS)
class TestLinks:
    @pytest.mark.parametrize("target", ["absolute folder", "relative folder", "file", "root", "nothing", "itself"])
    def test_a_link_is_never_followed(
        self, workspace: Workspace, root: Path, outside: Path, operation: str, target: str
    ) -> None:
        (root / "link").symlink_to(
            {
                "absolute folder": str(outside),
                "relative folder": "../../outside",
                "file": str(outside / "file"),
                "root": "/",
                "nothing": str(outside / "nothing"),
                "itself": "link",
            }[target]
        )
        before = snapshot(outside)
        if operation in ON_THE_ENTRY_ITSELF:
            OPERATIONS[operation](workspace, "link")
        else:
            with pytest.raises(REFUSED) as refused:
                OPERATIONS[operation](workspace, "link")
            assert str(outside) not in str(refused.value)
        assert snapshot(outside) == before
        assert SECRET not in set(everything_read(workspace))

    def test_a_link_in_the_middle_is_never_followed(
        self, workspace: Workspace, root: Path, outside: Path, operation: str
    ) -> None:
        (root / "link").symlink_to(outside)
        before = snapshot(outside)
        if operation == "usage":
            return
        with pytest.raises(REFUSED):
            OPERATIONS[operation](workspace, "link/below")
        assert snapshot(outside) == before

    def test_a_root_that_is_a_link_is_refused(
        self, workspace: Workspace, root: Path, outside: Path, operation: str
    ) -> None:
        workspace.remove_all()
        root.symlink_to(outside)
        before = snapshot(outside)
        with pytest.raises(REFUSED):
            OPERATIONS[operation](workspace, "below")
        workspace.remove_all()
        assert snapshot(outside) == before
        assert not root.is_symlink()


@pytest.mark.usefixtures("way")
class TestWhatIsShown:
    def test_a_link_is_shown_as_one(self, workspace: Workspace, root: Path, outside: Path) -> None:
        (root / "a" / "link").symlink_to(outside)
        entries = {entry.path: entry.kind for entry in workspace.walk()}
        assert entries["a/link"] == "link"
        assert not [path for path in entries if path.startswith("a/link/")]
        assert workspace.remove("a", recursive=True) is True
        assert snapshot(outside)

    def test_special_files_are_shown_and_never_opened(self, workspace: Workspace, root: Path, outside: Path) -> None:
        os.mkfifo(root / "pipe")
        os.link(outside / "file", root / "hard")
        with socket.socket(socket.AF_UNIX) as listener:
            folder_descriptor = os.open(root, os.O_RDONLY)
            try:
                # A socket's address is short: the folder of a test is not.
                listener.bind(f"/proc/self/fd/{folder_descriptor}/socket")
            finally:
                os.close(folder_descriptor)
        for name in ("pipe", "hard", "socket"):
            entry = workspace.find(name)
            assert entry is not None
            assert entry.kind == "other"
            for act in (
                lambda name=name: workspace.read_bytes(name),
                lambda name=name: workspace.write_bytes(name, b"written"),
                lambda name=name: workspace.append_bytes(name, b"written"),
                lambda name=name: workspace.copy(name, "copied"),
                lambda name=name: workspace.move("file", name, replace=True),
            ):
                with pytest.raises((InvalidArgument, FileExistsError)):
                    act()
            assert workspace.remove(name) is True
        assert (outside / "file").read_bytes() == SECRET

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root makes devices")
    def test_devices_are_never_opened(self, workspace: Workspace, root: Path) -> None:
        os.mknod(root / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        with pytest.raises(InvalidArgument, match="not a regular file"):
            workspace.read_bytes("zero")
        assert {entry.path: entry.kind for entry in workspace.list()}["zero"] == "other"

    def test_names_that_no_path_can_have_are_shown_and_never_touched(self, workspace: Workspace, root: Path) -> None:
        for name in (b"new\nline", b"back\\slash", b"latin-\xe9", b"\x1b[31m"):
            (root / os.fsdecode(name)).write_bytes(b"odd")
        shown = {entry.path for entry in workspace.list() if entry.kind == "other"}
        assert shown == {"new\\nline", "back\\\\slash", "latin-\\udce9", "\\x1b[31m"}
        assert all(path.isprintable() for path in shown)
        assert b"odd" not in set(everything_read(workspace))
        assert workspace.copy_to(Workspace(root.with_name("fork"))) == 4


class _SwapBefore:
    """Runs `swap` before the `number`th system call that has to do with names."""

    CALLS = ("open", "stat", "mkdir", "rename", "unlink", "rmdir", "scandir")

    def __init__(self, swap: Callable[[], None], number: int) -> None:
        self.swap, self.left = swap, number
        self.is_done = False

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if not self.is_done:
                self.left -= 1
                if self.left < 0:
                    self.is_done = True
                    self.swap()
            return function(*args, **kwargs)

        return wrapped

    @contextmanager
    def installed(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in self.CALLS:
                patch.setattr(os, name, self.wrap(getattr(os, name)))
            yield


@descriptors_only
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("swapped", ["a", "a/below", "a/file"])
def test_a_link_that_appears_between_any_two_system_calls(
    root: Path, outside: Path, tmp_path: Path, operation: str, swapped: str
) -> None:
    """The same as a race, but at every point of it, and without luck."""
    before = snapshot(outside)
    number = 0
    while True:
        workspace = Workspace(root)
        workspace.remove_all()
        for path in ("a/file", "a/victim", "a/below/file", "b/file"):
            workspace.write_bytes(path, b"inside")
        aside = tmp_path / f"aside-{number}"

        def swap(aside: Path = aside) -> None:
            place = root / swapped
            with suppress(FileNotFoundError):
                place.rename(aside)
            with suppress(FileExistsError, FileNotFoundError, NotADirectoryError):
                place.symlink_to(outside / swapped.removeprefix("a").lstrip("/"))

        world = _SwapBefore(swap, number)
        result = None
        with world.installed(), suppress(*REFUSED, OSError):
            result = OPERATIONS[operation](workspace, "a")
        assert snapshot(outside) == before, f"swapped before call {number}"
        assert result != SECRET, f"swapped before call {number}"
        assert SECRET not in set(everything_read(workspace)), f"swapped before call {number}"
        if not world.is_done:
            break
        number += 1
    assert number > 0


@descriptors_only
def test_a_folder_that_is_a_link_half_of_the_time(workspace: Workspace, root: Path, outside: Path) -> None:
    (root / "link").symlink_to(outside)
    before = snapshot(outside)
    is_over = threading.Event()

    def swap() -> None:
        place, link, aside = root / "a", root / "link", root / "aside"
        while not is_over.is_set():
            # Any of them may fail because of what the operations do to the same names; the next round repairs it.
            for source, target in ((place, aside), (link, place), (place, link), (aside, place)):
                with suppress(OSError):
                    if source.is_symlink() == (link in {source, target}):
                        source.rename(target)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(60):
            for operation in OPERATIONS.values():
                with suppress(*REFUSED, OSError):
                    assert operation(workspace, "a") != SECRET
            with suppress(*REFUSED, OSError):
                workspace.write_bytes("a/below/file", b"inside")
                workspace.write_bytes("b/file", b"inside")
            for name in ("moved", "copied"):
                with suppress(*REFUSED, OSError):
                    workspace.remove(name, recursive=True)
    finally:
        is_over.set()
        swapper.join()
    assert snapshot(outside) == before
    assert SECRET not in set(everything_read(workspace))


PIECES = st.sampled_from(
    [
        "a",
        "b",
        "file",
        "link",
        "up",
        "..",
        ".",
        "",
        "outside",
        "/",
        "~",
        "below",
        "C:",
        "%2e%2e",
        "..%2f",
        "\0",
        "a\\..\\..",
    ]
)


@pytest.mark.usefixtures("way")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PIECES, min_size=1, max_size=6).map("/".join), st.sampled_from(sorted(OPERATIONS)))
def test_no_path_leads_out(tmp_path: Path, path: str, operation: str) -> None:
    root, outside = tmp_path / "session", tmp_path / "outside"
    workspace = Workspace(root)
    workspace.remove_all()
    (outside / "below").mkdir(parents=True, exist_ok=True)
    for name in ("file", "victim", "below/file"):
        (outside / name).write_bytes(SECRET)
    for name in ("a/file", "b/file"):
        workspace.write_bytes(name, b"inside")
    (root / "link").symlink_to(outside)
    (root / "a" / "up").symlink_to("..")
    before = snapshot(outside)
    with suppress(*REFUSED):
        assert OPERATIONS[operation](workspace, path) != SECRET
    assert snapshot(outside) == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["outside", "session"]
    assert SECRET not in set(everything_read(workspace))


class TestThroughTheTools:
    @pytest.fixture
    def world(self, workspace: Workspace, outside: Path) -> tuple[Workspace, Path]:
        return workspace, outside

    CALLS: tuple[tuple[str, dict[str, str]], ...] = (
        ("list_files", {"path": "PATH"}),
        ("tree", {"path": "PATH"}),
        ("read_file", {"path": "PATH"}),
        ("write_file", {"path": "PATH", "content": "x"}),
        ("append_file", {"path": "PATH", "content": "x"}),
        ("edit_file", {"path": "PATH", "old_text": "secret", "new_text": "x"}),
        ("find_files", {"pattern": "*", "path": "PATH"}),
        ("search_files", {"pattern": "secret", "path": "PATH"}),
        ("move_file", {"source": "PATH", "target": "x"}),
        ("move_file", {"source": "file", "target": "PATH"}),
        ("copy_file", {"source": "PATH", "target": "x"}),
        ("copy_file", {"source": "file", "target": "PATH"}),
        ("delete_file", {"path": "PATH"}),
        ("make_folder", {"path": "PATH"}),
    )

    @pytest.mark.parametrize(
        "path", ["link/file", "link/below", "../../outside/file", "/etc/passwd", "a/../../x", "c:\\x"]
    )
    @pytest.mark.parametrize(("name", "arguments"), CALLS)
    async def test_every_tool_refuses_to_go_out(
        self, context: ToolContext, world: tuple[Workspace, Path], name: str, arguments: dict[str, str], path: str
    ) -> None:
        workspace, outside = world
        assert workspace.root == context.workspace
        (workspace.root / "link").symlink_to(outside)
        before = snapshot(outside)
        given_arguments = {key: path if value == "PATH" else value for key, value in arguments.items()}
        with pytest.raises(ToolError) as refused:
            await call(WorkspaceTools(), name, context, **given_arguments)
        assert "secret" not in str(refused.value)
        assert str(workspace.root) not in str(refused.value)
        assert snapshot(outside) == before


def test_the_checked_way_notices_a_way_that_has_changed(workspace: Workspace, root: Path, outside: Path) -> None:
    with CheckedFolder(root, root / "a" / "below") as opened:
        (root / "a").rename(root / "aside")
        (root / "a").symlink_to(outside)
        for act in (
            opened.names,
            lambda: opened.stat("file"),
            lambda: opened.open_file("file"),
            lambda: opened.create_file("new"),
            lambda: opened.create_folder("new"),
            lambda: opened.remove_file("file"),
            lambda: opened.remove_tree("file"),
            lambda: opened.open_folder("more"),
            lambda: opened.rename("file", opened, "new"),
        ):
            with pytest.raises(NotADirectoryError):
                act()
