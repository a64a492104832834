"""What people get wrong in their first ten minutes: the message says what, and what would be right."""

from __future__ import annotations

from typing import Any

import pytest

from contract.conftest import in_memory
from contract.stage import Stage
from greenroom import AgentManager, SessionNotFound, UnknownSetting
from greenroom.errors import InvalidConfig


@in_memory
async def test_an_id_that_was_not_awaited(stage: Stage) -> None:
    forgotten: Any = stage.manager.create_session(backend="scripted")
    with pytest.raises(SessionNotFound, match="not awaited"):
        await anext(stage.manager.stream_response(forgotten, "Hello"))
    forgotten.close()


@in_memory
@pytest.mark.parametrize(
    ("name", "meant"), [("temprature", "temperature"), ("model", "llm_model"), ("persona", "persona_name")]
)
async def test_a_setting_that_is_misspelt(stage: Stage, name: str, meant: str) -> None:
    with pytest.raises(UnknownSetting) as refused:
        await stage.manager.create_session(backend="scripted", **{name: "x"})
    assert f"did you mean '{meant}'?" in (refused.value.hint or "")


@pytest.mark.parametrize("toolset", ["Weather", dict, 7, None])
async def test_a_toolset_that_is_none(toolset: Any) -> None:
    manager = AgentManager("memory://", toolsets=[toolset])
    with pytest.raises(InvalidConfig, match="is no toolset"):
        await manager.create_session(backend="scripted")
