"""What is said in a session: sending, reading, following, stopping.

Rule: a stream of a turn can be lost and asked for again at any frame: by the same request, or by `GET .../events`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from greenroom.core import view
from greenroom.large_thread import in_thread
from greenroom.protocols.attachments import attachment
from greenroom.protocols.native import message_json
from greenroom.runtime.exchange import Receipt
from greenroom.server import bodies
from greenroom.server.answers import Answer, Empty, Json, large_json
from greenroom.server.call import Call
from greenroom.server.operation import STREAM, WITH_FILES, WITH_TEXT, Operation
from greenroom.server.streaming import Batches

_TAG: Final = "messages"


async def send(call: Call) -> Answer:
    """Sends a message; answers with the stream of its turn, or with a receipt."""
    body = call.body
    receipt = await call.sessions.send(
        call.session_id,
        body.message,
        custom_prompt=body.custom_prompt,
        overlap=body.overlap,
        idempotency_key=body.idempotency_key,
        attachments=await in_thread(sum([len(file.data) for file in body.attachments]), _attachments, body.attachments),
        turn_id=body.turn_id,
        message_id=body.message_id,
    )
    if "respond-async" in call.headers.get("prefer", "").lower():
        return Json(msgspec.to_builtins(receipt), status=202, headers={"preference-applied": "respond-async"})
    batches = await call.sessions.attach(call.session_id, call.last_event_id, protocol="ag-ui", turn_id=receipt.turn_id)
    return call.stream(batches, protocol="ag-ui", headers=turn_headers(receipt))


def _attachments(files: Sequence[bodies.AttachmentBody]) -> list[dict[str, Any]]:
    return [attachment(file.data, file.media_type, file.name) for file in files]


async def history(call: Call) -> Answer:
    """Shows what was said."""
    state = await call.sessions.state(call.session_id)
    messages = view.history(state)
    return await large_json(state.weight, lambda: {"messages": [message_json(message) for message in messages]})


async def events(call: Call) -> Answer:
    """Follows a session from a position on, until it is idle."""
    query = call.query
    cursor = call.last_event_id or query.cursor
    turn_id = query.turn_id and await call.sessions.turn_of_run(call.session_id, query.turn_id)
    batches = await call.sessions.attach(
        call.session_id, cursor, protocol=query.protocol, turn_id=turn_id, joins=cursor is None
    )
    if turn_id is None and (await call.sessions.data(call.session_id))["status"] != "running":
        # Nothing runs: what there is comes at once. If there is nothing, the browser is told not to ask again.
        first = await anext(batches, None)
        if first is None:
            return Empty(204)
        batches = _again(first, batches)
    return call.stream(batches, protocol=query.protocol)


async def cancel(call: Call) -> Answer:
    """Stops the running turn."""
    return Json({"cancelled": await call.sessions.cancel(call.session_id)})


async def steer(call: Call) -> Answer:
    """Gives the running turn a message."""
    receipt = await call.sessions.steer(call.session_id, call.body.message)
    return Json(msgspec.to_builtins(receipt), status=202)


def turn_headers(receipt: Receipt) -> dict[str, str]:
    """Returns what tells a client which turn a stream is of."""
    return {"x-turn-id": receipt.turn_id, "x-turn-position": str(receipt.position)}


async def _again(first: object, rest: Batches) -> Batches:
    yield first  # type: ignore[misc]
    async for batch in rest:
        yield batch


OPERATIONS: Final = (
    Operation(
        method="POST", path="/v1/sessions/{session_id}/messages", handle=send, tag=_TAG, is_turn=True, bytes_limit=WITH_FILES,
        summary="Send a message and follow its answer (AG-UI); `Prefer: respond-async` answers with a receipt",
        body=bodies.MessageBody, answers={200: STREAM, 202: bodies.ReceiptData},
    ),
    Operation(
        method="GET", path="/v1/sessions/{session_id}/messages", handle=history, tag=_TAG,
        summary="What was said, in order", answers={200: bodies.Messages},
    ),
    Operation(
        method="GET", path="/v1/sessions/{session_id}/events", handle=events, tag=_TAG,
        summary="Follow a session until it is idle; goes on behind `Last-Event-ID` or `cursor`",
        query=bodies.EventsQuery, answers={200: STREAM, 204: None},
    ),
    Operation(
        method="POST", path="/v1/sessions/{session_id}/cancel", handle=cancel, tag=_TAG,
        summary="Stop the running turn; what was said so far is kept", answers={200: bodies.Cancelled},
    ),
    Operation(
        method="POST", path="/v1/sessions/{session_id}/steer", handle=steer, tag=_TAG, is_turn=True, bytes_limit=WITH_TEXT,
        summary="Tell the running turn something at its next step", body=bodies.SteerBody, answers={202: bodies.ReceiptData},
    ),
)  # fmt: skip
