"""What happens to a turn that was cut: by the table of the design, row by row."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from contract.conftest import OpenStage
from contract.reading import text_of
from contract.stage import Stage, words
from greenroom import ToolContext, Toolset, tool
from greenroom.backends.scripted import Call, Gate, Say, Think


@pytest.fixture
def store(file_store: str) -> str:
    return file_store


class Pump(Toolset):
    """Pumps; each kind of effect once."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.hangs = hangs
        self.running = asyncio.Event()
        self.runs: list[tuple[str, str]] = []

    @tool(effect="pure")
    async def look(self, context: ToolContext) -> str:
        """Looks."""
        return await self._pump("look", context)

    @tool(effect="idempotent")
    async def fill(self, context: ToolContext) -> str:
        """Fills."""
        return await self._pump("fill", context)

    @tool(effect="once")
    async def pour(self, context: ToolContext) -> str:
        """Pours."""
        return await self._pump("pour", context)

    @tool
    async def drip(self, context: ToolContext) -> str:
        """Says nothing about its effect."""
        return await self._pump("drip", context)

    async def _pump(self, name: str, context: ToolContext) -> str:
        self.runs.append((name, context.idempotency_key))
        self.running.set()
        if self.hangs:
            await asyncio.Event().wait()
        return f"{name} done"


async def settled(stage: Stage, session_id: str) -> None:
    async for _ in stage.manager.attach(session_id):
        pass


async def outcomes(stage: Stage, session_id: str) -> list[tuple[str, str | None]]:
    return [(m.text, m.outcome) for m in await stage.manager.history(session_id) if m.role == "assistant"]


