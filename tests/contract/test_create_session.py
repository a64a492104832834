"""`create_session`: new sessions, given ids, updates, and everything that is refused."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from contract.conftest import OpenStage, in_memory
from contract.stage import CheckedBackend, Stage, let_others_run, words
from greenroom import (
    AgentManager,
    InvalidArgument,
    Persona,
    Toolset,
    UnknownBackend,
    UnknownPersona,
    UnknownSetting,
    UnknownTool,
    tool,
)
from greenroom.backends.scripted import Gate, Say

PIRATE = Persona(name="pirate", text="You are a pirate.")
MONK = Persona(name="monk", text="You are a monk.")


class Kettle(Toolset):
    """Tea."""

    @tool
    async def boil(self) -> str:
        """Boils water."""
        return "boiling"


class Bell(Toolset):
    """Rings."""

    @tool
    async def ring(self) -> str:
        """Rings the bell."""
        return "ding"


SETTINGS: Mapping[str, Any] = {
    "llm_model": "model-a",
    "backend": "scripted",
    "persona_name": "pirate",
    "additional_tools": ["Kettle"],
    "user_id": "ann",
    "title": "At sea",
    "metadata": {"ship": ["a", 1, None]},
    "temperature": 0.25,
    "top_p": 0.5,
    "max_tokens": 2048,
    "stop": ["END"],
    "reasoning_effort": "low",
    "parallel_tool_calls": False,
    "custom_persona_text": "Speak softly.",
    "max_steps": 7,
    "turn_timeout_s": 30,
    "tool_timeout_s": 3,
    "overlap": "reject",
    "recovery": "close",
    "fallbacks": ["scripted:model-b"],
}


@pytest.fixture
def stage(open_stage: OpenStage) -> Stage:
    return open_stage(toolsets=[Kettle, Bell], personas=[PIRATE, MONK], backends={"other": CheckedBackend()})


def without_time(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in {"updated_at", "agent"}}


def stored(stage: Stage, session_id: str) -> dict[str, Any]:
    """What the contract says about a session's settings, flat."""
    data = stage.data(session_id)
    return {**data["settings"], **{name: value for name, value in data.items() if name != "settings"}}


# --- new sessions -------------------------------------------------------------------------------------------------------


async def test_ids_are_unguessable_and_well_formed(stage: Stage) -> None:
    ids = [await stage.session() for _ in range(20)]

    assert len(set(ids)) == 20
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", session_id) for session_id in ids)
    tails = {session_id[-8:] for session_id in ids}
    assert len(tails) == 20, "the random part must differ, not only a counter or the time in front"


async def test_the_defaults_of_the_document(store: str, home: Path) -> None:
    async with AgentManager(store, home=home, backends={"openai": CheckedBackend()}) as manager:
        session_id = await manager.create_session()
        data = manager.get_session_data(session_id)

    assert data is not None
    assert data["llm_model"] == "gpt-4o"
    assert data["backend"] == "openai"
    assert data["persona_name"] == "default"
    assert data["tools"] == AgentManager.ESSENTIAL_TOOLS
    assert data["user_id"] == "default"
    settings = data["settings"]
    assert settings["max_steps"] == 25
    assert settings["turn_timeout_s"] == 600
    assert settings["tool_timeout_s"] == 60
    assert settings["overlap"] == "enqueue"
    assert settings["recovery"] == "resume"


async def test_everything_given_is_kept(stage: Stage) -> None:
    session_id = await stage.session(**SETTINGS)
    kept = stored(stage, session_id)

    given = dict(SETTINGS)
    assert kept.pop("tools") == [*AgentManager.ESSENTIAL_TOOLS, *given.pop("additional_tools")]
    assert {name: kept[name] for name in given} == given


async def test_sessions_do_not_share_what_was_given(stage: Stage) -> None:
    metadata = {"list": [1]}
    tools = ["Kettle"]
    session_id = await stage.session(metadata=metadata, additional_tools=tools)
    metadata["list"].append(2)
    tools.append("Bell")

    assert stored(stage, session_id)["metadata"] == {"list": [1]}
    assert "Bell" not in stage.data(session_id)["tools"]
    stage.data(session_id)["tools"].append("Nonsense")
    assert "Nonsense" not in stage.data(session_id)["tools"]


async def test_a_toolset_named_twice_counts_once(stage: Stage) -> None:
    session_id = await stage.session(additional_tools=["Kettle", "Kettle", "MemoryTools"])
    assert stage.data(session_id)["tools"] == [*AgentManager.ESSENTIAL_TOOLS, "Kettle"]


