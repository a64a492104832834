"""Who is let in: tokens, cookies, signed tokens; from which pages and for which hosts."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import secrets
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from greenroom import AgentManager
from greenroom.errors import InvalidConfig
from greenroom.limits import Limits
from greenroom.server.answers import joined_headers
from greenroom.server.failed_logins import FailedLogins
from greenroom.server.gate import ALLOWED_HEADERS, Gate
from greenroom.server.proxies import Proxies, is_secure
from greenroom.server.refusal import Refusal
from greenroom.server.serving import check_secrets, make_app, token_of
from greenroom.server.signed import Keys, SignedTokens, fetch_over_http
from greenroom.settings import JwtSettings, load_settings
from greenroom.testing.loopback import Loopback
from server.asgi import Web
from server.conftest import OTHER, TOKEN, OpenWeb

SERVER = Path(__file__).parents[2] / "src" / "greenroom" / "server"
OF_BROWSERS_AND_PROXIES = frozenset(
    {"authorization", "content-encoding", "content-length", "cookie", "forwarded", "host", "origin", "sec-fetch-mode",
     "sec-fetch-site", "user-agent", "x-forwarded-for", "x-forwarded-proto"}
)  # fmt: skip
"""What no page sends, or what needs no leave."""


# --- failures -----------------------------------------------------------------------------------------------------------


async def test_failures_are_bounded_and_keep_nobody_out(open_web: OpenWeb) -> None:
    """S7: six wrong tokens a second from one address, and every fresh valid credential from there got 429."""
    web = open_web(config={"limits": {"failed_logins_per_minute_max": 3}})
    for number in range(3):
        assert (await web.of(f"wrong-{number}").get("/v1/sessions")).status == 401
    assert (await web.of(None).get("/v1/sessions")).status == 401, "no credential is no try"
    for above in (
        await web.of("wrong").get("/v1/sessions"),
        await web.of(None).post("/v1/login", {"token": "wrong"}),
        await web.of(None).post("/v1/login", {"code": "grc_wrong"}),
        await web.of(None).get("/v1/sessions", headers={"cookie": "greenroom_8765=wrong"}),
    ):
        assert (above.status, above.error) == (429, "too_many_requests")
        assert 1 <= int(above.headers["retry-after"]) <= 60
    for fresh in (TOKEN, OTHER):
        assert (await web.of(fresh).get("/v1/sessions")).status == 200, "a credential that is accepted is let in"
        assert (await web.of(None).post("/v1/login", {"token": fresh})).status == 200


async def test_a_fresh_signed_token_is_let_in_whatever_others_fail_at(open_web: OpenWeb) -> None:
    """S7, with JWTs: each is new, so none could be known from before."""
    jwt_settings = {**BASE, "algorithms": ["HS256"], "secret": SHARED}
    web = open_web(config={"limits": {"failed_logins_per_minute_max": 1}, "server": {"jwt": jwt_settings}})
    for _ in range(5):
        await web.of("wrong").get("/v1/sessions")
    for number in range(3):
        assert (await web.of(hs(jti=str(number))).get("/v1/sessions")).status == 200


def test_failures_are_forgotten_after_a_minute() -> None:
    now_s = 0.0
    failed = FailedLogins(Limits(failed_logins_per_minute_max=2), lambda: now_s)
    for _ in range(2):
        failed.count("here")
    with pytest.raises(Refusal) as refused:
        failed.count("here")
    assert "not accepted in a minute" in refused.value.message
    failed.count("elsewhere")
    now_s = 30.0
    failed.count("here")


@pytest.mark.parametrize(
    ("trusted", "peer", "headers", "client"),
    [
        ([], "192.0.2.1", {"x-forwarded-for": "198.51.100.7"}, "192.0.2.1"),
        (["127.0.0.1"], "127.0.0.1", {"x-forwarded-for": "198.51.100.7"}, "198.51.100.7"),
        (["127.0.0.1"], "192.0.2.1", {"x-forwarded-for": "198.51.100.7"}, "192.0.2.1"),
        (["127.0.0.1"], "127.0.0.1", {}, "127.0.0.1"),
        (["127.0.0.1"], "127.0.0.1", {"x-forwarded-for": "1.1.1.1, 198.51.100.7"}, "198.51.100.7"),
        (["127.0.0.0/8", "10.0.0.0/8"], "127.0.0.1", {"x-forwarded-for": "1.1.1.1, 198.51.100.7, 10.1.2.3"}, "198.51.100.7"),
        (["127.0.0.1"], "127.0.0.1", {"x-forwarded-for": "198.51.100.7, nonsense"}, "127.0.0.1"),
        (["127.0.0.1"], "127.0.0.1", {"x-forwarded-for": "198.51.100.7:4711"}, "198.51.100.7"),
        (["127.0.0.1"], "127.0.0.1", {"forwarded": 'for=192.0.2.60;proto=http, for="[2001:db8::17]:4711"'}, "2001:db8::/64"),
        (["127.0.0.1"], "127.0.0.1", {"forwarded": "for=198.51.100.7;by=203.0.113.43"}, "198.51.100.7"),
        (["127.0.0.1"], "127.0.0.1", {"forwarded": "for=unknown"}, "127.0.0.1"),
        (["127.0.0.1"], "127.0.0.1", {"forwarded": 'for="_hidden"', "x-forwarded-for": "1.1.1.1"}, "127.0.0.1"),
        (["127.0.0.1"], "127.0.0.1", {"forwarded": "for=6.6.6.6", "x-forwarded-for": "198.51.100.7"}, "127.0.0.1"),
        (["127.0.0.1"], "127.0.0.1", {"forwarded": "for=198.51.100.7", "x-forwarded-for": "6.6.6.6"}, "127.0.0.1"),
        (["127.0.0.1"], "127.0.0.1", {"forwarded": "for=198.51.100.7", "x-forwarded-for": "6.6.6.6, 198.51.100.7"}, "198.51.100.7"),
        (["127.0.0.1"], "127.0.0.1", {"forwarded": "By = 10.0.0.1 ; For = 198.51.100.7", "x-forwarded-for": " "}, "198.51.100.7"),
        (["127.0.0.1"], "127.0.0.1", {"x-forwarded-for": ", ".join(["127.0.0.1"] * 99)}, "127.0.0.1"),
        (["127.0.0.1"], "::ffff:127.0.0.1", {"x-forwarded-for": "198.51.100.7"}, "198.51.100.7"),
        (["::1"], "::1", {"x-forwarded-for": "2001:db8:1:2:3:4:5:6"}, "2001:db8:1:2::/64"),
        (["127.0.0.1"], "127.0.0.1", {"x-forwarded-for": "[2001:db8:1:2::7]:4711"}, "2001:db8:1:2::/64"),
        (["127.0.0.1"], "127.0.0.1", {"x-forwarded-for": "6.6.6.6, unknown"}, "127.0.0.1"),
        (["127.0.0.1", "10.0.0.0/8"], "127.0.0.1", {"x-forwarded-for": "6.6.6.6, unknown, 10.1.2.3"}, "10.1.2.3"),
        (["127.0.0.1", "10.0.0.0/8"], "127.0.0.1", {"forwarded": 'for=_secret, for="10.1.2.3:80"'}, "10.1.2.3"),
        (["127.0.0.1"], "127.0.0.1", {"forwarded": 'for="unclosed, for=198.51.100.7'}, "198.51.100.7"),
        (["127.0.0.1"], "127.0.0.1", {"forwarded": "for=192.0.2.9, proto=https"}, "127.0.0.1"),
        (["127.0.0.1"], "127.0.0.1", {"x-forwarded-for": "198.51.100.7,"}, "127.0.0.1"),
        ([], "2001:db8:1:2:ffff::9", {}, "2001:db8:1:2::/64"),
        ([], "fe80::1%eth0", {}, "fe80::/64"),
    ],
)  # fmt: skip
def test_where_a_request_comes_from(trusted: list[str], peer: str, headers: dict[str, str], client: str) -> None:
    """S7: behind a proxy everybody had one address; and whom a proxy names is believed from that proxy only."""
    assert Proxies(trusted).client_of({"client": (peer, 1)}, headers) == client


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        (["198.51.100.7", "10.0.0.2"], "198.51.100.7"),  # HAProxy's `option forwardfor` adds a line
        (["6.6.6.6, 198.51.100.7", "10.0.0.2", "10.0.0.3"], "198.51.100.7"),
        (["10.0.0.9", "198.51.100.7"], "198.51.100.7"),
        (["6.6.6.6", "unknown", "10.0.0.2"], "10.0.0.2"),
        (["198.51.100.7", ""], "127.0.0.1"),
    ],
)
@pytest.mark.parametrize("name", ["x-forwarded-for", "forwarded"])
def test_several_lines_of_a_header_are_one_list(name: str, lines: list[str], client: str) -> None:
    """S7's sibling (RFC 9110, 5.3): of several lines only the last was read, and behind two proxies all clients were one."""
    said = [f"for={line.replace(', ', ', for=')}" if name == "forwarded" else line for line in lines]
    headers = joined_headers([(b"host", b"here"), *((name.encode(), line.encode()) for line in said)])
    assert Proxies(["127.0.0.1", "10.0.0.0/8"]).client_of({"client": ("127.0.0.1", 1)}, headers) == client


