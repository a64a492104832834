"""Toolsets made of toolsets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from greenroom.errors import InvalidArgument
from greenroom.interfaces import Tool, ToolSource
from greenroom.toolsets.compose import filtered, prefixed, renamed
from greenroom.toolsets.function import Toolset, tool

CONTEXT: Any = None


class Recording(Toolset):
    """Two tools, and a memory of what was closed."""

    def __init__(self) -> None:
        self.closed: list[str] = []

    @tool(effect="pure")
    async def look(self) -> str:
        """Looks."""
        return "seen"

    @tool(effect="idempotent")
    async def touch(self, what: str) -> str:
        """Touches.

        Args:
            what: The thing.
        """
        return f"touched {what}"

    async def close_session(self, session_id: str) -> None:
        self.closed.append(session_id)

    async def close(self) -> None:
        self.closed.append("everything")


def names(source: ToolSource) -> list[str]:
    return [each.spec.name for each in source.tools()]


WRAPPERS = [
    lambda source, **options: prefixed(source, "my_", **options),
    lambda source, **options: filtered(source, ["look", "touch"], **options),
    lambda source, **options: renamed(source, {"look": "see"}, **options),
]


@pytest.mark.parametrize("wrap", WRAPPERS)
class TestEveryWrapper:
    def test_it_is_registered_under_a_name_of_its_own(self, wrap: Any) -> None:
        assert wrap(Recording()).name == "Recording"
        assert wrap(Recording(), name="Other").name == "Other"
        assert wrap(Recording(), name="Other").description == "Two tools, and a memory of what was closed."
        with pytest.raises(InvalidArgument, match="a toolset needs a name"):
            wrap(Recording(), name="")

    async def test_it_lets_go_of_what_it_wraps(self, wrap: Any) -> None:
        source = Recording()
        wrapped = wrap(source)
        await wrapped.close_session("s1")
        await wrapped.close()
        assert source.closed == ["s1", "everything"]

    async def test_calls_and_effects_pass_through(self, wrap: Any) -> None:
        first, second = wrap(Recording()).tools()
        assert (first.effect, second.effect) == ("pure", "idempotent")
        assert await first.call({}, CONTEXT) == "seen"
        assert await second.call({"what": "wood"}, CONTEXT) == "touched wood"
        assert second.spec.parameters["required"] == ["what"]

    def test_it_says_what_it_is(self, wrap: Any) -> None:
        assert "Recording" in repr(wrap(Recording()))


class TestPrefixed:
    def test_every_name_gets_it(self) -> None:
        assert names(prefixed(Recording(), "my-")) == ["my-look", "my-touch"]
        assert "my-look" in repr(prefixed(Recording(), "my-").tools()[0])

    @pytest.mark.parametrize("prefix", ["", "a b", "a.b", "é", "x" * 65])
    def test_a_prefix_that_no_model_could_say(self, prefix: str) -> None:
        with pytest.raises(InvalidArgument, match="no model can call"):
            prefixed(Recording(), prefix)

    def test_a_name_that_becomes_too_long(self) -> None:
        with pytest.raises(InvalidArgument, match="1 to 64 letters"):
            prefixed(Recording(), "x" * 60).tools()


class TestFiltered:
    def test_by_name_in_the_order_of_the_source(self) -> None:
        assert names(filtered(Recording(), ("touch", "look"))) == ["look", "touch"]
        assert names(filtered(Recording(), {"touch"})) == ["touch"]

    def test_by_predicate(self) -> None:
        assert names(filtered(Recording(), lambda each: each.effect == "pure")) == ["look"]

    def test_a_name_that_does_not_exist(self) -> None:
        with pytest.raises(InvalidArgument, match=r"'Recording' has no tool 'lock' \(its tools are look, touch\)"):
            filtered(Recording(), ["lock"]).tools()

    def test_one_text_is_not_a_list_of_names(self) -> None:
        with pytest.raises(InvalidArgument, match=r"write \['look'\]"):
            filtered(Recording(), "look")

    def test_a_list_that_changes_later_changes_nothing(self) -> None:
        keep = ["look"]
        source = filtered(Recording(), keep)
        keep.append("touch")
        assert names(source) == ["look"]


class TestRenamed:
    def test_some_names(self) -> None:
        assert names(renamed(Recording(), {"look": "see"})) == ["see", "touch"]

    def test_names_may_be_swapped(self) -> None:
        assert names(renamed(Recording(), {"look": "touch", "touch": "look"})) == ["touch", "look"]

    def test_a_name_that_does_not_exist(self) -> None:
        with pytest.raises(InvalidArgument, match="has no tool 'lock'"):
            renamed(Recording(), {"lock": "see"}).tools()

    def test_two_tools_of_one_name(self) -> None:
        with pytest.raises(InvalidArgument, match="'Recording' would have 2 tools named 'touch'"):
            renamed(Recording(), {"look": "touch"}).tools()

    def test_a_name_that_no_model_could_say(self) -> None:
        with pytest.raises(InvalidArgument, match="no model can call a tool 'se e'"):
            renamed(Recording(), {"look": "se e"})


def test_wrappers_can_be_nested() -> None:
    source = renamed(prefixed(filtered(Recording(), ["look"]), "a_"), {"a_look": "see"}, name="Eyes")
    assert (source.name, names(source)) == ("Eyes", ["see"])


def test_a_source_may_change_its_tools() -> None:
    class Growing(Recording):
        """Grows."""

        shown = 1

        def tools(self) -> Sequence[Tool]:  # type: ignore[override]
            return super().tools()[: self.shown]

    source = Growing()
    wrapped = prefixed(source, "g_")
    assert names(wrapped) == ["g_look"]
    source.shown = 2
    assert names(wrapped) == ["g_look", "g_touch"]


def test_a_source_without_tools() -> None:
    class Empty(Toolset):
        """Nothing."""

    with pytest.raises(InvalidArgument, match="it has no tools"):
        filtered(Empty(), ["look"]).tools()
