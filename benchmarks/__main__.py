"""Measures, each measurement in a process of its own, and reports: `python -m benchmarks`.

Rule: a measurement that fails is reported as failed and fails the run; no number is ever left over from an earlier one.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks.measure import FULL, QUICK, Row
from benchmarks.plot import svg
from benchmarks.registry import BY_NAME, MEASUREMENTS, Measurement
from benchmarks.report import markdown
from benchmarks.results import Results


def measured(measurement: Measurement, *, is_quick: bool) -> list[Row]:
    """Returns the rows of a measurement, in a process of its own: memory, imports and the event loop are not shared.

    Raises:
        subprocess.SubprocessError: it failed, or took far too long.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "benchmarks", "--rows", str(path), "--only", measurement.name]
        command += ["--quick"] if is_quick else []
        subprocess.run(command, check=True, timeout=measurement.seconds_max)
        return msgspec.json.decode(path.read_bytes(), type=list[Row])


def all_measured(chosen: list[Measurement], *, is_quick: bool) -> Results:
    """Measures what was chosen, one after the other."""
    results = Results.begin(is_quick=is_quick)
    for measurement in chosen:
        print(f"... {measurement.name}: {measurement.about}", file=sys.stderr, flush=True)
        began_s = time.monotonic()
        try:
            results.rows += measured(measurement, is_quick=is_quick)
        except subprocess.SubprocessError as error:
            results.failures.append(f"{measurement.name} FAILED: {type(error).__name__}: see above")
        results.seconds[measurement.name] = round(time.monotonic() - began_s, 1)
        print(f"    took {results.seconds[measurement.name]:.0f} s", file=sys.stderr, flush=True)
    return results


def write(results: Results, folder: Path) -> None:
    """Writes report, picture and results into a folder."""
    picture = svg(results)
    (folder / "benchmarks.svg").write_text(picture, encoding="utf-8")
    (folder / "benchmarks.md").write_text(markdown(results, plot="benchmarks.svg"), encoding="utf-8")
    results.save(folder / "benchmarks.json")


def options() -> argparse.Namespace:
    """Reads the command line."""
    listed = "\n".join(f"  {m.name:16} {m.seconds:4} s  {m.about}" for m in MEASUREMENTS)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"{__doc__}\n\nMeasurements:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(BY_NAME), help="measure only these")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: to see that everything runs")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="keep benchmarks.md, .svg and .json there")
    parser.add_argument("--again", type=Path, metavar="FILE", help="report results that --write kept; measure nothing")
    parser.add_argument("--rows", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    return parser.parse_args()


def allow_files() -> None:
    """Lets this process and those that it starts open as many files as the system allows: a stream is one, or two."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> int:
    """Does what was asked for; returns the exit code."""
    asked = options()
    allow_files()
    chosen = [measurement for measurement in MEASUREMENTS if measurement.name in (asked.only or BY_NAME)]
    if asked.rows:
        (measurement,) = chosen
        asked.rows.write_bytes(msgspec.json.encode(measurement.rows(QUICK if asked.quick else FULL)))
        return 0
    results = Results.load_from(asked.again) if asked.again else all_measured(chosen, is_quick=asked.quick)
    print(markdown(results))
    if asked.write:
        write(results, asked.write)
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
