"""Each deliberate bug is found by the suite of the promise that it breaks, and by an assertion, not by an accident."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mutants.bugs import BUGS
from source_tree import ROOT


@pytest.mark.long
@pytest.mark.parametrize("name", BUGS)
def test_the_suite_finds(name: str) -> None:
    _, suite = BUGS[name]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "mutants.plugin",
        "-q",
        "-m",
        "not long",
        "--timeout",
        "120",
        suite,
    ]
    environment = {**os.environ, "MUTANT": name, "PYTHONPATH": str(ROOT / "tests")}
    environment.pop("PYTEST_XDIST_WORKER", None)
    run = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert run.returncode == 1, (
        f"{name} lived through {suite}: {run.returncode}\n{run.stdout[-3000:]}{run.stderr[-1000:]}"
    )
    assert " failed" in run.stdout
    assert "error" not in run.stdout.splitlines()[-1], run.stdout[-3000:]
