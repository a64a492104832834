"""How these tests run the command line: in this process where that shows everything, else as a program of its own.

Rule: no test finds a key, an Ollama or a model that happens to be on the machine.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cli.provider import Provider, Script, provider
from greenroom.cli import main

NO_OLLAMA = "127.0.0.1:1"
"""A port that nobody listens at."""


class Ran(NamedTuple):
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The document on standard output."""
        return json.loads(self.out)

    @property
    def rows(self) -> list[list[str]]:
        """The table on standard output."""
        return [line.split("\t") for line in self.out.splitlines()]


Run = Callable[..., Ran]


@pytest.fixture(autouse=True)
def _bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OLLAMA_HOST", NO_OLLAMA)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder")


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process."""

    def run_here(*arguments: str, stdin: str | bytes | None = None) -> Ran:
        data = stdin.encode() if isinstance(stdin, str) else stdin or b""
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        code = main(arguments)
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return Ran(code, out.decode(), err.decode())

    return run_here


def program(*arguments: str) -> list[str]:
    """Returns the command line that runs `greenroom` as a program."""
    return [sys.executable, "-m", "greenroom", *arguments]


def run_program(*arguments: str, stdin: bytes = b"", **environment: str) -> Ran:
    """Runs a command as a program."""
    done = subprocess.run(
        program(*arguments),
        input=stdin,
        capture_output=True,
        check=False,
        timeout=50,
        env={**os.environ, **environment},
    )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Script], Provider]]:
    """Starts a provider that plays a script, and makes it the one that OpenAI's variables name."""
    running: list[Any] = []

    def start(script: Script) -> Provider:
        context = provider(script)
        running.append(context)
        playing = context.__enter__()
        monkeypatch.setenv("OPENAI_BASE_URL", playing.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "a-key")
        return playing

    yield start
    for context in running:
        context.__exit__(None, None, None)


Serve = Callable[[Script], Provider]


def ids(rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the first column."""
    return [row[0] for row in rows]
