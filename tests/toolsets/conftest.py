"""What the tests of toolsets share: the context of a call, with bounds that can be reached."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from greenroom.interfaces import ToolContext
from greenroom.limits import Limits
from greenroom.logs.memory import MemoryStore


@pytest.fixture
def limits() -> Limits:
    """Small enough to be reached."""
    return Limits(
        workspace_bytes_max=20_000,
        workspace_files_max=40,
        workspace_file_bytes_max=10_000,
        workspace_read_bytes_max=1000,
        workspace_lines_max=20,
        workspace_search_s_max=20.0,
        memories_max=5,
        memory_bytes_max=200,
        preferences_max=3,
    )


@pytest.fixture
async def context(tmp_path: Path, limits: Limits) -> AsyncIterator[ToolContext]:
    store = MemoryStore()
    await store.open()
    yield ToolContext(
        session_id="session",
        user_id="ada",
        call_id="call",
        idempotency_key="session/call",
        workspace=tmp_path / "workspaces" / "session",
        notes=store.notes,
        limits=limits,
        at_ms=1_795_392_000_000,
    )
    await store.close()
