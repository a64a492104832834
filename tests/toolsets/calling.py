"""A call as the runtime makes it, for the tests of toolsets."""

from __future__ import annotations

from typing import Any

from greenroom.interfaces import ToolContext, ToolSource


async def call(source: ToolSource, name: str, context: ToolContext, /, **arguments: Any) -> str:
    """Calls a tool of a source by its name, with arguments as a model gives them."""
    [tool] = [tool for tool in source.tools() if tool.spec.name == name]
    return await tool.call(arguments, context)
