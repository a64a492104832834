"""What a manager stands on: settings, catalogue and store, and the runtime of the event loop that it is used in.

Rule: nothing is read, opened or started before it is needed; and what lives in an event loop does not outlive it.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from greenroom.catalog import Catalog
from greenroom.config import check_session_id
from greenroom.errors import InvalidArgument, ManagerClosed, SessionNotFound
from greenroom.interfaces import Backend, Persona, Store, ToolSource
from greenroom.runtime.clock import SystemClock
from greenroom.runtime.exchange import Exchange
from greenroom.runtime.operations import Operations
from greenroom.runtime.orphans import Orphans
from greenroom.runtime.registry import Registry
from greenroom.runtime.watch import Watch
from greenroom.runtime.workspace import Workspaces
from greenroom.settings import Settings, load_settings
from greenroom.thread_shares import ThreadShares
from greenroom.toolsets.function import Toolset


class Opened:
    """The runtime of one event loop.

    Attributes:
        copying: entered by whoever holds a session as a whole in memory.
        file_threads: for what users do with the files of their workspaces.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, store: Store, settings: Settings, catalog: Catalog) -> None:
        self.loop = loop
        self.store = store
        self.registry = Registry(
            store=store,
            families=catalog,
            workspaces=Workspaces(settings.home / "workspaces", open_folder=catalog.workspace),
            clock=SystemClock(),
            limits=settings.limits,
            user_budget=settings.user_budget,
        )
        self.watch = Watch(self.registry)
        self.registry.on_interest = self.watch.start
        self.registry.take_in = self.watch.take_in
        self.operations = Operations(self.registry)
        self.exchange = Exchange(self.registry, self.operations, self.watch)
        self.orphans = Orphans(self.registry, self.watch)
        self.copying = asyncio.Semaphore(settings.limits.copies_max)
        self.file_threads = ThreadShares(
            "greenroom-workspaces",
            threads_max=settings.limits.file_threads_max,
            per_user_max=settings.limits.file_threads_per_user_max,
        )

    async def check_exists(self, session_id: str) -> None:
        """Accepts the id of a session that exists: the one place where every way to a session begins.

        Raises:
            SessionNotFound: there is none of that id, or it cannot be an id at all.
        """
        try:
            check_session_id(session_id)
        except InvalidArgument as error:
            if inspect.isawaitable(session_id):
                raise SessionNotFound(
                    str(session_id)[:80], hint="await what gives the id: it was not awaited"
                ) from error
            raise SessionNotFound(str(session_id)[:80]) from error
        if self.registry.find(session_id) is None and await self.store.index.get(session_id) is None:
            raise SessionNotFound(session_id)


class Installation:
    """Settings, catalogue and store of one manager.

    Args:
        config: a configuration file, or its contents; `None` looks for one.
        arguments: settings given by hand; they win.
        backends: as `Catalog`.
        toolsets: as `Catalog`.
        personas: as `Catalog`.
    """

    def __init__(
        self,
        *,
        config: str | Path | Mapping[str, Any] | None,
        arguments: Mapping[str, Any],
        backends: Mapping[str, Backend | Callable[[], Backend]],
        toolsets: Sequence[type[Toolset] | ToolSource],
        personas: Sequence[Persona],
    ) -> None:
        self.now: Opened | None = None
        self.is_closed = False
        self._preparing = threading.Lock()
        self._is_prepared = False
        self._config = config
        self._arguments = arguments
        self._backends = backends
        self._toolsets = toolsets
        self._personas = personas
        self._settings: Settings | None = None
        self._catalog: Catalog | None = None
        self._store: Store | None = None

    @property
    def settings(self) -> Settings:
        """The settings in force.

        Raises:
            InvalidConfig: the configuration file or a variable is wrong.
        """
        if self._settings is None:
            self._settings = load_settings(file=self._config, arguments=self._arguments)
        return self._settings

    @property
    def catalog(self) -> Catalog:
        """The backends, toolsets and personas that exist here."""
        if self._catalog is None:
            self._catalog = Catalog(
                self.settings, backends=self._backends, toolsets=self._toolsets, personas=self._personas
            )
        return self._catalog

    @property
    def store(self) -> Store:
        """The store, perhaps not opened yet."""
        if self._store is None:
            self._store = self.catalog.store()
        return self._store

    async def opened(self) -> Opened:
        """Returns the runtime of the running event loop, opened.

        Raises:
            ManagerClosed: it was closed.
            InvalidConfig: as `settings`.
            EventLogError: the store cannot be opened.
        """
        if self.is_closed:
            raise ManagerClosed("the manager is closed", hint="make a new AgentManager")
        loop = asyncio.get_running_loop()
        if self.now is None or self.now.loop is not loop:
            store = await asyncio.to_thread(self._prepared)  # reads the configuration file, and looks what is installed
            await store.open()
            # Another loop than before (a second asyncio.run): what lived in the first ended with it, and the log has it.
            if self.now is None or self.now.loop is not loop:
                self.now = Opened(loop, store, self.settings, self.catalog)
        return self.now

    def _prepared(self) -> Store:
        with self._preparing:
            if not self._is_prepared:
                self.catalog.discover()
                self._is_prepared = True
            return self.store

    async def close(self) -> None:
        """Drains, closes and lets go of everything. Idempotent."""
        self.is_closed = True
        opened, self.now = self.now, None
        if opened is not None and opened.loop is asyncio.get_running_loop():
            await opened.registry.close()
        if opened is not None:
            opened.file_threads.close()
        if self._catalog is not None:
            await self._catalog.close()
        if self._store is not None:
            await self._store.close()
