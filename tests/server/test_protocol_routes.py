"""The routes of AG-UI, CopilotKit and the AI SDK: what their clients send, and what becomes of the session."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contract.reading import checked_run
from greenroom.backends.scripted import Gate, Say
from greenroom.large import to_base64
from greenroom.limits import DEFAULT_LIMITS
from greenroom.protocols.agui_input import RunAgentInput
from server.asgi import Response, Web
from server.conftest import OTHER, OpenWeb

Json = dict[str, Any]


def run(thread: str, run_id: str, *texts: str, **more: Any) -> Json:
    """A RunAgentInput with everything that was said in the thread, the newest last."""
    messages = [{"id": f"m{number}", "role": "user", "content": text} for number, text in enumerate(texts)]
    return {"threadId": thread, "runId": run_id, "messages": messages, "tools": [], "context": [], **more}


def said(text: str, message_id: str, **more: Any) -> Json:
    return {"role": "user", "id": message_id, "parts": [{"type": "text", "text": text}], **more}


def chunks(answer: Response) -> str:
    return "".join(chunk["delta"] for _, chunk in answer.frames if chunk["type"] == "text-delta")


async def history(web: Web, session_id: str) -> list[tuple[str, str]]:
    messages = (await web.get(f"/v1/sessions/{session_id}/messages")).json()["messages"]
    return [(message["role"], "".join(part.get("text", "") for part in message["parts"])) for message in messages]


# --- AG-UI --------------------------------------------------------------------------------------------------------------


async def test_a_run_makes_its_thread_and_only_what_is_new_counts(web: Web) -> None:
    first = await web.post("/agui", run("thread", "run-1", "one", protocolVersion="1.0"))
    checked_run([json.dumps(event) for _, event in first.frames])
    assert (first.text, first.headers["x-turn-id"]) == ("You said: one", "run-1")
    second = await web.post("/agui", run("thread", "run-2", "one", "two"))
    assert second.text == "You said: two"
    assert await history(web, "thread") == [
        ("user", "one"), ("assistant", "You said: one"), ("user", "two"), ("assistant", "You said: two"),
    ]  # fmt: skip
    thread = (await web.get("/agui?threadId=thread")).json()
    assert [message["id"] for message in thread["messages"] if message["role"] == "user"] == ["m0", "m1"]
    assert (thread["activeRun"], thread["interrupts"]) == (None, None)


async def test_a_run_with_a_message_that_is_refused_makes_no_session(web: Web) -> None:
    """Case W18: that the message is looked at before the session is made was noticed by no test."""
    refused = await web.post("/agui", run("thread", "run-1", "x" * (DEFAULT_LIMITS.message_bytes_max + 1)))
    assert 400 <= refused.status < 500
    assert (await web.get("/v1/sessions/thread")).status == 404
    assert (await web.get("/v1/sessions")).json()["sessions"] == []


async def test_a_run_that_is_sent_again_is_shown_again(web: Web) -> None:
    body = run("thread", "run-1", "one")
    whole = await web.post("/agui", body)
    again = await web.post("/agui", body)
    assert again.frames[-1][1] == whole.frames[-1][1]
    assert b"said" in again.body
    behind = await web.post("/agui", body, headers={"last-event-id": whole.frames[-2][0]})
    assert behind.frames == whole.frames[-1:]
    assert len(await history(web, "thread")) == 2


async def test_a_run_is_joined_by_its_id(open_web: OpenWeb) -> None:
    gate = Gate()
    web = open_web([[Say("abc"), gate, Say("def")]])
    async with web.asking("POST", "/agui", run("thread", "run-1", "Go")) as first:
        await first.has("abc")
        assert (await web.get("/agui?threadId=thread")).json()["activeRun"] == {"runId": "run-1"}
        async with web.asking("GET", "/agui?offset=-1&runId=run-1") as joined:
            await joined.has("abc")
            gate.open()
            await joined.ends()
        await first.ends()
    assert joined.text == first.text == "abcdef"
    unknown = await web.get("/agui?runId=nobodys")
    assert (unknown.status, unknown.error) == (404, "run_not_found")


async def test_a_run_is_joined_by_its_id_after_a_restart(open_web: OpenWeb, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'runs.db'}"
    first = open_web(store=store)
    await first.post("/v1/sessions", {"session_id": "another"})
    await first.post("/agui", run("thread", "run-1", "Go"))
    await first.post("/v1/sessions/another/messages", {"message": "Go", "turn_id": "run-2"})
    await first.app.stop()
    second = open_web(store=store)
    for run_id, thread_id in (("run-1", "thread"), ("run-2", "another")):
        joined = await second.get(f"/agui?offset=-1&runId={run_id}")
        assert joined.frames[0][1]["threadId"] == thread_id
        theirs = await second.of(OTHER).get(f"/agui?runId={run_id}")
        assert (theirs.status, theirs.error) == (404, "run_not_found")


async def test_several_messages_and_files_of_one_run(open_web: OpenWeb) -> None:
    web = open_web()
    image = {"type": "image", "source": {"type": "data", "value": "eHg=", "mimeType": "image/png"}}
    old = {"type": "binary", "mimeType": "application/pdf", "data": "eHg=", "filename": "a.pdf"}
    body = run("thread", "run-1", "one", "two")
    body["messages"][1]["content"] = [{"type": "text", "text": "two"}, image, old]
    body["messages"].insert(0, {"id": "s", "role": "system", "content": "Obey the client."})
    answer = await web.post("/agui", {**body, "tools": [{"name": "x"}], "state": {"a": 1}, "unknown": 1})
    assert answer.headers["x-greenroom-ignored"] == "tools, state, messages (system), unknown"
    messages = (await web.get("/v1/sessions/thread/messages")).json()["messages"]
    parts = messages[0]["parts"]
    assert [part.get("media_type", part.get("text")) for part in parts] == [
        "image/png",
        "application/pdf",
        "one\n\ntwo",
    ]


# --- what is not used is named (case W8: agno-agi/agno#7801, pydantic/pydantic-ai#2850) --------------------------------

UNUSED: list[tuple[Json, str]] = [
    ({"tools": [{"name": "x", "description": "", "parameters": {}}]}, "tools"),
    ({"context": [{"description": "the page", "value": "7"}]}, "context"),
    ({"state": {"a": 1}}, "state"),
    ({"forwardedProps": {"mood": "good"}}, "forwardedProps.mood"),
    ({"parentRunId": "run-0"}, "parentRunId"),
    ({"brandNew": 1}, "brandNew"),
    ({"message": {"other": 7}}, "message"),
    ({"na\r\nme: x": 1}, "na??me? x"),
]


@pytest.mark.parametrize(("more", "named"), UNUSED)
@pytest.mark.parametrize("path", ["/agui", "/copilotkit/agent/default/run"])
@pytest.mark.parametrize("version", [{}, {"protocolVersion": "1.0"}])
async def test_a_run_says_what_of_it_is_not_used(web: Web, path: str, more: Json, named: str, version: Json) -> None:
    answer = await web.post(path, {**run("thread", "run-1", "one"), **version, **more})
    assert answer.headers["x-greenroom-ignored"] == named
    events = [event for _, event in answer.frames]
    checked_run([json.dumps(event) for event in events])
    assert (events[1]["type"], events[1]["name"]) == ("CUSTOM", "greenroom.notice")
    assert events[1]["value"] == {"code": "request_partly_ignored", "text": f"not used here: {named}"}
    connected = await web.post("/copilotkit/agent/default/connect", {**run("thread", "c", "one"), **version, **more})
    assert connected.headers["x-greenroom-ignored"] == named
    again = await web.post(path, {**run("thread", "run-2", "one", "two"), **version})
    assert "x-greenroom-ignored" not in again.headers
    assert all(event.get("name") != "greenroom.notice" for _, event in again.frames)


async def test_what_was_said_elsewhere_and_settings_of_a_later_run_are_named(web: Web) -> None:
    body = run("thread", "run-1", "one")
    body["messages"][:0] = [
        {"id": "d", "role": "developer", "content": "Obey."},
        {"id": "u", "role": "user", "content": "before"},
        {"id": "a", "role": "assistant", "content": "was said"},
    ]
    answer = await web.post("/agui", body)
    assert answer.headers["x-greenroom-ignored"] == (
        "messages (developer), messages (what was said before on another thread)"
    )
    later = await web.post("/agui", run("thread", "run-2", "one", "two", forwardedProps={"llm_model": "m"}))
    assert later.headers["x-greenroom-ignored"] == "forwardedProps.llm_model"


PICTURE: Json = {
    "type": "image",
    "source": {"type": "data", "value": base64.b64encode(b"picture").decode(), "mimeType": "image/png"},
}


@pytest.mark.parametrize(
    ("before", "last", "named"),
    [
        ([{"id": "a", "role": "activity", "activityType": "plan", "content": {"steps": 3}}], {}, "messages (activity)"),
        (
            [{"id": "r", "role": "reasoning", "content": "Hm."}],
            {},
            "messages (what was said before on another thread)",
        ),
        ([], {"metadata": {"mood": "good", "tanstack": {"createdAt": "2026"}}}, "messages.metadata.mood"),
        ([], {"metadata": "good"}, "messages.metadata"),
        ([], {"name": "ann", "encryptedValue": "x"}, "messages.name, messages.encryptedValue"),
        ([], {"content": [{"type": "text", "text": "one", "metadata": {"page": 1}}]}, "messages.content.metadata.page"),
        (
            [],
            {"content": [{"type": "text", "text": "one"}, {**PICTURE, "metadata": {"filename": "a.png", "alt": "A"}}]},
            "messages.content.metadata.alt",
        ),
        ([], {"content": [{"type": "text", "text": "one", "citations": [1]}]}, "messages.content.citations"),
    ],
)
async def test_what_a_message_of_a_run_has_beyond_its_text_is_named(
    web: Web, before: list[Json], last: Json, named: str
) -> None:
    """Case W8's siblings, from the schemas of @ag-ui/core 1.0.0."""
    body = run("thread", "run-1", "one")
    body["messages"] = [*before, body["messages"][-1] | last]
    answer = await web.post("/agui", body)
    assert answer.headers["x-greenroom-ignored"] == named
    assert answer.frames[1][1]["value"]["text"] == f"not used here: {named}"
    again = await web.post("/agui", run("thread", "run-2", "one", "two"))
    assert "x-greenroom-ignored" not in again.headers


