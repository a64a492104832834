"""The turn machine's tables, tested as tables."""

from __future__ import annotations

from typing import get_args

import pytest

from greenroom.config import SessionConfig
from greenroom.core.turn import TRANSITIONS, TURN_EVENTS, AskBackend, FinishTurn, RunTools, Suspend, Turn, TurnState
from greenroom.events import (
    ApprovalDecided,
    ApprovalRequested,
    CancelRequested,
    Event,
    RequestAdapted,
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
from greenroom.limits import Limits
from greenroom.messages import PartDelta, PartEnded, PartItem, PartStarted

LIMITS = Limits(retries_max=2, attempts_max=1)
CONFIG = SessionConfig()


def call(part: int, call_id: str) -> tuple[PartStarted, PartEnded]:
    return PartStarted(part=part, kind="tool_call", call_id=call_id, name="look"), PartEnded(part=part)


STARTED = TurnStarted(turn_id="t")
STEP = StepStarted(step=1, attempt=1, backend="openai", model="gpt-4o")
TEXT = StepProgress(items=(PartStarted(part=0, kind="text"), PartDelta(part=0, delta="hi"), PartEnded(part=0)))
MORE = StepProgress(items=(PartStarted(part=2, kind="text"), PartDelta(part=2, delta="hi")))
CALLS = StepProgress(items=(*call(0, "a"), *call(1, "b")))
DONE = StepFinished(reason="stop")
WEATHER = StepFailed(code="backend_unavailable", message="busy")
BROKEN = StepFailed(code="backend_garbled", message="cut")
REFUSED = StepFailed(code="backend_rejected", message="no such model")
KILLED = StepFailed(code="interrupted", message="the process ended")
INTENT = ToolStarted(call_id="a", name="look", effect="pure", idempotency_key="k")
RESULT = ToolReturned(call_id="a", name="look", outcome="ok", content="x")
ASKED_A = ApprovalRequested(approval_id="a.1", call_id="a", name="look")
ASKED_B = ApprovalRequested(approval_id="b.1", call_id="b", name="look")
YES_B = ApprovalDecided(approval_id="b.1", call_id="b", decision="approve")
WAITS = TurnSuspended(turn_id="t")
ADAPTED = RequestAdapted(backend="openai", model="gpt-4o", refused="tools", asks_again=True, without=("tools",))
STOP = CancelRequested(turn_id="t")
END = TurnEnded(turn_id="t", outcome="completed")

ROADS: dict[TurnState, list[Event]] = {
    TurnState.IDLE: [],
    TurnState.READY: [STARTED],
    TurnState.STREAMING: [STARTED, STEP, CALLS],
    TurnState.SETTLING: [STARTED, STEP, CALLS, DONE, ASKED_B],
    TurnState.WAITING: [STARTED, STEP, CALLS, DONE, ASKED_B, ASKED_A, WAITS],
    TurnState.DONE: [STARTED, STEP, TEXT, DONE],
    TurnState.ENDED: [STARTED, END],
}
ONE_OF_EACH: list[Event] = [
    STARTED, STEP, MORE, DONE, WEATHER, ADAPTED, INTENT, RESULT, ASKED_A, YES_B, WAITS, STOP, END
]  # fmt: skip
FIRST: dict[Event, list[Event]] = {WAITS: [ASKED_A], ADAPTED: [STEP, REFUSED]}
"""What has to come before an event within its state: a turn waits only when nothing else is left to do; a request is adapted when it failed."""


def turn_after(*events: Event) -> Turn:
    turn = Turn("t", limits=LIMITS)
    for event in events:
        turn.apply(event)
    return turn


def again(attempt: int, *, backend: str = "openai", model: str = "gpt-4o") -> StepStarted:
    return StepStarted(step=1, attempt=attempt, backend=backend, model=model)


def test_the_roads_lead_to_every_state_and_the_samples_are_every_event() -> None:
    assert {state: turn_after(*road).state for state, road in ROADS.items()} == {state: state for state in TurnState}
    assert {type(event) for event in ONE_OF_EACH} == TURN_EVENTS
    assert set(get_args(Event)) >= TURN_EVENTS


@pytest.mark.parametrize("state", TurnState)
@pytest.mark.parametrize("event", ONE_OF_EACH, ids=lambda event: type(event).__name__)
def test_every_event_in_every_state(state: TurnState, event: Event) -> None:
    turn = turn_after(*ROADS[state])
    if event in FIRST and type(event) in TRANSITIONS[state]:
        assert not turn.allows(event)
        for before in FIRST[event]:
            turn.apply(before)
    assert turn.allows(event) == (type(event) in TRANSITIONS[state])
    if turn.allows(event):
        turn.apply(event)
        assert turn.state in {TRANSITIONS[state][type(event)], TurnState.READY}
    else:
        with pytest.raises(AssertionError, match="while"):
            turn.apply(event)


@pytest.mark.parametrize("state", [state for state in TurnState if state not in {TurnState.IDLE, TurnState.ENDED}])
def test_a_cancelled_turn_wants_its_end_in_every_state(state: TurnState) -> None:
    turn = turn_after(*ROADS[state], STOP)
    assert turn.next_action(CONFIG) == FinishTurn(outcome="cancelled")
    assert turn.allows(END)


@pytest.mark.parametrize("state", [TurnState.IDLE, TurnState.STREAMING, TurnState.WAITING, TurnState.ENDED])
def test_there_is_nothing_to_do(state: TurnState) -> None:
    assert turn_after(*ROADS[state]).next_action(CONFIG) is None


def test_calls_are_run_together_and_the_turn_goes_on_when_all_are_settled() -> None:
    turn = turn_after(STARTED, STEP, CALLS, DONE)
    action = turn.next_action(CONFIG)
    assert isinstance(action, RunTools)
    assert [call.call_id for call in action.calls] == ["a", "b"]
    turn.apply(RESULT)
    assert not turn.allows(RESULT), "a call has one result"
    assert [call.call_id for call in turn.unsettled_calls()] == ["b"]
    turn.apply(ToolReturned(call_id="b", name="look", outcome="error", content="x"))
    assert turn.next_action(CONFIG) == AskBackend(step=2, attempt=1, backend="openai", model="gpt-4o")


def test_an_intent_without_a_result_is_remembered() -> None:
    turn = turn_after(*ROADS[TurnState.SETTLING], INTENT)
    assert turn.intents() == (INTENT,)
    assert not turn.allows(INTENT), "the intent is written once"
    action = turn.next_action(CONFIG)
    assert isinstance(action, RunTools)
    assert action.started == {"a"}


def test_a_pause_of_the_provider_asks_again() -> None:
    turn = turn_after(STARTED, STEP, TEXT, StepFinished(reason="pause"))
    assert turn.next_action(CONFIG) == AskBackend(step=2, attempt=1, backend="openai", model="gpt-4o")


def test_steps_are_bounded() -> None:
    turn = turn_after(
        STARTED, STEP, *[CALLS, DONE, RESULT, ToolReturned(call_id="b", name="l", outcome="ok", content="x")]
    )
    action = turn.next_action(SessionConfig(max_steps=1))
    assert isinstance(action, FinishTurn)
    assert (action.outcome, action.code) == ("failed", "limit_exceeded")


def test_weather_is_repeated_with_growing_pauses_then_reported() -> None:
    turn = turn_after(STARTED, STEP, WEATHER)
    for attempt in (2, 3):
        assert turn.next_action(CONFIG) == AskBackend(
            step=1, attempt=attempt, backend="openai", model="gpt-4o", retry=attempt - 1
        )
        turn.apply(again(attempt))
        turn.apply(WEATHER)
    assert turn.next_action(CONFIG) == FinishTurn(outcome="failed", code="backend_unavailable", message="busy")


def test_retry_after_is_obeyed_up_to_its_bound() -> None:
    soon = StepFailed(code="backend_unavailable", message="busy", retry_after_s=3.0)
    action = turn_after(STARTED, STEP, soon).next_action(CONFIG)
    assert isinstance(action, AskBackend)
    assert action.retry_after_s == 3.0
    late = StepFailed(code="backend_unavailable", message="busy", retry_after_s=3600.0)
    assert isinstance(turn_after(STARTED, STEP, late).next_action(CONFIG), FinishTurn)


def test_a_stream_that_breaks_after_a_delta_is_asked_again_as_a_new_attempt() -> None:
    turn = turn_after(STARTED, STEP, TEXT, BROKEN)
    assert isinstance(turn.next_action(CONFIG), AskBackend)
    turn.apply(again(2))
    assert turn.assembly.is_empty(), "what was said before is void"
    turn.apply(TEXT)
    turn.apply(BROKEN)
    assert turn.next_action(CONFIG) == FinishTurn(outcome="failed", code="backend_garbled", message="cut")


def test_a_killed_process_is_not_the_providers_fault() -> None:
    turn = turn_after(STARTED, STEP, KILLED)
    action = turn.next_action(CONFIG)
    assert isinstance(action, AskBackend)
    assert action.retry == 0, "nobody has to wait"
    turn.apply(again(2))
    turn.apply(KILLED)
    assert turn.next_action(CONFIG) == FinishTurn(
        outcome="interrupted", code="interrupted", message="the process ended"
    )


def test_a_refused_step_is_asked_again_when_its_request_was_adapted_and_at_once() -> None:
    turn = turn_after(STARTED, STEP, REFUSED, ADAPTED)
    expected = AskBackend(step=1, attempt=2, backend="openai", model="gpt-4o")
    assert turn.next_action(SessionConfig(fallbacks=("claude:c",))) == expected
    turn.apply(again(2))
    turn.apply(REFUSED)
    assert isinstance(turn.next_action(CONFIG), FinishTurn), "each adaptation has one try"


def test_a_request_is_adapted_only_behind_a_failure_of_the_one_that_was_asked() -> None:
    assert not turn_after(STARTED).allows(ADAPTED)
    other = RequestAdapted(backend="claude", model="gpt-4o", refused="tools")
    assert not turn_after(STARTED, STEP, REFUSED).allows(other)
    turn = turn_after(STARTED, STEP, REFUSED, RequestAdapted(backend="openai", model="gpt-4o", refused="content"))
    assert turn.next_action(CONFIG) == FinishTurn(outcome="failed", code="backend_rejected", message="no such model")


def test_fallbacks_are_tried_in_order_each_with_a_clean_sheet() -> None:
    config = SessionConfig(fallbacks=("claude:c", "local:l"))
    turn = turn_after(STARTED, STEP, REFUSED)
    assert turn.next_action(config) == AskBackend(step=1, attempt=2, backend="claude", model="c")
    turn.apply(again(2, backend="claude", model="c"))
    turn.apply(WEATHER)
    assert turn.next_action(config) == AskBackend(step=1, attempt=3, backend="claude", model="c", retry=1)
    turn.apply(again(3, backend="claude", model="c"))
    turn.apply(REFUSED)
    assert turn.next_action(config) == AskBackend(step=1, attempt=4, backend="local", model="l")
    turn.apply(again(4, backend="local", model="l"))
    turn.apply(REFUSED)
    assert turn.next_action(config) == FinishTurn(outcome="failed", code="backend_rejected", message="no such model")


def test_our_own_bounds_do_not_fall_back() -> None:
    turn = turn_after(STARTED, STEP, StepFailed(code="limit_exceeded", message="too long"))
    assert isinstance(turn.next_action(SessionConfig(fallbacks=("claude:c",))), FinishTurn)


def test_a_shadow_can_be_spoiled() -> None:
    turn = turn_after(*ROADS[TurnState.SETTLING])
    shadow = turn.shadow()
    shadow.apply(INTENT)
    shadow.apply(END)
    assert turn.state is TurnState.SETTLING
    assert turn.intents() == ()


def test_a_turn_waits_only_for_people_and_goes_on_with_what_they_decided() -> None:
    turn = turn_after(STARTED, STEP, CALLS, DONE, ASKED_B)
    assert not turn.allows(ToolStarted(call_id="b", name="look", effect="pure", idempotency_key="k")), (
        "it was asked for"
    )
    action = turn.next_action(CONFIG)
    assert isinstance(action, RunTools)
    assert [call.call_id for call in action.calls] == ["a"], "the other one need not wait"
    turn.apply(INTENT)
    turn.apply(RESULT)
    assert turn.next_action(CONFIG) == Suspend()
    turn.apply(WAITS)
    turn.apply(ApprovalDecided(approval_id="b.1", call_id="b", decision="approve", arguments='{"x":1}'))
    action = turn.next_action(CONFIG)
    assert isinstance(action, RunTools)
    assert [(call.call_id, call.arguments) for call in action.calls] == [("b", '{"x":1}')]
    assert not turn.allows(ASKED_B), "the same question is not asked twice"


def test_a_denied_call_cannot_be_started() -> None:
    turn = turn_after(STARTED, STEP, CALLS, DONE, ASKED_A)
    turn.apply(ApprovalDecided(approval_id="a.1", call_id="a", decision="deny", reason="no"))
    assert not turn.allows(INTENT)
    action = turn.next_action(CONFIG)
    assert isinstance(action, RunTools)
    assert action.decided["a"].reason == "no"
    turn.apply(ToolReturned(call_id="a", name="look", outcome="denied", content="no"))
    assert [call.call_id for call in turn.unsettled_calls()] == ["b"]


def test_only_a_person_lets_a_started_call_be_started_again() -> None:
    turn = turn_after(STARTED, STEP, CALLS, DONE, INTENT)
    assert not turn.allows(ASKED_A), "it was started: the question is another one"
    again = ApprovalRequested(approval_id="a.1", call_id="a", name="look", question="run_again")
    turn.apply(again)
    assert not turn.allows(INTENT)
    turn.apply(ApprovalDecided(approval_id="a.1", call_id="a", decision="approve"))
    assert turn.intents() == ()
    turn.apply(INTENT)
    assert turn.allows(ApprovalRequested(approval_id="a.2", call_id="a", name="look", question="run_again"))


def test_a_message_joins_between_steps_only() -> None:
    assert turn_after(STARTED).may_be_joined
    assert not turn_after(STARTED, STEP).may_be_joined
    assert turn_after(STARTED, STEP, BROKEN).may_be_joined
    assert not turn_after(STARTED, STEP, TEXT, StepFinished(reason="pause")).may_be_joined, "the provider wants its own"
    assert not turn_after(STARTED, STEP, TEXT, DONE).may_be_joined, "nothing follows"


@pytest.mark.parametrize("item", [PartStarted(part=0, kind="text"), PartDelta(part=0, delta="x"), PartEnded(part=0)])
def test_a_stored_part_that_has_ended_is_neither_started_again_nor_goes_on(item: PartItem) -> None:
    """No stream is taken in that says so, thus a log that does is damaged, and readers would be shown what no protocol allows."""
    with pytest.raises(KeyError):
        turn_after(STARTED, STEP, TEXT, StepProgress(items=(item,)))
