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
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Self

import msgspec
from aiohttp import web

from greenroom.testing.loopback import Broken, Loopback
from greenroom.testing.prompt_cache import PromptCache, tokens
from greenroom.testing.strict_openai_rules import RESPONSES_ONLY, refusals

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
        refused: what was wrong with those that did not; what `refuses` says of others is not there.
        turned_away: the requests that `refuses` did not like.
        left: set each time a client leaves in the middle of an answer.
    """

    def __init__(
        self,
        script: Script = (),
        *,
        key: str = "sk-strict-test-key",
        counts_usage: bool = False,
        loopback: Loopback | None = None,
        prefix: str = "/v1",
        deployments: Mapping[str, str] | None = None,
        refuses: Callable[[dict[str, Any]], Refused | None] | None = None,
    ) -> None:
        """Takes the script.

        Args:
            script: played step by step, one per request; or it is asked for the step, with the request's body.
            key: see above.
            counts_usage: the input, and what of it was sent before, is counted in place of the replies' `usage`.
            loopback: the server that it is a part of; `None` for one of its own.
            prefix: what its paths begin with.
            deployments: models under names of their users' own.
            refuses: how the server refuses what keeps OpenAI's rules but not its own; see `strict_servers`.
        """
        self.key = key
        self._refuses = refuses
        self._cache = PromptCache() if counts_usage else None
        self.bodies: list[dict[str, Any]] = []
        self.refused: list[str] = []
        self.turned_away: list[dict[str, Any]] = []
        self._loopback = Loopback() if loopback is None else loopback
        self._loopback.route("POST", f"{prefix}/chat/completions", self._complete)
        self._prefix = prefix
        self._deployments = dict(deployments or {})
        self.headers = self._loopback.headers
        self.left = self._loopback.left
        self._steps = deque(script) if not callable(script) else None
        self._script = script if callable(script) else None
        self._numbers = itertools.count(1)

    @property
    def base_url(self) -> str:
        """What a client's base URL is set to."""
        return f"{self._loopback.url}{self._prefix}"

    @property
    def connections(self) -> int:
        """Connections that were opened."""
        return self._loopback.connections

    async def __aenter__(self) -> Self:
        await self._loopback.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._loopback.stop()

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request, self.key)
        if isinstance(body, Refused):
            return refusal_of(body)
        if broken := refusals(self._meant(body)):
            self.refused += broken
            status = HTTPStatus.NOT_FOUND if RESPONSES_ONLY in broken else HTTPStatus.BAD_REQUEST
            return refusal_of(Refused(status=status, message=" ".join(broken), kind="invalid_request_error"))
        if self._refuses is not None and (refused := self._refuses(body)) is not None:
            self.turned_away.append(body)
            return refusal_of(refused)
        self.bodies.append(body)
        match self._next_step(body):
            case Refused() as refused:
                return refusal_of(refused)
            case Reply() as reply:
                if self._cache is not None:
                    reply = msgspec.structs.replace(reply, usage=_counted(self._cache, body, reply))
                headers = {"content-type": reply.content_type, "x-request-id": "req_strict"}
                return await self._loopback.stream(request, self._played(reply, str(body["model"])), headers)

    def _meant(self, body: dict[str, Any]) -> dict[str, Any]:
        """Returns the request with the name of its model in place of that of a deployment."""
        model = self._deployments.get(str(body.get("model")))
        return body if model is None else body | {"model": model}

    def _next_step(self, body: dict[str, Any]) -> Step:
        if self._script is not None:
            return self._script(body)
        if not self._steps:
            return Refused(status=500, message="The script of this server has no more steps.")
        return self._steps.popleft()

    async def _played(self, reply: Reply, model: str) -> AsyncIterator[bytes]:
        if reply.raw is not None:
            yield reply.raw
            return
        events = _events(reply, model, f"chatcmpl-{next(self._numbers)}", self._numbers)
        for sent, event in enumerate(events):
            if reply.hold is not None and sent == reply.hold_after:
                await reply.hold.wait()
            if sent == reply.cut_after:
                if reply.error is None:
                    raise Broken
                yield b"data: %b\n\n" % msgspec.json.encode({"error": reply.error})
                return
            yield b"data: %b\n\n" % event
            if reply.pause_s:
                await asyncio.sleep(reply.pause_s)


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


async def body_of(request: web.Request, key: str) -> dict[str, Any] | Refused:
    """Returns the body of a request to OpenAI, or how a wrong key or no JSON is refused."""
    if (refused := key_refusal(request, key)) is not None:
        return refused
    try:
        return msgspec.json.decode(await request.read(), type=dict[str, Any])
    except msgspec.MsgspecError as error:
        message = f"We could not parse the JSON body of your request: {error}"
        return Refused(status=400, message=message, kind="invalid_request_error")


def key_refusal(request: web.Request, key: str) -> Refused | None:
    """Returns how a request without the key is refused; `None` if it has it."""
    # Azure takes its keys in a header of its own.
    said = request.headers.get("authorization", "").removeprefix("Bearer ") or request.headers.get("api-key", "")
    if said == key:
        return None
    message = f"Incorrect API key provided: {said}. You can find your API key at https://platform.openai.com."
    return Refused(status=401, message=message, kind="invalid_request_error", code="invalid_api_key")


def refusal_of(refused: Refused) -> web.Response:
    """Returns the answer with the error."""
    error = {"message": refused.message, "type": refused.kind, "param": None, "code": refused.code}
    return web.Response(
        status=refused.status,
        body=msgspec.json.encode({"error": error}) if refused.body is None else refused.body,
        headers={"content-type": "application/json", "x-request-id": "req_strict"} | refused.headers,
        reason=HTTPStatus(refused.status).phrase if refused.status in set(HTTPStatus) else "Refused",
    )
