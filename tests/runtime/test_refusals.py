"""A message never costs the session: whatever a provider refuses, the next message is answered.

The provider here encodes each request in its dialect, holds it to the rules of the strict double, and then refuses what it was told to
refuse, with the errors that real providers answer. Cases P15 and P16 of the collection of real trouble.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from greenroom.backends import claude_request, openai_chat, openai_responses_request
from greenroom.backends.faults import Endpoint, classified, fault_of
from greenroom.backends.scripted import Call, Fail, Say, ScriptedBackend
from greenroom.core.transcript import render
from greenroom.errors import BackendError
from greenroom.events import NoticeGiven, RequestAdapted, SessionUpdated, TurnEnded
from greenroom.interfaces import BackendRequest, Note
from greenroom.large import settled
from greenroom.limits import DEFAULT_LIMITS
from greenroom.message_input import accepted_message
from greenroom.messages import FilePart, TextPart, UserMessage, UserPart
from greenroom.testing import strict_claude_rules, strict_openai_rules, strict_responses_rules
from greenroom.testing.virtual_time import VirtualTimeLoop
from harness import HERE, Bench, Stage, stage, store_with
from transcript_rules import violations

Body = dict[str, Any]
DIALECTS: dict[str, tuple[str, Callable[[BackendRequest], Body], Callable[[Body], list[str]]]] = {
    "chat": ("gpt-4o", openai_chat.encode, strict_openai_rules.refusals),
    "claude": ("claude-sonnet-4-5", claude_request.encode, strict_claude_rules.refusals),
    "responses": ("gpt-4o", openai_responses_request.encode, strict_responses_rules.refusals),
}
ENDPOINT = Endpoint(provider="Picky", base_url="http://picky/v1", key_variable="KEY", base_url_variable="URL")

# What stands in a text or file, and how real providers refuse it.
RULES: dict[str, tuple[int, Body]] = {
    "filtered": (400, {"code": "content_policy_violation", "message": "This request has been flagged."}),  # OpenAI
    "inspected": (
        400,
        {"code": "data_inspection_failed", "message": "Input data may contain inappropriate content."},
    ),  # Qwen
    "odd": (400, {"message": "Invalid input.", "type": "invalid_request_error"}),  # nobody knows why
    "unprocessable": (422, {"message": "Unprocessable entity"}),
    "huge": (400, {"code": "context_length_exceeded", "message": "This model's maximum context length is 10 tokens."}),
    "heavy": (413, {"message": "Request Entity Too Large"}),
    "picture": (400, {"message": "image input is not supported"}),  # llama.cpp
}


class Picky:
    """A provider that refuses what its rules say.

    Attributes:
        bodies: of all requests, as JSON, with whether they were accepted.
        broken: rules of the dialect that requests broke.
    """

    def __init__(
        self, dialect: str, *, rules: Sequence[str] = tuple(RULES), has_tools: bool = True, files_max: int = 99
    ) -> None:
        self.dialect = dialect
        self.model, self._encode, self._check = DIALECTS[dialect]
        self.rules = rules
        self.has_tools = has_tools
        self.files_max = files_max
        self.bodies: list[tuple[bool, Body]] = []
        self.broken: list[str] = []
        self.backend = ScriptedBackend(self._answer)

    def _answer(self, request: BackendRequest) -> list[Any]:
        body = settled(self._encode(msgspec.structs.replace(request, model=self.model)))  # as it is sent
        self.broken += violations(request.messages) + self._check(body | {"stream": True})
        error = self._refusal(request)
        self.bodies.append((error is None, body))
        if error is not None:
            return [Fail(error)]
        last = request.messages[-1]
        said = " ".join(part.text for part in getattr(last, "parts", ()) if isinstance(part, TextPart))
        if "repeat" in said:
            return [Say(f"Well: <{self.rules[-1]}>")]
        if isinstance(last, UserMessage) and "look" in said and request.tools:
            return [Say("Looking."), Call("look", {"for": "odd" if "badly" in said else "it"})]
        return [Say(f"Answer {len(self.bodies)}.")]

    def _refusal(self, request: BackendRequest) -> BackendError | None:
        if request.tools and not self.has_tools:
            return self._error(400, {"message": "registry.ollama.ai/library/gemma:2b does not support tools"})
        if (
            sum(isinstance(p, FilePart) for m in request.messages if isinstance(m, UserMessage) for p in m.parts)
            > self.files_max
        ):
            return self._error(413, {"message": "request too large"})
        for word in self.rules:
            for message in request.messages:
                for part in getattr(message, "parts", None) or message.results:  # type: ignore[union-attr]
                    found = part.data.decode() if isinstance(part, FilePart) else msgspec.json.encode(part).decode()
                    if f"<{word}>" in found:
                        return self._error(*RULES[word])
        return None

    @staticmethod
    def _error(status: int, error: Body) -> BackendError:
        return classified(fault_of({"error": error}, status=status), ENDPOINT)


def picture(name: str = "photo.png", *, data: bytes = b"<picture>") -> FilePart:
    return FilePart(media_type="image/png", data=data, name=name)


async def say(opened: Stage, *parts: UserPart | str) -> TurnEnded:
    """Sends a message and returns the end of its turn."""
    texts = [part for part in parts if isinstance(part, str)]
    files = [part for part in parts if isinstance(part, FilePart)]
    message = accepted_message(
        " ".join(texts), custom_prompt=None, idempotency_key=None, attachments=files, limits=DEFAULT_LIMITS, at_ms=1
    )
    await opened.exchange.send(HERE, message, overlap=None)
    await opened.idle()
    ends = [event for event in await opened.events() if isinstance(event, TurnEnded)]
    return next(end for end in ends if end.turn_id == message.turn_id)


async def adapted(opened: Stage) -> list[RequestAdapted]:
    return [event for event in await opened.events() if isinstance(event, RequestAdapted)]


async def notices(opened: Stage) -> list[NoticeGiven]:
    return [event for event in await opened.events() if isinstance(event, NoticeGiven)]


every_dialect = pytest.mark.parametrize("dialect", DIALECTS)


@every_dialect
@pytest.mark.virtual_time
async def test_a_model_without_tools_is_asked_again_without_them(dialect: str) -> None:
    """P15 (ZoneMinder/zmNinjaNg#309)."""
    picky = Picky(dialect, has_tools=False)
    async with stage(bench=Bench(picky.backend)) as opened:
        await opened.create()
        assert (await say(opened, "hello")).outcome == "completed"
        assert [accepted for accepted, _ in picky.bodies] == [False, True]
        assert (await say(opened, "and now?")).outcome == "completed"
        assert len(picky.bodies) == 3, "it is remembered"
        (notice,) = await notices(opened)
        assert notice.code == "tools_left_out"
        assert "essential_tools=[]" in notice.text
        assert "does not support tools" in notice.text, "the provider's words"


@pytest.mark.virtual_time
async def test_tools_are_tried_again_after_an_update_and_calls_of_before_are_told_as_text() -> None:
    able, unable = Picky("chat"), Picky("chat", has_tools=False)
    async with stage(bench=Bench(able.backend, others={"other": unable.backend})) as opened:
        await opened.create()
        await say(opened, "look")
        await switch(opened, backend="other")
        assert (await say(opened, "hello")).outcome == "completed"
        accepted = unable.bodies[-1][1]["messages"]
        assert not [message for message in accepted if message["role"] == "tool" or "tool_calls" in message]
        assert "The tool look was called" in json.dumps(accepted)
        assert "look done" in json.dumps(accepted)
        await switch(opened, backend="scripted")
        await say(opened, "back")
        assert able.bodies[-1][1]["tools"], "the other model keeps its tools"
        await switch(opened, backend="other")
        await say(opened, "again")
        assert [accepted for accepted, _ in unable.bodies] == [False, True, False, True], "it is tried again"
    assert able.broken == unable.broken == []


async def switch(opened: Stage, **settings: Any) -> None:
    async with opened.registry.using(HERE) as live:
        config = msgspec.structs.replace(live.state.config, **settings)
        await live.change(lambda state: [SessionUpdated(config=config, config_version=state.tally.config_version + 1)])


@every_dialect
@pytest.mark.virtual_time
async def test_an_attachment_is_replaced_by_a_line_and_the_message_is_answered(dialect: str) -> None:
    """P16 (anthropics/claude-code#10395, danny-avila/LibreChat#16234, willdady/platypus#328)."""
    picky = Picky(dialect)
    async with stage(bench=Bench(picky.backend)) as opened:
        await opened.create()
        await say(opened, "hello")
        assert (await say(opened, "what is this?", picture())).outcome == "completed"
        body = json.dumps(picky.bodies[-1][1])
        assert "photo.png (image/png, 9 bytes) was attached here" in body
        assert "what is this?" in body
        assert (await say(opened, "and now?")).outcome == "completed"
        assert len(picky.bodies) == 4, "one refused request, for ever"
        (notice,) = await notices(opened)
        assert notice.code == "attachment_left_out"
        assert "photo.png (image/png)" in notice.text
        (event,) = await adapted(opened)
        assert (event.refused, event.asks_again, len(event.files)) == ("attachment", True, 1)


@every_dialect
@pytest.mark.parametrize("word", ["filtered", "inspected", "odd", "unprocessable", "huge", "heavy"])
@pytest.mark.virtual_time
async def test_a_text_fails_its_turn_and_the_next_message_is_answered(dialect: str, word: str) -> None:
    """P16: 400 `content_policy_violation`, and what nobody knows the reason of."""
    picky = Picky(dialect)
    async with stage(bench=Bench(picky.backend)) as opened:
        await opened.create()
        await say(opened, "hello")
        end = await say(opened, f"something <{word}>")
        assert (end.outcome, bool(end.hint)) == ("failed", True)
        assert end.code == ("context_too_long" if word in {"huge", "heavy"} else "backend_rejected")
        assert (await say(opened, "and now?")).outcome == "completed"
        body = json.dumps(picky.bodies[-1][1])
        assert f"<{word}>" not in body
        assert "A message of the user was here" in body
        assert [notice.code for notice in await notices(opened)] == ["message_left_out"]
        # Without the model's own last answer, it is refused as well.
        assert [accepted for accepted, _ in picky.bodies] == [True, *[False] * (1 if word == "huge" else 2), True]
    assert picky.broken == []


@pytest.mark.virtual_time
async def test_a_memory_that_is_refused_is_left_out_and_the_turn_goes_on() -> None:
    """It stands beside the message, and would come with every message that it fits."""
    picky = Picky("chat")
    async with stage(bench=Bench(picky.backend)) as opened:
        await opened.create()
        await opened.store.notes.put(
            "ann", Note(kind="memory", key="k", text="likes <filtered> tea", at_ms=1), count_max=9
        )
        assert (await say(opened, "tea")).outcome == "completed"
        assert "Today is" in json.dumps(picky.bodies[0][1])
        assert "<filtered>" not in json.dumps(picky.bodies[-1][1])
        assert (await say(opened, "more tea")).outcome == "completed"
        assert len(picky.bodies) == 3


@every_dialect
@pytest.mark.virtual_time
async def test_a_result_of_a_tool_is_left_out_and_the_turn_goes_on(dialect: str) -> None:
    picky = Picky(dialect)
    bench = Bench(picky.backend)

    async def call(arguments: Any, context: Any) -> str:
        return f"a page <filtered> {arguments}"

    bench.look.call = call  # type: ignore[method-assign]
    async with stage(bench=bench) as opened:
        await opened.create()
        assert (await say(opened, "look")).outcome == "completed"
        body = json.dumps(picky.bodies[-1][1])
        assert "<filtered>" not in body
        assert "This call has a result (outcome: ok)" in body
        assert (await say(opened, "and now?")).outcome == "completed"
    assert picky.broken == []


@pytest.mark.virtual_time
async def test_what_was_tried_in_vain_comes_back() -> None:
    """The text was the reason, not the picture of the same message or the history that this model never had."""
    picky, other = Picky("chat", rules=["filtered"]), Picky("chat", rules=[])
    async with stage(bench=Bench(picky.backend, others={"other": other.backend})) as opened:
        await opened.create(llm_model="m")
        await switch(opened, backend="other")
        await say(opened, "before", picture("early.png"))
        await switch(opened, backend="scripted")
        assert (await say(opened, "<filtered>", picture("late.png"))).outcome == "failed"
        assert (await say(opened, "and now?")).outcome == "completed"
        body = json.dumps(picky.bodies[-1][1])
        assert "before" in body
        assert body.count('"image_url"') == 2, "one part, with its kind"
        assert "was attached here" not in body


@pytest.mark.virtual_time
async def test_a_history_that_is_refused_as_a_whole_is_left_out() -> None:
    """The provider has become stricter: what it once took, it takes no longer."""
    picky = Picky("chat", rules=[])
    async with stage(bench=Bench(picky.backend)) as opened:
        await opened.create()
        await say(opened, "<odd>")
        picky.rules = ["odd"]
        assert (await say(opened, "one")).outcome == "failed", "it could have been the message"
        assert (await say(opened, "two")).outcome == "completed"
        assert "The earlier conversation was here" in json.dumps(picky.bodies[-1][1])
        assert (await say(opened, "three")).outcome == "completed"
        assert [notice.code for notice in await notices(opened)] == ["message_left_out", "history_left_out"]


async def answered_elsewhere(opened: Stage, *texts: str) -> None:
    """Has another model answer, and comes back to one that has answered nothing yet."""
    await opened.create(llm_model="m")
    await switch(opened, backend="other")
    for text in texts:
        assert (await say(opened, text)).outcome == "completed"
    await switch(opened, backend="scripted")


@pytest.mark.virtual_time
async def test_a_refusal_without_a_reason_gives_up_nothing_that_another_model_answered() -> None:
    """Right after a switch, nothing of the history has been accepted by the model; the refusal passes by itself."""
    other = Picky("chat", rules=[])
    refused = [classified(fault_of({"error": RULES["odd"][1]}, status=400), ENDPOINT)]
    bodies: list[str] = []

    def answer(request: BackendRequest) -> list[Any]:
        bodies.append(msgspec.json.encode(request.messages).decode())
        return [Fail(refused.pop())] if refused else [Say("Hi")]

    async with stage(bench=Bench(ScriptedBackend(answer), others={"other": other.backend})) as opened:
        await answered_elsewhere(opened, "first", "second")
        assert (await say(opened, "third")).outcome == "completed"
        assert all(word in bodies[-1] for word in ("first", "Answer 1.", "second", "third"))
        assert "Answer 2." not in bodies[-1], "no model had taken it: it was tried without"
        assert len(bodies) == 2


@pytest.mark.virtual_time
async def test_a_history_that_the_next_model_refuses_without_a_reason_costs_one_message() -> None:
    picky, other = Picky("chat", rules=["odd"]), Picky("chat", rules=[])
    async with stage(bench=Bench(picky.backend, others={"other": other.backend})) as opened:
        await answered_elsewhere(opened, "<odd>", "fine")
        assert (await say(opened, "one")).outcome == "failed", "it could have been the message"
        assert (await say(opened, "two")).outcome == "completed"
        assert "The earlier conversation was here" in json.dumps(picky.bodies[-1][1])
        assert (await say(opened, "three")).outcome == "completed"
        assert [accepted for accepted, _ in picky.bodies].count(False) <= 5, "bounded, and nothing once it is known"
        assert picky.bodies[-1][0]
        assert picky.bodies[-2][0]


@pytest.mark.virtual_time
async def test_a_message_that_no_model_answered_goes_before_the_next_one() -> None:
    """It was refused by nobody: its turn was stopped by something else."""
    picky = Picky("chat", rules=["odd"])
    down: list[BackendError] = [
        classified(fault_of({"error": {"code": "insufficient_quota", "message": "no"}}, status=400), ENDPOINT)
    ]

    def answer(request: BackendRequest) -> list[Any]:
        return [Fail(down.pop())] if down else picky._answer(request)

    async with stage(bench=Bench(ScriptedBackend(answer))) as opened:
        await opened.create(llm_model=picky.model)
        assert (await say(opened, "<odd>")).outcome == "failed"
        assert (await say(opened, "and now?")).outcome == "completed"
        assert "<odd>" not in json.dumps(picky.bodies[-1][1])


@pytest.mark.virtual_time
async def test_a_history_that_the_filter_of_the_next_model_refuses_costs_no_message() -> None:
    """The provider says that a text is the reason; what it has not seen before is tried first."""
    picky, other = Picky("chat", rules=["filtered"]), Picky("chat", rules=[])
    async with stage(bench=Bench(picky.backend, others={"other": other.backend})) as opened:
        await answered_elsewhere(opened, "<filtered>", "fine")
        assert (await say(opened, "one")).outcome == "completed"
        assert [accepted for accepted, _ in picky.bodies] == [False, True]


@pytest.mark.virtual_time
async def test_attachments_that_are_too_many_together_are_left_out() -> None:
    picky = Picky("chat", rules=[], files_max=2)
    async with stage(bench=Bench(picky.backend)) as opened:
        await opened.create()
        for number in range(4):
            assert (await say(opened, f"look at {number}", picture(f"{number}.png"))).outcome == "completed"
        assert (await say(opened, "and now?")).outcome == "completed"
        body = json.dumps(picky.bodies[-1][1])
        assert body.count("data:image/png") == 2
        assert "2.png (image/png, 9 bytes) was attached here" in body


@pytest.mark.virtual_time
async def test_an_update_brings_everything_back_and_the_next_message_is_answered_all_the_same() -> None:
    picky = Picky("chat")
    async with stage(bench=Bench(picky.backend)) as opened:
        await opened.create()
        await say(opened, "<filtered>")
        await say(opened, "fine")
        await switch(opened, temperature=0.5)
        assert (await say(opened, "and now?")).outcome == "completed"
        assert [accepted for accepted, _ in picky.bodies] == [False, True, False, True]
        picky.rules = ()
        await switch(opened, temperature=0.6)
        await say(opened, "and now?")
        assert "<filtered>" in json.dumps(picky.bodies[-1][1]), "it is tried again"


@pytest.mark.virtual_time
async def test_an_answer_that_has_begun_is_not_asked_again_but_the_session_goes_on() -> None:
    filtered = classified(fault_of({"error": RULES["filtered"][1]}, status=400), ENDPOINT)

    def answer(request: BackendRequest) -> list[Any]:
        bad = "<filtered>" in msgspec.json.encode(request.messages).decode()
        return [Say("Half"), Fail(filtered)] if bad else [Say("Whole")]

    async with stage(answer) as opened:
        await opened.create()
        assert (await say(opened, "<filtered>")).outcome == "failed"
        assert (await say(opened, "and now?")).outcome == "completed"


@pytest.mark.parametrize(
    "error", [{"code": "insufficient_quota"}, {"code": "model_not_found"}, {"code": "unsupported_parameter"}]
)
@pytest.mark.virtual_time
async def test_money_models_and_settings_take_nothing_out(error: Body) -> None:
    refused = [classified(fault_of({"error": error | {"message": "no"}}, status=400), ENDPOINT)]

    def answer(request: BackendRequest) -> list[Any]:
        return [Fail(refused.pop())] if refused else [Say("Hi")]

    async with stage(answer) as opened:
        await opened.create()
        assert (await say(opened, "one")).outcome == "failed"
        assert (await say(opened, "two")).outcome == "completed"
        assert await adapted(opened) == []


@pytest.mark.virtual_time
async def test_a_fallback_answers_what_the_first_refuses_and_each_keeps_its_own_history() -> None:
    picky, other = Picky("chat"), Picky("claude", rules=[])
    async with stage(bench=Bench(picky.backend, others={"other": other.backend})) as opened:
        await opened.create(fallbacks=("other:m",))
        assert (await say(opened, "<filtered> one")).outcome == "completed"
        assert (await say(opened, "two")).outcome == "completed"
        assert "<filtered>" in json.dumps(other.bodies[-1][1])
        assert len(other.bodies) == 1
        assert "<filtered>" not in json.dumps(picky.bodies[-1][1])


# --- any messages, any dialect --------------------------------------------------------------------------------------------

words = st.sampled_from(["plain", "look", "repeat", "look badly", *(f"<{word}> text" for word in RULES)])
files = st.lists(
    st.builds(
        picture,
        name=st.sampled_from(["a.png", "b.png"]),
        data=st.sampled_from([b"fine", b"<picture>", b"<filtered>", b"<huge>"]),
    ),
    max_size=2,
)
acts = st.lists(st.tuples(words, files, st.sampled_from(["", "", "", "update", "crash"])), min_size=1, max_size=6)


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(acts=acts, has_tools=st.booleans(), files_max=st.sampled_from([1, 99]))
@example(
    acts=[("<filtered> text", [], ""), ("<odd> text", [], "update"), ("<huge> text", [], "crash")],
    has_tools=False,
    files_max=1,
)
def test_whatever_is_refused_the_next_message_is_answered(
    dialect: str,
    acts: list[tuple[str, list[FilePart], str]],
    has_tools: bool,  # noqa: FBT001 - drawn by name
    files_max: int,
) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(whatever_is_refused(dialect, acts, has_tools=has_tools, files_max=files_max))


async def whatever_is_refused(
    dialect: str, acts: list[tuple[str, list[FilePart], str]], *, has_tools: bool, files_max: int
) -> None:
    picky = Picky(dialect, has_tools=has_tools, files_max=files_max)
    async with stage(bench=Bench(picky.backend)) as opened:
        await opened.create(llm_model=picky.model)
        for text, attached, after in acts:
            await say(opened, text, *attached)
            if after == "update":
                await switch(opened, temperature=float(len(picky.bodies)) / 1000)
            assert (await say(opened, "and now?")).outcome == "completed", (text, attached, after)
        records = list(await opened.store.log.read(HERE))
    assert picky.broken == []
    stays_the_beginning(picky, records)
    # A process that dies behind any of the last records: the rest is answered by another one.
    for cut in range(max(1, len(records) - 8), len(records)):
        other = Picky(dialect, has_tools=has_tools, files_max=files_max)
        store = await store_with(records[:cut])
        async with stage(store=store, bench=Bench(other.backend)) as opened:
            async with opened.registry.using(HERE) as live:
                assert violations(render(live.state)) == []
            await opened.idle()
            assert (await say(opened, "and now?")).outcome == "completed", f"after record {cut}"
        assert other.broken == []
        await store.close()


def stays_the_beginning(picky: Picky, records: Sequence[Any]) -> None:
    """Each request begins with the one before, unless something was refused, or the configuration was changed, between them."""
    name = "input" if picky.dialect == "responses" else "messages"
    changes = sum(isinstance(record.event, SessionUpdated) for record in records)
    broken = 0
    for (was_taken, former), (_, body) in zip(picky.bodies, picky.bodies[1:], strict=False):
        plain = [
            json.loads(json.dumps(b[name]).replace(', "cache_control": {"type": "ephemeral"}', ""))
            for b in (former, body)
        ]
        is_longer = plain[1][: len(plain[0])] == plain[0]
        broken += was_taken and not is_longer
    refused = sum(not taken for taken, _ in picky.bodies)
    assert broken <= changes + refused
