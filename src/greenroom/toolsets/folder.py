"""An open folder, and what can be done with the names in it.

Containment rests on one idea: a folder is held open, and everything below it is reached name by name from what is held. A
path is never resolved, so there is nothing that a symbolic link could lead astray, and nothing that a race could change
between a check and its use: whoever swaps a folder for a link makes the next step fail, and cannot make it go elsewhere.

Where the system cannot open a name relative to an open folder (Windows), `CheckedFolder` does the same with whole paths: it
checks before each step that no part of the path is a link or junction and that the path resolves to itself. That is as strict
about what it finds, but it leaves a moment between check and use. `open_folder` chooses.

Rule: a method takes one plain name, never a path, and never follows a link. Errors are those of the system.
"""
# ruff: noqa: D102 - what the methods do is said once, in the protocol

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path
from typing import Final, Protocol, Self

# Flags that a platform does not have are 0: it then has no descriptors relative to folders either.
_FOLDER_FLAGS: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
# O_NONBLOCK: opening a FIFO must not wait for a writer. O_NOCTTY: a terminal must not become ours.
_READ_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)
_NEW_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_REPARSE_POINT: Final = 0x400
"""`FILE_ATTRIBUTE_REPARSE_POINT`: what links, junctions and mounts are on Windows."""

NEW_FILE_MODE: Final = 0o600
NEW_FOLDER_MODE: Final = 0o700

HAS_DESCRIPTORS: Final = (
    {os.open, os.stat, os.mkdir, os.rmdir, os.rename, os.unlink} <= os.supports_dir_fd
    and os.scandir in os.supports_fd
    and shutil.rmtree.avoids_symlink_attacks
)
"""Whether this system can do everything relative to an open folder."""


class Folder(Protocol):
    """An open folder. Leave its context to close it."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc_info: object) -> None: ...

    def open_folder(self, name: str) -> Folder:
        """Opens a folder in it; `NotADirectoryError` for anything else, links included."""
        ...

    def open_file(self, name: str) -> int:
        """Opens a regular file for reading and returns its descriptor.

        Raises:
            OSError: with `EINVAL` for anything else than a regular file, `ELOOP` for a link, `EMLINK` for a file that has
                further names: they may lie outside of the workspace.
        """
        ...

    def create_file(self, name: str) -> int:
        """Creates a file that does not exist and returns its descriptor for writing."""
        ...

    def stat(self, name: str) -> os.stat_result:
        """Returns what the name stands for; a link for itself."""
        ...

    def names(self) -> list[str]:
        """Returns all names in it, sorted."""
        ...

    def create_folder(self, name: str) -> None:
        """Creates a folder."""
        ...

    def rename(self, name: str, target: Folder, target_name: str) -> None:
        """Moves what the name stands for into another folder of the same kind; replaces a file that is there."""
        ...

    def remove_file(self, name: str) -> None:
        """Removes a file, a link or anything else that is not a folder."""
        ...

    def remove_tree(self, name: str) -> None:
        """Removes a folder with everything in it; links in it are removed, not followed."""
        ...

    def sync(self) -> None:
        """Makes the names in it durable, where the system can."""
        ...


def open_folder(path: Path) -> Folder:
    """Opens a folder by its trusted path; its last name must not be a link.

    Raises:
        OSError: it is not there, not a folder, or a link.
    """
    return DescriptorFolder(_folder_descriptor(path, None)) if HAS_DESCRIPTORS else CheckedFolder(path, path)


class DescriptorFolder:
    """A folder held by a descriptor: what it is called meanwhile does not matter.

    Attributes:
        descriptor: ours to close.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        os.close(self.descriptor)

    def open_folder(self, name: str) -> DescriptorFolder:
        return DescriptorFolder(_folder_descriptor(name, self.descriptor))

    def open_file(self, name: str) -> int:
        # Looked at before it is opened: opening alone makes some devices act.
        _check_readable(self.stat(name), name)
        return _checked_file(os.open(name, _READ_FLAGS, dir_fd=self.descriptor), name)

    def create_file(self, name: str) -> int:
        return os.open(name, _NEW_FLAGS, NEW_FILE_MODE, dir_fd=self.descriptor)

    def stat(self, name: str) -> os.stat_result:
        return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)

    def names(self) -> list[str]:
        with os.scandir(self.descriptor) as entries:
            return sorted(entry.name for entry in entries)

    def create_folder(self, name: str) -> None:
        os.mkdir(name, NEW_FOLDER_MODE, dir_fd=self.descriptor)

    def rename(self, name: str, target: Folder, target_name: str) -> None:
        assert isinstance(target, DescriptorFolder), "folders of one workspace are of one kind"
        os.rename(name, target_name, src_dir_fd=self.descriptor, dst_dir_fd=target.descriptor)

    def remove_file(self, name: str) -> None:
        os.unlink(name, dir_fd=self.descriptor)

    def remove_tree(self, name: str) -> None:
        shutil.rmtree(name, dir_fd=self.descriptor)

    def sync(self) -> None:
        os.fsync(self.descriptor)


