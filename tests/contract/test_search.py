"""Search finds exactly what the transcript shows, after every operation.

Case T8: rewinding the last of three queued turns took answers of earlier turns out of the search for good.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.stage import CheckedBackend
from greenroom import AgentManager, GreenroomError
from greenroom.backends.scripted import Call, Cue, Pause, Say
from greenroom.interfaces import BackendRequest
from greenroom.messages import TextPart, ToolMessage, UserMessage
from greenroom.runtime import watch
from greenroom.testing.virtual_time import VirtualTimeLoop

WORD: Final = re.compile(r"[mae]\d+x|zebra")
"""Messages say m1x, m2x ..., answers repeat the number as a1x; what an edit says is e1x. All of them say zebra."""


def answer(request: BackendRequest) -> Sequence[Cue]:
    """Answers in two steps, each with a word of its own; slowly, so that others come meanwhile."""
    last = request.messages[-1]
    if isinstance(last, ToolMessage):
        return [Pause(1.0), Say("And done."), Pause(1.0)]
    assert isinstance(last, UserMessage)
    said = last.parts[-1]
    assert isinstance(said, TextPart)
    number = said.text.split("x", 1)[0][1:]
    return [Pause(1.0), Say(f"a{number}x "), Say("zebra."), Pause(1.0), Call("roll_dice", {"notation": "1d1"})]


class Searched:
    """One manager in virtual time, whose sessions are compared with what search finds."""

    def __init__(self, store: str, home: Path) -> None:
        self._runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self._manager = AgentManager(home=home, store=store, backends={"scripted": CheckedBackend(answer)})
        self._numbers = itertools.count(1)

    def close(self) -> None:
        self._runner.run(self._manager.close())
        self._runner.close()

    def play(self, deeds: Sequence[tuple[str, int]]) -> None:
        self._runner.run(self._play(deeds))

    async def _play(self, deeds: Sequence[tuple[str, int]]) -> None:
        manager = self._manager
        ids = [await manager.create_session(backend="scripted")]
        said: set[str] = set()
        for deed, place in deeds:
            session_id = ids[place % len(ids)]
            with contextlib.suppress(GreenroomError):  # refused, as on a busy session: nothing has changed
                said |= await self._do(deed, place, session_id, ids)
            await self._compare(ids, {"zebra"})
        for session_id in ids:
            await self._rest(session_id)
        await self._compare(ids, {"zebra", *said})
        for session_id in ids:
            await manager.cleanup_session(session_id)
        await self._compare([], {"zebra", *said})

    async def _do(self, deed: str, place: int, session_id: str, ids: list[str]) -> set[str]:
        manager = self._manager
        number = next(self._numbers)
        words = {f"m{number}x", f"a{number}x", f"e{number}x"}
        match deed:
            case "wait":
                await asyncio.sleep(1.5)  # real time: none, the loop is a VirtualTimeLoop
            case "rest":
                await self._rest(session_id)
            case "cancel":
                await manager.cancel(session_id)
            case "withdraw" | "edit":
                if waiting := await manager.queue(session_id):
                    turn_id = waiting[place % len(waiting)].turn_id
                    if deed == "edit":
                        await manager.edit_message(session_id, turn_id, f"e{number}x zebra instead")
                    else:
                        await manager.withdraw_message(session_id, turn_id)
            case "rewind" | "again":
                if turns := (await manager.peek(session_id)).turns:
                    turn = turns[-1] if deed == "again" else turns[place % len(turns)]
                    await self._rest(session_id)
                    await manager.rewind_session(session_id, turn.turn_id)
                    if deed == "again":
                        await manager.send(session_id, f"m{number}x zebra again")
            case "fork":
                ids.append(await manager.fork_session(session_id))
            case "import":
                ids.append(await manager.import_session(await manager.export_session(session_id)))
            case "delete" if len(ids) > 1:
                ids.remove(session_id)
                await manager.cleanup_session(session_id)
            case "delete":
                pass
            case policy:
                await manager.send(session_id, f"m{number}x zebra", overlap=policy)  # type: ignore[arg-type]
        return words

    async def _rest(self, session_id: str) -> None:
        """Waits until nothing runs or waits."""
        while (await self._manager.peek(session_id)).is_busy:
            async for _ in self._manager.attach(session_id):
                pass

    async def _compare(self, ids: Sequence[str], said: set[str]) -> None:
        """Compares at a moment in which nothing is written: a store in a thread lets turns go on while it is asked."""
        while True:
            before = [(await self._manager.peek(session_id)).seq for session_id in ids]
            shown, found = await self._shown(ids, said), await self._found(said)
            if before == [(await self._manager.peek(session_id)).seq for session_id in ids]:
                assert found == shown
                return

    async def _shown(self, ids: Sequence[str], said: set[str]) -> Counter[tuple[str, str]]:
        shown: Counter[tuple[str, str]] = Counter()
        for session_id in ids:
            state = await self._manager.peek(session_id)
            waiting = {accepted.message.turn_id for accepted in state.queue}
            unfinished = {turn.turn_id for turn in state.turns if turn.ended is None}
            for row in await self._manager.history(session_id):
                if row.turn_id not in waiting and not (row.role == "assistant" and row.turn_id in unfinished):
                    shown.update((session_id, word) for word in said.intersection(WORD.findall(row.text)))
        return shown

    async def _found(self, said: set[str]) -> Counter[tuple[str, str]]:
        found: Counter[tuple[str, str]] = Counter()
        for word in said:
            hits = [hit for hit in await self._manager.search(word, limit=500) if hit.role != "title"]
            found.update((hit.session_id, word) for hit in hits)
        return found


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def searched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searched]:
    home = tmp_path_factory.mktemp("home")
    searched = Searched("memory://" if request.param == "memory" else f"sqlite:///{home / 'a.db'}", home)
    with pytest.MonkeyPatch.context() as patch:
        # There is no other process to look for, and each look is a jump of the clock: with threads about it takes real time.
        patch.setattr(watch, "_POLL_S", 0.7)
        yield searched
        searched.close()


POLICIES: Final = ("enqueue", "interrupt", "rollback", "steer", "merge", "latest")
DEEDS: Final = ("cancel", "withdraw", "edit", "rewind", "again", "fork", "import", "delete")
deeds = st.lists(
    st.tuples(
        st.sampled_from((*POLICIES, *POLICIES, "enqueue", "wait", "wait", "rest", *DEEDS)),
        st.integers(0, 5),
    ),
    max_size=12,
)


FOUND: Final = [
    pytest.param([("enqueue", 0)] * 3 + [("rest", 0), ("rewind", 2)], id="T8 as it was found"),
    pytest.param([("enqueue", 0), ("enqueue", 0), ("rest", 0), ("rewind", 1), ("fork", 0), ("import", 0)], id="copies"),
    pytest.param([("enqueue", 0), ("wait", 0), ("cancel", 0), ("rollback", 0), ("wait", 0), ("rollback", 0)], id="cut"),
    pytest.param(
        [("enqueue", 0), ("merge", 0), ("steer", 0), ("edit", 0), ("rest", 0), ("again", 0), ("wait", 0), ("fork", 0)],
        id="joined",
    ),
]


@pytest.mark.parametrize("drawn", FOUND)
def test_search_finds_exactly_what_the_transcript_shows(searched: Searched, drawn: list[tuple[str, int]]) -> None:
    searched.play(drawn)


@pytest.mark.parametrize("searched", ["memory"], indirect=True)  # a file takes a commit for each record
@settings(max_examples=40)
@given(deeds)
def test_search_finds_what_is_shown_after_any_operations(searched: Searched, drawn: list[tuple[str, int]]) -> None:
    searched.play(drawn)
