"""A class with decorated methods, and how it becomes something that a model can call.

    class Weather(Toolset):
        \"\"\"What the weather is.\"\"\"

        @tool(effect="pure")
        async def current(self, city: str, unit: Literal["C", "F"] = "C") -> str:
            \"\"\"Current weather in a city.\"\"\"

The docstring tells the model what the tool does, with a line for each parameter (Google style, or another of the usual
ones); the type hints tell what it may be given. A parameter annotated `ToolContext` is
filled in with the session, the user and the workspace of the call, and the model does not see it. A method returns text, or
anything that has a JSON form. It raises `ToolError` to tell the model what went wrong.

Rule: a tool is found in the table that is made when its class is defined, never by attribute name; what is wrong with a
class is a `TypeError` there and then.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from types import FunctionType
from typing import Any, ClassVar, Final, TypeVar, get_args, overload

import msgspec

from greenroom.events import Effect
from greenroom.interfaces import ToolContext
from greenroom.limits import NAME_PATTERN
from greenroom.messages import ToolSpec
from greenroom.toolsets.signature import Signature, read_signature

_Method = TypeVar("_Method", bound=Callable[..., Awaitable[Any]])

_MARK: Final = "_greenroom_tool"
_EFFECTS: Final[tuple[Effect, ...]] = get_args(Effect)
_METHOD_FORM: Final = "write `async def method(self, ...)` with @tool directly above it"


class _Mark(msgspec.Struct, frozen=True):
    effect: Effect
    name: str | None
    needs_approval: bool


@overload
def tool(method: _Method, /) -> _Method: ...
@overload
def tool(
    *, effect: Effect = "once", name: str | None = None, needs_approval: bool = False
) -> Callable[[_Method], _Method]: ...
def tool(
    method: _Method | None = None,
    /,
    *,
    effect: Effect = "once",
    name: str | None = None,
    needs_approval: bool = False,
) -> _Method | Callable[[_Method], _Method]:
    """Makes an async method of a `Toolset` something that a model can call.

    Args:
        method: given by Python where the decorator is written without parentheses.
        effect: what a second run of the same call would do, after a crash in the middle of the first. `pure`: it only looks.
            `idempotent`: nothing more than the first. `once`: harm, or nobody knows; such a call is never run again.
        name: what the model calls it; the method's own name if left out.
        needs_approval: a person is asked before it runs, unless the session's `approval` has a pattern for it.

    Raises:
        TypeError: it does not stand on a function.
    """

    def mark(method: _Method) -> _Method:
        if not isinstance(method, FunctionType | staticmethod | classmethod):
            raise TypeError(f"@tool stands on {type(method).__name__} {method!r}: {_METHOD_FORM}")
        setattr(method, _MARK, _Mark(effect, name, needs_approval))
        return method

    return mark if method is None else mark(method)


class Toolset:
    """A named group of tools: subclass it and decorate its async methods with `tool`.

    One instance serves all sessions, also at the same time: keep what belongs to a session by `context.session_id`, and let
    go of it in `close_session`.
    """

    _definitions: ClassVar[Mapping[str, _Definition]] = {}
    """By attribute name. Invariant: tool names are unique and valid."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._definitions = dict(_definitions(cls, _names_around_class()))
        _check_unique(cls.__name__, cls._definitions)

    @property
    def name(self) -> str:
        """The name by which sessions ask for it: the class name."""
        return type(self).__name__

    @property
    def description(self) -> str:
        """One line for people: the first of the docstring."""
        for cls in type(self).__mro__:
            if cls is Toolset:
                break
            if cls.__doc__ and cls.__doc__.strip():
                return cls.__doc__.strip().splitlines()[0].strip()
        return _in_words(self.name)

    def tools(self) -> Sequence[BoundTool]:
        """Returns the tools in the order of their definition, those of base classes first."""
        return [BoundTool(self, definition) for definition in self._definitions.values()]

    async def close_session(self, session_id: str) -> None:
        """Lets go of what is held for the session: nothing, unless a subclass says otherwise. Idempotent."""

    async def close(self) -> None:
        """Lets go of everything: nothing, unless a subclass says otherwise. Idempotent."""


class BoundTool:
    """A decorated method of one toolset instance, as `greenroom.interfaces.Tool`."""

    __slots__ = ("_definition", "_toolset")

    def __init__(self, toolset: Toolset, definition: _Definition) -> None:
        self._toolset = toolset
        self._definition = definition

    def __repr__(self) -> str:
        return f"<tool {self.spec.name!r} of {self._toolset.name}>"

    @property
    def spec(self) -> ToolSpec:
        """What the model is told."""
        return self._definition.spec

    @property
    def effect(self) -> Effect:
        """What a second run would do."""
        return self._definition.effect

    @property
    def needs_approval(self) -> bool:
        """Whether a person is asked before it runs."""
        return self._definition.needs_approval

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Accepts arguments that fit.

        Raises:
            ToolError: they do not; says everything that is wrong with them.
        """
        self._definition.signature.fitted(arguments)

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """Checks the arguments, runs the method, and returns its result as text.

        Raises:
            ToolError: the arguments do not fit, or the method raised it.
            Exception: whatever else the method raises.
        """
        bound = self._definition.signature.bind(arguments, context)
        return result_text(await self._definition.function(self._toolset, **bound))


def result_text(result: object) -> str:
    """Returns what a tool gave back as text for the model: never empty, and valid in UTF-8.

    Text stays as it is; `None` is "done"; what has a JSON form becomes compact JSON; anything else is what `str` says.
    """
    match result:
        case None:
            return "done"
        case str():
            text = result
        case _:
            text = _encoded(result)
    if not text.strip():
        return "(empty)"
    return text.encode("utf-8", "backslashreplace").decode()


class _Definition(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a tool when its class is defined."""

    function: Callable[..., Awaitable[Any]]
    spec: ToolSpec
    effect: Effect
    needs_approval: bool
    signature: Signature


