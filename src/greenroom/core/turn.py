"""One turn, from a person's message to the end of the answer.

A turn is a state machine over the events of `greenroom.events`. It does no I/O and knows no clock: `allows` says whether an
event may come next, `apply` believes one, `next_action` says what somebody should do now. The runtime performs the action
and reports what came of it as events; so every state, every crash point and every cancellation point can be enumerated.

Theory of operation::

    IDLE ──TurnStarted──▶ READY ──StepStarted──▶ STREAMING ──StepFinished──▶ SETTLING
                            ▲                        │ StepFailed               │
                            ├────────────────────────┘                          ├─ calls, all settled ──▶ READY
                            └───────────────────────────────────────────────────┤
                                                                                ├─ no calls ──▶ DONE
                                                                                └─TurnSuspended──▶ WAITING
    WAITING ──ApprovalDecided──▶ SETTLING
    every state but IDLE ──TurnEnded──▶ ENDED

Rule: everything that decides what a turn may do next lives in this file. What happens between the states is in the two
tables; what a failure leads to is in `_candidate_after`.
"""

from __future__ import annotations

import copy
import enum
from typing import Final

import msgspec

from greenroom.config import SessionConfig
from greenroom.core.calls import Calls
from greenroom.core.step import Assembly, units
from greenroom.events import (
    ApprovalDecided,
    ApprovalRequested,
    CancelRequested,
    Event,
    RequestAdapted,
    SessionClaimed,
    SessionReleased,
    StepFailed,
    StepFinished,
    StepProgress,
    StepStarted,
    ToolReturned,
    ToolStarted,
    TurnEnded,
    TurnOutcome,
    TurnStarted,
    TurnSuspended,
)
from greenroom.limits import Limits
from greenroom.messages import FinishReason, ToolCallPart, Usage


class TurnState(enum.Enum):
    """Where a turn stands."""

    IDLE = "idle"
    READY = "ready"
    STREAMING = "streaming"
    SETTLING = "settling"
    WAITING = "waiting"
    DONE = "done"
    ENDED = "ended"


_ALWAYS: Final[dict[type[Event], TurnState]] = {TurnEnded: TurnState.ENDED}

TRANSITIONS: Final[dict[TurnState, dict[type[Event], TurnState]]] = {
    TurnState.IDLE: {TurnStarted: TurnState.READY},
    TurnState.READY: {
        StepStarted: TurnState.STREAMING,
        RequestAdapted: TurnState.READY,
        CancelRequested: TurnState.READY,
        **_ALWAYS,
    },
    TurnState.STREAMING: {
        StepProgress: TurnState.STREAMING,
        StepFinished: TurnState.SETTLING,
        StepFailed: TurnState.READY,
        CancelRequested: TurnState.STREAMING,
        **_ALWAYS,
    },
    TurnState.SETTLING: {
        ToolStarted: TurnState.SETTLING,
        ToolReturned: TurnState.SETTLING,
        ApprovalRequested: TurnState.SETTLING,
        ApprovalDecided: TurnState.SETTLING,
        TurnSuspended: TurnState.WAITING,
        CancelRequested: TurnState.SETTLING,
        **_ALWAYS,
    },
    TurnState.WAITING: {
        ApprovalDecided: TurnState.SETTLING,
        ToolReturned: TurnState.SETTLING,
        CancelRequested: TurnState.SETTLING,
        **_ALWAYS,
    },
    TurnState.DONE: {CancelRequested: TurnState.DONE, **_ALWAYS},
    TurnState.ENDED: {},
}
"""What an event does. An event that is not in the row of the state is illegal there."""

TURN_EVENTS: Final[frozenset[type[Event]]] = frozenset(event for row in TRANSITIONS.values() for event in row)
"""The events that belong to a turn; all others are the session's."""


class AskBackend(msgspec.Struct, frozen=True, kw_only=True):
    """Ask `backend` for the step, after a pause.

    Attributes:
        retry: how many failures of this backend lie behind us; 0 means at once, else it is the power of the backoff.
        retry_after_s: what the provider asked for, or `None`.
    """

    step: int
    attempt: int
    backend: str
    model: str
    retry: int = 0
    retry_after_s: float | None = None


