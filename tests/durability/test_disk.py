"""A disk that is full, or refuses to be written, for a while: whoever acts is told, nothing is lost, and it goes on by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from disks import SmallDisk, small_disk

from contract.reading import FrontEnd
from greenroom import AgentManager, LogUnavailable
from greenroom.backends.scripted import Gate, Say, ScriptedBackend

pytestmark = pytest.mark.timeout(60)

LIMITS: Final = {"revive_wait_s_max": 0.2, "drain_s_max": 0.1}


@pytest_asyncio.fixture
async def disk(tmp_path: Path) -> AsyncIterator[SmallDisk]:
    with small_disk(tmp_path / "disk", mib=4) as made:
        yield made


def manager_on(disk: SmallDisk, script: Any) -> AgentManager:
    backends = {"scripted": ScriptedBackend(script)}
    return AgentManager(home=disk.folder / "home", backends=backends, config={"limits": LIMITS})


async def shown(manager: AgentManager, session_id: str) -> str:
    return FrontEnd().apply_all([frame.data async for frame in manager.attach(session_id)]).said("assistant")


async def test_a_message_is_refused_and_can_be_sent_later(disk: SmallDisk) -> None:
    async with manager_on(disk, lambda _: "Fine.") as manager:
        session_id = await manager.create_session(backend="scripted")
        await manager.send(session_id, "before")
        await shown(manager, session_id)
        with disk.full():
            sent, refusal = await sent_until_refused(manager, session_id)
            assert "no space left" in refusal
        await manager.send(session_id, "after")
        while manager.get_session_data(session_id)["status"] != "idle":  # type: ignore[index]
            await shown(manager, session_id)
        turns = [message.turn_id for message in await manager.history(session_id) if message.role == "user"]
        assert set(sent) <= set(turns), "what was acknowledged stays"
        assert len(turns) == len(set(turns)) >= len(sent) + 2
    await reopened(disk, session_id, turns)


async def sent_until_refused(manager: AgentManager, session_id: str) -> tuple[list[str], str]:
    """Turns of the messages that were taken, for some may still fit into the files that are there; and the refusal of the next."""
    sent: list[str] = []
    for number in range(1000):
        try:
            receipt = await manager.send(session_id, f"{number} " + "x" * 100_000)
        except LogUnavailable as refused:
            return sent, str(refused)
        sent.append(receipt.turn_id)
    pytest.fail("the disk is not full")


async def test_an_answer_that_is_interrupted_goes_on_by_itself(disk: SmallDisk) -> None:
    gate = Gate()
    steps = [[Say("So far "), gate, Say("x" * 300_000)], [Say("whole")]]
    async with manager_on(disk, lambda _: steps.pop(0) if len(steps) > 1 else steps[0]) as manager:
        session_id = await manager.create_session(backend="scripted")
        await manager.send(session_id, "Go")
        await gate.reached()
        with disk.full():
            gate.open()
            async for frame in manager.attach(session_id):
                last = frame.data
            assert "log_unavailable" in last
        said = await shown(manager, session_id)
        while not said.endswith("whole"):
            said = await shown(manager, session_id)
        assert said.startswith(("So far ", "whole"))
        history = await manager.history(session_id)
        assert [message.outcome for message in history if message.role == "assistant"] == ["completed"]
        await manager.send(session_id, "And?")
        await shown(manager, session_id)
        turns = [message.turn_id for message in await manager.history(session_id) if message.role == "user"]
    await reopened(disk, session_id, turns)


async def test_a_disk_that_is_read_only_is_told_and_read(disk: SmallDisk) -> None:
    async with manager_on(disk, lambda _: "Fine.") as manager:
        session_id = await manager.create_session(backend="scripted")
        await manager.send(session_id, "before")
        await shown(manager, session_id)
    with disk.read_only():
        async with manager_on(disk, lambda _: "Fine.") as manager:
            with pytest.raises(LogUnavailable, match="written"):
                await manager.create_session(backend="scripted")
    async with manager_on(disk, lambda _: "Fine.") as manager:
        await manager.send(session_id, "after")
        await shown(manager, session_id)
        assert len(await manager.history(session_id)) == 4


async def reopened(disk: SmallDisk, session_id: str, turns: list[str]) -> None:
    """Another process finds all of it, and goes on."""
    async with manager_on(disk, lambda _: "Fine.") as manager:
        await manager.recover()
        found = [message.turn_id for message in await manager.history(session_id) if message.role == "user"]
        assert found == turns
        answer = [event async for event in manager.stream_response(session_id, "still there?")]
        assert '"RUN_FINISHED"' in answer[-1]
