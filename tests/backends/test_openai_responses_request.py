"""Requests of the Responses dialect: what OpenAI accepts, whoever made the history."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.backends.openai_responses_request import encode as made
from greenroom.backends.openai_responses_request import notices
from greenroom.interfaces import BackendRequest
from greenroom.large import settled
from greenroom.messages import (
    AssistantMessage,
    AssistantPart,
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
from greenroom.testing.strict_responses_rules import refusals


def encode(request: BackendRequest, **facts: Any) -> dict[str, Any]:
    """Returns a request as it goes out, its files in base64."""
    body: dict[str, Any] = settled(made(request, **facts))
    return body


SYSTEM = "You are kind."
TOOL = ToolSpec(name="roll", description="Rolls.", parameters={"type": "object", "properties": {"a": {}}})


def user(text: str = "Hello") -> UserMessage:
    return UserMessage(parts=(TextPart(text=text),))


def assistant(*parts: AssistantPart) -> AssistantMessage:
    return AssistantMessage(parts=parts)


def sidecar(model: str = "gpt-5", backend: str = "openai-responses", **item: Any) -> Sidecar:
    return Sidecar(backend=backend, model=model, data=msgspec.Raw(msgspec.json.encode(item)))


def text(said: str = "Yes.", item_id: str = "msg_1", **fields: Any) -> TextPart:
    return TextPart(text=said, sidecar=sidecar(type="message", id=item_id, status="completed", **fields))


def thought(number: int = 1, **fields: Any) -> ReasoningPart:
    item = {"type": "reasoning", "id": f"rs_{number}", "summary": [], "encrypted_content": "gAAA"}
    return ReasoningPart(text="Hm.", sidecar=sidecar(**item | fields))


def call(number: int = 1, *, arguments: str = "{}", item_id: str = "") -> ToolCallPart:
    own = sidecar(type="function_call", id=item_id or f"fc_{number}", status="completed")
    return ToolCallPart(call_id=f"call_{number}", name="roll", arguments=arguments, sidecar=own)


def opaque(**item: Any) -> OpaquePart:
    return OpaquePart(sidecar=sidecar(**{"type": "web_search_call", "id": "ws_1", "status": "completed"} | item))


def results(*numbers: int) -> ToolMessage:
    return ToolMessage(results=tuple(ToolResult(call_id=f"call_{n}", name="roll", content="4") for n in numbers))


def request(*messages: TranscriptMessage, model: str = "gpt-5", **settings: Any) -> BackendRequest:
    return BackendRequest(model=model, system=SYSTEM, messages=messages or (user(),), **settings)


def encoded(*messages: TranscriptMessage, **settings: Any) -> dict[str, Any]:
    """Returns the body, which the strict rules accept."""
    body = encode(request(*messages, **settings))
    assert refusals(body) == []
    return body


def items(*parts: AssistantPart, **settings: Any) -> list[dict[str, Any]]:
    """Returns what an assistant message becomes, its calls answered and the conversation going on."""
    calls = [part.call_id for part in parts if isinstance(part, ToolCallPart)]
    answered = ToolMessage(results=tuple(ToolResult(call_id=call_id, name="roll", content="4") for call_id in calls))
    history = (user(), assistant(*parts), *((answered,) if calls else ()), user("And?"))
    found: list[dict[str, Any]] = encoded(*history, **settings)["input"]
    return found[1 : len(found) - 1 - len(calls)]


def kinds(*parts: AssistantPart, **settings: Any) -> list[tuple[str, str]]:
    return [(item["type"], item.get("id", "")) for item in items(*parts, **settings)]


# --- settings -----------------------------------------------------------------------------------------------------------


def test_the_smallest_request() -> None:
    assert encode(BackendRequest(model="m", system="", messages=(user(),))) == {
        "model": "m",
        "stream": True,
        "store": False,
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]}],
    }


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("gpt-4o", {"temperature": 0.5, "top_p": 0.9, "max_output_tokens": 16, "parallel_tool_calls": False}),
        ("gpt-5-chat-latest", {"temperature": 0.5, "top_p": 0.9, "max_output_tokens": 16, "parallel_tool_calls": False}),
        ("gpt-5", {"include": ["reasoning.encrypted_content"], "reasoning": {"effort": "low", "summary": "auto"}, "max_output_tokens": 16, "parallel_tool_calls": False}),
        ("openai/o3", {"include": ["reasoning.encrypted_content"], "reasoning": {"effort": "low", "summary": "auto"}, "max_output_tokens": 16}),
        ("grok-4", {"include": ["reasoning.encrypted_content"], "reasoning": {"effort": "low"}, "temperature": 0.5, "top_p": 0.9, "max_output_tokens": 8, "parallel_tool_calls": False}),
        ("llama3", {"reasoning": {"effort": "low"}, "temperature": 0.5, "top_p": 0.9, "max_output_tokens": 8, "parallel_tool_calls": False}),
    ],
)  # fmt: skip
def test_settings_go_to_models_that_take_them(model: str, sent: dict[str, Any]) -> None:
    settings: dict[str, Any] = {
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 8,
        "reasoning_effort": "low",
        "stop": ("x",),
        "thinking_budget_tokens": 2000,
        "parallel_tool_calls": False,
        "tools": (TOOL,),
    }
    body = encoded(model=model, **settings)
    for name in ("model", "stream", "store", "instructions", "input"):
        del body[name]
    assert body.pop("tools") == [
        {
            "type": "function",
            "name": "roll",
            "description": "Rolls.",
            "parameters": TOOL.parameters,
            "strict": False,
        }
    ]
    assert body == sent


def test_notices_say_what_is_not_sent() -> None:
    asked = request(
        UserMessage(parts=(FilePart(media_type="audio/wav", data=b"RIFF", name="a.wav"),)),
        model="o3",
        temperature=0.5,
        top_p=0.5,
        max_tokens=8,
        reasoning_effort="minimal",
        stop=("x",),
        thinking_budget_tokens=2000,
        parallel_tool_calls=True,
    )
    assert [notice.code for notice in notices(asked)] == [
        "temperature_ignored",
        "top_p_ignored",
        "parallel_tool_calls_ignored",
        "stop_ignored",
        "thinking_budget_tokens_ignored",
        "reasoning_effort_changed",
        "max_tokens_changed",
        "attachment_not_shown",
    ]
    assert "a.wav (audio/wav)" in notices(asked)[-1].text
    assert [notice.code for notice in notices(request(model="gpt-4o", reasoning_effort="low"))] == [
        "reasoning_effort_ignored"
    ]
    assert notices(request(temperature=None, max_tokens=16, reasoning_effort="high")) == []


def test_the_cache_key_is_bounded() -> None:
    body = encode(request(), prompt_cache_key="s" * 100)
    assert body["prompt_cache_key"] == "s" * 64
    assert refusals(body) == []


# --- what people say ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (FilePart(media_type="image/png", data=b"png"), {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,cG5n"}),
        (FilePart(media_type="Image/JPG; x=y", data=b"jpg"), {"type": "input_image", "detail": "auto", "image_url": "data:image/jpeg;base64,anBn"}),
        (FilePart(media_type="application/pdf", data=b"%PDF"), {"type": "input_file", "filename": "file", "file_data": "data:application/pdf;base64,JVBERg=="}),
        (FilePart(media_type="text/csv", data=b"a,b\n\xff", name="a.csv"), {"type": "input_text", "text": "File a.csv:\na,b\n\ufffd"}),
        (FilePart(media_type="application/json", data=b"{}"), {"type": "input_text", "text": "File without a name:\n{}"}),
        (FilePart(media_type="image/tiff", data=b"tiff", name="a.tif"), {"type": "input_text", "text": "[a.tif (image/tiff): 4 bytes that cannot be shown here: not a PNG, JPEG, GIF or WebP image]"}),
        (FilePart(media_type="image/png", data=b"", name="a.png"), {"type": "input_text", "text": "[a.png (image/png): 0 bytes that cannot be shown here: empty]"}),
        (FilePart(media_type="", data=b"x"), {"type": "input_text", "text": "File without a name:\nx"}),
    ],
)  # fmt: skip
def test_files(file: FilePart, content: dict[str, Any]) -> None:
    body = encoded(UserMessage(parts=(TextPart(text="Look"), file)))
    assert body["input"][0]["content"][1] == content


def test_documents_are_sent_as_files() -> None:
    office = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    part = FilePart(media_type=office, data=b"PK", name="a.docx")
    content = encoded(UserMessage(parts=(part,)))["input"][0]["content"][0]
    assert content["filename"] == "a.docx"
    assert base64.b64decode(content["file_data"].partition("base64,")[2]) == b"PK"


def test_user_messages_do_not_follow_each_other() -> None:
    """Where the answer between them holds nothing that can be said here."""
    foreign = ReasoningPart(text="Hm.", sidecar=sidecar(backend="claude", type="thinking"))
    body = encoded(user("One"), assistant(foreign), user("Two"))
    assert [item["content"] for item in body["input"]] == [
        [{"type": "input_text", "text": "One"}, {"type": "input_text", "text": "Two"}]
    ]


# --- what the model said ------------------------------------------------------------------------------------------------


def test_a_step_of_its_own_goes_back_as_it_came() -> None:
    cited = {"annotations": [{"type": "url_citation", "url": "u"}]}
    assert items(
        thought(1), text("One", phase="commentary", content=cited), text("Two"), opaque(), thought(2), call(1), call(2)
    ) == [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
        {
            "role": "assistant",
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "phase": "commentary",
            "content": [
                {"type": "output_text", "text": "One", "annotations": [{"type": "url_citation", "url": "u"}]},
                {"type": "output_text", "text": "Two", "annotations": []},
            ],
        },
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "gAAA"},
        {"type": "function_call", "id": "fc_1", "status": "completed", "call_id": "call_1", "name": "roll", "arguments": "{}"},
        {"type": "function_call", "id": "fc_2", "status": "completed", "call_id": "call_2", "name": "roll", "arguments": "{}"},
    ]  # fmt: skip


@pytest.mark.parametrize("own", [{"model": "gpt-5-mini"}, {"backend": "openai"}, {"backend": "claude"}])
def test_what_others_made_goes_without_their_data(own: dict[str, str]) -> None:
    parts = (
        ReasoningPart(text="Hm.", sidecar=sidecar(**own, type="reasoning", id="rs_1", summary=[], encrypted_content="x")),
        TextPart(text="Yes.", sidecar=sidecar(**own, type="message", id="msg_1")),
        OpaquePart(sidecar=sidecar(**own, type="web_search_call", id="ws_1")),
        ToolCallPart(call_id="c", name="roll", arguments="{}", sidecar=sidecar(**own, type="function_call", id="fc_1")),
    )  # fmt: skip
    assert items(*parts) == [
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Yes.", "annotations": []}],
        },
        {"type": "function_call", "call_id": "c", "name": "roll", "arguments": "{}"},
    ]


PLAIN = TextPart(text="Yes.")
BARE_CALL = ToolCallPart(call_id="call_9", name="roll", arguments="{}")
LOST = ReasoningPart(text="Hm.")
REFUSED = RefusalPart(text="No.")


@pytest.mark.parametrize(
    ("parts", "left"),
    [
        pytest.param((thought(), text()), [("reasoning", "rs_1"), ("message", "msg_1")], id="whole"),
        pytest.param((thought(), PLAIN), [("message", "")], id="the text was cut"),
        pytest.param((thought(), REFUSED), [("message", "")], id="refused"),
        pytest.param((thought(), text("  ")), [], id="an empty text"),
        pytest.param((thought(),), [], id="nothing follows"),
        pytest.param((LOST, text(), call()), [("message", ""), ("function_call", "")], id="the reasoning is lost"),
        pytest.param((LOST, thought(), text()), [("reasoning", "rs_1"), ("message", "msg_1")], id="two summaries"),
        pytest.param((thought(1), thought(2), text()), [("reasoning", "rs_1"), ("reasoning", "rs_2"), ("message", "msg_1")], id="two reasonings"),
        pytest.param((LOST, opaque(), text()), [("message", "")], id="a tool without its reasoning"),
        pytest.param((thought(), BARE_CALL, call()), [("function_call", ""), ("function_call", "")], id="a renamed call"),
        pytest.param((thought(), opaque(type="mcp_approval_request"), text()), [("message", "")], id="an approval that nobody gives"),
        pytest.param((opaque(type="shell_call", call_id="c"), text()), [("message", "msg_1")], id="a call that nobody answers"),
        pytest.param(
            (thought(), opaque(type="shell_call", call_id="c"), opaque(type="shell_call_output", call_id="c", id="x"), text()),
            [("reasoning", "rs_1"), ("shell_call", "ws_1"), ("shell_call_output", "x"), ("message", "msg_1")], id="a call that is answered",
        ),
        pytest.param(
            (opaque(type="tool_search_call", call_id=None), opaque(type="tool_search_output", call_id=None, id="x"), call()),
            [("tool_search_call", "ws_1"), ("tool_search_output", "x"), ("function_call", "fc_1")], id="a provider's own",
        ),
        pytest.param((text(item_id="item_1"), call(item_id="uuid")), [("message", ""), ("function_call", "")], id="ids that OpenAI refuses"),
        pytest.param((text("A", "msg_1"), text("B", "msg_2")), [("message", "msg_1"), ("message", "msg_2")], id="two messages"),
        pytest.param((PLAIN, PLAIN), [("message", ""), ("message", "")], id="two plain texts"),
    ],
)  # fmt: skip
def test_what_cannot_go_back_takes_along_what_would_be_refused(
    parts: tuple[AssistantPart, ...], left: list[tuple[str, str]]
) -> None:
    assert kinds(*parts) == left


def test_results_come_before_what_was_said_after_their_calls() -> None:
    parts = (thought(), call(1), thought(2), text(), call(2))
    body = encoded(user(), assistant(*parts), results(1, 2))
    order = [item.get("call_id") or item["type"] for item in body["input"][1:]]
    assert order == ["reasoning", "call_1", "call_1", "reasoning", "message", "call_2", "call_2"]
    assert refusals(body) == []


def test_reasoning_can_be_left_out_as_a_whole() -> None:
    asked = request(user(), assistant(thought(), text(), opaque(), call()), results(1))
    body = encode(asked, with_reasoning=False, with_summary=False)
    assert refusals(body) == []
    assert [(item["type"], item.get("id")) for item in body["input"]] == [
        ("message", None),
        ("message", None),
        ("function_call", None),
        ("function_call_output", None),
    ]
    assert "reasoning" not in body


def test_reasoning_in_the_clear_goes_back_to_servers_that_gave_it() -> None:
    shown = [{"type": "reasoning_text", "text": "Hm."}]
    own = sidecar(model="deepseek-chat", type="reasoning", id="uuid", summary=[], content=shown)
    found = items(
        ReasoningPart(text="Hm.", sidecar=own),
        TextPart(text="Yes.", sidecar=sidecar(model="deepseek-chat", type="message", id="uuid2")),
        model="deepseek-chat",
    )
    assert [item["type"] for item in found] == ["reasoning", "message"]
    assert found[0]["content"] == shown


@pytest.mark.parametrize("data", [b"{", b"[]", b"7", b'{"id": "x"}', b'{"type": 7}', b'{"\xff": 1}'])
def test_a_sidecar_that_is_no_item_costs_nothing(data: bytes) -> None:
    broken = Sidecar(backend="openai-responses", model="gpt-5", data=msgspec.Raw(data))
    parts = (
        ReasoningPart(text="Hm.", sidecar=broken),
        OpaquePart(sidecar=broken),
        TextPart(text="Yes.", sidecar=broken),
        ToolCallPart(call_id="c", name="roll", arguments="{}", sidecar=broken),
    )
    assert kinds(*parts) == [("message", ""), ("function_call", "")]


@pytest.mark.parametrize("arguments", ["{", "[]", "7", '"x"', '{"a": 1}{"a": 2}'])
def test_arguments_are_an_object(arguments: str) -> None:
    assert msgspec.json.decode(items(call(arguments=arguments))[0]["arguments"]) == {"invalid_json": arguments}


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [("", {}), (" ", {}), ("null", {}), ('{"a": "x\ny"}', {"a": "x\ny"}), ('"{\\"a\\": 1}"', {"a": 1})],
)
def test_arguments_go_back_as_what_was_run(arguments: str, meant: object) -> None:
    assert msgspec.json.decode(items(call(arguments=arguments))[0]["arguments"]) == meant


# --- anything at all ----------------------------------------------------------------------------------------------------

parts_ = st.sampled_from(
    [
        thought(1), thought(2), thought(3, encrypted_content=None), LOST, text(), text("Two"), text("Three", "msg_3"), text(" "), PLAIN, REFUSED,
        opaque(), opaque(type="shell_call", call_id="c"), opaque(type="shell_call_output", call_id="c"), opaque(type="mcp_approval_request"), opaque(type="compaction"),
        OpaquePart(sidecar=sidecar(backend="claude", type="x")), ReasoningPart(text="Hm.", sidecar=sidecar(model="o3", type="reasoning", encrypted_content="x")),
    ]
)  # fmt: skip


@given(
    turns=st.lists(st.tuples(st.lists(parts_, min_size=1, max_size=6, unique_by=id), st.integers(0, 2)), max_size=5),
    model=st.sampled_from(["gpt-5", "gpt-4o", "o3", "llama3"]),
)
def test_any_history_is_accepted_and_its_beginning_stays(
    turns: list[tuple[list[AssistantPart], int]], model: str
) -> None:
    history: list[TranscriptMessage] = []
    shorter: list[bytes] = []
    number = 0
    for parts, call_count in turns:
        history.append(user(f"Question {number}"))
        calls = range(number + 1, number + 1 + call_count)
        number += call_count + 1
        # Ids are unique in a session, and so are those of its provider.
        numbered = msgspec.json.encode(assistant(*parts, *(call(n) for n in calls))).replace(
            b'"call_id":"c"', b'"call_id":"c%d"' % number
        )
        history.append(msgspec.json.decode(numbered, type=AssistantMessage))
        if call_count:
            history.append(results(*calls))
        body = encode(request(*history, model=model, tools=(TOOL,)))
        assert refusals(body) == []
        longer = [msgspec.json.encode(entry) for entry in body["input"]]
        # The last message is written again as long as what a person says next comes to stand in it.
        assert longer[: max(0, len(shorter) - 1)] == shorter[:-1]
        assert list(body)[-1] == "input"
        shorter = longer
    assert encode(request(*history, model=model)) == encode(request(*history, model=model))
