"""Disks that a test may fill, make read-only, and cut the power of.

Rule: needs root, a Linux and loop devices; what cannot be made skips the test with the reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

_MIB: Final = 1024 * 1024


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{command[0]}: {done.stderr.strip() or done.stdout.strip()}")


def _check() -> None:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root may mount a disk")
    if missing := [name for name in ("mount", "umount", "mkfs.ext4") if shutil.which(name) is None]:
        pytest.skip(f"there is no {', '.join(missing)} here")


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """Mounts something at a folder of its own."""
    _check()
    folder.mkdir()
    _run(["mount", *options, str(folder)])
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def small_disk(folder: Path, *, mib: int) -> Iterator[SmallDisk]:
    """Mounts a disk of so many MiB, in memory."""
    with mounted(folder, "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs"):
        yield SmallDisk(folder)


class SmallDisk:
    """A disk that can be full for a while, or read-only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    @contextmanager
    def full(self) -> Iterator[None]:
        """Leaves no byte free."""
        with self._filler.open("wb", buffering=0) as filler:
            size = _MIB
            while size:
                try:
                    filler.write(b"x" * size)
                except OSError:
                    size //= 2
        try:
            yield
        finally:
            self._filler.unlink()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Refuses to be written. Files that are open for writing stay so: a disk that the system gives up is not asked either."""
        _run(["mount", "-o", "remount,ro", str(self.folder)])
        try:
            yield
        finally:
            subprocess.run(["mount", "-o", "remount,rw", str(self.folder)], check=True)


class RealDisk:
    """A file with an ext4 in it. What a program has not synchronised is not in the file: a copy of it is the disk after a power cut."""

    def __init__(self, folder: Path, *, mib: int = 48) -> None:
        _check()
        self._folder = folder
        self._image = folder / "disk.img"
        with self._image.open("wb") as image:
            image.truncate(mib * _MIB)
        _run(["mkfs.ext4", "-q", "-F", str(self._image)])

    @contextmanager
    def running(self) -> Iterator[Path]:
        """The disk, in use. The kernel writes nothing by itself for minutes."""
        with mounted(self._folder / "running", "-o", "loop,commit=300", str(self._image)) as folder:
            yield folder

    def cut(self) -> None:
        """Keeps what is on the disk at this moment, as if the power failed. Nobody may be writing."""
        shutil.copyfile(self._image, self._folder / "cut.img")

    @contextmanager
    def started_again(self) -> Iterator[Path]:
        """The disk as it was when the power was cut."""
        with mounted(self._folder / "again", "-o", "loop", str(self._folder / "cut.img")) as folder:
            yield folder
