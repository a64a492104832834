"""What a path may look like, and what a pattern finds."""

from __future__ import annotations

import glob
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.errors import InvalidArgument
from greenroom.limits import PATH_BYTES_MAX, PATH_DEPTH_MAX
from greenroom.toolsets.relative_path import Glob, is_name, join, parse_path, printable

ANY_TEXT = st.text(st.characters()) | st.text(st.sampled_from("ab./\\:~ \0\n"), max_size=20)


class TestPaths:
    @pytest.mark.parametrize(
        ("path", "names"),
        [
            ("", ()),
            (".", ()),
            ("./", ()),
            ("a", ("a",)),
            ("a/b.txt", ("a", "b.txt")),
            ("./a//b/./c/", ("a", "b", "c")),
            ("...", ("...",)),
            (".hidden", (".hidden",)),
            ("~", ("~",)),
            ("a b/ü/日本語.md", ("a b", "ü", "日本語.md")),
            ("\u0645\u06cc\u200c\u062e", ("\u0645\u06cc\u200c\u062e",)),
            ("👩\u200d🚀", ("👩\u200d🚀",)),
            ("-rf", ("-rf",)),
            ("a;b|c$(d)", ("a;b|c$(d)",)),
        ],
    )
    def test_ordinary_ones(self, path: str, names: tuple[str, ...]) -> None:
        assert parse_path(path, windows=False) == names

    @pytest.mark.parametrize(
        ("path", "reason"),
        [
            ("/etc/passwd", "is absolute"),
            ("//server/share", "is absolute"),
            ("\\\\server\\share\\x", "is absolute"),
            ("\\x", "is absolute"),
            ("C:\\Windows", "is absolute"),
            ("c:x", "is absolute"),
            ("./c:x", "begins like a drive"),
            ("a/C:", "begins like a drive"),
            ("a\\b", "contains a backslash"),
            ("..", "leads out"),
            ("a/../b", "leads out"),
            ("a/..", "leads out"),
            ("a\0b", "cannot be seen"),
            ("a\nb", "cannot be seen"),
            ("a\x7f", "cannot be seen"),
            ("\u202egnp.exe", "cannot be seen"),
            ("a/\ud800", "cannot be seen"),
            ("\u200b", "cannot be seen"),
            ("a/ /b", "cannot be seen"),
            ("x" * 256, "longer than 255 bytes"),
            ("é" * 128, "longer than 255 bytes"),
            ("a/" * PATH_BYTES_MAX, "is too long"),
            ("a/" * (PATH_DEPTH_MAX + 1), f"is {PATH_DEPTH_MAX + 1} levels deep"),
            (".greenroom-tmp-1", "are reserved"),
            ("a/.GreenRoom-TMP-1", "are reserved"),
        ],
    )
    def test_what_is_refused_and_why(self, path: str, reason: str) -> None:
        with pytest.raises(InvalidArgument, match=reason) as refused:
            parse_path(path, windows=False)
        assert refused.value.hint
        assert len(str(refused.value)) < 300
        assert str(refused.value).isprintable()

    @pytest.mark.parametrize(
        "name", ["NUL", "nul.txt", "com1", "LPT9.log", "CONIN$", "ab:stream", "a.", "a ", "a?", "a*"]
    )
    def test_what_means_something_else_on_windows_is_refused_there(self, name: str) -> None:
        with pytest.raises(InvalidArgument, match="on Windows"):
            parse_path(f"folder/{name}", windows=True)

    @pytest.mark.parametrize("name", ["null", "console.log", "com", "com10", "a.b", "nul-1"])
    def test_what_means_only_itself_there_is_taken(self, name: str) -> None:
        assert parse_path(name, windows=True) == (name,)

    @given(ANY_TEXT, st.booleans())
    def test_whatever_is_written_stays_below_or_is_refused(self, path: str, windows: bool) -> None:  # noqa: FBT001
        try:
            names = parse_path(path, windows=windows)
        except InvalidArgument:
            return
        root = Path("/root/of/workspace")
        assert root.joinpath(*names).is_relative_to(root)
        assert Path(*names) == Path(path)
        for name in names:
            assert name not in {"", ".", ".."}
            assert not set("/\\\0\n") & set(name)
            assert is_name(name)
            assert printable(name) == name
        assert parse_path(join(names), windows=windows) == names

    @given(st.binary(min_size=1, max_size=30))
    def test_whatever_is_found_on_disk_can_be_shown(self, name: bytes) -> None:
        found = name.decode("utf-8", "surrogateescape")
        shown = printable(found)
        assert shown.encode()
        assert "\n" not in shown
        assert shown == found or not is_name(found)


class TestGlobs:
    @pytest.mark.parametrize(
        ("pattern", "found", "not_found"),
        [
            ("*.py", ["a.py", "deep/er/a.py", ".py"], ["a.pyc", "a.py/b"]),
            ("a/*.py", ["a/b.py"], ["b.py", "a/b/c.py", "x/a/b.py"]),
            ("a/**/c", ["a/c", "a/b/c", "a/b/b/c"], ["c", "a/c/d", "x/a/c"]),
            ("**/c", ["c", "a/b/c"], ["a/b"]),
            ("a/**", ["a", "a/b", "a/b/c"], ["b"]),
            ("**", ["a", "a/b/c"], []),
            ("**/a/**/b", ["a/b", "x/a/y/b", "x/y/a/z/z/b"], ["b", "b/a"]),
            ("./a", ["a"], ["b/a"]),
            ("?at", ["cat", "x/hat"], ["at", "chat"]),
            ("[a-c]1", ["a1", "c1"], ["d1", "[a-c]1"]),
            ("[!a]1", ["b1"], ["a1"]),
            ("a**b", ["ab", "axxb"], ["a/b"]),
            ("A.md", ["A.md"], ["a.md"]),
            ("a+b(c).txt", ["a+b(c).txt"], ["aab(c).txt"]),
            ("[z-a]", [], ["z", "a"]),
            ("[", ["["], ["]"]),
        ],
    )
    def test_patterns(self, pattern: str, found: list[str], not_found: list[str]) -> None:
        match = Glob(pattern)
        assert [path for path in [*found, *not_found] if match.matches(path.split("/"))] == found

    @pytest.mark.parametrize("pattern", ["", "/", ".", "/etc/*", "../*", "a/../b", "x" * 1001])
    def test_what_is_no_pattern(self, pattern: str) -> None:
        with pytest.raises(InvalidArgument):
            Glob(pattern)

    @pytest.mark.parametrize(
        "pattern", ["*a" * 100 + "b", "**/" * 100 + "b", "[!x]*" * 60 + "b", "**/*a*a*a/" * 20 + "b"]
    )
    def test_no_pattern_takes_long(self, pattern: str) -> None:
        match = Glob(pattern)
        start_s = time.process_time()
        assert not match.matches(["a" * 255] * PATH_DEPTH_MAX)
        assert time.process_time() - start_s < 2

    @given(
        st.text(st.sampled_from("ab*?[]!-/."), max_size=12),
        st.lists(st.text("ab.", min_size=1, max_size=3), min_size=1),
    )
    def test_any_pattern_can_be_tried(self, pattern: str, names: list[str]) -> None:
        try:
            match = Glob(pattern)
        except InvalidArgument:
            return
        match.matches(names)

    @given(st.lists(st.text("ab*[", min_size=1, max_size=4), min_size=1, max_size=4))
    def test_a_path_that_is_escaped_finds_itself(self, names: list[str]) -> None:
        assert Glob("./" + "/".join(map(glob.escape, names))).matches(names)
