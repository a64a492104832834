"""Both stores keep the promises of `greenroom.interfaces`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from greenroom.interfaces import Store
from greenroom.logs.memory import MemoryStore
from greenroom.logs.sqlite import SqliteStore
from greenroom.testing.log_conformance import LogConformance, SharedLogConformance


class TestMemoryStore(LogConformance, SharedLogConformance):
    @asynccontextmanager
    async def open_store(self) -> AsyncIterator[Store]:
        store = MemoryStore()
        await store.open()
        yield store
        await store.close()

    @asynccontextmanager
    async def open_sibling(self, store: Store) -> AsyncIterator[Store]:
        assert isinstance(store, MemoryStore)
        sibling = store.sibling()
        await sibling.open()
        yield sibling
        await sibling.close()


@pytest.mark.every_loop
class TestSqliteStore(LogConformance, SharedLogConformance):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    @asynccontextmanager
    async def open_store(self) -> AsyncIterator[Store]:
        store = SqliteStore(self.folder / "greenroom.db")
        await store.open()
        yield store
        await store.close()

    @asynccontextmanager
    async def open_sibling(self, store: Store) -> AsyncIterator[Store]:
        assert isinstance(store, SqliteStore)
        sibling = SqliteStore(store.path)
        await sibling.open()
        yield sibling
        await sibling.close()