async def test_what_clients_send_by_themselves_is_not_named(web: Web) -> None:
    """From W8's mending: each message of TanStack AI, and each of its approvals, came back with a notice that nobody could act on."""
    body = run("thread", "run-1", "one")
    body["messages"][-1]["metadata"] = {"tanstack": {"createdAt": "2026-11-29T00:00:00.000Z"}}
    source = {"id": "s", "role": "activity", "activityType": "greenroom.source", "content": {"title": "A"}}
    body["messages"].insert(0, source)
    answer = await web.post("/agui", body)
    assert answer.text == "You said: one"
    assert "x-greenroom-ignored" not in answer.headers
    resumed = {"parentRunId": "run-1", "resume": [{"interruptId": "x", "status": "cancelled"}]}
    assert msgspec.convert({**run("thread", "run-2"), **resumed}, RunAgentInput).ignored(None) == []


async def test_files_that_an_event_has_no_room_for_are_not_lost(web: Web) -> None:
    """Sibling of P21: two attachments of 5 MB made a snapshot at which the client of AG-UI breaks (10 MB); pictures had a bound."""
    contents = [bytes([number]) * 5_000_000 for number in range(2)]
    sources = [{"type": "data", "value": to_base64(each).decode(), "mimeType": "image/png"} for each in contents]
    body = run("thread", "run-1", "look", protocolVersion="1.0")
    text = {"type": "text", "text": "look"}
    body["messages"][0]["content"] = [text, *({"type": "image", "source": source} for source in sources)]
    assert (await web.post("/agui", body)).text == "You said: look (2 attachments)"
    shown = await web.post("/copilotkit/agent/default/connect", {**body, "runId": "run-2"})
    (snapshot,) = [event for _, event in shown.frames if event["type"] == "MESSAGES_SNAPSHOT"]
    assert len(json.dumps(snapshot)) < 10 * 1024 * 1024
    said = snapshot["messages"][0]
    assert said["content"] == [
        {
            "type": "image",
            "source": {"type": "url", "value": "", "mimeType": "image/png"},
            "metadata": {"bytes": 5_000_000},
        },
        {"type": "image", "source": sources[1]},
        text,
    ]
    # A client that sends it again as it was shown asks for another answer to the same message.
    again = await web.post("/agui", {**body, "runId": "run-3", "messages": [said]})
    assert (again.text, "x-greenroom-ignored" in again.headers) == ("You said: look (2 attachments)", False)
    question = (await web.get("/v1/sessions/thread/messages")).json()["messages"][0]
    assert [len(part.get("data", "")) for part in question["parts"]] == [
        *(len(source["value"]) for source in sources),
        0,
    ]
    # As a new message it is refused: what it shows is not there.
    copied = await web.post("/agui", {**body, "runId": "run-4", "messages": [{**said, "id": "m9"}]})
    assert (copied.status, copied.error) == (422, "invalid_argument")
    assert "is empty" in copied.json()["error"]["message"]


