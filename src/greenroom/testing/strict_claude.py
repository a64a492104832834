"""A server that enforces the rules of Anthropic's Messages API and streams a scripted answer.

::

    async with StrictClaude([[Think("A die."), Call("roll", {})], "A four."]) as server:
        backend = ClaudeBackend(api_key=server.key, base_url=server.base_url)
        ...
    assert not server.refused

A script is a sequence of answers, one per request in the order of their arrival, or a function from a request's body to its
answer. An answer is a text, a cue or a sequence of cues; the cues that every provider could play are those of `greenroom.backends.scripted`
(`Say`, `Think`, `Call`, `Gate`, `Pause`, `Cut`), those of this one stand here.

A request that breaks a rule of `strict_claude_rules`, or of the state that only a server has (which thinking it gave out, behind
which conversation), is answered as the API does, with status 400; it uses up no answer.

Rule: the shape on the wire is that of recorded answers. A shortcut here would hide a fault of the decoder.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Self

import msgspec
from aiohttp import web

from greenroom.backends.scripted import Call, Cut, Gate, Pause, Say, Think
from greenroom.testing.loopback import Broken, Loopback
from greenroom.testing.prompt_cache import PromptCache, tokens
from greenroom.testing.strict_claude_rules import (
    MODELS,
    THINKING,
    blocks_of,
    is_thinking,
    merged,
    refusals,
    running_loop,
)

_WORD: Final = re.compile(r"\S+\s*|\s+")
_STARTED: Final = {
    "input_tokens": 25,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "output_tokens": 1,
}


class HttpError(msgspec.Struct, frozen=True):
    """The request is answered with an error status. Always the only cue."""

    status: int
    kind: str
    message: str = "scripted"
    headers: Mapping[str, str] = {}


class ErrorEvent(msgspec.Struct, frozen=True):
    """An `error` event in the middle of the stream, which ends there. Always the last cue."""

    kind: str
    message: str = "scripted"


class Reset(msgspec.Struct, frozen=True):
    """The connection breaks, as when a machine on the way dies. Always the last cue."""


class Redacted(msgspec.Struct, frozen=True):
    """A `redacted_thinking` block."""

    data: str


class Bytes(msgspec.Struct, frozen=True):
    """Bytes of the stream as they are: for what no API should send."""

    data: bytes


class Stop(msgspec.Struct, frozen=True):
    """Why the answer ends, where its cues do not imply it. Always the last cue."""

    reason: str
    details: Mapping[str, Any] | None = None


Cue = Say | Think | Call | Gate | Pause | Cut | HttpError | ErrorEvent | Reset | Redacted | Bytes | Stop
Answer = str | Cue | Sequence[Cue]


Script = Sequence[Answer] | Callable[[dict[str, Any]], Answer]


class _Given(msgspec.Struct, kw_only=True):
    """The thinking of one answer, the calls that came with it, and the conversation that it is bound to."""

    model: str
    prefix: str
    blocks: list[dict[str, Any]] = []
    call_ids: list[str] = []


class StrictClaude:
    """The server. An async context manager: entering starts it on a free port of 127.0.0.1, leaving stops it.

    Attributes:
        key: the one key that it accepts.
        bodies: the requests that kept the rules, in the order of their arrival.
        headers: of all requests, with lower-case names.
        refused: what was wrong with those that did not.
        left: set each time a client leaves in the middle of an answer.
    """

    def __init__(self, script: Script = (), *, key: str = "sk-ant-strict-test-key", counts_usage: bool = False) -> None:
        """Takes the script.

        Args:
            script: played answer by answer, one per request; or it is asked for the answer, with the request's body.
            key: see above.
            counts_usage: the input is counted, and what of it was cached up to a breakpoint before.
        """
        self.key = key
        self._cache = PromptCache() if counts_usage else None
        self.bodies: list[dict[str, Any]] = []
        self.refused: list[str] = []
        self._loopback = Loopback()
        self._loopback.route("POST", "/v1/messages", self._serve)
        self.headers = self._loopback.headers
        self.left = self._loopback.left
        self._script = script
        self._answered = 0
        self._calls = 0
        self._given: list[_Given] = []

    @property
    def base_url(self) -> str:
        """What a client's base URL is set to."""
        return self._loopback.url

    @property
    def connections(self) -> int:
        """Connections that were opened."""
        return self._loopback.connections

    async def __aenter__(self) -> Self:
        await self._loopback.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._loopback.stop()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        headers = self.headers[-1]
        if headers.get("authorization") != f"Bearer {self.key}" and headers.get("x-api-key") != self.key:
            return _failed(HttpError(401, "authentication_error", "invalid x-api-key"))
        try:
            body = msgspec.json.decode(await request.read(), type=dict[str, Any])
        except msgspec.MsgspecError as error:
            return _failed(HttpError(400, "invalid_request_error", f"the body is not a JSON object: {error}"))
        if broken := refusals(body, headers=headers) or list(self._stale(body)):
            self.refused += broken
            return _failed(HttpError(400, "invalid_request_error", "; ".join(broken)))
        self.bodies.append(body)
        cues = self._next(body)
        if cues and isinstance(cues[0], HttpError):
            return _failed(cues[0])
        return await self._loopback.stream(request, self._played(cues, body))

    def _next(self, body: dict[str, Any]) -> Sequence[Cue]:
        answer: Answer
        if callable(self._script):
            answer = self._script(body)
        elif self._answered < len(self._script):
            answer = self._script[self._answered]
        else:
            answer = HttpError(500, "api_error", "The script of this server has no more answers.")
        self._answered += 1
        if isinstance(answer, str):
            return (Say(answer),)
        return (answer,) if isinstance(answer, Cue) else answer

    # --- the state that a request must fit ------------------------------------------------------------------------------

    def _stale(self, body: Mapping[str, Any]) -> Iterator[str]:
        """docs: build-with-claude/preserved-thinking; build-with-claude/thinking#preserving-thinking-blocks."""
        facts = MODELS.get(body["model"])
        binding = (body.get("thinking") or {}).get("block_binding") or {}
        binds = facts is not None and facts.binds and binding.get("prefix_mismatch_behavior") != "drop_block"
        for place, message in enumerate(body["messages"]):
            prefix = _prefix(body, place)
            for block in blocks_of(message):
                if block.get("type") not in THINKING:
                    continue
                given = next((given for given in self._given if block in given.blocks), None)
                if given is None:
                    yield f"messages.{place}: `thinking` blocks cannot be modified, and must be the API's own"
                elif binds and given.model == body["model"] and given.prefix != prefix:
                    yield f"messages.{place}: The block is bound to a different conversation."
        if is_thinking(body):
            yield from self._lost(body)

    def _lost(self, body: Mapping[str, Any]) -> Iterator[str]:
        for blocks in running_loop(body):
            called = {block.get("id") for block in blocks if block.get("type") == "tool_use"}
            returned = [dict(block) for block in blocks if block.get("type") in THINKING]
            for given in self._given:
                is_meant = given.model == body["model"] and not called.isdisjoint(given.call_ids)
                if is_meant and returned[: len(given.blocks)] != given.blocks:
                    yield "thinking blocks must be passed back unchanged with the calls that they led to"

    # --- the answer -----------------------------------------------------------------------------------------------------

    async def _played(self, cues: Sequence[Cue], body: Mapping[str, Any]) -> AsyncIterator[bytes]:
        given = _Given(model=body["model"], prefix=_prefix(body, len(body["messages"])))
        self._given.append(given)
        message = {
            "id": f"msg_{self._answered:04}",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _STARTED if self._cache is None else _counted(self._cache, body),
        }
        yield _event("message_start", message=message)
        yield _event("ping")
        index, stop = 0, Stop("tool_use" if any(isinstance(cue, Call) for cue in cues) else "end_turn")
        for cue in cues:
            match cue:
                case Say() | Think() | Call() | Redacted():
                    for event in self._block(index, cue, given):
                        yield event
                    index += 1
                case Pause():
                    await asyncio.sleep(cue.seconds)
                case Gate():
                    await cue.pass_through()
                case Bytes():
                    yield cue.data
                case ErrorEvent():
                    yield _event("error", error={"type": cue.kind, "message": cue.message})
                    return
                case Cut():
                    return
                case Reset():
                    raise Broken
                case Stop():
                    stop = cue
                case HttpError():
                    raise AssertionError("an HttpError is the only cue of its answer")
        delta = {"stop_reason": stop.reason, "stop_sequence": None, "stop_details": stop.details}
        yield _event("message_delta", delta=delta, usage={"output_tokens": 12})
        yield _event("message_stop")

    def _block(self, index: int, cue: Say | Think | Call | Redacted, given: _Given) -> Iterator[bytes]:
        match cue:
            case Say():
                block: dict[str, Any] = {"type": "text", "text": ""}
                deltas = [{"type": "text_delta", "text": piece} for piece in _pieces(cue.text)]
            case Think():
                signature = hashlib.sha256(f"{len(self._given)}/{index}".encode()).hexdigest()
                block = {"type": "thinking", "thinking": "", "signature": ""}
                deltas = [{"type": "thinking_delta", "thinking": piece} for piece in _pieces(cue.text)]
                deltas.append({"type": "signature_delta", "signature": signature})
                given.blocks.append({**block, "thinking": "".join(_pieces(cue.text)), "signature": signature})
            case Redacted():
                block, deltas = {"type": "redacted_thinking", "data": cue.data}, []
                given.blocks.append(block)
            case Call():
                self._calls += 1
                call_id = f"toolu_{self._calls:04}" if cue.call_id is None else cue.call_id
                given.call_ids.append(call_id)
                block = {"type": "tool_use", "id": call_id, "name": cue.name, "input": {}}
                arguments = (
                    msgspec.json.encode(cue.arguments).decode() if isinstance(cue.arguments, Mapping) else cue.arguments
                )
                # An empty object is sent without deltas, as the API does it.
                pieces = ["", *_pieces(arguments)] if arguments != "{}" else [""]
                deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        yield _event("content_block_start", index=index, content_block=block)
        for delta in deltas:
            yield _event("content_block_delta", index=index, delta=delta)
        yield _event("content_block_stop", index=index)