class RunTools(msgspec.Struct, frozen=True, kw_only=True):
    """Run these calls, all at the same time, as far as they may be run.

    Attributes:
        started: those that have their intent in the log already.
        decided: what people have decided about some of them; a denied one gets its result without being run.
        suspects: those that were running when a process died: they run alone, one after the other.
    """

    calls: tuple[ToolCallPart, ...]
    started: frozenset[str]
    decided: dict[str, ApprovalDecided] = {}
    suspects: frozenset[str] = frozenset()


class Suspend(msgspec.Struct, frozen=True, kw_only=True):
    """Write that the turn waits for people, and let go of it."""


class FinishTurn(msgspec.Struct, frozen=True, kw_only=True):
    """Write the end of the turn."""

    outcome: TurnOutcome
    code: str = ""
    message: str = ""
    hint: str = ""


Action = AskBackend | RunTools | Suspend | FinishTurn

_WEATHER: Final = frozenset({"backend_unavailable"})
"""Failures that pass by themselves: repeated with backoff, as long as nobody has seen a delta."""

_BROKEN: Final = frozenset({"backend_unavailable", "backend_garbled"})
"""Failures after which the step may be asked again although somebody has seen a part of it."""

_AT_WORK: Final = frozenset({TurnState.READY, TurnState.SETTLING, TurnState.DONE})
"""Where the end of a process cuts off something between the steps. What it does to a step, the step's failure says."""


