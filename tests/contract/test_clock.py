"""The wall clock jumps, back and ahead: order comes from the log, and waiting from the event loop."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from contract.conftest import OpenStage
from contract.reading import FrontEnd, all_of, checked_run
from greenroom.backends.scripted import Call, Fail, Say
from greenroom.errors import BackendUnavailable
from greenroom.runtime import clock

_DAY_MS = 86_400_000


@pytest.fixture(params=[[0], [0, -_DAY_MS], [0, 400 * _DAY_MS, -400 * _DAY_MS]], ids=["steady", "back", "both ways"])
def jumps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the clock jump with every look at it."""
    offsets: Iterator[int] = itertools.cycle(request.param)
    monkeypatch.setattr(clock.SystemClock, "now_ms", lambda self: 1_790_000_000_000 + next(offsets))


@pytest.mark.usefixtures("jumps")
async def test_a_clock_that_jumps_changes_nothing(open_stage: OpenStage, store: str) -> None:
    script = [
        [Call("roll_dice", {"notation": "1d1"})],
        [Fail(BackendUnavailable("busy"))],
        [Say("One.")],
        *([[Say(f"Answer {number}.")] for number in range(4)]),
    ]
    stage = open_stage(script)
    session_id = await stage.session()
    receipts = [await stage.manager.send(session_id, f"message {number}") for number in range(5)]
    frames = await all_of(stage.manager.attach(session_id, "0.0~0"))
    assert len({receipt.turn_id for receipt in receipts}) == 5
    assert len({cursor for cursor, _ in frames}) == len(frames)
    history = await stage.manager.history(session_id)
    assert [row.text for row in history if row.role == "user"] == [f"message {number}" for number in range(5)]
    assert [row.outcome for row in history if row.role == "assistant"] == ["completed"] * 5
    half = frames[: len(frames) // 2]
    rest = await all_of(stage.manager.attach(session_id, half[-1][0]))
    shown = FrontEnd().apply_all([data for _, data in half]).apply_all([data for _, data in rest])
    assert shown.said() == FrontEnd().apply_all([data for _, data in frames]).said()

    others = [await stage.session() for _ in range(3)]
    listed: list[str] = []
    cursor = None
    while True:
        page = await stage.manager.list_sessions(limit=1, cursor=cursor)
        listed += [row.session_id for row in page.sessions]
        if (cursor := page.cursor) is None:
            break
    assert sorted(listed) == sorted([session_id, *others]), "each once, whatever the times say"
    if store.startswith("sqlite"):
        await stage.manager.close()
        again = open_stage([[Say("Later.")]], store=store)
        checked_run([event async for event in again.manager.stream_response(session_id, "and now?")])