def test_what_an_answer_to_an_interrupt_has_beyond_the_decision_is_named() -> None:
    """Case W8's sibling: a message that was sent beside the answer was lost without a word."""
    payload = {"approved": True, "note": 1}
    answer = {"interruptId": "x", "status": "resolved", "payload": payload, "metadata": {"a": 1}}
    body = msgspec.convert(run("thread", "run-1", "one", resume=[answer]), RunAgentInput)
    assert body.ignored(None) == ["messages (a new one beside resume)", "resume.metadata", "resume.payload.note"]


async def test_a_run_that_goes_on_in_the_middle_is_told_by_the_header_alone(web: Web) -> None:
    body = run("thread", "run-1", "one", tools=[{"name": "x"}])
    whole = await web.post("/agui", body)
    last = next(frame_id for frame_id, _ in reversed(whole.frames) if frame_id)
    rest = await web.post("/agui", body, headers={"last-event-id": last})
    assert rest.headers["x-greenroom-ignored"] == "tools"
    assert [event["type"] for _, event in rest.frames] == ["RUN_FINISHED"]


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"system": "Obey."}, "system"),
        ({"tools": {"x": {}}}, "tools"),
        ({"messages": [{**said("one", "m"), "metadata": {"mood": "good"}}]}, "messages.metadata.mood"),
        ({"message": {**said("one", "m"), "metadata": "good"}}, "messages.metadata"),
        (
            {"messages": [{**said("one", "m"), "experimental_attachments": [{"url": "data:,x"}]}]},
            "messages.experimental_attachments",
        ),
        (
            {
                "messages": [
                    {
                        **said("one", "m"),
                        "parts": [{"type": "text", "text": "one"}, {"type": "data-place", "data": {"x": 1}}],
                    }
                ]
            },
            "messages.parts (data-place)",
        ),
        (
            {
                "messages": [
                    {
                        **said("one", "m"),
                        "parts": [{"type": "text", "text": "one", "providerMetadata": {"x": {"y": 1}}}],
                    }
                ]
            },
            "messages.parts.providerMetadata",
        ),
        ({"messages": [{"role": "system", "id": "s", "parts": []}, said("one", "m")]}, "messages (system)"),
        (
            {"messages": [said("x", "u"), {"role": "assistant", "id": "a", "parts": []}, said("one", "m")]},
            "messages (what was said before in another chat)",
        ),
    ],
)
async def test_a_chat_says_what_of_it_is_not_used(web: Web, more: Json, named: str) -> None:
    answer = await web.post("/api/chat", {"id": "chat", "messages": [said("one", "m")], **more})
    assert answer.headers["x-greenroom-ignored"] == named
    kinds = [chunk["type"] for _, chunk in answer.frames]
    assert kinds[:2] == ["start", "data-notice"]
    notice = answer.frames[1][1]
    assert notice["data"]["text"] == f"not used here: {named}"
    assert notice["transient"] is True


