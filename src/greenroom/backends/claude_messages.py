"""Anthropic's Messages dialect, without I/O: a request to its body (`encode`), the stream's bytes to our items.

Theory of operation: the stream is a message made of content blocks; each is begun, grown by deltas and ended under an index of
its own. Where the beginning of a text or a thinking is missing, its first delta begins it. Text, thinking and calls of our tools mean something to everybody and become parts of that kind. Any other block (the
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

from greenroom.backends.claude_blocks import Block, kind_of, raw_begun_by
from greenroom.backends.claude_request import DIALECT, encode, notices
from greenroom.backends.faults import Fault
from greenroom.backends.given import FOUND_BY, found, quoted
from greenroom.backends.parts_writer import StreamDecoder, json_of
from greenroom.backends.sse import DONE
from greenroom.backends.token_counts import claude_usage_of, is_count
from greenroom.backends.unicode_text import valid_json, valid_unicode
from greenroom.errors import BackendError
from greenroom.finish_reasons import reason_of
from greenroom.messages import Sidecar

__all__ = ["DIALECT", "MessagesDecoder", "encode", "notices"]


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
    index: Any = 0  # where it is left out: gateways leave out zeros
    delta: _Delta | None = None
    content_block: Any = None
    message: Any = None
    usage: Any = None
    error: Any = None


_events: Final = msgspec.json.Decoder(_Event)


class MessagesDecoder(StreamDecoder):
    """Decodes one answer."""

    def _prepare(self) -> None:
        self._blocks: dict[int, Block] = {}
        """Those that are open: an index only tells these apart."""
        self._has_begun = False
        self._begun_with_stop: Any = ""
        self._stop_details: dict[str, Any] = {}
        self._counts: dict[str, Any] = {}

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
        else:
            self._take_rare(event, payload)

    def _take_rare(self, event: _Event, payload: bytes) -> None:
        match event.type:
            case "content_block_start":
                self._start(event, len(payload))
            case "content_block_stop":
                if (block := self._block(event)) is not None:  # else its end is said again
                    self._end_block(block, is_whole=True)
            case "message_start":
                self._begin(event)
            case "message_delta":
                self._stop(event)
            case "message":
                self._take_whole(self._whole(payload))
            case "message_stop":
                if not self._has_begun:
                    raise self._garbled("the end of a message that never began")
                self._end()
            case _ if event.error is not None:
                raise self._reported(event.error, payload)
            case _:  # `ping`, and what is yet to be invented; without a type, nothing of this dialect
                self._raise_if_error(payload, by_form=not event.type or event.type == "error")

    def _grow(self, event: _Event, payload: bytes) -> None:
        delta = event.delta
        if delta is None:
            raise self._garbled("a delta event without a delta")
        kind = delta.type
        if (block := self._block(event)) is None or (kind != block.grows_by and block.is_other(kind)):
            block = self._begun_by(kind, event)
        if kind == "text_delta":
            piece = delta.text
        elif kind == "input_json_delta":
            piece = delta.partial_json
        elif kind == "thinking_delta":
            piece = delta.thinking
        else:
            self._parts.spend(len(payload))
            whole = self._whole(payload)["delta"]
            block.extend(whole)
            if kind == "citations_delta":
                self._parts.give_all(quoted(whole.get("citation")))
            return
        if kind == block.grows_by and piece:
            self._append(block, piece)

    def _begun_by(self, kind: Any, event: _Event) -> Block:
        """Returns the block that a delta begins, where its beginning was left out: of text and thinking the delta says all of it."""
        if (raw := raw_begun_by(kind)) is None:
            raise self._garbled(f"more of content block {event.index!r}, which is not open")
        self._start(_Event(index=event.index, content_block=raw), 0)
        return self._blocks[event.index]

    def _append(self, block: Block, piece: Any) -> None:
        if piece.__class__ is not str:
            raise self._garbled(f"text that is of the type {type(piece).__name__}")
        block.pieces.append(piece)
        if block.part.kind == "opaque":
            self._parts.spend(len(piece))
        else:
            self._parts.grow(block.part, piece)

    def _start(self, event: _Event, size: int) -> None:
        raw, index = event.content_block, event.index
        if not isinstance(raw, dict) or not isinstance(raw.get("type"), str):
            raise self._garbled("a content block without a type")
        if not self._has_begun:
            raise self._garbled("a content block before the beginning of the message")
        if not isinstance(index, int) or index < 0:
            raise self._garbled(f"a content block with {index!r} in place of its index: that is no index")
        if (open_block := self._blocks.get(index)) is not None:
            self._end_block(open_block, is_whole=False)  # its end was left out: blocks come one after the other
        self._parts.spend(size)
        kind = kind_of(raw)
        call = {"call_id": _text(raw.get("id")), "name": _text(raw.get("name"))} if kind == "tool_call" else {}
        block = self._blocks[index] = Block(index, raw, self._parts.begun(kind, **call))
        if kind in {"text", "reasoning"} and (begun := raw.get(raw["type"])):
            self._append(block, begun)
            self._parts.give_all(quoted(raw.get("citations")))
        elif raw["type"] in FOUND_BY:
            for source in found(raw.get("content")):
                self._parts.give_later(source)
        elif raw["type"] == "fallback" and isinstance(raw.get("to"), dict):
            # Another model took over: from here on it is the one that answers.
            self._answered_by = _text(raw["to"].get("model")) or self._answered_by

    def _end_block(self, block: Block, *, is_whole: bool) -> None:
        begun = block.raw.get("input") if block.part.kind == "tool_call" and is_whole and not block.pieces else None
        if begun:
            self._append(block, json_of(begun))  # some servers send all arguments with the beginning
        del self._blocks[block.index]
        sidecar = None
        if (data := block.to_send_back()) is not None:
            raw = msgspec.Raw(valid_json(data))
            sidecar = Sidecar(backend=DIALECT, model=self._asked_model, data=raw)
        self._parts.end(block.part, sidecar)

    def _begin(self, event: _Event) -> None:
        if self._parts.count:
            # A gateway asked a second time because its provider failed. What has been passed on cannot be taken back here,
            # and a call that stands in both answers would be run twice: whoever asked has to ask again.
            raise self._garbled("a second message in the middle of the first")
        message = event.message if isinstance(event.message, dict) else {}
        self._has_begun = True
        self._answered_by = _text(message.get("model"))
        self._response_id = _text(message.get("id"))
        self._counts.clear()
        self._add_counts(message.get("usage"))
        self._begun_with_stop = message.get("stop_reason") or ""
        # What its servers had said before they began to stream, as after tools that they run themselves.
        begun = message.get("content")
        for index, raw in enumerate(begun if isinstance(begun, list) else ()):
            self._start(_Event(content_block=raw, index=index), len(valid_json(raw)))
            self._end_block(self._blocks[index], is_whole=True)

    def _take_whole(self, message: dict[str, Any]) -> None:
        """Takes an answer that is not streamed: the message alone."""
        self._begin(_Event(message=message))
        self._stop(
            _Event(delta=_Delta(stop_reason=message.get("stop_reason"), stop_details=message.get("stop_details")))
        )
        self._end()

    def _stop(self, event: _Event) -> None:
        self._add_counts(event.usage)
        delta = event.delta
        if delta is not None and delta.stop_reason:
            self._stop_details = delta.stop_details if isinstance(delta.stop_details, dict) else {}
            self._note_end(delta.stop_reason)
            if (
                delta.stop_reason == "refusal"
                and isinstance(event.usage, dict)
                and event.usage.get("output_tokens") == 0
            ):
                # The one zero that means it: Anthropic does not bill a refusal before the first word.
                self._counts.pop("output_tokens", None)
                self._usage = claude_usage_of(self._counts)

    def _end(self) -> None:
        if not self._finish_word and self._begun_with_stop:
            self._note_end(self._begun_with_stop)
        for block in list(self._blocks.values()):
            self._end_block(block, is_whole=False)
        word, kinds = self._finish_word, self._parts.kinds
        reason = reason_of(word, has_calls="tool_call" in kinds or word == "tool_use")
        if reason == "refusal" and (explanation := _text(self._stop_details.get("explanation"))):
            # Anthropic's words about the model, not the model's own.
            self._parts.write("refusal", explanation, by_provider=True)
        self._finish(reason)

    def _mended(self, payload: bytes) -> _Event:
        """Returns an event that msgspec refuses: it holds half of a surrogate pair, or is nothing that can be read at all."""
        if payload == DONE:
            if self._finish_word:
                self._end()
            return _Event()
        self._raise_if_error(payload)
        try:
            event = msgspec.convert(json.loads(payload), _Event)
            is_delta = event.type == "content_block_delta"
            return event if is_delta else msgspec.convert(self._whole(payload), _Event)
        except (ValueError, RecursionError) as error:
            raise self._garbled(f"an event that cannot be read: {error}") from error

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

    def _block(self, event: _Event) -> Block | None:
        """Returns the open block that an event is about."""
        return self._blocks.get(event.index) if isinstance(event.index, int) else None

    def _add_counts(self, usage: Any) -> None:
        """Takes over the counts of an event. They are totals so far; one that is left out, or zero, takes nothing back."""
        if isinstance(usage, dict):
            details = usage.get("output_tokens_details")
            counts = usage | (details if isinstance(details, dict) else {})
            self._counts |= {name: count for name, count in counts.items() if count and is_count(count)}
            if self._counts:
                self._count(claude_usage_of(self._counts))

    def _classified(self, fault: Fault) -> BackendError:
        if fault.kind == "permission_error":
            # Unlike its other kinds, this one does not say by its name that asking again is no use.
            fault = msgspec.structs.replace(fault, status=HTTPStatus.FORBIDDEN)
        return super()._classified(fault)


def _loads(payload: bytes) -> Any:
    """Returns JSON as objects whose texts are valid Unicode; `ValueError` for what is not JSON."""
    try:
        return msgspec.json.decode(payload)
    except msgspec.DecodeError:
        return json.loads(valid_unicode(json.dumps(json.loads(payload), ensure_ascii=False)))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