def test_cookies_in_several_lines_are_all_read() -> None:
    """RFC 9113, 8.2.3: a proxy that speaks HTTP/2 to browsers may hand each of their cookies on by itself."""
    headers = joined_headers([(b"cookie", b"a=1"), (b"accept", b"x"), (b"cookie", b"greenroom_8765=v; b=2")])
    assert headers == {"cookie": "a=1; greenroom_8765=v; b=2", "accept": "x"}


@pytest.mark.parametrize("piece", ["a", " ", ";", ",", "=", '"', "for=a ", 'for="\\a'])
def test_a_long_header_about_a_client_is_read_at_once(piece: str) -> None:
    """S1's kind: a header of 32 KiB held the event loop for 17 s, and needed no login."""
    text = (piece * 32 * 1024)[: 32 * 1024]
    began_s = time.perf_counter()
    for name in ("forwarded", "x-forwarded-for", "x-forwarded-proto"):
        assert not is_secure({"scheme": "http"}, {name: text})
        assert Proxies(["127.0.0.1"]).client_of({"client": ("127.0.0.1", 1)}, {name: text}) == "127.0.0.1"
    assert time.perf_counter() - began_s < 1.0


def test_a_unix_socket_has_no_address_and_a_proxy_has_to_have_one() -> None:
    assert Proxies(["127.0.0.1"]).client_of({"client": None}, {"x-forwarded-for": "1.1.1.1"}) == ""
    with pytest.raises(InvalidConfig, match="neither an address nor a network"):
        Proxies(["nginx"])


