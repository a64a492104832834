"""What stands above the text of a persona: a few named values between two lines of `---`.

    ---
    name: reviewer
    description: Reads code as a colleague would
    model: gpt-4o
    tools: [GitTools, TicketTools]
    ---
    You review code...

A small part of YAML, and strictly so: `key: value` and `key: [a, b]`, on one line each, with lines that begin with `#` as
comments. Values may be quoted. What YAML would read as anything else than text or a list of texts is refused, so a file that is
accepted here means the same to every other program.

Rule: nothing is guessed. What is not understood is refused with its line and the form that would be right.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from greenroom.errors import InvalidConfig

Value = str | tuple[str, ...]

_FENCE: Final = "---"
_LINE: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*):(?:[ \t]+(.*))?")
_ITEM: Final = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|\w[\w .-]*?)\s*(?:,|$)""")
_SPECIAL_FIRST: Final = frozenset("[]{}&*!|>%@`\"'#,")
_SHOWN_CHARACTERS_MAX: Final = 60
_LIST_CHARACTERS_MAX: Final = 2000


def split_front_matter(text: str) -> tuple[Mapping[str, Value], str]:
    """Returns the values above the text, and the text. There may be none above it.

    Raises:
        InvalidConfig: there is something above the text, and it cannot be read.
    """
    first, _, rest = text.partition("\n")
    if first.rstrip() != _FENCE:
        return {}, text
    lines = [line.rstrip() for line in rest.split("\n")]
    if _FENCE not in lines:
        raise InvalidConfig("the front matter does not end", hint=f"write a line {_FENCE} behind it")
    end = lines.index(_FENCE)
    values: dict[str, Value] = {}
    for number, line in enumerate(lines[:end], start=2):
        if not line or line.lstrip().startswith("#"):
            continue
        key, value = _entry(line, number)
        if key in values:
            raise InvalidConfig(f"line {number}: {key} is given twice", hint="keep one of them")
        values[key] = value
    return values, "\n".join(rest.split("\n")[end + 1 :])


def _entry(line: str, number: int) -> tuple[str, Value]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise InvalidConfig(
            f"line {number}: {line.strip()[:_SHOWN_CHARACTERS_MAX]!r} is not `key: value`",
            hint="one line for each value; a list is written [a, b]",
        )
    key, value = match[1], (match[2] or "").strip()
    if not value:
        raise InvalidConfig(
            f"line {number}: {key} has no value", hint="write it on the same line, or take the line out"
        )
    return key, _list(value, number) if value.startswith("[") else _text(value, number)


def _list(value: str, number: int) -> tuple[str, ...]:
    wrong = InvalidConfig(f"line {number}: {value[:_SHOWN_CHARACTERS_MAX]!r} is not a list", hint="write [a, b]")
    if not value.endswith("]") or len(value) > _LIST_CHARACTERS_MAX:
        raise wrong
    inside = value[1:-1].strip()
    items: list[str] = []
    place = 0
    while place < len(inside):
        item = _ITEM.match(inside, place)
        if item is None:
            raise wrong
        items.append(_text(item[1], number))
        place = item.end()
    return tuple(items)


def _text(value: str, number: int) -> str:
    if value.startswith("'") and re.fullmatch(r"'(?:[^']|'')*'", value):
        return value[1:-1].replace("''", "'")
    if value.startswith('"'):
        try:
            return msgspec.json.decode(value, type=str)
        except msgspec.DecodeError as error:
            raise _unclear(value, number) from error
    is_plain = (
        value[0] not in _SPECIAL_FIRST and not re.match(r"[-?:](\s|$)", value) and not re.search(r":(\s|$)|\s#", value)
    )
    if not is_plain:
        raise _unclear(value, number)
    return value


def _unclear(value: str, number: int) -> InvalidConfig:
    return InvalidConfig(
        f"line {number}: {value[:_SHOWN_CHARACTERS_MAX]!r} means something special in YAML",
        hint='put the text in double quotes, for example "Writer: crisp"',
    )
