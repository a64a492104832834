"""What `from greenroom import ...` offers: sorted, complete, documented, and the same for the type checker."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import greenroom
from source_tree import ROOT

API = Path(__file__).parent / "typing" / "api.py"


@pytest.mark.parametrize("name", greenroom.__all__)
def test_every_name_is_there_and_documented(name: str) -> None:
    value = getattr(greenroom, name)
    assert inspect.getdoc(value), f"{name} has no docstring"
    assert name in dir(greenroom)


def test_the_list_is_sorted() -> None:
    assert greenroom.__all__ == sorted(greenroom.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="AgentManger"):
        _ = greenroom.AgentManger  # type: ignore[attr-defined]


def test_every_public_method_of_the_manager_says_what_it_raises_or_cannot() -> None:
    for name, method in inspect.getmembers(greenroom.AgentManager, inspect.isfunction):
        if not name.startswith("_"):
            assert inspect.getdoc(method), name


@pytest.mark.timeout(180)
def test_the_public_api_is_typed() -> None:
    done = subprocess.run(
        # The project's own options, so that what `make types` has found out is used again.
        [sys.executable, "-m", "mypy", str(API)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert done.returncode == 0, done.stdout
