"""JSON Web Tokens: checked by PyJWT, against algorithms, issuer and audience that the operator names.

What a token says about itself decides nothing: an algorithm that the configuration does not name is refused before a key is
looked for, so that a public key can never be used as a shared secret, and `none` is no algorithm.

Rule: no name, no entry: a token without a user in `sub`, or without an expiry, is not accepted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from greenroom.config import check_user_id
from greenroom.errors import InvalidArgument, InvalidConfig
from greenroom.runtime.tasks import Tasks
from greenroom.server.refusal import Refusal
from greenroom.settings import JwtSettings

logger: Final = logging.getLogger("greenroom.server")

SHARED: Final = frozenset({"HS256", "HS384", "HS512"})
PUBLIC: Final = frozenset({"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA"})
_RESERVED: Final = "default"
_TOKEN_BYTES_MAX: Final = 16 * 1024
_LATEST_MS: Final = 2**53
"""Tokens may claim to last for ever; what is counted with stays a number of bearable size."""
_JWKS_AGE_S_MAX: Final = 600.0
"""A key that an issuer has withdrawn is accepted for so long; longer only while the issuer cannot be asked."""
_JWKS_PAUSE_S: Final = 10.0
"""Between two looks at an issuer for a key that it may have added, or that cannot be asked: a forged key id asks it no oftener."""
_JWKS_READ_S_MAX: Final = 10.0
"""How long an issuer may take."""
_JWKS_WAIT_S_MAX: Final = 5.0
"""How long a request waits whose key is not here."""
_JWKS_STALE_WAIT_S_MAX: Final = 1.0
"""How long the one request waits that finds its key older than it may become."""
_JWKS_BYTES_MAX: Final = 1024 * 1024

Fetch = Callable[[str], Awaitable[bytes]]


class Keys:
    """The public keys of an issuer, from its URL (JWKS).

    Theory of operation. A key that is known is used at once, without a lock and without a wait: what an issuer does, and what others
    send, is nothing to those whose key is here. The set is read again by one task in the background: when it has become old, and when
    a key is asked for that is not in it, but for the latter no oftener than every `_JWKS_PAUSE_S`. Only a request whose own key is
    missing waits for that task, and so does, for a moment, one whose key is older than the issuer may have meant it to live.

    Args:
        url: of the set.
        fetch: reads it.
        clock: seconds that never go back; the event loop's if left out.
    """

    def __init__(self, url: str, fetch: Fetch, clock: Callable[[], float] | None = None) -> None:
        self._url = url
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, Any] | None = None
        self._old_at_s = 0.0
        self._withdrawn_at_s = 0.0
        self._may_ask_s = 0.0
        self._reading: asyncio.Task[None] | None = None
        self._tasks = Tasks()

    async def key(self, key_id: str | None) -> Any:
        """Returns the key of an id, as PyJWT takes it.

        Raises:
            Refusal: 401: there is no such key; 503: the issuer cannot be asked.
        """
        now_s = self._now_s()
        found = self._find(key_id)
        if found is None:
            self._read_soon(now_s)
            await self._wait(_JWKS_WAIT_S_MAX)
            found = self._find(key_id)
        elif now_s >= self._old_at_s:
            is_new = self._read_soon(now_s)
            if is_new and now_s >= self._withdrawn_at_s:
                await self._wait(_JWKS_STALE_WAIT_S_MAX)
                found = self._find(key_id)
        if self._keys is None:
            raise _unavailable()
        if found is None:
            raise refused("its key is not among those of the issuer")
        return found

    async def close(self) -> None:
        """Stops reading."""
        await self._tasks.end()

    def _find(self, key_id: str | None) -> Any:
        keys = self._keys or {}
        if key_id is None:
            return next(iter(keys.values())) if len(keys) == 1 else None
        return keys.get(key_id)

    def _read_soon(self, now_s: float) -> bool:
        """Has the set read, unless that was tried a moment ago or is going on; returns whether it is being read now because of this."""
        if self._reading is not None or now_s < self._may_ask_s:
            return False
        self._may_ask_s = self._old_at_s = now_s + _JWKS_PAUSE_S
        self._reading = self._tasks.start(self._read(), name="read a key set", done=self._looked_at)
        return True

    async def _wait(self, seconds: float) -> None:
        """Waits for the reading that is going on, but not for long."""
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=seconds)

    async def _read(self) -> None:
        import jwt

        try:
            async with asyncio.timeout(_JWKS_READ_S_MAX):
                text = await self._fetch(self._url)
            found = jwt.PyJWKSet.from_json(text.decode())
        except (OSError, TimeoutError, ValueError, jwt.PyJWTError) as error:
            # Keys that were read before are better than none, for a while.
            logger.warning("the keys of the tokens' issuer could not be read: %s", type(error).__name__)
            return
        now_s = self._now_s()
        self._old_at_s = now_s + _JWKS_AGE_S_MAX / 2
        self._withdrawn_at_s = now_s + _JWKS_AGE_S_MAX
        self._keys = {key.key_id or "": key for key in found.keys if key.public_key_use in {None, "sig"}}

    def _looked_at(self, task: asyncio.Task[None]) -> None:
        self._reading = None
        if not task.cancelled() and (failure := task.exception()) is not None:
            logger.error("reading the keys of the tokens' issuer failed", exc_info=failure)

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
        if not settings.types:
            raise InvalidConfig(
                "server.jwt.types: an empty list accepts no token", hint='leave it out, or name "at+jwt"'
            )
        bytes_min = max((int(name[2:]) // 8 for name in algorithms & SHARED), default=0)  # RFC 7518, 3.2
        if settings.secret is not None and len(settings.secret.encode()) < bytes_min:
            raise InvalidConfig(
                f"server.jwt.secret is shorter than {bytes_min} bytes", hint="make one with: openssl rand -hex 64"
            )
        if algorithms & PUBLIC:
            _check_cryptography()

    async def user(self, token: str) -> tuple[str, int]:
        """Returns the user of a token, and from when on it is not accepted any more, in milliseconds since 1970.

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
            self._check_kind(header)
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
            raise expired() from error
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, msgspec.MsgspecError) as error:
            raise refused("its signature, issuer, audience or claims are not accepted") from error
        ends_at_ms = int(claims["exp"]) * 1000 + int(settings.leeway_s * 1000)
        return _user_of(claims["sub"]), min(ends_at_ms, _LATEST_MS)

    def _check_kind(self, header: Mapping[str, Any]) -> None:
        """Accepts a token that is meant to be shown to a server.

        An issuer signs more than that with the same key: tokens for logging out, proofs of possession, events (RFC 8725, 3.11).

        Raises:
            Refusal: 401.
        """
        kind = header.get("typ", "JWT")
        name = kind.lower().removeprefix("application/") if isinstance(kind, str) else ""
        if name not in {known.lower() for known in self._settings.types}:
            raise refused(f"its type is not one of {', '.join(self._settings.types)}")
        if "crit" in header:
            raise refused("it has conditions that this server does not know")

    async def _key(self, header: Mapping[str, Any]) -> Any:
        settings = self._settings
        if self._keys is None:
            return settings.secret if settings.secret is not None else settings.public_key
        key_id = header.get("kid")
        if key_id is not None and not isinstance(key_id, str):
            raise refused("its key id is no text")
        return await self._keys.key(key_id)


def _user_of(subject: object) -> str:
    """Returns the user that `sub` names.

    Raises:
        Refusal: 401: it cannot be a user's name, or it is the one of the server's own token, of Python and of the command line.
    """
    try:
        user_id = check_user_id(subject)
    except InvalidArgument as error:
        raise refused("it names no user") from error
    if user_id != user_id.strip():
        raise refused("the name of its user begins or ends with a blank")
    if user_id == _RESERVED:
        raise refused(f"its user is {_RESERVED!r}, which no issuer may name")
    return user_id


def expired() -> Refusal:
    """Returns the refusal of a token that was good once."""
    return refused("it has expired")


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
            text = bytearray()
            async for piece in response.content.iter_any():  # `read(n)` returns what has arrived, which may be a part
                text += piece
                if len(text) > _JWKS_BYTES_MAX:
                    raise ValueError("a key set of more than a megabyte")
    except aiohttp.ClientError as error:
        raise OSError(f"{type(error).__name__}") from error
    return bytes(text)


def _check_cryptography() -> None:
    import importlib.util

    if importlib.util.find_spec("cryptography") is None:
        raise InvalidConfig(
            "server.jwt: public keys need the package cryptography", hint="pip install 'greenroom[jwt]'"
        )
