"""The promises of `Notes`: what is kept for users.

Rule: one promise, one test; each says in its name what is promised.
"""
# ruff: noqa: PLR2004, D102 - a suite asserts; its numbers count what stands above them; names say what is promised

from __future__ import annotations

import asyncio

from greenroom.errors import LimitExceeded
from greenroom.interfaces import Note
from greenroom.testing.log_conformance.indexing import NASTY_QUERIES
from greenroom.testing.log_conformance.samples import ODD_TEXTS, START_MS, note, raises
from greenroom.testing.log_conformance.suite import StoreSuite


def _keys(notes: object) -> list[str]:
    assert isinstance(notes, list | tuple)
    return [note.key for note in notes]


class Noting(StoreSuite):
    """What holds for memories and preferences."""

    async def test_a_note_comes_back_as_it_was(self) -> None:
        async with self.open_store() as store:
            for number, content in enumerate(ODD_TEXTS):
                kept = Note(kind="memory", key=f"key {number} ü", text=content, at_ms=START_MS + number)
                await store.notes.put("ann", kept, count_max=100)
                assert await store.notes.get("ann", "memory", kept.key) == kept
            assert await store.notes.get("ann", "memory", "nothing") is None

    async def test_a_note_is_replaced_by_its_key(self) -> None:
        async with self.open_store() as store:
            await store.notes.put("ann", note("color", "blue like the sea"), count_max=1)
            await store.notes.put("ann", note("color", "red"), count_max=1)
            assert await store.notes.page("ann", "memory", limit=9) == [note("color", "red")]
            assert _keys(await store.notes.search("ann", "memory", "sea", limit=9)) == []
            assert _keys(await store.notes.search("ann", "memory", "red", limit=9)) == ["color"]

    async def test_a_deleted_note_is_gone(self) -> None:
        async with self.open_store() as store:
            await store.notes.put("ann", note("k", "ephemeral"), count_max=9)
            assert await store.notes.delete("ann", "memory", "k")
            assert not await store.notes.delete("ann", "memory", "k")
            assert await store.notes.get("ann", "memory", "k") is None
            assert _keys(await store.notes.search("ann", "memory", "ephemeral", limit=9)) == []
            assert _keys(await store.notes.page("ann", "memory", limit=9)) == []

    async def test_users_and_kinds_do_not_mix(self) -> None:
        async with self.open_store() as store:
            for user_id in ("ann", "bob"):
                for kind in ("memory", "preference"):
                    await store.notes.put(user_id, note("k", f"word of {user_id} {kind}", kind=kind), count_max=9)
            assert await store.notes.delete("bob", "memory", "k")
            for user_id, kind, count in (
                ("ann", "memory", 1),
                ("ann", "preference", 1),
                ("bob", "memory", 0),
                ("eve", "", 0),
            ):
                found = await store.notes.search(user_id, kind, "word", limit=9)
                assert len(found) == len(await store.notes.page(user_id, kind, limit=9)) == count
                assert all(note.text == f"word of {user_id} {kind}" for note in found)

    async def test_a_full_collection_takes_no_new_note_but_changes_old_ones(self) -> None:
        async with self.open_store() as store:
            for key in ("1", "2"):
                await store.notes.put("ann", note(key), count_max=2)
            with raises(LimitExceeded):
                await store.notes.put("ann", note("3"), count_max=2)
            await store.notes.put("ann", note("2", "changed"), count_max=2)
            await store.notes.put("ann", note("3", kind="preference"), count_max=2)
            await store.notes.put("bob", note("3"), count_max=2)
            await store.notes.delete("ann", "memory", "1")
            await store.notes.put("ann", note("3"), count_max=2)
            assert sorted(_keys(await store.notes.page("ann", "memory", limit=9))) == ["2", "3"]

    async def test_the_bound_holds_for_writers_at_once(self) -> None:
        async with self.open_store() as store:

            async def put(number: int) -> bool:
                try:
                    await store.notes.put("ann", note(str(number)), count_max=5)
                except LimitExceeded:
                    return False
                return True

            done = await asyncio.gather(*(put(number) for number in range(20)))
            assert done.count(True) == len(await store.notes.page("ann", "memory", limit=99)) == 5

    async def test_notes_are_listed_latest_first(self) -> None:
        async with self.open_store() as store:
            for number in range(7):
                await store.notes.put("ann", note(str(number), at_ms=START_MS + number // 2), count_max=9)
            assert _keys(await store.notes.page("ann", "memory", limit=3)) == ["6", "5", "4"]
            assert _keys(await store.notes.page("ann", "memory", limit=3, offset=3)) == ["3", "2", "1"]
            assert _keys(await store.notes.page("ann", "memory", limit=3, offset=6)) == ["0"]
            assert _keys(await store.notes.page("ann", "memory", limit=3, offset=7)) == []
            await store.notes.put("ann", note("0", "again", at_ms=START_MS + 9), count_max=9)
            assert _keys(await store.notes.page("ann", "memory", limit=2)) == ["0", "6"]

    async def test_any_word_finds_and_rare_words_weigh_more(self) -> None:
        async with self.open_store() as store:
            for number in range(30):
                await store.notes.put("ann", note(f"n{number}", f"the user is fond of thing{number}"), count_max=99)
            await store.notes.put(
                "ann", note("dog", "the dog of the user is called Rex", at_ms=START_MS - 1), count_max=99
            )
            found = _keys(await store.notes.search("ann", "memory", "What is my dog called?", limit=5))
            assert found[0] == "dog"
            assert len(found) == 5
            assert _keys(await store.notes.search("ann", "memory", "zebra", limit=5)) == []

    async def test_a_query_has_no_syntax(self) -> None:
        async with self.open_store() as store:
            await store.notes.put("ann", note("k", "fox"), count_max=9)
            for query in NASTY_QUERIES:
                await store.notes.search("ann", "memory", query, limit=9)
            assert _keys(await store.notes.search("ann", "memory", "-fox", limit=9)) == ["k"]
