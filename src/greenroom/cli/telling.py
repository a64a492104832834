"""The past of a session, as a person reads it.

Rule: the same lines on a terminal and in a pipe; only the colours differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple, assert_never

from greenroom.cli.output import shortened, source_line, visible
from greenroom.core.view import Message, ToolCallView, ViewPart
from greenroom.messages import FilePart, ReasoningPart, RefusalPart, SourcePart, TextPart

if TYPE_CHECKING:
    from rich.console import Console

_ARGUMENTS_MAX: Final = 160
_RESULT_MAX: Final = 240


class Line(NamedTuple):
    """Some text with its style, on lines of its own."""

    text: str
    style: str = ""


def lines_of(message: Message) -> Iterator[Line]:
    """Yields a message as it is shown."""
    for part in message.parts:
        yield from _part_lines(part, is_user=message.role == "user")
    match message.outcome:
        case None | "completed":
            pass
        case "cancelled":
            yield Line("stopped", "dim")
        case "failed" | "interrupted":
            yield Line(f"error: {message.error} [{message.error_code}]", "red")


def tell(console: Console, message: Message) -> None:
    """Prints a message on a terminal."""
    for line in lines_of(message):
        console.print(visible(line.text), style=line.style, soft_wrap=True)


def _part_lines(part: ViewPart, *, is_user: bool) -> Iterator[Line]:
    match part:
        case TextPart():
            yield Line(f"> {part.text}", "bold") if is_user else Line(part.text)
        case ReasoningPart():
            yield Line(part.text, "dim italic")
        case RefusalPart():
            yield Line(part.text)
        case FilePart():
            yield Line(f"[{part.name or 'file'}: {part.media_type}, {len(part.data)} bytes]", "cyan")
        case SourcePart():
            yield Line(f"[source: {source_line(part.title, part.url)}]", "cyan")
        case ToolCallView():
            yield Line(f"* {part.name} {shortened(part.arguments, _ARGUMENTS_MAX)}", "cyan")
            if part.outcome is not None:
                mark = "" if part.outcome == "ok" else f" ({part.outcome})"
                yield Line(f"  {part.name}{mark}: {shortened(part.content, _RESULT_MAX)}", "dim")
        case _:
            assert_never(part)
