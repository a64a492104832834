"""From a decorated method to what a model is told, and from what a model says to a call."""
# ruff: noqa: B006, FBT001, FBT002, PLR0917 - users write such methods

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import enum
import functools
import json
import subprocess
import sys
import uuid
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Optional, TypedDict

import msgspec
import pytest

from greenroom.interfaces import ToolContext, ToolError
from greenroom.toolsets.function import Toolset, result_text, tool


class Colour(enum.Enum):
    """A colour."""

    RED = "red"
    BLUE = "blue"


class Point(msgspec.Struct, forbid_unknown_fields=True):
    """A place."""

    x: int
    y: int = 0


@dataclasses.dataclass
class Box:
    corner: Point
    label: str = "box"


class Options(TypedDict, total=False):
    deep: bool


class Tree(msgspec.Struct):
    value: int
    children: list[Tree] = []


class Pair(NamedTuple):
    left: int
    right: str


class Cat(msgspec.Struct, tag="cat"):
    lives: int


class Dog(msgspec.Struct, tag="dog"):
    name: str


class Everything(Toolset):
    """Takes every type that there is.

    This is not part of the description.
    """

    @tool(effect="pure")
    async def take(
        self,
        text: str,
        number: int,
        context: ToolContext,
        ratio: float = 0.5,
        flag: bool = False,
        unit: Literal["C", "F"] = "C",
        colour: Colour = Colour.RED,
        names: list[str] = [],
        counts: dict[str, int] = {},
        pair: tuple[int, str] = (1, "a"),
        named_pair: Pair | None = None,
        maybe: str | None = None,
        older_maybe: Optional[int] = None,  # noqa: UP045 - people still write it
        either: int | str = 1,
        point: Point | None = None,
        box: Box | None = None,
        options: Options | None = None,
        pet: Cat | Dog | None = None,
        bounded: Annotated[int, msgspec.Meta(ge=1, le=5, description="From one to five.")] = 1,
        anything: Any = None,
        bare_list: list = [],  # type: ignore[type-arg]
        tree: Tree | None = None,
    ) -> list[Any]:
        """Takes it all.

        At some length.

        Args:
            text: A text
                over two lines.
            number: A number.
            bounded: Not this: the type says it better.
            colour: Which colour.

        Returns:
            What it was given.

        Raises:
            ToolError: never.
        """
        assert isinstance(context, str)
        return [
            text,
            number,
            ratio,
            flag,
            unit,
            colour,
            names,
            counts,
            pair,
            named_pair,
            maybe,
            older_maybe,
            either,
            point,
        ]


def only_tool(toolset: type[Toolset] | Toolset) -> Any:
    [found] = (toolset() if isinstance(toolset, type) else toolset).tools()
    return found


SCHEMA = only_tool(Everything).spec.parameters
CONTEXT: Any = "the context"


