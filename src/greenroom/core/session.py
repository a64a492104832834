"""What a session's log folds to.

Live run, replay, recovery, every protocol and every command see a session through this fold; there is no other state.

Rule: state changes in `apply` and nowhere else, and `apply` needs nothing but the record.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Sequence

import msgspec

from greenroom.config import SessionConfig, SessionLabels
from greenroom.core.step import Assembly
from greenroom.core.turn import TURN_EVENTS, Action, Turn, counted
from greenroom.errors import Corrupted, SessionNotFound
from greenroom.events import (
    CancelRequested,
    Event,
    MessageAccepted,
    MessageWithdrawn,
    NoticeGiven,
    Parent,
    Record,
    SessionClaimed,
    SessionCreated,
    SessionLabelled,
    SessionRewound,
    SessionUpdated,
    StepFailed,
    StepFinished,
    StepProgress,
    StepStarted,
    ToolReturned,
    ToolStarted,
    TurnEnded,
    TurnOutcome,
    TurnStarted,
)
from greenroom.interfaces import SessionSummary
from greenroom.limits import DEFAULT_LIMITS, Limits
from greenroom.messages import PartStarted, Usage


class StartTurn(msgspec.Struct, frozen=True, kw_only=True):
    """Start the turn of the message that has waited longest."""

    message: MessageAccepted


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """A message with its place in the log."""

    message: MessageAccepted
    seq: int
    epoch: int
    at_ms: int


class StepState:
    """One step of a turn, as it stands: its latest attempt and the results of its calls."""

    __slots__ = ("assembly", "at_ms", "attempt", "backend", "failed", "finished", "model", "number", "results", "seq")

    def __init__(self, started: StepStarted, assembly: Assembly, record: Record) -> None:
        self.number = started.step
        self.attempt = started.attempt
        self.backend = started.backend
        self.model = started.model
        self.assembly = assembly
        self.seq = record.seq
        self.at_ms = record.at_ms
        self.finished: StepFinished | None = None
        self.failed: StepFailed | None = None
        self.results: dict[str, ToolReturned] = {}


class TurnHistory:
    """One turn that was started: its message, its steps and its end."""

    __slots__ = (
        "at_ms",
        "config_version",
        "context",
        "ended",
        "ended_seq",
        "message",
        "message_at_ms",
        "message_epoch",
        "message_seq",
        "persona_name",
        "rendered",
        "seq",
        "steps",
        "usage",
    )

    def __init__(self, accepted: Accepted, *, started: TurnStarted, record: Record, tally: Tally) -> None:
        self.message = accepted.message
        self.message_at_ms = accepted.at_ms
        self.message_seq = accepted.seq
        self.message_epoch = accepted.epoch
        self.context = started.context
        self.at_ms = record.at_ms
        self.seq = record.seq
        self.config_version = tally.config_version
        self.persona_name = tally.config.persona_name
        self.steps: list[StepState] = []
        self.usage = Usage(cost_usd=0.0)
        """Of all attempts, also of those that were asked again."""
        self.ended: TurnEnded | None = None
        self.ended_seq = 0
        self.rendered: object = None
        """The transcript of a turn that is over, kept by `core.transcript`: it never changes again."""

    @property
    def turn_id(self) -> str:
        """Id of the turn, `runId` on the wire."""
        return self.message.turn_id

    @property
    def outcome(self) -> TurnOutcome | None:
        """How the turn ended, or `None` while it runs."""
        return self.ended.outcome if self.ended else None


class Tally:
    """The part of a session's state that a listing shows: a few scalars, cheap to copy.

    An append writes the index row in its own transaction, before it is believed: so the row is made on a copy.
    """

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.user_id = ""
        self.config = SessionConfig()
        self.config_version = 0
        self.labels = SessionLabels()
        self.created_at_ms = 0
        self.updated_at_ms = 0
        self.seq = 0
        self.epoch = 0
        self.owner = ""
        self.queued = 0
        self.is_open = False
        self.turn_count = 0
        self.answer_count = 0
        self.usage = Usage(cost_usd=0.0)
        self._running = Usage()
        self._said = False

    def apply(self, record: Record) -> None:
        """Counts a record."""
        match record.event:
            case SessionCreated() as event:
                self.user_id, self.config, self.labels = event.user_id, event.config, event.labels
                self.config_version, self.owner, self.created_at_ms = 1, event.node, record.at_ms
            case SessionClaimed() as event:
                self.owner = event.node
            case SessionUpdated() as event:
                self.config, self.config_version = event.config, event.config_version
            case SessionLabelled() as event:
                self.labels = event.labels
            case MessageAccepted():
                self.queued += 1
            case MessageWithdrawn():
                self.queued -= 1
            case TurnStarted():
                self.queued -= 1
                self.turn_count += 1
                self.is_open, self._said = True, False
            case StepProgress() as event:
                self._said = self._said or bool(event.items)
                self._running = counted(self._running, event.usage)
            case StepFinished() | StepFailed() as event:
                self._spend(event.usage)
            case TurnEnded() as event:
                self._spend(event.usage)
                self.is_open = False
                self.answer_count += self._said
            case SessionRewound() | StepStarted() | ToolStarted() | ToolReturned() | CancelRequested() | NoticeGiven():
                pass
        self.seq, self.epoch = record.seq, record.epoch
        if not isinstance(record.event, StepProgress):
            self.updated_at_ms = max(self.updated_at_ms, record.at_ms)

    def _spend(self, told: Usage) -> None:
        """Adds what a step that is over has used: what its end says, else what was said while it ran."""
        self.usage = added(self.usage, counted(self._running, told))
        self._running = Usage()

    def summary(self) -> SessionSummary:
        """Returns the session's row for the index."""
        is_busy = self.is_open or self.queued > 0
        return SessionSummary(
            session_id=self.session_id,
            user_id=self.user_id,
            labels=self.labels,
            config=self.config,
            config_version=self.config_version,
            created_at_ms=self.created_at_ms,
            updated_at_ms=self.updated_at_ms,
            last_seq=self.seq,
            epoch=self.epoch,
            owner=self.owner,
            status="running" if is_busy else "idle",
            open_turn=is_busy,
            turn_count=self.turn_count,
            message_count=self.turn_count + self.queued + self.answer_count,
            usage=self.usage,
        )