async def test_behind_a_trusted_proxy_each_client_has_its_own_failures(open_web: OpenWeb) -> None:
    limits = {"failed_logins_per_minute_max": 2}
    web = open_web(config={"limits": limits, "server": {"trusted_proxies": ["127.0.0.1"]}})

    async def status(client: str) -> int:
        return (await web.of("wrong").get("/v1/sessions", headers={"x-forwarded-for": client})).status

    assert [await status("198.51.100.7") for _ in range(3)] == [401, 401, 429]
    assert await status("198.51.100.8") == 401
    assert await status("6.6.6.6, 198.51.100.7") == 429, "what a client adds before its proxy changes nothing"


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


async def test_a_page_of_a_configured_origin_may_send_and_read_what_is_documented(open_web: OpenWeb) -> None:
    """W13 (Arthur-Ficial/apfel#40): a preflight for `x-ai-sdk-version`, which we document, was blocked."""
    web = open_web(config={"server": {"origins": ["https://app.example"]}})
    asking = {"origin": "https://app.example", "access-control-request-method": "POST"}
    wanted = "authorization,content-type,last-event-id,prefer,x-ai-sdk-version,x-request-id"
    asked = await web.of(None).ask("OPTIONS", "/api/chat", headers={**asking, "access-control-request-headers": wanted})
    assert asked.status == 204
    assert set(wanted.split(",")) <= set(asked.headers["access-control-allow-headers"].split(", "))
    read = {
        name for path in SERVER.glob("*.py") for name in re.findall(r"headers\.get\(\s*\"([a-z-]+)\"", path.read_text())
    }
    assert {"prefer", "x-ai-sdk-version", "x-request-id"} <= read, "the search still finds what is read"
    assert read - set(ALLOWED_HEADERS) <= OF_BROWSERS_AND_PROXIES, "what this server reads, a page may send"
    answer = await web.get("/v1/sessions", headers={"origin": "https://app.example"})
    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    assert {"x-turn-id", "x-request-id", "x-greenroom-ignored", "retry-after"} <= exposed


