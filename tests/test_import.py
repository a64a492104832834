"""`import greenroom` is quick and does nothing: no file, thread, socket or heavy library.

What is quick is told by what is imported, not by a stopwatch: the list is the same on a busy machine.

Rule: each check runs in a fresh interpreter, as a user's program does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HEAVY = {
    "aiohttp",
    "anthropic",
    "docstring_parser",
    "genai_prices",
    "httpx",
    "httpx2",
    "openai",
    "prompt_toolkit",
    "pydantic",
    "rich",
    "sqlite3",
    "typer",
    "uvloop",
    "xllamacpp",
}
"""Together more than two seconds: each is imported by the first that needs it."""

PROBE = """
import json, sys, threading

acts = []

def watch(event, args):
    if event == "open":
        path, mode, flags = args
        if (isinstance(mode, str) and set(mode) & set("wax+")) or (mode is None and flags & 0b11):
            acts.append(f"open {path!r} for writing")
    elif event.split(".")[0] in {"socket", "subprocess", "shutil", "sqlite3", "tempfile"} or event in {
        "os.mkdir", "os.remove", "os.rename", "os.putenv", "os.chdir", "os.system", "os.fork",
    }:
        acts.append(f"{event} {args!r}")

before = set(sys.modules)
sys.dont_write_bytecode = True  # caching what was compiled is the interpreter's act, not ours
sys.addaudithook(watch)
%s
print(json.dumps({"modules": sorted(set(sys.modules) - before), "acts": acts, "threads": threading.active_count()}))
"""


def probe(statement: str) -> dict[str, Any]:
    """Runs `statement` in a fresh interpreter and returns what it imported and did."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE % statement], capture_output=True, text=True, check=False, timeout=50
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "an import says nothing"
    return json.loads(done.stdout.splitlines()[-1])


def heavy(seen: dict[str, Any]) -> set[str]:
    return HEAVY & {name.partition(".")[0] for name in seen["modules"]}


def test_importing_greenroom_does_nothing() -> None:
    seen = probe("import greenroom")
    assert heavy(seen) == set()
    assert seen["acts"] == []
    assert seen["threads"] == 1


def test_the_public_names_do_nothing_either() -> None:
    # `from greenroom import AgentManager` is what programs begin with.
    seen = probe("from greenroom import AgentManager, ReactJSAgent, Toolset, tool")
    assert heavy(seen) == set()
    assert seen["acts"] == []
    assert seen["threads"] == 1


def test_a_manager_is_made_without_any_act() -> None:
    seen = probe("from greenroom import AgentManager; AgentManager()")
    assert heavy(seen) <= {"sqlite3"}
    assert seen["acts"] == []
    assert seen["threads"] == 1


def test_the_command_line_loads_no_provider() -> None:
    seen = probe("import greenroom.cli")
    assert heavy(seen) <= {"rich", "typer"}


@pytest.mark.parametrize(
    "statement",
    ["import aiohttp", "open('x', 'w')", "threading.Thread(target=threading.Event().wait, daemon=True).start()"],
)
def test_the_probe_sees(statement: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    seen = probe(statement)
    assert heavy(seen) or seen["acts"] or seen["threads"] > 1
