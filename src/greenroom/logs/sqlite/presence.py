"""Which processes have the database open: a locked file for each, in a folder beside it.

The operating system lets go of a lock when its process ends, however it ends. So whoever can take the lock of a node knows
that the node is dead: exactly, at once, without clocks and heartbeats, and also after `kill -9`.

Rule: a lock file is removed only by who holds its lock.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Final

from greenroom.errors import EventLogError, LogUnavailable
from greenroom.logs.sqlite.database import Database, make_private_folder

_NODE: Final = re.compile(r"[0-9a-f]{16}")
_held: Final[weakref.WeakSet[Presence]] = weakref.WeakSet()


class Presence:
    """This process incarnation, for as long as its lock is held. Making one takes the lock.

    Attributes:
        node: its id; never used again.
    """

    def __init__(self, database: Database) -> None:
        self.node = secrets.token_hex(8)
        self._database = database
        self._folder = nodes_folder(database)
        try:
            make_private_folder(self._folder)
            _sweep(self._folder)
            self._file = self._lock_own()
        except OSError as error:
            raise self._unusable(error) from error
        _let_go_in_children()
        _held.add(self)

    def is_alive(self, node: str) -> bool:
        """Returns whether the process behind `node` still has the database open.

        Raises:
            LogUnavailable: its lock cannot be looked at.
        """
        if node == self.node:
            return True
        try:
            # An id may come from an imported session: it is looked at before it becomes a file name.
            return bool(_NODE.fullmatch(node)) and not _removed_if_dead(self._path(node))
        except OSError as error:
            raise self._unusable(error) from error

    def close(self) -> None:
        """Ends the presence. Idempotent."""
        if self._file >= 0:
            file, self._file = self._file, -1
            _remove(self._path(self.node), file)

    def abandon(self) -> None:
        """Closes the lock file without touching the lock: it belongs to the process that this one was forked from."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _unusable(self, error: OSError) -> EventLogError:
        return self._database.explained(
            LogUnavailable(
                f"the locks of processes beside the database cannot be used: {error.strerror}",
                hint="make the folder of the database writable",
            )
        )

    def _path(self, node: str) -> Path:
        return self._folder / f"{node}.lock"

    def _lock_own(self) -> int:
        path = self._path(self.node)
        while True:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            if _try_lock(file) and _is_at(path, file):
                return file
            os.close(file)  # a sweeping process took it for a dead one's, between our making and our locking


def nodes_folder(database: Database) -> Path:
    """Returns the folder of the lock files."""
    return database.path.with_name(f"{database.path.name}.nodes")


def _sweep(folder: Path) -> None:
    for path in folder.glob("*.lock"):
        _removed_if_dead(path)


def _removed_if_dead(path: Path) -> bool:
    """Returns whether nobody holds the lock file, or there is none; removes what a dead process left."""
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return True
    except PermissionError:  # another user's, and nobody we could speak for
        return False
    if not _try_lock(file):
        os.close(file)
        return False
    _remove(path, file)
    return True


def _is_at(path: Path, file: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(file))
    return False


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: int) -> bool:
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _remove(path: Path, file: int) -> None:
        """Lets the lock go and removes its file, unless another process has opened it meanwhile."""
        os.close(file)
        with suppress(PermissionError):
            path.unlink(missing_ok=True)

else:
    import fcntl

    def _try_lock(file: int) -> bool:
        # flock, not lockf: it belongs to the open file, so two stores of one process exclude each other too, and closing
        # another descriptor of the same file does not let it go.
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _remove(path: Path, file: int) -> None:
        """Removes the lock file while its lock is held, then lets it go."""
        if _is_at(path, file):
            path.unlink(missing_ok=True)
        os.close(file)


_is_watching_forks = False


def _let_go_in_children() -> None:
    """Closes the lock files in every child that is forked from now on: it would keep a dead parent alive."""
    global _is_watching_forks  # noqa: PLW0603 - once for the process: hooks cannot be taken away again
    if not _is_watching_forks and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_abandon_all)
        _is_watching_forks = True


def _abandon_all() -> None:
    for presence in list(_held):
        presence.abandon()
