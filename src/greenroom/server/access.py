"""Who is asking: a token, a key, a signed token (JWT), or the cookie that a browser got for one of them.

Secrets are compared by their digests, so nothing can be learned from how long a comparison takes, and none is kept in memory in the
clear.

Rule: who a request is from follows from its credential alone; a request never names a user.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Final, Literal

import msgspec

from greenroom.server.logins import Logins
from greenroom.server.refusal import Refusal
from greenroom.server.signed import Keys, SignedTokens
from greenroom.settings import Settings

DEFAULT_USER: Final = "default"
"""Whose the sessions are in an installation of one person, also those made in Python or on the command line."""
_COOKIE_PURPOSE: Final = b"greenroom cookie 1"
_COOKIE_AGE_S: Final = 90 * 24 * 3600


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody whose credential was accepted."""

    user_id: str
    by: Literal["header", "cookie"]


class Access:
    """What is accepted.

    Args:
        settings: of the installation.
        token: the token of this server, or `None` if there are only keys and JWTs.
        keys: where the keys of a JWT issuer come from.
    """

    def __init__(self, settings: Settings, *, token: str | None, keys: Keys | None = None) -> None:
        credentials = {key.key: key.user for key in settings.server.api_keys}
        if token is not None:
            credentials[token] = DEFAULT_USER
        self._users = {_digest(secret): user for secret, user in credentials.items()}
        self._cookies = {_digest(_cookie_for(secret)): user for secret, user in credentials.items()}
        self._signed = SignedTokens(settings.server.jwt, keys) if settings.server.jwt is not None else None
        self._logins = Logins(settings.limits)
        self.cookie_name = f"greenroom_{settings.port}"

    async def principal(self, headers: Mapping[str, str], address: str) -> Principal:
        """Returns who is asking.

        Args:
            headers: of the request.
            address: where it comes from.

        Raises:
            Refusal: 401 without a credential, or with one that is not accepted; 429 after too many of those.
        """
        authorization = headers.get("authorization")
        if authorization is not None:
            scheme, _, secret = authorization.partition(" ")
            if scheme.lower() != "bearer" or not secret.strip():
                raise _unauthorized("the header Authorization is not `Bearer <token>`")
            return Principal(user_id=await self._tried(address, secret.strip(), self._user), by="header")
        cookie = _cookie(headers.get("cookie"), self.cookie_name)
        if cookie is None:
            raise _unauthorized("there is no token")
        return Principal(user_id=await self._tried(address, cookie, self._user_of_cookie), by="cookie")

    async def cookie(self, token: str, address: str, *, is_secure: bool) -> str:
        """Returns the Set-Cookie header that a browser gets for a token.

        Raises:
            Refusal: 401: the token is not accepted; 429 after too many of those.
        """
        await self._tried(address, token, self._user)
        value = _cookie_for(token) if _digest(token) in self._users else token
        secure = "; Secure" if is_secure else ""
        return f"{self.cookie_name}={value}; Path=/; Max-Age={_COOKIE_AGE_S}; HttpOnly; SameSite=Strict{secure}"

    async def _tried(self, address: str, credential: str, user_of: Callable[[str], Awaitable[str]]) -> str:
        self._logins.check(address, credential)
        try:
            user = await user_of(credential)
        except Refusal as refusal:
            if refusal.status == HTTPStatus.UNAUTHORIZED:
                self._logins.failed(address, credential)
            raise
        self._logins.succeeded(address, credential)
        return user

    async def _user_of_cookie(self, cookie: str) -> str:
        user = self._cookies.get(_digest(cookie))
        if user is None and self._signed is not None and cookie.count(".") == 2:  # noqa: PLR2004 - the parts of a JWT
            user = await self._signed.user(cookie)
        if user is None:
            raise _unauthorized("the cookie is not accepted")
        return user

    async def _user(self, secret: str) -> str:
        user = self._users.get(_digest(secret))
        if user is not None:
            return user
        if self._signed is not None and secret.count(".") == 2:  # noqa: PLR2004 - the parts of a JWT
            return await self._signed.user(secret)
        raise _unauthorized("the token is not accepted")


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _cookie_for(secret: str) -> str:
    """Returns what stands for a secret in a cookie: whoever reads the cookie has not got the secret."""
    made = hmac.digest(secret.encode(), _COOKIE_PURPOSE, "sha256")
    return base64.urlsafe_b64encode(made).rstrip(b"=").decode()


def _cookie(header: str | None, name: str) -> str | None:
    if header is None:
        return None
    try:
        morsel = SimpleCookie(header).get(name)
    except CookieError:
        return None
    return morsel.value if morsel is not None else None


def _unauthorized(message: str) -> Refusal:
    return Refusal(
        401,
        "unauthorized",
        message,
        hint="send `Authorization: Bearer <token>`; `greenroom serve` prints a URL with its token",
        headers={"www-authenticate": "Bearer"},
    )
