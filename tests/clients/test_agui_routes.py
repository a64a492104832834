"""Every route that speaks AG-UI, under `ag-ui-validate`: runs that end in each way, joined in each place."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ag_ui_validate.pytest_plugin import assert_valid_agui

from clients.conftest import Api
from clients.script import texts

Json = dict[str, Any]

ENDS = {
    "completed": "think:3 say:6 call think:2 say:4",
    "failed": "think:3 say:6 fail",
    "cancelled": "think:3 say:6 hang",
    "asked again": "think:2 say:5 cut say:6 call say:2",
}


def check(frames: list[tuple[str, Json]], end: str) -> None:
    events = [data for _, data in frames]
    ids = [own for own, _ in frames]
    assert all(ids)
    assert len(set(ids)) == len(ids), "TanStack AI drops frames whose id it has seen"
    assert_valid_agui(events, severity_overrides={"AGUI902": "off", "AGUI208": "off"}, max_warnings=0)
    last = events[-1]
    told = {"failed": "RUN_ERROR"}.get(end, "RUN_FINISHED")
    assert last["type"] == told or (end == "cancelled" and last.get("code") == "cancelled"), last


def text_of(frames: list[tuple[str, Json]]) -> str:
    """What is shown in the end, by the client's rules."""
    shown: dict[str, str] = {}
    for _, event in frames:
        match event["type"]:
            case "MESSAGES_SNAPSHOT":
                shown = {m["id"]: m.get("content") or "" for m in event["messages"] if m["role"] == "assistant"}
            case "TEXT_MESSAGE_CONTENT":
                shown[event["messageId"]] = shown.get(event["messageId"], "") + event["delta"]
    return "".join(shown.values())


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("version", ["1.0", None], ids=["1.0", "before 1.0"])
async def test_every_end_on_every_route_in_every_place(
    api: Api, session_id: str, end: str, version: str | None
) -> None:
    body: Json = {"threadId": session_id, "runId": f"run-{session_id}", "messages": []}
    body |= {"protocolVersion": version} if version else {}
    message = {"id": "m-1", "role": "user", "content": ENDS[end]}
    running = asyncio.ensure_future(api.events("POST", "/agui", body | {"messages": [message]}))
    while not (await api.get(f"/agui?threadId={session_id}"))["messages"]:
        pass
    again = [
        asyncio.ensure_future(api.events("POST", "/agui", body | {"messages": [message]})),
        asyncio.ensure_future(api.events("GET", f"/agui?offset=-1&runId={body['runId']}")),
        asyncio.ensure_future(api.events("POST", "/copilotkit/agent/default/connect", body)),
        asyncio.ensure_future(api.events("POST", "/copilotkit/agent/default/run", body | {"messages": [message]})),
    ]
    if end == "cancelled":
        while "w8" not in str(await api.get(f"/v1/sessions/{session_id}/messages")):
            pass
        await api.post(f"/v1/sessions/{session_id}/cancel")
    whole = await running
    expected = text_of(whole)
    assert expected == texts(ENDS[end])
    for frames in (whole, *await asyncio.gather(*again)):
        check(frames, end)
        assert text_of(frames) == expected

    for number, (own_id, _) in enumerate(whole[:-1], start=1):
        rest = await api.events("POST", "/agui", body | {"messages": [message]}, **{"Last-Event-ID": own_id})
        check(whole[:number] + rest, end)
        assert text_of(whole[:number] + rest) == expected, f"behind frame {number}, {own_id}"
    late = await api.events("POST", "/copilotkit/agent/default/connect", body)
    check(late, end)
    assert text_of(late) == expected
