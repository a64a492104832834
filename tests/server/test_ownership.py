"""Every route, with another user's token and ids: nothing is found, nothing is learned, nothing changes.

The requests are made from the OpenAPI document: a route that is added is tested without anybody thinking of it.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from greenroom import AgentManager
from greenroom.backends.scripted import Gate, Say, ScriptedBackend
from greenroom.core.owned import OwnedId
from greenroom.errors import SessionNotFound
from greenroom.interfaces import WorkspaceFolder
from greenroom.server.table import operations
from server.asgi import Json, Response, Web
from server.conftest import OTHER, OpenWeb

SECRET = "the-secret-of-the-first-user"
SESSION = "session-of-the-first-user"
TURN = "turn-of-the-first-user"
NAMES = {
    "session_id": SESSION,
    "path": "secret.txt",
    "approval_id": "a1",
    "agent_id": "default",
    "turn_id": "open",
    "name": "x.js",
    "login_id": "l1",
}
PUBLIC = {
    *("/healthz", "/readyz", "/openapi.json", "/", "/s/{session_id}", "/assets/{name}", "/{name}"),
    *("/login", "/login.css", "/login.js", "/v1/login", "/v1/logout"),
}
"""Public routes: they know no session."""
LOOKS_AT_NO_SESSION = {"/copilotkit/agent/{agent_id}/suggest"}
"""Says the same whatever thread is named."""
ANSWERS_TO_NOBODYS = {"/api/chat/{session_id}/stream", "/agui"}
"""Where a new front end asks whether anything runs, an id that nobody has yet is no error."""


async def prepared(web: Web) -> None:
    """One session with a secret everywhere: title, message, answer, file."""
    made = await web.post("/v1/sessions", {"session_id": SESSION, "title": SECRET, "metadata": {"note": SECRET}})
    assert made.status == 201
    answer = await web.post(f"/v1/sessions/{SESSION}/messages", {"message": SECRET, "turn_id": TURN})
    assert SECRET in answer.text
    assert (await web.ask("PUT", f"/v1/sessions/{SESSION}/workspace/secret.txt", data=SECRET.encode())).status == 201
    async with web.asking(
        "POST", f"/v1/sessions/{SESSION}/messages", {"message": "wait", "turn_id": "open"}
    ) as running:
        await running.has("waiting")


async def whole(web: Web) -> Any:
    """All that the first user has."""
    data = (await web.get(f"/v1/sessions/{SESSION}")).json()
    history = (await web.get(f"/v1/sessions/{SESSION}/messages")).json()
    files = (await web.get(f"/v1/sessions/{SESSION}/workspace/")).json()
    secret = (await web.get(f"/v1/sessions/{SESSION}/workspace/secret.txt")).body
    sessions = (await web.get("/v1/sessions")).json()
    bundle = (await web.get(f"/v1/sessions/{SESSION}/export")).body
    return data, history, files, secret, sessions, bundle


def requests(document: Json) -> list[tuple[str, str, str, Any]]:
    """Method, declared path, path and body for every operation, with the ids of the first user wherever one fits."""
    found = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            filled = re.sub(r"\{(\w+)\}", lambda match: NAMES[match[1]], path)
            query = {
                parameter["name"]: value
                for parameter in operation["parameters"]
                if parameter["in"] == "query"
                and (
                    value := {
                        "query": SECRET,
                        "threadId": SESSION,
                        "runId": TURN,
                        "turn_id": TURN,
                        "protocol": "ag-ui",
                    }.get(parameter["name"])
                )
            }
            suffix = "?" + "&".join(f"{name}={value}" for name, value in query.items()) if query else ""
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            found.append((method.upper(), path, filled + suffix, filler(body, document) if body else None))
    return found


def filler(schema: Json, document: Json) -> Any:
    """The body of a request that would do something."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    own = {
        "session_id": SESSION, "threadId": SESSION, "id": SESSION, "runId": "new-run", "message": "hello",
        "turn_id": TURN, "title": "taken over", "decision": "approve", "config_version": 1, "at_seq": 3,
        "messages": [{"id": "m9", "role": "user", "content": "hello", "parts": [{"type": "text", "text": "hello"}]}],
    }  # fmt: skip
    properties = schema.get("properties", {})
    body = {name: own[name] for name in properties if name in own}
    if "id" in body:  # of the AI SDK, whose message is no text
        del body["message"]
    if "runId" in body and "threadId" not in body:
        body["runId"] = "open"
    return body


