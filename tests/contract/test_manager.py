"""`AgentManager` itself: how it is made, used and closed."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from contract.conftest import OpenStage
from contract.reading import checked_run, text_of
from contract.stage import QUICK_LIMITS, CheckedBackend, Stage, becomes, open_files
from greenroom import AgentManager, GreenroomError, ReactJSAgent, Toolset, tool
from greenroom.backends.scripted import Gate, Say

# --- the example of the document ----------------------------------------------------------------------------------------


class CustomTool1(Toolset):
    """A tool of the user's own."""

    @tool
    async def current_phase_of_moon(self) -> str:
        """Phase of the moon."""
        return "full"


@pytest.mark.every_loop
async def test_the_example_of_the_document_works_as_written(capsys: pytest.CaptureFixture[str]) -> None:
    backend = CheckedBackend(["Hello, human!"])
    manager = AgentManager(toolsets=[CustomTool1], backends={"openai": backend})

    session_id = await manager.create_session(llm_model="gpt-4o", backend="openai", additional_tools=["CustomTool1"])
    async for chunk in manager.stream_response(session_id, "Hello, agent!"):
        print(chunk)
    await manager.cleanup_session(session_id)

    assert text_of(checked_run(capsys.readouterr().out.splitlines())) == "Hello, human!"
    assert backend.requests[0].model == "gpt-4o"
    assert "current_phase_of_moon" in {spec.name for spec in backend.requests[0].tools}
    assert manager.get_session_data(session_id) is None
    await manager.close()


# --- its shape ----------------------------------------------------------------------------------------------------------


def test_the_constructor_takes_what_the_document_says() -> None:
    parameters = inspect.signature(AgentManager).parameters

    assert next(iter(parameters)) == "store"
    assert parameters["store"].default is None
    assert {"home", "toolsets", "personas", "backends", "config"} <= set(parameters)
    for name in ("home", "toolsets", "personas", "backends", "config"):
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY


def test_create_session_takes_what_the_document_says() -> None:
    parameters = inspect.signature(AgentManager.create_session).parameters
    defaults = {name: parameter.default for name, parameter in list(parameters.items())[1:6]}

    assert defaults == {
        "llm_model": "gpt-4o",
        "backend": "openai",
        "persona_name": "default",
        "additional_tools": None,
        "existing_session_id": None,
    }
    assert list(parameters.values())[-1].kind is inspect.Parameter.VAR_KEYWORD


def test_stream_response_takes_what_the_document_says() -> None:
    parameters = inspect.signature(AgentManager.stream_response).parameters

    assert list(parameters)[1:4] == ["session_id", "user_message", "custom_prompt"]
    assert parameters["custom_prompt"].default is None
    assert parameters["overlap"].default is None
    assert parameters["idempotency_key"].default is None
    assert tuple(parameters["attachments"].default) == ()
    assert all(
        parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        for name in ("overlap", "idempotency_key", "attachments")
    )


@pytest.mark.parametrize(
    "name",
    [
        "create_session", "cleanup_session", "update_session", "plan_update", "rollback_session", "send", "cancel", "steer",
        "approve", "fork_session", "rewind_session", "list_sessions", "search", "history", "export_session",
        "import_session", "import_bundle", "hibernate", "fetch_session_data", "close",
    ],
)  # fmt: skip
def test_every_member_of_the_document_is_async(name: str) -> None:
    assert inspect.iscoroutinefunction(getattr(AgentManager, name))


def test_get_session_data_is_synchronous() -> None:
    assert not inspect.iscoroutinefunction(AgentManager.get_session_data)


def test_essential_tools_is_a_class_attribute() -> None:
    assert AgentManager.ESSENTIAL_TOOLS == ["MemoryTools", "WorkspaceTools", "PreferenceTools", "RandomNumberTools"]


async def test_instance_attributes(stage: Stage) -> None:
    manager = stage.manager

    assert isinstance(manager.logger, logging.Logger)
    assert isinstance(manager.sessions, Mapping)
    assert dict(manager.sessions) == {}
    assert len(manager._locks) == 0

    session_id = await stage.session(title="Here")
    await stage.say(session_id)
    assert list(manager.sessions) == [session_id]
    assert session_id in manager.sessions
    assert manager.sessions[session_id]["title"] == "Here"
    assert isinstance(manager.sessions[session_id]["agent"], ReactJSAgent)
    with pytest.raises(KeyError):
        manager.sessions["another"]


# --- nothing happens before it is needed --------------------------------------------------------------------------------


