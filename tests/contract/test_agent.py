"""`ReactJSAgent`: one session's agent, with a manager and without."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from typing import Any

import pytest

from contract.conftest import OpenStage, in_memory
from contract.reading import error_of, run_of, text_of
from contract.stage import CheckedBackend, Stage, words
from greenroom import Persona, ReactJSAgent, SessionNotFound, Toolset, UnknownPersona, UnknownSetting, UnknownTool, tool

PIRATE = Persona(name="pirate", text="You are a pirate.")


class Kettle(Toolset):
    """Tea."""

    @tool
    async def boil(self) -> str:
        """Boils water."""
        return "boiling"


@pytest.fixture
def stage(open_stage: OpenStage) -> Stage:
    return open_stage(toolsets=[Kettle], personas=[PIRATE])


def test_the_constructor_takes_what_the_document_says() -> None:
    parameters = inspect.signature(ReactJSAgent).parameters
    defaults = {
        name: parameter.default
        for name, parameter in parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
    assert list(defaults.items()) == [
        ("user_id", "default"),
        ("session_manager", None),
        ("backend", "openai"),
        ("model_name", "gpt-4o"),
        ("persona_name", "default"),
        ("custom_persona_text", ""),
        ("essential_tools", None),
        ("additional_tools", None),
    ]
    assert list(parameters.values())[-1].kind is inspect.Parameter.VAR_KEYWORD
    assert inspect.iscoroutinefunction(ReactJSAgent.initialize)
    assert inspect.iscoroutinefunction(ReactJSAgent.update_tools)
    assert inspect.isasyncgenfunction(ReactJSAgent.stream_chat)


async def test_with_a_manager(stage: Stage) -> None:
    agent = ReactJSAgent(
        "ann", stage.manager, "scripted", "model-a", "pirate", "Speak softly.", None, ["Kettle"], temperature=0.5
    )
    await agent.initialize()
    await agent.initialize()
    assert text_of(await run_of(agent.stream_chat("Hi"))) == "You said: Hi"

    (session_id,) = stage.manager.sessions
    data = stage.data(session_id)
    assert (data["user_id"], data["llm_model"], data["persona_name"]) == ("ann", "model-a", "pirate")
    assert data["turn_count"] == 1
    assert stage.last_request.temperature == 0.5
    assert "Speak softly." in stage.last_request.system
    assert "boil" in stage.last_tools


async def test_it_initializes_itself_when_nobody_did(stage: Stage) -> None:
    agent = ReactJSAgent(session_manager=stage.manager, backend="scripted")
    assert text_of(await run_of(agent.stream_chat("Hi"))) == "You said: Hi"
    await run_of(agent.stream_chat("And again"))
    assert len(stage.manager.sessions) == 1
    assert words(stage.last_request)[0] == ("user", "Hi")


async def test_a_custom_prompt_holds_for_one_turn(stage: Stage) -> None:
    agent = ReactJSAgent(session_manager=stage.manager, backend="scripted", persona_name="pirate")
    await run_of(agent.stream_chat("One", "You are a nun."))
    assert "nun" in stage.last_request.system
    await run_of(agent.stream_chat("Two"))
    assert "pirate" in stage.last_request.system
    assert "nun" not in stage.last_request.system


async def test_update_tools_sets_the_toolsets_beside_the_essential_ones(stage: Stage) -> None:
    agent = ReactJSAgent(session_manager=stage.manager, backend="scripted")
    await agent.initialize()
    await agent.update_tools(["Kettle"])
    await run_of(agent.stream_chat("One"))
    assert {"boil", "remember"} <= stage.last_tools

    await agent.update_tools([])
    await run_of(agent.stream_chat("Two"))
    assert "boil" not in stage.last_tools
    assert "remember" in stage.last_tools


async def test_update_tools_refuses_an_unknown_one_and_keeps_what_there_was(stage: Stage) -> None:
    agent = ReactJSAgent(session_manager=stage.manager, backend="scripted", additional_tools=["Kettle"])
    await agent.initialize()
    with pytest.raises(UnknownTool, match="Kettle"):
        await agent.update_tools(["Kettle", "Kettel"])
    await run_of(agent.stream_chat("One"))
    assert "boil" in stage.last_tools


async def test_fewer_essential_tools(stage: Stage) -> None:
    agent = ReactJSAgent(session_manager=stage.manager, backend="scripted", essential_tools=["RandomNumberTools"])
    await run_of(agent.stream_chat("One"))
    assert "roll_dice" in stage.last_tools
    assert "write_file" not in stage.last_tools

    agent = ReactJSAgent(session_manager=stage.manager, backend="scripted", essential_tools=[])
    await run_of(agent.stream_chat("One"))
    assert stage.last_tools == set()


@in_memory
@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"persona_name": "nobody"}, UnknownPersona),
        ({"backend": "nowhere"}, ValueError),
        ({"additional_tools": ["Nothing"]}, UnknownTool),
        ({"essential_tools": ["Kettle"]}, ValueError),
        ({"temprature": 1}, UnknownSetting),
        ({"temperature": 9}, ValueError),
    ],
)
async def test_what_is_wrong_is_said_by_initialize(stage: Stage, given: dict[str, Any], kind: type[Exception]) -> None:
    agent = ReactJSAgent(**{"session_manager": stage.manager, "backend": "scripted", **given})
    with pytest.raises(kind):
        await agent.initialize()
    assert (await stage.manager.list_sessions()).sessions == ()


async def test_errors_arrive_as_events(stage: Stage) -> None:
    agent = ReactJSAgent(session_manager=stage.manager, backend="scripted")
    assert error_of(await run_of(agent.stream_chat("")))["code"] == "invalid_argument"


async def test_the_agent_of_a_session_that_was_cleaned_up_says_so(stage: Stage) -> None:
    session_id = await stage.session()
    agent = stage.data(session_id)["agent"]
    await stage.manager.cleanup_session(session_id)
    with pytest.raises(SessionNotFound):
        await anext(agent.stream_chat("Hello?"))
    with pytest.raises(SessionNotFound):
        await agent.update_tools([])


async def test_two_agents_of_one_manager_are_two_sessions(stage: Stage) -> None:
    one = ReactJSAgent("ann", stage.manager, "scripted")
    two = ReactJSAgent("bob", stage.manager, "scripted")
    await run_of(one.stream_chat("From Ann"))
    await run_of(two.stream_chat("From Bob"))
    assert words(stage.last_request) == [("user", "From Bob")]
    assert len(stage.manager.sessions) == 2


async def test_alone_without_a_manager(monkeypatch: pytest.MonkeyPatch, home: Any) -> None:
    monkeypatch.setenv("GREENROOM_STORE", "memory://")
    agent = ReactJSAgent(backend="scripted", user_id="ann")
    assert not home.exists(), "constructing does no I/O"
    await agent.initialize()

    async def chat(text: str) -> AsyncIterator[str]:
        async for event in agent.stream_chat(text):
            yield event

    assert text_of(await run_of(chat("Hi"))) == "You said: Hi"
    assert text_of(await run_of(chat("And?"))) == "You said: And?"
    await agent.update_tools([])
    await agent.close()
    await agent.close()


async def test_closing_an_agent_leaves_the_managers_of_others_open(stage: Stage) -> None:
    agent = ReactJSAgent(session_manager=stage.manager, backend="scripted")
    await agent.initialize()
    await agent.close()
    await stage.say(await stage.session())
    assert isinstance(stage.backend, CheckedBackend)
    assert not stage.backend.is_closed
