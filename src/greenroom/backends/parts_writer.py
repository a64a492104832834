"""An answer under construction, as the decoders of all dialects write it: parts, limits, usage, and when it is whole.

Theory of operation: a decoder is a `StreamDecoder` that reads one event after the other and writes parts with its `PartsWriter`. What
arrives of one part in one read leaves as one delta. Here stands once, for all dialects, what *liberal in what comes* means:

* An answer is whole when the provider has said why it ended and its stream is over. What says so twice (`[DONE]`, `message_stop`) may
  be missing; where a provider keeps the connection open, `StreamedAnswer` ends it some seconds later. Accounting may still come.
* An answer is also whole whose provider has said of everything in it that it is, and then lost the connection or fell silent.
* A call that has no arguments gets an empty object, but only if its answer ended normally: else it may be half a call.
* An error that is reported after the reason for the end takes nothing away, like a connection that breaks there.
* Figures are totals so far. What is absent, or zero, takes nothing back.
* An event that its name or its form calls an error is one: the provider's words are kept and classified.

Rule: be liberal in what comes and strict in what leaves: items are well formed and texts valid Unicode, whatever a server sends; and
an error never takes away the items before it. What an answer's end leads to stands here or in `finish_reasons`, not in a dialect.
"""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Final

from greenroom.backends.faults import Endpoint, Fault, classified, fault_of, fault_of_body, is_error
from greenroom.backends.sse import ErrorData, SseSplitter
from greenroom.backends.token_counts import merged
from greenroom.backends.unicode_text import SurrogateJoiner, bytes_of, valid_json, valid_unicode
from greenroom.errors import BackendError, BackendGarbled, GreenroomError, LimitExceeded
from greenroom.finish_reasons import RAW_REASON_MAX, ending_of, is_given, is_normal, reason_of
from greenroom.interfaces import BackendRequest
from greenroom.json_scan import JsonScan, is_crowded
from greenroom.limits import DEFAULT_LIMITS, PROVIDER_VALUES_MAX, Limits
from greenroom.messages import (
    FilePart,
    FinishReason,
    PartDelta,
    PartEnded,
    PartGiven,
    PartKind,
    PartStarted,
    Sidecar,
    SourcePart,
    StreamEnded,
    StreamItem,
    Usage,
    UsageCounted,
    UserMessage,
)

_CUT: Final = frozenset({"length", "context", "filtered", "refused"})
SHOWN_MAX: Final = 200
"""Characters of a provider's names and of what could not be read that are kept."""


class Part:
    """A part that grows.

    Attributes:
        number: `None` as long as it has not begun: the name of a call cannot be said later.
        fresh: pieces that wait to be passed on.
        pieces: everything so far, of arguments only.
        size: bytes that were passed on.
    """

    __slots__ = ("fresh", "has_spoken", "held", "is_ended", "is_settled", "joiner", "kind", "number", "pieces", "size")

    def __init__(self, kind: PartKind) -> None:
        self.kind = kind
        self.number: int | None = None
        self.joiner = SurrogateJoiner()
        self.fresh: list[str] = []
        self.pieces: list[str] = []
        self.held = 0
        self.size = 0
        self.has_spoken = False
        self.is_settled = False
        """Its provider has said that it is whole."""
        self.is_ended = False

    def arguments(self) -> str:
        """Returns the arguments so far."""
        if len(self.pieces) > 1:
            self.pieces = ["".join(self.pieces)]
        return self.pieces[0] if self.pieces else ""


