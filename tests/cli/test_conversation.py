"""The fold from the protocol's events to what is shown of them."""

from __future__ import annotations

import json
from typing import Any

from greenroom.cli.conversation import (
    CallMade,
    CallReturned,
    Conversation,
    Noticed,
    PersonSaid,
    PictureMade,
    Said,
    Shown,
    SourceNamed,
    Thought,
    TurnBegan,
    TurnEnded,
    Withdrawn,
)


def shown(conversation: Conversation, *events: dict[str, Any]) -> list[Shown]:
    return [item for event in events for item in conversation.feed(json.dumps(event))]


def started(turn_id: str = "t1") -> dict[str, Any]:
    return {"type": "RUN_STARTED", "threadId": "s", "runId": turn_id}


def begins(message_id: str, role: str = "assistant") -> dict[str, Any]:
    return {"type": "TEXT_MESSAGE_START", "messageId": message_id, "role": role}


def text(message_id: str, delta: str) -> dict[str, Any]:
    return {"type": "TEXT_MESSAGE_CONTENT", "messageId": message_id, "delta": delta}


def thought(message_id: str, delta: str) -> dict[str, Any]:
    return {"type": "REASONING_MESSAGE_CONTENT", "messageId": message_id, "delta": delta}


def call(call_id: str, *arguments: str, name: str = "look", ends: bool = True) -> list[dict[str, Any]]:
    return [
        {"type": "TOOL_CALL_START", "toolCallId": call_id, "toolCallName": name},
        *({"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": delta} for delta in arguments),
        *([{"type": "TOOL_CALL_END", "toolCallId": call_id}] if ends else []),
    ]


def result(call_id: str, content: str) -> dict[str, Any]:
    return {"type": "TOOL_CALL_RESULT", "messageId": f"{call_id}-result", "toolCallId": call_id, "content": content}


def snapshot(*messages: dict[str, Any]) -> dict[str, Any]:
    return {"type": "MESSAGES_SNAPSHOT", "messages": list(messages)}


def message(message_id: str, content: str, role: str = "assistant") -> dict[str, Any]:
    return {"id": message_id, "role": role, "content": content}


def calls(message_id: str, **arguments: str) -> dict[str, Any]:
    made = [
        {"id": call_id, "type": "function", "function": {"name": "look", "arguments": text}}
        for call_id, text in arguments.items()
    ]
    return {"id": message_id, "role": "assistant", "toolCalls": made}


def returned(call_id: str, content: str) -> dict[str, Any]:
    return {"id": f"{call_id}-result", "role": "tool", "toolCallId": call_id, "content": content}


FINISHED = {"type": "RUN_FINISHED", "threadId": "s", "runId": "t1", "outcome": {"type": "success"}}


def test_an_answer() -> None:
    conversation = Conversation()
    assert shown(
        conversation,
        started(),
        {"type": "STEP_STARTED", "stepName": "step-1"},
        thought("t1-1.1.0", "Hm."),
        text("t1-1.1.1", "Hel"),
        text("t1-1.1.1", "lo"),
        *call("c1", '{"a"', ": 1}"),
        result("c1", "seen"),
        {"type": "CUSTOM", "name": "greenroom.notice", "value": {"code": "demo", "text": "careful"}},
        FINISHED,
    ) == [
        TurnBegan("t1"),
        Thought("t1-1.1.0", "Hm."),
        Said("t1-1.1.1", "Hel"),
        Said("t1-1.1.1", "lo"),
        CallMade("c1", "look", '{"a": 1}'),
        CallReturned("c1", "look", "seen"),
        Noticed("demo", "careful"),
        TurnEnded(outcome="completed"),
    ]
    assert (conversation.text, conversation.reasoning) == ("Hello", "Hm.")
    assert conversation.calls == [{"name": "look", "arguments": '{"a": 1}', "result": "seen"}]


def given(number: int, kind: str = "greenroom.source", **content: Any) -> dict[str, Any]:
    return {
        "type": "ACTIVITY_SNAPSHOT",
        "messageId": f"t1-1.1.{number}",
        "activityType": kind,
        "content": content,
    }


def test_sources_and_pictures_stand_below_the_answer() -> None:
    """P21: they come in the middle of sentences. What is said twice, or of another kind, is not shown."""
    conversation = Conversation()
    page = given(1000000, url="https://a.example", title="A page", quote="so it is")
    told = shown(
        conversation,
        started(),
        text("t1-1.1.0", "Pa"),
        page,
        given(1000001, "greenroom.picture", mediaType="image/png", bytes=8),
        given(1000002, title="report.pdf"),
        given(1000003, "somebody.else", odd=True),
        given(1000004, url="https://a.example", title="Again"),
        given(1000005, title="void"),
        given(1000005, isVoid=True),
        text("t1-1.1.0", "ris"),
        FINISHED,
    )
    beside: list[Shown] = [
        PictureMade("image/png", 8),
        SourceNamed("A page", "https://a.example"),
        SourceNamed("report.pdf", ""),
    ]
    assert told == [
        TurnBegan("t1"),
        Said("t1-1.1.0", "Pa"),
        Said("t1-1.1.0", "ris"),
        *beside,
        TurnEnded(outcome="completed"),
    ]
    assert conversation.sources == beside[1:]

    joined = Conversation()
    activity = {name: page[name] for name in ("activityType", "content")}
    messages = [message("t1-1.1.0", "Paris"), {"id": page["messageId"], "role": "activity", **activity}]
    assert shown(joined, started(), snapshot(*messages), snapshot(*messages), FINISHED)[2:-1] == [beside[1]]


