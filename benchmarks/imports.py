"""What is paid before anything happens: importing, asking the command line for help, and disk space.

Rule: a fresh process each time, as a user's is; the bare interpreter is measured too and taken off the import.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement

import greenroom
from benchmarks.contenders.environments import NotInstalled
from benchmarks.contenders.orders import interpreter
from benchmarks.contenders.roster import PEERS, Entry
from benchmarks.measure import Row, Sizes

IMPORT = "import, less the bare interpreter"
HELP = "command line"
SIZE = "installed size, with all dependencies, without extras"
_HELP = "import sys; sys.argv = ['greenroom', '--help']; from greenroom.cli import main; main()"
_PACKAGE = Path(greenroom.__file__).parent


def rows(sizes: Sizes) -> list[Row]:
    """Measures imports, help and size."""
    rounds = sizes.rounds
    bare_s = wall_s(sys.executable, "-c", "pass", rounds=rounds)
    return [
        _imported("import greenroom", sys.executable, "import greenroom", bare_s, rounds, target=0.15),
        _imported(
            "from greenroom import AgentManager", sys.executable, "from greenroom import AgentManager", bare_s, rounds
        ),
        *(_peer_imported(entry, bare_s, rounds) for entry in PEERS),
        Row(HELP, "greenroom --help", wall_s(sys.executable, "-c", _HELP, rounds=rounds), "s", target=0.3),
        _our_size(),
        *map(_peer_size, PEERS),
    ]


def wall_s(*command: str, rounds: int) -> float:
    """Returns the median wall time of a command that has to succeed; once before, for the files to be in memory."""
    walls: list[float] = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        walls.append(time.perf_counter() - began)
    return statistics.median(walls[1:])


def _imported(
    name: str, python: str, statement: str, bare_s: float, rounds: int, *, target: float | None = None
) -> Row:
    took_s = wall_s(python, "-c", statement, rounds=rounds) - bare_s
    return Row(IMPORT, name, took_s, "s", target=target, role="ours" if target else "")


def _peer_imported(entry: Entry, bare_s: float, rounds: int) -> Row:
    try:
        return _imported(entry.label, str(interpreter(entry)), entry.imports, bare_s, rounds)
    except (NotInstalled, subprocess.SubprocessError) as error:
        return Row(IMPORT, entry.label, 0, "", failure=str(error))


def _our_size() -> Row:
    packages = closure("greenroom", installed(None))
    ours = sum(path.stat().st_size for path in _PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc")
    sizes = {name: size_bytes(package) for name, package in packages.items() if name != "greenroom"}
    largest = sorted(((size, name) for name, size in sizes.items()), reverse=True)[:5]
    note = ", ".join(f"{name} {size / 1e6:.1f}" for size, name in largest)
    total_mb = (ours + sum(sizes.values())) / 1e6
    return Row(SIZE, "greenroom", total_mb, "MB", 60, "ours", note=f"{len(packages)} packages: {note} ...")


def _peer_size(entry: Entry) -> Row:
    try:
        site = next(interpreter(entry).parents[1].glob("lib/python*/site-packages"))
    except NotInstalled as error:
        return Row(SIZE, entry.label, 0, "", failure=str(error))
    packages = closure(entry.distribution, installed(site))
    total_mb = sum(map(size_bytes, packages.values())) / 1e6
    return Row(SIZE, f"{entry.label} ({entry.distribution})", total_mb, "MB", note=f"{len(packages)} packages")


def installed(site: Path | None) -> dict[str, Distribution]:
    """Returns the packages of an environment by normal name; of this one without a folder."""
    found = distributions(path=[str(site)]) if site else distributions()
    return {_normal(package.metadata["Name"]): package for package in found}


def closure(wanted: str, installed: Mapping[str, Distribution]) -> dict[str, Distribution]:
    """Returns a package and all that it needs, by normal name; `wanted` may name extras."""
    first = Requirement(wanted)
    found: dict[str, Distribution] = {}
    waiting = [(first.name, frozenset(first.extras))]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = waiting.pop()
        normal = _normal(name)
        if (normal, extras) in seen or normal not in installed:  # what is not there is for another platform
            continue
        seen.add((normal, extras))
        found[normal] = installed[normal]
        for text in found[normal].requires or ():
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in (extras or {""})):
                waiting.append((needed.name, frozenset(needed.extras)))
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def size_bytes(package: Distribution) -> int:
    """Returns what the files of a package take, less what Python compiles at the first import."""
    paths = [Path(str(package.locate_file(file))) for file in package.files or () if file.suffix != ".pyc"]
    return sum(path.stat().st_size for path in paths if path.is_file())
