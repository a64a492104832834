"""Requests of the Chat Completions dialect: what every server accepts, whoever made the history."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.backends.openai_chat import encode as made
from greenroom.backends.openai_chat import notices
from greenroom.backends.openai_models import traits_of
from greenroom.config import EFFORTS, ReasoningEffort
from greenroom.interfaces import BackendRequest
from greenroom.large import settled
from greenroom.messages import (
    AssistantMessage,
    AssistantPart,
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
from greenroom.testing.strict_openai_rules import refusals


def encode(request: BackendRequest, **facts: Any) -> dict[str, Any]:
    """Returns a request as it goes out, its files in base64."""
    body: dict[str, Any] = settled(made(request, **facts))
    return body


SYSTEM = "You are kind."
TOOL = ToolSpec(name="roll", description="Rolls.", parameters={"type": "object", "properties": {}})
CLAUDE = Sidecar(backend="claude", model="claude-x", data=msgspec.Raw(b'{"signature": "s"}'))


def user(text: str = "Hello") -> UserMessage:
    return UserMessage(parts=(TextPart(text=text),))


def assistant(*parts: AssistantPart) -> AssistantMessage:
    return AssistantMessage(parts=parts)


def call(call_id: str = "call_1", arguments: str = "{}") -> ToolCallPart:
    return ToolCallPart(call_id=call_id, name="roll", arguments=arguments)


def results(*call_ids: str) -> ToolMessage:
    return ToolMessage(results=tuple(ToolResult(call_id=call_id, name="roll", content="4") for call_id in call_ids))


def reasoning(
    text: str = "Hm.", *, model: str = "deepseek-reasoner", field: str = "reasoning_content"
) -> ReasoningPart:
    data = msgspec.Raw(json.dumps({"field": field}).encode())
    return ReasoningPart(text=text, sidecar=Sidecar(backend="openai", model=model, data=data))


def request(*messages: TranscriptMessage, model: str = "gpt-4o", **settings: Any) -> BackendRequest:
    return BackendRequest(model=model, system=SYSTEM, messages=messages or (user(),), **settings)


def encoded(*messages: TranscriptMessage, **settings: Any) -> dict[str, Any]:
    """Returns the body, which the strict rules accept."""
    body = encode(request(*messages, **settings))
    assert refusals(body) == []
    return body


def said(*messages: TranscriptMessage, **settings: Any) -> list[dict[str, Any]]:
    """Returns the messages behind the system prompt."""
    system, *rest = encoded(*messages, **settings)["messages"]
    assert system == {"role": "system", "content": "You are kind."}
    return rest


# --- settings -----------------------------------------------------------------------------------------------------------


def test_the_smallest_request() -> None:
    assert encode(BackendRequest(model="m", system="", messages=(user(),))) == {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": "Hello"}],
    }


def test_all_settings() -> None:
    body = encoded(
        temperature=0.5,
        top_p=0.9,
        max_tokens=100,
        stop=("END",),
        parallel_tool_calls=False,
        tools=(TOOL,),
        session_id="s1",
    )
    assert body["tools"] == [
        {
            "type": "function",
            "function": {"name": "roll", "description": "Rolls.", "parameters": {"type": "object", "properties": {}}},
        }
    ]
    settings = {name: body[name] for name in ("temperature", "top_p", "max_tokens", "stop", "parallel_tool_calls")}
    assert settings == {
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 100,
        "stop": ["END"],
        "parallel_tool_calls": False,
    }
    assert "prompt_cache_key" not in body


def test_parallel_tool_calls_only_with_tools() -> None:
    assert "parallel_tool_calls" not in encoded(parallel_tool_calls=True)


def test_the_cache_key_is_bounded() -> None:
    body = encode(request(), prompt_cache_key="s" * 100)
    assert body["prompt_cache_key"] == "s" * 64
    assert refusals(body) == []


REASONING_MODELS = (
    "o1", "o3-mini", "o4-mini-2025-04-16", "openai/o3", "gpt-5", "gpt-5-mini", "gpt-5.2", "gpt-5.4-nano-2026-03-17", "gpt-6-sol", "openai/gpt-5",
    "ft:o4-mini:org",
)  # fmt: skip
OTHER_OPENAI_MODELS = ("gpt-4o", "gpt-4.1-mini", "gpt-3.5-turbo", "chatgpt-4o-latest", "ft:gpt-4o:org::id", "gpt-4")
FOREIGN_MODELS = (
    "llama3.2",
    "gpt-oss-120b",
    "openai/gpt-oss-20b",
    "o1js",
    "qwen3",
    "deepseek-chat",
    "grok-4",
    "gpt-neo",
    "gpt2",
)


@pytest.mark.parametrize("model", REASONING_MODELS)
@pytest.mark.parametrize("effort", EFFORTS)
def test_reasoning_models(model: str, effort: ReasoningEffort) -> None:
    tools = () if traits_of(model).wants_responses(effort) else (TOOL,)
    body = encoded(
        model=model, max_tokens=9, temperature=0.5, top_p=0.5, stop=("x",), reasoning_effort=effort, parallel_tool_calls=True, tools=tools
    )  # fmt: skip
    assert body["max_completion_tokens"] == 9
    assert body["reasoning_effort"] in EFFORTS
    assert not {"max_tokens", "temperature", "top_p", "stop"} & set(body)


@pytest.mark.parametrize("model", OTHER_OPENAI_MODELS)
def test_other_models_of_openai_do_not_reason(model: str) -> None:
    body = encoded(model=model, max_tokens=9, temperature=0.5, reasoning_effort="high")
    assert (body["max_tokens"], body["temperature"]) == (9, 0.5)
    assert "reasoning_effort" not in body


@pytest.mark.parametrize("model", FOREIGN_MODELS)
def test_foreign_models_get_what_was_set(model: str) -> None:
    body = encoded(model=model, max_tokens=9, temperature=0.5, reasoning_effort="none", stop=("x",))
    assert (body["max_tokens"], body["temperature"], body["reasoning_effort"], body["stop"]) == (9, 0.5, "none", ["x"])


def test_chat_models_among_the_reasoning_ones() -> None:
    body = encode(request(model="gpt-5-chat-latest", max_tokens=9, temperature=0.5, reasoning_effort="low"))
    assert (body["max_completion_tokens"], body["temperature"]) == (9, 0.5)
    assert "reasoning_effort" not in body


@pytest.mark.parametrize(
    ("settings", "codes"),
    [
        ({}, []),
        ({"temperature": 0.5, "top_p": 0.5, "stop": ("x",), "max_tokens": 9}, []),
        ({"reasoning_effort": "high"}, ["reasoning_effort_ignored"]),
        ({"reasoning_effort": "none"}, []),
        ({"thinking_budget_tokens": 2048}, ["thinking_budget_tokens_ignored"]),
        (
            {"model": "o3", "temperature": 0.5, "top_p": 0.5, "stop": ("x",), "parallel_tool_calls": True},
            ["temperature_ignored", "top_p_ignored", "stop_ignored", "parallel_tool_calls_ignored"],
        ),
        ({"model": "o3", "parallel_tool_calls": False}, []),
        ({"model": "o3", "reasoning_effort": "minimal"}, ["reasoning_effort_changed"]),
        ({"model": "gpt-5", "reasoning_effort": "minimal"}, []),
        ({"model": "gpt-5", "reasoning_effort": "none"}, ["reasoning_effort_changed"]),
        ({"model": "gpt-5.2", "reasoning_effort": "none"}, []),
        ({"model": "llama3", "reasoning_effort": "minimal", "temperature": 1.0}, []),
    ],
)
def test_notices(settings: dict[str, Any], codes: list[str]) -> None:
    given = notices(request(**settings))
    assert [notice.code for notice in given] == codes
    assert all(str(settings.get("model", "gpt-4o")) in notice.text for notice in given)


def test_long_descriptions_of_tools() -> None:
    tool = msgspec.structs.replace(TOOL, description="x" * 2000)
    [cut] = encoded(tools=(tool,))["tools"]
    assert len(cut["function"]["description"]) == 1024
    assert [notice.code for notice in notices(request(tools=(tool,)))] == ["tool_descriptions_cut"]
    [whole] = encoded(tools=(tool,), model="llama3")["tools"]
    assert len(whole["function"]["description"]) == 2000
    assert notices(request(tools=(tool,), model="llama3")) == []
    assert "description" not in encoded(tools=(msgspec.structs.replace(TOOL, description=""),))["tools"][0]["function"]


# --- messages -----------------------------------------------------------------------------------------------------------


def test_a_turn_with_tools() -> None:
    history = (user(), assistant(TextPart(text="Wait."), call("1"), call("2")), results("1", "2"))
    assert said(*history, tools=(TOOL,)) == [
        {"role": "user", "content": "Hello"},
        {
            "role": "assistant",
            "content": "Wait.",
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "roll", "arguments": "{}"}},
                {"id": "2", "type": "function", "function": {"name": "roll", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": "4"},
        {"role": "tool", "tool_call_id": "2", "content": "4"},
    ]


def test_calls_alone_have_no_content() -> None:
    assert said(user(), assistant(call()), results("call_1"))[1]["content"] is None


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ('{"a": 1}', '{"a": 1}'),
        (' {"b":  2} ', ' {"b":  2} '),
        ("", "{}"),
        ("  ", "{}"),
        ('{"a": ', '{"invalid_json":"{\\"a\\": "}'),
        ("[1]", '{"invalid_json":"[1]"}'),
        ("null", "{}"),
        ('{"a": "x\ny"}', '{"a":"x\\ny"}'),
        ('"{\\"a\\": 1}"', '{"a":1}'),
        ('{"a": 1}{}', '{"invalid_json":"{\\"a\\": 1}{}"}'),
    ],
)
def test_arguments_are_always_a_json_object(arguments: str, sent: str) -> None:
    [tool_call] = said(user(), assistant(call(arguments=arguments)), results("call_1"))[1]["tool_calls"]
    assert tool_call["function"]["arguments"] == sent


def test_what_other_providers_said() -> None:
    history = (
        user(),
        assistant(
            ReasoningPart(text="Hm.", sidecar=CLAUDE),
            TextPart(text="One."),
            OpaquePart(sidecar=CLAUDE),
            TextPart(text="Two."),
        ),
        user("More"),
        assistant(RefusalPart(text="I cannot.")),
        user("Well"),
    )
    assert said(*history) == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "One.\n\nTwo."},
        {"role": "user", "content": "More"},
        {"role": "assistant", "content": "I cannot."},
        {"role": "user", "content": "Well"},
    ]


def test_a_message_that_only_its_provider_understands() -> None:
    history = (user("A"), assistant(ReasoningPart(text="", sidecar=CLAUDE), OpaquePart(sidecar=CLAUDE)), user("B"))
    assert said(*history) == [{"role": "user", "content": "A\n\nB"}]


def test_what_is_told_of_the_user_stands_beside_the_message() -> None:
    """Case P17 (janhq/jan#8958): in one text, the form that every server knows."""
    told = UserMessage(parts=(ContextPart(text="It is Monday."), TextPart(text="Hello.")))
    assert said(told) == [{"role": "user", "content": "It is Monday.\n\nHello."}]


def test_attachments() -> None:
    files = (
        FilePart(media_type="image/png", data=b"png", name="a.png"),
        FilePart(media_type="application/pdf", data=b"%PDF"),
        FilePart(media_type="audio/mpeg", data=b"mp3"),
        FilePart(media_type="text/csv; charset=utf-8", data="a;ü".encode(), name="t.csv"),
        FilePart(media_type="application/json", data=b"{}"),
    )
    [message] = said(UserMessage(parts=(TextPart(text="Look:"), *files)), model="gpt-audio")
    assert message["content"] == [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(b'png').decode()}"}},
        {"type": "file", "file": {"filename": "file", "file_data": "data:application/pdf;base64,JVBERg=="}},
        {"type": "input_audio", "input_audio": {"data": "bXAz", "format": "mp3"}},
        {"type": "text", "text": "File t.csv:\na;ü"},
        {"type": "text", "text": "File without a name:\n{}"},
    ]


