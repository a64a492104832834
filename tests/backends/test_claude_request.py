"""Every history renders to a request that the Messages API accepts, and to the same bytes as before plus what is new."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom.backends.claude_messages import encode as made
from greenroom.backends.claude_messages import notices
from greenroom.backends.claude_models import model_of
from greenroom.backends.claude_settings import EFFORT_BUDGETS, headers_of
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
from greenroom.testing.strict_claude_rules import MODELS, refusals

ADAPTIVE, OLD = "claude-opus-5-5", "claude-haiku-4-5"
SDK_HEADERS = {"anthropic-version": "2026-10-21"}
ROLL = ToolSpec(name="roll", description="Rolls dice.", parameters={"type": "object", "properties": {}})


def encode(request: BackendRequest, **facts: Any) -> dict[str, Any]:
    """Returns a request as it goes out, its files in base64."""
    body: dict[str, Any] = settled(made(request, **facts))
    return body


def asking(*messages: TranscriptMessage, model: str = ADAPTIVE, **fields: Any) -> BackendRequest:
    fields.setdefault("system", "Be brief.")
    fields.setdefault("tools", (ROLL,))
    return BackendRequest(model=model, messages=messages, **fields)


def user(*texts: str) -> UserMessage:
    return UserMessage(parts=tuple(TextPart(text=text) for text in texts))


def assistant(*parts: AssistantPart) -> AssistantMessage:
    return AssistantMessage(parts=parts)


def call(call_id: str = "c1", arguments: str = "{}", name: str = "roll") -> ToolCallPart:
    return ToolCallPart(call_id=call_id, name=name, arguments=arguments)


def results(*call_ids: str) -> ToolMessage:
    return ToolMessage(results=tuple(ToolResult(call_id=call_id, name="roll", content="4") for call_id in call_ids))


def sidecar(model: str = ADAPTIVE, *, backend: str = "claude", **block: Any) -> Sidecar:
    return Sidecar(backend=backend, model=model, data=msgspec.Raw(json.dumps(block).encode()))


def thought(text: str = "Hm.", model: str = ADAPTIVE, **more: Any) -> ReasoningPart:
    return ReasoningPart(text=text, sidecar=sidecar(model, type="thinking", thinking=text, signature="s", **more))


def refused(request: BackendRequest) -> list[str]:
    body = encode(request)
    msgspec.json.encode(body)
    return refusals(body, headers=SDK_HEADERS | headers_of(body))


def content(request: BackendRequest) -> list[tuple[str, list[dict[str, Any]]]]:
    """Returns the messages without the breakpoints."""
    return [
        (
            message["role"],
            [{name: value for name, value in block.items() if name != "cache_control"} for block in message["content"]],
        )
        for message in encode(request)["messages"]
    ]


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


# --- messages -----------------------------------------------------------------------------------------------------------


def test_a_conversation_with_a_tool() -> None:
    request = asking(
        user("Roll a die."),
        assistant(thought(), TextPart(text="Let me."), call(arguments='{"n": 1}')),
        ToolMessage(results=(ToolResult(call_id="c1", name="roll", content="4"),)),
        assistant(TextPart(text="A four.")),
        user("Again."),
    )
    assert content(request) == [
        ("user", [text("Roll a die.")]),
        (
            "assistant",
            [
                {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                text("Let me."),
                {"type": "tool_use", "id": "c1", "name": "roll", "input": {"n": 1}},
            ],
        ),
        ("user", [{"type": "tool_result", "tool_use_id": "c1", "content": "4"}]),
        ("assistant", [text("A four.")]),
        ("user", [text("Again.")]),
    ]
    body = encode(request)
    assert body["system"] == [text("Be brief.") | {"cache_control": {"type": "ephemeral"}}]
    assert body["tools"][0]["input_schema"] == ROLL.parameters
    assert body["stream"] is True
    assert refused(request) == []


def test_words_behind_results_share_a_message_with_them() -> None:
    request = asking(user("Roll."), assistant(call("c1"), call("c2")), results("c1", "c2"), user("Stop!"))
    kinds = [[block["type"] for block in blocks] for _, blocks in content(request)]
    assert kinds == [["text"], ["tool_use", "tool_use"], ["tool_result", "tool_result", "text"]]
    assert refused(request) == []


@pytest.mark.parametrize("outcome", ["error", "cancelled", "unknown"])
def test_a_result_that_is_none_is_marked(outcome: Any) -> None:
    failed = ToolMessage(results=(ToolResult(call_id="c1", name="roll", content="No dice.", outcome=outcome),))
    request = asking(user("Roll."), assistant(call()), failed)
    assert content(request)[-1][1] == [
        {"type": "tool_result", "tool_use_id": "c1", "content": "No dice.", "is_error": True}
    ]


@pytest.mark.parametrize(
    ("arguments", "given_back"),
    [
        ('{"a": [1, 2.5]}', {"a": [1, 2.5]}),
        ("", {}),
        (" ", {}),
        ("[1]", {"invalid_json": "[1]"}),
        ('{"a": ', {"invalid_json": '{"a": '}),
        ('"text"', {"invalid_json": '"text"'}),
        ("1e999", {"invalid_json": "1e999"}),
        ("null", {}),
        ('{"a": "x\ny"}', {"a": "x\ny"}),
        ('"{\\"a\\": 1}"', {"a": 1}),
    ],
)
def test_arguments_go_back_as_an_object_whatever_they_were(arguments: str, given_back: Any) -> None:
    request = asking(user("Roll."), assistant(call(arguments=arguments)), results("c1"))
    assert content(request)[1][1][0]["input"] == given_back
    assert refused(request) == []


@pytest.mark.parametrize(
    ("name", "sent"), [("functions.roll", "functions_roll"), ("würfeln", "w_rfeln"), ("", "unnamed")]
)
def test_names_that_a_model_made_up_become_names(name: str, sent: str) -> None:
    request = asking(user("Roll."), assistant(call(name=name)), results("c1"))
    assert content(request)[1][1][0]["name"] == sent
    assert refused(request) == []


def test_a_message_with_nothing_in_it_that_can_be_sent_is_left_out() -> None:
    for nothing in (TextPart(text=" \n"), RefusalPart(text=" "), ReasoningPart(text="Hm."), thought("x")):
        request = asking(user("Hello."), assistant(nothing), user("Hello?"))
        assert content(request) == [("user", [text("Hello."), text("Hello?")])]
        assert refused(request) == []
    assert content(asking(user(" "))) == [("user", [text("(empty message)")])]


def test_a_refusal_is_text() -> None:
    request = asking(user("Do it."), assistant(RefusalPart(text="No.")), user("Please."))
    assert content(request)[1] == ("assistant", [text("No.")])


def test_a_final_assistant_message_has_no_trailing_whitespace() -> None:
    request = asking(user("Go on."), assistant(TextPart(text="Once upon \n")), model=OLD)
    assert content(request)[-1] == ("assistant", [text("Once upon")])
    assert refused(request) == []


# --- files --------------------------------------------------------------------------------------------------------------


def shown(file: FilePart) -> dict[str, Any]:
    request = asking(UserMessage(parts=(TextPart(text="Look."), file)))
    assert refused(request) == []
    return content(request)[0][1][1]


def test_images_and_documents_are_shown() -> None:
    data = base64.b64encode(b"\x89PNG").decode()
    for named in ("image/png", "IMAGE/PNG; q=1"):
        source = {"type": "base64", "media_type": "image/png", "data": data}
        assert shown(FilePart(media_type=named, data=b"\x89PNG", name="a.png")) == {"type": "image", "source": source}
    assert shown(FilePart(media_type="image/jpg", data=b"x"))["source"]["media_type"] == "image/jpeg"
    assert shown(FilePart(media_type="application/pdf", data=b"%PDF", name="a.pdf")) == {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(b"%PDF").decode()},
        "title": "a.pdf",
    }


def test_other_files_are_shown_as_text_or_named() -> None:
    table = FilePart(media_type="text/csv", data=b"\xef\xbb\xbfa,b\n", name="t.csv")
    assert shown(table) == text("[t.csv (text/csv)]\na,b\n")
    archive = FilePart(media_type="application/zip", data=b"PK\x03\xff", name="t.zip")
    assert shown(archive) == text(
        "[t.zip (application/zip): 4 bytes that cannot be shown here: not text, an image or a PDF]"
    )
    told = notices(asking(UserMessage(parts=(table, archive))))
    assert [notice.code for notice in told] == ["attachment_not_shown"]
    assert "t.zip" in told[0].text


# --- what only this model understands -----------------------------------------------------------------------------------

OWN = {"type": "thinking", "thinking": "Hm.", "signature": "s"}


@pytest.mark.parametrize(
    ("part", "goes_back"),
    [
        (thought(), True),
        (thought(model="claude-sonnet-5-5"), False),
        (ReasoningPart(text="Hm.", sidecar=sidecar(backend="openai", **OWN)), False),
        (ReasoningPart(text="Hm."), False),
        (OpaquePart(sidecar=sidecar(type="redacted_thinking", data="x")), True),
        (OpaquePart(sidecar=sidecar("other", type="redacted_thinking", data="x")), False),
        (ReasoningPart(text="Hm.", sidecar=Sidecar(backend="claude", model=ADAPTIVE, data=msgspec.Raw(b"[1"))), False),
        (ReasoningPart(text="Hm.", sidecar=sidecar(thinking="no type")), False),
    ],
)
def test_a_block_goes_back_to_the_model_that_made_it(part: AssistantPart, goes_back: bool) -> None:  # noqa: FBT001
    request = asking(user("Roll."), assistant(part, call()), results("c1"))
    kinds = [block["type"] for block in content(request)[1][1]]
    assert len(kinds) == (2 if goes_back else 1)
    assert kinds[-1] == "tool_use"
    assert refused(request) == []


def test_citations_and_callers_go_back() -> None:
    cited = sidecar(type="text", text="So.", citations=[{"type": "web_search_result_location", "url": "u"}])
    caller = {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"}
    request = asking(
        user("Look it up."),
        assistant(
            TextPart(text="So.", sidecar=cited),
            ToolCallPart(call_id="c1", name="roll", arguments="{}", sidecar=sidecar(type="tool_use", caller=caller)),
        ),
        results("c1"),
    )
    blocks = content(request)[1][1]
    assert blocks[0] == msgspec.json.decode(cited.data)
    assert blocks[1] == {"type": "tool_use", "id": "c1", "name": "roll", "input": {}, "caller": caller}
    elsewhere = content(msgspec.structs.replace(request, model="claude-opus-5"))[1][1]
    assert elsewhere == [text("So."), {"type": "tool_use", "id": "c1", "name": "roll", "input": {}}]


SEARCH = OpaquePart(sidecar=sidecar(type="server_tool_use", id="s1", name="web_search", input={}))
FOUND = OpaquePart(sidecar=sidecar(type="web_search_tool_result", tool_use_id="s1", content=[]))


def test_the_providers_tools_go_back_in_pairs() -> None:
    both = asking(user("Search."), assistant(SEARCH, FOUND, TextPart(text="So.")), user("More."))
    assert [block["type"] for block in content(both)[1][1]] == ["server_tool_use", "web_search_tool_result", "text"]
    for half in (SEARCH, FOUND):
        cut = asking(user("Search."), assistant(TextPart(text="Let me."), half), user("Well?"))
        assert content(cut)[1] == ("assistant", [text("Let me.")])
        assert refused(cut) == []
    paused = asking(user("Search."), assistant(TextPart(text="Let me."), SEARCH))
    assert [block["type"] for block in content(paused)[-1][1]] == ["text", "server_tool_use"]
    assert refused(paused) == []


def test_thinking_never_comes_last() -> None:
    request = asking(user("Roll."), assistant(TextPart(text="Well,"), thought()), user("Yes?"))
    assert content(request)[1] == ("assistant", [text("Well,")])


# --- thinking -----------------------------------------------------------------------------------------------------------

FOREIGN_LOOP = (user("Roll."), assistant(call()), results("c1"))


def thinking(model: str, **fields: Any) -> tuple[Any, Any]:
    request = asking(user("Why?"), model=model, **fields)
    assert refused(request) == []
    body = encode(request)
    return body.get("thinking"), body.get("output_config", {}).get("effort")


SHOWN = {"type": "adaptive", "display": "summarized"}
BOUND = SHOWN | {"block_binding": {"prefix_mismatch_behavior": "drop_block"}}


@pytest.mark.parametrize(
    ("model", "fields", "config", "effort"),
    [
        ("claude-opus-5-5", {}, BOUND, None),
        ("claude-opus-5-5", {"reasoning_effort": "high"}, BOUND, "high"),
        ("claude-opus-5-5", {"reasoning_effort": "minimal"}, BOUND, "low"),
        ("claude-opus-5-5", {"reasoning_effort": "none"}, BOUND, "low"),
        ("claude-opus-5-5", {"thinking_budget_tokens": 5_000}, BOUND, None),
        ("claude-fable-5-1", {"reasoning_effort": "none"}, BOUND, "low"),
        ("claude-sonnet-5-5", {"reasoning_effort": "none"}, {"type": "between_tools"}, None),
        ("claude-haiku-5-5", {"reasoning_effort": "none"}, {"type": "disabled"}, None),
        ("claude-opus-5", {}, SHOWN, None),
        ("claude-opus-5", {"reasoning_effort": "none"}, {"type": "disabled"}, None),
        ("claude-opus-4-8", {}, None, None),
        ("claude-opus-4-8", {"reasoning_effort": "none"}, None, None),
        ("claude-opus-4-8", {"reasoning_effort": "medium"}, SHOWN, "medium"),
        ("claude-opus-4-8", {"thinking_budget_tokens": 5_000}, SHOWN, None),
        ("claude-sonnet-4-6", {"thinking_budget_tokens": 5_000}, {"type": "enabled", "budget_tokens": 5_000}, None),
        ("claude-sonnet-4-6", {"reasoning_effort": "low"}, SHOWN, "low"),
        ("claude-opus-4-5", {"reasoning_effort": "high"}, {"type": "enabled", "budget_tokens": 16_384}, "high"),
        ("claude-haiku-4-5", {"reasoning_effort": "low"}, {"type": "enabled", "budget_tokens": 4_096}, None),
        ("claude-haiku-4-5", {"thinking_budget_tokens": 2_000}, {"type": "enabled", "budget_tokens": 2_000}, None),
        ("claude-haiku-4-5", {"reasoning_effort": "none"}, None, None),
        ("claude-haiku-4-5", {}, None, None),
        ("claude-3-5-haiku-20241022", {"reasoning_effort": "high"}, None, None),
        ("qwen3:8b", {"reasoning_effort": "medium"}, {"type": "enabled", "budget_tokens": 4_096}, None),
    ],
)
def test_thinking_is_asked_for_in_the_models_own_way(model: str, fields: Any, config: Any, effort: Any) -> None:
    assert thinking(model, **fields) == (config, effort)


@pytest.mark.parametrize(
    ("fields", "max_tokens", "budget"),
    [
        ({"thinking_budget_tokens": 60_000}, 64_000, 60_000),
        ({"thinking_budget_tokens": 900_000}, 64_000, 63_999),
        ({"thinking_budget_tokens": 2_000, "max_tokens": 3_000}, 3_000, 2_000),
        ({"reasoning_effort": "high", "max_tokens": 4_000}, 4_000, 2_000),
        ({"reasoning_effort": "high", "max_tokens": 1_100}, 1_100, 1_024),
        ({"reasoning_effort": "high", "max_tokens": 1_000}, 1_000, None),
        ({"reasoning_effort": "low", "max_tokens": 99_999}, 64_000, EFFORT_BUDGETS["low"]),
    ],
)
def test_a_budget_leaves_room_for_the_answer(fields: Any, max_tokens: int, budget: int | None) -> None:
    request = asking(user("Why?"), model=OLD, **fields)
    body = encode(request)
    assert body["max_tokens"] == max_tokens
    assert body.get("thinking", {}).get("budget_tokens") == budget
    assert refused(request) == []


def test_a_loop_that_began_elsewhere_goes_on_without_a_thinking_budget() -> None:
    fields: dict[str, Any] = {"model": OLD, "thinking_budget_tokens": 2_000}
    own = assistant(thought(model=OLD), call("c2"))
    assert "thinking" not in encode(asking(*FOREIGN_LOOP, **fields))
    assert "thinking" not in encode(asking(*FOREIGN_LOOP, own, results("c2"), **fields))
    assert "thinking" not in encode(asking(*FOREIGN_LOOP, user("Stop."), **fields))
    assert "thinking" in encode(
        asking(user("Roll."), own, results("c2"), assistant(call("c3")), results("c3"), **fields)
    )
    assert "thinking" in encode(asking(*FOREIGN_LOOP, assistant(TextPart(text="4")), user("Again."), **fields))
    assert encode(asking(*FOREIGN_LOOP, model=ADAPTIVE))["thinking"]["type"] == "adaptive"


def test_without_thinking_earlier_thinking_stays_at_home() -> None:
    history = (user("Roll."), assistant(thought(model="claude-sonnet-5-5"), call()), results("c1"))
    for effort, count in ((None, 2), ("none", 1)):
        request = asking(*history, model="claude-sonnet-5-5", reasoning_effort=effort)
        assert len(content(request)[1][1]) == count
        assert refused(request) == []


# --- settings and notices -----------------------------------------------------------------------------------------------


def told(**fields: Any) -> list[str]:
    request = asking(user("Hello."), **fields)
    assert refused(request) == []
    return [notice.code for notice in notices(request)]


@pytest.mark.parametrize(
    ("fields", "codes"),
    [
        ({"model": "claude-opus-5-5"}, []),
        ({"model": "claude-opus-5-5", "temperature": 0.5, "top_p": 0.9}, ["temperature_ignored", "top_p_ignored"]),
        ({"model": "claude-opus-5-5", "thinking_budget_tokens": 2_000}, ["thinking_budget_tokens_ignored"]),
        ({"model": "claude-opus-5-5", "reasoning_effort": "none"}, ["reasoning_effort_changed"]),
        ({"model": "claude-opus-5-5", "reasoning_effort": "minimal"}, ["reasoning_effort_changed"]),
        ({"model": "claude-opus-5-5", "reasoning_effort": "high", "max_tokens": 500}, []),
        ({"model": "claude-opus-5-5", "max_tokens": 900_000}, ["max_tokens_changed"]),
        ({"model": "claude-opus-5-5", "stop": ("END", " ")}, ["stop_ignored"]),
        ({"model": "claude-haiku-4-5", "temperature": 0.5}, []),
        ({"model": "claude-haiku-4-5", "temperature": 1.5}, ["temperature_changed"]),
        ({"model": "claude-haiku-4-5", "temperature": 0.5, "top_p": 0.5}, ["top_p_ignored"]),
        ({"model": "claude-haiku-4-5", "temperature": 0.5, "thinking_budget_tokens": 2_000}, ["temperature_ignored"]),
        ({"model": "claude-haiku-4-5", "reasoning_effort": "high", "max_tokens": 1_000}, ["reasoning_effort_ignored"]),
        (
            {"model": "claude-haiku-4-5", "reasoning_effort": "high", "thinking_budget_tokens": 2_000},
            ["reasoning_effort_ignored"],
        ),
        (
            {"model": "claude-haiku-4-5", "reasoning_effort": "none", "thinking_budget_tokens": 2_000},
            ["thinking_budget_tokens_ignored"],
        ),
        ({"model": "claude-haiku-4-5", "thinking_budget_tokens": 90_000}, ["thinking_budget_tokens_changed"]),
        ({"model": "claude-3-haiku-20240307", "reasoning_effort": "low"}, ["reasoning_effort_ignored"]),
        ({"model": "a-local-model", "temperature": 0.5, "top_p": 0.5}, []),
    ],
)
def test_a_setting_that_is_not_kept_is_told(fields: Any, codes: list[str]) -> None:
    assert told(**fields) == codes


def test_settings_that_are_kept_are_sent() -> None:
    request = asking(
        user("Hello."), model=OLD, temperature=0.5, max_tokens=100, stop=("END", "END", "\n"), parallel_tool_calls=False
    )
    body = encode(request)
    assert {name: body[name] for name in ("temperature", "max_tokens", "stop_sequences", "tool_choice")} == {
        "temperature": 0.5,
        "max_tokens": 100,
        "stop_sequences": ["END"],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    }
    # Since its version of 2026-10-21 the API refuses sampling altogether.
    assert headers_of(body) == {"anthropic-version": "2023-06-01"}
    assert "tool_choice" not in encode(asking(user("Hello."), parallel_tool_calls=True))


def test_what_is_not_there_is_not_sent() -> None:
    body = encode(asking(user("Hello."), tools=(), system=" "))
    assert set(body) == {"model", "stream", "messages", "max_tokens", "thinking"}


def test_tools_that_have_vanished_are_named_and_may_not_be_called() -> None:
    request = asking(*FOREIGN_LOOP, tools=())
    body = encode(request)
    assert [tool["name"] for tool in body["tools"]] == ["roll"]
    assert body["tool_choice"] == {"type": "none"}
    assert refused(request) == []


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("anthropic/claude-opus-4.6", "claude-opus-4-6"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("claude-haiku-4-5@20251001", "claude-haiku-4-5"),
        ("claude-opus-4-5-20251101", "claude-opus-4-5"),
        ("claude-sonnet-6", "claude-sonnet-5-5"),
        ("claude-opus-latest", "claude-opus-5-5"),
        ("claude-novella-7-1", "claude-fable-5-1"),
    ],
)
def test_names_of_gateways_dates_and_later_models_are_understood(name: str, like: str) -> None:
    assert model_of(name) == model_of(like)


def test_older_models_are_known() -> None:
    assert [
        model_of(name).max_tokens for name in ("claude-2.1", "claude-3-opus-20240229", "claude-3-5-sonnet-20241022")
    ] == [
        4_096,
        4_096,
        8_192,
    ]
    assert model_of("claude-opus-4-20250514").max_tokens_max == 32_000
    assert model_of("claude-3-7-sonnet-20250219").thinking == "budget"


# --- caching ------------------------------------------------------------------------------------------------------------


def test_breakpoints_are_at_the_ends_of_what_comes_again() -> None:
    history = [user("Roll."), assistant(call("c1")), results("c1"), assistant(call("c2")), results("c2")]
    body = encode(asking(*history))
    marked = [place for place, message in enumerate(body["messages"]) if "cache_control" in message["content"][-1]]
    assert marked == [2, 4]
    assert "cache_control" in body["tools"][-1]
    assert ["cache_control" in block for block in body["system"]] == [True]
    assert json.dumps(body).count("cache_control") == 4
    before = encode(asking(*history[:3]))
    assert "cache_control" in before["messages"][2]["content"][-1]  # where the next step reads


def test_what_is_told_of_the_user_stands_beside_the_message() -> None:
    told = UserMessage(parts=(ContextPart(text="It is Monday."), TextPart(text="Hello.")))
    body = encode(asking(told, system=""))
    assert "system" not in body
    assert [block["text"] for block in body["messages"][0]["content"]] == ["It is Monday.", "Hello."]
    assert ["cache_control" in block for block in body["messages"][0]["content"]] == [False, True]


# --- any history --------------------------------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from([" ", "\n", "Hello ", "\t.", "\x00"])
models = st.sampled_from(sorted(MODELS))
files = st.builds(
    FilePart,
    media_type=st.sampled_from(["image/png", "image/jpg", "application/pdf", "text/plain", "image/tiff", ""]),
    data=st.binary(max_size=6),
    name=texts,
)
arguments = st.sampled_from(["{}", '{"a": 1}', "", "[]", "{", "null", '"\\ud800"', "\x00"]) | texts
names = st.sampled_from(["roll", "", "a.b c", "ü" * 80])
results_of = st.sampled_from(["ok", "error", "cancelled", "unknown"])


def sidecars(block: dict[str, Any]) -> st.SearchStrategy[Sidecar]:
    return st.builds(
        lambda model, backend: sidecar(model, backend=backend, **block), models, st.sampled_from(["claude", "openai"])
    )


THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
opaque_blocks = st.sampled_from(
    [
        {"type": "redacted_thinking", "data": "x"},
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
    ]
)
parts = st.one_of(
    st.builds(TextPart, text=texts),
    st.builds(
        lambda text, side: TextPart(text=text, sidecar=side),
        texts,
        sidecars({"type": "text", "text": "cited", "citations": [1]}),
    ),
    st.builds(ReasoningPart, text=texts),
    st.builds(lambda text, side: ReasoningPart(text=text, sidecar=side), texts, sidecars(THOUGHT)),
    st.builds(RefusalPart, text=texts),
    st.builds(lambda side: OpaquePart(sidecar=side), opaque_blocks.flatmap(sidecars)),
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[TranscriptMessage, ...]:
    """Draws a transcript as its rules allow: begins with a person's words, ends with them or with results; calls are answered."""
    messages: list[TranscriptMessage] = []
    call_ids = (f"{prefix}_{number}" for number, prefix in enumerate(["call", "toolu", "a-B", "9"] * 50))
    said = st.lists(st.builds(TextPart, text=texts) | files, min_size=1, max_size=3).map(
        lambda found: UserMessage(parts=tuple(found))
    )
    messages.append(draw(said))
    for _ in range(draw(st.integers(0, 4))):
        body: list[AssistantPart] = draw(st.lists(parts, min_size=1, max_size=4))
        calls = [
            ToolCallPart(call_id=next(call_ids), name=draw(names), arguments=draw(arguments))
            for _ in range(draw(st.integers(0, 2)))
        ]
        messages.append(AssistantMessage(parts=(*body, *calls)))
        if calls:
            answered = tuple(
                ToolResult(call_id=one.call_id, name=one.name, content=draw(texts) or "-", outcome=draw(results_of))
                for one in calls
            )
            messages.append(ToolMessage(results=answered))
        if not calls or draw(st.booleans()):
            messages.append(draw(said))
    return tuple(messages)


