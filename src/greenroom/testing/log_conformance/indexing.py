"""The promises of `SessionIndex`: rows, pages and search, in step with the log.

Rule: one promise, one test; each says in its name what is promised.
"""
# ruff: noqa: PLR2004, D102 - a suite asserts; its numbers count what stands above them; names say what is promised

from __future__ import annotations

import msgspec

from greenroom.errors import Conflict, InvalidArgument
from greenroom.events import SessionClaimed, SessionRewound
from greenroom.interfaces import Store
from greenroom.testing.log_conformance.samples import START_MS, Author, found, raises, sessions_of, text
from greenroom.testing.log_conformance.suite import StoreSuite

NASTY_QUERIES = (
    "",
    " ",
    "!?&",
    '"',
    '"unbalanced',
    "(",
    "a AND",
    "NOT a",
    "a NEAR b",
    "NEAR(a b, 5)",
    "words:fox",
    "owner : fox",
    "-fox",
    "^fox",
    "fox*",
    "* fox",
    "fox + hound",
    "{words} : fox",
    "'; DROP TABLE text; --",
    "fox\x00hound",
    "\ud800",
    "%",
    "_",
    "\\",
    "fox " * 10_000,
    "f" * 100_000,
)


async def _pages(store: Store, *, limit: int, **question: str) -> list[list[str]]:
    pages, cursor = [], None
    while True:
        page = await store.index.page(limit=limit, cursor=cursor, **question)
        pages.append([summary.session_id for summary in page.sessions])
        cursor = page.cursor
        if cursor is None:
            return pages