class Turn:
    """The state of one turn.

    Attributes:
        step, attempt: of the latest step; 0 before the first.
        assembly: the parts of the latest attempt.
        calls: the calls of the latest step.
        cancelled: somebody asked for the end.
        takes_back: whoever asked wants the turn out of the session as well.
        usage: what the running attempt has used, as far as the provider told; nothing between steps.
    """

    def __init__(self, turn_id: str, *, limits: Limits) -> None:
        self.turn_id = turn_id
        self.state = TurnState.IDLE
        self.step = 0
        self.attempt = 0
        self.assembly = Assembly()
        self.calls = Calls()
        self.cancelled = False
        self.takes_back = False
        self.outcome: TurnOutcome | None = None
        self.usage = Usage()
        self._limits = limits
        self._reason: FinishReason = "stop"
        self._failure: StepFailed | None = None
        self._is_adapted = False
        self._is_probe = False
        self._asked = ("", "")
        self._quiet_failures = 0
        self._seen_failures = 0
        self._shown = 0
        self._most_shown = 0
        self._deaths = 0
        self._is_released = False
        self._is_handed_over = False

    @property
    def may_be_joined(self) -> bool:
        """Whether a further message can be read by the model now: between steps, unless the provider has only paused."""
        return self.state is TurnState.READY and (self._reason != "pause" or not self.step)

    def allows(self, event: Event) -> bool:
        """Returns whether `event` may come next."""
        if type(event) not in TRANSITIONS[self.state]:
            return False
        match event:
            case StepStarted():
                return (event.step, event.attempt) == self._next_attempt()
            case RequestAdapted():
                return self._failure is not None and (event.backend, event.model) == self._asked
            case ToolStarted() | ToolReturned() | ApprovalRequested() | ApprovalDecided():
                return self.calls.allows(event)
            case TurnSuspended():
                return event.turn_id == self.turn_id and not self.calls.runnable and not self.cancelled
            case CancelRequested() | TurnStarted() | TurnEnded():
                return event.turn_id == self.turn_id
            case _:
                return True

    def apply(self, event: Event) -> None:
        """Believes `event`, which must be allowed."""
        assert self.allows(event), f"{type(event).__name__} while {self.state.value}"
        self.state = TRANSITIONS[self.state][type(event)]
        match event:
            case StepStarted():
                self._begin(event)
            case StepProgress():
                self.assembly.add(event.items)
                self.usage = counted(self.usage, event.usage)
                self._shown += sum([units(item) for item in event.items])
            case StepFinished():
                self.calls = Calls(self.assembly.calls(), finished=event, last_call_id=self.assembly.last_call_id())
                self._reason = event.reason
                self.usage = Usage()
                self._deaths = 0
            case StepFailed():
                self.usage = Usage()
                self._count(event)
            case RequestAdapted():
                self._is_adapted, self._is_probe = event.asks_again, event.is_probe
            case ToolStarted() | ToolReturned() | ApprovalRequested() | ApprovalDecided():
                self.calls.apply(event)
                if isinstance(event, ToolReturned):
                    self._deaths = 0
            case CancelRequested():
                self.cancelled = True
                self.takes_back = self.takes_back or event.takes_back
            case TurnEnded():
                self.outcome = event.outcome
            case _:
                pass
        if self.state is TurnState.SETTLING and not self.calls.open:
            self.state = TurnState.READY if self.calls.all or self._reason == "pause" else TurnState.DONE

    def hand_over(self, event: SessionClaimed | SessionReleased) -> None:
        """Believes that the process that drove the turn is gone, in good order or not.

        Only the latter counts, and only without progress: a step that ended, a call that returned, or more of the answer than in any
        attempt before.
        """
        self.calls.cut(is_planned=isinstance(event, SessionReleased))
        if isinstance(event, SessionReleased):
            self._is_released = True
            return
        is_planned, self._is_released = self._is_released, False
        self._is_handed_over = is_planned
        if not is_planned and self.state in _AT_WORK:
            self._deaths += 1

    @property
    def is_given_up(self) -> bool:
        """Whether one more death of its process ends the turn: that would be too many without progress."""
        return self.state in _AT_WORK and not self._is_released and self._deaths >= self._limits.attempts_max

    @property
    def fatal_calls(self) -> tuple[ToolStarted, ...]:
        """The intents of calls that were running each time when the process died, as often as may be."""
        runs_max = self._limits.attempts_max
        return tuple(
            intent
            for intent in self.calls.started
            if intent.effect != "once" and self.calls.runs(intent.call_id) > runs_max
        )

    def shadow(self) -> Turn:
        """Returns a copy on which events can be tried out. It shares the assembly: progress must not be applied to it."""
        shadow = copy.copy(self)
        shadow.calls = self.calls.copied()
        return shadow

    def next_action(self, config: SessionConfig) -> Action | None:
        """Returns what to do now; `None` when there is nothing to do or somebody is doing it."""
        if self.cancelled and self.state not in {TurnState.IDLE, TurnState.ENDED}:
            return FinishTurn(outcome="cancelled")
        match self.state:
            case TurnState.READY:
                return self._next_step(config) if self._failure is None else self._after_failure(config, self._failure)
            case TurnState.SETTLING:
                return self._run_tools()
            case TurnState.DONE:
                return FinishTurn(outcome="completed")
            case TurnState.IDLE | TurnState.STREAMING | TurnState.WAITING | TurnState.ENDED:
                return None

    def is_last(self, failure: StepFailed, config: SessionConfig) -> bool:
        """Returns whether the turn would fail if the running step ended like this, although its provider does not want to be left alone."""
        wait_s = failure.retry_after_s
        if wait_s is not None and wait_s > self._limits.retry_wait_s_max:
            return False
        after = self.shadow()
        after.apply(failure)
        action = after.next_action(config)
        return isinstance(action, FinishTurn) and action.outcome == "failed"

    def intents(self) -> tuple[ToolStarted, ...]:
        """Returns the calls that were started and have no result: after a crash, nobody knows what they did."""
        return self.calls.started

    def unsettled_calls(self) -> tuple[ToolCallPart, ...]:
        """Returns the calls of the step that have no result yet."""
        return self.calls.open

    def _run_tools(self) -> Action:
        calls = self.calls.runnable
        if not calls:
            return Suspend()
        decided = {call.call_id: decision for call in calls if (decision := self.calls.decision(call.call_id))}
        started = frozenset(intent.call_id for intent in self.calls.started)
        return RunTools(calls=calls, started=started, decided=decided, suspects=self.calls.suspects)

    def _next_attempt(self) -> tuple[int, int]:
        return (self.step + 1, 1) if self._failure is None else (self.step, self.attempt + 1)

    def _begin(self, event: StepStarted) -> None:
        # Failures are counted for each candidate of a step: a fallback starts with a clean sheet, and so does another request. A probe
        # does not: where it fails, the provider is simply down, and is not asked all over again.
        is_new = self._is_adapted and not self._is_probe
        if event.attempt == 1 or (event.backend, event.model) != self._asked or is_new:
            self._quiet_failures = self._seen_failures = self._most_shown = 0
        self._asked = (event.backend, event.model)
        self.step, self.attempt = event.step, event.attempt
        self.assembly = Assembly()
        self.calls = Calls()
        self.usage = Usage()
        self._shown = 0
        self._failure = None
        self._is_adapted = self._is_probe = False
        self._is_handed_over = False

    def _count(self, failure: StepFailed) -> None:
        self._failure = failure
        if failure.code == "interrupted":
            is_progress = self._shown > self._most_shown
            self._most_shown = max(self._most_shown, self._shown)
            if not self._is_handed_over:
                self._deaths = 0 if is_progress else self._deaths + 1
        elif self._is_quiet(failure):
            self._quiet_failures += 1
        else:
            self._seen_failures += 1

    def _is_quiet(self, failure: StepFailed) -> bool:
        return self.assembly.is_empty() and failure.code in _WEATHER

    def _next_step(self, config: SessionConfig) -> Action:
        if self.step >= config.max_steps:
            return FinishTurn(
                outcome="failed",
                code="limit_exceeded",
                message=f"the turn reached its bound of max_steps={config.max_steps}",
            )
        return AskBackend(step=self.step + 1, attempt=1, backend=config.backend, model=config.llm_model)

    def _after_failure(self, config: SessionConfig, failure: StepFailed) -> Action:
        candidate = self._candidate_after(config, failure)
        if candidate is None:
            outcome: TurnOutcome = "interrupted" if failure.code == "interrupted" else "failed"
            return FinishTurn(outcome=outcome, code=failure.code, message=failure.message, hint=failure.hint)
        is_new = self._is_adapted and not self._is_probe
        same = candidate == self._asked and failure.code != "interrupted" and not is_new
        return AskBackend(
            step=self.step,
            attempt=self.attempt + 1,
            backend=candidate[0],
            model=candidate[1],
            retry=self._quiet_failures + self._seen_failures if same else 0,
            retry_after_s=failure.retry_after_s if same else None,
        )

    def _candidate_after(self, config: SessionConfig, failure: StepFailed) -> tuple[str, str] | None:
        """Returns who is asked next: the same again, the next of the fallbacks, or nobody."""
        if self._is_adapted:
            return self._asked
        if failure.code == "interrupted":
            may_repeat = self._deaths <= self._limits.attempts_max
        elif self._is_quiet(failure):
            may_repeat = self._quiet_failures <= self._limits.retries_max
        else:
            may_repeat = failure.code in _BROKEN and self._seen_failures <= self._limits.attempts_max
        wait_s = failure.retry_after_s
        if may_repeat and (wait_s is None or wait_s <= self._limits.retry_wait_s_max):
            return self._asked
        # An own limit or bug would strike again at any provider; what a provider failed at, another may manage.
        if not failure.code.startswith(("backend_", "context_")):
            return None
        candidates = [(config.backend, config.llm_model), *map(_parsed, config.fallbacks)]
        if self._asked not in candidates:
            return candidates[0]
        following = candidates[candidates.index(self._asked) + 1 :]
        return following[0] if following else None


def counted(so_far: Usage, told: Usage) -> Usage:
    """Returns what an attempt has used when its provider told `told` after `so_far`: totals, so the later one, if it says anything."""
    return so_far if told == Usage() else told


def _parsed(fallback: str) -> tuple[str, str]:
    backend, _, model = fallback.partition(":")
    return backend, model
