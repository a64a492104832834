"""The results as Markdown: targets first, then a table for each group.

Rule: a pure function of the results; what failed or missed its target is as easy to see as what did not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from benchmarks.measure import Row
from benchmarks.results import Results

_INTRODUCTION = """\
Made by `make bench`; how to read it, and how to add a peer: [benchmarks/README.md](../benchmarks/README.md). Ratios of one table
mean something; microseconds of another machine do not. CPU is of the measured process with all its threads; ± is half of the
distance between the best and the worst round; *late* is the time from the provider's write to the text in the caller's hands."""

_WHY = "decisions/0052-targets-that-are-not-reached.md"


def markdown(results: Results, *, plot: str | None = None) -> str:
    """Returns the report; `plot` is the name of a picture beside it."""
    parts = ["# Benchmarks", _INTRODUCTION, _about(results)]
    if plot:
        parts.append(f"![CPU per chunk and lateness, Greenroom beside its peers]({plot})")
    parts += [f"**{failure}**" for failure in results.failures]
    if targets := [row for row in results.rows if row.target is not None]:
        floors = {(row.group, row.unit): row for row in results.rows if row.role == "floor" and not row.failure}
        parts.append(_targets(targets, floors))
    parts += [_table(group, list(rows)) for group, rows in groupby(results.rows, key=lambda row: row.group)]
    return "\n\n".join(parts) + "\n"


def _about(results: Results) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in results.packages.items())
    peers = "; ".join(f"{peer}: {', '.join(asked)}" for peer, asked in results.peers.items())
    lines = [
        f"* {results.at} UTC, {results.machine}. Load {results.load:.1f} when it began"
        + (": **BUSY, wall times and lateness mean little**." if results.was_busy else "."),
        f"* {packages}.",
        f"* Peers, each in an environment of its own: {peers}; all exact versions in `benchmarks/contenders/versions.toml`.",
    ]
    if results.is_quick:
        lines.append("* **Quick: tiny sizes, to see that everything runs. Not to be compared with anything.**")
    return "\n".join(lines)


def _targets(rows: Sequence[Row], floors: Mapping[tuple[str, str], Row]) -> str:
    missed = [row for row in rows if not row.is_met]
    head = f"## Targets: {len(rows) - len(missed)} of {len(rows)} reached"
    if not missed:
        return head
    lines = [f"* {row.group}: {row.name}: {_value(row)}, target {_target(row)}{_beyond(row, floors)}" for row in missed]
    return "\n".join([head, "", f"Missed ([why]({_WHY})):", "", *lines])


def _beyond(row: Row, floors: Mapping[tuple[str, str], Row]) -> str:
    """Says of a target that this machine does not let anybody reach that it does not."""
    floor = floors.get((row.group, row.unit))
    if floor is None or row.target is None or row.unit in {"/s", "x"} or floor.value <= row.target:
        return ""
    return f" (here {floor.name} alone takes {_value(floor)})"


def _table(group: str, rows: Sequence[Row]) -> str:
    floor = next((row for row in rows if row.role == "floor" and not row.failure), None)
    ours = next((row for row in reversed(rows) if row.role == "ours" and not row.failure), None)
    columns = [
        ("what", "---", [row.name for row in rows]),
        ("", "--:", [_value(row) for row in rows]),
        ("±", "--:", [f"{row.spread:.0%}" if row.spread is not None else "" for row in rows]),
        ("x floor", "--:", [_ratio(row, floor) for row in rows]),
        (f"x {ours.name}" if ours else "", "--:", [_ratio(row, ours) for row in rows]),
        ("target", "--:", [_verdict(row) for row in rows]),
        ("", "---", [row.note for row in rows]),
    ]
    shown = [column for number, column in enumerate(columns) if number < 2 or any(column[2])]
    lines = [_line(title for title, _, _ in shown), _line(rule for _, rule, _ in shown)]
    lines += [_line(cells) for cells in zip(*(cells for _, _, cells in shown), strict=True)]
    return "\n".join([f"## {group[0].upper()}{group[1:]}", "", *lines])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _value(row: Row) -> str:
    return f"**failed**: {row.failure}" if row.failure else f"{number(row.value)} {row.unit}"


def number(value: float) -> str:
    """Returns a number with three digits that matter."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _ratio(row: Row, reference: Row | None) -> str:
    if reference is None or row is reference or row.failure or row.unit != reference.unit or reference.value <= 0:
        return ""
    return number(row.value / reference.value)


def _target(row: Row) -> str:
    sign = ">=" if row.unit in {"/s", "x"} else "<="
    return f"{sign} {number(row.target or 0)} {row.unit}"


def _verdict(row: Row) -> str:
    return "" if row.target is None else f"{_target(row)} {'met' if row.is_met else '**MISSED**'}"
