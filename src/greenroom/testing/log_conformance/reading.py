"""The promises of `EventLog.read` and `EventLog.delete`, and of opening and closing a store.

Rule: one promise, one test; each says in its name what is promised.
"""
# ruff: noqa: PLR2004, D102 - a suite asserts; its numbers count what stands above them; names say what is promised

from __future__ import annotations

from greenroom.errors import Conflict, LogUnavailable, SessionNotFound
from greenroom.events import SessionClaimed
from greenroom.interfaces import InboxItem, Store
from greenroom.testing.log_conformance.samples import Author, found, note, raises, sessions_of, text
from greenroom.testing.log_conformance.suite import StoreSuite


async def _seqs(store: Store, session_id: str, *, after_seq: int = 0, limit: int | None = None) -> list[int]:
    return [record.seq for record in await store.log.read(session_id, after_seq=after_seq, limit=limit)]


class Reading(StoreSuite):
    """What holds whenever a log is read."""

    async def test_an_unknown_session_reads_as_empty(self) -> None:
        async with self.open_store() as store:
            for session_id in ("nobody", "", "../../etc/passwd", "a" * 1000):
                assert not await store.log.read(session_id)

    async def test_reading_begins_behind_a_record(self) -> None:
        async with self.open_store() as store:
            await Author(store, "a").append(*(text(str(number)) for number in range(5)))
            assert await _seqs(store, "a", after_seq=0) == [1, 2, 3, 4, 5]
            assert await _seqs(store, "a", after_seq=3) == [4, 5]
            assert await _seqs(store, "a", after_seq=5) == []
            assert await _seqs(store, "a", after_seq=1, limit=2) == [2, 3]
            assert await _seqs(store, "a", after_seq=4, limit=2) == [5]

    async def test_a_wild_position_never_shows_another_session(self) -> None:
        async with self.open_store() as store:
            for session_id in ("a", "b", "c"):
                await Author(store, session_id).append(text(session_id))
            for after_seq in (2**31 - 1, 2**31, 2**31 + 1, 2**62, 2**70):
                assert not await store.log.read("b", after_seq=after_seq)
            for after_seq in (-1, -(2**31), -(2**70)):
                assert [record.event for record in await store.log.read("b", after_seq=after_seq)] == [text("b")]

    async def test_a_long_log_is_read_whole(self) -> None:
        async with self.open_store() as store:
            author = Author(store, "a")
            for _ in range(5):
                await author.append(*(text(str(number)) for number in range(500)))
            assert await _seqs(store, "a") == list(range(1, 2501))
            assert await _seqs(store, "a", after_seq=10, limit=2000) == list(range(11, 2011))

    async def test_large_records_are_read_whole(self) -> None:
        async with self.open_store() as store:
            events = [text(str(number) * 3_000_000) for number in range(6)]
            await Author(store, "a").append(*events)
            assert [record.event for record in await store.log.read("a")] == events

    async def test_deleting_takes_everything(self) -> None:
        async with self.open_store() as store:
            author = Author(store, "a")
            await author.create(title="vanishing", open_turn=True)
            await author.say(texts=["disappearing"])
            await store.inbox.post("a", b"later")
            assert await store.log.delete("a")
            assert not await store.log.read("a")
            assert await store.index.get("a") is None
            assert await sessions_of(store) == []
            assert await found(store, "vanishing") == await found(store, "disappearing") == []
            assert not await store.index.unfinished()
            assert not await store.inbox.pending("a")

    async def test_deleting_leaves_the_others(self) -> None:
        async with self.open_store() as store:
            for session_id in ("a", "b", "c"):
                await Author(store, session_id).create(title=f"common {session_id}")
                await store.inbox.post(session_id, session_id.encode())
            assert await store.log.delete("b")
            assert await found(store, "common") == [("a", 0), ("c", 0)]
            for session_id in ("a", "c"):
                assert len(await store.log.read(session_id)) == 1
                assert [item.body for item in await store.inbox.pending(session_id)] == [session_id.encode()]

    async def test_deleting_nothing_says_so(self) -> None:
        async with self.open_store() as store:
            assert not await store.log.delete("nobody")
            await Author(store, "a").append(text())
            assert await store.log.delete("a")
            assert not await store.log.delete("a")

    async def test_a_late_writer_finds_a_deleted_session_gone(self) -> None:
        async with self.open_store() as store:
            author = Author(store, "a")
            await author.create()
            await store.log.delete("a")
            with raises(Conflict) as caught:
                await author.say(texts=["from the dead"])
            assert caught.error.actual_seq == 0
            assert not await found(store, "dead")

    async def test_a_session_made_again_is_another_log(self) -> None:
        async with self.open_store() as store:
            zombie = Author(store, "a")
            await zombie.create(title="old")
            await store.inbox.post("a", b"for the old one")
            await store.log.delete("a")
            author = Author(store, "a")
            author.epoch = 2  # whoever makes a session again begins a new epoch
            await author.create(title="new")
            assert await _seqs(store, "a") == [1]
            with raises(Conflict):
                await zombie.append(text("from the dead"))
            assert await found(store, "old") == []
            assert await found(store, "new") == [("a", 0)]
            assert not await store.inbox.pending("a")


