"""Who answers in a session whose creator names nobody: the first that can, as for the command line.

What can answer changes while a server runs (an Ollama is started, a model is fetched), so it is looked at again, but not for
every session.

Rule: what a request says wins over the persona, and the persona over the default.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from greenroom.config import DEFAULT_PERSONA
from greenroom.errors import BackendUnavailable
from greenroom.manager import AgentManager
from greenroom.settings import Settings
from greenroom.usable import Candidate, choose

_LOOK_AGAIN_S: Final = 30.0


class Defaults:
    """The default backend and model."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._found: Candidate | None = None
        self._looked_at_s = 0.0

    async def candidate(self) -> Candidate:
        """Returns the default, which may be one that cannot answer."""
        now_s = asyncio.get_running_loop().time()
        if self._found is None or now_s - self._looked_at_s > _LOOK_AGAIN_S:
            self._found = (await choose(self._settings)).candidate
            self._looked_at_s = now_s
        return self._found

    async def applied(self, manager: AgentManager, given: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the settings of a new session, with backend and model where nobody names them.

        Raises:
            BackendUnavailable: nobody names a backend, and none can answer here.
            UnknownPersona: there is no such persona.
        """
        settings = dict(given)
        persona = await manager.catalog.persona(settings.get("persona_name", DEFAULT_PERSONA))
        if settings.get("backend") is not None or persona.backend is not None:
            return settings
        default = await self.candidate()
        if not default.is_usable:
            raise BackendUnavailable(
                "nothing can answer here: no key is set, no Ollama runs, and the local model is not complete",
                hint="set OPENAI_API_KEY or ANTHROPIC_API_KEY for the server; `greenroom doctor` says more",
            )
        settings["backend"] = default.backend
        if settings.get("llm_model") is None and persona.llm_model is None and default.model is not None:
            settings["llm_model"] = default.model
        return settings
