"""What waits in a session: messages for their turn, tool calls for a person.

Rule: as `message_routes`.
"""

from __future__ import annotations

from typing import Final

import msgspec

from greenroom.core.view import PendingApproval, QueuedMessage
from greenroom.server import bodies
from greenroom.server.answers import Answer, Empty, Json
from greenroom.server.call import Call
from greenroom.server.operation import WITH_TEXT, Operation
from greenroom.server.refusal import Refusal

_TAG: Final = "messages"


class Approvals(msgspec.Struct, kw_only=True):
    """What a person is asked."""

    approvals: list[PendingApproval]


class Queue(msgspec.Struct, kw_only=True):
    """Messages that wait, in the order in which they will be answered."""

    queue: list[QueuedMessage]


async def approvals(call: Call) -> Answer:
    """Lists what a person has to decide."""
    return Json({"approvals": msgspec.to_builtins(await call.sessions.approvals(call.session_id))})


async def approve(call: Call) -> Answer:
    """Decides about a tool call that waits."""
    body = call.body
    receipt = await call.sessions.approve(
        call.session_id, call.path["approval_id"], body.decision, arguments=body.arguments, reason=body.reason
    )
    return Json(msgspec.to_builtins(receipt))


async def queue(call: Call) -> Answer:
    """Lists the messages that wait."""
    return Json({"queue": msgspec.to_builtins(await call.sessions.queue(call.session_id))})


async def edit(call: Call) -> Answer:
    """Changes a message that waits."""
    if not await call.sessions.edit(call.session_id, call.path["turn_id"], call.body.message):
        raise _too_late()
    return Empty(204)


async def withdraw(call: Call) -> Answer:
    """Takes a message that waits back."""
    if not await call.sessions.withdraw(call.session_id, call.path["turn_id"]):
        raise _too_late()
    return Empty(204)


def _too_late() -> Refusal:
    return Refusal(
        404, "message_not_found", "no such message waits", hint="it may be answered already: cancel stops that"
    )


OPERATIONS: Final = (
    Operation(
        method="GET", path="/v1/sessions/{session_id}/approvals", handle=approvals, tag=_TAG,
        summary="The tool calls that wait for a person", answers={200: Approvals},
    ),
    Operation(
        method="POST", path="/v1/sessions/{session_id}/approvals/{approval_id}", handle=approve, tag=_TAG,
        summary="Approve or deny a tool call that waits; the turn goes on behind the receipt's cursor",
        body=bodies.ApprovalBody, bytes_limit=WITH_TEXT, answers={200: bodies.ReceiptData},
    ),
    Operation(
        method="GET", path="/v1/sessions/{session_id}/queue", handle=queue, tag=_TAG,
        summary="The messages that wait for their turn", answers={200: Queue},
    ),
    Operation(
        method="PATCH", path="/v1/sessions/{session_id}/queue/{turn_id}", handle=edit, tag=_TAG,
        summary="Change a message that waits", body=bodies.SteerBody, bytes_limit=WITH_TEXT, answers={204: None},
    ),
    Operation(
        method="DELETE", path="/v1/sessions/{session_id}/queue/{turn_id}", handle=withdraw, tag=_TAG,
        summary="Take a message that waits back", answers={204: None},
    ),
)  # fmt: skip
