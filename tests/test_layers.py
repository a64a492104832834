"""Who may import whom, who may touch the world, and who may start tasks.

The table below is the architecture. A module that is not in it fails, and so does an import that its row does not name:
a new package gets its row here first, and the row is reviewed, not the import.

Rule: every violation is reported with file, line and what to do instead.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from source_tree import called_name, dotted, imports_of, over, package_modules, parsed, place

SEAMS = (
    *(
        "errors",
        "limits",
        "json_scan",
        "large",
        "large_thread",
        "tool_arguments",
        "messages",
        "media_types",
        "finish_reasons",
        "config",
        "events",
        "codec",
        "storage",
        "interfaces",
        "thread_shares",
    ),
)
"""What everybody may import: values, errors, the promises of the families, and a user's share of threads."""

FAMILIES = ("backends", "toolsets", "logs", "personas")

EVERYTHING = "everything"

AUTHORING = "toolsets.function"
"""`Toolset` and `tool`: what people write their own toolsets with is part of the public contract, unlike any toolset."""

BELOW_MANAGER = (
    *(*SEAMS, "core", "protocols", "runtime"),
    *(
        "settings",
        "trust",
        "message_input",
        "bundles",
        "streams",
        "prices",
        "catalog",
        "installation",
        "model_lists",
        "usable",
    ),
)

ONE_LAYER = {"agent": "manager", "conversing": "manager", "planning": "manager", "session_data": "manager"}
"""The front door is two classes that know each other: a manager hands out agents, an agent alone makes its manager."""

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "errors": (),
    "limits": (),
    "json_scan": ("errors", "limits"),
    "large": (),
    "large_thread": ("large",),
    "tool_arguments": ("limits",),
    "messages": ("errors", "limits"),
    "media_types": (),
    "finish_reasons": ("messages",),
    "config": ("errors", "limits", "messages"),
    "events": ("errors", "limits", "messages", "config"),
    "codec": ("errors", "limits", "large", "messages", "config", "events"),
    "storage": ("errors", "limits", "messages", "config", "events"),
    "interfaces": ("errors", "limits", "messages", "config", "events", "storage"),
    "thread_shares": ("errors",),
    "core": SEAMS,
    "protocols": (*SEAMS, "core"),
    "backends": SEAMS,
    "toolsets": SEAMS,
    "logs": SEAMS,
    "personas": SEAMS,
    "runtime": (*SEAMS, "core"),
    "trust": ("errors",),
    "settings": ("errors", "limits", "messages", "config", "trust"),
    "prices": ("errors", "limits", "messages"),
    "message_input": (*SEAMS, "runtime"),
    "bundles": (*SEAMS, "core"),
    "streams": (*SEAMS, "core", "protocols", "runtime"),
    "catalog": (*SEAMS, "runtime", "settings", "prices", *FAMILIES),
    # What can answer here is told by looking for a model file, an Ollama and the packages of a cloud, not by making a backend.
    "usable": (
        *SEAMS,
        "settings",
        "backends.clouds",
        "backends.local.model",
        "backends.model_facts",
        "backends.ollama",
    ),
    "model_lists": (*SEAMS, "runtime", "usable", "backends.model_facts", "backends.faults"),
    "installation": (*SEAMS, "settings", "runtime", "catalog", AUTHORING),
    "manager": (*BELOW_MANAGER, AUTHORING),
    "server": (*BELOW_MANAGER, "manager"),
    "client": (*SEAMS, "core", "protocols"),
    "cli": (*BELOW_MANAGER, "manager", "server", "client", "logs.version"),
    "testing": (EVERYTHING,),  # and nobody imports it
    "__main__": ("cli",),
    "": (EVERYTHING,),  # greenroom/__init__.py: the public names
}

MEMBERS: dict[str, tuple[str, ...]] = {
    "backends": ("openai", "claude", "local", "scripted"),
    "toolsets": ("memory", "workspace", "preference", "random_number", "mcp"),
    "logs": ("memory", "sqlite", "postgres"),
}
"""Members of a family never import each other. `openai_chat` belongs to the member `openai`; a module that begins with no
member's name (`sse`, `transport`) is shared by all."""