# --- CopilotKit's suggestions (case W9: CopilotKit/CopilotKit#1925) ------------------------------------------------------


@pytest.mark.parametrize("path", ["/copilotkit/agent/default/suggest", "/copilotkit/agent/default/run", "/agui"])
async def test_suggestions_make_no_session_and_ask_no_model(web: Web, path: str) -> None:
    chosen = {"type": "function", "function": {"name": "copilotkitSuggest"}}
    asked = run("a-thread-of-its-own", "run-1", "Suggest what the user could say next.")
    answer = await web.post(path, {**asked, "forwardedProps": {"toolChoice": chosen}})
    assert [event["type"] for _, event in answer.frames] == ["RUN_STARTED", "RUN_FINISHED"]
    checked_run([json.dumps(event) for _, event in answer.frames])
    assert (await web.get("/v1/sessions")).json()["sessions"] == []
    assert (await web.get("/copilotkit/info")).json()["suggestions"] is True


async def test_settings_that_a_client_forwards(web: Web) -> None:
    await web.post(
        "/agui", run("thread", "run-1", "one", forwardedProps={"persona_name": "tutor", "user_id": "x", "theme": 1})
    )
    data = (await web.get("/v1/sessions/thread")).json()
    assert (data["persona_name"], data["user_id"]) == ("tutor", "default")


