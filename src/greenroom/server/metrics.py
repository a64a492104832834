"""How much the server does, as Prometheus counts it.

Rule: a label has few values: routes as they are declared, never paths, users or sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """The counts of one server.

    Args:
        open_streams: returns how many streams are open.
        open_sessions: returns how many sessions are in memory.
        running_turns: returns how many turns run.
        dropped_log_lines: returns how many lines of the log were not written.
        failures: returns how often what runs in the background has failed, by its name.
    """

    def __init__(
        self,
        *,
        open_streams: Callable[[], float],
        open_sessions: Callable[[], float],
        running_turns: Callable[[], float],
        dropped_log_lines: Callable[[], int],
        failures: Callable[[], Mapping[str, int]],
    ) -> None:
        # A registry of its own: several servers may live in one process.
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "greenroom_requests", "HTTP requests answered.", ["method", "route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "greenroom_request_seconds",
            "Time from a request to the end of its answer; streams are not counted.",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        for name, text, value in (
            ("greenroom_open_streams", "Streams that are open.", open_streams),
            ("greenroom_open_sessions", "Sessions in memory.", open_sessions),
            ("greenroom_running_turns", "Turns that run in this process.", running_turns),
        ):
            Gauge(name, text, registry=self._registry).set_function(value)
        self._registry.register(_Kept(dropped_log_lines, failures))

    def note(self, method: str, route: str, status: int, took_s: float, *, is_stream: bool) -> None:
        """Counts an answered request."""
        self._requests.labels(method, route, str(status)).inc()
        if not is_stream:
            self._seconds.labels(route).observe(took_s)

    def exposition(self) -> tuple[bytes, str]:
        """Returns all counts as text, and its media type."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_1_0_0


class _Kept:
    """Counts that are kept elsewhere."""

    def __init__(self, dropped_lines: Callable[[], int], failures: Callable[[], Mapping[str, int]]) -> None:
        self._dropped_lines = dropped_lines
        self._failures = failures

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yields the counts as they are now."""
        text = "Lines of the log that were not written: the output was not read fast enough, or too many lines were about unknown clients."
        yield CounterMetricFamily("greenroom_log_lines_dropped", text, value=self._dropped_lines())
        text = "Failures of what runs in the background, which was started again each time."
        failures = CounterMetricFamily("greenroom_background_failures", text, labels=["task"])
        for name, count in self._failures().items():
            failures.add_metric([name], count)
        yield failures
