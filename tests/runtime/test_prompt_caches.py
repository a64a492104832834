"""What a session sends stays the beginning of what it sends later: the providers' caches hit, and the usage shows it.

Case P17 (janhq/jan#8958, NousResearch/hermes-agent#25971): memories that fit the question stood in the system prompt, before the
history, and no request found anything of the one before in the cache.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.stage import CheckedBackend
from greenroom import AgentManager
from greenroom.backends import claude_request, openai_chat, openai_responses_request
from greenroom.backends.claude import ClaudeBackend
from greenroom.backends.openai import OpenAIBackend
from greenroom.backends.openai_responses import OpenAIResponsesBackend
from greenroom.backends.scripted import Call, Cue, Say, Think
from greenroom.interfaces import BackendRequest
from greenroom.messages import ContextPart, StreamItem, TextPart, ToolMessage, UserMessage
from greenroom.runtime import clock
from greenroom.testing.prompt_cache import PromptCache, tokens
from greenroom.testing.strict_claude import StrictClaude
from greenroom.testing.strict_openai import Reply, ReplyCall, StrictOpenAI
from greenroom.testing.strict_responses import Answer, StrictResponses
from greenroom.testing.virtual_time import VirtualTimeLoop
from runtime.test_switching import Two, said

PERSONA = "You are a careful test of prompt caches. " * 200


def openai_step(body: dict[str, Any]) -> Reply:
    if body["messages"][-1]["role"] == "tool":
        return Reply(text="Done. " * 40)
    return Reply(text="Looking.", calls=(ReplyCall("left", '{"what": "it"}'), ReplyCall("right")))


def claude_step(body: dict[str, Any]) -> Any:
    if body["messages"][-1]["content"][0]["type"] == "tool_result":
        return [Say("Done. " * 40)]
    return [Say("Looking."), Call("left", {"what": "it"}), Call("right", {})]


def responses_step(body: dict[str, Any]) -> Answer:
    if body["input"][-1]["type"] == "function_call_output":
        return [Think("Hm."), Say("Done. " * 40)]
    return [Think("Which?"), Say("Looking."), Call("left", {"what": "it"}), Call("right", {})]


@pytest.mark.parametrize("backend", ["openai", "openai-responses", "claude"])
async def test_every_request_reads_what_the_one_before_sent(home: Path, backend: str) -> None:
    async with (
        StrictOpenAI(openai_step, counts_usage=True) as openai,
        StrictResponses(responses_step, counts_usage=True) as responses,
        StrictClaude(claude_step, counts_usage=True) as claude,
    ):
        backends = {
            "openai": OpenAIBackend(api_key=openai.key, base_url=openai.base_url),
            "openai-responses": OpenAIResponsesBackend(api_key=responses.key, base_url=responses.base_url),
            "claude": ClaudeBackend(api_key=claude.key, base_url=claude.base_url),
        }
        async with AgentManager(home=home, toolsets=[Two], backends=backends) as manager:
            model = {"openai": "gpt-4o", "openai-responses": "gpt-5", "claude": "claude-sonnet-4-5"}[backend]
            session_id = await manager.create_session(
                backend=backend, llm_model=model, additional_tools=["Two"], custom_persona_text=PERSONA
            )
            for number in range(4):
                before = usage(manager, session_id)
                end = await said(manager, session_id, f"question {number} " * 30)
                assert end["type"] == "RUN_FINISHED", end
                steps = end["usage"]
                assert len(steps) == 2
                for place, step in enumerate(steps):
                    if number or place:
                        # All but what is new since the request before, and but what is rounded away.
                        assert step["cachedInputTokens"] > step["inputTokens"] - 700, step
                assert usage(manager, session_id)["cached_input_tokens"] > before["cached_input_tokens"]
        assert (openai.refused, responses.refused, claude.refused) == ([], [], [])
        if backend == "claude":
            assert all(0 < str(body).count("'cache_control'") <= 4 for body in claude.bodies)


def usage(manager: AgentManager, session_id: str) -> dict[str, Any]:
    data = manager.get_session_data(session_id)
    assert data is not None
    return dict(data["usage"])


# --- any session, in every dialect --------------------------------------------------------------------------------------

DAY_MS: Final = 86_400_000

ENCODERS: Mapping[str, Callable[[BackendRequest], dict[str, Any]]] = {
    "openai": lambda request: openai_chat.encode(msgspec.structs.replace(request, model="gpt-4o")),
    "openai-responses": lambda request: openai_responses_request.encode(
        msgspec.structs.replace(request, model="gpt-5")
    ),
    "claude": lambda request: claude_request.encode(msgspec.structs.replace(request, model="claude-sonnet-4-5")),
}


def obedient(request: BackendRequest) -> Sequence[Cue]:
    """Does what the latest message says as JSON, then reports at length."""
    if isinstance(request.messages[-1], ToolMessage):
        return [Say("Done. " * 20)]
    assert isinstance(request.messages[-1], UserMessage)
    said = request.messages[-1].parts[-1]
    assert isinstance(said, TextPart)
    _, _, orders = said.text.partition("|")
    calls = [Call(name, arguments) for name, arguments in json.loads(orders or "[]")]
    return [Say("Well. " * 20), *calls]


def pieces(body: dict[str, Any]) -> list[str]:
    """Returns the request as its provider reads it: what stands before the conversation, then message for message."""
    body = unmarked(body)
    conversation = body.pop("messages", None) or body.pop("input")
    return [json.dumps(body), *map(json.dumps, conversation)]


def unmarked(value: Any) -> Any:
    """Returns the value without Claude's breakpoints, which are no part of what is cached."""
    if isinstance(value, dict):
        return {name: unmarked(part) for name, part in value.items() if name != "cache_control"}
    return [unmarked(part) for part in value] if isinstance(value, list) else value


