"""What holds in every protocol: positions, ends, and text that is exact wherever a reader was cut off."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agui_client import Client
from contract.conftest import OpenStage, in_memory
from contract.reading import all_of
from contract.stage import CheckedBackend, Stage, let_others_run
from greenroom import AgentManager, BackendRejected
from greenroom.backends.scripted import Call, Cut, Fail, Gate, Give, Say, Think
from greenroom.events import Event
from greenroom.messages import FilePart, SourcePart
from greenroom.protocols.native import HIDDEN, SHOWN
from greenroom.protocols.projection import PROTOCOLS
from native_client import NativeReader
from ui_stream_client import UiMessage

Frames = Sequence[tuple[str, str]]
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)


def said(protocol: str, *streams: Frames) -> str:
    """What the model said in the answer, after these streams one behind the other."""
    chunks = [[data for _, data in frames] for frames in streams]
    match protocol:
        case "ag-ui" | "ag-ui-0":
            client = Client()
            for stream in chunks:
                for number, data in enumerate(stream):
                    if number == 0 and json.loads(data)["type"] == "RUN_STARTED":
                        client.is_running = False
                        client.open.clear()
                    client.apply(data)
            return "".join(client.texts())
        case "ai-sdk" | "ai-sdk-7":
            message = UiMessage(knows_reset=protocol == "ai-sdk-7")
            for stream in chunks:
                if stream and json.loads(stream[0])["type"] == "start":
                    message = UiMessage(knows_reset=protocol == "ai-sdk-7")
                message.apply_all(stream)
            return message.text()
        case _:
            reader = NativeReader()
            for stream in chunks:
                reader.apply_all(stream)
            return reader.text()


def given_in(protocol: str, *streams: Frames) -> list[tuple[str, str]]:
    """What the answer has given beside its words, after these streams one behind the other, in order: address or title, or bytes."""
    chunks = [[data for _, data in frames] for frames in streams]
    match protocol:
        case "ag-ui" | "ag-ui-0":
            client = Client()
            for stream in chunks:
                for number, data in enumerate(stream):
                    if number == 0 and json.loads(data)["type"] == "RUN_STARTED":
                        client.is_running = False
                        client.open.clear()
                    client.apply(data)
            contents = [m["content"] for m in client.messages.values() if m["role"] == "activity"]
            contents = [content for content in contents if "isVoid" not in content]
        case "ai-sdk" | "ai-sdk-7":
            message = UiMessage(knows_reset=protocol == "ai-sdk-7")
            for stream in chunks:
                if stream and json.loads(stream[0])["type"] == "start":
                    message = UiMessage(knows_reset=protocol == "ai-sdk-7")
                message.apply_all(stream)
            contents = [part for part in message.kept if part["type"] in {"source-url", "source-document", "file"}]
            contents = [
                {"data": part["url"].partition(",")[2]} if part["type"] == "file" else part for part in contents
            ]
        case _:
            reader = NativeReader()
            for stream in chunks:
                reader.apply_all(stream)
            answer = [m for m in reader.messages if m["role"] == "assistant"][-1]
            contents = [part for part in answer["parts"] if part["type"] in {"source", "file"}]
    return [
        ("file", content["data"]) if "data" in content else ("source", content.get("url") or content["title"])
        for content in contents
    ]


async def followed(stage: Stage, session_id: str, protocol: Any, text: str = "Go") -> list[tuple[str, str]]:
    receipt = await stage.manager.send(session_id, text)
    return await all_of(stage.manager.attach(session_id, receipt.cursor, protocol=protocol, turn_id=receipt.turn_id))


ENDS: dict[str, list[Any]] = {
    "completed": [Think("Hm."), Say(["So ", "far."])],
    "cancelled": [Think("Hm."), Say(["So ", "far."])],
    "failed": [Think("Hm."), Say(["So ", "far."]), Fail(BackendRejected("no such model"))],
    "interrupted": [Think("Hm."), Say(["So ", "far."])],
}
TERMINAL: dict[str, dict[str, tuple[str, str]]] = {
    "ag-ui": {
        "completed": ("RUN_FINISHED", "success"),
        "cancelled": ("RUN_FINISHED", "cancelled"),
        "failed": ("RUN_ERROR", "backend_rejected"),
        "interrupted": ("RUN_ERROR", "interrupted"),
    },
    "ag-ui-0": {
        "completed": ("RUN_FINISHED", "success"),
        "cancelled": ("RUN_ERROR", "cancelled"),
        "failed": ("RUN_ERROR", "backend_rejected"),
        "interrupted": ("RUN_ERROR", "interrupted"),
    },
    "ai-sdk": {
        "completed": ("finish", "stop"),
        "cancelled": ("finish", "other"),
        "failed": ("finish", "error"),
        "interrupted": ("finish", "error"),
    },
    "native": {end: ("turn_ended", end) for end in ENDS},
}
TERMINAL["ai-sdk-7"] = TERMINAL["ai-sdk"]


def how(data: str) -> tuple[str, str]:
    event = json.loads(data)
    word = event.get("finishReason") or event.get("code") or event.get("outcome")
    return event["type"], word["type"] if isinstance(word, dict) else event.get("outcome", word)


@every_protocol
@pytest.mark.parametrize("end", ENDS)
async def test_every_end_is_told_wherever_a_reader_joins(
    open_stage: OpenStage, protocol: Any, end: str, file_store: str
) -> None:
    gate = Gate()
    step = ENDS[end] if end in {"completed", "failed"} else [*ENDS[end], gate]
    stage = open_stage([step], store=file_store)
    session_id = await stage.session(recovery="close")
    receipt = await stage.manager.send(session_id, "Go")
    if gate in step:
        await gate.reached()
    if end == "cancelled":
        await stage.manager.cancel(session_id)
    if end == "interrupted":
        await stage.manager.close()
        stage = open_stage([], store=file_store)

    whole = await all_of(stage.manager.attach(session_id, receipt.cursor, protocol=protocol, turn_id=receipt.turn_id))
    joined = await all_of(stage.manager.attach(session_id, protocol=protocol, turn_id=receipt.turn_id, joins=True))
    for frames in (whole, joined):
        assert how(frames[-1][1]) == TERMINAL[protocol][end]
        assert said(protocol, frames) == "So far."
    for cursor, _ in whole:
        rest = await all_of(stage.manager.attach(session_id, cursor, protocol=protocol, turn_id=receipt.turn_id))
        assert how(rest[-1][1]) == TERMINAL[protocol][end]

    # Some clients drop what comes under a position that they have seen: not the end, each time that it is lost and asked for.
    for frames in (whole, joined):
        known, last = {cursor for cursor, _ in whole}, frames[-1][0]
        for _ in range(3):
            rest = await all_of(stage.manager.attach(session_id, last, protocol=protocol, turn_id=receipt.turn_id))
            assert how(rest[-1][1]) == TERMINAL[protocol][end]
            assert rest[-1][0] not in known
            known |= {cursor for cursor, _ in rest}
            last = rest[-1][0]


@every_protocol
@in_memory
async def test_positions_are_unique_and_grow(open_stage: OpenStage, protocol: Any) -> None:
    stage = open_stage([[Think(["a", "b"]), Say(["c", "d"]), Call("roll_dice", {"notation": "1d1"})], "Done."])
    session_id = await stage.session()
    await followed(stage, session_id, protocol)
    for frames in (
        await all_of(stage.manager.attach(session_id, "0.0~0", protocol=protocol)),
        await all_of(stage.manager.attach(session_id, protocol=protocol)),
    ):
        cursors = [cursor for cursor, _ in frames]
        assert len(set(cursors)) == len(cursors)
        assert "Done." in said(protocol, frames)


@every_protocol
async def test_a_message_that_is_taken_back_ends_its_readers(open_stage: OpenStage, protocol: Any) -> None:
    gate = Gate()
    stage = open_stage([[gate, Say("one")]])
    session_id = await stage.session()
    await stage.manager.send(session_id, "one")
    receipt = await stage.manager.send(session_id, "two")
    await gate.reached()
    reading = asyncio.ensure_future(
        all_of(stage.manager.attach(session_id, protocol=protocol, turn_id=receipt.turn_id))
    )
    await let_others_run()
    await stage.manager.cleanup_session(session_id)
    frames = await reading
    assert how(frames[-1][1])[0] in {"RUN_ERROR", "finish", "error"}
    assert len({cursor for cursor, _ in frames}) == len(frames)


def test_it_was_decided_of_each_event_whether_clients_see_it() -> None:
    assert set(SHOWN) | HIDDEN == set(get_args(Event))
    assert not set(SHOWN) & HIDDEN


# --- any answer, cut anywhere -------------------------------------------------------------------------------------------

pieces = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=5)
PNG = b"\x89PNG\r\n\x1a\n"
sources = st.builds(
    SourcePart, url=st.sampled_from(["https://a.example", "http://b.example/?q=ö"]), title=st.sampled_from(["", "A"])
)
documents = st.builds(SourcePart, title=st.sampled_from(["a.pdf", "b.pdf"]), quote=st.sampled_from(["", "so it is"]))
pictures = st.builds(FilePart, media_type=st.just("image/png"), data=st.binary(max_size=3).map(PNG.__add__))
gifts = st.builds(Give, st.one_of(sources, documents, pictures))
cues = st.one_of(
    gifts,
    st.builds(Say, pieces),
    st.builds(Think, pieces),
    st.builds(lambda n: Call("roll_dice", [f'{{"notation": "{n}d', '1"}']), st.integers(1, 3)),
)
attempts = st.lists(cues, min_size=1, max_size=5)


@st.composite
def scripts(draw: st.DrawFn) -> list[list[Any]]:
    """Steps of an answer; before any of them an attempt may break off."""
    steps: list[list[Any]] = []
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            steps.append([*draw(attempts), Cut()])
        steps.append([*draw(attempts), Call("roll_dice", {"notation": "1d1"})])
    steps.append(
        [*draw(st.lists(st.one_of(gifts, st.builds(Say, pieces), st.builds(Think, pieces)), max_size=3)), Say("End.")]
    )
    return steps


@pytest.mark.timeout(300)
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(script=scripts(), data=st.data())
def test_any_answer_cut_anywhere_is_exact_in_every_protocol(script: list[list[Any]], data: st.DataObject) -> None:
    asyncio.run(_cut_everywhere(script, data))


async def _cut_everywhere(script: list[list[Any]], data: st.DataObject) -> None:
    limits = {"retry_base_s": 0.001, "drain_s_max": 0.05}
    async with AgentManager(
        "memory://", backends={"scripted": CheckedBackend(script)}, config={"limits": limits}
    ) as manager:
        session_id = await manager.create_session(backend="scripted")
        receipt = await manager.send(session_id, "Go")
        streams = {
            protocol: await all_of(manager.attach(session_id, receipt.cursor, protocol=protocol))
            for protocol in PROTOCOLS
        }
        expected = "".join(
            part.text
            for part in (await manager.history(session_id))[-1].parts
            if part.__struct_config__.tag == "text"  # type: ignore[attr-defined]
        )
        answer = (await manager.history(session_id))[-1]
        beside = [
            ("file", base64.b64encode(part.data).decode())
            if isinstance(part, FilePart)
            else ("source", part.url or part.title)
            for part in answer.parts
            if isinstance(part, FilePart | SourcePart)
        ]
        sleeps = data.draw(st.booleans())
        for protocol, frames in streams.items():
            joined = await all_of(manager.attach(session_id, protocol=protocol))
            assert said(protocol, frames) == said(protocol, joined) == expected
            assert given_in(protocol, frames) == given_in(protocol, joined) == beside
            if sleeps:
                await manager.hibernate(session_id)
            for number, (cursor, _) in enumerate(frames, start=1):
                rest = await all_of(manager.attach(session_id, cursor, protocol=protocol))
                assert said(protocol, frames[:number], rest) == expected, f"{protocol}: after {number}, at {cursor}"
                assert sorted(given_in(protocol, frames[:number], rest)) == sorted(beside), (
                    f"{protocol}: after {number}"
                )
