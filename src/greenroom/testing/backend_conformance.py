"""The promises of `greenroom.interfaces.Backend`, as tests that hold any backend to them.

::

    class TestMyBackend(BackendConformance):
        @asynccontextmanager
        async def stage(self, *answers: Answer) -> AsyncIterator[Stage]:
            async with my_provider_that_plays(answers) as provider:
                yield Stage(backend=MyBackend(provider.url), ...)

A backend is tested together with its provider, or a double of it, which plays the answers that a test asks for: `Says` tells
what is streamed, `Fails` how the provider refuses. Whoever subclasses writes that translation, and nothing else.

The suite needs no test framework but one that runs coroutine methods whose names begin with `test_`, such as pytest with
pytest-asyncio. It is not marked for any loop: run it on each loop that you support.

Rule: one method per promise; a method says nothing about how a backend keeps it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Final

import msgspec

from greenroom.errors import (
    BackendError,
    BackendGarbled,
    BackendRejected,
    BackendUnauthorized,
    BackendUnavailable,
    ContextTooLong,
)
from greenroom.interfaces import Backend, BackendRequest
from greenroom.messages import (
    FilePart,
    PartDelta,
    PartEnded,
    PartGiven,
    PartStarted,
    SourcePart,
    StreamEnded,
    StreamItem,
    TextPart,
    ToolSpec,
    Usage,
    UsageCounted,
    UserMessage,
)

PATIENCE_S: Final = 10.0
"""How long a provider may take to notice that its reader has left."""


class ToolUse(msgspec.Struct, frozen=True):
    """A call that the model makes. `arguments` is a JSON object."""

    call_id: str
    name: str
    arguments: str


class Says(msgspec.Struct, frozen=True, kw_only=True):
    """An answer: reasoning, then text, then calls, whichever are there.

    Attributes:
        holds: the provider is silent after some of the text, until its reader leaves.
        breaks: the connection breaks after the text, before the end of the answer.
    """

    reasoning: str = ""
    text: str = ""
    calls: tuple[ToolUse, ...] = ()
    holds: bool = False
    breaks: bool = False


class Fails(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal that should become an error of the type `error`."""

    error: type[BackendError]


Answer = Says | Fails


class Stage(msgspec.Struct, kw_only=True):
    """A backend and what can be seen of its provider.

    Attributes:
        request_count: returns how many requests have reached the provider.
        left: returns when the provider has seen a reader leave in the middle of an answer.
        model: to ask for.
        shows_reasoning: whether the backend hands reasoning on.
    """

    backend: Backend
    request_count: Callable[[], int]
    left: Callable[[], Awaitable[object]]
    model: str
    shows_reasoning: bool = True


class Heard(msgspec.Struct, kw_only=True):
    """A part, put together."""

    started: PartStarted
    text: str = ""
    ended: PartEnded | None = None


def put_together(items: Iterable[StreamItem]) -> tuple[list[Heard], StreamEnded | None]:
    """Returns the parts that `items` make, and the end if there is one.

    Raises:
        AssertionError: the items break the order that every backend promises; says which and how.
    """
    parts: dict[int, Heard] = {}
    end: StreamEnded | None = None
    for item in items:
        assert end is None, f"{item} comes after the end of the stream"
        match item:
            case PartStarted():
                assert item.part not in parts, f"{item} begins a part that began before"
                parts[item.part] = Heard(started=item)
            case PartDelta():
                assert item.part in parts, f"{item} belongs to a part that never began"
                assert parts[item.part].ended is None, f"{item} belongs to a part that has ended"
                assert item.delta, f"part {item.part} has an empty delta"
                item.delta.encode()  # valid Unicode
                parts[item.part].text += item.delta
            case PartEnded():
                assert item.part in parts, f"{item} ends a part that never began"
                assert parts[item.part].ended is None, f"{item} ends a part a second time"
                parts[item.part].ended = item
            case PartGiven(content=content):
                assert isinstance(content, SourcePart | FilePart), (
                    f"{item} gives something that is no part of an answer"
                )
            case UsageCounted():
                assert item.usage != Usage(), f"{item} counts nothing"
            case StreamEnded():
                still_open = [number for number, part in parts.items() if part.ended is None]
                assert not still_open, f"the stream ends while the parts {still_open} are open"
                end = item
    return list(parts.values()), end


