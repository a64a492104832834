"""JSON schemas in the one dialect that every provider and local server takes.

A schema that is perfectly valid is still refused or misread by some of them: references (`$ref`, `$defs`), arrays that do
not say what they hold, tuples given by position, enumerations without a type. So a schema is written without them.

Rule: a portable schema may say less than the type behind it, never more; what it leaves out, the check of the arguments
still holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

_ONE_SCHEMA: Final = frozenset({"items", "additionalProperties", "propertyNames", "not", "contains"})
_MANY_SCHEMAS: Final = frozenset({"anyOf", "oneOf", "allOf"})
_NAMED_SCHEMAS: Final = frozenset({"properties", "patternProperties"})
_DROPPED: Final = frozenset({"discriminator", "$defs"})
_FOR_READERS: Final = frozenset({"title", "description", "default", "examples"})
_JSON_TYPES: Final[dict[type, str]] = {str: "string", int: "integer", bool: "boolean", float: "number"}


def schemas_of(types: Sequence[Any]) -> list[dict[str, Any]]:
    """Returns one portable schema for each type.

    Raises:
        TypeError: a type that JSON cannot carry, or that msgspec cannot check.
    """
    schemas, shared = msgspec.json.schema_components(types)
    return [_portable(schema, shared, ()) for schema in schemas]


def expectation(schema: Mapping[str, Any]) -> str:
    """Returns what a schema asks for, in few words: for a message to the model that did not give it."""
    match schema:
        case {"enum": [*values]}:
            return "one of " + ", ".join(_compact(value) for value in values)
        case {"anyOf": [*choices]}:
            return " or ".join(expectation(choice) for choice in choices)
        case _:
            return _compact(_bare(schema)) if schema else "any JSON value"


def _portable(schema: Mapping[str, Any], shared: Mapping[str, Any], around: tuple[str, ...]) -> dict[str, Any]:
    """Returns `schema` with its references filled in; `around` are the names of the ones that we stand in."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        if name in around:
            # A type that contains itself has no finite schema without references: name it instead of unrolling it.
            inner: dict[str, Any] = {"type": shared[name].get("type", "object"), "description": f"again a {name}"}
        else:
            inner = _portable(shared[name], shared, (*around, name))
        return inner | _portable(beside, shared, around)
    result: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _DROPPED:
            continue
        if key in _ONE_SCHEMA and isinstance(value, Mapping):
            result[key] = _portable(value, shared, around)
        elif key in _MANY_SCHEMAS:
            result[key] = _flat(key, [_portable(choice, shared, around) for choice in value])
        elif key in _NAMED_SCHEMAS:
            result[key] = {name: _portable(inner, shared, around) for name, inner in value.items()}
        elif key == "prefixItems":
            result["items"] = _any_of([_portable(item, shared, around) for item in value])
        elif key != "items" or "prefixItems" not in schema:
            result[key] = value
    if result.get("type") == "array":
        result.setdefault("items", {})
    if "enum" in result and "type" not in result and (name := _common_type(result["enum"])):
        result["type"] = name
    return result


def _flat(key: str, choices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns choices of which none is itself nothing but a list of choices."""
    return [each for choice in choices for each in (choice[key] if set(choice) == {key} else [choice])]


def _any_of(choices: list[dict[str, Any]]) -> dict[str, Any]:
    different = [choice for place, choice in enumerate(choices) if choice not in choices[:place]]
    return different[0] if len(different) == 1 else {"anyOf": different} if different else {}


def _common_type(values: Sequence[Any]) -> str | None:
    types = {type(value) for value in values}
    return _JSON_TYPES.get(types.pop()) if len(types) == 1 else None


def _bare(schema: Any) -> Any:
    if isinstance(schema, Mapping):
        return {
            key: {name: _bare(inner) for name, inner in value.items()} if key in _NAMED_SCHEMAS else _bare(value)
            for key, value in schema.items()
            if key not in _FOR_READERS
        }
    return [_bare(item) for item in schema] if isinstance(schema, list) else schema


def _compact(value: Any) -> str:
    return msgspec.json.encode(value).decode()
