"""Deliberate bugs, one for each promise: the simulation has to find every one of them, or it proves nothing.

Rule: a mutant changes one thing, in the code under test and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest

from greenroom.core import recovery, refusals, transcript
from greenroom.core.adaptation import Adaptation
from greenroom.core.cursor import Cursor
from greenroom.core.session import SessionState
from greenroom.core.step import Assembly
from greenroom.core.turn import TurnState
from greenroom.events import Event, MessageAccepted, NoticeGiven, Record, SessionClaimed, StepFailed, TurnEnded
from greenroom.interfaces import SessionSummary
from greenroom.logs import appending
from greenroom.messages import ToolResult, Usage
from greenroom.runtime import exchange, follow, registry, runner, watch
from greenroom.runtime.feed import Entry
from greenroom.runtime.live import LiveSession
from simulation.test_simulation import live_through

SEEDS = range(1, 2_000)

Mutant = Callable[[pytest.MonkeyPatch], None]


def forgets_half_written_calls(patch: pytest.MonkeyPatch) -> None:
    """P1: what was cut off goes back to the provider as if it were whole."""

    def result(step: Any, call: Any) -> ToolResult:
        returned = step.results.get(call.call_id)
        return ToolResult(call_id=call.call_id, name=call.name, content=returned.content if returned else "")

    patch.setattr(transcript, "_result", result)


def loses_acknowledged_messages(patch: pytest.MonkeyPatch) -> None:
    """P2: a message that another process has acknowledged is thrown away when the session is busy with others."""
    real = watch.arrival_from_inbox

    def arrival_from_inbox(state: SessionState, message: MessageAccepted) -> list[Event]:
        return [] if len(state.queue) > 1 else real(state, message)

    patch.setattr(watch, "arrival_from_inbox", arrival_from_inbox)


def forgets_what_was_cut_off(patch: pytest.MonkeyPatch) -> None:
    """Budgets: what a step has used that its process did not survive is in the session and not in the ledger."""
    real = SessionState.tallied_after

    def tallied_after(state: SessionState, records: Sequence[Record]) -> tuple[SessionSummary, Usage]:
        summary, spent = real(state, records)
        return summary, Usage() if isinstance(records[-1].event, TurnEnded) else spent

    patch.setattr(SessionState, "tallied_after", tallied_after)


def takes_a_key_twice(patch: pytest.MonkeyPatch) -> None:
    """P2: an idempotency key is not looked at."""

    def known_turn_id(state: SessionState, message: MessageAccepted) -> str | None:
        return state.turn_of_run(message.turn_id)

    patch.setattr(exchange, "known_turn_id", known_turn_id)


def leaves_cancelled_turns_open(patch: pytest.MonkeyPatch) -> None:
    """P3: a turn that is cancelled while nobody runs it is not ended."""
    real = registry.Registry.wake

    def wake(self: registry.Registry, live: LiveSession) -> None:
        if live.state.turn is None or not live.state.turn.cancelled:
            real(self, live)

    patch.setattr(registry.Registry, "wake", wake)


def repeats_what_was_seen(patch: pytest.MonkeyPatch) -> None:
    """P4: a reader that comes back in the middle of a delta gets all of it again."""

    def behind(entries: Iterable[Entry], position: Cursor) -> Iterator[Entry]:
        return (entry for entry in entries if (entry.seq, entry.offset) > (position.seq, 0))

    patch.setattr(follow, "behind", behind)


def is_not_fenced(patch: pytest.MonkeyPatch) -> None:
    """P5: a writer is not refused that somebody else has overtaken."""
    patch.setattr(appending.Write, "fits", lambda self, head: True)


def never_looks_into_the_inbox(patch: pytest.MonkeyPatch) -> None:
    """P5: a stop that is left for the owner of a session is never looked at by him."""

    async def take_in(self: Any, live: Any) -> None:
        del self, live

    patch.setattr(watch.Watch, "_take_in", take_in)


def runs_side_effects_again(patch: pytest.MonkeyPatch) -> None:
    """P8: after a crash a call with side effects is run again."""

    def recovery_events(state: SessionState, **options: Any) -> list[Event]:
        turn = state.turn
        is_settling = turn is not None and turn.state is TurnState.SETTLING and not turn.cancelled
        return [] if is_settling else recovery.recovery_events(state, **options)

    patch.setattr(registry, "recovery_events", recovery_events)


def leaves_sessions_lying(patch: pytest.MonkeyPatch) -> None:
    """Nothing stuck: a session whose log has failed is not opened again."""
    patch.setattr(registry.Registry, "_revive", lambda self, session_id: None)


def works_before_recovery(patch: pytest.MonkeyPatch) -> None:
    """Nothing stuck: a step that was cut off is not asked again."""

    def recovery_events(state: SessionState, **options: Any) -> list[Event]:
        turn = state.turn
        if turn is not None and turn.state is TurnState.STREAMING and not turn.cancelled:
            return [TurnEnded(turn_id=turn.turn_id, outcome="completed")] * 2
        return recovery.recovery_events(state, **options)

    patch.setattr(registry, "recovery_events", recovery_events)


def keeps_broken_calls(patch: pytest.MonkeyPatch) -> None:
    """P1: half of a call is kept, without a result."""

    def kept(self: Assembly) -> Sequence[Any]:
        return [part for _, part in self.numbered()]

    def result(step: Any, call: Any) -> ToolResult:
        return ToolResult(call_id=f"{call.call_id}x", name=call.name, content="?")

    patch.setattr(Assembly, "kept", kept)
    patch.setattr(transcript, "_result", result)


def drops_what_came_twice(patch: pytest.MonkeyPatch) -> None:
    """P2: of a message that two processes have acknowledged at the same time, one acknowledgement leads nowhere."""
    real = watch.arrival_from_inbox

    def arrival_from_inbox(state: SessionState, message: MessageAccepted) -> list[Event]:
        return [] if message.idempotency_key in state.keys else real(state, message)

    patch.setattr(watch, "arrival_from_inbox", arrival_from_inbox)


def revives_once(patch: pytest.MonkeyPatch) -> None:
    """Nothing stuck: a session whose log fails again while it is opened again is left lying."""
    real = registry.Registry._is_open_again

    async def is_open_again(self: registry.Registry, session_id: str) -> bool:
        await real(self, session_id)
        return True

    patch.setattr(registry.Registry, "_is_open_again", is_open_again)


def forgets_what_was_refused(patch: pytest.MonkeyPatch) -> None:
    """P1: what was refused is forgotten when a session changes hands."""
    real = SessionState.apply

    def apply(self: SessionState, record: Record) -> None:
        real(self, record)
        if isinstance(record.event, SessionClaimed):
            self._adaptations = {}

    patch.setattr(SessionState, "apply", apply)


def leaves_out_in_silence(patch: pytest.MonkeyPatch) -> None:
    """P1: nobody is told what is left out."""

    def adapting(state: SessionState, failed: StepFailed, **options: Any) -> list[Event]:
        events = refusals.adapting(state, failed, **options)
        return [event for event in events if not isinstance(event, NoticeGiven)]

    patch.setattr(runner, "adapting", adapting)


def gives_up_what_is_refused(patch: pytest.MonkeyPatch) -> None:
    """P1: a refusal ends the turn, and nothing is left out of the next one."""
    patch.setattr(runner, "adapting", lambda state, failed, **options: [failed])


def never_tries_again(patch: pytest.MonkeyPatch) -> None:
    """P7: what was refused before an update is left out after it."""
    patch.setattr(Adaptation, "lifted", lambda self: self)


MUTANTS: Sequence[Mutant] = (
    never_tries_again,
    forgets_what_was_refused,
    leaves_out_in_silence,
    gives_up_what_is_refused,
    drops_what_came_twice,
    revives_once,
    forgets_half_written_calls,
    forgets_what_was_cut_off,
    keeps_broken_calls,
    loses_acknowledged_messages,
    takes_a_key_twice,
    leaves_cancelled_turns_open,
    repeats_what_was_seen,
    is_not_fenced,
    never_looks_into_the_inbox,
    runs_side_effects_again,
    leaves_sessions_lying,
    works_before_recovery,
)


@pytest.mark.long
@pytest.mark.virtual_time
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
async def test_the_simulation_finds(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    for seed in SEEDS:
        try:
            async with asyncio.timeout(20_000):
                await live_through(seed)
        except (AssertionError, TimeoutError):
            return
    raise AssertionError(f"{mutant.__name__} lived through {len(SEEDS)} seeds")