class CheckedFolder:
    """A folder known by its path, for systems without descriptors relative to folders.

    Attributes:
        root: the workspace; no path may lead out of it.
        path: this folder.
    """

    def __init__(self, root: Path, path: Path) -> None:
        self.root = root
        self.path = path
        self._check()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        return None

    def open_folder(self, name: str) -> CheckedFolder:
        return CheckedFolder(self.root, self.at(name))

    def open_file(self, name: str) -> int:
        found = self.stat(name)
        _check_readable(found, name)
        descriptor = _checked_file(os.open(self.at(name), _READ_FLAGS), name)
        if not os.path.samestat(found, os.fstat(descriptor)):
            os.close(descriptor)
            raise OSError(errno.ESTALE, "it was replaced while it was opened", name)
        return descriptor

    def create_file(self, name: str) -> int:
        return os.open(self.at(name), _NEW_FLAGS, NEW_FILE_MODE)

    def stat(self, name: str) -> os.stat_result:
        return self.at(name).lstat()

    def names(self) -> list[str]:
        with os.scandir(self._checked()) as entries:
            return sorted(entry.name for entry in entries)

    def create_folder(self, name: str) -> None:
        self.at(name).mkdir(NEW_FOLDER_MODE)

    def rename(self, name: str, target: Folder, target_name: str) -> None:
        assert isinstance(target, CheckedFolder), "folders of one workspace are of one kind"
        self.at(name).replace(target.at(target_name))

    def remove_file(self, name: str) -> None:
        self.at(name).unlink()

    def remove_tree(self, name: str) -> None:
        shutil.rmtree(self.at(name))

    def sync(self) -> None:
        """Does nothing: such systems order the names themselves."""

    def at(self, name: str) -> Path:
        """Returns the path of a name in it, after having checked the way to it."""
        return self._checked() / name

    def _checked(self) -> Path:
        self._check()
        return self.path

    def _check(self) -> None:
        below = self.path.relative_to(self.root).parts
        for depth in range(len(below) + 1):
            place = self.root.joinpath(*below[:depth])
            if is_link(found := place.lstat()) or not stat.S_ISDIR(found.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), below[depth - 1] if depth else "")
        if self.path.resolve() != self.root.resolve().joinpath(*below):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self.path.name)


def _folder_descriptor(name: str | Path, above: int | None) -> int:
    try:
        return os.open(name, _FOLDER_FLAGS, dir_fd=above)
    except OSError as error:
        # Systems disagree about what a link is to O_DIRECTORY | O_NOFOLLOW: ENOTDIR, ELOOP, EMLINK or EFTYPE.
        if error.errno in {errno.ELOOP, errno.EMLINK, getattr(errno, "EFTYPE", errno.ELOOP)}:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(name)) from error
        raise


def is_link(found: os.stat_result) -> bool:
    """Returns whether it is a symbolic link, a junction or anything else that stands for another place."""
    return stat.S_ISLNK(found.st_mode) or bool(getattr(found, "st_file_attributes", 0) & _REPARSE_POINT)


def _check_readable(found: os.stat_result, name: str) -> None:
    if is_link(found):
        raise OSError(errno.ELOOP, "it is a link", name)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", name)
    if found.st_nlink > 1:
        raise OSError(errno.EMLINK, "it has further names (hard links)", name)


def _checked_file(descriptor: int, name: str) -> int:
    """Returns the descriptor of an open file if it may be read, else closes it."""
    try:
        _check_readable(os.fstat(descriptor), name)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