PURE = (
    "errors",
    "limits",
    "json_scan",
    "large",
    "messages",
    "finish_reasons",
    "config",
    "events",
    "codec",
    "storage",
    "interfaces",
    "core",
    "protocols",
)
# fmt: off
PURE_IMPORTS = frozenset({
    "__future__", "abc", "base64", "binascii", "bisect", "collections", "contextlib", "copy", "dataclasses", "enum", "fnmatch", "functools",
    "difflib", "greenroom", "hashlib", "heapq", "itertools", "json", "math", "msgspec", "operator", "re", "string", "textwrap", "types",
    "typing", "unicodedata", "urllib",
})
# fmt: on
"""What cannot do I/O, tell the time or roll dice. (`contextlib` and `urllib.parse` can do nothing by themselves.)"""
PURE_EXCEPTIONS = {("greenroom.interfaces", "pathlib"), ("greenroom.config", "weakref")}
"""A path in a signature; nothing in the module opens it. Which equal configuration is handed out depends on who still holds
one; what it says does not."""
IMPURE_CALLS = frozenset({"open", "input", "print", "exec", "eval", "urlopen"})

TASK_MAKERS = frozenset(
    {"TaskGroup", "create_task", "ensure_future", "gather", "as_completed", "run_coroutine_threadsafe"}
)
MAY_MAKE_TASKS = ("runtime", "testing")
LOOP_RUNNERS = frozenset({"asyncio.run", "asyncio.Runner", "asyncio.new_event_loop"})
MAY_RUN_LOOPS = ("cli", "testing", "__main__")

MODULES = package_modules()


def layer_of(name: str) -> str:
    """Returns the row of the table that a module of the package belongs to."""
    top = [*name.split("."), ""][1]
    return ONE_LAYER.get(top, top)


def member_of(name: str) -> str | None:
    """Returns the member of a family that a module belongs to; `None` for what the family shares."""
    parts = name.split(".")
    if len(parts) < 3:
        return None
    found = [member for member in MEMBERS.get(parts[1], ()) if f"{parts[2]}_".startswith(f"{member}_")]
    return found[0] if found else None


def import_violations(name: str, tree: ast.Module, *, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """Yields the imports of module `name` that the table forbids."""
    layer = layer_of(name)
    allowed = MAY_IMPORT.get(layer)
    if allowed is None:
        yield 1, f"the layer table has no row for {layer!r}: add one to MAY_IMPORT"
        return
    for target, line in imports_of(name, tree, is_package=is_package):
        if target.split(".")[0] != "greenroom":
            continue
        above = layer_of(target)
        if above == "testing" and layer != "testing":
            yield line, "nobody imports greenroom.testing: it is for tests"
        elif above == "" and layer != "":
            # `from greenroom import x` also yields greenroom.x, which says what is meant.
            if target == "greenroom" and _imports_names_of_root(tree, line):
                yield line, "import from the module that defines the name, not from the package"
        elif (
            above not in {layer, *allowed}
            and not _is_below(target, allowed)
            and EVERYTHING not in allowed
            and above in MAY_IMPORT
        ):
            yield line, f"{layer} may not import {above}: it may import {', '.join(allowed) or 'nothing'}"
        elif above == layer and (theirs := member_of(target)) and (ours := member_of(name)) and ours != theirs:
            yield line, f"{ours} may not import {theirs}: move what both need into a module that the family shares"


def _is_below(target: str, allowed: Sequence[str]) -> bool:
    return any(f"{target}.".startswith(f"greenroom.{module}.") for module in allowed)


def _imports_names_of_root(tree: ast.Module, line: int) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.lineno == line and node.module == "greenroom":
            own = {"__version__"}
            return any(f"greenroom.{alias.name}" not in MODULES and alias.name not in own for alias in node.names)
    return False


def purity_violations(name: str, tree: ast.Module, *, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """Yields what a pure module does beyond computing."""
    if layer_of(name) not in PURE:
        return
    for target, line in imports_of(name, tree, is_package=is_package):
        top = target.split(".")[0]
        if top not in PURE_IMPORTS and (name, top) not in PURE_EXCEPTIONS:
            yield (
                line,
                f"{layer_of(name)} is pure and may not import {top}: let the runtime do it and pass the result in",
            )
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=called)) if called in IMPURE_CALLS:
                yield node.lineno, f"{layer_of(name)} is pure and may not call {called}()"
            case ast.AsyncFunctionDef() | ast.Await() if layer_of(name) in {"core", "protocols"}:
                yield node.lineno, f"{layer_of(name)} is pure: nothing in it waits, so nothing in it is async"
            case _:
                pass


