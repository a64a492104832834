"""What a session's log folds to.

Live run, replay, recovery, every protocol and every command see a session through this fold; there is no other state.

Rule: state changes in `apply` and nowhere else, and `apply` needs nothing but the record.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from greenroom.config import Overlap, SessionConfig
from greenroom.core.adaptation import UNADAPTED, Adaptation
from greenroom.core.budget import Budget, budgets_of, exceeded
from greenroom.core.prompt import NOTHING, Standing, news
from greenroom.core.step import Assembly
from greenroom.core.tally import Tally
from greenroom.core.trial import Trial, place_of
from greenroom.core.turn import TURN_EVENTS, Action, AskBackend, FinishTurn, Turn, TurnState
from greenroom.core.weight import weight_of
from greenroom.errors import Corrupted, SessionNotFound
from greenroom.events import (
    ApprovalDecided,
    ApprovalRequested,
    Event,
    MessageAccepted,
    MessageEdited,
    MessageJoined,
    MessageRepeated,
    MessageWithdrawn,
    NoticeGiven,
    Parent,
    Record,
    RequestAdapted,
    SessionClaimed,
    SessionCreated,
    SessionReleased,
    SessionRewound,
    SessionUpdated,
    StepFailed,
    StepFinished,
    StepProgress,
    StepStarted,
    ToolReturned,
    TurnEnded,
    TurnOutcome,
    TurnStarted,
)
from greenroom.interfaces import SessionSummary
from greenroom.limits import DEFAULT_LIMITS, Limits
from greenroom.messages import PartStarted, Usage

_NONE: Final[Mapping[str, Any]] = MappingProxyType({})
_NO_ADAPTATIONS: Final[Mapping[tuple[str, str], Adaptation]] = MappingProxyType({})


class StartTurn(msgspec.Struct, frozen=True, kw_only=True):
    """Start the turn of the message that has waited longest."""

    message: MessageAccepted


class JoinMessages(msgspec.Struct, frozen=True, kw_only=True):
    """Let messages that wait join the turn before its next step."""

    turn_ids: tuple[str, ...]


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """A message with its place in the log.

    Attributes:
        is_edited: it was changed while it waited: it does not say any more what was sent.
    """

    message: MessageAccepted
    seq: int
    epoch: int
    at_ms: int
    is_edited: bool = False


class StepState:
    """One step of a turn, as it stands: its latest attempt, what people were asked about its calls, and their results.

    Attributes:
        approvals: approval id -> what was asked, in order.
        decisions: approval id -> what was decided.
        arguments: call id -> what a person has made of the arguments.
    """

    __slots__ = (
        "approvals",
        "arguments",
        "assembly",
        "at_ms",
        "attempt",
        "backend",
        "decisions",
        "failed",
        "finished",
        "model",
        "number",
        "results",
        "seq",
    )

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
        # Made anew with each entry: most steps have none, and a step is what a session has most of.
        self.results: Mapping[str, ToolReturned] = _NONE
        self.approvals: Mapping[str, ApprovalRequested] = _NONE
        self.decisions: Mapping[str, ApprovalDecided] = _NONE
        self.arguments: Mapping[str, str] = _NONE

    def apply(self, event: ToolReturned | ApprovalRequested | ApprovalDecided) -> None:
        """Notes what became of a call."""
        match event:
            case ToolReturned():
                self.results = {**self.results, event.call_id: event}
            case ApprovalRequested():
                self.approvals = {**self.approvals, event.approval_id: event}
            case ApprovalDecided():
                self.decisions = {**self.decisions, event.approval_id: event}
                if event.arguments is not None:
                    self.arguments = {**self.arguments, event.call_id: event.arguments}


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """A message that another turn answers.

    Attributes:
        after_step: number of the step behind which the model reads it; 0 if it was merged before the first.
    """

    accepted: Accepted
    after_step: int


class TurnHistory:
    """One turn that was started: its message, those that joined it, its steps and its end.

    Attributes:
        context: what is new of what the turn was told about its user.
        standing: what stands of it in the transcript, by this turn.
    """

    __slots__ = (
        "accepted",
        "at_ms",
        "config_version",
        "context",
        "ended",
        "ended_seq",
        "joined",
        "persona_name",
        "rendered",
        "seq",
        "standing",
        "steps",
        "usage",
    )

    def __init__(
        self, accepted: Accepted, *, started: TurnStarted, record: Record, tally: Tally, standing: Standing
    ) -> None:
        self.accepted = accepted
        self.context, self.standing = news(started.context, standing)
        self.at_ms = record.at_ms
        self.seq = record.seq
        self.config_version = tally.config_version
        self.persona_name = tally.config.persona_name
        self.steps: list[StepState] = []
        self.usage = Usage(cost_usd=0.0)
        """Of all attempts, also of those that were asked again."""
        self.joined: list[Joined] = []
        self.ended: TurnEnded | None = None
        self.ended_seq = 0
        self.rendered: object = None
        """The transcript of a turn that is over, kept by `core.transcript`: it never changes again."""

    @property
    def message(self) -> MessageAccepted:
        """The message that it answers."""
        return self.accepted.message

    @property
    def all_accepted(self) -> Sequence[Accepted]:
        """All that it answers: its message, and those that joined it."""
        return [self.accepted, *(joined.accepted for joined in self.joined)]

    @property
    def turn_id(self) -> str:
        """Id of the turn, `runId` on the wire."""
        return self.message.turn_id

    @property
    def run_id(self) -> str:
        """Id of its last run: its own, or what the last decision called the rest of it."""
        decided = (event for step in reversed(self.steps) for event in reversed(list(step.decisions.values())))
        return next((event.run_id for event in decided if event.run_id), self.turn_id)

    @property
    def outcome(self) -> TurnOutcome | None:
        """How the turn ended, or `None` while it runs."""
        return self.ended.outcome if self.ended else None


class SessionState:
    """The fold over a session's records.

    Attributes:
        tally: what a listing shows.
        turns: the turns that count, in order; rewound ones are gone.
        queue: accepted messages whose turn has not started, first in, first out.
        turn: the open turn's machine, or `None`.
        rewound_seq, rewound_turn_id: of the last rewind; 0 and empty if there was none.
        keys: idempotency key of a message -> its turn.
        weight: how much memory its history takes, about.
    """

    __slots__ = (
        "_adaptations",
        "_limits",
        "_runs",
        "call_ids",
        "keys",
        "notices",
        "parent",
        "queue",
        "rewound_seq",
        "rewound_turn_id",
        "session_id",
        "tally",
        "turn",
        "turns",
        "weight",
    )

    def __init__(self, session_id: str, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self.session_id = session_id
        self.tally = Tally(session_id)
        self.parent: Parent | None = None
        self.turns: list[TurnHistory] = []
        self.queue: list[Accepted] = []
        self.turn: Turn | None = None
        self.keys: dict[str, str] = {}
        # Ordered sets: an empty dictionary is a third of an empty set, and most sessions have neither.
        self.call_ids: dict[str, None] = {}
        self.notices: dict[str, None] = {}
        self.rewound_seq = 0
        self.rewound_turn_id = ""
        self.weight = 0
        self._adaptations = _NO_ADAPTATIONS
        self._runs: dict[str, str] = {}
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

    @property
    def is_waiting(self) -> bool:
        """Whether the open turn waits for a person. Whoever hears the answer first may go on with it, as with an idle session."""
        return self.turn is not None and self.turn.state is TurnState.WAITING

    @property
    def is_at_work(self) -> bool:
        """Whether there is something to do now, which is the owner's business."""
        return self.is_busy and not self.is_waiting

    def next_action(self) -> Action | StartTurn | JoinMessages | None:
        """Returns what the owner of the session should do now, or `None`."""
        if self.turn is not None:
            action = self.turn.next_action(self.config)
            if isinstance(action, AskBackend) and (end := self.budget_end()) is not None:
                return end
            joining = self.joining() if isinstance(action, AskBackend) else ()
            return JoinMessages(turn_ids=joining) if joining else action
        return StartTurn(message=self.queue[0].message) if self.queue else None

    def budget_end(self) -> FinishTurn | None:
        """Returns the end of the open turn, if a budget is used up; `None` if it may go on."""
        return exceeded(self.budgets(Usage()))

    def budgets(self, running: Usage) -> Sequence[Budget]:
        """Returns the budgets of the open turn and of the session.

        Args:
            running: what the running step has used so far.
        """
        return budgets_of(self.config, turn=self.turns[-1].usage.plus(running), session=self.tally.usage.plus(running))

    def joining(self) -> tuple[str, ...]:
        """Returns the messages that join the open turn now, or the one that starts next: as far as their prompts agree.

        One that steers joins whatever runs; one that is merged, only a turn of which no step was asked yet.
        """
        turn = self.turn
        if turn is not None and not turn.may_be_joined:
            return ()
        ways: tuple[Overlap, ...] = ("steer",) if turn is not None and turn.step else ("steer", "merge")
        prompt = self.turns[-1].message.custom_prompt if turn is not None else self.queue[0].message.custom_prompt
        candidates = [accepted.message for accepted in self.queue][0 if turn is not None else 1 :]
        fitting = itertools.takewhile(
            lambda message: message.overlap in ways and message.custom_prompt in {None, prompt}, candidates
        )
        return tuple(message.turn_id for message in fitting)

    def allows(self, events: Sequence[Event]) -> bool:
        """Returns whether `events` may be the next records, in this order.

        Checked before they are written: a record that cannot be replayed would brick the session.
        """
        if len(events) == 1 and type(events[0]) in TURN_EVENTS and not isinstance(events[0], TurnStarted):
            return self.turn is not None and self.turn.allows(events[0])  # nothing to try out: the way of most records
        trial = Trial(self, self._limits)
        return all(map(trial.takes, events))

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
        self.weight += weight_of(record.event)
        if type(record.event) in TURN_EVENTS:
            self._apply_to_turn(record)
        elif isinstance(record.event, SessionClaimed | SessionReleased):
            if self.turn is not None:
                self.turn.hand_over(record.event)
        else:
            self._apply_to_session(record)

    def tallied_after(self, records: Sequence[Record]) -> tuple[SessionSummary, Usage]:
        """Returns what the index row will be once `records` are written, and what they add to its usage; believes nothing."""
        tally = copy.copy(self.tally)
        tally.usage = Usage(cost_usd=0.0)
        for record in records:
            tally.apply(record)
            if isinstance(record.event, SessionRewound):
                _recount(tally, self._turns_before(record.event.turn_id))
        spent = tally.usage
        tally.usage = self.tally.usage.plus(spent)
        return tally.summary(), spent

    def adaptation(self, backend: str, model: str) -> Adaptation:
        """Returns what requests to a backend and model leave out."""
        return self._adaptations.get((backend, model), UNADAPTED)

    def turn_of_run(self, run_id: str) -> str | None:
        """Returns the turn of that id, or with a run of that id; `None` if there never was one.

        Ids are not used twice, not even after a rewind.
        """
        return self._runs.get(run_id)

    def _apply_to_session(self, record: Record) -> None:
        match record.event:
            case SessionCreated() as event:
                self.parent = event.parent
            case SessionRewound() as event:
                del self.turns[self._index_of(event.turn_id) :]
                self.rewound_seq, self.rewound_turn_id = record.seq, event.turn_id
                _recount(self.tally, self.turns)
            case MessageAccepted() as event:
                accepted = Accepted(message=event, seq=record.seq, epoch=record.epoch, at_ms=record.at_ms)
                queued = [waiting.message.overlap for waiting in self.queue]
                self.queue.insert(place_of(event, queued, is_open=self.turn is not None), accepted)
                self._runs[event.turn_id] = event.turn_id
                if event.idempotency_key:
                    self.keys[event.idempotency_key] = event.turn_id
            case MessageWithdrawn() as event:
                self._taken(event.turn_id)
            case MessageEdited() as event:
                self.queue = [
                    edited(accepted, event) if accepted.message.turn_id == event.turn_id else accepted
                    for accepted in self.queue
                ]
            case MessageRepeated() as event:
                self._runs[event.turn_id] = self._runs[event.repeated_turn_id]
            case MessageJoined() as event:
                turn = self.turns[-1]
                after_step = turn.steps[-1].number if turn.steps else 0
                # A step that failed is asked again, with what has joined meanwhile.
                after_step -= bool(turn.steps) and turn.steps[-1].finished is None
                turn.joined.append(Joined(accepted=self._taken(event.turn_id), after_step=after_step))
            case NoticeGiven() as event:
                self.notices[event.text] = None
            case SessionUpdated() if self._adaptations:
                self._adaptations = {asked: adapted.lifted() for asked, adapted in self._adaptations.items()}
            case _:
                pass  # the tally has it

    def _apply_to_turn(self, record: Record) -> None:
        event = record.event
        if isinstance(event, TurnStarted):
            self.turn = Turn(event.turn_id, limits=self._limits)
            standing = self.turns[-1].standing if self.turns else NOTHING
            accepted = self.queue.pop(0)
            self.turns.append(TurnHistory(accepted, started=event, record=record, tally=self.tally, standing=standing))
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
                self.call_ids.update(dict.fromkeys(item.call_id for item in started))
            case StepFinished():
                step = history.steps[-1]
                step.finished = event
                if (asked := (step.backend, step.model)) in self._adaptations:
                    self._adaptations = {**self._adaptations, asked: self._adaptations[asked].accepted()}
                history.usage = history.usage.plus(event.usage)
            case StepFailed():
                step = history.steps[-1]
                step.failed = event
                history.usage = history.usage.plus(event.usage)
                self._learn_of_failure(step, event, history.turn_id)
            case RequestAdapted():
                self._adapt((event.backend, event.model), lambda so_far: so_far.after(event, history.turn_id))
            case ToolReturned() | ApprovalRequested() | ApprovalDecided():
                history.steps[-1].apply(event)
                if isinstance(event, ApprovalDecided) and event.run_id:
                    self._runs.setdefault(event.run_id, history.turn_id)
            case TurnEnded():
                history.ended, history.ended_seq = event, record.seq
                self._learn_of_end(history, event)
                self.turn = None
            case _:
                pass

    def _adapt(self, asked: tuple[str, str], change: Callable[[Adaptation], Adaptation]) -> None:
        self._adaptations = {**self._adaptations, asked: change(self.adaptation(*asked))}

    def _learn_of_failure(self, step: StepState, event: StepFailed, turn_id: str) -> None:
        """Remembers a failure that nobody explains. Any failure ends the probe of its step, but not the death of our own process."""
        asked = (step.backend, step.model)
        if event.refused == "unexplained":
            self._adapt(asked, lambda so_far: so_far.probed_in_vain().failed(turn_id))
        elif event.code != "interrupted" and asked in self._adaptations:
            self._adapt(asked, Adaptation.probed_in_vain)

    def _learn_of_end(self, history: TurnHistory, event: TurnEnded) -> None:
        """A step that the end of its turn cuts off has failed only if there was silence until the time was over.

        A wait before the next attempt counts as well, unless the last one failed for a known reason: a rate limit, for example.
        """
        step = history.steps[-1] if history.steps else None
        is_cut = step is not None and step.finished is None and event.code == "turn_timeout"
        is_explained = step is not None and step.failed is not None and step.failed.refused != "unexplained"
        if step is not None and is_cut and not is_explained and step.assembly.is_empty():
            self._adapt((step.backend, step.model), lambda so_far: so_far.probed_in_vain().silent(history.turn_id))
        if self._adaptations:
            self._adaptations = {asked: adapted.unprobed() for asked, adapted in self._adaptations.items()}

    def _taken(self, turn_id: str) -> Accepted:
        """Takes a message out of the queue."""
        taken = next(accepted for accepted in self.queue if accepted.message.turn_id == turn_id)
        self.queue.remove(taken)
        return taken

    def _index_of(self, turn_id: str) -> int:
        return next(i for i, turn in enumerate(self.turns) if turn.turn_id == turn_id)

    def _turns_before(self, turn_id: str) -> Sequence[TurnHistory]:
        """Returns the turns before one that may not be believed yet: it is the next, then."""
        ids = [turn.turn_id for turn in self.turns]
        return self.turns[: ids.index(turn_id)] if turn_id in ids else self.turns


def edited(accepted: Accepted, event: MessageEdited) -> Accepted:
    """Returns a message that waits, as it is after the change."""
    message = msgspec.structs.replace(accepted.message, parts=event.parts)
    return msgspec.structs.replace(accepted, message=message, is_edited=True)


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


def _recount(tally: Tally, turns: Sequence[TurnHistory]) -> None:
    tally.recount(
        turns=len(turns),
        joined=sum(len(turn.joined) for turn in turns),
        answers=sum(any(not step.assembly.is_empty() for step in turn.steps) for turn in turns),
    )
