"""TanStack AI, CopilotKit and EventSource as they are: their own ways to come back."""

from __future__ import annotations

from typing import Any

import pytest

from clients.conftest import Api, Served, drive
from clients.proxy import proxy
from clients.script import texts
from native_client import NativeReader

Json = dict[str, Any]


# --- TanStack AI: sends its request again with Last-Event-ID ------------------------------------------------------------


@pytest.mark.parametrize("cut", [None, 5, 12])
async def test_tanstack_goes_on_by_itself(served: Served, session_id: str, cut: int | None) -> None:
    message = "say:30 call say:10"
    # It gives up when a connection brings nothing new: what went through has to arrive.
    async with proxy(served.port, lambda _: cut, resets=False) as way:
        url = f"http://127.0.0.1:{way.port}/agui"
        result = await drive("tanstack", {"url": url, "thread": session_id, "text": message})
        # Once is enough: when the client is back, the answer may be complete, which takes three frames.
        assert (way.broken >= 1) == (cut is not None)
    assert way.ignored == []
    assert result["sent"]["errors"] == []
    assert result["sent"]["text"] == texts(message)


async def test_tanstack_joins_what_runs(served: Served, session_id: str) -> None:
    message = "pause:20 say:60 call say:10"
    spec = {"url": f"{served.url}/agui", "thread": session_id, "text": message, "joins": 5}
    result = await drive("tanstack", spec)
    assert result["joined"]["errors"] == []
    assert result["sent"]["text"] == result["joined"]["text"] == texts(message)


async def test_sources_and_pictures_harm_no_client_of_ag_ui(served: Served, session_id: str) -> None:
    """P21: TanStack AI and CopilotKit know activity messages, live and in the snapshot of one that joins."""
    message = "pause:20 source say:20 document picture say:60 call source say:10"
    spec = {"url": f"{served.url}/agui", "thread": session_id, "text": message, "joins": 25}
    result = await drive("tanstack", spec)
    assert result["joined"]["errors"] == result["sent"]["errors"] == []
    assert result["sent"]["text"] == result["joined"]["text"] == texts(message)


async def test_sources_and_pictures_harm_no_copilot(served: Served, session_id: str) -> None:
    message = "pause:20 source say:20 document picture say:60 call source say:10"
    spec = {"url": f"{served.url}/copilotkit", "thread": session_id, "agent": "default", "text": message, "joins": 25}
    result = await drive("copilotkit", spec)
    assert result["ran"]["text"] == result["joined"]["text"] == texts(message)
    assert result["errors"] == []


# --- CopilotKit: runs and connects, without a Node runtime --------------------------------------------------------------


async def test_copilotkit_runs_and_connects_in_the_middle(served: Served, session_id: str) -> None:
    message = "pause:20 think:5 say:60 call say:10"
    async with proxy(served.port, lambda _: None) as way:
        url = f"http://127.0.0.1:{way.port}/copilotkit"
        spec = {"url": url, "thread": session_id, "agent": "default", "text": message, "joins": 5}
        result = await drive("copilotkit", spec)
    assert way.ignored == [], "the client has sent nothing that its user could leave out"
    assert result["ran"]["text"] == result["joined"]["text"] == texts(message)
    assert result["errors"] == []


async def test_copilotkit_stops(served: Served, api: Api, session_id: str) -> None:
    spec = {
        "url": f"{served.url}/copilotkit",
        "thread": session_id,
        "agent": "default",
        "text": "say:6 hang",
        "stops": 5,
    }
    result = await drive("copilotkit", spec)
    assert result["ran"]["text"] == texts("say:6")
    while (await api.get(f"/v1/sessions/{session_id}"))["status"] != "idle":
        pass
    assert (await api.get(f"/v1/sessions/{session_id}/messages"))["messages"][-1]["outcome"] == "cancelled"


# --- EventSource: reconnects with Last-Event-ID until it is told that there is nothing more -----------------------------


async def test_eventsource_sees_every_event_once(served: Served, api: Api, session_id: str) -> None:
    message = "pause:50 think:5 say:60 call say:10"  # it waits a second before it comes back
    await api.post(f"/v1/sessions/{session_id}/messages", {"message": message}, Prefer="respond-async")
    async with proxy(served.port, lambda number: 12 if number <= 2 else None) as way:
        url = f"http://127.0.0.1:{way.port}/v1/sessions/{session_id}/events?cursor=0.0~0"
        result = await drive("eventsource", {"url": url})
        assert way.broken == 2
    assert result["opened"] >= 3
    ids = [event["id"] for event in result["seen"]]
    assert len(set(ids)) == len(ids)
    reader = NativeReader()
    for event in result["seen"]:
        reader.apply(event["data"])
    assert reader.text() == texts(message)
    assert reader.outcomes == ["completed"]
