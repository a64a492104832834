"""What everyone who is measured has to do: keep agent sessions, and show each answer as it comes.

A contender is a module of this folder with a function `opened`, that runs in an environment of its own (`environments`) and is
driven by the same work as all others (`works`).

Rule: the same for all. Each is used as its own documentation shows it: its recommended streaming call, its own store of sessions.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Literal, Protocol

Show = Callable[[str], None]
"""Is given each piece of text of the answer, at once."""

Store = Literal["memory", "sqlite", "files"]
"""Where the sessions of a contender are kept."""

INSTRUCTIONS = "You are brief."
QUESTION = "go"
MODEL = "gpt-4o"


class Contender(Protocol):
    """Something that keeps agent sessions."""

    async def create(self) -> Any:
        """Returns a new session, of whatever kind."""
        ...

    async def answer(self, session: Any, show: Show) -> None:
        """Sends `QUESTION`, shows the answer as it streams, and leaves it in the session.

        Raises:
            Exception: the turn failed.
        """
        ...


class Streaming(Contender, Protocol):
    """A contender that gives its answers as an asynchronous generator, as an HTTP handler wants it."""

    def pieces(self, session: Any) -> AsyncIterator[str]:
        """Sends `QUESTION`, yields the answer as it streams, and leaves it in the session.

        Raises:
            Exception: the turn failed.
        """
        ...

    async def answer(self, session: Any, show: Show) -> None:
        """Shows the pieces."""
        async for text in self.pieces(session):
            show(text)


class Opener(Protocol):
    """What a module of this folder gives: `opened`."""

    def __call__(self, url: str, store: Store, folder: Path) -> AbstractAsyncContextManager[Contender]:
        """Gives the contender, connected to the provider at `url` (an OpenAI base URL less its `/v1`).

        `folder` is empty, and for whatever it keeps.
        """
        ...
