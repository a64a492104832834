"""Starts, kills and stops server processes.

Rule: a process belongs to the test that started it, and ends with it.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

CHILD = Path(__file__).with_name("serving_child.py")
TOKEN = "token-of-a-server-process"


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess:
    """One server on one port, over any number of lives."""

    def __init__(self, home: Path, limits: dict[str, Any] | None = None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._arguments = [str(home), str(self.port), TOKEN, json.dumps(limits or {})]
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, str(CHILD), *self._arguments, stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert (await self._process.stdout.readline()).startswith(b"http://"), "the server did not start"

    async def kill(self) -> None:
        """Without a warning."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """As a supervisor does; returns the exit code."""
        return await self._end(signal.SIGTERM)

    def ask_to_stop(self) -> None:
        """Sends the signal, and does not wait."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    async def ended(self) -> int:
        """Waits for the end."""
        assert self._process is not None
        return await self._process.wait()

    @property
    def memory_bytes(self) -> int:
        """What the process holds in memory."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    async def _end(self, how: signal.Signals) -> int:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(how)
        return await self._process.wait()


@asynccontextmanager
async def running(home: Path, limits: dict[str, Any] | None = None) -> AsyncIterator[ServerProcess]:
    """Gives a server that runs; kills what is left of it."""
    server = ServerProcess(home, limits)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()