async def test_tools_are_what_the_model_is_offered(stage: Stage) -> None:
    session_id = await stage.session(additional_tools=["Kettle"])
    await stage.say(session_id)

    assert {"boil", "remember", "list_files", "set_preference", "roll_dice"} <= stage.last_tools
    assert "ring" not in stage.last_tools


async def test_the_persona_and_the_session_text_reach_the_model(stage: Stage) -> None:
    session_id = await stage.session(persona_name="pirate", custom_persona_text="Your name is Anne.")
    await stage.say(session_id)
    assert "Your name is Anne." in stage.last_request.system


async def test_a_persona_brings_its_defaults_where_nothing_is_said(open_stage: OpenStage) -> None:
    cook = Persona(name="cook", text="You cook.", llm_model="chef-1", backend="scripted", tools=("Kettle",))
    stage = open_stage(toolsets=[Kettle, Bell], personas=[cook])

    taken = await stage.manager.create_session(persona_name="cook")
    assert stage.data(taken)["llm_model"] == "chef-1"
    assert stage.data(taken)["backend"] == "scripted"
    assert "Kettle" in stage.data(taken)["tools"]

    said = await stage.manager.create_session("mine", "scripted", "cook", ["Bell"])
    assert stage.data(said)["llm_model"] == "mine"
    assert "Bell" in stage.data(said)["tools"]


# --- given ids ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["a", "thread-1", "A.b_c-9", "0" * 128, "3f2504e0-4f89-41d3-9a0c-0305e82c3301"])
async def test_a_well_formed_id_that_is_free_is_created_under_it(stage: Stage, given: str) -> None:
    assert await stage.session(existing_session_id=given) == given
    assert stage.data(given)["session_id"] == given
    await stage.say(given)


@in_memory
@pytest.mark.parametrize(
    "given",
    ["", " ", ".", "..", "../up", "a/b", "a\\b", "/etc", "-x", ".hidden", "a b", "a\n", "a\0b", "ä", "x" * 129, 7, b"a", ["a"]],
)  # fmt: skip
async def test_a_malformed_id_is_refused(stage: Stage, given: object) -> None:
    with pytest.raises(ValueError, match="session id"):
        await stage.session(existing_session_id=given)
    assert (await stage.manager.list_sessions()).sessions == ()


async def test_the_id_of_a_session_that_was_cleaned_up_is_free_again(stage: Stage) -> None:
    await stage.session(existing_session_id="again", title="first")
    await stage.say("again", "Old words")
    await stage.manager.cleanup_session("again")

    await stage.session(existing_session_id="again")
    assert stage.data("again")["title"] != "first"
    assert stage.data("again")["turn_count"] == 0
    await stage.say("again", "New words")
    assert words(stage.last_request) == [("user", "New words")]


# --- updates ------------------------------------------------------------------------------------------------------------


async def test_an_update_with_nothing_changes_nothing(stage: Stage) -> None:
    session_id = await stage.session(**SETTINGS)
    await stage.say(session_id)
    before = without_time(stage.data(session_id))

    assert await stage.manager.create_session(existing_session_id=session_id) == session_id
    assert without_time(stage.data(session_id)) == before


CHANGES: Mapping[str, Any] = {
    "llm_model": "model-z",
    "backend": "other",
    "persona_name": "monk",
    "title": "In the cell",
    "metadata": {},
    "temperature": 1.5,
    "top_p": 1.0,
    "max_tokens": 4096,
    "stop": ["AMEN", "FINE"],
    "reasoning_effort": "high",
    "thinking_budget_tokens": 1024,
    "parallel_tool_calls": True,
    "custom_persona_text": "Speak slowly.",
    "max_steps": 3,
    "turn_timeout_s": 5,
    "tool_timeout_s": 1,
    "overlap": "enqueue",
    "recovery": "resume",
    "fallbacks": [],
}


@in_memory
@pytest.mark.parametrize("name", CHANGES)
async def test_what_is_passed_is_set_and_what_is_left_out_is_kept(stage: Stage, name: str) -> None:
    session_id = await stage.session(**SETTINGS)
    await stage.say(session_id, "Remember me")
    before = stored(stage, session_id)

    await stage.manager.create_session(existing_session_id=session_id, **{name: CHANGES[name]})
    after = stored(stage, session_id)

    assert after[name] == CHANGES[name]
    changing = {name, "updated_at", "config_version", "last_seq", "agent"}
    assert {key: after[key] for key in after if key not in changing} == {
        key: before[key] for key in before if key not in changing
    }


