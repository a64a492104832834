"""Says in plain words what is wrong with a value that came over HTTP, and what would be right.

The decoder names types as a program does (`Expected float | null, got str`). Whoever wrote a request by hand reads names of fields, kinds of
JSON values, and the values that are possible.

Rule: a message names the field; a hint names what would be right, where anybody knows it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, Final, Literal, get_args, get_origin

import msgspec

from greenroom.config import EXPECTED
from greenroom.server.bodies import SessionPatch, SessionWish
from greenroom.server.refusal import Refusal

Part = Literal["body", "query"]

_AT: Final = re.compile(r" - at `\$\.?(?P<where>[^`]*)`$")
_TYPE: Final = re.compile(r"Expected `(?P<wanted>[^`]+)`(?P<bound>[^,`]*)(?:, got `(?P<given>[^`]+)`)?")
_NAME: Final = re.compile(r"Object (?P<how>contains unknown|missing required) field `(?P<name>[^`]*)`", re.DOTALL)
_NAME_CHARACTERS_MAX: Final = 100
_KINDS: Final = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def refused_value(kind: Any, error: msgspec.ValidationError, part: Part) -> Refusal:
    """Returns the refusal of a value that is not of the type that an operation takes.

    Args:
        kind: the type.
        error: what the decoder said.
        part: of the request.
    """
    text = str(error)
    at = _AT.search(text)
    where, text = (at["where"], text[: at.start()]) if at else ("", text)
    name = _NAME.fullmatch(text)
    if name is not None:
        return _refused_name(kind, name["how"], name["name"], where, part)
    choices = _choices(kind, where) if text.startswith("Invalid enum value") else ()
    hint = EXPECTED.get(where) if kind in (SessionPatch, SessionWish) else None
    if choices:
        text = f"{text.removeprefix('Invalid enum value ')} is not possible"
        hint = f"one of {', '.join(map(str, choices))}"
    elif (found := _TYPE.fullmatch(text)) is not None:
        text = f"{_words(found['wanted'])}{found['bound']} is expected"
        text += f", not {_words(found['given'])}" if found["given"] else ""
    if hint is None and part == "query":
        hint = f"the parameters are {_names(kind)}"
    return Refusal(422, "invalid_argument", f"{part}: {where + ': ' if where else ''}{text}", hint=hint)


def _refused_name(kind: Any, how: str, name: str, where: str, part: Part) -> Refusal:
    inside = f" in {where}" if where else ""
    if how == "missing required":
        return Refusal(
            422,
            "invalid_argument",
            f"{part}: {name!r} is missing{inside}",
            hint=f"the fields are {_names(_at(kind, where))}",
        )
    name = name[:_NAME_CHARACTERS_MAX]  # looking for one like it takes the product of the lengths
    known = _field_names(_at(kind, where))
    close = get_close_matches(name, known, 1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    is_setting = kind in (SessionPatch, SessionWish) and not where
    what = "setting" if is_setting else "parameter" if part == "query" else "field"
    return Refusal(
        422,
        "unknown_setting" if is_setting else "invalid_argument",
        f"{part}: unknown {what} {name!r}{inside}",
        hint=f"{meant}the {what}s are {', '.join(known) or 'none'}",
    )


def _words(types: str) -> str:
    return " or ".join(_KINDS.get(name, name) for name in types.split(" | "))


def _choices(kind: Any, where: str) -> Sequence[Any]:
    return _literals(_at(kind, where))


def _at(kind: Any, where: str) -> Any:
    """Returns the type of a field, or `None` if it is not to be found."""
    for name in filter(None, re.split(r"[.\[]", where)):
        if name.endswith("]"):
            kind = next((inner for inner in get_args(kind) if get_origin(kind) in (list, tuple)), None)
        else:
            kind = {field.encode_name: field.type for field in _fields(kind)}.get(name)
    return kind


def _literals(kind: Any) -> Sequence[Any]:
    if get_origin(kind) is Literal:
        return get_args(kind)
    return [value for inner in get_args(kind) for value in _literals(inner)]


def _fields(kind: Any) -> Sequence[Any]:
    return msgspec.structs.fields(kind) if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else ()


def _field_names(kind: Any) -> list[str]:
    return [field.encode_name for field in _fields(kind)]


def _names(kind: Any) -> str:
    return ", ".join(_field_names(kind)) or "none"
