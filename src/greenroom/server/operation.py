"""What can be asked of the server: one row for each method of each path.

A row says how a request is validated and how it is answered; routing, validation and the OpenAPI document are made from the same
rows.

Rule: what is not in a row does not exist: no route, no parameter, no field.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from greenroom.server.answers import Answer
from greenroom.server.call import Call
from greenroom.server.refusal import Refusal
from greenroom.server.words import refused_value

Handle = Callable[[Call], Awaitable[Answer]]

STREAM: Final = "text/event-stream"
BYTES: Final = "application/octet-stream"
WITH_FILES: Final = "request_body_bytes_max"
"""The bound of a body that may carry attachments."""
WITH_TEXT: Final = "text_body_bytes_max"
"""The bound of a body that carries a message, or arguments of a tool call."""
_QUERY_FIELDS_MAX: Final = 50


class NoQuery(msgspec.Struct, forbid_unknown_fields=True):
    """No parameters."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path.

    Attributes:
        path: as Starlette writes it.
        summary: one line for people.
        tag: the chapter of the documentation.
        body: the type of the JSON body; `None` takes none.
        has_optional_body: the body may be left out.
        raw_body: the media types of a body that is not JSON.
        bytes_limit: name of the limit that bounds the body; by default that of a body that carries neither files nor long texts.
        query: the type of the parameters; `None` takes any and looks at none.
        answers: by status, the type of the JSON, or a media type, or `None` for no body.
        is_public: needs no user.
        is_for_own_pages: a browser may ask for it only from a page of this server.
        is_for_operator: only with the server's own token.
        message: type of the body's messages, where the body is of a protocol that has more than is read here: the client is told what is not.
        is_turn: begins a turn: refused while the server drains, and counted as a message.
    """

    method: str
    path: str
    handle: Handle
    summary: str
    tag: str
    body: Any = None
    has_optional_body: bool = False
    raw_body: tuple[str, ...] = ()
    bytes_limit: str = "json_body_bytes_max"
    query: type[msgspec.Struct] | None = NoQuery
    answers: Mapping[int, Any] = {}
    is_public: bool = False
    is_for_own_pages: bool = False
    is_for_operator: bool = False
    message: type[msgspec.Struct] | None = None
    is_turn: bool = False


def unread_members(
    kind: type[msgspec.Struct], body: bytes | bytearray, *, message: type[msgspec.Struct]
) -> tuple[str, ...]:
    """Returns the names of members of a JSON body that its type does not have and therefore does not read.

    Args:
        kind: of the body.
        body: which was decoded as that already.
        message: the type of the body's messages. New ones stand at the end: there each of a person's is looked at too.
    """
    members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    names = dict.fromkeys(_unread(_names(kind), members))
    raws = msgspec.json.decode(members.get("messages") or b"[]", type=list[msgspec.Raw])
    if "message" in _names(kind) and bytes(members.get("message", b"")).startswith(b"{"):
        raws = [members["message"]]
    for raw in reversed(raws):
        said = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        if bytes(said["role"]) != b'"user"':
            break
        names |= dict.fromkeys(f"messages.{name}" for name in _unread(_names(message), said))
    return tuple(names)


@cache
def _names(kind: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(field.encode_name for field in msgspec.structs.fields(kind))


def _unread(known: AbstractSet[str], members: Mapping[str, msgspec.Raw]) -> list[str]:
    return [name for name, value in members.items() if name not in known and bytes(value) not in _EMPTY]


_EMPTY: Final = frozenset({b"null", b"{}", b"[]", b'""', b"false"})


def parsed_query(kind: type[msgspec.Struct] | None, query_string: bytes) -> Any:
    """Returns the parameters, checked.

    Raises:
        Refusal: 422, naming the parameter.
    """
    if kind is None:
        return None
    try:
        pairs = parse_qsl(
            query_string.decode("latin-1"), keep_blank_values=True, errors="strict", max_num_fields=_QUERY_FIELDS_MAX
        )
    except (ValueError, UnicodeDecodeError) as error:
        raise Refusal(422, "invalid_argument", f"the query string cannot be read: {error}") from error
    try:
        return msgspec.convert(dict(pairs), kind, strict=False)
    except msgspec.ValidationError as error:
        raise refused_value(kind, error, "query") from error


def parsed_body(kind: Any, body: bytes | bytearray) -> Any:
    """Returns the body, checked.

    Raises:
        Refusal: 400 for what is not JSON, 422 naming the field.
    """
    if not body or body.isspace():
        raise Refusal(400, "malformed_json", "there is no body", hint="send one JSON object in UTF-8")
    try:
        return _decoder(kind).decode(body)
    except msgspec.ValidationError as error:
        raise refused_value(kind, error, "body") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(
            400, "malformed_json", f"the body is not JSON: {error}", hint="send one JSON object in UTF-8"
        ) from error


_decoders: Final[dict[Any, msgspec.json.Decoder[Any]]] = {}


def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    if kind not in _decoders:
        _decoders[kind] = msgspec.json.Decoder(kind)
    return _decoders[kind]
