"""The folders of the sessions: where they are, and how they are copied and removed.

Rule: a folder is named after a checked session id, and nothing here follows a symbolic link out of it.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from greenroom.config import check_session_id
from greenroom.errors import GreenroomError, InvalidStream, LogUnavailable
from greenroom.interfaces import WorkspaceFolder


class Workspaces:
    """One folder per session below a common root; a folder is made by the first tool that writes into it."""

    def __init__(self, root: Path, *, open_folder: Callable[[Path], WorkspaceFolder]) -> None:
        self._root = root
        self._open_folder = open_folder

    def path(self, session_id: str) -> Path:
        """Returns the session's folder, which may not exist.

        Raises:
            InvalidArgument: the id is malformed.
        """
        return self._root / check_session_id(session_id)

    async def remove(self, session_id: str) -> None:
        """Deletes the folder with all that is in it. Idempotent."""
        await asyncio.to_thread(self._open_folder(self.path(session_id)).remove_all)

    def folder(self, session_id: str) -> WorkspaceFolder:
        """Returns the session's folder, for threads to work with."""
        return self._open_folder(self.path(session_id))

    async def stage(self, files: Mapping[str, bytes]) -> Path | None:
        """Writes files into a folder of their own that `adopt` moves into place. Each is asked for when it is written.

        Returns:
            The folder; `None` when there is nothing to write.

        Raises:
            InvalidArgument: the name of one is not one that could be written to a workspace.
            InvalidStream: the file system takes two of the names for one.
            LogUnavailable: the disk did not take them; nothing stays behind.
        """
        if not files:
            return None
        staging = self._staging()
        for name in files:
            self._open_folder(staging).check_path(name)
        return await asyncio.to_thread(_stage, staging, lambda folder: _write(folder, files))

    async def stage_copy(self, session_id: str) -> Path | None:
        """As `stage`, with a copy of a session's files; links and special files stay behind.

        Raises:
            LogUnavailable: as `stage`.
            LimitExceeded: there is more than a workspace may hold.
        """
        source, staging = self.path(session_id), self._staging()

        def copied() -> Path | None:
            if not source.is_dir():
                return None
            return _stage(staging, lambda folder: self._copy(source, folder))

        return await asyncio.to_thread(copied)

    async def adopt(self, staged: Path | None, session_id: str) -> bool:
        """Makes the staged folder the session's; `False` when one is there already."""
        return staged is None or await asyncio.to_thread(_move, staged, self.path(session_id))

    async def give_back(self, session_id: str, staged: Path | None) -> None:
        """Undoes `adopt`."""
        if staged is not None:
            await asyncio.to_thread(_move, self.path(session_id), staged)

    async def discard(self, staged: Path | None) -> None:
        """Deletes a staged folder that nobody adopted. Idempotent."""
        if staged is not None:
            await asyncio.to_thread(_remove, staged)

    def _copy(self, source: Path, target: Path) -> None:
        self._open_folder(source).copy_to(self._open_folder(target))

    def _staging(self) -> Path:
        # A leading dot: no session id begins with one.
        return self._root / f".staged-{secrets.token_hex(8)}"


def _remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def _stage(folder: Path, fill: Callable[[Path], None]) -> Path:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fill(folder)
    except GreenroomError:
        _remove(folder)
        raise
    except OSError as error:
        _remove(folder)
        raise LogUnavailable(f"the workspace cannot be written: {error.strerror}", hint="check the disk") from error
    return folder


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(mode=0o700)
    for name, data in files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with path.open("xb") as file:
                file.write(data)
        except FileExistsError as error:
            # Only the file system knows: on macOS names are the same that differ in case, or in how an accent is written.
            raise InvalidStream(
                f"{name[:80]!r} and another file of the bundle have the same name on this system",
                hint="rename one of them where the session was exported, and export it again",
            ) from error


def _move(source: Path, target: Path) -> bool:
    try:
        source.rename(target)
    except OSError as error:
        if error.errno in {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR} or target.exists():
            return False
        raise LogUnavailable(f"the workspace cannot be moved: {error.strerror}", hint="check the disk") from error
    return True
