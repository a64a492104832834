"""A manager with a scripted model that checks what it is asked, and toolsets for tests.

Rule: every request of every test must be one that both OpenAI and Claude would take; a test never has to ask for that.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

from contract.reading import Json, run_of
from greenroom import AgentManager
from greenroom.backends.scripted import Script, ScriptedBackend
from greenroom.interfaces import BackendRequest
from greenroom.messages import (
    AssistantMessage,
    StreamItem,
    TextPart,
    ToolCallPart,
    ToolMessage,
    TranscriptMessage,
    UserMessage,
)

QUICK_LIMITS: Mapping[str, Any] = {"drain_s_max": 0.05, "retry_base_s": 0.001, "retry_wait_s_max": 1.0}
"""A test waits neither for a turn that hangs on purpose nor for a provider that is down on purpose."""


class CheckedBackend(ScriptedBackend):
    """Plays a script, and writes down which of its requests a provider would have refused."""

    def __init__(self, script: Script | None = None, **options: Any) -> None:
        super().__init__(script, **options)
        self.violations: list[str] = []

    def stream(self, request: BackendRequest) -> AbstractAsyncContextManager[AsyncIterator[Sequence[StreamItem]]]:
        self.violations.extend(violations(request))
        return super().stream(request)


class Stage:
    """One manager and the model behind its backend `scripted`."""

    def __init__(self, manager: AgentManager, backend: CheckedBackend) -> None:
        self.manager = manager
        self.backend = backend

    async def session(self, **settings: Any) -> str:
        """Creates a session on the scripted backend."""
        return await self.manager.create_session(**{"backend": "scripted", **settings})

    async def say(self, session_id: str, text: str = "Hello", *args: Any, **options: Any) -> list[Json]:
        """Sends a message and reads the whole answer."""
        return await run_of(self.manager.stream_response(session_id, text, *args, **options))

    def data(self, session_id: str) -> Json:
        data = self.manager.get_session_data(session_id)
        assert data is not None
        return data

    @property
    def last_request(self) -> BackendRequest:
        return self.backend.requests[-1]

    @property
    def last_tools(self) -> set[str]:
        """Names of the tools that the model was last offered."""
        return {spec.name for spec in self.last_request.tools}


# Enough for what happens within one process.
_SPINS: Final = 100


async def becomes(condition: Callable[[], bool]) -> None:
    """Lets others run until the condition holds; the test's own time-out bounds it.

    The threads of the store are among the others: a loop that never rests lets each of their steps wait for the interpreter.
    """
    spins = 0
    while not condition():
        spins += 1
        await asyncio.sleep(0 if spins < _SPINS else 0.001)  # real time: the threads of a store need some


async def let_others_run() -> None:
    """Gives every task that can run some turns of the event loop."""
    for _ in range(20):
        await asyncio.sleep(0)


def open_files() -> set[str]:
    """Descriptors that the process has open; empty where the system does not tell."""
    folder = Path("/proc/self/fd")
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def words(request: BackendRequest) -> list[tuple[str, str]]:
    """Who said what in a request, tool results included."""
    return [(role, text) for message in request.messages for role, text in _words(message)]


def _words(message: TranscriptMessage) -> Iterator[tuple[str, str]]:
    match message:
        case UserMessage():
            yield from (("user", part.text) for part in message.parts if isinstance(part, TextPart))
        case AssistantMessage():
            yield from (("assistant", part.text) for part in message.parts if isinstance(part, TextPart))
        case ToolMessage():
            yield from (("tool", result.content) for result in message.results)


def violations(request: BackendRequest) -> Iterator[str]:
    """Yields what OpenAI or Claude would refuse the request for."""
    names = [spec.name for spec in request.tools]
    if len(set(names)) < len(names):
        yield f"tool names repeat: {names}"
    yield from (f"tool name {name!r}" for name in names if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name))
    yield from (
        f"tool {spec.name}: parameters are no object schema"
        for spec in request.tools
        if spec.parameters.get("type") != "object"
    )
    if not request.messages or not isinstance(request.messages[0], UserMessage):
        yield "the first message is not the user's"
        return
    seen: set[str] = set()
    owed: list[str] = []
    former: TranscriptMessage | None = None
    for message in request.messages:
        if former is not None and type(former) is type(message):
            yield f"two {type(message).__name__} in a row"
        if owed and not isinstance(message, ToolMessage):
            yield f"calls without results: {owed}"
        match message:
            case UserMessage():
                if not message.parts or any(isinstance(part, TextPart) and not part.text for part in message.parts):
                    yield "an empty user message"
            case AssistantMessage():
                owed = [part.call_id for part in message.parts if isinstance(part, ToolCallPart)]
                yield from _assistant_violations(message, owed, seen)
                seen.update(owed)
            case ToolMessage():
                given = [result.call_id for result in message.results]
                if given != owed:
                    yield f"results {given} for calls {owed}"
                if any(not result.content for result in message.results):
                    yield "an empty tool result"
                owed = []
        former = message
    if isinstance(former, AssistantMessage):
        yield "the request ends with the assistant"


def _assistant_violations(message: AssistantMessage, calls: Sequence[str], seen: set[str]) -> Iterator[str]:
    if not message.parts:
        yield "an empty assistant message"
    if any(isinstance(part, TextPart) and not part.text for part in message.parts):
        yield "an empty text of the assistant"
    for call_id in calls:
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", call_id):
            yield f"call id {call_id!r}"
    if len({*seen, *calls}) < len(seen) + len(calls):
        yield f"call ids repeat: {calls}"
