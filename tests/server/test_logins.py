"""Browsers: how they are logged in and out, how long they stay, and who cannot log them in.

The cases are S9, S10 and S11 of a security review (a page of elsewhere logged its visitor in as the attacker; the permanent token stood
in addresses; one cookie for all browsers and 90 days), and W14 (pomerium/pomerium#211).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jwt
import pytest
import pytest_asyncio

from contract.stage import QUICK_LIMITS, let_others_run
from greenroom import AgentManager
from greenroom.backends.scripted import Gate, Say, ScriptedBackend
from greenroom.errors import LogUnavailable
from greenroom.interfaces import Login
from greenroom.runtime.tasks import Tasks
from greenroom.server.access import Access
from greenroom.server.answers import PIECE_BYTES
from greenroom.server.app import App
from greenroom.server.logins import BrowserLogins, new_code
from greenroom.server.logins import _code_digest as _digest
from greenroom.server.refusal import Refusal
from greenroom.server.serving import login_link
from greenroom.server.stay import Stay
from greenroom.server.streaming import Stream
from greenroom.streams import Frame
from server.asgi import Response, Web
from server.conftest import OTHER, TOKEN, OpenWeb

ISSUER: dict[str, Any] = {"issuer": "https://issuer.example", "audience": "greenroom", "algorithms": ["HS256"]}
SHARED = "a shared secret of more than 64 bytes, which is enough for all of the algorithms"
SIGNED: dict[str, Any] = {"server": {"jwt": {**ISSUER, "secret": SHARED}}}
OWN = {"origin": "http://localhost:8765"}
DAY_S = 24 * 3600


class Wall:
    """A clock on the wall that tests turn."""

    def __init__(self) -> None:
        self.at_s = time.time()

    def now_ms(self) -> int:
        return int(self.at_s * 1000)


class Place:
    """A server over a store, whose clock is ours."""

    def __init__(self, home: Path, store: str, wall: Wall, token: str | None, config: dict[str, Any]) -> None:
        given = {"default_backend": "scripted", **config, "limits": {**QUICK_LIMITS, **config.get("limits", {})}}
        given["server"] = {"api_keys": [{"key": OTHER, "user": "other"}], **config.get("server", {})}
        self.manager = AgentManager(store, home=home, config=given, backends={"scripted": ScriptedBackend()})
        access = Access(self.manager.settings, token=token, logins=self.manager.logins, clock=wall)
        self.wall = wall
        self.web = Web(App(self.manager, access), None)

    async def code(self, user_id: str = "default") -> str:
        """A code as `greenroom serve` and `greenroom login-link` make it."""
        link = await login_link(
            "http://localhost:8765/", await self.manager.logins(), self.manager.settings, user_id, token=TOKEN
        )
        return link.partition("#code=")[2]


OpenPlace = Callable[..., Place]


@pytest_asyncio.fixture
async def open_place(home: Path) -> AsyncIterator[OpenPlace]:
    places: list[Place] = []

    def opened(
        *, store: str = "memory://", wall: Wall | None = None, token: str | None = TOKEN, **config: Any
    ) -> Place:
        places.append(Place(home, store, wall or Wall(), token, config))
        return places[-1]

    yield opened
    for place in places:
        await place.web.app.stop()


def cookie_of(answer: Response) -> str:
    assert answer.status == 200, answer.body
    return answer.headers["set-cookie"].partition(";")[0]


async def logged_in(web: Web, token: str = TOKEN, **headers: str) -> str:
    return cookie_of(await web.of(None).post("/v1/login", {"token": token}, headers=dict(headers)))


async def status(web: Web, cookie: str, path: str = "/v1/sessions", **headers: str) -> int:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return (await web.of(None).get(path, headers={"cookie": cookie, **given})).status


def signed(**changes: Any) -> str:
    now = int(time.time())
    claims = {"sub": "ann", "iss": ISSUER["issuer"], "aud": "greenroom", "exp": now + 3600, **changes}
    return jwt.encode(claims, SHARED, algorithm="HS256")


# --- the cookie ---------------------------------------------------------------------------------------------------------


async def test_a_token_is_exchanged_for_a_cookie_of_this_browser(web: Web) -> None:
    """S11: the cookie was the same in every browser."""
    answer = await web.of(None).post("/v1/login", {"token": TOKEN}, headers={"user-agent": "Browser 1"})
    first, second = cookie_of(answer), await logged_in(web)
    attributes = set(answer.headers["set-cookie"].split("; "))
    assert {"HttpOnly", "SameSite=Strict", "Path=/", f"Max-Age={90 * DAY_S}"} <= attributes
    assert first.startswith("greenroom_8765=")
    assert first != second
    assert len(first.partition("=")[2]) >= 43, "256 bits"
    assert TOKEN not in first
    assert answer.json()["user_id"] == "default"
    for cookie in (first, second):
        assert await status(web, cookie) == 200
    assert await status(web, first[:-1] + ("x" if first[-1] != "x" else "y")) == 401


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"x-forwarded-proto": "https", "host": "localhost"}, "__Host-greenroom"),
        ({"x-forwarded-proto": "HTTPS, http", "host": "localhost:8443"}, "__Host-greenroom_8443"),
        ({"forwarded": "for=192.0.2.1;proto=https", "host": "localhost"}, "__Host-greenroom"),
        ({"x-forwarded-proto": "http", "host": "localhost"}, "greenroom"),
        ({"host": "[::1]:9000"}, "greenroom_9000"),
        ({}, "greenroom_8765"),
    ],
)
async def test_where_there_is_tls_the_cookie_is_of_this_host_and_goes_over_tls_only(
    web: Web, headers: dict[str, str], name: str
) -> None:
    answer = await web.of(None).post("/v1/login", {"token": TOKEN}, headers=headers)
    assert cookie_of(answer).startswith(f"{name}=")
    assert ("Secure" in answer.headers["set-cookie"].split("; ")) == name.startswith("__Host-")
    assert "Domain" not in answer.headers["set-cookie"]
    assert (await web.of(None).get("/v1/sessions", headers={**headers, "cookie": cookie_of(answer)})).status == 200


async def test_the_cookie_of_a_port_is_worth_nothing_at_another(web: Web) -> None:
    """S11: cookies go to all ports of a host, and one of another server was taken there."""
    cookie = await logged_in(web)
    value = cookie.partition("=")[2]
    assert await status(web, cookie, host="localhost:9999") == 401, "it has another name there"
    assert await status(web, f"greenroom_9999={value}", host="localhost:9999") == 401, "and is worth nothing under it"
    assert await status(web, cookie, host="127.0.0.1:8765") == 401, "nor at another name of the machine"
    assert await status(web, cookie) == 200


async def test_cookies_of_others_are_in_nobodys_way(web: Web) -> None:
    """The cookies of everything else on this host come along, in whatever shape: none of them may lock a browser out."""
    cookie = await logged_in(web)
    odd = 'a={"json": [1, 2]}; b; =c; d="un"balanced; greenroom=old; greenroom_1=x; é=ü; greenroom_8765x=1'
    for header in (f"{odd}; {cookie}", f"{cookie}; {odd}", f"{cookie};{odd}", f"{cookie}; {cookie}"):
        assert await status(web, header) == 200, header
    tossed = await web.of(None).get("/v1/sessions", headers={"cookie": f"{cookie.partition('=')[0]}=x; {cookie}"})
    assert tossed.status == 401, "another server of this host has set one of our name: whose is whose, nobody can say"
    assert "several cookies" in tossed.json()["error"]["message"]


async def test_a_large_signed_token_logs_a_browser_in(open_place: OpenPlace) -> None:
    """W14 (pomerium/pomerium#211): a JWT of 4.9 KB as the cookie itself was dropped by the browser: locked out for ever."""
    web = open_place(**SIGNED).web
    token = signed(groups=["g" * 40] * 85)
    assert 4_900 <= len(token) <= 5_200
    cookie = await logged_in(web, token)
    assert len(cookie) < 100
    assert (await web.of(token).get("/v1/login")).json() == {"user_id": "ann", "by": "header", "login": None}
    who = (await web.get("/v1/login", headers={"cookie": cookie})).json()
    assert (who["user_id"], who["by"], who["login"]["basis"]) == ("ann", "cookie", "jwt")


# --- how long -----------------------------------------------------------------------------------------------------------


async def test_a_login_ends_when_it_is_not_used(open_place: OpenPlace) -> None:
    """S11. `login_idle_s_max`"""
    place = open_place(limits={"login_idle_s_max": 1000.0})
    cookie = await logged_in(place.web)
    for _ in range(5):
        place.wall.at_s += 900
        assert await status(place.web, cookie) == 200, "what is used stays"
    place.wall.at_s += 1001
    assert await status(place.web, cookie) == 401
    place.wall.at_s -= 1001
    cookie = await logged_in(place.web)
    place.wall.at_s += 999
    assert await status(place.web, cookie) == 200


async def test_a_login_ends_however_much_it_is_used(open_place: OpenPlace) -> None:
    """S11. `login_s_max`"""
    place = open_place(limits={"login_s_max": 1000.0, "login_idle_s_max": 300.0})
    answer = await place.web.post("/v1/login", {"token": TOKEN})
    assert "Max-Age=1000" in answer.headers["set-cookie"]
    for _ in range(4):
        place.wall.at_s += 249
        assert await status(place.web, cookie_of(answer)) == 200
    place.wall.at_s += 5
    assert await status(place.web, cookie_of(answer)) == 401


async def test_a_shorter_limit_holds_for_logins_that_are_there(open_place: OpenPlace, tmp_path: Path) -> None:
    store, wall = f"sqlite:///{tmp_path / 'a.db'}", Wall()
    cookie = await logged_in(open_place(store=store, wall=wall).web)
    wall.at_s += 1000
    assert await status(open_place(store=store, wall=wall, limits={"login_s_max": 1001.0}).web, cookie) == 200
    assert await status(open_place(store=store, wall=wall, limits={"login_s_max": 1000.0}).web, cookie) == 401


async def test_the_login_of_a_signed_token_ends_with_it(open_place: OpenPlace) -> None:
    """W14: the JWT's own end bounds the login."""
    place = open_place(**SIGNED)
    answer = await place.web.post("/v1/login", {"token": signed(exp=int(time.time()) + 600)})
    age_s = int(re.findall(r"Max-Age=(\d+)", answer.headers["set-cookie"])[0])
    assert 620 <= age_s <= 630, "as long as the token itself is accepted: 30 s more, for clocks that are wrong"
    place.wall.at_s += 620
    assert await status(place.web, cookie_of(answer)) == 200
    place.wall.at_s += 11
    assert await status(place.web, cookie_of(answer)) == 401
    far = await open_place(**SIGNED).web.post("/v1/login", {"token": signed(exp=10**15)})
    assert f"Max-Age={90 * DAY_S}" in far.headers["set-cookie"], "one without a real end gets ours"


async def test_logins_survive_a_restart_and_end_for_all_servers(open_place: OpenPlace, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'a.db'}"
    first = open_place(store=store)
    cookie, other = await logged_in(first.web), await logged_in(first.web)
    await first.web.app.stop()
    second, third = open_place(store=store), open_place(store=store)
    for place in (second, third):
        assert await status(place.web, cookie) == 200
    login_id = (await second.web.get("/v1/login", headers={"cookie": cookie})).json()["login"]["login_id"]
    assert await (await third.manager.logins()).remove(None, login_id), "as another process does"
    for place in (second, third):
        assert await status(place.web, cookie) == 401
        assert await status(place.web, other) == 200


async def test_a_login_ends_with_what_it_rests_on(open_place: OpenPlace, tmp_path: Path) -> None:
    """S11: a token that is changed because it leaked lets nobody stay who came in with it, also by a one-time link."""
    store = f"sqlite:///{tmp_path / 'a.db'}"
    place = open_place(store=store, server={**SIGNED["server"], "api_keys": [{"key": OTHER, "user": "other"}]})
    cookies = {
        "token": await logged_in(place.web),
        "code": cookie_of(await place.web.post("/v1/login", {"code": await place.code()})),
        "key": await logged_in(place.web, OTHER),
        "jwt": await logged_in(place.web, signed()),
        "operator": cookie_of(await place.web.post("/v1/login", {"code": await place.code("bob")})),
    }
    same = open_place(store=store, server={**SIGNED["server"], "api_keys": [{"key": OTHER, "user": "other"}]})
    assert [await status(same.web, cookie) for cookie in cookies.values()] == [200] * 5
    unused = await place.code()
    changed = open_place(
        store=store, token="another-token-of-the-first", server={"api_keys": [{"key": OTHER + "2", "user": "other"}]}
    )
    left = {name: await status(changed.web, cookie) for name, cookie in cookies.items()}
    assert left == {"token": 401, "code": 401, "key": 401, "jwt": 401, "operator": 200}
    moved = open_place(store=store, token=None, server={"api_keys": [{"key": OTHER, "user": "eve"}]})
    assert await status(moved.web, cookies["key"]) == 401, "a key that was given to another user takes no browser along"
    assert (await moved.web.post("/v1/login", {"code": unused})).status == 401, "nor does a code without its token"


async def test_the_store_tells_no_secret(open_place: OpenPlace, tmp_path: Path) -> None:
    place = open_place(store=f"sqlite:///{tmp_path / 'a.db'}")
    cookie, code = await logged_in(place.web), await place.code()
    await place.web.app.stop()
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("a.db*") if path.is_file())
    assert b"login_id" in kept
    for secret in (cookie.partition("=")[2], code, TOKEN):
        assert secret.encode() not in kept