# --- ids ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["gpt-4o", "llama3"])
@pytest.mark.parametrize("call_id", ["chatcmpl-tool-" + "a" * 32, "x" * 64])
def test_long_ids_are_shortened_alike_in_call_and_result(model: str, call_id: str) -> None:
    _, asked, answered = said(user(), assistant(call(call_id)), results(call_id), model=model)
    assert asked["tool_calls"][0]["id"] == answered["tool_call_id"]
    assert len(answered["tool_call_id"]) == 40


@pytest.mark.parametrize(
    "model", ["mistral-large-latest", "mistralai/Mixtral-8x7B", "codestral-latest", "open-mistral-7b"]
)
def test_mistral_takes_ids_of_nine_characters(model: str) -> None:
    history = (user(), assistant(call("call_A-1"), call("D681PevKs")), results("call_A-1", "D681PevKs"))
    _, asked, first, second = said(*history, model=model)
    ids = [entry["id"] for entry in asked["tool_calls"]]
    assert ids == [first["tool_call_id"], second["tool_call_id"]]
    assert ids[1] == "D681PevKs"
    assert len(ids[0]) == 9
    assert ids[0].isalnum()


# --- reasoning that goes back -------------------------------------------------------------------------------------------


def test_deepseek_gets_its_reasoning_back_in_turns_with_tools() -> None:
    history = (
        user(),
        assistant(reasoning("Plain."), TextPart(text="Hi.")),
        user("Roll"),
        assistant(reasoning("First."), call("1")),
        results("1"),
        assistant(reasoning("Second."), TextPart(text="Four.")),
        user("Thanks"),
    )
    sent = said(*history, model="deepseek-reasoner")
    assert [message.get("reasoning_content") for message in sent] == [None, None, None, "First.", None, "Second.", None]
    sent = said(*history, model="kimi-k2")
    assert not any("reasoning_content" in message for message in sent)