@pytest.mark.virtual_time
async def test_another_user_finds_learns_and_changes_nothing(open_web: OpenWeb) -> None:
    gate = Gate()
    web = open_web([[Say(SECRET)], [Say("waiting"), gate, Say("done")]])
    await prepared(web)
    await asyncio.sleep(1)  # what is shown is written
    other = web.of(OTHER)
    before = await whole(web)
    document = (await web.get("/openapi.json")).json()
    rows = requests(document)
    assert len(rows) >= 40
    for method, declared, path, body in rows:
        data = (
            b"PK" if method in {"POST", "PUT"} and body is None and ("import" in path or "workspace" in path) else None
        )
        headers = {"content-type": "application/octet-stream"} if data else {}
        answer = await other.ask(method, path, body, data=data, headers=headers)
        where = f"{method} {path}: {answer.status} {answer.body[:200]!r}"
        assert SECRET.encode() not in answer.body.replace(b"no session '" + SESSION.encode(), b""), where
        assert answer.status < 500 or answer.status == 501, where
        names_foreign = (
            "{session_id}" in declared or (isinstance(body, dict) and SESSION in json.dumps(body)) or TURN in path
        )
        if names_foreign and declared not in PUBLIC | LOOKS_AT_NO_SESSION:
            assert answer.status == 404, where
            if method in {"GET", "DELETE"} and declared not in ANSWERS_TO_NOBODYS:
                nobodys = await other.ask(method, path.replace(SESSION, "nobodys"))
                assert nobodys.body == answer.body.replace(SESSION.encode(), b"nobodys"), "foreign is as unknown"
    assert await whole(web) == before
    assert (await other.get("/v1/sessions")).json()["sessions"] == [], "nothing was made of it either"
    gate.open()


BEGINS = {
    ("POST", "/v1/sessions"),
    ("POST", "/agui"),
    ("POST", "/api/chat"),
    ("POST", "/copilotkit"),
    ("POST", "/copilotkit/agent/{agent_id}/run"),
    ("POST", "/copilotkit/agent/{agent_id}/connect"),
    ("GET", "/agui"),
    ("GET", "/api/chat/{session_id}/stream"),
}
"""Where an id that nobody has yet becomes a session of whoever asks, or may become one: a front end makes the ids of its new ones."""


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"last-event-id": "4.0~1"},
        {"last-event-id": "nonsense"},
        {"prefer": "respond-async"},
        {"range": "bytes=0-1"},
    ],
    ids=lambda headers: next(iter(headers.values()), "plain"),
)
async def test_what_is_foreign_is_as_what_is_not_there(open_web: OpenWeb, headers: dict[str, str]) -> None:
    """The same status, the same headers, the same words: nobody finds out which ids exist."""
    web = open_web([[Say(SECRET)], [Say("waiting"), Gate()]])
    await prepared(web)
    await asyncio.sleep(1)  # what is shown is written
    other = web.of(OTHER)
    compared = set()
    for method, declared, path, body in requests((await web.get("/openapi.json")).json()):
        sent = json.dumps(body) if body is not None else ""
        if (
            declared in PUBLIC
            or (method, declared) in BEGINS
            or not {SESSION, TURN, "open"} & set(re.findall(r"[\w-]+", path + sent))
        ):
            continue
        answers = []
        for session_id, turn_id in ((SESSION, TURN), ("session-of-nobody-at-all", "turn-of-nobody-at-all")):
            asked = (
                path.replace(SESSION, session_id).replace(TURN, turn_id),
                sent.replace(SESSION, session_id).replace(TURN, turn_id),
            )
            data = asked[1].encode() if body is not None else None
            answer = await other.ask(method, asked[0], data=data, headers=headers)
            told = {
                name: value
                for name, value in answer.headers.items()
                if name not in {"x-request-id", "date", "content-length"}
            }
            words = answer.body.replace(session_id.encode(), b"ID").replace(turn_id.encode(), b"TURN")
            answers.append((answer.status, told, words))
        assert answers[0] == answers[1], f"{method} {path}"
        compared.add((method, declared))
    named = {row for row in routes() if "{session_id}" in row[1] and row[1] not in PUBLIC}
    assert compared >= named - BEGINS


async def test_there_is_no_route_beside_the_document(web: Web) -> None:
    """So that what is tried for every route of the document is tried for every route."""
    document = (await web.get("/openapi.json")).json()["paths"]
    told = {(method.upper(), path) for path, methods in document.items() for method in methods}
    assert routes() == told


def routes() -> set[tuple[str, str]]:
    """Method and path of all that the server routes, as the document writes them."""
    return {(row.method, re.sub(r":\w+\}", "}", row.path)) for row in operations()}


@pytest.mark.parametrize("path", ["/v1/sessions", f"/v1/search?query={SECRET}"])
async def test_a_listing_shows_only_ones_own(open_web: OpenWeb, path: str) -> None:
    web = open_web([[Say(SECRET)], [Say("waiting")]])
    await prepared(web)
    assert SECRET.encode() in (await web.get(path)).body
    assert SECRET.encode() not in (await web.of(OTHER).get(path)).body


async def test_an_import_becomes_the_importers(web: Web) -> None:
    await web.post("/v1/sessions", {"session_id": SESSION})
    bundle = (await web.get(f"/v1/sessions/{SESSION}/export")).body
    other = web.of(OTHER)
    made = await other.post("/v1/sessions/import", data=bundle, headers={"content-type": "application/zip"})
    assert (made.status, made.json()["user_id"]) == (201, "other")
    assert made.json()["session_id"] != SESSION
    assert (await web.get(f"/v1/sessions/{made.json()['session_id']}")).status == 404


