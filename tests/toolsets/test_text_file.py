"""Lines and edits, as a model asks for them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.interfaces import ToolError
from greenroom.toolsets.text_file import decoded, edited, line_range, lines_of

TEXT = st.text(st.sampled_from("ab é\r\n\u2028\x0b日"), max_size=60)


class TestDecoding:
    @pytest.mark.parametrize("content", ["", "plain", "é日\u2028", "\ufeffwith a mark", "tab\tand\r\nends\r"])
    def test_text_stays_as_it_is(self, content: str) -> None:
        assert decoded(content.encode(), "f") == content

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"caf\xe9", "f is not text in UTF-8 .4 bytes, the first wrong one at 3."),
            (b"\xff\xfea\0", "is not text in UTF-8"),
            (b"PK\3\4\0\0", "f is a binary file .6 bytes."),
            (b"a\0b", "moved, copied and deleted, not read"),
        ],
    )
    def test_anything_else_is_refused(self, content: bytes, reason: str) -> None:
        with pytest.raises(ToolError, match=reason):
            decoded(content, "f")


class TestRanges:
    @pytest.mark.parametrize(
        ("start", "end", "shown"),
        [
            (1, None, "one\ntwo\r\n\nfour"),
            (1, 4, "one\ntwo\r\n\nfour"),
            (1, 99, "one\ntwo\r\n\nfour"),
            (1, 1, "one\n[lines 1 to 1 of 4]"),
            (2, 3, "two\r\n\n[lines 2 to 3 of 4]"),
            (4, None, "four\n[lines 4 to 4 of 4]"),
        ],
    )
    def test_both_ends_are_included(self, start: int, end: int | None, shown: str) -> None:
        assert line_range("one\ntwo\r\n\nfour", start, end, bytes_max=100) == shown

    def test_an_empty_file_says_so(self) -> None:
        assert line_range("", 1, None, bytes_max=100) == "(the file is empty)"

    @pytest.mark.parametrize(
        ("start", "end", "column", "message"),
        [
            (3, None, 1, "There is no line 3: the file has 2"),
            (2, 1, 1, r"start_line .2. is above end_line .1.: swap them"),
            (1, 1, 5, "There is no column 5: line 1 has 4"),
        ],
    )
    def test_lines_that_are_not_there(self, start: int, end: int | None, column: int, message: str) -> None:
        with pytest.raises(ToolError, match=message):
            line_range("one\ntwo\n", start, end, start_column=column, bytes_max=100)

    def test_a_cut_says_how_to_go_on(self) -> None:
        text = "one\ntwo\nthree\n"
        assert line_range(text, 1, None, bytes_max=8) == "one\ntwo\n[lines 1 to 2 of 3; go on with start_line=3]"

    def test_a_line_that_is_too_long_is_cut_in_the_middle(self) -> None:
        shown = line_range("ab\n" + "é" * 10 + "\n", 2, None, bytes_max=7)
        assert shown == "ééé\n[a part of line 2 of 2; go on with start_line=2, start_column=4]"

    @given(TEXT, st.integers(4, 20))
    def test_going_on_as_told_reads_everything(self, text: str, bytes_max: int) -> None:
        read, start, column = "", 1, 1
        while True:
            shown = line_range(text, start, None, start_column=column, bytes_max=bytes_max)
            more = re.search(r"\n?\[(?:lines .*|a part of .*)\]\Z", shown)
            if "go on with" not in shown:
                break
            assert more
            told = dict(re.findall(r"(start_\w+)=(\d+)", more[0]))
            part = shown[: more.start()] + ("\n" if "start_column" not in told else "")
            read += part
            start, column = int(told["start_line"]), int(told.get("start_column", 1))
        rest = lines_of(text)[start - 1 :]
        read += "".join(rest)[column - 1 :]
        assert read == text

    @given(TEXT)
    def test_lines_end_with_line_feeds_only(self, text: str) -> None:
        lines = lines_of(text)
        assert "".join(lines) == text
        assert all(line.count("\n") == 1 and line.endswith("\n") for line in lines[:-1])


class TestEdits:
    @pytest.mark.parametrize(
        ("text", "old", "new", "count", "after"),
        [
            ("a b c", "b", "B", 1, "a B c"),
            ("a b b", "b", "", 2, "a  "),
            ("a b b", "b", "x", "all", "a x x"),
            ("aaa", "aa", "b", 1, "ba"),
            ("one\r\ntwo\r\n", "one\ntwo", "1\n2\n3", 1, "1\r\n2\r\n3\r\n"),
            ("one\r\ntwo\r\n", "two", "2\n3", 1, "one\r\n2\r\n3\r\n"),
            ("one\r\ntwo\r\n", "one\r\n", "", 1, "two\r\n"),
            ("mixed\r\nends\n", "ends\n", "more\nends\n", 1, "mixed\r\nmore\nends\n"),
        ],
    )
    def test_exact_replacements(self, text: str, old: str, new: str, count: object, after: str) -> None:
        assert edited(text, old, new, count)[0] == after  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("text", "old", "new", "count", "message"),
        [
            ("a", "", "b", 1, "old_text is empty"),
            ("a", "a", "a", 1, "nothing would change"),
            ("a\nb\na\n", "a", "x", 1, r"occurs 2 times \(lines 1, 3\), not once: .* set count to 2 or \"all\""),
            ("a b", "a", "x", 2, r"occurs once \(line 1\), not 2 times"),
            ("x\n" * 30, "x", "y", 1, r"lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, \.\.\."),
            ("a\n  b\tc\nd", "a\n b c", "x", 1, r"Line 1 differs in white space only; the file has:\na\n  b\tc"),
            ("alpha\ndef compute(x):\n", "def compute(y):", "x", 1, r"most similar line is 2:\ndef compute\(x\):"),
            ("nothing alike", "§§§", "x", 1, "Read the file again"),
        ],
    )
    def test_what_cannot_be_done_says_what_could(
        self, text: str, old: str, new: str, count: object, message: str
    ) -> None:
        with pytest.raises(ToolError, match=message):
            edited(text, old, new, count)  # type: ignore[arg-type]

    def test_looking_for_what_is_near_takes_no_time(self) -> None:
        text = "".join(f"line {number} with some text that is alike\n" for number in range(100_000))
        with pytest.raises(ToolError, match="does not occur"):
            edited(text, "line x with some text that is alike?" * 100, "", 1)

    @given(TEXT, st.text("ab\n", min_size=1, max_size=3), st.text("xy\n", max_size=3))
    def test_all_is_what_python_says(self, text: str, old: str, new: str) -> None:
        if old not in text or old == new or "\r\n" in text:
            return
        assert edited(text, old, new, "all") == (text.replace(old, new), text.count(old))
