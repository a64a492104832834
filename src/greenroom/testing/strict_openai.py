"""A server that speaks Chat Completions and enforces its rules: for tests of everything that talks to such a server.

::

    async with StrictOpenAI([Reply(text="Hello!"), Refused(status=429, headers={"retry-after": "2"})]) as server:
        backend = OpenAIBackend(api_key=server.key, base_url=server.base_url)
        ...
    assert server.bodies[0]["model"] == "gpt-4o"

Each request is checked by `refusals` first; one that breaks a rule is answered with 400 in OpenAI's shape, and does not use up
a step of the script. Otherwise the next step of the script is played.

Rule: it listens on the loopback interface only, and everything that it does is said by its script.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Self

import msgspec
from aiohttp import web

from greenroom.testing.prompt_cache import PromptCache, tokens
from greenroom.testing.strict_openai_rules import refusals

__all__ = ["Refused", "Reply", "ReplyCall", "Step", "StrictOpenAI", "refusals"]

_DELTA_CHARACTERS: Final = 5


class ReplyCall(msgspec.Struct, frozen=True):
    """A tool call of a reply."""

    name: str
    arguments: str = "{}"
    call_id: str = ""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, streamed a few characters at a time: reasoning, text, then the calls, interleaved.

    Attributes:
        reasoning: sent as `reasoning_content`.
        finish_reason: `None` is `tool_calls` or `stop`, as fits.
        usage: sent in a last chunk without choices, as OpenAI does.
        pause_s: time between two events.
        hold: no event after the first `hold_after` ones before this is set.
        cut_after: number of events after which the connection breaks off; `None` never.
        error: sent as the `error` of a last event, in place of the rest, after `cut_after` events.
        has_done: whether `[DONE]` ends the stream.
        raw: bytes to send in place of all that.
        content_type: of the answer.
    """

    text: str = ""
    reasoning: str = ""
    calls: tuple[ReplyCall, ...] = ()
    finish_reason: str | None = None
    usage: dict[str, Any] = msgspec.field(default_factory=lambda: {"prompt_tokens": 10, "completion_tokens": 5})
    pause_s: float = 0.0
    hold: asyncio.Event | None = None
    hold_after: int = 1
    cut_after: int | None = None
    error: dict[str, Any] | None = None
    has_done: bool = True
    raw: bytes | None = None
    content_type: str = "text/event-stream"


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """An answer with an error, in OpenAI's shape.

    Attributes:
        body: to send in place of the usual one.
    """

    status: int
    message: str = "The server refused."
    kind: str = "server_error"
    code: str | None = None
    headers: dict[str, str] = {}
    body: bytes | None = None


Step = Reply | Refused
Script = Sequence[Step] | Callable[[dict[str, Any]], Step]


