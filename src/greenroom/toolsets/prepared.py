"""Changes that are there as a whole or not at all: prepared under a hidden name, made durable, then renamed into place.

What a crash leaves of one keeps its hidden name, and is known for what it is by its age: nothing takes that long to prepare.

Rule: nothing is ever written under the name that it will have.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Final

from greenroom.limits import PATH_DEPTH_MAX
from greenroom.toolsets.entry import kind_of
from greenroom.toolsets.folder import NEW_FILE_MODE, Folder
from greenroom.toolsets.relative_path import OWN_PREFIX, is_name

_LEFTOVER_S: Final = 3600.0
_CHUNK_BYTES: Final = 1024 * 1024
_PERMISSIONS: Final = 0o777


def hidden_name() -> str:
    """Returns a name that nothing has and no path can have."""
    return OWN_PREFIX + secrets.token_hex(8)


def is_leftover(name: str, found: os.stat_result) -> bool:
    """Returns whether it was prepared by somebody who did not live to finish it."""
    return name.startswith(OWN_PREFIX) and time.time() - found.st_mtime > _LEFTOVER_S


@contextmanager
def prepared(folder: Folder, name: str, check: Callable[[], None]) -> Iterator[str]:
    """Gives a hidden name to prepare a change under. It becomes `name` if that succeeds, and disappears if not.

    Args:
        folder: where.
        name: what is replaced or made.
        check: called before anything can be seen; what it raises undoes the change.

    Raises:
        OSError: the system failed. What was there is as it was.
    """
    hidden = hidden_name()
    try:
        yield hidden
        check()
        folder.rename(hidden, folder, name)
    except BaseException:
        discard(folder, hidden)
        raise
    folder.sync()


def discard(folder: Folder, hidden: str) -> None:
    """Removes what was prepared under a hidden name, if anything was."""
    with suppress(FileNotFoundError):
        if kind_of(folder.stat(hidden)) == "folder":
            folder.remove_tree(hidden)
        else:
            folder.remove_file(hidden)


def create_file(
    folder: Folder, name: str, chunks: Iterable[bytes], check: Callable[[], None], *, permissions: int = NEW_FILE_MODE
) -> None:
    """Writes a new file, durably. `check` is called between the chunks, and what it raises ends the writing."""
    with os.fdopen(folder.create_file(name), "wb") as file:
        for chunk in chunks:
            check()
            file.write(chunk)
        file.flush()
        if permissions != NEW_FILE_MODE and hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), permissions)
        os.fsync(file.fileno())


def permissions_of(found: os.stat_result) -> int:
    """Returns who may do what; without the bits that would make somebody else out of who does it."""
    return found.st_mode & _PERMISSIONS


def copy_entry(
    source: Folder,
    name: str,
    target: Folder,
    target_name: str,
    check: Callable[[], None],
    *,
    depth_max: int = PATH_DEPTH_MAX,
) -> int:
    """Copies a file or folder; returns how many links, special files and too deep folders were left out."""
    found = source.stat(name)
    kind = kind_of(found)
    if kind == "folder" and depth_max > 0:
        target.create_folder(target_name)
        with source.open_folder(name) as source_below, target.open_folder(target_name) as target_below:
            return copy_entries(source_below, target_below, check, depth_max=depth_max - 1)
    if kind != "file":
        return 1
    with os.fdopen(source.open_file(name), "rb") as file:
        create_file(target, target_name, _chunks(file, found.st_size), check, permissions=permissions_of(found))
    return 0


def copy_entries(source: Folder, target: Folder, check: Callable[[], None], *, depth_max: int = PATH_DEPTH_MAX) -> int:
    """Copies everything in a folder into another one; returns how much was left out."""
    names = [name for name in source.names() if not name.startswith(OWN_PREFIX)]
    return sum(
        copy_entry(source, name, target, name, check, depth_max=depth_max) if is_name(name) else 1 for name in names
    )


def _chunks(file: BinaryIO, size_bytes: int) -> Iterator[bytes]:
    """Yields what a file held when it was looked at: one that grows is not followed for ever."""
    while size_bytes > 0 and (chunk := file.read(min(_CHUNK_BYTES, size_bytes))):
        size_bytes -= len(chunk)
        yield chunk
