"""JSON Web Tokens: checked by PyJWT, against algorithms, issuer and audience that the operator names.

What a token says about itself decides nothing: an algorithm that the configuration does not name is refused before a key is
looked for, so that a public key can never be used as a shared secret, and `none` is no algorithm.

Rule: no name, no entry: a token without a user in `sub`, or without an expiry, is not accepted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from greenroom.config import check_user_id
from greenroom.errors import InvalidArgument, InvalidConfig
from greenroom.server.refusal import Refusal
from greenroom.settings import JwtSettings

SHARED: Final = frozenset({"HS256", "HS384", "HS512"})
PUBLIC: Final = frozenset({"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA"})
_TOKEN_BYTES_MAX: Final = 16 * 1024
_JWKS_AGE_S_MAX: Final = 600.0
"""A key that an issuer has withdrawn is accepted for so long; longer only while the issuer cannot be asked."""
_JWKS_PAUSE_S: Final = 10.0
"""Between two looks at an issuer for a key that it may have added, or that cannot be asked: a forged key id asks it no oftener."""
_JWKS_BYTES_MAX: Final = 1024 * 1024

Fetch = Callable[[str], Awaitable[bytes]]


class Keys:
    """The public keys of an issuer, from its URL (JWKS)."""

    def __init__(self, url: str, fetch: Fetch, clock: Callable[[], float] | None = None) -> None:
        self._url = url
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, Any] | None = None
        self._next_read_s = 0.0
        self._may_ask_s = 0.0
        self._lock = asyncio.Lock()

    async def key(self, key_id: str | None) -> Any:
        """Returns the key of an id, as PyJWT takes it.

        Raises:
            Refusal: 401: there is no such key; 503: the issuer cannot be asked.
        """
        async with self._lock:
            now_s = self._now_s()
            if now_s >= self._next_read_s or (self._find(key_id) is None and now_s >= self._may_ask_s):
                await self._read()
        found = self._find(key_id)
        if self._keys is None:
            raise _unavailable()
        if found is None:
            raise refused("its key is not among those of the issuer")
        return found

    def _find(self, key_id: str | None) -> Any:
        keys = self._keys or {}
        if key_id is None:
            return next(iter(keys.values())) if len(keys) == 1 else None
        return keys.get(key_id)

    async def _read(self) -> None:
        import jwt

        self._may_ask_s = self._next_read_s = self._now_s() + _JWKS_PAUSE_S
        try:
            async with asyncio.timeout(10.0):
                text = await self._fetch(self._url)
            found = jwt.PyJWKSet.from_json(text.decode())
        except (OSError, TimeoutError, ValueError, jwt.PyJWTError):
            return  # keys that were read before are better than none, for a while
        self._next_read_s = self._now_s() + _JWKS_AGE_S_MAX
        self._keys = {key.key_id or "": key for key in found.keys if key.public_key_use in {None, "sig"}}

    def _now_s(self) -> float:
        return self._clock() if self._clock is not None else asyncio.get_running_loop().time()


def _unavailable() -> Refusal:
    return Refusal(
        503, "issuer_unavailable", "the keys of the token's issuer cannot be read", headers={"retry-after": "10"}
    )


class SignedTokens:
    """Checks JWTs.

    Args:
        settings: what is accepted.
        keys: of the issuer, where the settings name a URL for them.

    Raises:
        InvalidConfig: the settings contradict themselves, or a library is missing.
    """

    def __init__(self, settings: JwtSettings, keys: Keys | None) -> None:
        self._settings = settings
        self._keys = keys
        algorithms = frozenset(settings.algorithms)
        unknown = algorithms - SHARED - PUBLIC
        if unknown or not algorithms:
            raise InvalidConfig(
                f"server.jwt.algorithms: {', '.join(sorted(unknown)) or 'an empty list'} is not accepted",
                hint=f"name some of {', '.join(sorted(SHARED | PUBLIC))}",
            )
        if algorithms & SHARED and algorithms & PUBLIC:
            raise InvalidConfig(
                "server.jwt.algorithms: shared secrets and public keys at the same time",
                hint="name either HS algorithms or the others",
            )
        if (settings.secret is not None) + (settings.public_key is not None) + (settings.jwks_url is not None) != 1:
            raise InvalidConfig(
                "server.jwt: name exactly one of secret, public_key and jwks_url", hint="secret is for HS algorithms"
            )
        if (settings.secret is not None) != bool(algorithms & SHARED):
            raise InvalidConfig("server.jwt: secret is for HS algorithms, and they need one", hint="see docs/server.md")
        bytes_min = max((int(name[2:]) // 8 for name in algorithms & SHARED), default=0)  # RFC 7518, 3.2
        if settings.secret is not None and len(settings.secret.encode()) < bytes_min:
            raise InvalidConfig(
                f"server.jwt.secret is shorter than {bytes_min} bytes", hint="make one with: openssl rand -hex 64"
            )
        if algorithms & PUBLIC:
            _check_cryptography()

    async def user(self, token: str) -> str:
        """Returns the user of a token.

        Raises:
            Refusal: 401: it is forged, expired, for somebody else, or names no user.
        """
        import jwt

        if len(token) > _TOKEN_BYTES_MAX:
            raise refused("it is too long")
        settings = self._settings
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in settings.algorithms:
                raise refused("its algorithm is not accepted")
            claims = jwt.decode(
                token,
                await self._key(header),
                algorithms=list(settings.algorithms),
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=settings.leeway_s,
                options={"require": ["exp", "sub"], "verify_aud": True, "verify_iss": True},
            )
        except jwt.ExpiredSignatureError as error:
            raise refused("it has expired") from error
        except (jwt.PyJWTError, ValueError, TypeError, msgspec.MsgspecError) as error:
            raise refused("its signature, issuer, audience or claims are not accepted") from error
        try:
            return check_user_id(claims["sub"])
        except InvalidArgument as error:
            raise refused("it names no user") from error

    async def _key(self, header: Mapping[str, Any]) -> Any:
        settings = self._settings
        if self._keys is None:
            return settings.secret if settings.secret is not None else settings.public_key
        key_id = header.get("kid")
        if key_id is not None and not isinstance(key_id, str):
            raise refused("its key id is no text")
        return await self._keys.key(key_id)


def refused(why: str) -> Refusal:
    """Returns the refusal of a token."""
    return Refusal(
        401,
        "unauthorized",
        f"the token is not accepted: {why}",
        hint="get a new one",
        headers={"www-authenticate": 'Bearer error="invalid_token"'},
    )


async def fetch_over_http(url: str) -> bytes:
    """Returns what is at a URL.

    Raises:
        OSError: it cannot be had.
        ValueError: it is too large.
    """
    import aiohttp

    try:
        async with aiohttp.ClientSession() as session, session.get(url, allow_redirects=False) as response:
            response.raise_for_status()
            text = await response.content.read(_JWKS_BYTES_MAX + 1)
    except aiohttp.ClientError as error:
        raise OSError(f"{type(error).__name__}") from error
    if len(text) > _JWKS_BYTES_MAX:
        raise ValueError("a key set of more than a megabyte")
    return text


def _check_cryptography() -> None:
    import importlib.util

    if importlib.util.find_spec("cryptography") is None:
        raise InvalidConfig(
            "server.jwt: public keys need the package cryptography", hint="pip install 'greenroom[jwt]'"
        )
