"""Anthropic's Messages dialect, without I/O: a request to its body (`encode`), the stream's bytes to our items.

Theory of operation: the stream is a message made of content blocks; each is begun, grown by deltas and ended under an index of
its own. Text, thinking and calls of our tools mean something to everybody and become parts of that kind. Any other block (the
provider's own tools and their results, redacted thinking, what is invented next) is put together without being understood and
becomes an `opaque` part. What the provider wants to see again travels in the part's sidecar, as the block to send back.

An event is decoded at once into a flat struct with a field for whatever an event may hold; unknown fields, deltas and events
cost nothing and harm nothing. Deltas of one part that arrive in one read become one item.

Rule: an error never takes what came before it: `feed` returns the items decoded so far and keeps the error in `failure`.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, Final

import msgspec

from greenroom.backends.claude_blocks import Block
from greenroom.backends.claude_request import DIALECT, encode, notices
from greenroom.backends.faults import Endpoint, classified, fault_of
from greenroom.backends.parts_writer import failure_of
from greenroom.backends.sse import DONE, SseSplitter
from greenroom.backends.unicode_text import SurrogateJoiner, bytes_of, valid_json, valid_unicode
from greenroom.errors import BackendError, BackendGarbled, GreenroomError, LimitExceeded
from greenroom.finish_reasons import RAW_REASON_MAX, is_normal, reason_of
from greenroom.limits import DEFAULT_LIMITS, Limits
from greenroom.messages import (
    PartDelta,
    PartEnded,
    PartStarted,
    Sidecar,
    StreamEnded,
    StreamItem,
    Usage,
    UsageCounted,
)

__all__ = ["DIALECT", "MessagesDecoder", "encode", "notices"]

_COUNT_MAX: Final = 2**53
"""Above it numbers are not exact everywhere: no server means them."""


class _Delta(msgspec.Struct, gc=False):
    # `Any` everywhere: an odd value must not cost the answer, and is decoded as fast.
    type: Any = ""
    text: Any = ""
    thinking: Any = ""
    partial_json: Any = ""
    stop_reason: Any = None
    stop_details: Any = None


class _Event(msgspec.Struct, gc=False):
    type: Any = ""
    index: Any = -1
    delta: _Delta | None = None
    content_block: Any = None
    message: Any = None
    usage: Any = None
    error: Any = None


_events: Final = msgspec.json.Decoder(_Event)


class MessagesDecoder:
    """Decodes one answer.

    Invariant: every part that was started is ended before `StreamEnded`, which is the last item of all.

    Attributes:
        failure: what ended the answer; `feed` and `close` raise it once there are no more items before it.
    """

    def __init__(self, endpoint: Endpoint, *, model: str, limits: Limits = DEFAULT_LIMITS) -> None:
        """`model` is the one that was asked for: sidecars are bound to it."""
        self.failure: GreenroomError | None = None
        self._endpoint = endpoint
        self._asked_model = model
        self._limits = limits
        self._splitter = SseSplitter()
        self._items: list[StreamItem] = []
        self._blocks: dict[int, Block | None] = {}  # an ended one leaves `None`: no index is used twice
        self._growing: Block | None = None
        self._pieces: list[str] = []
        self._bytes = 0
        self._has_begun = False
        self._has_calls = False
        self._bare_calls: list[Block] = []
        self._is_ended = False
        self._model = ""
        self._response_id = ""
        self._stop_reason = ""
        self._stop_details: dict[str, Any] = {}
        self._counts: dict[str, int] = {}
        self._has_counted = False

    @property
    def is_ended(self) -> bool:
        """Whether `StreamEnded` was returned: nothing that follows matters."""
        return self._is_ended

    def feed(self, chunk: bytes) -> list[StreamItem]:
        """Takes the next bytes and returns the items that they complete.

        Raises:
            BackendGarbled: the bytes are not of this dialect.
            BackendError: the provider reported an error; classified.
            LimitExceeded: the answer is larger than `Limits` allow.
        """
        if self.failure is None:
            try:
                for payload in self._splitter.feed(chunk):
                    self._take(payload)
            except GreenroomError as error:
                self.failure = error
            except RecursionError:
                self.failure = self._garbled("an event that is nested too deeply")
        return self._taken()

    def close(self) -> list[StreamItem]:
        """Ends the stream and returns the last items.

        Raises:
            BackendGarbled: the answer is not complete.
            BackendError, LimitExceeded: as `feed`.
        """
        if self.failure is None:
            try:
                for payload in self._splitter.close():
                    self._take(payload)
            except BackendGarbled:
                pass  # Half an event. That the answer broke off says more.
            except GreenroomError as error:
                self.failure = error
            except RecursionError:
                self.failure = self._garbled("an event that is nested too deeply")
        if self.failure is None and not self._is_ended:
            self.failure = BackendGarbled(f"the answer of {self._endpoint.provider} broke off in the middle")
        return self._taken()

    def _taken(self) -> list[StreamItem]:
        self._flush()
        if self._has_counted and not self._is_ended and (usage := _usage(self._counts)) not in {None, Usage()}:
            self._items.append(UsageCounted(usage=usage, model=self._model))
        self._has_counted = False
        if self.failure is not None and not self._items:
            raise self.failure
        items, self._items = self._items, []
        return items

    # --- events, the frequent one first ---------------------------------------------------------------------------------

    def _take(self, payload: bytes) -> None:
        if self._is_ended:
            return
        try:
            event = _events.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            event = self._mended(payload)
        if event.type == "content_block_delta":
            self._grow(event, payload)
            return
        self._flush()
        match event.type:
            case "content_block_start":
                self._start(event, len(payload))
            case "content_block_stop":
                self._end(self._open_block(event, "the end of"), is_whole=True)
            case "message_start":
                self._begin(event)
            case "message_delta":
                self._note_end(event)
            case "message_stop":
                self._finish()
            case _ if event.error is not None:
                raise self._reported(event.error)
            case _:
                pass  # `ping`, and what is yet to be invented.

    def _grow(self, event: _Event, payload: bytes) -> None:
        block = self._open_block(event, "more of")
        delta = event.delta
        if delta is None:
            raise self._garbled("a delta event without a delta")
        kind = delta.type
        if kind == "text_delta":
            piece = delta.text
        elif kind == "input_json_delta":
            piece = delta.partial_json
        elif kind == "thinking_delta":
            piece = delta.thinking
        else:
            self._spend(len(payload))
            block.extend(self._whole(payload)["delta"])
            return
        if kind == block.grows_by and piece:
            self._append(block, piece)

    def _append(self, block: Block, piece: Any) -> None:
        if not isinstance(piece, str):
            raise self._garbled(f"text that is of the type {type(piece).__name__}")
        if block.joiner is not None:
            piece = block.joiner.feed(piece)
            if not piece:
                return
        size = bytes_of(piece)
        self._spend(size)
        block.size += size
        if block.size > self._limits.tool_arguments_bytes_max and block.kind == "tool_call":
            raise LimitExceeded(
                f"the arguments of a call are larger than {self._limits.tool_arguments_bytes_max} bytes"
            )
        block.pieces.append(piece)
        if block.kind != "opaque":
            if block is not self._growing:
                self._flush()
                self._growing = block
            self._pieces.append(piece)

    def _start(self, event: _Event, size: int) -> None:
        raw, index = event.content_block, event.index
        if not isinstance(raw, dict) or not isinstance(raw.get("type"), str):
            raise self._garbled("a content block without a type")
        if not self._has_begun:
            raise self._garbled("a content block before the beginning of the message")
        if not isinstance(index, int) or index < 0 or index in self._blocks:
            raise self._garbled(f"a content block with the index {index!r}, which is taken or no index")
        if len(self._blocks) >= self._limits.step_parts_max:
            raise LimitExceeded(f"the answer has more than {self._limits.step_parts_max} parts")
        block = self._blocks[index] = Block(index, len(self._blocks), raw)
        self._spend(size)
        if block.kind == "tool_call":
            self._has_calls = True
            call_id, name = _text(raw.get("id")), _text(raw.get("name"))
            self._items.append(PartStarted(part=block.part, kind="tool_call", call_id=call_id, name=name))
        else:
            self._items.append(PartStarted(part=block.part, kind=block.kind))
        if block.kind in {"text", "reasoning"} and (begun := raw.get(raw["type"])):
            self._append(block, begun)
        elif raw["type"] == "fallback" and isinstance(raw.get("to"), dict):
            # Another model took over: from here on it is the one that answers.
            self._model = _text(raw["to"].get("model")) or self._model

    def _end(self, block: Block, *, is_whole: bool) -> None:
        if block.joiner is not None and (rest := block.joiner.close()):
            block.joiner = None
            self._append(block, rest)
        if block.kind == "tool_call" and not block.pieces and is_whole:
            if not (begun := block.raw.get("input")):
                # A call without arguments, or one that was cut off before them: the end of the message tells which.
                self._bare_calls.append(block)
                self._blocks[block.index] = None
                return
            self._append(block, valid_json(begun).decode())  # some servers send all arguments with the beginning
        self._close(block)

    def _close(self, block: Block) -> None:
        self._flush()
        self._blocks[block.index] = None
        sidecar = None
        if (data := block.to_send_back()) is not None:
            raw = msgspec.Raw(valid_json(data))
            sidecar = Sidecar(backend=DIALECT, model=self._asked_model, data=raw)
        self._items.append(PartEnded(part=block.part, sidecar=sidecar))

    def _begin(self, event: _Event) -> None:
        if self._blocks:
            # A gateway asked a second time because its provider failed. What has been passed on cannot be taken back here,
            # and a call that stands in both answers would be run twice: whoever asked has to ask again.
            raise self._garbled("a second message in the middle of the first")
        message = event.message if isinstance(event.message, dict) else {}
        self._has_begun = True
        self._model = _text(message.get("model"))
        self._response_id = _text(message.get("id"))
        self._counts.clear()
        self._count(message.get("usage"))
        self._stop_reason = _text(message.get("stop_reason"))
        # What its servers had said before they began to stream, as after tools that they run themselves.
        begun = message.get("content")
        for index, raw in enumerate(begun if isinstance(begun, list) else ()):
            self._start(_Event(content_block=raw, index=index), len(valid_json(raw)))
            self._end(self._open_block(_Event(index=index), "the end of"), is_whole=True)

    def _note_end(self, event: _Event) -> None:
        self._count(event.usage)
        delta = event.delta
        if delta is not None and delta.stop_reason:
            self._stop_reason = valid_unicode(_text(delta.stop_reason))[:RAW_REASON_MAX]
            if (failure := failure_of(self._stop_reason, self._endpoint)) is not None:
                raise failure
            self._stop_details = delta.stop_details if isinstance(delta.stop_details, dict) else {}

    def _finish(self) -> None:
        if not self._has_begun:
            raise self._garbled("the end of a message that never began")
        for block in [block for block in self._blocks.values() if block is not None]:
            self._end(block, is_whole=False)
        has_calls = self._has_calls or self._stop_reason == "tool_use"
        reason = reason_of(self._stop_reason, has_calls=has_calls)
        for block in self._bare_calls:
            if is_normal(reason, self._stop_reason):
                self._append(block, "{}")
            self._close(block)
        if reason == "refusal" and (explanation := _text(self._stop_details.get("explanation"))):
            part = len(self._blocks)
            self._items.append(PartStarted(part=part, kind="refusal"))
            self._items.append(PartDelta(part=part, delta=explanation))
            self._items.append(PartEnded(part=part))
        self._is_ended = True
        self._items.append(
            StreamEnded(
                reason=reason,
                raw_reason=self._stop_reason,
                usage=_usage(self._counts),
                model=self._model,
                response_id=self._response_id,
            )
        )

    def _mended(self, payload: bytes) -> _Event:
        """Returns an event that msgspec refuses: it holds half of a surrogate pair, or is nothing that can be read at all."""
        if payload == DONE:
            return _Event()
        try:
            event = msgspec.convert(json.loads(payload), _Event)
            if event.type != "content_block_delta":
                return msgspec.convert(self._whole(payload), _Event)
        except (ValueError, RecursionError) as error:
            raise self._garbled(f"an event that cannot be read: {error}") from error
        block = self._blocks.get(event.index) if isinstance(event.index, int) else None
        if block is not None and block.joiner is None:
            # From here on its deltas are watched, because the other half may come with the next one.
            block.joiner = SurrogateJoiner()
        return event

    def _whole(self, payload: bytes) -> Any:
        """Returns an event with the fields that `_Event` skips unread: names and texts of any of them may be damaged.

        Raises:
            BackendGarbled: it is not JSON in UTF-8.
        """
        try:
            return _loads(payload)
        except (ValueError, RecursionError) as error:
            raise self._garbled(f"an event that cannot be read: {error}") from error

    # --- what the events have in common ---------------------------------------------------------------------------------

    def _flush(self) -> None:
        if self._pieces and self._growing is not None:
            self._items.append(PartDelta(part=self._growing.part, delta="".join(self._pieces)))
            self._pieces.clear()
        self._growing = None

    def _open_block(self, event: _Event, what: str) -> Block:
        index = event.index
        block = self._blocks.get(index) if isinstance(index, int) else None
        if block is None:
            raise self._garbled(f"{what} content block {index!r}, which is not open")
        return block

    def _spend(self, size: int) -> None:
        self._bytes += size
        if self._bytes > self._limits.step_bytes_max:
            raise LimitExceeded(f"the answer is larger than {self._limits.step_bytes_max} bytes")

    def _count(self, usage: Any) -> None:
        """Takes over the counts of an event. They are totals so far; one that is left out still stands."""
        if isinstance(usage, dict):
            details = usage.get("output_tokens_details")
            counts = usage | (details if isinstance(details, dict) else {})
            self._counts |= {
                name: count for name, count in counts.items() if isinstance(count, int) and 0 <= count < _COUNT_MAX
            }
            self._has_counted = True

    def _reported(self, error: Any) -> BackendError:
        fault = fault_of(error)
        if fault.kind == "permission_error":
            # Unlike its other kinds, this one does not say by its name that asking again is no use.
            fault = msgspec.structs.replace(fault, status=HTTPStatus.FORBIDDEN)
        return classified(fault, self._endpoint)

    def _garbled(self, what: str) -> BackendGarbled:
        return BackendGarbled(f"{self._endpoint.provider} sent {what}")


def _usage(counts: dict[str, int]) -> Usage | None:
    if not counts:
        return None
    read, written = counts.get("cache_read_input_tokens", 0), counts.get("cache_creation_input_tokens", 0)
    return Usage(
        # Anthropic counts what is read from the cache and written to it beside the rest, not within it.
        input_tokens=counts.get("input_tokens", 0) + read + written,
        output_tokens=counts.get("output_tokens", 0),
        cached_input_tokens=read,
        cache_write_input_tokens=written,
        reasoning_tokens=counts.get("thinking_tokens", 0),
    )


def _loads(payload: bytes) -> Any:
    """Returns JSON as objects whose texts are valid Unicode; `ValueError` for what is not JSON."""
    try:
        return msgspec.json.decode(payload)
    except msgspec.DecodeError:
        return json.loads(valid_unicode(json.dumps(json.loads(payload), ensure_ascii=False)))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