@pytest.mark.parametrize(
    "origin",
    [
        "*", "https://*.example.com", "app.example.com", "//app.example.com", "https://", "https://app.example.com/app", "",
        "https://app.example.com?x", "https://user@app.example.com", "https://app.example.com:port", "null", "https://a b",
    ],
)  # fmt: skip
def test_an_origin_that_would_match_nothing_is_refused_with_words(origin: str) -> None:
    """W13: `origins = ["*"]` was accepted at the start, and matched nothing."""
    with pytest.raises(InvalidConfig, match=r"server\.origins: .* is not an origin") as raised:
        Gate(load_settings(file={"server": {"origins": [origin]}}, environment={}))
    assert "https://app.example.com" in str(raised.value.hint)


@pytest.mark.parametrize(
    "host", ["https://green.example", "green.example/app", "*.green.example", "", "a b", "green@example"]
)
def test_a_host_that_would_match_nothing_is_refused_with_words(host: str) -> None:
    with pytest.raises(InvalidConfig, match=r"server\.hosts: .* is not the name of a host"):
        Gate(load_settings(file={"server": {"hosts": [host]}}, environment={}))


@pytest.mark.parametrize(
    ("configured", "sent"),
    [
        ("https://App.Example/", "https://app.example"),
        ("https://app.example:443", "https://app.example"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("tauri://localhost", "tauri://localhost"),
        ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
    ],
)
async def test_an_origin_matches_as_browsers_write_it(open_web: OpenWeb, configured: str, sent: str) -> None:
    web = open_web(config={"server": {"origins": [configured]}})
    assert (await web.get("/v1/sessions", headers={"origin": sent})).headers["access-control-allow-origin"] == sent


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
    chosen = load_settings(file={"home": str(home), "host": host, "token": "b3f1c2d4e5a69788"}, environment={})
    assert token_of(chosen) == "b3f1c2d4e5a69788"


def test_keys_of_ones_own_replace_the_token(home: Path) -> None:
    keys = {"server": {"api_keys": [{"key": "k" * 32, "user": "ann"}]}}
    assert token_of(load_settings(file={"home": str(home), **keys}, environment={})) is None
    assert not home.exists()


def test_a_short_token_is_refused(home: Path) -> None:
    with pytest.raises(InvalidConfig, match="shorter"):
        token_of(load_settings(file={"home": str(home), "token": "short"}, environment={}))


WEAK = (
    "a" * 16,
    "a" * 64,
    "abcabcabcabcabcabcabc",
    "passwordpassword",
    "abcdefghijklmnop",
    "0123456789012345",
    "9876543210987654",
)
STRONG = (
    "b3f1c2d4e5a69788",
    "QmFzZTY0IGlzIG5vdCBhIGNpcGhlcg",
    "correct horse battery staple",
    "d41d8cd98f00b204e9800998ecf8427e",
)


@pytest.mark.parametrize("secret", WEAK)
@pytest.mark.parametrize(
    "where", [{"host": "0.0.0.0"}, {"server": {"hosts": ["green.example"]}}, {"server": {"trusted_proxies": ["::1"]}}]
)
def test_a_secret_that_can_be_guessed_is_refused_where_others_can_try(where: dict[str, Any], secret: str) -> None:
    """S17: 16 times `a` was a token on a public address. Behind a proxy, which `hosts` or `trusted_proxies` tell of, an address is public too."""
    key = {"api_keys": [{"key": secret, "user": "ann"}]}
    signed = {"jwt": {**BASE, "algorithms": ["HS256"], "secret": secret * 4}}
    settings = load_settings(file={**where, "server": {**where.get("server", {}), **key}}, environment={})
    for given, token, named in (
        (settings, None, "number 1"),
        (load_settings(file=where, environment={}), secret, "the token"),
    ):
        with pytest.raises(InvalidConfig, match=rf"{named} .* can be reached from other machines") as raised:
            check_secrets(given, token)
        assert "openssl" in str(raised.value.hint)
        assert secret not in str(raised.value), "the message shows nothing of it"
    with pytest.raises(InvalidConfig, match=r"server\.jwt\.secret"):
        check_secrets(
            load_settings(file={**where, "server": {**where.get("server", {}), **signed}}, environment={}), None
        )
    check_secrets(load_settings(file={}, environment={}), secret)


def test_a_made_secret_is_taken() -> None:
    made = (make(16) for make in (secrets.token_urlsafe, secrets.token_hex) for _ in range(50))
    for secret in (*STRONG, *made):
        check_secrets(load_settings(file={"host": "0.0.0.0"}, environment={}), secret)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([{"key": "k" * 16, "user": "  "}], "begins or ends with a blank"),
        ([{"key": "k" * 16, "user": "ann "}], "begins or ends with a blank"),
        ([{"key": "k" * 16, "user": "a\nb"}], "number 1: malformed user_id"),
        ([{"key": "k" * 16, "user": "ann"}, {"key": "k" * 16, "user": "bob"}], "number 2 is the same secret"),
        ([{"key": TOKEN, "user": "ann"}], "number 1 is the same secret"),
    ],
)
def test_keys_that_would_mix_users_up_are_refused(keys: list[dict[str, str]], message: str) -> None:
    """S17's siblings: a blank is a user nobody can name, and of two users with one key the second was taken without a word."""
    settings = load_settings(file={"server": {"api_keys": keys}}, environment={})
    with pytest.raises(InvalidConfig, match=message):
        make_app(AgentManager("memory://", config={"server": {"api_keys": keys}}), token=TOKEN)
    assert settings.server.api_keys