@st.composite
def requests(draw: st.DrawFn) -> BackendRequest:
    maybe: Any = lambda strategy: draw(st.none() | strategy)  # noqa: E731
    max_tokens = maybe(st.integers(1, 200_000))
    budget = maybe(st.integers(1_024, 200_000))
    if max_tokens is not None and budget is not None and budget >= max_tokens:
        budget = None  # the configuration refuses it
    return BackendRequest(
        model=draw(models),
        system=draw(texts),
        messages=draw(histories()),
        tools=draw(st.sampled_from([(), (ROLL,), (ROLL, msgspec.structs.replace(ROLL, name="look", description=""))])),
        temperature=maybe(st.floats(0, 2)),
        top_p=maybe(st.floats(0.01, 1)),
        max_tokens=max_tokens,
        stop=tuple(draw(st.lists(texts.filter(bool), max_size=3))),
        reasoning_effort=maybe(st.sampled_from(["none", "minimal", "low", "medium", "high"])),
        thinking_budget_tokens=budget,
        parallel_tool_calls=maybe(st.booleans()),
    )


@given(requests())
@settings(max_examples=300, deadline=None)
def test_any_history_makes_a_request_that_the_api_accepts(request: BackendRequest) -> None:
    assert refused(request) == []
    notices(request)


