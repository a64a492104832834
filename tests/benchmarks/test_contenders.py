"""Everybody who is measured does the same work, and who cannot is a reason in the table."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from benchmarks.contenders.contract import Opener, Store
from benchmarks.contenders.environments import versions
from benchmarks.contenders.orders import Failed, figures
from benchmarks.contenders.roster import BACKEND, BARE, BYTES, CLAUDE, GREENROOM, PEERS, RELAY, SDK, Entry
from benchmarks.contenders.works import chunks_of
from benchmarks.fake_provider import lateness_s, now_us, provider, stamp, stats
from benchmarks.measure import QUICK
from benchmarks.registry import MEASUREMENTS

CHUNKS = 40
OURS = (BARE, BYTES, BACKEND, GREENROOM, SDK, RELAY, *CLAUDE)
CASES = [
    pytest.param(entry, store, id=f"{entry.module}-{entry.opener}-{store}") for entry in OURS for store in entry.stores
]


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with provider() as url:
        yield url


async def read(entry: Entry, store: Store, url: str, folder: Path) -> tuple[int, list[float]]:
    module = importlib.import_module(f"benchmarks.contenders.{entry.module}")
    opened = cast("Opener", getattr(module, entry.opener))
    late: list[float] = []
    async with opened(url, store, folder) as contender:
        return await chunks_of(contender, await contender.create(), late), late


@pytest.mark.parametrize(("entry", "store"), CASES)
def test_a_burst_arrives_whole(entry: Entry, store: Store, base: str, tmp_path: Path) -> None:
    count, _ = asyncio.run(read(entry, store, f"{base}/burst/{CHUNKS}", tmp_path))
    assert count == CHUNKS


@pytest.mark.parametrize(("entry", "store"), [case for case in CASES if case.values[0] is not BYTES])
def test_paced_deltas_say_how_late_they_are(entry: Entry, store: Store, base: str, tmp_path: Path) -> None:
    stats(base)
    count, late = asyncio.run(read(entry, store, f"{base}/paced/{CHUNKS}/1", tmp_path))
    assert (count, len(late)) == (CHUNKS, CHUNKS)
    assert all(0 <= seconds < 30 for seconds in late), late
    assert stats(base)["deltas"] == CHUNKS


def test_a_stamp_tells_the_time_of_a_minute() -> None:
    minute_us = 36**5
    for at_us in (0, 1, now_us(), minute_us - 1, 7 * minute_us + 5):
        assert lateness_s(stamp(at_us), at_us + 2500) == [0.0025]
    assert lateness_s(stamp(5) + stamp(1005), 2005) == [0.002, 0.001]


def test_who_fails_says_why(base: str) -> None:
    broken = dataclasses.replace(BARE, opener="nobody")
    with pytest.raises(Failed, match="has no attribute 'nobody'"):
        figures(broken, "memory", "burst", base, QUICK)


def test_every_peer_has_exact_versions_and_a_module() -> None:
    entries = versions()
    assert {entry.peer for entry in PEERS} == set(entries)
    for entry in PEERS:
        assert entry.peer is not None
        locked = entries[entry.peer]["locked"]
        assert locked, f"run `python -m benchmarks.contenders.environments {entry.peer}`"
        assert [pin for pin in locked if "==" not in pin] == []
        assert importlib.util.find_spec(f"benchmarks.contenders.{entry.module}")


def test_every_measurement_is_a_module() -> None:
    for measurement in MEASUREMENTS:
        assert importlib.util.find_spec(f"benchmarks.{measurement.name}"), measurement
