"""`greenroom chat` for one message: what scripts build on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Run, Serve, program
from cli.provider import Call, Cue, Cut, End, Gate, Refuse, Say, Think, has_result


def echo(request: dict[str, Any]) -> list[Cue]:
    return [Say("heard: "), Say(str(request["messages"][-1]["content"]))]


def with_a_tool(request: dict[str, Any]) -> list[Cue]:
    if has_result(request):
        return [Say("It shows "), Say("a number.\n")]
    return [Think("A die."), Say("Let me see."), Call("roll_dice", {"notation": "1d6"})]


# --- standard output is the answer --------------------------------------------------------------------------------------


def test_the_answer_goes_to_standard_output(run: Run) -> None:
    ran = run("chat", "-m", "hello", "--backend", "scripted", "--session", "here")
    assert ran == (0, "You said: hello\n", "scripted · gpt-4o · session here\n")


def test_a_piped_text_is_one_message(run: Run) -> None:
    ran = run("chat", "--backend", "scripted", stdin="\ufeffa\n\nb\n")
    assert (ran.code, ran.out) == (0, "You said: a\n\nb\n")


def test_a_message_on_the_command_line_wins_over_the_pipe(run: Run) -> None:
    assert run("chat", "-m", "this", "--backend", "scripted", stdin="that").out == "You said: this\n"


def test_whatever_is_not_the_answer_goes_to_standard_error(serve: Serve, run: Run) -> None:
    serve(with_a_tool)
    ran = run("chat", "-m", "roll")
    assert ran.out == "Let me see.\nIt shows a number.\n"
    header, call, result = ran.err.splitlines()
    assert header.startswith("openai · gpt-4o · session s")
    assert call == '* roll_dice {"notation": "1d6"}'
    assert result.startswith("* roll_dice: ")


def test_the_answer_is_not_touched(serve: Serve, run: Run) -> None:
    serve(lambda _: [Say("\x1b[31mred\x1b[0m\t\x07 "), Say("naïve 🎲")])
    assert run("chat", "-m", "x").out == "\x1b[31mred\x1b[0m\t\x07 naïve 🎲\n"


def test_json_is_one_document(serve: Serve, run: Run) -> None:
    serve(with_a_tool)
    ran = run("chat", "-m", "roll", "--json", "--session", "here")
    assert ran.err == ""
    answer = ran.json
    result = answer["tool_calls"][0].pop("result")
    usage = answer.pop("usage")
    assert result
    assert [step["outputTokens"] for step in usage] == [5, 5]
    assert answer.pop("turn_id")
    assert answer == {
        "session_id": "here",
        "backend": "openai",
        "llm_model": "gpt-4o",
        "outcome": "completed",
        "finish_reason": "stop",
        "error": None,
        "text": "Let me see.\nIt shows a number.\n",
        "reasoning": "A die.",
        "tool_calls": [{"name": "roll_dice", "arguments": '{"notation": "1d6"}'}],
        "sources": [],
        "notices": [],
    }


# --- sessions -----------------------------------------------------------------------------------------------------------


def test_a_session_goes_on(serve: Serve, run: Run) -> None:
    provider = serve(echo)
    run("chat", "-m", "one", "--session", "long")
    run("chat", "-m", "two", "--session", "long")
    said = [message["content"] for message in provider.requests[-1]["messages"] if message["role"] != "system"]
    assert said[1].startswith("heard: ")
    # The echo repeats the turn's context too, which stands before the message.
    assert [text.splitlines()[-1] for text in said] == ["one", "one", "two"]
    assert run("sessions", "list").rows[0][:2] == ["long", "one"], "it is called after its first message"


def test_what_is_left_out_stays_as_it_is(run: Run) -> None:
    run("chat", "-m", "x", "--session", "s", "--backend", "scripted", "--model", "m", "--persona", "tutor")
    ran = run("chat", "-m", "y", "--session", "s")
    assert ran.err == "scripted · m · tutor · session s\n"
    ran = run("chat", "-m", "z", "--session", "s", "--persona", "default")
    assert ran.err == "scripted · m · session s\n"


def test_another_backend_is_asked_for_its_own_model(serve: Serve, run: Run) -> None:
    provider = serve(echo)
    run("chat", "-m", "x", "--session", "s", "--backend", "scripted", "--model", "m")
    assert run("chat", "-m", "y", "--session", "s", "--backend", "openai").code == 0
    assert provider.requests[-1]["model"] == "gpt-4o"


def test_a_persona_brings_its_own_backend(run: Run, home: Path) -> None:
    folder = home / "personas"
    folder.mkdir(parents=True)
    (folder / "parrot.md").write_text("---\nname: parrot\nbackend: scripted\nmodel: polly\n---\nYou repeat.\n")
    ran = run("chat", "-m", "hello", "--persona", "parrot")
    assert (ran.code, ran.out) == (0, "You said: hello\n")
    assert ran.err.startswith("scripted · polly · parrot · ")


def test_options_are_taken_before_and_behind_the_command(run: Run, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'other.db'}"
    run("--store", store, "chat", "-m", "x", "--backend", "scripted", "--session", "s")
    assert run("sessions", "list").rows == []
    assert len(run("sessions", "list", "--store", store).rows) == 1


def test_a_configuration_file_is_honoured(run: Run, tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text('default_backend = "scripted"\ndefault_model = "from-file"\n')
    ran = run("chat", "-m", "x", "--config", str(tmp_path / "my.toml"))
    assert (ran.code, ran.err.startswith("scripted · from-file · ")) == (0, True)


# --- what goes wrong ----------------------------------------------------------------------------------------------------


def test_a_failed_answer_is_a_failure(serve: Serve, run: Run) -> None:
    serve(lambda _: [Refuse(401, "Incorrect API key provided")])
    ran = run("chat", "-m", "x")
    assert (ran.code, ran.out) == (1, "")
    assert "error: the API at 127.0.0.1" in ran.err
    assert "Incorrect API key provided" in ran.err
    assert "[backend_unauthorized]" in ran.err
    assert "Traceback" not in ran.err


def test_a_failed_answer_is_a_failure_in_json_too(serve: Serve, run: Run) -> None:
    serve(lambda _: [Refuse(400, "no such thing")])
    ran = run("chat", "-m", "x", "--json")
    assert ran.code == 1
    assert ran.json["outcome"] == "failed"
    assert ran.json["error"]["code"] == "backend_rejected"


def test_an_answer_that_began_twice_is_not_passed_on_as_one(serve: Serve, run: Run) -> None:
    answers: list[list[Cue]] = [[Say("Wrong "), Cut()], [Say("Right")]]
    serve(lambda _: answers.pop(0))
    ran = run("chat", "-m", "x", "--session", "s")
    assert (ran.code, ran.out) == (1, "Wrong \nRight\n")
    assert "the output also has the beginning that is void" in ran.err
    assert run("sessions", "show", "s").out.endswith("> x\nRight\n")


def test_json_has_only_the_answer_that_counts(serve: Serve, run: Run) -> None:
    answers: list[list[Cue]] = [[Say("Wrong "), Cut()], [Say("Right")]]
    serve(lambda _: answers.pop(0))
    ran = run("chat", "-m", "x", "--json")
    assert (ran.code, ran.json["text"]) == (0, "Right")


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["--backend", "nobody"], "unknown backend 'nobody'", "the backends are"),
        (["--persona", "nobody"], "unknown persona 'nobody'", "the personas are"),
        (["--tool", "NoTools"], "unknown toolset 'NoTools'", "the toolsets are"),
        (["--session", "not an id"], "malformed session id", "1 to 128"),
        (["--model", ""], "llm_model='' is out of range", "1 to 256"),
        (["--store", "nonsense"], "'nonsense' is not the URL of a store", "sqlite:///"),
        (["--store", "postgresql://host/db"], "not supported yet", "until then"),
        (["--config", "nowhere.toml"], "'nowhere.toml' cannot be read", None),
        (["--colour"], "No such option: --colour", "greenroom chat --help"),
        (["--log-level", "loud"], "Invalid value for '--log-level'", "greenroom chat --help"),
    ],
)
def test_bad_values_are_usage_errors(run: Run, arguments: list[str], message: str, hint: str | None) -> None:
    base = [] if "--backend" in arguments else ["--backend", "scripted"]
    ran = run("chat", "-m", "x", *base, *arguments)
    assert (ran.code, ran.out) == (2, "")
    error, *more = ran.err.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert [line.startswith("hint: ") and hint in line for line in more] == ([True] if hint else [])
    assert run("sessions", "list").rows == [], "nothing was stored"


@pytest.mark.parametrize("stdin", ["", "  \n"])
def test_an_empty_pipe_is_a_usage_error(run: Run, stdin: str) -> None:
    ran = run("chat", "--backend", "scripted", stdin=stdin)
    assert (ran.code, ran.err.splitlines()[0]) == (2, "error: the message is empty")


def test_a_piped_text_must_be_text(run: Run) -> None:
    ran = run("chat", "--backend", "scripted", stdin=b"abc\xff")
    assert (ran.code, ran.err.splitlines()[0]) == (2, "error: the piped text is not UTF-8: byte 3 cannot be read")


def test_a_piped_text_has_a_bound(run: Run) -> None:
    ran = run("chat", "--backend", "scripted", stdin="x" * (1024 * 1024 + 1))
    assert (ran.code, ran.err.splitlines()[0]) == (1, "error: the piped text has more than 1048576 bytes")


def test_a_home_that_cannot_be_made(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = run("chat", "-m", "x", "--backend", "scripted", "--home", str(tmp_path / "file" / "home"))
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("error: the database cannot be made or written")
    assert "database: " in ran.err, "and where"


# --- signals and pipes --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_stops_the_answer_and_keeps_what_was_said(serve: Serve, run: Run) -> None:
    provider = serve(lambda _: [Say("One, "), Say("two"), Gate()])
    arguments = program("chat", "-m", "count", "--session", "s")
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(8) == b"One, two"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == b"\n"
        assert process.stderr.read().decode().splitlines()[-1] == "stopped"
        assert process.wait(50) == 1
    assert provider.client_left.wait(30)
    assert run("sessions", "show", "s").out.endswith("> count\nOne, two\nstopped\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no broken pipes")
def test_a_reader_that_has_had_enough_stops_the_answer(serve: Serve, run: Run) -> None:
    has_read = Gate()
    provider = serve(lambda _: [Say("line 1\n"), has_read, *[Say("more\n")] * 50, Gate()])
    arguments = program("chat", "-m", "go on", "--session", "s")
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"line 1\n"
        process.stdout.close()
        has_read.is_open.set()
        assert process.stderr.read().decode().splitlines()[1:] == [], "silence"
        assert process.wait(50) == 1
    assert provider.client_left.wait(30), "nobody pays for what nobody reads"
    assert run("sessions", "list").rows[0][5] == "idle"


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of its own")
def test_output_is_flushed_as_it_comes(serve: Serve) -> None:
    gate = Gate()
    serve(lambda _: [Say("first"), gate, Say(" second")])
    with subprocess.Popen(program("chat", "-m", "x"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert os.read(process.stdout.fileno(), 100) == b"first", "before the answer has ended"
        gate.is_open.set()
        assert process.stdout.read() == b" second\n"
        assert process.wait(50) == 0


# --- answers that are not whole (case P3) -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "finish", "told"),
    [
        ("length", "length", "the answer was cut off at the "),
        ("content_filter", "content_filter", "the provider's content filter cut the answer off"),
    ],
)
def test_an_answer_that_was_cut_off_has_a_line_and_an_exit_code_of_its_own(
    serve: Serve, run: Run, word: str, finish: str, told: str
) -> None:
    serve(lambda _: [Say("Half a sent"), End(word)])
    ran = run("chat", "-m", "x")
    assert (ran.code, ran.out) == (3, "Half a sent\n")
    assert f"note: {told}" in ran.err
    document = run("chat", "-m", "x", "--json")
    assert document.code == 3
    assert (document.json["outcome"], document.json["finish_reason"]) == ("completed", finish)


def test_a_whole_answer_is_a_success(serve: Serve, run: Run) -> None:
    serve(lambda _: [Say("A sentence.")])
    ran = run("chat", "-m", "x", "--json")
    assert (ran.code, ran.json["finish_reason"]) == (0, "stop")
