"""The command line.

Exit codes: 0; 1 for a failure, which an answer that was stopped is too; 2 for a command that is not one; 3 for an answer that is
not whole: it was cut off, filtered or declined.

Rule: a command parses, calls the manager, and prints; it decides nothing else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer
from typer.main import get_command

from greenroom.cli.app import app
from greenroom.cli.output import FAILURE, INCOMPLETE, OK, USAGE, exit_code, hint_of, print_error
from greenroom.errors import GreenroomError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code; whatever goes wrong is said in a line or two."""
    _accept_any_text()
    try:
        code = _run(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has had enough of it, as `head` does. Nothing more can be said there, not even at exit.
        _close_quietly()
        return FAILURE
    return code


def _run(arguments: list[str]) -> int:
    try:
        code = get_command(app).main(arguments, prog_name="greenroom", standalone_mode=False)
    except typer.TyperException as error:
        where = getattr(error, "ctx", None)
        command = where.command_path if where is not None else "greenroom"
        print_error(error.format_message(), f"{command} --help shows what it takes")
        return error.exit_code
    except GreenroomError as error:
        print_error(error.message, hint_of(error), where=getattr(error, "__notes__", ()))
        return exit_code(error)
    except (KeyboardInterrupt, typer.Abort):
        return FAILURE
    # Typer answers Ctrl-C with a code of its own; ours are four.
    return code if code in {OK, FAILURE, USAGE, INCOMPLETE} else FAILURE


def _accept_any_text() -> None:
    # What the encoding of a terminal or pipe does not have is replaced, and ends no answer in the middle.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _close_quietly() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
