"""Whatever a session has been through, it renders to requests that every dialect takes, for every model that it may move to.

Histories are drawn as what happened (parts, failures, cuts, cancels, results that never came), written as records the way the
runner writes them, folded, and rendered for each dialect; the rules of the strict doubles judge. They know nothing of our encoders.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenroom.backends import claude_request, openai_chat, openai_responses_request
from greenroom.backends.claude_settings import headers_of
from greenroom.backends.openai_models import traits_of
from greenroom.config import SessionConfig
from greenroom.core.session import SessionState
from greenroom.core.step import Intake
from greenroom.core.transcript import render
from greenroom.events import (
    Event,
    MessageAccepted,
    Record,
    SessionCreated,
    StepFailed,
    StepFinished,
    StepProgress,
    StepStarted,
    ToolReturned,
    TurnEnded,
    TurnStarted,
)
from greenroom.interfaces import BackendRequest
from greenroom.large import encoded
from greenroom.limits import DEFAULT_LIMITS
from greenroom.messages import (
    FilePart,
    PartDelta,
    PartEnded,
    PartStarted,
    Sidecar,
    StreamItem,
    TextPart,
    ToolSpec,
)
from greenroom.testing import strict_claude_rules, strict_openai_rules, strict_responses_rules

CHAT_MODELS = [
    "gpt-4o",
    "gpt-5",
    "o3",
    "gpt-5.6-sol",
    "deepseek-reasoner",
    "kimi-k2.5",
    "gemini-3-pro",
    "mistral-large",
    "llama3",
]
CLAUDE_MODELS = ["claude-haiku-4-5", "claude-opus-4-6", "claude-opus-4-8", "claude-sonnet-5-5"]
RESPONSES_MODELS = ["gpt-4o", "gpt-5", "o3", "gpt-5.6-sol", "gpt-6.2-astra", "gpt-5-codex", "grok-4", "llama3"]
MODELS = [
    *(("openai", model) for model in CHAT_MODELS),
    *(("claude", model) for model in CLAUDE_MODELS),
    *(("openai-responses", model) for model in RESPONSES_MODELS),
]
TOOLS = tuple(ToolSpec(name=name, description="D", parameters={"type": "object"}) for name in ("look", "roll"))

texts = st.sampled_from(["", " ", "\n", "Yes.", "λόγος 🎭 ", "\x00", "a" * 300, '{"a": 1}', "  padded  "])
arguments = st.sampled_from(
    ["", "{}", '{"a": 1}', "{", "[1]", "null", '"text"', "{" * 3000, '{"a": "' + "x" * 5000 + '"}']
)
call_ids = st.sampled_from(["", "a", "a", "call_1", "with space", "x" * 80, "toolu_01", "ünï", "D681PevKs"])
names = st.sampled_from(["look", "roll", "gone", "a.b", "", "ö" * 70, "x" * 90])
files = st.sampled_from(
    [
        FilePart(media_type="image/png", data=b"png"),
        FilePart(media_type="image/bmp", data=b"bmp", name="b.bmp"),
        FilePart(media_type="application/pdf", data=b"%PDF", name="a.pdf"),
        FilePart(media_type="text/plain", data="Grüße".encode()),
        FilePart(media_type="application/octet-stream", data=b"\xff\x00"),
    ]
)


def claude(block: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return "claude", block


def responses(item: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return "openai-responses", item


BLOCKS = {
    "text": [
        responses({"type": "message", "id": "msg_1", "status": "completed", "phase": "commentary"}),
        claude({"type": "text", "text": "Cited.", "citations": [{"type": "char_location", "cited_text": "C"}]}),
    ],
    "reasoning": [
        claude({"type": "thinking", "thinking": "Hm.", "signature": "sig"}),
        ("openai", {"field": "reasoning_content"}),
        responses({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"}),
        responses(
            {"type": "reasoning", "id": "rs_2", "summary": [], "content": [{"type": "reasoning_text", "text": "R"}]}
        ),
    ],
    "tool_call": [
        ("openai", {"extra_content": {"google": {"thought_signature": "sig"}}}),
        responses({"type": "function_call", "id": "fc_1", "status": "completed"}),
        responses({"type": "function_call", "id": "made-up", "status": "completed"}),
        claude({"type": "tool_use", "caller": {"type": "code_execution", "tool_id": "srvtoolu_1"}}),
    ],
    "opaque": [
        claude({"type": "redacted_thinking", "data": "blob"}),
        claude({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}}),
        claude({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}),
        ("openai", {"reasoning_details": [{"type": "reasoning.encrypted", "data": "b"}]}),
        responses({"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}}),
        responses({"type": "shell_call", "id": "sh_1", "call_id": "call_sh", "status": "completed", "action": {}}),
        responses({"type": "shell_call_output", "id": "so_1", "call_id": "call_sh", "output": []}),
        responses(
            {"type": "mcp_approval_request", "id": "mcpr_1", "name": "n", "arguments": "{}", "server_label": "s"}
        ),
        responses({}),
        ("elsewhere", {"any": ["thing"]}),
        claude({}),
    ],
    "refusal": [],
}


@st.composite
def parts(draw: st.DrawFn, model: str) -> list[StreamItem]:
    """Draws the items of one step, cut anywhere or whole."""
    items: list[StreamItem] = []
    count = draw(st.integers(0, 4))
    for number in range(count):
        kind = draw(st.sampled_from(["text", "reasoning", "tool_call", "tool_call", "refusal", "opaque"]))
        started = {"call_id": draw(call_ids), "name": draw(names)} if kind == "tool_call" else {}
        items.append(PartStarted(part=number, kind=kind, **started))
        if text := draw(arguments if kind == "tool_call" else texts):
            items.append(PartDelta(part=number, delta=text))
        sidecar = None
        if BLOCKS[kind] and draw(st.booleans()):
            backend, data = draw(st.sampled_from(BLOCKS[kind]))
            owner = draw(st.sampled_from([model, model, "claude-opus-4-6"]))
            sidecar = Sidecar(backend=backend, model=owner, data=msgspec.Raw(msgspec.json.encode(data)))
        items.append(PartEnded(part=number, sidecar=sidecar))
    return items


class Log:
    """A session's records, written as the runner writes them."""

    def __init__(self) -> None:
        self.state = SessionState("s")
        self.is_paused = False
        self.write(SessionCreated(user_id="u", config=SessionConfig()))

    def write(self, *events: Event) -> None:
        for event in events:
            assert self.state.allows((event,)), event
            self.state.apply(Record(seq=self.state.seq + 1, epoch=1, at_ms=1, event=event))

    def begin(self, number: int, said: Sequence[Any]) -> None:
        turn_id = f"t{number}"
        self.is_paused = False
        self.write(MessageAccepted(message_id=f"m{number}", turn_id=turn_id, parts=tuple(said)))
        self.write(TurnStarted(turn_id=turn_id))

    def step(self, draw: st.DrawFn, backend: str, model: str) -> bool:
        """Writes one step with its results; returns whether the turn goes on."""
        turn = self.state.turn
        assert turn is not None
        attempt = (turn.step, turn.attempt + 1) if turn._failure is not None else (turn.step + 1, 1)
        self.write(StepStarted(step=attempt[0], attempt=attempt[1], backend=backend, model=model))
        intake = Intake(seq=self.state.seq, used_call_ids=self.state.call_ids, limits=DEFAULT_LIMITS)
        items = intake.take(draw(parts(model)))
        ending = draw(st.sampled_from(["finished", "finished", "finished", "failed", "cut", "paused"]))
        if ending in {"failed", "cut"}:
            items = items[: draw(st.integers(0, len(items)))]
        if items:
            self.write(StepProgress(items=tuple(items)))
        if ending == "cut":
            return False
        if ending == "failed":
            self.write(StepFailed(code="backend_garbled", message="m"))
            return draw(st.booleans())
        self.write(StepFinished(reason="pause" if ending == "paused" else "stop"))
        # It lasts over attempts that fail, until a step is finished.
        self.is_paused = ending == "paused" and not turn.calls.all
        for call in turn.unsettled_calls():
            if draw(st.integers(0, 7)) == 0:
                return False  # the turn is cancelled before this call is run
            outcome = draw(st.sampled_from(["ok", "error", "unknown"]))
            content = draw(texts)
            self.write(ToolReturned(call_id=call.call_id, name=call.name, outcome=outcome, content=content))
        return turn.state.value == "ready" and draw(st.integers(0, 3)) > 0