def in_the_system_prompt(request: BackendRequest) -> BackendRequest:
    """Returns the request as it was before: what is told of the user stands in the system prompt."""
    told = [
        part.text
        for message in request.messages
        if isinstance(message, UserMessage)
        for part in message.parts
        if isinstance(part, ContextPart)
    ]
    messages = tuple(
        UserMessage(parts=tuple(part for part in message.parts if not isinstance(part, ContextPart)))
        if isinstance(message, UserMessage)
        else message
        for message in request.messages
    )
    return msgspec.structs.replace(request, system="\n\n".join([request.system, *told[-1:]]), messages=messages)


WORDS: Final = ("tea", "rowing", "Paris", "cats")
remember = st.sampled_from(WORDS).map(
    lambda word: ["remember", {"text": f"The user likes {word}. " + "Very much. " * 9}]
)
prefer = st.sampled_from(["dry", "warm"]).map(lambda tone: ["set_preference", {"key": "tone", "value": tone}])
orders = st.one_of(
    remember,
    prefer,
    st.just(["reset_preference", {"key": "tone"}]),
    st.just(["roll_dice", {}]),
)
says = st.tuples(st.sampled_from(WORDS), st.lists(orders, max_size=3)).map(
    lambda drawn: f"What about {drawn[0]}? " * 5 + "|" + json.dumps(drawn[1])
)
deeds = st.lists(
    st.one_of(says, says, says, st.just("day"), st.just("rewind"), st.just("two")), min_size=3, max_size=12
)


class Remembering(CheckedBackend):
    """Keeps every request."""

    def __init__(self) -> None:
        super().__init__(obedient)
        self.all_requests: list[BackendRequest] = []

    def stream(self, request: BackendRequest) -> AbstractAsyncContextManager[AsyncIterator[Sequence[StreamItem]]]:
        self.all_requests.append(request)
        return super().stream(request)


class Player:
    """Plays sessions of one user each on one manager, in virtual time, and keeps what the model was asked."""

    def __init__(self, home: Path) -> None:
        self._runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self._backend = Remembering()
        self._manager = AgentManager(home=home, store="memory://", backends={"scripted": self._backend})
        self._now_ms = 1_790_000_000_000
        self._users = itertools.count()

    def now_ms(self) -> int:
        """What the clock says."""
        return self._now_ms

    def close(self) -> None:
        self._runner.run(self._manager.close())
        self._runner.close()
        assert self._backend.violations == []

    def requests(self, drawn: Sequence[str]) -> list[tuple[BackendRequest, bool]]:
        """Plays a session; returns its requests, and for each whether something was taken out before it."""
        return self._runner.run(self._play(drawn))

    async def _play(self, drawn: Sequence[str]) -> list[tuple[BackendRequest, bool]]:
        manager, requests = self._manager, self._backend.all_requests
        begin = len(requests)
        shortened: set[int] = set()
        session_id = await manager.create_session(
            backend="scripted", custom_persona_text=PERSONA, user_id=f"user-{next(self._users)}"
        )
        for deed in drawn:
            match deed:
                case "day":
                    self._now_ms += DAY_MS
                case "rewind":
                    answers = [row for row in await manager.history(session_id) if row.role == "assistant"]
                    if answers:
                        await manager.rewind_session(session_id, answers[len(answers) // 2].turn_id)
                        shortened.add(len(requests))
                case "two":
                    await manager.send(session_id, "One. " * 9)
                    await manager.send(session_id, "Two. " * 9, overlap="merge")
                    async for _ in manager.attach(session_id):
                        pass
                case _:
                    end = await said(manager, session_id, deed)
                    assert end["type"] == "RUN_FINISHED", end
        return [(requests[number], number in shortened) for number in range(begin, len(requests))]


@pytest.fixture(scope="module")
def player(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Player]:
    player = Player(tmp_path_factory.mktemp("home"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(clock.SystemClock, "now_ms", lambda _: player.now_ms())
        yield player
        player.close()


@settings(max_examples=40)
@given(deeds)
def test_every_request_begins_with_the_one_before_in_every_dialect(player: Player, drawn: list[str]) -> None:
    played = player.requests(drawn)
    assert len(played) >= sum(deed not in {"day", "rewind", "two"} for deed in drawn)
    for encode in ENCODERS.values():
        bodies = [(pieces(encode(request)), is_shorter) for request, is_shorter in played]
        for (before, _), (after, is_shorter) in pairwise(bodies):
            # The last message does not count: one that comes at once after it may have become a part of it.
            if is_shorter:
                assert before[: len(after) - 1] == after[:-1]
            else:
                assert after[: len(before) - 1] == before[:-1]


def test_a_session_with_memories_finds_its_history_in_the_cache(player: Player) -> None:
    """And the same session as it was, with memories in the system prompt: only the tools before it were cached."""
    drawn = [f'What about tea? |[["remember", {{"text": "tea number {number}"}}]]' for number in range(12)]
    played = [request for request, _ in player.requests(drawn)]
    for encode in ENCODERS.values():
        missed = []
        for variant in (in_the_system_prompt, lambda request: request):
            cache = PromptCache()
            sent = [pieces(encode(variant(request))) for request in played]
            missed.append(sum(tokens(request) - cache.automatic(request) for request in sent))
        before, now = missed
        assert now * 10 < sum(map(tokens, sent)), missed
        assert now * 3 < before, missed
