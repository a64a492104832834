"""A model that follows a script: for tests, demos and examples, without a key, a network or a model.

::

    backend = ScriptedBackend(
        [
            [Think("A die, then."), Call("roll_dice", {"notation": "1d6"})],  # first request: think, then call a tool
            "You rolled a four.",                                             # second request: plain text
            [Say("And now "), Pause(2), Say("we wait."), Cut()],              # third: the connection breaks
        ]
    )

A script is a sequence of steps, one per request in the order of their arrival, whichever session asks; or a function from
the request to its step, which can tell sessions apart. A step is one cue or a sequence of cues. Without a script the backend
echoes what the person said; a request after the last step is refused.

Cues are played in order. A part (text, reasoning, refusal) stays open while cues of its kind follow each other, so that
anything may happen in the middle of it: `Say("Hel"), Pause(1), Say("lo")` is one text with a pause inside, and
`Call("f", '{"a": '), Cut()` breaks off within the arguments.

Rule: nothing here is random and nothing looks at a clock but `Pause`: the same script gives the same stream, every time.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, Literal

import msgspec

from greenroom.errors import BackendError, BackendRejected, BackendUnavailable, InvalidArgument
from greenroom.interfaces import BackendRequest, Notice
from greenroom.messages import (
    AssistantMessage,
    FilePart,
    FinishReason,
    PartDelta,
    PartEnded,
    PartGiven,
    PartKind,
    PartStarted,
    ReasoningPart,
    RefusalPart,
    Sidecar,
    SourcePart,
    StreamEnded,
    StreamItem,
    TextPart,
    ToolCallPart,
    ToolMessage,
    Usage,
    UsageCounted,
    UserMessage,
)

REQUESTS_KEPT_MAX: Final = 256
"""How many requests a backend remembers: enough for any test, and a demo may run for weeks."""

_CHARACTERS_PER_TOKEN: Final = 4  # The usual rule of thumb for English; a script's usage only has to be plausible.
_WORD: Final = re.compile(r"\S+\s*|\s+")


# --- cues: what a step is made of ---------------------------------------------------------------------------------------


class Say(msgspec.Struct, frozen=True):
    """Text of the answer, streamed word by word; a sequence of texts is streamed in exactly these pieces.

    Attributes:
        sidecar: what the provider wants to see again; it seals the part, so a following `Say` begins another one.
    """

    text: str | Sequence[str]
    sidecar: Sidecar | None = None


class Think(msgspec.Struct, frozen=True):
    """Reasoning before the answer, streamed as by `Say`."""

    text: str | Sequence[str]
    sidecar: Sidecar | None = None


class Refuse(msgspec.Struct, frozen=True):
    """Text with which the model declines, streamed as by `Say`."""

    text: str | Sequence[str]


class Call(msgspec.Struct, frozen=True):
    """A call of a tool. Several in one step are parallel calls.

    Attributes:
        arguments: a mapping becomes JSON; a text is sent as it is, so that broken JSON can be played; a sequence of texts is
            streamed in exactly these pieces.
        call_id: the provider's id, also an empty or repeated one; `None` numbers the calls.
    """

    name: str
    arguments: Mapping[str, Any] | str | Sequence[str] = {}
    call_id: str | None = None
    sidecar: Sidecar | None = None


class Opaque(msgspec.Struct, frozen=True):
    """A part that only its provider understands."""

    sidecar: Sidecar


class Give(msgspec.Struct, frozen=True):
    """A source that the answer names, or a picture that the model made; what is being said goes on after it."""

    content: SourcePart | FilePart


class Pause(msgspec.Struct, frozen=True):
    """Silence, in seconds of the event loop: a loop with virtual time makes it free."""

    seconds: float


class Gate:
    """A place where the stream waits until it is let through: for tests that need one certain interleaving.

    ::

        gate = Gate()
        backend = ScriptedBackend([[Say("Hel"), gate, Say("lo")]])
        ...
        await gate.reached()  # "Hel" has been read, and the backend is silent
        gate.open()

    A gate that nobody opens is a provider that hangs.
    """

    def __init__(self) -> None:
        self._reached = asyncio.Event()
        self._open = asyncio.Event()

    def open(self) -> None:
        """Lets every stream pass, those that wait and those that come."""
        self._open.set()

    async def reached(self) -> None:
        """Returns when a stream has come to the gate."""
        await self._reached.wait()

    async def pass_through(self) -> None:
        """What the stream does: says that it is here, and waits."""
        self._reached.set()
        await self._open.wait()


class Count(msgspec.Struct, frozen=True):
    """The provider tells what the step has used so far."""

    usage: Usage


class Fail(msgspec.Struct, frozen=True):
    """The provider fails: on opening the stream if this is the first cue, else in the middle of it. Always the last cue."""

    error: BackendError


class Cut(msgspec.Struct, frozen=True):
    """The stream ends without its end, as when a connection breaks and nobody notices. Always the last cue."""


class Finish(msgspec.Struct, frozen=True, kw_only=True):
    """How the step ends, where the default will not do. Always the last cue.

    Attributes:
        reason: `None` is what the parts imply: `refusal`, `tool_calls` or `stop`.
        usage: `None` is an estimate from the length of the texts.
        model: empty is the model that was asked for.
    """

    reason: FinishReason | None = None
    raw_reason: str = ""
    usage: Usage | None = None
    model: str = ""
    response_id: str = ""


Cue = Say | Think | Refuse | Call | Opaque | Give | Count | Pause | Gate | Fail | Cut | Finish
Step = str | Cue | Sequence[Cue]
"""What is played for one request: a plain text, one cue or several."""
Script = Sequence[Step] | Callable[[BackendRequest], Step]


# --- the backend --------------------------------------------------------------------------------------------------------


class ScriptedBackend:
    """Plays a script (see the module) and remembers what it was asked."""

    default_model: str | None = None

    def __init__(
        self,
        script: Script | None = None,
        *,
        pace_s: float = 0.0,
        notices: Sequence[Notice] = (),
        dialect: str = "scripted",
    ) -> None:
        """Takes the script.

        Args:
            script: steps, or a function from a request to its step; `None` echoes.
            pace_s: pause before each delta, so that a demo reads like typing.
            notices: what a person should be told before each answer.
            dialect: name that sidecars of this backend carry.

        Raises:
            InvalidArgument: the script is not one; says which step and why.
        """
        self._dialect = dialect
        self._pace_s = pace_s
        self._notices = tuple(notices)
        self._requests: deque[BackendRequest] = deque(maxlen=REQUESTS_KEPT_MAX)
        self._request_count = 0
        self._streams_open = 0
        self._closed = False
        self._next_step = _reader(script)

    @property
    def requests(self) -> Sequence[BackendRequest]:
        """The latest requests, oldest first; at most `REQUESTS_KEPT_MAX`."""
        return tuple(self._requests)

    @property
    def request_count(self) -> int:
        """How many requests there were in all."""
        return self._request_count

    @property
    def streams_open(self) -> int:
        """How many streams are being read now: what a provider would see as open connections."""
        return self._streams_open

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def dialect(self, _: BackendRequest) -> str:
        """Returns the name that sidecars of this backend carry."""
        return self._dialect

    @asynccontextmanager
    async def stream(self, request: BackendRequest) -> AsyncGenerator[AsyncIterator[Sequence[StreamItem]]]:
        """Plays the step of this request, one yield per delta.

        Raises:
            BackendError: what `Fail` says; `BackendRejected` when the script has ended.
            BackendUnavailable: the backend was closed.
            InvalidArgument: the script's function returned something that is not a step.
        """
        if self._closed:
            raise BackendUnavailable("the scripted backend was closed")
        self._requests.append(request)
        self._request_count += 1
        cues = self._next_step(request, self._request_count)
        await asyncio.sleep(0)  # As any connection: the loop runs before the first item is there.
        if cues and isinstance(cues[0], Fail):
            raise cues[0].error
        self._streams_open += 1
        try:
            async with aclosing(self._played(cues, request, self._request_count)) as reads:
                yield reads
        finally:
            self._streams_open -= 1

    def notices(self, request: BackendRequest) -> Sequence[Notice]:  # noqa: ARG002 - the same for every request
        """Returns the notices that the backend was made with."""
        return self._notices

    async def close(self) -> None:
        """Refuses further requests."""
        self._closed = True

    async def _played(
        self, cues: Sequence[Cue], request: BackendRequest, request_number: int
    ) -> AsyncGenerator[Sequence[StreamItem]]:
        parts = _Parts(request_number)
        finish = Finish()
        for cue in cues:
            match cue:
                case Pause():
                    await asyncio.sleep(cue.seconds)
                case Gate():
                    await cue.pass_through()
                case Give():
                    await asyncio.sleep(self._pace_s)
                    yield [PartGiven(content=cue.content)]
                case Count():
                    yield [UsageCounted(usage=cue.usage, model=request.model)]
                case Fail():
                    raise cue.error
                case Cut():
                    return
                case Finish():
                    finish = cue
                case Say() | Think() | Refuse() | Call() | Opaque():
                    for read in parts.play(cue):
                        await asyncio.sleep(self._pace_s)
                        yield read
        await asyncio.sleep(0)
        yield [*parts.end(), parts.ended(finish, request)]


def _reader(script: Script | None) -> Callable[[BackendRequest, int], Sequence[Cue]]:
    if script is None:
        return lambda request, _: _echo(request)
    if callable(script):
        return lambda request, number: _step(script(request), f"the step for request {number}")
    if isinstance(script, str) or not isinstance(script, Sequence):
        raise InvalidArgument(
            f"a script is a sequence of steps or a function, not {type(script).__name__}",
            hint='for example ScriptedBackend(["Hello!"])',
        )
    steps = [_step(step, f"step {number}") for number, step in enumerate(script, start=1)]

    def next_step(_: BackendRequest, number: int) -> Sequence[Cue]:
        if number > len(steps):
            raise BackendRejected(
                f"the script has ended: it has {len(steps)} steps, and this is request {number}",
                hint="add a step, or give a function instead of a sequence",
            )
        return steps[number - 1]

    return next_step


def _step(step: Step, where: str) -> tuple[Cue, ...]:
    cues: tuple[object, ...]
    match step:
        case str():
            cues = (Say(step),)
        case Sequence():
            cues = tuple(step)
        case _:
            cues = (step,)
    for place, cue in enumerate(cues, start=1):
        if not isinstance(cue, Cue):
            raise InvalidArgument(
                f"{where}: {type(cue).__name__} is not a cue",
                hint="a step is a text, a cue (Say, Think, Call, Pause, Fail, ...) or a sequence of cues",
            )
        if isinstance(cue, Fail | Cut | Finish) and place < len(cues):
            raise InvalidArgument(f"{where}: nothing can follow {type(cue).__name__}", hint="put it last")
    return cues  # type: ignore[return-value]  # each one was just checked


def _echo(request: BackendRequest) -> Sequence[Cue]:
    said = next(message for message in reversed(request.messages) if isinstance(message, UserMessage))
    words = " ".join(part.text for part in said.parts if isinstance(part, TextPart))
    files = sum(isinstance(part, FilePart) for part in said.parts)
    attached = f" ({files} attachment{'s' if files > 1 else ''})" if files else ""
    return (Say(f"You said: {words}{attached}"),)


class _Parts:
    """The parts of one step while they are played: at most one is open, and it has the highest number."""

    def __init__(self, request_number: int) -> None:
        self._request_number = request_number
        self._count = 0
        self._calls = 0
        self._characters = 0
        self._open: Literal["text", "reasoning", "tool_call", "refusal"] | None = None
        self._kinds: set[PartKind] = set()

    def play(self, cue: Say | Think | Refuse | Call | Opaque) -> Iterator[Sequence[StreamItem]]:
        """Yields what each read from a wire would bring; the first brings the part's beginning along."""
        match cue:
            case Say():
                yield from self._text("text", cue.text, cue.sidecar)
            case Think():
                yield from self._text("reasoning", cue.text, cue.sidecar)
            case Refuse():
                yield from self._text("refusal", cue.text, None)
            case Call():
                yield from self._call(cue)
            case Opaque():
                yield [*self.end(), self._started("opaque"), PartEnded(part=self._count - 1, sidecar=cue.sidecar)]

    def end(self, sidecar: Sidecar | None = None) -> Sequence[StreamItem]:
        """Returns the end of the open part, if there is one."""
        if self._open is None:
            return ()
        self._open = None
        return (PartEnded(part=self._count - 1, sidecar=sidecar),)

    def ended(self, finish: Finish, request: BackendRequest) -> StreamEnded:
        """Returns the end of the stream."""
        if "refusal" in self._kinds:
            reason: FinishReason = "refusal"
        elif "tool_call" in self._kinds:
            reason = "tool_calls"
        else:
            reason = "stop"
        return StreamEnded(
            reason=finish.reason or reason,
            raw_reason=finish.raw_reason,
            usage=finish.usage
            or Usage(input_tokens=_tokens(_characters(request)), output_tokens=_tokens(self._characters)),
            model=finish.model or request.model,
            response_id=finish.response_id or f"scripted-{self._request_number}",
        )

    def _text(
        self, kind: Literal["text", "reasoning", "refusal"], text: str | Sequence[str], sidecar: Sidecar | None
    ) -> Iterator[Sequence[StreamItem]]:
        begin: Sequence[StreamItem] = () if self._open == kind else (*self.end(), self._started(kind))
        self._open = kind
        yield from self._deltas(begin, text)
        if sidecar is not None:
            yield self.end(sidecar)

    def _call(self, call: Call) -> Iterator[Sequence[StreamItem]]:
        self._calls += 1
        call_id = f"call_{self._request_number}_{self._calls}" if call.call_id is None else call.call_id
        begin = (*self.end(), self._started("tool_call", call_id=call_id, name=call.name))
        self._open = "tool_call"
        arguments = call.arguments
        if isinstance(arguments, Mapping):
            arguments = msgspec.json.encode(arguments).decode()
        yield from self._deltas(begin, arguments)
        if call.sidecar is not None:
            yield self.end(call.sidecar)

    def _started(self, kind: PartKind, *, call_id: str = "", name: str = "") -> PartStarted:
        self._count += 1
        self._kinds.add(kind)
        return PartStarted(part=self._count - 1, kind=kind, call_id=call_id, name=name)

    def _deltas(self, begin: Sequence[StreamItem], text: str | Sequence[str]) -> Iterator[Sequence[StreamItem]]:
        pieces = _WORD.findall(text) if isinstance(text, str) else [piece for piece in text if piece]
        for piece in pieces:
            self._characters += len(piece)
            yield [*begin, PartDelta(part=self._count - 1, delta=piece)]
            begin = ()
        if begin:
            yield begin


def _tokens(characters: int) -> int:
    return -(-characters // _CHARACTERS_PER_TOKEN)


def _characters(request: BackendRequest) -> int:
    count = len(request.system)
    for message in request.messages:
        match message:
            case UserMessage():
                count += sum(len(part.text) for part in message.parts if not isinstance(part, FilePart))
            case AssistantMessage():
                for part in message.parts:
                    if isinstance(part, TextPart | ReasoningPart | RefusalPart):
                        count += len(part.text)
                    elif isinstance(part, ToolCallPart):
                        count += len(part.arguments)
            case ToolMessage():
                count += sum(len(result.content) for result in message.results)
    return count
