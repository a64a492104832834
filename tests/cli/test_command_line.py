"""The commands as such: help, usage errors, exit codes, and what starting costs."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys

import pytest

from cli.conftest import Run, program, run_program
from greenroom import __version__
from greenroom.cli.interrupt import Interrupts
from greenroom.errors import LogUnavailable

COMMANDS = [
    ["chat"],
    ["sessions", "list"],
    ["sessions", "show"],
    ["sessions", "export"],
    ["sessions", "import"],
    ["sessions", "fork"],
    ["sessions", "delete"],
    ["sessions", "search"],
    ["usage"],
    ["doctor"],
    ["migrate"],
    ["model", "pull"],
    ["model", "list"],
    ["personas"],
    ["personas", "show"],
    ["toolsets"],
]


def test_help_names_every_command(run: Run) -> None:
    ran = run("--help")
    assert (ran.code, ran.err) == (0, "")
    for command in {names[0] for names in COMMANDS}:
        assert f"\n  {command} " in ran.out
    assert run("-h").out == ran.out


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_and_json(run: Run, command: list[str]) -> None:
    ran = run(*command, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"Usage: greenroom {' '.join(command)} ")
    assert "--json" in ran.out
    assert "--home" in ran.out


def test_the_version(run: Run) -> None:
    assert run("--version") == (0, f"greenroom {__version__}\n", "")


@pytest.mark.parametrize("command", [[], ["sessions"], ["model"]], ids=" ".join)
def test_a_command_without_its_subcommand_is_helped(run: Run, command: list[str]) -> None:
    ran = run(*command)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"Usage: {' '.join(['greenroom', *command])} ")


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["serv"], "error: No such command 'serv'", "hint: greenroom --help"),
        (["sessions", "lst"], "error: No such command 'lst'", "hint: greenroom sessions --help"),
        (["sessions", "show"], "error: Missing argument 'ID'", "hint: greenroom sessions show --help"),
        (
            ["sessions", "show", "a", "b"],
            "error: Got unexpected extra argument",
            "hint: greenroom sessions show --help",
        ),
        (["doctor", "--nonsense"], "error: No such option: --nonsense", "hint: greenroom doctor --help"),
        (["--home"], "error: Option '--home' requires an argument", "hint: greenroom --help"),
    ],
)
def test_usage_errors(run: Run, arguments: list[str], error: str, hint: str) -> None:
    ran = run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    first, second = ran.err.splitlines()
    assert first.startswith(error)
    assert second.startswith(hint)


def test_a_bad_variable_is_a_usage_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENROOM_PORT", "many")
    ran = run("doctor")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: configuration: ")


def test_it_runs_as_a_module_and_as_a_program() -> None:
    assert run_program("--version").out == f"greenroom {__version__}\n"


# --- what starting costs ------------------------------------------------------------------------------------------------

PROBE = """
import json, sys
from greenroom.cli import main
code = main({arguments!r})
print(json.dumps([code, sorted({{name.partition(".")[0] for name in sys.modules}})]), file=sys.stderr)
"""


def imported_by(*arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(arguments=arguments)],
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    return set(json.loads(done.stderr.splitlines()[-1])[1])


def test_help_loads_nothing_that_it_does_not_need() -> None:
    heavy = {
        *(
            "aiohttp",
            "anthropic",
            "asyncio",
            "genai_prices",
            "httpx2",
            "msgspec",
            "openai",
            "prompt_toolkit",
            "pydantic",
        ),
        *("rich", "sqlite3", "uvloop", "xllamacpp"),
    }
    assert not heavy & imported_by("--help")


def test_reading_in_a_pipe_loads_neither_screen_nor_provider() -> None:
    heavy = {
        "aiohttp",
        "anthropic",
        "genai_prices",
        "httpx2",
        "openai",
        "prompt_toolkit",
        "rich",
        "uvloop",
        "xllamacpp",
    }
    assert not heavy & imported_by("sessions", "list")


# --- pipes and signals --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no broken pipes")
def test_a_closed_pipe_is_no_error_to_speak_of() -> None:
    with subprocess.Popen(program("toolsets", "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(50) == 1


def test_a_standard_output_that_lacks_characters_gets_others(run: Run) -> None:
    ran = run_program("chat", "-m", "naïve 🎲", "--backend", "scripted", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (ran.code, ran.out) == (0, "You said: na?ve ?\n")


async def test_the_second_ctrl_c_leaves() -> None:
    asked = asyncio.Event()

    async def stop() -> None:
        asked.set()

    async def answer_that_does_not_stop() -> None:
        with Interrupts(stop):
            signal.raise_signal(signal.SIGINT)
            await asked.wait()
            signal.raise_signal(signal.SIGINT)
            await asyncio.Event().wait()

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        await answer_that_does_not_stop()
    assert signal.getsignal(signal.SIGINT) is before


async def test_an_answer_that_cannot_be_stopped_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    async def stop() -> None:
        raise LogUnavailable("the disk is gone", hint="get another")

    with Interrupts(stop):
        signal.raise_signal(signal.SIGINT)
        for _ in range(10):  # the signal, the task, its end
            await asyncio.sleep(0)
    assert capsys.readouterr().err == "error: the answer cannot be stopped: the disk is gone\nhint: get another\n"