class PartsWriter:
    """Writes the parts of one answer.

    Attributes:
        items: what has been written since it was last taken.
        growing: the part of which pieces wait; they may be added to its `fresh` directly.
        count: how many parts have begun.
        kinds: of these.
        has_text: one of them has said something.
        has_picture: a picture was given.
    """

    def __init__(self, limits: Limits) -> None:
        self.items: list[StreamItem] = []
        self.growing: Part | None = None
        self.count = 0
        self.kinds: set[PartKind] = set()
        self.has_text = False
        self.has_picture = False
        self._limits = limits
        self._bytes = 0
        self._bare: list[tuple[Part, Sidecar | None]] = []
        self._later: dict[str, SourcePart] = {}

    def begun(self, kind: PartKind, *, call_id: str = "", name: str = "") -> Part:
        """Begins a part and returns it.

        Raises:
            LimitExceeded: the answer has too many parts.
        """
        part = Part(kind)
        self.begin(part, call_id=call_id, name=name)
        return part

    def begin(self, part: Part, *, call_id: str = "", name: str = "", by_provider: bool = False) -> None:
        """Begins a part, of which pieces may have come already.

        Raises:
            LimitExceeded: the answer has too many parts.
        """
        self.flush()
        self.check_count(self.count)
        part.number = self.count
        self.count += 1
        self.kinds.add(part.kind)
        self.items.append(
            PartStarted(part=part.number, kind=part.kind, call_id=call_id, name=name, by_provider=by_provider)
        )
        if part.fresh:
            self.growing = part

    def grow(self, part: Part, piece: str) -> None:
        """Adds a piece to a part that has not ended.

        Raises:
            LimitExceeded: as `flush`.
        """
        part.has_spoken = True
        part.fresh.append(piece)
        if part.kind == "tool_call":
            part.pieces.append(piece)
        if part.number is None:
            part.held += len(piece)
            self._check_arguments(part.held)
        elif part is not self.growing:
            # What waits is of another part; the piece waits from now on.
            self.flush()
            self.growing = part

    def end(self, part: Part, sidecar: Sidecar | None = None) -> None:
        """Ends a part. A call without arguments stays open until it is known whether its answer ended normally.

        Raises:
            LimitExceeded: as `flush`.
        """
        if part.kind == "tool_call" and not part.has_spoken:
            part.is_ended = True
            self._bare.append((part, sidecar))
            return
        self.flush()
        self._end(part, sidecar)

    def _end(self, part: Part, sidecar: Sidecar | None) -> None:
        assert part.number is not None, "a part ends that never began"
        if rest := part.joiner.close():
            self.items.append(PartDelta(part=part.number, delta=rest))
        part.is_ended = True
        part.pieces.clear()
        self.items.append(PartEnded(part=part.number, sidecar=sidecar))

    def write(
        self, kind: PartKind, text: str = "", sidecar: Sidecar | None = None, *, by_provider: bool = False
    ) -> None:
        """Writes a part that is whole. `by_provider`: the provider says it, not the model.

        Raises:
            LimitExceeded: as `flush`.
        """
        part = Part(kind)
        self.begin(part, by_provider=by_provider)
        if text:
            self.grow(part, text)
        self.end(part, sidecar)

    def give(self, content: SourcePart | FilePart) -> None:
        """Gives a part that is there all at once. It may have been given before: `core.given` keeps it once, and within bounds.

        Raises:
            LimitExceeded: as `flush`.
        """
        self.flush()
        self.has_picture = self.has_picture or isinstance(content, FilePart)
        self.items.append(PartGiven(content=content))

    def give_all(self, sources: Iterable[SourcePart]) -> None:
        """Gives sources; those without a title at the end of the answer, when it may be known.

        Raises:
            LimitExceeded: as `flush`.
        """
        for source in sources:
            if source.title:
                self.give(source)
            else:
                self.give_later(source)

    def give_later(self, source: SourcePart) -> None:
        """Gives a source at the end of the answer, if nothing better is known of it: it was found, but not cited."""
        known = self._later.get(source.url)
        if (known is None and len(self._later) <= self._limits.sources_max) or (
            known is not None and not known.title
        ):  # one more than are kept: that is told
            self._later[source.url] = source

    def give_the_rest(self) -> None:
        """Gives the sources that waited for the end of the answer.

        Raises:
            LimitExceeded: as `flush`.
        """
        for source in self._later.values():
            self.give(source)
        self._later.clear()

    def end_bare_calls(self, arguments: str) -> None:
        """Ends the calls that have no arguments, with these.

        Raises:
            LimitExceeded: as `flush`.
        """
        self.flush()
        for part, sidecar in self._bare:
            if arguments:
                self.grow(part, arguments)
                self.flush()
            self._end(part, sidecar)
        self._bare.clear()

    def flush(self) -> None:
        """Passes on what has come since the last time.

        Raises:
            LimitExceeded: the arguments of a call, or the answer, are too large.
        """
        part = self.growing
        if part is None:
            return
        size = self.emit()
        part.size += size
        if part.kind == "tool_call":
            self._check_arguments(part.size)
        self.spend(size)

    def emit(self) -> int:
        """As `flush`, but holds no limit: returns the number of bytes."""
        part, self.growing = self.growing, None
        if part is None or part.number is None:
            return 0
        delta = part.joiner.feed("".join(part.fresh))
        part.fresh.clear()
        if not delta:
            return 0
        self.items.append(PartDelta(part=part.number, delta=delta))
        self.has_text = True
        return bytes_of(delta)

    def spend(self, size: int) -> None:
        """Counts bytes of the answer.

        Raises:
            LimitExceeded: it has too many.
        """
        self._bytes += size
        if self._bytes > self._limits.step_bytes_max:
            raise LimitExceeded(
                f"the model's answer has more than {self._limits.step_bytes_max} bytes",
                hint="Limits.step_bytes_max bounds it",
            )

    def check_count(self, count: int) -> None:
        """Accepts that there is one more than `count`.

        Raises:
            LimitExceeded: that would be too many.
        """
        if count >= self._limits.step_parts_max:
            raise LimitExceeded(
                f"the model's answer has more than {self._limits.step_parts_max} parts",
                hint="Limits.step_parts_max bounds them",
            )

    def _check_arguments(self, size: int) -> None:
        if size > self._limits.tool_arguments_bytes_max:
            raise LimitExceeded(
                f"the model wrote more than {self._limits.tool_arguments_bytes_max} bytes of arguments for one tool call",
                hint="Limits.tool_arguments_bytes_max bounds them",
            )


