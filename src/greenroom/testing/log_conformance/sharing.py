"""What holds between two stores on the same data, as two processes open them.

Rule: one promise, one test; each says in its name what is promised.
"""
# ruff: noqa: PLR2004, D102 - a suite asserts; its numbers count what stands above them; names say what is promised

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

from greenroom.errors import Conflict
from greenroom.events import SessionClaimed
from greenroom.interfaces import Store
from greenroom.testing.log_conformance.logging_in import code, login
from greenroom.testing.log_conformance.samples import START_MS, Author, found, note, raises, sessions_of, text
from greenroom.testing.log_conformance.suite import StoreSuite


class SharedLogConformance(StoreSuite):
    """For stores that several processes can open at once; beside `LogConformance`, not instead of it."""

    def open_sibling(self, store: Store) -> AbstractAsyncContextManager[Store]:
        """Returns another store on the data of `store`, open until its block is left. Yours to implement."""
        raise NotImplementedError(
            "implement open_sibling: a context manager that yields a second store on the same data"
        )

    async def test_each_sees_what_the_other_has_written(self) -> None:
        async with self.open_store() as one, self.open_sibling(one) as two:
            author = Author(one, "a")
            await author.create(title="shared", open_turn=True)
            await author.say(texts=["seen by all"])
            assert list(await two.log.read("a")) == list(await one.log.read("a"))
            assert await two.index.get("a") == author.summary
            assert await found(two, "seen") == [("a", 2)]
            assert await sessions_of(two) == list(await two.index.unfinished()) == ["a"]
            await two.notes.put("ann", note("k"), count_max=9)
            assert await one.notes.get("ann", "memory", "k") == note("k")
            await two.log.delete("a")
            assert not await one.log.read("a")

    async def test_a_session_moves_to_the_other(self) -> None:
        async with self.open_store() as one, self.open_sibling(one) as two:
            former, owner = Author(one, "a"), Author(two, "a")
            await former.append(text("1"))
            owner.seq, owner.epoch = 1, 2
            await owner.append(SessionClaimed(node=two.node))
            with raises(Conflict):
                await former.append(text("late"))
            former.seq = owner.seq
            with raises(Conflict):
                await former.append(text("late, but informed"))
            await owner.append(text("2"))
            assert [record.event for record in await one.log.read("a")] == [
                text("1"),
                SessionClaimed(node=two.node),
                text("2"),
            ]

    async def test_of_many_writers_at_one_place_one_wins(self) -> None:
        async with self.open_store() as one, self.open_sibling(one) as two:

            async def write(store: Store, number: int) -> bool:
                author = Author(store, "a")
                try:
                    await author.append(text(str(number)), text(str(number)), key=f"writer-{number}")
                except Conflict:
                    return False
                return True

            won = await asyncio.gather(*(write((one, two)[number % 2], number) for number in range(20)))
            assert won.count(True) == 1
            winner = text(str(won.index(True)))
            assert [record.event for record in await two.log.read("a")] == [winner, winner]

    async def test_an_append_repeated_at_the_other_is_made_once(self) -> None:
        async with self.open_store() as one, self.open_sibling(one) as two:
            first = await Author(one, "a").append(text("1"), text("2"), key="k")
            again = await Author(two, "a").append(text("1"), text("2"), key="k")
            assert list(first) == list(again) == list(await one.log.read("a"))

    async def test_both_write_at_once_and_nothing_is_lost(self) -> None:
        async with self.open_store() as one, self.open_sibling(one) as two:

            async def write(store: Store, session_id: str) -> None:
                author = Author(store, session_id)
                await author.create()
                for number in range(20):
                    await author.say(texts=[f"common {number}"])

            await asyncio.gather(*(write((one, two)[number % 2], f"s{number}") for number in range(10)))
            for number in range(10):
                assert [record.seq for record in await one.log.read(f"s{number}")] == list(range(1, 22))
            assert len(await found(two, "common", limit=400)) == 200

    async def test_a_former_owner_does_not_reach_a_session_that_was_made_again(self) -> None:
        async with self.open_store() as one, self.open_sibling(one) as two:
            zombie, owner = Author(one, "a"), Author(two, "a")
            await zombie.append(text("1"))
            await two.log.delete("a")
            owner.epoch = 2
            await owner.append(text("new"))
            with raises(Conflict):
                await zombie.append(text("from the dead"))
            assert [record.event for record in await one.log.read("a")] == [text("new")]

    async def test_foreign_changes_are_noticed(self) -> None:
        async with self.open_store() as one, self.open_sibling(one) as two:
            before = await one.foreign_changes()
            await Author(two, "a").create()
            after = await one.foreign_changes()
            assert after != before
            await Author(one, "b").create()
            assert await one.foreign_changes() == after
            await two.notes.put("ann", note("k"), count_max=9)
            assert await one.foreign_changes() != after

    async def test_each_knows_whether_the_other_lives(self) -> None:
        async with self.open_store() as one:
            async with self.open_sibling(one) as two:
                node = two.node
                assert node != one.node
                assert await one.is_alive(node)
                assert await two.is_alive(one.node)
            assert not await one.is_alive(node)

    async def test_sessions_without_a_process_are_known(self) -> None:
        async with self.open_store() as one:
            async with self.open_sibling(one) as two:
                for name in ("b", "a", "Z"):
                    await Author(one, name).create(open_turn=True, owner=two.node)
                await Author(one, "idle").create(owner=two.node)
                released, taken, mine = Author(one, "released"), Author(one, "taken"), Author(one, "mine")
                await released.create(open_turn=True, owner="")
                await taken.create(open_turn=True, owner=two.node)
                await mine.create(open_turn=True, owner=one.node)
                assert list(await one.index.orphaned(limit=9)) == ["released"], (
                    "it was let go of while its process lives"
                )
                assert list(await two.index.orphaned(limit=9)) == ["released"]
                await taken.say(open_turn=True, owner=one.node)
            assert list(await one.index.orphaned(limit=9)) == ["Z", "a", "b", "released"]
            assert list(await one.index.orphaned(limit=2)) == ["Z", "a"]
            assert list(await one.index.orphaned(after="a", limit=2)) == ["b", "released"]
            assert not await one.index.orphaned(after="released", limit=2)
            await released.say(open_turn=False, owner=one.node)
            await one.log.delete("b")
            assert list(await one.index.orphaned(limit=9)) == ["Z", "a"]

    async def test_what_waits_in_an_inbox_needs_a_process_unless_one_is_at_work(self) -> None:
        async with self.open_store() as one:
            async with self.open_sibling(one) as two:
                await Author(one, "idle").create(owner=one.node)
                await Author(one, "mine").create(open_turn=True, owner=one.node)
                await Author(two, "theirs").create(open_turn=True, owner=two.node)
                for name in ("idle", "mine", "theirs"):
                    await one.inbox.post(name, b"x")
                    await one.inbox.post(name, b"y")
                assert list(await two.index.orphaned(limit=9)) == ["idle"]
            assert list(await one.index.orphaned(limit=9)) == ["idle", "theirs"]
            await one.inbox.remove("idle", [item.item_id for item in await one.inbox.pending("idle")])
            assert list(await one.index.orphaned(limit=9)) == ["theirs"]
            await one.log.delete("theirs")
            assert not await one.index.orphaned(limit=9)

    async def test_an_item_reaches_the_owner(self) -> None:
        async with self.open_store() as one, self.open_sibling(one) as two:
            await Author(one, "a").create()
            await two.inbox.post("a", b"cancel")
            assert list(await one.index.unfinished()) == ["a"]
            (item,) = await one.inbox.pending("a")
            assert item.body == b"cancel"
            await one.inbox.remove("a", [item.item_id])
            assert not await two.inbox.pending("a")

    async def test_a_code_is_taken_once_and_a_login_ends_for_both(self) -> None:
        async with self.open_store() as one, self.open_sibling(one) as two:
            await one.logins.add_code(code("x"), count_max=9, now_ms=START_MS)
            stores = (one, two) * 5
            taken = await asyncio.gather(
                *(store.logins.take_code(code("x").digest, now_ms=START_MS) for store in stores)
            )
            assert [each for each in taken if each is not None] == [code("x")]
            await one.logins.add(login("a"), count_max=9, seen_after_ms=0)
            assert await two.logins.find(login("a").digest) == login("a")
            assert await two.logins.remove("ann", "login-a")
            assert await one.logins.find(login("a").digest) is None
