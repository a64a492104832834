"""Browsers that are logged in, and one-time codes: `greenroom.interfaces.Logins` on SQLite.

Rule: looking and changing are one transaction, so of two that take a code, in whatever process, one gets it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from greenroom.interfaces import Login, LoginBasis, LoginCode
from greenroom.logs.paging import check_limit
from greenroom.logs.sqlite import statements
from greenroom.logs.sqlite.engine import Engine

_Row = tuple[str, str, str, LoginBasis, str, int, int, int, str]
_COLUMNS: Final = (
    *("digest", "login_id", "user_id", "basis", "proof"),
    *("created_at_ms", "seen_at_ms", "ends_at_ms", "user_agent"),
)


class SqliteLogins:
    """The logins of one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def add(self, login: Login, *, count_max: int, seen_after_ms: int) -> None:
        """Adds a login, and removes those that have ended and those that are too many.

        Raises:
            LogUnavailable: the storage failed.
        """

        def add(connection: sqlite3.Connection) -> None:
            sql = statements.load("logins")
            connection.execute(sql["sweep_logins"], {"now_ms": login.created_at_ms, "seen_after_ms": seen_after_ms})
            connection.execute(
                sql["add_login"],
                (
                    login.digest,
                    login.login_id,
                    login.user_id,
                    login.basis,
                    login.proof,
                    login.created_at_ms,
                    login.seen_at_ms,
                    login.ends_at_ms,
                    login.user_agent,
                ),
            )
            connection.execute(sql["trim_logins"], {"user_id": login.user_id, "count_max": count_max})

        await self._engine.write(add)

    async def find(self, digest: bytes) -> Login | None:
        """Returns the login with this digest, or `None`.

        Raises:
            LogUnavailable: the storage failed.
        """

        def find(connection: sqlite3.Connection) -> Login | None:
            row = connection.execute(statements.load("logins")["find_login"], (digest,)).fetchone()
            return _login(row) if row else None

        return await self._engine.read(find)

    async def touch(self, digest: bytes, *, seen_at_ms: int) -> None:
        """Notes that a login was used.

        Raises:
            LogUnavailable: the storage failed.
        """
        change = {"digest": digest, "seen_at_ms": seen_at_ms}
        await self._engine.write(lambda connection: _execute(connection, "touch_login", change))

    async def page(self, user_id: str | None, *, limit: int) -> Sequence[Login]:
        """Returns the logins of a user, or of all, those last seen first.

        Raises:
            InvalidArgument: a limit out of range.
            LogUnavailable: the storage failed.
        """
        check_limit(limit, self._engine.limits.page_max)

        def page(connection: sqlite3.Connection) -> list[Login]:
            sql = statements.load("logins")
            if user_id is None:
                (answer,) = connection.execute(sql["page_logins"], {"limit": limit}).fetchone()
            else:
                question = {"user_id": user_id, "limit": limit}
                (answer,) = connection.execute(sql["page_logins_of_user"], question).fetchone()
            return [
                _login((bytes.fromhex(digest), login_id, owner, basis, bytes.fromhex(proof), *rest))
                for digest, login_id, owner, basis, proof, *rest in msgspec.json.decode(answer, type=list[_Row])
            ]

        return await self._engine.read(page)

    async def remove(self, user_id: str | None, login_id: str) -> bool:
        """Ends a login of this user, or of any; returns whether there was one.

        Raises:
            LogUnavailable: the storage failed.
        """
        change = {"user_id": user_id, "login_id": login_id}
        count = await self._engine.write(lambda connection: _execute(connection, "remove_login", change))
        return count > 0

    async def remove_all(self, user_id: str | None) -> int:
        """Ends the logins of a user, or of all, with their codes; returns how many logins there were.

        Raises:
            LogUnavailable: the storage failed.
        """

        def remove(connection: sqlite3.Connection) -> int:
            _execute(connection, "remove_codes", {"user_id": user_id})
            return _execute(connection, "remove_logins", {"user_id": user_id})

        return await self._engine.write(remove)

    async def add_code(self, code: LoginCode, *, count_max: int, now_ms: int) -> None:
        """Adds a one-time code, and removes those that have ended and those that are too many.

        Raises:
            LogUnavailable: the storage failed.
        """

        def add(connection: sqlite3.Connection) -> None:
            _execute(connection, "sweep_codes", (now_ms,))
            _execute(connection, "add_code", (code.digest, code.user_id, code.basis, code.ends_at_ms))
            _execute(connection, "trim_codes", (count_max,))

        await self._engine.write(add)

    async def find_code(self, digest: bytes, *, now_ms: int) -> LoginCode | None:
        """Returns a code and leaves it; `None` if it has ended, was taken or never was.

        Raises:
            LogUnavailable: the storage failed.
        """
        return await self._engine.read(lambda connection: _code(connection, digest, now_ms))

    async def take_code(self, digest: bytes, *, now_ms: int) -> LoginCode | None:
        """Removes a code and returns it; `None` if it has ended, was taken or never was.

        Raises:
            LogUnavailable: the storage failed.
        """

        def take(connection: sqlite3.Connection) -> LoginCode | None:
            found = _code(connection, digest, now_ms)
            _execute(connection, "remove_code", (digest,))
            return found

        return await self._engine.write(take)


def _code(connection: sqlite3.Connection, digest: bytes, now_ms: int) -> LoginCode | None:
    row = connection.execute(statements.load("logins")["find_code"], (digest,)).fetchone()
    if row is None or row[-1] <= now_ms:
        return None
    found, user_id, basis, ends_at_ms = row
    return LoginCode(digest=found, user_id=user_id, basis=basis, ends_at_ms=ends_at_ms)


def _execute(connection: sqlite3.Connection, name: str, values: Any) -> int:
    return connection.execute(statements.load("logins")[name], values).rowcount


def _login(row: Sequence[Any]) -> Login:
    return Login(**dict(zip(_COLUMNS, row, strict=True)))
