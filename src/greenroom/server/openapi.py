"""The OpenAPI document, made of the rows and types that validate requests.

Rule: nothing is described here that is not enforced, and nothing by hand that a type says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from greenroom.limits import ID_PATTERN
from greenroom.server.bodies import Error
from greenroom.server.operation import BYTES, STREAM, Operation

_REF: Final = "#/components/schemas/{name}"
_PARAMETER: Final = re.compile(r"\{(\w+)(:path)?\}")
_SESSION_ID: Final = {"type": "string", "pattern": f"^{ID_PATTERN}$"}
_ERRORS: Final[Mapping[int, str]] = {
    400: "The request cannot be read.",
    401: "No token, or one that is not accepted.",
    403: "From a page or for a host that is not allowed.",
    404: "No such thing, or not yours.",
    405: "Not possible here.",
    408: "The request took too long to arrive.",
    409: "The session is answering, or has changed meanwhile.",
    413: "Larger than is taken.",
    415: "Of another media type.",
    422: "A value is malformed or out of its range.",
    429: "Too much; `Retry-After` says when to try again.",
    500: "The server failed.",
    501: "A part of the contract that this version refuses.",
    502: "A provider failed.",
    503: "Cannot be answered now; `Retry-After` says when to try again.",
}


def document(operations: Sequence[Operation], version: str) -> bytes:
    """Returns the document as JSON."""
    kinds = [Error]
    for operation in operations:
        kinds.extend(kind for kind in (operation.body, operation.query, *operation.answers.values()) if _is_type(kind))
    unique = list(dict.fromkeys(kinds))
    schemas, components = msgspec.json.schema_components(unique, ref_template=_REF)
    by_kind = dict(zip(unique, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = _PARAMETER.sub(r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _described(operation, by_kind, components)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Greenroom",
                "version": version,
                "description": "Agent sessions that are never lost, corrupted, leaked or run twice.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "security": [{"bearer": []}, {"cookie": []}],
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {
                    "bearer": {"type": "http", "scheme": "bearer"},
                    "cookie": {"type": "apiKey", "in": "cookie", "name": "greenroom"},
                },
            },
        }
    )


def _described(operation: Operation, schemas: Mapping[Any, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _SESSION_ID if name == "session_id" else {"type": "string"},
        }
        for name, _ in _PARAMETER.findall(operation.path)
    ]
    if operation.query is not None:
        parameters.extend(_query_parameters(schemas[operation.query], components))
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": f"{operation.handle.__module__.rpartition('.')[2].removesuffix('_routes')}_{operation.handle.__name__}",
        "tags": [operation.tag],
        "parameters": parameters,
        "responses": _responses(operation, schemas),
    }
    if operation.body is not None:
        content = {"application/json": {"schema": schemas[operation.body]}}
        described["requestBody"] = {"required": not operation.has_optional_body, "content": content}
    elif operation.raw_body:
        media_types = [BYTES if media_type == "*/*" else media_type for media_type in operation.raw_body]
        described["requestBody"] = {"required": True, "content": {media_type: {} for media_type in media_types}}
    if operation.is_public:
        described["security"] = []
    return described


def _responses(operation: Operation, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, kind in operation.answers.items():
        responses[str(status)] = {"description": HTTPStatus(status).phrase}
        if isinstance(kind, str):
            schema = {"type": "string"} if kind == STREAM else {}
            responses[str(status)]["content"] = {kind: {"schema": schema} if schema else {}}
        elif kind is not None:
            responses[str(status)]["content"] = {"application/json": {"schema": schemas[kind]}}
    for status, description in _ERRORS.items():
        content = {"application/json": {"schema": schemas[Error]}}
        responses.setdefault(str(status), {"description": description, "content": content})
    return responses


def _query_parameters(schema: Mapping[str, Any], components: Mapping[str, Any]) -> list[dict[str, Any]]:
    resolved = components[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    required = resolved.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _without_null(value)}
        for name, value in resolved.get("properties", {}).items()
    ]


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter that is left out is left out: there is no null in a query."""
    found = {name: value for name, value in schema.items() if name != "default" or value is not None}
    if "anyOf" in found:
        kept = [option for option in found["anyOf"] if option.get("type") != "null"]
        found = kept[0] if len(kept) == 1 else found | {"anyOf": kept}
    return found


def _is_type(kind: Any) -> bool:
    return kind is not None and not isinstance(kind, str)
