"""The parameters of a tool: read from a method's signature once, checked at every call.

A model's arguments are read generously where it is clear what they mean, in this order, and the first reading that fits
the type wins:

1. as they are;
2. as msgspec's lax mode reads them: `"3"` and `3.0` as the integer 3, `"true"` as true;
3. a text as the JSON that it holds: models write `"[1, 2]"` where a list was asked for;
4. a number or boolean as text, where text was asked for;
5. `null` for a parameter that has a default: as if it had been left out.

A value that fits as it is is never reinterpreted, so a text that looks like a number stays a text.

Rule: what is wrong with a method is said when its class is defined; what is wrong with a call is said to the model, all of it
at once, with what would be right.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, Final

import msgspec

from greenroom.interfaces import ToolContext, ToolError
from greenroom.toolsets.schema import expectation, schemas_of

_SHOWN_CHARACTERS_MAX: Final = 120
_NAMES_SHOWN: Final = 20
_POSITIONAL_ONLY: Final = inspect.Parameter.POSITIONAL_ONLY
_VARIADIC: Final[Mapping[object, str]] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter that the model fills in."""

    name: str
    type: Any
    schema: dict[str, Any]
    required: bool


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """All parameters of a tool.

    Attributes:
        context_names: parameters that receive the `ToolContext` and that the model does not see.
    """

    parameters: tuple[Parameter, ...]
    context_names: tuple[str, ...] = ()

    def schema(self, descriptions: Mapping[str, str]) -> dict[str, Any]:
        """Returns the schema of the arguments; a description in the type itself goes before one of `descriptions`."""
        properties = {}
        for parameter in self.parameters:
            properties[parameter.name] = dict(parameter.schema)
            if parameter.name in descriptions and not _describes_itself(parameter):
                properties[parameter.name]["description"] = descriptions[parameter.name]
        return {
            "type": "object",
            "properties": properties,
            "required": [parameter.name for parameter in self.parameters if parameter.required],
            "additionalProperties": False,
        }

    def bind(self, arguments: Mapping[str, Any], context: ToolContext) -> dict[str, Any]:
        """Returns keyword arguments for the method.

        Raises:
            ToolError: the arguments do not fit; says everything that is wrong with them.
        """
        return dict.fromkeys(self.context_names, context) | self.fitted(arguments)

    def fitted(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the arguments as the types that the method declares.

        Raises:
            ToolError: they do not fit; says everything that is wrong with them.
        """
        bound: dict[str, Any] = {}
        wrong: list[str] = []
        for parameter in self.parameters:
            if parameter.name in arguments:
                value = arguments[parameter.name]
                try:
                    bound[parameter.name] = _fitted(value, parameter.type)
                except msgspec.ValidationError as error:
                    if value is not None or parameter.required:
                        wrong.append(_mismatch(parameter, value, error))
            elif parameter.required:
                wrong.append(f"{parameter.name} is missing: expected {expectation(parameter.schema)}")
        known = {parameter.name for parameter in self.parameters}
        unknown = [name for name in arguments if name not in known]
        wrong.extend(f"there is no parameter {_shown(name)}" for name in unknown[:_NAMES_SHOWN])
        if wrong:
            listing = "\n".join(f"- {line}" for line in wrong)
            raise ToolError(f"The arguments do not fit, and nothing was done.\n{listing}\n{self._overview()}")
        return bound

    def _overview(self) -> str:
        names = [p.name if p.required else f"{p.name} (optional)" for p in self.parameters]
        return f"The parameters are: {', '.join(names)}." if names else "It takes no parameters."


def read_signature(function: Callable[..., Any], names: Mapping[str, Any], where: str) -> Signature:
    """Returns the signature of an undecorated method.

    Args:
        function: the method, as a plain function.
        names: what annotations may name beside the globals of the function's module.
        where: `Class.method`, for messages.

    Raises:
        TypeError: it cannot be the signature of a tool; names the parameter and says what would be right.
    """
    raw = list(inspect.signature(function).parameters.values())
    if not raw or raw[0].kind in _VARIADIC:
        raise TypeError(f"{where} takes no self: a tool is an ordinary method, `async def method(self, ...)`")
    hints: dict[str, Any] = {}
    context_names: list[str] = []
    for parameter in raw[1:]:
        hint = _hint(function, parameter, names, where)
        if hint is ToolContext:
            context_names.append(parameter.name)
        else:
            hints[parameter.name] = hint
    defaults = {parameter.name: parameter.default for parameter in raw[1:]}
    parameters = tuple(_parameter(name, hint, defaults[name], where) for name, hint in hints.items())
    return Signature(parameters=parameters, context_names=tuple(context_names))


def _hint(function: Callable[..., Any], parameter: inspect.Parameter, names: Mapping[str, Any], where: str) -> Any:
    """Returns the resolved annotation of a parameter."""
    place = f"{where}: parameter {parameter.name!r}"
    if stars := _VARIADIC.get(parameter.kind):
        raise TypeError(
            f"{place} is `{stars}{parameter.name}`: a model is told every parameter by name and type; spell them out"
        )
    if parameter.kind is _POSITIONAL_ONLY:
        raise TypeError(f"{place} is positional-only: arguments arrive by name; remove the `/`")
    if parameter.annotation is inspect.Parameter.empty:
        raise TypeError(f"{place} has no annotation: write its type, for example `{parameter.name}: str`")
    # One at a time, so that the message names the parameter, and so that a return type nobody needs may be unresolvable.
    holder = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    origin = inspect.unwrap(function).__globals__
    try:
        hint = typing.get_type_hints(holder, origin, dict(names), include_extras=True)[parameter.name]
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise TypeError(
            f"{place} is annotated {parameter.annotation!r}, which cannot be resolved ({error}): "
            "define or import the type above the class, and not under TYPE_CHECKING"
        ) from error
    bare = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
    if bare is ToolContext:
        return ToolContext
    if ToolContext in typing.get_args(bare):
        raise TypeError(
            f"{place} is annotated {hint!r}: write `{parameter.name}: ToolContext` alone; it is always given"
        )
    return hint


def _parameter(name: str, hint: Any, default: Any, where: str) -> Parameter:
    try:
        [schema] = schemas_of([hint])
    except TypeError as error:
        raise TypeError(
            f"{where}: parameter {name!r} has the type {hint!r}, which a model cannot fill in ({_last_line(error)}): use "
            "str, int, float, bool, Literal, Enum, list, dict, tuple, unions of them, a msgspec.Struct, a dataclass or a "
            "TypedDict"
        ) from error
    required = default is inspect.Parameter.empty
    if not required and (shown := _json_of(default)) is not None:
        schema["default"] = msgspec.json.decode(shown)
    return Parameter(name=name, type=hint, schema=schema, required=required)


def _describes_itself(parameter: Parameter) -> bool:
    # A description that comes from the docstring of the type is the worse one: it does not know what it is used for.
    metadata = getattr(parameter.type, "__metadata__", ())
    return any(isinstance(meta, msgspec.Meta) and meta.description for meta in metadata)


def _json_of(value: Any) -> bytes | None:
    """Returns `value` as JSON, or `None` where it has none: a default that nobody can be shown."""
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError):
        return None


def _fitted(value: Any, hint: Any) -> Any:
    """Returns `value` as `hint`, by the readings of the module docstring.

    Raises:
        msgspec.ValidationError: no reading fits; it is the error of the first one.
    """
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        for read in _other_readings(value, hint):
            try:
                return read()
            except msgspec.DecodeError:  # also its subclass ValidationError
                continue
        raise error from None


def _other_readings(value: Any, hint: Any) -> Iterator[Callable[[], Any]]:
    yield lambda: msgspec.convert(value, hint, strict=False)
    if isinstance(value, str):
        yield lambda: msgspec.json.decode(value.encode("utf-8", "replace"), type=hint, strict=False)
    elif isinstance(value, bool | int | float):
        yield lambda: msgspec.convert(msgspec.json.encode(value).decode(), hint)


def _mismatch(parameter: Parameter, value: Any, error: msgspec.ValidationError) -> str:
    reason, _, path = str(error).partition(" - at `$")
    place = parameter.name + path.rstrip("`")
    return f"{place}: {reason[:1].lower()}{reason[1:]}; got {_shown(value)}, expected {expectation(parameter.schema)}"


def _shown(value: Any) -> str:
    text = (_json_of(value) or repr(value).encode("utf-8", "replace")).decode("utf-8", "replace")
    return text if len(text) <= _SHOWN_CHARACTERS_MAX else f"{text[:_SHOWN_CHARACTERS_MAX]}..."


def _last_line(error: Exception) -> str:
    # msgspec begins with advice on its own API; what is wrong stands at the end.
    return str(error).strip().splitlines()[-1]
