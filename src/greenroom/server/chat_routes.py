"""The AI SDK: what `useChat` sends and reads.

A chat is a session, an answer is a turn. `useChat` sends what it shows; the log knows better, so only its last message counts. A
message that is known already is not sent twice: its turn is shown again, from its start.

Rule: what would take turns out of the session is checked as a whole before anything is taken out.
"""

from __future__ import annotations

from typing import Any, Final

from greenroom.config import check_session_id
from greenroom.core.session import SessionState, TurnHistory
from greenroom.errors import InvalidArgument
from greenroom.protocols.ai_sdk import DONE
from greenroom.protocols.ai_sdk_messages import ui_messages
from greenroom.protocols.projection import ProtocolName
from greenroom.server.answers import Answer, Empty, Json
from greenroom.server.bodies import Cancelled
from greenroom.server.call import Call
from greenroom.server.chat_input import (
    ChatBody,
    NewMessage,
    UiMessage,
    approvals,
    chat_settings,
    message_of_turn,
    new_message,
    turn_of,
)
from greenroom.server.operation import STREAM, Operation

_TAG: Final = "ai-sdk"
_END: Final = f"data: {DONE}\n\n".encode()
_HEADERS: Final = {"x-vercel-ai-ui-message-stream": "v1"}


async def chat(call: Call) -> Answer:
    """Answers the last message."""
    body: ChatBody = call.body
    session_id = check_session_id(body.id)
    state = await call.sessions.state(session_id) if await call.sessions.exists(session_id) else None
    last = body.last
    if last is not None and last.role == "assistant" and body.trigger != "regenerate-message":
        return await _decided(call, session_id, state, last)
    rewound, message = _wanted(body, last, state)
    settings = chat_settings(body)
    if state is None:
        await call.sessions.create(session_id, settings)
    elif settings:
        await call.sessions.update(session_id, settings)
    if state is not None and rewound is None and (known := _turn_of_message(state, message.message_id)) is not None:
        return await _stream(call, session_id, known)
    call.sessions.check_message(message.text, message.attachments)
    if rewound is not None:
        await call.sessions.rewind(session_id, rewound)
    receipt = await call.sessions.send(
        session_id,
        message.text,
        attachments=message.attachments,
        overlap=body.overlap,
        message_id=message.message_id,
    )
    return await _stream(call, session_id, receipt.turn_id)


def _wanted(body: ChatBody, last: UiMessage | None, state: SessionState | None) -> tuple[str | None, NewMessage]:
    """Returns the turn to go back to, if any, and the message to answer."""
    if body.trigger == "regenerate-message":
        turn = turn_of(state, body.message_id)
        if turn is None:
            raise InvalidArgument("there is no such answer to give again", hint="messageId is that of an answer")
        return turn.turn_id, message_of_turn(turn)
    if last is None:
        raise InvalidArgument("there is no message", hint="send `messages`, or `message`")
    edited = turn_of(state, body.message_id) if body.message_id is not None else None
    return (edited.turn_id if edited is not None else None), new_message(last)


async def _decided(call: Call, session_id: str, state: SessionState | None, answer: UiMessage) -> Answer:
    """Takes what a person has decided about tool calls; the answer goes on."""
    turn = turn_of(state, answer.id)
    decisions = approvals(answer)
    if turn is None or not decisions:
        raise InvalidArgument(
            "the last message is an answer", hint="the last message is the user's, or decides a tool call"
        )
    for decision in decisions:
        await call.sessions.approve(
            session_id, decision.approval_id, decision.decision, arguments=None, reason=decision.reason
        )
    return await _stream(call, session_id, turn.turn_id)


async def resume(call: Call) -> Answer:
    """Shows the running answer from its start."""
    session_id = call.session_id
    if not await call.sessions.exists(session_id):
        return Empty(204)
    state = await call.sessions.state(session_id)
    turn_id = _active(state)
    return Empty(204) if turn_id is None else await _stream(call, session_id, turn_id)


async def stop(call: Call) -> Answer:
    """Stops the running answer."""
    return Json({"cancelled": await call.sessions.cancel(call.session_id)})


async def messages(call: Call) -> Answer:
    """Shows what was said, as `useChat` begins with it."""
    state = await call.sessions.state(call.session_id)
    return Json({"messages": ui_messages(state), "active": _active(state) is not None})


async def _stream(call: Call, session_id: str, turn_id: str) -> Answer:
    protocol: ProtocolName = "ai-sdk-7" if call.headers.get("x-ai-sdk-version", "").startswith("7") else "ai-sdk"
    batches = await call.sessions.attach(session_id, call.last_event_id, protocol=protocol, turn_id=turn_id)
    return call.stream(batches, protocol=protocol, end=_END, headers=_HEADERS | {"x-turn-id": turn_id})


def _active(state: SessionState) -> str | None:
    if state.turn is not None:
        return state.turn.turn_id
    return state.queue[0].message.turn_id if state.queue else None


def _turn_of_message(state: SessionState, message_id: str | None) -> str | None:
    turns: list[TurnHistory] = list(state.turns)
    known = {turn.message.message_id: turn.turn_id for turn in turns}
    known |= {accepted.message.message_id: accepted.message.turn_id for accepted in state.queue}
    return known.get(message_id or "")


OPERATIONS: Final = (
    Operation(
        method="POST", path="/api/chat", handle=chat, tag=_TAG, body=ChatBody, is_turn=True,
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
