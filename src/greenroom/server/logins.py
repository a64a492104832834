"""Browsers that are logged in: each with a random value of its own in a cookie, whose digest stands in the store.

Theory of operation. A person gives a credential or a one-time code once; from then on the browser has a login, which lists, ends and
outlives the server. A login rests on something: on a token, a key or a signed token that is still accepted, or on the word of the
operator. Its `proof` is a digest of the credential under the cookie's value: so a login ends with its credential, and the store
tells nothing about either. The digest is also of the host and port that the browser named: cookies know no ports, and one that
reaches another server of the host is worth nothing there.

Rule: neither a cookie's value nor a code is ever stored, logged or compared as it is.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from greenroom.errors import EventLogError
from greenroom.interfaces import Login, LoginBasis, LoginCode, Logins
from greenroom.limits import Limits
from greenroom.runtime.clock import Clock, SystemClock, new_id
from greenroom.server.refusal import Refusal

logger: Final = logging.getLogger("greenroom.server")

CODE_PREFIX: Final = "grc_"
"""What a one-time code begins with, so that it is told from a token wherever it turns up."""
_OUT: Final = "this browser was logged out"
_TOUCH_MS: Final = 60_000
"""A login that is used is written down so often: a write for each request would cost more than the request."""
_USER_AGENT_CHARACTERS_MAX: Final = 200
_MS_PER_S: Final = 1000


class CookieName(NamedTuple):
    """The cookie of a server, as one browser names the server.

    Attributes:
        name: its name.
        is_secure: goes over TLS only.
        host: the host that the browser names, with its port.
    """

    name: str
    is_secure: bool
    host: str

    @classmethod
    def of(cls, headers: Mapping[str, str], *, is_secure: bool) -> CookieName:
        """Returns the cookie for a request.

        Cookies are shared by all ports of a host, so the port is in the name. Where there is TLS, `__Host-` keeps other hosts of the
        domain, and pages without TLS, from setting it.
        """
        host = headers.get("host", "").lower()
        port = re.search(r":(\d+)$", host)
        name = f"greenroom_{port[1]}" if port else "greenroom"
        return cls(f"__Host-{name}" if is_secure else name, is_secure, host)

    def find(self, header: str | None) -> str | None:
        """Returns the value in the header Cookie, if there is one.

        Raises:
            Refusal: 401: there are two, and one is of another server.
        """
        pairs = [pair.strip().partition("=") for pair in (header or "").split(";")]
        values = {value.strip().strip('"') for name, _, value in pairs if name.strip() == self.name}
        if len(values) > 1:
            raise Refusal(
                401,
                "unauthorized",
                f"there are several cookies named {self.name}: another server of this host has set one",
                hint="delete the cookies of this host, and log in again",
            )
        return values.pop() if values else None

    def header(self, value: str, age_s: float) -> str:
        """Returns the header Set-Cookie; an age of 0 deletes."""
        secure = "; Secure" if self.is_secure else ""
        return f"{self.name}={value}; Path=/; Max-Age={max(0, int(age_s))}; HttpOnly; SameSite=Strict{secure}"


class BrowserLogins:
    """The logins of a server's browsers.

    Args:
        limits: how long, and how many.
        store: returns where they are kept.
        clock: the wall clock.
    """

    def __init__(self, limits: Limits, store: Callable[[], Awaitable[Logins]], clock: Clock | None = None) -> None:
        self._limits = limits
        self._store = store
        self._clock = clock or SystemClock()
        self._followers: dict[str, dict[str, list[Callable[[str], None]]]] = {}

    async def begin(
        self,
        *,
        user_id: str,
        basis: LoginBasis,
        credential: bytes | None,
        cookie: CookieName,
        user_agent: str,
        ends_at_ms: int | None = None,
    ) -> tuple[Login, str]:
        """Logs a browser in; returns the login, and the header Set-Cookie.

        Args:
            user_id: who is logged in.
            basis: what the login rests on.
            credential: digest of the credential that it rests on, if there is one.
            cookie: that the browser gets.
            user_agent: what the browser says of itself.
            ends_at_ms: when the credential ends by itself.
        """
        value = secrets.token_urlsafe(32)
        now_ms = self._clock.now_ms()
        longest_ms = now_ms + int(self._limits.login_s_max * _MS_PER_S)
        login = Login(
            login_id=new_id("l", now_ms),
            digest=_digest(value, cookie.host),
            user_id=user_id,
            basis=basis,
            proof=proof(value, credential) if credential is not None else b"",
            created_at_ms=now_ms,
            seen_at_ms=now_ms,
            ends_at_ms=longest_ms if ends_at_ms is None else min(longest_ms, ends_at_ms),
            user_agent=_printable(user_agent)[:_USER_AGENT_CHARACTERS_MAX],
        )
        store = await self._store()
        await store.add(login, count_max=self._limits.logins_per_user_max, seen_after_ms=self._seen_after_ms(now_ms))
        return login, cookie.header(value, (login.ends_at_ms - now_ms) / _MS_PER_S)

    async def find(self, value: str, cookie: CookieName) -> Login | None:
        """Returns the login of a cookie's value, unless it has ended; notes that it was used."""
        store = await self._store()
        login = await store.find(_digest(value, cookie.host))
        now_ms = self._clock.now_ms()
        if login is None or not self._lasts(login, now_ms):
            return None
        if now_ms - login.seen_at_ms >= min(_TOUCH_MS, self._limits.login_idle_s_max * _MS_PER_S / 10):
            try:
                await store.touch(login.digest, seen_at_ms=now_ms)
            except EventLogError as error:
                # A disk that takes no more must not lock out those who could make room on it.
                logger.warning("the use of a login could not be recorded: %s", error)
        return login

    async def end(self, login: Login, why: str) -> None:
        """Ends a login; those who follow it are told why."""
        await (await self._store()).remove(login.user_id, login.login_id)
        self._tell(login.user_id, login.login_id, why)

    async def remove(self, user_id: str, login_id: str) -> bool:
        """Ends a login of a user; returns whether there was one."""
        was_there = await (await self._store()).remove(user_id, login_id)
        self._tell(user_id, login_id, _OUT)
        return was_there

    async def remove_all(self, user_id: str) -> int:
        """Ends all logins of a user, and makes the user's codes worthless; returns how many logins there were."""
        count = await (await self._store()).remove_all(user_id)
        for followed_id in list(self._followers.get(user_id, ())):
            self._tell(user_id, followed_id, _OUT)
        return count

    @contextmanager
    def following(self, login: Login, on_end: Callable[[str], None]) -> Iterator[None]:
        """Has a function called with the reason when this process ends a login, as long as the context is open."""
        of_user = self._followers.setdefault(login.user_id, {})
        of_login = of_user.setdefault(login.login_id, [])
        of_login.append(on_end)
        try:
            yield
        finally:
            of_login.remove(on_end)
            if not of_login:
                del of_user[login.login_id]
            if not of_user:
                del self._followers[login.user_id]

    def _tell(self, user_id: str, login_id: str, why: str) -> None:
        for on_end in list(self._followers.get(user_id, {}).get(login_id, ())):
            on_end(why)

    async def page(self, user_id: str | None, limit: int | None = None) -> Sequence[Login]:
        """Returns the logins that have not ended, of a user or of all, those last seen first.

        Args:
            user_id: `None` for all users.
            limit: how many at the most; left out, as many as a user may have.
        """
        limit = min(limit or self._limits.logins_per_user_max, self._limits.page_max)
        now_ms = self._clock.now_ms()
        return [login for login in await (await self._store()).page(user_id, limit=limit) if self._lasts(login, now_ms)]

    async def find_code(self, code: str) -> LoginCode | None:
        """Returns what a one-time code is good for, and leaves it."""
        return await (await self._store()).find_code(_code_digest(code), now_ms=self._clock.now_ms())

    async def take_code(self, code: str) -> LoginCode | None:
        """Returns what a one-time code is good for, once."""
        return await (await self._store()).take_code(_code_digest(code), now_ms=self._clock.now_ms())

    def _lasts(self, login: Login, now_ms: int) -> bool:
        longest_ms = login.created_at_ms + int(self._limits.login_s_max * _MS_PER_S)
        return now_ms < min(login.ends_at_ms, longest_ms) and login.seen_at_ms > self._seen_after_ms(now_ms)

    def _seen_after_ms(self, now_ms: int) -> int:
        return now_ms - int(self._limits.login_idle_s_max * _MS_PER_S)


