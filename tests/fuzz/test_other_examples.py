"""The property tests again, with other examples each time, for `GREENROOM_FUZZ_S` seconds (ten minutes by default).

Rule: a failure tells its seed, and `pytest --hypothesis-seed=SEED` shows it again.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time

import pytest

from source_tree import ROOT

SECONDS = int(os.environ.get("GREENROOM_FUZZ_S", "600"))
FOLDERS = ("backends", "core", "fuzz", "logs", "personas", "protocols", "toolsets")
"""Not those of servers and of whole conversations: an example costs there what a hundred cost here."""


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 600)
def test_other_examples_find_nothing() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "CI"}  # in CI all examples are the same
    ends_at = time.monotonic() + SECONDS
    rounds = 0
    while time.monotonic() < ends_at or not rounds:
        seed = secrets.randbelow(2**32)
        command = [sys.executable, "-m", "pytest", "-q", "-m", "hypothesis and not long", f"--hypothesis-seed={seed}"]
        command += ["-p", "no:cacheprovider", *(str(ROOT / "tests" / folder) for folder in FOLDERS)]
        run = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, cwd=ROOT)
        assert run.returncode == 0, f"seed {seed}\n{run.stdout[-8000:]}\n{run.stderr[-2000:]}"
        rounds += 1
    print(f"{rounds} rounds")
