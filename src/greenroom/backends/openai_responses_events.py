"""The events of the Responses dialect as far as they are read, and which text each of them is about.

Rule: one odd field must not cost an answer: a field may hold anything, and is looked at where it is used.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from greenroom.backends.unicode_text import valid_unicode
from greenroom.messages import PartKind


class Event(msgspec.Struct, gc=False):
    """An event. Every field may hold anything; msgspec decodes that at the same speed."""

    type: Any = ""
    item_id: Any = None
    output_index: Any = None
    content_index: Any = 0
    summary_index: Any = 0
    delta: Any = None
    text: Any = None
    refusal: Any = None
    arguments: Any = None
    item: Any = None
    annotation: Any = None
    response: Any = None
    error: Any = None
    message: Any = None
    code: Any = None
    object: Any = None


class Kind(msgspec.Struct, frozen=True):
    """One kind of text.

    Attributes:
        item: type of the items that have such texts.
        name: of the kind within its item.
        part: what such a text becomes.
    """

    item: str
    name: str
    part: PartKind


TEXT: Final = Kind("message", "text", "text")
REFUSAL: Final = Kind("message", "refusal", "refusal")
SUMMARY: Final = Kind("reasoning", "summary", "reasoning")
REASONING: Final = Kind("reasoning", "reasoning", "reasoning")
ARGUMENTS: Final = Kind("function_call", "arguments", "tool_call")

DELTAS: Final = {
    "response.output_text.delta": TEXT,
    "response.refusal.delta": REFUSAL,
    "response.reasoning_summary_text.delta": SUMMARY,
    "response.reasoning_text.delta": REASONING,
    "response.function_call_arguments.delta": ARGUMENTS,
}
DONES: Final = {kind.removesuffix("delta") + "done": about for kind, about in DELTAS.items()}

ENDS: Final = {
    "response.completed": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
}

_decode: Final = msgspec.json.Decoder(Event).decode


def read(payload: bytes) -> Event:
    """Returns the event. Half surrogate pairs stay in deltas, because the other half may come with the next one.

    Raises:
        ValueError: it is not JSON in UTF-8, or no object.
        RecursionError: it is nested too deeply.
    """
    try:
        return _decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # What only the standard library reads: half surrogate pairs, and numbers such as `NaN`.
        told = json.loads(payload)
        event = msgspec.convert(told, Event)
        is_delta = isinstance(event.type, str) and event.type in DELTAS
        if is_delta:
            return event
        return msgspec.convert(_mended(told), Event)


def read_whole(payload: bytes) -> dict[str, Any]:
    """Returns all of an object that `read` has accepted, with the fields that are in no event."""
    try:
        told = msgspec.json.decode(payload)
    except msgspec.DecodeError:
        told = _mended(json.loads(payload))
    return dict(told)


def _mended(told: Any) -> Any:
    """Returns JSON with texts that are valid Unicode."""
    return json.loads(valid_unicode(json.dumps(told, ensure_ascii=False)))


def number_of(event: Event, kind: Kind) -> int:
    """Returns which of its texts of a kind an item has the event for."""
    number = event.summary_index if kind is SUMMARY else event.content_index
    return number if isinstance(number, int) and kind is not ARGUMENTS else 0
