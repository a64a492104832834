"""JSON that broke off, closed: what has to be added to the beginning of a document so that it is one.

The arguments of a call that was stopped, or cut off at a token limit, end in the middle. Protocols promise their front ends JSON; what
was said stays as it was said, and what was opened is closed behind it.

Rule: only ever adds. What cannot be made JSON by adding to it is left alone.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

_WHOLE_ESCAPE: Final = re.compile(r"\\(?:u[0-9a-fA-F]{4}|[^u])")
_BEGUN_ESCAPE: Final = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?$")
_HIGH_SURROGATE: Final = re.compile(r"\\u[dD][89abAB]")
_LOW_SURROGATE: Final = r"\udc00"
_TOKEN: Final = re.compile(r'[{}\[\],:]|"(?:[^"\\]|\\.)*\\?("?)|[^\s{}\[\],:"]+', re.DOTALL)
_LITERALS: Final = ("true", "false", "null")
_CLOSING: Final = {"{": "}", "[": "]"}


def closing(text: str) -> str:
    """Returns what makes `text` JSON when it stands behind it; empty if it is JSON, empty, or no beginning of any."""
    if not text.strip() or _is_json(text):
        return ""
    added = _closed(text)
    return added if _is_json(text + added) else ""


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False
    return True


def _closed(text: str) -> str:
    """Returns what closes `text`, if it is the beginning of a document; else something or other."""
    opened: list[str] = []
    before, last, is_open_string = "", "", False
    for token in _TOKEN.finditer(text):
        before, last = last, token[0]
        is_open_string = last[0] == '"' and not token[1]
        if last in _CLOSING:
            opened.append(last)
        elif last in {"}", "]"} and opened:
            opened.pop()
    is_object = bool(opened) and opened[-1] == "{"
    ends = "".join(_CLOSING[each] for each in reversed(opened))
    if last[:1] == '"':
        string = _string_end(last) if is_open_string else ""
        return string + (":null" if is_object and before in {"{", ","} else "") + ends
    if last == ",":
        return ('"":null' if is_object else "null") + ends
    if last == ":":
        return "null" + ends
    if last[:1] in {"{", "[", "}", "]"}:
        return ends
    return _scalar_end(last) + ends


def _string_end(string: str) -> str:
    begun = match[0] if (match := _BEGUN_ESCAPE.search(_WHOLE_ESCAPE.sub("", string))) else ""
    whole = string[: len(string) - len(begun)]
    if _ends_in_half(whole) and _LOW_SURROGATE.startswith(begun):
        return _LOW_SURROGATE[len(begun) :] + '"'  # half a character is none
    if not begun or begun == "\\":
        return begun + '"'
    filled = begun + "0" * (6 - len(begun))
    return filled[len(begun) :] + (_LOW_SURROGATE if _ends_in_half(filled) else "") + '"'


def _ends_in_half(string: str) -> bool:
    """Returns whether the last escape, at the end, is the first half of a character."""
    escapes = [escape for escape in _WHOLE_ESCAPE.finditer(string) if escape.end() == len(string)]
    return bool(escapes) and _HIGH_SURROGATE.match(escapes[0][0]) is not None


def _scalar_end(begun: str) -> str:
    literal = next((literal for literal in _LITERALS if literal.startswith(begun)), None)
    if literal is not None:
        return literal[len(begun) :]
    return "" if begun[-1].isdigit() else "0"
