"""Messages and their streams over HTTP: sent, followed, lost, rejoined, stopped."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

import pytest

from contract.reading import checked_run
from greenroom.backends.scripted import Gate, Say, Think
from server.asgi import Web
from server.conftest import OpenWeb


async def session(web: Web, **settings: Any) -> str:
    made = await web.post("/v1/sessions", settings)
    assert made.status == 201
    return str(made.json()["session_id"])


def joined(frames: list[tuple[str, Any]]) -> list[Any]:
    """Events, with the deltas of one part together: what is replayed comes in larger pieces."""
    found: list[Any] = []
    for key, group in groupby((event for _, event in frames), lambda event: (event["type"], event.get("messageId"))):
        events = list(group)
        found.append((*key, "".join(event["delta"] for event in events)) if "delta" in events[0] else events)
    return found


async def test_a_message_is_answered_with_the_stream_of_its_turn(web: Web) -> None:
    session_id = await session(web)
    answer = await web.post(f"/v1/sessions/{session_id}/messages", {"message": "Hello", "turn_id": "run-1"})
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["x-turn-id"] == "run-1"
    assert b"\r" not in answer.body
    checked_run([json.dumps(event) for _, event in answer.frames])
    assert answer.text == "You said: Hello"
    ids = [position for position, _ in answer.frames]
    assert len(set(ids)) == len(ids)
    assert "" not in ids


async def test_a_receipt_instead_of_a_stream(web: Web) -> None:
    session_id = await session(web)
    path = f"/v1/sessions/{session_id}/messages"
    answer = await web.post(path, {"message": "Hello"}, headers={"prefer": "respond-async"})
    assert answer.status == 202
    receipt = answer.json()
    assert (receipt["session_id"], receipt["position"], receipt["is_repeat"]) == (session_id, 0, False)
    events = await web.get(f"/v1/sessions/{session_id}/events?turn_id={receipt['turn_id']}&protocol=ag-ui")
    assert events.text == "You said: Hello"


async def test_the_same_message_again_goes_on_behind_every_frame(open_web: OpenWeb) -> None:
    web = open_web([[Think(["Let ", "me"]), Say(list("Done: 1."))]])
    session_id = await session(web)
    path, body = f"/v1/sessions/{session_id}/messages", {"message": "Go", "turn_id": "run-1"}
    whole = (await web.post(path, body)).frames
    for k, (position, _) in enumerate(whole[:-1]):
        rest = (await web.post(path, body, headers={"last-event-id": position})).frames
        assert joined(rest) == joined(whole[k + 1 :])
    assert len((await web.get(path)).json()["messages"]) == 2


@pytest.mark.parametrize("protocol", ["native", "ag-ui", "ag-ui-0", "ai-sdk", "ai-sdk-7"])
async def test_a_session_is_followed_in_every_protocol(open_web: OpenWeb, protocol: str) -> None:
    gate = Gate()
    web = open_web([[Say("abc"), gate, Say("def")]])
    session_id = await session(web)
    await web.post(f"/v1/sessions/{session_id}/messages", {"message": "Go"}, headers={"prefer": "respond-async"})
    async with web.asking("GET", f"/v1/sessions/{session_id}/events?protocol={protocol}") as following:
        await following.has("abc")
        gate.open()
        await following.has("def")
        await following.ends()
    assert following.status == 200
    cut = following.frames[-3][0]
    rest = await web.get(f"/v1/sessions/{session_id}/events?protocol={protocol}", headers={"last-event-id": cut})
    assert rest.frames == following.frames[-2:]
    done = await web.get(
        f"/v1/sessions/{session_id}/events?protocol={protocol}", headers={"last-event-id": following.frames[-1][0]}
    )
    assert done.status == 204


async def test_a_client_that_leaves_does_not_stop_the_turn(open_web: OpenWeb) -> None:
    gate = Gate()
    web = open_web([[Say("abc"), gate, Say("def")]])
    session_id = await session(web)
    path = f"/v1/sessions/{session_id}/messages"
    async with web.asking("POST", path, {"message": "Go", "turn_id": "run-1"}) as following:
        await following.has("abc")
    assert web.app.place.quotas.open_streams == 0
    gate.open()
    again = await web.post(path, {"message": "Go", "turn_id": "run-1"})
    assert again.text == "abcdef"


async def test_a_turn_is_stopped(open_web: OpenWeb) -> None:
    gate = Gate()
    web = open_web([[Say("abc"), gate, Say("def")]])
    session_id = await session(web)
    async with web.asking("POST", f"/v1/sessions/{session_id}/messages", {"message": "Go"}) as following:
        await following.has("abc")
        assert (await web.post(f"/v1/sessions/{session_id}/cancel")).json() == {"cancelled": True}
        await following.has("RUN_FINISHED")
    assert following.frames[-1][1]["outcome"] == {"type": "cancelled"}
    assert (await web.post(f"/v1/sessions/{session_id}/cancel")).json() == {"cancelled": False}
