"""What every source of tools promises, as one test method for each promise of `ToolSource` and `Tool`.

    class TestWeather(ToolsetConformance):
        examples = {"current": {"city": "Paris"}}

        def make_source(self) -> ToolSource:
            return Weather()

The methods are plain coroutines with assertions: pytest (with pytest-asyncio) runs them, and so can anything else.

Rule: a promise is checked from outside, as a session would rely on it; nothing here knows how a toolset is built.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Final, get_args

import msgspec

from greenroom.events import Effect
from greenroom.interfaces import Tool, ToolContext, ToolError, ToolSource
from greenroom.limits import DEFAULT_LIMITS, NAME_PATTERN
from greenroom.logs.memory import MemoryStore
from greenroom.testing import strict_claude_rules, strict_openai_rules

_AT_MS: Final = 1_795_392_000_000
_NO_PARAMETER: Final = "no_such_parameter"
_REFERENCES: Final = frozenset({"$ref", "$defs", "definitions", "$dynamicRef", "discriminator", "prefixItems"})
_NAMED_SCHEMAS: Final = frozenset({"properties", "patternProperties"})
_VALUES: Final = frozenset({"default", "enum", "const", "examples", "required"})
_NOT_AN_OBJECT: Final = frozenset({"string", "integer", "number", "boolean", "array"})
_LOOP_STEPS: Final = 12


class ToolsetConformance:
    """Subclass it, say how the source is made, and give arguments for each of its tools.

    Attributes:
        examples: for each tool, by its name, arguments with which it succeeds.
    """

    examples: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def make_source(self) -> ToolSource:
        """Returns a new source."""
        raise NotImplementedError("say how the source is made")

    async def prepare(self, source: ToolSource, context: ToolContext) -> None:
        """Makes what the examples need in a session: files, memories. Nothing, unless a subclass says otherwise."""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[ToolSource, ToolContext]]:
        """Gives a source, and the context of a call in a session of its own that is prepared for the examples."""
        source = self.make_source()
        try:
            with tempfile.TemporaryDirectory() as folder:
                store = MemoryStore()
                await store.open()
                context = _context(Path(folder), store, "session-1")
                await self.prepare(source, context)
                yield source, context
                await store.close()
        finally:
            await source.close()

    # --- the source -----------------------------------------------------------------------------------------------------

    async def test_it_has_a_name_to_be_asked_for_by(self) -> None:
        """A session names its toolsets; the name is printed and stored."""
        async with self.opened() as (source, _):
            assert source.name, "a source needs a name"
            assert source.name.isprintable(), f"{source.name!r} cannot be printed"

    async def test_it_describes_itself_in_one_line(self) -> None:
        """People choose toolsets from a list."""
        async with self.opened() as (source, _):
            assert source.description.strip(), "a source needs a description"
            assert len(source.description.splitlines()) == 1, "the description is one line"

    async def test_its_tools_can_be_called_by_name(self) -> None:
        """Names are unique, and such that every provider takes them."""
        async with self.opened() as (source, _):
            names = [tool.spec.name for tool in source.tools()]
            assert names, "a source without tools is of no use"
            assert len(set(names)) == len(names), f"names occur twice: {names}"
            for name in names:
                assert re.fullmatch(NAME_PATTERN, name), f"{name!r} is not a name that every provider takes"

    async def test_its_tools_are_told_in_the_same_words_each_time(self) -> None:
        """What a model is told about its tools is the beginning of every request, which providers cache byte by byte."""
        async with self.opened() as (source, _):
            first, second = ([msgspec.json.encode(tool.spec) for tool in source.tools()] for _ in range(2))
            assert first == second, "the tools changed without a reason"

    async def test_letting_go_of_a_session_can_be_repeated(self) -> None:
        """A session may be cleaned up twice, and never have used a tool."""
        async with self.opened() as (source, context):
            for session_id in (context.session_id, context.session_id, "never-seen"):
                await source.close_session(session_id)

    async def test_closing_can_be_repeated(self) -> None:
        """A source may be registered under more than one name."""
        source = self.make_source()
        await source.close()
        await source.close()

    # --- what a model is told -------------------------------------------------------------------------------------------

    async def test_each_tool_says_what_it_does(self) -> None:
        """A model chooses tools by their descriptions."""
        async with self.opened() as (source, _):
            for tool in source.tools():
                assert tool.spec.description.strip(), f"{tool.spec.name} has no description"

    async def test_each_tool_declares_its_effect(self) -> None:
        """Recovery depends on it."""
        async with self.opened() as (source, _):
            for tool in source.tools():
                assert tool.effect in get_args(Effect), f"{tool.spec.name} has the effect {tool.effect!r}"

    async def test_schemas_stand_on_their_own(self) -> None:
        """An object, closed, without references: several providers and local servers choke on anything else."""
        async with self.opened() as (source, _):
            for tool in source.tools():
                schema = tool.spec.parameters
                assert schema.get("type") == "object", f"{tool.spec.name}: the arguments are an object"
                assert schema.get("additionalProperties") is False, f"{tool.spec.name}: other arguments are not allowed"
                assert set(schema.get("required", ())) <= set(schema.get("properties", {})), tool.spec.name
                for inner in _schemas(schema):
                    assert not _REFERENCES & set(inner), f"{tool.spec.name}: {sorted(_REFERENCES & set(inner))}"
                    if inner.get("type") == "array":
                        assert isinstance(inner.get("items"), dict), f"{tool.spec.name}: an array says what it holds"

    async def test_both_providers_take_the_tools(self) -> None:
        """The rules of OpenAI and Claude, as their doubles enforce them."""
        async with self.opened() as (source, _):
            specs = [tool.spec for tool in source.tools()]
            messages = [{"role": "user", "content": "Hello"}]
            functions = [{"type": "function", "function": msgspec.to_builtins(spec)} for spec in specs]
            openai = {"model": "gpt-4o", "stream": True, "messages": messages, "tools": functions}
            assert strict_openai_rules.refusals(openai) == []
            tools = [{"name": s.name, "description": s.description, "input_schema": s.parameters} for s in specs]
            claude = {"model": "claude", "max_tokens": 100, "stream": True, "messages": messages, "tools": tools}
            assert strict_claude_rules.refusals(claude) == []

    # --- calls ----------------------------------------------------------------------------------------------------------

    async def test_each_tool_has_an_example(self) -> None:
        """Otherwise this suite would promise what it has not seen."""
        async with self.opened() as (source, _):
            names = {tool.spec.name for tool in source.tools()}
            assert names == set(self.examples), f"examples are missing or too many: {names ^ set(self.examples)}"

    async def test_a_call_returns_text(self) -> None:
        """Text that is not empty and has a form in UTF-8: it is stored, and sent to a provider."""
        for name, arguments in self.examples.items():
            async with self.opened() as (source, context):
                result = await _tool(source, name).call(arguments, context)
                assert isinstance(result, str), f"{name} returned {type(result).__name__}"
                assert result.strip(), f"{name} returned nothing to read"
                assert result.encode(), name

    async def test_unknown_arguments_are_refused(self) -> None:
        """A misspelt parameter that is ignored would do something else than was asked for."""
        for name, arguments in self.examples.items():
            async with self.opened() as (source, context):
                refusal = await _refusal(_tool(source, name), {**arguments, _NO_PARAMETER: 1}, context)
                assert _NO_PARAMETER in refusal, f"{name} does not name what it does not know: {refusal}"

    async def test_missing_arguments_are_refused(self) -> None:
        """The model is told all that is missing, so that it can do better at once."""
        async with self.opened() as (source, context):
            for tool in source.tools():
                if required := tool.spec.parameters.get("required", ()):
                    refusal = await _refusal(tool, {}, context)
                    for parameter in required:
                        assert parameter in refusal, (
                            f"{tool.spec.name} does not say that {parameter} is missing: {refusal}"
                        )

    async def test_arguments_of_the_wrong_type_are_refused(self) -> None:
        """They are checked against the schema before anything is done."""
        async with self.opened() as (source, context):
            for tool in source.tools():
                for parameter, schema in tool.spec.parameters["properties"].items():
                    if schema.get("type") not in _NOT_AN_OBJECT:
                        continue
                    wrong = {**self.examples[tool.spec.name], parameter: {"unexpected": True}}
                    refusal = await _refusal(tool, wrong, context)
                    assert parameter in refusal, f"{tool.spec.name} does not say that {parameter} is wrong: {refusal}"

    async def test_what_may_run_again_can(self) -> None:
        """After a crash, a call whose effect is pure or idempotent is run again with the same key."""
        for name, arguments in self.examples.items():
            async with self.opened() as (source, context):
                tool = _tool(source, name)
                if tool.effect != "once":
                    await tool.call(arguments, context)
                    await tool.call(arguments, context)

    async def test_sessions_can_be_served_at_the_same_time(self) -> None:
        """One instance serves all sessions of a manager."""
        for name, arguments in self.examples.items():
            async with self.opened() as (source, context):
                other = msgspec.structs.replace(
                    context,
                    session_id="session-2",
                    user_id="user-2",
                    workspace=context.workspace.with_name("session-2"),
                    idempotency_key="session-2/call-1",
                )
                await self.prepare(source, other)
                tool = _tool(source, name)
                async with asyncio.TaskGroup() as calls:
                    for one in (context, other):
                        calls.create_task(tool.call(arguments, one))

    async def test_a_call_can_be_cancelled_at_any_point(self) -> None:
        """It then ends as cancelled, or is done; and the tool works the next time."""
        for name, arguments in self.examples.items():
            for steps in range(_LOOP_STEPS):
                async with self.opened() as (source, context):
                    call = asyncio.ensure_future(_tool(source, name).call(arguments, context))
                    for _ in range(steps):
                        await asyncio.sleep(0)
                    call.cancel()
                    await asyncio.wait([call])
                    assert call.cancelled() or call.exception() is None, f"{name}: {call.exception()!r}"
                    with suppress(ToolError):  # what was done by the call that was cancelled may be in the way
                        await _tool(source, name).call(arguments, context)


def _context(folder: Path, store: MemoryStore, session_id: str) -> ToolContext:
    return ToolContext(
        session_id=session_id,
        user_id="user-1",
        call_id="call-1",
        idempotency_key=f"{session_id}/call-1",
        workspace=folder / session_id,
        notes=store.notes,
        limits=DEFAULT_LIMITS,
        at_ms=_AT_MS,
    )


def _tool(source: ToolSource, name: str) -> Tool:
    found = [tool for tool in source.tools() if tool.spec.name == name]
    assert found, f"there is an example for {name!r}, and no such tool"
    return found[0]


async def _refusal(tool: Tool, arguments: Mapping[str, Any], context: ToolContext) -> str:
    try:
        result = await tool.call(arguments, context)
    except ToolError as error:
        return str(error)
    raise AssertionError(f"{tool.spec.name} took {arguments} and returned {result[:200]!r}")


def _schemas(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yields a schema and all schemas in it."""
    yield schema
    for key, value in schema.items():
        if key in _VALUES:
            continue
        inner = value.values() if key in _NAMED_SCHEMAS else value if isinstance(value, list) else [value]
        for each in inner:
            if isinstance(each, Mapping):
                yield from _schemas(each)