class TestWhatAModelIsTold:
    def test_a_toolset_is_named_after_its_class_and_described_by_its_first_line(self) -> None:
        assert Everything().name == "Everything"
        assert Everything().description == "Takes every type that there is."

    def test_a_toolset_without_a_docstring_is_described_by_its_name(self) -> None:
        class NoWords(Toolset):
            pass

        class Words(Toolset):
            """Some words."""

        class Inherited(Words):
            pass

        assert NoWords().description == "NoWords"
        assert Inherited().description == "Some words."

    def test_the_description_is_the_docstring_without_its_sections(self) -> None:
        description = only_tool(Everything).spec.description
        assert description == "Takes it all.\n\nAt some length.\n\nReturns: What it was given."

    def test_the_context_is_hidden(self) -> None:
        assert "context" not in SCHEMA["properties"]
        assert "ToolContext" not in json.dumps(SCHEMA)

    def test_required_are_those_without_a_default(self) -> None:
        assert SCHEMA["required"] == ["text", "number"]
        assert SCHEMA["additionalProperties"] is False

    def test_there_is_no_reference_left(self) -> None:
        text = json.dumps(SCHEMA)
        for word in ("$ref", "$defs", "discriminator", "prefixItems"):
            assert word not in text

    @pytest.mark.parametrize(
        ("name", "schema"),
        [
            ("text", {"type": "string", "description": "A text over two lines."}),
            ("ratio", {"type": "number", "default": 0.5}),
            ("flag", {"type": "boolean", "default": False}),
            ("unit", {"enum": ["C", "F"], "type": "string", "default": "C"}),
            ("names", {"type": "array", "items": {"type": "string"}, "default": []}),
            ("counts", {"type": "object", "additionalProperties": {"type": "integer"}, "default": {}}),
            ("maybe", {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}),
            ("older_maybe", {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None}),
            ("either", {"anyOf": [{"type": "integer"}, {"type": "string"}], "default": 1}),
            ("anything", {"default": None}),
            ("bare_list", {"type": "array", "items": {}, "default": []}),
        ],
    )
    def test_simple_types(self, name: str, schema: dict[str, Any]) -> None:
        assert SCHEMA["properties"][name] == schema

    def test_an_enum_is_filled_in_and_described_by_the_parameter(self) -> None:
        colour = SCHEMA["properties"]["colour"]
        assert colour["enum"] == ["blue", "red"]
        assert colour["type"] == "string"
        assert colour["default"] == "red"
        assert colour["description"] == "Which colour."

    def test_a_tuple_says_what_it_holds_without_positions(self) -> None:
        pair = {
            "type": "array",
            "minItems": 2,
            "maxItems": 2,
            "items": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        }
        assert SCHEMA["properties"]["pair"] == {**pair, "default": [1, "a"]}
        named = SCHEMA["properties"]["named_pair"]["anyOf"][0]
        assert {key: named[key] for key in pair} == pair

    def test_a_description_in_the_type_goes_first(self) -> None:
        bounded = SCHEMA["properties"]["bounded"]
        assert bounded == {
            "type": "integer",
            "minimum": 1,
            "maximum": 5,
            "description": "From one to five.",
            "default": 1,
        }

    def test_structs_and_dataclasses_are_filled_in(self) -> None:
        box = SCHEMA["properties"]["box"]["anyOf"][0]
        assert box["properties"]["corner"]["properties"]["x"] == {"type": "integer"}
        assert box["properties"]["corner"]["additionalProperties"] is False
        assert box["required"] == ["corner"]
        pets = [choice["properties"]["type"] for choice in SCHEMA["properties"]["pet"]["anyOf"][:2]]
        assert pets == [{"enum": ["cat"], "type": "string"}, {"enum": ["dog"], "type": "string"}]

    def test_a_type_that_contains_itself_is_named_instead_of_unrolled(self) -> None:
        tree = SCHEMA["properties"]["tree"]["anyOf"][0]
        assert tree["properties"]["children"]["items"] == {"type": "object", "description": "again a Tree"}

    @pytest.mark.parametrize(
        "docstring",
        [
            "Finds.\n\nArgs:\n    what: The thing.",
            "Finds.\n\n:param what: The thing.",
            "Finds.\n\nParameters\n----------\nwhat : str\n    The thing.",
            "Finds.\n\n@param what: The thing.",
        ],
        ids=["google", "rest", "numpy", "epydoc"],
    )
    def test_docstrings_of_all_usual_styles(self, docstring: str) -> None:
        async def find(self: Toolset, what: str) -> str:
            raise NotImplementedError

        find.__doc__ = docstring
        spec = only_tool(type("Finder", (Toolset,), {"find": tool(find)})).spec
        assert spec.description == "Finds."
        assert spec.parameters["properties"]["what"]["description"] == "The thing."

    def test_without_a_docstring_the_name_says_it(self) -> None:
        class Quiet(Toolset):
            @tool
            async def turn_left(self) -> None: ...

        assert only_tool(Quiet).spec.description == "turn left"

    def test_a_default_without_a_json_form_is_not_shown(self) -> None:
        class Odd(Toolset):
            @tool
            async def do(self, when: str = object()) -> None: ...  # type: ignore[assignment]

        assert only_tool(Odd).spec.parameters["properties"]["when"] == {"type": "string"}


