"""The power fails in the middle of a streaming turn: what was acknowledged is on the disk, and the session goes on.

The disk is a file with a real file system in it. The process is stopped, the file copied: what was never synchronised is not in the
copy, as it is not on a disk whose power was cut.

Rule: the child's own lines are the witness, as with `kill -9`; and a database that does not wait for the disk must not pass.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from disks import RealDisk
from test_kill import SESSION, check

from greenroom import SessionNotFound

HERE = Path(__file__).parent


def stopped(pid: int) -> None:
    """Stops a process, and returns when none of its threads runs any more, in the kernel neither."""
    os.kill(pid, signal.SIGSTOP)
    while any(
        (task / "stat").read_text().rpartition(")")[2].split()[0] not in {"T", "t"}
        for task in Path(f"/proc/{pid}/task").iterdir()
    ):
        time.sleep(0.001)  # real time: another process comes to rest


def said_until_the_cut(disk: RealDisk, child: str, delay_s: float) -> list[str]:
    """Lets a child talk for `delay_s` after it has opened the session, cuts the power, and returns what it had said."""
    with disk.running() as folder:
        process = subprocess.Popen(
            [sys.executable, str(HERE / child), str(folder / "home"), SESSION],
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": str(HERE), "PATH": ""},
        )
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"open\n", "the child did not open the session"
            time.sleep(delay_s)  # real time: the child talks
            stopped(process.pid)
            os.set_blocking(process.stdout.fileno(), False)
            said = process.stdout.read() or b""
            disk.cut()
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
    return said.decode().splitlines()


def cut(folder: Path, child: str, delay_s: float) -> int:
    """Cuts the power once and checks what is left; returns how much had been acknowledged."""
    folder.mkdir()
    disk = RealDisk(folder)
    said = said_until_the_cut(disk, child, delay_s)
    with disk.started_again() as again:
        paid = Counter(line.partition(" ")[2] for line in said if line.startswith("paid "))
        asyncio.run(check(again / "home", said, paid))
    return sum(line.startswith("acknowledged") for line in said)


def cut_repeatedly(folder: Path, times: int) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    acknowledged = [cut(folder / str(number), "talking_child.py", chance.uniform(0.05, 0.6)) for number in range(times)]
    assert sum(acknowledged) >= times / 2


def test_what_was_acknowledged_is_on_the_disk(tmp_path: Path) -> None:
    cut_repeatedly(tmp_path, 3)


@pytest.mark.long
@pytest.mark.parametrize("disk_number", range(10))
def test_what_was_acknowledged_is_on_the_disk_a_hundred_times(tmp_path: Path, disk_number: int) -> None:
    cut_repeatedly(tmp_path, 10)


def test_a_database_that_does_not_wait_for_the_disk_is_found(tmp_path: Path) -> None:
    with pytest.raises((AssertionError, SessionNotFound)):
        cut(tmp_path / "disk", "careless_child.py", 0.4)
