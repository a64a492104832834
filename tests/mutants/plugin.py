"""Puts the bug that `MUTANT` names into the process of a suite: `MUTANT=hears_no_stop pytest -p mutants.plugin tests/runtime`."""

from __future__ import annotations

import os

import pytest


def pytest_sessionstart() -> None:
    """Breaks one thing for the whole run."""
    from mutants.bugs import BUGS

    bug, _ = BUGS[os.environ["MUTANT"]]
    bug(pytest.MonkeyPatch())
