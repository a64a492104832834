"""Portable bundles: a session's log and workspace in one file.

A bundle is a ZIP archive: `session.jsonl` (a line that says what it is, then one record per line, as in `docs/event-log.md`), and
the files of the workspace under `workspace/`.

Rule: a bundle may come from anybody. Its size is bounded before it is unpacked, its names never become paths unchecked, and every
record is replayed before anything is stored.
"""

from __future__ import annotations

import io
import os
import stat
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from greenroom.codec import check_format, decode_record, encode_record
from greenroom.config import check_session_id
from greenroom.errors import Corrupted, InvalidArgument, InvalidStream, LimitExceeded
from greenroom.events import FORMAT, Record
from greenroom.limits import Limits

_LOG_NAME: Final = "session.jsonl"
_FOLDER: Final = "workspace/"
_KIND: Final = "greenroom-session"
_EPOCH_OF_ZIP: Final = (1980, 1, 1, 0, 0, 0)


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    format: int
    session_id: str


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that was checked, but for the records' order."""

    session_id: str
    records: tuple[Record, ...]
    files: dict[str, bytes]

    def write_files(self, folder: Path) -> None:
        """Writes the workspace into `folder`, which nobody uses yet.

        Raises:
            FileExistsError: a file is there already.
        """
        for name, data in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with path.open("xb") as file:
                file.write(data)


def pack(session_id: str, records: Sequence[Record], folder: Path, limits: Limits) -> bytes:
    """Returns a bundle; the same session gives the same bytes.

    Raises:
        LimitExceeded: it would be larger than a bundle may be.
    """
    header = _Header(kind=_KIND, format=FORMAT, session_id=session_id)
    lines = [msgspec.json.encode(header), *map(encode_record, records)]
    size = sum(map(len, lines))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_entry(_LOG_NAME), b"\n".join(lines) + b"\n")
        for name, path in _files(folder):
            data = path.read_bytes()
            size += len(data)
            if size > limits.export_bytes_max:
                raise LimitExceeded(f"the session is larger than {limits.export_bytes_max} bytes")
            archive.writestr(_entry(_FOLDER + name), data)
    return file.getvalue()


def unpack(data: bytes, limits: Limits) -> Bundle:
    """Returns what is in a bundle.

    Raises:
        InvalidStream: not a bundle, or a damaged one.
        NewerFormat: of a newer version.
        LimitExceeded: larger than a bundle may be.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > limits.export_bytes_max:
                raise LimitExceeded(f"the bundle unpacks to more than {limits.export_bytes_max} bytes")
            header, records = _log(archive.read(_LOG_NAME))
            files = {
                _checked_name(entry.filename.removeprefix(_FOLDER)): archive.read(entry)
                for entry in archive.infolist()
                if entry.filename.startswith(_FOLDER) and not entry.is_dir()
            }
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise InvalidStream(f"not a session bundle: {error}", hint="give the bytes of export_session()") from error
    if len(files) > limits.workspace_files_max:
        raise LimitExceeded(f"the bundle has more than {limits.workspace_files_max} files")
    return Bundle(session_id=header.session_id, records=records, files=files)


def _log(data: bytes) -> tuple[_Header, tuple[Record, ...]]:
    first, *lines = data.splitlines()
    try:
        header = msgspec.json.decode(first, type=_Header)
        if header.kind != _KIND:
            raise InvalidStream(f"not a session bundle, but {header.kind!r}")
        check_format(header.format)
        check_session_id(header.session_id)
        return header, tuple(map(decode_record, lines))
    except (msgspec.MsgspecError, UnicodeDecodeError, Corrupted) as error:
        raise InvalidStream(f"the bundle is damaged: {error}") from error


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    # Not followed: a link could lead anywhere. A file that is no regular file has no contents to take along.
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            if stat.S_ISREG(path.lstat().st_mode):
                yield path.relative_to(folder).as_posix(), path


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH_OF_ZIP)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o600 << 16
    return entry


def _checked_name(name: str) -> str:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name:
        raise InvalidArgument(
            f"the bundle has a file of the name {name[:80]!r}", hint="only names inside of the workspace"
        )
    return path.as_posix()
