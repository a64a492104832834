"""A turn whose id the sender chose: sent again it is the same turn; attached to, it is that turn alone."""

from __future__ import annotations

import asyncio

import pytest

from contract.conftest import OpenStage, in_memory
from contract.reading import FrontEnd, all_of, checked_run, parsed
from contract.stage import Stage
from greenroom import InvalidArgument, SessionNotFound
from greenroom.backends.scripted import Call, Gate, Say, Think

ANSWER = [[Think(["Let ", "me"]), Say(["I", " will"]), Call("roll_dice", {"notation": "1d1"})], [Say(list("Done: 1."))]]


async def test_sending_a_known_turn_again_adds_nothing(open_stage: OpenStage) -> None:
    stage = open_stage(ANSWER)
    session_id = await stage.session()
    first = await stage.manager.send(session_id, "Roll", turn_id="run-1", message_id="said-1")
    again = await stage.manager.send(session_id, "Roll", turn_id="run-1", message_id="said-2")
    assert (first.turn_id, first.message_id, first.is_repeat) == ("run-1", "said-1", False)
    assert (again.turn_id, again.message_id, again.is_repeat, again.cursor) == ("run-1", "said-1", True, first.cursor)

    frames = await all_of(stage.manager.attach(session_id, turn_id="run-1"))
    assert parsed(frames[0][1])["runId"] == "run-1"
    third = await stage.manager.send(session_id, "Roll", turn_id="run-1")
    assert third.is_repeat, "also when it is over"
    assert len(stage.backend.requests) == 2
    assert [message.turn_id for message in await stage.manager.history(session_id)] == ["run-1", "run-1"]


@in_memory
async def test_a_turn_comes_again_behind_every_position_exactly(open_stage: OpenStage) -> None:
    stage = open_stage(ANSWER)
    session_id = await stage.session()
    await stage.say(session_id, "before")
    await stage.manager.send(session_id, "Roll", turn_id="run-1")
    whole = await all_of(stage.manager.attach(session_id, turn_id="run-1"))
    checked_run([data for _, data in whole])
    assert len({cursor for cursor, _ in whole}) == len(whole)
    for k, (cursor, _) in enumerate(whole[:-1]):
        rest = await all_of(stage.manager.attach(session_id, cursor, turn_id="run-1"))
        assert rest == whole[k + 1 :]
    rest = await all_of(stage.manager.attach(session_id, whole[-1][0], turn_id="run-1"))
    assert [data for _, data in rest] == [whole[-1][1]]


@in_memory
async def test_of_a_cursor_that_never_was_a_snapshot_is_made(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Say("abc"), gate, Say("def")]])
    session_id = await stage.session()
    await stage.manager.send(session_id, "Go", turn_id="run-1")
    await gate.reached()
    reading = stage.manager.attach(session_id, "99.7~1", turn_id="run-1")
    front_end = FrontEnd()
    front_end.apply((await anext(reading)).data)
    gate.open()
    front_end.apply_all([frame.data async for frame in reading])
    assert front_end.said("assistant") == "abcdef"


async def test_a_turn_that_is_taken_back_ends_its_readers(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[gate, Say("one")], [Say("two")]])
    session_id = await stage.session()
    await stage.manager.send(session_id, "one", turn_id="run-1")
    await stage.manager.send(session_id, "two", turn_id="run-2")
    await gate.reached()
    waiting = asyncio.ensure_future(all_of(stage.manager.attach(session_id, turn_id="run-2")))
    await asyncio.sleep(0)
    gate.open()
    assert parsed((await waiting)[-1][1])["type"] == "RUN_FINISHED"
    await stage.manager.rewind_session(session_id, "run-2")
    with pytest.raises(InvalidArgument, match="no turn 'run-2'"):
        await all_of(stage.manager.attach(session_id, turn_id="run-2"))
    with pytest.raises(InvalidArgument, match="taken back"):
        await stage.manager.send(session_id, "two", turn_id="run-2")


@in_memory
@pytest.mark.parametrize("turn_id", ["", "../x", "a b", "x" * 129, "-x"])
async def test_a_malformed_id_is_refused_before_anything_is_written(stage: Stage, turn_id: str) -> None:
    session_id = await stage.session()
    with pytest.raises(InvalidArgument, match="malformed turn_id"):
        await stage.manager.send(session_id, "Go", turn_id=turn_id)
    with pytest.raises(InvalidArgument, match="malformed message_id"):
        await stage.manager.send(session_id, "Go", message_id=turn_id)
    assert await stage.manager.history(session_id) == []


async def test_the_user_of_a_session(stage: Stage) -> None:
    session_id = await stage.session(user_id="ann")
    assert await stage.manager.user_of(session_id) == "ann"
    await stage.manager.hibernate(session_id)
    assert await stage.manager.user_of(session_id) == "ann"
    for unknown in ("nobody", "../etc", ""):
        with pytest.raises(SessionNotFound):
            await stage.manager.user_of(unknown)