class SessionState:
    """The fold over a session's records.

    Attributes:
        tally: what a listing shows.
        turns: the turns that count, in order; rewound ones are gone.
        queue: accepted messages whose turn has not started, first in, first out.
        turn: the open turn's machine, or `None`.
        rewound_seq, rewound_turn_id: of the last rewind; 0 and empty if there was none.
        keys: idempotency key of a message -> its turn.
    """

    def __init__(self, session_id: str, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self.session_id = session_id
        self.tally = Tally(session_id)
        self.parent: Parent | None = None
        self.turns: list[TurnHistory] = []
        self.queue: deque[Accepted] = deque()
        self.turn: Turn | None = None
        self.keys: dict[str, str] = {}
        self.call_ids: set[str] = set()
        self.notices: set[str] = set()
        self.rewound_seq = 0
        self.rewound_turn_id = ""
        self._turn_ids: set[str] = set()
        self._limits = limits

    @property
    def seq(self) -> int:
        """Number of the last record."""
        return self.tally.seq

    @property
    def epoch(self) -> int:
        """Epoch of the last record."""
        return self.tally.epoch

    @property
    def config(self) -> SessionConfig:
        """The configuration in force."""
        return self.tally.config

    @property
    def is_busy(self) -> bool:
        """Whether a turn is open or waits to start."""
        return self.turn is not None or bool(self.queue)

    def next_action(self) -> Action | StartTurn | None:
        """Returns what the owner of the session should do now, or `None`."""
        if self.turn is not None:
            return self.turn.next_action(self.config)
        return StartTurn(message=self.queue[0].message) if self.queue else None

    def allows(self, events: Sequence[Event]) -> bool:
        """Returns whether `events` may be the next records, in this order.

        Checked before they are written: a record that cannot be replayed would brick the session.
        """
        if len(events) == 1 and type(events[0]) in TURN_EVENTS and not isinstance(events[0], TurnStarted):
            return self.turn is not None and self.turn.allows(events[0])  # nothing to try out: the way of most records
        turn = self.turn.shadow() if self.turn is not None else None
        waiting = [accepted.message.turn_id for accepted in self.queue]
        for event in events:
            if isinstance(event, TurnStarted):
                if turn is not None or not waiting or waiting.pop(0) != event.turn_id:
                    return False
                turn = Turn(event.turn_id, limits=self._limits)
            if type(event) not in TURN_EVENTS:
                if not self._allows(event):
                    return False
            elif turn is None or not turn.allows(event):
                return False
            elif not isinstance(event, StepProgress):  # changes no state; the shadow shares the real assembly
                turn.apply(event)
                turn = None if isinstance(event, TurnEnded) else turn
        return True

    def apply(self, record: Record) -> None:
        """Believes a record that the log has.

        Raises:
            Corrupted: the record cannot come here; the log is damaged or was written by something else.
        """
        if record.seq != self.seq + 1 or record.epoch < self.epoch or not self.allows((record.event,)):
            raise Corrupted(
                f"session {self.session_id!r}: record {record.seq} ({type(record.event).__name__}) cannot follow record "
                f"{self.seq}",
                hint="restore the database from a backup, or delete this session",
            )
        self.tally.apply(record)
        if type(record.event) in TURN_EVENTS:
            self._apply_to_turn(record)
        else:
            self._apply_to_session(record)

    def summary_after(self, records: Sequence[Record]) -> SessionSummary:
        """Returns what the index row will be once `records` are written, without believing them."""
        tally = copy.copy(self.tally)
        for record in records:
            tally.apply(record)
            if isinstance(record.event, SessionRewound):
                self._recount(tally, self.turns[: self._index_of(record.event.turn_id)])
        return tally.summary()

    def knows_turn(self, turn_id: str) -> bool:
        """Returns whether a turn of that id was ever accepted; ids are not used twice, not even after a rewind."""
        return turn_id in self._turn_ids

    def _allows(self, event: Event) -> bool:
        match event:
            case SessionCreated():
                return self.seq == 0
            case MessageAccepted():
                return self.seq > 0 and not self.knows_turn(event.turn_id)
            case NoticeGiven():
                return self.turn is not None
            case MessageWithdrawn():
                return any(accepted.message.turn_id == event.turn_id for accepted in self.queue)
            case SessionUpdated():
                return self.seq > 0 and event.config_version == self.tally.config_version + 1
            case SessionRewound():
                return self.turn is None and any(turn.turn_id == event.turn_id for turn in self.turns)
            case _:
                return self.seq > 0

    def _apply_to_session(self, record: Record) -> None:
        match record.event:
            case SessionCreated() as event:
                self.parent = event.parent
            case SessionRewound() as event:
                del self.turns[self._index_of(event.turn_id) :]
                self.rewound_seq, self.rewound_turn_id = record.seq, event.turn_id
                self._recount(self.tally, self.turns)
            case MessageAccepted() as event:
                self.queue.append(Accepted(message=event, seq=record.seq, epoch=record.epoch, at_ms=record.at_ms))
                self._turn_ids.add(event.turn_id)
                if event.idempotency_key:
                    self.keys[event.idempotency_key] = event.turn_id
            case MessageWithdrawn() as event:
                self.queue = deque(accepted for accepted in self.queue if accepted.message.turn_id != event.turn_id)
            case NoticeGiven() as event:
                self.notices.add(event.code)
            case _:
                pass  # the tally has it

    def _apply_to_turn(self, record: Record) -> None:
        event = record.event
        if isinstance(event, TurnStarted):
            self.turn = Turn(event.turn_id, limits=self._limits)
            self.turns.append(TurnHistory(self.queue.popleft(), started=event, record=record, tally=self.tally))
        assert self.turn is not None
        self.turn.apply(event)
        history = self.turns[-1]
        match event:
            case StepStarted():
                if history.steps and history.steps[-1].number == event.step:
                    del history.steps[-1]
                history.steps.append(StepState(event, self.turn.assembly, record))
            case StepProgress():
                # At once: also the calls of a step that never finishes stay in the transcript.
                started = (item for item in event.items if isinstance(item, PartStarted) and item.call_id)
                self.call_ids.update(item.call_id for item in started)
            case StepFinished():
                history.steps[-1].finished = event
                history.usage = added(history.usage, event.usage)
            case StepFailed():
                history.steps[-1].failed = event
                history.usage = added(history.usage, event.usage)
            case ToolReturned():
                history.steps[-1].results[event.call_id] = event
            case TurnEnded():
                history.ended, history.ended_seq = event, record.seq
                self.turn = None
            case _:
                pass

    def _index_of(self, turn_id: str) -> int:
        return next(i for i, turn in enumerate(self.turns) if turn.turn_id == turn_id)

    @staticmethod
    def _recount(tally: Tally, turns: Sequence[TurnHistory]) -> None:
        tally.turn_count = len(turns)
        tally.answer_count = sum(any(not step.assembly.is_empty() for step in turn.steps) for turn in turns)


def replayed(session_id: str, records: Sequence[Record], *, limits: Limits = DEFAULT_LIMITS) -> SessionState:
    """Returns the state that `records` fold to.

    Raises:
        Corrupted: they do not follow from each other.
        SessionNotFound: there are none.
    """
    if not records:
        raise SessionNotFound(session_id)
    state = SessionState(session_id, limits=limits)
    try:
        for record in records:
            state.apply(record)
    except (KeyError, AssertionError) as error:
        raise Corrupted(f"session {session_id!r} cannot be replayed behind record {state.seq}") from error
    return state


def added(total: Usage, more: Usage) -> Usage:
    """Returns the sum. The cost is known only if both are; a step that used nothing costs nothing."""
    nothing = Usage()
    if more == nothing:
        return total
    known = total.cost_usd is not None and more.cost_usd is not None
    return Usage(
        input_tokens=total.input_tokens + more.input_tokens,
        output_tokens=total.output_tokens + more.output_tokens,
        cached_input_tokens=total.cached_input_tokens + more.cached_input_tokens,
        cache_write_input_tokens=total.cache_write_input_tokens + more.cache_write_input_tokens,
        reasoning_tokens=total.reasoning_tokens + more.reasoning_tokens,
        cost_usd=(total.cost_usd or 0.0) + (more.cost_usd or 0.0) if known else None,
    )
