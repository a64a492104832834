"""What a front end asks for when it posts its messages: one answer, in the terms of the session.

Front ends post their whole history. What is new in it, whether it is a first try or the same request again, and whether something
that was said is to be said anew, follows from the ids of the messages and the state of the session.

Rule: decided here, done by the server. The same request decides to the same turn, however often it comes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from greenroom.core.session import SessionState
from greenroom.errors import InvalidArgument
from greenroom.limits import ID_PATTERN
from greenroom.messages import FilePart, TextPart, UserPart

SessionId = Annotated[
    str, msgspec.Meta(pattern=f"^{ID_PATTERN}$", description="A session's id; new ones may be chosen.")
]
TurnId = Annotated[str, msgspec.Meta(pattern=f"^{ID_PATTERN}$", description="A turn's id; AG-UI calls it runId.")]

_ID: Final = re.compile(ID_PATTERN)


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """A person's message as it came.

    Attributes:
        message_id: as the front end calls it; empty for a new one.
        attachments: as `AgentManager.send` takes them.
    """

    text: str
    message_id: str = ""
    attachments: tuple[FilePart | Mapping[str, Any], ...] = ()


class Send(msgspec.Struct, frozen=True, kw_only=True):
    """Send a message.

    Attributes:
        rewind_to: first take out this turn and all after it: the message was edited, or is to be answered again.
    """

    said: Said
    rewind_to: str = ""


class Follow(msgspec.Struct, frozen=True, kw_only=True):
    """Show the turn that answers already: the request came before."""

    turn_id: str


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """A person's word on one call."""

    approval_id: str
    is_approved: bool
    reason: str = ""
    arguments: Mapping[str, Any] | None = None


class Decide(msgspec.Struct, frozen=True, kw_only=True):
    """Tell the session what a person decided, and show how the turn goes on."""

    decisions: tuple[Decision, ...]


Request = Send | Follow | Decide


def kept_id(text: str) -> str:
    """Returns the id under which a message of this id is kept: itself, or what stands for it if it could be no name here."""
    return text if _ID.fullmatch(text) else "x-" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]


def turn_of_message(state: SessionState, message_id: str) -> str | None:
    """Returns the turn that answers the person's message, or that waits to, if the session has it."""
    for turn in state.turns:
        if turn.message.message_id == message_id:
            return turn.turn_id
    return next((waiting.message.turn_id for waiting in state.queue if waiting.message.message_id == message_id), None)


def answered_again(state: SessionState, turn_id: str) -> Request:
    """Returns the request to answer the message of a turn again; a turn that is not over is followed.

    Raises:
        InvalidArgument: no such turn.
    """
    if any(waiting.message.turn_id == turn_id for waiting in state.queue):
        return Follow(turn_id=turn_id)
    for turn in state.turns:
        if turn.turn_id == turn_id:
            if turn.ended is None:
                return Follow(turn_id=turn_id)
            return Send(said=_as_it_was(turn.message.message_id, turn.message.parts), rewind_to=turn_id)
    raise InvalidArgument(f"there is no turn {turn_id!r}", hint="fetch the messages of the session")


def _as_it_was(message_id: str, parts: tuple[UserPart, ...]) -> Said:
    return Said(
        text="\n".join(part.text for part in parts if isinstance(part, TextPart)),
        message_id=message_id,
        attachments=tuple(part for part in parts if isinstance(part, FilePart)),
    )
