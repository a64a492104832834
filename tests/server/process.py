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

    def __init__(
        self, home: Path, limits: dict[str, Any] | None = None, *, counts_memory: bool = False, child: Path = CHILD
    ) -> None:
        self._child = child
        self._counts_memory = counts_memory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._arguments = [str(home), str(self.port), TOKEN, json.dumps(limits or {})]
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                *(["-X", "tracemalloc"] if self._counts_memory else []),
                str(self._child),
                *self._arguments,
            ),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
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

    async def held_bytes(self) -> int:
        """What the objects of a server that counts its memory take.

        Not what the system gave the process: that is what it took at its peak, less what the allocator happens to give back.
        """
        assert self._counts_memory
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"held\n")
        return int(await self._process.stdout.readline())

    async def _end(self, how: signal.Signals) -> int:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(how)
        return await self._process.wait()


@asynccontextmanager
async def running(
    home: Path, limits: dict[str, Any] | None = None, *, counts_memory: bool = False, child: Path = CHILD
) -> AsyncIterator[ServerProcess]:
    """Gives a server that runs; kills what is left of it."""
    server = ServerProcess(home, limits, counts_memory=counts_memory, child=child)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()