async def test_metrics_are_for_the_servers_own_token(open_web: OpenWeb) -> None:
    """S17: `/metrics` was open to every user."""
    web = open_web()
    assert (await web.get("/metrics")).status == 200
    logged_in = await web.of(None).post("/v1/login", {"token": TOKEN})
    cookie = logged_in.headers["set-cookie"].partition(";")[0]
    for refused in (
        await web.of(OTHER).get("/metrics"),
        await web.of(None).get("/metrics", headers={"cookie": cookie}),
    ):
        assert (refused.status, refused.error) == (403, "forbidden")
        assert "token" in refused.json()["error"]["hint"]
    assert (await web.of(None).get("/metrics")).status == 401


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
    return (await SignedTokens(JwtSettings(**BASE, **settings), keys).user(token))[0]


def typed(kind: Any) -> str:
    return jwt.encode(claims(), SHARED, algorithm="HS256", headers={"typ": kind})


HS_SETTINGS: dict[str, Any] = {"algorithms": ("HS256",), "secret": SHARED}
RS_SETTINGS: dict[str, Any] = {"algorithms": ("RS256",), "public_key": pem(RSA)}


async def test_a_signed_token_names_its_user() -> None:
    assert await user(hs(), **HS_SETTINGS) == "ann"
    assert await user(jwt.encode(claims(), RSA, algorithm="RS256"), **RS_SETTINGS) == "ann"
    es = {"algorithms": ("ES256",), "public_key": pem(EC)}
    assert await user(jwt.encode(claims(), EC, algorithm="ES256"), **es) == "ann"


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", None])
async def test_a_token_says_what_it_is_for(kind: Any) -> None:
    """S17: `typ` was ignored. RFC 8725, 3.11: what an issuer signs for other purposes is not for logging in."""
    assert (
        await user(typed(kind) if kind else jwt.encode(claims(), SHARED, "HS256", headers={"typ": None}), **HS_SETTINGS)
        == "ann"
    )


