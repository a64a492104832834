"""A message that another process has acknowledged comes in: it is never dropped, and never answered twice."""

from __future__ import annotations

from greenroom.config import SessionConfig
from greenroom.core.overlap import arrival_from_inbox
from greenroom.core.session import SessionState, replayed
from greenroom.events import Event, MessageAccepted, MessageEdited, MessageRepeated, Record, SessionCreated
from greenroom.messages import TextPart


def message(turn_id: str, text: str = "pay", key: str = "k") -> MessageAccepted:
    return MessageAccepted(
        message_id=f"m-{turn_id}", turn_id=turn_id, parts=(TextPart(text=text),), idempotency_key=key
    )


def session(*events: Event) -> SessionState:
    every = [SessionCreated(user_id="ann", config=SessionConfig()), *events]
    return replayed("s", [Record(seq=n, epoch=1, at_ms=n, event=event) for n, event in enumerate(every, start=1)])


def test_a_new_one_is_accepted() -> None:
    assert arrival_from_inbox(session(), message("t1")) == [message("t1")]


def test_one_that_is_there_already_is_not_accepted_again() -> None:
    assert arrival_from_inbox(session(message("t1")), message("t1")) == []


def test_the_same_under_another_turn_leads_to_that_one() -> None:
    state = session(message("t1"))
    (event,) = arrival_from_inbox(state, message("t2"))
    assert event == MessageRepeated(turn_id="t2", repeated_turn_id="t1")
    assert state.allows((event,))
    state = session(message("t1"), event)
    assert state.turn_of_run("t2") == "t1"
    assert arrival_from_inbox(state, message("t2")) == [], "taken a second time, it changes nothing"
    assert not state.allows((event,))


def test_what_was_edited_meanwhile_is_still_the_same() -> None:
    state = session(message("t1"), MessageEdited(turn_id="t1", parts=(TextPart(text="pay less"),)))
    assert arrival_from_inbox(state, message("t2")) == [MessageRepeated(turn_id="t2", repeated_turn_id="t1")]


def test_another_message_under_the_key_is_one_of_its_own() -> None:
    """It was acknowledged, so it was too late to refuse it."""
    state = session(message("t1"))
    events = arrival_from_inbox(state, message("t2", "another"))
    assert events == [message("t2", "another", key="")]
    assert arrival_from_inbox(session(message("t1"), *events), message("t2", "another")) == []