def _definitions(cls: type[Toolset], around: Mapping[str, Any]) -> Iterator[tuple[str, _Definition]]:
    """Yields the tools of a class by attribute name.

    Raises:
        TypeError: one of them cannot be a tool.
    """
    attributes = dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base))
    inherited = {name: definition for base in reversed(cls.__mro__[1:]) for name, definition in _own(base).items()}
    # Functions are left out: a tool named `list` must not hide the type `list` from the annotations beside it.
    names = {**around, **{name: value for name, value in vars(cls).items() if not inspect.isroutine(value)}}
    for attribute in attributes:
        value = inspect.getattr_static(cls, attribute)
        function = getattr(value, "__func__", value)
        mark = getattr(function, _MARK, None) or getattr(value, _MARK, None)
        if not isinstance(mark, _Mark):
            if attribute in inherited and value is not None:
                raise TypeError(
                    f"{cls.__name__}.{attribute} replaces a tool without being one: decorate it with @tool, or set "
                    f"`{attribute} = None` to take the tool away"
                )
        elif attribute in inherited and inherited[attribute].function is value:
            yield attribute, inherited[attribute]
        else:
            yield attribute, _definition(cls, attribute, value, mark, names)


def _own(base: type) -> Mapping[str, _Definition]:
    return base._definitions if issubclass(base, Toolset) else {}  # noqa: SLF001 - of the same family


def _definition(cls: type[Toolset], attribute: str, value: Any, mark: _Mark, names: Mapping[str, Any]) -> _Definition:
    where = f"{cls.__name__}.{attribute}"
    if attribute in vars(Toolset):
        raise TypeError(
            f"{where}: Toolset itself has a member {attribute!r}; give the method another name and the tool "
            f"this one with @tool(name={attribute!r})"
        )
    if isinstance(value, staticmethod | classmethod):
        raise TypeError(f"{where} is a {type(value).__name__}: {_METHOD_FORM}")
    if inspect.isasyncgenfunction(value):
        raise TypeError(f"{where} is an async generator: return the whole result instead of yielding it")
    if not inspect.iscoroutinefunction(value):
        raise TypeError(f"{where} is not async: {_METHOD_FORM}")
    if mark.effect not in _EFFECTS:
        raise TypeError(f"{where}: there is no effect {mark.effect!r}; the effects are {', '.join(_EFFECTS)}")
    name = attribute if mark.name is None else mark.name
    if not re.fullmatch(NAME_PATTERN, str(name)):
        raise TypeError(
            f"{where}: a model cannot call a tool {name!r}: 1 to 64 letters, digits, '_' and '-' are allowed; "
            "give it such a name with @tool(name=...)"
        )
    signature = read_signature(value, names, where)
    description, about = _documentation(value, name)
    spec = ToolSpec(name=name, description=description, parameters=signature.schema(about))
    return _Definition(
        function=value, spec=spec, effect=mark.effect, needs_approval=bool(mark.needs_approval), signature=signature
    )


def _documentation(function: Callable[..., Any], name: str) -> tuple[str, dict[str, str]]:
    """Returns the description of a tool and those of its parameters, from a docstring of any of the usual styles."""
    # Imported here because it is needed by whoever defines tools, and not by everybody who knows what a toolset is.
    import docstring_parser

    text = inspect.getdoc(function) or ""
    try:
        parsed = docstring_parser.parse(text)
    except docstring_parser.ParseError:
        return text or _in_words(name), {}
    parts = [parsed.short_description, parsed.long_description]
    if parsed.returns and parsed.returns.description:
        parts.append(f"Returns: {_on_one_line(parsed.returns.description)}")
    description = "\n\n".join(part for part in parts if part)
    about = {param.arg_name: _on_one_line(param.description) for param in parsed.params if param.description}
    return description or _in_words(name), about


def _check_unique(class_name: str, definitions: Mapping[str, _Definition]) -> None:
    attributes: dict[str, str] = {}
    for attribute, definition in definitions.items():
        other = attributes.setdefault(definition.spec.name, attribute)
        if other != attribute:
            raise TypeError(
                f"{class_name}: {other} and {attribute} are both the tool {definition.spec.name!r}; "
                "give one of them another name with @tool(name=...)"
            )


def _names_around_class() -> Mapping[str, Any]:
    """Returns the local names where the class statement stands: a class in a function may use the types beside it."""
    frame = inspect.currentframe()
    while frame and (frame.f_globals is globals() or frame.f_code.co_name == "__init_subclass__"):
        frame = frame.f_back
    return dict(frame.f_locals) if frame else {}


def _encoded(result: object) -> str:
    try:
        encoded = msgspec.json.encode(result, enc_hook=str)
        # A date, an Enum, a UUID: JSON calls it a string, and as a text of its own it needs no quotes.
        return msgspec.json.decode(encoded, type=str) if encoded.startswith(b'"') else encoded.decode()
    except (TypeError, ValueError, RecursionError):
        return str(result)


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def _in_words(name: str) -> str:
    return name.replace("_", " ")
