"""The server is killed under running streams and started again: everybody ends up with the exact text."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from clients.conftest import TOKEN, Api, Served, drive
from clients.script import texts
from clients.test_ai_sdk_clients import text
from greenroom.client import Answer, Client
from native_client import NativeReader

Json = dict[str, Any]

MESSAGE = "pause:40 think:5 say:80 call say:20"
"""Some four seconds: the server dies in the middle of the first step, and again in what follows."""


def spec_of(served: Served, client: str, session_id: str) -> tuple[str, Json]:
    """What a client does: it sends, and when its connection breaks, it does what its makers intend."""
    send = {"do": "send", "text": MESSAGE}
    match client:
        case "ai-5" | "ai-6" | "ai-7":
            steps = [send, {"do": "resume"}]
            return "ai_sdk", {
                "sdk": int(client[-1]),
                "api": f"{served.url}/api/chat",
                "chat": session_id,
                "steps": steps,
            }
        case "ag-ui-1" | "ag-ui-0":
            steps = [send, {"do": "rerun"}]
            return "ag_ui", {"client": client[-1], "url": f"{served.url}/agui", "thread": session_id, "steps": steps}
        case "eventsource":
            return "eventsource", {"url": f"{served.url}/v1/sessions/{session_id}/events?cursor=0.0~0"}
        case _:
            return "tanstack", {"url": f"{served.url}/agui", "thread": session_id, "text": MESSAGE}


def text_of(client: str, result: Json) -> str:
    match client:
        case "ai-5" | "ai-6" | "ai-7":
            (answer,) = [message for message in result["messages"] if message["role"] == "assistant"]
            return text(answer, void=False)  # who resumes a stream is shown nothing that is void
        case "ag-ui-1" | "ag-ui-0":
            return "".join(m.get("content") or "" for m in result["messages"] if m["role"] == "assistant")
        case "eventsource":
            reader = NativeReader()
            for event in result["seen"]:
                reader.apply(event["data"])
            return reader.text()
        case _:
            return str(result["sent"]["text"])


async def killed_twice(served: Served, *, after_s: float) -> None:
    for _ in range(2):
        await asyncio.sleep(after_s)  # real time: the process under test lives in it
        served.kill()
        await asyncio.to_thread(served.start)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_every_client_ends_with_the_exact_text(own_server: Served, open_api: Callable[[Served], Api]) -> None:
    api = open_api(own_server)
    clients = ["ai-5", "ai-6", "ai-7", "ag-ui-1", "ag-ui-0", "tanstack", "eventsource"]
    sessions = {client: (await api.post("/v1/sessions", {"backend": "scripted"}))["session_id"] for client in clients}
    running = {
        client: asyncio.ensure_future(drive(*spec_of(own_server, client, session_id)))
        for client, session_id in sessions.items()
    }
    path = f"/v1/sessions/{sessions['eventsource']}/messages"
    await api.post(path, {"message": MESSAGE}, Prefer="respond-async")
    while not all([(await api.get(f"/v1/sessions/{own}"))["turn_count"] for own in sessions.values()]):
        pass
    await killed_twice(own_server, after_s=1.5)
    results = dict(zip(running, await asyncio.gather(*running.values()), strict=True))
    wrong = {client: said for client, result in results.items() if (said := text_of(client, result)) != texts(MESSAGE)}
    assert not wrong


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_hundred_streams_end_with_the_exact_text(own_server: Served, open_api: Callable[[Served], Api]) -> None:
    api = open_api(own_server)
    ids = [(await api.post("/v1/sessions", {"backend": "scripted"}))["session_id"] for _ in range(100)]

    async def asked(session_id: str) -> Answer:
        answer = Answer()
        async with Client(own_server.url, token=TOKEN) as client:
            async for event in client.stream(session_id, MESSAGE):
                answer.apply(event)
        return answer

    running = [asyncio.ensure_future(asked(session_id)) for session_id in ids]
    await asyncio.sleep(2)  # real time: the process under test lives in it
    own_server.kill()
    await asyncio.to_thread(own_server.start)
    answers = await asyncio.gather(*running)
    assert {answer.text for answer in answers} == {texts(MESSAGE)}
    assert {answer.outcome for answer in answers} == {"success"}
