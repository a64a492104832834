"""Tools that misbehave: whatever one raises or returns ends its call and nothing else. Case T2 (BasisResearch/effectful#757)."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from contract.conftest import OpenStage, in_memory
from contract.stage import CheckedBackend, Stage, words
from greenroom import ToolContext, ToolError, Toolset, tool
from greenroom.backends.scripted import Call
from greenroom.interfaces import BackendRequest, Notice
from greenroom.messages import StreamItem, ToolSpec

pytestmark = in_memory


class Unsayable(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class Endless(Exception):
    def __str__(self) -> str:
        return "x" * 5_000_000


class Odd(BaseException):
    pass


class UnsayableToolError(ToolError):
    def __str__(self) -> str:
        raise Odd


def raises(error: BaseException) -> None:
    raise error


async def in_a_subtask() -> None:
    await asyncio.gather(asyncio.to_thread(sys.exit, 4), coroutine_that(SystemExit(4)))


async def coroutine_that(error: BaseException) -> None:
    raise error


async def in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(coroutine_that(KeyboardInterrupt()))


async def in_a_task_that_nobody_awaits() -> None:
    forgotten = asyncio.ensure_future(coroutine_that(SystemExit(5)))
    await asyncio.wait([forgotten])


def wrapped_program() -> None:
    argparse.ArgumentParser().parse_args(["--no-such-option"])


def recursion() -> None:
    recursion()


def next_of_nothing() -> None:
    next(iter(()))


WAYS: dict[str, tuple[Callable[[], Any], str]] = {
    "sys.exit": (sys.exit, "SystemExit"),
    "sys.exit with a text": (lambda: sys.exit("bad usage"), "bad usage"),
    "argparse": (lambda: asyncio.to_thread(wrapped_program), "SystemExit: 2"),
    "KeyboardInterrupt": (lambda: raises(KeyboardInterrupt()), "KeyboardInterrupt"),
    "GeneratorExit": (lambda: raises(GeneratorExit()), "GeneratorExit"),
    "a BaseException of its own": (lambda: raises(Odd("why")), "Odd: why"),
    "a cancellation of its own": (lambda: raises(asyncio.CancelledError()), "cancelled itself"),
    "a group": (lambda: raises(BaseExceptionGroup("both", [SystemExit(1), ValueError("v")])), "both"),
    "RecursionError": (recursion, "RecursionError"),
    "MemoryError": (lambda: raises(MemoryError()), "MemoryError"),
    "StopIteration": (next_of_nothing, "StopIteration"),
    "StopAsyncIteration": (lambda: raises(StopAsyncIteration()), "StopAsyncIteration"),
    "a text that cannot be had": (lambda: raises(Unsayable()), "Unsayable"),
    "a text of megabytes": (lambda: raises(Endless()), "Endless: xxx"),
    "a text with lone surrogates": (lambda: raises(ValueError("\udc80")), "ValueError: ?"),
    "a ToolError without a text": (lambda: raises(UnsayableToolError()), "UnsayableToolError"),
    "in a task of its own": (in_a_subtask, "SystemExit: 4"),
    "in a task group of its own": (in_a_group, "TaskGroup (1 sub-exception)"),
    "in a task that it forgets": (in_a_task_that_nobody_awaits, "done"),
    "in a thread": (lambda: asyncio.to_thread(sys.exit, 6), "SystemExit: 6"),
}


class Misbehaving(Toolset):
    """Misbehaves in the way that it is told."""

    @tool(effect="pure")
    async def misbehave(self, way: str) -> str:
        """Misbehaves."""
        result = WAYS[way][0]()
        if asyncio.iscoroutine(result):
            await result
        return "done"


@pytest.mark.parametrize("way", WAYS)
async def test_what_a_tool_raises_ends_its_call_and_no_more(open_stage: OpenStage, way: str) -> None:
    stage = open_stage(
        [[Call("misbehave", {"way": way}), Call("random_integer", {"minimum": 7, "maximum": 7})], "Well."],
        toolsets=[Misbehaving],
    )
    session_id = await stage.session(additional_tools=["Misbehaving"])
    await stage.say(session_id)
    told, other = (text for role, text in words(stage.last_request) if role == "tool")
    assert WAYS[way][1] in told
    assert len(told) < 300_000
    assert "7" in other, "the other call of the step is not touched"
    assert await outcomes(stage, session_id) == ["completed"]


async def outcomes(stage: Stage, session_id: str) -> list[str | None]:
    return [row.outcome for row in await stage.manager.history(session_id) if row.role == "assistant"]


class Rogue:
    """A third party's tool, written against the protocol: every part of it can be made to misbehave."""

    def __init__(self, **ways: Callable[[], Any]) -> None:
        self._ways = ways

    @property
    def spec(self) -> ToolSpec:
        self._misbehave("spec")
        return ToolSpec(name="rogue", description="Misbehaves.", parameters={"type": "object", "properties": {}})

    @property
    def effect(self) -> Any:
        return self._misbehave("effect") or "pure"

    @property
    def needs_approval(self) -> Any:
        return self._misbehave("needs_approval") or False

    def check(self, arguments: Mapping[str, Any]) -> None:
        del arguments
        self._misbehave("check")

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> Any:
        del arguments, context
        return "done" if "call" not in self._ways else self._misbehave("call")

    def _misbehave(self, part: str) -> Any:
        return self._ways[part]() if part in self._ways else None


