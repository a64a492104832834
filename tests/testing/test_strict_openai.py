"""The strict double of Chat Completions: it refuses what the API refuses, and plays what its script says."""

from __future__ import annotations

import copy
from typing import Any

import aiohttp
import pytest

from greenroom.testing.strict_openai import Refused, Reply, ReplyCall, StrictOpenAI, refusals

TOOL = {"type": "function", "function": {"name": "roll", "parameters": {"type": "object"}}}


def body(**changes: Any) -> dict[str, Any]:
    """Returns a request without a fault but `changes`; `...` takes a field away."""
    changed = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]} | changes
    return {name: value for name, value in changed.items() if value is not ...}


def call(call_id: Any = "1", name: Any = "roll", arguments: Any = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def asked(*calls: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def answered(call_id: str = "1", **fields: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "4"} | fields


USER = {"role": "user", "content": "Hi"}
PNG = {"type": "image_url", "image_url": {"url": "data:image/png;base64,cG5n"}}


@pytest.mark.parametrize(
    "request_body",
    [
        body(),
        body(stream=True, stream_options={"include_usage": True}, temperature=0.5, max_tokens=5, stop=["a"], top_p=1),
        body(tools=[TOOL], parallel_tool_calls=False, tool_choice="auto"),
        body(messages=[USER, asked(call("1"), call("2")), answered("2"), answered("1"), {"role": "assistant", "content": "4"}, USER]),
        body(messages=[{"role": "system", "content": "S"}, {"role": "user", "content": [{"type": "text", "text": "Look"}, PNG]}]),
        body(model="o3", max_completion_tokens=5, reasoning_effort="low", temperature=1),
        body(model="gpt-5.2", reasoning_effort="none"),
        body(model="llama3", reasoning_effort="minimal", stop="x"),
        body(model="deepseek-chat", messages=[USER, asked(call()) | {"reasoning_content": ""}, answered()]),
    ],
)  # fmt: skip
def test_good_requests_pass(request_body: dict[str, Any]) -> None:
    assert refusals(copy.deepcopy(request_body)) == []


@pytest.mark.parametrize(
    ("request_body", "said"),
    [
        (body(model=...), "model parameter"),
        (body(model="gemini-3-pro", messages=[USER, asked(call()), answered()]), "thought_signature"),
        (body(model="kimi-k2.5", messages=[USER, asked(call()), answered()]), "reasoning_content is missing"),
        (body(messages=[]), "too short"),
        (body(messages=[USER, {"role": "assistant", "content": "A"}] * 1100), "too long"),
        (body(thinking_budget_tokens=5), "Unrecognized request argument supplied: thinking_budget_tokens"),
        (body(stream_options={}), "'stream_options'"),
        (body(temperature=3), "'temperature'"),
        (body(top_p="x"), "'top_p'"),
        (body(max_tokens=0), "'max_tokens'"),
        (body(max_tokens=1, max_completion_tokens=1), "at the same time"),
        (body(stop=["1", "2", "3", "4", "5"]), "'stop'"),
        (body(stop=[]), "'stop'"),
        (body(prompt_cache_key="x" * 65), "'prompt_cache_key'"),
        (body(parallel_tool_calls=True), "only allowed when 'tools'"),
        (body(reasoning_effort="low"), "reasoning_effort"),
        (body(model="o3", max_tokens=5), "'max_tokens' is not supported"),
        (body(model="gpt-5", temperature=0.5), "'temperature' is not supported"),
        (body(model="gpt-5-mini", top_p=0.5), "'top_p' is not supported"),
        (body(model="o4-mini", stop="x"), "'stop' is not supported"),
        (body(model="o3", tools=[TOOL], parallel_tool_calls=True), "'parallel_tool_calls' is not supported"),
        (body(model="o3", reasoning_effort="minimal"), "does not support 'minimal'"),
        (body(model="gpt-5", reasoning_effort="none"), "does not support 'none'"),
        (body(model="gpt-5.2", reasoning_effort="minimal"), "does not support 'minimal'"),
        (body(tools=[]), "'tools'"),
        (body(tools=[TOOL] * 129), "'tools'"),
        (body(tools=[TOOL, TOOL]), "occurs twice"),
        (body(tools=[{"name": "roll"}]), "tools[0].function"),
        (body(tools=[{"type": "function", "function": {"name": "a.b"}}]), "does not match pattern"),
        (body(tools=[{"type": "function", "function": {"name": "f", "description": "x" * 1025}}]), "maximum length 1024"),
        (body(tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "string"}}}]), "JSON Schema"),
        (body(messages=[{"role": "bot", "content": "x"}]), "'bot'"),
        (body(messages=[USER | {"id": "x"}]), "'id' was unexpected"),
        (body(messages=[USER, {"role": "assistant", "content": "A", "reasoning_content": "x"}]), "'reasoning_content' was"),
        (body(messages=[{"role": "user", "content": None}]), "got null"),
        (body(messages=[USER, {"role": "assistant", "content": None}]), "got null"),
        (body(messages=[{"role": "user", "content": ""}]), "must not be empty"),
        (body(messages=[{"role": "user", "content": []}]), "not empty"),
        (body(messages=[{"role": "user", "content": [{"type": "text", "text": ""}]}]), "must not be empty"),
        (body(messages=[{"role": "user", "content": [{"type": "image"}]}]), "'image'"),
        (body(messages=[{"role": "system", "content": [PNG]}]), "'image_url'"),
        (body(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/tiff;base64,cG5n"}}]}]), "unsupported image"),
        (body(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,cG5"}}]}]), "unsupported image"),
        (body(messages=[{"role": "user", "content": [{"type": "file", "file": {"file_data": "data:a/b;base64,cG5n"}}]}]), "file name"),
        (body(messages=[{"role": "user", "content": [{"type": "input_audio"}]}]), "audio formats"),
        (body(messages=[USER, asked()]), "too short"),
        (body(messages=[USER, asked({"id": "1"}), answered()]), "tool_calls[0]"),
        (body(messages=[USER, asked(call("x" * 41)), answered("x" * 41)]), "1 to 40 characters"),
        (body(messages=[USER, asked(call("")), answered("")]), "1 to 40 characters"),
        (body(messages=[USER, asked(call(name="a b")), answered()]), "does not match pattern"),
        (body(messages=[USER, asked(call(arguments={"a": 1})), answered()]), "text of a JSON object"),
        (body(messages=[USER, asked(call(arguments='{"a": ')), answered()]), "text of a JSON object"),
        (body(messages=[USER, asked(call(arguments="[]")), answered()]), "text of a JSON object"),
        (body(messages=[USER, asked(call()), USER]), "did not have response messages: 1"),
        (body(messages=[USER, asked(call())]), "did not have response messages: 1"),
        (body(messages=[USER, asked(call("1"), call("2")), answered("2")]), "did not have response messages: 1"),
        (body(messages=[USER, asked(call()), answered(), answered()]), "Duplicate value for 'tool_call_id'"),
        (body(messages=[USER, answered()]), "must be a response to a preceeding message"),
        (body(messages=[USER, asked(call(), call()), answered(), answered()]), "Duplicate call_ids"),
        (body(messages=[USER, USER]), "must alternate"),
        (body(model="deepseek-chat", messages=[USER, asked(call()), answered()]), "reasoning_content"),
    ],
)  # fmt: skip
def test_bad_requests_are_refused(request_body: dict[str, Any], said: str) -> None:
    assert any(said in refusal for refusal in refusals(copy.deepcopy(request_body)))


# --- the server ---------------------------------------------------------------------------------------------------------


async def post(server: StrictOpenAI, payload: Any, *, key: str | None = None) -> tuple[int, dict[str, str], bytes]:
    headers = {"authorization": f"Bearer {server.key if key is None else key}"}
    async with aiohttp.ClientSession() as session:
        data = payload if isinstance(payload, bytes) else None
        json = None if data is not None else payload
        async with session.post(
            f"{server.base_url}/chat/completions", data=data, json=json, headers=headers
        ) as response:
            return (
                response.status,
                {name.lower(): value for name, value in response.headers.items()},
                await response.read(),
            )


async def test_it_plays_its_script() -> None:
    reply = Reply(text="Hello!", reasoning="Hm.", calls=(ReplyCall("f", '{"a": 1}', "x"), ReplyCall("g")))
    async with StrictOpenAI([reply, Refused(status=429, message="slow", headers={"retry-after": "2"})]) as server:
        status, headers, stream = await post(server, body())
        assert (status, headers["content-type"]) == (200, "text/event-stream")
        assert stream.endswith(b"data: [DONE]\n\n")
        assert b'"content":"Hello"' in stream
        assert b'"reasoning_content":"Hm."' in stream
        assert b'"finish_reason":"tool_calls"' in stream
        status, headers, stream = await post(server, body())
        assert (status, headers["retry-after"]) == (429, "2")
        assert b'"message":"slow"' in stream
        assert (await post(server, body()))[0] == 500
    assert len(server.bodies) == 3


async def test_it_refuses_bad_requests_without_using_up_the_script() -> None:
    async with StrictOpenAI([Reply(text="Hello!")]) as server:
        assert (await post(server, body(), key="sk-wrong"))[0] == 401
        status, _, said = await post(server, body(temperature=9))
        assert status == 400
        assert b"Invalid 'temperature'" in said
        assert (await post(server, b"{broken"))[0] == 400
        assert (await post(server, body()))[0] == 200
    assert len(server.refused) == 1
    assert server.bodies == [body()]


async def test_a_function_can_be_its_script() -> None:
    async with StrictOpenAI(lambda request: Reply(text=f"{len(request['messages'])} messages")) as server:
        assert b'"content":"1 mes"' in (await post(server, body()))[2]


async def test_faults() -> None:
    replies = [
        Reply(text="Hello!", cut_after=2),
        Reply(text="Hello!", cut_after=2, error={"message": "no"}),
        Reply(raw=b"<html>", content_type="text/html"),
        Reply(text="Hello!", has_done=False, usage={}, finish_reason="length", pause_s=0.001),
    ]
    async with StrictOpenAI(replies) as server:
        with pytest.raises(aiohttp.ClientPayloadError):
            await post(server, body())
        assert (await post(server, body()))[2].endswith(b'data: {"error":{"message":"no"}}\n\n')
        _, headers, said = await post(server, body())
        assert (headers["content-type"], said) == ("text/html", b"<html>")
        said = (await post(server, body()))[2]
        assert b"[DONE]" not in said
        assert b'"finish_reason":"length"' in said
