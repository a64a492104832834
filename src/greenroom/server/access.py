"""Who is asking: a token, a key, a signed token (JWT), or a browser that is logged in with one of them.

Secrets are compared by their digests, so nothing can be learned from how long a comparison takes, and none is kept in memory in the
clear.

Rule: who a request is from follows from its credential alone; a request never names a user.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Final, Literal

import msgspec

from greenroom.config import check_user_id
from greenroom.errors import InvalidArgument, InvalidConfig
from greenroom.interfaces import Login, LoginBasis, Logins
from greenroom.runtime.clock import Clock, SystemClock
from greenroom.server.answers import Scope
from greenroom.server.failed_logins import FailedLogins
from greenroom.server.logins import CODE_PREFIX, BrowserLogins, CookieName, proof
from greenroom.server.proxies import Proxies, is_secure
from greenroom.server.refusal import Refusal
from greenroom.server.signed import Keys, SignedTokens, expired
from greenroom.server.stay import Stay
from greenroom.settings import Settings

DEFAULT_USER: Final = "default"
"""Whose the sessions are in an installation of one person, also those made in Python or on the command line."""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A caller whose credential was accepted.

    Attributes:
        is_operator: it is the server's own token, in the header.
        login: of the browser, if it came with a cookie.
        ends_at_ms: when a signed token ends, in milliseconds since 1970; `None` for other credentials.
    """

    user_id: str
    by: Literal["header", "cookie"]
    is_operator: bool = False
    login: Login | None = None
    ends_at_ms: int | None = None


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """A credential that was accepted.

    Attributes:
        digest: of it; `None` where nothing is kept to compare with: of a signed token.
        ends_at_ms: when it ends by itself.
    """

    user_id: str
    basis: LoginBasis
    digest: bytes | None = None
    ends_at_ms: int | None = None


