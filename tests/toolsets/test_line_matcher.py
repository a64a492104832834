"""Regular expressions that end, whether they want to or not."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from greenroom.interfaces import ToolError
from greenroom.toolsets.line_matcher import LineMatcher, Match, SearchStopped
from greenroom.toolsets.regex_worker import matching_lines

EXPLODING = "(a+)+$"
FUSE = b"a" * 60 + b"b"


@contextmanager
def started(pattern: str, *, ignore_case: bool = False, time_s_max: float = 30.0) -> Iterator[LineMatcher]:
    matcher = LineMatcher(pattern, ignore_case=ignore_case, time_s_max=time_s_max)
    try:
        matcher.start()
        yield matcher
    finally:
        matcher.close()


def test_lines_are_found_in_one_text_after_another() -> None:
    with started(r"t.o") as matcher:
        assert matcher.matches(b"one\ntwo\r\ntoo\n", 10) == [Match(2, "two"), Match(3, "too")]
        assert matcher.matches(b"", 10) == []
        assert matcher.matches(b"two\ntwo\ntwo", 2) == [Match(1, "two"), Match(2, "two")]
        assert matcher.matches("zwölf two\n".encode() * 100_000, 1) == [Match(1, "zwölf two")]


def test_case_may_be_ignored() -> None:
    with started("ÄB", ignore_case=True) as matcher:
        assert matcher.matches("äb".encode(), 1) == [Match(1, "äb")]


def test_text_that_is_not_utf_8_is_searched_as_far_as_it_goes() -> None:
    with started("caf.$") as matcher:
        assert matcher.matches(b"caf\xe9", 1) == [Match(1, "caf\ufffd")]


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", "*", "(?P<x>a)(?P<x>b)", "\\", "(" * 500])
def test_what_is_no_expression_is_explained(pattern: str) -> None:
    with (
        pytest.raises(ToolError, match=r"not a regular expression: .* Escape what is meant literally"),
        started(pattern),
    ):
        pass


@pytest.mark.parametrize("pattern", ["", "x" * 1001])
def test_a_pattern_has_bounds(pattern: str) -> None:
    with pytest.raises(ToolError, match="1 to 1000 characters"):
        LineMatcher(pattern, ignore_case=False, time_s_max=1)


def test_a_match_that_explodes_is_ended_in_time() -> None:
    start_s = time.monotonic()
    with started(EXPLODING, time_s_max=0.3) as matcher, pytest.raises(SearchStopped):
        matcher.matches(FUSE, 1)
    assert time.monotonic() - start_s < 10


async def test_the_event_loop_goes_on_meanwhile() -> None:
    def search() -> None:
        with started(EXPLODING, time_s_max=0.3) as matcher, pytest.raises(SearchStopped):
            matcher.matches(FUSE, 1)

    turns = 0
    search_done = asyncio.ensure_future(asyncio.to_thread(search))
    while not search_done.done():
        await asyncio.wait([search_done], timeout=0.005)
        turns += 1
    await search_done
    assert turns > 10


def test_it_can_be_stopped_from_elsewhere() -> None:
    matcher = LineMatcher(EXPLODING, ignore_case=False, time_s_max=60)
    matcher.start()
    outcome: list[type[BaseException]] = []

    def search() -> None:
        try:
            matcher.matches(FUSE, 1)
        except SearchStopped as error:
            outcome.append(type(error))

    thread = threading.Thread(target=search)
    thread.start()
    matcher.stop()
    thread.join(timeout=10)
    matcher.close()
    assert outcome == [SearchStopped]


def test_what_is_stopped_before_it_starts_does_not_start() -> None:
    matcher = LineMatcher("a", ignore_case=False, time_s_max=60)
    with matcher:
        pass
    with pytest.raises(SearchStopped):
        matcher.start()
    matcher.close()


def test_closing_can_be_repeated() -> None:
    with started("a") as matcher:
        matcher.close()
        with pytest.raises(SearchStopped):
            _ = matcher.start()


def test_a_child_that_dies_is_no_riddle() -> None:
    with started("a") as matcher:
        assert matcher._child is not None
        matcher._child.kill()
        with pytest.raises(ToolError, match="broke off: its process ended with code -9"):
            matcher.matches(b"a" * 10_000_000, 1)


def test_no_process_no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(ToolError, match="no process can be started"), started("a"):
        pass


def test_long_lines_are_cut_around_the_match() -> None:
    line = "x" * 1000 + "needle" + "y" * 1000
    [(number, shown)] = matching_lines(re.compile("needle"), line, 5)
    assert number == 1
    assert "needle" in shown
    assert len(shown) == 306
    [(_, start)] = matching_lines(re.compile("x"), line, 5)
    assert start == "x" * 300 + "..."


def test_the_worker_speaks_lines_of_json() -> None:
    # The format is between two versions of ourselves at most, and yet a surprise in it would be a hang.
    assert json.loads(json.dumps(matching_lines(re.compile("a"), "a", 1))) == [[1, "a"]]
