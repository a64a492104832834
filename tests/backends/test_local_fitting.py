"""What a small model is sent of a session that other models have filled."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.backends.local.fitting import EMBEDDED_PROMPT, Profile, fit, notices
from greenroom.interfaces import BackendRequest
from greenroom.messages import (
    AssistantMessage,
    ContextPart,
    FilePart,
    OpaquePart,
    ReasoningPart,
    RefusalPart,
    Sidecar,
    TextPart,
    ToolCallPart,
    ToolMessage,
    ToolResult,
    ToolSpec,
    TranscriptMessage,
    UserMessage,
)

EMBEDDED = Profile(name="tiny", is_embedded=True, tools=False, context_tokens=2048, answer_tokens=256)
OTHER = Profile(name="qwen", is_embedded=False, tools=True, context_tokens=8192, answer_tokens=2048)
DICE = ToolSpec(name="roll", description="Rolls a die.", parameters={"type": "object", "properties": {}})
SIDECAR = Sidecar(backend="claude", model="m", data=msgspec.Raw(b"{}"))


def user(text: str) -> UserMessage:
    return UserMessage(parts=(TextPart(text=text),))


def assistant(text: str) -> AssistantMessage:
    return AssistantMessage(parts=(TextPart(text=text),))


CALLS = AssistantMessage(
    parts=(
        ReasoningPart(text="hm", sidecar=SIDECAR),
        OpaquePart(sidecar=SIDECAR),
        TextPart(text="Rolling."),
        ToolCallPart(call_id="c1", name="roll", arguments="{}"),
    )
)
SILENT_CALL = AssistantMessage(parts=(ToolCallPart(call_id="c2", name="roll", arguments="{}"),))
FOUR = ToolMessage(results=(ToolResult(call_id="c1", name="roll", content="4"),))
SIX = ToolMessage(results=(ToolResult(call_id="c2", name="roll", content="6"),))


def request(*messages: TranscriptMessage, **settings: object) -> BackendRequest:
    plain: dict[str, object] = {"model": "gpt-4o", "system": "Be brief."}
    return BackendRequest(messages=messages, **(plain | settings))  # type: ignore[arg-type]


def codes(asked: BackendRequest, profile: Profile = EMBEDDED) -> list[str]:
    return [notice.code for notice in notices(asked, profile)]


def texts(messages: Sequence[TranscriptMessage]) -> list[tuple[str, str]]:
    found = []
    for message in messages:
        assert isinstance(message, UserMessage | AssistantMessage)
        who = "user" if isinstance(message, UserMessage) else "assistant"
        found.append((who, "|".join(part.text for part in message.parts if isinstance(part, TextPart))))
    return found


def test_the_embedded_model_gets_a_short_prompt_alone_and_no_dice() -> None:
    sent = fit(request(user("Hi")), EMBEDDED).request
    assert sent.system == "Be brief."
    assert sent.temperature == 0.0
    assert sent.model == "tiny"


@pytest.mark.parametrize("stable", ["", "word " * 200])
def test_a_missing_or_long_prompt_is_replaced(stable: str) -> None:
    asked = request(user("Hi"), system=stable)
    assert fit(asked, EMBEDDED).request.system == EMBEDDED_PROMPT
    assert ("local_prompt_left_out" in codes(asked)) == bool(stable)


def test_another_model_gets_the_whole_prompt_its_own_temperature_and_tools() -> None:
    asked = request(user("Hi"), tools=(DICE,), parallel_tool_calls=True, system="word " * 200)
    sent = fit(asked, OTHER).request
    assert sent == msgspec.structs.replace(asked, model="qwen")
    assert codes(asked, OTHER) == []


def test_settings_of_the_request_stay() -> None:
    asked = request(user("Hi"), temperature=0.7, top_p=0.5, max_tokens=9, stop=("x",))
    sent = fit(asked, EMBEDDED).request
    assert (sent.temperature, sent.top_p, sent.max_tokens, sent.stop) == (0.7, 0.5, 9, ("x",))


def test_what_is_not_honoured_is_left_out_and_said() -> None:
    asked = request(user("Hi"), tools=(DICE,), reasoning_effort="low", thinking_budget_tokens=2048)
    sent = fit(asked, EMBEDDED).request
    assert (sent.tools, sent.reasoning_effort, sent.thinking_budget_tokens) == ((), None, None)
    assert codes(asked) == ["local_demo_model", "local_no_tools", "local_no_reasoning_settings"]


def test_calls_and_results_of_finished_turns_are_not_shown_to_a_model_without_tools() -> None:
    asked = request(
        *(user("Roll."), CALLS, FOUR, SILENT_CALL, SIX, assistant("A four and a six.")),
        *(user("Again."), SILENT_CALL, SIX, assistant("A six.")),
        user("Thanks."),
    )
    assert texts(fit(asked, EMBEDDED).request.messages) == [
        ("user", "Roll."),
        ("assistant", "Rolling.|A four and a six."),
        ("user", "Again."),
        ("assistant", "A six."),
        ("user", "Thanks."),
    ]


def test_results_that_the_running_turn_waits_for_are_told() -> None:
    asked = request(user("Hi"), assistant("Hello"), user("Roll."), CALLS, FOUR, SILENT_CALL, SIX)
    assert texts(fit(asked, EMBEDDED).request.messages) == [
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "Roll."),
        ("assistant", "Rolling."),
        ("user", "The results:\nroll: 4|The results:\nroll: 6"),
    ]


def test_a_model_with_tools_is_shown_them() -> None:
    messages = (user("Roll."), CALLS, FOUR)
    assert fit(request(*messages, tools=(DICE,)), OTHER).request.messages == messages


def test_turns_without_a_visible_answer_become_one_message() -> None:
    asked = request(user("Roll."), SILENT_CALL, SIX, user("Hello?"))
    assert texts(fit(asked, EMBEDDED).request.messages) == [("user", "Roll.|The results:\nroll: 6|Hello?")]


def test_attachments_become_their_names_and_refusals_text() -> None:
    picture = FilePart(media_type="image/png", data=b"png", name="cat.png")
    nameless = FilePart(media_type="application/pdf", data=b"pdf")
    asked = request(
        UserMessage(parts=(picture, nameless)), AssistantMessage(parts=(RefusalPart(text="No."),)), user("Why?")
    )
    assert texts(fit(asked, EMBEDDED).request.messages) == [
        ("user", "[attachment: cat.png]|[attachment: application/pdf]"),
        ("assistant", "No."),
        ("user", "Why?"),
    ]
    assert "local_no_attachments" in codes(asked)


def conversation(turns: int, *, letters: int = 300) -> BackendRequest:
    messages: list[TranscriptMessage] = []
    for turn in range(turns):
        messages += [user(f"Question {turn}. " + "x" * letters), assistant(f"Answer {turn}. " + "y" * letters)]
    return request(*messages, user("And now?"))


def test_the_oldest_turns_are_left_out_and_that_is_said() -> None:
    short, long = conversation(3), conversation(40)
    assert fit(short, EMBEDDED).turns_left_out == 0
    assert "local_history_left_out" not in codes(short)
    fitted = fit(long, EMBEDDED)
    assert 0 < fitted.turns_left_out < 40
    assert fitted.turns + fitted.turns_left_out == 41
    assert fitted.request.messages == long.messages[2 * fitted.turns_left_out :]
    assert "local_history_left_out" in codes(long)


def test_the_beginning_of_what_is_sent_stays_for_many_turns() -> None:
    first_turns = [fit(conversation(turns), EMBEDDED).turns_left_out for turns in range(60)]
    assert first_turns == sorted(first_turns)
    cuts = sum(before != after for before, after in pairwise(first_turns))
    assert cuts <= 16  # each makes room for another half of the context: four turns or more
    assert max(first_turns) > 40


def test_the_last_turn_is_always_sent() -> None:
    asked = request(user("Hi"), assistant("Hello"), user("x" * 100_000))
    fitted = fit(asked, EMBEDDED)
    assert (fitted.turns, fitted.turns_left_out) == (1, 1)


def test_a_request_for_a_long_answer_still_leaves_half_of_the_context_to_the_question() -> None:
    asked = msgspec.structs.replace(conversation(4), max_tokens=100_000)
    assert fit(asked, EMBEDDED).turns >= 2


messages_of_a_turn = st.lists(st.sampled_from([(assistant("Answer."),), (CALLS, FOUR), (SILENT_CALL, SIX)]), max_size=4)


@given(st.lists(messages_of_a_turn, min_size=1, max_size=12), st.integers(64, 4096), st.sampled_from([EMBEDDED, OTHER]))
def test_any_transcript_becomes_one_that_a_chat_template_takes(
    turns: list[list[tuple[TranscriptMessage, ...]]], context_tokens: int, model: Profile
) -> None:
    messages: list[TranscriptMessage] = []
    for turn in turns:
        if messages and isinstance(messages[-1], UserMessage):
            messages.append(assistant("Yes."))
        messages += [user("Question."), *(message for step in turn for message in step)]
    profile = msgspec.structs.replace(model, context_tokens=context_tokens)
    sent = fit(request(*messages), profile).request.messages
    assert isinstance(sent[0], UserMessage)
    for before, after in pairwise(sent):
        assert type(before) is not type(after)
    if not model.tools:
        assert not any(isinstance(message, ToolMessage) for message in sent)


# --- what is told of the user (case P17) --------------------------------------------------------------------------------


def told(text: str, said: str = "Hi") -> UserMessage:
    return UserMessage(parts=(ContextPart(text=text), TextPart(text=said)))


def test_the_embedded_model_is_told_nothing_of_its_user() -> None:
    sent = fit(request(told("Today is Monday.")), EMBEDDED).request
    assert sent.messages == (user("Hi"),)


def test_what_turns_that_are_left_out_told_of_the_user_is_kept() -> None:
    long = [message for number in range(40) for message in (user(f"{number} " * 200), assistant("Yes. " * 200))]
    asked = request(told("The user likes tea."), assistant("Good."), told("Today is Monday."), assistant("So."), *long)
    fitted = fit(msgspec.structs.replace(asked, messages=(*asked.messages, user("And now?"))), OTHER)
    assert fitted.turns_left_out > 2
    assert fitted.request.messages[0].parts[:2] == (  # type: ignore[union-attr]
        ContextPart(text="The user likes tea."),
        ContextPart(text="Today is Monday."),
    )
    huge = request(
        told("x" * 90_000), assistant("Good."), told("Today is Monday."), assistant("So."), *long, user("Now?")
    )
    first = fit(huge, OTHER).request.messages[0]
    assert [part for part in first.parts if isinstance(part, ContextPart)] == [ContextPart(text="Today is Monday.")]  # type: ignore[union-attr]
