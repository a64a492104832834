"""What a front end asks for when it posts its messages: one answer, in the terms of the session.

Front ends post their whole history. What is new in it, whether it is a first try or the same request again, and whether something
that was said is to be said anew, follows from the ids of the messages and the state of the session.

Rule: decided here, done by the server. The same request decides to the same turn, however often it comes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec

from greenroom.core.overlap import find_accepted, other_message
from greenroom.core.session import Accepted, SessionState
from greenroom.errors import InvalidArgument
from greenroom.events import MessageAccepted
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


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A person's message that the session has.

    Attributes:
        turn_id: of the turn that answers it, or waits to; another one's, if it joined that.
    """

    turn_id: str
    accepted: Accepted

    @property
    def message_id(self) -> str:
        """How it is called."""
        return self.accepted.message.message_id


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


def known_messages(state: SessionState) -> Mapping[str, Known]:
    """Returns the person's messages that the session has, by their ids."""
    found = [Known(turn_id=accepted.message.turn_id, accepted=accepted) for accepted in reversed(state.queue)]
    for turn in reversed(state.turns):
        found.extend(Known(turn_id=turn.turn_id, accepted=accepted) for accepted in reversed(tuple(turn.all_accepted)))
    return {known.message_id: known for known in found}  # of two with one id, the first in the session counts


def known_message(state: SessionState, message_id: str) -> Known | None:
    """Returns the person's message of that id, if the session has it."""
    return known_messages(state).get(message_id)


def known_again(state: SessionState, known: Known, said: Said) -> Request:
    """Returns the request to answer a message that the session has: again, or as it is now; while it is answered, it is followed.

    Raises:
        InvalidArgument: the session went on behind it.
    """
    last = state.turns[-1].turn_id if state.turns else ""
    if known.turn_id != last and not any(waiting.message.turn_id == known.turn_id for waiting in state.queue):
        raise InvalidArgument(
            "messages: the last one was answered, and the session went on behind it",
            hint="fetch the messages of the session, or rewind it to that turn",
        )
    request = answered_again(state, known.turn_id)
    changed = isinstance(request, Send) and is_changed(known.accepted, said)
    return Send(said=said, rewind_to=known.turn_id) if changed else request


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
            return Send(said=_as_they_were([accepted.message for accepted in turn.all_accepted]), rewind_to=turn_id)
    raise InvalidArgument(f"there is no turn {turn_id[:130]!r}", hint="fetch the messages of the session")


def followed(state: SessionState, turn_id: str, said: Said) -> Follow:
    """Returns the request to show a turn that answers this message already.

    Raises:
        InvalidArgument: it answers another message: this one would be lost.
    """
    accepted = find_accepted(state, turn_id)
    if accepted is not None and is_changed(accepted, said):
        raise other_message("turn id", turn_id)
    return Follow(turn_id=turn_id)


def is_changed(accepted: Accepted, said: Said) -> bool:
    """Returns whether a message that came again says something that it did not say when it was accepted.

    A file without contents is one that a snapshot had no room for.
    """
    former = _as_they_were([accepted.message])
    return not accepted.is_edited and (said.text != former.text or not _contents(said) <= {*_contents(former), b""})


def _contents(said: Said) -> set[bytes]:
    return {each.data if isinstance(each, FilePart) else each["data"] for each in said.attachments}


def _as_they_were(messages: Sequence[MessageAccepted]) -> Said:
    parts = [part for message in messages for part in message.parts]
    return Said(
        text="\n\n".join(filter(None, (_text(message.parts) for message in messages))),
        message_id=messages[0].message_id,
        attachments=tuple(part for part in parts if isinstance(part, FilePart)),
    )


def _text(parts: Sequence[UserPart]) -> str:
    return "\n".join(part.text for part in parts if isinstance(part, TextPart))
