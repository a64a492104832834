"""Copies of a session: what a fork takes along, and what an import accepts.

Rule: a copy keeps the numbers of its records, so that positions, turn ids and call ids stay what they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from greenroom.config import SessionConfig
from greenroom.core.given import safe_part
from greenroom.core.recovery import ending
from greenroom.core.session import SessionState
from greenroom.errors import InvalidArgument
from greenroom.events import (
    Event,
    MessageWithdrawn,
    Parent,
    Record,
    SessionClaimed,
    SessionCreated,
    SessionUpdated,
    StepProgress,
    TurnEnded,
    TurnStarted,
)
from greenroom.interfaces import Notice
from greenroom.messages import PartGiven

_NAMES_MAX: Final = 10
_NAME_CHARACTERS_MAX: Final = 64


def copied_records(
    records: Sequence[Record], *, session_id: str, node: str, parent: Parent | None, user_id: str | None, now_ms: int
) -> list[Record]:
    """Returns the records of a copy that is idle and ours.

    Args:
        records: of the original, from the first on, cut wherever one likes.
        session_id: of the original.
        node: process that owns the copy.
        parent: what the copy says it comes from; `None` keeps what the original says.
        user_id: owner of the copy; `None` keeps the original's.
        now_ms: time of what has to be added.

    Raises:
        InvalidArgument: there is nothing to copy.
        Corrupted: the records do not follow from each other.
    """
    if not records or not isinstance(first := records[0].event, SessionCreated):
        raise InvalidArgument("there is no session to copy", hint="at_seq counts records from 1")
    state = SessionState(session_id)
    for record in records:
        state.apply(record)
    created = msgspec.structs.replace(first, user_id=user_id or first.user_id, node=node, parent=parent or first.parent)
    is_another_users = created.user_id != first.user_id

    def copied(event: Event) -> Event:
        match event:
            case SessionClaimed():
                # The owner of the original does not own the copy; the record stays, so that the numbers stay.
                return SessionClaimed(node=node)
            case TurnStarted() if is_another_users:
                # What the model was told about the original's user is not told about another one.
                return TurnStarted(turn_id=event.turn_id)
            case _:
                return event

    events: list[tuple[Event, int]] = [(created, records[0].at_ms)]
    events.extend((copied(record.event), record.at_ms) for record in records[1:])
    events.extend((event, now_ms) for event in _endings(state))
    return [
        Record(seq=seq, epoch=now_ms, at_ms=at_ms, event=event) for seq, (event, at_ms) in enumerate(events, start=1)
    ]


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What a session from somewhere else is taken as.

    Attributes:
        records: with the settings that a stranger may choose.
        notices: what its new owner should know: left out, or kept and worth a look.
    """

    records: tuple[Record, ...]
    notices: tuple[Notice, ...]


def imported(records: Sequence[Record]) -> Imported:
    """Returns the records of a bundle as they may be taken from a stranger, and what is said about them.

    Rules that let tools run unasked are left out of every configuration, also of former ones, to which a session can be rolled
    back. Without such a rule a tool runs as it would without any, so leaving one out never loosens anything. Toolsets and a persona's
    text are kept: both do nothing that the owner could not have chosen, but they are the stranger's words. Sources and pictures go
    through the same rule as when a provider gives them.

    Args:
        records: checked, from the first on.
    """
    kept: list[Record] = []
    loosened: dict[str, None] = {}
    config: SessionConfig | None = None
    is_unsafe = False
    for record in records:
        event = record.event
        if isinstance(event, StepProgress) and (safe := _safe(event)) != event:
            is_unsafe = True
            record = msgspec.structs.replace(record, event=safe)  # noqa: PLW2901 - as below
        if isinstance(event, SessionCreated | SessionUpdated):
            config = event.config
            loosening = [pattern for pattern, rule in config.approval.items() if rule == "allow"]
            if loosening:
                loosened |= dict.fromkeys(loosening)
                rules = {pattern: rule for pattern, rule in config.approval.items() if rule != "allow"}
                changed = msgspec.structs.replace(event, config=msgspec.structs.replace(config, approval=rules))
                record = msgspec.structs.replace(record, event=changed)  # noqa: PLW2901 - what follows is about this one
        kept.append(record)
    notices: list[Notice] = []
    if loosened:
        notices.append(
            Notice(code="import_approval", text=f"Left out: rules that let tools run unasked ({_listed(loosened)}).")
        )
    if is_unsafe:
        text = "Changed: sources whose addresses are not links, or files that are not pictures."
        notices.append(Notice(code="import_given", text=text))
    if config is not None and config.additional_tools:
        notices.append(
            Notice(code="import_tools", text=f"The session comes with toolsets: {_listed(config.additional_tools)}.")
        )
    if config is not None and config.custom_persona_text:
        size = len(config.custom_persona_text)
        notices.append(
            Notice(code="import_persona", text=f"The session comes with a persona text of its own ({size} characters).")
        )
    return Imported(records=tuple(kept), notices=tuple(notices))


def _safe(event: StepProgress) -> StepProgress:
    """Returns what a step has given as it may be shown; the number of its items stays, since positions count them."""
    items = tuple(
        msgspec.structs.replace(item, content=safe_part(item.content)) if isinstance(item, PartGiven) else item
        for item in event.items
    )
    return msgspec.structs.replace(event, items=items)


def _listed(names: Iterable[str]) -> str:
    shown = [name[:_NAME_CHARACTERS_MAX] for name in names]
    more = f" and {len(shown) - _NAMES_MAX} more" if len(shown) > _NAMES_MAX else ""
    return ", ".join(shown[:_NAMES_MAX]) + more


def _endings(state: SessionState) -> list[Event]:
    endings: list[Event] = []
    if state.turn is not None:
        end = TurnEnded(
            turn_id=state.turn.turn_id,
            outcome="interrupted",
            code="interrupted",
            message="copied in the middle of the turn",
        )
        endings = ending(state.turn, end)
    endings.extend(MessageWithdrawn(turn_id=accepted.message.turn_id) for accepted in state.queue)
    return endings
