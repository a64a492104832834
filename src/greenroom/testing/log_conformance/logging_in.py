"""The promises of `Logins`: which browsers are logged in, and one-time codes.

Rule: one promise, one test; each says in its name what is promised.
"""
# ruff: noqa: PLR2004, D102 - a suite asserts; its numbers count what stands above them; names say what is promised

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from greenroom.interfaces import Login, LoginCode, Store
from greenroom.testing.log_conformance.samples import ODD_TEXTS, START_MS
from greenroom.testing.log_conformance.suite import StoreSuite

_DAY_MS = 86_400_000


def login(name: str, **changes: Any) -> Login:
    """Returns a login that begins at `START_MS` and ends a day later."""
    given: dict[str, Any] = {
        "login_id": f"login-{name}",
        "digest": hashlib.sha256(name.encode()).digest(),
        "user_id": "ann",
        "basis": "token",
        "proof": b"\x00\xffproof",
        "created_at_ms": START_MS,
        "seen_at_ms": START_MS,
        "ends_at_ms": START_MS + _DAY_MS,
        "user_agent": "A browser",
    }
    return Login(**{**given, **changes})


def code(name: str, **changes: Any) -> LoginCode:
    """Returns a code that ends a minute after `START_MS`."""
    digest = hashlib.sha256(name.encode()).digest()
    given: dict[str, Any] = {"digest": digest, "user_id": "ann", "basis": "token", "ends_at_ms": START_MS + 60_000}
    return LoginCode(**{**given, **changes})


async def _add(store: Store, *logins: Login, count_max: int = 100, seen_after_ms: int = 0) -> None:
    for each in logins:
        await store.logins.add(each, count_max=count_max, seen_after_ms=seen_after_ms)


async def _ids(store: Store, user_id: str | None, limit: int = 100) -> list[str]:
    return [each.login_id for each in await store.logins.page(user_id, limit=limit)]


