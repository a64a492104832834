"""For whoever runs the server: is it alive, can it answer, how much does it do; and what it can be asked.

Rule: public, so nothing here tells of a user or a session.
"""

from __future__ import annotations

from typing import Any, Final

from greenroom.server import bodies
from greenroom.server.answers import Answer, Data, Json
from greenroom.server.call import Call
from greenroom.server.operation import Operation

_TAG: Final = "operation"


async def healthz(call: Call) -> Answer:
    """Says that the process is alive."""
    del call
    return Json({"status": "ok"})


async def readyz(call: Call) -> Answer:
    """Says whether requests can be answered."""
    if call.place.is_draining:
        return Json({"status": "draining"}, status=503)
    if not await call.place.is_store_reachable():
        return Json({"status": "store unavailable"}, status=503)
    # A server that answers is ready, also when something beside the requests has trouble: whoever runs it should know.
    failing = call.place.failing()
    return Json({"status": "ok", "failing": failing} if failing else {"status": "ok"})


async def metrics(call: Call) -> Answer:
    """Counts, for Prometheus."""
    return Data(*call.place.metrics.exposition())


async def openapi(call: Call) -> Answer:
    """Describes all routes."""
    return Data(call.place.document, "application/json", headers={"cache-control": "no-cache"})


OPERATIONS: Final = (
    Operation(method="GET", path="/healthz", handle=healthz, tag=_TAG, summary="Is the process alive?", is_public=True,
              answers={200: bodies.Health}),
    Operation(method="GET", path="/readyz", handle=readyz, tag=_TAG, summary="Can it answer?", is_public=True,
              answers={200: bodies.Health, 503: bodies.Health}),
    Operation(method="GET", path="/metrics", handle=metrics, tag=_TAG, summary="Counts, for Prometheus; with the server's own token",
              is_for_operator=True, answers={200: "text/plain"}),
    Operation(method="GET", path="/openapi.json", handle=openapi, tag=_TAG, summary="This document", is_public=True,
              answers={200: dict[str, Any]}),
)  # fmt: skip
