"""The promises of `Ledger`: what users have used.

Rule: one promise, one test; each says in its name what is promised.
"""
# ruff: noqa: D102 - a suite asserts; its numbers count what stands above them; names say what is promised

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from greenroom.errors import Conflict
from greenroom.events import Record
from greenroom.interfaces import IndexUpdate, Spent
from greenroom.messages import Usage
from greenroom.testing.log_conformance.samples import START_MS, Author, raises, text
from greenroom.testing.log_conformance.suite import StoreSuite

DAY_MS = 86_400_000
TODAY = START_MS // DAY_MS
STEP = Usage(
    input_tokens=10,
    output_tokens=20,
    cached_input_tokens=3,
    cache_write_input_tokens=2,
    reasoning_tokens=7,
    cost_usd=0.25,
)


class Spending(StoreSuite):
    """What holds for the ledger."""

    async def test_who_has_used_nothing_has_used_nothing(self) -> None:
        async with self.open_store() as store:
            assert await store.ledger.spent("nobody") == Spent()
            await spend(Author(store, "s"), None)
            assert await store.ledger.spent("ann") == Spent()

    async def test_what_appends_say_adds_up_over_sessions(self) -> None:
        async with self.open_store() as store:
            for session_id in ("a", "b"):
                author = Author(store, session_id)
                await spend(author, STEP)
                await spend(author, STEP)
            await spend(Author(store, "c", user_id="bob"), STEP)
            four = Usage(
                input_tokens=40,
                output_tokens=80,
                cached_input_tokens=12,
                cache_write_input_tokens=8,
                reasoning_tokens=28,
                cost_usd=1.0,
            )
            assert await store.ledger.spent("ann") == Spent(usage=four)
            assert await store.ledger.spent("bob") == Spent(usage=STEP)

    async def test_days_begin_at_midnight_of_utc(self) -> None:
        async with self.open_store() as store:
            author = Author(store, "s")
            midnight_ms = (TODAY + 1) * DAY_MS
            for at_ms in (midnight_ms - 1, midnight_ms, midnight_ms + DAY_MS):
                await spend(author, STEP, at_ms=at_ms)
            sums = [await store.ledger.spent("ann", from_day=TODAY + days) for days in (-1, 0, 1, 2, 3, 10**9)]
            assert [spent.usage.input_tokens for spent in sums] == [30, 30, 20, 10, 0, 0]

    async def test_what_has_no_price_is_counted_apart(self) -> None:
        async with self.open_store() as store:
            author = Author(store, "s")
            await spend(author, STEP)
            await spend(author, msgspec.structs.replace(STEP, cost_usd=None))
            spent = await store.ledger.spent("ann")
            assert (spent.usage.input_tokens, spent.usage.cost_usd, spent.unpriced_tokens) == (20, 0.25, 30)

    async def test_what_is_estimated_is_said_to_be(self) -> None:
        async with self.open_store() as store:
            author = Author(store, "s")
            await spend(author, STEP)
            assert not (await store.ledger.spent("ann")).usage.estimated
            await spend(author, msgspec.structs.replace(STEP, estimated=True))
            spent = await store.ledger.spent("ann")
            assert (spent.usage.input_tokens, spent.usage.estimated, spent.estimated_tokens) == (20, True, 30)

    async def test_a_repeated_append_counts_once_and_a_conflict_never(self) -> None:
        async with self.open_store() as store:
            author = Author(store, "s")
            await spend(author, STEP)
            author.seq -= 1
            await spend(author, STEP)
            late = Author(store, "s", name="late")
            with raises(Conflict):
                await spend(late, STEP)
            assert await store.ledger.spent("ann") == Spent(usage=STEP)

    async def test_deleting_a_session_gives_nothing_back(self) -> None:
        async with self.open_store() as store:
            await spend(Author(store, "s"), STEP)
            await store.log.delete("s")
            assert await store.ledger.spent("ann") == Spent(usage=STEP)

    async def test_many_at_once_lose_nothing(self) -> None:
        async with self.open_store() as store:
            authors = [Author(store, f"s{number}", user_id=f"user {number % 3}") for number in range(30)]

            async def work(author: Author) -> None:
                for _ in range(5):
                    await spend(author, STEP)

            await asyncio.gather(*(work(author) for author in authors))
            sums = [await store.ledger.spent(f"user {number}") for number in range(3)]
            assert [spent.usage.output_tokens for spent in sums] == [50 * 20] * 3

    async def test_odd_users_keep_their_own(self) -> None:
        async with self.open_store() as store:
            users = ["ann", "ann ", "Ann", "Änn", "'; DROP TABLE ledger; --", "%", "a" * 256]
            for number, user_id in enumerate(users):
                await spend(Author(store, f"s{number}", user_id=user_id), Usage(input_tokens=number + 1, cost_usd=0.0))
            sums = [(await store.ledger.spent(user_id)).usage.input_tokens for user_id in users]
            assert sums == [1, 2, 3, 4, 5, 6, 7]


async def spend(author: Author, usage: Usage | None, *, at_ms: int = START_MS) -> Sequence[Record]:
    """Appends something by which the author's user has used so much."""
    seq = author.seq
    records = await author.store.log.append(
        author.session_id,
        [text(turn_id=f"turn-{seq + 1}")],
        expected_seq=seq,
        epoch=author.epoch,
        at_ms=at_ms,
        key=f"{author.name}-{seq}",
        index=IndexUpdate(summary=msgspec.structs.replace(author.summary, last_seq=seq + 1), spent=usage),
    )
    author.seq = records[-1].seq
    return records
