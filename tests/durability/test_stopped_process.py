"""The process that owns a session is stopped in the middle of an answer and goes on later: nobody takes the turn from it, nothing runs twice.

Rule: a process that does not move is not a dead one. Its lock says so, not a clock.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from talking import manager_at
from test_kill import CHILD, SESSION, check

from greenroom import AgentManager, LogUnavailable, Receipt


async def say_meanwhile(home: Path, process: subprocess.Popen[str], stopped_s: float, paid: Counter[str]) -> None:
    """Sends a message from here while the owner is stopped; it is acknowledged at once, and answered when the owner goes on."""
    async with manager_at(home, on_paid=lambda key: paid.update([key])) as manager:
        receipt = await sent_while_stopped(manager, process)
        await asyncio.sleep(stopped_s)  # real time: the other process is stopped
        answered = [row.turn_id for row in await manager.history(SESSION) if row.role == "assistant" and row.outcome]
        assert receipt.turn_id not in answered, "nobody takes over what is only asleep"
        process.send_signal(signal.SIGCONT)
        async with asyncio.timeout(30):
            async for frame in manager.attach(SESSION, turn_id=receipt.turn_id):
                last = frame.data
        assert '"RUN_FINISHED"' in last


async def sent_while_stopped(manager: AgentManager, process: subprocess.Popen[str]) -> Receipt:
    """Stops the owner and sends. One that was stopped in the middle of a commit holds the database: then it is told so, and tried again."""
    for _ in range(50):
        process.send_signal(signal.SIGSTOP)
        try:
            return await manager.send(SESSION, "from another process")
        except LogUnavailable as refused:
            told = str(refused)
        process.send_signal(signal.SIGCONT)
        await asyncio.sleep(0.01)  # real time: the other process finishes its commit
    pytest.fail(told)


def stop_and_go_on(home: Path, stopped_s: float) -> None:
    paid: Counter[str] = Counter()
    process = subprocess.Popen(
        [sys.executable, str(CHILD), str(home), SESSION],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(CHILD.parent), "PATH": ""},
    )
    assert process.stdout is not None
    try:
        while "paid" not in process.stdout.readline():
            pass
        asyncio.run(say_meanwhile(home, process, stopped_s, paid))
    finally:
        process.kill()
        said = [line.strip() for line in process.stdout.readlines() if line.endswith("\n")]
        process.wait()
        process.stdout.close()
    paid.update(line.partition(" ")[2] for line in said if line.startswith("paid "))
    asyncio.run(check(home, said, paid))


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped on this system")
def test_a_process_that_is_stopped_for_a_moment(home: Path) -> None:
    stop_and_go_on(home, 1.0)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped on this system")
def test_a_process_that_is_stopped_for_minutes(home: Path) -> None:
    stop_and_go_on(home, 180.0)