class Access:
    """What is accepted.

    Args:
        settings: of the installation.
        token: the token of this server, or `None` if there are only keys and JWTs.
        logins: returns where the browsers' logins are kept.
        keys: where the keys of a JWT issuer come from.
        clock: the wall clock.

    Attributes:
        browsers: that are logged in.

    Raises:
        InvalidConfig: the settings contradict themselves.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        token: str | None,
        logins: Callable[[], Awaitable[Logins]],
        keys: Keys | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self.browsers = BrowserLogins(settings.limits, logins, self._clock)
        self._keys = keys
        self._known = _known_credentials(settings, token)
        self._signed = SignedTokens(settings.server.jwt, keys) if settings.server.jwt is not None else None
        self._failed = FailedLogins(settings.limits)
        self._proxies = Proxies(settings.server.trusted_proxies)

    async def principal(self, headers: Mapping[str, str], scope: Scope) -> Principal:
        """Returns who is asking.

        Args:
            headers: of the request.
            scope: of the request.

        Raises:
            Refusal: 401 without a credential, or with one that is not accepted; 429 after too many of those.
        """
        authorization = headers.get("authorization")
        if authorization is not None:
            scheme, _, secret = authorization.partition(" ")
            if scheme.lower() != "bearer" or not secret.strip():
                raise _unauthorized("the header Authorization is not `Bearer <token>`")
            verified = await self.verified(secret.strip(), headers, scope)
            return Principal(
                user_id=verified.user_id,
                by="header",
                is_operator=verified.basis == "token",
                ends_at_ms=verified.ends_at_ms,
            )
        cookie = CookieName.of(headers, is_secure=is_secure(scope, headers))
        value = cookie.find(headers.get("cookie"))
        if value is None:
            raise _unauthorized("there is no token")
        login = await self._login(value, cookie)
        if login is None:
            self._failed.count(self.client_of(headers, scope))
            raise _logged_out()
        return Principal(user_id=login.user_id, by="cookie", login=login)

    def stay(self, principal: Principal, headers: Mapping[str, str], scope: Scope) -> Stay | None:
        """Returns how long a client may see a stream; `None` where its credential is accepted as long as this server runs.

        Args:
            principal: who asks.
            headers: of the request.
            scope: of the request.
        """
        login = principal.login
        if login is None:
            if principal.ends_at_ms is None:
                return None
            return Stay(ends_at_ms=principal.ends_at_ms, over=expired(), clock=self._clock)

        async def look() -> Refusal | None:
            return None if await self.login_of(headers, scope) is not None else _logged_out()

        def tell(put_out: Callable[[Refusal], None]) -> AbstractContextManager[object]:
            return self.browsers.following(login, lambda why: put_out(_logged_out(why)))

        return Stay(ends_at_ms=login.ends_at_ms, over=_logged_out(), clock=self._clock, look=look, tell=tell)

    async def login_of(self, headers: Mapping[str, str], scope: Scope) -> Login | None:
        """Returns the login of the browser that asks; `None` without one."""
        cookie = CookieName.of(headers, is_secure=is_secure(scope, headers))
        try:
            value = cookie.find(headers.get("cookie"))
        except Refusal:
            return None
        return await self._login(value, cookie) if value is not None else None

    async def verified(self, credential: str, headers: Mapping[str, str], scope: Scope) -> Verified:
        """Accepts a token, a key or a signed token.

        Raises:
            Refusal: 401: it is not accepted; 429 after too many of those.
        """
        try:
            return await self._verified(credential)
        except Refusal as refusal:
            if refusal.status == HTTPStatus.UNAUTHORIZED:
                self._failed.count(self.client_of(headers, scope))
            raise

    async def redeemed(
        self,
        code: str,
        headers: Mapping[str, str],
        scope: Scope,
        *,
        is_confirmed: bool,
        check: Callable[[str], None],
    ) -> Verified:
        """Accepts a one-time code, which is worth nothing afterwards.

        Args:
            code: the code.
            headers: of the request.
            scope: of the request.
            is_confirmed: a person has asked for it. A code for the user of the server's own token needs no question: nobody else could
                have made it, so nobody can be led into another's account with it.
            check: refuses to log in the user that it is for; the code then stays good.

        Raises:
            Refusal: 401: it has ended, or was used; 429 after too many of those; 409: a person has to confirm it first; what `check`
                refuses.
        """
        found = await self.browsers.find_code(code)
        if found is not None and not (is_confirmed or found.basis == "token"):
            raise Refusal(409, "unconfirmed", "a person has to confirm this login", hint="send it with confirmed=true")
        if found is not None:
            check(found.user_id)
            found = await self.browsers.take_code(code)  # of two who come with it at once, one has it
        digest = None
        if found is not None and found.basis == "token":
            # The server's token may have gone since the code was made.
            digest = next((digest for digest, known in self._known.items() if known.basis == "token"), None)
        if found is None or (found.basis == "token" and digest is None):
            self._failed.count(self.client_of(headers, scope))
            raise Refusal(
                401,
                "unauthorized",
                "this one-time code has been used, has expired, or is for another server",
                hint="`greenroom login-link` makes another; its option --url names the address of this server",
            )
        return Verified(user_id=found.user_id, basis=found.basis, digest=digest)

    def client_of(self, headers: Mapping[str, str], scope: Scope) -> str:
        """Returns the client that a request is counted for where no user is known."""
        return self._proxies.client_of(scope, headers)

    async def close(self) -> None:
        """Lets go of what looks for an issuer's keys."""
        if self._keys is not None:
            await self._keys.close()

    async def _login(self, value: str, cookie: CookieName) -> Login | None:
        login = await self.browsers.find(value, cookie)
        return login if login is not None and self._stands(login, value) else None

    def _stands(self, login: Login, value: str) -> bool:
        """Returns whether what a login rests on is still accepted."""
        if login.basis == "operator":
            return True
        if login.basis == "jwt":
            return self._signed is not None
        return any(
            (known.user_id, known.basis) == (login.user_id, login.basis)
            and hmac.compare_digest(login.proof, proof(value, digest))
            for digest, known in self._known.items()
        )

    async def _verified(self, secret: str) -> Verified:
        known = self._known.get(_digest(secret))
        if known is not None:
            return known
        if self._signed is not None and secret.count(".") == 2:  # noqa: PLR2004 - the parts of a JWT
            user_id, ends_at_ms = await self._signed.user(secret)
            return Verified(user_id=user_id, basis="jwt", ends_at_ms=ends_at_ms)
        if secret.startswith(CODE_PREFIX):
            raise _unauthorized("this is a one-time code for a browser, not a token")
        raise _unauthorized("the token is not accepted")


def _known_credentials(settings: Settings, token: str | None) -> dict[bytes, Verified]:
    """Returns the token and the keys by their digests.

    Raises:
        InvalidConfig: one secret stands for two users, or a key for a name that cannot be one.
    """
    found: dict[bytes, Verified] = {}
    if token is not None:
        found[_digest(token)] = Verified(user_id=DEFAULT_USER, basis="token", digest=_digest(token))
    for number, key in enumerate(settings.server.api_keys, start=1):
        digest = _digest(key.key)
        try:
            check_user_id(key.user)
        except InvalidArgument as error:
            raise InvalidConfig(f"server.api_keys: number {number}: {error.message}", hint=error.hint) from error
        if key.user != key.user.strip():
            raise InvalidConfig(
                f"server.api_keys: the user of number {number} begins or ends with a blank", hint="leave the blanks out"
            )
        if digest in found:
            raise InvalidConfig(
                f"server.api_keys: number {number} is the same secret as one before it, or as the server's token",
                hint="give each its own: openssl rand -hex 32",
            )
        found[digest] = Verified(user_id=key.user, basis="key", digest=digest)
    return found


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _logged_out(why: str = "this browser is not logged in any more") -> Refusal:
    return _unauthorized(why)


def _unauthorized(message: str) -> Refusal:
    return Refusal(
        401,
        "unauthorized",
        message,
        hint="send `Authorization: Bearer <token>`; a browser logs in at /login",
        headers={"www-authenticate": "Bearer"},
    )
