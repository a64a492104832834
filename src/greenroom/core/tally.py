"""The part of a session's state that a listing shows.

Rule: a few scalars, cheap to copy, because an append writes the index row in its own transaction, before it is believed: so the
row is made on a copy.
"""

from __future__ import annotations

import msgspec

from greenroom.config import SessionConfig, SessionLabels, shared
from greenroom.core.title import title_of
from greenroom.core.turn import counted
from greenroom.events import (
    ApprovalDecided,
    ApprovalRequested,
    CancelRequested,
    MessageAccepted,
    MessageEdited,
    MessageJoined,
    MessageRepeated,
    MessageWithdrawn,
    NoticeGiven,
    Record,
    RequestAdapted,
    SessionClaimed,
    SessionCreated,
    SessionLabelled,
    SessionReleased,
    SessionRewound,
    SessionUpdated,
    StepFailed,
    StepFinished,
    StepProgress,
    StepStarted,
    ToolReturned,
    ToolStarted,
    TurnEnded,
    TurnStarted,
    TurnSuspended,
)
from greenroom.interfaces import SessionSummary
from greenroom.messages import Usage

TurnEvent = (
    TurnStarted
    | StepStarted
    | StepProgress
    | StepFinished
    | StepFailed
    | RequestAdapted
    | ToolStarted
    | ToolReturned
    | ApprovalRequested
    | ApprovalDecided
    | TurnSuspended
    | CancelRequested
    | TurnEnded
)


class Tally:
    """What a listing shows of one session.

    Attributes:
        queued: messages that wait for their turn.
        is_open: a turn has started and not ended.
        is_waiting: the open turn waits for a person.
        labels: as they were given.
        beginning: what the session is called while nobody has named it.
        joined_count: messages that other turns have answered.
    """

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.user_id = ""
        self.config = SessionConfig()
        self.config_version = 0
        self.labels = SessionLabels()
        self.beginning = ""
        self.created_at_ms = 0
        self.updated_at_ms = 0
        self.seq = 0
        self.epoch = 0
        self.owner = ""
        self.queued = 0
        self.is_open = False
        self.is_waiting = False
        self.turn_count = 0
        self.joined_count = 0
        self.answer_count = 0
        self.usage = Usage(cost_usd=0.0)
        self._running = Usage()
        self._said = False

    def apply(self, record: Record) -> None:
        """Counts a record."""
        match record.event:
            case SessionCreated() as event:
                self.user_id, self.config, self.labels = event.user_id, shared(event.config), event.labels
                self.config_version, self.owner, self.created_at_ms = 1, event.node, record.at_ms
            case SessionClaimed() as event:
                self.owner = event.node
            case SessionReleased():
                self.owner = ""
            case SessionUpdated() as event:
                self.config, self.config_version = shared(event.config), event.config_version
            case SessionLabelled() as event:
                self.labels = event.labels
            case MessageAccepted() as event:
                self.queued += 1
                self.beginning = self.beginning or title_of(event.parts)
            case MessageWithdrawn():
                self.queued -= 1
            case MessageJoined():
                self.queued -= 1
                self.joined_count += 1
            case SessionRewound() | MessageEdited() | MessageRepeated() | NoticeGiven():
                pass
            case event:
                self._apply_to_turn(event)
        self.seq, self.epoch = record.seq, record.epoch
        if not isinstance(record.event, StepProgress):
            self.updated_at_ms = max(self.updated_at_ms, record.at_ms)

    def _apply_to_turn(self, event: TurnEvent) -> None:
        match event:
            case TurnStarted():
                self.queued -= 1
                self.turn_count += 1
                self.is_open, self._said = True, False
            case StepProgress():
                self._said = self._said or bool(event.items)
                self._running = counted(self._running, event.usage)
            case StepFinished() | StepFailed():
                self._spend(event.usage)
            case TurnSuspended():
                self.is_waiting = True
            case ApprovalDecided() | CancelRequested() | ToolReturned():
                self.is_waiting = False
            case TurnEnded():
                self._spend(event.usage)
                self.is_open = self.is_waiting = False
                self.answer_count += self._said
            case StepStarted() | RequestAdapted() | ToolStarted() | ApprovalRequested():
                pass

    def _spend(self, told: Usage) -> None:
        """Adds what a step that is over has used: what its end says, else what was said while it ran."""
        self.usage = self.usage.plus(counted(self._running, told))
        self._running = Usage()

    def recount(self, *, turns: int, joined: int, answers: int) -> None:
        """Sets what is left after turns were taken out."""
        self.turn_count, self.joined_count, self.answer_count = turns, joined, answers

    def summary(self) -> SessionSummary:
        """Returns the session's row for the index."""
        is_at_work = not self.is_waiting and (self.is_open or self.queued > 0)
        return SessionSummary(
            session_id=self.session_id,
            user_id=self.user_id,
            labels=self.labels if self.labels.title else msgspec.structs.replace(self.labels, title=self.beginning),
            config=self.config,
            config_version=self.config_version,
            created_at_ms=self.created_at_ms,
            updated_at_ms=self.updated_at_ms,
            last_seq=self.seq,
            epoch=self.epoch,
            owner=self.owner,
            status="waiting" if self.is_waiting else "running" if is_at_work else "idle",
            open_turn=is_at_work,
            turn_count=self.turn_count,
            message_count=self.turn_count + self.joined_count + self.queued + self.answer_count,
            usage=self.usage,
        )
