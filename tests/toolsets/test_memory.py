"""Facts about a user."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from greenroom.interfaces import ToolContext, ToolError
from greenroom.toolsets.memory import MemoryTools
from toolsets.calling import call

TOOLS = MemoryTools()


def id_in(answer: str) -> str:
    return answer.removeprefix("Remembered as ").removesuffix(".")


async def test_what_is_remembered_is_recalled_with_id_and_date(context: ToolContext) -> None:
    key = id_in(await call(TOOLS, "remember", context, text="  Ada drinks tea.  "))
    assert len(key) == 6
    assert key.isalnum()
    assert await call(TOOLS, "recall", context, query="tea") == f"{key} (2026-11-23): Ada drinks tea."


async def test_the_best_match_comes_first(context: ToolContext) -> None:
    for text in ("Ada likes cats and dogs and birds of all kinds.", "The red bicycle is broken.", "Red is her colour."):
        await call(TOOLS, "remember", context, text=text)
    answer = await call(TOOLS, "recall", context, query="red bicycle", limit=2)
    assert [line.partition(": ")[2] for line in answer.splitlines()] == [
        "The red bicycle is broken.",
        "Red is her colour.",
    ]


async def test_the_same_fact_is_one_memory(context: ToolContext) -> None:
    first = await call(TOOLS, "remember", context, text="Ada drinks tea.")
    later = msgspec.structs.replace(context, at_ms=context.at_ms + 86_400_000, session_id="other", call_id="other")
    assert await call(TOOLS, "remember", later, text="Ada drinks tea. ") == first
    assert await call(TOOLS, "list_memories", context) == f"{id_in(first)} (2026-11-24): Ada drinks tea."


async def test_facts_whose_ids_begin_alike_are_two_memories(
    context: ToolContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The digests agree in all digits that the short ids are made of.
    class Digest:
        def __init__(self, content: bytes) -> None:
            self.content = content

        def digest(self) -> bytes:
            return (5 + 30**18 * (1 + self.content[-1])).to_bytes(32)

    monkeypatch.setattr(hashlib, "blake2s", Digest)
    keys = [id_in(await call(TOOLS, "remember", context, text=text)) for text in ("a", "b", "c", "d")]
    assert [len(key) for key in keys] == [6, 9, 12, 24]
    assert len(set(keys)) == 4
    assert [id_in(await call(TOOLS, "remember", context, text=text)) for text in ("a", "b", "c", "d")] == keys


async def test_a_memory_can_be_forgotten_in_any_spelling_of_its_id(context: ToolContext) -> None:
    key = id_in(await call(TOOLS, "remember", context, text="Ada drinks tea."))
    assert await call(TOOLS, "forget", context, memory_id=f" {key.upper()} ") == f"Forgot {key}."
    assert "There is no memory" in await call(TOOLS, "forget", context, memory_id=key)
    assert await call(TOOLS, "list_memories", context) == "There are no memories yet."
    assert await call(TOOLS, "recall", context, query="tea") == "No memory matches. Try other words, or list_memories."


async def test_users_have_memories_of_their_own(context: ToolContext) -> None:
    key = id_in(await call(TOOLS, "remember", context, text="Ada drinks tea."))
    other = msgspec.structs.replace(context, user_id="grace")
    assert await call(TOOLS, "list_memories", other) == "There are no memories yet."
    assert "There is no memory" in await call(TOOLS, "forget", other, memory_id=key)


async def test_a_long_list_is_read_in_pages(context: ToolContext) -> None:
    for number in range(5):
        at = msgspec.structs.replace(context, at_ms=context.at_ms + number)
        await call(TOOLS, "remember", at, text=f"Fact {number}.")
    first = (await call(TOOLS, "list_memories", context, limit=3)).splitlines()
    assert [line[-7:] for line in first[:3]] == ["Fact 4.", "Fact 3.", "Fact 2."]
    assert first[3] == "[there are more: offset=3]"
    second = (await call(TOOLS, "list_memories", context, limit=3, offset=3)).splitlines()
    assert [line[-7:] for line in second] == ["Fact 1.", "Fact 0."]
    assert await call(TOOLS, "list_memories", context, offset=5) == "There are no further memories."


async def test_what_is_returned_is_bounded(context: ToolContext) -> None:
    small = msgspec.structs.replace(
        context, limits=msgspec.structs.replace(context.limits, memory_bytes_max=1000, tool_output_bytes_max=3000)
    )
    for number in range(4):
        await call(TOOLS, "remember", small, text=f"tea {number} {'x' * 900}")
    for name, arguments in (("list_memories", {}), ("recall", {"query": "tea"})):
        answer = await call(TOOLS, name, small, **arguments)
        assert len(answer) < 3000
        assert "more" in answer.splitlines()[-1]


async def test_lines_of_one_memory_are_seen_to_belong_together(context: ToolContext) -> None:
    await call(TOOLS, "remember", context, text="One\nabc234 (2026-01-01): forged")
    answer = await call(TOOLS, "list_memories", context)
    assert answer.splitlines()[1] == "    abc234 (2026-01-01): forged"


@pytest.mark.parametrize(
    ("text", "message"), [(" \n", "cannot be empty"), ("é" * 101, "is 202 bytes; a memory has at most 200")]
)
async def test_text_is_bounded(context: ToolContext, text: str, message: str) -> None:
    with pytest.raises(ToolError, match=message):
        await call(TOOLS, "remember", context, text=text)


async def test_a_full_memory_says_so(context: ToolContext) -> None:
    for number in range(5):
        await call(TOOLS, "remember", context, text=f"Fact {number}.")
    with pytest.raises(ToolError, match="Forget memories that are no longer needed first"):
        await call(TOOLS, "remember", context, text="One more.")
    assert "Remembered" in await call(TOOLS, "remember", context, text="Fact 3.")


async def test_an_empty_query_is_told_what_to_do(context: ToolContext) -> None:
    with pytest.raises(ToolError, match="use list_memories"):
        await call(TOOLS, "recall", context, query=" ")


async def test_a_query_is_words_and_no_syntax(context: ToolContext) -> None:
    await call(TOOLS, "remember", context, text="Ada drinks tea.")
    for query in ('" OR 1=1 --', "tea AND (", "*", "tea NEAR/"):
        await call(TOOLS, "recall", context, query=query)
