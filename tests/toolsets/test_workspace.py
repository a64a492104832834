"""The tools of a workspace, as a model uses them."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from greenroom.interfaces import ToolContext, ToolError
from greenroom.toolsets import workspace
from greenroom.toolsets.line_matcher import LineMatcher, Match
from greenroom.toolsets.workspace import WorkspaceTools
from toolsets.calling import call

TOOLS = WorkspaceTools()
Files = dict[str, str | bytes]


@pytest.fixture
def root(context: ToolContext) -> Path:
    return context.workspace


def fill(root: Path, files: Files) -> None:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content if isinstance(content, bytes) else content.encode())


def names_below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


class TestEffects:
    def test_are_declared(self) -> None:
        effects = {tool.spec.name: tool.effect for tool in TOOLS.tools()}
        assert effects == {
            "list_files": "pure",
            "tree": "pure",
            "read_file": "pure",
            "find_files": "pure",
            "search_files": "pure",
            "write_file": "idempotent",
            "delete_file": "idempotent",
            "make_folder": "idempotent",
            "append_file": "once",
            "edit_file": "once",
            "move_file": "once",
            "copy_file": "once",
        }

    def test_descriptions_are_short(self) -> None:
        for tool in TOOLS.tools():
            assert len(tool.spec.description) < 120
            for schema in tool.spec.parameters["properties"].values():
                assert 5 < len(schema["description"]) < 200


class TestListing:
    async def test_an_empty_workspace(self, context: ToolContext, root: Path) -> None:
        for name in ("list_files", "tree"):
            assert await call(TOOLS, name, context) == "The folder is empty."
        assert await call(TOOLS, "find_files", context, pattern="*") == "Nothing matches '*'."
        assert await call(TOOLS, "search_files", context, pattern="a") == "No line matches."
        assert not names_below(root.parent.parent)

    async def test_what_is_there(self, context: ToolContext, root: Path) -> None:
        fill(root, {"b.md": "12", "a/c.md": "1", "a/d/e.md": ""})
        (root / "z").symlink_to("/etc")
        os.mkfifo(root / "y")
        assert (await call(TOOLS, "list_files", context)).splitlines() == [
            "a/",
            "b.md (2 bytes)",
            "y (a special file, cannot be used)",
            "z (a link, not followed)",
        ]
        assert (await call(TOOLS, "list_files", context, path="a")).splitlines() == ["a/c.md (1 byte)", "a/d/"]

    async def test_a_tree(self, context: ToolContext, root: Path) -> None:
        fill(root, {"a/b/c/d.md": "1", "a/e.md": "", "f": "1"})
        assert (await call(TOOLS, "tree", context)).splitlines() == [
            "a/",
            "  b/",
            "    c/",
            "  e.md (0 bytes)",
            "f (1 byte)",
        ]
        assert (await call(TOOLS, "tree", context, path="a/b", depth=9)).splitlines() == ["c/", "  d.md (1 byte)"]
        assert (await call(TOOLS, "tree", context, depth=1)).splitlines() == ["a/", "f (1 byte)"]

    @pytest.mark.parametrize(
        ("name", "arguments", "remedy"),
        [
            ("list_files", {}, "list a folder in it"),
            ("tree", {}, "less depth"),
            ("find_files", {"pattern": "*"}, "narrow the pattern"),
        ],
    )
    async def test_a_long_list_is_cut_and_says_so(
        self, context: ToolContext, root: Path, name: str, arguments: dict[str, str], remedy: str
    ) -> None:
        fill(root, {f"{number:03}": "" for number in range(30)})
        lines = (await call(TOOLS, name, context, **arguments)).splitlines()
        assert len(lines) == context.limits.workspace_lines_max + 1
        assert remedy in lines[-1]

    async def test_a_list_of_long_names_is_cut_too(self, context: ToolContext, root: Path) -> None:
        fill(root, {f"{number}{'x' * 200}": "" for number in range(9)})
        answer = await call(TOOLS, "list_files", context)
        assert len(answer) < context.limits.workspace_read_bytes_max + 100
        assert answer.endswith("[there are more: list a folder in it]")


class TestReading:
    async def test_a_whole_file(self, context: ToolContext, root: Path) -> None:
        fill(root, {"a.md": "one\r\ntwo", "empty": ""})
        assert await call(TOOLS, "read_file", context, path="a.md") == "one\r\ntwo"
        assert await call(TOOLS, "read_file", context, path="empty") == "(the file is empty)"

    async def test_some_lines(self, context: ToolContext, root: Path) -> None:
        fill(root, {"a.md": "".join(f"{number}\n" for number in range(1, 10))})
        answer = await call(TOOLS, "read_file", context, path="a.md", start_line="2", end_line=3.0)
        assert answer == "2\n3\n[lines 2 to 3 of 9]"
        assert (await call(TOOLS, "read_file", context, path="a.md", end_line=None)).count("\n") == 9

    async def test_a_long_file_can_be_read_to_its_end(self, context: ToolContext, root: Path) -> None:
        text = "".join(f"line {number}\n" for number in range(400))
        fill(root, {"a.md": text})
        read, start = "", 1
        while True:
            answer = await call(TOOLS, "read_file", context, path="a.md", start_line=start)
            assert len(answer) < context.limits.workspace_read_bytes_max + 100
            part, _, note = answer.rpartition("[")
            read += part
            if "go on" not in note:
                break
            start = int(note.rpartition("=")[2].rstrip("]"))
        assert read == text

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("missing.md", r"missing.md does not exist. Similar: missing.txt, missing2.txt."),
            ("notes.md", r"notes.md does not exist. Similar: deep/notes.md."),
            ("zzz", "zzz does not exist.$"),
            ("deep", "deep is a folder, not a file"),
            ("deep/notes.md/x", "is not a folder"),
            ("image.png", "image.png is a binary file"),
            ("latin.txt", "latin.txt is not text in UTF-8"),
            ("big", "big is too large"),
            ("", "is the workspace itself"),
            ("/deep/notes.md", "is absolute .paths are relative to the workspace"),
        ],
    )
    async def test_what_cannot_be_read(self, context: ToolContext, root: Path, path: str, message: str) -> None:
        fill(
            root,
            {
                "missing.txt": "",
                "missing2.txt": "",
                "deep/notes.md": "",
                "image.png": b"\x89PNG\0".replace(b"\x89", b""),
                "latin.txt": b"caf\xe9",
                "big": "x" * 10_001,
            },
        )
        with pytest.raises(ToolError, match=message):
            await call(TOOLS, "read_file", context, path=path)

    async def test_in_an_empty_workspace(self, context: ToolContext) -> None:
        with pytest.raises(ToolError, match=r"a does not exist\. The workspace is empty\."):
            await call(TOOLS, "read_file", context, path="a")


class TestWriting:
    async def test_a_file_with_its_folders(self, context: ToolContext, root: Path) -> None:
        assert await call(TOOLS, "write_file", context, path="a/b.md", content="é\n") == "Wrote a/b.md (3 bytes)."
        assert await call(TOOLS, "write_file", context, path="a/b.md", content="x") == "Replaced a/b.md (1 byte)."
        assert (root / "a/b.md").read_bytes() == b"x"
        await call(TOOLS, "write_file", context, path="a/b.md", content="")
        assert (root / "a/b.md").read_bytes() == b""

    async def test_line_ends_are_written_as_given(self, context: ToolContext, root: Path) -> None:
        await call(TOOLS, "write_file", context, path="a", content="one\r\ntwo\n\rthree")
        assert (root / "a").read_bytes() == b"one\r\ntwo\n\rthree"

    async def test_appending(self, context: ToolContext, root: Path) -> None:
        assert await call(TOOLS, "append_file", context, path="a", content="x") == "Added 1 byte to a, which has 1 now."
        assert (
            await call(TOOLS, "append_file", context, path="a", content="y\n") == "Added 2 bytes to a, which has 3 now."
        )
        assert (root / "a").read_bytes() == b"xy\n"

    async def test_half_a_character_is_no_text(self, context: ToolContext) -> None:
        for name in ("write_file", "append_file"):
            with pytest.raises(ToolError, match="half of a surrogate pair"):
                await call(TOOLS, name, context, path="a", content="\ud800")

    async def test_editing(self, context: ToolContext, root: Path) -> None:
        fill(root, {"a.py": "x = 1\r\ny = 1\r\n"})
        answer = await call(TOOLS, "edit_file", context, path="a.py", old_text="x = 1\n", new_text="x = 2\n")
        assert answer == "Replaced 1 place in a.py."
        assert (root / "a.py").read_bytes() == b"x = 2\r\ny = 1\r\n"
        answer = await call(TOOLS, "edit_file", context, path="a.py", old_text=" = ", new_text="=", count="all")
        assert answer == "Replaced 2 places in a.py."
        assert await call(TOOLS, "edit_file", context, path="a.py", old_text="=", new_text=":", count="2")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"old_text": "1", "new_text": "2"}, r"occurs 2 times \(lines 1, 2\), not once"),
            ({"old_text": "x  =  1", "new_text": "2"}, "Line 1 differs in white space only"),
            ({"old_text": "", "new_text": "2"}, "use append_file"),
            ({"old_text": "1", "new_text": "2", "count": "some"}, 'count: invalid .*got "some", expected'),
            ({"old_text": "1", "new_text": "2", "count": 0}, "count: "),
            ({"path": "b.py", "old_text": "1", "new_text": "2"}, r"b.py does not exist. Similar: a.py"),
        ],
    )
    async def test_an_edit_that_does_not_fit_changes_nothing(
        self, context: ToolContext, root: Path, arguments: dict[str, Any], message: str
    ) -> None:
        fill(root, {"a.py": "x = 1\ny = 1\n"})
        with pytest.raises(ToolError, match=message):
            await call(TOOLS, "edit_file", context, **{"path": "a.py", **arguments})
        assert (root / "a.py").read_text() == "x = 1\ny = 1\n"

    async def test_a_full_workspace_says_so(self, context: ToolContext, root: Path) -> None:
        fill(root, {"a": "x" * 9_000, "b": "x" * 9_000})
        with pytest.raises(
            ToolError, match=r"room for 20000 bytes, and holds 18000 \(delete what is no longer needed\)"
        ):
            await call(TOOLS, "write_file", context, path="c", content="x" * 5_000)
        with pytest.raises(ToolError, match="a file has at most 10000"):
            await call(TOOLS, "write_file", context, path="c", content="x" * 10_001)

    async def test_a_full_disk_says_so(self, context: ToolContext, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(ToolError, match=r"^a: No space left on device$"):
            await call(TOOLS, "write_file", context, path="a", content="x")
        assert names_below(root) == []


class TestMovingAndCopying:
    async def test_a_file(self, context: ToolContext, root: Path) -> None:
        fill(root, {"a": "1"})
        assert await call(TOOLS, "copy_file", context, source="a", target="b/c") == "Copied a to b/c."
        assert await call(TOOLS, "move_file", context, source="a", target="b/d") == "Moved a to b/d."
        assert names_below(root) == ["b", "b/c", "b/d"]
        for name in ("copy_file", "move_file"):
            with pytest.raises(ToolError, match="b/d exists already"):
                await call(TOOLS, name, context, source="b/c", target="b/d")
            with pytest.raises(ToolError, match=r"b/e does not exist\. Similar: "):
                await call(TOOLS, name, context, source="b/e", target="x")
        await call(TOOLS, "move_file", context, source="b/c", target="b/d", overwrite=True)

    async def test_what_a_copy_leaves_out_is_said(self, context: ToolContext, root: Path) -> None:
        fill(root, {"a/b": "1"})
        (root / "a" / "link").symlink_to("b")
        answer = await call(TOOLS, "copy_file", context, source="a", target="c")
        assert answer == "Copied a to c. Left out: 1 link or special file."

    async def test_deleting(self, context: ToolContext, root: Path) -> None:
        fill(root, {"a/b.md": "1", "c": ""})
        with pytest.raises(ToolError, match=r"a is not empty .recursive"):
            await call(TOOLS, "delete_file", context, path="a")
        assert await call(TOOLS, "delete_file", context, path="a", recursive=True) == "Deleted a."
        assert await call(TOOLS, "delete_file", context, path="c") == "Deleted c."
        answer = await call(TOOLS, "delete_file", context, path="c")
        assert answer == "There is nothing to delete: c does not exist. The workspace is empty."
        with pytest.raises(ToolError, match="is the workspace itself"):
            await call(TOOLS, "delete_file", context, path=".", recursive=True)

    async def test_folders(self, context: ToolContext, root: Path) -> None:
        assert await call(TOOLS, "make_folder", context, path="a/b") == "Made a/b."
        assert await call(TOOLS, "make_folder", context, path="a/b") == "a/b exists already."
        assert (root / "a" / "b").is_dir()


CODE: Files = {"a.py": "", "src/b.py": "", "src/deep/test_c.py": "", "src/deep/d.md": ""}
TEXTS: Files = {
    "a.py": "import os\nimport sys\n",
    "b.md": "Import this\r\nand that\r\n",
    "c/d.py": "x = 1\n",
    "binary": b"import\0",
    "latin": b"import caf\xe9\n",
}


class TestFinding:
    @pytest.mark.parametrize(
        ("pattern", "path", "found"),
        [
            ("*.py", "", ["a.py", "src/b.py", "src/deep/test_c.py"]),
            ("*.py", "src", ["src/b.py", "src/deep/test_c.py"]),
            ("./*.py", "", ["a.py"]),
            ("src/**/test_*", "", ["src/deep/test_c.py"]),
            ("deep/*", "src", ["src/deep/d.md", "src/deep/test_c.py"]),
            ("deep", "", ["src/deep/"]),
        ],
    )
    async def test_by_name(self, context: ToolContext, root: Path, pattern: str, path: str, found: list[str]) -> None:
        fill(root, CODE)
        lines = (await call(TOOLS, "find_files", context, pattern=pattern, path=path)).splitlines()
        assert [line.partition(" (")[0] for line in lines] == found

    async def test_a_pattern_that_leads_out(self, context: ToolContext) -> None:
        for name, argument in (("find_files", "pattern"), ("search_files", "files")):
            with pytest.raises(ToolError, match="not a pattern for paths in the workspace"):
                await call(TOOLS, name, context, **{"pattern": "x", argument: "../*"})


class TestSearching:
    @pytest.mark.parametrize(
        ("arguments", "found"),
        [
            ({"pattern": r"import \w+"}, ["a.py:1: import os", "a.py:2: import sys", "latin:1: import caf\ufffd"]),
            ({"pattern": "^import", "files": "*.py"}, ["a.py:1: import os", "a.py:2: import sys"]),
            ({"pattern": "IMPORT THIS", "ignore_case": True, "files": "*.md"}, ["b.md:1: Import this"]),
            ({"pattern": "=", "path": "c"}, ["c/d.py:1: x = 1"]),
            ({"pattern": "os", "path": "a.py"}, ["a.py:1: import os"]),
            ({"pattern": "that$", "files": "*.md"}, ["b.md:2: and that"]),
            ({"pattern": "x", "files": "c/*"}, ["c/d.py:1: x = 1"]),
            ({"pattern": "nowhere", "files": "*.py"}, ["No line matches."]),
        ],
    )
    async def test_lines(self, context: ToolContext, root: Path, arguments: dict[str, Any], found: list[str]) -> None:
        fill(root, TEXTS)
        lines = (await call(TOOLS, "search_files", context, **arguments)).splitlines()
        assert [line for line in lines if not line.startswith("[")] == found

    async def test_what_was_not_searched_is_said(self, context: ToolContext, root: Path) -> None:
        fill(root, {**TEXTS, "big": "import\n" * 1500})
        answer = await call(TOOLS, "search_files", context, pattern="sys")
        assert answer.splitlines()[-1] == "[not searched: 2 files, binary or too large]"

    async def test_many_matches_are_cut_and_say_so(self, context: ToolContext, root: Path) -> None:
        fill(root, {"a": "x\n" * 50, "b": "x\n" * 50})
        lines = (await call(TOOLS, "search_files", context, pattern="x", limit=60)).splitlines()
        assert (lines[0], lines[59], len(lines)) == ("a:1: x", "b:10: x", 61)
        assert lines[60].startswith("[there are more: narrow the pattern")
        exact = await call(TOOLS, "search_files", context, pattern="x", limit=100)
        assert len(exact.splitlines()) == 100

    async def test_long_matches_are_cut_and_say_so(self, context: ToolContext, root: Path) -> None:
        fill(root, {"a": f"{'x' * 2000}\n" * 4})
        answer = await call(TOOLS, "search_files", context, pattern="x")
        assert len(answer) < context.limits.workspace_read_bytes_max + 200
        assert "there are more" in answer

    async def test_what_is_missing_or_wrong(self, context: ToolContext, root: Path) -> None:
        fill(root, TEXTS)
        with pytest.raises(ToolError, match=r"c/e.py does not exist. Similar: c/d.py"):
            await call(TOOLS, "search_files", context, pattern="x", path="c/e.py")
        with pytest.raises(ToolError, match="The pattern is not a regular expression: missing"):
            await call(TOOLS, "search_files", context, pattern="(")

    async def test_a_pattern_that_explodes_is_an_error_and_not_a_hang(self, context: ToolContext, root: Path) -> None:
        fill(root, {"a": "a" * 60 + "b"})
        short = msgspec.structs.replace(
            context, limits=msgspec.structs.replace(context.limits, workspace_search_s_max=0.3)
        )
        with pytest.raises(ToolError, match=r"stopped after 0\.3 s without a match\. Repetition within repetition"):
            await call(TOOLS, "search_files", short, pattern="(a+)+$")

    async def test_what_was_found_before_is_kept(self, context: ToolContext, root: Path) -> None:
        fill(root, {"a": "aaa", "b": "a" * 60 + "b"})
        short = msgspec.structs.replace(
            context, limits=msgspec.structs.replace(context.limits, workspace_search_s_max=0.5)
        )
        lines = (await call(TOOLS, "search_files", short, pattern="^(a+)+$")).splitlines()
        assert lines == ["a:1: aaa", "[stopped after 0.5 s: narrow path and files to search the rest]"]


class TestCancelling:
    async def test_a_write_that_is_cancelled_does_not_happen_afterwards(
        self, context: ToolContext, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(root, {"a": "before"})
        is_writing, may_go_on = threading.Event(), threading.Event()
        sync = os.fsync

        def wait(descriptor: int) -> None:
            is_writing.set()
            assert may_go_on.wait(20)
            sync(descriptor)

        monkeypatch.setattr(os, "fsync", wait)
        writing = asyncio.ensure_future(call(TOOLS, "write_file", context, path="a", content="after"))
        await asyncio.to_thread(is_writing.wait, 20)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        may_go_on.set()
        # A change waits for the one before it.
        await call(TOOLS, "write_file", context, path="b", content="")
        assert (root / "a").read_text() == "before"
        assert names_below(root) == ["a", "b"]

    async def test_a_search_that_is_cancelled_ends_its_process(
        self, context: ToolContext, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        is_searching, is_closed = threading.Event(), threading.Event()
        codes: list[int | None] = []

        class Watched(LineMatcher):
            def matches(self, content: bytes, limit: int) -> Sequence[Match]:
                is_searching.set()
                return super().matches(content, limit)

            def close(self) -> None:
                super().close()
                assert self._child is not None
                codes.append(self._child.returncode)
                is_closed.set()

        monkeypatch.setattr(workspace, "LineMatcher", Watched)
        fill(root, {"a": "a" * 60 + "b"})
        searching = asyncio.ensure_future(call(TOOLS, "search_files", context, pattern="(a+)+$"))
        assert await asyncio.to_thread(is_searching.wait, 20)
        searching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await searching
        assert await asyncio.to_thread(is_closed.wait, 20)
        assert codes == [-signal.SIGKILL]


async def test_calls_of_one_session_at_the_same_time_do_not_lose_anything(context: ToolContext, root: Path) -> None:
    fill(root, {"edited": "".join(f"<{number}>" for number in range(16))})
    calls = [call(TOOLS, "append_file", context, path="log", content=f"{number}\n") for number in range(16)]
    calls += [
        call(TOOLS, "edit_file", context, path="edited", old_text=f"<{number}>", new_text=f"[{number}]")
        for number in range(16)
    ]
    await asyncio.gather(*calls)
    assert sorted(map(int, (root / "log").read_text().split())) == list(range(16))
    assert (root / "edited").read_text() == "".join(f"[{number}]" for number in range(16))
