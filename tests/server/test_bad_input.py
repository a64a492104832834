"""What is wrong with a request is said in JSON, with a status that fits; nothing changes, nothing leaks, nothing fails."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from greenroom.backends.scripted import Gate, Say
from server.asgi import Response, Web
from server.conftest import OTHER, TOKEN, OpenWeb
from server.test_ownership import requests

SESSION = "the-session"
WRONG = "invalid_argument"
DEEP: Any = json.loads("[" * 100 + "]" * 100)


def is_error(answer: Response, status: int, code: str) -> None:
    assert (answer.status, answer.error) == (status, code), answer.body
    error = answer.json()["error"]
    assert set(error) <= {"code", "message", "hint"}
    assert error["message"]
    assert "Traceback" not in answer.body.decode()


@pytest.fixture
async def prepared(web: Web) -> Web:
    """A server with one session that has said something."""
    await web.post("/v1/sessions", {"session_id": SESSION, "title": "before"})
    await web.post(f"/v1/sessions/{SESSION}/messages", {"message": "Hello", "turn_id": "turn-1"})
    return web


async def whole(web: Web) -> Any:
    data, said = await web.get(f"/v1/sessions/{SESSION}"), await web.get(f"/v1/sessions/{SESSION}/messages")
    return data.json(), said.json(), (await web.get("/v1/sessions")).json()


BODIES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"1",
    b'"x"',
    b"\xff\xfe",
    b"{}x",
    b"[" * 5000,
    b'{"message": }',
    b"{}" * 3,
    b'{"a":1,"a":2}',
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
async def test_every_route_with_a_body_that_is_none(prepared: Web, body: bytes) -> None:
    before = await whole(prepared)
    document = (await prepared.get("/openapi.json")).json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" not in content or (body in {b"", b'{"a":1,"a":2}'}):
                continue
            filled = (
                path.replace("{session_id}", SESSION)
                .replace("{agent_id}", "default")
                .replace("{approval_id}", "a")
                .replace("{turn_id}", "a")
            )
            answer = await prepared.ask(method.upper(), filled, data=body)
            assert answer.status in {400, 413, 422}, f"{method} {path}: {answer.status}"
            assert answer.error in {"malformed_json", "invalid_argument", "unknown_setting", "limit_exceeded"}
    assert await whole(prepared) == before


@pytest.mark.parametrize(
    ("method", "path", "body", "message"),
    [
        ("POST", "/v1/sessions", {"temperature": "hot"}, "temperature"),
        ("POST", "/v1/sessions", {"temperature": 3}, "temperature"),
        ("POST", "/v1/sessions", {"tempreature": 1}, "tempreature"),
        ("POST", "/v1/sessions", {"user_id": "somebody"}, "user_id"),
        ("POST", "/v1/sessions", {"session_id": "../x"}, "session_id"),
        ("POST", "/v1/sessions", {"session_id": 7}, "session_id"),
        ("POST", "/v1/sessions", {"title": "x" * 501}, "title"),
        ("POST", "/v1/sessions", {"title": None}, "title"),
        ("POST", "/v1/sessions", {"metadata": [1]}, "metadata"),
        ("POST", "/v1/sessions", {"llm_model": ""}, "llm_model"),
        ("POST", "/v1/sessions", {"additional_tools": "x"}, "additional_tools"),
        ("PATCH", f"/v1/sessions/{SESSION}", {"max_steps": 0}, "max_steps"),
        ("PATCH", f"/v1/sessions/{SESSION}", {"max_steps": 1.5}, "max_steps"),
        ("PATCH", f"/v1/sessions/{SESSION}", {"overlap": "perhaps"}, "overlap"),
        ("PATCH", f"/v1/sessions/{SESSION}", {"thinking_budget_tokens": 2000, "max_tokens": 1500}, "max_tokens"),
        ("POST", f"/v1/sessions/{SESSION}/messages", {}, "message"),
        ("POST", f"/v1/sessions/{SESSION}/messages", {"message": ""}, "empty"),
        ("POST", f"/v1/sessions/{SESSION}/messages", {"message": " \n"}, "empty"),
        ("POST", f"/v1/sessions/{SESSION}/messages", {"message": 1}, "message"),
        ("POST", f"/v1/sessions/{SESSION}/messages", {"message": "x", "turn_id": "a b"}, "turn_id"),
        ("POST", f"/v1/sessions/{SESSION}/messages", {"message": "x", "attachments": [{"data": "%"}]}, "base64"),
        ("POST", f"/v1/sessions/{SESSION}/messages", {"message": "x", "attachments": [{"data": "https://a.example/x"}]}, "URL"),
        ("POST", f"/v1/sessions/{SESSION}/messages", {"message": "x", "attachments": [{"data": "eHg="}]}, "not complete"),
        ("POST", f"/v1/sessions/{SESSION}/fork", {"at_seq": 0}, "at_seq"),
        ("POST", f"/v1/sessions/{SESSION}/fork", {"at_seq": 10_000}, "at_seq"),
        ("POST", f"/v1/sessions/{SESSION}/rewind", {"turn_id": "nothing"}, "no turn"),
        ("GET", "/v1/sessions?limit=0", None, "limit"),
        ("GET", "/v1/sessions?limit=501", None, "limit"),
        ("GET", "/v1/sessions?limit=x", None, "limit"),
        ("GET", "/v1/sessions?unknown=1", None, "unknown"),
        ("GET", "/v1/sessions?cursor=nonsense", None, "cursor"),
        ("GET", "/v1/search", None, "query"),
        ("GET", f"/v1/sessions/{SESSION}/events?cursor=x", None, "cursor"),
        ("GET", f"/v1/sessions/{SESSION}/events?protocol=smoke", None, "protocol"),
        ("GET", f"/v1/sessions/{SESSION}/events?turn_id=none", None, "no turn"),
        ("POST", "/agui", {"threadId": "a", "runId": "r"}, "messages"),
        ("POST", "/agui", {"threadId": "a/b", "runId": "r", "messages": []}, "threadId"),
        ("POST", "/agui", {"threadId": "a", "runId": "r", "messages": []}, "no new message"),
        ("POST", "/agui", {"threadId": "a", "runId": "r", "messages": [{"id": "m", "role": "user", "content": 3}]}, "content"),
        ("POST", "/agui", {"threadId": "a", "runId": "r", "messages": [{"id": "m", "role": "user", "content": [{"type": "smell"}]}]},
         "smell"),
        ("GET", "/agui", None, "threadId"),
        ("POST", "/api/chat", {"messages": []}, "id"),
        ("POST", "/api/chat", {"id": "a", "messages": []}, "no message"),
        ("POST", "/api/chat", {"id": "a", "messages": [{"role": "user", "parts": [{"type": "smell"}]}]}, "smell"),
        ("POST", "/api/chat", {"id": "a", "messages": [{"role": "assistant", "id": "x", "parts": []}]}, "answer"),
        ("POST", "/api/chat", {"id": "a", "trigger": "regenerate-message", "messages": []}, "no such answer"),
        ("POST", f"/v1/sessions/{SESSION}/cancel", {"now": True}, "nothing"),
    ],
)  # fmt: skip
async def test_a_wrong_value_is_named(prepared: Web, method: str, path: str, body: Any, message: str) -> None:
    before = await whole(prepared)
    answer = await prepared.ask(method, path, body)
    assert answer.status == 422, answer.body
    is_error(answer, 422, answer.error)
    assert message in json.dumps(answer.json(), ensure_ascii=False)
    assert await whole(prepared) == before


@pytest.mark.parametrize(
    ("method", "path", "body", "said"),
    [
        ("PATCH", f"/v1/sessions/{SESSION}", {"temprature": 1},
         ("unknown_setting", "unknown setting 'temprature'", "did you mean 'temperature'?")),
        ("POST", "/v1/sessions", {"temperature": "hot"},
         (WRONG, "temperature: a number or null is expected, not a text", "a number from 0 to 2")),
        ("POST", "/v1/sessions", {"overlap": "never"}, (WRONG, "overlap: 'never' is not possible", "one of enqueue, reject")),
        ("POST", f"/v1/sessions/{SESSION}/messages", {}, (WRONG, "'message' is missing", "the fields are message")),
        ("POST", f"/v1/sessions/{SESSION}/messages", {"message": [1]}, (WRONG, "message: a text is expected, not a list", "")),
        ("POST", f"/v1/sessions/{SESSION}/messages", {"message": "x", "attachments": [{"data": 1}]},
         (WRONG, "attachments[0].data: a text is expected, not a whole number", "")),
        ("POST", f"/v1/sessions/{SESSION}/messages", {"message": "x", "attachments": [{"date": "eA=="}]},
         (WRONG, "unknown field 'date' in attachments[0]", "did you mean 'data'?")),
        ("POST", f"/v1/sessions/{SESSION}/approvals/a", {"decision": "maybe"},
         (WRONG, "decision: 'maybe' is not possible", "one of approve, deny")),
        ("GET", "/v1/sessions?limit=many", None, (WRONG, "limit: a whole number is expected, not a text", "query, limit")),
        ("GET", "/v1/sessions?lmit=1", None, (WRONG, "unknown parameter 'lmit'", "did you mean 'limit'?")),
        ("PATCH", f"/v1/sessions/{SESSION}", {"metadata": {"a": DEEP}}, (WRONG, "64 levels", "64 KiB and 64 levels")),
    ],
)  # fmt: skip
async def test_an_error_says_in_plain_words_what_would_be_right(
    prepared: Web, method: str, path: str, body: Any, said: tuple[str, str, str]
) -> None:
    code, message, hint = said
    answer = await prepared.ask(method, path, body)
    is_error(answer, 422, code)
    error = answer.json()["error"]
    assert message in error["message"]
    assert hint in error.get("hint", "")


async def test_what_comes_twice_or_packed_is_refused(prepared: Web) -> None:
    packed = await prepared.post("/v1/sessions", data=gzip.compress(b"{}"), headers={"content-encoding": "gzip"})
    is_error(packed, 415, "unsupported_encoding")
    is_error(await prepared.post(f"/v1/sessions/{SESSION}/messages", data=b""), 400, "malformed_json")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/v1", 404, "not_found"),
        ("GET", "/v1/sessions/", 404, "not_found"),
        ("GET", "/v1/sessions/nobody", 404, "session_not_found"),
        ("GET", "/v1/sessions/%00", 404, "session_not_found"),
        ("GET", "/v1/sessions/" + "x" * 500, 404, "session_not_found"),
        ("GET", "/assets/../../pyproject.toml", 404, "not_found"),
        ("GET", "/assets/%2e%2e/index.html", 404, "not_found"),
        ("PUT", "/v1/sessions", 405, "method_not_allowed"),
        ("DELETE", "/v1/sessions", 405, "method_not_allowed"),
        ("TRACE", "/v1/sessions", 405, "method_not_allowed"),
        ("BREW", "/v1/sessions", 405, "method_not_allowed"),
        ("GET", f"/v1/sessions/{SESSION}/cancel", 405, "method_not_allowed"),
        ("HEAD", f"/v1/sessions/{SESSION}/events", 405, "method_not_allowed"),
        ("OPTIONS", "/v1/sessions", 405, "method_not_allowed"),
    ],
)
async def test_what_is_not_there(prepared: Web, method: str, path: str, status: int, code: str) -> None:
    answer = await prepared.ask(method, path)
    is_error(answer, status, code)
    if status == 405:
        assert answer.headers["allow"]


async def test_positions_of_other_sessions_and_of_nobody(prepared: Web) -> None:
    await prepared.post("/v1/sessions", {"session_id": "second"})
    there = await prepared.post("/v1/sessions/second/messages", {"message": "of the second session"})
    for cursor in (there.frames[3][0], "99999.0~1", "1.500~7", "0.0~0", "3.2~1+4", "3.2~1!900000"):
        answer = await prepared.get(f"/v1/sessions/{SESSION}/events?protocol=ag-ui", headers={"last-event-id": cursor})
        assert answer.status in {200, 204}
        assert b"of the second session" not in answer.body
        if answer.status == 200:
            assert b"You said: Hello" in answer.body or '"Hello"' in answer.body.decode(), "a snapshot"


@pytest.mark.parametrize("name", ["x-request-id", "last-event-id", "prefer", "cookie", "authorization", "content-type"])
@pytest.mark.parametrize("value", ["a\r\nset-cookie: x=1", "ä", "x" * 5000, "\x00", ""])
async def test_headers_with_anything_in_them(prepared: Web, name: str, value: str) -> None:
    answer = await prepared.post(f"/v1/sessions/{SESSION}/cancel", headers={name: value})
    assert answer.status in {200, 401, 415}
    for header, text in answer.headers.items():
        assert "\r" not in header + text
        assert "\n" not in header + text
    assert "set-cookie" not in answer.headers


# --- bounds: at them, and one above -------------------------------------------------------------------------------------


async def test_the_longest_message_and_one_above(open_web: OpenWeb) -> None:
    web = open_web(config={"limits": {"message_bytes_max": 100, "attachments_max": 1, "attachment_bytes_max": 10}})
    await web.post("/v1/sessions", {"session_id": SESSION})
    path = f"/v1/sessions/{SESSION}/messages"
    ten, eleven = {"data": "eHh4eHh4eHh4eA==", "name": "a.txt"}, {"data": "eHh4eHh4eHh4eHg=", "name": "a.txt"}
    assert (await web.post(path, {"message": "x" * 100, "attachments": [ten]})).status == 200
    is_error(await web.post(path, {"message": "x" * 101}), 413, "limit_exceeded")
    is_error(await web.post(path, {"message": "x", "attachments": [eleven]}), 413, "limit_exceeded")
    is_error(await web.post(path, {"message": "x", "attachments": [ten, ten]}), 413, "limit_exceeded")
    assert len((await web.get(path)).json()["messages"]) == 2


@pytest.mark.parametrize(
    "length", [{}, {"content-length": None, "transfer-encoding": "chunked"}], ids=["told", "not told"]
)
async def test_the_largest_body_and_one_above(open_web: OpenWeb, length: dict[str, str | None]) -> None:
    web = open_web(config={"limits": {"json_body_bytes_max": 200}})
    fits = b'{"title":"' + b"x" * 188 + b'"}'
    assert (await web.post("/v1/sessions", data=fits, headers=length)).status == 201
    is_error(await web.post("/v1/sessions", data=fits + b" ", headers=length), 413, "limit_exceeded")


async def test_the_largest_bundle_and_one_above(open_web: OpenWeb) -> None:
    web = open_web(config={"limits": {"import_bytes_max": 200}})
    headers = {"content-type": "application/zip"}
    path = "/v1/sessions/import"
    is_error(await web.post(path, data=b"x" * 200, headers=headers), 422, "invalid_stream")  # taken, and no bundle
    is_error(await web.post(path, data=b"x" * 201, headers=headers), 413, "limit_exceeded")


async def test_the_last_body_in_memory_and_one_above(open_web: OpenWeb) -> None:
    gate = Gate()
    web = open_web([[gate, Say("done")]], config={"limits": {"request_bodies_bytes_max": 300}})
    assert (await web.post("/v1/sessions", data=b'{"title":"' + b"x" * 288 + b'"}')).status == 201
    above = await web.post("/v1/sessions", data=b'{"title":"' + b"x" * 289 + b'"}')
    is_error(above, 503, "too_many_bodies")
    assert above.headers["retry-after"]
    for _ in range(5):
        assert (await web.post("/v1/sessions", data=b'{"title":"' + b"x" * 200 + b'"}')).status == 201, "it was let go"


async def test_the_last_stream_and_one_above(open_web: OpenWeb) -> None:
    gate = Gate()
    web = open_web([[Say("abc"), gate]] * 9, config={"limits": {"streams_per_user_max": 2, "streams_max": 3}})
    path = f"/v1/sessions/{SESSION}/events"
    await web.post("/v1/sessions", {"session_id": SESSION})
    await web.post(f"/v1/sessions/{SESSION}/messages", {"message": "Go"}, headers={"prefer": "respond-async"})
    other = web.of(OTHER)
    await other.post("/v1/sessions", {"session_id": "others"})
    await other.post("/v1/sessions/others/messages", {"message": "Go"}, headers={"prefer": "respond-async"})
    async with web.asking("GET", path) as first, web.asking("GET", path) as second:
        await first.has("abc")
        await second.has("abc")
        third = await web.get(path)
        is_error(third, 429, "too_many_streams")
        assert third.headers["retry-after"] == "5"
        async with other.asking("GET", "/v1/sessions/others/events") as theirs:
            await theirs.has("abc")
            above = await other.get("/v1/sessions/others/events")
            is_error(above, 503, "too_many_streams")
    async with web.asking("GET", path) as again:
        await again.has("abc")


async def test_the_last_request_of_a_minute_and_one_above(open_web: OpenWeb) -> None:
    web = open_web(config={"limits": {"requests_per_minute_max": 5}})
    for _ in range(5):
        assert (await web.get("/v1/sessions")).status == 200
    above = await web.get("/v1/sessions")
    is_error(above, 429, "too_many_requests")
    assert 1 <= int(above.headers["retry-after"]) <= 60
    assert (await web.of(OTHER).get("/v1/sessions")).status == 200, "another user has a minute of their own"
    assert (await web.get("/healthz")).status == 200


async def test_the_last_message_of_a_minute_and_one_above(open_web: OpenWeb) -> None:
    web = open_web(config={"limits": {"messages_per_minute_max": 2}})
    await web.post("/v1/sessions", {"session_id": SESSION})
    for _ in range(2):
        assert (await web.post(f"/v1/sessions/{SESSION}/messages", {"message": "x"})).status == 200
    is_error(await web.post(f"/v1/sessions/{SESSION}/messages", {"message": "x"}), 429, "too_many_requests")
    chat = {"id": SESSION, "message": {"role": "user", "id": "m", "parts": [{"type": "text", "text": "x"}]}}
    is_error(await web.post("/api/chat", chat), 429, "too_many_requests")


# --- what is not told ---------------------------------------------------------------------------------------------------


async def test_nothing_is_told_that_is_not_for_clients(open_web: OpenWeb, home: Path) -> None:
    prompt = "the words of a persona that nobody is to read"
    (home / "personas").mkdir(parents=True)
    (home / "personas" / "quiet.md").write_text(prompt, encoding="utf-8")
    # At a port where nothing listens: the route that lists models asks the provider.
    web = open_web(config={"openai": {"api_key": "sk-a-key-of-the-operator", "base_url": "http://127.0.0.1:9/v1"}})
    await web.post("/v1/sessions", {"session_id": SESSION, "persona_name": "quiet"})
    await web.post(f"/v1/sessions/{SESSION}/messages", {"message": "Hello", "turn_id": "turn-1"})
    document = (await web.get("/openapi.json")).json()
    for method, _, path, body in requests(document):
        asked = path.replace("session-of-the-first-user", SESSION)
        answer = await web.ask(method, asked, None if method == "GET" else body)
        for secret in (prompt, "sk-a-key", str(home), TOKEN, OTHER, "Traceback", 'File "'):
            assert secret not in answer.body.decode("utf-8", "replace"), f"{method} {path} tells {secret!r}"


async def test_a_failure_of_ours_is_said_without_its_details(
    open_web: OpenWeb, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(dict[str, Any]):
        def get(self, *_: object) -> Any:
            raise RuntimeError("a secret of the inside")

    web = open_web()
    web.app.place.files = Broken()
    answer = await web.get("/assets/x.js")
    is_error(answer, 500, "internal_error")
    assert "inside" not in answer.body.decode()
    assert "a secret of the inside" in caplog.text
    assert answer.headers["x-request-id"] in answer.json()["error"]["hint"]
