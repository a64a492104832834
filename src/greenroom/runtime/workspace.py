"""The folders of the sessions: where they are, and how they are copied and removed.

Rule: a folder is named after a checked session id, and nothing here follows a symbolic link out of it.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from greenroom.config import check_session_id


class Workspaces:
    """One folder per session below a common root; a folder is made by the first tool that writes into it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, session_id: str) -> Path:
        """Returns the session's folder, which may not exist.

        Raises:
            InvalidArgument: the id is malformed.
        """
        return self._root / check_session_id(session_id)

    async def remove(self, session_id: str) -> None:
        """Deletes the folder with all that is in it. Idempotent."""
        await asyncio.to_thread(_remove, self.path(session_id))

    async def copy(self, source_id: str, target_id: str) -> None:
        """Copies a folder, if there is one; links are copied as links."""
        await asyncio.to_thread(_copy, self.path(source_id), self.path(target_id))


def _remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True)
