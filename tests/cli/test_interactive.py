"""Chatting on a terminal, as a person does it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Run, Serve, ids, program
from cli.provider import Call, Cue, Gate, Refuse, Say, Think, has_result
from cli.terminal import CTRL_C, CTRL_D, ENTER, ESCAPE, PROMPT, Terminal, terminal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals for this")


DECEIVING = "1d6" + "\n" * 60 + "\u202egnihton\u202c" + "\u200b" + " " * 5000 + "x" * 2500 + "THE END"
"""S12: an order that reads backwards, sixty lines, an invisible character, and more than a screen holds."""


def answer(request: dict[str, Any]) -> list[Cue]:
    if has_result(request):
        return [Say("The die "), Say("shows it.")]
    said = str(request["messages"][-1]["content"])
    if "deceive" in said:
        return [Call("roll_dice", {"notation": DECEIVING})]
    if "roll" in said:
        return [Think("A die, then."), Call("roll_dice", {"notation": "1d6"})]
    if "escape" in said:
        return [Say("\x1b[31mred\x1b[0m\x07")]
    return [Say(f"heard {len(request['messages'])}: "), Say(said)]


def chat(*arguments: str) -> list[str]:
    return program("chat", *arguments)


def session_of(screen: Terminal) -> str:
    screen.expect("session ")
    return screen.expect("\n").strip()


def test_a_conversation(serve: Serve, run: Run, home: Path) -> None:
    serve(answer)
    with terminal(chat()) as screen:
        screen.expect("openai · gpt-4o · ")
        session_id = session_of(screen)
        screen.enter("please roll")
        screen.expect("A die, then.")
        screen.expect('roll_dice {"notation": "1d6"}')
        assert re.search(r"roll_dice: \d", screen.expect("The die shows it."))
        screen.enter("thank you")
        screen.expect("thank you")
        screen.expect(PROMPT)
        screen.type(CTRL_D)
        screen.expect(f"to go on: greenroom chat --session {session_id}")
        assert screen.ends() == 0
    assert run("sessions", "list").rows[0][:5] == [session_id, "please roll", "openai", "gpt-4o", "2"]
    history = home / "chat-history"
    assert "+thank you" in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600


def test_ctrl_c_stops_the_answer_and_not_the_program(serve: Serve, run: Run) -> None:
    gate = Gate()

    def script(request: dict[str, Any]) -> list[Cue]:
        said = str(request["messages"][-1]["content"])
        return [Say("One, "), Say("two"), gate, Say("three")] if "count" in said else answer(request)

    provider = serve(script)
    with terminal(chat("--session", "counting")) as screen:
        screen.enter("count")
        screen.expect("One, two")
        screen.type(CTRL_C)
        screen.expect("stopped")
        assert provider.client_left.wait(30), "the connection to the provider is closed"
        screen.enter("still there?")
        screen.expect("heard 4: still there?")
        screen.expect(PROMPT)
        screen.type(CTRL_C)
        screen.expect("Ctrl-C again, or Ctrl-D, leaves")
        screen.expect(PROMPT)
        screen.type(CTRL_C)
        assert screen.ends() == 0
    messages = run("sessions", "show", "counting", "--json").json["messages"]
    assert [message["outcome"] for message in messages] == [None, "cancelled", None, "completed"]
    assert messages[1]["parts"][0]["text"] == "One, two"


def test_ctrl_c_after_a_stopped_answer_leaves(serve: Serve) -> None:
    serve(lambda _: [Say("One"), Gate()])
    with terminal(chat()) as screen:
        screen.enter("count")
        screen.expect("One")
        screen.type(CTRL_C)
        screen.expect("stopped")
        screen.expect(PROMPT)
        screen.type(CTRL_C)
        screen.expect("to go on")
        assert screen.ends() == 0


def test_ctrl_c_takes_back_what_was_typed(serve: Serve) -> None:
    serve(answer)
    with terminal(chat()) as screen:
        screen.expect(PROMPT)
        screen.type("half a thou")
        screen.expect("thou")
        screen.type(CTRL_C)
        screen.enter("a whole thought")
        screen.expect("heard 2: ")
        screen.expect("a whole thought")


def test_a_killed_chat_goes_on_where_it_was(serve: Serve) -> None:
    gate = Gate()
    answers = [[Say("The answer "), Say("is..."), gate], [Say("The answer is 42.")]]
    provider = serve(lambda _: answers[min(len(provider.requests), 2) - 1])
    with terminal(chat("--session", "deep")) as screen:
        screen.enter("the question")
        screen.expect("The answer is...")
        screen.kill()
    with terminal(chat("--session", "deep")) as screen:
        screen.expect("> the question")
        screen.expect("the last answer was not finished; it goes on")
        screen.expect("The answer is 42.")
        screen.expect(PROMPT)
        screen.type(CTRL_D)
        assert screen.ends() == 0
    with terminal(chat("--session", "deep")) as screen:
        assert "..." not in screen.expect("The answer is 42."), "what was void is not shown"


def test_the_session_is_changed_while_it_runs(serve: Serve, run: Run) -> None:
    serve(answer)
    with terminal(chat("--session", "changing")) as screen:
        screen.enter("hello")
        screen.expect("heard 2: ")
        screen.expect("hello")
        screen.enter("/model gpt-other")
        screen.expect("openai · gpt-other")
        screen.enter("/persona tutor")
        screen.expect("it is tutor now")
        screen.enter("/tools -WorkspaceTools")
        screen.expect("there are also WorkspaceTools")
        screen.enter("/backend scripted some-model")
        screen.expect("scripted · some-model · tutor")
        screen.enter("hello")
        screen.expect("You said: hello")
        screen.enter("/backend nobody")
        screen.expect("unknown backend 'nobody' [unknown_backend]")
        screen.expect("the backends are")
        screen.enter("/history")
        screen.expect("heard 2: ")
        screen.expect("hello")
        screen.expect("You said: hello")
        screen.enter("/quit")
        assert screen.ends() == 0
    session = run("sessions", "show", "changing", "--json").json["session"]
    assert (session["backend"], session["llm_model"], session["persona_name"]) == ("scripted", "some-model", "tutor")
    assert "WorkspaceTools" not in session["tools"]
    assert session["title"] == "hello"


def test_sessions_can_be_changed_between(run: Run) -> None:
    run("chat", "-m", "the first", "--backend", "scripted", "--session", "first")
    with terminal(chat("--backend", "scripted", "--session", "second")) as screen:
        screen.enter("the second")
        screen.expect("You said: the second")
        screen.enter("/sessions")
        screen.expect("* second")
        screen.expect("  first")
        screen.enter("/sessions first")
        screen.expect("session first")
        screen.expect("You said: the first")
        screen.enter("/new")
        screen.expect("scripted · gpt-4o · session s")
        screen.enter("/sessions nowhere")
        screen.expect("no session 'nowhere'")
        screen.enter("/quit")
        assert screen.ends() == 0
    assert sorted(ids(run("sessions", "list").rows)) == ["first", "second"], "the new one was never talked in"


def test_what_is_no_command_is_said(run: Run) -> None:
    with terminal(chat("--backend", "scripted")) as screen:
        screen.enter("/help")
        screen.expect("/persona [NAME]")
        screen.enter("/nonsense")
        screen.expect("unknown command /nonsense")
        screen.enter("/model one two")
        screen.expect("/model does not take 'one two'")
        screen.enter("/tools Workspace")
        screen.expect("write +Name or -Name")
        screen.enter(" /etc is a folder")
        screen.expect("You said:  /etc is a folder")


def test_pasted_lines_are_one_message() -> None:
    with terminal(chat("--backend", "scripted")) as screen:
        screen.expect(PROMPT)
        screen.paste("first line\nsecond line")
        screen.expect("second line")
        screen.type("\r")
        screen.expect("You said: first line\nsecond line")
        screen.expect(PROMPT)
        screen.type(f"typed{ESCAPE}\rtoo\r")
        screen.expect("You said: typed\ntoo")


def test_an_error_is_shown_and_the_chat_goes_on(serve: Serve) -> None:
    answers: list[list[Cue]] = [[Refuse(401, "Incorrect API key provided")], [Say("better now")]]
    serve(lambda _: answers.pop(0))
    with terminal(chat()) as screen:
        screen.enter("hello")
        screen.expect("Incorrect API key provided")
        screen.expect("[backend_unauthorized]")
        screen.enter("hello again")
        screen.expect("better now")


def test_a_model_cannot_write_to_the_terminal(serve: Serve) -> None:
    serve(answer)
    with terminal(chat()) as screen:
        screen.enter("escape")
        screen.expect(r"\x1b[31mred\x1b[0m\x07")


def test_an_empty_session_is_not_kept(run: Run) -> None:
    with terminal(chat("--backend", "scripted")) as screen:
        screen.expect(PROMPT)
        screen.type(CTRL_D)
        assert "to go on" not in screen.expect("")
        assert screen.ends() == 0
    assert run("sessions", "list").rows == []


def test_a_home_that_cannot_be_written_does_not_take_the_keyboard_away(home: Path, tmp_path: Path) -> None:
    home.write_text("a file where the folder should be")
    store = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    with terminal(chat("--backend", "scripted", "--store", store)) as screen:
        screen.enter("hello")
        screen.expect("You said: hello")


def test_without_anything_that_answers_it_says_what_to_do() -> None:
    with terminal(chat()) as screen:
        screen.expect("error: nothing can answer here")
        screen.expect("hint: set OPENAI_API_KEY or ANTHROPIC_API_KEY")
        assert screen.ends() == 1


def test_json_is_not_for_conversations() -> None:
    with terminal(chat("--json")) as screen:
        screen.expect("error: --json is for one message")
        assert screen.ends() == 2


def test_the_screen_is_plain_where_colours_are_not_wanted() -> None:
    with terminal(chat("--backend", "nobody"), NO_COLOR="1") as screen:
        screen.expect("hint: the backends are")
        assert "\x1b[" not in screen._raw
        assert screen.ends() == 2
    assert os.environ.get("NO_COLOR") is None


def test_what_is_decided_about_is_shown_exactly_and_whole(serve: Serve) -> None:
    """S12: what was approved was not what was shown: U+202E, sixty newlines, 2,500 characters."""
    serve(answer)
    with terminal(chat("--session", "deceived")) as screen:
        screen.enter("/approval roll_* ask")
        screen.expect("roll_*: ask")
        screen.enter("please deceive me")
        screen.expect("waits for a decision")
        shown = screen.expect("may it be run?")
        assert "\u202e" not in shown
        assert "\u200b" not in shown
        read = "".join(shown.split())
        for part in ("1d6" + r"\n" * 60, r"\u202egnihton\u202c\u200b[5000spaces]", "x" * 2500 + "THEEND"):
            assert part in read, shown
        assert "roll_dice,7" in read[-40:], "the question says again what it is about"
        screen.enter("n")
        screen.expect("The die shows it.")
        screen.expect(PROMPT)
        screen.type(CTRL_D)
        assert screen.ends() == 0


def test_a_call_that_needs_a_decision_is_asked_about(serve: Serve) -> None:
    serve(answer)
    with terminal(chat("--session", "careful")) as screen:
        screen.enter("/approval roll_* ask")
        screen.expect("roll_*: ask")
        screen.enter("please roll")
        screen.expect("waits for a decision")
        screen.expect("may it be run?")
        screen.enter("perhaps")
        screen.expect("y runs it")
        screen.enter('{"sides": 7}')
        screen.expect("there is no parameter")
        screen.enter('{"notation": "2d1"}')
        screen.expect("roll_dice: ")
        screen.expect("The die shows it.")
        screen.enter("please roll")
        screen.expect("may it be run?")
        screen.enter("n not today")
        screen.expect("not today")
        screen.expect("The die shows it.")
        screen.enter("please roll")
        screen.expect("may it be run?")
        screen.expect(PROMPT)
        screen.type(CTRL_D)
        screen.expect("to go on: greenroom chat --session careful")
        assert screen.ends() == 0
    with terminal(chat("--session", "careful")) as screen:
        screen.expect("may it be run?")
        screen.enter("y")
        screen.expect("The die shows it.")


def test_what_is_typed_meanwhile_steers_the_answer(serve: Serve) -> None:
    gate, late = Gate(), Gate()

    def script(request: dict[str, Any]) -> list[Cue]:
        said = str(request["messages"][-1]["content"])
        if "shorter" in said:
            return [Say("Shorter, "), late, Say("then.")]
        if "too late" in said:
            return [Say("For once.")]
        return [Say("One moment."), gate, Call("roll_dice", {"notation": "1d6"})]

    serve(script)
    with terminal(chat()) as screen:
        screen.enter("please roll")
        screen.expect("One moment.")
        screen.type("make it shorter" + ENTER)
        screen.expect("noted")
        gate.is_open.set()
        screen.expect("Shorter, ")
        screen.type("too late" + ENTER)
        screen.expect("noted")
        late.is_open.set()
        screen.expect("> too late")
        screen.expect("For once.")
