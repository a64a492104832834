"""A run as text and as a picture."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from benchmarks.imports import closure, installed
from benchmarks.measure import Row
from benchmarks.plot import svg
from benchmarks.report import markdown
from benchmarks.results import Results

from benchmarks import burst, paced

ROWS = [
    Row(burst.OPENAI, "floor", 2, "us", role="floor", samples=[1.8, 2, 2.2]),
    Row(burst.OPENAI, "Greenroom, sqlite", 10, "us", target=12, role="ours", samples=[9, 10, 11]),
    Row(burst.OPENAI, "a | peer", 250, "us", samples=[250, 250, 251]),
    Row(burst.OPENAI, "<another>", 0, "", failure="exit 1: no module named 'x'"),
    Row(burst.OPENAI, "best / ours", 11.5, "x", target=12),
    Row(paced.MANY_GROUP, "Greenroom, sqlite", 36, "us", role="ours", more={"p99_ms": 5.0}),
    Row(paced.MANY_GROUP, "<peer>", 281, "us", more={"p99_ms": 6200.0}),
]


@pytest.fixture
def results() -> Results:
    return Results(
        at="2026-11-25 23:00",
        machine="a machine",
        packages={"greenroom": "1"},
        peers={"peer": ["peer==1"]},
        load=0.1,
        cores=2,
        is_quick=False,
        rows=ROWS,
    )


def test_a_row_says_ratio_spread_and_target(results: Results) -> None:
    text = markdown(results)
    assert "| Greenroom, sqlite | 10 us | 10% | 5 |  | <= 12 us met |" in text
    assert "| a / peer | 250 us | 0% | 125 | 25 |  |" in text


def test_what_failed_or_missed_is_seen(results: Results) -> None:
    results.failures.append("paced FAILED: CalledProcessError: see above")
    text = markdown(results)
    assert "**failed**: exit 1: no module named 'x'" in text
    assert "Targets: 1 of 2 reached" in text
    assert "best / ours: 11.5 x, target >= 12 x" in text
    assert "**paced FAILED" in text


def test_what_not_even_the_floor_reaches_is_told(results: Results) -> None:
    results.rows = [Row("g", "bare", 90, "us", role="floor"), Row("g", "Greenroom", 150, "us", target=70, role="ours")]
    assert "* g: Greenroom: 150 us, target <= 70 us (here bare alone takes 90 us)" in markdown(results)


def test_a_failed_row_with_a_target_has_missed_it() -> None:
    assert Row("g", "n", 0, "", target=5, failure="no").is_met is False
    assert Row("g", "n", 6000, "/s", target=5000).is_met
    assert Row("g", "n", 6, "us", target=5).is_met is False
    assert Row("g", "n", 6, "us").is_met is None


def test_the_picture_is_xml_with_a_bar_for_each_number(results: Results) -> None:
    root = ET.fromstring(svg(results))
    space = "{http://www.w3.org/2000/svg}"
    texts = [element.text for element in root.iter(f"{space}text")]
    assert texts.count("Greenroom, sqlite") == 3
    assert "6,200 ms" in texts
    bars = list(root.iter(f"{space}rect"))[1:]
    assert len(bars) == 3 + 2 + 2
    assert all(float(bar.attrib["width"]) > 0 for bar in bars)


def test_results_survive_their_file(results: Results, tmp_path: Path) -> None:
    results.save(tmp_path / "r.json")
    again = Results.load_from(tmp_path / "r.json")
    assert markdown(again) == markdown(results)


def test_the_closure_of_an_installation_is_what_it_needs() -> None:
    names = set(closure("greenroom", installed(None)))
    assert names >= {"greenroom", "msgspec", "aiohttp", "yarl"}
    assert not names & {"pytest", "mypy", "ruff"}
