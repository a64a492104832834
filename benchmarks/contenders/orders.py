"""Has a contender do its work, in a process of its own, and brings back the figures.

Rule: whatever goes wrong with one contender becomes a reason in the table; the others are measured all the same.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, cast

from benchmarks.contenders.contract import Store
from benchmarks.contenders.environments import NotInstalled, python_of
from benchmarks.contenders.roster import Entry
from benchmarks.contenders.worker import Order
from benchmarks.contenders.works import Figures
from benchmarks.measure import Sizes

ROOT: Final = Path(__file__).parents[2]
WORK_S_MAX: Final = 150
OFFLINE: Final = {
    "OPENAI_API_KEY": "none",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "AGNO_TELEMETRY": "false",
    "LANGSMITH_TRACING": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OTEL_SDK_DISABLED": "true",
}
"""Nobody calls home: it would cost time, and everything stays on loopback."""


class Failed(Exception):
    """A contender could not do its work; says why."""


def interpreter(entry: Entry) -> Path:
    """Returns the Python that has the contender.

    Raises:
        NotInstalled: there is none.
    """
    return python_of(entry.peer) if entry.peer else Path(sys.executable)


def figures(entry: Entry, store: Store, work: str, url: str, sizes: Sizes) -> Figures:
    """Returns the figures of a piece of work.

    Raises:
        Failed: the contender could not be installed, failed, or took too long.
    """
    print(f"    {work}: {entry.name(store)}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        result = Path(folder) / "figures.json"
        order = Order(entry.module, entry.opener, store, work, url, sizes, str(result))
        try:
            command = [str(interpreter(entry)), "-m", "benchmarks.contenders.worker", order.text()]
        except NotInstalled as error:
            raise Failed(str(error)) from error
        _ran(command, Path(folder))
        return cast("Figures", json.loads(result.read_text(encoding="utf-8")))


def _ran(command: list[str], folder: Path) -> None:
    """Runs a command; ends it with all its children when it takes too long."""
    environment = {**os.environ, **OFFLINE, "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    with (folder / "errors").open("w+", encoding="utf-8", errors="replace") as errors:
        child = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
        )
        try:
            code = child.wait(WORK_S_MAX)
        except subprocess.TimeoutExpired:
            raise Failed(f"not done after {WORK_S_MAX} s") from None
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        if code:
            errors.seek(0)
            raise Failed(f"exit {code}: {complaint(errors.read())}")


def complaint(log: str) -> str:
    """Returns the last line of a log that names an error, else the last one."""
    lines = [line.strip() for line in log.splitlines() if line.strip()] or ["it said nothing"]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return (named or lines)[-1][:200]
