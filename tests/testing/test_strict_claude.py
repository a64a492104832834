"""The double of the Messages API refuses what the API refuses: each rule is shown to bite, and none bites a valid request."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from greenroom.backends.scripted import Call, Say, Think
from greenroom.testing.strict_claude import StrictClaude
from greenroom.testing.strict_claude_rules import refusals

Body = dict[str, Any]
MARK = {"type": "ephemeral"}


def valid() -> Body:
    """A request with one of everything."""
    return {
        "model": "claude-opus-5-5",
        "max_tokens": 4_000,
        "stream": True,
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {"effort": "high"},
        "stop_sequences": ["END"],
        "system": [{"type": "text", "text": "Be brief.", "cache_control": MARK}],
        "tools": [{"name": "roll", "description": "Rolls.", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto"},
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Look."},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "eA=="}},
                    {
                        "type": "document",
                        "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                    {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
                    {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
                    {"type": "tool_use", "id": "t1", "name": "roll", "input": {}},
                    {"type": "tool_use", "id": "t2", "name": "roll", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "4"},
                    {"type": "tool_result", "tool_use_id": "t2", "content": "4", "is_error": True},
                    {"type": "text", "text": "And now?", "cache_control": MARK},
                ],
            },
        ],
    }


def manual() -> Body:
    """A request to a model that thinks with a budget."""
    return valid() | {
        "model": "claude-haiku-4-5",
        "thinking": {"type": "enabled", "budget_tokens": 2_000},
        "output_config": {},
    }


def sampling() -> Body:
    """A request to a model that takes sampling."""
    body = manual() | {"temperature": 0.5}
    del body["thinking"]
    return body


def at(body: Body, *path: Any) -> Any:
    for step in path:
        body = body[step]
    return body


def put(*path: Any) -> Callable[[Body], None]:
    """Returns a change that puts the last of `path` where the others lead."""
    *way, name, value = path

    def change(body: Body) -> None:
        at(body, *way)[name] = value

    return change


def take(*path: Any) -> Callable[[Body], None]:
    *way, name = path

    def change(body: Body) -> None:
        del at(body, *way)[name]

    return change


USER, ASSISTANT, RESULTS = (("messages", place, "content") for place in range(3))
TEXT = {"type": "text", "text": "x"}


@pytest.mark.parametrize("body", [valid(), manual(), sampling()], ids=["adaptive", "manual", "sampling"])
def test_a_valid_request_is_accepted(body: Body) -> None:
    assert refusals(body) == []


@pytest.mark.parametrize(
    ("body", "change", "reason"),
    [
        (valid, take("max_tokens"), "Field required"),
        (valid, put("max_tokens", True), "Field required"),
        (valid, put("max_tokens", 0), "at least 1"),
        (valid, put("max_tokens", 128_001), "maximum allowed"),
        (valid, put("messages", []), "at least one message"),
        (valid, put("reasoning_effort", "high"), "Extra inputs"),
        (valid, put("stop_sequences", [" "]), "non-whitespace"),
        (valid, put("temperature", 0.5), "not supported by claude-opus-5-5"),
        (valid, put("thinking", {"type": "disabled"}), "not supported for this model"),
        (valid, put("thinking", {"type": "enabled", "budget_tokens": 2_000}), "not supported for this model"),
        (valid, put("thinking", "budget_tokens", 2_000), "Extra inputs"),
        (valid, put("thinking", "block_binding", {"prefix_mismatch_behavior": "drop_block"}), "anthropic-beta"),
        (valid, put("output_config", "effort", "minimal"), "'minimal' is not supported"),
        (valid, put("tool_choice", {"type": "any"}), "forces tool use"),
        (valid, put("tool_choice", {"type": "maybe"}), "is unknown"),
        (manual, put("output_config", "effort", "low"), "'low' is not supported"),
        (manual, put("thinking", "budget_tokens", 1_000), "greater than or equal to 1024"),
        (manual, put("thinking", "budget_tokens", 4_000), "`max_tokens` must be greater"),
        (manual, put("temperature", 0.5), "when thinking is enabled"),
        (manual, put(*ASSISTANT, 0, TEXT), "found `text`"),
        (sampling, put("temperature", 1.5), "range: 0..1"),
        (sampling, put("top_p", 0.5), "cannot both be specified"),
        (valid, put("system", 0, "text", " "), "system: text content blocks"),
        (valid, put("system", ""), "system: text content blocks"),
        (valid, put("tools", 0, "name", "a b"), "does not match"),
        (valid, put("tools", 0, "input_schema", {}), "must be 'object'"),
        (valid, put("tools", 0, "description", ""), "must not be empty"),
        (valid, put("tools", valid()["tools"] * 2), "must be unique"),
        (valid, put("tools", []), "must define tools"),
        (valid, put("tools", 0, "cache_control", {"type": "for ever"}), "must be 'ephemeral'"),
        (valid, put(*ASSISTANT, 0, "cache_control", MARK), "cannot be set on thinking"),
        (
            valid,
            lambda body: [block.update(cache_control=MARK) for block in body["messages"][0]["content"]],
            "A maximum of 4 blocks with cache_control may be provided. Found 5.",
        ),
        (valid, put("messages", 0, "role", "assistant"), 'must use the "user" role'),
        (valid, put("messages", 1, "role", "system"), "must be user or assistant"),
        (valid, put("messages", 2, "role", "assistant"), "roles must alternate"),
        (valid, put(*USER, []), "non-empty content"),
        (valid, put(*USER, 0, "text", " \n"), "non-whitespace text"),
        (valid, put(*USER, 0, "citations", [1]), "not permitted in user messages"),
        (valid, put(*USER, 0, {"type": "tool_use", "id": "t9", "name": "roll", "input": {}}), "not permitted in user"),
        (valid, put(*USER, 1, "source", "media_type", "image/tiff"), "must be base64 of"),
        (valid, put(*USER, 1, "source", "data", "?"), "not base64"),
        (valid, put(*ASSISTANT, 0, valid()["messages"][0]["content"][2]), "not permitted in assistant"),
        (valid, put(*ASSISTANT, 0, "signature", ""), "Invalid `signature`"),
        (valid, put(*ASSISTANT, 0, {"type": "redacted_thinking"}), "data: Field required"),
        (valid, put(*ASSISTANT, 3, "id", "t.1"), "should match pattern"),
        (valid, put(*ASSISTANT, 3, "name", ""), "should match pattern"),
        (valid, put(*ASSISTANT, 3, "input", "{}"), "valid dictionary"),
        (valid, put(*ASSISTANT, 4, "id", "t1"), "must be unique"),
        (valid, take(*ASSISTANT, 2), "without its result"),
        (valid, take(*ASSISTANT, 1), "no server_tool_use before it"),
        (valid, take(*RESULTS, 0), "without `tool_result` blocks immediately after: t1"),
        (valid, take("messages", 2), "without `tool_result` blocks immediately after: t1, t2"),
        (valid, put(*RESULTS, 0, "tool_use_id", "t7"), "unexpected `tool_use_id`"),
        (valid, put(*RESULTS, 0, "tool_use_id", "t2"), "single result"),
        (valid, put(*RESULTS, 0, "content", " "), "non-whitespace text"),
        (valid, put(*RESULTS, 0, "is_error", "no"), "valid boolean"),
        (valid, lambda body: at(body, *RESULTS).reverse(), "must come before all other content"),
        (valid, lambda body: body["messages"].append({"role": "assistant", "content": "So"}), "prefill"),
        (
            sampling,
            lambda body: body["messages"].append({"role": "assistant", "content": "So "}),
            "trailing whitespace",
        ),
        (
            valid,
            lambda body: body["messages"].extend(
                [
                    {"role": "assistant", "content": [valid()["messages"][1]["content"][0]]},
                    {"role": "user", "content": "x"},
                ]
            ),
            "cannot be `thinking`",
        ),
    ],
)
def test_each_rule_bites(body: Callable[[], Body], change: Callable[[Body], Any], reason: str) -> None:
    changed = copy.deepcopy(body())
    change(changed)
    assert any(reason in found for found in refusals(changed)), refusals(changed)


def test_the_rules_of_headers() -> None:
    newest = {"anthropic-version": "2026-10-21"}
    assert "API version 2026-10-21" in refusals(sampling(), headers=newest)[0]
    assert refusals(sampling(), headers={"anthropic-version": "2023-06-01"}) == []
    bound = valid()
    bound["thinking"]["block_binding"] = {"prefix_mismatch_behavior": "drop_block"}
    assert refusals(bound, headers={"anthropic-beta": "x, thinking-binding-controls-2026-08-01"}) == []


# --- the state of the server --------------------------------------------------------------------------------------------


async def posted(server: StrictClaude, body: Body, **headers: str) -> tuple[int, str]:
    url = f"{server.base_url}/v1/messages"
    sent = {"authorization": f"Bearer {server.key}", **headers}
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=sent) as answer:
        return answer.status, await answer.text()


def begun(**fields: Any) -> Body:
    messages = [{"role": "user", "content": "Roll."}]
    return {"model": "claude-fable-5-1", "max_tokens": 100, "tools": valid()["tools"], "messages": messages, **fields}


def continued(server_given: dict[str, Any], **fields: Any) -> Body:
    body = begun(**fields)
    call = {"type": "tool_use", "id": "toolu_0001", "name": "roll", "input": {}}
    body["messages"] = [
        *body["messages"],
        {"role": "assistant", "content": [*([server_given] if server_given else []), call]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_0001", "content": "4"}]},
    ]
    return body


async def given_by(server: StrictClaude) -> dict[str, Any]:
    """Returns the thinking block of a first answer."""
    _, text = await posted(server, begun())
    signature = text.partition('"signature_delta","signature":"')[2].partition('"')[0]
    return {"type": "thinking", "thinking": "Hm.", "signature": signature}


async def test_thinking_that_was_given_out_must_come_back_as_it_was() -> None:
    async with StrictClaude([[Think("Hm."), Call("roll")]] * 6) as server:
        block = await given_by(server)
        assert (await posted(server, continued(block)))[0] == 200
        for wrong, reason in (
            (block | {"thinking": "Other."}, "cannot be modified"),
            (block | {"signature": "made up"}, "cannot be modified"),
            ({}, "must be passed back"),
        ):
            status, text = await posted(server, continued(wrong))
            assert status == 400
            assert reason in text
        off = {"model": "claude-haiku-5-5", "thinking": {"type": "disabled"}}
        assert (await posted(server, continued({}, **off)))[0] == 200


async def test_thinking_is_bound_to_what_came_before_it() -> None:
    async with StrictClaude([[Think("Hm."), Call("roll")]] * 6) as server:
        block = await given_by(server)
        changed = continued(block, system="Another prompt.")
        status, text = await posted(server, changed)
        assert status == 400
        assert "different conversation" in text
        changed["thinking"] = {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}}
        beta = {"anthropic-beta": "thinking-binding-controls-2026-08-01"}
        assert (await posted(server, changed, **beta))[0] == 200


async def test_the_double_answers_as_the_api_does() -> None:
    async with StrictClaude([[Say("Hi")]]) as server:
        status, text = await posted(server, {"model": "claude-fable-5-1"})
        assert status == 400
        assert '"type":"error"' in text.replace(" ", "")
        assert server.refused
        assert server.bodies == []
        assert (await posted(server, begun(), authorization="Bearer nobody"))[0] == 401
        assert (await posted(server, begun()))[0] == 200
        assert (await posted(server, begun()))[0] == 500