class BackendConformance:
    """The suite. Subclass it, and say in `stage` how the provider is made to play."""

    def stage(self, *answers: Answer) -> AbstractAsyncContextManager[Stage]:
        """Returns a context with a backend whose provider answers requests by `answers`, one after the other."""
        raise NotImplementedError

    # --- a whole answer -------------------------------------------------------------------------------------------------

    async def test_an_answer_is_made_of_parts_in_order(self) -> None:
        """Begun, continued, ended, each under a number of its own; the end of the stream last."""
        async with self.stage(Says(reasoning="Hm, well.", text="Let me see.", calls=(LOOK, ROLL))) as stage:
            parts, end = put_together(await _answer(stage))
        kinds = [part.started.kind for part in parts]
        assert kinds == (["reasoning"] if stage.shows_reasoning else []) + ["text", "tool_call", "tool_call"]
        assert end is not None, "the last item is not the end of the stream"

    async def test_text_arrives_exactly(self) -> None:
        """Character by character, also where they take several bytes, are cut by the network or look like the protocol."""
        for text in TEXTS:
            async with self.stage(Says(text=text)) as stage:
                parts, _ = put_together(await _answer(stage))
            assert [part.text for part in parts] == [text]

    async def test_calls_arrive_exactly(self) -> None:
        """Parallel calls keep their order, ids, names and arguments."""
        async with self.stage(Says(calls=(LOOK, ROLL))) as stage:
            parts, _ = put_together(await _answer(stage))
        found = [ToolUse(part.started.call_id, part.started.name, part.text) for part in parts]
        assert [(use.call_id, use.name) for use in found] == [(use.call_id, use.name) for use in (LOOK, ROLL)]
        assert [_json(use.arguments) for use in found] == [_json(use.arguments) for use in (LOOK, ROLL)]

    async def test_arguments_are_never_missing(self) -> None:
        """A call without arguments has an empty object: a text that is no JSON would look like a mistake of the model."""
        async with self.stage(Says(calls=(ToolUse("call_1", "look", "{}"),))) as stage:
            parts, _ = put_together(await _answer(stage))
        assert [_json(part.text) for part in parts] == [{}]

    async def test_the_end_says_why_and_who(self) -> None:
        """The reason is one of ours, the model is named, the tokens are counted."""
        for says, reason in ((Says(text="Done."), "stop"), (Says(calls=(ROLL,)), "tool_calls")):
            async with self.stage(says) as stage:
                _, end = put_together(await _answer(stage))
            assert end is not None
            assert end.reason == reason
            assert end.model
            assert end.usage is not None
            assert end.usage.output_tokens > 0

    async def test_sidecars_belong_to_the_backend_and_the_model(self) -> None:
        """What is to be sent back says to whom."""
        async with self.stage(Says(reasoning="Hm.", text="Yes.", calls=(ROLL,))) as stage:
            parts, _ = put_together(await _answer(stage))
        sidecars = [part.ended.sidecar for part in parts if part.ended is not None and part.ended.sidecar is not None]
        assert {(sidecar.backend, sidecar.model) for sidecar in sidecars} <= {
            (stage.backend.dialect(_request(stage)), stage.model)
        }

    # --- leaving --------------------------------------------------------------------------------------------------------

    async def test_leaving_in_the_middle_closes_the_connection(self) -> None:
        """Nobody pays for what nobody reads."""
        async with self.stage(Says(text="An endless story", holds=True)) as stage:
            async with stage.backend.stream(_request(stage)) as stream:
                await anext(aiter(stream))
            await asyncio.wait_for(stage.left(), PATIENCE_S)

    async def test_leaving_without_reading_closes_the_connection(self) -> None:
        """Also before the first item was asked for."""
        async with self.stage(Says(text="An endless story", holds=True)) as stage:
            async with stage.backend.stream(_request(stage)):
                pass
            await asyncio.wait_for(stage.left(), PATIENCE_S)

    async def test_a_cancelled_reader_closes_the_connection(self) -> None:
        """Cancellation passes through, and takes the connection along."""
        async with self.stage(Says(text="An endless story", holds=True)) as stage:
            has_begun = asyncio.Event()

            async def read() -> None:
                async with stage.backend.stream(_request(stage)) as stream:
                    async for _ in stream:
                        has_begun.set()

            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(read())
                await asyncio.wait_for(has_begun.wait(), PATIENCE_S)
                reader.cancel()
            assert reader.cancelled()
            await asyncio.wait_for(stage.left(), PATIENCE_S)

    async def test_an_error_of_the_reader_passes_through(self) -> None:
        """What goes wrong inside of the context is the reader's own, and reaches the reader as it was."""
        async with self.stage(Says(text="An endless story", holds=True)) as stage:
            mishap = LookupError("the reader's own")
            arrived: Exception | None = None
            try:
                async with stage.backend.stream(_request(stage)) as stream:
                    await anext(aiter(stream))
                    raise mishap
            except LookupError as error:
                arrived = error
            assert arrived is mishap
            await asyncio.wait_for(stage.left(), PATIENCE_S)

    # --- failures -------------------------------------------------------------------------------------------------------

    async def test_a_broken_stream_gives_what_it_brought_and_no_end(self) -> None:
        """The items of before are there; then comes an error, or nothing. The missing end is not made up."""
        async with self.stage(Says(text="Half of it", breaks=True)) as stage:
            items, error = await _failing(stage)
        parts, end = put_together(items)
        assert "".join(part.text for part in parts if part.started.kind == "text") == "Half of it"
        assert end is None
        assert error is None or isinstance(error, BackendGarbled | BackendUnavailable), repr(error)

    async def test_refusals_are_typed(self) -> None:
        """Weather, a request that is wrong, a key that is wrong, a transcript that is too long: four different things."""
        for kind in (BackendUnavailable, BackendRejected, BackendUnauthorized, ContextTooLong):
            async with self.stage(Fails(error=kind)) as stage:
                items, error = await _failing(stage)
            assert items == []
            assert type(error) is kind, repr(error)

    async def test_nothing_is_asked_twice(self) -> None:
        """Whether and when to ask again is the runtime's decision."""
        for answer in (Fails(error=BackendUnavailable), Says(text="Half of it", breaks=True)):
            async with self.stage(answer, Says(text="The second answer")) as stage:
                await _failing(stage)
                assert stage.request_count() == 1

    async def test_a_failure_leaves_the_backend_usable(self) -> None:
        """The next request is answered."""
        async with self.stage(Fails(error=BackendUnavailable), Says(text="Here I am.")) as stage:
            await _failing(stage)
            parts, _ = put_together(await _answer(stage))
        assert [part.text for part in parts] == ["Here I am."]

    # --- many -----------------------------------------------------------------------------------------------------------

    async def test_streams_at_the_same_time_do_not_mix(self) -> None:
        """Each reader gets the answer to its own request, whole."""
        texts = [f"{letter} " * 50 for letter in "abc"]
        async with self.stage(*(Says(text=text) for text in texts)) as stage:
            async with asyncio.TaskGroup() as tasks:
                readers = [tasks.create_task(_answer(stage)) for _ in texts]
            heard = [part.text for reader in readers for part in put_together(reader.result())[0]]
        assert sorted(heard) == texts

    async def test_notices_ask_nobody(self) -> None:
        """They are known from the request alone."""
        async with self.stage(Says(text="Yes.")) as stage:
            notices = stage.backend.notices(_request(stage))
            assert all(notice.code and notice.text for notice in notices)
            assert stage.request_count() == 0

    async def test_closing_twice_is_closing(self) -> None:
        """Closing is idempotent, before the first request and after it."""
        async with self.stage(Says(text="Yes.")) as stage:
            await stage.backend.close()
        async with self.stage(Says(text="Yes.")) as stage:
            await _answer(stage)
            await stage.backend.close()
            await stage.backend.close()


