"""Who is let in: tokens, cookies, signed tokens; from which pages and for which hosts."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from greenroom.errors import InvalidConfig
from greenroom.limits import Limits
from greenroom.server.logins import Logins
from greenroom.server.refusal import Refusal
from greenroom.server.serving import token_of
from greenroom.server.signed import Keys, SignedTokens
from greenroom.settings import JwtSettings, load_settings
from server.asgi import Web
from server.conftest import OTHER, TOKEN, OpenWeb

JSON = {"content-type": "application/json"}


# --- the cookie ---------------------------------------------------------------------------------------------------------


async def cookie_of(web: Web) -> str:
    let_in = await web.of(None).get(f"/?token={TOKEN}")
    assert (let_in.status, let_in.headers["location"]) == (303, "/")
    cookie = let_in.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert TOKEN not in cookie
    return cookie.partition(";")[0]


async def test_a_token_in_the_address_becomes_a_cookie(web: Web) -> None:
    cookie = await cookie_of(web)
    nobody = web.of(None)
    assert (await nobody.get("/v1/sessions", headers={"cookie": cookie})).status == 200
    assert (await nobody.get("/v1/sessions", headers={"cookie": cookie[:-1] + "x"})).status == 401
    assert (await nobody.get("/?token=wrong")).status == 401


@pytest.mark.parametrize(("proto", "count"), [("https", 1), ("HTTPS, http", 1), ("http", 0), ("", 0)])
async def test_behind_tls_the_cookie_goes_over_tls_only(web: Web, proto: str, count: int) -> None:
    let_in = await web.of(None).get(f"/?token={TOKEN}", headers={"x-forwarded-proto": proto})
    assert let_in.headers["set-cookie"].split("; ").count("Secure") == count


async def test_credentials_are_tried_so_often_and_no_oftener(open_web: OpenWeb) -> None:
    web = open_web(config={"limits": {"failed_logins_per_minute_max": 3}})
    assert (await web.get("/v1/sessions")).status == 200
    for number in range(3):
        assert (await web.of(f"wrong-{number}").get("/v1/sessions")).status == 401
    assert (await web.of(None).get("/v1/sessions")).status == 401, "no credential is no try"
    for above in (
        await web.of("wrong").get("/v1/sessions"),
        await web.of(None).get("/?token=wrong"),
        await web.of(None).get("/v1/sessions", headers={"cookie": "greenroom_8765=wrong"}),
        await web.of(OTHER).get("/v1/sessions"),  # right, but who guesses must not learn it
    ):
        assert (above.status, above.error) == (429, "too_many_requests")
        assert 1 <= int(above.headers["retry-after"]) <= 60
    assert (await web.get("/v1/sessions")).status == 200, "whoever is in stays in"


def test_tries_are_forgotten_after_a_minute() -> None:
    now_s = 0.0
    logins = Logins(Limits(failed_logins_per_minute_max=2), lambda: now_s)
    for _ in range(2):
        logins.check("here", "x")
        logins.failed("here", "x")
    with pytest.raises(Refusal, match="not accepted"):
        logins.check("here", "x")
    logins.check("elsewhere", "x")
    now_s = 30.0
    logins.check("here", "x")


async def test_the_cookie_changes_something_only_from_a_page_of_ours(web: Web) -> None:
    cookie = await cookie_of(web)
    nobody = web.of(None)

    async def status(**headers: str) -> int:
        given = {"cookie": cookie, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return (await nobody.post("/v1/sessions", {}, headers=given)).status

    assert await status(origin="http://localhost:8765") == 201
    assert await status(sec_fetch_site="same-origin") == 201
    assert await status() == 403
    assert await status(origin="http://evil.example") == 403
    assert await status(origin="http://localhost:9999") == 403, "another port is another origin"
    assert await status(origin="null") == 403
    assert await status(origin="http://[") == 403, "one that is no address at all"
    assert await status(sec_fetch_site="cross-site") == 403
    assert (await web.get("/v1/sessions")).json()["sessions"].__len__() == 2


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_what_a_form_can_send_is_refused(web: Web, kind: str) -> None:
    answer = await web.post("/v1/sessions", {}, headers={"content-type": kind or None})
    assert (answer.status, answer.error) == (415, "unsupported_media_type")


# --- origins and hosts --------------------------------------------------------------------------------------------------


async def test_a_page_of_elsewhere_is_refused_even_with_the_token(web: Web) -> None:
    answer = await web.get("/v1/sessions", headers={"origin": "https://evil.example"})
    assert (answer.status, answer.error) == (403, "forbidden_origin")
    assert "access-control-allow-origin" not in answer.headers
    asked = await web.ask("OPTIONS", "/v1/sessions", headers={"origin": "https://evil.example"})
    assert asked.status == 403


async def test_a_configured_origin_is_let_in(open_web: OpenWeb) -> None:
    web = open_web(config={"server": {"origins": ["https://app.example"]}})
    asked = await web.of(None).ask("OPTIONS", "/v1/sessions", headers={"origin": "https://app.example"})
    assert asked.status == 204
    assert "authorization" in asked.headers["access-control-allow-headers"]
    answer = await web.get("/v1/sessions", headers={"origin": "https://app.example"})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "https://app.example")
    assert "access-control-allow-credentials" not in answer.headers
    refused = await web.of(None).get("/v1/sessions", headers={"origin": "https://app.example"})
    assert refused.headers["access-control-allow-origin"] == "https://app.example", "also an error can be read"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8765", 200), ("127.0.0.1", 200), ("[::1]:8765", 200), ("LOCALHOST", 200),
        ("evil.example", 403), ("evil.example:8765", 403), ("localhost.evil.example", 403), ("", 403), ("127.0.0.1.nip.io", 403),
        ("localhost@evil.example", 403), ("[::1", 403), ("localhost:8765:1", 403),
    ],
)  # fmt: skip
async def test_a_name_that_points_here_is_not_enough(web: Web, host: str, status: int) -> None:
    assert (await web.get("/v1/sessions", headers={"host": host})).status == status


async def test_a_configured_host(open_web: OpenWeb) -> None:
    web = open_web(config={"server": {"hosts": ["green.example"]}})
    assert (await web.get("/v1/sessions", headers={"host": "green.example"})).status == 200
    assert (await web.get("/v1/sessions", headers={"host": "red.example"})).status == 403


# --- the token of an installation ---------------------------------------------------------------------------------------


def test_the_token_is_made_once_and_kept_for_its_owner(home: Path) -> None:
    settings = load_settings(file={"home": str(home)}, environment={})
    token = token_of(settings)
    assert token is not None
    assert len(token) >= 32
    assert token_of(settings) == token
    assert (home / "server-token").stat().st_mode & 0o777 == 0o600


def test_a_home_that_is_no_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    settings = load_settings(file={"home": str(tmp_path / "file")}, environment={})
    with pytest.raises(InvalidConfig, match="the token cannot be kept in") as raised:
        token_of(settings)
    assert "GREENROOM_HOME" in str(raised.value.hint)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.com"])
def test_other_machines_are_not_served_by_accident(home: Path, host: str) -> None:
    settings = load_settings(file={"home": str(home), "host": host}, environment={})
    with pytest.raises(InvalidConfig, match="nobody has said who may come in"):
        token_of(settings)
    chosen = load_settings(file={"home": str(home), "host": host, "token": "x" * 32}, environment={})
    assert token_of(chosen) == "x" * 32


def test_keys_of_ones_own_replace_the_token(home: Path) -> None:
    keys = {"server": {"api_keys": [{"key": "k" * 32, "user": "ann"}]}}
    assert token_of(load_settings(file={"home": str(home), **keys}, environment={})) is None
    assert not home.exists()


def test_a_short_token_is_refused(home: Path) -> None:
    with pytest.raises(InvalidConfig, match="shorter"):
        token_of(load_settings(file={"home": str(home), "token": "short"}, environment={}))


# --- signed tokens ------------------------------------------------------------------------------------------------------

SHARED = "a shared secret of more than 64 bytes, which is enough for all of the algorithms"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
BASE: dict[str, Any] = {"issuer": "https://issuer.example", "audience": "greenroom"}


def pem(key: Any) -> str:
    public = key.public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return str(public.public_bytes(serialization.Encoding.PEM, form).decode())


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    whole = {"sub": "ann", "iss": BASE["issuer"], "aud": "greenroom", "exp": now + 60, "iat": now} | changes
    return {name: value for name, value in whole.items() if value is not None}


def hs(**changes: Any) -> str:
    return jwt.encode(claims(**changes), SHARED, algorithm="HS256")


async def user(token: str, keys: Keys | None = None, **settings: Any) -> str:
    return await SignedTokens(JwtSettings(**BASE, **settings), keys).user(token)


HS_SETTINGS: dict[str, Any] = {"algorithms": ("HS256",), "secret": SHARED}
RS_SETTINGS: dict[str, Any] = {"algorithms": ("RS256",), "public_key": pem(RSA)}


async def test_a_signed_token_names_its_user() -> None:
    assert await user(hs(), **HS_SETTINGS) == "ann"
    assert await user(jwt.encode(claims(), RSA, algorithm="RS256"), **RS_SETTINGS) == "ann"
    es = {"algorithms": ("ES256",), "public_key": pem(EC)}
    assert await user(jwt.encode(claims(), EC, algorithm="ES256"), **es) == "ann"


def unsigned(header: dict[str, Any]) -> str:
    parts = [json.dumps(header).encode(), json.dumps(claims()).encode()]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."


def confused() -> str:
    """A token signed with the public key as if it were a shared secret; PyJWT itself refuses to make one."""
    import hashlib
    import hmac

    parts = [json.dumps({"alg": "HS256", "typ": "JWT"}).encode(), json.dumps(claims()).encode()]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    mac = hmac.new(pem(RSA).encode(), signed, hashlib.sha256).digest()
    return (signed + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


@pytest.mark.parametrize(
    "token",
    [
        hs(exp=int(time.time()) - 3600),
        hs(exp=None),
        hs(sub=None),
        hs(sub=""),
        hs(sub="x" * 300),
        hs(sub="a\nb"),
        hs(iss="https://else.example"),
        hs(iss=None),
        hs(aud="other"),
        hs(aud=None),
        hs(nbf=int(time.time()) + 3600),
        hs()[:-4] + "AAAA",
        hs() + "x" * 20_000,
        jwt.encode(claims(), SHARED, algorithm="HS512"),
        jwt.encode(claims(), SHARED + "!", algorithm="HS256"),
        jwt.encode(claims(), None, algorithm="none"),
        unsigned({"alg": "none"}),
        unsigned({"alg": "nOnE"}),
        unsigned({"alg": "HS256"}),
        unsigned({"alg": ["HS256"]}),
        unsigned({}),
        "a.b.c",
        "..",
        "é.é.é",
    ],
    ids=range(24),
)
async def test_a_forged_or_stale_token_is_refused(token: str) -> None:
    with pytest.raises(Refusal) as refused:
        await user(token, **HS_SETTINGS)
    assert refused.value.status == 401
    assert SHARED not in str(refused.value.body)


async def test_a_public_key_is_no_shared_secret() -> None:
    for token in (confused(), jwt.encode(claims(), STRANGER, algorithm="RS256"), hs()):
        with pytest.raises(Refusal):
            await user(token, **RS_SETTINGS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"algorithms": ("none",), "secret": SHARED}, "none is not accepted"),
        ({"algorithms": (), "secret": SHARED}, "an empty list"),
        ({"algorithms": ("HS256", "RS256"), "secret": SHARED}, "at the same time"),
        ({"algorithms": ("HS256",), "public_key": pem(RSA)}, "secret is for HS"),
        ({"algorithms": ("RS256",), "secret": SHARED}, "secret is for HS"),
        ({"algorithms": ("RS256",)}, "exactly one"),
        ({"algorithms": ("RS256",), "public_key": "x", "jwks_url": "y"}, "exactly one"),
        ({"algorithms": ("HS256",), "secret": "short"}, "shorter than 32 bytes"),
        ({"algorithms": ("HS512",), "secret": "x" * 63}, "shorter than 64 bytes"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        SignedTokens(JwtSettings(**BASE, **settings), None)


class Issuer:
    """An issuer's key set, which changes, fails, and counts how often it is asked."""

    def __init__(self, *keys: tuple[str, Any]) -> None:
        self.keys = list(keys)
        self.asked = 0
        self.fails = False
        self.now_s = 0.0

    async def fetch(self, url: str) -> bytes:
        self.asked += 1
        if self.fails:
            raise OSError("down")
        found = [
            json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
            | {"kid": key_id, "use": "sig", "alg": "RS256"}
            for key_id, key in self.keys
        ]
        return json.dumps({"keys": found}).encode()

    def made(self) -> Keys:
        return Keys("https://issuer.example/keys", self.fetch, lambda: self.now_s)


