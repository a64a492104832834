r"""The arguments of a tool call, read as the model meant them: one reading for everything that runs, asks about, shows or sends back a call.

Almost all arguments are a JSON object, and are decoded as that. Models and the servers between write other things, too. What has
exactly one meaning is read:

* line ends, tabs and other control characters within a text, as they are;
* arguments that were encoded again, once or more often: `"{\"a\": 1}"`, also where the outer quotes are missing;
* `{}` before the arguments (a placeholder that a server left in), and the same object several times in a row;
* `null`, an empty text or nothing, for no arguments;
* a code fence around the object; markers of chat templates and braces too many after it: `{"a": 1}</tool_call>`, `{"a": 1}}`;
* a comma after the last member or element; `True`, `False`, `None` and single quotes, as Python writes them; names without quotes,
  as JavaScript does, if all of them are;
* `\'` for an apostrophe; a backslash before a letter that no language escapes (`"\d+"`, `"C:\Users\Code"`), for itself, if the text has
  no other backslash than before quotes: in `"C:\Users\new"` nothing tells whether `\n` is a line end.

What has two meanings, or none, is refused: different objects in a row, an object that is not closed, `\_`, a name twice with
different values, at any depth and however it is escaped. `{"arguments": {...}}` is the object that it is: it may be the name of a
parameter, and the tool says if it is not.

What a person approves and what goes back to a provider is what runs, so a text is passed on as it is only if every reader finds the same
in it. Else the object is written again: a number with more digits than it keeps (`9007199254740993.0`), a name twice with one value.

Rule: pure, and never guesses. Takes time in proportion to the text, which is bounded where it is written; what is not JSON is read up
to a number of values, and nothing is read beyond a depth.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NoReturn

import msgspec

from greenroom.limits import ARGUMENTS_ENCODED_MAX, ARGUMENTS_REPAIRED_VALUES_MAX, JSON_DEPTH_MAX

_BLANK: Final = re.compile(r"[\s\ufeff]*+")
_MARKER: Final = r"<[|\uff5c][^<>\s]{1,64}[|\uff5c]>"
_BEFORE: Final = re.compile(
    rf"(?:(?:```[A-Za-z0-9_-]{{0,16}}|<[A-Za-z_][\w:.-]{{0,63}}>|{_MARKER}|\[[A-Z_]{{3,32}}\])[\s\ufeff]*+)*+"
)
"""Code fences, and markers of chat templates."""
_AFTER: Final = re.compile(rf"(?:(?:```|</[A-Za-z_][\w:.-]{{0,63}}>|{_MARKER}|\[/[A-Z_]{{3,32}}\])[\s\ufeff]*+)*+")
_BRACES: Final = re.compile(r"[}\s\ufeff]*+")
_ESCAPED: Final = re.compile(r"\{\s*\\\"")
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_ORDINARY: Final = re.compile(r'(?:[^"\\]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+')
_TEXT: Final = re.compile(r"""("(?:[^"\\]++|\\.)*+")|('(?:[^'\\]++|\\.)*+')""", re.DOTALL)
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?(?![\w.])")
_WORD: Final = re.compile(r"[^\W\d][\w$-]{0,127}+")
_BACKSLASH: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|N\{|.)", re.DOTALL)
_WORDS: Final = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_ESCAPES: Final = {'"': '"', "'": "'", "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_HEX: Final = frozenset("0123456789abcdefABCDEF")
_LITERAL: Final = frozenset("cdghijklmopqswyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
"""Letters that no language escapes: not a, e, v and x (bells, escapes and bytes in some)."""
_FRACTIONS: Final = re.compile(r"-?[0-9]++[.eE][0-9.eE+-]*+")
"""Numbers that are read as floating-point ones."""
_NUMBERS_MAX: Final = 1_000
_NUMBER_CHARACTERS_MAX: Final = 64
"""Beyond them nobody looks whether a number is kept: the object is written again."""
_SHOWN_CHARACTERS: Final = 40
_TOO_DEEP: Final = f"they have more than {JSON_DEPTH_MAX} levels of nesting"
_NO_NAME: Final = "a name in double quotes is expected here (a quote in a text before may lack its backslash)"
_KINDS: Final = {bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list"}


class UnreadableArguments(ValueError):
    """Arguments that have no meaning, or more than one; says which part of them and, where that helps, what would be right."""


def read_arguments(text: str) -> dict[str, Any]:
    """Returns the arguments of a call, by their one meaning.

    Args:
        text: as the model wrote them.

    Raises:
        UnreadableArguments: there is none, or there are several.
    """
    return _read(text, 0)


def whole_object(text: str) -> dict[str, Any] | None:
    """Returns the JSON object that `text` is, or `None` if it is not one: nothing is repaired.

    It says whether a text is complete, not what it means: of a name that appears twice the last value is there.
    """
    try:
        value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def shown_arguments(text: str) -> str:
    """Returns the arguments as people should see them: JSON that says what is run, or the text as it is if it cannot be."""
    try:
        return _written(text)
    except UnreadableArguments:
        return text


def sent_text(text: str) -> str:
    """Returns what `sent_arguments` does, as JSON; the model's own text, if it says that and nothing else."""
    try:
        return _written(text)
    except UnreadableArguments:
        return msgspec.json.encode(sent_arguments(text)).decode()


def sent_arguments(text: str) -> dict[str, Any]:
    """Returns the object that goes back to a provider, which takes nothing else.

    That is what was run. What could not be run stays readable for the model, as the text `invalid_json`.
    """
    try:
        return read_arguments(text)
    except UnreadableArguments:
        return {"invalid_json": text}


def _read(text: str, level: int) -> dict[str, Any]:
    """Returns the object that a text is or means, which was encoded `level` times."""
    if level > ARGUMENTS_ENCODED_MAX:
        raise UnreadableArguments(f"they were encoded as a JSON text more than {ARGUMENTS_ENCODED_MAX} times")
    value = whole_object(text)
    if value is None:
        return _meant(text, level)
    _check_depth(text)
    own = msgspec.json.encode(value)
    is_clear = _is_the_same(text, own) or _without_strings(text).count(":") == _members(own)
    return value if is_clear else _meant(text, level)  # a name twice: decoders take the last value, and people see both


def _check_depth(text: str) -> None:
    # Decoders give up at a depth that depends on where they are called: all readers have to give up at the same one.
    if text.count("[") + text.count("{") > JSON_DEPTH_MAX:
        depth = 0
        for bracket in _without_strings(text).encode().translate(None, _NOT_BRACKETS):
            depth += 1 if bracket in b"[{" else -1
            if depth > JSON_DEPTH_MAX:
                raise UnreadableArguments(_TOO_DEEP)


def _written(text: str) -> str:
    """Returns the arguments as JSON that everybody reads alike: the text itself, if it is such."""
    value = whole_object(text)
    if value is not None:
        _check_depth(text)
        own = msgspec.json.encode(value)
        if _is_the_same(text, own) or _says_the_same(text, own):
            return text
    return msgspec.json.encode(read_arguments(text)).decode()


def _is_the_same(text: str, own: bytes) -> bool:
    """Returns whether a JSON text is how we write its value, apart from white space."""
    return msgspec.json.format(text.encode(), indent=-1) == own


def _says_the_same(text: str, own: bytes) -> bool:
    """Returns whether a JSON text says no more than how we write its value: no name twice, no digits that are not kept."""
    without_texts = _without_strings(text)
    numbers = _FRACTIONS.findall(without_texts)
    return without_texts.count(":") == _members(own) and len(numbers) <= _NUMBERS_MAX and all(map(_is_kept, numbers))


def _without_strings(text: str) -> str:
    """Returns what stands outside of the strings of a JSON text."""
    if "\\" in text:
        text = text.replace("\\\\", "").replace('\\"', "")
    return "".join(text.split('"')[::2])


def _members(own: bytes) -> int:
    return _without_strings(own.decode()).count(":")


def _is_kept(number: str) -> bool:
    if len(number) > _NUMBER_CHARACTERS_MAX:
        return False
    try:
        return Decimal(number) == Decimal(repr(float(number)))
    except InvalidOperation:  # an exponent beyond all
        return False


def _meant(text: str, level: int) -> dict[str, Any]:
    """Returns what a text means that is no JSON object."""
    text = text.strip().lstrip("\ufeff")
    if not text:
        return {}
    if _ESCAPED.match(text):  # encoded again, without the quotes around it
        text = f'"{text}"'
    found = [_object_of(value, level) for value in _Reader(text).values()]
    while len(found) > 1 and not found[0]:
        del found[0]  # a placeholder, which a server put before the arguments
    # Compared as JSON: for Python, 1 is True.
    if len(found) > 1 and len({msgspec.json.encode(value, order="deterministic") for value in found}) > 1:
        raise UnreadableArguments(
            f"they are {len(found)} different objects in a row; make a call of its own for each, or put all parameters in one"
        )
    return found[0]


def _object_of(value: Any, level: int) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    if isinstance(value, str):
        try:
            return _read(value, level + 1)
        except UnreadableArguments as error:
            if level:
                raise
            raise UnreadableArguments(
                f"they are encoded as a JSON text that holds no object of parameters: {error}"
            ) from error
    raise UnreadableArguments(f"they are {_KINDS[type(value)]}, not an object")


class _Reader:
    """Reads the values of a text that is almost JSON, once from its beginning to its end.

    Args:
        text: stripped, and not empty.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._count = 0
        self._has_bare_names = False
        self._has_quoted_names = False

    def values(self) -> list[Any]:
        """Returns all values; mostly one.

        Raises:
            UnreadableArguments: something else stands there.
        """
        self._skip(_BEFORE)
        values = [self._value(0)]
        while self._peek() in {"{", '"'}:
            values.append(self._value(0))
        if isinstance(values[-1], dict):
            self._skip(_BRACES)
        self._skip(_AFTER)
        if self._peek():
            self._refuse("there is something after the object")
        return values

    def _skip(self, pattern: re.Pattern[str]) -> None:
        self._peek()
        if found := pattern.match(self._text, self._at):
            self._at = found.end()

    def _peek(self) -> str:
        """Returns the next character that is not blank; empty at the end."""
        found = _BLANK.match(self._text, self._at)
        assert found is not None, "it matches the empty text"
        self._at = found.end()
        return self._text[self._at : self._at + 1]

    def _refuse(self, why: str, at: int | None = None) -> NoReturn:
        at = self._at if at is None else at
        if at >= len(self._text):
            raise UnreadableArguments(f"at the end, {why}")
        shown = self._text[at : at + _SHOWN_CHARACTERS].encode("utf-8", "replace").decode()
        raise UnreadableArguments(f"at character {at + 1} ({shown!r}), {why}")

    def _spend(self, count: int) -> None:
        self._count += count
        if self._count > ARGUMENTS_REPAIRED_VALUES_MAX:
            raise UnreadableArguments(
                f"they are not JSON, or have a name twice, and that is mended in up to {ARGUMENTS_REPAIRED_VALUES_MAX} values only"
            )

    def _value(self, depth: int) -> Any:
        self._spend(1)
        match self._peek():
            case "":
                self._refuse("a value is missing")
            case "{" | "[" if depth >= JSON_DEPTH_MAX:
                raise UnreadableArguments(_TOO_DEEP)
            case "{":
                return self._object(depth)
            case "[":
                return self._list(depth)
            case '"' | "'":
                return self._string()
            case character if character in "-0123456789":
                return self._number()
        found = _WORD.match(self._text, self._at)
        if found is None or found[0] not in _WORDS:
            self._refuse("a JSON value is expected here")
        self._at = found.end()
        return _WORDS[found[0]]

    def _object(self, depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        began = self._at
        self._at += 1
        while self._peek() != "}":
            at = self._at
            name = self._name(began)
            if self._peek() != ":":
                self._refuse(f"a colon should follow the name {name[:_SHOWN_CHARACTERS]!r}")
            self._at += 1
            value = self._value(depth + 1)
            if name in members and msgspec.json.encode(members[name]) != msgspec.json.encode(value):
                self._refuse(f"the name {name[:_SHOWN_CHARACTERS]!r} appears twice, with different values", at)
            members[name] = value
            self._separator("}", "an object", began)
        self._at += 1
        return members

    def _list(self, depth: int) -> list[Any]:
        elements = []
        began = self._at
        self._at += 1
        while self._peek() != "]":
            elements.append(self._value(depth + 1))
            self._separator("]", "a list", began)
        self._at += 1
        return elements

    def _separator(self, end: str, what: str, began: int) -> None:
        match self._peek():
            case ",":
                self._at += 1
            case character if character == end:
                pass
            case "":
                self._refuse(f"{what} is never closed", began)
            case _:
                self._refuse(f"a comma or {end!r} is expected here")

    def _name(self, began: int) -> str:
        at = self._at
        if not self._peek():
            self._refuse("an object is never closed", began)
        if self._text[self._at] in "\"'":
            name, self._has_quoted_names = self._string(), True
        else:
            found = _WORD.match(self._text, self._at)
            # A name of a word is taken for one only where it is not also a value.
            if found is None or found[0] in _WORDS:
                self._refuse(_NO_NAME)
            name, self._has_bare_names = found[0], True
            if self._has_quoted_names:
                self._refuse(_NO_NAME)
            self._at = found.end()
        if self._has_quoted_names and self._has_bare_names:
            self._refuse("the names before have no quotes and this one has", at)
        return name

    def _number(self) -> Any:
        found = _NUMBER.match(self._text, self._at)
        if found is None:
            self._refuse("this is no JSON number")
        try:
            value = msgspec.json.decode(found[0])
        except msgspec.MsgspecError:
            self._refuse("this number is out of range")
        self._at = found.end()
        return value

    def _string(self) -> str:
        found = _TEXT.match(self._text, self._at)
        if found is None:
            self._refuse("a text is never closed")
        body = found[0][1:-1]
        value = self._unescaped(body, self._at + 1) if "\\" in body else body
        try:
            value.encode()
        except UnicodeError:
            self._refuse("this text has half of a surrogate pair, which is no character")
        self._at = found.end()
        return value

    def _unescaped(self, body: str, start: int) -> str:
        """Returns what a text says. Its backslashes escape, or all that could stand for themselves do."""
        if _ORDINARY.fullmatch(body):
            return str(json.loads(f'"{body}"', strict=False))
        self._spend(body.count("\\"))
        literal: re.Match[str] | None = None
        other: re.Match[str] | None = None
        for found in _BACKSLASH.finditer(body):
            escaped = found[1]
            if escaped == '"':
                continue
            if len(escaped) == 1 and (
                escaped in _LITERAL or (escaped == "u" and body[found.end() : found.end() + 1] not in _HEX)
            ):
                literal = literal or found
            elif escaped in _ESCAPES or (escaped[0] == "u" and len(escaped) > 1):
                other = other or found
            else:
                self._refuse(
                    "this backslash is no escape of JSON; write \\\\ if a backslash is meant, and nothing otherwise",
                    start + found.start(),
                )
        if literal is not None and other is not None:
            self._refuse(
                "some backslashes in this text stand for themselves and some may not; write \\\\ for each that does",
                start + literal.start(),
            )
        if literal is not None:
            return body.replace('\\"', '"')
        return _joined(_BACKSLASH.sub(_character, body))


def _character(found: re.Match[str]) -> str:
    escaped = found[1]
    return _ESCAPES[escaped] if len(escaped) == 1 else chr(int(escaped[1:], 16))


def _joined(text: str) -> str:
    """Returns the text with surrogate pairs as the characters that they are, and half of one as it is."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