@given(requests())
@settings(max_examples=100, deadline=None)
def test_nothing_that_was_said_is_lost(request: BackendRequest) -> None:
    body = encode(request)
    sent = json.dumps(body["messages"], ensure_ascii=False)
    for message in request.messages:
        match message:
            case UserMessage(parts=said):
                wanted: Sequence[str] = [part.text for part in said if isinstance(part, TextPart)]
            case AssistantMessage(parts=answered):
                wanted = [part.text for part in answered if isinstance(part, TextPart | RefusalPart) and _neutral(part)]
            case ToolMessage(results=given_back):
                wanted = [result.content for result in given_back]
        for words in wanted:
            assert not words.strip() or json.dumps(words, ensure_ascii=False) in sent


def _neutral(part: TextPart | RefusalPart) -> bool:
    return isinstance(part, RefusalPart) or part.sidecar is None


@given(requests(), st.sampled_from(["claude-opus-5-5", "claude-opus-4-8", "claude-sonnet-5"]))
@settings(max_examples=150, deadline=None)
def test_a_longer_history_begins_with_the_shorter_one(request: BackendRequest, model: str) -> None:
    request = msgspec.structs.replace(request, model=model, tools=(ROLL,))
    whole = flat(request)
    for end in range(1, len(request.messages)):
        if isinstance(request.messages[end - 1], AssistantMessage):
            continue
        shorter = flat(msgspec.structs.replace(request, messages=request.messages[:end]))
        assert whole[: len(shorter)] == shorter
        before, after = encode(msgspec.structs.replace(request, messages=request.messages[:end])), encode(request)
        assert {name: value for name, value in before.items() if name != "messages"} == {
            name: value for name, value in after.items() if name != "messages"
        }


def flat(request: BackendRequest) -> list[tuple[str, bytes]]:
    """Returns the blocks of the request, as bytes, each with its role."""
    return [(role, msgspec.json.encode(block)) for role, blocks in content(request) for block in blocks]
