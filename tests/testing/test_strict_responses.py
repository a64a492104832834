"""The strict double of the Responses API: it refuses what the API refuses, and plays what its script says."""

from __future__ import annotations

import copy
import json
from typing import Any

import aiohttp
import pytest

from greenroom.backends.scripted import Call, Refuse, Say, Think
from greenroom.testing.strict_openai import Refused
from greenroom.testing.strict_responses import (
    Bytes,
    ErrorEvent,
    Failed,
    Incomplete,
    Output,
    StrictResponses,
)
from greenroom.testing.strict_responses_rules import refusals

TOOL = {"type": "function", "name": "roll", "parameters": {"type": "object"}, "strict": False}
STRICT = {"type": "function", "name": "roll", "parameters": {"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False}}  # fmt: skip


def body(*items: Any, **changes: Any) -> dict[str, Any]:
    """Returns a request without a fault but `changes`; `...` takes a field away."""
    changed = {"model": "gpt-5", "store": False, "stream": True, "input": list(items) or [USER]} | changes
    return {name: value for name, value in changed.items() if value is not ...}


def said(text: str = "Hi", role: str = "user", **fields: Any) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]} | fields


def shown(**content: Any) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [content]}


def call(call_id: Any = "1", **fields: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "roll", "arguments": "{}"} | fields


def output(call_id: str = "1", **fields: Any) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": "4"} | fields


