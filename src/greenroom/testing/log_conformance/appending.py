"""The promises of `EventLog.append`: order, fencing, atomicity, repetition.

Rule: one promise, one test; each says in its name what is promised.
"""
# ruff: noqa: PLR2004, D102 - a suite asserts; its numbers count what stands above them; names say what is promised

from __future__ import annotations

import asyncio

from greenroom.codec import encode_record
from greenroom.errors import Conflict, InvalidArgument
from greenroom.events import Record, SessionClaimed
from greenroom.interfaces import IndexUpdate, PendingAppend, Store
from greenroom.testing.log_conformance.samples import ODD_TEXTS, START_MS, Author, every_event, raises, text
from greenroom.testing.log_conformance.suite import StoreSuite


async def _events(store: Store, session_id: str) -> list[object]:
    return [record.event for record in await store.log.read(session_id)]


class Appending(StoreSuite):
    """What holds whenever something is written."""

    async def test_records_are_numbered_from_one_without_gaps(self) -> None:
        async with self.open_store() as store:
            author = Author(store, "a")
            first = await author.append(text("1"), text("2"))
            second = await author.append(text("3"))
            assert [record.seq for record in [*first, *second]] == [1, 2, 3]
            assert list(await store.log.read("a")) == [*first, *second]

    async def test_a_record_has_its_place_writer_and_time(self) -> None:
        async with self.open_store() as store:
            (record,) = await store.log.append("a", [text()], expected_seq=0, epoch=3, at_ms=START_MS, key="k")
            assert record == Record(seq=1, epoch=3, at_ms=START_MS, event=text())

    async def test_a_copy_keeps_the_times_of_the_original(self) -> None:
        async with self.open_store() as store:
            times = [START_MS + 5, START_MS, START_MS + 9]
            await store.log.append("a", [text()] * 3, expected_seq=0, epoch=1, at_ms=times, key="k")
            assert [record.at_ms for record in await store.log.read("a")] == times
            with raises(InvalidArgument):
                await store.log.append("a", [text()], expected_seq=3, epoch=1, at_ms=times, key="l")

    async def test_every_event_comes_back_as_it_was(self) -> None:
        async with self.open_store() as store:
            await Author(store, "a").append(*every_event())
            assert await _events(store, "a") == list(every_event())

    async def test_odd_content_comes_back_as_it_was(self) -> None:
        async with self.open_store() as store:
            events = [text(content) for content in ODD_TEXTS]
            await Author(store, "a").append(*events)
            assert await _events(store, "a") == events

    async def test_a_page_has_a_record_and_not_much_more_than_it_may(self) -> None:
        async with self.open_store() as store:
            written = list(await Author(store, "a").append(*[text("x" * (1 + 40 * at)) for at in range(50)]))
            for bytes_max in (1, 700, 5_000, 10_000_000):
                found: list[Record] = []
                while page := await store.log.read("a", after_seq=len(found), bytes_max=bytes_max):
                    assert sum(len(encode_record(record)) for record in page[:-1]) < bytes_max + 100 * len(page)
                    found += page
                assert found == written
                assert list(await store.log.read("a", after_seq=3, limit=1, bytes_max=bytes_max)) == written[3:4]
            assert not await store.log.read("nobody", bytes_max=1)

    async def test_a_stale_writer_writes_nothing(self) -> None:
        async with self.open_store() as store:
            await Author(store, "a").append(text("1"), text("2"))
            for expected_seq in (0, 1, 3, 100):
                with raises(Conflict) as caught:
                    await store.log.append(
                        "a", [text("x"), text("y")], expected_seq=expected_seq, epoch=1, at_ms=START_MS, key="late"
                    )
                assert (caught.error.expected_seq, caught.error.actual_seq) == (expected_seq, 2)
            assert await _events(store, "a") == [text("1"), text("2")]

    async def test_a_log_that_nobody_knows_is_at_record_zero(self) -> None:
        async with self.open_store() as store:
            with raises(Conflict) as caught:
                await store.log.append("a", [text()], expected_seq=1, epoch=1, at_ms=START_MS, key="k")
            assert caught.error.actual_seq == 0
            assert not await store.log.read("a")

    async def test_a_later_epoch_takes_over_and_fences_the_earlier_one(self) -> None:
        async with self.open_store() as store:
            zombie, owner = Author(store, "a"), Author(store, "a")
            await zombie.append(text("1"))
            owner.seq, owner.epoch = 1, 2
            await owner.append(SessionClaimed(node="n"))
            zombie.seq = 2  # even when it knows where the log ends
            with raises(Conflict):
                await zombie.append(text("from the dead"))
            assert [record.epoch for record in await store.log.read("a")] == [1, 2]

    async def test_repeating_an_append_returns_its_records_and_writes_nothing(self) -> None:
        async with self.open_store() as store:
            author = Author(store, "a")
            first = await author.append(text("1"), text("2"), key="k")
            await author.append(text("3"), key="other")
            author.seq = 0
            assert list(await author.append(text("1"), text("2"), key="k")) == list(first)
            assert len(await store.log.read("a")) == 3

    async def test_repeating_an_append_is_harmless_after_a_take_over(self) -> None:
        async with self.open_store() as store:
            author, owner = Author(store, "a"), Author(store, "a")
            first = await author.append(text("1"), key="k")
            owner.seq, owner.epoch = 1, 2
            await owner.append(SessionClaimed(node="n"))
            author.seq = 0
            assert list(await author.append(text("1"), key="k")) == list(first)

    async def test_another_append_at_the_same_place_is_a_conflict(self) -> None:
        async with self.open_store() as store:
            author = Author(store, "a")
            await author.append(text("1"), key="k")
            author.seq = 0
            with raises(Conflict):
                await author.append(text("1"), key="another")

    async def test_the_same_key_at_another_place_is_another_append(self) -> None:
        async with self.open_store() as store:
            author = Author(store, "a")
            await author.append(text("1"), key="k")
            await author.append(text("2"), key="k")
            assert await _events(store, "a") == [text("1"), text("2")]
            author.seq = 0
            assert [record.event for record in await author.append(text("1"), key="k")] == [text("1")]

    async def test_of_many_writers_at_one_place_one_wins(self) -> None:
        async with self.open_store() as store:
            await Author(store, "a").append(text("0"))

            async def write(number: int) -> bool:
                author = Author(store, "a")
                author.seq = 1
                try:
                    await author.append(text(str(number)), text("more"), key=f"writer-{number}")
                except Conflict:
                    return False
                return True

            won = await asyncio.gather(*(write(number) for number in range(20)))
            assert won.count(True) == 1
            assert await _events(store, "a") == [text("0"), text(str(won.index(True))), text("more")]

    async def test_writers_of_different_sessions_do_not_disturb_each_other(self) -> None:
        async with self.open_store() as store:

            async def write(session_id: str) -> None:
                author = Author(store, session_id)
                for number in range(10):
                    await author.append(text(f"{session_id} {number}"))

            async def fail(session_id: str) -> None:
                author = Author(store, session_id)
                for author.seq in range(3, 13):
                    with raises(Conflict):
                        await author.append(text("never"))

            names = [f"s{number}" for number in range(20)]
            await asyncio.gather(*(write(name) for name in names), *(fail(f"{name}-x") for name in names))
            for name in names:
                assert await _events(store, name) == [text(f"{name} {number}") for number in range(10)]
                assert not await store.log.read(f"{name}-x")

    async def test_appends_that_come_together_stand_by_themselves(self) -> None:
        def at(session_id: str, said: str, *, seq: int = 0, key: str = "") -> PendingAppend:
            name = key or f"{session_id}-{said}"
            return PendingAppend(
                session_id=session_id, events=[text(said)], expected_seq=seq, epoch=1, at_ms=START_MS, key=name
            )

        async with self.open_store() as store:
            assert list(await store.log.append_all([])) == []
            first = [at("a", "1"), at("b", "1"), at("a", "2", seq=1), at("c", "late", seq=7), at("../d", "no")]
            one, other, following, late, malformed = await store.log.append_all(first)
            assert not isinstance(one, Exception)
            assert not isinstance(following, Exception)
            assert [*one, *following] == list(await store.log.read("a"))
            assert not isinstance(other, Exception)
            assert list(other) == list(await store.log.read("b"))
            assert isinstance(late, Conflict)
            assert isinstance(malformed, InvalidArgument)
            # A repetition is the append that it repeats, beside others that are new.
            again, new = await store.log.append_all([at("b", "1"), at("b", "2", seq=1)])
            assert not isinstance(again, Exception)
            assert not isinstance(new, Exception)
            assert list(again) == list(other)
            assert list(new) == list(await store.log.read("b", after_seq=1))

    async def test_the_same_append_twice_at_once_is_made_once(self) -> None:
        async with self.open_store() as store:
            one, two = await asyncio.gather(
                Author(store, "a").append(text("1"), text("2"), key="k"),
                Author(store, "a").append(text("1"), text("2"), key="k"),
            )
            assert list(one) == list(two) == list(await store.log.read("a"))

    async def test_a_cancelled_append_is_made_or_not_and_nothing_in_between(self) -> None:
        async with self.open_store() as store:
            for turns in range(6):
                author = Author(store, f"s{turns}")
                task = asyncio.ensure_future(author.append(text("1"), text("2"), key="k"))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                # Repeating it settles the question, whatever happened.
                author.seq = 0
                assert len(await author.append(text("1"), text("2"), key="k")) == 2
                assert await _events(store, f"s{turns}") == [text("1"), text("2")]

    async def test_a_write_that_no_log_can_take_is_refused(self) -> None:
        async with self.open_store() as store:
            other = IndexUpdate(summary=Author(store, "other").summary)
            for session_id in ("", "../a", "a/b", ".a", "a" * 129, "a\n", "ä"):
                with raises(InvalidArgument):
                    await store.log.append(session_id, [text()], expected_seq=0, epoch=1, at_ms=START_MS, key="k")
            with raises(InvalidArgument):
                await store.log.append("a", [], expected_seq=0, epoch=1, at_ms=START_MS, key="k")
            with raises(InvalidArgument):
                await store.log.append("a", [text()], expected_seq=0, epoch=1, at_ms=START_MS, key="")
            with raises(InvalidArgument):
                await store.log.append("a", [text()], expected_seq=-1, epoch=1, at_ms=START_MS, key="k")
            with raises(InvalidArgument):
                await store.log.append("a", [text()], expected_seq=0, epoch=-1, at_ms=START_MS, key="k")
            with raises(InvalidArgument):
                await store.log.append("a", [text()], expected_seq=0, epoch=1, at_ms=START_MS, key="k", index=other)
            assert not await store.log.read("a")

    async def test_text_that_is_not_unicode_is_refused(self) -> None:
        async with self.open_store() as store:
            with raises(InvalidArgument):
                await Author(store, "a").append(text("half of a pair: \ud83d"))
            with raises(InvalidArgument):
                await Author(store, "b").say(text("whole"), texts=["half of a pair: \ud83d"])
            assert not await store.log.read("a")
            assert not await store.log.read("b")
