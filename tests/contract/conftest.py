"""Fixtures of the contract tests: stages on both stores, which close and are checked by themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from contract.stage import QUICK_LIMITS, CheckedBackend, Stage
from greenroom import AgentManager
from greenroom.backends.scripted import Script

OpenStage = Callable[..., Stage]

in_memory = pytest.mark.parametrize("store", ["memory"], indirect=True)
"""For what has nothing to do with the store: once is enough."""
on_file = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
"""For what only a store on disk can do."""


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a store that is empty."""
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'sessions.db'}"


@pytest.fixture
def file_store(tmp_path: Path) -> str:
    """URL of a store that outlives a manager."""
    return f"sqlite:///{tmp_path / 'sessions.db'}"


@pytest_asyncio.fixture
async def open_stage(store: str, home: Path) -> AsyncIterator[OpenStage]:
    """Opens stages on the test's store; closes them, and fails if a provider would have refused a request."""
    stages: list[Stage] = []

    def opened(
        script: Script | None = None,
        *,
        backend: CheckedBackend | None = None,
        config: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Stage:
        backend = backend or CheckedBackend(script)
        backends = {"scripted": backend, **options.pop("backends", {})}
        options = {"store": store, "home": home, **options}
        given = dict(config or {})
        given["limits"] = {**QUICK_LIMITS, **given.get("limits", {})}
        stages.append(Stage(AgentManager(config=given, backends=backends, **options), backend))
        return stages[-1]

    yield opened
    for stage in stages:
        await stage.manager.close()
    assert not [violation for stage in stages for violation in stage.backend.violations]


@pytest.fixture
def stage(open_stage: OpenStage) -> Stage:
    """A stage whose model repeats what it is told."""
    return open_stage()