class TestEffectsAndNames:
    def test_the_default_is_once(self) -> None:
        class Some(Toolset):
            @tool
            async def bare(self) -> None: ...

            @tool()
            async def called(self) -> None: ...

            @tool(effect="idempotent", name="other-name")
            async def named(self) -> None: ...

        tools = Some().tools()
        assert [(t.spec.name, t.effect) for t in tools] == [
            ("bare", "once"),
            ("called", "once"),
            ("other-name", "idempotent"),
        ]

    def test_undecorated_methods_are_not_tools(self) -> None:
        class Some(Toolset):
            @tool
            async def shown(self) -> None: ...

            async def hidden(self) -> None: ...

        assert [t.spec.name for t in Some().tools()] == ["shown"]

    def test_tools_are_inherited_replaced_and_taken_away(self) -> None:
        class Parent(Toolset):
            @tool(effect="pure")
            async def first(self) -> str:
                return "parent"

            @tool
            async def second(self) -> None: ...

        class Mixin:
            @tool
            async def third(self) -> None: ...

        class Child(Mixin, Parent):
            @tool(effect="idempotent")
            async def first(self) -> str:
                return f"child of {await super().first()}"

            second = None  # type: ignore[assignment]

        class Grandchild(Child):
            pass

        for cls in (Child, Grandchild):
            assert {(t.spec.name, t.effect) for t in cls().tools()} == {("first", "idempotent"), ("third", "once")}
        assert {t.spec.name for t in Parent().tools()} == {"first", "second"}

    def test_a_decorated_method_can_still_be_called_as_one(self) -> None:
        class Direct(Toolset):
            @tool(effect="pure")
            async def double(self, number: int) -> int:
                return number * 2

        assert asyncio.run(Direct().double(4)) == 8

    def test_a_decorator_beside_ours_may_wrap_the_method(self) -> None:
        def loud(method: Any) -> Any:
            @functools.wraps(method)
            async def wrapper(*args: Any, **kwargs: Any) -> str:
                return (await method(*args, **kwargs)).upper()

            return wrapper

        class Wrapped(Toolset):
            @loud
            @tool(effect="pure")
            async def say(self, word: str) -> str:
                return word

            @tool(effect="pure")
            @loud
            async def shout(self, word: str) -> str:
                return word

        for each in Wrapped().tools():
            assert asyncio.run(each.call({"word": "ha"}, CONTEXT)) == "HA"


class TestAnnotationsOfUsers:
    """This module has `from __future__ import annotations`: every annotation here is a text."""

    def test_types_beside_the_class_in_a_function(self) -> None:
        class Mode(enum.Enum):
            FAST = "fast"

        class Local(Toolset):
            @tool
            async def go(self, mode: Mode) -> None: ...

        assert only_tool(Local).spec.parameters["properties"]["mode"]["enum"] == ["fast"]

    def test_types_inside_of_the_class(self) -> None:
        class Outer(Toolset):
            Speed = Literal["slow", "fast"]

            class Mode(enum.Enum):
                ON = "on"

            @tool
            async def go(self, mode: Mode, speed: Speed) -> None: ...

        assert set(only_tool(Outer).spec.parameters["properties"]) == {"mode", "speed"}

    def test_a_tool_named_like_a_type_does_not_hide_the_type(self) -> None:
        class Named(Toolset):
            @tool
            async def list(self, items: list[int]) -> None: ...

            @tool
            async def sort(self, items: list[int]) -> None: ...

        for each in Named().tools():
            assert each.spec.parameters["properties"]["items"] == {"type": "array", "items": {"type": "integer"}}

    def test_a_return_type_that_nobody_knows_does_not_matter(self) -> None:
        class Careless(Toolset):
            @tool
            async def go(self) -> Unknown:  # type: ignore[name-defined]  # noqa: F821
                return "gone"

        assert asyncio.run(only_tool(Careless).call({}, CONTEXT)) == "gone"

    def test_below_a_base_class_with_its_own_init_subclass(self) -> None:
        class Base(Toolset):
            registry: ClassVar[list[str]] = []

            def __init_subclass__(cls, **kwargs: Any) -> None:
                super().__init_subclass__(**kwargs)
                cls.registry.append(cls.__name__)

        class Mode(enum.Enum):
            FAST = "fast"

        class Registered(Base):
            @tool
            async def go(self, mode: Mode) -> None: ...

        assert Base.registry == ["Registered"]
        assert only_tool(Registered).spec.parameters["required"] == ["mode"]

    def test_the_context_may_have_any_name_and_be_annotated(self) -> None:
        class Curious(Toolset):
            @tool
            async def look(self, where: ToolContext, again: Annotated[ToolContext, "why not"]) -> str:
                return f"{where} {again}"

        assert asyncio.run(only_tool(Curious).call({}, CONTEXT)) == "the context the context"