class RogueSource:
    """The toolset of `Rogue`."""

    name = "RogueSource"
    description = "Misbehaves."

    def __init__(self, rogue: Rogue, *, closing: Callable[[], Any] | None = None) -> None:
        self._rogue = rogue
        self._closing = closing

    def tools(self) -> Sequence[Rogue]:
        return [self._rogue]

    async def close_session(self, session_id: str) -> None:
        del session_id
        if self._closing is not None:
            self._closing()

    async def close(self) -> None:
        if self._closing is not None:
            self._closing()


def after(times: int, way: Callable[[], Any]) -> Callable[[], Any]:
    """Returns what behaves well that often: the toolset can be taken on."""
    left = [times]

    def misbehave() -> Any:
        left[0] -= 1
        return way() if left[0] < 0 else None

    return misbehave


@pytest.mark.parametrize(
    "error", [SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit(), OSError("gone")]
)
@pytest.mark.parametrize(
    ("part", "approval", "told"),
    [
        ("check", {"rogue": "ask"}, None),
        ("effect", {}, "done"),
        ("needs_approval", {}, None),
        ("call", {}, None),
    ],
)
async def test_every_part_of_a_tool_may_raise(
    open_stage: OpenStage, error: BaseException, part: str, approval: dict[str, str], told: str | None
) -> None:
    rogue = Rogue(**{part: lambda: raises(error)})
    stage = open_stage([[Call("rogue")], "Well."], toolsets=[cast("Any", RogueSource(rogue))])
    session_id = await stage.session(additional_tools=["RogueSource"], approval=approval)
    await stage.say(session_id)
    (result,) = (text for role, text in words(stage.last_request) if role == "tool")
    expected = (
        "cancelled itself" if part == "call" and isinstance(error, asyncio.CancelledError) else type(error).__name__
    )
    assert (told or expected) in result
    assert await outcomes(stage, session_id) == ["completed"]


async def test_a_tool_whose_description_fails_later_is_not_offered(open_stage: OpenStage) -> None:
    rogue = Rogue(spec=after(1, sys.exit))
    stage = open_stage(toolsets=[cast("Any", RogueSource(rogue))])
    session_id = await stage.session(additional_tools=["RogueSource"])
    assert "RUN_FINISHED" in str((await stage.say(session_id))[-1])
    assert "rogue" not in stage.last_tools
    assert "random_integer" in stage.last_tools


async def test_a_toolset_that_exits_while_it_is_looked_at_is_refused(open_stage: OpenStage) -> None:
    stage = open_stage(toolsets=[cast("Any", RogueSource(Rogue(spec=sys.exit)))])
    with pytest.raises(RuntimeError, match="SystemExit"):
        await stage.session(additional_tools=["RogueSource"])
    assert "RUN_FINISHED" in str((await stage.say(await stage.session()))[-1])


