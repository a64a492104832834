"""Ctrl-C ends the process, also while a tool runs: what a signal handler raises is not the tool's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("ctrl_c_child.py")


@pytest.mark.parametrize("how", ["run", "loop"])
def test_a_real_ctrl_c_still_ends_the_process(how: str, tmp_path: Path) -> None:
    """While a tool holds the loop: the default handler raises within the tool; `asyncio.run` needs a second one for that."""
    done = subprocess.run(
        [sys.executable, str(CHILD), how, str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert "interrupted" in done.stdout, done.stderr
    assert "answered" not in done.stdout