class Listing(StoreSuite):
    """What holds for rows and pages."""

    async def test_a_row_is_what_the_last_append_made_it(self) -> None:
        async with self.open_store() as store:
            author = Author(store, "a")
            assert await store.index.get("a") is None
            await author.create(title="one")
            assert await store.index.get("a") == author.summary
            await author.say(texts=["x"], title="two", turn_count=1, status="running", open_turn=True)
            assert await store.index.get("a") == author.summary
            await author.append(SessionClaimed(node="n"))  # no change of the index
            assert await store.index.get("a") == author.summary

    async def test_a_row_can_be_had_at_once(self) -> None:
        async with self.open_store() as store:
            author = Author(store, "a")
            await author.create(title="one")
            assert store.index.get_now("a") in (None, author.summary)
            assert store.index.get_now("nobody") is None
            await store.close()  # a question at once needs no opening
            assert store.index.get_now("a") in (None, author.summary)
            assert store.index.get_now("nobody") is None

    async def test_a_refused_append_leaves_the_index_alone(self) -> None:
        async with self.open_store() as store:
            author, stale = Author(store, "a"), Author(store, "a", name="stale")
            await author.create(title="kept")
            with raises(Conflict):
                await stale.create(title="refused")
            with raises(Conflict):
                await stale.say(texts=["refused"], forget=range(1, 9))
            assert await store.index.get("a") == author.summary
            assert await found(store, "refused") == []
            assert await found(store, "kept") == [("a", 0)]

    async def test_a_repeated_append_leaves_the_index_alone(self) -> None:
        async with self.open_store() as store:
            author, again = Author(store, "a"), Author(store, "a")
            await author.create(title="early")
            await author.say(texts=["x"], title="late")
            await again.create(title="early")
            assert await store.index.get("a") == author.summary
            assert await found(store, "early") == []

    async def test_sessions_are_listed_by_their_last_change(self) -> None:
        async with self.open_store() as store:
            authors = {name: Author(store, name) for name in "abc"}
            for at, author in enumerate(authors.values()):
                await author.create(updated_at_ms=START_MS + at)
            assert await sessions_of(store) == ["c", "b", "a"]
            await authors["a"].say(texts=["x"], updated_at_ms=START_MS + 10)
            assert await sessions_of(store) == ["a", "c", "b"]

    async def test_paging_shows_every_session_once(self) -> None:
        async with self.open_store() as store:
            for number in range(23):  # some at the same millisecond
                await Author(store, f"s{number}").create(updated_at_ms=START_MS + number // 4)
            for limit in (1, 7, 22, 23, 24):
                pages = await _pages(store, limit=limit)
                names = [name for page in pages for name in page]
                assert sorted(names) == sorted(f"s{number}" for number in range(23))
                assert all(len(page) == limit for page in pages[:-1])
                assert pages[-1] or limit > 23
                assert names == await sessions_of(store, limit=100)

    async def test_paging_goes_on_while_sessions_change(self) -> None:
        async with self.open_store() as store:
            authors = [Author(store, f"s{number}") for number in range(6)]
            for at, author in enumerate(authors):
                await author.create(updated_at_ms=START_MS + at)
            page = await store.index.page(limit=2)
            assert [summary.session_id for summary in page.sessions] == ["s5", "s4"]
            await store.log.delete("s4")  # the very row that the cursor names
            await authors[3].say(texts=["x"], updated_at_ms=START_MS + 99)
            page = await store.index.page(limit=9, cursor=page.cursor)
            assert [summary.session_id for summary in page.sessions] == ["s2", "s1", "s0"]
            assert page.cursor is None

    async def test_a_user_sees_the_own_sessions(self) -> None:
        async with self.open_store() as store:
            for number in range(6):
                user_id = "ann" if number % 2 else "bob"
                await Author(store, f"s{number}", user_id=user_id).create(
                    title="common", updated_at_ms=START_MS + number
                )
            assert await sessions_of(store, user_id="ann") == ["s5", "s3", "s1"]
            assert await sessions_of(store, user_id="nobody") == []
            assert await _pages(store, limit=2, user_id="bob") == [["s4", "s2"], ["s0"]]
            assert await sessions_of(store, user_id="ann", query="common") == ["s5", "s3", "s1"]
            assert await _pages(store, limit=2, user_id="bob", query="common") == [["s4", "s2"], ["s0"]]

    async def test_a_session_can_change_its_user(self) -> None:
        async with self.open_store() as store:
            author = Author(store, "a", user_id="ann")
            await author.create(title="treasure")
            await author.say(texts=["gold"])
            await author.say(texts=["silver"], user_id="bob")
            for query in ("treasure", "gold", "silver"):
                assert await found(store, query, user_id="ann") == []
                assert len(await found(store, query, user_id="bob")) == 1
            assert await sessions_of(store, user_id="ann") == []
            assert await sessions_of(store, user_id="bob") == ["a"]

    async def test_bad_questions_are_refused(self) -> None:
        async with self.open_store() as store:
            await Author(store, "a").create()
            for limit in (0, -1, 10**6):
                with raises(InvalidArgument):
                    await store.index.page(limit=limit)
                with raises(InvalidArgument):
                    await store.index.search("x", limit=limit)
            for cursor in (
                "",
                "0",
                "x",
                "....",
                "a" * 10_000,
                "cDEuMS4x'",
                "ünicode",
                "cDEuOTk5OTk5OTk5OTk5OTk5OTk5OTk5LjE",
            ):
                with raises(InvalidArgument):
                    await store.index.page(cursor=cursor)

    async def test_unfinished_sessions_are_known(self) -> None:
        async with self.open_store() as store:
            assert not await store.index.unfinished()
            author = Author(store, "a")
            await author.create(open_turn=True)
            await Author(store, "b").create()
            assert list(await store.index.unfinished()) == ["a"]
            await author.say(open_turn=False)
            assert not await store.index.unfinished()


class Searching(StoreSuite):
    """What holds for full-text search."""

    async def test_messages_and_titles_are_found(self) -> None:
        async with self.open_store() as store:
            author = Author(store, "a")
            await author.create(title="Fox hunting")
            seq = await author.say(texts=["The quick brown fox", "jumps over the lazy dog"])
            hits = await store.index.search("fox")
            assert sorted((hit.session_id, hit.seq, hit.role) for hit in hits) == [
                ("a", 0, "title"),
                ("a", seq, "user"),
            ]
            assert {hit.title for hit in hits} == {"Fox hunting"}
            (hit,) = await store.index.search("lazy")
            assert hit.snippet == "jumps over the [lazy] dog"
            assert await sessions_of(store, query="lazy") == ["a"]
            assert await sessions_of(store, query="hunting") == ["a"]

    async def test_all_words_must_occur(self) -> None:
        async with self.open_store() as store:
            author = Author(store, "a")
            await author.create()
            both = await author.say(texts=["red apple"])
            await author.say(texts=["red pear"])
            assert await found(store, "apple red") == [("a", both)]
            assert await found(store, "apple pear") == []
            assert await sessions_of(store, query="apple pear") == []

    async def test_case_and_accents_do_not_matter(self) -> None:
        async with self.open_store() as store:
            author = Author(store, "a")
            await author.create()
            seq = await author.say(texts=["Crème brûlée at the CAFÉ in Straßburg"])
            for query in ("creme", "CRÈME", "brulee ", "cafe", "strassburg", "Straßburg "):
                assert await found(store, query) == [("a", seq)], query
            (hit,) = await store.index.search("creme ")
            assert hit.snippet.startswith("[Crème] brûlée")

    async def test_the_last_word_may_be_unfinished(self) -> None:
        async with self.open_store() as store:
            author = Author(store, "a")
            await author.create()
            seq = await author.say(texts=["searching as you type"])
            for query in ("s", "sea", "searching", "type sear", "searching ", "you TYP"):
                assert await found(store, query) == [("a", seq)], query
            for query in ("sear ", "sear type", "earching", "searchings"):
                assert await found(store, query) == [], query

    async def test_scripts_without_spaces_are_found(self) -> None:
        async with self.open_store() as store:
            author = Author(store, "a")
            await author.create(title="東京都の天気")
            seq = await author.say(texts=["今日は晴れです", "สวัสดีครับ"])
            assert await found(store, "東京") == [("a", 0)]
            assert await found(store, "京東") == []
            assert await found(store, "晴れ") == [("a", seq)]
            assert await found(store, "สวัสดี") == [("a", seq)]
            (hit,) = await store.index.search("晴れ")
            assert hit.snippet == "今日は[晴れ]です"

    async def test_a_query_has_no_syntax(self) -> None:
        async with self.open_store() as store:
            author = Author(store, "a")
            await author.create(title="fox")
            await author.say(texts=["fox and hound"])
            for query in NASTY_QUERIES:
                await store.index.search(query)
                await store.index.search(query, user_id="ann")
                await store.index.page(query=query, user_id="ann")
            assert await found(store, "-fox hound!") == [("a", 2)]
            assert await found(store, '"fox" (hound)') == [("a", 2)]
            assert await found(store, "fox NOT hound") == []

    async def test_no_words_find_nothing_and_an_empty_filter_is_none(self) -> None:
        async with self.open_store() as store:
            await Author(store, "a").create(title="?")
            for query in ("", " ", "?", "?!"):
                assert not await store.index.search(query)
            assert await sessions_of(store, query="") == await sessions_of(store, query=" ") == ["a"]
            assert await sessions_of(store, query="?!") == []

    async def test_what_was_rewound_is_not_found(self) -> None:
        async with self.open_store() as store:
            author = Author(store, "a")
            await author.create(title="a title")
            await author.say(texts=["one early"])
            # A message is older than the ends of the turns that it has waited behind.
            rewound = await author.say(texts=["two later"])
            await author.say(texts=["between"])
            end = await author.say(texts=["three later"])
            await author.say(SessionRewound(turn_id="t"), texts=["four after"], forget=[rewound, end])
            assert await found(store, "later") == []
            assert await found(store, "early") == [("a", 2)]
            assert await found(store, "between") == [("a", 4)]
            assert await found(store, "after") == [("a", 6)]
            assert await found(store, "title") == [("a", 0)]
            await author.say(SessionRewound(turn_id="t"), forget=[2])
            assert await found(store, "early") == []
            assert await found(store, "title") == [("a", 0)]

    async def test_a_renamed_session_is_found_by_its_new_name(self) -> None:
        async with self.open_store() as store:
            author = Author(store, "a")
            await author.create(title="caterpillar")
            await author.say(texts=["stays"], title="butterfly")
            assert await found(store, "caterpillar") == []
            assert await found(store, "butterfly") == [("a", 0)]
            await author.say(title="")
            assert await found(store, "butterfly") == []
            assert await found(store, "stays") == [("a", 2)]

    async def test_users_find_their_own_only(self) -> None:
        async with self.open_store() as store:
            for user_id in ("ann", "bob"):
                author = Author(store, f"of-{user_id}", user_id=user_id)
                await author.create(title="secret plan")
                await author.say(texts=["secret plan of mine"])
            assert {session_id for session_id, _ in await found(store, "secret", user_id="ann")} == {"of-ann"}
            assert await found(store, "secret", user_id="eve") == []
            assert len(await found(store, "secret")) == 4

    async def test_the_best_come_first(self) -> None:
        async with self.open_store() as store:
            for name, content in {
                "long": "apple " + "and other things that nobody asked for " * 20,
                "twice": "apple apple",
                "once": "apple and pear and plum",
            }.items():
                author = Author(store, name)
                await author.create()
                await author.say(texts=[content])
            hits = await store.index.search("apple")
            assert [hit.session_id for hit in hits] == ["twice", "once", "long"]
            assert [hit.session_id for hit in await store.index.search("apple", limit=1)] == ["twice"]

    async def test_a_snippet_shows_the_place(self) -> None:
        async with self.open_store() as store:
            author = Author(store, "a")
            await author.create()
            await author.say(texts=["word " * 500 + "needle in\n\n  a [haystack] " + "word " * 500])
            (hit,) = await store.index.search("needle haystack")
            assert "[needle] in a [[haystack]]" in hit.snippet
            assert hit.snippet.startswith("…")
            assert hit.snippet.endswith("…")
            assert len(hit.snippet) < 300

    async def test_the_index_and_the_log_change_together(self) -> None:
        async with self.open_store() as store:
            author = Author(store, "a")
            await author.create(title="t")
            for number in range(20):
                await author.say(text(str(number)), texts=[f"word{number} common"], turn_count=number)
            row = await store.index.get("a")
            assert row is not None
            assert row.last_seq == len(await store.log.read("a")) == 21
            assert len(await found(store, "common")) == 20
            assert msgspec.json.decode(msgspec.json.encode(row), type=type(row)) == row
