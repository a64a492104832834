"""Providers that fail on a real connection, in every dialect: the turn ends once, what was said stays, the session goes on.

The whole way, from the socket to the front end. What each failure is called is tested beside the transports and decoders.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import pytest

from backends.test_damage import DIALECTS, Dialect
from backends.wire import END, EVENTS, HANG, Wire, chunked, head, serve
from contract.conftest import OpenStage, in_memory
from contract.reading import FrontEnd, Json, checked_run
from contract.stage import Stage
from greenroom import Toolset

KINDS: Final = {"openai-chat": "openai", "anthropic-messages": "claude", "openai-responses": "openai-responses"}
LIMITS: Final = {"stream_idle_s_max": 0.3, "retry_base_s": 0.001, "attempts_max": 1, "retries_max": 3}

Fault = Sequence[bytes]


class Case(msgspec.Struct, frozen=True):
    """What a provider does.

    Attributes:
        faults: its answers, one after the other; `None` for a whole one.
        code: with which the turn fails; empty if it does not.
        keeps: whether what was said before it failed is there afterwards.
    """

    faults: tuple[str | None, ...]
    code: str = ""
    keeps: bool = False


CASES: Final = {
    "silence": Case(("hang",) * 4, "backend_unavailable"),
    "silence in the middle": Case(("hang later", "hang later"), "backend_unavailable", keeps=True),
    "reset": Case(("reset",) * 4, "backend_unavailable"),
    "reset in the middle": Case(("reset later", "reset later"), "backend_garbled", keeps=True),
    "reset in the middle, once": Case(("reset later", None)),
    "a byte at a time": Case(("trickle",)),
    "silence, once": Case(("hang", None)),
    "garbage": Case(("garbage",) * 2, "backend_garbled"),
    "garbage in the middle": Case(("garbage later",) * 2, "backend_garbled", keeps=True),
    "HTML with status 200": Case(("html",) * 2, "backend_garbled"),
    "JSON that is cut off": Case(("truncated",) * 2, "backend_garbled", keeps=True),
    "packed without saying so": Case(("gzip",) * 2, "backend_garbled"),
    "429 for a while": Case(("429", "429", "429", None)),
    "429 for too long": Case(("429",) * 4, "backend_unavailable"),
    "500 for a while": Case(("500", "503", "502", None)),
    "500 for ever": Case(("500",) * 4, "backend_unavailable"),
    "400": Case(("400",), "backend_rejected"),
    "401": Case(("401",), "backend_unauthorized"),
}


def answer(dialect: Dialect, fault: str | None) -> bytes | list[bytes]:
    """What goes over the wire."""
    # An answer that calls nothing: the tool loop has tests of its own.
    events = plain(dialect)
    written = dialect.written(events)
    begun = dialect.written(events[: dialect.first_text + 1]).replace(b"data: [DONE]\n\n", b"")
    match fault:
        case None:
            return [EVENTS, chunked(written), END]
        case "hang":
            return HANG
        case "hang later":
            return [EVENTS, chunked(begun), HANG]
        case "reset":
            return b""
        case "reset later":
            return [EVENTS, chunked(begun)]
        case "trickle":
            return [EVENTS, *(chunked(written[i : i + 1]) for i in range(len(written))), END]
        case "garbage":
            return [EVENTS, chunked(bytes(range(256)) * 9), END]
        case "garbage later":
            return [EVENTS, chunked(begun + b"data: \xff\xfe{]\n\n"), END]
        case "html":
            return [head(content_type="text/html", content_length="25"), b"<html>Bad Gateway!</html>"]
        case "truncated":
            return [EVENTS, chunked(begun + b'data: {"choices": [{"delta"\n\n'), END]
        case "gzip":
            return [EVENTS, chunked(gzip.compress(written)), END]
        case "429":
            return refusal("429 Too Many Requests", retry_after="0")
        case status:
            return refusal(f"{status} Whatever")


def plain(dialect: Dialect) -> list[dict[str, Any]]:
    events = [event for event in dialect.events if "function" not in str(event) and "tool_use" not in str(event)]
    ends = {"openai-chat": "tool_calls", "anthropic-messages": "tool_use"}
    last = [event for event in dialect.events if ends.get(dialect.folder, "-") in str(event) and "index" in str(event)]
    if dialect.folder == "openai-chat":
        finish = json.loads(json.dumps(last[-1]).replace("tool_calls", "stop"))
        return [event for event in events if "tool_calls" not in str(event)] + [finish]
    if dialect.folder == "anthropic-messages":
        events = [event for event in events if event.get("index") != 1]
        stop = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}
        return [*events[:-1], stop, events[-1]]
    return events


def refusal(status: str, **headers: str) -> bytes:
    body = json.dumps({"error": {"type": "x", "code": "x", "message": "said the provider"}}).encode()
    return head(status, content_type="application/json", content_length=str(len(body)), **headers) + body


def shown(events: Sequence[Json]) -> str:
    return FrontEnd().apply_all([json.dumps(event) for event in events]).said()


async def asking(
    open_stage: OpenStage, dialect: Dialect, wire: Wire, *, toolsets: Sequence[Toolset] = (), **settings: Any
) -> tuple[Stage, str]:
    base_url = wire.base_url.removesuffix("/v1") if dialect.folder == "anthropic-messages" else wire.base_url
    backend = {"kind": KINDS[dialect.folder], "base_url": base_url, "api_key": "a-key", "model": "m"}
    stage = open_stage(config={"backends": {"faulty": backend}, "limits": LIMITS}, toolsets=list(toolsets))
    return stage, await stage.session(backend="faulty", llm_model="m", **settings)


@in_memory
@pytest.mark.parametrize("dialect", DIALECTS, ids=[dialect.folder for dialect in DIALECTS])
@pytest.mark.parametrize("name", CASES)
async def test_a_provider_that_fails(open_stage: OpenStage, dialect: Dialect, name: str) -> None:
    case = CASES[name]
    answers = [answer(dialect, fault) for fault in case.faults]
    async with serve(*answers, answer(dialect, None)) as wire:
        stage, session_id = await asking(open_stage, dialect, wire)
        async with asyncio.timeout(20):
            events = checked_run([event async for event in stage.manager.stream_response(session_id, "Hi")])
            last = events[-1]
            assert last.get("code", "") == case.code, last
            if case.code:
                assert last["message"]
                history = await stage.manager.history(session_id)
                kept = "".join(message.text for message in history if message.role == "assistant")
                assert kept == ("Hello" if case.keeps else "")
            else:
                assert shown(events) == "Hello you"
            # The next turn is one that the provider takes: nothing half is sent, and nothing is asked twice.
            again = checked_run([event async for event in stage.manager.stream_response(session_id, "And now?")])
            assert shown(again) == "Hello you"
        assert len(wire.bodies) == len(case.faults) + 1
        sent = json.loads(wire.bodies[-1])
        said = json.dumps(sent.get("messages") or sent["input"])
        assert said.count("And now?") == 1
        assert '"text": ""' not in said
        await asyncio.wait_for(wire.left.wait(), 5)


@in_memory
@pytest.mark.parametrize("dialect", DIALECTS, ids=[dialect.folder for dialect in DIALECTS])
async def test_a_provider_that_is_not_there(open_stage: OpenStage, dialect: Dialect) -> None:
    async with serve() as wire:
        stage, session_id = await asking(open_stage, dialect, wire)
    events = checked_run([event async for event in stage.manager.stream_response(session_id, "Hi")])
    assert (events[-1]["type"], events[-1]["code"]) == ("RUN_ERROR", "backend_unavailable")


WHOLE: Final[dict[str, Json]] = {
    "openai-chat": {"object": "chat.completion", "choices": [{"message": {"content": "Hello you"}, "finish_reason": "stop"}]},
    "anthropic-messages": {"type": "message", "content": [{"type": "text", "text": "Hello you"}], "stop_reason": "end_turn"},
    "openai-responses": {"object": "response", "status": "completed", "output": [{"type": "message", "id": "m", "status": "completed", "role": "assistant", "content": [{"type": "output_text", "text": "Hello you"}]}]},
}  # fmt: skip


@in_memory
@pytest.mark.parametrize("dialect", DIALECTS, ids=[dialect.folder for dialect in DIALECTS])
async def test_a_server_that_does_not_stream_is_understood(open_stage: OpenStage, dialect: Dialect) -> None:
    """A sibling of P19: a gateway that ignores `stream`. Asked three times, and failed, though each answer was paid for."""
    body = json.dumps(WHOLE[dialect.folder], indent=2).encode()
    one = head(content_type="application/json", content_length=str(len(body))) + body
    async with serve(one, one) as wire:
        stage, session_id = await asking(open_stage, dialect, wire)
        for message in ("Hi", "And now?"):
            events = checked_run([event async for event in stage.manager.stream_response(session_id, message)])
            assert shown(events) == "Hello you"
        assert len(wire.bodies) == 2
    assert stage.data(session_id)["usage"]["estimated"] is True, "it does not say what it has used"


@in_memory
@pytest.mark.parametrize("end", ["closed", "broken"])
async def test_responses_that_lose_only_their_end_are_paid_for_once(open_stage: OpenStage, end: str) -> None:
    """A sibling of P8 (esengine/DeepSeek-Reasonix#8756): a whole answer, asked and paid for three times, and then failed."""
    dialect = next(dialect for dialect in DIALECTS if dialect.folder == "openai-responses")
    message = WHOLE[dialect.folder]["output"][0]
    done = {"type": "response.output_item.done", "output_index": 0, "item": message}
    written = chunked(dialect.written([*dialect.events[:4], done]))
    answers = [[EVENTS, written, END] if end == "closed" else [EVENTS, written] for _ in range(2)]
    async with serve(*answers) as wire:
        stage, session_id = await asking(open_stage, dialect, wire)
        for text in ("Hi", "And now?"):
            events = checked_run([event async for event in stage.manager.stream_response(session_id, text)])
            assert shown(events) == "Hello you"
            assert events[-1]["outcome"] == {"type": "success"}
            assert not [event for event in events if event["type"] == "CUSTOM"], "there is nothing to tell"
        assert len(wire.bodies) == 2
    assert stage.data(session_id)["usage"]["estimated"] is True
