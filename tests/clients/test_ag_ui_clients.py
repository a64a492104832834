"""`HttpAgent` as it is: @ag-ui/client 1.0.0, and 0.0.59, which other products bundle."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from clients.conftest import Api, Served, drive
from clients.proxy import proxy
from clients.script import texts

Json = dict[str, Any]
every_client = pytest.mark.parametrize("client", ["1", "0"], ids=["1.0.0", "0.0.59"])

LONG = "think:8 say:30 call think:2 say:10"


def spec_of(served: Served, session_id: str, client: str, *steps: Json, port: int | None = None) -> Json:
    url = f"http://127.0.0.1:{port}" if port else served.url
    connect = f"{url}/copilotkit/agent/default/connect"
    return {"client": client, "url": f"{url}/agui", "connect": connect, "thread": session_id, "steps": list(steps)}


def said(result: Json, role: str = "assistant") -> str:
    return "".join(message.get("content") or "" for message in result["messages"] if message["role"] == role)


def check_whole(result: Json, message: str) -> None:
    assert said(result) == texts(message)
    assert said(result, "reasoning") == texts(message, "think")
    ids = [message["id"] for message in result["messages"]]
    assert len(set(ids)) == len(ids)
    calls = [call["function"] for message in result["messages"] for call in message.get("toolCalls", ())]
    assert calls == [{"name": "roll_dice", "arguments": '{"notation": "1d1"}'}] * message.count("call")


@every_client
async def test_a_conversation(served: Served, session_id: str, client: str) -> None:
    spec = spec_of(served, session_id, client, {"do": "send", "text": LONG}, {"do": "send", "text": "say:3"})
    result = await drive("ag_ui", spec)
    assert [outcome["ok"] for outcome in result["outcomes"]] == [True, True], result["outcomes"]
    assert said(result) == texts(LONG) + texts("say:3")
    assert [message["content"] for message in result["messages"] if message["role"] == "user"] == [LONG, "say:3"]
    assert [event["type"] for event in result["events"]].count("RUN_FINISHED") == 2


@every_client
@pytest.mark.parametrize("cut", [None, 12])
async def test_sources_and_pictures(served: Served, session_id: str, client: str, cut: int | None) -> None:
    """P21: they are activity messages, live and in a snapshot; what a void attempt gave is taken back."""
    message = "say:3 source cut say:3 source document say:3 picture"
    async with proxy(served.port, lambda number: cut if number == 1 else None) as way:
        steps: list[Json] = [{"do": "send", "text": message}, *([{"do": "rerun"}] if cut else [])]
        result = await drive("ag_ui", spec_of(served, session_id, client, *steps, port=way.port))
    assert way.ignored == []
    check_whole(result, message)
    given = [message for message in result["messages"] if message["role"] == "activity"]
    shown = [message for message in given if not message["content"].get("isVoid")]
    assert [message["activityType"] for message in shown] == [
        "greenroom.source",
        "greenroom.source",
        "greenroom.picture",
    ]
    assert shown[0]["content"] == {"url": "https://a.example/ö", "title": "A page", "quote": "so it is"}
    assert shown[2]["content"] == {"mediaType": "image/png", "bytes": 8, "data": "iVBORw0KGgo="}


@every_client
@pytest.mark.parametrize("cut", [2, 7, 15, 40, 52])
async def test_a_run_that_breaks_is_sent_again(served: Served, session_id: str, client: str, cut: int) -> None:
    async with proxy(served.port, lambda number: cut + 4 * number if number <= 3 else None) as way:
        spec = spec_of(served, session_id, client, {"do": "send", "text": LONG}, {"do": "rerun"}, port=way.port)
        result = await drive("ag_ui", spec)
        assert way.broken > 0
    check_whole(result, LONG)


@every_client
async def test_joining_in_the_middle(served: Served, api: Api, session_id: str, client: str) -> None:
    await api.post(f"/v1/sessions/{session_id}/messages", {"message": f"pause:10 {LONG}"}, Prefer="respond-async")
    readers = [spec_of(served, session_id, client, {"do": "connect"}) for _ in range(3)]
    for result in await asyncio.gather(*(drive("ag_ui", spec) for spec in readers)):
        assert result["outcomes"] == [{"ok": True}], result["outcomes"]
        check_whole(result, LONG)


@every_client
async def test_a_run_that_is_cancelled(served: Served, api: Api, session_id: str, client: str) -> None:
    message = "think:2 say:4 hang"
    spec = spec_of(served, session_id, client, {"do": "send", "text": message})
    running = asyncio.ensure_future(drive("ag_ui", spec))
    while True:
        messages = (await api.get(f"/v1/sessions/{session_id}/messages"))["messages"]
        if messages[-1:] and "w5" in str(messages[-1]["parts"]):
            break
    await api.post(f"/v1/sessions/{session_id}/cancel")
    result = await running
    assert said(result) == texts(message)
    last = result["events"][-1]
    if client == "1":
        assert (last["type"], last["outcome"]) == ("RUN_FINISHED", {"type": "cancelled"})
    else:
        assert (last["type"], last["code"]) == ("RUN_ERROR", "cancelled")


@every_client
async def test_a_run_that_fails(served: Served, session_id: str, client: str) -> None:
    result = await drive("ag_ui", spec_of(served, session_id, client, {"do": "send", "text": "say:4 fail"}))
    assert (result["events"][-1]["type"], result["events"][-1]["code"]) == ("RUN_ERROR", "backend_rejected")
    assert said(result) == texts("say:4")


@every_client
async def test_a_step_that_is_asked_again(served: Served, session_id: str, client: str) -> None:
    message = "think:2 say:5 cut say:6 call say:2"
    result = await drive("ag_ui", spec_of(served, session_id, client, {"do": "send", "text": message}))
    assert said(result) == texts(message)
    assert result["outcomes"] == [{"ok": True}]


@every_client
async def test_a_history_that_ends_with_an_answered_message_is_answered_again(
    served: Served, session_id: str, client: str
) -> None:
    first = await drive("ag_ui", spec_of(served, session_id, client, {"do": "send", "text": "say:3", "id": "m-1"}))
    spec = spec_of(served, session_id, client, {"do": "send", "text": "say:3", "id": "m-1"})
    again = await drive("ag_ui", spec)
    assert said(again) == said(first) == texts("say:3")
    assert again["events"][0]["runId"] != first["events"][0]["runId"]


@every_client
async def test_what_the_server_refuses_is_an_error_with_a_status(served: Served, client: str) -> None:
    result = await drive("ag_ui", spec_of(served, "../etc/passwd", client, {"do": "send", "text": "say:3"}))
    (outcome,) = result["outcomes"]
    assert not outcome["ok"]
    assert "422" in f"{outcome}"
