"""What waits: messages in the queue, calls for a person, over HTTP."""

from __future__ import annotations

from greenroom.backends.scripted import Call, Gate, Say
from server.asgi import Web
from server.conftest import OpenWeb

SESSION = "the-session"
MESSAGES = f"/v1/sessions/{SESSION}/messages"


async def asked(web: Web) -> str:
    """A session with a call that waits; returns the approval's id."""
    made = await web.post("/v1/sessions", {"session_id": SESSION, "approval": {"roll_dice": "ask"}})
    assert made.status == 201, made.body
    answer = await web.post(
        MESSAGES,
        {"message": "Roll", "turn_id": "run-1"},
    )
    assert answer.frames[-1][1]["outcome"]["type"] == "interrupt"
    (waiting,) = (await web.get(f"/v1/sessions/{SESSION}/approvals")).json()["approvals"]
    assert (waiting["name"], waiting["turn_id"]) == ("roll_dice", "run-1")
    assert (await web.get(f"/v1/sessions/{SESSION}")).json()["status"] == "waiting"
    return str(waiting["approval_id"])


async def test_a_call_waits_for_a_person_and_goes_on(open_web: OpenWeb) -> None:
    web = open_web([[Call("roll_dice", {"notation": "1d1"})], [Say("It is 1.")]])
    approval_id = await asked(web)
    path = f"/v1/sessions/{SESSION}/approvals/"
    assert (await web.post(f"{path}nothing", {"decision": "approve"})).status == 404
    assert (await web.post(path + approval_id, {"decision": "perhaps"})).status == 422
    receipt = (await web.post(path + approval_id, {"decision": "approve"})).json()
    rest = await web.get(f"/v1/sessions/{SESSION}/events?protocol=ag-ui&cursor={receipt['cursor']}")
    assert rest.text == "It is 1."
    again = await web.post(path + approval_id, {"decision": "deny"})
    assert again.status == 409
    assert (await web.get(f"/v1/sessions/{SESSION}/approvals")).json() == {"approvals": []}


async def test_an_agui_client_that_answers_gets_what_comes_behind_its_answer(open_web: OpenWeb) -> None:
    web = open_web([[Say("Let me see. "), Call("roll_dice", {"notation": "1d1"})], [Say("It is 1.")]])
    approval_id = await asked(web)
    rest = await web.post(
        "/agui",
        {
            "threadId": SESSION,
            "runId": "run-2",
            "protocolVersion": "1.0",
            "messages": [],
            "resume": [{"interruptId": approval_id, "status": "resolved", "payload": {"approved": True}}],
        },
    )
    kinds = [event["type"] for _, event in rest.frames]
    assert (kinds[0], kinds[-1], kinds.count("RUN_STARTED")) == ("RUN_STARTED", "RUN_FINISHED", 1)
    assert rest.text == "It is 1.", "the client has what was said before"
    assert {event["runId"] for _, event in rest.frames if "runId" in event} == {"run-2"}
    joined = await web.get(f"/agui?threadId={SESSION}&runId=run-2")
    assert (joined.frames[0][1]["runId"], joined.frames[-1][1]["runId"]) == ("run-2", "run-2")
    by_id_alone = await web.get("/agui?offset=-1&runId=run-2")
    assert by_id_alone.frames == joined.frames


async def test_a_call_is_denied(open_web: OpenWeb) -> None:
    web = open_web([[Call("roll_dice", {"notation": "1d1"})], [Say("I did not.")]])
    approval_id = await asked(web)
    decided = await web.post(
        f"/v1/sessions/{SESSION}/approvals/{approval_id}", {"decision": "deny", "reason": "no games"}
    )
    rest = await web.get(f"/v1/sessions/{SESSION}/events?protocol=ag-ui&cursor={decided.json()['cursor']}")
    assert rest.text == "I did not."
    assert b"no games" in rest.body


async def test_messages_that_wait_are_listed_changed_and_taken_back(open_web: OpenWeb) -> None:
    gate = Gate()
    web = open_web([[gate, Say("one")], [Say("two")]])
    await web.post("/v1/sessions", {"session_id": SESSION})
    later = {"prefer": "respond-async"}
    for number in (1, 2, 3):
        await web.post(MESSAGES, {"message": f"message {number}", "turn_id": f"run-{number}"}, headers=later)
    await gate.reached()
    queue = f"/v1/sessions/{SESSION}/queue"
    assert [row["turn_id"] for row in (await web.get(queue)).json()["queue"]] == ["run-2", "run-3"]
    assert (await web.ask("PATCH", f"{queue}/run-2", {"message": "changed"})).status == 204
    assert (await web.ask("DELETE", f"{queue}/run-3")).status == 204
    assert (await web.ask("DELETE", f"{queue}/run-3")).error == "message_not_found"
    assert (await web.ask("PATCH", f"{queue}/run-1", {"message": "too late"})).error == "message_not_found"
    gate.open()
    await web.get(f"/v1/sessions/{SESSION}/events?turn_id=run-2")
    said = (await web.get(MESSAGES)).json()["messages"]
    assert [message["parts"][0]["text"] for message in said] == ["message 1", "one", "changed", "two"]


async def test_steering(open_web: OpenWeb) -> None:
    gate = Gate()
    web = open_web([[gate, Call("roll_dice", {"notation": "1d1"})], [Say("as you wish")]])
    await web.post("/v1/sessions", {"session_id": SESSION})
    await web.post(MESSAGES, {"message": "Go", "turn_id": "run-1"}, headers={"prefer": "respond-async"})
    await gate.reached()
    steered = await web.post(f"/v1/sessions/{SESSION}/steer", {"message": "be brief"})
    assert steered.status == 202
    gate.open()
    await web.get(f"/v1/sessions/{SESSION}/events")
    said = (await web.get(MESSAGES)).json()["messages"]
    assert "be brief" in str(said)
    assert "as you wish" in str(said)
