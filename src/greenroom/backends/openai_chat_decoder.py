"""The answer of the Chat Completions dialect, from bytes to stream items, without I/O.

The dialect is spoken by a few dozen servers, each with an accent. Theory of operation: an answer is a sequence of parts. Text,
refusal and reasoning arrive one after the other, so at most one of them is open; tool calls arrive interleaved, so any number
is open (`ToolCalls`). The answer ends with `[DONE]`, or at the end of the stream if a finish reason came before; whatever comes later
is ignored. A server that sends a whole `message` where a `delta` is expected says it once, or in every chunk as far as it is.

Rule: what servers call things is known here; what is made of it is `parts_writer`'s.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from greenroom.backends.faults import fault_of
from greenroom.backends.given import annotated, cited_of, pictures_of
from greenroom.backends.openai_extras import REASONING_FIELD, MessageExtras, sidecar_of
from greenroom.backends.openai_tool_calls import ToolCalls
from greenroom.backends.parts_writer import SHOWN_MAX, Part, StreamDecoder, entries_of, json_of
from greenroom.backends.sse import DONE
from greenroom.backends.token_counts import usage_of
from greenroom.backends.unicode_text import valid_unicode
from greenroom.errors import BackendGarbled
from greenroom.finish_reasons import ending_of
from greenroom.messages import PartKind, Sidecar


class _Delta(msgspec.Struct, gc=False):
    # `Any` throughout: one odd field must not cost the answer, and msgspec decodes it at the same speed.
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_text: Any = None
    reasoning_opaque: Any = None
    thinking_blocks: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None
    reasoning_details: Any = None
    extra_content: Any = None
    annotations: Any = None
    images: Any = None


class _Choice(msgspec.Struct, gc=False):
    index: Any = 0
    delta: _Delta | None = None
    finish_reason: Any = None
    native_finish_reason: Any = None
    error: Any = None
    usage: Any = None
    message: Any = None
    text: Any = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    id: Any = None
    model: Any = None
    usage: Any = None
    error: Any = None
    x_groq: Any = None
    citations: Any = None
    search_results: Any = None
    object: Any = None


_decode: Final = msgspec.json.Decoder(_Chunk).decode

_FIELDS: Final[dict[PartKind, tuple[str, ...]]] = {
    "text": ("content",),
    "refusal": ("refusal",),
    "reasoning": ("reasoning_content", "reasoning", "reasoning_text", "thinking_blocks"),
    "tool_call": ("tool_calls", "function_call"),
}
"""Which fields of a message say a part of a kind."""


class ChatDecoder(StreamDecoder):
    """Decodes one answer."""

    _no_arguments = ""  # what the model wrote, in this dialect

    def _prepare(self) -> None:
        self._speech: Part | None = None
        self._sidecar: Sidecar | None = None
        self._extras = MessageExtras()
        self._calls = ToolCalls(self._parts, model=self._asked_model)
        self._message: dict[str, Any] | None = None
        self._said: dict[str, str] = {}
        self._cited: tuple[Any, Any] = (None, None)

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
            raise self._reported(chunk.error, payload)
        if chunk.choices:
            for choice in chunk.choices:
                if (
                    not choice.index or choice.index == "0"
                ):  # the first one, or the only one of a server that does not count
                    self._take_choice(choice, chunk.object, len(payload))
        elif not chunk.usage:
            self._raise_if_error(payload, by_form=True)
        if not self._answered_by or not self._response_id:
            self._response_id = self._response_id or _name(chunk.id)
            self._answered_by = self._answered_by or _name(chunk.model)
        if chunk.usage or chunk.x_groq or chunk.search_results or chunk.citations:
            self._take_beside(chunk)

    def _take_choice(self, choice: _Choice, answered_as: Any, size: int) -> None:
        if (delta := choice.delta) is not None:
            self._take_delta(delta)
            if delta.reasoning_details or delta.extra_content or delta.reasoning_opaque or delta.thinking_blocks:
                self._take_extras(delta, size)
        if choice.message is not None and isinstance(choice.message, dict):
            self._take_message(choice.message, is_only=delta is None)
        if delta is None and choice.text and isinstance(choice.text, str) and answered_as != "text_completion":
            self._say("text", choice.text)  # not of the API that completes texts: that one answers no messages
        if choice.error:
            raise self._classified(fault_of(choice.error))
        if choice.finish_reason:
            self._note_end(choice.finish_reason)
        if choice.native_finish_reason and self._finish_word:
            self._note_native_end(choice.native_finish_reason)
        if choice.usage:
            self._account(choice.usage)

    def _note_native_end(self, word: Any) -> None:
        """Takes the word of the provider behind a gateway, where the gateway's own word hides that the answer is not whole."""
        if ending_of(self._finish_word) == "whole" and ending_of(str(word)) not in {"whole", "paused", "unknown"}:
            self._note_end(word)

    def _take_delta(self, delta: _Delta) -> None:
        if reasoning := delta.reasoning_content:
            self._reason(reasoning, REASONING_FIELD)
        elif reasoning := delta.reasoning:
            self._reason(reasoning, "")
        elif reasoning := delta.reasoning_text:
            self._reason(reasoning, "")
            self._extras.take_reasoning_text(_text_of(reasoning))
        elif delta.thinking_blocks:
            self._reason(delta.thinking_blocks, "")
        if content := delta.content:
            if content.__class__ is str:
                self._say("text", content)
            else:
                self._take_content_parts(content)
        if (refusal := delta.refusal) and isinstance(refusal, str):
            self._say("refusal", refusal)
        if delta.tool_calls:
            self._take_calls(delta.tool_calls)
        if delta.function_call and isinstance(delta.function_call, dict):
            self._end_speech()
            self._calls.take_function(delta.function_call, "function_call", "")
        if delta.annotations or delta.images:
            self._parts.give_all(annotated(delta.annotations))
            for picture in pictures_of(delta.images):
                self._parts.give(picture)

    def _take_beside(self, chunk: _Chunk) -> None:
        """Takes what stands beside the choices: figures, and what the answer rests on."""
        if chunk.usage:
            self._account(chunk.usage)
        if isinstance(chunk.x_groq, dict):
            self._account(chunk.x_groq.get("usage"))
        cited = (chunk.search_results, chunk.citations)
        if any(cited) and cited != self._cited:  # Perplexity says all of it in every chunk
            self._cited = cited
            for citations in cited:
                self._parts.give_all(cited_of(citations))

    def _take_message(self, message: dict[str, Any], *, is_only: bool) -> None:
        """Takes a whole message: instead of deltas, or at the end, for what they did not say."""
        if not is_only:
            self._message = message
            return
        delta = msgspec.convert(message, _Delta, strict=False)
        fresh: dict[str, Any] = {}
        for name in ("content", "reasoning_content", "reasoning", "reasoning_text", "refusal"):
            if isinstance(text := getattr(delta, name), str):
                fresh[name] = self._fresh(name, text)
        if delta.tool_calls:
            fresh["tool_calls"] = list(self._fresh_calls(delta.tool_calls))
        self._take_delta(msgspec.structs.replace(delta, **fresh))
        if not self._extras:
            self._take_extras(delta, 0)

    def _fresh(self, name: str, text: str) -> str:
        """Returns what is new of a text: some servers say in each message all that there is so far."""
        said = self._said.get(name, "")
        has_all = text.startswith(said)
        self._said[name] = text if has_all else said + text
        return text.removeprefix(said) if has_all else text

    def _fresh_calls(self, entries: Any) -> Iterator[dict[str, Any]]:
        """Yields the calls of a message as far as they are new: a call that is said twice must not run twice."""
        for place, entry in enumerate(entries_of(entries)):
            function = entry.get("function")
            if not isinstance(function, dict):
                function = {}
            key = f"call {place} {entry.get('id')} {function.get('name')}"
            arguments = function.get("arguments")
            is_new = key not in self._said
            text = self._fresh(
                key, arguments if isinstance(arguments, str) else json_of(arguments) if arguments else ""
            )
            if is_new or text:
                yield {**entry, "function": {**function, "arguments": text}}

    def _take_extras(self, delta: _Delta, size: int) -> None:
        self._parts.spend(size)
        self._extras.take_details(delta.reasoning_details)
        self._extras.take_extra(delta.extra_content)
        self._extras.take_thinking(delta.thinking_blocks)
        if isinstance(delta.reasoning_opaque, str):
            self._extras.take_opaque(delta.reasoning_opaque)

    def _take_calls(self, entries: Any) -> None:
        self._end_speech()
        for entry in entries_of(entries):
            self._calls.take(entry)

    def _take_content_parts(self, content: Any) -> None:
        """Takes content as a list of parts, as Mistral and Databricks send it, with its thinking among them."""
        for part in content if isinstance(content, list) else [content]:
            if isinstance(part, str) and part:
                self._say("text", part)
            elif isinstance(part, dict):
                text = part.get("text")
                thinking = part.get("thinking")
                if part.get("type") == "image_url":
                    for picture in pictures_of(part):
                        self._parts.give(picture)
                elif thinking and not isinstance(thinking, list):
                    self._reason(thinking, "")
                elif part.get("type") == "reasoning" or isinstance(thinking, list):
                    self._reason(part, "")
                    self._parts.spend(len(json.dumps(part)))
                    self._extras.take_reasoning_item(part)
                elif isinstance(text, str) and text:
                    self._say("text", text)

    def _reason(self, reasoning: Any, field: str) -> None:
        if reasoning.__class__ is not str:
            reasoning = _text_of(reasoning)
        if reasoning:
            self._say("reasoning", reasoning)
            if field and self._sidecar is None:
                self._sidecar = sidecar_of({"field": field}, self._asked_model)

    def _decoded_tolerantly(self, payload: bytes) -> _Chunk:
        """Decodes what only the standard library reads: half surrogate pairs, and numbers such as `NaN`."""
        self._raise_if_error(payload)
        try:
            return msgspec.convert(json.loads(payload.decode()), _Chunk)
        except (ValueError, RecursionError) as error:
            raise self._unreadable(payload) from error

    def _account(self, usage: Any) -> None:
        # Some servers count in every chunk and the last one wins, unless it is an empty one.
        if isinstance(usage, dict):
            self._count(usage_of(usage))

    # --- speech ---------------------------------------------------------------------------------------------------------

    def _say(self, kind: PartKind, text: str) -> None:
        speech = self._speech
        if speech is None or speech.kind != kind:
            self._end_speech()
            speech = self._speech = self._parts.begun(kind)
        if speech is self._parts.growing:
            speech.fresh.append(text)  # the way of nearly every chunk that comes with others
        else:
            self._parts.grow(speech, text)

    def _end_speech(self) -> None:
        if self._speech is not None:
            self._parts.end(self._speech, self._sidecar)
            self._speech = self._sidecar = None

    # --- the end --------------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        if self._message is not None:
            said = {name for kind in self._parts.kinds for name in _FIELDS.get(kind, ())}
            self._take_message({name: self._message[name] for name in self._message.keys() - said}, is_only=True)
        if not self._finish_word and not self._parts.count and not self._calls:
            raise BackendGarbled(f"{self._endpoint.provider} ended the stream without an answer")
        self._end_speech()
        self._calls.end()
        if self._extras:
            self._parts.write("opaque", sidecar=self._extras.sidecar(self._asked_model))
        if self._finish_word:
            self._finish()
        else:
            # `[DONE]` alone says that there is no more, not that the model was ready: a call without arguments may be half of one.
            self._finish("other" if self._calls else "refusal" if "refusal" in self._parts.kinds else "stop")


def _text_of(reasoning: Any) -> str:
    """Returns the text of a reasoning in any shape: a text, a list, an object with one, or with a list of them."""
    if isinstance(reasoning, str):
        return reasoning
    if isinstance(reasoning, list):
        return "".join(map(_text_of, reasoning))
    if isinstance(reasoning, dict):
        for name in ("text", "thinking", "content", "summary"):
            if text := reasoning.get(name):
                return _text_of(text)
    return ""


def _name(value: Any) -> str:
    return valid_unicode(value)[:SHOWN_MAX] if isinstance(value, str) else ""