def task_violations(name: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yields the places that start tasks or loops and should not."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if called_name(node) in TASK_MAKERS and layer_of(name) not in MAY_MAKE_TASKS:
            yield (
                node.lineno,
                f"only {' and '.join(MAY_MAKE_TASKS)} call {called_name(node)}: ask greenroom.runtime for it",
            )
        if dotted(node.func) in LOOP_RUNNERS and layer_of(name) not in MAY_RUN_LOOPS:
            yield node.lineno, f"only {', '.join(MAY_RUN_LOOPS)} run an event loop"


def report(path: Path, violations: Iterator[tuple[int, str]]) -> None:
    """Fails with one line for each violation."""
    if lines := [f"{place(path, line)}: {message}" for line, message in violations]:
        raise AssertionError("\n".join(dict.fromkeys(lines)))


@over(MODULES)
def test_imports_follow_the_table(name: str) -> None:
    path = MODULES[name]
    report(path, import_violations(name, parsed(path), is_package=path.name == "__init__.py"))


@over([name for name in MODULES if layer_of(name) in PURE])
def test_pure_modules_only_compute(name: str) -> None:
    path = MODULES[name]
    report(path, purity_violations(name, parsed(path), is_package=path.name == "__init__.py"))


@over(MODULES)
def test_tasks_are_started_in_one_place(name: str) -> None:
    report(MODULES[name], task_violations(name, parsed(MODULES[name])))


def test_the_table_has_no_cycle() -> None:
    def below(layer: str, seen: tuple[str, ...]) -> None:
        assert layer not in seen, f"cycle: {' -> '.join((*seen, layer))}"
        for lower in MAY_IMPORT[layer]:
            if lower in MAY_IMPORT:
                below(lower, (*seen, layer))

    for layer in MAY_IMPORT:
        below(layer, ())


def test_pure_imports_exist() -> None:
    assert {name for name in PURE_IMPORTS if name not in sys.stdlib_module_names} == {"msgspec", "greenroom"}


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("greenroom.core.turn", "from greenroom.runtime.feed import Feed", "core may not import runtime"),
        ("greenroom.core.turn", "def f():\n    from greenroom import manager", "core may not import manager"),
        ("greenroom.backends.openai_chat", "from greenroom.core import turn", "backends may not import core"),
        ("greenroom.backends.openai_chat", "import greenroom.backends.claude", "openai may not import claude"),
        ("greenroom.backends.openai_chat", "from . import claude_wire", "openai may not import claude"),
        ("greenroom.logs.sqlite", "from .memory import MemoryLog", "sqlite may not import memory"),
        ("greenroom.logs.sqlite", "from greenroom.toolsets import memory", "logs may not import toolsets"),
        ("greenroom.runtime.runner", "import_module('greenroom.backends.claude')", "runtime may not import backends"),
        ("greenroom.manager", "from greenroom.backends.openai_chat import OpenAI", "manager may not import backends"),
        ("greenroom.manager", "from greenroom.toolsets.memory import MemoryTools", "manager may not import toolsets"),
        ("greenroom.manager", "from greenroom.testing import x", "nobody imports greenroom.testing"),
        ("greenroom.manager", "from greenroom import AgentManager", "from the module that defines the name"),
        ("greenroom.surprise", "", "no row for 'surprise'"),
    ],
)
def test_forbidden_imports_are_seen(name: str, source: str, message: str) -> None:
    assert message in " ".join(text for _, text in import_violations(name, ast.parse(source)))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("greenroom.backends.openai_chat", "from greenroom.backends.sse import split\nfrom .openai_wire import Chunk"),
        ("greenroom.core.turn", "from greenroom.events import Event\nfrom greenroom import limits"),
        ("greenroom.protocols.agui", "from greenroom.core.view import View"),
        ("greenroom.testing.conformance", "from greenroom.logs.memory import MemoryLog"),
        ("greenroom.manager", "from greenroom.toolsets.function import Toolset"),
        ("greenroom.agent", "from greenroom.manager import AgentManager"),
        ("greenroom.catalog", "import_module('greenroom.backends.claude')"),
    ],
)
def test_allowed_imports_pass(name: str, source: str) -> None:
    assert not list(import_violations(name, ast.parse(source)))


@pytest.mark.parametrize(
    "source",
    [
        "import asyncio",
        "from time import time",
        "import os.path",
        "from pathlib import Path",
        "open('x')",
        "async def f(): ...",
        "def f():\n    import random",
    ],
)
def test_impurity_is_seen(source: str) -> None:
    assert list(purity_violations("greenroom.core.turn", ast.parse(source)))


@pytest.mark.parametrize(
    "source",
    ["asyncio.create_task(f())", "loop.create_task(f())", "asyncio.TaskGroup()", "gather(f())", "asyncio.run(f())"],
)
def test_stray_tasks_are_seen(source: str) -> None:
    assert list(task_violations("greenroom.manager", ast.parse(source)))
