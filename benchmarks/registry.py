"""Everything that is measured, in the order of the report.

Rule: a measurement is a module of this folder with `rows(sizes)`, and one entry here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Final, cast

from benchmarks.measure import Row, Sizes


@dataclass(frozen=True)
class Measurement:
    """One of them.

    Attributes:
        name: of the module, and on the command line.
        seconds: what it takes in full on a quiet machine with two cores, once the peers are installed.
    """

    name: str
    about: str
    seconds: int

    @property
    def seconds_max(self) -> int:
        """When it is given up: an alarm, far above what it takes; the first run also installs the peers."""
        return 1_200 + 6 * self.seconds

    def rows(self, sizes: Sizes) -> list[Row]:
        """Measures, in this process."""
        module = import_module(f"benchmarks.{self.name}")
        return cast("Callable[[Sizes], list[Row]]", module.rows)(sizes)


MEASUREMENTS: Final = (
    Measurement("burst", "one answer as fast as it comes: CPU per chunk", 80),
    Measurement("paced", "200 sessions at 50 deltas a second each: CPU per chunk, lateness", 240),
    Measurement("turns", "time to the first delta, CPU of a short turn", 50),
    Measurement("create_session", "a new session, in memory and durable", 40),
    Measurement("idle_memory", "what a session keeps in memory", 100),
    Measurement("rejoin", "coming back in the middle of a long answer", 12),
    Measurement("many_streams", "1,000 concurrent streams: memory, lateness", 15),
    Measurement("http_paced", "200 clients over HTTP at 50 deltas a second each, beside peers on FastAPI", 190),
    Measurement("http_turns", "over HTTP: time to the first token, rejoin", 15),
    Measurement("http_many", "over HTTP: 1,000 concurrent streams, 1,000 readers that stop reading", 40),
    Measurement("large_requests", "over HTTP: what one user's largest requests cost another", 240),
    Measurement("imports", "import, `greenroom --help`, installed size", 70),
    Measurement("stored_sessions", "1,000,000 stored sessions: start, list, open, search", 330),
)
BY_NAME: Final = {measurement.name: measurement for measurement in MEASUREMENTS}
