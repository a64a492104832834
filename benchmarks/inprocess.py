"""The whole path in one process: provider bytes -> backend -> log -> feed -> AG-UI text out of `stream_response`.

Beside it, over the same bytes in the same run: the bare protocol that is the floor, our backend alone, and the provider's own
SDK, which every framework stands on.

Rule: what is measured is the public API, with the durability that a user gets; nothing is switched off.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec

from benchmarks.fake_provider import STAMP_CHARS, lateness_s, now_us, provider
from benchmarks.floor import aiohttp_us, anthropic_us, openai_client, openai_us, protocol_reader, read_openai
from benchmarks.measure import (
    CHUNKS,
    PACED_CHUNKS,
    PACED_JOIN_S,
    PACED_MS,
    STREAMS,
    Cost,
    Row,
    burst_us,
    cost_of,
    quantiles_ms,
    run,
)
from greenroom import AgentManager
from greenroom.interfaces import Backend, BackendRequest
from greenroom.messages import PartDelta, SystemPrompt, TextPart, UserMessage

BURST = "whole path in process, one burst, CPU per chunk"
PACED = f"{STREAMS} sessions in one process, one delta each {PACED_MS} ms each, CPU per chunk"
TURN = "one turn of one delta, nothing else running"

_PATHS = {"openai": "v1/chat/completions", "claude": "v1/messages"}
_MODELS = {"openai": "gpt-4o", "claude": "claude-sonnet-4-5"}
_SDKS = {"openai": openai_us, "claude": anthropic_us}


class _Event(msgspec.Struct):
    """What a reader has to know of an AG-UI event to count deltas."""

    type: str
    delta: str = ""
    message: str = ""


_decode = msgspec.json.Decoder(_Event).decode


@asynccontextmanager
async def manager_for(store: str, url: str) -> AsyncIterator[AgentManager]:
    """Gives a manager whose providers are the fake one at `url`; `store` is `memory` or `sqlite`."""
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder:
        home = Path(folder)
        config = {
            "openai": {"api_key": "none", "base_url": f"{url}/v1"},
            "claude": {"api_key": "none", "base_url": url},
        }
        store_url = "memory://" if store == "memory" else f"sqlite:///{home / 'greenroom.db'}"
        async with AgentManager(store_url, home=home, config=config) as manager:
            yield manager


async def read_turn(manager: AgentManager, session_id: str, lateness: list[float] | None = None) -> int:
    """Reads one answer and returns how many deltas it had.

    Raises:
        RuntimeError: the turn failed.
    """
    characters = 0
    async for text in manager.stream_response(session_id, "go"):
        event = _decode(text)
        if event.type == "TEXT_MESSAGE_CONTENT":
            characters += len(event.delta)
            if lateness is not None:
                lateness += lateness_s(event.delta, now_us())
        elif event.type == "RUN_ERROR":
            raise RuntimeError(event.message)
    return characters // STAMP_CHARS


async def new_sessions(manager: AgentManager, backend: str, count: int) -> list[str]:
    """Creates sessions that talk to the fake provider."""
    return [await manager.create_session(llm_model=_MODELS[backend], backend=backend) for _ in range(count)]


def turns(manager: AgentManager, session_ids: Iterator[str]) -> Callable[[], Awaitable[int]]:
    """Returns a round: one answer in a session that is new, so that every round has the same history."""

    async def round_() -> int:
        return await read_turn(manager, next(session_ids))

    return round_


def backend_reader(backend: Backend, model: str) -> Callable[[], Awaitable[int]]:
    """Returns a round over a backend alone: from bytes to stream items."""
    request = BackendRequest(
        model=model,
        system=SystemPrompt(stable="You are brief."),
        messages=(UserMessage(parts=(TextPart(text="go"),)),),
        max_tokens=1000,
    )

    async def round_() -> int:
        characters = 0
        async with backend.stream(request) as answer:
            async for items in answer:
                characters += sum(len(item.delta) for item in items if isinstance(item, PartDelta))
        return characters // STAMP_CHARS

    return round_


async def burst_rows(base: str) -> list[Row]:
    """Measures one stream as fast as it goes."""
    url = f"{base}/burst/{CHUNKS}"
    rows: list[Row] = []
    for name, path in _PATHS.items():
        floor_us = await burst_us(protocol_reader(url, path))
        rows.append(Row(BURST, f"{name}: bare asyncio protocol (the floor)", floor_us, "us", is_floor=True))
        rows.append(Row(BURST, f"{name}: aiohttp, bytes only", await aiohttp_us(url, path), "us"))
        async with manager_for("memory", url) as manager:
            alone_us = await burst_us(backend_reader(manager.catalog.backend(name), _MODELS[name]))
            rows.append(Row(BURST, f"{name}: our backend alone, to stream items", alone_us, "us"))
        for store in ("memory", "sqlite"):
            async with manager_for(store, url) as manager:
                session_ids = iter(await new_sessions(manager, name, 8))
                whole_us = await burst_us(turns(manager, session_ids))
            rows.append(Row(BURST, f"{name}: Greenroom, {store} log, to AG-UI text", whole_us, "us", target=12))
        rows.append(Row(BURST, f"{name}: official SDK, its own events", await _SDKS[name](url), "us"))
    return rows


async def paced_rows(base: str) -> list[Row]:
    """Measures many streams at the pace of a quick model."""
    url = f"{base}/paced/{PACED_CHUNKS}/{PACED_MS}"
    floor = protocol_reader(url, _PATHS["openai"], mark=b'"content":"', minus=1)
    rows = [_paced_row("bare asyncio protocol (the floor)", await _paced([floor] * STREAMS), is_floor=True)]
    for store in ("memory", "sqlite"):
        async with manager_for(store, url) as manager:
            late: list[float] = []
            session_ids = await new_sessions(manager, "openai", STREAMS)
            cost = await _paced([partial(read_turn, manager, session_id, late) for session_id in session_ids])
        rows.append(_paced_row(f"Greenroom, {store} log, to AG-UI text", cost, late=late))
    async with openai_client(url) as client:
        late = []
        cost = await _paced([partial(read_openai, client, late)] * STREAMS)
    rows.append(_paced_row("official SDK, its own events", cost, late=late))
    return rows


async def _paced(works: Sequence[Callable[[], Awaitable[int]]]) -> Cost:
    async def joined(work: Callable[[], Awaitable[int]], at_s: float) -> int:
        await asyncio.sleep(at_s)
        return await work()

    async def all_streams() -> int:
        step_s = PACED_JOIN_S / len(works)
        return sum(await asyncio.gather(*(joined(work, number * step_s) for number, work in enumerate(works))))

    return await cost_of(all_streams, chunks=len(works) * PACED_CHUNKS)


def _paced_row(name: str, cost: Cost, *, late: Sequence[float] = (), is_floor: bool = False) -> Row:
    ideal_s = PACED_CHUNKS * PACED_MS / 1000 + PACED_JOIN_S
    note = f"wall {cost.wall_s:.2f} s of {ideal_s:.2f} s, one core {cost.cpu_s / cost.wall_s:.0%}"
    if late:
        p50_ms, p99_ms = quantiles_ms(late)
        note += f", late p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms"
    return Row(PACED, name, cost.cpu_s / (STREAMS * PACED_CHUNKS) * 1e6, "us", is_floor=is_floor, note=note)


async def turn_rows(base: str) -> list[Row]:
    """Measures what a turn costs beside its deltas, and what it adds to the time to the first one."""
    url, count = f"{base}/burst/1", 50
    direct = protocol_reader(url, _PATHS["openai"])
    rows: list[Row] = []
    direct_ms = await _wall_ms([direct] * count)
    rows.append(Row(TURN, "bare asyncio protocol: wall time to the end", direct_ms, "ms", is_floor=True))
    for store in ("memory", "sqlite"):
        async with manager_for(store, url) as manager:
            ids = await new_sessions(manager, "openai", count * 2 + 1)
            await read_turn(manager, ids.pop())
            first_ms = await _first_delta_ms(manager, ids[:count])
            turn = turns(manager, iter(ids[count:]))

            async def all_turns(turn: Callable[[], Awaitable[int]] = turn) -> int:
                return sum([await turn() for _ in range(count)])

            cost = await cost_of(all_turns, chunks=count)
        name = f"Greenroom, {store} log"
        rows += [
            Row(TURN, f"{name}: wall time to the first delta", first_ms, "ms", target=direct_ms + 2),
            Row(TURN, f"{name}: CPU of a whole turn", cost.cpu_s / count * 1e3, "ms"),
        ]
    return rows


async def _wall_ms(works: Sequence[Callable[[], Awaitable[int]]]) -> float:
    walls: list[float] = []
    for work in works:
        began = time.perf_counter()
        await work()
        walls.append(time.perf_counter() - began)
    return statistics.median(walls) * 1e3


async def _first_delta_ms(manager: AgentManager, session_ids: Sequence[str]) -> float:
    walls: list[float] = []
    for session_id in session_ids:
        began = time.perf_counter()
        async for text in manager.stream_response(session_id, "go"):
            if len(walls) == 0 or walls[-1] >= 0:
                walls.append(-1.0)
            if walls[-1] < 0 and _decode(text).type == "TEXT_MESSAGE_CONTENT":
                walls[-1] = time.perf_counter() - began
    return statistics.median(walls) * 1e3


async def measured() -> list[Row]:
    """Returns all rows."""
    with provider() as base:
        return [*await burst_rows(base), *await paced_rows(base), *await turn_rows(base)]


def rows() -> list[Row]:
    """Measures and returns the rows."""
    return run(measured())
