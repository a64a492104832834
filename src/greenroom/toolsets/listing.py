"""Lists that a model reads: one line for each thing, and an honest end where there would be too many.

Rule: where something is left out, the model is told so, and how to get it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime


def bounded_lines(lines: Iterable[str], *, lines_max: int, bytes_max: int) -> tuple[list[str], bool]:
    """Returns the first of `lines` that fit both bounds, and whether all did. Takes one more than it returns, no more."""
    kept: list[str] = []
    room = bytes_max
    for line in lines:
        room -= len(line.encode("utf-8", "replace")) + 1
        # The first line is kept however long it is: an empty answer would be no answer.
        if len(kept) == lines_max or (room < 0 and kept):
            return kept, False
        kept.append(line)
    return kept, True


def on_one_entry(text: str) -> str:
    """Returns `text` so that its further lines are seen to belong to the first one."""
    return "\n    ".join(text.splitlines())


def day(at_ms: int) -> str:
    """Returns the date (UTC) of a time in milliseconds since 1970."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()


def counted(number: int, noun: str) -> str:
    """Returns `1 file`, `2 files`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
