"""Logging a browser in and out, and the list of browsers that are logged in.

Rule: nothing is logged in by following a link: a login is a POST of JSON, by a page of this server or by no page at all.
"""

from __future__ import annotations

from typing import Any, Final

from greenroom.interfaces import Login
from greenroom.server import bodies
from greenroom.server.answers import Answer, Data, Empty, Json
from greenroom.server.call import Call
from greenroom.server.logins import CookieName, login_data
from greenroom.server.operation import Operation
from greenroom.server.proxies import is_secure
from greenroom.server.refusal import Refusal
from greenroom.server.site_files import answer_with

_TAG: Final = "logins"
_PAGE_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


async def log_in(call: Call) -> Answer:
    """Logs a browser in: with a token, a key, a signed token, or a one-time code."""
    body: bodies.LoginBody = call.body
    if (body.code is None) == (body.token is None):
        raise Refusal(422, "invalid_argument", "send exactly one of code and token")
    if body.code is not None:
        verified = await call.access.redeemed(
            body.code,
            call.headers,
            call.scope,
            is_confirmed=body.confirmed,
            check=call.place.quotas.count_request,
        )
    else:
        verified = await call.access.verified((body.token or "").strip(), call.headers, call.scope)
        call.place.quotas.count_request(verified.user_id)
    former = await call.access.login_of(call.headers, call.scope)
    login, set_cookie = await call.access.browsers.begin(
        user_id=verified.user_id,
        basis=verified.basis,
        credential=verified.digest,
        cookie=_cookie_name(call),
        user_agent=call.headers.get("user-agent", ""),
        ends_at_ms=verified.ends_at_ms,
    )
    if former is not None:
        who = "the same user" if former.user_id == login.user_id else "another user"
        await call.access.browsers.end(former, f"{who} has logged in with this browser since")
    return Json({"user_id": login.user_id, "login": _shown(login, login)}, headers={"set-cookie": set_cookie})


async def who(call: Call) -> Answer:
    """Says who asks, and with what."""
    assert call.principal is not None, "the operation is not public"
    login = call.principal.login
    return Json(
        {
            "user_id": call.principal.user_id,
            "by": call.principal.by,
            "login": _shown(login, login) if login is not None else None,
        }
    )


async def log_out(call: Call) -> Answer:
    """Logs the browser out that asks. One that is not logged in loses what is left of its cookie."""
    login = await call.access.login_of(call.headers, call.scope)
    if login is not None:
        await call.access.browsers.end(login, "this browser was logged out")
    return Empty(headers={"set-cookie": _cookie_name(call).header("", 0)})


async def listed(call: Call) -> Answer:
    """Lists the browsers in which the user is logged in."""
    assert call.principal is not None, "the operation is not public"
    logins = await call.access.browsers.page(call.sessions.user_id)
    return Json({"logins": [_shown(login, call.principal.login) for login in logins]})


async def revoke(call: Call) -> Answer:
    """Logs a browser of the user out."""
    if not await call.access.browsers.remove(call.sessions.user_id, call.path["login_id"]):
        raise Refusal(404, "not_found", "there is no such login", hint="GET /v1/logins lists your logins")
    return Empty()


async def revoke_all(call: Call) -> Answer:
    """Logs all browsers of the user out, also the one that asks, and makes the one-time codes worthless."""
    return Json({"revoked": await call.access.browsers.remove_all(call.sessions.user_id)})


async def page(call: Call) -> Answer:
    """Shows the page at which a browser logs in."""
    return await login_page(call)


async def style(call: Call) -> Answer:
    """Gives the style of that page."""
    return await _file(call, "login.css")


async def script(call: Call) -> Answer:
    """Gives the script of that page."""
    return await _file(call, "login.js")


async def login_page(call: Call) -> Answer:
    """Returns the page at which a browser logs in, also as the answer at an address that it may not see yet."""
    html = (await call.place.login_file("login.html")).content.decode()
    is_old_link = "token=" in call.scope["query_string"].decode("latin-1")
    html = html.replace("{arrival}", _arrival(call)).replace("{hidden_old_link}", "" if is_old_link else "hidden")
    return Data(html.encode(), "text/html; charset=utf-8", headers=_PAGE_HEADERS)


def _arrival(call: Call) -> str:
    """Returns whether a person came here by an address, a program or a page of ours, or was led here by another page.

    Browsers leave the header out where a page without TLS is not of this machine; then that is not known.
    """
    site = call.headers.get("sec-fetch-site", "unknown")
    return "direct" if site in {"none", "same-origin"} else "other"


async def _file(call: Call, name: str) -> Answer:
    return answer_with(await call.place.login_file(name), call.headers, {"cache-control": "no-cache"})


def _cookie_name(call: Call) -> CookieName:
    return CookieName.of(call.headers, is_secure=is_secure(call.scope, call.headers))


def _shown(login: Login, current: Login | None) -> dict[str, Any]:
    return login_data(login, is_current=current is not None and current.login_id == login.login_id)


OPERATIONS: Final = (
    Operation(method="POST", path="/v1/login", handle=log_in, tag=_TAG, summary="Log a browser in: answers with its cookie",
              body=bodies.LoginBody, is_public=True, is_for_own_pages=True,
              answers={200: bodies.LoggedIn}),
    Operation(method="GET", path="/v1/login", handle=who, tag=_TAG, summary="Who you are, and how you logged in",
              answers={200: bodies.Who}),
    Operation(method="POST", path="/v1/logout", handle=log_out, tag=_TAG, summary="Log this browser out",
              is_public=True, is_for_own_pages=True, answers={204: None}),
    Operation(method="GET", path="/v1/logins", handle=listed, tag=_TAG, summary="The browsers in which you are logged in",
              answers={200: bodies.LoginList}),
    Operation(method="DELETE", path="/v1/logins", handle=revoke_all, tag=_TAG, summary="Log all your browsers out",
              answers={200: bodies.Revoked}),
    Operation(method="DELETE", path="/v1/logins/{login_id}", handle=revoke, tag=_TAG, summary="Log one of your browsers out",
              answers={204: None}),
    Operation(method="GET", path="/login", handle=page, tag="ui", query=None, is_public=True,
              summary="The page at which a browser logs in", answers={200: "text/html"}),
    Operation(method="GET", path="/login.css", handle=style, tag="ui", query=None, is_public=True,
              summary="Its style", answers={200: "text/css"}),
    Operation(method="GET", path="/login.js", handle=script, tag="ui", query=None, is_public=True,
              summary="Its script", answers={200: "text/javascript"}),
)  # fmt: skip
