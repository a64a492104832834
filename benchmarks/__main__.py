"""Runs the benchmarks, each in a process of its own, and prints one table: `python -m benchmarks [NAME ...]`.

Rule: a benchmark that fails is printed as failed and fails the run; no number is ever left over from an earlier one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from datetime import UTC, datetime
from importlib import import_module
from itertools import groupby
from pathlib import Path

import msgspec

from benchmarks.measure import Row, machine

BENCHMARKS = ("inprocess", "create_session", "idle_memory", "stored_sessions", "imports")
SECONDS_MAX = 150
"""Of one benchmark: an alarm. On a quiet machine all of them together take less than three minutes."""


def measured(name: str) -> list[Row]:
    """Returns the rows of a benchmark, run in a process of its own: memory, imports and the event loop are not shared."""
    command = [sys.executable, "-m", "benchmarks", "--json", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=SECONDS_MAX)
    return msgspec.json.decode(done.stdout, type=list[Row])


def table(rows: list[Row]) -> str:
    """Returns the rows as Markdown, one table for each group."""
    parts: list[str] = []
    for group, members in groupby(rows, key=lambda row: row.group):
        lines = [f"### {group[0].upper()}{group[1:]}", "", "| what | | x floor | target | |", "|---|--:|--:|--:|---|"]
        floor = 0.0
        for row in members:
            floor = row.value if row.is_floor else floor
            lines.append(
                f"| {row.name} | {_number(row.value)} {row.unit} | {_ratio(row, floor)} | {_target(row)} | {row.note} |"
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _ratio(row: Row, floor: float) -> str:
    return f"{row.value / floor:.1f}" if floor and row.unit in {"us", "ms"} and not row.is_floor else ""


def _target(row: Row) -> str:
    if row.target is None:
        return ""
    is_met = row.value >= row.target if row.unit == "/s" else row.value <= row.target
    return f"{'>=' if row.unit == '/s' else '<='} {_number(row.target)} {'met' if is_met else 'MISSED'}"


def main() -> int:
    """Runs what was asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}, floor; default: all but floor"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write the table to this Markdown file")
    parser.add_argument("--json", action="store_true", help="run in this process and print the rows as JSON")
    options = parser.parse_args()
    names = options.names or BENCHMARKS
    if unknown := sorted(set(names) - {*BENCHMARKS, "floor"}):
        parser.error(f"unknown benchmarks {', '.join(unknown)}; there are {', '.join(BENCHMARKS)} and floor")
    if options.json:
        rows = [row for name in names for row in import_module(f"benchmarks.{name}").rows()]
        sys.stdout.buffer.write(msgspec.json.encode(rows))
        return 0
    about = machine()
    rows, failed = [], []
    for name in names:
        print(f"... {name}", file=sys.stderr, flush=True)
        try:
            rows += measured(name)
        except (subprocess.SubprocessError, msgspec.MsgspecError) as error:
            failed.append(f"{name} FAILED: {error}")
    today = datetime.now(tz=UTC).date()
    text = "\n\n".join([f"# Benchmarks\n\n{today}, {about}. Loopback; medians; one run.", table(rows), *failed])
    print(text)
    if options.write and not failed:
        options.write.write_text(f"{text}\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
