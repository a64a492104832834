"""The scripted backend keeps the promises of a backend, and those that tests and demos rely on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from greenroom.backends.scripted import (
    REQUESTS_KEPT_MAX,
    Call,
    Cut,
    Fail,
    Finish,
    Gate,
    Opaque,
    Pause,
    Refuse,
    Say,
    ScriptedBackend,
    Think,
)
from greenroom.errors import BackendRejected, BackendUnavailable, InvalidArgument
from greenroom.interfaces import Backend, BackendRequest, Notice
from greenroom.messages import (
    FilePart,
    PartDelta,
    PartEnded,
    PartStarted,
    Sidecar,
    StreamEnded,
    StreamItem,
    TextPart,
    Usage,
    UserMessage,
)

SEAL = Sidecar(backend="scripted", model="m", data=msgspec.Raw(b'{"signature":"s"}'))


def request(text: str = "Hello there", *, session_id: str = "s") -> BackendRequest:
    return BackendRequest(
        model="m",
        system="Be brief.",
        messages=(UserMessage(parts=(TextPart(text=text),)),),
        session_id=session_id,
    )


async def reads(backend: Backend, asked: BackendRequest | None = None) -> list[Sequence[StreamItem]]:
    async with backend.stream(asked or request()) as stream:
        return [items async for items in stream]


async def played(backend: Backend, asked: BackendRequest | None = None) -> list[StreamItem]:
    return [item for items in await reads(backend, asked) for item in items]


def end(items: Sequence[StreamItem]) -> StreamEnded:
    assert isinstance(items[-1], StreamEnded)
    return items[-1]


async def test_without_a_script_it_echoes_what_the_person_said() -> None:
    items = await played(ScriptedBackend())
    assert items[:-1] == [
        PartStarted(part=0, kind="text"),
        PartDelta(part=0, delta="You "),
        PartDelta(part=0, delta="said: "),
        PartDelta(part=0, delta="Hello "),
        PartDelta(part=0, delta="there"),
        PartEnded(part=0),
    ]
    assert end(items).reason == "stop"
    assert end(items).model == "m"
    assert end(items).usage == Usage(input_tokens=5, output_tokens=6)


async def test_the_echo_counts_attachments() -> None:
    picture = FilePart(media_type="image/png", data=b"png")
    asked = BackendRequest(model="m", system="", messages=(UserMessage(parts=(TextPart(text="Look"), picture)),))
    texts = [item.delta for item in await played(ScriptedBackend(), asked) if isinstance(item, PartDelta)]
    assert "".join(texts) == "You said: Look (1 attachment)"


async def test_every_read_brings_one_delta() -> None:
    for items in await reads(ScriptedBackend(["one two three"])):
        assert sum(isinstance(item, PartDelta) for item in items) <= 1


async def test_each_request_takes_the_next_step_and_the_end_is_said() -> None:
    backend = ScriptedBackend(["first", Refuse("No."), Call("roll", {"n": 1})])
    assert PartDelta(part=0, delta="first") in await played(backend)
    assert end(await played(backend)).reason == "refusal"
    assert end(await played(backend)).reason == "tool_calls"
    with pytest.raises(BackendRejected, match="it has 3 steps, and this is request 4"):
        await played(backend)


async def test_parallel_calls_are_parts_of_one_step_with_ids_of_their_own() -> None:
    items = await played(
        ScriptedBackend([[Think("Two."), Call("a", {"x": 1}), Call("b", '{"broken', call_id=""), Call("c")]])
    )
    assert [(item.part, item.kind, item.call_id, item.name) for item in items if isinstance(item, PartStarted)] == [
        (0, "reasoning", "", ""),
        (1, "tool_call", "call_1_1", "a"),
        (2, "tool_call", "", "b"),
        (3, "tool_call", "call_1_3", "c"),
    ]
    assert [item.delta for item in items if isinstance(item, PartDelta)] == ["Two.", '{"x":1}', '{"broken', "{}"]


async def test_parts_are_ended_in_order_and_only_once() -> None:
    items = await played(ScriptedBackend([[Say("a b"), Think("c"), Say("d"), Opaque(SEAL), Refuse("e"), Call("f")]]))
    is_open: int | None = None
    for item in items[:-1]:
        match item:
            case PartStarted():
                assert is_open is None
                is_open = item.part
            case PartDelta():
                assert is_open == item.part
            case PartEnded():
                assert is_open == item.part
                is_open = None
            case StreamEnded():
                pytest.fail("an end in the middle")
    assert is_open is None
    assert [item.part for item in items if isinstance(item, PartStarted)] == list(range(6))


async def test_text_goes_on_after_a_pause_and_a_sidecar_seals_it() -> None:
    one = await played(ScriptedBackend([[Say("Hel"), Pause(0), Say("lo")]]))
    assert [item for item in one if isinstance(item, PartStarted)] == [PartStarted(part=0, kind="text")]
    two = await played(ScriptedBackend([[Think("a", sidecar=SEAL), Think("b", sidecar=SEAL)]]))
    assert [item for item in two if isinstance(item, PartEnded)] == [
        PartEnded(part=0, sidecar=SEAL),
        PartEnded(part=1, sidecar=SEAL),
    ]


async def test_pieces_are_streamed_as_given_and_empty_ones_are_not_deltas() -> None:
    items = await played(ScriptedBackend([[Say(["He", "", "llo"]), Call("f", ["{", "}"]), Say("")]]))
    assert [item.delta for item in items if isinstance(item, PartDelta)] == ["He", "llo", "{", "}"]
    assert PartStarted(part=2, kind="text") in items


async def test_the_words_joined_are_the_text() -> None:
    text = "  two  spaces,\nlines\n\n and an end \n"
    assert "".join(item.delta for item in await played(ScriptedBackend([text])) if isinstance(item, PartDelta)) == text


async def test_a_function_sees_the_request_and_tells_sessions_apart() -> None:
    backend = ScriptedBackend(lambda asked: [Say(asked.session_id)])
    assert PartDelta(part=0, delta="left") in await played(backend, request(session_id="left"))
    assert PartDelta(part=0, delta="right") in await played(backend, request(session_id="right"))


async def test_a_failure_comes_on_opening_or_in_the_middle() -> None:
    backend = ScriptedBackend([Fail(BackendUnavailable("overloaded")), [Say("Hel"), Fail(BackendUnavailable("gone"))]])
    with pytest.raises(BackendUnavailable, match="overloaded"):
        await backend.stream(request()).__aenter__()
    async with backend.stream(request()) as stream:
        assert PartDelta(part=0, delta="Hel") in await anext(stream)
        with pytest.raises(BackendUnavailable, match="gone"):
            await anext(stream)
    assert backend.streams_open == 0


async def test_a_cut_leaves_the_part_open_and_the_stream_without_its_end() -> None:
    assert await played(ScriptedBackend([[Call("f", '{"a": '), Cut()]])) == [
        PartStarted(part=0, kind="tool_call", call_id="call_1_1", name="f"),
        PartDelta(part=0, delta='{"a": '),
    ]


async def test_finish_sets_what_the_provider_would_say() -> None:
    usage = Usage(input_tokens=7, output_tokens=3, cached_input_tokens=5)
    finish = Finish(reason="length", raw_reason="max_tokens", usage=usage, model="m-2026", response_id="r1")
    items = await played(ScriptedBackend([[Say("a"), finish]]))
    assert end(items) == StreamEnded(
        reason="length", raw_reason="max_tokens", usage=usage, model="m-2026", response_id="r1"
    )


async def test_a_gate_holds_the_stream_until_it_is_opened() -> None:
    gate = Gate()
    backend = ScriptedBackend([[Say("Hel"), gate, Say("lo")]])
    reading = asyncio.ensure_future(played(backend))
    await gate.reached()
    assert backend.streams_open == 1
    assert not reading.done()
    gate.open()
    assert PartDelta(part=0, delta="lo") in await reading
    assert backend.streams_open == 0


async def test_leaving_in_the_middle_closes_the_stream() -> None:
    gate = Gate()
    backend = ScriptedBackend([[Say("Hel"), gate]])
    reading = asyncio.ensure_future(played(backend))
    await gate.reached()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert backend.streams_open == 0


async def test_it_remembers_the_latest_requests() -> None:
    backend = ScriptedBackend()
    for number in range(REQUESTS_KEPT_MAX + 1):
        await played(backend, request(str(number)))
    assert backend.request_count == REQUESTS_KEPT_MAX + 1
    assert len(backend.requests) == REQUESTS_KEPT_MAX
    assert backend.requests[-1] == request(str(REQUESTS_KEPT_MAX))


async def test_notices_are_those_it_was_made_with() -> None:
    notice = Notice(code="demo", text="This is a demo.")
    assert ScriptedBackend(notices=[notice]).notices(request()) == (notice,)
    assert not ScriptedBackend().notices(request())


async def test_after_close_it_refuses() -> None:
    backend = ScriptedBackend()
    await backend.close()
    await backend.close()
    assert backend.is_closed
    with pytest.raises(BackendUnavailable, match="closed"):
        await played(backend)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("Hello", "a script is a sequence of steps or a function, not str"),
        (7, "not int"),
        ([7], "step 1: int is not a cue"),
        (["fine", [Say("a"), "b"]], "step 2: str is not a cue"),
        ([[Cut(), Say("a")]], "step 1: nothing can follow Cut"),
    ],
)
def test_a_wrong_script_is_refused_at_once(script: object, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        ScriptedBackend(script)  # type: ignore[arg-type]


async def test_a_function_that_returns_no_step_is_named() -> None:
    with pytest.raises(InvalidArgument, match="the step for request 1: NoneType is not a cue"):
        await played(ScriptedBackend(lambda _: None))  # type: ignore[arg-type]