def test_deepseek_gets_a_field_also_for_calls_that_others_made() -> None:
    history = (user(), assistant(ReasoningPart(text="Hm.", sidecar=CLAUDE), call("1")), results("1"))
    assert said(*history, model="deepseek-chat")[1]["reasoning_content"] == ""
    assert "reasoning_content" not in said(*history, model="deepseek-r1-distill-llama-70b")[1]
    assert "reasoning_content" not in said(*history, model="gpt-4o")[1]


def test_other_models_get_their_own_reasoning_back() -> None:
    history = (user(), assistant(reasoning(model="kimi-k2-thinking"), call("1")), results("1"))
    assert said(*history, model="kimi-k2-thinking")[1]["reasoning_content"] == "Hm."
    assert said(*history, model="kimi-k3")[1]["reasoning_content"] == "", "wanted, and not this model's own"
    assert "reasoning_content" not in said(*history, model="glm-4.6")[1]
    unknown = (user(), assistant(reasoning(model="m", field="thoughts"), call("1")), results("1"))
    assert "reasoning_content" not in said(*unknown, model="m")[1]


# --- the same history, the same bytes -----------------------------------------------------------------------------------


turns = st.lists(
    st.sampled_from(
        [
            (assistant(TextPart(text="Yes.")),),
            (assistant(reasoning(), TextPart(text="Yes.")),),
            (assistant(reasoning(), call("{n}")), results("{n}"), assistant(reasoning("So."), TextPart(text="4."))),
            (assistant(call("{n}", "{broken")), results("{n}")),
            (assistant(TextPart(text="A"), call("{n}"), call("{n}b")), results("{n}", "{n}b"), assistant(RefusalPart(text="No."))),
        ]
    ),
    min_size=1,
    max_size=5,
)  # fmt: skip