LOOK: Final = ToolUse("call_look", "look", '{"where":"the green room","how":{"long":2.5,"often":[1,2]}}')
ROLL: Final = ToolUse("call_roll", "roll", '{"notation":"1d6"}')
TOOLS: Final = tuple(
    ToolSpec(name=name, description=f"To {name}.", parameters={"type": "object", "properties": {}})
    for name in ("look", "roll")
)
TEXTS: Final = (
    "Plain.",
    "Grüße, 世界, 👩‍👩‍👧 and \N{COMBINING ACUTE ACCENT}",
    'data: [DONE]\n\ndata: {"type":"error"}\r\n\r\nevent: end\n',
    '\u2028\u2029\u0085 and \\u0041 "quoted" \\ \t',
    "long " * 2_000,
)


def _request(stage: Stage) -> BackendRequest:
    return BackendRequest(
        model=stage.model,
        system="Be brief.",
        messages=(UserMessage(parts=(TextPart(text="Hello."),)),),
        tools=TOOLS,
        session_id="conformance",
    )


async def _answer(stage: Stage) -> list[StreamItem]:
    return [item async for items in _reads(stage) for item in items]


async def _failing(stage: Stage) -> tuple[list[StreamItem], BackendError | None]:
    items: list[StreamItem] = []
    try:
        async with aclosing(_reads(stage)) as reads:
            async for read in reads:
                items += read
    except BackendError as error:
        return items, error
    return items, None


async def _reads(stage: Stage) -> AsyncGenerator[Sequence[StreamItem]]:
    async with stage.backend.stream(_request(stage)) as stream:
        async for items in stream:
            assert items, "a read without items"
            yield items


def _json(text: str) -> object:
    return msgspec.json.decode(text)
