"""How a user wants things."""

from __future__ import annotations

import msgspec
import pytest

from greenroom.interfaces import ToolContext, ToolError
from greenroom.toolsets.preference import PreferenceTools
from toolsets.calling import call

TOOLS = PreferenceTools()


async def test_a_preference_is_kept_replaced_and_reset(context: ToolContext) -> None:
    assert await call(TOOLS, "get_preference", context, key="language") == "language is not set."
    assert await call(TOOLS, "set_preference", context, key="language", value=" French ") == "Set language."
    assert await call(TOOLS, "get_preference", context, key="language") == "French"
    await call(TOOLS, "set_preference", context, key="language", value="German")
    assert await call(TOOLS, "list_preferences", context) == "language: German"
    assert await call(TOOLS, "reset_preference", context, key="language") == "Reset language."
    assert await call(TOOLS, "reset_preference", context, key="language") == "language was not set."
    assert await call(TOOLS, "list_preferences", context) == "No preferences are set."


@pytest.mark.parametrize("key", ["date_format", "Date Format", "date-format", " DATE_FORMAT ", "date \n format"])
async def test_a_key_is_the_same_however_it_is_written(context: ToolContext, key: str) -> None:
    await call(TOOLS, "set_preference", context, key=key, value="ISO")
    assert await call(TOOLS, "get_preference", context, key="date_format") == "ISO"


@pytest.mark.parametrize("key", ["", " ", "1st", "naïve", "a/b", "a" * 65, "x\0y", "_private", "key: value"])
async def test_what_cannot_be_a_key(context: ToolContext, key: str) -> None:
    for name, arguments in (
        ("set_preference", {"value": "x"}),
        ("get_preference", {}),
        ("reset_preference", {}),
    ):
        with pytest.raises(ToolError, match=r"cannot be a key: .*for example date_format"):
            await call(TOOLS, name, context, key=key, **arguments)


async def test_a_number_or_boolean_is_a_value(context: ToolContext) -> None:
    await call(TOOLS, "set_preference", context, key="font_size", value=14)
    assert await call(TOOLS, "get_preference", context, key="font_size") == "14"


async def test_values_and_their_number_are_bounded(context: ToolContext) -> None:
    with pytest.raises(ToolError, match="use reset_preference"):
        await call(TOOLS, "set_preference", context, key="a", value=" ")
    with pytest.raises(ToolError, match="has at most 200"):
        await call(TOOLS, "set_preference", context, key="a", value="x" * 201)
    for key in "abc":
        await call(TOOLS, "set_preference", context, key=key, value=key)
    with pytest.raises(ToolError, match="Reset preferences that are no longer needed first"):
        await call(TOOLS, "set_preference", context, key="d", value="d")


async def test_the_list_is_sorted_and_bounded(context: ToolContext) -> None:
    for key in "cab":
        await call(TOOLS, "set_preference", context, key=key, value=f"{key}\nmore" * 20)
    lines = (await call(TOOLS, "list_preferences", context)).splitlines()
    assert [line[:2] for line in lines if not line.startswith(" ")] == ["a:", "b:", "c:"]
    small = msgspec.structs.replace(context, limits=msgspec.structs.replace(context.limits, tool_output_bytes_max=500))
    assert (await call(TOOLS, "list_preferences", small)).endswith("[cut; get_preference shows these: b, c]")


async def test_users_have_preferences_of_their_own(context: ToolContext) -> None:
    await call(TOOLS, "set_preference", context, key="language", value="French")
    other = msgspec.structs.replace(context, user_id="grace", session_id="another")
    assert await call(TOOLS, "get_preference", other, key="language") == "language is not set."