@given(turns=turns, model=st.sampled_from(["gpt-4o", "deepseek-reasoner", "mistral-small", "o3"]))
def test_a_longer_history_begins_with_the_shorter_one(turns: list[tuple[TranscriptMessage, ...]], model: str) -> None:
    history: list[TranscriptMessage] = []
    shorter: list[bytes] = []
    for number, turn in enumerate(turns):
        history.append(user(f"Question {number}"))
        for message in turn:
            history.append(numbered(message, number))
            body = encode(request(*history, model=model, tools=(TOOL,), temperature=0.5))
            if not isinstance(message, AssistantMessage) or not any(
                isinstance(part, ToolCallPart) for part in message.parts
            ):
                assert refusals(body) == []
            longer = [msgspec.json.encode(entry) for entry in body["messages"]]
            assert longer[: len(shorter)] == shorter
            assert list(body)[-1] == "messages"
            shorter = longer
    assert encode(request(*history, model=model)) == encode(request(*history, model=model))


def numbered(message: TranscriptMessage, number: int) -> TranscriptMessage:
    """Returns the message with ids that are unique in the history."""
    return msgspec.json.decode(msgspec.json.encode(message).replace(b"{n}", b"call_%d" % number), type=type(message))


def test_traits_are_looked_up_once() -> None:
    assert traits_of("gpt-4o") is traits_of("gpt-4o")


