"""The backup that docs/deployment.md describes, made with its very commands while a server runs, and restored as it says (case S17)."""

from __future__ import annotations

import asyncio
import re
import shutil
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from greenroom import AgentManager
from greenroom.backends.scripted import Say, ScriptedBackend
from greenroom.messages import TextPart

DOC = Path(__file__).parents[2] / "docs" / "deployment.md"
HOME = "/var/lib/greenroom"


def recipe(home: Path) -> str:
    """The commands of the chapter, for a server whose home is `home`."""
    chapter = DOC.read_text(encoding="utf-8").partition("## Backups")[2].partition("## ")[0]
    (commands,) = re.findall(r"```sh\n(.*?)```", chapter, re.DOTALL)
    assert HOME in commands
    return str(commands).replace(HOME, str(home)).replace("python3 ", f"{sys.executable} ")


@pytest.mark.skipif(shutil.which("tar") is None, reason="there is no tar")
async def test_a_backup_made_while_the_server_runs_can_be_restored(tmp_path: Path) -> None:
    home, elsewhere, restored = tmp_path / "home", tmp_path / "elsewhere", tmp_path / "restored"
    backend = ScriptedBackend([[Say("An answer.")]])
    async with AgentManager(f"sqlite:///{home / 'greenroom.db'}", home=home, backends={"scripted": backend}) as manager:
        session_id = await manager.create_session(backend="scripted")
        folder = await manager.workspace(session_id)
        await asyncio.to_thread(folder.write_bytes, "note.txt", b"a file")
        async for _ in manager.stream_response(session_id, "A question."):
            pass
        await asyncio.to_thread(backed_up, home, elsewhere)
    await asyncio.to_thread(restore, elsewhere, restored)
    async with AgentManager(
        f"sqlite:///{restored / 'greenroom.db'}", home=restored, backends={"scripted": backend}
    ) as manager:
        parts = [part for message in await manager.history(session_id) for part in message.parts]
        assert [part.text for part in parts if isinstance(part, TextPart)] == ["A question.", "An answer."]
        folder = await manager.workspace(session_id)
        assert await asyncio.to_thread(folder.read_bytes, "note.txt") == b"a file"


def backed_up(home: Path, elsewhere: Path) -> None:
    """Makes the backup as an administrator does: in a shell, with the usual umask of one."""
    elsewhere.mkdir(mode=0o755)
    command = ["sh", "-euc", f"umask 022\n{recipe(home)}"]
    made = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False)
    assert (made.returncode, made.stderr) == (0, "")
    assert sorted(path.name for path in elsewhere.iterdir()) == ["backup.db", "files.tar"]
    for path in elsewhere.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, f"{path.name} is as private as the database"


def restore(elsewhere: Path, restored: Path) -> None:
    """Puts the files in their places."""
    restored.mkdir()
    shutil.copy(elsewhere / "backup.db", restored / "greenroom.db")
    with tarfile.open(elsewhere / "files.tar") as files:
        assert not any("greenroom.db" in name for name in files.getnames())
        files.extractall(restored, filter="data")
