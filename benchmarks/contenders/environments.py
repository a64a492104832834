"""An environment for each peer: made once, from exact versions, in the user's cache folder, never in the project's own.

`versions.toml` holds what each peer asks for and everything that came with it; `python -m benchmarks.contenders.environments
[PEER ...]` renews it. An environment is named after its versions, so a change of them makes a new one.

Rule: an environment that could not be made is a reason in the table, never a number that is missing without one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Final

from platformdirs import user_cache_path

VERSIONS: Final = Path(__file__).with_name("versions.toml")
INSTALL_S_MAX: Final = 900
_HEAD: Final = "# Each peer: what is asked for, by hand, and what then came, by `python -m benchmarks.contenders.environments [PEER ...]`."
_QUIET: Final = ("--quiet", "--disable-pip-version-check", "--no-input")


class NotInstalled(Exception):
    """The environment of a peer could not be made; says why."""


def cache_folder() -> Path:
    """Returns where the environments are kept: `$GREENROOM_BENCH_CACHE`, else the user's cache folder."""
    chosen = os.environ.get("GREENROOM_BENCH_CACHE")
    return Path(chosen) if chosen else user_cache_path("greenroom-bench", appauthor=False)


def versions() -> dict[str, dict[str, list[str]]]:
    """Returns `asked` and `locked` of each peer."""
    return tomllib.loads(VERSIONS.read_text(encoding="utf-8"))


def python_of(peer: str) -> Path:
    """Returns the interpreter of the peer's environment; makes it if it is not there.

    Raises:
        NotInstalled: it could not be made.
    """
    locked = versions()[peer]["locked"]
    key = hashlib.sha256("\n".join([sys.version, *locked]).encode()).hexdigest()[:12]
    folder = cache_folder() / f"{peer}-{key}"
    if not (folder / "complete").exists():
        print(f"... installing {peer} into {folder}", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        _make(folder, ["--no-deps", *locked])
        (folder / "complete").touch()
    return _python(folder)


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _make(folder: Path, arguments: list[str]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(_python(folder)), "-m", "pip", "install", *_QUIET, *arguments],
    ):
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_S_MAX)
        except subprocess.CalledProcessError as error:
            lines = [line for line in error.stderr.splitlines() if line.startswith("ERROR")] or [
                f"exit {error.returncode}"
            ]
            raise NotInstalled(f"pip could not install it: {lines[-1]}") from error
        except subprocess.TimeoutExpired as error:
            raise NotInstalled(f"not installed after {INSTALL_S_MAX} s") from error


def lock(names: list[str]) -> None:
    """Asks anew for the peers of these names, or for all, and writes down what came.

    Raises:
        NotInstalled: something that was asked for cannot be had; nothing is written.
    """
    entries = versions()
    for peer in names or entries:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "venv"
            _make(folder, entries[peer]["asked"])
            freeze = [str(_python(folder)), "-m", "pip", "freeze", "--disable-pip-version-check"]
            frozen = subprocess.run(freeze, check=True, capture_output=True, text=True)
            entries[peer]["locked"] = frozen.stdout.split()
    tables = [
        f"[{peer}]\n{_array('asked', entry['asked'])}\n{_array('locked', entry['locked'])}"
        for peer, entry in entries.items()
    ]
    VERSIONS.write_text("\n\n".join([_HEAD, *tables]) + "\n", encoding="utf-8")


def _array(name: str, values: list[str]) -> str:
    lines, line = [f"{name} = ["], " "
    for value in values:
        if len(line) + len(value) > 110:
            lines.append(line)
            line = " "
        line += f' "{value}",'
    return "\n".join([*lines, line, "]"])


if __name__ == "__main__":
    lock(sys.argv[1:])
