"""What a runner needs to know about backends, tools and personas, by name.

Rule: names in, protocols out. Who implements them is the catalogue's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from greenroom.interfaces import Backend, Persona, Tool
from greenroom.messages import Usage


class Families(Protocol):
    """The backends, tools and personas that exist here."""

    def backend(self, name: str) -> Backend:
        """Returns the backend.

        Raises:
            UnknownBackend: there is none of that name; names those that exist.
        """
        ...

    def tools(self, names: Sequence[str]) -> Mapping[str, Tool]:
        """Returns the tools of these toolsets by tool name, in the order of the toolsets.

        Raises:
            UnknownTool: there is no toolset of a name; names those that exist.
            InvalidArgument: two toolsets have a tool of the same name.
        """
        ...

    async def persona(self, name: str) -> Persona:
        """Returns the persona.

        Raises:
            UnknownPersona: there is none of that name; names those that exist.
        """
        ...

    async def priced(self, usage: Usage, *, backend: str, model: str) -> Usage:
        """Returns the usage with its cost, where the price of the model is known."""
        ...

    async def close_session(self, session_id: str) -> None:
        """Lets the toolsets go of what they hold for a session."""
        ...

    async def close(self) -> None:
        """Closes all backends and toolsets that were used. Idempotent."""
        ...