def rs(key: Any, key_id: str | None) -> str:
    return jwt.encode(claims(), key, algorithm="RS256", headers={"kid": key_id} if key_id else {})


async def test_keys_of_an_issuer_are_read_once_and_followed_when_they_change() -> None:
    issuer = Issuer(("one", RSA))
    keys, settings = issuer.made(), {"algorithms": ("RS256",), "jwks_url": "https://issuer.example/keys"}
    for _ in range(3):
        assert await user(rs(RSA, "one"), keys, **settings) == "ann"
    assert await user(rs(RSA, None), keys, **settings) == "ann", "with one key, its id may be left out"
    assert issuer.asked == 1
    for _ in range(50):
        with pytest.raises(Refusal):
            await user(rs(STRANGER, "forged"), keys, **settings)
    assert issuer.asked == 1, "forged key ids do not make us ask the issuer"
    issuer.keys.append(("two", STRANGER))
    issuer.now_s += 11
    assert await user(rs(STRANGER, "two"), keys, **settings) == "ann"
    issuer.keys = [("two", STRANGER)]
    issuer.now_s += 601
    with pytest.raises(Refusal):
        await user(rs(RSA, "one"), keys, **settings)


async def test_an_issuer_that_is_down() -> None:
    issuer = Issuer(("one", RSA))
    issuer.fails = True
    keys, settings = issuer.made(), {"algorithms": ("RS256",), "jwks_url": "https://issuer.example/keys"}
    with pytest.raises(Refusal) as refused:
        await user(rs(RSA, "one"), keys, **settings)
    assert (refused.value.status, refused.value.code) == (503, "issuer_unavailable")
    for number in range(20):
        with pytest.raises(Refusal) as refused:
            await user(rs(STRANGER, f"forged {number}"), keys, **settings)
        assert refused.value.status == 503
    assert issuer.asked == 1, "forged key ids do not make us ask an issuer that is down"
    issuer.fails = False
    issuer.now_s += 10
    assert await user(rs(RSA, "one"), keys, **settings) == "ann"
    issuer.fails = True
    issuer.now_s += 700
    assert await user(rs(RSA, "one"), keys, **settings) == "ann", "what was read before is better than nothing"
    asked = issuer.asked
    issuer.now_s += 10
    assert await user(rs(RSA, "one"), keys, **settings) == "ann"
    assert issuer.asked == asked + 1, "and it is asked again soon"


async def test_a_signed_token_opens_the_server_and_the_ui(open_web: OpenWeb) -> None:
    web = open_web(config={"server": {"jwt": {**BASE, "algorithms": ["HS256"], "secret": SHARED}}})
    ann = web.of(hs())
    made = await ann.post("/v1/sessions", {})
    assert (made.status, made.json()["user_id"]) == (201, "ann")
    assert (await web.get(f"/v1/sessions/{made.json()['session_id']}")).status == 404
    let_in = await web.of(None).get(f"/?token={hs()}")
    cookie = let_in.headers["set-cookie"].partition(";")[0]
    assert (await web.of(None).get("/v1/sessions", headers={"cookie": cookie})).status == 200