async def new_code(store: Logins, user_id: str, basis: LoginBasis, limits: Limits, clock: Clock | None = None) -> str:
    """Returns a one-time code that logs a browser in as this user; it is good for `login_code_s_max`."""
    code = CODE_PREFIX + secrets.token_urlsafe(24)
    now_ms = (clock or SystemClock()).now_ms()
    ends_at_ms = now_ms + int(limits.login_code_s_max * _MS_PER_S)
    kept = LoginCode(digest=_code_digest(code), user_id=user_id, basis=basis, ends_at_ms=ends_at_ms)
    await store.add_code(kept, count_max=limits.login_codes_max, now_ms=now_ms)
    return code


def login_data(login: Login, *, is_current: bool) -> dict[str, object]:
    """Returns a login as clients see it."""
    return {
        "login_id": login.login_id,
        "user_id": login.user_id,
        "basis": login.basis,
        "created_at": _iso(login.created_at_ms),
        "seen_at": _iso(login.seen_at_ms),
        "ends_at": _iso(login.ends_at_ms),
        "user_agent": login.user_agent,
        "is_current": is_current,
    }


def proof(value: str, credential: bytes) -> bytes:
    """Returns what shows, to those who have the cookie's value, on which credential its login rests."""
    return hmac.digest(value.encode(), credential, "sha256")


def _digest(value: str, host: str) -> bytes:
    return hashlib.sha256(f"login\n{host}\n{value}".encode("utf-8", "surrogatepass")).digest()


def _code_digest(code: str) -> bytes:
    return hashlib.sha256(f"code\n{code}".encode("utf-8", "surrogatepass")).digest()


def _printable(text: str) -> str:
    return "".join([character for character in text if character.isprintable()])


def _iso(at_ms: int) -> str:
    return dt.datetime.fromtimestamp(at_ms / _MS_PER_S, tz=dt.UTC).isoformat(timespec="milliseconds")
