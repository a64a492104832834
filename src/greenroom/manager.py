"""`AgentManager`: the front door. Checks what comes in, asks the runtime, and says what came of it.

Rule: the public contract stands here, in one place; how a session is kept is the runtime's business, what it means is the core's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, Self, TypeVar
from weakref import WeakValueDictionary

import msgspec

from greenroom.agent import ReactJSAgent
from greenroom.bundles import pack, unpack
from greenroom.catalog import Catalog
from greenroom.config import (
    DEFAULT_BACKEND,
    DEFAULT_MODEL,
    DEFAULT_PERSONA,
    ESSENTIAL_TOOLS,
    LeftOut,
    Patch,
    SessionConfig,
    SessionLabels,
    check_session_id,
    check_user_id,
    parse_patch,
)
from greenroom.conversing import Conversing
from greenroom.core.bundle import imported
from greenroom.core.owned import check_owner
from greenroom.core.plan import UpdatePlan
from greenroom.errors import SessionNotFound
from greenroom.installation import Installation, Opened
from greenroom.interfaces import (
    Backend,
    Logins,
    Notice,
    Page,
    Persona,
    SearchHit,
    SessionSummary,
    ToolSource,
    WorkspaceFolder,
)
from greenroom.planning import plan_of
from greenroom.runtime.allowance import UserUsage
from greenroom.runtime.clock import new_id
from greenroom.runtime.tasks import Failures, finish
from greenroom.session_data import SessionsInMemory, session_data
from greenroom.settings import Settings
from greenroom.toolsets.function import Toolset
from greenroom.usable import Defaults

_MODEL: Final = LeftOut(DEFAULT_MODEL)
_BACKEND: Final = LeftOut(DEFAULT_BACKEND)
_PERSONA: Final = LeftOut(DEFAULT_PERSONA)


T = TypeVar("T")


class ImportedSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session that was made of a bundle.

    Attributes:
        session_id: the id of the session.
        notices: what its new owner should know.
    """

    session_id: str
    notices: tuple[Notice, ...]