def define(**members: Any) -> type[Toolset]:
    return type("Bad", (Toolset,), members)


class TestWrongUse:
    """Said when the class is defined, with class, method, parameter, and what would be right."""

    def test_not_async(self) -> None:
        with pytest.raises(TypeError, match=r"Bad\.go is not async: write `async def method\(self, \.\.\.\)`"):

            class Bad(Toolset):
                @tool  # type: ignore[type-var]
                def go(self) -> str:
                    return ""

    def test_an_async_generator(self) -> None:
        with pytest.raises(TypeError, match=r"Bad\.go is an async generator: return the whole result"):

            class Bad(Toolset):
                @tool  # type: ignore[type-var]
                async def go(self) -> Any:
                    yield ""

    @pytest.mark.parametrize("kind", [staticmethod, classmethod])
    @pytest.mark.parametrize("inner", [True, False], ids=["inner", "outer"])
    def test_not_a_plain_method(self, kind: Any, inner: bool) -> None:
        async def go(self: Any) -> None: ...

        with pytest.raises(TypeError, match=rf"Bad\.go is a {kind.__name__}"):
            define(go=tool(kind(go)) if inner else kind(tool(go)))

    def test_not_a_function(self) -> None:
        with pytest.raises(TypeError, match=r"@tool stands on property .*write `async def method\(self"):
            tool(property(lambda _: None))  # type: ignore[type-var]

    def test_no_annotation(self) -> None:
        with pytest.raises(TypeError, match=r"Bad\.go: parameter 'city' has no annotation: .*`city: str`"):

            class Bad(Toolset):
                @tool
                async def go(self, city) -> None: ...  # type: ignore[no-untyped-def]

    @pytest.mark.parametrize("stars", ["*", "**"])
    def test_variadic(self, stars: str) -> None:
        async def args(self: Any, *names: str) -> None: ...
        async def kwargs(self: Any, **names: str) -> None: ...

        with pytest.raises(TypeError) as raised:
            define(go=tool(args if stars == "*" else kwargs))
        assert f"Bad.go: parameter 'names' is `{stars}names`" in str(raised.value)

    def test_positional_only(self) -> None:
        with pytest.raises(TypeError, match=r"Bad\.go: parameter 'city' is positional-only: .*remove the `/`"):

            class Bad(Toolset):
                @tool
                async def go(self, city: str, /) -> None: ...

    def test_no_self(self) -> None:
        with pytest.raises(TypeError, match=r"Bad\.go takes no self"):

            class Bad(Toolset):
                @tool
                async def go() -> None: ...  # type: ignore[misc]

    @pytest.mark.parametrize("name", ["", "with space", "dot.dot", "x" * 65, "naïve"])
    def test_a_name_that_no_provider_takes(self, name: str) -> None:
        async def go(self: Any) -> None: ...

        with pytest.raises(TypeError, match=r"Bad\.go: a model cannot call a tool .*1 to 64 letters"):
            define(go=tool(name=name)(go))

    def test_a_name_twice(self) -> None:
        with pytest.raises(TypeError, match=r"Bad: first and second are both the tool 'same'"):

            class Bad(Toolset):
                @tool(name="same")
                async def first(self) -> None: ...

                @tool(name="same")
                async def second(self) -> None: ...

    def test_an_effect_that_does_not_exist(self) -> None:
        with pytest.raises(
            TypeError, match=r"Bad\.go: there is no effect 'twice'; the effects are pure, idempotent, once"
        ):

            class Bad(Toolset):
                @tool(effect="twice")  # type: ignore[arg-type]
                async def go(self) -> None: ...

    def test_a_type_that_no_model_can_fill_in(self) -> None:
        class Socket:
            pass

        with pytest.raises(TypeError, match=r"Bad\.go: parameter 'socket' has the type .*Socket.*use str, int,"):

            class Bad(Toolset):
                @tool
                async def go(self, socket: Socket) -> None: ...

    def test_a_union_that_cannot_be_told_apart(self) -> None:
        with pytest.raises(TypeError, match=r"parameter 'what' .*more than one dict-like"):

            class Bad(Toolset):
                @tool
                async def go(self, what: Box | Options) -> None: ...

    def test_an_annotation_that_cannot_be_resolved(self) -> None:
        with pytest.raises(TypeError, match=r"Bad\.go: parameter 'it' is annotated 'Missing'.*not under TYPE_CHECKING"):

            class Bad(Toolset):
                @tool
                async def go(self, it: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    def test_an_optional_context(self) -> None:
        with pytest.raises(TypeError, match=r"parameter 'context' .*write `context: ToolContext` alone"):

            class Bad(Toolset):
                @tool
                async def go(self, context: ToolContext | None) -> None: ...

    @pytest.mark.parametrize("name", ["tools", "name", "close", "close_session", "description"])
    def test_a_method_in_the_place_of_one_of_ours(self, name: str) -> None:
        async def go(self: Any) -> None: ...

        with pytest.raises(TypeError, match=rf"Bad\.{name}: Toolset itself has a member '{name}'.*name='{name}'"):
            define(**{name: tool(go)})

    def test_a_tool_replaced_by_what_is_none(self) -> None:
        class Parent(Toolset):
            @tool
            async def go(self) -> None: ...

        with pytest.raises(TypeError, match=r"Bad\.go replaces a tool without being one: decorate it"):

            class Bad(Parent):
                async def go(self) -> None: ...


class TestArguments:
    async def test_as_they_are(self) -> None:
        result = await only_tool(Everything).call({"text": "a", "number": 3, "point": {"x": 1}}, CONTEXT)
        assert json.loads(result)[:6] == ["a", 3, 0.5, False, "C", "red"]
        assert json.loads(result)[-1] == {"x": 1, "y": 0}

    @pytest.mark.parametrize(
        ("given", "place", "read"),
        [
            ({"number": 3.0}, 1, 3),
            ({"number": "3"}, 1, 3),
            ({"number": "3.0"}, 1, 3),
            ({"ratio": "0.25"}, 2, 0.25),
            ({"ratio": 1}, 2, 1.0),
            ({"flag": "true"}, 3, True),
            ({"flag": 0}, 3, False),
            ({"names": '["a", "b"]'}, 6, ["a", "b"]),
            ({"counts": '{"a": "1"}'}, 7, {"a": 1}),
            ({"counts": {"a": 1.0}}, 7, {"a": 1}),
            ({"text": 2024}, 0, "2024"),
            ({"text": True}, 0, "true"),
            ({"unit": None}, 4, "C"),
            ({"names": None}, 6, []),
            ({"maybe": None}, 10, None),
            ({"point": '{"x": "4"}'}, 13, {"x": 4, "y": 0}),
        ],
    )
    async def test_generously_where_it_is_clear_what_is_meant(
        self, given: dict[str, Any], place: int, read: Any
    ) -> None:
        result = await only_tool(Everything).call({"text": "a", "number": 1, **given}, CONTEXT)
        assert json.loads(result)[place] == read

    @pytest.mark.parametrize(
        ("given", "place"),
        [
            ({"text": "3"}, 0),
            ({"text": "null"}, 0),
            ({"maybe": "null"}, 10),
            ({"either": "3"}, 12),
            ({"text": "[1]"}, 0),
        ],
    )
    async def test_what_fits_is_not_reinterpreted(self, given: dict[str, Any], place: int) -> None:
        result = await only_tool(Everything).call({"text": "a", "number": 1, **given}, CONTEXT)
        assert json.loads(result)[place] == next(iter(given.values()))

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"number": "many"}, 'number: expected `int`, got `str`; got "many", expected {"type":"integer"}'),
            ({"number": 1.5}, "number: expected `int`, got `float`; got 1.5"),
            ({"number": True}, "number: expected `int`, got `bool`; got true"),
            ({"number": None}, "number: expected `int`, got `null`; got null"),
            ({"unit": "K"}, 'unit: invalid enum value \'K\'; got "K", expected one of "C", "F"'),
            (
                {"bounded": 9},
                'bounded: expected `int` <= 5; got 9, expected {"type":"integer","minimum":1,"maximum":5}',
            ),
            ({"names": ["a", 1]}, "names[1]: expected `str`, got `int`"),
            ({"point": {"x": "q"}}, "point.x: expected `int`, got `str`"),
            ({"point": {"x": 1, "z": 1}}, "point: object contains unknown field `z`"),
            ({"flag": "yes"}, "flag: expected `bool`, got `str`"),
            ({"text": ["a"]}, "text: expected `str`, got `array`"),
            ({"maybe": 3.5e300, "either": []}, "either: expected `int | str`, got `array`; got [], expected"),
        ],
    )
    async def test_what_does_not_fit_is_explained(self, given: dict[str, Any], message: str) -> None:
        with pytest.raises(ToolError) as refused:
            await only_tool(Everything).call({"text": "a", "number": 1, **given}, CONTEXT)
        assert message in str(refused.value)

    async def test_everything_that_is_wrong_is_said_at_once(self) -> None:
        with pytest.raises(ToolError) as refused:
            await only_tool(Everything).call({"number": "x", "citty": 1, "context": "mine"}, CONTEXT)
        lines = str(refused.value).splitlines()
        assert lines[0] == "The arguments do not fit, and nothing was done."
        assert lines[1] == '- text is missing: expected {"type":"string"}'
        assert lines[2].startswith("- number: expected `int`")
        assert lines[3:5] == ['- there is no parameter "citty"', '- there is no parameter "context"']
        assert lines[5].startswith("The parameters are: text, number, ratio (optional), ")

    async def test_a_tool_without_parameters_says_so(self) -> None:
        class Still(Toolset):
            @tool
            async def stand(self) -> None: ...

        with pytest.raises(ToolError, match="It takes no parameters"):
            await only_tool(Still).call({"where": "here"}, CONTEXT)

    async def test_huge_arguments_are_not_repeated_in_full(self) -> None:
        with pytest.raises(ToolError) as refused:
            await only_tool(Everything).call({"text": "a", "number": "9" * 100_000 + "x"}, CONTEXT)
        assert len(str(refused.value)) < 2000

    async def test_nobody_can_call_what_is_not_a_tool(self) -> None:
        names = {each.spec.name for each in Everything().tools()}
        assert names == {"take"}


