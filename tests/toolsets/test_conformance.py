"""Every toolset that we ship, and every way of wrapping one, keeps what `ToolSource` promises."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from greenroom.interfaces import ToolContext, ToolSource
from greenroom.testing.toolset_conformance import ToolsetConformance
from greenroom.toolsets.compose import filtered, prefixed, renamed
from greenroom.toolsets.contained import Workspace
from greenroom.toolsets.memory import MemoryTools
from greenroom.toolsets.preference import PreferenceTools
from greenroom.toolsets.random_number import RandomNumberTools
from greenroom.toolsets.workspace import WorkspaceTools
from toolsets.calling import call


class TestMemoryTools(ToolsetConformance):
    examples: ClassVar = {
        "remember": {"text": "Ada likes tea."},
        "recall": {"query": "tea"},
        "list_memories": {},
        "forget": {"memory_id": "abc234"},
    }

    def make_source(self) -> ToolSource:
        return MemoryTools()

    async def prepare(self, source: ToolSource, context: ToolContext) -> None:
        await call(source, "remember", context, text="Grace likes tea, too.")


class TestPreferenceTools(ToolsetConformance):
    examples: ClassVar = {
        "set_preference": {"key": "language", "value": "French"},
        "get_preference": {"key": "language"},
        "list_preferences": {},
        "reset_preference": {"key": "language"},
    }

    def make_source(self) -> ToolSource:
        return PreferenceTools()

    async def prepare(self, source: ToolSource, context: ToolContext) -> None:
        await call(source, "set_preference", context, key="language", value="German")


class TestRandomNumberTools(ToolsetConformance):
    examples: ClassVar = {
        "random_integer": {"minimum": 1, "maximum": 6},
        "random_number": {},
        "random_choice": {"options": ["heads", "tails"]},
        "shuffle": {"items": [1, 2, 3]},
        "roll_dice": {"notation": "3d6+2"},
    }

    def make_source(self) -> ToolSource:
        return RandomNumberTools()


async def prepare_workspace(context: ToolContext) -> None:
    def prepare() -> None:
        Workspace(context.workspace).write_bytes("notes/plan.md", b"one\ntwo\nthree\n")

    await asyncio.to_thread(prepare)


class TestWorkspaceTools(ToolsetConformance):
    examples: ClassVar = {
        "list_files": {},
        "tree": {},
        "read_file": {"path": "notes/plan.md"},
        "write_file": {"path": "notes/new.md", "content": "text"},
        "append_file": {"path": "notes/plan.md", "content": "four\n"},
        "edit_file": {"path": "notes/plan.md", "old_text": "two", "new_text": "2"},
        "find_files": {"pattern": "*.md"},
        "search_files": {"pattern": "t.o"},
        "move_file": {"source": "notes/plan.md", "target": "done/plan.md"},
        "copy_file": {"source": "notes", "target": "copy"},
        "delete_file": {"path": "notes/plan.md"},
        "make_folder": {"path": "a/b"},
    }

    def make_source(self) -> ToolSource:
        return WorkspaceTools()

    async def prepare(self, source: ToolSource, context: ToolContext) -> None:
        await prepare_workspace(context)


class TestPrefixed(ToolsetConformance):
    examples: ClassVar = {f"dice_{name}": arguments for name, arguments in TestRandomNumberTools.examples.items()}

    def make_source(self) -> ToolSource:
        return prefixed(RandomNumberTools(), "dice_", name="Dice")


class TestFiltered(ToolsetConformance):
    examples: ClassVar = {name: TestWorkspaceTools.examples[name] for name in ("list_files", "read_file")}

    def make_source(self) -> ToolSource:
        return filtered(WorkspaceTools(), ["read_file", "list_files"], name="Reading")

    async def prepare(self, source: ToolSource, context: ToolContext) -> None:
        await prepare_workspace(context)


class TestRenamed(ToolsetConformance):
    examples: ClassVar = {
        "note": {"text": "Ada likes tea."},
        "recall": {"query": "tea"},
        "list_memories": {},
        "forget": {"memory_id": "a"},
    }

    def make_source(self) -> ToolSource:
        return renamed(MemoryTools(), {"remember": "note"})


class TestWrappedTwice(ToolsetConformance):
    examples: ClassVar = {"x_roll_dice": {}}

    def make_source(self) -> ToolSource:
        return prefixed(filtered(RandomNumberTools(), lambda tool: "dice" in tool.spec.name), "x_")