# --- what else goes back ------------------------------------------------------------------------------------------------

SIGNED = {"google": {"thought_signature": "sig-1"}}
DETAILS = [{"type": "reasoning.encrypted", "data": "blob", "id": "rs_1", "index": 0}]


def own(model: str, **fields: Any) -> Sidecar:
    return Sidecar(backend="openai", model=model, data=msgspec.Raw(msgspec.json.encode(fields)))


def signed(call_id: str, *, model: str) -> ToolCallPart:
    return ToolCallPart(call_id=call_id, name="roll", arguments="{}", sidecar=own(model, extra_content=SIGNED))


def test_a_signed_call_goes_back_to_its_model() -> None:
    history = (user(), assistant(signed("1", model="gemini-3-pro"), call("2")), results("1", "2"))
    calls = said(*history, model="gemini-3-pro")[1]["tool_calls"]
    assert [entry.get("extra_content") for entry in calls] == [SIGNED, None]
    assert "extra_content" not in said(*history, model="gpt-4o")[1]["tool_calls"][0]


def test_openai_itself_is_sent_no_field_of_others() -> None:
    """Another server may have answered under the name of OpenAI's model."""
    history = (user(), assistant(signed("a", model="gpt-4o")), results("a"))
    assert "extra_content" not in said(*history, model="gpt-4o")[1]["tool_calls"][0]


def test_a_call_that_gemini_did_not_make_says_so() -> None:
    history = (user(), assistant(call("1"), call("2")), results("1", "2"))
    first, second = said(*history, model="models/gemini-3-flash")[1]["tool_calls"]
    assert first["extra_content"]["google"]["thought_signature"] == "skip_thought_signature_validator"
    assert "extra_content" not in second, "one signature for each step"
    assert "extra_content" not in said(*history, model="google/gemini-3-pro")[1]["tool_calls"][0], "a gateway's name"


def test_details_go_back_with_their_message() -> None:
    part = OpaquePart(sidecar=own("google/gemini-3-pro", reasoning_details=DETAILS, surprise=1))
    history = (user(), assistant(call("1"), part), results("1"))
    message = said(*history, model="google/gemini-3-pro")[1]
    assert message["reasoning_details"] == DETAILS
    assert "surprise" not in message
    assert "reasoning_details" not in said(*history, model="openai/gpt-oss-120b")[1]


def test_sidecars_that_are_broken_cost_nothing() -> None:
    broken = Sidecar(backend="openai", model="m", data=msgspec.Raw(b"[1]"))
    history = (user(), assistant(ReasoningPart(text="Hm.", sidecar=broken), OpaquePart(sidecar=broken), call("1")))
    assert said(*history, results("1"), model="m")[1]["tool_calls"][0]["id"] == "1"