def test_how_it_can_end() -> None:
    error = {
        "type": "RUN_ERROR",
        "message": "no (set a key)",
        "code": "backend_unauthorized",
        "usage": [{"inputTokens": 1}],
    }
    assert shown(Conversation(), {**FINISHED, "outcome": {"type": "cancelled"}}) == [TurnEnded(outcome="cancelled")]
    assert shown(Conversation(), error) == [
        TurnEnded(outcome="failed", code="backend_unauthorized", message="no (set a key)", usage=[{"inputTokens": 1}])
    ]


def test_what_a_person_said_is_not_the_answer() -> None:
    conversation = Conversation()
    assert shown(conversation, started(), begins("m1", "user"), text("m1", "hello"), text("t1-1.1.0", "hi")) == [
        TurnBegan("t1"),
        PersonSaid("m1", "hello"),
        Said("t1-1.1.0", "hi"),
    ]
    assert conversation.text == "hi"


def test_what_it_does_not_know_says_nothing() -> None:
    assert shown(Conversation(), {"type": "SOMETHING_NEW"}, {"type": "STATE_DELTA", "delta": []}) == []


# --- snapshots ----------------------------------------------------------------------------------------------------------


def test_a_reader_that_joins_sees_what_is_there_and_goes_on() -> None:
    assert shown(
        Conversation(),
        started("t2"),
        snapshot(
            message("m1", "before", "user"),
            message("t1-1.1.0", "an earlier answer"),
            message("m2", "now", "user"),
            message("t2-1.1.0", "thinking", "reasoning"),
            message("t2-1.1.1", "Hel"),
        ),
        begins("t2-1.1.1"),
        text("t2-1.1.1", "lo"),
    ) == [TurnBegan("t2"), Thought("t2-1.1.0", "thinking"), Said("t2-1.1.1", "Hel"), Said("t2-1.1.1", "lo")]


def test_a_reader_that_was_too_slow_gets_what_it_missed() -> None:
    conversation = Conversation()
    shown(conversation, started(), text("t1-1.1.0", "One, "))
    assert shown(
        conversation,
        snapshot(
            message("t1-1.1.0", "One, two, "),
            calls("t1-1.1", c1="{}"),
            returned("c1", "seen"),
            message("t1-2.1.0", "Th"),
        ),
        begins("t1-2.1.0"),
        text("t1-2.1.0", "ree"),
    ) == [
        Said("t1-1.1.0", "two, "),
        CallMade("c1", "look", "{}"),
        CallReturned("c1", "look", "seen"),
        Said("t1-2.1.0", "Th"),
        Said("t1-2.1.0", "ree"),
    ]
    assert conversation.text == "One, two, \nThree"


def test_a_snapshot_of_what_was_seen_shows_nothing() -> None:
    conversation = Conversation()
    shown(conversation, started(), text("t1-1.1.0", "One"), *call("c1", "{}"), result("c1", "seen"))
    assert (
        shown(conversation, snapshot(message("t1-1.1.0", "One"), calls("t1-1.1", c1="{}"), returned("c1", "seen")))
        == []
    )
    assert shown(conversation, result("c1", "seen")) == []


def test_an_attempt_that_is_void_is_withdrawn() -> None:
    conversation = Conversation()
    shown(conversation, started(), text("t1-1.1.0", "Wrong"))
    assert shown(conversation, snapshot(message("m1", "question", "user")), text("t1-1.2.0", "Right"), FINISHED) == [
        Withdrawn(),
        Said("t1-1.2.0", "Right"),
        TurnEnded(outcome="completed"),
    ]
    assert conversation.text == "Right"


def test_only_what_is_void_is_told_to_be() -> None:
    conversation = Conversation()
    shown(
        conversation,
        started(),
        text("t1-1.1.0", "Kept"),
        *call("c1", "{}"),
        result("c1", "seen"),
        text("t1-2.1.0", "Wrong"),
    )
    kept = (message("t1-1.1.0", "Kept"), calls("t1-1.1", c1="{}"), returned("c1", "seen"))
    assert shown(conversation, snapshot(*kept)) == [
        Withdrawn(),
        Said("t1-1.1.0", "Kept"),
        CallMade("c1", "look", "{}"),
        CallReturned("c1", "look", "seen"),
    ]


def test_a_call_that_is_void_is_withdrawn() -> None:
    conversation = Conversation()
    shown(conversation, started(), *call("c1", "{}"))
    assert shown(conversation, snapshot()) == [Withdrawn()]


def test_an_attempt_of_which_nothing_was_shown_is_not_missed() -> None:
    conversation = Conversation()
    shown(conversation, started(), *call("c1", '{"a', ends=False))
    assert shown(conversation, snapshot()) == []


def test_a_call_that_is_being_written_is_shown_when_it_is_complete() -> None:
    conversation = Conversation()
    assert shown(conversation, started(), snapshot(calls("t1-1.1", c1='{"a": ', c2="{}"))) == [
        TurnBegan("t1"),
        CallMade("c2", "look", "{}"),
    ]
    assert shown(conversation, *call("c1", "1}")) == [CallMade("c1", "look", '{"a": 1}')]
    assert shown(conversation, result("c2", "b"), result("c1", "a")) == [
        CallReturned("c2", "look", "b"),
        CallReturned("c1", "look", "a"),
    ]


def test_long_answers_cost_what_they_are_long() -> None:
    conversation = Conversation()
    shown(conversation, started())
    event = json.dumps(text("t1-1.1.0", "x"))
    for _ in range(100_000):
        conversation.feed(event)
    assert len(conversation.text) == 100_000
