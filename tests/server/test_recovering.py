"""A server goes on with what other servers leave while it runs, and says so when something in its background fails."""

from __future__ import annotations

import asyncio
from pathlib import Path

from contract.stage import becomes
from greenroom.backends.scripted import Gate, Say
from server.asgi import Web
from server.conftest import OpenWeb

QUICK = {"limits": {"recovery_look_s_max": 0.02}}


async def said(web: Web, session_id: str) -> list[str]:
    answer = await web.get(f"/v1/sessions/{session_id}/messages")
    assert answer.status == 200, answer.body
    rows = answer.json()["messages"]
    return [part["text"] for row in rows for part in row["parts"] if part["type"] == "text"]


async def test_a_running_server_goes_on_with_what_another_one_hands_over(open_web: OpenWeb, tmp_path: Path) -> None:
    """From `cluster.md`, "Drain is a hand-over": without it, the turn waits until somebody opens the session, or a server starts."""
    store, gate = f"sqlite:///{tmp_path / 'sessions.db'}", Gate()
    first = open_web([[Say("Half "), gate]], store=store, config=QUICK)
    second = open_web(["Seen."], store=store, config=QUICK)
    await second.app.start()
    session_id = (await first.post("/v1/sessions", {})).json()["session_id"]
    async with first.asking("POST", f"/v1/sessions/{session_id}/messages", {"message": "Hello"}):
        await gate.reached()
        await first.app.stop()
    async with asyncio.timeout(20):
        while await said(second, session_id) != ["Hello", "Seen."]:  # noqa: ASYNC110 - it is known by asking
            await asyncio.sleep(0.02)  # real time: the threads of the store need some


async def test_what_fails_in_the_background_is_counted_and_shown(open_web: OpenWeb) -> None:
    web = open_web()
    await web.app.start()
    assert (await web.get("/readyz")).json() == {"status": "ok"}
    starts = 0

    async def work() -> None:
        nonlocal starts
        starts += 1
        if starts < 3:
            raise RuntimeError("no good")

    web.app.place.tasks.keep(work, name="a test")
    await becomes(lambda: starts == 3)
    assert (await web.get("/readyz")).json() == {"status": "ok", "failing": ["a test"]}
    assert 'greenroom_background_failures_total{task="a test"} 2.0' in (await web.get("/metrics")).body.decode()
