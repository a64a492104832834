"""What a command prints: tables, facts, JSON, errors.

On a terminal: colours, columns that fit the window, dates for people. In a pipe: one line for each row, the columns separated by
tabs and never cut, no colours, no headings; `rich` is not even loaded. With `--json`: one document.

It is imported for `--help` too, so it loads what it needs when it needs it.

Rule: whatever came from a model, a tool or another user is shown with its control characters made visible: a terminal obeys them.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TextIO

from greenroom.errors import (
    GreenroomError,
    InvalidStream,
    ManagerClosed,
    SessionNotFound,
    TurnInProgress,
    UsageError,
)

if TYPE_CHECKING:
    from rich.console import Console

OK: Final = 0
FAILURE: Final = 1
USAGE: Final = 2
INCOMPLETE: Final = 3
"""The answer is there, and not whole: it was cut off, filtered or declined."""

_CONTROL: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""All control characters but tab and line feed, the marks that change the order of what is written, and what is never seen. What
joins letters of Persian and emoji stays: it is part of how they are written."""
_INVISIBLE: Final = re.compile(
    r"[^\S ]|[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\u200c\u200d]"
)
"""What else cannot be seen, or looks like a space and is none."""
_SPACES: Final = re.compile(r" {9,}")
_NOT_THE_CALL: Final = (SessionNotFound, TurnInProgress, InvalidStream, ManagerClosed)
"""Errors of the caller, in Python, that on a command line are not about how the command was written."""

_GAP: Final = 2
_TITLE_MAX: Final = 120
_WIDE_MIN: Final = 8
_AGES: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))
_HINTS: Final = {
    SessionNotFound: "`greenroom sessions list` shows the sessions that there are",
    InvalidStream: "give a file that `greenroom sessions export` wrote",
}
"""Where the error's own hint speaks of Python."""


class Column(NamedTuple):
    """A column of a table. On a terminal a wide one is the first to be cut."""

    heading: str
    style: str = ""
    is_wide: bool = False
    is_number: bool = False


# --- what is printed ----------------------------------------------------------------------------------------------------


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Prints rows; without any, says so on a terminal and prints nothing into a pipe."""
    if not is_terminal(sys.stdout):
        for row in rows:
            print_line("\t".join(on_one_line(cell) for cell in row))
        return
    if not rows:
        terminal().print(empty, style="dim", markup=False, highlight=False)
        return
    from rich.table import Table
    from rich.text import Text

    screen = terminal()
    cells = [[on_one_line(cell) for cell in row] for row in rows]
    widths = [
        max(len(column.heading), *(Text(cell).cell_len for cell in column_cells))
        for column, column_cells in zip(columns, zip(*cells, strict=True), strict=True)
    ]
    room = screen.width - sum(width + _GAP for width, column in zip(widths, columns, strict=True) if not column.is_wide)
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for column, width in zip(columns, widths, strict=True):
        table.add_column(
            column.heading,
            style=column.style,
            no_wrap=True,
            overflow="ellipsis",
            justify="right" if column.is_number else "left",
            width=max(_WIDE_MIN, min(width, room)) if column.is_wide else width,
        )
    for row in cells:
        table.add_row(*map(Text, row))
    screen.print(table)


def print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Prints names with their values."""
    if not is_terminal(sys.stdout):
        for name, value in facts:
            print_line(f"{name}\t{on_one_line(value)}")
        return
    from rich.text import Text

    width = max(len(name) for name, _ in facts) + 2
    for name, value in facts:
        line = Text.assemble((name.ljust(width), "dim"), on_one_line(value))
        terminal().print(line, soft_wrap=True, highlight=False)


def print_line(text: str = "") -> None:
    """Prints a line of the output."""
    sys.stdout.write(f"{text}\n")


def print_text(text: str) -> None:
    """Prints text that is for reading. In a pipe too, where the next program may hand it to a terminal; `--json` has it as it is."""
    print_line(visible(text))


def print_json(value: Any) -> None:
    """Prints one JSON document."""
    import msgspec

    document = msgspec.json.format(msgspec.json.encode(value), indent=2)
    sys.stdout.buffer.write(document + b"\n")
    sys.stdout.buffer.flush()


def print_note(text: str) -> None:
    """Says something beside the output, on standard error."""
    sys.stderr.write(note(text) + "\n")
    sys.stderr.flush()


def note(text: str) -> str:
    """Returns the line that `print_note` prints."""
    return _styled(visible(text), "2", sys.stderr)


def print_error(message: str, hint: str | None = None, *, where: Iterable[str] = ()) -> None:
    """Says on standard error what went wrong, where, and what would help."""
    sys.stderr.write(f"{_styled('error:', '1;31', sys.stderr)} {on_one_line(message)}\n")
    for place in where:
        sys.stderr.write(f"{on_one_line(place)}\n")
    if hint:
        sys.stderr.write(f"{_styled('hint:', '1', sys.stderr)} {on_one_line(hint)}\n")
    sys.stderr.flush()


def hint_of(error: GreenroomError) -> str | None:
    """Returns what would help, in terms of the command line."""
    return next((hint for kind, hint in _HINTS.items() if isinstance(error, kind)), error.hint)


def exit_code(error: GreenroomError) -> int:
    """Returns 2 for an error in what was typed, else 1."""
    return USAGE if isinstance(error, UsageError) and not isinstance(error, _NOT_THE_CALL) else FAILURE


# --- how it is shown ----------------------------------------------------------------------------------------------------


def visible(text: str) -> str:
    r"""Returns the text with its control characters as `\x1b` and the like; only tabs and line feeds stay."""
    return _CONTROL.sub(lambda found: ascii(found.group())[1:-1], text)


def exact(text: str) -> str:
    r"""Returns the text so that what is read is what is there, for a person who decides by it: nothing is cut, hidden or moved.

    Everything invisible is written out (`\u200d`, `\n`), and many spaces as their number: they push what follows off the screen.
    """
    shown = "".join(each if each.isprintable() and not _INVISIBLE.match(each) else ascii(each)[1:-1] for each in text)
    return _SPACES.sub(lambda found: f" [{len(found.group())} spaces] ", shown)


def on_one_line(text: str) -> str:
    """Returns the text in one line that nothing in it can break."""
    return visible(" ".join(text.split()))


def shortened(text: str, characters_max: int) -> str:
    """Returns the text in one line of at most `characters_max` characters."""
    # Only the beginning is looked at: a tool may have returned megabytes.
    line = on_one_line(text[: characters_max * 8])
    is_whole = len(line) <= characters_max and len(text) <= characters_max * 8
    return line if is_whole else line[: characters_max - 1].rstrip() + "…"


def source_line(title: str, url: str) -> str:
    """Returns a source of an answer in one line; the address is never cut, or it would lead nowhere."""
    shown = shortened(title, _TITLE_MAX)
    return f"{shown}: {url}" if shown and url else shown or url


def age(at_ms: int, now_ms: int) -> str:
    """Returns how long ago it was, as people say it."""
    seconds = max(0, (now_ms - at_ms) // 1000)
    for unit_s, unit in _AGES:
        if seconds >= unit_s:
            return f"{seconds // unit_s} {unit} ago"
    return "just now"


def is_terminal(stream: TextIO | None) -> bool:
    """Returns whether a person is looking."""
    return stream is not None and not stream.closed and stream.isatty()


def terminal() -> Console:
    """Returns the terminal that standard output is."""
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False)


def _styled(text: str, code: str, stream: TextIO) -> str:
    if not is_terminal(stream) or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{code}m{text}\x1b[0m"
