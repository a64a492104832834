"""What is printed, where it goes, and what cannot get out."""

from __future__ import annotations

import pytest

from greenroom.cli.output import (
    Column,
    age,
    exact,
    exit_code,
    hint_of,
    on_one_line,
    print_error,
    print_table,
    shortened,
    visible,
)
from greenroom.errors import (
    BackendUnavailable,
    GreenroomError,
    InvalidArgument,
    InvalidConfig,
    InvalidStream,
    LimitExceeded,
    LogUnavailable,
    NotSupported,
    SessionNotFound,
    TurnInProgress,
    UnknownBackend,
    UnknownSetting,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\nlines", "plain\ttext\nlines"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b31m", r"\x9b31m"),
        ("a\rb\x08c\x07", r"a\rb\x08c\x07"),
        ("abc\u202edcba", r"abc\u202edcba"),
        ("naïve 🎲 日本", "naïve 🎲 日本"),
    ],
)
def test_control_characters_are_shown_and_not_obeyed(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"to": "naïve 日本 🎲"}', '{"to": "naïve 日本 🎲"}'),
        ("a\u202eb", r"a\u202eb"),
        ("pay\u200bpal", r"pay\u200bpal"),
        ("a\u200db", r"a\u200db"),
        ("a\u00adb\ufe0f", r"a\xadb\ufe0f"),
        ("\U000e0041", r"\U000e0041"),
        ("a\u3164b\u115f", r"a\u3164b\u115f"),
        ("rm \u2800\u2800-rf", r"rm \u2800\u2800-rf"),
        ("a\u00a0b\u2003c", r"a\xa0b\u2003c"),
        ("one\ntwo\tthree\x1b[0m", r"one\ntwo\tthree\x1b[0m"),
        ("a" + " " * 500 + "b", "a [500 spaces] b"),
        ("x" * 100_000, "x" * 100_000),
    ],
)
def test_what_is_decided_about_hides_and_cuts_nothing(text: str, shown: str) -> None:
    """S12 and siblings: zero-width and soft characters, tags, fillers that look like nothing, spaces that are none."""
    assert exact(text) == shown


@pytest.mark.parametrize("mark", ["\u200e", "\u200f", "\u061c", "\u2066", "\u200b", "\ufeff", "\u2060", "\U000e0041"])
def test_names_and_titles_show_what_changes_their_order(mark: str) -> None:
    """S12: in lists too."""
    assert mark not in on_one_line(f"report{mark}txt.exe")
    assert (
        on_one_line("\u0645\u06cc\u200c\u0631\u0648\u0645 👩\u200d🔬")
        == "\u0645\u06cc\u200c\u0631\u0648\u0645 👩\u200d🔬"
    ), "Persian and emoji stay"


def test_a_cell_stays_a_cell() -> None:
    assert on_one_line(" a\tb\r\nc \x1b]0;title\x07") == r"a b c \x1b]0;title\x07"


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("abc", "abc"),
        ("abcdef", "abcd…"),
        ("a\n\n  b", "a b"),
        ("abcd efg", "abcd…"),
        ("x" * 10_000_000, "xxxx…"),
        (" " * 100, "…"),
    ],
)
def test_long_texts_are_shortened(text: str, short: str) -> None:
    assert shortened(text, 5) == short


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "just now"),
        (59, "just now"),
        (60, "1 min ago"),
        (7_199, "1 h ago"),
        (86_400 * 400, "400 d ago"),
        (-5, "just now"),
    ],
)
def test_ages(seconds: int, text: str) -> None:
    assert age(1_000_000_000, 1_000_000_000 + seconds * 1000) == text


def test_a_table_in_a_pipe_is_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    columns = (Column("ID"), Column("TITLE", is_wide=True))
    print_table(columns, [("a", "one\ttwo\nthree"), ("b", "x" * 500)], empty="nothing")
    print_table(columns, [], empty="nothing")
    assert capsys.readouterr().out == f"a\tone two three\nb\t{'x' * 500}\n"


def test_an_error_is_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("it went\nwrong", "try\nthis")
    print_error("again")
    assert capsys.readouterr().err == "error: it went wrong\nhint: try this\nerror: again\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidArgument("x"), 2),
        (InvalidConfig("x"), 2),
        (UnknownBackend("x"), 2),
        (UnknownSetting("x"), 2),
        (NotSupported("x"), 2),
        (SessionNotFound("x"), 1),
        (TurnInProgress("x"), 1),
        (InvalidStream("x"), 1),
        (LimitExceeded("x"), 1),
        (BackendUnavailable("x"), 1),
        (LogUnavailable("x"), 1),
    ],
)
def test_exit_codes(error: GreenroomError, code: int) -> None:
    assert exit_code(error) == code


def test_hints_speak_of_the_command_line() -> None:
    assert hint_of(SessionNotFound("x")) == "`greenroom sessions list` shows the sessions that there are"
    assert hint_of(LogUnavailable("x", hint="free some space")) == "free some space"
