"""What the server has that belongs to nobody: catalogue, defaults, quotas, tasks.

Rule: nothing here gives away a session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from greenroom.config import ESSENTIAL_TOOLS
from greenroom.errors import GreenroomError
from greenroom.manager import AgentManager
from greenroom.runtime.clock import SystemClock
from greenroom.runtime.tasks import Tasks
from greenroom.server.metrics import Metrics
from greenroom.server.missed import Missed
from greenroom.server.quotas import Quotas
from greenroom.server.runs import Runs
from greenroom.server.site_files import LOGIN_PAGE, File, read_files
from greenroom.settings import Settings
from greenroom.usable import UNLISTED, candidates


class Place:
    """One running server.

    Attributes:
        settings: of the installation.
        defaults: who answers where nobody is named.
        quotas: what users may do at the same time, and in a minute.
        runs: where the runs are that were asked for last.
        missed: whose streams broke off.
        tasks: what runs beside the requests.
        files: of the web UI.
        document: the OpenAPI document.
        metrics: how much was done.
        is_draining: no turn begins any more.
        is_ready: the store was opened.
    """

    def __init__(self, manager: AgentManager, *, dropped_log_lines: Callable[[], int]) -> None:
        self._manager = manager
        self.settings: Settings = manager.settings
        self.defaults = manager.defaults
        self.quotas = Quotas(self.settings.limits)
        self.runs = Runs()
        self.missed = Missed(since_ms=SystemClock().now_ms())
        self.tasks = Tasks()
        self.files: Mapping[str, File] = {}
        self._login_page: Mapping[str, File] = {}
        self.document = b""
        self.metrics = Metrics(
            open_streams=lambda: self.quotas.open_streams,
            open_sessions=lambda: len(manager.sessions),
            running_turns=lambda: manager.running_turns,
            dropped_log_lines=dropped_log_lines,
        )
        self.is_draining = False
        self.is_ready = False

    async def login_file(self, name: str) -> File:
        """Returns a file of the page at which a browser logs in; read when it is first needed, also by an app that nobody starts."""
        if not self._login_page:
            self._login_page = await asyncio.to_thread(read_files, LOGIN_PAGE)
        return self._login_page[name]

    async def personas(self) -> list[dict[str, Any]]:
        """Returns the personas, without their texts: a system prompt is not for clients."""
        personas = await self._manager.catalog.personas()
        return [{"name": persona.name, "description": persona.description} for persona in personas]

    def toolsets(self) -> list[dict[str, Any]]:
        """Returns the toolsets with their tools."""
        catalog = self._manager.catalog
        return [_toolset(catalog.toolset(name)) for name in catalog.toolset_names()]

    async def models(self) -> list[dict[str, Any]]:
        """Returns what can be asked, and why something cannot."""
        default = await self.defaults.candidate()
        found = await candidates(self.settings)
        rows = [
            {
                "backend": candidate.backend,
                "model": candidate.model or self._default_model(candidate.backend),
                "is_default": candidate.backend == default.backend,
                "usable": candidate.is_usable,
            }
            | ({} if candidate.is_usable else {"reason": candidate.why})
            for candidate in found
        ]
        listed = {row["backend"] for row in rows}
        for name in self._manager.catalog.backend_names():
            # Clouds that are set up are among the candidates; the scripted backend is for tests and demonstrations, by its name.
            if name not in listed and name not in UNLISTED:
                is_default = name == default.backend
                rows.append(
                    {"backend": name, "model": self._default_model(name), "is_default": is_default, "usable": True}
                )
        return rows

    async def default_model(self) -> str | None:
        """Returns the model that answers where nobody names one."""
        default = await self.defaults.candidate()
        return default.model or self._default_model(default.backend)

    async def notices(self) -> list[dict[str, str]]:
        """Returns what whoever uses this server should know."""
        default = await self.defaults.candidate()
        if not default.is_usable:
            text = "nothing can answer here: no key is set, no Ollama runs, and the local model is not complete"
            return [
                {
                    "code": "no_backend",
                    "text": text,
                    "hint": f"set OPENAI_API_KEY or ANTHROPIC_API_KEY, or: {default.remedy}",
                }
            ]
        if default.is_demo:
            text = "a very small model for demonstrations answers: expect wrong answers"
            hint = "for real work set OPENAI_API_KEY or ANTHROPIC_API_KEY, or run Ollama"
            return [{"code": "local_demo_model", "text": text, "hint": hint}]
        return []

    async def is_store_reachable(self) -> bool:
        """Returns whether the store answers within a moment."""
        try:
            async with asyncio.timeout(2.0):
                await self._manager.list_sessions(limit=1)
        except (GreenroomError, TimeoutError):
            return False
        return True

    def _default_model(self, backend: str) -> str | None:
        return self._manager.catalog.suggested_model(backend)


def _toolset(toolset: Any) -> dict[str, Any]:
    tools: Sequence[Any] = toolset.tools()
    return {
        "name": toolset.name,
        "description": toolset.description,
        "is_essential": toolset.name in ESSENTIAL_TOOLS,
        "tools": [{"name": tool.spec.name, "description": tool.spec.description} for tool in tools],
    }
