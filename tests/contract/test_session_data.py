"""`get_session_data`: exact keys, JSON, at once, also for sessions that are not in memory."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from contract.conftest import OpenStage, in_memory
from contract.stage import CheckedBackend, Stage
from greenroom import AgentManager, BackendRejected, ReactJSAgent
from greenroom.backends.scripted import Call, Fail, Finish, Gate, Say
from greenroom.messages import Usage

KEYS = {
    "session_id",
    "user_id",
    "title",
    "created_at",
    "updated_at",
    "llm_model",
    "backend",
    "persona_name",
    "tools",
    "settings",
    "config_version",
    "status",
    "turn_count",
    "message_count",
    "usage",
    "last_seq",
}
USAGE_KEYS = {"input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens", "cost_usd"}
SETTINGS = {
    "user_id", "title", "metadata", "temperature", "top_p", "max_tokens", "stop", "reasoning_effort",
    "thinking_budget_tokens", "parallel_tool_calls", "custom_persona_text", "max_steps", "turn_timeout_s",
    "tool_timeout_s", "overlap", "recovery", "fallbacks", "budget_usd", "budget_tokens", "mcp_servers", "approval",
}  # fmt: skip


async def test_exactly_the_keys_of_the_document(stage: Stage) -> None:
    data = stage.data(await stage.session())
    assert set(data) == KEYS | {"agent"}
    assert set(data["usage"]) == USAGE_KEYS


async def test_every_setting_can_be_read_back(stage: Stage) -> None:
    data = stage.data(await stage.session(metadata={"a": 1}))
    assert set(data["settings"]) | set(data) >= SETTINGS
    assert data["settings"]["metadata"] == {"a": 1}


async def test_everything_but_the_agent_is_json(stage: Stage) -> None:
    session_id = await stage.session(temperature=0.5, stop=["x"], metadata={"deep": {"list": [1, None, "ä"]}})
    await stage.say(session_id)
    data = stage.data(session_id)
    agent = data.pop("agent")

    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert isinstance(agent, ReactJSAgent)


async def test_a_new_session(stage: Stage) -> None:
    session_id = await stage.session()
    data = stage.data(session_id)

    assert data["session_id"] == session_id
    assert data["status"] == "idle"
    assert data["turn_count"] == data["message_count"] == 0
    assert data["config_version"] == 1
    assert data["last_seq"] >= 1
    assert data["usage"]["input_tokens"] == data["usage"]["output_tokens"] == 0
    created = dt.datetime.fromisoformat(data["created_at"])
    assert created.tzinfo is not None
    assert abs(dt.datetime.now(dt.UTC) - created) < dt.timedelta(minutes=1)
    assert dt.datetime.fromisoformat(data["updated_at"]) >= created


async def test_what_counts_is_counted(open_stage: OpenStage) -> None:
    usage = Usage(input_tokens=10, output_tokens=2, cached_input_tokens=4, reasoning_tokens=1)
    stage = open_stage(lambda _: [Say("Yes."), Finish(usage=usage)])
    session_id = await stage.session()
    before = stage.data(session_id)
    await stage.say(session_id)
    await stage.say(session_id)
    data = stage.data(session_id)

    assert data["turn_count"] == 2
    assert data["message_count"] == 4
    assert data["usage"]["input_tokens"] == 20
    assert data["usage"]["output_tokens"] == 4
    assert data["usage"]["cached_input_tokens"] == 8
    assert data["usage"]["reasoning_tokens"] == 2
    assert data["last_seq"] > before["last_seq"]
    assert data["created_at"] == before["created_at"]
    assert data["config_version"] == 1


async def test_usage_counts_every_step_also_of_turns_that_fail(open_stage: OpenStage) -> None:
    usage = Usage(input_tokens=10, output_tokens=2)
    stage = open_stage([[Call("roll_dice"), Finish(usage=usage)], Fail(BackendRejected("no"))])
    session_id = await stage.session()
    await stage.say(session_id)
    assert stage.data(session_id)["usage"]["input_tokens"] == 10


async def test_status_follows_the_turn(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Say("a"), gate]])
    session_id = await stage.session()
    assert stage.data(session_id)["status"] == "idle"
    stream = stage.manager.stream_response(session_id, "Go")
    await anext(stream)
    await gate.reached()
    assert stage.data(session_id)["status"] == "running"
    gate.open()
    async for _ in stream:
        pass
    assert stage.data(session_id)["status"] == "idle"


async def test_the_data_is_a_copy(stage: Stage) -> None:
    session_id = await stage.session(metadata={"a": [1]})
    data = stage.data(session_id)
    data["settings"]["metadata"]["a"].append(2)
    data["title"] = "mine"
    data["usage"]["input_tokens"] = 10**9

    fresh = stage.data(session_id)
    assert fresh["settings"]["metadata"] == {"a": [1]}
    assert fresh["title"] != "mine"
    assert fresh["usage"]["input_tokens"] == 0


@in_memory
@pytest.mark.parametrize("session_id", ["never-there", "", "..", "../up", "a b", "x" * 500, None, 7])
async def test_none_if_there_is_no_such_session(stage: Stage, session_id: Any) -> None:
    assert stage.manager.get_session_data(session_id) is None
    await stage.session()
    assert stage.manager.get_session_data(session_id) is None
    assert await stage.manager.fetch_session_data(session_id) is None


async def test_a_session_that_left_memory(stage: Stage) -> None:
    session_id = await stage.session(title="Asleep", temperature=0.5)
    await stage.say(session_id)
    before = stage.data(session_id)
    await stage.manager.hibernate(session_id)
    assert session_id not in stage.manager.sessions

    after = stage.data(session_id)
    assert {name: after[name] for name in KEYS} == {name: before[name] for name in KEYS}
    assert session_id not in stage.manager.sessions, "looking does not wake it"


async def test_a_new_manager_knows_it_before_any_other_call(open_stage: OpenStage, file_store: str) -> None:
    first = open_stage(store=file_store)
    session_id = await first.session(title="Kept", metadata={"a": 1})
    await first.say(session_id)
    before = first.data(session_id)
    await first.manager.close()

    second = open_stage(store=file_store)
    after = second.data(session_id)
    assert {name: after[name] for name in KEYS} == {name: before[name] for name in KEYS}
    assert after["agent"] is not None
    assert second.manager.get_session_data("never-there") is None


def test_without_an_event_loop_and_without_a_database(home: Path, tmp_path: Path) -> None:
    manager = AgentManager(f"sqlite:///{tmp_path / 'nothing.db'}", home=home, backends={"scripted": CheckedBackend()})
    assert manager.get_session_data("never-there") is None
    assert not (tmp_path / "nothing.db").exists(), "looking makes no database"
    assert AgentManager("memory://", home=home).get_session_data("never-there") is None


async def test_fetch_returns_the_same(stage: Stage) -> None:
    session_id = await stage.session(title="Same")
    await stage.say(session_id)
    fetched = await stage.manager.fetch_session_data(session_id)
    assert fetched is not None
    assert {name: fetched[name] for name in KEYS} == {name: stage.data(session_id)[name] for name in KEYS}


async def test_the_agent_is_the_live_one(stage: Stage) -> None:
    session_id = await stage.session(user_id="ann", llm_model="m", persona_name="default")
    agent = stage.data(session_id)["agent"]

    assert stage.data(session_id)["agent"] is agent
    events = [event async for event in agent.stream_chat("Hi")]
    assert len(events) > 3
    assert stage.data(session_id)["turn_count"] == 1
    assert agent.user_id == "ann"
    assert agent.model_name == "m"


async def test_the_agent_follows_an_update(stage: Stage) -> None:
    session_id = await stage.session(llm_model="old")
    agent = stage.data(session_id)["agent"]
    await stage.manager.create_session("new", existing_session_id=session_id)
    fresh = stage.data(session_id)["agent"]
    assert fresh.model_name == "new"
    assert fresh is agent
    assert agent.model_name == "new"
