"""The fuzz targets, each for `GREENROOM_FUZZ_S` seconds (ten minutes by default), beginning with the recorded streams."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from source_tree import ROOT

SCRIPT = Path(__file__).with_name("fuzz_decoders.py")
SECONDS = int(os.environ.get("GREENROOM_FUZZ_S", "600"))
FOLDERS = {
    "chat": "openai-chat",
    "messages": "anthropic-messages",
    "responses": "openai-responses",
    "sse": "*",
    "errors": None,
}


def seeded(folder: Path, recordings: str | None) -> Path:
    """Fills a corpus: every recording as a whole and its first events, with a byte before that says how it is cut."""
    folder.mkdir()
    for name in ("known", "found"):
        (folder / name).mkdir()
    roots = [ROOT / "tests" / "backends" / "recordings", ROOT.parent / "shared" / "recordings"]
    paths = [path for root in roots for path in sorted(root.glob(f"{recordings}/*.sse"))] if recordings else []
    for number, path in enumerate(paths):
        body = path.read_bytes()
        for size in (len(body), 2_000, 500):
            (folder / "known" / f"{number}-{size}").write_bytes(bytes([size % 64]) + body[:size])
    (folder / "known" / "error").write_bytes(b'\x1d{"error": {"message": "m", "type": "t", "code": 1}}')
    return folder


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 300)
@pytest.mark.parametrize("target", FOLDERS)
def test_nothing_is_found(tmp_path: Path, target: str) -> None:
    pytest.importorskip("atheris", reason="atheris has no wheel for this platform")
    corpus = seeded(tmp_path / "corpus", FOLDERS[target])
    command = [sys.executable, str(SCRIPT), target, str(corpus / "found"), str(corpus / "known")]
    options = [
        f"-max_total_time={SECONDS}",
        "-max_len=8192",
        "-rss_limit_mb=2048",
        "-timeout=20",
        "-print_final_stats=1",
    ]
    run = subprocess.run(
        [*command, *options, f"-artifact_prefix={tmp_path}/"], check=False, capture_output=True, text=True
    )
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert run.returncode == 0, f"{run.stdout[-2000:]}\n{run.stderr[-4000:]}\ninputs: {found}"
    assert "stat::number_of_executed_units" in run.stderr
