"""Portable bundles: a session's log and workspace in one file.

A bundle is a ZIP archive: `session.jsonl` (a line that says what it is, then one record per line, as in `docs/event-log.md`), and
the files of the workspace under `workspace/`.

Rule: a bundle may come from anybody. Its size is bounded before it is unpacked, its names never become paths unchecked, and every
record is replayed before anything is stored.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

import msgspec

from greenroom.codec import check_format, decode_record, encode_record
from greenroom.config import check_session_id
from greenroom.core.session import replayed
from greenroom.errors import Corrupted, GreenroomError, InvalidStream, LimitExceeded
from greenroom.events import FORMAT, Record
from greenroom.interfaces import WorkspaceFolder
from greenroom.limits import Limits

_LOG_NAME: Final = "session.jsonl"
_FOLDER: Final = "workspace/"
_KIND: Final = "greenroom-session"
_FORBIDDEN: Final = re.compile(r"[\\:\x00-\x1f]")
_NAME_BYTES_MAX: Final = 200
_DEPTH_MAX: Final = 32
_EPOCH_OF_ZIP: Final = (1980, 1, 1, 0, 0, 0)


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    format: int
    session_id: str


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """The checked contents of a bundle: records that can be replayed, and files whose names stay inside of a folder."""

    session_id: str
    records: tuple[Record, ...]
    files: dict[str, bytes]


def pack(session_id: str, records: Sequence[Record], workspace: WorkspaceFolder, limits: Limits) -> bytes:
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
        for name, data in workspace.files():
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
        LimitExceeded: larger than a bundle, or a workspace, may be.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise InvalidStream(f"a bundle is bytes, not {type(data).__name__}", hint="give what export_session() returned")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > limits.export_bytes_max:
                raise LimitExceeded(f"the bundle unpacks to more than {limits.export_bytes_max} bytes")
            header, records = _log(archive.read(_LOG_NAME))
            files = _read_files(archive, limits)
    except GreenroomError:
        raise
    # The zipfile module lets through whatever a damaged archive makes its parts raise.
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        LookupError,
        NotImplementedError,
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
    ) as error:
        raise InvalidStream(f"not a session bundle: {error}", hint="give what export_session() returned") from error
    return Bundle(session_id=header.session_id, records=records, files=files)


def _read_files(archive: zipfile.ZipFile, limits: Limits) -> dict[str, bytes]:
    entries = [entry for entry in archive.infolist() if entry.filename.startswith(_FOLDER) and not entry.is_dir()]
    folders: set[PurePosixPath] = set()
    files: dict[PurePosixPath, bytes] = {}
    if len(entries) > limits.workspace_files_max:
        raise LimitExceeded(f"the bundle has more than {limits.workspace_files_max} files")
    if sum(entry.file_size for entry in entries) > limits.workspace_bytes_max:
        raise LimitExceeded(f"the files of the bundle have more than {limits.workspace_bytes_max} bytes")
    for entry in entries:
        if entry.file_size > limits.workspace_file_bytes_max:
            raise LimitExceeded(f"a file of the bundle has more than {limits.workspace_file_bytes_max} bytes")
        path = _checked_path(entry.filename.removeprefix(_FOLDER))
        if path in files:
            raise InvalidStream(f"the bundle has two files of the name {str(path)[:80]!r}")
        files[path] = archive.read(entry)
        folders.update(path.parents)
    if len(files) + len(folders) > limits.workspace_files_max:
        raise LimitExceeded(f"the bundle has more than {limits.workspace_files_max} files and folders")
    if clash := folders.intersection(files):
        raise InvalidStream(f"the bundle has a file and a folder of the name {str(clash.pop())[:80]!r}")
    return {path.as_posix(): data for path, data in files.items()}


def _log(data: bytes) -> tuple[_Header, tuple[Record, ...]]:
    first, *lines = data.splitlines()
    try:
        header = msgspec.json.decode(first, type=_Header)
        if header.kind != _KIND:
            raise InvalidStream(f"not a session bundle, but {header.kind!r}")
        check_format(header.format)
        check_session_id(header.session_id)
        records = tuple(map(decode_record, lines))
        replayed(header.session_id, records)
    except (msgspec.MsgspecError, UnicodeDecodeError, Corrupted, ValueError) as error:
        if isinstance(error, InvalidStream):
            raise
        raise InvalidStream(f"the bundle is damaged: {error}") from error
    return header, records


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH_OF_ZIP)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o600 << 16
    return entry


def _checked_path(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    is_plain = name == path.as_posix() and not path.is_absolute() and not _FORBIDDEN.search(name)
    parts_fit = all(part not in {".", ".."} and len(part.encode()) <= _NAME_BYTES_MAX for part in path.parts)
    if not is_plain or not parts_fit or not path.parts or len(path.parts) > _DEPTH_MAX:
        raise InvalidStream(
            f"the bundle has a file of the name {name[:80]!r}",
            hint="only relative names inside of the workspace are taken",
        )
    return path
