"""Servers under measurement: each a process of its own, of which CPU time and memory are read from the system.

Rule: a server is started by what its users start: `greenroom serve`, or an app on uvicorn.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from benchmarks.contenders.contract import MODEL, Store
from benchmarks.contenders.environments import NotInstalled
from benchmarks.contenders.orders import OFFLINE, ROOT, Failed, complaint, interpreter
from benchmarks.contenders.roster import Entry
from benchmarks.serving.apps import Framework, ServerOrder

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_MODELS: Final = {"openai": MODEL, "claude": "claude-sonnet-5-5"}
_LIMITS: Final = """\
[limits]
streams_per_user_max = 10000
streams_max = 10000
requests_per_minute_max = 1000000
messages_per_minute_max = 1000000
"""
"""One user stands for all here, so the limits of one user are those of all."""


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
        create, message, events: where sessions are made, messages sent, and a session is followed.
        create_bodies: of the first of those, by the backend that the session shall have.
        message_body: of the second.
        mark: what stands before the text of a delta in its streams.
        log: what the server complained about.
        headers: of all requests.
        users: those of further users, by name.
    """

    port: int
    pid: int
    create: str
    create_bodies: Mapping[str, str]
    message: str
    message_body: str
    events: str = ""
    mark: bytes = b'"delta":"'
    log: Path | None = None
    headers: dict[str, str] = field(default_factory=dict)
    users: Mapping[str, dict[str, str]] = field(default_factory=dict)

    def as_user(self, name: str) -> Server:
        """Returns the same server, asked by another user."""
        return replace(self, headers=self.users[name])

    def cpu_s(self) -> float:
        """Returns the CPU time of the process with all its threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def complaint(self) -> str:
        """Returns what its log says last."""
        return _complaint(self.log) if self.log else ""

    def memory_mb(self, what: str = "VmRSS") -> float:
        """Returns the memory of the process now; `VmHWM` is the most that it had."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) / 1024


@contextlib.contextmanager
def greenroom(url: str, *, claude_url: str = "", users: Sequence[str] = ()) -> Iterator[Server]:
    """Runs `greenroom serve` over SQLite, its providers being the fake ones at these URLs; `users` get a key each.

    Raises:
        Failed: it did not start.
    """
    token = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        config = Path(folder) / "greenroom.toml"
        backends = {"openai": f"{url}/v1", "claude": claude_url or url}
        tables = [f'[{name}]\napi_key = "none"\nbase_url = "{base}"\n' for name, base in backends.items()]
        keys = {user: secrets.token_hex(16) for user in users}
        tables += [f'[[server.api_keys]]\nkey = "{key}"\nuser = "{user}"\n' for user, key in keys.items()]
        config.write_text("\n".join([_LIMITS, *tables]), encoding="utf-8")
        environment = {"GREENROOM_HOME": folder, "GREENROOM_TOKEN": token, "GREENROOM_CONFIG": str(config)}
        command = [str(Path(sys.executable).with_name("greenroom")), "serve", "--port", "0"]
        with _running(command, Path(folder), environment) as child:
            address = urlsplit(_first_line(child, Path(folder)))
            yield Server(
                port=address.port or 0,
                pid=child.pid,
                create="/v1/sessions",
                create_bodies={
                    backend: f'{{"llm_model":"{model}","backend":"{backend}"}}' for backend, model in _MODELS.items()
                },
                message="/v1/sessions/{}/messages",
                message_body='{"message":"go"}',
                events="/v1/sessions/{}/events",
                log=Path(folder) / "errors",
                headers={"authorization": f"Bearer {token}"},
                users={user: {"authorization": f"Bearer {key}"} for user, key in keys.items()},
            )


@contextlib.contextmanager
def app(entry: Entry, store: Store, framework: Framework, url: str) -> Iterator[Server]:
    """Runs a contender behind a web framework on uvicorn.

    Raises:
        Failed: it could not be installed, or did not start.
    """
    try:
        python = str(interpreter(entry))
    except NotInstalled as error:
        raise Failed(str(error)) from error
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        order = ServerOrder(entry.module, store, framework, url)
        command = [python, "-m", "benchmarks.serving.apps", order.text()]
        with _running(command, Path(folder), OFFLINE) as child:
            port = int(_first_line(child, Path(folder)))
            yield Server(
                port=port,
                pid=child.pid,
                create="/sessions",
                create_bodies={"openai": "{}"},
                message="/sessions/{}/messages",
                message_body="{}",
                log=Path(folder) / "errors",
            )


@contextlib.contextmanager
def _running(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    with (folder / "errors").open("w", encoding="utf-8") as errors:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        try:
            yield child
        finally:
            # Nobody waits for a drain here: what was measured is measured.
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe:
                    pipe.close()


def _first_line(child: subprocess.Popen[str], folder: Path) -> str:
    """Returns what a server prints when it listens.

    Raises:
        Failed: it printed nothing; says what it complained about.
    """
    assert child.stdout is not None
    if line := child.stdout.readline().strip():
        return line
    raise Failed(f"the server did not start: {_complaint(folder / 'errors')}")


def _complaint(log: Path) -> str:
    return complaint(log.read_text(encoding="utf-8", errors="replace"))
