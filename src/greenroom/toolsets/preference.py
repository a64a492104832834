"""How a user wants to be answered: named values that outlive the session.

Rule: a key is checked before it is used, and looks the same however the model writes it.
"""
# ruff: noqa: D417 - the docstrings of tools are for the model, which does not see the context

from __future__ import annotations

import re
from typing import Final

from greenroom.errors import LimitExceeded
from greenroom.interfaces import Note, ToolContext, ToolError
from greenroom.toolsets.function import Toolset, tool
from greenroom.toolsets.listing import bounded_lines, on_one_entry

_KIND: Final = "preference"
_KEY_PATTERN: Final = r"[a-z][a-z0-9_.]{0,63}"


class PreferenceTools(Toolset):
    """Keeps how the user wants things: language, tone, units, formats."""

    @tool(effect="idempotent")
    async def set_preference(self, context: ToolContext, key: str, value: str) -> str:
        """Keeps a preference of this user for all conversations; an earlier value is replaced.

        Args:
            key: What it is about, in snake case, for example language or date_format.
            value: What the user wants.
        """
        key, value = _checked(key), value.strip()
        bytes_max = context.limits.memory_bytes_max
        if not value:
            raise ToolError("The value is empty: give one, or use reset_preference to remove the preference.")
        if (size := len(value.encode("utf-8", "replace"))) > bytes_max:
            raise ToolError(f"The value is {size} bytes; a preference has at most {bytes_max}.")
        note = Note(kind=_KIND, key=key, text=value, at_ms=context.at_ms)
        try:
            await context.notes.put(context.user_id, note, count_max=context.limits.preferences_max)
        except LimitExceeded as error:
            raise ToolError(f"{error}. Reset preferences that are no longer needed first.") from error
        return f"Set {key}."

    @tool(effect="pure")
    async def get_preference(self, context: ToolContext, key: str) -> str:
        """Returns one preference of this user.

        Args:
            key: Its key, as list_preferences shows it.
        """
        key = _checked(key)
        note = await context.notes.get(context.user_id, _KIND, key)
        return f"{key} is not set." if note is None else note.text

    @tool(effect="pure")
    async def list_preferences(self, context: ToolContext) -> str:
        """Lists all preferences of this user."""
        count_max = context.limits.preferences_max
        notes = await context.notes.page(context.user_id, _KIND, limit=count_max)
        if not notes:
            return "No preferences are set."
        lines, complete = bounded_lines(
            (f"{note.key}: {on_one_entry(note.text)}" for note in sorted(notes, key=lambda note: note.key)),
            lines_max=count_max,
            bytes_max=context.limits.tool_output_bytes_max // 2,
        )
        left_out = ", ".join(sorted(note.key for note in notes)[len(lines) :])
        return "\n".join(lines if complete else [*lines, f"[cut; get_preference shows these: {left_out}]"])

    @tool(effect="idempotent")
    async def reset_preference(self, context: ToolContext, key: str) -> str:
        """Removes a preference of this user: what is usual applies again.

        Args:
            key: Its key, as list_preferences shows it.
        """
        key = _checked(key)
        return f"Reset {key}." if await context.notes.delete(context.user_id, _KIND, key) else f"{key} was not set."


def _checked(key: str) -> str:
    """Returns the key as it is stored.

    Raises:
        ToolError: it cannot be one.
    """
    stored = re.sub(r"[\s-]+", "_", key.strip().lower())
    if not re.fullmatch(_KEY_PATTERN, stored):
        raise ToolError(
            f"{key[:80]!r} cannot be a key: 1 to 64 letters (a to z), digits, '_' and '.', beginning with a letter, "
            "for example date_format."
        )
    return stored
