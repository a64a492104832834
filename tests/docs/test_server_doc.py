"""What the documentation shows of the server, runs: the commands for a shell, and the client."""

from __future__ import annotations

import asyncio
import re
import shutil
import textwrap
from pathlib import Path
from typing import Any

import pytest

from server.process import TOKEN, running
from server.serving_child import STORY

ROOT = Path(__file__).parents[2]


def block(page: str, language: str, part: str) -> str:
    """The block of a page that has `part` in it."""
    blocks = re.findall(
        rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return str(next(found for found in blocks if part in found))


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("sh")), reason="no curl, or no shell, on this machine")
@pytest.mark.parametrize("page", ["README.md", "docs/server.md"])
async def test_the_commands_run(home: Path, page: str) -> None:
    async with running(home) as server:
        (home / "server-token").write_text(TOKEN, encoding="utf-8")
        commands = block(page, "sh", "curl").replace("localhost:8765", f"localhost:{server.port}")
        shell = await asyncio.create_subprocess_exec(
            "sh",
            "-ec",
            commands,
            stdout=asyncio.subprocess.PIPE,
            env={"GREENROOM_HOME": str(home), "PATH": "/usr/bin:/bin"},
        )
        said, _ = await shell.communicate()
    assert shell.returncode == 0
    assert b'"session_id":"trip"' in said
    assert b"RUN_FINISHED" in said


async def test_the_client_runs(home: Path) -> None:
    source = block("docs/server.md", "python notest", "greenroom.client")
    program = "async def shown(token, print):\n" + textwrap.indent(source, "    ")
    printed: list[Any] = []
    async with running(home) as server:
        names: dict[str, Any] = {}
        exec(program.replace("http://127.0.0.1:8765", server.url), names)
        await names["shown"](TOKEN, lambda text, **_: printed.append(text))
    assert printed[0] == "".join(STORY)
    assert printed[-1] == "".join(STORY)
