"""Servers in this process, over a scripted model, with two users."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from contract.stage import QUICK_LIMITS, CheckedBackend
from greenroom import AgentManager
from greenroom.backends.scripted import Script
from greenroom.server.serving import make_app
from server.asgi import Web

TOKEN = "token-of-the-first-user"
OTHER = "token-of-another-user"

OpenWeb = Callable[..., Web]


@pytest_asyncio.fixture
async def open_web(tmp_path: Path, home: Path) -> AsyncIterator[OpenWeb]:
    """Opens servers; the user of `TOKEN` is `default`, that of `OTHER` is `other`."""
    webs: list[Web] = []

    def opened(
        script: Script | None = None,
        *,
        config: Mapping[str, Any] | None = None,
        store: str = "memory://",
        **options: Any,
    ) -> Web:
        given: dict[str, Any] = {"default_backend": "scripted", **(config or {})}
        given["limits"] = {**QUICK_LIMITS, **given.get("limits", {})}
        given["server"] = {"api_keys": [{"key": OTHER, "user": "other"}], **given.get("server", {})}
        backends = {"scripted": CheckedBackend(script)}
        manager = AgentManager(store, home=home, config=given, backends=backends, **options)
        webs.append(Web(make_app(manager, token=TOKEN), TOKEN))
        return webs[-1]

    yield opened
    for web in webs:
        await web.app.stop()


@pytest.fixture
def web(open_web: OpenWeb) -> Web:
    """A server whose model repeats what it is told."""
    return open_web()
