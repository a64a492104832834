"""The content blocks of one streamed message while they grow, and what of each the provider wants to see again.

Rule: nothing the provider sent of a block is lost on the way to its sidecar, also where nobody here understands it.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from greenroom.backends.parts_writer import Part
from greenroom.messages import PartKind

_KINDS: Final[dict[str, PartKind]] = {"text": "text", "thinking": "reasoning", "tool_use": "tool_call"}
_GROWS_BY: Final = {"text": "text_delta", "thinking": "thinking_delta"}
_BEGUN_BY: Final = {delta_type: block_type for block_type, delta_type in _GROWS_BY.items()}
_NEUTRAL: Final = {"text": frozenset({"type", "text"}), "tool_use": frozenset({"type", "id", "name", "input"})}


class Block:
    """An open content block.

    Attributes:
        index: the provider's number of it.
        part: ours.
        raw: what the provider sent of it, apart from the text that it grew by.
        grows_by: type of the deltas that bring text.
        pieces: that text.
    """

    __slots__ = ("grows_by", "index", "part", "pieces", "raw")

    def __init__(self, index: int, raw: dict[str, Any], part: Part) -> None:
        self.index = index
        self.part = part
        self.raw = raw
        self.grows_by = _GROWS_BY.get(raw["type"], "input_json_delta")
        self.pieces: list[str] = []

    def is_other(self, delta_type: Any) -> bool:
        """Returns whether a delta is of a text or a thinking, and this block is the other: a new one has begun."""
        return self.grows_by in _BEGUN_BY and delta_type in _BEGUN_BY and delta_type != self.grows_by

    def extend(self, delta: dict[str, Any]) -> None:
        """Takes a delta that brings no text: a signature, a citation, or one of a kind that is yet to be invented."""
        if delta.get("type") == "citations_delta":
            before = self.raw.get("citations")
            self.raw["citations"] = [*(before if isinstance(before, list) else ()), delta.get("citation")]
        else:
            self.raw.update({name: value for name, value in delta.items() if name != "type"})

    def to_send_back(self) -> dict[str, Any] | None:
        """Returns the block as the provider wants to see it again; `None` where the neutral part says as much."""
        grown, kind = "".join(self.pieces), self.raw["type"]
        if kind == "thinking":
            # Without its signature (the answer was cut, or the server knows none) nobody would accept it.
            return {**self.raw, "thinking": grown} if self.raw.get("signature") else None
        extras = {name: value for name, value in self.raw.items() if value and name not in _NEUTRAL.get(kind, ())}
        if kind == "text":
            return {"type": kind, "text": grown, **extras} if extras else None
        if kind == "tool_use":
            if extras.get("caller") == {"type": "direct"}:
                del extras["caller"]  # The default, which not every server of the dialect knows.
            return {"type": kind, **extras} if extras else None
        return {**self.raw, "input": _parsed(grown)} if grown else self.raw


def kind_of(raw: dict[str, Any]) -> PartKind:
    """Returns what a block becomes."""
    return _KINDS.get(raw["type"], "opaque")


def raw_begun_by(delta_type: Any) -> dict[str, Any] | None:
    """Returns the beginning of the block that a delta is certainly of; `None` if that could be any."""
    block_type = _BEGUN_BY.get(delta_type) if isinstance(delta_type, str) else None
    return {"type": block_type, block_type: ""} if block_type is not None else None


def _parsed(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {"invalid_json": text}
