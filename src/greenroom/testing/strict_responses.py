"""A server that speaks OpenAI's Responses API and enforces its rules: for tests of everything that talks to such a server.

::

    async with StrictResponses([[Think("A die."), Call("roll", {})], "A four."]) as server:
        backend = OpenAIResponsesBackend(api_key=server.key, base_url=server.base_url)
        ...
    assert not server.refused

A script is a sequence of answers, one per request in the order of their arrival, or a function from a request's body to its
answer. An answer is a text, a cue or a sequence of cues; the cues that every provider could play are those of
`greenroom.backends.scripted` (`Say`, `Think`, `Refuse`, `Call`, `Gate`, `Pause`, `Cut`), those of this one stand here.

A request that breaks a rule of `strict_responses_rules`, or of the state that only a server has (which reasoning it gave out, before
which items), is answered as the API does, with status 400; it uses up no answer.

Rule: the shape on the wire is that of recorded answers. A shortcut here would hide a fault of the decoder.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Self

import msgspec
from aiohttp import web

from greenroom.backends.scripted import Call, Cut, Gate, Pause, Refuse, Say, Think
from greenroom.testing.loopback import Broken, Loopback
from greenroom.testing.prompt_cache import PromptCache, tokens
from greenroom.testing.strict_openai import Refused, body_of, refusal_of
from greenroom.testing.strict_responses_rules import ENCRYPTED, items_of, refusals, type_of

_DELTA_CHARACTERS: Final = 5
_USAGE: Final = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 15,
}


class Output(msgspec.Struct, frozen=True):
    """An output item as it is, for example of a provider's own tool."""

    item: Mapping[str, Any]


class Incomplete(msgspec.Struct, frozen=True):
    """The response ends before it is complete. Always the last cue."""

    reason: str = "max_output_tokens"


class Failed(msgspec.Struct, frozen=True):
    """The response fails: `response.failed`. Always the last cue."""

    code: str
    message: str = "scripted"


class ErrorEvent(msgspec.Struct, frozen=True):
    """An `error` event in the middle of the stream, which ends there. Always the last cue."""

    code: str
    message: str = "scripted"


class Reset(msgspec.Struct, frozen=True):
    """The connection breaks, as when a machine on the way dies. Always the last cue."""


class Bytes(msgspec.Struct, frozen=True):
    """Bytes of the stream as they are: for what no API should send."""

    data: bytes


Cue = (
    Say
    | Think
    | Refuse
    | Call
    | Gate
    | Pause
    | Cut
    | Refused
    | Output
    | Incomplete
    | Failed
    | ErrorEvent
    | Reset
    | Bytes
)
Answer = str | Cue | Sequence[Cue]
Script = Sequence[Answer] | Callable[[dict[str, Any]], Answer]


class _Given(msgspec.Struct, kw_only=True):
    """The output of one answer, and who gave it."""

    model: str
    items: list[dict[str, Any]] = []