class LoggingIn(StoreSuite):
    """What holds for logins and one-time codes."""

    async def test_a_login_is_found_by_its_digest_and_by_nothing_else(self) -> None:
        async with self.open_store() as store:
            kept = [login(str(at), user_agent=text, user_id=f"u{at} ü") for at, text in enumerate(ODD_TEXTS)]
            await _add(store, *kept)
            for each in kept:
                assert await store.logins.find(each.digest) == each
                assert await store.logins.find(each.digest[:-1]) is None
                assert await store.logins.find(each.digest + b"\x00") is None
                assert list(await store.logins.page(each.user_id, limit=9)) == [each]
            assert await store.logins.find(b"") is None

    async def test_logins_are_listed_by_user_last_seen_first(self) -> None:
        async with self.open_store() as store:
            await _add(store, login("a"), login("b", user_id="bob"), login("c"), login("d"))
            await store.logins.touch(login("a").digest, seen_at_ms=START_MS + 5)
            assert await _ids(store, "ann") == ["login-a", "login-d", "login-c"]
            assert await _ids(store, "ann", limit=2) == ["login-a", "login-d"]
            assert await _ids(store, "bob") == ["login-b"]
            assert await _ids(store, None) == ["login-a", "login-d", "login-c", "login-b"]
            assert await _ids(store, "nobody") == []

    async def test_a_look_is_noted_and_never_taken_back(self) -> None:
        async with self.open_store() as store:
            await _add(store, login("a"))
            await store.logins.touch(login("a").digest, seen_at_ms=START_MS + 7)
            await store.logins.touch(login("a").digest, seen_at_ms=START_MS + 3)
            await store.logins.touch(login("gone").digest, seen_at_ms=START_MS + 7)
            assert await store.logins.find(login("a").digest) == login("a", seen_at_ms=START_MS + 7)
            assert await store.logins.find(login("gone").digest) is None

    async def test_a_removed_login_is_gone_and_only_its_user_removes_it(self) -> None:
        async with self.open_store() as store:
            await _add(store, login("a"), login("b"))
            assert not await store.logins.remove("bob", "login-a")
            assert await store.logins.remove("ann", "login-a")
            assert not await store.logins.remove("ann", "login-a")
            assert await store.logins.find(login("a").digest) is None
            assert await _ids(store, "ann") == ["login-b"]
            assert await store.logins.remove(None, "login-b"), "the operator needs no user"
            assert await _ids(store, None) == []

    async def test_all_logins_of_a_user_or_of_all_end_at_once_with_their_codes(self) -> None:
        async with self.open_store() as store:
            await _add(store, login("a"), login("b", user_id="bob"), login("c"), login("d", user_id="eve"))
            for each in (code("x"), code("y", user_id="bob")):
                await store.logins.add_code(each, count_max=9, now_ms=START_MS)
            assert await store.logins.remove_all("ann") == 2
            assert await store.logins.remove_all("ann") == 0
            assert await store.logins.take_code(code("x").digest, now_ms=START_MS) is None
            assert await _ids(store, None) == ["login-d", "login-b"]
            assert await store.logins.remove_all(None) == 2
            assert await _ids(store, None) == []
            assert await store.logins.take_code(code("y").digest, now_ms=START_MS) is None

    async def test_logins_that_have_ended_or_were_not_used_leave_with_the_next_one(self) -> None:
        async with self.open_store() as store:
            await _add(store, login("ended", ends_at_ms=START_MS + 10), login("idle", user_id="bob"))
            await _add(store, login("used", seen_at_ms=START_MS + 6))
            assert await store.logins.find(login("ended").digest) is not None
            await _add(
                store,
                login("new", created_at_ms=START_MS + 10, seen_at_ms=START_MS + 10),
                seen_after_ms=START_MS + 5,
            )
            assert await _ids(store, None) == ["login-new", "login-used"]

    async def test_of_too_many_logins_those_not_seen_for_longest_leave(self) -> None:
        async with self.open_store() as store:
            await _add(store, login("other", user_id="bob"), count_max=1)
            for at in range(5):
                await _add(store, login(str(at), seen_at_ms=START_MS + at, created_at_ms=START_MS + at), count_max=3)
            assert await _ids(store, "ann") == ["login-4", "login-3", "login-2"]
            assert await _ids(store, "bob") == ["login-other"]

    async def test_a_code_is_taken_once_by_one_of_many(self) -> None:
        async with self.open_store() as store:
            await store.logins.add_code(code("x"), count_max=9, now_ms=START_MS)
            for _ in range(2):
                found = await store.logins.find_code(code("x").digest, now_ms=START_MS)
                assert found == code("x"), "looking at a code leaves it"
            assert await store.logins.find_code(code("y").digest, now_ms=START_MS) is None
            taken = await asyncio.gather(
                *(store.logins.take_code(code("x").digest, now_ms=START_MS) for _ in range(10))
            )
            assert [each for each in taken if each is not None] == [code("x")]
            assert await store.logins.find_code(code("x").digest, now_ms=START_MS) is None
            assert await store.logins.take_code(code("x").digest, now_ms=START_MS) is None

    async def test_a_code_that_has_ended_is_worth_nothing(self) -> None:
        async with self.open_store() as store:
            await store.logins.add_code(code("x"), count_max=9, now_ms=START_MS)
            assert await store.logins.find_code(code("x").digest, now_ms=START_MS + 60_000) is None
            assert await store.logins.take_code(code("x").digest, now_ms=START_MS + 60_000) is None
            assert await store.logins.take_code(code("x").digest, now_ms=START_MS) is None, "and nothing ever again"

    async def test_codes_are_bounded_and_those_that_end_first_leave(self) -> None:
        async with self.open_store() as store:
            for at in range(5):
                added = code(str(at), ends_at_ms=START_MS + 60_000 + at)
                await store.logins.add_code(added, count_max=3, now_ms=START_MS)
            taken = [await store.logins.take_code(code(str(at)).digest, now_ms=START_MS) for at in range(5)]
            assert [each is not None for each in taken] == [False, False, True, True, True]
