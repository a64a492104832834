"""Every backend that ships keeps the promises of `interfaces.Backend`, each over a double of its provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import ClassVar

import msgspec
import pytest

from greenroom.backends import scripted
from greenroom.backends.claude import ClaudeBackend
from greenroom.backends.openai import OpenAIBackend
from greenroom.backends.openai_responses import OpenAIResponsesBackend
from greenroom.backends.scripted import Call, Cut, Fail, Gate, Say, ScriptedBackend, Think
from greenroom.errors import BackendError, BackendRejected, BackendUnauthorized, BackendUnavailable, ContextTooLong
from greenroom.testing import strict_claude, strict_responses
from greenroom.testing.backend_conformance import Answer, BackendConformance, Fails, Stage
from greenroom.testing.strict_claude import HttpError, StrictClaude
from greenroom.testing.strict_openai import Refused, Reply, ReplyCall, StrictOpenAI
from greenroom.testing.strict_responses import StrictResponses

TOO_LONG = "prompt is too long: 200001 tokens > 200000 maximum"


class TestScripted(BackendConformance):
    @asynccontextmanager
    async def stage(self, *answers: Answer) -> AsyncIterator[Stage]:
        backend = ScriptedBackend([self.step(answer) for answer in answers])

        async def left() -> None:
            while backend.streams_open:  # noqa: ASYNC110 - nobody is told of it, and it takes one turn of the loop
                await asyncio.sleep(0)

        yield Stage(backend=backend, request_count=lambda: backend.request_count, left=left, model="any")

    def step(self, answer: Answer) -> scripted.Step:
        if isinstance(answer, Fails):
            return Fail(answer.error("scripted"))
        return [
            *([Think(answer.reasoning)] if answer.reasoning else ()),
            *([Say(answer.text)] if answer.text else ()),
            *(Call(use.name, msgspec.json.decode(use.arguments), call_id=use.call_id) for use in answer.calls),
            *([Gate()] if answer.holds else ()),
            *([Cut()] if answer.breaks else ()),
        ]


@pytest.mark.every_loop
class TestClaude(BackendConformance):
    ERRORS: ClassVar[dict[type[BackendError], HttpError]] = {
        BackendUnavailable: HttpError(529, "overloaded_error", "Overloaded"),
        BackendRejected: HttpError(400, "invalid_request_error", "messages: nonsense"),
        BackendUnauthorized: HttpError(401, "authentication_error", "invalid x-api-key"),
        ContextTooLong: HttpError(400, "invalid_request_error", TOO_LONG),
    }

    @asynccontextmanager
    async def stage(self, *answers: Answer) -> AsyncIterator[Stage]:
        async with StrictClaude([self.answer(answer) for answer in answers]) as server:
            backend = ClaudeBackend(api_key=server.key, base_url=server.base_url)
            yield Stage(
                backend=backend,
                request_count=lambda: len(server.headers),
                left=server.left.wait,
                model="claude-opus-5-5",
            )
            await backend.close()
        assert not server.refused

    def answer(self, answer: Answer) -> strict_claude.Answer:
        if isinstance(answer, Fails):
            return self.ERRORS[answer.error]
        return [
            *([Think(answer.reasoning)] if answer.reasoning else ()),
            *([Say(answer.text)] if answer.text else ()),
            *(Call(use.name, msgspec.json.decode(use.arguments), call_id=use.call_id) for use in answer.calls),
            *([Gate()] if answer.holds else ()),
            *([strict_claude.Reset()] if answer.breaks else ()),
        ]


OPENAI_ERRORS: Mapping[type[BackendError], Refused] = {
    BackendUnavailable: Refused(status=503, message="Overloaded"),
    BackendRejected: Refused(status=400, message="nonsense", kind="invalid_request_error"),
    BackendUnauthorized: Refused(status=401, message="Incorrect API key provided", code="invalid_api_key"),
    ContextTooLong: Refused(status=400, message=TOO_LONG, code="context_length_exceeded"),
}


@pytest.mark.every_loop
class TestOpenAI(BackendConformance):
    @asynccontextmanager
    async def stage(self, *answers: Answer) -> AsyncIterator[Stage]:
        async with StrictOpenAI([self.reply(answer) for answer in answers]) as server:
            backend = OpenAIBackend(api_key=server.key, base_url=server.base_url)
            yield Stage(
                backend=backend,
                request_count=lambda: len(server.headers),
                left=server.left.wait,
                model="gpt-4o",
            )
            await backend.close()
        assert not server.refused

    def reply(self, answer: Answer) -> Reply | Refused:
        if isinstance(answer, Fails):
            return OPENAI_ERRORS[answer.error]
        # One event opens the answer, the others bring five characters each.
        spoken = 1 + -(-len(answer.text) // 5)
        return Reply(
            reasoning=answer.reasoning,
            text=answer.text,
            calls=tuple(ReplyCall(use.name, use.arguments, use.call_id) for use in answer.calls),
            hold=asyncio.Event() if answer.holds else None,
            hold_after=spoken,
            cut_after=spoken if answer.breaks else None,
        )


@pytest.mark.every_loop
class TestOpenAIResponses(BackendConformance):
    @asynccontextmanager
    async def stage(self, *answers: Answer) -> AsyncIterator[Stage]:
        async with StrictResponses([self.answer(answer) for answer in answers]) as server:
            backend = OpenAIResponsesBackend(api_key=server.key, base_url=server.base_url)
            yield Stage(
                backend=backend, request_count=lambda: len(server.headers), left=server.left.wait, model="gpt-5"
            )
            await backend.close()
        assert not server.refused

    def answer(self, answer: Answer) -> strict_responses.Answer:
        if isinstance(answer, Fails):
            return OPENAI_ERRORS[answer.error]
        return [
            *([Think(answer.reasoning)] if answer.reasoning else ()),
            *([Say(answer.text)] if answer.text else ()),
            *(Call(use.name, use.arguments, call_id=use.call_id) for use in answer.calls),
            *([Gate()] if answer.holds else ()),
            *([strict_responses.Reset()] if answer.breaks else ()),
        ]
