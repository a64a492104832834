"""`attach`: joining and rejoining at every position, without a gap and without a repeat."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from contract.conftest import OpenStage, in_memory
from contract.reading import FrontEnd, all_of, checked_run, parsed, types
from contract.stage import Stage, becomes, let_others_run, words
from greenroom import GreenroomError, SessionNotFound
from greenroom.backends.scripted import Call, Cut, Gate, Pause, Say, Think
from greenroom.large import LARGE_BYTES, to_base64
from greenroom.large_thread import in_thread
from greenroom.protocols.projection import ProtocolName

Frames = Sequence[tuple[str, str]]

ANSWER: list[Any] = [
    [Think(["Let ", "me ", "see", "…"]), Say(["I", " will", " rôll"]), Call("roll_dice", ['{"nota', 'tion":', ' "2d1"}']),
     Call("roll_dice", {"notation": "3d1"})],
    [Think("Good."), Say(list('Zwei und drei: 👋🏽\n"fünf"\\.'))],
]  # fmt: skip


def applied(*parts: Frames) -> FrontEnd:
    front_end = FrontEnd()
    for frames in parts:
        front_end.apply_all(data for _, data in frames)
    return front_end


def place(cursor: str) -> tuple[int, int]:
    """Record and offset of a cursor."""
    match = re.match(r"(\d+)\.(\d+)", cursor)
    assert match, f"{cursor!r} is not seq.offset"
    return int(match[1]), int(match[2])


def content(front_end: FrontEnd) -> Any:
    return front_end.shown, front_end.calls


# --- what is large ------------------------------------------------------------------------------------------------------


@in_memory
@pytest.mark.parametrize("protocol", ["ag-ui", "native"])
@pytest.mark.parametrize("of_turn", [True, False], ids=["turn", "session"])
async def test_while_a_large_snapshot_is_written_the_session_goes_on(
    open_stage: OpenStage, protocol: ProtocolName, *, of_turn: bool
) -> None:
    """Issue 11, "Speed": a snapshot with files is written in a thread. What happens meanwhile comes after it, once."""
    gate = Gate()
    stage = open_stage([[Say("abc"), gate, Say("def")]])
    session_id = await stage.session()
    file = {"data": bytes(LARGE_BYTES), "name": "a.bin", "media_type": "application/octet-stream"}
    await stage.manager.send(session_id, "Go", attachments=[file], turn_id="run-1")
    await gate.reached()
    is_free = threading.Event()
    busy = asyncio.ensure_future(in_thread(LARGE_BYTES + 1, is_free.wait, 30))
    whose = {"turn_id": "run-1"} if of_turn else {}
    reading = asyncio.ensure_future(all_of(stage.manager.attach(session_id, "99.7~1", protocol=protocol, **whose)))
    await let_others_run()
    gate.open()
    await becomes(lambda: not stage.manager.running_turns)
    assert not reading.done()
    is_free.set()
    frames = [json.loads(data) for _, data in await reading]
    assert await busy
    first = next(frame for frame in frames if frame["type"] in {"MESSAGES_SNAPSHOT", "snapshot"})
    assert to_base64(bytes(LARGE_BYTES)).decode() in str(first["messages"][0])
    assert "".join([frame.get("delta", "") for frame in frames]) == "abcdef"
    assert frames[-1]["type"] in {"RUN_FINISHED", "turn_ended"}


# --- joining ------------------------------------------------------------------------------------------------------------


async def test_joining_an_idle_session_shows_what_was_said_and_ends(open_stage: OpenStage) -> None:
    stage = open_stage(ANSWER)
    session_id = await stage.session()
    await stage.say(session_id, "Roll")
    frames = await all_of(stage.manager.attach(session_id))

    checked_run([data for _, data in frames])
    front_end = applied(frames)
    assert front_end.shown[0] == ("user", "Roll")
    assert front_end.said("assistant") == 'I will rôllZwei und drei: 👋🏽\n"fünf"\\.'
    assert front_end.said("reasoning") == "Let me see…Good."
    assert front_end.calls == [("roll_dice", '{"notation": "2d1"}'), ("roll_dice", '{"notation":"3d1"}')]


async def test_joining_a_session_that_never_spoke_ends_at_once(stage: Stage) -> None:
    session_id = await stage.session()
    frames = await all_of(stage.manager.attach(session_id))
    assert applied(frames).shown == []


async def test_the_history_is_there_before_the_next_message(stage: Stage) -> None:
    session_id = await stage.session()
    for text in ("one", "two"):
        await stage.say(session_id, text)
    await stage.manager.hibernate(session_id)
    assert applied(await all_of(stage.manager.attach(session_id))).shown == [
        ("user", "one"),
        ("assistant", "You said: one"),
        ("user", "two"),
        ("assistant", "You said: two"),
    ]


async def test_a_frame_is_a_cursor_and_an_event(stage: Stage) -> None:
    session_id = await stage.session()
    await stage.say(session_id)
    async for cursor, data in stage.manager.attach(session_id):
        place(cursor)
        parsed(data)


async def test_joining_in_the_middle_goes_on_live(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Think("Hm."), Say("So far "), gate, Say("so good.")]])
    session_id = await stage.session()
    await stage.manager.send(session_id, "Go")
    await gate.reached()

    readers = [asyncio.ensure_future(all_of(stage.manager.attach(session_id))) for _ in range(5)]
    await let_others_run()
    gate.open()
    for frames in await asyncio.gather(*readers):
        checked_run([data for _, data in frames])
        assert applied(frames).shown == [("user", "Go"), ("reasoning", "Hm."), ("assistant", "So far so good.")]


@pytest.mark.parametrize(
    "step",
    [[Think(["Let ", "me"])], [Say(["So ", "far "])], [Say("Now: "), Call("roll_dice", ['{"notation"', ': "'])]],
    ids=["reasoning", "text", "arguments"],
)
async def test_joining_inside_of_any_part_is_exact(open_stage: OpenStage, step: list[Any]) -> None:
    gate = Gate()
    ends = {"Think": Think("…"), "Say": Say("done."), "Call": None}
    end = ends[type(step[-1]).__name__]
    rest = [end] if end else []
    stage = open_stage(lambda request: [*step, gate, *rest] if len(request.messages) == 1 else "Done.")
    session_id = await stage.session()
    stream = stage.manager.stream_response(session_id, "Go")
    seen = [await anext(stream)]
    await gate.reached()
    reading = asyncio.ensure_future(all_of(stage.manager.attach(session_id)))
    await let_others_run()
    gate.open()
    seen += [event async for event in stream]
    whole = FrontEnd().apply_all(seen)
    joined = applied(await reading)
    assert [message for message in joined.shown if message[0] not in {"user", "tool"}] == [
        message for message in whole.shown if message[0] != "tool"
    ]
    assert joined.calls == whole.calls


# --- rejoining at every cursor ------------------------------------------------------------------------------------------


async def live_frames(stage: Stage, session_id: str, text: str) -> Frames:
    """All frames of a turn, seen live from its very beginning."""
    receipt = await stage.manager.send(session_id, text)
    return await all_of(stage.manager.attach(session_id, receipt.cursor))


@pytest.mark.parametrize("life", ["in memory", "hibernated"])
async def test_rejoining_a_finished_run_at_every_cursor_is_exact(open_stage: OpenStage, life: str) -> None:
    stage = open_stage(lambda request: ANSWER[sum(role == "assistant" for role, _ in words(request)) % 2])
    session_id = await stage.session()
    await stage.say(session_id, "Roll before")
    frames = await live_frames(stage, session_id, "Roll")
    expected = content(applied(frames))
    if life == "hibernated":
        await stage.manager.hibernate(session_id)

    for number, (cursor, _) in enumerate(frames, start=1):
        rest = await all_of(stage.manager.attach(session_id, cursor))
        assert content(applied(frames[:number], rest)) == expected, f"after frame {number}, at {cursor}"
        checked_run([data for _, data in (*frames[:number], *rest)])
        if life == "hibernated":
            await stage.manager.hibernate(session_id)


async def test_rejoining_while_it_runs_at_every_cursor_is_exact(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Think(["a", "b"]), Say(list("wörld👋")), gate, Say(list(" again"))]])
    session_id = await stage.session()
    receipt = await stage.manager.send(session_id, "Go")
    seen: list[tuple[str, str]] = []
    reader = stage.manager.attach(session_id, receipt.cursor)
    async for cursor, data in reader:
        seen.append((cursor, data))
        if '"👋"' in data:
            break
    await gate.reached()

    rejoined = [
        (number, asyncio.ensure_future(all_of(stage.manager.attach(session_id, cursor))))
        for number, (cursor, _) in enumerate(seen, start=1)
    ]
    await let_others_run()
    gate.open()
    for number, reading in rejoined:
        rest = await reading
        front_end = applied(seen[:number], rest)
        assert front_end.said("reasoning") == "ab", f"after frame {number}"
        assert front_end.said("assistant") == "wörld👋 again", f"after frame {number}"
        checked_run([data for _, data in (*seen[:number], *rest)])
    await reader.aclose()


async def test_leaving_and_rejoining_after_every_single_frame(open_stage: OpenStage) -> None:
    stage = open_stage(ANSWER)
    session_id = await stage.session()
    receipt = await stage.manager.send(session_id, "Roll")
    cursor, frames = receipt.cursor, []
    while True:
        reader = stage.manager.attach(session_id, cursor)
        frame = await anext(reader, None)
        await reader.aclose()
        if frame is None:
            break
        cursor, data = frame
        frames.append((cursor, data))
    checked_run([data for _, data in frames])
    assert applied(frames).said("assistant") == 'I will rôllZwei und drei: 👋🏽\n"fünf"\\.'


async def test_cursors_grow_and_never_repeat(open_stage: OpenStage) -> None:
    stage = open_stage([*ANSWER, *ANSWER])
    session_id = await stage.session()
    frames = [*await live_frames(stage, session_id, "Roll"), *await live_frames(stage, session_id, "And again")]
    cursors = [cursor for cursor, _ in frames]

    assert len(set(cursors)) == len(cursors)
    assert [place(cursor) for cursor in cursors] == sorted(place(cursor) for cursor in cursors)


async def test_a_cursor_of_one_reader_serves_any_other(open_stage: OpenStage) -> None:
    """Live and replayed frames are cut differently; what a cursor stands for is the same text."""
    stage = open_stage([[Say(list("abcdefghij"))]])
    session_id = await stage.session()
    frames = await live_frames(stage, session_id, "Spell")
    replayed = await all_of(stage.manager.attach(session_id, frames[0][0]))
    for cursor, _ in replayed:
        number = next(i for i, (other, _) in enumerate(replayed, start=1) if other == cursor)
        rest = await all_of(stage.manager.attach(session_id, cursor))
        assert applied(frames[:1], replayed[:number], rest).said() == "abcdefghij"


async def test_the_last_cursor_has_nothing_behind_it(stage: Stage) -> None:
    session_id = await stage.session()
    frames = await live_frames(stage, session_id, "Hi")
    assert await all_of(stage.manager.attach(session_id, frames[-1][0])) == []
    more = await live_frames(stage, session_id, "More")
    assert content(applied(frames, await all_of(stage.manager.attach(session_id, frames[-1][0])))) == content(
        applied(frames, more)
    )


async def test_a_reader_that_missed_whole_turns_catches_up(open_stage: OpenStage) -> None:
    stage = open_stage(lambda request: [Say(list(f"To {words(request)[-1][1]}."))])
    session_id = await stage.session()
    frames = await live_frames(stage, session_id, "one")
    cut = next(number for number, (_, data) in enumerate(frames, 1) if '" "' in data)
    for text in ("two", "three"):
        await stage.say(session_id, text)

    front_end = applied(frames[:cut], await all_of(stage.manager.attach(session_id, frames[cut - 1][0])))
    assert front_end.said() == "To one.To two.To three."
    assert front_end.run is None


# --- cursors that lead nowhere ------------------------------------------------------------------------------------------


async def test_a_cursor_ahead_of_the_log_is_answered_with_a_snapshot(stage: Stage) -> None:
    session_id = await stage.session()
    frames = await live_frames(stage, session_id, "Hi")
    seq, _ = place(frames[-1][0])
    ahead = frames[-1][0].replace(f"{seq}.", f"{seq + 50}.", 1)

    answered = await all_of(stage.manager.attach(session_id, ahead))
    assert "MESSAGES_SNAPSHOT" in types(checked_run([data for _, data in answered]))
    assert applied(answered).shown == [("user", "Hi"), ("assistant", "You said: Hi")]


@in_memory
@pytest.mark.parametrize(
    "cursor", ["", "nonsense", "-1.0~1", "1", "1.", "٣.٤", "1.1; DROP TABLE", "9" * 400, 7, b"1.0"]
)
async def test_what_is_no_cursor_is_refused(stage: Stage, cursor: Any) -> None:
    session_id = await stage.session()
    with pytest.raises(GreenroomError, match="cursor") as refused:
        await anext(stage.manager.attach(session_id, cursor))
    assert isinstance(refused.value, ValueError)


async def test_an_unknown_session_is_refused(stage: Stage) -> None:
    with pytest.raises(SessionNotFound):
        await anext(stage.manager.attach("never-there"))
    with pytest.raises(SessionNotFound):
        await anext(stage.manager.attach("never-there", "1.0~1"))


@pytest.mark.parametrize("protocol", ["AI-SDK", "telepathy", "", None])
async def test_another_protocol_is_a_clear_error(stage: Stage, protocol: Any) -> None:
    session_id = await stage.session()
    with pytest.raises(GreenroomError, match="ag-ui"):
        await anext(stage.manager.attach(session_id, protocol=protocol))


async def test_what_was_shown_but_never_written_is_taken_back(open_stage: OpenStage, file_store: str) -> None:
    """The process died in the middle: a reader that saw more than the log has gets no splice of two answers."""
    gate = Gate()
    first = open_stage([[Say(["The ", "wrong ", "answer"]), gate]], store=file_store)
    session_id = await first.session()
    receipt = await first.manager.send(session_id, "Ask")
    seen: list[tuple[str, str]] = []
    reader = first.manager.attach(session_id, receipt.cursor)
    async for frame in reader:
        seen.append((frame.cursor, frame.data))
        if "answer" in frame.data:
            break
    await gate.reached()
    await reader.aclose()
    await first.manager.close()

    second = open_stage([[Say(list("Right."))]], store=file_store)
    rest = await all_of(second.manager.attach(session_id, seen[-1][0]))
    final = [message.text for message in await second.manager.history(session_id)]
    assert final == ["Ask", "Right."]
    assert applied(seen, rest).said() == "Right."
    for number, (cursor, _) in enumerate(seen, start=1):
        again = await all_of(second.manager.attach(session_id, cursor))
        assert applied(seen[:number], again).said() == "Right.", f"after frame {number}, at {cursor}"


async def test_a_step_that_is_asked_again_is_one_answer_at_every_cursor(open_stage: OpenStage) -> None:
    stage = open_stage([[Say(["Wrong ", "one"]), Cut()], [Say(list("Right."))]])
    session_id = await stage.session()
    frames = await live_frames(stage, session_id, "Ask")
    assert applied(frames).said() == "Right."
    for number, (cursor, _) in enumerate(frames, start=1):
        rest = await all_of(stage.manager.attach(session_id, cursor))
        assert applied(frames[:number], rest).said() == "Right.", f"after frame {number}, at {cursor}"


async def test_a_rewound_session_takes_back_what_a_reader_saw(stage: Stage) -> None:
    session_id = await stage.session()
    first = await live_frames(stage, session_id, "one")
    second = await live_frames(stage, session_id, "two")
    turn_id = (await stage.manager.history(session_id))[-1].turn_id
    await stage.manager.rewind_session(session_id, turn_id)
    await stage.say(session_id, "three")

    rest = await all_of(stage.manager.attach(session_id, second[-1][0]))
    assert applied(first, second, rest).shown == [
        ("user", "one"), ("assistant", "You said: one"), ("user", "three"), ("assistant", "You said: three"),
    ]  # fmt: skip


@pytest.mark.parametrize("rewound", ["the last turn", "everything"])
@pytest.mark.parametrize("later", [False, True], ids=["and nothing after", "and another turn"])
async def test_every_cursor_survives_a_rewind(open_stage: OpenStage, rewound: str, later: bool) -> None:  # noqa: FBT001
    steps = [[Think("Hm."), Say(["So", ": "]), Call("roll_dice", {"notation": "1d1"})], "One."]
    stage = open_stage(
        lambda request: "Later." if "later" in str(words(request)) else steps[words(request)[-1][0] == "tool"]
    )
    session_id = await stage.session()
    frames = [*await live_frames(stage, session_id, "first"), *await live_frames(stage, session_id, "second")]
    history = await stage.manager.history(session_id)
    await stage.manager.rewind_session(session_id, history[-1 if rewound == "the last turn" else 0].turn_id)
    if later:
        await stage.say(session_id, "later")

    expected = applied(await all_of(stage.manager.attach(session_id)))
    for number, (cursor, _) in enumerate(frames, start=1):
        rest = await all_of(stage.manager.attach(session_id, cursor))
        assert content(applied(frames[:number], rest)) == content(expected), f"after frame {number}, at {cursor}"


# --- messages that wait -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("joined", ["with a snapshot", "from the beginning"])
@pytest.mark.parametrize("breaks", [False, True], ids=["", "and the first answer breaks"])
async def test_a_message_that_waits_is_shown_once_at_every_cursor(
    open_stage: OpenStage,
    joined: str,
    breaks: bool,  # noqa: FBT001
) -> None:
    gate = Gate()
    first: list[Any] = [Say(["Wr", "ong"]), gate, Cut()] if breaks else [Say(["To ", "one"]), gate]
    stage = open_stage([first, *(["To one"] if breaks else []), "To two"])
    session_id = await stage.session()
    receipt = await stage.manager.send(session_id, "one")
    await gate.reached()
    await stage.manager.send(session_id, "two")

    reader = stage.manager.attach(session_id, None if joined == "with a snapshot" else receipt.cursor)
    frames = [await anext(reader)]
    reading = asyncio.ensure_future(all_of(reader))
    await let_others_run()
    gate.open()
    frames += await reading
    expected = applied(await all_of(stage.manager.attach(session_id))).shown
    assert [text for _, text in expected] == ["one", "To one", "two", "To two"]
    if joined == "with a snapshot":
        assert applied(frames).shown == expected

    for number, (cursor, _) in enumerate(frames, start=1):
        rest = await all_of(stage.manager.attach(session_id, cursor))
        shown = dict.fromkeys(applied(frames[:number], rest).shown)
        missing = [entry for entry in expected if entry not in shown and entry != ("user", "one")]
        assert not missing, f"after frame {number}, at {cursor}"
        assert set(shown) <= set(expected), f"after frame {number}, at {cursor}"


# --- slow readers -------------------------------------------------------------------------------------------------------


async def test_a_slow_reader_never_holds_the_turn_up_and_still_gets_exact_text(open_stage: OpenStage) -> None:
    long = [f"word{n} " for n in range(3000)]
    stage = open_stage([[Say(long)]], config={"limits": {"reader_entries_max": 16}})
    session_id = await stage.session()
    receipt = await stage.manager.send(session_id, "Talk")
    slow = stage.manager.attach(session_id, receipt.cursor)
    frames = [await anext(slow)]
    await becomes(lambda: stage.data(session_id)["status"] == "idle")

    frames += [frame async for frame in slow]
    assert applied([tuple(frame) for frame in frames]).said() == "".join(long)  # type: ignore[misc]


@pytest.mark.virtual_time
@in_memory
async def test_readers_see_each_delta_at_once(open_stage: OpenStage) -> None:
    stage = open_stage([[piece for n in range(5) for piece in (Say([f"{n}"]), Pause(1))]])
    session_id = await stage.session()
    now = asyncio.get_running_loop().time
    times = [
        now()
        async for chunk in stage.manager.stream_response(session_id, "Count")
        if parsed(chunk)["type"] == "TEXT_MESSAGE_CONTENT"
    ]
    assert times == pytest.approx([0, 1, 2, 3, 4], abs=0.01)