async def test_a_session_that_cannot_be_recovered_does_not_keep_others_from_it(
    open_stage: OpenStage, file_store: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the reason: here a record of one log is damaged, one is of a newer version, and the row of a third is no row."""
    first = open_stage([[Gate()]] * 5)
    ids = sorted([await first.session() for _ in range(5)])
    for session_id in ids:
        await first.manager.send(session_id, "hello")
    await first.manager.close()
    damage(file_store, ids[0], b'{"type":"message_acc')
    damage(file_store, ids[1], b'{"type":"something_new"}')
    with closing(sqlite3.connect(file_store.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute(
            "UPDATE session SET summary = ? WHERE log_id = (SELECT log_id FROM log WHERE session_id = ?)",
            (b"{", ids[2]),
        )

    second = open_stage(["Seen."] * 5)
    assert await second.manager.recover() == 5
    for session_id in ids[:2]:
        assert caplog.text.count(f"session {session_id} cannot be recovered") == 1
    for session_id in ids[2:]:  # what the third was is in its log
        await settled(second, session_id)
        assert await outcomes(second, session_id) == [("Seen.", "completed")]
    assert await second.manager.recover() == 0, "what cannot be recovered is left alone for a while"
    assert caplog.text.count("cannot be recovered") == 2


def damage(file_store: str, session_id: str, body: bytes) -> None:
    """Puts something else in the place of a session's message."""
    with closing(sqlite3.connect(file_store.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("DROP TRIGGER IF EXISTS record_is_immutable")
        connection.execute(
            "UPDATE record SET body = ? WHERE place = (SELECT log_id FROM log WHERE session_id = ?) * 2147483648 + 2",
            (body, session_id),
        )


@pytest.mark.parametrize(("name", "again"), [("look", True), ("fill", True), ("pour", False), ("drip", False)])
async def test_a_tool_that_was_cut(open_stage: OpenStage, name: str, again: bool) -> None:  # noqa: FBT001
    cut = Pump(hangs=True)
    first = open_stage([[Call(name)]], toolsets=[cut])
    session_id = await first.session(additional_tools=["Pump"])
    await first.manager.send(session_id, "Pump")
    await cut.running.wait()
    await first.manager.close()

    whole = Pump()
    second = open_stage(["Seen."], toolsets=[whole])
    await settled(second, session_id)
    (result,) = [text for role, text in words(second.last_request) if role == "tool"]
    if again:
        assert whole.runs == cut.runs, "the same call has the same idempotency key"
        assert result == f"{name} done"
    else:
        assert whole.runs == []
        assert "unknown" in result.lower() or "not known" in result.lower()
    assert await outcomes(second, session_id) == [("Seen.", "completed")]


async def test_results_that_are_written_are_never_made_again(open_stage: OpenStage) -> None:
    gate = Gate()
    pump = Pump()
    first = open_stage([[Call("pour"), Call("look")], [gate]], toolsets=[pump])
    session_id = await first.session(additional_tools=["Pump"])
    await first.manager.send(session_id, "Pump")
    await gate.reached()
    # Durable before the next step: anybody else who reads the file sees the results already.
    other = open_stage(toolsets=[Pump])
    assert "pour done" in str(await other.manager.history(session_id))
    await first.manager.close()

    again = Pump()
    second = open_stage(["All poured."], toolsets=[again])
    await settled(second, session_id)
    assert again.runs == []
    assert [text for role, text in words(second.last_request) if role == "tool"] == ["pour done", "look done"]
    assert await outcomes(second, session_id) == [("All poured.", "completed")]


@pytest.mark.parametrize("before", [[], [Think("Hm")], [Say("Wrong")], [Say("So"), Call("look", '{"a')]])
async def test_a_step_that_was_cut_is_asked_again(open_stage: OpenStage, before: list[Any]) -> None:
    gate = Gate()
    first = open_stage([[*before, gate]], toolsets=[Pump])
    session_id = await first.session(additional_tools=["Pump"])
    await first.manager.send(session_id, "Ask")
    await gate.reached()
    await first.manager.close()

    second = open_stage(["Right."], toolsets=[Pump])
    await settled(second, session_id)
    assert words(second.last_request) == [("user", "Ask")], "what was cut is not in the transcript"
    assert await outcomes(second, session_id) == [("Right.", "completed")]


async def test_closing_is_no_attempt(open_stage: OpenStage) -> None:
    """Case P27 (cloudflare/agents PR 1615). What dies is counted: `tests/runtime/test_hand_over.py`."""
    session_id = ""
    for _ in range(5):
        gate = Gate()
        stage = open_stage([[Say("Never"), gate]])
        if not session_id:
            session_id = await stage.session()
            await stage.manager.send(session_id, "Ask")
        reading = asyncio.ensure_future(settled(stage, session_id))
        await gate.reached()
        await stage.manager.close()
        reading.cancel()
        await asyncio.wait({reading})
    last = open_stage(["At last."])
    await settled(last, session_id)
    assert await outcomes(last, session_id) == [("At last.", "completed")]


async def test_what_was_cancelled_stays_cancelled(open_stage: OpenStage) -> None:
    gate = Gate()
    first = open_stage([[Say("So far "), gate]])
    session_id = await first.session()
    await first.manager.send(session_id, "Ask")
    await gate.reached()
    await first.manager.cancel(session_id)
    await first.manager.close()

    second = open_stage(["Next."])
    await settled(second, session_id)
    assert await outcomes(second, session_id) == [("So far ", "cancelled")]
    assert second.backend.request_count == 0


async def test_a_message_wakes_a_session_that_was_cut(open_stage: OpenStage) -> None:
    gate = Gate()
    first = open_stage([[Say("Half"), gate]])
    session_id = await first.session()
    await first.manager.send(session_id, "one")
    await gate.reached()
    await first.manager.close()

    second = open_stage()
    assert text_of(await second.say(session_id, "two")) == "You said: two"
    assert [m.text for m in await second.manager.history(session_id)] == [
        "one", "You said: one", "two", "You said: two",
    ]  # fmt: skip


async def test_an_update_while_it_is_cut_holds_for_the_rest(open_stage: OpenStage) -> None:
    gate = Gate()
    first = open_stage([[gate]])
    session_id = await first.session(llm_model="old")
    await first.manager.send(session_id, "one")
    await gate.reached()
    await first.manager.close()

    second = open_stage()
    await second.manager.update_session(session_id, llm_model="new")
    await settled(second, session_id)
    assert second.data(session_id)["llm_model"] == "new"
    assert second.data(session_id)["status"] == "idle"
    assert len(await second.manager.history(session_id)) == 2
