"""The web UI.

Rule: pages run only what came with this package. No inline script, no other origin, no frame.
"""

from __future__ import annotations

from typing import Final

from greenroom.server.answers import Answer, Json
from greenroom.server.call import Call
from greenroom.server.login_routes import login_page
from greenroom.server.operation import Operation
from greenroom.server.refusal import Refusal
from greenroom.server.site_files import answer_with

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
    """Shows the UI to those who are in, and the login page to others."""
    return await _page(call)


async def session(call: Call) -> Answer:
    """Shows the UI at a session: which one, it reads from the address."""
    return await _page(call)


async def asset(call: Call) -> Answer:
    """Gives a file of the UI."""
    return _file(call, f"assets/{call.path['name']}")


async def root_file(call: Call) -> Answer:
    """Gives a file beside the page: an icon, a manifest."""
    return _file(call, call.path["name"])


async def _page(call: Call) -> Answer:
    """Returns the page of the UI; where this installation has none, where the API is described.

    The page holds nothing that is secret. That it is not shown to others is so that a person who is not in learns how to get in, also
    where this installation has no UI.
    """
    if not await _is_in(call):
        return await login_page(call)
    if _INDEX in call.place.files:
        return _file(call, _INDEX)
    return Json({"name": "greenroom", "api": "/openapi.json"})


async def _is_in(call: Call) -> bool:
    try:
        await call.access.principal(call.headers, call.scope)
    except Refusal as refusal:
        if refusal.status in {401, 429}:
            return False
        raise
    return True


def _file(call: Call, name: str) -> Answer:
    file = call.place.files.get(name)
    if file is None:
        raise Refusal(404, "not_found", "there is no such file", hint="/ is the web UI, /openapi.json the API")
    return answer_with(file, call.headers, _HEADERS)


OPERATIONS: Final = (
    Operation(method="GET", path="/", handle=index, tag="ui", query=None, is_public=True,
              summary="The web UI, or the login page for browsers that are not logged in", answers={200: "text/html"}),
    Operation(method="GET", path="/s/{session_id}", handle=session, tag="ui", query=None, is_public=True,
              summary="The web UI at a session, or the login page", answers={200: "text/html"}),
    Operation(method="GET", path="/assets/{name:path}", handle=asset, tag="ui", query=None, is_public=True,
              summary="A file of the web UI", answers={200: "application/octet-stream"}),
    Operation(method="GET", path="/{name}", handle=root_file, tag="ui", query=None, is_public=True,
              summary="A file beside the page of the web UI", answers={200: "application/octet-stream"}),
)  # fmt: skip