def test_constructing_does_no_io_and_starts_nothing(home: Path, tmp_path: Path) -> None:
    before = set(threading.enumerate()), open_files()

    AgentManager()
    AgentManager(home=home / "deep" / "inside")
    AgentManager(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder.db'}")
    AgentManager("memory://")

    after = set(threading.enumerate()), open_files()
    assert not home.exists()
    assert list(tmp_path.iterdir()) == []
    assert after == before


def test_constructing_needs_no_event_loop_and_no_readable_home() -> None:
    AgentManager(home="/dev/null/not-a-folder")


async def test_creating_a_session_asks_no_model(stage: Stage) -> None:
    session_id = await stage.session()
    await stage.manager.update_session(session_id, temperature=1.0)
    stage.manager.get_session_data(session_id)
    await stage.manager.cleanup_session(session_id)

    assert stage.backend.request_count == 0


async def test_a_backend_given_as_a_function_is_made_when_it_is_needed(home: Path) -> None:
    made: list[CheckedBackend] = []

    def make() -> CheckedBackend:
        made.append(CheckedBackend())
        return made[-1]

    async with AgentManager("memory://", home=home, backends={"mine": make}) as manager:
        assert made == []
        session_id = await manager.create_session(backend="mine")
        assert "You said: Hi" in text_of(checked_run([e async for e in manager.stream_response(session_id, "Hi")]))
    assert len(made) == 1
    assert made[0].is_closed


# --- without `async with`, in one event loop after the other ------------------------------------------------------------


def test_one_manager_serves_one_asyncio_run_after_the_other(store: str, home: Path) -> None:
    backend = CheckedBackend()
    manager = AgentManager(store, home=home, backends={"scripted": backend}, config={"limits": QUICK_LIMITS})

    async def talk(session_id: str, text: str) -> str:
        return text_of(checked_run([event async for event in manager.stream_response(session_id, text)]))

    session_id = asyncio.run(manager.create_session(backend="scripted"))
    assert asyncio.run(talk(session_id, "one")) == "You said: one"
    assert asyncio.run(talk(session_id, "two")) == "You said: two"
    data = manager.get_session_data(session_id)
    assert data is not None
    assert data["turn_count"] == 2
    asyncio.run(manager.cleanup_session(session_id))
    assert manager.get_session_data(session_id) is None
    asyncio.run(manager.close())
    assert not backend.violations


def test_a_turn_that_its_event_loop_left_behind_goes_on_in_the_next(store: str, home: Path) -> None:
    gates: list[Gate] = []

    def script(_request: Any) -> Any:
        gates.append(Gate())
        if len(gates) > 1:
            gates[-1].open()
        return [Say("Still "), gates[-1], Say("here.")]

    manager = AgentManager(
        store, home=home, backends={"scripted": CheckedBackend(script)}, config={"limits": QUICK_LIMITS}
    )

    async def begin() -> str:
        session_id = await manager.create_session(backend="scripted")
        await manager.send(session_id, "Are you there?")
        await becomes(lambda: bool(gates))
        await gates[0].reached()
        return session_id

    async def rejoin(session_id: str) -> list[str]:
        return [data async for _, data in manager.attach(session_id)]

    session_id = asyncio.run(begin())
    asyncio.run(rejoin(session_id))
    history = asyncio.run(manager.history(session_id))
    assert [message.text for message in history] == ["Are you there?", "Still here."]
    assert history[-1].outcome == "completed"
    asyncio.run(manager.close())


# --- closing ------------------------------------------------------------------------------------------------------------


async def test_close_is_idempotent_and_works_on_a_manager_that_did_nothing(store: str, home: Path) -> None:
    manager = AgentManager(store, home=home)
    await manager.close()
    await manager.close()
    assert not home.exists()


async def test_close_lets_go_of_everything(open_stage: OpenStage) -> None:
    threads = set(threading.enumerate())
    tasks = asyncio.all_tasks()
    stage = open_stage()
    session_id = await stage.session()
    await stage.say(session_id)
    await asyncio.gather(stage.manager.close(), stage.manager.close())

    assert stage.backend.is_closed
    assert asyncio.all_tasks() == tasks
    left = {thread for thread in set(threading.enumerate()) - threads if not thread.name.startswith("asyncio_")}
    assert not left  # threads of asyncio's own pool stay for the next use


async def test_a_closed_manager_says_so(open_stage: OpenStage) -> None:
    stage = open_stage()
    session_id = await stage.session()
    await stage.manager.close()

    with pytest.raises(GreenroomError, match="closed"):
        await stage.manager.create_session(backend="scripted")
    with pytest.raises(GreenroomError, match="closed"):
        await anext(stage.manager.stream_response(session_id, "Hello?"))
    await stage.manager.cleanup_session(session_id)  # never raises


async def test_leaving_the_context_closes(store: str, home: Path) -> None:
    backend = CheckedBackend()
    async with AgentManager(store, home=home, backends={"scripted": backend}) as manager:
        await manager.create_session(backend="scripted")
        await manager.list_sessions()
    with pytest.raises(GreenroomError, match="closed"):
        await manager.list_sessions()


async def test_close_drains_what_runs(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Say("One moment, "), gate, Say("done.")]], config={"limits": {"drain_s_max": 30.0}})
    session_id = await stage.session()
    stream = stage.manager.stream_response(session_id, "Finish this")
    events = [await anext(stream)]
    await gate.reached()

    closing = asyncio.ensure_future(stage.manager.close())
    await asyncio.sleep(0)
    gate.open()
    events += [event async for event in stream]
    await closing

    assert text_of(checked_run(events)) == "One moment, done."
    assert stage.backend.streams_open == 0


async def test_a_reader_does_not_hang_when_the_manager_closes_on_it(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Say("Never "), gate, Say("ends.")]])
    session_id = await stage.session()
    stream = stage.manager.stream_response(session_id, "Go on for ever")
    events = [await anext(stream)]
    await gate.reached()

    await stage.manager.close()
    events += [event async for event in stream]

    assert checked_run(events)[-1]["type"] == "RUN_ERROR"
    assert stage.backend.streams_open == 0


async def test_turns_that_were_cut_by_closing_are_finished_by_the_next_manager(
    open_stage: OpenStage, file_store: str
) -> None:
    gate = Gate()
    first = open_stage([[Say("Never "), gate, Say("ends.")]], store=file_store)
    session_id = await first.session()
    await first.manager.send(session_id, "Tell me")
    await gate.reached()
    await first.manager.close()

    second = open_stage(["All told."], store=file_store)
    async for _ in second.manager.attach(session_id):
        pass
    assert [message.text for message in await second.manager.history(session_id)] == ["Tell me", "All told."]
    assert second.data(session_id)["status"] == "idle"
