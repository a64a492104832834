"""What the AI SDK sends: UIMessages, of which the last one counts.

Rule: parts that a person can have sent are read; everything else in a message is what the server has said itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from greenroom.config import Overlap
from greenroom.core.session import SessionState, TurnHistory
from greenroom.errors import InvalidArgument
from greenroom.limits import ID_PATTERN
from greenroom.messages import FilePart, TextPart
from greenroom.protocols.ids import answer_id
from greenroom.server.attachments import attachment
from greenroom.server.bodies import SessionId

_SETTINGS: Final = ("llm_model", "backend", "persona_name", "additional_tools")


class UiMessage(msgspec.Struct, kw_only=True):
    """A message as `useChat` knows it."""

    role: str
    id: str = ""
    parts: list[dict[str, Any]] = []


class ChatBody(msgspec.Struct, kw_only=True):
    """What `useChat` posts, or `{id, message}`; with settings for the session."""

    id: SessionId
    messages: list[UiMessage] = []
    message: UiMessage | None = None
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    message_id: str | None = msgspec.field(default=None, name="messageId")
    llm_model: str | None = None
    backend: str | None = None
    persona_name: str | None = None
    additional_tools: list[str] | None = None
    overlap: Overlap | None = None

    @property
    def last(self) -> UiMessage | None:
        """The message that counts."""
        if self.message is not None:
            return self.message
        return self.messages[-1] if self.messages else None


class NewMessage(NamedTuple):
    """What is to be answered."""

    text: str
    attachments: Sequence[FilePart | Mapping[str, Any]]
    message_id: str | None


class Decision(NamedTuple):
    """What a person has decided about a tool call."""

    approval_id: str
    decision: Literal["approve", "deny"]
    reason: str | None


def chat_settings(body: ChatBody) -> dict[str, Any]:
    """Returns the settings that a request has."""
    return {name: value for name in _SETTINGS if (value := getattr(body, name)) is not None}


def new_message(message: UiMessage) -> NewMessage:
    """Returns what a person has sent.

    Raises:
        InvalidArgument: it is not of a person, or has a part that cannot be read.
    """
    if message.role != "user":
        raise InvalidArgument(f"the last message is of {message.role[:40]!r}", hint="the last message is the user's")
    texts: list[str] = []
    files: list[Mapping[str, Any]] = []
    for part in message.parts:
        match part:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": "file", "mediaType": str(media_type), "url": str(url)}:
                name = part.get("filename")
                files.append(attachment(url, media_type, name if isinstance(name, str) else ""))
            case {"type": str(kind)} if kind.startswith("data-") or kind == "step-start":
                pass  # of the front end, for itself
            case _:
                kind = str(part.get("type"))[:40]
                raise InvalidArgument(f"a part of type {kind!r} cannot be read", hint="text, or file with a data: URL")
    return NewMessage("\n".join(texts), files, message.id if re.fullmatch(ID_PATTERN, message.id) else None)


def message_of_turn(turn: TurnHistory) -> NewMessage:
    """Returns the message that a turn has answered, to be answered again."""
    parts = turn.message.parts
    text = "\n".join(part.text for part in parts if isinstance(part, TextPart))
    return NewMessage(text, [part for part in parts if isinstance(part, FilePart)], turn.message.message_id)


def turn_of(state: SessionState | None, message_id: str | None) -> TurnHistory | None:
    """Returns the turn of a message or answer; the last one without an id."""
    if state is None or not state.turns:
        return None
    if message_id is None:
        return state.turns[-1]
    wanted = (turn for turn in state.turns if message_id in {turn.message.message_id, answer_id(turn.turn_id)})
    return next(wanted, None)


def approvals(answer: UiMessage) -> list[Decision]:
    """Returns what was decided in an answer's parts."""
    found: list[Decision] = []
    for part in answer.parts:
        match part:
            case {
                "state": "approval-responded",
                "approval": {"id": str(approval_id), "approved": bool(approved)} as approval,
            }:
                reason = approval.get("reason")
                decision: Literal["approve", "deny"] = "approve" if approved else "deny"
                found.append(Decision(approval_id, decision, reason if isinstance(reason, str) else None))
            case _:
                pass
    return found