class StrictResponses:
    """The server. An async context manager: entering starts it on a free port of 127.0.0.1, leaving stops it.

    Attributes:
        key: the one key that it accepts.
        gives_summaries: whether the key's organisation is verified: others are refused summaries of the reasoning.
        bodies: the requests that kept the rules, in the order of their arrival.
        headers: of all requests, with lower-case names.
        refused: what was wrong with those that did not.
        turned_away: the requests that `refuses` did not like.
        left: set each time a client leaves in the middle of an answer.
    """

    def __init__(
        self,
        script: Script = (),
        *,
        key: str = "sk-strict-test-key",
        gives_summaries: bool = True,
        counts_usage: bool = False,
        loopback: Loopback | None = None,
        prefix: str = "/v1",
        deployments: Mapping[str, str] | None = None,
        refuses: Callable[[dict[str, Any]], Refused | None] | None = None,
    ) -> None:
        """Takes the script.

        Args:
            script: played answer by answer, one per request; or it is asked for the answer, with the request's body.
            key: see above.
            gives_summaries: see above.
            counts_usage: the input, and what of it was sent before, is counted; else every usage is the same.
            loopback: the server that it is a part of; `None` for one of its own.
            prefix: what its paths begin with.
            deployments: models under names of their users' own.
            refuses: see `StrictOpenAI`.
        """
        self.key = key
        self._refuses = refuses
        self.gives_summaries = gives_summaries
        self.bodies: list[dict[str, Any]] = []
        self.refused: list[str] = []
        self.turned_away: list[dict[str, Any]] = []
        self._loopback = Loopback() if loopback is None else loopback
        self._loopback.route("POST", f"{prefix}/responses", self._serve)
        self._prefix = prefix
        self._deployments = dict(deployments or {})
        self.headers = self._loopback.headers
        self.left = self._loopback.left
        self._cache = PromptCache() if counts_usage else None
        self._script = script
        self._answered = 0
        self._numbers = 0
        self._given: list[_Given] = []

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

    def forget(self) -> None:
        """Makes everything that was given out unreadable, as when the key belongs to another organisation from here on."""
        self._given.clear()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request, self.key)
        if isinstance(body, Refused):
            return refusal_of(body)
        if broken := refusals(self._meant(body)) or list(self._stale(body)):
            self.refused += broken
            return refusal_of(Refused(status=400, message=" ".join(broken), kind="invalid_request_error"))
        if self._refuses is not None and (refused := self._refuses(body)) is not None:
            self.turned_away.append(body)
            return refusal_of(refused)
        self.bodies.append(body)
        cues = self._next(body)
        if cues and isinstance(cues[0], Refused):
            return refusal_of(cues[0])
        return await self._loopback.stream(request, self._played(cues, body))

    def _meant(self, body: dict[str, Any]) -> dict[str, Any]:
        """Returns the request with the name of its model in place of that of a deployment."""
        model = self._deployments.get(str(body.get("model")))
        return body if model is None else body | {"model": model}

    def _next(self, body: dict[str, Any]) -> Sequence[Cue]:
        answer: Answer
        if callable(self._script):
            answer = self._script(body)
        elif self._answered < len(self._script):
            answer = self._script[self._answered]
        else:
            answer = Refused(status=500, message="The script of this server has no more answers.")
        self._answered += 1
        if isinstance(answer, str):
            return (Say(answer),)
        return (answer,) if isinstance(answer, Cue) else answer

    # --- the state that a request must fit ------------------------------------------------------------------------------

    def _stale(self, body: dict[str, Any]) -> Iterator[str]:
        """Errors "The encrypted content ... could not be verified.", "... required following item.", "... required 'reasoning' item"."""
        if not self.gives_summaries and (body.get("reasoning") or {}).get("summary"):
            yield "Your organization must be verified to generate reasoning summaries."
        items = items_of(body)
        for place, item in enumerate(items):
            if type_of(item) == "reasoning":
                given, number = self._found(item)
                if given is None or given.model != body["model"]:
                    shown = str(item.get("encrypted_content"))[:8]
                    yield f"The encrypted content {shown}... could not be verified."
                elif place + 1 == len(items) or not _is_same(items[place + 1], given.items[number + 1]):
                    yield f"Item '{item['id']}' of type 'reasoning' was provided without its required following item."
            elif "id" in item:
                yield from self._led_to(item, items[:place])

    def _led_to(self, item: dict[str, Any], before: Sequence[dict[str, Any]]) -> Iterator[str]:
        given, number = self._found(item)
        if given is None:
            return
        thought = next((each for each in reversed(given.items[:number]) if each["type"] == "reasoning"), None)
        if thought is not None and all(each.get("id") != thought["id"] for each in before):
            kind = type_of(item)
            yield f"Item '{item['id']}' of type '{kind}' was provided without its required 'reasoning' item: '{thought['id']}'."

    def _found(self, item: Mapping[str, Any]) -> tuple[_Given | None, int]:
        for given in self._given:
            for number, each in enumerate(given.items):
                is_it = each["id"] == item.get("id")
                if is_it and each.get("encrypted_content") == item.get("encrypted_content"):
                    return given, number
        return None, 0

    # --- the answer -----------------------------------------------------------------------------------------------------

    async def _played(self, cues: Sequence[Cue], body: Mapping[str, Any]) -> AsyncIterator[bytes]:
        given = _Given(model=str(body["model"]))
        self._given.append(given)
        events = _Events(f"resp_{self._answered:04}", given.model)
        usage = _USAGE if self._cache is None else _counted(self._cache, body)
        yield events.of_response("response.created", "in_progress")
        yield events.of_response("response.in_progress", "in_progress")
        for number, cue in enumerate(cues):
            match cue:
                case Say() | Think() | Refuse() | Call() | Output():
                    item = self._item(cue, body)
                    given.items.append(item)
                    told = [*events.of_item(len(given.items) - 1, item, _pieces_of(cue))]
                    # An answer that breaks off does so within an item: if all of its items are whole, only its end is lost.
                    is_cut = any(isinstance(following, Cut | Reset) for following in cues[number + 1 : number + 2])
                    for event in told[:-1] if is_cut else told:
                        yield event
                case Pause():
                    await asyncio.sleep(cue.seconds)
                case Gate():
                    await cue.pass_through()
                case Bytes():
                    yield cue.data
                case ErrorEvent():
                    yield events.event("error", code=cue.code, message=cue.message, param=None)
                    return
                case Failed():
                    error = {"code": cue.code, "message": cue.message}
                    yield events.of_response("response.failed", "failed", output=given.items, error=error)
                    return
                case Incomplete():
                    details = {"reason": cue.reason}
                    yield events.of_response(
                        "response.incomplete",
                        "incomplete",
                        output=given.items,
                        incomplete_details=details,
                        usage=usage,
                    )
                    return
                case Cut():
                    return
                case Reset():
                    raise Broken
                case Refused():
                    raise AssertionError("a Refused is the only cue of its answer")
        yield events.of_response("response.completed", "completed", output=given.items, usage=usage)

    def _item(self, cue: Say | Think | Refuse | Call | Output, body: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the output item of a cue, whole."""
        self._numbers += 1
        digest = hashlib.sha256(f"{self._answered}/{self._numbers}".encode()).hexdigest()
        text = "".join(_pieces_of(cue))
        match cue:
            case Say():
                content: dict[str, Any] = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
                return _message(f"msg_{digest[:40]}", content)
            case Refuse():
                return _message(f"msg_{digest[:40]}", {"type": "refusal", "refusal": text})
            case Think():
                has_summary = bool((body.get("reasoning") or {}).get("summary")) and text
                item = {
                    "id": f"rs_{digest[:40]}",
                    "type": "reasoning",
                    "summary": [{"type": "summary_text", "text": text}] if has_summary else [],
                }
                return item | ({"encrypted_content": f"gAAAA{digest}"} if ENCRYPTED in body.get("include", ()) else {})
            case Call():
                return {
                    "id": f"fc_{digest[:40]}",
                    "type": "function_call",
                    "status": "completed",
                    "arguments": text,
                    "call_id": f"call_{digest[:24]}" if cue.call_id is None else cue.call_id,
                    "name": cue.name,
                }
            case Output():
                return {"id": f"out_{digest[:40]}", **cue.item}


def _counted(cache: PromptCache, body: Mapping[str, Any]) -> dict[str, Any]:
    beginning = [str(body["model"]), str(body.get("instructions", "")), *map(str, body.get("tools", ()))]
    pieces = [*beginning, *map(str, body["input"])]
    details = {"input_tokens_details": {"cached_tokens": cache.automatic(pieces), "cache_write_tokens": 0}}
    return _USAGE | {"input_tokens": tokens(pieces)} | details


class _Events:
    """The events of one response, numbered."""

    def __init__(self, response_id: str, model: str) -> None:
        self._response = {
            "id": response_id,
            "object": "response",
            "created_at": 1_700_000_000,
            "model": model,
            "error": None,
            "incomplete_details": None,
            "output": [],
            "usage": None,
        }
        self._number = 0

    def event(self, kind: str, **fields: Any) -> bytes:
        """Returns one event."""
        data = msgspec.json.encode({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1
        return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"

    def of_response(self, kind: str, status: str, **fields: Any) -> bytes:
        """Returns an event about the response as a whole."""
        return self.event(kind, response=self._response | {"status": status} | fields)

    def of_item(self, index: int, item: dict[str, Any], pieces: Sequence[str]) -> Iterator[bytes]:
        """Yields the events of an output item."""
        kind, item_id = item["type"], item["id"]
        at = {"item_id": item_id, "output_index": index}
        begun: dict[str, dict[str, Any]] = {
            "message": {"content": []},
            "reasoning": {"summary": []},
            "function_call": {"arguments": ""},
        }
        status = {"status": "in_progress"} if "status" in item else {}
        yield self.event("response.output_item.added", output_index=index, item=item | begun.get(kind, {}) | status)
        match kind:
            case "message":
                [content] = item["content"]
                name = "text" if content["type"] == "output_text" else "refusal"
                stem = "response.output_text" if name == "text" else "response.refusal"
                at["content_index"] = 0
                yield self.event("response.content_part.added", **at, part=content | {name: ""})
                for piece in pieces:
                    yield self.event(f"{stem}.delta", **at, delta=piece)
                yield self.event(f"{stem}.done", **at, **{name: content[name]})
                yield self.event("response.content_part.done", **at, part=content)
            case "reasoning" if item["summary"]:
                at["summary_index"] = 0
                [summary] = item["summary"]
                yield self.event("response.reasoning_summary_part.added", **at, part=summary | {"text": ""})
                for piece in pieces:
                    yield self.event("response.reasoning_summary_text.delta", **at, delta=piece)
                yield self.event("response.reasoning_summary_text.done", **at, text=summary["text"])
                yield self.event("response.reasoning_summary_part.done", **at, part=summary)
            case "function_call":
                for piece in pieces:
                    yield self.event("response.function_call_arguments.delta", **at, delta=piece)
                yield self.event("response.function_call_arguments.done", **at, arguments=item["arguments"])
            case _:
                pass
        yield self.event("response.output_item.done", output_index=index, item=item)


def _message(item_id: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"id": item_id, "type": "message", "status": "completed", "role": "assistant", "content": [content]}


def _pieces_of(cue: Say | Think | Refuse | Call | Output) -> Sequence[str]:
    match cue:
        case Output():
            return ()
        case Call(arguments=Mapping() as arguments):
            return _cut(msgspec.json.encode(arguments).decode())
        case Call(arguments=text) | Say(text=text) | Think(text=text) | Refuse(text=text):
            return _cut(text) if isinstance(text, str) else [*text]


def _cut(text: str) -> Sequence[str]:
    return [text[start : start + _DELTA_CHARACTERS] for start in range(0, len(text), _DELTA_CHARACTERS)]


def _is_same(item: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Whether an input item is the output item that was given out: by its id, or by what stands in for it."""
    name = "id" if "id" in item else "call_id" if given["type"] == "function_call" else "type"
    return bool(item.get("type") == given["type"] and item.get(name) == given[name])
