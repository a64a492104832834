"""Text as a model reads and edits it: ranges of lines, and exact replacements.

A line ends with a line feed, whatever stands before it; line and column numbers count from 1. Line ends stay as they are.

Rule: pure functions from text to text. What cannot be done is a `ToolError` that says what would be possible.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final, Literal

from greenroom.interfaces import ToolError

_SNIFFED_BYTES: Final = 8192
_PLACES_SHOWN: Final = 10
_NEAR_LINES_MAX: Final = 2000
"""Similar lines are looked for among so many: comparing takes time."""
_NEAR_CHARACTERS_MAX: Final = 200


def is_binary(content: bytes) -> bool:
    """Returns whether this does not look like text: no text has zero bytes."""
    return b"\0" in content[:_SNIFFED_BYTES]


def decoded(content: bytes, path: str) -> str:
    """Returns the text of a file.

    Raises:
        ToolError: it is not text in UTF-8.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ToolError(
            f"{path} is not text in UTF-8 ({len(content)} bytes, the first wrong one at {error.start}); "
            "it can be moved, copied and deleted, not read."
        ) from error
    if is_binary(content):
        raise ToolError(
            f"{path} is a binary file ({len(content)} bytes); it can be moved, copied and deleted, not read."
        )
    return text


def line_range(text: str, start_line: int, end_line: int | None, *, start_column: int = 1, bytes_max: int) -> str:
    """Returns the lines from `start_line` to `end_line`, both included, with a note where that is not the whole text.

    Args:
        text: of the file.
        start_line: the first line to show.
        end_line: the last one; `None` for the last of the text.
        start_column: the first character to show of the first line.
        bytes_max: of UTF-8. More is cut, and the note says how to go on.

    Raises:
        ToolError: there are no such lines.
    """
    lines = lines_of(text)
    last = len(lines) if end_line is None else min(end_line, len(lines))
    if not lines and start_line == 1:
        return "(the file is empty)"
    if start_line > len(lines):
        raise ToolError(f"There is no line {start_line}: the file has {len(lines)}.")
    if start_line > last:
        raise ToolError(f"start_line ({start_line}) is above end_line ({end_line}): swap them.")
    if start_column > max(len(lines[start_line - 1]), 1):
        raise ToolError(f"There is no column {start_column}: line {start_line} has {len(lines[start_line - 1])}.")
    shown: list[str] = []
    room = bytes_max
    for number in range(start_line, last + 1):
        line = lines[number - 1][start_column - 1 :] if number == start_line else lines[number - 1]
        room -= len(line.encode())
        if room < 0:
            if shown:
                return f"{_closed(shown)}[lines {start_line} to {number - 1} of {len(lines)}; go on with start_line={number}]"
            part = line.encode()[:bytes_max].decode("utf-8", "ignore")
            return (
                f"{part}\n[a part of line {number} of {len(lines)}; go on with start_line={number}, "
                f"start_column={start_column + len(part)}]"
            )
        shown.append(line)
    if len(shown) == len(lines) and start_column == 1:
        return "".join(shown)
    return f"{_closed(shown)}[lines {start_line} to {last} of {len(lines)}]"


def edited(text: str, old: str, new: str, count: int | Literal["all"]) -> tuple[str, int]:
    """Returns the text with every `old` replaced by `new`, and how many there were.

    Args:
        text: of the file.
        old: what to replace.
        new: what to put there.
        count: how many there must be.

    Raises:
        ToolError: there is another number of them.
    """
    if not old:
        raise ToolError("old_text is empty: give the text to replace. To add to the end, use append_file.")
    if _has_windows_ends(text) and "\r" not in old + new:
        # A model writes "\n" whatever it was shown; the file keeps the line ends that it has.
        old, new = old.replace("\n", "\r\n"), new.replace("\n", "\r\n")
    if old == new:
        raise ToolError("old_text and new_text are the same: nothing would change.")
    found = text.count(old)
    if not found:
        raise ToolError(f"old_text does not occur in the file.{_near_miss(text, old)}")
    if count not in (found, "all"):
        raise ToolError(
            f"old_text occurs {_times(found)} ({_places(text, old)}), not {_times(count)}: add the text around it until it is "
            f'unique, or set count to {found} or "all".'
        )
    return text.replace(old, new), found


def lines_of(text: str) -> list[str]:
    """Returns the lines, each with its end."""
    lines = [f"{line}\n" for line in text.split("\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _closed(lines: Sequence[str]) -> str:
    text = "".join(lines)
    return text if text.endswith("\n") else f"{text}\n"


def _has_windows_ends(text: str) -> bool:
    return 0 < text.count("\n") == text.count("\r\n")


def _times(count: int | str) -> str:
    return "once" if count == 1 else f"{count} times"


def _places(text: str, old: str) -> str:
    """Returns the lines in which `old` begins, the first few of them."""
    numbers: list[str] = []
    line, searched = 1, 0
    while len(numbers) < _PLACES_SHOWN and (place := text.find(old, searched)) >= 0:
        line += text.count("\n", searched, place)
        numbers.append(str(line))
        line += old.count("\n")
        searched = place + len(old)
    more = ", ..." if text.find(old, searched) >= 0 else ""
    return f"line{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}{more}"


def _near_miss(text: str, old: str) -> str:
    """Returns a sentence about what comes nearest to `old`, or nothing."""
    lines = text.split("\n", _NEAR_LINES_MAX)[:_NEAR_LINES_MAX]
    wanted = [line.split() for line in old.strip().split("\n")]
    words = [line.split() for line in lines]
    for place in range(len(lines) - len(wanted) + 1):
        if words[place : place + len(wanted)] == wanted:
            exact = "\n".join(lines[place : place + len(wanted)])[: 10 * _NEAR_CHARACTERS_MAX]
            return f" Line {place + 1} differs in white space only; the file has:\n{exact}"
    sought = next((line.strip() for line in old.split("\n") if line.strip()), "")[:_NEAR_CHARACTERS_MAX]
    candidates = [line.strip()[:_NEAR_CHARACTERS_MAX] for line in lines]
    similar = difflib.get_close_matches(sought, candidates, n=1)
    if not similar:
        return " Read the file again: it may have changed."
    place = candidates.index(similar[0])
    return f" The most similar line is {place + 1}:\n{lines[place][:_NEAR_CHARACTERS_MAX]}"