async def test_an_older_client_never_hears_of_cancelled(open_web: OpenWeb) -> None:
    for version, last in ((None, "RUN_ERROR"), ("1.0", "RUN_FINISHED")):
        web = open_web([[Say("abc"), Gate()]])
        more = {"protocolVersion": version} if version else {}
        async with web.asking("POST", "/agui", run("thread", "run-1", "Go", **more)) as running:
            await running.has("abc")
            assert (await web.post("/copilotkit/agent/default/stop/thread", {"runId": "run-1"})).json() == {
                "cancelled": True
            }
            await running.ends()
        assert running.frames[-1][1]["type"] == last


async def test_copilotkit(open_web: OpenWeb) -> None:
    gate = Gate()
    web = open_web([[Say("abc"), gate, Say("def")]])
    info = (await web.get("/copilotkit/info")).json()
    assert info["agents"]["tutor"]["name"] == "tutor"
    body = run("thread", "run-1", "Go")
    assert (await web.post("/copilotkit/agent/tutor/connect", body)).status == 204
    async with web.asking("POST", "/copilotkit/agent/tutor/run", body) as running:
        await running.has("abc")
        async with web.asking("POST", "/copilotkit/agent/tutor/connect", body) as joined:
            await joined.has("MESSAGES_SNAPSHOT")
            gate.open()
            await joined.ends()
    assert joined.frames[-1][1]["type"] == "RUN_FINISHED"
    assert (await web.get("/v1/sessions/thread")).json()["persona_name"] == "tutor"
    unknown = await web.post("/copilotkit/agent/nobody/run", run("other", "run-2", "Go"))
    assert (unknown.status, unknown.error) == (422, "unknown_persona")
    assert (await web.get("/v1/sessions/other")).status == 404, "nothing was made"


# --- AI SDK -------------------------------------------------------------------------------------------------------------


async def test_a_chat_is_made_and_goes_on(web: Web) -> None:
    first = await web.post("/api/chat", {"id": "chat", "messages": [said("one", "m1")], "trigger": "submit-message"})
    assert first.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert chunks(first) == "You said: one"
    assert first.body.endswith(b"data: [DONE]\n\n")
    shown = (await web.get("/api/chat/chat/messages")).json()
    assert [message["id"] for message in shown["messages"]] == ["m1", first.frames[0][1]["messageId"]]
    assert shown["active"] is False
    second = await web.post("/api/chat", {"id": "chat", "messages": [*shown["messages"], said("two", "m2")]})
    assert chunks(second) == "You said: two"
    assert (await web.get("/api/chat/chat/stream")).status == 204
    assert (await web.get("/api/chat/nobodys/stream?x=1")).status == 204


async def test_a_message_that_is_known_is_not_answered_twice(web: Web) -> None:
    body = {"id": "chat", "message": said("one", "m1")}
    assert chunks(await web.post("/api/chat", body)) == chunks(await web.post("/api/chat", body)) == "You said: one"
    assert len(await history(web, "chat")) == 2


async def test_an_answer_is_resumed_and_stopped(open_web: OpenWeb) -> None:
    web = open_web([[Say("abc"), Gate(), Say("def")]])
    async with web.asking("POST", "/api/chat", {"id": "chat", "message": said("Go", "m1")}) as first:
        await first.has("abc")
    assert (await web.get("/api/chat/chat/messages")).json()["active"] is True
    async with web.asking("GET", "/api/chat/chat/stream") as resumed:
        await resumed.has("abc")
        assert (await web.post("/api/chat/chat/stop")).json() == {"cancelled": True}
        await resumed.ends()
    kinds = [chunk["type"] for _, chunk in resumed.frames]
    assert kinds[0] == "start"
    assert kinds[-2:] == ["abort", "finish"]
    assert chunks(resumed) == "abc"


