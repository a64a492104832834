"""`kill -9` in the middle of a streaming turn: nothing acknowledged is missing, and the session goes on.

Rule: the child's own lines are the witness. What it said before it died must be in the log; nothing is paid twice.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from talking import STORY, manager_at

from greenroom.core.view import Message, ToolCallView
from greenroom.messages import TextPart

CHILD = Path(__file__).with_name("talking_child.py")
SESSION = "story"


def killed_child(home: Path, delay_s: float) -> list[str]:
    """Lets a child talk for `delay_s` after it has opened the session, kills it, and returns what it said."""
    child = subprocess.Popen(
        [sys.executable, str(CHILD), str(home), SESSION],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(CHILD.parent), "PATH": ""},
    )
    assert child.stdout is not None
    lines = [child.stdout.readline()]
    try:
        child.wait(delay_s)
    except subprocess.TimeoutExpired:
        child.kill()
    lines += child.stdout.readlines()
    child.wait()
    child.stdout.close()
    assert lines[0] == "open\n", "the child did not open the session"
    return [line.strip() for line in lines if line.endswith("\n")]


async def check(home: Path, said: list[str], paid_before: Counter[str]) -> None:
    paid = Counter(paid_before)
    async with manager_at(home, on_paid=lambda key: paid.update([key])) as manager:
        await manager.recover()
        async for _ in manager.attach(SESSION):
            pass
        history = await manager.history(SESSION)
        turns = [message.turn_id for message in history if message.role == "user"]
        assert len(set(turns)) == len(turns)
        answers = {message.turn_id: message for message in history if message.role == "assistant"}
        for line in said:
            kind, _, turn_id = line.partition(" ")
            if kind in {"acknowledged", "finished"}:
                assert turn_id in turns, f"{line}: lost"
                check_answer(answers[turn_id])
        assert max(paid.values(), default=1) == 1, "paid twice"
        answer = [event async for event in manager.stream_response(SESSION, "still there?")]
        assert '"RUN_FINISHED"' in answer[-1]


def check_answer(answer: Message) -> None:
    """An answer that was told is told whole, whoever had to finish it."""
    assert answer.outcome == "completed", answer
    spoken = "".join(part.text for part in answer.parts if isinstance(part, TextPart))
    assert spoken == "".join(STORY), answer
    calls = [part for part in answer.parts if isinstance(part, ToolCallView)]
    assert [call.name for call in calls] == ["pay", "look"]
    assert calls[0].outcome in {"ok", "unknown"}
    assert calls[1].outcome == "ok"


def kill_repeatedly(home: Path, times: int) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    paid: Counter[str] = Counter()
    for _ in range(times):
        said = killed_child(home, chance.uniform(0.0, 0.25))
        paid.update(line.partition(" ")[2] for line in said if line.startswith("paid "))
        asyncio.run(check(home, said, paid))


def test_a_session_survives_kill_9(home: Path) -> None:
    kill_repeatedly(home, 8)


@pytest.mark.long
@pytest.mark.parametrize("home_number", range(20))
def test_a_session_survives_kill_9_two_hundred_times(home: Path, home_number: int) -> None:
    kill_repeatedly(home, 10)
