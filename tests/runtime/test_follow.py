"""Readers come, go, and come back at any byte: the text is exact."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from agui_client import Client
from greenroom.backends.scripted import Call, Cut, Gate, Say, ScriptedBackend, Think
from greenroom.config import SessionConfig, SessionLabels
from greenroom.core.cursor import Cursor, parse_cursor
from greenroom.errors import InvalidStream, SessionNotFound
from greenroom.events import StepProgress, StepStarted
from greenroom.limits import Limits
from greenroom.streams import Frame, session_frames
from harness import HERE, Bench, Stage, stage, step_for, store_with

GREEK = "αβγδε ζηθ 🎭🎭 ικλ"


async def read(opened: Stage, position: Cursor | None) -> AsyncGenerator[Frame, None]:
    async for batch in session_frames(opened.registry, HERE, position):
        for frame in batch:
            yield frame


async def frames(opened: Stage, cursor: str | None = None) -> list[Frame]:
    return [frame async for frame in read(opened, parse_cursor(cursor) if cursor is not None else None)]


def client_of(got: list[Frame]) -> Client:
    client = Client()
    for frame in got:
        client.apply(frame.data)
    return client


async def test_a_reader_that_comes_back_at_any_frame_gets_exactly_the_rest() -> None:
    async with stage(bench=Bench(ScriptedBackend(step_for))) as opened:
        await opened.create()
        await opened.answer("one")
        await opened.answer(GREEK)
        all_frames = await frames(opened, str(Cursor(0, 0, 0)))
        assert len(all_frames) > 40
        assert len({frame.cursor for frame in all_frames}) == len(all_frames), "every frame has a position of its own"
        positions = [parse_cursor(frame.cursor) for frame in all_frames]
        assert positions == sorted(positions), "positions grow"
        for i, frame in enumerate(all_frames):
            assert await frames(opened, frame.cursor) == all_frames[i + 1 :], frame


async def test_a_reader_may_leave_within_a_delta() -> None:
    async with stage([[Say(["abcdef", "ghij"])]]) as opened:
        await opened.create()
        await opened.answer()
        text = "abcdefghij"
        start = next(f.cursor for f in await frames(opened, str(Cursor(0, 0, 0))) if '"assistant"' in f.data)
        at = parse_cursor(start)
        for seen in range(len(text) + 1):
            rest = await frames(opened, str(Cursor(at.seq, at.offset + seen, at.epoch)))
            client = Client()
            client.is_running, client.open = True, {("step", "step-1"), ("message", _id(rest))}
            client.messages = {_id(rest): {"id": _id(rest), "role": "assistant", "content": text[:seen]}}
            for frame in rest:
                client.apply(frame.data)
            assert client.texts() == [text]


def _id(rest: list[Frame]) -> str:
    return next(frame.data.split('"messageId":"')[1].split('"')[0] for frame in rest if "messageId" in frame.data)


@pytest.mark.virtual_time
async def test_a_reader_that_leaves_at_every_frame_of_a_live_turn() -> None:
    script: list[list[Any]] = [
        [Think("hm"), *[Say(f"word{i} ") for i in range(30)], Call("look", {})],
        [Say(["x"] * 20)],
    ]
    async with stage(script) as opened:
        await opened.create()
        await opened.send()
        client = Client()
        reconnects = 0
        while True:
            got = None
            async for frame in read(opened, parse_cursor(client.cursor) if client.cursor else Cursor(0, 0, 0)):
                client.apply(frame.data)
                client.cursor = got = frame.cursor
                reconnects += 1
                break
            if got is None:
                break
        assert reconnects > 60
        assert client.ends == ["success"]
        assert client.texts() == ["".join(f"word{i} " for i in range(30)), "x" * 20]


@pytest.mark.virtual_time
async def test_a_reader_that_joins_anywhere_gets_a_snapshot_and_the_rest() -> None:
    async with stage(bench=Bench(ScriptedBackend(step_for))) as reference:
        await reference.create()
        await reference.answer()
        whole = client_of(await frames(reference, None)).content()
    for k in range(60):
        async with stage(bench=Bench(ScriptedBackend(step_for))) as opened:
            await opened.create()
            await opened.send()
            for _ in range(k):
                await asyncio.sleep(0)
            client = client_of(await frames(opened, None))
            assert [without_ids(m) for m in client.content()] == [without_ids(m) for m in whole], f"k={k}"


def without_ids(message: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key not in {"id", "toolCallId"}}


@pytest.mark.virtual_time
async def test_a_slow_reader_loses_nothing_and_holds_nobody_up() -> None:
    words = [f"{i} " for i in range(500)]
    gate = Gate()
    limits = Limits(reader_entries_max=8, read_page_bytes=300)
    async with stage([[Say(words[:100]), gate, Say(words[100:])]], limits=limits) as opened:
        await opened.create()
        await opened.send()
        slow = read(opened, Cursor(0, 0, 0))
        client = Client()
        client.apply((await anext(slow)).data)
        await gate.reached()
        gate.open()
        await opened.idle()
        async for frame in slow:
            client.apply(frame.data)
        assert client.texts() == ["".join(words)]
        assert client.ends == ["success"]


@pytest.mark.virtual_time
async def test_a_reader_that_is_behind_is_given_a_part_of_it_at_once() -> None:
    """What a reader makes of entries is its own: with many readers, all that they are behind would be all of memory."""
    gate = Gate()
    async with stage([[Say("x"), gate, Say(["x" * 1000] * 1000)]]) as opened:
        await opened.create()
        await opened.send()
        client, sizes = Client(), []
        async with aclosing(session_frames(opened.registry, HERE, Cursor(0, 0, 0))) as batches:
            async for batch in batches:
                sizes.append(sum(len(frame.data) for frame in batch))
                for frame in batch:
                    client.apply(frame.data)
                if client.texts() == ["x"]:
                    await gate.reached()
                    gate.open()
                    await opened.idle()
        assert client.texts() == ["x" * 1_000_001]
        assert max(sizes) < 200_000


async def test_what_an_older_epoch_showed_but_never_wrote_is_answered_with_a_snapshot() -> None:
    async with stage([[Say(["abc"])]]) as first:
        await first.create()
        await first.answer()
        records = list(await first.store.log.read(HERE))
    progress = next(i for i, record in enumerate(records) if isinstance(record.event, StepProgress))
    lost = await store_with(records[:progress])  # the step was asked; what it showed died with its process
    async with stage([[Say(["another"])]], store=lost) as after:
        seen = str(Cursor(progress, 3, 1))
        got = await frames(after, seen)
        client = client_of(got)
        assert '"MESSAGES_SNAPSHOT"' in "".join(frame.data for frame in got[:3])
        assert client.texts() == ["another"], "never a splice of two attempts"
        starts = [event for event in await after.events() if isinstance(event, StepStarted)]
        assert [event.attempt for event in starts] == [1, 2]


@pytest.mark.virtual_time
async def test_a_reader_that_joins_between_two_attempts_is_not_shown_the_void_one() -> None:
    async with stage([[Say(["half"]), Cut()], [Say(["whole"])]], limits=Limits(retry_base_s=30)) as opened:
        await opened.create()
        await opened.send()
        await asyncio.sleep(1)  # the first attempt has failed, the second waits
        assert client_of(await frames(opened, None)).texts() == ["whole"]


async def test_a_cursor_of_a_session_that_was_deleted_is_not_one_of_its_namesake() -> None:
    async with stage() as opened:
        await opened.create()
        await opened.answer("old")
        old = [frame.cursor for frame in await frames(opened, "0.0~0")]
        await opened.operations.delete(HERE)
        await asyncio.sleep(0.002)  # real time: the namesake is created in another millisecond
        await opened.create()
        await opened.answer("new")
        for cursor in old:
            assert client_of(await frames(opened, cursor)).texts() == ["You said: new"]


async def test_a_cursor_ahead_of_the_log_is_answered_with_a_snapshot() -> None:
    async with stage() as opened:
        await opened.create()
        await opened.answer()
        for ahead in (Cursor(999, 0, 1), Cursor(3, 9999, 1), Cursor(1, 0, 99)):
            assert client_of(await frames(opened, str(ahead))).texts() == ["You said: hello"]


@pytest.mark.parametrize("text", ["", "1", "1.2", "-1.0~1", "1.0~1+", "9" * 40 + ".0~1", "1.0~1!x", "a.b~c"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidStream, match="not a cursor"):
        parse_cursor(text)


async def test_a_deleted_session_ends_its_readers() -> None:
    gate = Gate()
    async with stage([[Say("one "), gate, Say("two")]]) as opened:
        await opened.create()
        reader = asyncio.ensure_future(opened.answer())
        await gate.reached()
        await opened.operations.delete(HERE)
        assert "session_not_found" in (await reader)[-1]
        with pytest.raises(SessionNotFound):
            await frames(opened)


async def test_a_session_that_has_become_somebody_elses_is_not_followed_on() -> None:
    gate = Gate()
    async with stage([[Say(["abc"]), gate], [Say(["a secret"])]]) as opened:
        await opened.create()
        await opened.send()
        await gate.reached()
        reading = read(opened, None)
        seen = [(await anext(reading)).data]
        await opened.operations.delete(HERE)
        config = SessionConfig(backend="scripted")
        assert await opened.operations.create(HERE, user_id="somebody else", config=config, labels=SessionLabels())
        await opened.send()
        seen += [frame.data async for frame in reading]
        assert "session_not_found" in seen[-1]
        assert "somebody" not in "".join(seen)
        assert "secret" not in "".join(seen)
