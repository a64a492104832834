"""One tool call: from what the model wrote to a result that the model can read.

Unknown names, broken or unfitting arguments, time-outs and exceptions become results: they never end the turn.

Rule: the call is bounded (time, output), and nothing but a cancellation leaves `run_call` as an exception.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from greenroom.events import ToolReturned
from greenroom.interfaces import Tool, ToolContext, ToolError
from greenroom.limits import Limits
from greenroom.messages import Outcome, ToolCallPart

logger: Final = logging.getLogger("greenroom")

_NAMES_SHOWN: Final = 40


def refusal(call: ToolCallPart, tools: Mapping[str, Tool]) -> ToolReturned | None:
    """Returns the result of a call that cannot be run at all, or `None` if it can be tried."""
    if call.name not in tools:
        known = ", ".join(sorted(tools)[:_NAMES_SHOWN]) or "none"
        return _returned(call, "error", f"There is no tool {call.name!r}. The tools are: {known}.")
    parsed = parsed_arguments(call)
    return _returned(call, "error", parsed) if isinstance(parsed, str) else None


def parsed_arguments(call: ToolCallPart) -> dict[str, Any] | str:
    """Returns the arguments, or what is wrong with them."""
    try:
        arguments = msgspec.json.decode(call.arguments.strip() or "{}")
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        return f"The arguments are not JSON: {error}. Send one JSON object with the parameters of {call.name!r}."
    if not isinstance(arguments, dict):
        return (
            f"The arguments are a JSON {type(arguments).__name__}, not an object with the parameters of {call.name!r}."
        )
    return arguments


async def run_call(
    call: ToolCallPart, tool: Tool, context: ToolContext, *, timeout_s: float, limits: Limits
) -> ToolReturned:
    """Runs a call that is not refused and returns its result."""
    arguments = parsed_arguments(call)
    assert isinstance(arguments, dict), "refused before"
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    outcome: Outcome = "error"
    try:
        async with asyncio.timeout(timeout_s) as deadline:
            content = await tool.call(arguments, context)
            outcome = "ok"
    except ToolError as error:
        content = str(error) or "the tool failed"
    except TimeoutError as error:
        if deadline.expired():
            content = f"The tool was stopped after {timeout_s:g} s without a result."
            # What it did until then is not known to anybody; only a tool without effects is certain.
            outcome = "error" if tool.effect == "pure" else "unknown"
        else:
            content = f"{type(error).__name__}: {error}"
    except (
        Exception
    ) as error:  # broad: a tool is foreign code; whatever it raises, the model is told and the turn goes on
        logger.warning("tool %s of session %s raised", call.name, context.session_id, exc_info=True)
        content = f"{type(error).__name__}: {error}"
    duration_ms = int((loop.time() - began_s) * 1000)
    return _returned(call, outcome, bounded(content, limits.tool_output_bytes_max), duration_ms=duration_ms)


def bounded(content: str, bytes_max: int) -> str:
    """Returns `content`, cut to `bytes_max` bytes of UTF-8 with a note for the model, and free of lone surrogates."""
    encoded = content.encode("utf-8", "replace")
    if len(encoded) <= bytes_max:
        return encoded.decode()
    cut = encoded[:bytes_max].decode("utf-8", "ignore")
    return f"{cut}\n[cut: {len(encoded)} bytes, the first {bytes_max} are shown]"


def _returned(call: ToolCallPart, outcome: Outcome, content: str, *, duration_ms: int = 0) -> ToolReturned:
    return ToolReturned(call_id=call.call_id, name=call.name, outcome=outcome, content=content, duration_ms=duration_ms)
