"""Processes that share a database, die, fork, or leave it open. Real processes, and a real `kill -9`."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from greenroom.logs.sqlite import SqliteStore
from greenroom.testing.log_conformance.samples import found, text

CHILDREN = Path(__file__).with_name("children.py")


@contextmanager
def child(*arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """Starts a program of children.py, and sees to it that it ends."""
    process = subprocess.Popen(
        [sys.executable, str(CHILDREN), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def finished(*arguments: object) -> list[dict[str, Any]]:
    """Runs a program of children.py to its end, and returns what it said."""
    done = subprocess.run(
        [sys.executable, str(CHILDREN), *map(str, arguments)], capture_output=True, check=False, timeout=50
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b"", "a program that does nothing wrong says nothing"
    return [json.loads(line) for line in done.stdout.splitlines()]


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    await store.open()
    yield store
    await store.close()


def said(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    words: dict[str, Any] = json.loads(process.stdout.readline())
    return words


# --- killed -------------------------------------------------------------------------------------------------------------


async def check_after_crash(path: Path, acknowledged: dict[str, int]) -> None:
    """Everything acknowledged is there, nothing is there in part, and the sessions go on."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.execute("INSERT INTO text_index (text_index) VALUES ('integrity-check')")
        counted = "SELECT session_id, count(*) FROM text JOIN log USING (log_id) WHERE seq > 0 GROUP BY session_id"
        texts = dict(connection.execute(counted).fetchall())
    async with opened(path) as store:
        for session_id, seq in acknowledged.items():
            records = await store.log.read(session_id)
            assert [record.seq for record in records] == list(range(1, len(records) + 1))
            assert len(records) >= seq, f"{session_id}: record {seq} was acknowledged, the log ends at {len(records)}"
            # The child writes one record, then again and again a pair and one with a text: no pair is ever halved, and
            # texts and row are those of the last record that changed them.
            assert len(records) % 3 != 2
            assert texts.get(session_id, 0) == (len(records) - 1) // 3
            row = await store.index.get(session_id)
            assert row is not None
            assert row.last_seq == 1 + (len(records) - 1) // 3 * 3
            await store.log.append(
                session_id, [text("on")], expected_seq=len(records), epoch=2, at_ms=1, key="after the crash"
            )


async def kill_at_random(path: Path, rounds: int, seed: int) -> None:
    dice = random.Random(seed)
    everything: dict[str, int] = {}
    for number in range(rounds):
        with child("append_for_ever", path, f"s{seed}-{number}") as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(dice.choice([0, 1, 3, 10, 60]))]
            process.send_signal(signal.SIGKILL)
            lines += process.stdout.read().splitlines()
        acknowledged = {words["session"]: words["seq"] for words in map(json.loads, lines)}
        if acknowledged:
            await check_after_crash(path, acknowledged)
        everything |= acknowledged
    async with opened(path) as store:
        for session_id, seq in everything.items():
            assert len(await store.log.read(session_id)) > seq


async def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    await kill_at_random(tmp_path / "a.db", 20, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 12))
async def test_kill_9_loses_nothing_acknowledged_at_length(tmp_path: Path, seed: int) -> None:
    await kill_at_random(tmp_path / "a.db", 40, seed)


async def test_a_killed_process_is_dead_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with child("live", path) as process:
        node = said(process)["node"]
        async with opened(path) as store:
            assert await store.is_alive(node)
            process.kill()
            process.wait()
            assert not await store.is_alive(node)
            assert [lock.name for lock in (tmp_path / "a.db.nodes").iterdir()] == [f"{store.node}.lock"]


def test_a_row_can_be_had_at_once_after_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with child("append_for_ever", path, "s") as process:
        words = said(process)
        process.kill()
        process.wait()
        row = SqliteStore(path).index.get_now(words["session"])
        assert row is not None
        assert row.last_seq >= 1


async def test_opening_sweeps_what_dead_processes_left(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    for _ in range(3):
        with child("live", path) as process:
            said(process)
    async with opened(path) as store:
        assert [lock.name for lock in (tmp_path / "a.db.nodes").iterdir()] == [f"{store.node}.lock"]


# --- at the same time ---------------------------------------------------------------------------------------------------


async def test_processes_compete_for_the_same_sessions(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    count = 40
    with child("compete", path, "one", count) as one, child("compete", path, "two", count) as two:
        output = b""
        for process in (one, two):
            stdout, stderr = process.communicate(timeout=50)
            assert process.returncode == 0, stderr.decode()
            output += stdout
    places = {(words["session"], words["seq"]): words["key"] for words in map(json.loads, output.splitlines())}
    assert len(places) == 2 * 5 * count, "no two appends were acknowledged at one place"
    async with opened(path) as store:
        for number in range(5):
            records = await store.log.read(f"s{number}")
            assert [record.seq for record in records] == list(range(1, 2 * count + 1))
            assert [record.event for record in records] == [
                text(places[f"s{number}", record.seq]) for record in records
            ]


def test_processes_that_make_the_database_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.db"
    with ExitStack() as stack:
        processes = [stack.enter_context(child("live", path)) for _ in range(6)]
        nodes = {said(process)["node"] for process in processes}
        assert len(nodes) == 6


# --- left open, and forked ----------------------------------------------------------------------------------------------


async def test_a_program_that_closes_nothing_ends_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    assert finished("leave_it_open", path) == [{"done": True}]
    async with opened(path) as store:
        assert await found(store, "kept") == [("a", 0)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_is_refused_and_the_parent_goes_on(tmp_path: Path) -> None:
    in_child, in_parent = finished("fork", tmp_path / "a.db")
    assert in_child == {"refused": 5, "of": 5}
    assert in_parent == {"is_alive": False, "seq": 2}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
async def test_a_forked_child_does_not_keep_its_parent_alive(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with child("fork_and_wait", path) as process:
        node = said(process)["node"]
        async with opened(path) as store:
            assert await store.is_alive(node)
            process.kill()
            process.wait()
            assert not await store.is_alive(node)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
async def test_a_full_disk_loses_nothing_and_work_goes_on_with_space(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    (told,) = finished("fill_the_disk", path)
    assert told["full_at"] > 3
    assert told["seq"] == told["full_at"] + 1
    assert str(tmp_path) not in told["message"]
    async with opened(path) as store:
        records = await store.log.read("a")
        assert len(records) == told["seq"]
        assert records[-1].event == text("space again")