async def test_a_disk_that_takes_nothing_more_locks_nobody_out(
    open_place: OpenPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = open_place()
    cookie = await logged_in(place.web)

    async def full(digest: bytes, *, seen_at_ms: int) -> None:
        raise LogUnavailable("no space left")

    monkeypatch.setattr(await place.manager.logins(), "touch", full)
    place.wall.at_s += 3600
    assert await status(place.web, cookie) == 200


# --- one-time codes -----------------------------------------------------------------------------------------------------


async def test_a_code_logs_one_browser_in_once(open_place: OpenPlace) -> None:
    """S10: the permanent token stood in the address, and so in histories, in `ps`, in the journal."""
    place = open_place()
    code = await place.code()
    answers = await asyncio.gather(*(place.web.post("/v1/login", {"code": code}) for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [200, 401, 401, 401, 401]
    (won,) = [answer for answer in answers if answer.status == 200]
    assert await status(place.web, cookie_of(won)) == 200
    refused = next(answer for answer in answers if answer.status == 401)
    assert "login-link" in refused.json()["error"]["hint"]
    assert "set-cookie" not in refused.headers


async def test_only_the_operators_own_code_needs_no_confirmation(open_place: OpenPlace) -> None:
    """S9 and S10: the page posts an unconfirmed code when a link is opened, and a preview or a page may have opened it."""
    place = open_place()
    mine, anns = await place.code(), await place.code("ann")
    refused = await place.web.post("/v1/login", {"code": anns, "confirmed": False})
    assert (refused.status, refused.json()["error"]["code"]) == (409, "unconfirmed")
    assert "set-cookie" not in refused.headers
    assert (await place.web.post("/v1/login", {"code": anns})).status == 200, "it stays good"
    assert (await place.web.post("/v1/login", {"code": mine, "confirmed": False})).status == 200


async def test_a_code_is_good_for_minutes(open_place: OpenPlace) -> None:
    """`login_code_s_max`"""
    place = open_place(limits={"login_code_s_max": 60.0})
    for late_s, expected in ((59, 200), (61, 401)):
        limits = place.manager.settings.limits
        code = await new_code(await place.manager.logins(), "default", "operator", limits, place.wall)
        place.wall.at_s += late_s
        assert (await place.web.post("/v1/login", {"code": code})).status == expected


async def test_codes_and_logins_are_bounded(open_place: OpenPlace) -> None:
    """`login_codes_max`, `logins_per_user_max`"""
    place = open_place(limits={"login_codes_max": 2, "logins_per_user_max": 3})
    codes = []
    for _ in range(3):
        limits = place.manager.settings.limits
        codes.append(await new_code(await place.manager.logins(), "default", "operator", limits, place.wall))
        place.wall.at_s += 1
    assert [(await place.web.post("/v1/login", {"code": code})).status for code in codes] == [401, 200, 200]
    cookies = []
    for _ in range(4):
        place.wall.at_s += 1
        cookies.append(await logged_in(place.web))
    assert [await status(place.web, cookie) for cookie in cookies] == [401, 200, 200, 200]
    assert await status(place.web, await logged_in(place.web, OTHER)) == 200


async def test_logging_in_counts_among_the_requests_of_its_user(open_web: OpenWeb) -> None:
    """Each login is a write to the disk: one user's must not be without end."""
    web = open_web(config={"limits": {"requests_per_minute_max": 3}})
    answers = [(await web.of(None).post("/v1/login", {"token": TOKEN})).status for _ in range(4)]
    assert answers == [200, 200, 200, 429]
    assert (await web.of(None).post("/v1/login", {"token": OTHER})).status == 200


async def test_a_link_outlives_a_refusal_for_the_sake_of_the_quota(open_place: OpenPlace) -> None:
    """S10's sibling: a user who had made too many requests lost the link too: its code was used up before the quota was asked."""
    place = open_place(limits={"requests_per_minute_max": 1})
    code, theirs = await place.code(), await place.code("ann")
    assert (await place.web.of(TOKEN).get("/v1/sessions")).status == 200
    for _ in range(2):
        refused = await place.web.post("/v1/login", {"code": code})
        assert (refused.status, refused.error) == (429, "too_many_requests")
    assert await (await place.manager.logins()).find_code(_digest(code), now_ms=place.wall.now_ms()) is not None
    assert (await place.web.post("/v1/login", {"code": theirs})).json()["user_id"] == "ann", (
        "another user has a quota of one's own"
    )


async def test_a_code_is_no_token_and_a_token_no_code(open_place: OpenPlace) -> None:
    place = open_place()
    code = await place.code()
    refused = await place.web.of(code).get("/v1/sessions")
    assert (refused.status, "one-time code" in refused.json()["error"]["message"]) == (401, True)
    assert (await place.web.post("/v1/login", {"token": code})).status == 401
    assert (await place.web.post("/v1/login", {"code": TOKEN})).status == 401
    for body in ({}, {"code": code, "token": TOKEN}, {"code": None}, {"code": 7}, {"token": "x" * 40_000}, {"more": 1}):
        assert (await place.web.post("/v1/login", body)).status == 422, body
    assert (await place.web.post("/v1/login", {"code": code})).status == 200, "none of that used it up"


# --- who cannot log a browser in ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/?token=", "/s/trip?token=", "/login?token=", "/login?code=", "/?code="])
async def test_following_a_link_logs_nobody_in(open_place: OpenPlace, path: str) -> None:
    """S9: a page of another site navigated to `/?token=<attacker's>`, and its visitor worked in the attacker's account."""
    place = open_place()
    secret = TOKEN if "token" in path else await place.code()
    for headers in ({}, {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}):
        answer = await place.web.get(path + secret, headers=headers)
        assert answer.status == 200
        assert "set-cookie" not in answer.headers
        assert b"Log in to Greenroom" in answer.body
        assert (b'id="old-link" hidden' in answer.body) == ("token" not in path), "an old link is told what happened"
    if "code" in path:
        assert (await place.web.post("/v1/login", {"code": secret})).status == 200, "the code is still good"


@pytest.mark.parametrize("what", ["login", "logout"])
@pytest.mark.parametrize(
    ("headers", "is_ours"),
    [
        ({}, True),
        ({"origin": "http://localhost:8765"}, True),
        ({"origin": "http://localhost:8765", "sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "http://localhost:9999"}, False),
        ({"origin": "null"}, False),
        ({"origin": "https://app.example"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, False),
        ({"origin": "http://localhost:8765", "x-forwarded-proto": "https"}, False),
        ({"origin": "https://localhost:8765", "x-forwarded-proto": "https"}, True),
    ],
)
async def test_only_a_page_of_ours_logs_a_browser_in_or_out(
    open_web: OpenWeb, what: str, headers: dict[str, str], *, is_ours: bool
) -> None:
    """S9. Not even a configured origin may: it has tokens of its own."""
    web = open_web(config={"server": {"origins": ["https://app.example"]}}).of(None)
    body = {"token": TOKEN} if what == "login" else None
    answer = await web.post(f"/v1/{what}", body, headers=headers)
    assert ("set-cookie" in answer.headers) == is_ours
    if not is_ours:
        assert (answer.status, answer.error) == (403, "forbidden_origin")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_a_form_logs_nobody_in(web: Web, kind: str) -> None:
    answer = await web.of(None).post("/v1/login", {"token": TOKEN}, headers={"content-type": kind or None})
    assert (answer.status, "set-cookie" in answer.headers) == (415, False)


async def test_the_cookie_changes_something_only_from_a_page_of_ours(open_web: OpenWeb) -> None:
    web = open_web(config={"server": {"origins": ["http://localhost:3000"]}})
    cookie = await logged_in(web)
    nobody = web.of(None)

    async def changed(**headers: str) -> int:
        given = {"cookie": cookie, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return (await nobody.post("/v1/sessions", {}, headers=given)).status

    assert await changed(origin="http://localhost:8765") == 201
    assert await changed(sec_fetch_site="same-origin") == 201
    assert await changed() == 403
    assert await changed(origin="http://evil.example") == 403
    assert await changed(origin="http://localhost:9999") == 403, "another port is another origin"
    assert await changed(origin="http://localhost:3000") == 403, (
        "a configured one has a token, and not this browser's login"
    )
    assert await changed(origin="null") == 403
    assert await changed(origin="http://[") == 403, "one that is no address at all"
    assert await changed(sec_fetch_site="cross-site") == 403
    assert (await web.get("/v1/sessions")).json()["sessions"].__len__() == 2


async def test_the_login_page_needs_no_bundle_and_no_permission(web: Web) -> None:
    nobody = web.of(None)
    for path in ("/", "/s/trip", "/login"):
        answer = await nobody.get(path, headers={"sec-fetch-site": "none"})
        assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
        assert answer.headers["content-type"].startswith("text/html")
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        page = answer.body.decode()
        assert 'data-arrival="direct"' in page
        assert "{" not in page, "nothing was left to fill in"
        assert not re.search(r"<script(?! src=)|\son\w+=|\sstyle=|<style", page), "nothing that the policy would refuse"
        for file in re.findall(r'(?:src|href)="(/[^"]+)"', page):
            assert (await nobody.get(file)).status == 200
    for site in ("cross-site", "same-site", None):
        led = await nobody.get("/login", headers={"sec-fetch-site": site, "sec-fetch-mode": "navigate"})
        assert b'data-arrival="other"' in led.body, (
            "who is in already is let in by a request of the page itself: the cookie has not come along"
        )
    cookie = await logged_in(web)
    assert (await nobody.get("/", headers={"cookie": cookie})).json()["name"] == "greenroom"


@pytest.mark.parametrize("path", ["/login.css", "/login.js"])
async def test_a_browser_that_has_a_file_of_the_login_page_is_not_sent_it_again(web: Web, path: str) -> None:
    stranger = web.of(None)
    first = await stranger.get(path)
    again = await stranger.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (first.status, again.status, again.body) == (200, 304, b"")
    assert (await stranger.get(path, headers={"if-none-match": '"older"'})).body == first.body


async def test_who_is_in_sees_the_ui_at_once(web: Web) -> None:
    await web.app.start()
    cookie = await logged_in(web)
    for path in ("/", "/s/trip"):
        answer = await web.of(None).get(path, headers={"cookie": cookie})
        assert b'id="root"' in answer.body
        assert answer.headers["cache-control"] == "no-cache"
        assert b"Log in to Greenroom" in (await web.of(None).get(path, headers={"cookie": cookie + "x"})).body


# --- out again ----------------------------------------------------------------------------------------------------------


async def test_logging_out_ends_this_browser_and_no_other(web: Web) -> None:
    """S11: there was no logout."""
    mine, other = await logged_in(web), await logged_in(web)
    own = {"origin": "http://localhost:8765"}
    out = await web.of(None).post("/v1/logout", headers={"cookie": mine, **own})
    assert out.status == 204
    assert out.headers["set-cookie"].startswith("greenroom_8765=; Path=/; Max-Age=0; HttpOnly")
    assert await status(web, mine) == 401
    assert await status(web, other) == 200
    assert (await web.of(None).post("/v1/logout", headers={"cookie": mine, **own})).status == 204, "twice is no harm"


async def test_logging_in_again_ends_the_login_before(web: Web) -> None:
    before = await logged_in(web)
    after = await logged_in(web, OTHER, cookie=before)
    assert await status(web, before) == 401
    assert (await web.of(None).get("/v1/login", headers={"cookie": after})).json()["user_id"] == "other"


async def test_the_list_of_browsers_and_the_end_of_one(web: Web) -> None:
    """S11: no list, no revocation."""
    agent = "Mozilla/5.0 (X11; Linux x86_64)\x07 " + "x" * 500
    mine = await logged_in(web, **{"user-agent": agent})
    theirs = await logged_in(web, OTHER)
    other = await logged_in(web)
    listed = (await web.of(None).get("/v1/logins", headers={"cookie": mine})).json()["logins"]
    assert [row["is_current"] for row in listed] == [False, True]
    row = listed[1]
    assert row["user_agent"].startswith("Mozilla/5.0 (X11; Linux x86_64) xxx")
    assert len(row["user_agent"]) == 200
    assert (row["user_id"], row["basis"]) == ("default", "token")
    assert row["created_at"] <= row["seen_at"] < row["ends_at"]
    assert mine.partition("=")[2] not in str(listed)
    foreign = (await web.of(OTHER).get("/v1/logins")).json()["logins"][0]["login_id"]
    for unknown in (foreign, "nothing", row["login_id"] + "x"):
        answer = await web.ask("DELETE", f"/v1/logins/{unknown}")
        assert (answer.status, answer.error) == (404, "not_found"), "somebody else's is as one that does not exist"
    assert (await web.ask("DELETE", f"/v1/logins/{row['login_id']}")).status == 204
    assert [await status(web, cookie) for cookie in (mine, other, theirs)] == [401, 200, 200]


@pytest.mark.virtual_time
@pytest.mark.parametrize("protocol", ["native", "ag-ui", "ai-sdk"])
async def test_an_open_stream_of_a_browser_ends_with_its_login(open_web: OpenWeb, protocol: str) -> None:
    """S11's sibling: a browser that was logged out went on seeing the answer that ran."""
    gate = Gate()
    web = open_web([[Say("One"), gate, Say("Two")]])
    session_id = (await web.post("/v1/sessions", {})).json()["session_id"]
    await web.post(f"/v1/sessions/{session_id}/messages", {"message": "Go"}, headers={"prefer": "respond-async"})
    out, stays = await logged_in(web), await logged_in(web)
    path = f"/v1/sessions/{session_id}/events?protocol={protocol}"
    async with (
        web.of(None).asking("GET", path, headers={"cookie": out}) as ended,
        web.of(None).asking("GET", path, headers={"cookie": stays}) as running,
        web.asking("GET", path) as with_token,
    ):
        for stream in (ended, running, with_token):
            await stream.has("One")
        await asyncio.sleep(40)
        assert not ended.is_complete
        await web.of(None).post("/v1/logout", headers={"cookie": out, "origin": "http://localhost:8765"})
        async with asyncio.timeout(1):
            await ended.ends()
        assert b"this browser was logged out" in ended.body
        await asyncio.sleep(60)
        gate.open()
        for stream in (running, with_token):
            await stream.ends()
            assert b"Two" in stream.body
        assert b"Two" not in ended.body


# --- streams end with what let their client in --------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def following(web: Web, gate: Gate, headers: dict[str, str], protocol: str = "ag-ui") -> AsyncIterator[Response]:
    """A stream of an answer that has begun and waits at `gate`; the headers are those of its reader."""
    session_id = (await web.post("/v1/sessions", {}, headers=headers)).json()["session_id"]
    told = {"prefer": "respond-async", **headers}
    await web.post(f"/v1/sessions/{session_id}/messages", {"message": "Go"}, headers=told)
    path = f"/v1/sessions/{session_id}/events?protocol={protocol}"
    async with web.asking("GET", path, headers=headers) as stream:
        await stream.has("One")
        yield stream
    gate.open()


@pytest.mark.virtual_time
@pytest.mark.parametrize("protocol", ["native", "ag-ui", "ag-ui-0", "ai-sdk", "ai-sdk-7"])
async def test_a_stream_ends_with_the_token_and_goes_on_with_the_next(open_web: OpenWeb, protocol: str) -> None:
    """S6's kind: a stream that a signed token had opened went on for as long as there was something to see."""
    gate = Gate()
    web = open_web(
        [[Say("One"), gate, Say("Two")]], config={"server": {"jwt": {**ISSUER, "secret": SHARED, "leeway_s": 5}}}
    )
    now = int(time.time())
    first, second = (signed(exp=now + lasts_s, jti=str(lasts_s)) for lasts_s in (100, 4000))
    session_id = (await web.of(first).post("/v1/sessions", {})).json()["session_id"]
    headers = {"prefer": "respond-async"}
    await web.of(first).post(f"/v1/sessions/{session_id}/messages", {"message": "Go"}, headers=headers)
    path = f"/v1/sessions/{session_id}/events?protocol={protocol}"
    async with web.of(first).asking("GET", path) as stream:
        await stream.has("One")
        began_s = asyncio.get_running_loop().time()
        await stream.ends()
        assert 100 < asyncio.get_running_loop().time() - began_s < 106, "to the second, when nothing is said too"
    cursor = [position for position, _ in stream.frames if position][-1]
    told = [event for position, event in stream.frames if not position]
    why = (await web.of(signed(exp=now - 60)).get("/v1/sessions")).json()["error"]
    assert why["message"] in json.dumps(told), (
        "what the next request would be refused with, and no position in the session"
    )
    if protocol in {"ag-ui", "ag-ui-0"}:
        assert (told[0]["type"], told[0]["code"]) == ("RUN_ERROR", why["code"])
    async with web.of(second).asking("GET", path, headers={"last-event-id": cursor}) as again:
        gate.open()
        await again.ends()
    seen = [frame for frame in again.frames if frame[0]]
    assert b"Two" in again.body
    assert b"One" not in again.body or protocol == "native", "it goes on behind what was seen"
    assert not {position for position, _ in stream.frames if position} & {position for position, _ in seen}


@pytest.mark.virtual_time
async def test_a_stream_of_a_login_ends_with_the_signed_token_that_it_rests_on(open_web: OpenWeb) -> None:
    gate = Gate()
    web = open_web([[Say("One"), gate, Say("Two")]], config=SIGNED)
    cookie = await logged_in(web, signed(exp=int(time.time()) + 100))
    async with following(web.of(None), gate, {"cookie": cookie, **OWN}) as stream:
        began_s = asyncio.get_running_loop().time()
        await stream.ends()
        assert 100 < asyncio.get_running_loop().time() - began_s < 131
        assert b"this browser is not logged in any more" in stream.body


@pytest.mark.virtual_time
@pytest.mark.parametrize("how", ["revoked", "all revoked", "another user", "the same user"])
async def test_a_stream_of_another_tab_ends_at_once_with_its_login(open_web: OpenWeb, how: str) -> None:
    """S11's siblings: who had logged in as another user in one tab still saw the first user's answers in the others."""
    gate = Gate()
    web = open_web([[Say("One"), gate, Say("Two")]])
    cookie = await logged_in(web)
    async with following(web.of(None), gate, {"cookie": cookie, **OWN}) as stream:
        if how == "revoked":
            (login,) = (await web.get("/v1/logins")).json()["logins"]
            assert (await web.ask("DELETE", f"/v1/logins/{login['login_id']}")).status == 204
        elif how == "all revoked":
            assert (await web.ask("DELETE", "/v1/logins")).status == 200
        else:
            await logged_in(web, OTHER if how == "another user" else TOKEN, cookie=cookie)
        async with asyncio.timeout(1):
            await stream.ends()
        said = f"{how} has logged in" if "user" in how else "this browser was logged out"
        assert said in stream.frames[-1][1]["message"]
        assert stream.frames[-1][1]["code"] == "unauthorized"


@pytest.mark.virtual_time
async def test_what_another_process_ends_ends_streams_too(open_web: OpenWeb, tmp_path: Path) -> None:
    """`greenroom logins revoke` writes to the store; the server that streams asks it every few seconds."""
    gate = Gate()
    store = f"sqlite:///{tmp_path / 'sessions.db'}"
    web, other = open_web([[Say("One"), gate, Say("Two")]], store=store), open_web(store=store)
    cookie = await logged_in(web)
    async with following(web.of(None), gate, {"cookie": cookie, **OWN}) as stream:
        assert (await other.ask("DELETE", "/v1/logins")).status == 200
        async with asyncio.timeout(31):
            await stream.ends()
        assert b"this browser is not logged in any more" in stream.body


async def test_a_stream_of_a_deleted_session_ends_and_says_why(open_web: OpenWeb) -> None:
    gate = Gate()
    web = open_web([[Say("One"), gate, Say("Two")]])
    async with following(web, gate, {}) as stream:
        (row,) = (await web.get("/v1/sessions")).json()["sessions"]
        assert (await web.ask("DELETE", f"/v1/sessions/{row['session_id']}")).status == 204
        await stream.ends()
        assert (stream.frames[-1][1]["type"], stream.frames[-1][1]["code"]) == ("RUN_ERROR", "session_not_found")
        assert b"Two" not in stream.body


def stay_of(browsers: BrowserLogins) -> Stay:
    """What lets the browser of ann's login `l` see a stream."""
    login = Login(login_id="l", digest=b"", user_id="ann", basis="key", created_at_ms=0, seen_at_ms=0, ends_at_ms=2**52)
    return Stay(
        ends_at_ms=2**52, over=Refusal(401, "unauthorized", "over"), clock=Wall(),
        tell=lambda put_out: browsers.following(login, lambda why: put_out(Refusal(401, "unauthorized", why))),
    )  # fmt: skip


async def test_a_stream_that_is_ended_within_a_frame_sends_the_frame_whole(open_web: OpenWeb) -> None:
    """Whoever was logged out while a large frame was on its way got the error within that frame: neither could be read."""
    browsers = open_web().app._access.browsers
    stay = stay_of(browsers)
    large, sent, tasks = "x" * 5 * PIECE_BYTES, bytearray(), Tasks()

    async def batches() -> AsyncGenerator[list[Frame], None]:
        yield [Frame("1", '"before"'), Frame("2", f'"{large}"')]
        yield [Frame("3", '"after"')]

    async def send(message: dict[str, Any]) -> None:
        sent.extend(message.get("body", b""))
        await asyncio.sleep(0)
        if len(sent) > 2 * PIECE_BYTES and browsers._followers:
            browsers._tell("ann", "l", "somebody else is here now")

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    stream = Stream(
        batches(), tasks=tasks, protocol="ag-ui", slot=nullcontext(), hold=lambda _: nullcontext(), stay=stay
    )
    await stream.send_to(receive, send)
    await tasks.end()
    whole = [frame.partition("data: ")[2] for frame in sent.decode().split("\n\n")[1:-1]]
    assert [json.loads(data) for data in whole[:2]] == ["before", large]
    assert [json.loads(data)["code"] for data in whole[2:]] == ["unauthorized"]
    assert "somebody else is here now" in whole[2]


async def test_a_client_that_is_logged_out_and_leaves_at_once_ends_its_stream_without_an_error(
    open_web: OpenWeb,
) -> None:
    """Sibling: a page that is logged out closes its streams. The second cancellation failed the request, and ended its connection."""
    browsers = open_web().app._access.browsers
    blocked, has_room, has_left, tasks = asyncio.Event(), asyncio.Event(), asyncio.Event(), Tasks()
    sent, ends = bytearray(), list[bool]()

    async def batches() -> AsyncGenerator[list[Frame], None]:
        yield [Frame("1", '"before"')]
        yield [Frame("2", '"after"')]

    async def send(message: dict[str, Any]) -> None:
        if b"before" in sent:
            blocked.set()
            await has_room.wait()
        sent.extend(message.get("body", b""))

    async def receive() -> dict[str, Any]:
        await has_left.wait()
        return {"type": "http.disconnect"}

    stream = Stream(
        batches(), tasks=tasks, protocol="ag-ui", slot=nullcontext(), hold=lambda _: nullcontext(),
        stay=stay_of(browsers), on_end=lambda *, is_whole: ends.append(is_whole),
    )  # fmt: skip
    sending = asyncio.ensure_future(stream.send_to(receive, send))
    await blocked.wait()
    browsers._tell("ann", "l", "logged out")
    has_left.set()
    await let_others_run()
    has_room.set()  # a connection that is closed keeps nothing waiting
    await sending
    await tasks.end()
    assert ends == [False]
    assert not browsers._followers
    assert b"after" not in sent


async def test_all_browsers_of_a_user_are_logged_out_at_once(open_place: OpenPlace) -> None:
    place = open_place()
    cookies = [await logged_in(place.web) for _ in range(3)]
    theirs, code = await logged_in(place.web, OTHER), await place.code()
    own = {"cookie": cookies[0], "origin": "http://localhost:8765"}
    answer = await place.web.ask("DELETE", "/v1/logins", headers=own)
    assert answer.json() == {"revoked": 3}
    assert [await status(place.web, cookie) for cookie in (*cookies, theirs)] == [401, 401, 401, 200]
    assert (await place.web.post("/v1/login", {"code": code})).status == 401, (
        "a link that nobody has used yet is dead too"
    )
