"""A program on a terminal of its own, and a person in front of it: types, looks, waits for what should appear.

Rule: a person waits for something to be seen, never for a while; what was seen instead is in the error.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

WAIT_S_MAX = 40
PROMPT = "\n>"
CTRL_C, CTRL_D, ENTER, ESCAPE = "\x03", "\x04", "\r", "\x1b"

_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_=>]|\r")
_OWN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """The screen and the keyboard of a running program."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], *, size: tuple[int, int]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        self._process = subprocess.Popen(
            # Its own terminal, as a shell would give it: otherwise Ctrl-C is a letter like any other.
            [sys.executable, "-c", _OWN_TERMINAL, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**environment, "TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1"},
        )
        os.close(slave)
        self._raw = ""
        self._seen_to = 0

    @property
    def screen(self) -> str:
        """All that was shown so far, without colours and movements."""
        return _SEQUENCE.sub("", self._raw)

    def type(self, keys: str) -> None:
        """Presses keys."""
        os.write(self._master, keys.encode())

    def enter(self, line: str) -> None:
        """Types a line at the prompt and sends it."""
        self.expect(PROMPT)
        self.type(line + ENTER)

    def paste(self, text: str) -> None:
        """Pastes, as terminals do since they can tell it from typing."""
        self.type(f"{ESCAPE}[200~{text}{ESCAPE}[201~")

    def expect(self, text: str) -> str:
        """Waits until `text` is shown, behind what was waited for before; returns what came up to it."""
        deadline = time.monotonic() + WAIT_S_MAX
        while (at := self.screen.find(text, self._seen_to)) < 0:
            if not self._read(deadline):
                raise AssertionError(f"waited for {text!r}, saw {self.screen[self._seen_to :]!r}")
        seen, self._seen_to = self.screen[self._seen_to : at], at + len(text)
        return seen

    def ends(self) -> int:
        """Waits for the end of the program and returns its exit code."""
        deadline = time.monotonic() + WAIT_S_MAX
        while self._read(deadline):
            pass
        return self._process.wait(WAIT_S_MAX)

    def kill(self) -> None:
        """Kills the program as the system does when memory is short."""
        self._process.kill()
        self.ends()

    def close(self) -> None:
        """Ends everything."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        os.close(self._master)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux: the program has closed its end
            return False
        self._raw += data.decode(errors="replace")
        return bool(data)


@contextmanager
def terminal(arguments: Sequence[str], *, size: tuple[int, int] = (100, 40), **environment: str) -> Iterator[Terminal]:
    """Runs a program on a terminal."""
    screen = Terminal(arguments, {**os.environ, **environment}, size=size)
    try:
        yield screen
    finally:
        screen.close()
