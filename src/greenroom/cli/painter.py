"""Shows a conversation while it goes on: on a terminal, or into a pipe.

Rule: a pipe gets the text of the answer and nothing else; everything beside it goes to standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from greenroom.cli.conversation import (
    CallMade,
    CallReturned,
    Noticed,
    PersonSaid,
    PictureMade,
    Said,
    Shown,
    SourceNamed,
    Thought,
    TurnBegan,
    TurnEnded,
    Withdrawn,
)
from greenroom.cli.output import is_terminal, print_error, print_note, shortened, source_line, terminal, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

_ARGUMENTS_MAX: Final = 160
_RESULT_MAX: Final = 240


class Painter(Protocol):
    """Shows what a conversation brings. Called from a thread: writing may block, when nobody reads."""

    def paint(self, shown: Sequence[Shown]) -> None:
        """Shows more."""
        ...

    def close(self) -> None:
        """Leaves the output fit for whatever comes next. Idempotent."""
        ...


class PipePainter:
    """The answer to standard output; calls, notices and errors to standard error.

    Attributes:
        is_spoiled: what was printed is not just the answer: the provider broke off, and the answer was begun anew.
    """

    def __init__(self, output: TextIO, *, known_notices: Collection[str] = ()) -> None:
        self.is_spoiled = False
        self._output = output
        self._show = visible if is_terminal(output) else str
        self._known_notices = known_notices
        self._message_id = ""
        self._ends_line = True

    def paint(self, shown: Sequence[Shown]) -> None:
        """Shows more.

        Raises:
            BrokenPipeError: nobody reads any more.
        """
        for item in shown:
            match item:
                case Said():
                    self._say(item)
                case CallMade():
                    print_note(f"* {item.name} {shortened(item.arguments, _ARGUMENTS_MAX)}")
                case CallReturned():
                    print_note(f"* {item.name}: {shortened(item.content, _RESULT_MAX)}")
                case SourceNamed():
                    print_note(f"source: {source_line(item.title, item.url)}")
                case PictureMade():
                    print_note(f"picture: {item.media_type}, {item.size} bytes")
                case Noticed():
                    if item.code not in self._known_notices:
                        print_note(f"note: {item.text}")
                case Withdrawn():
                    self.is_spoiled = self.is_spoiled or bool(self._message_id)
                    self._new_line()
                    print_note("the provider broke off; the answer begins anew")
                case TurnEnded():
                    self._new_line()
                    _say_how_it_ended(item)
                case TurnBegan() | PersonSaid() | Thought():
                    pass
        self._output.flush()

    def close(self) -> None:
        """Ends the line."""
        self._new_line()
        self._output.flush()

    def _say(self, said: Said) -> None:
        if self._message_id != said.message_id:
            self._new_line()
            self._message_id = said.message_id
        self._output.write(self._show(said.text))
        self._ends_line = said.text.endswith("\n")

    def _new_line(self) -> None:
        if not self._ends_line:
            self._output.write("\n")
            self._ends_line = True


class TerminalPainter:
    """Everything in its place on the screen: the answer plain, the reasoning dimmed, calls with what they returned."""

    def __init__(self, *, known_notices: Collection[str] = (), console: Console | None = None) -> None:
        self._console = console or terminal()
        self._known_notices = known_notices
        self._status: Status | None = None
        self._message_id = ""
        self._ends_line = True
        symbols = ("*", "->", "!") if self._console.options.ascii_only else ("⚙", "→", "●")
        self._call_symbol, self._return_symbol, self._notice_symbol = symbols

    def paint(self, shown: Sequence[Shown]) -> None:
        """Shows more; while the next thing is awaited, something turns."""
        self._stop_waiting()
        for item in shown:
            self._paint(item)
        if shown and isinstance(shown[-1], TurnBegan | PersonSaid | Noticed | CallMade | CallReturned):
            self._wait()

    def close(self) -> None:
        """Ends the line, and the waiting."""
        self._stop_waiting()
        self._new_line()

    def _paint(self, item: Shown) -> None:
        match item:
            case TurnBegan():
                self._new_line()
                self._message_id = ""
            case PersonSaid():
                self._line(f"> {item.text}", style="bold")
            case Said():
                self._write(item.message_id, item.text)
            case Thought():
                self._write(item.message_id, item.text, style="dim italic")
            case CallMade():
                arguments = shortened(item.arguments, _ARGUMENTS_MAX)
                self._line(f"{self._call_symbol} {item.name} {arguments}", style="cyan")
            case CallReturned():
                content = shortened(item.content, _RESULT_MAX)
                self._line(f"  {self._return_symbol} {item.name}: {content}", style="dim")
            case SourceNamed():
                self._line(f"[source: {source_line(item.title, item.url)}]", style="cyan")
            case PictureMade():
                self._line(f"[picture: {item.media_type}, {item.size} bytes]", style="cyan")
            case Noticed():
                if item.code not in self._known_notices:
                    self._line(f"{self._notice_symbol} {item.text}", style="yellow")
            case Withdrawn():
                self._line("the provider broke off; the answer begins anew", style="yellow")
            case TurnEnded():
                self._end(item)

    def _end(self, ended: TurnEnded) -> None:
        self._new_line()
        match ended.outcome:
            case "completed":
                pass
            case "cancelled":
                self._line("stopped", style="dim")
            case "waiting":
                self._line("waits for a decision", style="dim")
            case "failed":
                self._line(f"error: {ended.message} [{ended.code}]", style="red")
        self._message_id = ""

    def _write(self, message_id: str, text: str, *, style: str | None = None) -> None:
        if self._message_id != message_id:
            self._new_line()
            self._message_id = message_id
        self._console.out(visible(text), style=style, end="", highlight=False)
        self._ends_line = text.endswith("\n")

    def _line(self, text: str, *, style: str) -> None:
        self._new_line()
        self._message_id = ""
        self._console.print(visible(text), style=style, soft_wrap=True)

    def _new_line(self) -> None:
        if not self._ends_line:
            self._console.out("")
            self._ends_line = True

    def _wait(self) -> None:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            spinner = "line" if self._console.options.ascii_only else "dots"
            self._status = self._console.status("", spinner=spinner, spinner_style="dim")
            self._status.start()

    def _stop_waiting(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


def _say_how_it_ended(ended: TurnEnded) -> None:
    match ended.outcome:
        case "completed":
            pass
        case "cancelled":
            print_note("stopped")
        case "waiting":
            print_note("waits for a decision; greenroom chat --session ... asks for it")
        case "failed":
            sys.stdout.flush()
            print_error(f"{ended.message} [{ended.code}]")