async def test_memories_are_of_the_user(open_web: OpenWeb) -> None:
    from greenroom.backends.scripted import Call

    web = open_web([
        [Call("remember", {"text": SECRET})], [Say("noted")],
        [Call("recall", {"query": "secret"})], [Say("looked")],
    ])  # fmt: skip
    for who in (web, web.of(OTHER)):
        session_id = (await who.post("/v1/sessions", {})).json()["session_id"]
        answer = await who.post(f"/v1/sessions/{session_id}/messages", {"message": "Go"})
        assert answer.frames[-1][1]["type"] == "RUN_FINISHED"
    assert SECRET.encode() not in answer.body


@pytest.mark.parametrize(
    "token", [None, "", "wrong", "Bearer", "token-of-the-first-use", "token-of-the-first-user2", "ä"]
)
async def test_without_an_accepted_token_there_is_nothing(web: Web, token: str | None) -> None:
    document = (await web.get("/openapi.json")).json()
    nobody = web.of(token)
    for method, declared, path, body in requests(document):
        if declared in PUBLIC:
            continue
        answer = await nobody.ask(method, path, body)
        assert answer.status == 401, f"{method} {path}"
        assert answer.error == "unauthorized"
        assert "www-authenticate" in answer.headers
    assert told_nothing(answer)


def told_nothing(answer: Response) -> bool:
    return SESSION.encode() not in answer.body


async def test_a_session_that_has_become_somebody_elses_is_reached_by_nothing(home: Path) -> None:
    """Between the look at whose a session is and what is done in it, it is deleted and made again by another user."""
    backends = {"scripted": ScriptedBackend()}
    async with AgentManager(
        "memory://", home=home, config={"default_backend": "scripted"}, backends=backends
    ) as manager:
        for user_id in ("ann", "bob"):
            await manager.cleanup_session(SESSION)
            await manager.create_session(
                existing_session_id=SESSION, user_id=user_id, title=user_id, backend="scripted"
            )
        anns = OwnedId.of(SESSION, "ann")
        reached: list[Callable[[], Awaitable[Any]]] = [
            lambda: manager.send(anns, "hello"),
            lambda: manager.history(anns),
            lambda: manager.peek(anns),
            lambda: manager.queue(anns),
            lambda: manager.approvals(anns),
            lambda: manager.update_session(anns, title="ann's"),
            lambda: manager.cancel(anns),
            lambda: manager.steer(anns, "hello"),
            lambda: manager.approve(anns, "a", "approve"),
            lambda: manager.edit_message(anns, "t", "hello"),
            lambda: manager.withdraw_message(anns, "t"),
            lambda: manager.fork_session(anns),
            lambda: manager.rewind_session(anns, "t"),
            lambda: manager.export_session(anns),
            lambda: anext(manager.attach(anns)),
            lambda: manager.hibernate(anns),
            lambda: manager.workspace(anns),
            lambda: manager.in_workspace(anns, lambda folder: folder.write_bytes("a.txt", b"of ann")),
        ]
        seq_before = (await manager.peek(SESSION)).seq
        for act in reached:
            with pytest.raises(SessionNotFound):
                await act()
        await manager.cleanup_session(anns)
        after = await manager.peek(SESSION)
        assert (after.seq, after.tally.user_id, after.tally.labels.title) == (seq_before, "bob", "bob")
        bobs = OwnedId.of(SESSION, "bob")
        assert (await manager.send(bobs, "hello")).session_id == SESSION
        assert (await manager.history(bobs))[0].role == "user"
        assert await manager.fork_session(bobs) != SESSION
        assert await manager.export_session(bobs)
        assert await manager.in_workspace(bobs, lambda folder: list(folder.walk())) == []


async def test_a_session_is_not_deleted_while_a_file_of_it_is_written(home: Path) -> None:
    """Else the file would be the first one of the next session of that id, whose ever that is."""
    async with AgentManager("memory://", home=home, backends={"scripted": ScriptedBackend()}) as manager:
        await manager.create_session(existing_session_id=SESSION, user_id="ann", backend="scripted")
        anns = OwnedId.of(SESSION, "ann")
        begun, may_write = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def written(folder: WorkspaceFolder) -> bool:
            loop.call_soon_threadsafe(begun.set)
            may_write.wait(10)
            return folder.write_bytes("a.txt", b"of ann")

        writing = asyncio.ensure_future(manager.in_workspace(anns, written))
        await begun.wait()
        deleting = asyncio.ensure_future(manager.cleanup_session(SESSION))
        writing.cancel()  # its client has left: the thread writes on
        await asyncio.sleep(0)
        assert not deleting.done()
        may_write.set()
        await deleting
        with pytest.raises(asyncio.CancelledError):
            await writing
        await manager.create_session(existing_session_id=SESSION, user_id="bob", backend="scripted")
        assert await manager.in_workspace(SESSION, lambda folder: list(folder.walk())) == []
