"""What a user wants to be remembered: facts that outlive the session.

A memory's id is made from its text. So remembering is idempotent by construction: the same fact, said twice or written
again after a crash, is one memory.

Rule: memories belong to the user of the call, and are reached through `context.notes` alone.
"""
# ruff: noqa: D417 - the docstrings of tools are for the model, which does not see the context

from __future__ import annotations

import hashlib
from typing import Annotated, Final

from msgspec import Meta

from greenroom.errors import LimitExceeded
from greenroom.interfaces import Note, ToolContext, ToolError
from greenroom.toolsets.function import Toolset, tool
from greenroom.toolsets.listing import bounded_lines, day, on_one_entry

_KIND: Final = "memory"
_ALPHABET: Final = "23456789abcdefghjkmnpqrstvwxyz"
"""Digits and letters that nobody takes for one another."""
_ID_LENGTHS: Final = (6, 9, 12, 24)
"""An id is as short as it can be while it names one text only."""


class MemoryTools(Toolset):
    """Remembers facts about the user and their work, across all sessions."""

    @tool(effect="idempotent")
    async def remember(self, context: ToolContext, text: str) -> str:
        """Keeps a fact for all later conversations with this user.

        Args:
            text: One self-contained fact, understandable without this conversation.
        """
        text = text.strip()
        bytes_max = context.limits.memory_bytes_max
        if not text:
            raise ToolError("A memory cannot be empty: give the fact in `text`.")
        if (size := len(text.encode("utf-8", "replace"))) > bytes_max:
            raise ToolError(
                f"The text is {size} bytes; a memory has at most {bytes_max}. Keep the essence, or split it."
            )
        note = Note(kind=_KIND, key=await _id_for(text, context), text=text, at_ms=context.at_ms)
        try:
            await context.notes.put(context.user_id, note, count_max=context.limits.memories_max)
        except LimitExceeded as error:
            raise ToolError(f"{error}. Forget memories that are no longer needed first.") from error
        return f"Remembered as {note.key}."

    @tool(effect="pure")
    async def recall(self, context: ToolContext, query: str, limit: Annotated[int, Meta(ge=1, le=50)] = 10) -> str:
        """Searches the memories about this user; the best matches come first.

        Args:
            query: Words that the memory may contain.
            limit: Most memories to return.
        """
        if not query.strip():
            raise ToolError("The query is empty: give some words, or use list_memories.")
        notes = await context.notes.search(context.user_id, _KIND, query, limit=limit)
        if not notes:
            return "No memory matches. Try other words, or list_memories."
        lines, complete = bounded_lines(
            map(_line, notes), lines_max=limit, bytes_max=context.limits.tool_output_bytes_max // 2
        )
        return "\n".join(lines if complete else [*lines, "[more match: ask with fewer words or a lower limit]"])

    @tool(effect="pure")
    async def list_memories(
        self,
        context: ToolContext,
        limit: Annotated[int, Meta(ge=1, le=200)] = 50,
        offset: Annotated[int, Meta(ge=0)] = 0,
    ) -> str:
        """Lists the memories about this user, the latest first: id, date, text.

        Args:
            limit: Most memories to return.
            offset: How many of the latest to skip.
        """
        # One more than asked for tells whether there are more.
        notes = await context.notes.page(context.user_id, _KIND, limit=limit + 1, offset=offset)
        if not notes:
            return "There are no memories yet." if offset == 0 else "There are no further memories."
        lines, complete = bounded_lines(
            map(_line, notes), lines_max=limit, bytes_max=context.limits.tool_output_bytes_max // 2
        )
        return "\n".join(lines if complete else [*lines, f"[there are more: offset={offset + len(lines)}]"])

    @tool(effect="idempotent")
    async def forget(self, context: ToolContext, memory_id: str) -> str:
        """Removes a memory for good.

        Args:
            memory_id: Its id, as recall and list_memories show it.
        """
        key = memory_id.strip().lower()
        if await context.notes.delete(context.user_id, _KIND, key):
            return f"Forgot {key}."
        return f"There is no memory {key[:80]!r}; list_memories shows the ids."


async def _id_for(text: str, context: ToolContext) -> str:
    """Returns the id of the memory with this text: the one that it has, or a free one."""
    number = int.from_bytes(hashlib.blake2s(text.encode("utf-8", "replace")).digest())
    letters = []
    for _ in range(_ID_LENGTHS[-1]):
        number, place = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[place])
    for length in _ID_LENGTHS[:-1]:
        key = "".join(letters[:length])
        existing = await context.notes.get(context.user_id, _KIND, key)
        if existing is None or existing.text == text:
            return key
    return "".join(letters)


def _line(note: Note) -> str:
    return f"{note.key} ({day(note.at_ms)}): {on_one_entry(note.text)}"