def _counted(cache: PromptCache, body: Mapping[str, Any]) -> dict[str, int]:
    blocks = [*body.get("tools", ()), *body.get("system", ())]
    for message in body["messages"]:
        blocks += blocks_of(message)
    pieces = [str(body["model"]), *(str(_unmarked(block)) for block in blocks)]
    marks = {place for place, block in enumerate(blocks, start=1) if "cache_control" in block}
    read, written = cache.marked(pieces, marks)
    return {
        "input_tokens": max(tokens(pieces) - read - written, 0),
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "output_tokens": 1,
    }


def _failed(error: HttpError) -> web.Response:
    body = {"type": "error", "error": {"type": error.kind, "message": error.message}, "request_id": "req_scripted"}
    return web.json_response(body, status=error.status, headers=dict(error.headers))


def _event(kind: str, **fields: Any) -> bytes:
    data = msgspec.json.encode({"type": kind, **fields})
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


def _pieces(text: str | Sequence[str]) -> Sequence[str]:
    return _WORD.findall(text) if isinstance(text, str) else text


def _prefix(body: Mapping[str, Any], place: int) -> str:
    """Returns what a thinking block in message `place` is bound to. Breakpoints and thinking are no part of it."""
    seen = {
        "system": body.get("system"),
        "tools": body.get("tools"),
        "messages": [
            (role, [block for block in blocks if block.get("type") not in THINKING])
            for role, blocks in merged(body["messages"][:place])
        ],
    }
    return hashlib.sha256(msgspec.json.encode(_unmarked(seen), order="sorted")).hexdigest()


def _unmarked(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _unmarked(inner) for name, inner in value.items() if name != "cache_control"}
    return [_unmarked(inner) for inner in value] if isinstance(value, list | tuple) else value
