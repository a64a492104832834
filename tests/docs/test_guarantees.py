"""The page of guarantees names tests that exist, for every line of trouble that is known."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\d\.\d+) \| .+? \| `(tests/[\w/]+\.py)::(\w+)` \|$", PAGE, re.MULTILINE)
KNOWN = [*(f"1.{n}" for n in range(1, 24)), *(f"2.{n}" for n in range(1, 10)), *(f"3.{n}" for n in range(1, 16))]
FILES = re.findall(r"`(tests/[\w/.]+)`", PAGE)


def test_every_line_of_trouble_has_a_test() -> None:
    assert [number for number, _, _ in ROWS] == KNOWN


@pytest.mark.parametrize(("number", "file", "name"), ROWS, ids=[row[0] for row in ROWS])
def test_the_test_is_there(number: str, file: str, name: str) -> None:
    source = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"^\s*(async )?def {name}\(", source, re.MULTILINE), f"{number}: {file} has no {name}"


@pytest.mark.parametrize("file", sorted(set(FILES)))
def test_the_suites_are_there(file: str) -> None:
    assert (ROOT / file).exists()
