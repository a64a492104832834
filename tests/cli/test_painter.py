"""How a conversation looks: in a pipe, and on a terminal of which the width is known."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from greenroom.cli.conversation import (
    CallMade,
    CallReturned,
    Noticed,
    PersonSaid,
    PictureMade,
    Said,
    Shown,
    SourceNamed,
    Thought,
    TurnBegan,
    TurnEnded,
    Withdrawn,
)
from greenroom.cli.painter import PipePainter, TerminalPainter

ANSWER: list[Shown] = [
    TurnBegan("t1"),
    Noticed("local_demo_model", "a toy"),
    Noticed("other", "take care"),
    Thought("a", "Hm."),
    Said("b", "Let me "),
    Said("b", "see."),
    CallMade("c1", "look", '{"at":\n "this"}'),
    CallReturned("c1", "look", "seen\n" * 200),
    Said("d", "I saw.\n"),
    Said("e", "All of it."),
    TurnEnded(outcome="completed"),
]


def painted(*shown: Shown, encoding: str = "utf-8") -> str:
    output = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=output, width=60, force_terminal=False, highlight=False, markup=False)
    painter = TerminalPainter(known_notices={"local_demo_model"}, console=console)
    for item in shown:
        painter.paint([item])
    painter.close()
    output.seek(0)
    return output.read()


def test_on_a_terminal() -> None:
    assert painted(*ANSWER) == (
        "● take care\n"
        "Hm.\n"
        "Let me see.\n"
        '⚙ look {"at": "this"}\n'
        f"  → look: {' '.join(['seen'] * 47)} seen…\n"
        "I saw.\n"
        "All of it.\n"
    )


GIVEN: list[Shown] = [
    Said("b", "Paris."),
    PictureMade("image/png", 8),
    SourceNamed("A \x1b[2Jpage", "https://a.example/" + "x" * 80),
    SourceNamed("", "https://b.example"),
    SourceNamed("report.pdf", ""),
    TurnEnded(outcome="completed"),
]


def test_sources_and_pictures() -> None:
    """P21: a link is never cut, and no title obeys the terminal."""
    assert painted(*GIVEN) == (
        "Paris.\n"
        "[picture: image/png, 8 bytes]\n"
        f"[source: A \\x1b[2Jpage: https://a.example/{'x' * 80}]\n"
        "[source: https://b.example]\n"
        "[source: report.pdf]\n"
    )


def test_a_pipe_gets_the_answer_alone(capsys: pytest.CaptureFixture[str]) -> None:
    output = io.StringIO()
    painter = PipePainter(output)
    painter.paint(GIVEN)
    painter.close()
    assert output.getvalue() == "Paris.\n"
    assert "https://b.example" in capsys.readouterr().err


def test_on_a_terminal_of_few_characters() -> None:
    assert painted(CallMade("c1", "look", "{}"), encoding="ascii") == "* look {}\n"


@pytest.mark.parametrize(
    ("ended", "line"),
    [
        (TurnEnded(outcome="completed"), ""),
        (TurnEnded(outcome="cancelled"), "stopped\n"),
        (
            TurnEnded(outcome="failed", code="context_too_long", message="too much"),
            "error: too much [context_too_long]\n",
        ),
    ],
)
def test_how_it_ended_is_said(ended: TurnEnded, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert painted(Said("a", "Well"), ended) == f"Well\n{line}"
    output = io.StringIO()
    PipePainter(output).paint([Said("a", "Well"), ended])
    assert (output.getvalue(), capsys.readouterr().err) == ("Well\n", line)


def test_queued_messages_are_told_with_their_answers() -> None:
    assert painted(PersonSaid("m", "and you?"), Said("a", "fine")) == "> and you?\nfine\n"


def test_into_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    output = io.StringIO()
    painter = PipePainter(output, known_notices={"local_demo_model"})
    painter.paint(ANSWER)
    painter.close()
    assert output.getvalue() == "Let me see.\nI saw.\nAll of it.\n"
    assert not painter.is_spoiled
    assert capsys.readouterr().err == (
        f'note: take care\n* look {{"at": "this"}}\n* look: {" ".join(["seen"] * 47)} seen…\n'
    )


def test_what_was_void_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    output = io.StringIO()
    painter = PipePainter(output)
    painter.paint([Said("a", "Wro"), Withdrawn(), Said("b", "Right")])
    assert (output.getvalue(), painter.is_spoiled) == ("Wro\nRight", True)
    assert "begins anew" in capsys.readouterr().err
    assert painted(Said("a", "Wro"), Withdrawn(), Said("b", "Right")) == (
        "Wro\nthe provider broke off; the answer begins anew\nRight\n"
    )


def test_a_pipe_is_not_spoiled_by_what_never_reached_it() -> None:
    painter = PipePainter(io.StringIO())
    painter.paint([Thought("a", "hm"), Withdrawn(), Said("b", "Right")])
    assert not painter.is_spoiled


def test_waiting_is_shown_and_leaves_nothing_behind() -> None:
    output = io.StringIO()
    console = Console(
        file=output, width=60, force_terminal=True, highlight=False, markup=False, _environ={"TERM": "xterm"}
    )
    painter = TerminalPainter(console=console)
    painter.paint([TurnBegan("t1")])
    assert "\x1b[?25l" in output.getvalue(), "the cursor is hidden while something turns"
    painter.paint([Said("a", "there")])
    painter.close()
    assert output.getvalue().endswith("there\n")
    assert "\x1b[?25h" in output.getvalue()
