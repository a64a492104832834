"""A process that tries a regular expression on texts, and ends itself when its time is over.

Run as a script, by its path, in an isolated interpreter: it imports nothing of ours and touches no file. What it is asked and
what it answers are lines of JSON; a question is followed by the text in as many bytes as it says.

Rule: the time is kept by a thread in C, because a match that explodes never lets go of the interpreter.
"""

from __future__ import annotations

import faulthandler
import json
import re
import sys
from typing import Any, BinaryIO

_SHOWN_CHARACTERS = 300
_BEFORE_MATCH_CHARACTERS = 100


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answers questions until there are no more."""
    order = json.loads(source.readline())
    try:
        pattern = re.compile(order["pattern"], re.IGNORECASE if order["ignore_case"] else 0)
    except (re.error, OverflowError, RecursionError) as error:
        _answer(sink, {"error": str(error)})
        return
    _answer(sink, {"error": ""})
    while question := source.readline():
        asked = json.loads(question)
        text = source.read(asked["size_bytes"]).decode("utf-8", "replace")
        _answer(sink, matching_lines(pattern, text, asked["limit"]))


def matching_lines(pattern: re.Pattern[str], text: str, limit: int) -> list[tuple[int, str]]:
    """Returns number and text of the first lines in which the pattern is found; long lines are cut around the match."""
    found: list[tuple[int, str]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if len(found) == limit:
            break
        plain = line.removesuffix("\r")
        if match := pattern.search(plain):
            found.append((number, _around(plain, match.start())))
    return found


def _around(line: str, place: int) -> str:
    start = max(0, min(place - _BEFORE_MATCH_CHARACTERS, len(line) - _SHOWN_CHARACTERS))
    end = start + _SHOWN_CHARACTERS
    return f"{'...' if start else ''}{line[start:end]}{'...' if end < len(line) else ''}"


def _answer(sink: BinaryIO, value: Any) -> None:
    sink.write(json.dumps(value).encode() + b"\n")
    sink.flush()


if __name__ == "__main__":
    faulthandler.dump_traceback_later(float(sys.argv[1]), exit=True)
    serve(sys.stdin.buffer, sys.stdout.buffer)
