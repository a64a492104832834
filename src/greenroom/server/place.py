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
from greenroom.model_lists import NOT_YET, Listing, ModelLists, is_listed, offer_of
from greenroom.runtime.clock import SystemClock
from greenroom.runtime.tasks import FAILING_S, Failures, Tasks
from greenroom.server.metrics import Metrics
from greenroom.server.missed import Missed
from greenroom.server.quotas import Quotas
from greenroom.server.runs import Runs
from greenroom.server.site_files import LOGIN_PAGE, File, read_files
from greenroom.settings import Settings
from greenroom.usable import UNLISTED, Candidate, candidates, preferred


class Place:
    """One running server.

    Attributes:
        settings: of the installation.
        defaults: who answers where nobody is named.
        quotas: what users may do at the same time, and in a minute.
        runs: where the runs are that were asked for last.
        missed: whose streams broke off.
        tasks: what runs beside the requests.
        lists: which models the providers say that they have.
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
        self.lists = ModelLists(manager.catalog.backend, self.tasks)
        self.files: Mapping[str, File] = {}
        self._login_page: Mapping[str, File] = {}
        self.document = b""
        self.metrics = Metrics(
            open_streams=lambda: self.quotas.open_streams,
            open_sessions=lambda: len(manager.sessions),
            running_turns=lambda: manager.running_turns,
            dropped_log_lines=dropped_log_lines,
            failures=lambda: {name: failed.count for name, failed in self.failures.items()},
        )
        self.is_draining = False
        self.is_ready = False

    @property
    def failures(self) -> Mapping[str, Failures]:
        """What runs in the background and has failed, by its name."""
        return {**self._manager.background_failures, **self.tasks.failures}

    def failing(self) -> list[str]:
        """Returns the names of what runs in the background and has failed within the last minute."""
        now_s = asyncio.get_running_loop().time()
        return sorted(name for name, failed in self.failures.items() if now_s - failed.at_s < FAILING_S)

    async def login_file(self, name: str) -> File:
        """Returns a file of the page at which a browser logs in; read when it is first needed, also by an app that is never started."""
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
        """Returns what can be asked, and why something cannot: what the providers' lists say, as far as they are known by now."""
        default = await self.defaults.candidate()
        found = [*await candidates(self.settings)]
        listed = {candidate.backend for candidate in found}
        # Clouds that are set up are among the candidates; the scripted backend is for tests and demonstrations, by its name.
        others = [name for name in self._manager.catalog.backend_names() if name not in listed | UNLISTED]
        found += [Candidate(label=name, backend=name, is_usable=True, why="") for name in others]
        return [row for candidate in found if not candidate.is_guess for row in self._rows(candidate, default)]

    def _rows(self, candidate: Candidate, default: Candidate) -> list[dict[str, Any]]:
        name = candidate.backend
        suggested = candidate.model or self._default_model(name)
        if name == default.backend:
            suggested = default.model or suggested
        offer = offer_of(candidate, suggested, self._listing(candidate))
        if offer.source == "provider" and self.defaults.is_own(name):
            suggested = preferred([model for model, _ in offer.models if model is not None])
        return [
            {
                "backend": name,
                "model": model,
                "is_default": name == default.backend and model == suggested,
                "usable": candidate.is_usable,
                "source": offer.source,
            }
            | ({"ends_on": ends_on} if ends_on else {})
            | ({} if candidate.is_usable else {"reason": candidate.why})
            | ({"note": offer.note} if offer.note and not place else {})
            for place, (model, ends_on) in enumerate(offer.models)
        ]

    def _listing(self, candidate: Candidate) -> Listing:
        if not is_listed(candidate) or self.is_draining:
            return Listing()
        return self.lists.known(candidate.backend)

    async def default_model(self) -> str | None:
        """Returns the model that answers where nobody names one; `None` while a server of one's own is asked what it has."""
        default = await self.defaults.candidate()
        if default.model is None and self.defaults.is_own(default.backend):
            known = self.lists.known(default.backend)
            listed = preferred([model.name for model in known.models or ()])
            return listed if listed or known is NOT_YET else self._default_model(default.backend)
        return default.model or self._default_model(default.backend)

    async def notices(self) -> list[dict[str, str]]:
        """Returns what users of this server should know."""
        default = await self.defaults.candidate()
        if not default.is_usable:
            text = "nothing can answer here: no key is set, no Ollama runs, and the local model is not installed"
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