async def test_an_answer_is_given_again_and_a_message_is_edited(open_web: OpenWeb) -> None:
    web = open_web([[Say("first")], [Say("second")], [Say("better")], [Say("other")]])
    for text, message_id in (("one", "m1"), ("two", "m2")):
        answer = await web.post("/api/chat", {"id": "chat", "message": said(text, message_id)})
    answer_id = answer.frames[0][1]["messageId"]
    again = await web.post(
        "/api/chat",
        {"id": "chat", "messages": [said("one", "m1")], "trigger": "regenerate-message", "messageId": answer_id},
    )
    assert chunks(again) == "better"
    assert await history(web, "chat") == [
        ("user", "one"),
        ("assistant", "first"),
        ("user", "two"),
        ("assistant", "better"),
    ]
    edited = await web.post("/api/chat", {"id": "chat", "messages": [said("ONE", "m1")], "messageId": "m1"})
    assert chunks(edited) == "other"
    assert await history(web, "chat") == [("user", "ONE"), ("assistant", "other")]


@pytest.mark.parametrize("text", ["", "x" * 101])
async def test_an_edit_that_is_refused_takes_nothing_away(open_web: OpenWeb, text: str) -> None:
    web = open_web(config={"limits": {"message_bytes_max": 100}})
    await web.post("/api/chat", {"id": "chat", "message": said("one", "m1")})
    before = await history(web, "chat")
    refused = await web.post("/api/chat", {"id": "chat", "message": said(text, "m1"), "messageId": "m1"})
    assert refused.status in {413, 422}
    assert await history(web, "chat") == before


async def test_settings_and_files_of_a_chat(web: Web) -> None:
    file = {"type": "file", "mediaType": "text/plain", "filename": "a.txt", "url": "data:text/plain;base64,aGVsbG8="}
    message = said("look", "m1")
    message["parts"].append(file)
    await web.post("/api/chat", {"id": "chat", "message": message, "persona_name": "tutor", "extra": 1})
    assert (await web.get("/v1/sessions/chat")).json()["persona_name"] == "tutor"
    parts = (await web.get("/v1/sessions/chat/messages")).json()["messages"][0]["parts"]
    assert parts[0] == {"type": "file", "media_type": "text/plain", "data": "aGVsbG8=", "name": "a.txt"}
    await web.post("/api/chat", {"id": "chat", "message": said("more", "m2"), "persona_name": "writer"})
    assert (await web.get("/v1/sessions/chat")).json()["persona_name"] == "writer"
    file["url"] = "https://elsewhere.example/x.png"
    refused = await web.post("/api/chat", {"id": "chat", "message": {**message, "id": "m3"}})
    assert refused.status == 422
    assert "nothing is fetched" in refused.json()["error"]["hint"]


# --- the UI -------------------------------------------------------------------------------------------------------------


async def test_the_ui_is_given_by_name_and_nothing_else(web: Web) -> None:
    from greenroom.server.site_files import File

    web.app.place.files = {
        "index.html": File(b"<html>", "text/html; charset=utf-8", '"1"'),
        "assets/x.js": File(b"1", "text/javascript", '"2"'),
    }
    nobody = web.of(None)
    for path in ("/", "/s/some-session"):
        page = await web.get(path)
        assert (page.status, page.body) == (200, b"<html>")
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert "unsafe" not in page.headers["content-security-policy"]
    asset = await nobody.get("/assets/x.js")
    assert asset.body == b"1"
    assert (await nobody.get("/assets/x.js", headers={"if-none-match": asset.headers["etag"]})).status == 304
    assert (await nobody.get("/assets/y.js")).error == "not_found"


async def test_metrics_count(web: Web) -> None:
    await web.get("/v1/sessions/nobody")
    text = (await web.get("/metrics")).body.decode()
    assert 'greenroom_requests_total{method="GET",route="/v1/sessions/{session_id}",status="404"} 1.0' in text
    assert "greenroom_open_streams 0.0" in text
    assert "nobody" not in text
    assert (await web.of(None).get("/metrics")).status == 401
