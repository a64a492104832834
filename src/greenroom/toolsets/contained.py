"""The files of one session, and the only way to them.

`Workspace` is what the tools, the server and the copying of sessions use. It holds on to three things: nothing outside of the
root is ever read, written, listed, moved or removed (see `folder`); a file is at every moment either as it was or as it should
be (see `prepared`); and the workspace stays within its quotas. What a crash left of a change counts as used space, cannot be
reached, and is removed by the next change.

All methods block: async code calls them in a thread. Changes of one root exclude each other within this process, whatever the
number of `Workspace` objects; looking does not wait for anything.

Rule: paths come in as text, relative to the root, and go out the same way. No message ever names a place outside of it.
"""

from __future__ import annotations

import os
import shutil
import stat
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from greenroom.errors import InvalidArgument, LimitExceeded
from greenroom.interfaces import Entry
from greenroom.limits import DEFAULT_LIMITS, PATH_BYTES_MAX, PATH_DEPTH_MAX, Limits
from greenroom.toolsets.entry import IN_WORDS, SpaceUsed, entry_of, kind_of, told
from greenroom.toolsets.folder import NEW_FILE_MODE, NEW_FOLDER_MODE, Folder, is_link, open_folder
from greenroom.toolsets.prepared import (
    copy_entries,
    copy_entry,
    create_file,
    hidden_name,
    permissions_of,
    prepared,
)
from greenroom.toolsets.quota import check_room, space_used
from greenroom.toolsets.relative_path import OWN_PREFIX, is_name, join, parse_path, printable

_locks: Final[weakref.WeakValueDictionary[str, threading.Lock]] = weakref.WeakValueDictionary()
_locks_lock: Final = threading.Lock()


class Stopped(Exception):
    """The caller does not want the result any more; nothing was changed."""


class OpenFile(msgspec.Struct):
    """A file while it is changed: what `content` is in the end, it becomes."""

    content: bytes