def chat_body(request: BackendRequest) -> tuple[dict[str, Any], list[str]]:
    body = json.loads(encoded(openai_chat.encode(request)))
    return body, strict_openai_rules.refusals(body)


def claude_body(request: BackendRequest) -> tuple[dict[str, Any], list[str]]:
    body = json.loads(encoded(claude_request.encode(request)))
    headers = headers_of(body)
    return body, strict_claude_rules.refusals(body, headers=headers)


def responses_body(request: BackendRequest) -> tuple[dict[str, Any], list[str]]:
    body = json.loads(encoded(openai_responses_request.encode(request)))
    return body, strict_responses_rules.refusals(body)


DIALECTS: dict[str, Callable[[BackendRequest], tuple[dict[str, Any], list[str]]]] = {
    "openai": chat_body,
    "claude": claude_body,
    "openai-responses": responses_body,
}


def said_in(body: dict[str, Any]) -> list[str]:
    """Returns what is cached of a conversation, piece by piece: a later request must begin with it."""
    pieces: list[str] = []
    for message in body.get("messages") or body["input"]:
        content = message.get("content")
        if message.get("role") == "user" and isinstance(content, str):
            # Two ways to write the same: texts alone are one text, paragraph by paragraph.
            content = [{"type": "text", "text": text} for text in content.split("\n\n")]
        if not isinstance(content, list) or "tool_calls" in message:
            pieces.append(json.dumps(message))
            continue
        for block in content:
            unmarked = {name: value for name, value in block.items() if name != "cache_control"}
            for text in unmarked["text"].split("\n\n") if set(unmarked) == {"type", "text"} else [None]:
                piece = unmarked if text is None else unmarked | {"text": text}
                pieces.append(json.dumps([message["role"], piece]))
    return pieces


