"""A person is asked, and answers: in the AI SDK's own chat, and through AG-UI's interrupts."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio

from clients.conftest import Api, Served, drive
from clients.proxy import proxy
from clients.script import texts
from clients.test_ag_ui_clients import said, spec_of
from clients.test_ai_sdk_clients import only_answer, text

Json = dict[str, Any]

MESSAGE = "think:2 say:9 call say:30"
asking = pytest.mark.parametrize("sdk", [6, 7])


@pytest_asyncio.fixture
async def session_id(api: Api) -> str:
    """A session whose only tool has to be approved."""
    created = await api.post("/v1/sessions", {"backend": "scripted", "approval": {"roll_dice": "ask"}})
    return str(created["session_id"])


def call_of(result: Json) -> Json:
    (call,) = [part for part in only_answer(result)["parts"] if part["type"] == "dynamic-tool"]
    return dict(call)


# --- AI SDK -------------------------------------------------------------------------------------------------------------


def chat(served: Served, session_id: str, sdk: int, *steps: Json, port: int | None = None) -> Json:
    url = f"http://127.0.0.1:{port}" if port else served.url
    return {"sdk": sdk, "api": f"{url}/api/chat", "chat": session_id, "steps": list(steps)}


@asking
async def test_a_chat_waits_for_an_answer(served: Served, session_id: str, sdk: int) -> None:
    result = await drive("ai_sdk", chat(served, session_id, sdk, {"do": "send", "text": MESSAGE}))
    assert call_of(result)["state"] == "approval-requested"
    assert result["status"] == "ready"
    assert result["finishes"][-1]["finishReason"] == "tool-calls"


@asking
@pytest.mark.parametrize("again", ["at once", "after the page was loaded anew"])
async def test_an_approved_call_runs_and_the_answer_goes_on(
    served: Served, session_id: str, sdk: int, again: str
) -> None:
    reload = [{"do": "reload"}] if again != "at once" else []
    steps = [{"do": "send", "text": MESSAGE}, *reload, {"do": "approve", "approved": True}]
    result = await drive("ai_sdk", chat(served, session_id, sdk, *steps))
    call = call_of(result)
    assert (call["state"], call["input"]) == ("output-available", {"notation": "1d1"})
    assert text(only_answer(result)) == texts(MESSAGE)
    assert text(only_answer(result), "reasoning") == texts(MESSAGE, "think")
    assert result["finishes"][-1]["finishReason"] == "stop"


@asking
async def test_a_denied_call_never_runs_and_the_answer_goes_on(served: Served, session_id: str, sdk: int) -> None:
    steps = [{"do": "send", "text": MESSAGE}, {"do": "approve", "approved": False, "reason": "Not today."}]
    result = await drive("ai_sdk", chat(served, session_id, sdk, *steps))
    call = call_of(result)
    assert call["state"] == "output-denied"
    assert text(only_answer(result)) == texts(MESSAGE)


@asking
@pytest.mark.parametrize("cut", [1, 3, 12])
async def test_a_connection_that_breaks_behind_the_decision(
    served: Served, session_id: str, sdk: int, cut: int
) -> None:
    async with proxy(served.port, lambda number: cut + 8 * (number - 2) if number in {2, 3} else None) as way:
        steps = [{"do": "send", "text": MESSAGE}, {"do": "approve", "approved": True}, {"do": "resume"}]
        result = await drive("ai_sdk", chat(served, session_id, sdk, *steps, port=way.port))
        assert way.broken > 0
    assert text(only_answer(result)) == texts(MESSAGE)
    assert call_of(result)["state"] == "output-available"


# --- AG-UI --------------------------------------------------------------------------------------------------------------


async def test_a_run_ends_with_an_interrupt(served: Served, session_id: str) -> None:
    result = await drive("ag_ui", spec_of(served, session_id, "1", {"do": "send", "text": MESSAGE}))
    finished = result["events"][-1]
    assert finished["type"] == "RUN_FINISHED"
    assert finished["outcome"]["type"] == "interrupt"
    (interrupt,) = finished["outcome"]["interrupts"]
    (asked,) = [event["toolCallId"] for event in result["events"] if event["type"] == "TOOL_CALL_START"]
    assert (interrupt["reason"], interrupt["toolCallId"]) == ("tool_approval", asked)
    assert "roll_dice" in interrupt["message"]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"payload": {"approved": True}}, "1"),
        ({"payload": {"approved": True, "arguments": {"notation": "2d1"}}}, "2 = [1, 1]"),
        ({"payload": {"approved": False, "reason": "Not today."}}, "Not today."),
        ({"status": "cancelled"}, ""),
    ],
    ids=["approved", "approved with other arguments", "denied", "cancelled"],
)
async def test_an_interrupt_is_answered(served: Served, session_id: str, answer: Json, outcome: str) -> None:
    steps = [{"do": "send", "text": MESSAGE}, {"do": "resume", **answer}]
    result = await drive("ag_ui", spec_of(served, session_id, "1", *steps))
    assert [step["ok"] for step in result["outcomes"]] == [True, True], result["outcomes"]
    assert said(result) == texts(MESSAGE)
    assert result["events"][-1]["outcome"] == {"type": "success"}
    (told,) = [message["content"] for message in result["messages"] if message["role"] == "tool"]
    assert outcome in told, told
    assert [message["role"] for message in result["messages"]].count("user") == 1


@pytest.mark.parametrize("cut", [1, 4, 20])
async def test_a_run_that_breaks_behind_the_decision(served: Served, session_id: str, cut: int) -> None:
    async with proxy(served.port, lambda number: cut + 8 * (number - 2) if number in {2, 3} else None) as way:
        steps = [{"do": "send", "text": MESSAGE}, {"do": "resume", "payload": {"approved": True}}, {"do": "rerun"}]
        result = await drive("ag_ui", spec_of(served, session_id, "1", *steps, port=way.port))
        assert way.broken > 0
    assert way.ignored == []
    assert said(result) == texts(MESSAGE)
    ids = [message["id"] for message in result["messages"]]
    assert len(set(ids)) == len(ids)


# --- TanStack AI --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reload", [False, True], ids=["at once", "after the page was loaded anew"])
@pytest.mark.parametrize(
    ("answer", "outcome"),
    [({"approved": True}, "1"), ({"approved": True, "editedArgs": {"notation": "2d1"}}, "2"), ({"approved": False}, "declined")],
    ids=["approved", "approved with other arguments", "denied"],
)  # fmt: skip
async def test_tanstack_answers(served: Served, session_id: str, answer: Json, outcome: str, reload: object) -> None:
    async with proxy(served.port, lambda _: None) as way:
        url = f"http://127.0.0.1:{way.port}/agui"
        spec = {"url": url, "thread": session_id, "text": MESSAGE, "answer": answer, "reload": reload}
        result = await drive("tanstack", spec)
    assert way.ignored == [], "the client has sent nothing that its user could leave out"
    assert [(asked["canResolve"], asked["metadata"]["toolName"]) for asked in result["asked"]] == [(True, "roll_dice")]
    answered = result["answered"]
    assert answered["errors"] == []
    assert answered["text"] == texts(MESSAGE)
    (told,) = [part for m in answered["messages"] for part in m["parts"] if part["type"] == "tool-result"]
    assert outcome in told["content"]