class Workspace:
    """The files below one folder. The folder itself is made by the first change."""

    def __init__(self, root: Path, *, limits: Limits = DEFAULT_LIMITS, stop: threading.Event | None = None) -> None:
        """Names the folder; nothing is touched.

        Args:
            root: absolute and trusted; only what is below it is not.
            limits: the quotas.
            stop: once set, whatever runs ends with `Stopped`, and nothing is changed any more.
        """
        self.root = root
        self._limits = limits
        self._stop = stop
        self._lock = _lock_of(root)

    # --- looking --------------------------------------------------------------------------------------------------------

    def list(self, path: str = "") -> Sequence[Entry]:
        """Returns what is in a folder, by name; nothing for a workspace that nobody has written to.

        Raises:
            InvalidArgument: not a path, or not the path of a folder.
            FileNotFoundError: it does not exist.
            OSError: the system failed.
        """
        return [*self.walk(path, depth_max=1)]

    def walk(self, path: str = "", *, depth_max: int = PATH_DEPTH_MAX) -> Iterator[Entry]:
        """Yields what is in a folder and in the folders below it, each folder before what is in it. Links are not followed.

        Raises:
            As `list`.
        """
        names = parse_path(path)
        if not names and not self.root.exists():
            return
        with self._opened(names) as folder, told(names):
            yield from self._below(folder, names, depth_max)

    def find(self, path: str) -> Entry | None:
        """Returns what is at a path, or `None`.

        Raises:
            InvalidArgument: not a path.
            OSError: the system failed.
        """
        names = parse_path(path)
        if not names:
            return Entry(path=join(names), kind="folder")
        _, found = self._look(names)
        return None if found is None else entry_of(join(names), found)

    def read_bytes(self, path: str) -> bytes:
        """Returns the contents of a file.

        Raises:
            InvalidArgument: not a path, or not the path of a regular file with one name.
            FileNotFoundError: it does not exist.
            LimitExceeded: it is too large.
            OSError: the system failed.
        """
        names = _names_of_entry(path)
        with self._opened(names[:-1], on_the_way_to=names) as folder, told(names):
            return self._read(folder, names)

    def iter_files(self) -> Iterator[Entry]:
        """Yields all regular files.

        Raises:
            OSError: the system failed.
        """
        return (entry for entry in self.walk() if entry.kind == "file")

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yields name and contents of every regular file, by name.

        Raises:
            OSError: the system failed.
        """
        if self.root.exists():
            for entry in sorted(self.iter_files(), key=lambda entry: entry.path):
                yield entry.path, self.read_bytes(entry.path)

    def usage(self) -> SpaceUsed:
        """Returns how much of the quotas is used.

        Raises:
            OSError: the system failed.
        """
        with self._lock:
            return self._usage()

    def check_path(self, path: str) -> None:
        """Accepts the path of a file that could be written here; touches nothing.

        Raises:
            InvalidArgument: not a path within a workspace.
        """
        _names_of_entry(path)

    # --- changing -------------------------------------------------------------------------------------------------------

    def write_bytes(self, path: str, content: bytes) -> bool:
        """Writes a file, with the folders that it needs; returns whether it replaced one, whose permissions it takes over.

        Raises:
            InvalidArgument: not a path, or there is something else than a regular file.
            LimitExceeded: a quota.
            Stopped: see the constructor.
            OSError: the system failed. The file is as it was.
        """
        names = _names_of_entry(path)
        with self._changing():
            return self._write(names, content)

    @contextmanager
    def changing(self, path: str) -> Iterator[OpenFile]:
        """Holds the contents of a file, so that they can be replaced without anybody else changing it in between.

        Raises:
            As `read_bytes` and `write_bytes`.
        """
        names = _names_of_entry(path)
        with self._changing():
            with self._opened(names[:-1], on_the_way_to=names) as folder, told(names):
                file = OpenFile(self._read(folder, names))
            yield file
            self._write(names, file.content)

    def append_bytes(self, path: str, content: bytes) -> int:
        """Adds to the end of a file, which is made if it does not exist; returns its new size.

        Raises:
            As `write_bytes`.
        """
        names = _names_of_entry(path)
        with self._changing():
            _, found = self._look(names)
            if found is not None:
                with self._opened(names[:-1]) as folder, told(names):
                    content = self._read(folder, names) + content
            self._write(names, content)
        return len(content)

    def make_folder(self, path: str) -> bool:
        """Makes a folder, with those above it; returns whether it is new.

        Raises:
            InvalidArgument: not a path, or there is something else than a folder.
            LimitExceeded: a quota.
            Stopped: see the constructor.
            OSError: the system failed.
        """
        names = parse_path(path)
        with self._changing():
            missing, found = self._look(names)
            if names and found is not None and kind_of(found) != "folder":
                raise InvalidArgument(f"{join(names)} exists and is not a folder")
            self._check_room(entries=missing, size_bytes=0)
            with self._made(names):
                return missing > 0

    def move(self, source: str, target: str, *, replace: bool = False) -> None:
        """Moves or renames a file, folder or link within the workspace.

        Args:
            source: what to move.
            target: its new path. Folders that it needs are made.
            replace: whether a file at `target` may be replaced.

        Raises:
            InvalidArgument: not a path, or `target` lies within `source`.
            FileNotFoundError: `source` does not exist.
            FileExistsError: there is something at `target`.
            LimitExceeded: a quota.
            Stopped: see the constructor.
            OSError: the system failed.
        """
        source_names, target_names = _names_of_entry(source), _names_of_entry(target)
        with self._changing():
            moved = self._stat(source_names)
            missing = self._check_target(source_names, moved, target_names, replace=replace)
            self._check_room(entries=max(missing - 1, 0), size_bytes=0)
            with self._opened(source_names[:-1]) as old, self._made(target_names[:-1]) as new, told(target_names):
                self._check_stop()
                old.rename(source_names[-1], new, target_names[-1])
                new.sync()
                old.sync()

    def copy(self, source: str, target: str, *, replace: bool = False) -> int:
        """Copies a file, or a folder with everything in it; returns how many links and special files were left out.

        Raises:
            As `move`. `InvalidArgument` too if `source` itself is a link or a special file.
        """
        source_names, target_names = _names_of_entry(source), _names_of_entry(target)
        with self._changing():
            copied = self._stat(source_names)
            if kind_of(copied) not in {"file", "folder"}:
                raise InvalidArgument(
                    f"{join(source_names)} is {IN_WORDS[kind_of(copied)]}: only files and folders are copied"
                )
            missing = self._check_target(source_names, copied, target_names, replace=replace)
            entries, size_bytes = missing, copied.st_size
            if kind_of(copied) == "folder":
                size_bytes = 0
                for entry in self.walk(source):
                    entries += 1
                    size_bytes += entry.size_bytes
            self._check_room(entries=entries, size_bytes=size_bytes)
            with (
                self._opened(source_names[:-1]) as old,
                self._made(target_names[:-1]) as new,
                told(source_names),
                prepared(new, target_names[-1], self._check_stop) as hidden,
            ):
                return copy_entry(old, source_names[-1], new, hidden, self._check_stop)

    def remove(self, path: str, *, recursive: bool = False) -> bool:
        """Removes a file, a link or a folder; returns whether there was anything.

        Args:
            path: what to remove; not the workspace itself.
            recursive: whether a folder may have something in it.

        Raises:
            InvalidArgument: not a path, or a folder that is not empty and `recursive` is not set.
            Stopped: see the constructor.
            OSError: the system failed.
        """
        names = _names_of_entry(path)
        with self._changing():
            _, found = self._look(names)
            if found is None:
                return False
            with self._opened(names[:-1]) as folder, told(names):
                if kind_of(found) != "folder":
                    folder.remove_file(names[-1])
                else:
                    if not recursive and self.list(path):
                        raise InvalidArgument(
                            f"{join(names)} is not empty", hint="recursive removes what is in it, too"
                        )
                    # Out of sight first: nobody sees a folder of which a half is gone.
                    hidden = hidden_name()
                    folder.rename(names[-1], folder, hidden)
                    folder.remove_tree(hidden)
                folder.sync()
        return True

    # --- as a whole -----------------------------------------------------------------------------------------------------

    def copy_to(self, target: Workspace) -> int:
        """Copies everything into a workspace that is empty; returns how many links and special files were left out.

        Raises:
            FileExistsError: there is something in the target.
            LimitExceeded: it is more than the target may hold.
            Stopped: the target's caller does not want it any more.
            OSError: the system failed. The target is empty again.
        """
        if not self.root.exists():
            return 0
        used = self.usage()
        with target._changing():
            if target.list():
                raise FileExistsError("the target workspace is not empty")
            target._check_room(entries=used.entries, size_bytes=used.size_bytes)
            try:
                with self._opened(()) as old, target._made(()) as new, told(()):
                    return copy_entries(old, new, target._check_stop)
            except BaseException:
                _remove_root(target.root)
                raise

    def remove_all(self) -> None:
        """Removes the workspace itself with everything in it. Idempotent. Waits for a change that is under way.

        Raises:
            OSError: the system failed.
        """
        with self._lock, told(()):
            _remove_root(self.root)

    # --- steps ----------------------------------------------------------------------------------------------------------

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._lock:
            self._check_stop()
            yield

    def _check_stop(self) -> None:
        if self._stop is not None and self._stop.is_set():
            raise Stopped

    @contextmanager
    def _opened(self, names: Sequence[str], *, on_the_way_to: Sequence[str] = ()) -> Iterator[Folder]:
        """Holds a folder that exists; if it does not, that is told about this path, or the one that it is needed for."""
        with ExitStack() as way:
            with told(on_the_way_to or names):
                folder = way.enter_context(open_folder(self.root))
                for name in names:
                    folder = way.enter_context(folder.open_folder(name))
            yield folder

    @contextmanager
    def _made(self, names: Sequence[str]) -> Iterator[Folder]:
        """Holds a folder, which is made if it does not exist, with those above it."""
        with ExitStack() as way:
            with told(names):
                self.root.parent.mkdir(NEW_FOLDER_MODE, parents=True, exist_ok=True)
                with suppress(FileExistsError):
                    self.root.mkdir(NEW_FOLDER_MODE)
                folder = way.enter_context(open_folder(self.root))
                for name in names:
                    with suppress(FileExistsError):
                        folder.create_folder(name)
                        folder.sync()
                    folder = way.enter_context(folder.open_folder(name))
            yield folder

    def _look(self, names: Sequence[str]) -> tuple[int, os.stat_result | None]:
        """Returns how many of the names do not exist, and what the last one stands for."""
        there = 0
        with ExitStack() as way, told(names), suppress(FileNotFoundError):
            folder = way.enter_context(open_folder(self.root))
            for name in names[:-1]:
                folder = way.enter_context(folder.open_folder(name))
                there += 1
            return 0, folder.stat(names[-1]) if names else None
        return len(names) - there, None

    def _stat(self, names: Sequence[str]) -> os.stat_result:
        _, found = self._look(names)
        if found is None:
            raise FileNotFoundError(f"{join(names)} does not exist")
        return found

    def _below(self, folder: Folder, names: tuple[str, ...], depth_max: int) -> Iterator[Entry]:
        for name in folder.names():
            self._check_stop()
            if name.startswith(OWN_PREFIX):
                continue
            with suppress(FileNotFoundError):  # somebody else removed it meanwhile
                entry = entry_of(join((*names, printable(name))), folder.stat(name))
                if not is_name(name):
                    entry = msgspec.structs.replace(entry, kind="other")
                yield entry
                if entry.kind == "folder" and depth_max > 1 and len(names) + 1 < PATH_DEPTH_MAX:
                    # Shown, but closed to us, or replaced meanwhile: no reason to show nothing else.
                    with suppress(PermissionError, NotADirectoryError), folder.open_folder(name) as below:
                        yield from self._below(below, (*names, name), depth_max - 1)

    def _read(self, folder: Folder, names: Sequence[str]) -> bytes:
        bytes_max = self._limits.workspace_file_bytes_max
        with os.fdopen(folder.open_file(names[-1]), "rb") as file:
            content = file.read(bytes_max + 1)
        if len(content) > bytes_max:
            raise LimitExceeded(f"{join(names)} is too large", hint=f"files of at most {bytes_max} bytes can be read")
        return content

    def _write(self, names: Sequence[str], content: bytes) -> bool:
        bytes_max = self._limits.workspace_file_bytes_max
        if len(content) > bytes_max:
            raise LimitExceeded(
                f"{join(names)} would be {len(content)} bytes", hint=f"a file has at most {bytes_max}; use several"
            )
        missing, found = self._look(names)
        if found is not None and (kind := kind_of(found)) != "file":
            raise InvalidArgument(f"{join(names)} exists and is {IN_WORDS[kind]}, not a file")
        self._check_room(entries=missing, size_bytes=len(content) - (found.st_size if found else 0))
        with (
            self._made(names[:-1]) as folder,
            told(names),
            prepared(folder, names[-1], self._check_stop) as hidden,
        ):
            permissions = permissions_of(found) if found else NEW_FILE_MODE
            create_file(folder, hidden, [content], self._check_stop, permissions=permissions)
        return found is not None

    # --- rules ----------------------------------------------------------------------------------------------------------

    def _check_target(
        self, source: Sequence[str], found: os.stat_result, target: Sequence[str], *, replace: bool
    ) -> int:
        """Returns how many names of the target do not exist, if `source` may go there."""
        if tuple(target[: len(source)]) == tuple(source):
            same = len(target) == len(source)
            raise InvalidArgument(
                f"{join(target)} {'is' if same else 'lies within'} {join(source)}, which would go there"
            )
        missing, there = self._look(target)
        kind = kind_of(found)
        if there is not None:
            # Another spelling of the same name, where case does not matter, is not in the way.
            is_itself = kind != "other" and os.path.samestat(found, there)
            if not is_itself and not (replace and kind == kind_of(there) == "file"):
                raise FileExistsError(f"{join(target)} exists already")
        if kind == "folder":
            for entry in self.walk(join(source)):
                names = (*target, *entry.path.split("/")[len(source) :])
                if len(names) > PATH_DEPTH_MAX or len(join(names).encode()) > PATH_BYTES_MAX:
                    raise InvalidArgument(f"{entry.path} would be too deep at {join(names)}")
        return missing

    def _check_room(self, *, entries: int, size_bytes: int) -> None:
        if entries <= 0 and size_bytes <= 0:
            return
        check_room(self._usage(), self._limits, entries=entries, size_bytes=size_bytes)

    def _usage(self) -> SpaceUsed:
        if not self.root.exists():
            return SpaceUsed()
        with self._opened(()) as folder, told(()):
            return space_used(folder, self._limits)


def _names_of_entry(path: str) -> tuple[str, ...]:
    """Returns the names of a path that is not the workspace itself."""
    if names := parse_path(path):
        return names
    raise InvalidArgument(f"{path!r} is the workspace itself", hint="name something in it, for example notes/plan.md")


def _remove_root(root: Path) -> None:
    with suppress(FileNotFoundError):
        found = root.lstat()
        if stat.S_ISDIR(found.st_mode) and not is_link(found):
            shutil.rmtree(root)
        else:
            root.unlink()


def _lock_of(root: Path) -> threading.Lock:
    key = str(root.absolute())
    with _locks_lock:
        lock = _locks.get(key)
        if lock is None:
            lock = _locks[key] = threading.Lock()
        return lock