async def test_the_defaults_can_be_passed_by_hand(stage: Stage, open_stage: OpenStage) -> None:
    stage = open_stage(backends={"openai": CheckedBackend()}, personas=[PIRATE], toolsets=[Kettle])
    session_id = await stage.session(llm_model="model-a", persona_name="pirate", additional_tools=["Kettle"])

    await stage.manager.create_session("gpt-4o", "openai", "default", [], session_id)
    data = stage.data(session_id)
    assert (data["llm_model"], data["backend"], data["persona_name"]) == ("gpt-4o", "openai", "default")
    assert data["tools"] == AgentManager.ESSENTIAL_TOOLS


@pytest.mark.parametrize("name", ["temperature", "top_p", "max_tokens", "reasoning_effort", "parallel_tool_calls"])
async def test_an_optional_setting_can_be_taken_back(stage: Stage, name: str) -> None:
    session_id = await stage.session(**SETTINGS)
    await stage.manager.create_session(existing_session_id=session_id, **{name: None})
    assert stored(stage, session_id)[name] is None


async def test_additional_tools_are_kept_set_and_emptied(stage: Stage) -> None:
    session_id = await stage.session(additional_tools=["Kettle"])
    await stage.manager.create_session(existing_session_id=session_id, temperature=0)
    assert "Kettle" in stage.data(session_id)["tools"]

    await stage.manager.create_session(existing_session_id=session_id, additional_tools=["Bell"])
    await stage.say(session_id)
    assert "ring" in stage.last_tools
    assert "boil" not in stage.last_tools

    await stage.manager.create_session(existing_session_id=session_id, additional_tools=[])
    assert stage.data(session_id)["tools"] == AgentManager.ESSENTIAL_TOOLS


async def test_the_whole_state_stays(stage: Stage) -> None:
    session_id = await stage.session(persona_name="pirate", additional_tools=["Kettle"], title="Kept")
    await stage.say(session_id, "First words")
    before = stage.data(session_id)
    said = await stage.manager.history(session_id)

    await stage.manager.create_session("model-z", "other", "monk", existing_session_id=session_id)
    after = stage.data(session_id)

    assert await stage.manager.history(session_id) == said
    for name in ("created_at", "user_id", "title", "turn_count", "message_count", "usage", "tools"):
        assert after[name] == before[name]
    assert after["config_version"] > before["config_version"]
    assert after["updated_at"] >= before["updated_at"]


async def test_the_next_turn_runs_with_the_new_settings_and_the_old_history(open_stage: OpenStage) -> None:
    other = CheckedBackend()
    stage = open_stage(personas=[PIRATE, MONK], backends={"other": other})
    session_id = await stage.session(llm_model="model-a", persona_name="pirate")
    await stage.say(session_id, "First words")
    await stage.manager.create_session("model-z", "other", "monk", existing_session_id=session_id, temperature=0.75)
    await stage.say(session_id, "Second words")

    (request,) = other.requests
    assert request.model == "model-z"
    assert request.temperature == 0.75
    assert "monk" in request.system
    assert "pirate" not in request.system
    assert words(request) == [
        ("user", "First words"),
        ("assistant", "You said: First words"),
        ("user", "Second words"),
    ]
    assert not other.violations


async def test_a_running_turn_keeps_its_step_and_the_update_waits_for_no_one(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Say("Half "), gate, Say("and half")], "Next"])
    session_id = await stage.session(llm_model="model-a")
    await stage.manager.send(session_id, "Go")
    await gate.reached()

    await stage.manager.create_session(existing_session_id=session_id, llm_model="model-z")
    assert stage.data(session_id)["llm_model"] == "model-z"
    gate.open()
    await stage.say(session_id, "And now?")
    assert [request.model for request in stage.backend.requests] == ["model-a", "model-z"]


async def test_a_session_belongs_to_its_user(stage: Stage) -> None:
    session_id = await stage.session(user_id="ann")
    await stage.manager.create_session(existing_session_id=session_id, user_id="ann")
    with pytest.raises(ValueError, match="user_id"):
        await stage.manager.create_session(existing_session_id=session_id, user_id="bob")
    assert stage.data(session_id)["user_id"] == "ann"


# --- refusals -----------------------------------------------------------------------------------------------------------


REFUSED: list[tuple[dict[str, Any], type[Exception], type[Exception], str]] = [
    ({"backend": "opnai"}, UnknownBackend, ValueError, "scripted"),
    ({"persona_name": "pirat"}, UnknownPersona, ValueError, "pirate"),
    ({"persona_name": "../secret"}, UnknownPersona, ValueError, "pirate"),
    ({"additional_tools": ["Kettel"]}, UnknownTool, ValueError, "Kettle"),
    ({"additional_tools": ["Kettle", "__init__"]}, UnknownTool, ValueError, "Kettle"),
    ({"temprature": 1}, UnknownSetting, TypeError, "temperature"),
    ({"temperature": 1, "colour": 2}, UnknownSetting, TypeError, "colour"),
    ({"fallbacks": ["nowhere:model"]}, UnknownBackend, ValueError, "scripted"),
    ({"temperature": 9}, InvalidArgument, ValueError, "temperature"),
]


