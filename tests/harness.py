"""A runtime on a memory store, put together by hand: what the tests of core and runtime stand on.

Rule: real parts only; the model is a script, the tools are counted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from greenroom.backends.scripted import Call, Say, ScriptedBackend, Think
from greenroom.config import Overlap, SessionConfig, SessionLabels
from greenroom.core.cursor import parse_cursor
from greenroom.errors import UnknownBackend
from greenroom.events import Effect, Event, Record
from greenroom.interfaces import Backend, BackendRequest, Persona, Store, Tool, ToolContext
from greenroom.limits import DEFAULT_LIMITS, Limits
from greenroom.logs.memory import MemoryStore
from greenroom.message_input import accepted_message
from greenroom.messages import ToolMessage, ToolSpec, Usage
from greenroom.runtime.clock import SystemClock
from greenroom.runtime.exchange import Exchange, Receipt
from greenroom.runtime.live import LiveSession
from greenroom.runtime.operations import Operations
from greenroom.runtime.registry import Registry
from greenroom.runtime.watch import Watch
from greenroom.runtime.workspace import Workspaces
from greenroom.streams import turn_events
from greenroom.toolsets.contained import Workspace

HERE = "s1"


def step_for(request: BackendRequest) -> list[Any]:
    """Thinks and calls two tools, then answers: whatever was cut off before."""
    if isinstance(request.messages[-1], ToolMessage):
        return [Say("All "), Say("done.")]
    return [Think("Which tools?"), Say("Let me see."), Call("pay", {}), Call("look", {}), Call("put", {})]


class CountingTool:
    """A tool that remembers its runs by idempotency key."""

    def __init__(self, name: str, effect: Effect) -> None:
        self.spec = ToolSpec(name=name, description=name, parameters={"type": "object", "properties": {}})
        self.effect = effect
        self.needs_approval = False
        self.runs: list[str] = []

    def check(self, arguments: Mapping[str, Any]) -> None:
        pass

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        self.runs.append(context.idempotency_key)
        return f"{self.spec.name} done"


class Bench:
    """Families with scripted backends and counting tools."""

    def __init__(self, backend: Backend, *, others: Mapping[str, Backend] | None = None) -> None:
        self.backends: dict[str, Backend] = {"scripted": backend, **(others or {})}
        self.pay = CountingTool("pay", "once")
        self.look = CountingTool("look", "pure")
        self.put = CountingTool("put", "idempotent")

    def backend(self, name: str) -> Backend:
        if name not in self.backends:
            raise UnknownBackend(name)
        return self.backends[name]

    def tools(self, names: Sequence[str]) -> Mapping[str, Tool]:
        return {tool.spec.name: tool for tool in (self.pay, self.look, self.put)}

    async def persona(self, name: str) -> Persona:
        return Persona(name=name, text="You are a test.")

    async def priced(self, usage: Usage, *, backend: str, model: str) -> Usage:
        return usage

    async def close_session(self, session_id: str) -> None:
        pass

    async def close(self) -> None:
        pass


class Stage:
    """An open runtime."""

    def __init__(self, store: Store, bench: Bench, limits: Limits) -> None:
        self.store = store
        self.bench = bench
        self.registry = Registry(
            store=store,
            families=bench,
            workspaces=Workspaces(Path("/nonexistent"), open_folder=Workspace),
            clock=SystemClock(),
            limits=limits,
        )
        self.watch = Watch(self.registry)
        self.registry.on_interest = self.watch.start
        self.registry.take_in = self.watch.take_in
        self.operations = Operations(self.registry)
        self.exchange = Exchange(self.registry, self.operations, self.watch)
        self.limits = limits

    async def create(self, session_id: str = HERE, **settings: Any) -> str:
        config = SessionConfig(backend="scripted", **settings)
        assert await self.operations.create(session_id, user_id="ann", config=config, labels=SessionLabels())
        return session_id

    async def send(
        self,
        text: str = "hello",
        *,
        session_id: str = HERE,
        key: str | None = None,
        overlap: Overlap | None = None,
    ) -> Receipt:
        message = accepted_message(
            text, custom_prompt=None, idempotency_key=key, attachments=(), limits=self.limits, at_ms=1
        )
        return await self.exchange.send(session_id, message, overlap=overlap)

    async def stream(self, text: str = "hello", *, session_id: str = HERE) -> AsyncIterator[str]:
        receipt = await self.send(text, session_id=session_id)
        events = turn_events(self.registry, session_id, turn_id=receipt.turn_id, cursor=parse_cursor(receipt.cursor))
        async for event in events:
            yield event

    async def answer(self, text: str = "hello", *, session_id: str = HERE) -> list[str]:
        return [event async for event in self.stream(text, session_id=session_id)]

    async def idle(self, session_id: str = HERE) -> None:
        """Waits until the session has nothing to do."""
        async with self.registry.using(session_id) as live:
            await until_idle(live)

    async def events(self, session_id: str = HERE) -> list[Event]:
        return [record.event for record in await self.store.log.read(session_id)]


async def until_idle(live: LiveSession) -> None:
    """Waits until no turn is open or queued."""
    while live.state.is_busy:
        reader, _ = live.join()
        await reader.take()
        live.feed.leave(reader)


@asynccontextmanager
async def stage(
    script: Any = None,
    *,
    store: Store | None = None,
    bench: Bench | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> AsyncIterator[Stage]:
    """Opens a runtime; closes it, and its store if it was not given."""
    opened = store or MemoryStore()
    await opened.open()
    built = Stage(opened, bench or Bench(ScriptedBackend(script)), limits)
    try:
        yield built
    finally:
        await built.registry.close()
        if store is None:
            await opened.close()


async def store_with(records: Sequence[Record], session_id: str = HERE) -> MemoryStore:
    """Returns a store that holds `records`, as a dead process left them."""
    store = MemoryStore()
    await store.open()
    for seq, record in enumerate(records):
        await store.log.append(
            session_id, [record.event], expected_seq=seq, epoch=record.epoch, at_ms=record.at_ms, key=f"k{record.seq}"
        )
    return store
