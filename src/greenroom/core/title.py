"""What a session is called that nobody has named: the beginning of what was said first.

Rule: a pure function of the message, so that a title that was given and taken back gives way to the same one again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from greenroom.messages import FilePart, TextPart, UserPart

TITLE_CHARACTERS_MAX: Final = 60

_READ_MAX: Final = 1000
"""Characters of a message that are looked at: a person may have pasted a book."""
_FENCE: Final = re.compile(r"^\s*(```|~~~)")
_MARKS: Final = re.compile(r"^\s*(?:[#>]+|[-*+]|\d+[.)])\s+|[*`]+|(?<!\w)_+|_+(?!\w)")
_NOT_SHOWN: Final = re.compile(r"[\s\x00-\x1f\x7f]+")


def title_of(parts: Sequence[UserPart]) -> str:
    """Returns the title that a session takes from its first message: its first line without marks, else a file's name."""
    for part in parts:
        if isinstance(part, TextPart) and (line := _first_line(part.text[:_READ_MAX])):
            return _shortened(line)
    return next((_shortened(part.name) for part in parts if isinstance(part, FilePart) and part.name), "")


def _first_line(text: str) -> str:
    lines = [line for line in text.splitlines() if not _FENCE.match(line)]
    plain = (_NOT_SHOWN.sub(" ", _MARKS.sub("", line)).strip() for line in lines)
    return next((line for line in plain if line), "")


def _shortened(line: str) -> str:
    if len(line) <= TITLE_CHARACTERS_MAX:
        return line
    cut = line[: TITLE_CHARACTERS_MAX - 1]
    begin, _, rest = cut.rpartition(" ")
    return (begin if begin and len(rest) < len(cut) // 2 else cut).rstrip() + "…"
