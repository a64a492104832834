"""What many stored sessions cost: opening the store, a page, one session, a search. And what writing costs.

The sessions are made through the store itself: a title, six records and two texts each, of words that are as unevenly frequent
as those of a language (Zipf), for a hundred users of which one has half of everything. `python -m benchmarks.stored_sessions --keep FOLDER` makes a million,
once, and measures them again at every later call; `--sessions 100000` is quicker.

Rule: every answer that is measured is also looked at: a search that finds nothing is fast and wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import accumulate
from pathlib import Path

from benchmarks.measure import FULL, Row, Sizes, quantiles_ms
from greenroom.config import SessionConfig, SessionLabels
from greenroom.events import (
    MessageAccepted,
    SessionCreated,
    StepFinished,
    StepProgress,
    StepStarted,
    TurnEnded,
    TurnStarted,
)
from greenroom.interfaces import IndexUpdate, SearchText, SessionSummary
from greenroom.logs.sqlite import SqliteStore
from greenroom.messages import PartDelta, PartStarted, TextPart

GROUP = "stored sessions"
WRITERS = 256
ROUNDS = 50
SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
CONFIG = SessionConfig()


class Words:
    """A language of 40,000 words, the most frequent ones first."""

    def __init__(self) -> None:
        dice = random.Random(7)
        words = {"".join(dice.choices(SYLLABLES, k=2 + rank // 4000 % 4)) for rank in range(60_000)}
        self.words = sorted(words)[:40_000]
        dice.shuffle(self.words)
        self._weights = list(accumulate(1 / (rank + 2) for rank in range(len(self.words))))

    def text(self, dice: random.Random, count: int) -> str:
        """Returns some words."""
        return " ".join(dice.choices(self.words, cum_weights=self._weights, k=count))


WORDS = Words()
FREQUENT, COMMON, RARE = WORDS.words[0], WORDS.words[300], WORDS.words[30_000]


def session_id(number: int) -> str:
    """Returns an id that says nothing about the time of its making, as random ids do."""
    return f"{random.Random(number).getrandbits(128):032x}"


def user_of(number: int) -> str:
    """Returns the owner of a session: one user has half of all."""
    return "user-0" if number % 2 else f"user-{number // 2 % 99 + 1}"


async def make(store: SqliteStore, number: int) -> None:
    """Writes one session with one turn."""
    dice = random.Random(number)
    name, user_id, at_ms = session_id(number), user_of(number), 1_700_000_000_000 + number * 1000
    question, answer = WORDS.text(dice, 12), WORDS.text(dice, 60)
    labels = SessionLabels(title=WORDS.text(dice, 4))
    summary = SessionSummary(
        session_id=name,
        user_id=user_id,
        labels=labels,
        config=CONFIG,
        config_version=1,
        created_at_ms=at_ms,
        updated_at_ms=at_ms,
        last_seq=7,
        epoch=1,
        owner=store.node,
        open_turn=number % 10_000 == 0,
        turn_count=1,
        message_count=2,
    )
    await store.log.append(
        name,
        [SessionCreated(user_id=user_id, config=CONFIG, labels=labels, node=store.node)],
        expected_seq=0,
        epoch=1,
        at_ms=at_ms,
        key=f"{name}-1",
        index=IndexUpdate(summary=summary),
    )
    await store.log.append(
        name,
        [
            MessageAccepted(message_id="m1", turn_id="t1", parts=(TextPart(text=question),)),
            TurnStarted(turn_id="t1"),
            StepStarted(step=1, attempt=1, backend="scripted", model="m"),
            StepProgress(items=(PartStarted(part=0, kind="text"), PartDelta(part=0, delta=answer))),
            StepFinished(reason="stop"),
            TurnEnded(turn_id="t1", outcome="completed"),
        ],
        expected_seq=1,
        epoch=1,
        at_ms=at_ms,
        key=f"{name}-2",
        index=IndexUpdate(
            summary=summary,
            texts=(SearchText(seq=2, role="user", text=question), SearchText(seq=5, role="assistant", text=answer)),
        ),
    )


async def fill(store: SqliteStore, sessions: int) -> Row:
    """Makes the sessions."""
    numbers = iter(range(sessions))

    async def write() -> None:
        for number in numbers:
            await make(store, number)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(WRITERS):
            tasks.create_task(write())
    rate = sessions / (time.perf_counter() - started)
    return Row(GROUP, f"making {sessions:,} sessions (2 appends, 2 texts each)", rate, "/s")


async def measured(name: str, target: float | None, ask: Callable[[int], Awaitable[bool]]) -> Row:
    """Asks fifty times and returns the median; `ask` says whether the answer is right."""
    times = []
    for number in range(ROUNDS):
        started = time.perf_counter()
        if not await ask(number):
            raise RuntimeError(f"{name}: wrong answer")
        times.append(time.perf_counter() - started)
    median, worst = quantiles_ms(times)
    return Row(GROUP, name, median, "ms", target=target, note=f"p99 {worst:.1f} ms")


async def asked(store: SqliteStore, sessions: int) -> AsyncIterator[Row]:
    """Yields what looking costs."""
    dice = random.Random(1)
    picks = [dice.randrange(sessions) for _ in range(ROUNDS)]

    async def first_page(_: int) -> bool:
        return len((await store.index.page(limit=50)).sessions) == 50

    async def user_page(number: int) -> bool:
        return len((await store.index.page(limit=50, user_id=user_of(number))).sessions) == 50

    cursor: str | None = None

    async def next_page(_: int) -> bool:
        nonlocal cursor
        page = await store.index.page(limit=50, cursor=cursor)
        cursor = page.cursor
        return len(page.sessions) == 50

    async def open_one(number: int) -> bool:
        return len(await store.log.read(session_id(picks[number]))) == 7

    async def row_now(number: int) -> bool:
        return store.index.get_now(session_id(picks[-number])) is not None

    async def open_turns(_: int) -> bool:
        return len(await store.index.unfinished()) == (sessions + 9_999) // 10_000

    def search(query: str, user_id: str | None) -> Callable[[int], Awaitable[bool]]:
        async def ask(_: int) -> bool:
            return len(await store.index.search(query, user_id=user_id)) > 0

        return ask

    def listed(query: str, user_id: str | None) -> Callable[[int], Awaitable[bool]]:
        async def ask(_: int) -> bool:
            return len((await store.index.page(query=query, user_id=user_id)).sessions) > 0

        return ask

    yield await measured("list 50", 10, first_page)
    yield await measured("list 50 of a user", 10, user_page)
    yield await measured("list the next 50, fifty times", 10, next_page)
    yield await measured("open one: read its log", 5, open_one)
    yield await measured("its row, at once", 5, row_now)
    yield await measured("what recovery has to look at", 10, open_turns)
    queries = {
        "the most frequent word": f"{FREQUENT} ",
        "a common word": f"{COMMON} ",
        "a rare word": f"{RARE} ",
        "frequent and rare together": f"{FREQUENT} {RARE} ",
        "two letters, unfinished": FREQUENT[:2],
        "frequent, unfinished": FREQUENT[:-1],
        "six words": " ".join(WORDS.words[:6]) + " ",
    }
    for name, query in queries.items():
        yield await measured(f"search: {name}", 50, search(query, None))
    yield await measured("search: frequent, user with half of all", 50, search(f"{FREQUENT} ", "user-0"))
    yield await measured("search: frequent, user with a 200th", 50, search(f"{FREQUENT} ", "user-7"))
    yield await measured("list by frequent word", 50, listed(f"{FREQUENT} ", None))
    yield await measured("list by frequent word, user with a 200th", 50, listed(f"{FREQUENT} ", "user-7"))


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[tuple[SqliteStore, float]]:
    """Opens the store and tells how many milliseconds it took."""
    store = SqliteStore(path)
    started = time.perf_counter()
    await store.open()
    took_ms = (time.perf_counter() - started) * 1e3
    try:
        yield store, took_ms
    finally:
        await store.close()


async def made(path: Path, sessions: int) -> Row:
    """Makes a database."""
    async with opened(path) as (store, _):
        return await fill(store, sessions)


async def looked_at(path: Path, sessions: int, size_mb: float) -> list[Row]:
    """Opens a database and asks."""
    async with opened(path) as (store, took_ms):
        note = f"{size_mb:,.0f} MB on disk"
        first = Row(GROUP, f"open a store of {sessions:,}", took_ms, "ms", target=1000, note=note)
        return [first, *[row async for row in asked(store, sessions)]]


def rows(sizes: Sizes) -> list[Row]:
    """Returns the measurements of a database that is not kept."""
    return rows_of(sizes.stored)


def rows_of(sessions: int, folder: Path | None = None) -> list[Row]:
    """Returns the measurements, of a database in `folder`, which is kept, or of one that is not."""
    with tempfile.TemporaryDirectory() as temporary:
        path = (folder or Path(temporary)) / f"sessions-{sessions}.db"
        found: list[Row] = []
        if not path.exists():
            unfinished = path.with_suffix(".part")
            unfinished.unlink(missing_ok=True)
            found.append(asyncio.run(made(unfinished, sessions)))
            unfinished.rename(path)
        return found + asyncio.run(looked_at(path, sessions, path.stat().st_size / 1e6))


def main() -> None:
    """Measures as many sessions as asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stored_sessions", description=__doc__)
    parser.add_argument("--sessions", type=int, default=FULL.stored)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the database there, and use it again")
    options = parser.parse_args()
    for row in rows_of(options.sessions, options.keep):
        target = f"(target {row.target:g})" if row.target is not None else ""
        sys.stdout.write(f"{row.name:50} {row.value:10,.2f} {row.unit} {target} {row.note}\n")


if __name__ == "__main__":
    main()
