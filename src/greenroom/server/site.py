"""The web UI, and the way in with a token.

Rule: pages run only what came with this package. No inline script, no other origin, no frame.
"""

from __future__ import annotations

from typing import Final

from greenroom.server.answers import Answer, Data, Empty, Json
from greenroom.server.bodies import TokenQuery
from greenroom.server.call import Call, address_of
from greenroom.server.operation import Operation
from greenroom.server.refusal import Refusal

_INDEX: Final = "index.html"
_POLICY: Final = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "font-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}


async def index(call: Call) -> Answer:
    """Shows the UI; with a token, lets the browser in first."""
    if call.query.token is not None:
        # A proxy's word, and anybody's: whoever says it wrongly only keeps his own cookie from himself.
        forwarded = call.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
        is_secure = "https" in {call.scope.get("scheme"), forwarded}
        cookie = await call.access.cookie(call.query.token, address_of(call.scope), is_secure=is_secure)
        return Empty(303, headers={"location": "/", "set-cookie": cookie, "referrer-policy": "no-referrer"})
    return page(call)


async def session(call: Call) -> Answer:
    """Shows the UI at a session: which one, it reads from the address."""
    return page(call)


async def asset(call: Call) -> Answer:
    """Gives a file of the UI."""
    return _file(call, f"assets/{call.path['name']}")


async def root_file(call: Call) -> Answer:
    """Gives a file beside the page: an icon, a manifest."""
    return _file(call, call.path["name"])


def page(call: Call) -> Answer:
    """Returns the page of the UI; where this installation has none, where the API is described."""
    if _INDEX in call.place.files:
        return _file(call, _INDEX)
    return Json({"name": "greenroom", "api": "/openapi.json"})


def _file(call: Call, name: str) -> Answer:
    file = call.place.files.get(name)
    if file is None:
        raise Refusal(404, "not_found", "there is no such file", hint="/ is the web UI, /openapi.json the API")
    headers = _HEADERS | {"etag": file.etag}
    if call.headers.get("if-none-match") == file.etag:
        return Empty(304, headers=headers)
    return Data(file.content, file.media_type, headers=headers)


OPERATIONS: Final = (
    Operation(method="GET", path="/", handle=index, tag="ui", query=TokenQuery, is_public=True,
              summary="The web UI; with a token, a cookie for it", answers={200: "text/html", 303: None}),
    Operation(method="GET", path="/s/{session_id}", handle=session, tag="ui", query=None, is_public=True,
              summary="The web UI, at a session", answers={200: "text/html"}),
    Operation(method="GET", path="/assets/{name:path}", handle=asset, tag="ui", query=None, is_public=True,
              summary="A file of the web UI", answers={200: "application/octet-stream"}),
    Operation(method="GET", path="/{name}", handle=root_file, tag="ui", query=None, is_public=True,
              summary="A file beside the page of the web UI", answers={200: "application/octet-stream"}),
)  # fmt: skip
