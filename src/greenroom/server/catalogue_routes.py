"""What is here: personas, toolsets, models; search; and who asks, and has used what.

Rule: nothing here tells of a system prompt, a path, a key or another user.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from greenroom.server import bodies
from greenroom.server.answers import Answer, Json
from greenroom.server.call import Call
from greenroom.server.operation import Operation

_TAG: Final = "catalogue"


async def personas(call: Call) -> Answer:
    """Lists personas."""
    return Json({"personas": await call.place.personas()})


async def toolsets(call: Call) -> Answer:
    """Lists toolsets."""
    return Json({"toolsets": call.place.toolsets()})


async def models(call: Call) -> Answer:
    """Lists what can be asked."""
    return Json({"models": await call.place.models()})


async def search(call: Call) -> Answer:
    """Searches the user's sessions."""
    return Json({"hits": msgspec.to_builtins(await call.sessions.search(call.query.query, call.query.limit))})


async def usage(call: Call) -> Answer:
    """Says what the user has used."""
    return Json(await call.sessions.usage(call.query.days))


async def status(call: Call) -> Answer:
    """Says who asks, and who answers by default."""
    from greenroom import __version__

    default = await call.place.defaults.candidate()
    notices = await call.place.notices()
    return Json(
        {
            "version": __version__,
            "user_id": call.sessions.user_id,
            "default": {
                "backend": default.backend,
                "model": await call.place.default_model(),
                "is_demo": default.is_demo,
            },
            "notices": notices,
        }
    )


OPERATIONS: Final = (
    Operation(method="GET", path="/v1/personas", handle=personas, tag=_TAG, summary="Who an agent can be",
              answers={200: bodies.Personas}),
    Operation(method="GET", path="/v1/toolsets", handle=toolsets, tag=_TAG, summary="What agents can do",
              answers={200: bodies.Toolsets}),
    Operation(method="GET", path="/v1/models", handle=models, tag=_TAG, summary="Who can answer",
              answers={200: bodies.Models}),
    Operation(method="GET", path="/v1/search", handle=search, tag=_TAG, summary="Search what was said in your sessions",
              query=bodies.SearchQuery, answers={200: bodies.Hits}),
    Operation(method="GET", path="/v1/usage", handle=usage, tag=_TAG, summary="What you have used in all sessions, and may use",
              query=bodies.UsageQuery, answers={200: bodies.UserUsageData}),
    Operation(method="GET", path="/v1/status", handle=status, tag=_TAG, summary="Who you are, and who answers by default",
              answers={200: dict[str, Any]}),
)  # fmt: skip
