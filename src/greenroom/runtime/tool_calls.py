"""One tool call: from what the model wrote to a result that the model can read.

Unknown names, broken or unfitting arguments, time-outs and exceptions become results: they never end the turn.

Rule: the call is bounded (time, output), and nothing but a cancellation leaves `run_call` as an exception.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, get_args

from greenroom.config import ApprovalRule
from greenroom.core.approval import denied_by_person, denied_by_rule, ruling
from greenroom.core.calls import Calls
from greenroom.core.turn import RunTools
from greenroom.events import ApprovalRequested, Effect, ToolReturned
from greenroom.interfaces import Tool, ToolContext, ToolError
from greenroom.limits import Limits
from greenroom.messages import Outcome, ToolCallPart, ToolSpec
from greenroom.runtime.foreign import called, foreign, text_of, trace_of
from greenroom.runtime.tasks import Expired, stoppable
from greenroom.tool_arguments import UnreadableArguments, read_arguments

logger: Final = logging.getLogger("greenroom")

_NAMES_SHOWN: Final = 40
_EFFECTS: Final[tuple[Effect, ...]] = get_args(Effect)


def verdict(
    call: ToolCallPart,
    tools: Mapping[str, Tool],
    *,
    action: RunTools,
    calls: Calls,
    rules: Mapping[str, ApprovalRule],
) -> ToolReturned | ApprovalRequested | None:
    """Returns what is written about a call instead of running it: its result, or that a person is asked. `None`: run it.

    Args:
        call: the call.
        tools: what there is, by name.
        action: that the call is a part of.
        calls: of the step.
        rules: pattern of tool names -> rule.
    """
    decided, was_started = action.decided.get(call.call_id), call.call_id in action.started
    if decided is not None and decided.decision == "deny":
        return denied_by_person(call, decided, was_started=was_started)
    if (cut := calls.cut_off(call.call_id)) is not None:
        return cut
    refused = _refusal(call, tools)
    if refused is not None or was_started or decided is not None:
        return refused
    tool = tools[call.name]
    try:
        with foreign():
            needs_approval = bool(tool.needs_approval)
    except Exception as error:  # noqa: BLE001 # broad: a tool is foreign code
        return _returned(call, "error", _told(error))
    match ruling(rules, call.name, needs_approval=needs_approval):
        case "allow":
            return None
        case "deny":
            return denied_by_rule(call)
        case "ask":
            return _misfit(call, tool) or ApprovalRequested(
                approval_id=calls.next_approval_id(call.call_id), call_id=call.call_id, name=call.name
            )


def _misfit(call: ToolCallPart, tool: Tool) -> ToolReturned | None:
    """Returns the result of a call that nobody needs to be asked about: its arguments do not fit."""
    arguments = parsed_arguments(call)
    assert isinstance(arguments, dict), "refused before"
    try:
        with foreign():
            tool.check(arguments)
    except Exception as error:  # noqa: BLE001 # broad: a tool is foreign code
        return _returned(call, "error", _told(error))
    return None


def _refusal(call: ToolCallPart, tools: Mapping[str, Tool]) -> ToolReturned | None:
    """Returns the result of a call that cannot be run at all, or `None` if it can be tried."""
    if call.name not in tools:
        known = ", ".join(sorted(tools)[:_NAMES_SHOWN]) or "none"
        return _returned(call, "error", f"There is no tool {call.name!r}. The tools are: {known}.")
    parsed = parsed_arguments(call)
    return _returned(call, "error", parsed) if isinstance(parsed, str) else None


def parsed_arguments(call: ToolCallPart) -> dict[str, Any] | str:
    """Returns the arguments, or what the model is told about them: they have no meaning, or more than one."""
    try:
        return read_arguments(call.arguments)
    except UnreadableArguments as error:
        return (
            f"The arguments cannot be read, and nothing was run: {error}. Send one JSON object with the parameters of "
            f"{call.name!r}."
        )


async def run_call(
    call: ToolCallPart, tool: Tool, context: ToolContext, *, timeout_s: float, limits: Limits
) -> ToolReturned:
    """Runs a call that is not refused and returns its result."""
    arguments = parsed_arguments(call)
    assert isinstance(arguments, dict), "refused before"
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    outcome: Outcome = "error"
    name = f"tool {call.name} of session {context.session_id}"
    try:
        work = called(partial(tool.call, arguments, context))
        content = await stoppable(work, name=name, timeout_s=timeout_s, grace_s=limits.stop_s_max)
        outcome = "ok"
        if not isinstance(content, str):
            content, outcome = f"The tool returned {type(content).__name__} instead of text.", "error"
    except Expired:
        content = f"The tool was stopped after {timeout_s:g} s without a result."
        # What it did until then is not known to anybody; only a tool without effects is certain.
        outcome = "error" if effect_of(tool) == "pure" else "unknown"
    except Exception as error:  # noqa: BLE001 # broad: foreign code; whatever it raises, the model is told and the turn continues
        if not isinstance(error, ToolError):
            logger.warning("tool %s of session %s raised\n%s", call.name, context.session_id, trace_of(error))
        content = _told(error)
    duration_ms = int((loop.time() - began_s) * 1000)
    return _returned(call, outcome, bounded(content, limits.tool_output_bytes_max), duration_ms=duration_ms)


def bounded(content: str, bytes_max: int) -> str:
    """Returns `content`, cut to `bytes_max` bytes of UTF-8 with a note for the model, and free of lone surrogates."""
    content = str.__str__(content)  # a subclass of a tool may do anything
    encoded = content[: bytes_max + 1].encode("utf-8", "replace")  # a character has at least one byte
    if len(encoded) <= bytes_max:
        return encoded.decode()
    cut = encoded[:bytes_max].decode("utf-8", "ignore")
    return f"{cut}\n[cut: {len(content)} characters, the first {len(cut)} are shown]"


def effect_of(tool: Tool) -> Effect:
    """Returns what a second run of a tool would do: harm, if it does not say."""
    try:
        with foreign():
            effect = tool.effect
    except Exception:  # broad: a tool is foreign code
        logger.warning("a tool does not say what its effect is", exc_info=True)
        return "once"
    return effect if effect in _EFFECTS else "once"


def specs_of(tools: Mapping[str, Tool]) -> tuple[ToolSpec, ...]:
    """Returns what a model is told of the tools. One that does not say is left out: the others can be used."""
    specs = []
    for name, tool in tools.items():
        try:
            with foreign():
                specs.append(tool.spec)
        except Exception as error:  # noqa: BLE001 # broad: a tool is foreign code
            logger.warning("tool %s cannot be offered to a model\n%s", name, trace_of(error))
    return tuple(specs)


def _told(error: Exception) -> str:
    """Returns what the model reads about an exception; a `ToolError` is written for it."""
    if not isinstance(error, ToolError):
        return text_of(error)
    try:
        with foreign():
            return str(error) or "the tool failed"
    except Exception:  # noqa: BLE001 # broad: its text is foreign code as well
        return text_of(error)


def _returned(call: ToolCallPart, outcome: Outcome, content: str, *, duration_ms: int = 0) -> ToolReturned:
    return ToolReturned(call_id=call.call_id, name=call.name, outcome=outcome, content=content, duration_ms=duration_ms)