async def test_access_tokens_alone_can_be_asked_for() -> None:
    only = {**HS_SETTINGS, "types": ("at+jwt",)}
    assert await user(typed("at+jwt"), **only) == "ann"
    for token in (typed("JWT"), jwt.encode(claims(), SHARED, "HS256", headers={"typ": None})):
        with pytest.raises(Refusal) as refused:
            await user(token, **only)
        assert "its type" in refused.value.message


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
        hs(sub="default"),
        hs(sub=" "),
        hs(sub="\u00a0"),
        hs(sub=" ann"),
        hs(sub="ann "),
        hs(sub=7),
        hs(exp=float("inf")),
        typed("dpop+jwt"),
        typed("logout+jwt"),
        typed("secevent+jwt"),
        typed("JOSE"),
        typed(7),
        jwt.encode(claims(), SHARED, algorithm="HS256", headers={"crit": ["exp"], "exp": 1}),
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
    ids=range(37),
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
        ({"algorithms": ("HS256",), "secret": SHARED, "types": ()}, "types: an empty list"),
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


class Hanging(Issuer):
    """An issuer that does not answer, once told to."""

    def __init__(self, *keys: tuple[str, Any]) -> None:
        super().__init__(*keys)
        self.hangs = False

    async def fetch(self, url: str) -> bytes:
        if self.hangs:
            self.asked += 1
            await asyncio.Event().wait()
        return await super().fetch(url)

    def made(self) -> Keys:
        return Keys("https://issuer.example/keys", self.fetch)


async def test_a_large_key_set_is_read_whole_and_a_huge_one_refused() -> None:
    """S6's sibling: of a set that arrives in pieces, only the first was read, and no token was accepted."""
    issuer = Loopback()
    for size in (900_000, 1024 * 1024 + 1):

        async def keys(request: web.Request, size: int = size) -> web.Response:
            return web.Response(body=b"x" * size)

        issuer.route("GET", f"/{size}", keys)
    await issuer.start()
    try:
        assert await fetch_over_http(f"{issuer.url}/900000") == b"x" * 900_000
        with pytest.raises(ValueError, match="more than a megabyte"):
            await fetch_over_http(f"{issuer.url}/{1024 * 1024 + 1}")
        with pytest.raises(OSError, match="ClientResponseError"):
            await fetch_over_http(f"{issuer.url}/nothing")
    finally:
        await issuer.stop()


@pytest.mark.virtual_time
async def test_who_has_a_known_key_does_not_wait_for_an_issuer_that_hangs() -> None:
    """S6: the issuer hung, others sent unknown key ids, and valid tokens waited 20, 30, 40 s in a queue."""
    issuer = Hanging(("one", RSA))
    keys = issuer.made()
    loop = asyncio.get_running_loop()
    assert await keys.key("one")
    issuer.hangs = True
    await asyncio.sleep(11)

    async def forged(number: int) -> None:
        with pytest.raises(Refusal) as refused:
            await keys.key(f"forged {number}")
        assert "not among" in refused.value.message

    began_s = loop.time()
    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(forged(number))
        await asyncio.sleep(0)
        for _ in range(100):
            assert await keys.key("one")
            assert loop.time() == began_s, "a known key is used at once"
    assert loop.time() - began_s <= 5.0, "and who waits for an unknown one does not wait for long"
    assert issuer.asked == 2, "all of them asked once"
    for _ in range(12):  # two minutes of it
        await forged(0)
        await asyncio.sleep(10)
    assert issuer.asked <= 15, "it is asked again, but no oftener than every ten seconds"
    await keys.close()


@pytest.mark.virtual_time
async def test_a_set_that_has_become_old_is_read_again_behind_those_who_use_it() -> None:
    """S6's sibling: the read of an old set, too, was everybody's to wait for."""
    issuer = Hanging(("one", RSA))
    keys = issuer.made()
    loop = asyncio.get_running_loop()
    await keys.key("one")
    await asyncio.sleep(301)
    began_s = loop.time()
    assert await keys.key("one")
    assert loop.time() == began_s
    await asyncio.sleep(0.1)
    assert issuer.asked == 2
    issuer.hangs = True
    await asyncio.sleep(700)
    began_s = loop.time()
    results = await asyncio.gather(*(keys.key("one") for _ in range(50)))
    assert all(results), "keys that were read are better than none"
    assert loop.time() - began_s <= 1.0, "older than a key may become, the issuer gets one second to take it back"
    await keys.close()