class TestResults:
    @pytest.mark.parametrize(
        ("result", "text"),
        [
            ("text as it is\n", "text as it is\n"),
            ("", "(empty)"),
            (" \n", "(empty)"),
            (None, "done"),
            (3, "3"),
            (True, "true"),
            ([1, "a"], '[1,"a"]'),
            ({"a": None}, '{"a":null}'),
            (Point(1, 2), '{"x":1,"y":2}'),
            (Box(Point(1)), '{"corner":{"x":1,"y":0},"label":"box"}'),
            (Colour.RED, "red"),
            (dt.date(2026, 11, 23), "2026-11-23"),
            (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
            ({"at": complex(1, 2)}, '{"at":"(1+2j)"}'),
            (complex(1, 2), "(1+2j)"),
            ({(1, 2): 3}, '{"(1, 2)":3}'),
            (float("nan"), "null"),
            (2**70, "1180591620717411303424"),
        ],
    )
    def test_anything_becomes_text(self, result: object, text: str) -> None:
        assert result_text(result) == text

    def test_it_is_always_valid_in_utf_8(self) -> None:
        assert result_text("a\ud800b") == "a\\ud800b"
        assert result_text(["a\ud800b"]).encode()

    def test_a_circle_does_not_hang(self) -> None:
        circle: list[Any] = []
        circle.append(circle)
        assert result_text(circle) == "[[...]]"

    async def test_a_tool_error_passes(self) -> None:
        class Failing(Toolset):
            @tool
            async def fail(self) -> None:
                raise ToolError("no such city")

        with pytest.raises(ToolError, match="no such city"):
            await only_tool(Failing).call({}, CONTEXT)


IMPORT = """
import sys
import greenroom.toolsets.function
print(*sys.modules)
"""


def test_importing_the_decorator_is_light() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT], check=True, capture_output=True, text=True)
    assert not {"asyncio", "difflib", "docstring_parser", "subprocess", "tempfile"} & set(done.stdout.split())
