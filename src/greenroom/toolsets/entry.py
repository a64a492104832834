"""What is found in a workspace, and how it is spoken of.

Rule: what the system says about a descriptor becomes what a person or model can read about a path.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

from greenroom.errors import InvalidArgument
from greenroom.interfaces import Entry, EntryKind
from greenroom.toolsets.folder import is_link
from greenroom.toolsets.relative_path import join

IN_WORDS: Final[dict[EntryKind, str]] = {
    "file": "a file",
    "folder": "a folder",
    "link": "a link",
    "other": "a special file",
}

_REFUSED: Final = frozenset(
    {errno.ELOOP, errno.EMLINK, errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ, errno.EXDEV, errno.ESTALE}
)
"""What the system says about a path rather than about the disk."""


class SpaceUsed(msgspec.Struct, frozen=True, kw_only=True):
    """What the quotas are about.

    Attributes:
        entries: files, folders and everything else that has a name.
    """

    entries: int = 0
    size_bytes: int = 0


def entry_of(path: str, found: os.stat_result) -> Entry:
    """Returns the entry at a path."""
    kind = kind_of(found)
    return Entry(
        path=path,
        kind=kind,
        size_bytes=0 if kind == "folder" else found.st_size,
        modified_at_ms=found.st_mtime_ns // 1_000_000,
    )


def kind_of(found: os.stat_result) -> EntryKind:
    """Returns what sort of thing it is."""
    if is_link(found):
        return "link"
    if stat.S_ISDIR(found.st_mode):
        return "folder"
    return "file" if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 else "other"


@contextmanager
def told(names: Sequence[str]) -> Iterator[None]:
    """Says in our words, and with the path that consists of `names`, what the system raises inside.

    Raises:
        FileNotFoundError: the system's.
        InvalidArgument: the path does not lead to what the system was asked for.
        OSError: everything else, without a place outside of the workspace in it.
    """
    path = join(names)
    try:
        yield
    except OSError as error:
        if error.errno is None:  # in our words already
            raise
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(f"{path} does not exist") from error
        if isinstance(error, NotADirectoryError):
            raise InvalidArgument(f"{path}, or a part of it, is not a folder", hint="links are not followed") from error
        if isinstance(error, IsADirectoryError):
            raise InvalidArgument(f"{path} is a folder, not a file") from error
        if error.errno in _REFUSED:
            raise InvalidArgument(f"{path}: {error.strerror}") from error
        raise OSError(error.errno, error.strerror, path) from error