def requests_of(state: SessionState, number: int, *, shift: int = 0) -> list[tuple[str, BackendRequest]]:
    transcript = render(state)
    made = []
    # A fourth of the models each time, in turn: every history is long enough for all of them.
    for backend, model in MODELS[(state.seq + shift) % 4 :: 4]:
        asked: dict[str, Any] = [{}, {"reasoning_effort": "low"}, {"thinking_budget_tokens": 2048, "tools": ()}][
            number % 3
        ]
        if backend == "openai" and traits_of(model).wants_responses(asked.get("reasoning_effort")):
            # As such models are asked where there is nothing but Chat Completions.
            asked["reasoning_effort"] = "none"
        settings = {"tools": TOOLS, "temperature": 0.5, "max_tokens": 4096, **asked}
        request = BackendRequest(model=model, system="S", messages=transcript, session_id="s", **settings)
        made.append((backend, request))
    return made


@pytest.mark.timeout(300)
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_any_history_is_accepted_by_every_dialect(data: st.DataObject) -> None:
    judge(data)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(
    deadline=None,
    derandomize=False,
    max_examples=int(os.environ.get("GREENROOM_TEST_HISTORIES", "600")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_many_histories_are_accepted_by_every_dialect(data: st.DataObject) -> None:
    """Other ones at every run: what it finds becomes an example below."""
    judge(data)


@pytest.mark.parametrize("model", ["gpt-5", "gpt-5.6-sol", "o3", "openai/gpt-5", "llama3", "grok-4"])
def test_reasoning_that_cannot_be_decrypted(model: str) -> None:
    """P28: a reasoning with `content` and without `encrypted_content`; the model that made it is asked for another step."""
    log = Log()
    log.begin(0, [TextPart(text="Hi")])
    item = {"type": "reasoning", "id": "rs_2", "summary": [], "content": [{"type": "reasoning_text", "text": "R"}]}
    sidecar = Sidecar(backend="openai-responses", model=model, data=msgspec.Raw(msgspec.json.encode(item)))
    said = responses({"type": "message", "id": "msg_2", "status": "completed"})[1]
    own = Sidecar(backend="openai-responses", model=model, data=msgspec.Raw(msgspec.json.encode(said)))
    log.write(StepStarted(step=1, attempt=1, backend="openai-responses", model=model))
    intake = Intake(seq=log.state.seq, used_call_ids=log.state.call_ids, limits=DEFAULT_LIMITS)
    items = intake.take(
        [
            PartStarted(part=0, kind="reasoning"),
            PartDelta(part=0, delta="R"),
            PartEnded(part=0, sidecar=sidecar),
            PartStarted(part=1, kind="text"),
            PartDelta(part=1, delta="Yes."),
            PartEnded(part=1, sidecar=own),
        ]
    )
    log.write(StepProgress(items=tuple(items)), StepFinished(reason="stop"))
    log.write(TurnEnded(turn_id="t0", outcome="completed"))
    log.begin(1, [TextPart(text="And now?")])
    request = BackendRequest(model=model, system="S", messages=render(log.state), session_id="s", tools=TOOLS)
    body = openai_responses_request.encode(request)
    assert strict_responses_rules.refusals(body) == []
    kinds = [each["type"] for each in body["input"]]
    assert kinds.count("reasoning") == (0 if strict_openai_rules.is_openai_model(model) else 1)
    assert kinds.count("message") == 3


@pytest.mark.parametrize("blank", [" ", "\n", "\u3000"])
def test_a_blank_message_reads_the_same_when_another_one_follows(blank: str) -> None:
    """Found by 3000 histories of the test above (cases P28, P17): "(empty message)" became "[no output]" when a message followed."""
    log = Log()
    before: dict[tuple[str, str], list[str]] = {}
    for number, said in enumerate(
        [[TextPart(text=blank)], [], [TextPart(text="Yes."), TextPart(text=blank)], [TextPart(text="And now?")]]
    ):
        log.begin(number, said)
        for shift in range(4):
            for backend, request in requests_of(log.state, 0, shift=shift):
                body, refused = DIALECTS[backend](request)
                assert refused == []
                now, then = said_in(body), before.get((backend, request.model), [])
                assert now[: len(then)] == then, request.model
                before[backend, request.model] = now
        log.write(TurnEnded(turn_id=f"t{number}", outcome="cancelled"))


def judge(data: st.DataObject) -> None:
    """Draws a history, and renders it for every model after each of its steps."""
    log = Log()
    before: dict[tuple[str, str], list[str]] = {}
    for number in range(data.draw(st.integers(1, 4))):
        said = data.draw(st.lists(st.one_of(texts.map(lambda text: TextPart(text=text)), files), max_size=3))
        log.begin(number, said)
        goes_on, steps = True, 0
        while goes_on and steps < 4:
            check(log, number, before)
            backend, model = data.draw(st.sampled_from(MODELS))
            goes_on = log.step(data.draw, backend, model)
            steps += 1
        log.write(
            TurnEnded(turn_id=f"t{number}", outcome=data.draw(st.sampled_from(["completed", "cancelled", "failed"])))
        )
    log.begin(99, [TextPart(text="And now?")])
    check(log, 0, before)


def check(log: Log, number: int, before: dict[tuple[str, str], list[str]]) -> None:
    is_paused = log.is_paused
    for backend, request in requests_of(log.state, number):
        body, refused = DIALECTS[backend](request)
        if is_paused:
            # Only the provider that paused is asked with its own words last; what another would say to that is its business.
            refused = [reason for reason in refused if "prefill" not in reason and "final" not in reason.lower()]
        assert refused == [], (request.model, refused, json.dumps(body)[:3000])
        thinks = "thinking" in body or request.reasoning_effort or request.thinking_budget_tokens
        if not thinks and not is_paused:
            # Nothing that was sent once changes later: prompt caches live from that.
            now, then = said_in(body), before.get((backend, request.model), [])
            assert now[: len(then)] == then, request.model
            before[backend, request.model] = now


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_rules_are_not_asleep(dialect: str) -> None:
    """A transcript that breaks the rules is refused: else the property above would say nothing."""
    log = Log()
    log.begin(0, [TextPart(text="Hi")])
    request = next(made for backend, made in requests_of(log.state, 0) if backend == dialect)
    body, refused = DIALECTS[dialect](request)
    assert refused == []
    said = body.get("messages") or body["input"]
    said.append({"role": "user", "content": ""})
    judges = {
        "openai": strict_openai_rules.refusals,
        "claude": strict_claude_rules.refusals,
        "openai-responses": strict_responses_rules.refusals,
    }
    assert judges[dialect](body) != []