class AgentManager(Conversing):
    """Creates, updates, streams, suspends, recovers and cleans up agent sessions.

    Constructing does no I/O and starts nothing. The first call opens the store; `close` drains and lets go, and so does leaving
    `async with`. A process that ends without it, or is killed, loses nothing that was acknowledged.

    Args:
        store: `sqlite:///path`, `memory://`; default `$GREENROOM_STORE`, else a SQLite file in the home folder.
        home: folder for the database, workspaces, personas and models; default `$GREENROOM_HOME`, else the platform's.
        toolsets: classes (or instances) of further toolsets, which sessions ask for by class name.
        personas: further personas.
        backends: further backends by name, as instances or as functions that make one.
        config: a configuration file, or its contents as a mapping; default `$GREENROOM_CONFIG`, else `greenroom.toml` here.

    Attributes:
        ESSENTIAL_TOOLS: the toolsets that every session has.
        logger: where the manager says what went wrong.
        sessions: data of the sessions in memory, by id.
    """

    ESSENTIAL_TOOLS: ClassVar[list[str]] = list(ESSENTIAL_TOOLS)

    def __init__(
        self,
        store: str | None = None,
        *,
        home: str | Path | None = None,
        toolsets: Sequence[type[Toolset] | ToolSource] = (),
        personas: Sequence[Persona] = (),
        backends: Mapping[str, Backend | Callable[[], Backend]] | None = None,
        config: str | Path | Mapping[str, Any] | None = None,
    ) -> None:
        self.logger = logging.getLogger("greenroom")
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._agents: WeakValueDictionary[str, ReactJSAgent] = WeakValueDictionary()
        super().__init__(
            Installation(
                config=config,
                arguments={"store": store, "home": str(home) if home is not None else None},
                backends=backends or {},
                toolsets=toolsets,
                personas=personas,
            )
        )
        self._told_choices: set[str] = set()
        self._defaults: Defaults | None = None
        self._given_backends = tuple(backends or {})
        self.sessions: Mapping[str, dict[str, Any]] = SessionsInMemory(self._installation, self.get_session_data)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def settings(self) -> Settings:
        """The settings in force; read when they are first needed.

        Raises:
            InvalidConfig: the configuration file or a variable is wrong.
        """
        return self._installation.settings

    @property
    def catalog(self) -> Catalog:
        """The backends, toolsets and personas that exist here."""
        return self._installation.catalog

    @property
    def defaults(self) -> Defaults:
        """Who answers in sessions that name no backend."""
        if self._defaults is None:
            self._defaults = Defaults(self.settings, self._given_backends, listed=self._listed)
        return self._defaults

    @property
    def running_turns(self) -> int:
        """How many sessions answer in this process now."""
        opened = self._installation.now
        return opened.registry.running if opened is not None else 0

    @property
    def background_failures(self) -> Mapping[str, Failures]:
        """Failures of background work, by the name of the work. It was restarted each time."""
        opened = self._installation.now
        return opened.registry.tasks.failures if opened is not None else {}

    # --- sessions -------------------------------------------------------------------------------------------------------

    async def create_session(
        self,
        llm_model: str = _MODEL,
        backend: str = _BACKEND,
        persona_name: str = _PERSONA,
        additional_tools: Sequence[str] | None = None,
        existing_session_id: str | None = None,
        **kwargs: Any,
    ) -> str:
        """Creates a session, or updates `existing_session_id`, and returns its id.

        On an update an argument that is left out keeps what the session has; one that is passed sets it; everything else (history,
        memory, workspace, usage) stays. A well-formed id that does not exist yet is created under that id. Nothing changes when
        this raises.

        Args:
            llm_model: model; left out, a new session takes the persona's or the backend's default.
            backend: name of a backend. Left out, a new session takes the persona's, else the first that has the model, or without a
                model the first that can answer here: OpenAI, Claude, an Ollama on this machine, the local model.
            persona_name: name of a persona.
            additional_tools: class names of toolsets beside the essential ones.
            existing_session_id: the session to update, or the id to create.
            **kwargs: session settings, as in the documentation.

        Raises:
            ValueError: malformed id; unknown backend, persona or tool (the error names those that exist); a value out of range.
            TypeError: a setting that does not exist (the error names those that do).
            BackendUnavailable: no backend was named, and none can answer here, or none that has the model; says what is missing.
            EventLogError: the store failed.
        """
        given: dict[str, Any] = dict(kwargs)
        named = {"llm_model": llm_model, "backend": backend, "persona_name": persona_name}
        given |= {name: value for name, value in named.items() if not isinstance(value, LeftOut)}
        if additional_tools is not None:
            given["additional_tools"] = additional_tools
        patch = parse_patch(given)
        opened = await self._installation.opened()
        if existing_session_id is None:
            session_id = new_id("s", opened.registry.clock.now_ms())
        else:
            session_id = check_session_id(existing_session_id)
        async with self._lock(session_id):
            if existing_session_id is None or await opened.store.index.get(session_id) is None:
                config, labels = patch.applied(await self._initial_config(patch), SessionLabels())
                self.catalog.check(config)
                await self.catalog.check_prices(config)
                user_id = patch.user_id or "default"
                if await opened.operations.create(session_id, user_id=user_id, config=config, labels=labels):
                    return session_id
            # It exists already; or another process was quicker with the same id.
            await self._update(opened, session_id, patch)
        return session_id

    async def update_session(self, session_id: str, **patch: Any) -> None:
        """Changes what is named, and nothing else; applied between steps, also while the session answers.

        Args:
            session_id: the session.
            **patch: `llm_model`, `backend`, `persona_name`, `additional_tools`, and the session settings.

        Raises:
            SessionNotFound: no such session.
            ValueError, TypeError, EventLogError: as `create_session`.
        """
        change = parse_patch(patch)
        opened = await self._existing(session_id)
        async with self._lock(session_id):
            await self._update(opened, session_id, change)

    async def plan_update(self, session_id: str, **patch: Any) -> UpdatePlan:
        """Says what `update_session` would do with the same arguments: what is lost, whether the history fits, what it costs.

        Raises:
            SessionNotFound: no such session.
            ValueError, TypeError: the update would be refused.
        """
        change = parse_patch(patch)
        state = await self.peek(session_id)
        return await plan_of(self.catalog, state, await self.defaults.moved(change, state.config))

    async def rollback_session(self, session_id: str, config_version: int) -> None:
        """Brings back the configuration that the session had as version `config_version`; title and metadata stay.

        It becomes a new version, and applies from the next step on. What was said stays: `rewind_session` takes turns back.

        Raises:
            SessionNotFound: no such session.
            InvalidArgument: no such version.
            ValueError: what it names does not exist any more: a backend, a persona, a toolset.
        """
        opened = await self._existing(session_id)
        async with self._lock(session_id):
            config = await opened.operations.config_of(session_id, config_version)
            await self.catalog.persona(config.persona_name)
            self.catalog.check(config)
            await self.catalog.check_prices(config)
            await opened.operations.roll_back(session_id, config, restores=config_version)

    async def cleanup_session(self, session_id: str) -> None:
        """Cancels what runs and deletes the session with all it has. Idempotent; errors are logged, never raised."""
        try:
            check_session_id(session_id)
            opened = await self._installation.opened()
            async with self._lock(session_id):
                await opened.operations.delete(session_id)
        except Exception:  # broad: by contract it never raises; whatever a store or a disk comes up with is logged
            self.logger.exception("cleaning up session %r failed", session_id)
        finally:
            self._agents.pop(session_id, None)

    def get_session_data(self, session_id: str) -> dict[str, Any] | None:
        """Returns what is known about a session, or `None` if there is none. Synchronous.

        The dictionary is JSON-safe but for `agent`, the live `ReactJSAgent`. With an embedded store it knows all sessions.
        """
        opened = self._installation.now
        live = opened.registry.find(session_id) if opened is not None else None
        if live is not None and live.is_mine and live.state.is_at_work:
            return self._data(live.state.tally.summary())
        if self._installation.is_closed or not isinstance(session_id, str):
            return None
        # Another process may have changed an idle session: the row knows.
        summary = self._installation.store.index.get_now(session_id)
        return self._data(summary) if summary is not None else None

    async def fetch_session_data(self, session_id: str) -> dict[str, Any] | None:
        """Returns the same as `get_session_data`, from whatever store, without blocking."""
        opened = await self._installation.opened()
        summary = await opened.store.index.get(session_id)
        return self._data(summary) if summary is not None else None

    async def user_of(self, session_id: str) -> str:
        """Returns whose session it is: what every check of access comes down to.

        Raises:
            SessionNotFound: no such session.
        """
        opened = await self._existing(session_id)
        live = opened.registry.find(session_id)
        if live is not None:
            return live.state.tally.user_id
        summary = await opened.store.index.get(session_id)
        if summary is None:
            raise SessionNotFound(session_id)
        return summary.user_id

    async def list_sessions(
        self, user_id: str | None = None, query: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page:
        """Returns a page of sessions, those changed last first.

        Args:
            user_id: only this user's.
            query: only those in whose title or messages these words occur.
            limit: rows.
            cursor: of the page before.

        Raises:
            InvalidArgument: limit out of range, or a malformed cursor.
        """
        opened = await self._installation.opened()
        return await opened.store.index.page(user_id=user_id, query=query, limit=limit, cursor=cursor)

    async def search(self, query: str, user_id: str | None = None, limit: int = 50) -> Sequence[SearchHit]:
        """Returns the places in all sessions, or in one user's, where the words of `query` occur, best first."""
        opened = await self._installation.opened()
        return await opened.store.index.search(query, user_id=user_id, limit=limit)

    async def usage(self, user_id: str = "default", *, days: int | None = None) -> UserUsage:
        """Returns what a user has used in all sessions, also in deleted ones, and what the user's budget is.

        Args:
            user_id: the user.
            days: of UTC, today included; left out, those that the budget counts, else 30.

        Raises:
            InvalidArgument: not from 1 to 3660 days.
        """
        opened = await self._installation.opened()
        return await opened.registry.allowances.usage(check_user_id(user_id), days)

    async def workspace(self, session_id: str) -> WorkspaceFolder:
        """Returns the session's folder, contained; its methods wait for the disk, so call them in a thread.

        Raises:
            SessionNotFound: no such session.
        """
        opened = await self._existing(session_id)
        check_owner(session_id, await self.user_of(session_id))
        return opened.registry.workspaces.folder(session_id)

    async def in_workspace(self, session_id: str, work: Callable[[WorkspaceFolder], T], *, changes: bool = True) -> T:
        """Does `work` in the session's folder, in a thread when it is its user's turn, and returns what it returns.

        A folder from `workspace` may be that of another session when it is used, of the same id; here it is this session's.

        Args:
            session_id: the session.
            work: gets the folder.
            changes: nobody deletes the session meanwhile, and one change of it waits for another. What only reads waits for nobody.

        Raises:
            SessionNotFound: no such session.
            OSError: the disk did not take it.
        """

        async def worked() -> T:
            folder, user_id = await self.workspace(session_id), await self.user_of(session_id)
            opened = await self._installation.opened()
            return await opened.file_threads.run(user_id, lambda: work(folder))

        async def changed() -> T:
            async with self._lock(session_id):
                return await worked()

        if changes:
            return await finish(changed())
        found = await worked()
        check_owner(session_id, await self.user_of(session_id))
        return found

    async def fork_session(self, session_id: str, at_seq: int | None = None) -> str:
        """Copies a session with its workspace, whole or up to record `at_seq`; returns the id of the copy.

        A turn that is open at that point ends in the copy as interrupted; messages that wait are not taken along.

        Raises:
            SessionNotFound: no such session.
            InvalidArgument: `at_seq` is not one of its records.
        """
        opened = await self._existing(session_id)
        async with opened.copying:
            return await opened.operations.fork(session_id, at_seq=at_seq)

    async def rewind_session(self, session_id: str, turn_id: str) -> None:
        """Takes the turn and everything after it out of the session.

        Raises:
            SessionNotFound: no such session.
            TurnInProgress: the session is answering.
            InvalidArgument: no such turn.
        """
        opened = await self._existing(session_id)
        await opened.operations.rewind(session_id, turn_id)

    async def export_session(self, session_id: str) -> bytes:
        """Returns the session as a portable bundle: its log and its workspace.

        Raises:
            SessionNotFound: no such session.
            LimitExceeded: it is larger than a bundle may be.
        """
        opened = await self._existing(session_id)
        async with opened.copying:
            records = await opened.operations.records(session_id)
            workspace = opened.registry.workspaces.folder(session_id)
            return await asyncio.to_thread(pack, str(session_id), records, workspace, self.settings.limits)

    async def import_session(self, data: bytes, *, user_id: str | None = None) -> str:
        """Creates a session from a bundle and returns its id: the one it had, if that is free, else a new one.

        A bundle may come from anybody: its settings have to be possible here, and its rules that let tools run unasked are left out.
        `import_bundle` does the same, and says what was left out.

        Args:
            data: what `export_session` returned.
            user_id: whose the session will be; `None` for the one who had it.

        Raises:
            InvalidStream: not a bundle of ours, a damaged one, one of a newer version, or one with settings that are not possible.
            LimitExceeded: larger than a bundle may be.
        """
        return (await self.import_bundle(data, user_id=user_id)).session_id

    async def import_bundle(self, data: bytes, *, user_id: str | None = None) -> ImportedSession:
        """As `import_session`; returns the id with what the new owner should know: what was left out, and what is a stranger's.

        Raises:
            InvalidStream, LimitExceeded: as `import_session`.
        """
        opened = await self._installation.opened()
        async with opened.copying:
            bundle = await asyncio.to_thread(unpack, data, self.settings.limits)
            taken = await asyncio.to_thread(imported, bundle.records)
            session_id = await opened.operations.take_in(
                bundle.session_id, taken.records, bundle.files, user_id=user_id
            )
        return ImportedSession(session_id=session_id, notices=taken.notices)

    async def hibernate(self, session_id: str) -> None:
        """Takes an idle session out of memory; the next call brings it back.

        Raises:
            SessionNotFound: no such session.
            TurnInProgress: the session is answering.
        """
        opened = await self._existing(session_id)
        check_owner(session_id, await self.user_of(session_id))
        await opened.operations.hibernate(session_id)

    async def recover(self) -> int:
        """Continues every session whose process is gone and that has an open turn or a waiting message. Returns how many were tried.

        A server calls this when it starts, and about every second while it runs: it costs one query of the index, whatever the number
        of sessions. Without it, a session is recovered when it is next opened. A session that cannot be recovered is logged, and
        tried again at longer and longer intervals.

        Raises:
            ManagerClosed: it was closed.
            EventLogError: the store failed.
        """
        return await (await self._installation.opened()).orphans.look()

    async def logins(self) -> Logins:
        """Returns where the store keeps the browsers that are logged in to a server, and the one-time codes for others.

        Raises:
            ManagerClosed: it was closed.
            EventLogError: the store cannot be opened.
        """
        return (await self._installation.opened()).store.logins

    # --- life -----------------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Hands over what runs, as `session_released` in the log says, and closes everything. Idempotent."""
        await self._installation.close()

    def _lock(self, session_id: str) -> asyncio.Lock:
        # Held weakly: a lock lives exactly as long as somebody holds it or waits for it.
        lock = self._locks.get(session_id)
        if lock is None:
            lock = self._locks[session_id] = asyncio.Lock()
        return lock

    async def _update(self, opened: Opened, session_id: str, patch: Patch) -> None:
        state = await opened.operations.peek(session_id)
        patch = await self.defaults.moved(patch, state.config)
        config, _ = patch.applied(state.config, state.tally.labels)
        await self.catalog.persona(config.persona_name)
        self.catalog.check(config)
        await self.catalog.check_prices(config)
        await opened.operations.update(session_id, patch)

    async def _listed(self, backend: str) -> Sequence[str]:
        from greenroom.model_lists import (
            listing,
        )  # only few need it: those who ask a server of their own, and name no model

        found = await listing(partial(self.catalog.backend, backend))
        return [model.name for model in found.models or ()]

    async def _initial_config(self, patch: Patch) -> SessionConfig:
        """Returns what a new session is set to where `patch` says nothing; says what was chosen, if it is not what the signature says."""
        persona = await self.catalog.persona(patch.config.get("persona_name", DEFAULT_PERSONA))
        settings = await self.defaults.applied(patch.config, persona)
        backend = settings["backend"]
        model = settings.get("llm_model") or (DEFAULT_MODEL if backend == DEFAULT_BACKEND else None)
        config = self.catalog.initial_config(persona, backend=backend, model=model)
        is_chosen = patch.config.get("backend") is None and persona.backend is None and backend != DEFAULT_BACKEND
        if is_chosen and backend not in self._told_choices:
            self._told_choices.add(backend)
            self.logger.warning(
                "no backend was named and OPENAI_API_KEY is not set: %s answers with %s; name a backend to choose another",
                backend,
                config.llm_model,
            )
        return config

    def _data(self, summary: SessionSummary) -> dict[str, Any]:
        agent = self._agents.get(summary.session_id)
        if agent is None:
            agent = self._agents[summary.session_id] = ReactJSAgent.of_session(self, summary)
        else:
            agent.show(summary)
        return session_data(summary, agent)