class Lifecycle(StoreSuite):
    """What holds when a store is opened and closed."""

    async def test_opening_and_closing_are_idempotent(self) -> None:
        async with self.open_store() as store:
            node = store.node
            await store.open()
            assert store.node == node
            await store.close()
            await store.close()

    async def test_a_closed_store_refuses_instead_of_hanging(self) -> None:
        async with self.open_store() as store:
            await Author(store, "a").append(text())
            await store.close()
            for refused in (
                lambda: Author(store, "b").append(text()),
                lambda: store.log.read("a"),
                lambda: store.log.delete("a"),
                lambda: store.index.get("a"),
                store.index.page,
                lambda: store.index.search("x"),
                store.index.unfinished,
                lambda: store.inbox.post("a", b""),
                lambda: store.inbox.pending("a"),
                lambda: store.notes.put("ann", note("k"), count_max=9),
                lambda: store.notes.page("ann", "memory", limit=1),
                store.foreign_changes,
            ):
                with raises(LogUnavailable):
                    await refused()

    async def test_what_was_acknowledged_is_there_after_opening_again(self) -> None:
        async with self.open_store() as store:
            author = Author(store, "a")
            await author.create(title="lasting", open_turn=True)
            await author.say(SessionClaimed(node="n"), texts=["memorable"])
            await store.inbox.post("a", b"later")
            await store.notes.put("ann", note("k", "remembered"), count_max=9)
            records, summary = await store.log.read("a"), await store.index.get("a")
            await store.close()
            await store.open()
            assert list(await store.log.read("a")) == list(records)
            assert await store.index.get("a") == summary
            assert await found(store, "lasting memorable") == []
            assert await found(store, "lasting") == [("a", 0)]
            assert await found(store, "memorable") == [("a", 2)]
            assert [item.body for item in await store.inbox.pending("a")] == [b"later"]
            assert await store.notes.get("ann", "memory", "k") == note("k", "remembered")
            author.store = store
            await author.say(texts=["and on"])

    async def test_every_opening_is_a_new_incarnation(self) -> None:
        async with self.open_store() as store:
            before = store.node
            assert before
            assert await store.is_alive(before)
            await store.close()
            await store.open()
            assert store.node not in {before, ""}
            assert await store.is_alive(store.node)
            assert not await store.is_alive(before)

    async def test_nobody_else_is_alive(self) -> None:
        async with self.open_store() as store:
            for node in ("", "nobody", "0" * 16, "../../etc/passwd", "/etc/passwd", store.node.upper() + "x", "a\x00b"):
                assert not await store.is_alive(node)

    async def test_own_changes_are_not_foreign(self) -> None:
        async with self.open_store() as store:
            before = await store.foreign_changes()
            await Author(store, "a").create()
            await store.notes.put("ann", note("k"), count_max=9)
            assert await store.foreign_changes() == before


class Inboxes(StoreSuite):
    """What holds for what waits for the owner of a session."""

    async def test_items_wait_in_the_order_of_their_arrival(self) -> None:
        async with self.open_store() as store:
            for session_id in ("a", "b"):
                await Author(store, session_id).create()
            for number in range(5):
                await store.inbox.post("a", f"item {number}".encode())
                await store.inbox.post("b", b"\x00\xff not text")
            items = await store.inbox.pending("a")
            assert [item.body for item in items] == [f"item {number}".encode() for number in range(5)]
            assert len({item.item_id for item in items}) == 5
            assert [item.body for item in await store.inbox.pending("b")] == [b"\x00\xff not text"] * 5

    async def test_what_was_moved_is_removed_and_the_rest_stays(self) -> None:
        async with self.open_store() as store:
            await Author(store, "a").create()
            await Author(store, "b").create()
            for body in (b"1", b"2", b"3"):
                await store.inbox.post("a", body)
            await store.inbox.post("b", b"other")
            first, second, third = await store.inbox.pending("a")
            (other,) = await store.inbox.pending("b")
            await store.inbox.remove("a", [first.item_id, third.item_id, other.item_id, 10**9])
            await store.inbox.remove("a", [first.item_id])
            await store.inbox.remove("a", [])
            assert list(await store.inbox.pending("a")) == [InboxItem(item_id=second.item_id, body=b"2")]
            assert list(await store.inbox.pending("b")) == [other]

    async def test_posting_to_nobody_is_refused(self) -> None:
        async with self.open_store() as store:
            with raises(SessionNotFound):
                await store.inbox.post("nobody", b"lost")
            assert not await store.index.unfinished()

    async def test_a_session_with_something_in_its_inbox_is_unfinished(self) -> None:
        async with self.open_store() as store:
            for session_id in ("idle", "waiting"):
                await Author(store, session_id).create()
            await Author(store, "running").create(open_turn=True)
            await store.inbox.post("waiting", b"do")
            assert sorted(await store.index.unfinished()) == ["running", "waiting"]
            (item,) = await store.inbox.pending("waiting")
            await store.inbox.remove("waiting", [item.item_id])
            assert list(await store.index.unfinished()) == ["running"]
