"""`useChat` as it is: `AbstractChat` and `DefaultChatTransport` of the versions 5, 6 and 7, against the server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from clients.conftest import Api, Served, drive
from clients.proxy import proxy
from clients.script import texts

Json = dict[str, Any]
every_version = pytest.mark.parametrize("sdk", [5, 6, 7])

LONG = "think:8 say:30 call think:2 say:10"


def text(message: Json, kind: str = "text", *, void: bool = True) -> str:
    """What a page shows that leaves void steps out (or does not know of them)."""
    skipped = set(message["metadata"].get("voidSteps", ())) if void else set()
    step, shown = -1, ""
    for part in message["parts"]:
        step += part["type"] == "step-start"
        if part["type"] == kind and step not in skipped:
            shown += part["text"]
    return shown


def only_answer(result: Json) -> Json:
    roles = [message["role"] for message in result["messages"]]
    assert roles == ["user", "assistant"], roles
    answer: Json = result["messages"][-1]
    return answer


def check_whole(result: Json, message: str) -> None:
    answer = only_answer(result)
    assert text(answer) == texts(message)
    assert text(answer, "reasoning") == texts(message, "think")
    assert result["status"] == "ready"
    assert not [part for part in answer["parts"] if part.get("state") in {"streaming", "input-streaming"}]


@every_version
async def test_an_answer_with_reasoning_and_tools(served: Served, session_id: str, sdk: int) -> None:
    spec = {"sdk": sdk, "api": f"{served.url}/api/chat", "chat": session_id, "fetch": True}
    result = await drive("ai_sdk", {**spec, "steps": [{"do": "send", "text": LONG}]})
    check_whole(result, LONG)
    answer = only_answer(result)
    (call,) = [part for part in answer["parts"] if part["type"] == "dynamic-tool"]
    assert (call["toolName"], call["state"], call["input"]) == ("roll_dice", "output-available", {"notation": "1d1"})
    assert answer["metadata"]["outcome"] == "completed"
    assert result["finishes"][-1].get("finishReason") == "stop"

    said, fetched = result["fetched"]
    assert said["id"] == result["messages"][0]["id"]
    known = ("type", "text", "state", "toolName", "toolCallId", "input", "output", "errorText")
    assert fetched["metadata"] == answer["metadata"]
    assert [{key: part[key] for key in known if key in part} for part in answer["parts"]] == fetched["parts"]


@every_version
@pytest.mark.parametrize("cut", [None, 9])
async def test_sources_and_pictures(served: Served, session_id: str, sdk: int, cut: int | None) -> None:
    """P21: what the SDK makes of the chunks is what it is given when the page is loaded."""
    message = "say:3 source document say:3 picture call source say:4"
    async with proxy(served.port, lambda number: cut if number == 1 else None) as way:
        spec = {"sdk": sdk, "api": f"http://127.0.0.1:{way.port}/api/chat", "chat": session_id, "fetch": True}
        steps = [{"do": "send", "text": message}, *([{"do": "reload"}] if cut else [])]
        result = await drive("ai_sdk", {**spec, "steps": steps})
    assert way.ignored == []
    check_whole(result, message)
    kinds = ["source-url", "source-document", "file", "source-url"]
    given = [part for part in only_answer(result)["parts"] if part["type"] in kinds]
    assert [part["type"] for part in given] == kinds
    assert given[0]["url"] == "https://a.example/ö"
    assert given[2]["url"].startswith("data:image/png;base64,")
    assert [part for part in result["fetched"][-1]["parts"] if part["type"] in kinds] == given


@every_version
@pytest.mark.parametrize("cut", [1, 6, 20, 46])
async def test_a_connection_that_breaks_is_resumed(served: Served, session_id: str, sdk: int, cut: int) -> None:
    async with proxy(served.port, lambda number: cut + 10 * number if number <= 3 else None) as way:
        spec = {"sdk": sdk, "api": f"http://127.0.0.1:{way.port}/api/chat", "chat": session_id}
        # Version 5 appends what it resumes to what it has, where the arguments of a call were cut.
        again = "reload" if sdk == 5 else "resume"
        result = await drive("ai_sdk", {**spec, "steps": [{"do": "send", "text": LONG}, {"do": again}]})
        assert way.broken > 0
    if len(result["messages"]) == 1:  # it was over before it could be resumed: 204, and the page fetches it
        spec["api"] = f"{served.url}/api/chat"
        result = await drive("ai_sdk", {**spec, "steps": [{"do": "reload"}]})
    check_whole(result, LONG)


@every_version
async def test_a_page_that_is_loaded_anew_goes_on(served: Served, session_id: str, sdk: int) -> None:
    spec = {"sdk": sdk, "api": f"{served.url}/api/chat", "chat": session_id}
    steps = [{"do": "send", "text": LONG, "until": 5}, {"do": "reload"}]
    check_whole(await drive("ai_sdk", {**spec, "steps": steps}), LONG)


@every_version
async def test_a_second_page_follows(served: Served, session_id: str, sdk: int) -> None:
    spec = {"sdk": sdk, "api": f"{served.url}/api/chat", "chat": session_id}
    message = f"pause:50 {LONG}"  # it runs still when the page has fetched what was said
    steps = [{"do": "send", "text": message, "until": 5}, {"do": "view"}, {"do": "await"}]
    result = await drive("ai_sdk", {**spec, "steps": steps})
    check_whole(result, message)
    (viewer,) = result["others"]
    check_whole(viewer, message)


@every_version
async def test_there_is_nothing_to_resume(served: Served, session_id: str, sdk: int) -> None:
    spec = {"sdk": sdk, "api": f"{served.url}/api/chat", "chat": session_id}
    steps = [{"do": "resume"}, {"do": "send", "text": "say:3"}, {"do": "resume"}]
    result = await drive("ai_sdk", {**spec, "steps": steps})
    check_whole(result, "say:3")


@every_version
@pytest.mark.parametrize("also", [False, True], ids=["at the server", "and in the page"])
async def test_stop(served: Served, session_id: str, sdk: int, also: bool) -> None:  # noqa: FBT001
    spec = {"sdk": sdk, "api": f"{served.url}/api/chat", "chat": session_id, "fetch": True}
    steps = [{"do": "send", "text": "think:2 say:6 hang", "until": 6}, {"do": "stop", "also": also}, {"do": "await"}]
    result = await drive("ai_sdk", {**spec, "steps": steps})
    assert text(only_answer(result)) == texts("think:2 say:6")
    assert result["status"] == "ready"
    answer = result["fetched"][-1]
    assert (text(answer), answer["metadata"]["outcome"]) == (texts("think:2 say:6"), "cancelled")
    if not also:
        assert result["finishes"][-1].get("finishReason") == "other"


@every_version
async def test_a_failure_is_an_error_and_what_was_said_stays(served: Served, session_id: str, sdk: int) -> None:
    spec = {"sdk": sdk, "api": f"{served.url}/api/chat", "chat": session_id}
    result = await drive("ai_sdk", {**spec, "steps": [{"do": "send", "text": "say:4 fail"}]})
    assert (result["status"], result["error"]) == ("error", "the script says: fail")
    answer = only_answer(result)
    assert (text(answer), answer["metadata"]["error"]["code"]) == (texts("say:4"), "backend_rejected")


@every_version
async def test_regenerate_and_edit(served: Served, session_id: str, sdk: int) -> None:
    spec = {"sdk": sdk, "api": f"{served.url}/api/chat", "chat": session_id, "fetch": True}
    first = await drive("ai_sdk", {**spec, "steps": [{"do": "send", "text": "say:3"}, {"do": "regenerate"}]})
    check_whole(first, "say:3")
    old, new = first["finishes"][0], only_answer(first)
    assert len(first["finishes"]) == 2
    assert old
    assert [message["id"] for message in first["fetched"]] == [message["id"] for message in first["messages"]]

    said = first["messages"][0]["id"]
    steps = [{"do": "send", "text": "say:5", "messageId": said}]
    edited = await drive("ai_sdk", {**spec, "messages": first["messages"], "steps": steps})
    check_whole(edited, "say:5")
    assert only_answer(edited)["id"] != new["id"]
    assert [message["id"] for message in edited["fetched"]] == [message["id"] for message in edited["messages"]]


@every_version
async def test_what_is_void_is_marked_or_taken_back(served: Served, session_id: str, sdk: int) -> None:
    message = "think:2 say:5 cut say:6 call say:2"
    spec: Json = {"sdk": sdk, "api": f"{served.url}/api/chat", "chat": session_id}
    result = await drive("ai_sdk", {**spec, "steps": [{"do": "send", "text": message}]})
    answer = only_answer(result)
    assert result["status"] == "ready"
    assert answer["metadata"]["voidSteps"] == [0]
    assert text(answer) == texts(message)
    reloaded = await drive("ai_sdk", {**spec, "steps": [{"do": "reload"}]})
    assert text(only_answer(reloaded), void=False) == texts(message)


async def test_version_7_takes_back_what_is_void(served: Served, session_id: str) -> None:
    message = "think:2 say:5 cut say:6 call say:2"
    spec = {"sdk": 7, "api": f"{served.url}/api/chat", "chat": session_id, "headers": {"x-ai-sdk-version": "7"}}
    answer = only_answer(await drive("ai_sdk", {**spec, "steps": [{"do": "send", "text": message}]}))
    assert "voidSteps" not in answer["metadata"]
    assert text(answer, void=False) == texts(message)


@every_version
async def test_a_session_of_nobody_is_made_by_the_first_message(served: Served, api: Api, sdk: int) -> None:
    chat = f"page-{sdk}-{id(api)}"
    spec = {"sdk": sdk, "api": f"{served.url}/api/chat", "chat": chat, "body": {"backend": "scripted"}}
    check_whole(await drive("ai_sdk", {**spec, "steps": [{"do": "resume"}, {"do": "send", "text": "say:3"}]}), "say:3")
    assert (await api.get(f"/v1/sessions/{chat}"))["backend"] == "scripted"


async def test_many_pages_at_once(served: Served, api: Api) -> None:
    ids = [(await api.post("/v1/sessions", {"backend": "scripted"}))["session_id"] for _ in range(4)]
    specs = [{"sdk": 7, "api": f"{served.url}/api/chat", "chat": chat} for chat in ids]
    steps = [{"do": "send", "text": LONG}]
    for result in await asyncio.gather(*(drive("ai_sdk", {**spec, "steps": steps}) for spec in specs)):
        check_whole(result, LONG)
