"""Toolsets out of toolsets: with a prefix, with fewer tools, with other names, with a person who is asked first.

    filtered(prefixed(Calendar(), "work_"), ["work_list_events"], name="WorkCalendar")

Each wrapper keeps every promise of `ToolSource` and does one thing. A source may gain and lose tools while it is in use, so
names are checked whenever the tools are asked for, not only when the wrapper is made.

Rule: a behaviour is a wrapper, never a flag of a toolset.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec

from greenroom.errors import InvalidArgument
from greenroom.events import Effect
from greenroom.interfaces import Tool, ToolContext, ToolSource
from greenroom.limits import NAME_PATTERN
from greenroom.messages import ToolSpec


def prefixed(source: ToolSource, prefix: str, *, name: str | None = None) -> ToolSource:
    """Returns the source with `prefix` before the name of each tool.

    Args:
        source: the toolset to wrap.
        prefix: letters, digits, `_` and `-`.
        name: by which sessions ask for the wrapped source; the name of `source` if left out.

    Raises:
        InvalidArgument: no model could call a tool with such a prefix; also from `tools()`, where the whole name is too long.
    """
    _check_tool_name(prefix)
    return _Wrapped(source, name, lambda tools: [_Renamed(tool, prefix + tool.spec.name) for tool in tools])


def renamed(source: ToolSource, names: Mapping[str, str], *, name: str | None = None) -> ToolSource:
    """Returns the source with some tools under other names: `names` maps the old ones to the new ones.

    Raises:
        InvalidArgument: no model could call a tool by the new name; also from `tools()`, where an old name does not exist or
            two tools end up with the same name.
    """
    new_names = dict(names)
    for new_name in new_names.values():
        _check_tool_name(new_name)

    def rename(tools: Sequence[Tool]) -> Sequence[Tool]:
        _check_known(new_names, tools, source)
        return [_Renamed(tool, new_names[old]) if (old := tool.spec.name) in new_names else tool for tool in tools]

    return _Wrapped(source, name, rename)


def filtered(
    source: ToolSource, keep: Collection[str] | Callable[[Tool], bool], *, name: str | None = None
) -> ToolSource:
    """Returns the source with only those tools that `keep` names, or for which it returns true.

    Raises:
        InvalidArgument: from `tools()`: a name in `keep` that the source does not have.
    """
    if callable(keep):
        return _Wrapped(source, name, lambda tools: [tool for tool in tools if keep(tool)])
    if isinstance(keep, str):
        raise InvalidArgument(f"filtered(..., {keep!r}) is one text, not names", hint=f"write [{keep!r}]")
    kept = dict.fromkeys(keep)

    def choose(tools: Sequence[Tool]) -> Sequence[Tool]:
        _check_known(kept, tools, source)
        return [tool for tool in tools if tool.spec.name in kept]

    return _Wrapped(source, name, choose)


def approval_required(
    source: ToolSource, names: Collection[str] | Callable[[Tool], bool] | None = None, *, name: str | None = None
) -> ToolSource:
    """Returns the source with tools about which a person is asked before they run: those that `names` says, or all.

    Raises:
        InvalidArgument: from `tools()`: a name in `names` that the source does not have.
    """
    if isinstance(names, str):
        raise InvalidArgument(f"approval_required(..., {names!r}) is one text, not names", hint=f"write [{names!r}]")
    if names is None or callable(names):
        applies = names or (lambda _: True)
        return _Wrapped(source, name, lambda tools: [_Guarded(tool) if applies(tool) else tool for tool in tools])
    guarded = dict.fromkeys(names)

    def guard(tools: Sequence[Tool]) -> Sequence[Tool]:
        _check_known(guarded, tools, source)
        return [_Guarded(tool) if tool.spec.name in guarded else tool for tool in tools]

    return _Wrapped(source, name, guard)


class _Wrapped:
    """A source whose tools pass through a function."""

    def __init__(
        self, source: ToolSource, name: str | None, change: Callable[[Sequence[Tool]], Sequence[Tool]]
    ) -> None:
        if name == "":
            raise InvalidArgument("a toolset needs a name", hint="leave it out to keep the one of the wrapped toolset")
        self._source = source
        self._name = name
        self._change = change

    def __repr__(self) -> str:
        return f"<toolset {self.name!r} around {self._source!r}>"

    @property
    def name(self) -> str:
        return self._source.name if self._name is None else self._name

    @property
    def description(self) -> str:
        return self._source.description

    def tools(self) -> Sequence[Tool]:
        tools = self._change(self._source.tools())
        for tool_name, count in Counter(tool.spec.name for tool in tools).items():
            _check_tool_name(tool_name)
            if count > 1:
                raise InvalidArgument(f"toolset {self.name!r} would have {count} tools named {tool_name!r}")
        return tools

    async def close_session(self, session_id: str) -> None:
        await self._source.close_session(session_id)

    async def close(self) -> None:
        await self._source.close()


class _Around:
    """A tool around another one, and the same but for what a subclass says."""

    def __init__(self, tool: Tool) -> None:
        self._tool = tool

    def __repr__(self) -> str:
        return f"<tool {self.spec.name!r} around {self._tool!r}>"

    @property
    def spec(self) -> ToolSpec:
        return self._tool.spec

    @property
    def effect(self) -> Effect:
        return self._tool.effect

    @property
    def needs_approval(self) -> bool:
        return self._tool.needs_approval

    def check(self, arguments: Mapping[str, Any]) -> None:
        self._tool.check(arguments)

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        return await self._tool.call(arguments, context)


class _Renamed(_Around):
    """A tool under another name."""

    def __init__(self, tool: Tool, name: str) -> None:
        super().__init__(tool)
        self._name = name

    @property
    def spec(self) -> ToolSpec:
        return msgspec.structs.replace(self._tool.spec, name=self._name)


class _Guarded(_Around):
    """A tool about which a person is asked first."""

    @property
    def needs_approval(self) -> bool:
        return True


def _check_tool_name(name: str) -> None:
    if not re.fullmatch(NAME_PATTERN, name):
        raise InvalidArgument(
            f"no model can call a tool {name[:80]!r}", hint="1 to 64 letters, digits, '_' and '-' are allowed"
        )


def _check_known(names: Collection[str], tools: Sequence[Tool], source: ToolSource) -> None:
    there = [tool.spec.name for tool in tools]
    if unknown := sorted(set(names) - set(there)):
        raise InvalidArgument(
            f"toolset {source.name!r} has no tool {', '.join(map(repr, unknown))}",
            hint=f"its tools are {', '.join(there)}" if there else "it has no tools",
        )
