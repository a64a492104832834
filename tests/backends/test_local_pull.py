"""Pulling the embedded model: whole and checked, or not at all, and every failure says what to do.

The model here is a few bytes in a wheel of its own, which pip finds in a folder: what runs is the real pip, without a network.
"""

from __future__ import annotations

import base64
import hashlib
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from greenroom.backends.local import model as model_module
from greenroom.backends.local.model import PublishedModel, find_model, list_models, models_folder, pull
from greenroom.errors import BackendError, BackendGarbled, BackendRejected, BackendUnavailable

GGUF = b"GGUF" + bytes(range(256)) * 4096
MEMBER = "tiny_model/tiny.gguf"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all that pip knows."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def published(index: Path) -> PublishedModel:
    wheel = index / "tiny_model-1.0-py3-none-any.whl"
    metadata = {
        "METADATA": b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n",
        "WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    members = {MEMBER: GGUF} | {f"tiny_model-1.0.dist-info/{name}": text for name, text in metadata.items()}
    record = "".join(f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in members.items())
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr("tiny_model-1.0.dist-info/RECORD", record + "tiny_model-1.0.dist-info/RECORD,,\n")
    return PublishedModel(
        name="tiny",
        file_name="Tiny.gguf",
        requirement="tiny-model==1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        wheel_bytes=wheel.stat().st_size,
        member=MEMBER,
        sha256=hashlib.sha256(GGUF).hexdigest(),
        bytes=len(GGUF),
    )


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def left(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


def test_it_is_pulled_once_with_progress(home: Path, published: PublishedModel) -> None:
    steps: list[tuple[int, int]] = []
    path = pull(home, progress=lambda done, total: steps.append((done, total)), published=published)
    assert path == models_folder(home) / "Tiny.gguf"
    assert path.read_bytes() == GGUF
    assert left(home) == ["models/Tiny.gguf"]
    total = published.wheel_bytes + len(GGUF)
    assert [step[0] for step in steps] == sorted({step[0] for step in steps})
    assert steps[-1] == (total, total)

    before = path.stat()
    steps.clear()
    assert pull(home, progress=lambda done, total: steps.append((done, total)), published=published) == path
    assert path.stat() == before
    assert steps == [(total, total)]


def test_once_there_it_needs_nothing_any_more(
    home: Path, published: PublishedModel, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull(home, published=published)
    (index / "tiny_model-1.0-py3-none-any.whl").unlink()
    monkeypatch.setenv("PATH", "")
    assert pull(home, published=published).is_file()
    found = find_model(home, published=published)
    assert (found.name, found.is_embedded, found.bytes) == ("tiny", True, len(GGUF))


def test_a_damaged_file_is_replaced(home: Path, published: PublishedModel) -> None:
    path = models_folder(home) / "Tiny.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"GGUF" + bytes(len(GGUF) - 4))
    pull(home, published=published)
    assert path.read_bytes() == GGUF


def test_what_a_killed_pull_left_behind_is_swept_later(home: Path, published: PublishedModel) -> None:
    folder = models_folder(home)
    for name, age_s in (("old", 7200.0), ("running", 0.0)):
        staging = folder / f".pull-{name}"
        staging.mkdir(parents=True)
        (staging / "half.whl").write_bytes(b"half")
        then = staging.stat().st_mtime - age_s
        os.utime(staging, (then, then))
    pull(home, published=published)
    assert left(home) == ["models/.pull-running/half.whl", "models/Tiny.gguf"]


def _other_wheel(published: PublishedModel) -> PublishedModel:
    return msgspec.structs.replace(published, wheel_sha256="0" * 64)


def _other_file(published: PublishedModel) -> PublishedModel:
    return msgspec.structs.replace(published, sha256="0" * 64)


def _no_such_version(published: PublishedModel) -> PublishedModel:
    return msgspec.structs.replace(published, requirement="tiny-model==2.0")


@pytest.mark.parametrize(
    ("changed", "kind", "message"),
    [
        (_other_wheel, BackendGarbled, "its hash differs"),
        (_other_file, BackendGarbled, r"the unpacked Tiny\.gguf is not what was published"),
        (_no_such_version, BackendRejected, "pip cannot download tiny-model==2.0: Could not find a version"),
    ],
)
def test_what_is_not_as_published_is_refused_and_nothing_stays(
    home: Path,
    published: PublishedModel,
    changed: Callable[[PublishedModel], PublishedModel],
    kind: type[BackendError],
    message: str,
) -> None:
    with pytest.raises(kind, match=message):
        pull(home, published=changed(published))
    assert left(home) == []


def test_without_a_network_it_says_so(home: Path, published: PublishedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(BackendUnavailable, match="cannot reach the package index"):
        pull(home, published=published)


def test_without_space_it_does_not_begin(home: Path, published: PublishedModel) -> None:
    with pytest.raises(BackendUnavailable, match="no space for the model"):
        pull(home, published=msgspec.structs.replace(published, wheel_bytes=1 << 60))
    assert left(home) == []


def test_a_home_that_cannot_be_written_is_said_without_its_place(home: Path, published: PublishedModel) -> None:
    home.write_text("a file, not a folder", encoding="utf-8")
    with pytest.raises(BackendUnavailable, match="the models folder cannot be written") as refused:
        pull(home, published=published)
    assert str(home) not in str(refused.value)
    assert "GREENROOM_HOME" in str(refused.value)


def test_without_any_pip_it_says_how_to_get_one(
    home: Path, published: PublishedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BackendRejected, match="pip is needed") as refused:
        pull(home, published=published)
    assert refused.value.hint == "run: python -m ensurepip"


def test_the_pip_of_the_machine_or_uv_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, command in (("uv", ("tool", "run", "pip")), ("pip3", ())):
        program = tmp_path / name
        program.write_text("#!/bin/sh\n", encoding="utf-8")
        program.chmod(0o755)
        assert model_module._pip() == (str(program), *command)


def test_models_are_listed_by_name(home: Path, published: PublishedModel) -> None:
    assert list_models(home) == []
    pull(home, published=published)
    (models_folder(home) / "big.gguf").write_bytes(b"GGUF")
    (models_folder(home) / "notes.txt").write_bytes(b"GGUF")
    models = list_models(home, published=published)
    assert [(model.name, model.is_embedded) for model in models] == [("big", False), ("tiny", True)]