class StreamDecoder:
    """Decodes one answer; a dialect says what its events mean.

    Invariant: every part that was started is ended before `StreamEnded`, which is the last item of all.

    Attributes:
        failure: what broke the answer off. `feed` and `close` raise it at once, or, if there are items before it, with the
            next call.
        splitter: of its stream.
        idle_s_max: how long there may be nothing but keep-alives, in seconds.
    """

    _no_arguments: ClassVar[str] = "{}"
    """What a dialect that says it otherwise means by a call without arguments, if it ended normally."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        model: str = "",
        limits: Limits = DEFAULT_LIMITS,
        request: BackendRequest | None = None,
    ) -> None:
        """Takes what is known before the answer.

        Args:
            endpoint: who answers.
            model: the one that was asked for: sidecars are bound to it.
            limits: bounds of the answer.
            request: what is answered. To a person's message an answer that ends normally and says nothing is none.
        """
        self._must_speak = request is not None and isinstance(request.messages[-1], UserMessage)
        self.failure: GreenroomError | None = None
        self.splitter = SseSplitter()
        self.idle_s_max = limits.stream_idle_s_max
        self._endpoint = endpoint
        self._asked_model = model
        self._parts = PartsWriter(limits)
        self._is_ended = False
        self._finish_word = ""
        self._response_id = ""
        self._answered_by = ""
        self._usage: Usage | None = None
        self._has_counted = False
        self._prepare()

    @property
    def provider(self) -> str:
        """Who answers, for people."""
        return self._endpoint.provider

    @property
    def is_ended(self) -> bool:
        """Whether `StreamEnded` was returned: nothing that follows matters."""
        return self._is_ended

    @property
    def is_answered(self) -> bool:
        """Whether the provider has said why the answer ended: only accounting may be missing."""
        return bool(self._finish_word) and self.failure is None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing if no more comes: the provider has said why the answer ended, or that all in it is whole."""
        return self.failure is None and bool(self._finish_word or self._unsaid_end())

    def feed(self, chunk: bytes) -> list[StreamItem]:
        """Takes the next bytes and returns the items that they complete.

        Raises:
            BackendGarbled: the bytes are not of this dialect.
            BackendError: the provider reported an error; classified.
            LimitExceeded: the answer is larger than `Limits` allow.
        """
        if self.failure is None and not self._is_ended:
            word = self._finish_word
            try:
                for payload in self.splitter.feed(chunk):
                    word = self._finish_word
                    if len(payload) > PROVIDER_VALUES_MAX:  # a value takes a byte
                        self._check_values(payload)
                    self._take(payload)
                if self._parts.growing is not None:
                    self._parts.flush()
            except GreenroomError as error:
                if word and isinstance(error, BackendError):
                    return self.close()  # nothing that follows the reason for the end takes the answer away
                self._fail(error)
            except RecursionError:
                self._fail(self._garbled("an event that is nested too deeply"))
        return self._released()

    def close(self) -> list[StreamItem]:
        """Ends the stream and returns the last items.

        Raises:
            BackendGarbled: the answer is not complete.
            BackendError, LimitExceeded: as `feed`.
        """
        if self.failure is None and not self._is_ended:
            try:
                self._take_rest()
            except GreenroomError as error:
                self._fail(error)
            except RecursionError:
                self._fail(self._garbled("an event that is nested too deeply"))
        return self._released()

    # --- what a dialect says --------------------------------------------------------------------------------------------

    @abstractmethod
    def _prepare(self) -> None:
        """Makes what a dialect keeps while it decodes; called once, before anything is decoded."""

    @abstractmethod
    def _take(self, payload: bytes) -> None:
        """Takes the data of one event; nothing, once the answer has ended."""

    @abstractmethod
    def _end(self) -> None:
        """Ends what is open and the answer, whose end is known."""

    def _unsaid_end(self) -> str:
        """Returns the reason for the end of an answer that is whole though nobody has said so; nothing if it is not."""
        return ""

    def _classified(self, fault: Fault) -> BackendError:
        """Returns the error for a fault that the provider reports within the stream."""
        return classified(fault, self._endpoint)

    # --- what all dialects do alike -------------------------------------------------------------------------------------

    def _take_rest(self) -> None:
        for payload in self.splitter.close():
            # Half an event may be of the accounting; and that the answer broke off says more.
            with contextlib.suppress(BackendError if self._finish_word else BackendGarbled):
                self._take(payload)
        if self._is_ended:
            return
        if not self._finish_word and (word := self._unsaid_end()):
            self._note_end(word)
        if not self._finish_word:
            where = "in the middle" if self._parts.count or self._response_id else "before it began"
            raise BackendGarbled(f"the answer of {self._endpoint.provider} ended {where}: it broke off")
        self._end()

    def _check_values(self, payload: bytes) -> None:
        """Accepts a large event that has no more values than may be decoded.

        Raises:
            LimitExceeded: it has.
        """
        if is_crowded(payload, PROVIDER_VALUES_MAX):
            try:
                JsonScan(f"an event of {self._endpoint.provider}", values_max=PROVIDER_VALUES_MAX).feed(payload)
            except LimitExceeded as error:
                raise LimitExceeded(error.message) from error  # its hint is for those who send us requests

    def _note_end(self, word: Any) -> None:
        """Notes why the answer ended.

        Raises:
            BackendError: because the provider failed.
        """
        word = valid_unicode(str(word))[:RAW_REASON_MAX]
        if not is_given(word):
            return
        if ending_of(word) == "whole" and ending_of(self._finish_word) in _CUT:
            return  # a gateway that ends every answer with its own "stop" takes nothing back
        self._finish_word = word
        if (failure := failure_of(word, self._endpoint)) is not None:
            raise failure

    def _finish(self, reason: FinishReason | None = None) -> None:
        """Writes the end of the answer; all of its parts are ended.

        Args:
            reason: where the provider's word alone does not tell it.
        """
        kinds, word = self._parts.kinds, self._finish_word
        is_empty = not self._parts.has_text and not self._parts.has_picture and not kinds & {"tool_call", "opaque"}
        if self._must_speak and is_empty and ending_of(word) in {"whole", "unknown"}:
            # After results of tools, or a pause, a model may have nothing to add; after a message something was lost.
            raise BackendGarbled(
                f"{self._endpoint.provider} ended the answer normally ({word!r}), but nothing was said",
                hint="ask again",
            )
        if reason is None:
            reason = reason_of(word, has_calls="tool_call" in kinds)
            if reason == "stop" and "refusal" in kinds:
                reason = "refusal"
        self._parts.give_the_rest()
        self._parts.end_bare_calls(self._no_arguments if is_normal(reason, word) else "")
        self._is_ended = True
        self._parts.items.append(
            StreamEnded(
                reason=reason,
                raw_reason=word,
                usage=self._usage,
                model=self._answered_by,
                response_id=self._response_id,
            )
        )

    def _count(self, told: Usage) -> None:
        """Takes what the provider says that the answer has used so far. Zero takes nothing back."""
        usage = merged(self._usage, told)
        self._has_counted = self._has_counted or usage not in {self._usage, Usage()}
        self._usage = usage

    def _fail(self, error: GreenroomError) -> None:
        self.failure = error
        # What came before the error in the same read is shown; no bound is held any more, there is one failure already.
        self._parts.emit()

    def _released(self) -> list[StreamItem]:
        items = self._parts.items
        if self._has_counted and self._usage is not None and not self._is_ended:
            # An answer that fails later has used that, too.
            self._has_counted = False
            items.append(UsageCounted(usage=self._usage, model=self._answered_by))
        if items:
            self._parts.items = []
        elif self.failure is not None:
            raise self.failure
        return items

    def _raise_if_error(self, payload: bytes, *, by_form: bool = False) -> None:
        """Raises what an event that is no part of an answer says, if it is an error by its name, or (`by_form`) looks like one.

        Raises:
            BackendError: it is one.
        """
        if payload.__class__ is ErrorData or (by_form and is_error(payload)):
            raise self._classified(fault_of_body(payload, status=0))

    def _reported(self, error: object, payload: bytes) -> BackendError:
        """Returns the error that an event reports in its field `error`, which may only say that there is one: `true`."""
        is_told = isinstance(error, dict | list | str)
        return self._classified(fault_of(error) if is_told else fault_of_body(payload, status=0))

    def _garbled(self, what: str) -> BackendGarbled:
        return BackendGarbled(f"{self._endpoint.provider} sent {what}")

    def _unreadable(self, payload: bytes) -> BackendGarbled:
        shown = payload[:SHOWN_MAX].decode("utf-8", "backslashreplace")
        return self._garbled(f"an event that cannot be read: {shown!r}")


def failure_of(word: str, endpoint: Endpoint) -> BackendError | None:
    """Returns the error for a finish reason that means that the provider failed; `None` for every other."""
    match ending_of(word):
        case "broken":
            return classified(Fault(words=f"the answer ended with {word!r}"), endpoint)
        case "garbled":
            return BackendGarbled(
                f"{endpoint.provider} could not read what its model wrote: the answer ended with {word!r}",
                hint="ask again; if it happens often, choose another model",
            )
        case _:
            return None


def entries_of(value: Any) -> Iterator[dict[str, Any]]:
    """Yields the objects of a list, or a lone object."""
    yield from (entry for entry in (value if isinstance(value, list) else [value]) if isinstance(entry, dict))


def json_of(value: Any) -> str:
    """Returns decoded JSON as text."""
    return valid_json(value).decode()