def thought(**fields: Any) -> dict[str, Any]:
    return {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"} | fields


USER = said()
ANSWER = said("A", "assistant")
PNG = "data:image/png;base64,cG5n"
ENCRYPTED = ["reasoning.encrypted_content"]


@pytest.mark.parametrize(
    "request_body",
    [
        body(),
        body(input="Hello"),
        body(include=ENCRYPTED, reasoning={"effort": "minimal", "summary": "auto"}, max_output_tokens=16, instructions="Be kind."),
        body(model="gpt-4o", temperature=0.5, top_p=1, max_output_tokens=16),
        body(model="llama3", max_output_tokens=1, temperature=0, reasoning={"effort": "low"}),
        body(tools=[TOOL], parallel_tool_calls=False, tool_choice="auto"),
        body(tools=[STRICT]),
        body(USER, thought(), call("1", id="fc_1", status="completed"), call("2"), output("2"), output("1"), said("4", "assistant"), USER),
        body(USER, thought(), said("A", "assistant", id="msg_1", phase="commentary"), call(), output()),
        body(shown(type="input_image", detail="auto", image_url=PNG), ANSWER, {"role": "user", "content": "Hi"}),
        body(shown(type="input_file", filename="a.pdf", file_data="data:application/pdf;base64,cG5n")),
        body(USER, {"type": "web_search_call", "id": "ws_1", "status": "completed"}, ANSWER),
        body(USER, {"type": "tool_search_call", "call_id": None}, {"type": "tool_search_output", "call_id": None}, ANSWER),
        body(USER, thought(id="uuid", encrypted_content="", content=[{"type": "reasoning_text", "text": "x"}]), ANSWER, model="deepseek-chat"),
    ],
)  # fmt: skip
def test_good_requests_pass(request_body: dict[str, Any]) -> None:
    assert refusals(copy.deepcopy(request_body)) == []


@pytest.mark.parametrize(
    ("request_body", "words"),
    [
        (body(model=...), "'model'"),
        (body(input=[]), "must be provided"),
        (body(store=...), "stores nothing"),
        (body(stop=["x"]), "Unknown parameter: 'stop'"),
        (body(instructions=""), "'instructions'"),
        (body(include=["everything"]), "'everything'"),
        (body(model="gpt-4o", include=ENCRYPTED), "not supported with this model"),
        (body(model="gpt-4o", reasoning={"effort": "low"}), "'reasoning.effort' is not supported"),
        (body(temperature=0.5), "'temperature' is not supported"),
        (body(top_p=0.5), "'top_p' is not supported"),
        (body(model="gpt-4o", temperature=3), "'temperature'"),
        (body(max_output_tokens=15), "'max_output_tokens'"),
        (body(prompt_cache_key="x" * 65), "'prompt_cache_key'"),
        (body(reasoning={"effort": "none"}), "'none' is not supported"),
        (body(model="o3", reasoning={"effort": "minimal"}), "'minimal' is not supported"),
        (body(model="gpt-5.2", reasoning={"effort": "minimal"}), "'minimal' is not supported"),
        (body(reasoning={"summary": "long"}), "'reasoning.summary'"),
        (body(reasoning={"budget": 1}), "'reasoning'"),
        (body(tools=[]), "'tools'"),
        (body(tools=[TOOL, TOOL]), "occurs twice"),
        (body(tools=[{"type": "function", "function": TOOL}]), "'tools[0].function'"),
        (body(tools=[TOOL | {"name": "a.b"}]), "does not match pattern"),
        (body(tools=[TOOL | {"description": "x" * 1025}]), "maximum length 1024"),
        (body(tools=[TOOL | {"parameters": {"type": "string"}}]), "JSON Schema"),
        (body(tools=[{name: value for name, value in TOOL.items() if name != "strict"} | {"parameters": {"type": "object", "properties": {"a": {}}}}]), "additionalProperties"),
        (body({"type": "bot"}), "'bot'"),
        (body({"role": "assistant", "content": [{"type": "output_text", "text": "A"}]}), "unknown or missing"),
        (body(said(role="tool")), "'tool'"),
        (body(said(name="x")), "Unknown parameter: 'input[0].name'"),
        (body(said(status=None)), "got null"),
        (body(said("")), "must not be empty"),
        (body(said(content=[])), "not empty"),
        (body(USER, said(role="assistant", content="A")), "expected an array"),
        (body(shown(type="output_text", text="x")), "'output_text'"),
        (body(USER, said(role="assistant", content=[{"type": "input_text", "text": "x"}])), "'input_text'"),
        (body(USER, said("A", "assistant", phase="prologue")), "phase"),
        (body(shown(type="input_image", detail="auto", image_url="data:image/tiff;base64,cG5n")), "unsupported image"),
        (body(shown(type="input_image", image_url=PNG)), "detail"),
        (body(shown(type="input_file", file_data="data:application/pdf;base64,cG5n")), "file name"),
        (body(shown(type="input_file", filename="a", file_data="cG5n")), "data URL"),
        (body(USER, said("A", "assistant", id="call_1")), "begins with 'msg'"),
        (body(USER, call(id="call_1"), output()), "begins with 'fc'"),
        (body(USER, thought(id="x"), ANSWER), "begins with 'rs'"),
        (body(USER, said("A", "assistant", id="msg_" + "x" * 64)), "maximum length 64"),
        (body(USER, call("x" * 65), output("x" * 65)), "1 to 64 characters"),
        (body(USER, call(""), output("")), "1 to 64 characters"),
        (body(USER, call(name="a b"), output()), "does not match pattern"),
        (body(USER, call(arguments={}), output()), "text of a JSON object"),
        (body(USER, call(arguments='{"a'), output()), "text of a JSON object"),
        (body(USER, call(), output(output="")), "'input[2].output'"),
        (body(USER, call(), output(), thought(status="completed"), ANSWER), "'input[3].status'"),
        (body(USER, {"type": "reasoning", "id": "rs_1", "encrypted_content": "x"}, ANSWER), "summary"),
        (body(USER, thought(encrypted_content=""), ANSWER), "not found"),
        (body(USER, thought()), "without its required following item"),
        (body(USER, thought(), USER), "without its required following item"),
        (body(USER, call(), thought(), output()), "without its required following item"),
        (body(USER, call()), "No tool output found for function call 1"),
        (body(USER, call("1"), call("2"), output("2")), "No tool output found for function call 1"),
        (body(USER, call(), USER, output()), "No tool output found for function call 1"),
        (body(USER, output()), "No tool call found for function call output with call_id 1"),
        (body(USER, call(), output(), output()), "No tool call found"),
        (body(USER, call(), output(), call(), output()), "Duplicate call_id"),
        (body(USER, {"type": "shell_call", "id": "sh_1", "call_id": "c"}), "No tool output found for function call c"),
        (body(USER, {"type": "mcp_approval_request", "id": "mcpr_1"}, USER), "approval request"),
    ],
)  # fmt: skip
def test_bad_requests_are_refused(request_body: dict[str, Any], words: str) -> None:
    found = refusals(copy.deepcopy(request_body))
    assert any(words in refusal for refusal in found), found


# --- the server ---------------------------------------------------------------------------------------------------------


async def post(server: StrictResponses, payload: Any, *, key: str | None = None) -> tuple[int, bytes]:
    headers = {"authorization": f"Bearer {server.key if key is None else key}"}
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{server.base_url}/responses", data=data, headers=headers) as response,
    ):
        return response.status, await response.read()


def events(stream: bytes) -> list[dict[str, Any]]:
    return [json.loads(frame.partition(b"data: ")[2]) for frame in stream.strip().split(b"\n\n")]


async def output_of(server: StrictResponses, **changes: Any) -> list[dict[str, Any]]:
    status, stream = await post(server, body(include=ENCRYPTED, reasoning={"summary": "auto"}, **changes))
    assert status == 200
    items: list[dict[str, Any]] = events(stream)[-1]["response"]["output"]
    return items


