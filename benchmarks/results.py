"""The results of a run: rows with the machine, the versions and the time they were made at.

Rule: everything that the report says is in here, so that it can be made again without measuring.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.contenders.environments import versions
from benchmarks.measure import Row

_OURS: Final = ("greenroom", "msgspec", "aiohttp", "uvloop", "openai", "anthropic")


@dataclass
class Results:
    """One run.

    Attributes:
        at: day and time, UTC.
        machine: what it was measured on.
        packages: versions in the project's own environment.
        peers: the packages that were asked for, by peer.
        load: of the machine when it began, in processes.
        is_quick: with small sizes: not to be compared with anything.
        failures: of whole measurements.
        seconds: what each measurement took.
    """

    at: str
    machine: str
    packages: dict[str, str]
    peers: dict[str, list[str]]
    load: float
    cores: int
    is_quick: bool
    rows: list[Row] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def begin(cls, *, is_quick: bool) -> Results:
        """Returns results of this machine, without rows."""
        return cls(
            at=f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M}",
            machine=_machine(),
            packages={name: version(name) for name in _OURS},
            peers={peer: entry["asked"] for peer, entry in versions().items()},
            load=os.getloadavg()[0],
            cores=os.cpu_count() or 1,
            is_quick=is_quick,
        )

    @property
    def was_busy(self) -> bool:
        """Whether the machine had other things to do when it began."""
        return self.load > self.cores / 2

    def save(self, path: Path) -> None:
        """Writes them as JSON."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")

    @classmethod
    def load_from(cls, path: Path) -> Results:
        """Reads what `save` wrote.

        Raises:
            OSError: there is no such file.
            msgspec.MsgspecError: it holds something else.
        """
        return msgspec.json.decode(path.read_bytes(), type=cls)


def _machine() -> str:
    processor = platform.machine()
    described = Path("/proc/cpuinfo")
    if described.exists():
        names = [
            line.partition(":")[2].strip()
            for line in described.read_text().splitlines()
            if line.startswith("model name")
        ]
        processor = f"{names[0]} ({processor})" if names else processor
    return (
        f"{platform.system()} {platform.release().split('-')[0]}, {os.cpu_count()} cores of {processor}, "
        f"{platform.python_implementation()} {platform.python_version()}, uvloop, SQLite {_sqlite()}"
    )


def _sqlite() -> str:
    import sqlite3

    return sqlite3.sqlite_version
