"""What is paid before anything happens: importing, asking the command line for help, and disk space.

Rule: a fresh process each time, as a user's is; the bare interpreter is measured too and taken off the import.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

import greenroom
from benchmarks.measure import Row

GROUP = "before anything happens"
ROUNDS = 9
_HELP = "import sys; sys.argv = ['greenroom', '--help']; from greenroom.cli import main; main()"
_PACKAGE = Path(greenroom.__file__).parent


def wall_s(*command: str) -> float:
    """Returns the median wall time of a command that has to succeed."""
    walls: list[float] = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, timeout=30)
        walls.append(time.perf_counter() - began)
    return statistics.median(walls)


def installed() -> dict[str, Distribution]:
    """Returns Greenroom's dependencies without extras, and theirs, by normal name."""
    found: dict[str, Distribution] = {}
    wanted = [("greenroom", frozenset[str]())]
    seen: set[tuple[str, frozenset[str]]] = set()
    while wanted:
        name, extras = wanted.pop()
        normal = re.sub(r"[-_.]+", "-", name).lower()
        if (normal, extras) in seen:
            continue
        seen.add((normal, extras))
        try:
            found[normal] = distribution(name)
        except PackageNotFoundError:
            continue  # for another platform
        for text in found[normal].requires or ():
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in (extras or {""})):
                wanted.append((needed.name, frozenset(needed.extras)))
    return found


def size_bytes(package: Distribution) -> int:
    """Returns what the files of a package take."""
    paths = [Path(str(package.locate_file(file))) for file in package.files or ()]
    return sum(path.stat().st_size for path in paths if path.is_file())


def rows() -> list[Row]:
    """Measures imports, help and size."""
    bare_s = wall_s(sys.executable, "-c", "pass")
    import_s = wall_s(sys.executable, "-c", "import greenroom")
    manager_s = wall_s(sys.executable, "-c", "from greenroom import AgentManager")
    help_s = wall_s(sys.executable, "-c", _HELP)
    packages = installed()
    ours = sum(path.stat().st_size for path in _PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc")
    total = ours + sum(size_bytes(package) for name, package in packages.items() if name != "greenroom")
    largest = sorted(((size_bytes(package), name) for name, package in packages.items()), reverse=True)[:5]
    return [
        Row(GROUP, "import greenroom", import_s - bare_s, "s", target=0.15, note=f"bare interpreter {bare_s:.3f} s"),
        Row(GROUP, "from greenroom import AgentManager", manager_s - bare_s, "s"),
        Row(GROUP, "greenroom --help", help_s, "s", target=0.3),
        Row(
            GROUP,
            "installed, without extras",
            total / 1e6,
            "MB",
            target=60,
            note=f"{len(packages)} packages: {', '.join(f'{name} {size / 1e6:.1f}' for size, name in largest)} ...",
        ),
    ]