async def test_it_plays_its_script() -> None:
    async with StrictResponses([[Think("Hm, well."), Say("Hello!"), Refuse("No."), Call("f", {"a": 1}, "x"), Output({"type": "odd"})]]) as server:  # fmt: skip
        status, stream = await post(server, body(include=ENCRYPTED, reasoning={"summary": "auto"}))
    played = events(stream)
    assert status == 200
    assert [event["sequence_number"] for event in played] == list(range(len(played)))
    kinds = [event["type"].removeprefix("response.") for event in played]
    assert kinds[:3] == ["created", "in_progress", "output_item.added"]
    assert kinds.count("output_item.added") == kinds.count("output_item.done") == 5
    assert kinds[-1] == "completed"
    deltas = {
        kind: "".join(event["delta"] for event in played if event["type"] == f"response.{kind}.delta")
        for kind in ("reasoning_summary_text", "output_text", "refusal", "function_call_arguments")
    }
    assert list(deltas.values()) == ["Hm, well.", "Hello!", "No.", '{"a":1}']
    output = played[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["reasoning", "message", "message", "function_call", "odd"]
    assert output[0]["encrypted_content"]


async def test_it_shows_of_the_reasoning_what_was_asked_for() -> None:
    async with StrictResponses([[Think("Hm."), Say("Hi")]]) as server:
        _, stream = await post(server, body())
    thought = events(stream)[-1]["response"]["output"][0]
    assert thought["summary"] == []
    assert "encrypted_content" not in thought


@pytest.mark.parametrize(
    ("cue", "last"),
    [
        (Incomplete(), {"type": "response.incomplete"}),
        (Failed("server_error"), {"type": "response.failed"}),
        (ErrorEvent("server_error"), {"type": "error", "code": "server_error"}),
    ],
)
async def test_other_ends(cue: Any, last: dict[str, str]) -> None:
    async with StrictResponses([[Say("Hi"), cue]]) as server:
        _, stream = await post(server, body())
    assert last.items() <= events(stream)[-1].items()


async def test_bytes_are_sent_as_they_are() -> None:
    async with StrictResponses([[Bytes(b"data: {broken\n\n")]]) as server:
        assert b"data: {broken\n\n" in (await post(server, body()))[1]


async def test_it_refuses_in_the_shape_of_the_api() -> None:
    async with StrictResponses([Refused(status=429, message="slow")]) as server:
        for payload, key, status, words in (
            (body(), "wrong", 401, "Incorrect API key provided: wrong"),
            (b"{", None, 400, "could not parse"),
            (body(stop="x"), None, 400, "Unknown parameter"),
            (body(), None, 429, "slow"),
            (body(), None, 500, "no more answers"),
        ):
            found, answer = await post(server, payload, key=key)
            assert found == status
            assert words in json.loads(answer)["error"]["message"]
        assert len(server.bodies) == 2
        assert server.refused == ["Unknown parameter: 'stop'."]


async def refusal_of(server: StrictResponses, *items: Any, **changes: Any) -> str:
    status, answer = await post(server, body(*items, **changes))
    return "" if status == 200 else str(json.loads(answer)["error"]["message"])


async def test_reasoning_goes_back_to_the_model_that_thought_it() -> None:
    async with StrictResponses([[Think("Hm."), Say("Hi")], "a"]) as server:
        thought, message = await output_of(server)
        assert "could not be verified" in await refusal_of(server, USER, thought, message, USER, model="gpt-5-mini")
        changed = thought | {"encrypted_content": "gAAAAother"}
        assert "could not be verified" in await refusal_of(server, USER, changed, message, USER)
        assert await refusal_of(server, USER, thought, message, USER) == ""
        server.forget()
        assert "could not be verified" in await refusal_of(server, USER, thought, message, USER)


async def test_reasoning_and_what_it_led_to_belong_together() -> None:
    async with StrictResponses([[Think("Hm."), Say("Hi"), Call("f")], *"abcd"]) as server:
        thought, message, called = await output_of(server)
        result = {"type": "function_call_output", "call_id": called["call_id"], "output": "4"}
        nameless = {name: value for name, value in called.items() if name != "id"}
        assert "required following item" in await refusal_of(server, USER, thought, called, result)
        assert "required following item" in await refusal_of(
            server, USER, thought, ANSWER | {"id": "msg_x"}, nameless, result
        )
        assert "required 'reasoning' item" in await refusal_of(server, USER, message, nameless, result)
        assert "required 'reasoning' item" in await refusal_of(server, USER, called, result)
        assert await refusal_of(server, USER, nameless, result) == ""
        assert await refusal_of(server, USER, thought, message, called, result) == ""
        assert await refusal_of(server, USER, thought, ANSWER, nameless, result) == "", "ids are not needed"


async def test_an_account_that_is_not_verified() -> None:
    async with StrictResponses(["Hi"], gives_summaries=False) as server:
        assert "must be verified" in await refusal_of(server, USER, reasoning={"summary": "auto"})
        assert await refusal_of(server, USER) == ""
