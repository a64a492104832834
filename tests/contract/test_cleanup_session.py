"""`cleanup_session`: what runs is cancelled, what is kept is deleted, and nothing is raised."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from contract.conftest import OpenStage, in_memory
from contract.reading import checked_run, results_of
from contract.stage import Stage, becomes
from greenroom import SessionNotFound, ToolContext, Toolset, tool
from greenroom.backends.scripted import Call, Gate, Say

WRITE = Call("write_file", {"path": "notes/plan.txt", "content": "Step one."})


class Watched(Toolset):
    """Says what becomes of it."""

    def __init__(self) -> None:
        self.running = asyncio.Event()
        self.was_cancelled = False
        self.closed_sessions: list[str] = []

    @tool
    async def wait_for_ever(self, context: ToolContext) -> str:
        """Waits."""
        self.running.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        return context.session_id

    async def close_session(self, session_id: str) -> None:
        self.closed_sessions.append(session_id)


def workspace_files(home: Path) -> list[str]:
    return sorted(path.name for path in home.rglob("*") if path.name == "plan.txt")


async def test_nothing_is_left(open_stage: OpenStage, home: Path) -> None:
    stage = open_stage([[WRITE], "Written."])
    session_id = await stage.session(title="A title of its own", metadata={"a": 1})
    await stage.say(session_id, "An unmistakable word")
    assert workspace_files(home) == ["plan.txt"]
    assert (await stage.manager.search("unmistakable")) != ()

    await stage.manager.cleanup_session(session_id)

    assert stage.manager.get_session_data(session_id) is None
    assert await stage.manager.fetch_session_data(session_id) is None
    assert session_id not in stage.manager.sessions
    assert session_id not in stage.manager._locks
    assert workspace_files(home) == []
    assert not [path for path in home.rglob("*") if session_id in path.name]
    assert (await stage.manager.list_sessions()).sessions == ()
    assert list(await stage.manager.search("unmistakable")) == []
    with pytest.raises(SessionNotFound):
        await stage.manager.history(session_id)
    with pytest.raises(SessionNotFound):
        await anext(stage.manager.stream_response(session_id, "Hello?"))


async def test_the_words_of_a_deleted_session_leave_the_file(open_stage: OpenStage, tmp_path: Path) -> None:
    stage = open_stage(store=f"sqlite:///{tmp_path / 'deleted.db'}")
    session_id = await stage.session()
    await stage.say(session_id, "Sesquipedalian")
    await stage.manager.cleanup_session(session_id)
    await stage.manager.close()

    again = open_stage(store=f"sqlite:///{tmp_path / 'deleted.db'}")
    assert again.manager.get_session_data(session_id) is None
    assert list(await again.manager.search("Sesquipedalian")) == []


async def test_other_sessions_are_not_touched(stage: Stage) -> None:
    kept, gone = await stage.session(title="kept"), await stage.session()
    await stage.say(kept, "Keep this")
    await stage.manager.cleanup_session(gone)

    assert stage.data(kept)["title"] == "kept"
    assert len(await stage.manager.history(kept)) == 2
    await stage.say(kept)


async def test_it_is_idempotent(stage: Stage) -> None:
    session_id = await stage.session()
    await stage.manager.cleanup_session(session_id)
    await stage.manager.cleanup_session(session_id)
    await asyncio.gather(*(stage.manager.cleanup_session(session_id) for _ in range(5)))
    assert len(stage.manager._locks) == 0


@in_memory
@pytest.mark.parametrize("nonsense", ["never-there", "", "..", "../up", "a/../../b", "/", "a\0b", None, 7, "x" * 500])
async def test_it_never_raises(stage: Stage, home: Path, nonsense: object) -> None:
    session_id = await stage.session()
    await stage.say(session_id)
    home.mkdir(exist_ok=True)
    (home.parent / "precious.txt").write_text("keep me")

    assert await stage.manager.cleanup_session(nonsense) is None  # type: ignore[arg-type]

    assert home.is_dir()
    assert (home.parent / "precious.txt").read_text() == "keep me"
    assert stage.data(session_id)["turn_count"] == 1


async def test_what_streams_is_cancelled(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Say("This was "), gate, Say("never said.")]])
    session_id = await stage.session()
    stream = stage.manager.stream_response(session_id, "Talk")
    events = [await anext(stream)]
    await gate.reached()
    assert stage.backend.streams_open == 1

    await stage.manager.cleanup_session(session_id)
    assert stage.backend.streams_open == 0
    assert stage.manager.get_session_data(session_id) is None

    events += [event async for event in stream]
    checked_run(events)  # the reader gets an end; it does not hang


async def test_what_waits_is_never_answered(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Say("One"), gate]])
    session_id = await stage.session()
    await stage.manager.send(session_id, "first")
    await gate.reached()
    waiting = stage.manager.stream_response(session_id, "second")
    reading = asyncio.ensure_future(anext(waiting))
    await becomes(lambda: stage.data(session_id)["message_count"] == 2 or reading.done())

    await stage.manager.cleanup_session(session_id)
    events = [await reading]
    events += [event async for event in waiting]
    assert checked_run(events)[-1]["type"] == "RUN_ERROR"
    assert stage.backend.request_count == 1


async def test_a_running_tool_is_cancelled_and_toolsets_let_go(open_stage: OpenStage) -> None:
    watched = Watched()
    stage = open_stage([[Call("wait_for_ever")]], toolsets=[watched])
    session_id = await stage.session(additional_tools=["Watched"])
    await stage.manager.send(session_id, "Wait")
    await watched.running.wait()

    await stage.manager.cleanup_session(session_id)
    assert watched.was_cancelled
    assert watched.closed_sessions == [session_id]


async def test_a_toolset_that_cannot_close_is_logged_and_stops_nothing(
    open_stage: OpenStage, caplog: pytest.LogCaptureFixture
) -> None:
    class Stubborn(Watched):
        async def close_session(self, session_id: str) -> None:
            raise OSError("will not close")

    stage = open_stage(toolsets=[Stubborn])
    session_id = await stage.session(additional_tools=["Stubborn"])
    await stage.say(session_id)

    with caplog.at_level(logging.WARNING, logger=stage.manager.logger.name):
        await stage.manager.cleanup_session(session_id)
    assert "will not close" in caplog.text
    assert stage.manager.get_session_data(session_id) is None


async def test_any_error_of_a_toolset_is_logged(open_stage: OpenStage, caplog: pytest.LogCaptureFixture) -> None:
    class Buggy(Watched):
        async def close_session(self, session_id: str) -> None:
            raise ZeroDivisionError("a bug of the user's")

    stage = open_stage(toolsets=[Buggy])
    session_id = await stage.session(additional_tools=["Buggy"])
    await stage.say(session_id)

    with caplog.at_level(logging.WARNING, logger=stage.manager.logger.name):
        await stage.manager.cleanup_session(session_id)
    assert "a bug of the user's" in caplog.text
    assert stage.manager.get_session_data(session_id) is None


async def test_a_hibernating_session_is_cleaned_up_too(open_stage: OpenStage, home: Path) -> None:
    stage = open_stage([[WRITE], "Written."])
    session_id = await stage.session()
    await stage.say(session_id)
    await stage.manager.hibernate(session_id)
    assert session_id not in stage.manager.sessions

    await stage.manager.cleanup_session(session_id)
    assert stage.manager.get_session_data(session_id) is None
    assert workspace_files(home) == []


async def test_an_id_that_is_used_again_starts_with_an_empty_workspace(open_stage: OpenStage) -> None:
    stage = open_stage([[WRITE], "Written.", [Call("tree")], "Looked."])
    await stage.session(existing_session_id="again")
    await stage.say("again", "Write")
    await stage.manager.cleanup_session("again")
    await stage.session(existing_session_id="again")

    assert "plan.txt" not in results_of(await stage.say("again", "What is there?"))[0]


async def test_memory_and_preferences_stay_with_their_user(open_stage: OpenStage) -> None:
    stage = open_stage(
        [[Call("remember", {"text": "The cat is called Miez"})], "Noted.", [Call("recall", {"query": "cat"})], "Miez."]
    )
    first = await stage.session(user_id="ann")
    await stage.say(first)
    await stage.manager.cleanup_session(first)

    second = await stage.session(user_id="ann")
    assert "Miez" in results_of(await stage.say(second))[0]
