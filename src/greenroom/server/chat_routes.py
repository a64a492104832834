"""The AI SDK: what `useChat` sends and reads.

A chat is a session, an answer is a turn. `useChat` sends what it shows; the log knows better, so only its last message counts. A
message that is known already is not sent twice: its turn is shown again, from its start.

Rule: what would take turns out of the session is checked as a whole before anything is taken out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from greenroom.core.session import SessionState
from greenroom.large_thread import in_thread
from greenroom.protocols.ai_sdk import DONE
from greenroom.protocols.ai_sdk_input import ChatInput, UiMessageInput, chat_request, last_said
from greenroom.protocols.ai_sdk_messages import ui_messages
from greenroom.protocols.projection import ProtocolName
from greenroom.protocols.requests import Decide, Follow, Send
from greenroom.server.agui_routes import decide
from greenroom.server.answers import Answer, Empty, Json, large_json
from greenroom.server.bodies import Cancelled
from greenroom.server.call import Call
from greenroom.server.operation import STREAM, WITH_FILES, Operation

_TAG: Final = "ai-sdk"
_END: Final = f"data: {DONE}\n\n".encode()
_HEADERS: Final = {"x-vercel-ai-ui-message-stream": "v1"}


async def chat(call: Call) -> Answer:
    """Answers the last message."""
    body: ChatInput = call.body
    session_id = body.id
    state = await call.sessions.state(session_id) if await call.sessions.exists(session_id) else None
    ignored = [*body.ignored(state), *call.unread]
    match chat_request(body, state, await in_thread(body.weight, last_said, body)):
        case Follow(turn_id=turn_id):
            return await _stream(call, session_id, turn_id, joins=True, ignored=ignored)
        case Decide(decisions=decisions):
            receipt, *_ = await decide(call, session_id, decisions)
            return await _stream(call, session_id, receipt.turn_id, cursor=receipt.cursor, ignored=ignored)
        case Send(said=said, rewind_to=rewound):
            call.sessions.check_message(said.text, said.attachments)
            if state is None:
                await call.sessions.create(session_id, body.settings)
            elif body.settings:
                await call.sessions.update(session_id, body.settings)
            if rewound:
                await call.sessions.rewind(session_id, rewound)
            receipt = await call.sessions.send(
                session_id,
                said.text,
                attachments=said.attachments,
                overlap=body.overlap,
                message_id=said.message_id or None,
            )
            return await _stream(call, session_id, receipt.turn_id, joins=receipt.is_repeat, ignored=ignored)


async def resume(call: Call) -> Answer:
    """Shows the running answer from its start."""
    session_id = call.session_id
    if not await call.sessions.exists(session_id):
        return Empty(204)
    state = await call.sessions.state(session_id)
    turn_id = _active(state) or call.place.missed.turn_of(state)
    return Empty(204) if turn_id is None else await _stream(call, session_id, turn_id, joins=True)


async def stop(call: Call) -> Answer:
    """Stops the running answer."""
    return Json({"cancelled": await call.sessions.cancel(call.session_id)})


async def messages(call: Call) -> Answer:
    """Shows what was said, as `useChat` begins with it."""
    state = await call.sessions.state(call.session_id)
    shown = {"messages": ui_messages(state), "active": _active(state) is not None}
    return await large_json(state.weight, lambda: shown)


async def _stream(
    call: Call,
    session_id: str,
    turn_id: str,
    *,
    joins: bool = False,
    cursor: str | None = None,
    ignored: Sequence[str] = (),
) -> Answer:
    protocol: ProtocolName = "ai-sdk-7" if call.headers.get("x-ai-sdk-version", "").startswith("7") else "ai-sdk"
    batches = await call.sessions.attach(
        session_id, call.last_event_id or cursor, protocol=protocol, turn_id=turn_id, joins=joins
    )
    headers = _HEADERS | {"x-turn-id": turn_id}

    def on_end(*, is_whole: bool) -> None:
        if not is_whole:
            call.place.missed.cut(session_id, turn_id)
        elif joins:
            call.place.missed.made_good(session_id, turn_id)

    return call.stream(batches, protocol=protocol, end=_END, headers=headers, on_end=on_end, ignored=ignored)


def _active(state: SessionState) -> str | None:
    if state.turn is not None:
        return state.turn.turn_id if not state.is_waiting else None
    return state.queue[0].message.turn_id if state.queue else None


OPERATIONS: Final = (
    Operation(
        method="POST", path="/api/chat", handle=chat, tag=_TAG, body=ChatInput, is_turn=True, bytes_limit=WITH_FILES,
        message=UiMessageInput,
        summary="Answer a chat's last message (AI SDK)", answers={200: STREAM},
    ),
    Operation(
        method="GET", path="/api/chat/{session_id}/stream", handle=resume, tag=_TAG, query=None,
        summary="The running answer from its start (AI SDK)", answers={200: STREAM, 204: None},
    ),
    Operation(
        method="POST", path="/api/chat/{session_id}/stop", handle=stop, tag=_TAG, body=dict[str, Any], has_optional_body=True,
        summary="Stop the running answer (AI SDK)", answers={200: Cancelled},
    ),
    Operation(
        method="GET", path="/api/chat/{session_id}/messages", handle=messages, tag=_TAG,
        summary="What was said, for useChat to begin with", answers={200: dict[str, Any]},
    ),
)  # fmt: skip
