"""A workspace in ordinary use, on both ways of holding a folder; `test_escapes.py` is about everything else."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenroom.errors import InvalidArgument, LimitExceeded
from greenroom.limits import PATH_DEPTH_MAX, Limits
from greenroom.toolsets import folder
from greenroom.toolsets.contained import Stopped, Workspace
from greenroom.toolsets.folder import CheckedFolder, DescriptorFolder
from greenroom.toolsets.relative_path import OWN_PREFIX


@pytest.fixture(params=["descriptors", "checked"], autouse=True)
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "checked":
        monkeypatch.setattr(folder, "HAS_DESCRIPTORS", False)
    elif not folder.HAS_DESCRIPTORS:
        pytest.skip("this system has no descriptors relative to folders")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "workspaces" / "session"


@pytest.fixture
def workspace(root: Path, limits: Limits) -> Workspace:
    return Workspace(root, limits=limits)


def contents(workspace: Workspace) -> dict[str, bytes]:
    return {entry.path: workspace.read_bytes(entry.path) for entry in workspace.iter_files()}


def hidden(root: Path) -> list[str]:
    return [path.name for path in root.rglob(f"{OWN_PREFIX}*")]


def test_the_way_is_the_one_that_is_tested(root: Path, request: pytest.FixtureRequest) -> None:
    root.mkdir(parents=True)
    with folder.open_folder(root) as opened:
        wanted = CheckedFolder if "checked" in request.node.name else DescriptorFolder
        assert isinstance(opened, wanted)


class TestBeforeTheFirstChange:
    def test_nothing_is_there_and_nothing_is_made(self, workspace: Workspace, root: Path, tmp_path: Path) -> None:
        assert workspace.list() == []
        assert list(workspace.walk()) == []
        assert list(workspace.iter_files()) == []
        assert workspace.usage().entries == 0
        assert workspace.find("a") is None
        assert workspace.remove("a") is False
        with pytest.raises(FileNotFoundError, match=r"^a/b does not exist$"):
            workspace.read_bytes("a/b")
        with pytest.raises(FileNotFoundError):
            workspace.list("a")
        workspace.remove_all()
        assert not root.parent.exists()
        assert list(tmp_path.iterdir()) == []

    def test_the_first_change_makes_it_for_us_alone(self, workspace: Workspace, root: Path) -> None:
        workspace.write_bytes("a/b.txt", b"x")
        for path in (root, root.parent, root / "a"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert stat.S_IMODE((root / "a" / "b.txt").stat().st_mode) == 0o600


class TestFiles:
    def test_written_read_replaced_and_removed(self, workspace: Workspace) -> None:
        assert workspace.write_bytes("notes/plan.md", b"one") is False
        assert workspace.read_bytes("notes/plan.md") == b"one"
        assert workspace.write_bytes("./notes//plan.md", b"two") is True
        assert workspace.read_bytes("notes/plan.md") == b"two"
        entry = workspace.find("notes/plan.md")
        assert entry is not None
        assert (entry.path, entry.kind, entry.size_bytes) == ("notes/plan.md", "file", 3)
        assert abs(entry.modified_at_ms / 1000 - time.time()) < 60
        assert workspace.remove("notes/plan.md") is True
        assert workspace.remove("notes/plan.md") is False
        assert [entry.path for entry in workspace.walk()] == ["notes"]

    def test_appended(self, workspace: Workspace) -> None:
        assert workspace.append_bytes("a/log", b"one\n") == 4
        assert workspace.append_bytes("a/log", b"two\n") == 8
        assert workspace.read_bytes("a/log") == b"one\ntwo\n"

    def test_changed_while_nobody_else_can(self, workspace: Workspace) -> None:
        workspace.write_bytes("a", b"one")
        with workspace.changing("a") as file:
            file.content = file.content.upper()
        assert workspace.read_bytes("a") == b"ONE"

        def give_up() -> None:
            with workspace.changing("a") as file:
                file.content = b"never"
                raise KeyError

        with pytest.raises(KeyError):
            give_up()
        assert workspace.read_bytes("a") == b"ONE"

    def test_permissions_are_kept(self, workspace: Workspace, root: Path) -> None:
        workspace.write_bytes("run.sh", b"one")
        (root / "run.sh").chmod(0o4750)
        workspace.write_bytes("run.sh", b"two")
        assert stat.S_IMODE((root / "run.sh").stat().st_mode) == 0o750
        workspace.copy("run.sh", "copy.sh")
        assert stat.S_IMODE((root / "copy.sh").stat().st_mode) == 0o750

    def test_a_file_that_is_being_read_does_not_change(self, workspace: Workspace, root: Path) -> None:
        workspace.write_bytes("a", b"one")
        with (root / "a").open("rb") as reader:
            workspace.write_bytes("a", b"two")
            assert reader.read() == b"one"

    def test_concurrent_appends_all_arrive(self, root: Path) -> None:
        threads = [
            threading.Thread(target=lambda n=n: Workspace(root).append_bytes("log", f"{n}\n".encode()))
            for n in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(map(int, (root / "log").read_text().split())) == list(range(12))


class TestFolders:
    def test_listed_by_name_folders_before_their_content(self, workspace: Workspace) -> None:
        for path in ("b/2", "b/1", "a", "c/d/e"):
            workspace.write_bytes(path, b"x")
        assert [(entry.path, entry.kind) for entry in workspace.list()] == [
            ("a", "file"),
            ("b", "folder"),
            ("c", "folder"),
        ]
        assert [entry.path for entry in workspace.walk()] == ["a", "b", "b/1", "b/2", "c", "c/d", "c/d/e"]
        assert [entry.path for entry in workspace.walk("c")] == ["c/d", "c/d/e"]
        assert [entry.path for entry in workspace.walk(depth_max=2)] == ["a", "b", "b/1", "b/2", "c", "c/d"]

    def test_made_once(self, workspace: Workspace) -> None:
        assert workspace.make_folder("a/b") is True
        assert workspace.make_folder("a/b") is False
        assert workspace.make_folder("a/b/c") is True
        assert workspace.make_folder("") is False
        workspace.write_bytes("file", b"")
        with pytest.raises(InvalidArgument, match="file exists and is not a folder"):
            workspace.make_folder("file")
        with pytest.raises(InvalidArgument, match="is not a folder"):
            workspace.make_folder("file/below")

    def test_removed_only_with_intent(self, workspace: Workspace, root: Path) -> None:
        workspace.write_bytes("a/b/c", b"x")
        with pytest.raises(InvalidArgument, match=r"a is not empty .*recursive"):
            workspace.remove("a")
        assert contents(workspace) == {"a/b/c": b"x"}
        assert workspace.remove("a", recursive=True) is True
        workspace.make_folder("empty")
        assert workspace.remove("empty") is True
        assert list(root.iterdir()) == []

    @pytest.mark.parametrize("path", ["", ".", "./"])
    def test_the_workspace_itself_is_not_one_of_its_files(self, workspace: Workspace, path: str) -> None:
        workspace.write_bytes("a", b"x")
        for change in (
            lambda: workspace.remove(path, recursive=True),
            lambda: workspace.move(path, "b"),
            lambda: workspace.copy("a", path),
            lambda: workspace.write_bytes(path, b""),
            lambda: workspace.read_bytes(path),
        ):
            with pytest.raises(InvalidArgument, match="is the workspace itself"):
                change()
        entry = workspace.find(path)
        assert entry is not None
        assert entry.kind == "folder"

    def test_a_folder_is_not_a_file(self, workspace: Workspace) -> None:
        workspace.make_folder("a")
        with pytest.raises(InvalidArgument, match="a is a folder, not a file"):
            workspace.read_bytes("a")
        with pytest.raises(InvalidArgument, match="a exists and is a folder, not a file"):
            workspace.write_bytes("a", b"")
        workspace.write_bytes("file", b"")
        with pytest.raises(InvalidArgument, match="is not a folder"):
            workspace.list("file")
        with pytest.raises(InvalidArgument, match="is not a folder"):
            workspace.read_bytes("file/below")


class TestMoves:
    def test_files_and_folders(self, workspace: Workspace) -> None:
        workspace.write_bytes("a/1", b"one")
        workspace.move("a/1", "b/c/2")
        workspace.move("b", "d/e")
        assert contents(workspace) == {"d/e/c/2": b"one"}

    def test_what_is_there_is_replaced_only_with_intent(self, workspace: Workspace) -> None:
        workspace.write_bytes("a", b"a")
        workspace.write_bytes("b", b"b")
        workspace.make_folder("c")
        for target in ("b", "c"):
            with pytest.raises(FileExistsError, match=f"{target} exists already"):
                workspace.move("a", target)
        with pytest.raises(FileExistsError):
            workspace.move("a", "c", replace=True)
        with pytest.raises(FileExistsError):
            workspace.move("c", "b", replace=True)
        workspace.move("a", "b", replace=True)
        assert contents(workspace) == {"b": b"a"}

    @pytest.mark.parametrize("name", ["move", "copy"])
    def test_not_into_itself(self, workspace: Workspace, name: str) -> None:
        workspace.write_bytes("a/b", b"x")
        for target in ("a", "a/b/c", "a/c"):
            with pytest.raises(InvalidArgument, match="which would go there"):
                getattr(workspace, name)("a", target)
        with pytest.raises(FileNotFoundError, match="missing does not exist"):
            getattr(workspace, name)("missing", "b")

    @pytest.mark.parametrize("name", ["move", "copy"])
    def test_not_so_deep_that_it_is_out_of_reach(self, workspace: Workspace, name: str) -> None:
        workspace.write_bytes("a/b/c", b"x")
        deep = "/".join("d" * (PATH_DEPTH_MAX - 2))
        with pytest.raises(InvalidArgument, match="a/b/c would be too deep"):
            getattr(workspace, name)("a", f"{deep}/a")
        assert [entry.path for entry in workspace.walk()] == ["a", "a/b", "a/b/c"]


class TestCopies:
    def test_a_file(self, workspace: Workspace) -> None:
        workspace.write_bytes("a", b"one")
        assert workspace.copy("a", "b/c") == 0
        workspace.write_bytes("a", b"two")
        assert contents(workspace) == {"a": b"two", "b/c": b"one"}
        with pytest.raises(FileExistsError):
            workspace.copy("a", "b/c")
        workspace.copy("a", "b/c", replace=True)
        assert workspace.read_bytes("b/c") == b"two"

    def test_a_folder(self, workspace: Workspace) -> None:
        for path in ("a/1", "a/b/2", "a/b/c/3"):
            workspace.write_bytes(path, path.encode())
        workspace.make_folder("a/empty")
        assert workspace.copy("a", "x/y") == 0
        assert [entry.path for entry in workspace.walk("x/y")] == [
            "x/y/1",
            "x/y/b",
            "x/y/b/2",
            "x/y/b/c",
            "x/y/b/c/3",
            "x/y/empty",
        ]
        assert workspace.read_bytes("x/y/b/c/3") == b"a/b/c/3"

    def test_links_and_special_files_are_left_out_and_counted(self, workspace: Workspace, root: Path) -> None:
        workspace.write_bytes("a/1", b"one")
        (root / "a" / "link").symlink_to("1")
        os.mkfifo(root / "a" / "pipe")
        assert workspace.copy("a", "b") == 2
        assert [entry.path for entry in workspace.walk("b")] == ["b/1"]
        for name in ("link", "pipe"):
            with pytest.raises(InvalidArgument, match="only files and folders are copied"):
                workspace.copy(f"a/{name}", "c")

    def test_a_whole_workspace(self, workspace: Workspace, tmp_path: Path, limits: Limits) -> None:
        for path in ("a/1", "a/b/2"):
            workspace.write_bytes(path, path.encode())
        target = Workspace(tmp_path / "workspaces" / "fork", limits=limits)
        assert workspace.copy_to(target) == 0
        assert contents(target) == contents(workspace)
        target.write_bytes("a/1", b"changed")
        assert workspace.read_bytes("a/1") == b"a/1"
        with pytest.raises(FileExistsError, match="the target workspace is not empty"):
            workspace.copy_to(target)

    def test_an_empty_workspace(self, workspace: Workspace, tmp_path: Path) -> None:
        target = Workspace(tmp_path / "fork")
        assert workspace.copy_to(target) == 0
        assert not target.root.exists()

    def test_more_than_the_target_may_hold(self, workspace: Workspace, tmp_path: Path) -> None:
        workspace.write_bytes("a", b"x" * 1000)
        target = Workspace(tmp_path / "fork", limits=Limits(workspace_bytes_max=999))
        with pytest.raises(LimitExceeded, match="room for 999 bytes"):
            workspace.copy_to(target)
        assert not target.root.exists()


class TestQuotas:
    def test_one_file(self, workspace: Workspace, root: Path, limits: Limits) -> None:
        workspace.write_bytes("a", b"x" * limits.workspace_file_bytes_max)
        for change in (
            lambda: workspace.write_bytes("b", b"x" * (limits.workspace_file_bytes_max + 1)),
            lambda: workspace.append_bytes("a", b"x"),
        ):
            with pytest.raises(LimitExceeded, match=r"would be 10001 bytes \(a file has at most 10000"):
                change()
        (root / "big").write_bytes(b"x" * (limits.workspace_file_bytes_max + 1))
        with pytest.raises(LimitExceeded, match=r"big is too large .files of at most 10000 bytes can be read"):
            workspace.read_bytes("big")

    def test_all_files(self, workspace: Workspace) -> None:
        workspace.write_bytes("a", b"x" * 9000)
        workspace.write_bytes("b", b"x" * 9000)
        with pytest.raises(LimitExceeded, match=r"room for 20000 bytes, and holds 18000 .delete what"):
            workspace.write_bytes("c", b"x" * 2001)
        with pytest.raises(LimitExceeded):
            workspace.copy("a", "c")
        with pytest.raises(LimitExceeded):
            workspace.append_bytes("c", b"x" * 2001)
        workspace.write_bytes("b", b"x" * 10_000)
        workspace.write_bytes("c", b"x" * 1000)
        workspace.write_bytes("c", b"")
        assert workspace.usage().size_bytes == 19_000

    def test_their_number(self, workspace: Workspace, limits: Limits) -> None:
        for number in range(limits.workspace_files_max - 2):
            workspace.write_bytes(f"{number}", b"")
        for change in (
            lambda: workspace.write_bytes("a/b/c", b""),
            lambda: workspace.make_folder("a/b/c"),
            lambda: workspace.move("1", "a/b/c/1"),
            lambda: workspace.copy("1", "a/b/c"),
        ):
            with pytest.raises(LimitExceeded, match="room for 40 files and folders, and holds 38"):
                change()
        workspace.write_bytes("a/b", b"")
        assert workspace.usage().entries == limits.workspace_files_max
        workspace.write_bytes("a/b", b"still")
        workspace.move("a/b", "a/c")
        with pytest.raises(LimitExceeded):
            workspace.write_bytes("one-more", b"")

    def test_a_folder_counts_with_all_that_is_in_it(self, workspace: Workspace) -> None:
        for number in range(19):
            workspace.write_bytes(f"a/{number}", b"x")
        with pytest.raises(LimitExceeded):
            workspace.copy("a", "b/c")
        workspace.copy("a", "b")
        assert workspace.usage().entries == 40

    def test_what_others_put_there_counts(self, workspace: Workspace, root: Path) -> None:
        root.mkdir(parents=True)
        (root / "theirs").write_bytes(b"x" * 19_999)
        with pytest.raises(LimitExceeded):
            workspace.write_bytes("a", b"xx")
        for number in range(100):
            (root / f"{number}").touch()
        with pytest.raises(LimitExceeded, match="files and folders"):
            workspace.write_bytes("a", b"")
        workspace.write_bytes("1", b"")


class TestFailures:
    """A change is there as a whole or not at all."""

    @pytest.fixture(params=["write", "append", "change", "copy", "copy folder"])
    def change(self, request: pytest.FixtureRequest, workspace: Workspace) -> Any:
        workspace.write_bytes("a", b"before")
        workspace.write_bytes("folder/b", b"before")

        def edit() -> None:
            with workspace.changing("a") as file:
                file.content = b"after"

        return {
            "write": lambda: workspace.write_bytes("a", b"after"),
            "append": lambda: workspace.append_bytes("a", b"after"),
            "change": edit,
            "copy": lambda: workspace.copy("folder/b", "a", replace=True),
            "copy folder": lambda: workspace.copy("folder", "new"),
        }[request.param]

    @pytest.mark.parametrize("call", ["fsync", "rename", "fchmod"])
    def test_nothing_changes_when_the_disk_fails(
        self, change: Any, workspace: Workspace, root: Path, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/secret/place")

        (root / "a").chmod(0o640)
        (root / "folder" / "b").chmod(0o640)
        with monkeypatch.context() as patched:
            patched.setattr(os, call, fail)
            patched.setattr(Path, "replace", fail) if call == "rename" else None
            with pytest.raises(OSError, match="No space left on device") as raised:
                change()
        assert raised.value.errno == errno.ENOSPC
        assert "secret" not in str(raised.value)
        assert contents(workspace) == {"a": b"before", "folder/b": b"before"}
        assert hidden(root) == []

    def test_nothing_changes_when_it_is_stopped_in_between(
        self, change: Any, workspace: Workspace, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stop = threading.Event()
        monkeypatch.setattr(workspace, "_stop", stop)
        sync = os.fsync

        def sync_and_stop(descriptor: int) -> None:
            sync(descriptor)
            stop.set()

        monkeypatch.setattr(os, "fsync", sync_and_stop)
        with pytest.raises(Stopped):
            change()
        assert contents(Workspace(root)) == {"a": b"before", "folder/b": b"before"}
        assert hidden(root) == []

    def test_nothing_begins_when_it_is_stopped_before(self, root: Path) -> None:
        stop = threading.Event()
        stop.set()
        workspace = Workspace(root, stop=stop)
        for change in (
            lambda: workspace.write_bytes("a", b""),
            lambda: workspace.append_bytes("a", b""),
            lambda: workspace.make_folder("a"),
            lambda: workspace.move("a", "b"),
            lambda: workspace.copy("a", "b"),
            lambda: workspace.remove("a"),
        ):
            with pytest.raises(Stopped):
                change()
        assert not root.exists()

    def test_a_walk_can_be_stopped(self, workspace: Workspace, root: Path) -> None:
        workspace.write_bytes("a", b"")
        workspace.write_bytes("b", b"")
        stop = threading.Event()
        walk = Workspace(root, stop=stop).walk()
        assert next(walk).path == "a"
        stop.set()
        with pytest.raises(Stopped):
            next(walk)

    def test_a_copy_that_fails_leaves_an_empty_target(
        self, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in "abc":
            workspace.write_bytes(name, b"x")
        target = Workspace(tmp_path / "fork")
        sync, left = os.fsync, iter([True, True])

        def fail_later(descriptor: int) -> None:
            if not next(left, False):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            sync(descriptor)

        monkeypatch.setattr(os, "fsync", fail_later)
        with pytest.raises(OSError, match="Input/output error"):
            workspace.copy_to(target)
        assert not target.root.exists()

    def test_what_a_crash_left_is_hidden_counts_and_is_removed_later(self, workspace: Workspace, root: Path) -> None:
        workspace.write_bytes("a", b"x")
        left, young = root / f"{OWN_PREFIX}left", root / f"{OWN_PREFIX}young"
        left.mkdir()
        (left / "inside").write_bytes(b"xx")
        young.write_bytes(b"xxx")
        assert [entry.path for entry in workspace.walk()] == ["a"]
        assert workspace.usage().size_bytes == 6
        two_hours_ago_s = time.time() - 7200
        os.utime(left, (two_hours_ago_s, two_hours_ago_s))
        workspace.write_bytes("b", b"x")
        assert hidden(root) == [young.name]
        assert workspace.remove("a") is True
        with pytest.raises(InvalidArgument, match="are reserved"):
            workspace.read_bytes(young.name)

    def test_a_folder_with_nothing_but_hidden_leftovers_is_empty(self, workspace: Workspace, root: Path) -> None:
        workspace.make_folder("a")
        (root / "a" / f"{OWN_PREFIX}left").touch()
        assert workspace.remove("a") is True

    def test_what_vanishes_meanwhile_is_passed_over(
        self, workspace: Workspace, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        workspace.write_bytes("a", b"")
        workspace.write_bytes("b/c", b"")
        for kind in (DescriptorFolder, CheckedFolder):
            names = kind.names
            monkeypatch.setattr(kind, "names", lambda self, names=names: [*names(self), "ghost"])
        assert [entry.path for entry in workspace.walk()] == ["a", "b", "b/c"]
        assert workspace.usage().entries == 3

    def test_removing_all_waits_for_a_change(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        writing, go_on = threading.Event(), threading.Event()
        sync = os.fsync

        def wait(descriptor: int) -> None:
            writing.set()
            go_on.wait(10)
            sync(descriptor)

        monkeypatch.setattr(os, "fsync", wait)
        writer = threading.Thread(target=lambda: Workspace(root).write_bytes("a", b"x"))
        writer.start()
        assert writing.wait(10)
        remover = threading.Thread(target=Workspace(root).remove_all)
        remover.start()
        go_on.set()
        for thread in (writer, remover):
            thread.join(10)
        assert not root.exists()

    def test_removing_all_is_idempotent(self, workspace: Workspace, root: Path) -> None:
        workspace.write_bytes("a/b", b"x")
        workspace.remove_all()
        workspace.remove_all()
        assert not root.exists()
        workspace.write_bytes("a", b"again")
        assert contents(workspace) == {"a": b"again"}


NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
STEPS = st.one_of(
    st.tuples(st.just("write"), PATHS, st.binary(max_size=4)),
    st.tuples(st.just("make_folder"), PATHS),
    st.tuples(st.just("move"), PATHS, PATHS),
    st.tuples(st.just("copy"), PATHS, PATHS),
    st.tuples(st.just("remove"), PATHS),
)
Model = dict[tuple[str, ...], bytes | None]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=12))
def test_it_does_what_a_dictionary_would(tmp_path: Path, steps: list[Any]) -> None:
    workspace = Workspace(tmp_path / "model", limits=msgspec.structs.replace(Limits(), workspace_files_max=100))
    workspace.remove_all()
    model: Model = {}
    for name, *arguments in steps:
        try:
            apply(workspace, name, arguments)
            worked = True
        except (InvalidArgument, FileNotFoundError, FileExistsError):
            worked = False
        changed = expected(model, name, arguments)
        assert worked == (changed is not None), (name, arguments, model)
        model = changed if changed is not None else model
    found = {
        tuple(e.path.split("/")): workspace.read_bytes(e.path) if e.kind == "file" else None for e in workspace.walk()
    }
    assert found == model


def apply(workspace: Workspace, name: str, arguments: list[Any]) -> None:
    match name:
        case "write":
            workspace.write_bytes(*arguments)
        case "remove":
            if not workspace.remove(*arguments, recursive=True):
                raise FileNotFoundError
        case _:
            getattr(workspace, name)(*arguments)


def expected(model: Model, name: str, arguments: list[Any]) -> Model | None:
    """Returns what the workspace holds after a step, or `None` if the step must be refused."""
    path = tuple(arguments[-1].split("/")) if name in {"move", "copy"} else tuple(arguments[0].split("/"))
    above = [path[:depth] for depth in range(1, len(path))]
    blocked = any(model.get(folder_path, None) is not None for folder_path in above)
    with_folders = {**model, **dict.fromkeys(above)}
    match name:
        case "write":
            is_folder = path in model and model[path] is None
            return None if blocked or is_folder else {**with_folders, path: arguments[1]}
        case "make_folder":
            return None if blocked or model.get(path) is not None else {**with_folders, path: None}
        case "remove":
            return {p: c for p, c in model.items() if p[: len(path)] != path} if path in model else None
        case _:
            source = tuple(arguments[0].split("/"))
            if source not in model or path in model or blocked or path[: len(source)] == source:
                return None
            moved = {path + p[len(source) :]: c for p, c in model.items() if p[: len(source)] == source}
            kept = {p: c for p, c in with_folders.items() if name == "copy" or p[: len(source)] != source}
            return {**kept, **moved}