@in_memory
@pytest.mark.parametrize(("bad", "kind", "builtin", "named"), REFUSED, ids=[str(case[0]) for case in REFUSED])
async def test_a_refused_creation_creates_nothing_and_says_what_would_be_right(
    stage: Stage, bad: dict[str, Any], kind: type[Exception], builtin: type[Exception], named: str
) -> None:
    with pytest.raises(kind, match=re.escape(named)) as refused:
        await stage.session(**bad, existing_session_id="not-made")
    assert isinstance(refused.value, builtin)
    assert stage.manager.get_session_data("not-made") is None
    assert len(stage.manager._locks) == 0


@in_memory
@pytest.mark.parametrize(("bad", "kind", "builtin", "named"), REFUSED, ids=[str(case[0]) for case in REFUSED])
async def test_a_refused_update_changes_nothing(
    stage: Stage, bad: dict[str, Any], kind: type[Exception], builtin: type[Exception], named: str
) -> None:
    session_id = await stage.session(**SETTINGS)
    before = without_time(stage.data(session_id))

    with pytest.raises(kind):
        await stage.manager.create_session(
            existing_session_id=session_id, **{"llm_model": "model-z", "max_tokens": 99, **bad}
        )
    assert without_time(stage.data(session_id)) == before
    await stage.say(session_id)
    assert stage.last_request.model == "model-a"


async def test_settings_that_contradict_what_is_kept_are_refused(stage: Stage) -> None:
    session_id = await stage.session(max_tokens=2000)
    with pytest.raises(ValueError, match="max_tokens"):
        await stage.manager.create_session(existing_session_id=session_id, thinking_budget_tokens=2000)
    assert stored(stage, session_id)["thinking_budget_tokens"] is None


# --- the lock -----------------------------------------------------------------------------------------------------------


async def test_it_holds_the_lock_of_the_session(stage: Stage) -> None:
    session_id = await stage.session(title="before")
    lock = stage.manager._locks[session_id] if session_id in stage.manager._locks else asyncio.Lock()
    stage.manager._locks[session_id] = lock
    async with lock:
        update = asyncio.ensure_future(stage.manager.create_session(existing_session_id=session_id, title="after"))
        await let_others_run()
        assert not update.done()
        assert stage.data(session_id)["title"] == "before"
    await update
    assert stage.data(session_id)["title"] == "after"


async def test_updates_at_the_same_time_happen_one_after_the_other(stage: Stage) -> None:
    await asyncio.gather(
        *(stage.session(existing_session_id="one", title=f"title {n}", llm_model=f"model {n}") for n in range(20))
    )
    data = stage.data("one")
    assert data["title"].split()[1] == data["llm_model"].split()[1]
    assert len((await stage.manager.list_sessions()).sessions) == 1


async def test_locks_neither_leak_nor_vanish_under_a_waiter(stage: Stage) -> None:
    await stage.session(existing_session_id="one")
    await asyncio.gather(
        *(stage.session(existing_session_id="one", title=f"title {n}") for n in range(10)),
        *(stage.manager.cleanup_session("one") for _ in range(5)),
        *(stage.session(existing_session_id="one", title=f"later {n}") for n in range(10)),
        *(stage.session() for _ in range(10)),
    )
    assert len(stage.manager._locks) == 0

    await stage.session(existing_session_id="one")
    lock = asyncio.Lock()
    stage.manager._locks["one"] = lock
    async with lock:
        waiting = [asyncio.ensure_future(stage.manager.cleanup_session("one")) for _ in range(3)]
        await asyncio.sleep(0)
        assert stage.manager._locks["one"] is lock
    del lock
    await asyncio.gather(*waiting)
    assert stage.manager.get_session_data("one") is None
    assert len(stage.manager._locks) == 0


async def test_a_cancelled_waiter_leaves_no_lock_behind(stage: Stage) -> None:
    await stage.session(existing_session_id="one")
    lock = asyncio.Lock()
    stage.manager._locks["one"] = lock
    async with lock:
        update = asyncio.ensure_future(stage.session(existing_session_id="one", title="never"))
        await asyncio.sleep(0)
        update.cancel()
        await asyncio.wait([update])
    del lock, update
    assert len(stage.manager._locks) == 0
    assert stage.data("one")["title"] != "never"
    await stage.session(existing_session_id="one", title="now")
    assert stage.data("one")["title"] == "now"
