"""Stop stops: within a second at every point, whoever ignores it; what was said and used is kept, and the session goes on."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from greenroom.backends.scripted import Call, Fail, Gate, Say, ScriptedBackend, Think
from greenroom.errors import BackendUnavailable
from greenroom.events import ToolReturned, TurnEnded, TurnSuspended
from greenroom.interfaces import BackendRequest, ToolContext
from greenroom.limits import Limits
from greenroom.messages import PartDelta, PartStarted, StreamItem, Usage, UsageCounted
from harness import HERE, Bench, CountingTool, Stage, stage, until_idle

pytestmark = pytest.mark.virtual_time

STOPPED_WITHIN_S = 1.0


async def stops(opened: Stage) -> TurnEnded:
    """Stops the turn; returns its end, which came in time."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    assert await opened.exchange.cancel(HERE)
    async with opened.registry.using(HERE) as live:
        await until_idle(live)
    assert loop.time() - began_s <= STOPPED_WITHIN_S
    ends = [event for event in await opened.events() if isinstance(event, TurnEnded)]
    assert [end.outcome for end in ends] == ["cancelled"]
    return ends[0]


async def goes_on(opened: Stage) -> None:
    assert '"RUN_FINISHED"' in (await opened.answer("and now?"))[-1]


@pytest.mark.parametrize(
    "before",
    [
        pytest.param([], id="before the first delta"),
        pytest.param([Think("Hm"), Say("One, ")], id="in the text"),
        pytest.param([Call("pay", ['{"a": '])], id="in the arguments of a call"),
    ],
)
async def test_while_the_model_speaks(before: list[Any]) -> None:
    gate = Gate()
    steps = iter([[*before, gate, Say("never")], "Fine."])
    left: list[bool] = []

    class Watched(ScriptedBackend):
        @asynccontextmanager
        async def stream(self, request: BackendRequest) -> AsyncIterator[AsyncIterator[Sequence[StreamItem]]]:
            try:
                async with super().stream(request) as batches:
                    yield batches
            finally:
                left.append(True)

    async with stage(bench=Bench(Watched(lambda _: next(steps)))) as opened:
        await opened.create()
        await opened.send()
        await gate.reached()
        await stops(opened)
        assert left == [True], "the connection is closed"
        text = json.dumps([str(event) for event in await opened.events()])
        assert ("One, " in text) == any(isinstance(cue, Say) for cue in before), "what was said is kept"
        await goes_on(opened)


class Stubborn(CountingTool):
    """A tool that goes on when it is cancelled."""

    def __init__(self, name: str, *, ignores_s: float) -> None:
        super().__init__(name, "once")
        self.started = asyncio.Event()
        self.ignores_s = ignores_s

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        self.runs.append(context.idempotency_key)
        self.started.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(self.ignores_s)
        return "done after all"


@pytest.mark.parametrize("ignores_s", [0.0, 100_000.0])
async def test_while_a_tool_runs_also_one_that_ignores_it(ignores_s: float, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(ScriptedBackend([[Call("pay"), Call("look")], "Fine."]))
    bench.pay = tool = Stubborn("pay", ignores_s=ignores_s)
    async with stage(bench=bench) as opened:
        await opened.create()
        await opened.send()
        await tool.started.wait()
        with caplog.at_level(logging.WARNING, "greenroom"):
            await stops(opened)
        assert ("ignores being stopped" in caplog.text) == (ignores_s > 0)
        results = {event.name: event.outcome for event in await opened.events() if isinstance(event, ToolReturned)}
        assert results == {"pay": "unknown", "look": "ok"}
        await goes_on(opened)
        seq = len(await opened.events())
        await asyncio.sleep(ignores_s)
        assert len(await opened.events()) == seq, "what was left behind changes nothing"


@pytest.mark.parametrize(("ignores_s", "is_left"), [(0.19, False), (0.21, True)])
async def test_how_long_a_tool_may_take_to_end(
    ignores_s: float, is_left: object, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(ScriptedBackend([[Call("pay")], "Fine."]))
    bench.pay = tool = Stubborn("pay", ignores_s=ignores_s)
    async with stage(bench=bench, limits=Limits(stop_s_max=0.2)) as opened:
        await opened.create()
        await opened.send()
        await tool.started.wait()
        with caplog.at_level(logging.WARNING, "greenroom"):
            await stops(opened)
        assert ("ignores being stopped" in caplog.text) == is_left
        await goes_on(opened)


async def test_a_tool_that_ignores_its_time_limit_is_left_behind() -> None:
    bench = Bench(ScriptedBackend([[Call("pay")], "Fine."]))
    bench.pay = Stubborn("pay", ignores_s=100_000.0)
    async with stage(bench=bench) as opened:
        await opened.create(tool_timeout_s=5.0)
        began_s = asyncio.get_running_loop().time()
        assert '"success"' in (await opened.answer())[-1]
        assert asyncio.get_running_loop().time() - began_s < 5.0 + STOPPED_WITHIN_S


async def test_while_it_waits_for_another_try() -> None:
    script = [Fail(BackendUnavailable("busy", retry_after_s=50.0)), "Fine."]
    async with stage(script) as opened:
        await opened.create()
        await opened.send()
        await asyncio.sleep(10)
        await stops(opened)
        await goes_on(opened)


async def test_while_it_waits_for_a_person() -> None:
    async with stage([[Call("pay")], "Fine."]) as opened:
        await opened.create(approval={"pay": "ask"})
        await opened.answer()
        assert isinstance((await opened.events())[-1], TurnSuspended)
        await stops(opened)
        assert opened.bench.pay.runs == []
        await goes_on(opened)


class Clinging(ScriptedBackend):
    """A backend that does not let go of its connection, and goes on talking."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()
        self.is_first = True

    @asynccontextmanager
    async def stream(self, request: BackendRequest) -> AsyncIterator[AsyncIterator[Sequence[StreamItem]]]:
        if not self.is_first:
            async with ScriptedBackend(["Fine."]).stream(request) as batches:
                yield batches
            return
        self.is_first = False
        yield self._talk()

    async def _talk(self) -> AsyncIterator[Sequence[StreamItem]]:
        yield [
            PartStarted(part=0, kind="text"),
            PartDelta(part=0, delta="One"),
            UsageCounted(usage=Usage(input_tokens=7)),
        ]
        while True:
            self.reached.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await asyncio.sleep(60)
            yield [PartDelta(part=0, delta=" more")]


async def test_a_backend_that_ignores_it_is_left_behind_and_what_was_used_is_kept() -> None:
    backend = Clinging()
    async with stage(bench=Bench(backend)) as opened:
        await opened.create()
        await opened.send()
        await backend.reached.wait()
        end = await stops(opened)
        assert end.usage.input_tokens == 7
        await asyncio.sleep(1000)
        assert " more" not in str(await opened.events()), "what it says now is not heard"
        await goes_on(opened)