class StrictOpenAI:
    """The server. An async context manager: entering starts it on a free port, leaving stops it.

    Attributes:
        key: the one key that it accepts.
        bodies: the requests that kept the rules, in the order of their arrival.
        headers: of all requests, with lower-case names.
        refused: what was wrong with those that did not.
        connections: connections that were opened.
        left: set each time a client leaves in the middle of an answer.
    """

    def __init__(self, script: Script = (), *, key: str = "sk-strict-test-key", counts_usage: bool = False) -> None:
        """Takes the script.

        Args:
            script: played step by step, one per request; or it is asked for the step, with the request's body.
            key: see above.
            counts_usage: the input, and what of it was sent before, is counted in place of the replies' `usage`.
        """
        self.key = key
        self._cache = PromptCache() if counts_usage else None
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.refused: list[str] = []
        self.connections = 0
        self.left = asyncio.Event()
        self._steps = deque(script) if not callable(script) else None
        self._script = script if callable(script) else None
        self._peers: set[Any] = set()
        self._numbers = itertools.count(1)
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def base_url(self) -> str:
        """What a client's base URL is set to."""
        return f"http://127.0.0.1:{self._port}/v1"

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=0)
        app.router.add_post("/v1/chat/completions", self._complete)
        # Leaving clients cancel their handler: that is how the server knows of them.
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        if peer not in self._peers:
            self._peers.add(peer)
            self.connections += 1
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        if request.headers.get("authorization") != f"Bearer {self.key}":
            said = request.headers.get("authorization", "").removeprefix("Bearer ")
            message = f"Incorrect API key provided: {said}. You can find your API key at https://platform.openai.com."
            return refusal_of(
                Refused(status=401, message=message, kind="invalid_request_error", code="invalid_api_key")
            )
        try:
            body = msgspec.json.decode(await request.read(), type=dict[str, Any])
        except msgspec.MsgspecError as error:
            said = f"We could not parse the JSON body of your request: {error}"
            return refusal_of(Refused(status=400, message=said, kind="invalid_request_error"))
        if broken := refusals(body):
            self.refused += broken
            return refusal_of(Refused(status=400, message=" ".join(broken), kind="invalid_request_error"))
        self.bodies.append(body)
        match self._next_step(body):
            case Refused() as refused:
                return refusal_of(refused)
            case Reply() as reply:
                if self._cache is not None:
                    reply = msgspec.structs.replace(reply, usage=_counted(self._cache, body, reply))
                return await self._play(request, reply, str(body["model"]))

    def _next_step(self, body: dict[str, Any]) -> Step:
        if self._script is not None:
            return self._script(body)
        if not self._steps:
            return Refused(status=500, message="The script of this server has no more steps.")
        return self._steps.popleft()

    async def _play(self, request: web.Request, reply: Reply, model: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": reply.content_type, "x-request-id": "req_strict"})
        await response.prepare(request)
        try:
            if reply.raw is not None:
                await response.write(reply.raw)
                return response
            events = _events(reply, model, f"chatcmpl-{next(self._numbers)}", self._numbers)
            for sent, event in enumerate(events):
                if reply.hold is not None and sent == reply.hold_after:
                    await reply.hold.wait()
                if sent == reply.cut_after:
                    if reply.error is None:
                        _cut(request)
                    else:
                        await response.write(b"data: %b\n\n" % msgspec.json.encode({"error": reply.error}))
                    return response
                await response.write(b"data: %b\n\n" % event)
                if reply.pause_s:
                    await asyncio.sleep(reply.pause_s)
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise
        return response


def _counted(cache: PromptCache, body: dict[str, Any], reply: Reply) -> dict[str, Any]:
    pieces = [str(body["model"]), *(str(tool) for tool in body.get("tools", ())), *map(str, body["messages"])]
    return {
        "prompt_tokens": tokens(pieces),
        "completion_tokens": tokens([reply.text]),
        "prompt_tokens_details": {"cached_tokens": cache.automatic(pieces)},
    }


def _events(reply: Reply, model: str, response_id: str, numbers: Iterator[int]) -> Iterator[bytes]:
    def event(**fields: Any) -> bytes:
        head = {"id": response_id, "object": "chat.completion.chunk", "created": 1_700_000_000, "model": model}
        return msgspec.json.encode(head | fields)

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        return event(choices=[{"index": 0, "delta": delta, "finish_reason": finish_reason}], usage=None)

    yield chunk({"role": "assistant", "content": ""})
    for piece in _pieces(reply.reasoning):
        yield chunk({"reasoning_content": piece})
    for piece in _pieces(reply.text):
        yield chunk({"content": piece})
    for index, call in enumerate(reply.calls):
        function = {"name": call.name, "arguments": ""}
        call_id = call.call_id or f"call_{next(numbers):024d}"
        yield chunk({"tool_calls": [{"index": index, "id": call_id, "type": "function", "function": function}]})
    for pieces in itertools.zip_longest(*(_pieces(call.arguments) for call in reply.calls)):
        for index, piece in enumerate(pieces):
            if piece is not None:
                yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield chunk({}, reply.finish_reason or ("tool_calls" if reply.calls else "stop"))
    if reply.usage:
        yield event(choices=[], usage=reply.usage)
    if reply.has_done:
        yield b"[DONE]"


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), _DELTA_CHARACTERS):
        yield text[start : start + _DELTA_CHARACTERS]


def refusal_of(refused: Refused) -> web.Response:
    """Returns the answer with the error."""
    error = {"message": refused.message, "type": refused.kind, "param": None, "code": refused.code}
    return web.Response(
        status=refused.status,
        body=msgspec.json.encode({"error": error}) if refused.body is None else refused.body,
        headers={"content-type": "application/json", "x-request-id": "req_strict"} | refused.headers,
        reason=HTTPStatus(refused.status).phrase if refused.status in set(HTTPStatus) else "Refused",
    )


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