@pytest.mark.parametrize("result", [None, 5, b"bytes", ["list"]])
async def test_a_result_that_is_no_text_is_told(open_stage: OpenStage, result: object) -> None:
    stage = open_stage([[Call("rogue")], "Well."], toolsets=[cast("Any", RogueSource(Rogue(call=lambda: result)))])
    session_id = await stage.session(additional_tools=["RogueSource"])
    await stage.say(session_id)
    assert f"returned {type(result).__name__} instead of text" in str(words(stage.last_request))


async def test_an_effect_that_does_not_exist_counts_as_once(open_stage: OpenStage) -> None:
    # Written into the log, it would make the session unreadable.
    source = RogueSource(Rogue(effect=lambda: "safe"))
    stage = open_stage([[Call("rogue")], "Well."], toolsets=[cast("Any", source)])
    session_id = await stage.session(additional_tools=["RogueSource"])
    await stage.say(session_id)
    started = [record.event async for record in _records(stage.manager, session_id) if "ToolStarted" in str(record)]
    assert [event.effect for event in started] == ["once"]


async def _records(manager: Any, session_id: str) -> AsyncIterator[Any]:
    opened = await manager._installation.opened()
    for record in await opened.store.log.read(session_id):
        yield record


@pytest.mark.parametrize(
    "error", [SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit(), Odd(), Unsayable()]
)
async def test_closing_a_toolset_ends_nothing_else(open_stage: OpenStage, error: BaseException) -> None:
    closed: list[str] = []

    class Good(Toolset):
        """Is closed after one that fails."""

        @tool
        async def be(self) -> str:
            """Is."""
            return "good"

        async def close_session(self, session_id: str) -> None:
            closed.append(session_id)

        async def close(self) -> None:
            closed.append("all")

    bad = RogueSource(Rogue(), closing=lambda: raises(error))
    stage = open_stage(toolsets=[cast("Any", bad), Good])
    session_id = await stage.session(additional_tools=["RogueSource", "Good"])
    await stage.say(session_id)
    await stage.manager.cleanup_session(session_id)
    await stage.manager.close()
    assert closed == [session_id, "all"]


async def test_a_toolset_that_does_not_close_is_left_behind(open_stage: OpenStage) -> None:
    class Slow(Toolset):
        """Never closes."""

        @tool
        async def be(self) -> str:
            """Is."""
            return "slow"

        async def close(self) -> None:
            await asyncio.Event().wait()

    stage = open_stage(toolsets=[Slow], config={"limits": {"close_s_max": 0.05}})
    await stage.session(additional_tools=["Slow"])
    async with asyncio.timeout(10):
        await stage.manager.close()


class RogueBackend(CheckedBackend):
    """Misbehaves once, in one of its parts."""

    def __init__(self, part: str, error: BaseException) -> None:
        super().__init__()
        self._part, self._error = part, error

    def notices(self, request: BackendRequest) -> Sequence[Notice]:
        self._misbehave("notices")
        return super().notices(request)

    @asynccontextmanager
    async def stream(self, request: BackendRequest) -> AsyncIterator[AsyncIterator[Sequence[StreamItem]]]:
        self._misbehave("enter")
        async with super().stream(request) as batches:
            yield self._batches(batches)

    async def _batches(self, batches: AsyncIterator[Sequence[StreamItem]]) -> AsyncIterator[Sequence[StreamItem]]:
        async for batch in batches:
            yield batch
            self._misbehave("between")

    def _misbehave(self, part: str) -> None:
        if part == self._part:
            self._part = ""
            raise self._error


@pytest.mark.parametrize("part", ["notices", "enter", "between"])
@pytest.mark.parametrize(
    "error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError(), Odd()]
)
async def test_what_a_backend_raises_ends_its_turn_and_no_more(
    open_stage: OpenStage, part: str, error: BaseException
) -> None:
    stage = open_stage(backend=RogueBackend(part, error))
    session_id = await stage.session()
    assert "RUN_ERROR" in str((await stage.say(session_id))[-1])
    assert "RUN_FINISHED" in str((await stage.say(session_id))[-1])
