"""The answer of the Chat Completions dialect, from bytes to stream items, without I/O.

The dialect is spoken by a few dozen servers, each with an accent. Theory of operation: an answer is a sequence of parts. Text,
refusal and reasoning arrive one after the other, so at most one of them is open; tool calls arrive interleaved, so any number
is open (`ToolCalls`). What arrives of one part in one read leaves as one delta. The answer ends with `[DONE]`, or at the end of
the stream if a finish reason came before; whatever comes later is ignored.

Rule: be liberal in what comes and strict in what leaves: items are well formed and texts valid Unicode, whatever a server sends;
and an error never takes away the items before it.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from greenroom.backends.faults import Endpoint, classified, fault_of, fault_of_body
from greenroom.backends.openai_extras import REASONING_FIELD, MessageExtras, sidecar_of
from greenroom.backends.openai_tool_calls import ToolCalls
from greenroom.backends.parts_writer import failure_of
from greenroom.backends.sse import DONE, SseSplitter
from greenroom.backends.unicode_text import SurrogateJoiner, bytes_of, valid_unicode
from greenroom.errors import BackendGarbled, GreenroomError, LimitExceeded
from greenroom.finish_reasons import RAW_REASON_MAX, is_given, reason_of
from greenroom.limits import DEFAULT_LIMITS, Limits
from greenroom.messages import (
    FinishReason,
    PartDelta,
    PartEnded,
    PartKind,
    PartStarted,
    Sidecar,
    StreamEnded,
    StreamItem,
    Usage,
    UsageCounted,
)

_SHOWN_MAX: Final = 200


class _Delta(msgspec.Struct, gc=False):
    # `Any` throughout: one odd field must not cost the answer, and msgspec decodes it at the same speed.
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None
    reasoning_details: Any = None
    extra_content: Any = None


class _Choice(msgspec.Struct, gc=False):
    index: Any = 0
    delta: _Delta | None = None
    finish_reason: Any = None
    error: Any = None
    usage: Any = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    id: Any = None
    model: Any = None
    usage: Any = None
    error: Any = None
    x_groq: Any = None
    object: Any = None


_decode: Final = msgspec.json.Decoder(_Chunk).decode


class ChatDecoder:
    """Decodes one answer.

    Invariant: every part that was started is ended before `StreamEnded`, which is the last item of all.

    Attributes:
        failure: what broke the answer off. `feed` and `close` raise it at once, or, if there are items before it, with the
            next call.
    """

    def __init__(self, endpoint: Endpoint, *, model: str = "", limits: Limits = DEFAULT_LIMITS) -> None:
        """`model` is the one that was asked for: sidecars are bound to it."""
        self.failure: GreenroomError | None = None
        self._endpoint = endpoint
        self._model = model
        self._limits = limits
        self._splitter = SseSplitter()
        self._items: list[StreamItem] = []
        self._spoken: list[str] = []
        self._kind: PartKind | None = None
        self._part = 0
        self._joiner = SurrogateJoiner()
        self._sidecar: Sidecar | None = None
        self._extras = MessageExtras()
        self._calls = ToolCalls(limits, model=model, number=self._number, spend=self._spend)
        self._parts = 0
        self._bytes = 0
        self._has_refused = False
        self._raw_reason = ""
        self._usage: Usage | None = None
        self._has_counted = False
        self._response_id = ""
        self._answered_by = ""
        self._is_ended = False

    @property
    def is_ended(self) -> bool:
        """Whether `StreamEnded` was returned: nothing that follows matters."""
        return self._is_ended

    @property
    def is_answered(self) -> bool:
        """Whether the model has finished: only accounting may be missing."""
        return bool(self._raw_reason) and self.failure is None

    def feed(self, chunk: bytes) -> list[StreamItem]:
        """Takes the next bytes and returns the items that they complete.

        Raises:
            BackendGarbled: the bytes are not of this dialect.
            BackendError: the server reported an error; classified.
            LimitExceeded: the answer is larger than `Limits` allow.
        """
        if self.failure is None and not self._is_ended:
            try:
                for payload in self._splitter.feed(chunk):
                    self._take(payload)
                self._flush()
            except GreenroomError as error:
                self._fail(error)
            except RecursionError:
                self._fail(BackendGarbled(f"{self._endpoint.provider} sent an event that is nested too deeply"))
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
                self._fail(BackendGarbled(f"{self._endpoint.provider} sent an event that is nested too deeply"))
        return self._released()

    # --- one event ------------------------------------------------------------------------------------------------------

    def _take(self, payload: bytes) -> None:
        if self._is_ended:
            return
        if payload == DONE:
            self._end()
            return
        try:
            chunk = _decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if payload.strip() == DONE:
                self._end()
                return
            chunk = self._decoded_tolerantly(payload)
        if chunk.error:
            raise classified(fault_of(chunk.error), self._endpoint)
        if chunk.choices:
            for choice in chunk.choices:
                if not choice.index:  # the first one, or the only one of a server that does not count
                    self._take_choice(choice, len(payload))
        elif chunk.object == "error":
            raise classified(fault_of_body(payload, status=0), self._endpoint)
        if not self._answered_by or not self._response_id:
            self._response_id = self._response_id or _name(chunk.id)
            self._answered_by = self._answered_by or _name(chunk.model)
        if chunk.usage:
            self._account(chunk.usage)
        if chunk.x_groq and isinstance(chunk.x_groq, dict):
            self._account(chunk.x_groq.get("usage"))

    def _take_choice(self, choice: _Choice, size: int) -> None:
        if (delta := choice.delta) is not None:
            self._take_delta(delta)
            if delta.reasoning_details or delta.extra_content:
                self._spend(size)
                self._extras.take_details(delta.reasoning_details)
                self._extras.take_extra(delta.extra_content)
        if choice.error:
            raise classified(fault_of(choice.error), self._endpoint)
        if choice.finish_reason:
            self._note_end(valid_unicode(str(choice.finish_reason))[:RAW_REASON_MAX])
        if choice.usage:
            self._account(choice.usage)

    def _note_end(self, word: str) -> None:
        if not is_given(word):
            return
        self._raw_reason = word
        if (failure := failure_of(word, self._endpoint)) is not None:
            raise failure

    def _take_delta(self, delta: _Delta) -> None:
        if reasoning := delta.reasoning_content:
            self._reason(reasoning, REASONING_FIELD)
        elif reasoning := delta.reasoning:
            self._reason(reasoning, "")
        if content := delta.content:
            if content.__class__ is str:
                self._say("text", content)
            else:
                self._take_content_parts(content)
        if (refusal := delta.refusal) and isinstance(refusal, str):
            self._has_refused = True
            self._say("refusal", refusal)
        if delta.tool_calls:
            self._take_calls(delta.tool_calls)
        if delta.function_call and isinstance(delta.function_call, dict):
            self._end_speech()
            self._calls.take_function(delta.function_call, "function_call", "", self._items)

    def _take_calls(self, entries: Any) -> None:
        self._end_speech()
        for entry in entries if isinstance(entries, list) else [entries]:
            if isinstance(entry, dict):
                self._calls.take(entry, self._items)

    def _take_content_parts(self, content: Any) -> None:
        """Takes content as a list of parts, as Mistral sends it, with its thinking among them."""
        for part in content if isinstance(content, list) else [content]:
            if isinstance(part, str) and part:
                self._say("text", part)
            elif isinstance(part, dict):
                text = part.get("text")
                if thinking := part.get("thinking"):
                    self._reason(thinking, "")
                elif isinstance(text, str) and text:
                    self._say("text", text)

    def _reason(self, reasoning: Any, field: str) -> None:
        if isinstance(reasoning, list):
            texts = [part.get("text") if isinstance(part, dict) else part for part in reasoning]
            reasoning = "".join(text for text in texts if isinstance(text, str))
        if isinstance(reasoning, str) and reasoning:
            self._say("reasoning", reasoning)
            if field and self._sidecar is None:
                self._sidecar = sidecar_of({"field": field}, self._model)

    def _decoded_tolerantly(self, payload: bytes) -> _Chunk:
        """Decodes what only the standard library reads: half surrogate pairs, and numbers such as `NaN`."""
        try:
            return msgspec.convert(json.loads(payload.decode()), _Chunk)
        except (ValueError, RecursionError) as error:
            shown = payload[:_SHOWN_MAX].decode("utf-8", "backslashreplace")
            raise BackendGarbled(f"{self._endpoint.provider} sent an event that cannot be read: {shown!r}") from error

    def _account(self, usage: Any) -> None:
        # Some servers count in every chunk and the last one wins, unless it is an empty one.
        counted = usage_of(usage) if isinstance(usage, dict) else None
        if counted is not None and (self._usage is None or counted != Usage()):
            self._has_counted = self._has_counted or counted not in {self._usage, Usage()}
            self._usage = counted

    # --- parts ----------------------------------------------------------------------------------------------------------

    def _say(self, kind: PartKind, text: str) -> None:
        if self._kind != kind:
            self._end_speech()
            self._part = self._number()
            self._kind = kind
            self._items.append(PartStarted(part=self._part, kind=kind))
        self._spoken.append(text)

    def _end_speech(self) -> None:
        if self._kind is None:
            return
        self._flush_speech()
        if rest := self._joiner.close():
            self._items.append(PartDelta(part=self._part, delta=rest))
        self._items.append(PartEnded(part=self._part, sidecar=self._sidecar))
        self._kind = self._sidecar = None

    def _flush(self) -> None:
        if self._spoken:
            self._flush_speech()
        if self._calls:
            self._calls.flush(self._items)

    def _flush_speech(self) -> None:
        if size := self._emit_speech():
            self._spend(size)

    def _emit_speech(self) -> int:
        text = self._joiner.feed("".join(self._spoken))
        self._spoken.clear()
        if not text:
            return 0
        self._items.append(PartDelta(part=self._part, delta=text))
        return bytes_of(text)

    def _number(self) -> int:
        self._parts += 1
        if self._parts > self._limits.step_parts_max:
            raise LimitExceeded(
                f"the model's answer has more than {self._limits.step_parts_max} parts",
                hint="Limits.step_parts_max bounds them",
            )
        return self._parts - 1

    def _spend(self, size: int) -> None:
        self._bytes += size
        if self._bytes > self._limits.step_bytes_max:
            raise LimitExceeded(
                f"the model's answer has more than {self._limits.step_bytes_max} bytes",
                hint="Limits.step_bytes_max bounds it",
            )

    # --- the end --------------------------------------------------------------------------------------------------------

    def _take_rest(self) -> None:
        for payload in self._splitter.close():
            try:
                self._take(payload)
            except BackendGarbled:
                # After the finish reason only accounting can be cut in the middle: the answer is whole without it.
                if not self._raw_reason:
                    raise
        if self._is_ended:
            return
        if not self._raw_reason:
            ended = "in the middle" if self._parts or self._response_id else "before it began"
            raise BackendGarbled(f"the answer of {self._endpoint.provider} ended {ended}")
        self._end()

    def _end(self) -> None:
        if not self._raw_reason and not self._parts:
            raise BackendGarbled(f"{self._endpoint.provider} ended the stream without an answer")
        self._end_speech()
        self._calls.end(self._items)
        if self._extras:
            part = self._number()
            self._items.append(PartStarted(part=part, kind="opaque"))
            self._items.append(PartEnded(part=part, sidecar=self._extras.sidecar(self._model)))
        self._is_ended = True
        self._items.append(
            StreamEnded(
                reason=self._reason_of_the_end(),
                raw_reason=self._raw_reason,
                usage=self._usage,
                model=self._answered_by,
                response_id=self._response_id,
            )
        )

    def _reason_of_the_end(self) -> FinishReason:
        if not self._raw_reason:
            # `[DONE]` alone says that there is no more, not that the model was ready: a call without arguments may be half of one.
            return "other" if self._calls else "stop"
        reason = reason_of(self._raw_reason, has_calls=bool(self._calls))
        return "refusal" if reason == "stop" and self._has_refused else reason

    def _fail(self, error: GreenroomError) -> None:
        self.failure = error
        # What came before the error in the same read is shown; no bound is held any more, there is one failure already.
        self._emit_speech()
        self._calls.emit(self._items)

    def _released(self) -> list[StreamItem]:
        items = self._items
        if self._has_counted and self._usage is not None and not self._is_ended:
            self._has_counted = False
            items.append(UsageCounted(usage=self._usage, model=self._answered_by))
        if items:
            self._items = []
        elif self.failure is not None:
            raise self.failure
        return items


def usage_of(usage: dict[str, Any]) -> Usage:
    """Returns the tokens that a `usage` object counts."""
    prompt = _details(usage, "prompt_tokens_details")
    completion = _details(usage, "completion_tokens_details")
    input_tokens = _count(usage, "prompt_tokens")
    output_tokens = _count(usage, "completion_tokens")
    reasoning_tokens = _count(completion, "reasoning_tokens")
    if reasoning_tokens and _count(usage, "total_tokens") == input_tokens + output_tokens + reasoning_tokens:
        output_tokens += reasoning_tokens  # xAI counts them beside the completion, not in it
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        # DeepSeek and Moonshot have names of their own.
        cached_input_tokens=_count(prompt, "cached_tokens")
        or _count(usage, "prompt_cache_hit_tokens")
        or _count(usage, "cached_tokens"),
        cache_write_input_tokens=_count(prompt, "cache_write_tokens"),
        reasoning_tokens=reasoning_tokens,
    )


def _name(value: Any) -> str:
    return valid_unicode(value)[:_SHOWN_MAX] if isinstance(value, str) else ""


def _details(usage: dict[str, Any], name: str) -> dict[str, Any]:
    details = usage.get(name)
    return details if isinstance(details, dict) else {}


def _count(counts: dict[str, Any], name: str) -> int:
    value = counts.get(name)
    return int(value) if isinstance(value, int | float) and 0 <= value < 2**53 else 0
