"""Portable bundles: a session's log and workspace in one file.

A bundle is a ZIP archive: `session.jsonl` (a line that says what it is, then one record per line, as in `docs/event-log.md`), and
the files of the workspace under `workspace/`.

Rule: a bundle may come from anybody. Its size, and how tightly it is packed, is bounded before it is unpacked; its log is read line by
line, its names never become paths unchecked, its settings are those that could be made here, and every record is replayed before
anything is stored.
"""

from __future__ import annotations

import io
import itertools
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import IO, Final

import msgspec

from greenroom.codec import check_format, decode_record, encode_record
from greenroom.config import check_session_id, check_stored, check_user_id
from greenroom.core.session import replayed
from greenroom.errors import (
    Corrupted,
    GreenroomError,
    InvalidArgument,
    InvalidStream,
    LimitExceeded,
    NewerFormat,
    NotSupported,
)
from greenroom.events import (
    FORMAT,
    Record,
    SessionCreated,
    SessionLabelled,
    SessionUpdated,
    StepFailed,
    StepFinished,
    StepProgress,
)
from greenroom.interfaces import WorkspaceFolder
from greenroom.json_scan import JsonScan
from greenroom.limits import BUNDLE_RATIO_MAX, BUNDLE_TIME_MS_MAX, BUNDLE_USAGE_MAX, Limits

_LOG_NAME: Final = "session.jsonl"
_FOLDER: Final = "workspace/"
_KIND: Final = "greenroom-session"
_FORBIDDEN: Final = re.compile(r"[\\:\x00-\x1f]")
_NAME_BYTES_MAX: Final = 200
_DEPTH_MAX: Final = 32
_EPOCH_OF_ZIP: Final = (1980, 1, 1, 0, 0, 0)
_PIECE_BYTES: Final = 64 * 1024
_SMALL_BYTES: Final = 16 * 1024 * 1024
"""What may come out of a bundle however small it is: less than a session may hold in memory anyway."""
_ZIP64_BYTES: Final = 2**31 - 1
_END: Final = b"PK\x05\x06"
_ENTRY: Final = b"PK\x01\x02"
_END_BYTES: Final = 22
_COMMENT_BYTES_MAX: Final = 2**16
_DIRECTORY_BYTES_AT: Final = 12
_DAMAGE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    LookupError,
    NotImplementedError,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
)
"""What the zipfile module lets through when an archive is damaged."""


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    format: int
    session_id: str


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """The checked contents of a bundle: records that can be replayed, and files whose names stay inside of a folder.

    Attributes:
        files: by name; each is unpacked when it is asked for.
    """

    session_id: str
    records: tuple[Record, ...]
    files: Mapping[str, bytes]


def pack(session_id: str, records: Sequence[Record], workspace: WorkspaceFolder, limits: Limits) -> bytes:
    """Returns a bundle; the same session gives the same bytes. It is made record by record and file by file.

    Raises:
        LimitExceeded: it would be larger than a bundle may be.
    """
    packed, size = _packed(session_id, records, workspace, limits, zipfile.ZIP_DEFLATED)
    if size > _unpacked_max(len(packed)):  # so repetitive that it could not be told from a bomb
        packed, _ = _packed(session_id, records, workspace, limits, zipfile.ZIP_STORED)
    return packed


def unpack(data: bytes, limits: Limits) -> Bundle:
    """Returns what is in a bundle. The log is read line by line; the files stay packed.

    Raises:
        InvalidStream: not a bundle, a damaged one, one of a newer version, or one whose settings could not have been made here.
        LimitExceeded: larger than a bundle, or a workspace, may be; or packed more tightly than sessions are.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise InvalidStream(
            f"a bundle is bytes, not {type(data).__name__}", hint="choose a file that Greenroom exported"
        )
    data = bytes(data)
    try:
        _check_count(data, limits)
        archive = zipfile.ZipFile(io.BytesIO(data))
        unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > limits.export_bytes_max:
            raise LimitExceeded(f"the bundle unpacks to more than {limits.export_bytes_max} bytes")
        if unpacked > _unpacked_max(len(data)):
            raise LimitExceeded(
                f"the bundle unpacks to {unpacked} bytes, more than {BUNDLE_RATIO_MAX} times its size",
                hint="choose a file that Greenroom exported: it is never packed so tightly",
            )
        files = _Files(archive, _checked_entries(archive, limits))
        header, records = _log(archive, limits)
        files.check()
    except GreenroomError:
        raise
    except _DAMAGE as error:
        raise InvalidStream(
            f"not a session bundle: {error}"[:300], hint="choose a file that Greenroom exported"
        ) from error
    return Bundle(session_id=header.session_id, records=records, files=files)


class _Files(Mapping[str, bytes]):
    """The files of an archive, of which one at a time is unpacked."""

    def __init__(self, archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo]) -> None:
        self._archive = archive
        self._entries = entries

    def __getitem__(self, name: str) -> bytes:
        return self._archive.read(self._entries[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def check(self) -> None:
        """Unpacks each file once, a piece at a time: what is damaged is known before anything is written."""
        for entry in self._entries.values():
            with self._archive.open(entry) as file:
                while file.read(_PIECE_BYTES):
                    pass


def _packed(
    session_id: str, records: Sequence[Record], workspace: WorkspaceFolder, limits: Limits, method: int
) -> tuple[bytes, int]:
    """Returns a bundle, and how large it is unpacked."""
    size = 0

    def counted(more: int) -> None:
        nonlocal size
        size += more
        if size > limits.export_bytes_max:
            raise LimitExceeded(f"the session is larger than {limits.export_bytes_max} bytes")

    header = _Header(kind=_KIND, format=FORMAT, session_id=session_id)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        with archive.open(_entry(_LOG_NAME, method), "w", force_zip64=limits.export_bytes_max >= _ZIP64_BYTES) as log:
            piece: list[bytes] = []
            piece_bytes = 0
            for line in itertools.chain([msgspec.json.encode(header)], map(encode_record, records)):
                counted(len(line) + 1)
                piece += (line, b"\n")
                piece_bytes += len(line)
                if piece_bytes >= _PIECE_BYTES:
                    log.write(b"".join(piece))
                    piece, piece_bytes = [], 0
            log.write(b"".join(piece))
        for name, content in workspace.files():
            counted(len(content))
            archive.writestr(_entry(_FOLDER + name, method), content)
    return file.getvalue(), size


def _unpacked_max(packed: int) -> int:
    return max(_SMALL_BYTES, BUNDLE_RATIO_MAX * packed)


def _check_count(data: bytes, limits: Limits) -> None:
    """Accepts an archive of a bearable number of entries, before an object is made of each.

    Raises:
        LimitExceeded: there are more.
    """
    end = data.rfind(_END, max(0, len(data) - _END_BYTES - _COMMENT_BYTES_MAX))
    if end < 0 or end + _END_BYTES > len(data):
        return  # no archive: the module says so
    (directory_bytes,) = struct.unpack_from("<L", data, end + _DIRECTORY_BYTES_AT)
    count = data.count(_ENTRY, max(0, end - directory_bytes), end)
    if count > 2 * limits.workspace_files_max + 1:
        raise LimitExceeded(f"the bundle has more than {limits.workspace_files_max} files and folders")


def _checked_entries(archive: zipfile.ZipFile, limits: Limits) -> dict[str, zipfile.ZipInfo]:
    entries = [entry for entry in archive.infolist() if entry.filename.startswith(_FOLDER) and not entry.is_dir()]
    folders: set[PurePosixPath] = set()
    files: dict[PurePosixPath, zipfile.ZipInfo] = {}
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
        files[path] = entry
        folders.update(path.parents)
    if len(files) + len(folders) > limits.workspace_files_max:
        raise LimitExceeded(f"the bundle has more than {limits.workspace_files_max} files and folders")
    if clash := folders.intersection(files):
        raise InvalidStream(f"the bundle has a file and a folder of the name {str(clash.pop())[:80]!r}")
    return {path.as_posix(): entry for path, entry in files.items()}


def _log(archive: zipfile.ZipFile, limits: Limits) -> tuple[_Header, tuple[Record, ...]]:
    records: list[Record] = []
    with archive.open(_LOG_NAME) as file:
        lines = _lines(file, limits)
        try:
            header = msgspec.json.decode(next(lines, b""), type=_Header)
            if header.kind != _KIND:
                raise InvalidStream(f"not a session bundle, but {header.kind[:80]!r}")
            check_format(header.format)
            check_session_id(header.session_id)
            for line in lines:
                if len(records) >= limits.import_records_max:
                    raise LimitExceeded(f"the bundle has more than {limits.import_records_max} records")
                records.append(_record(line, limits))
            replayed(header.session_id, records)
        except NewerFormat as error:
            raise InvalidStream(
                f"the bundle was made by a newer Greenroom: {error.message}"[:300], hint=error.hint
            ) from error
        except (msgspec.MsgspecError, UnicodeDecodeError, Corrupted, ValueError) as error:
            if isinstance(error, InvalidStream):
                raise
            raise InvalidStream(f"the bundle is damaged: {error}"[:300]) from error
    return header, tuple(records)


def _record(line: bytes, limits: Limits) -> Record:
    """Returns a record whose settings, if it has some, could have been made here."""
    JsonScan("a record of the bundle", values_max=limits.json_values_max).feed(line)
    record = decode_record(line)
    _check_figures(record)
    try:
        match record.event:
            case SessionCreated(config=config, labels=labels, user_id=user_id):
                check_user_id(user_id)
                check_stored(config, labels)
            case SessionUpdated(config=config):
                check_stored(config, None)
            case SessionLabelled(labels=labels):
                check_stored(None, labels)
            case _:
                pass
    except (InvalidArgument, NotSupported) as error:
        raise InvalidStream(f"record {record.seq} of the bundle: {error.message}", hint=error.hint) from error
    return record


def _check_figures(record: Record) -> None:
    """Accepts a time that is one, and a usage that is possible: both are listed and summed long after the import.

    Raises:
        InvalidStream: of another.
    """
    if not 0 <= record.at_ms <= BUNDLE_TIME_MS_MAX:
        raise InvalidStream(f"record {record.seq} of the bundle: its time is not in the years 1970 to 9999")
    if isinstance(record.event, StepProgress | StepFinished | StepFailed):
        figures = [value for value in msgspec.structs.astuple(record.event.usage) if value is not None]
        if not all(0 <= figure <= BUNDLE_USAGE_MAX for figure in figures):
            raise InvalidStream(
                f"record {record.seq} of the bundle: its usage has a figure that is not between 0 and {BUNDLE_USAGE_MAX}"
            )


def _lines(file: IO[bytes], limits: Limits) -> Iterator[bytes]:
    """Yields the lines of the log, of which none is empty: a bundle that is nothing but line ends ends here.

    Raises:
        InvalidStream: an empty line.
        LimitExceeded: a line that is longer than any record.
    """
    parts: list[bytes] = []
    size = 0
    while piece := file.read(_PIECE_BYTES):
        *ended, rest = piece.split(b"\n")
        for line in ended:
            whole = b"".join([*parts, line])
            parts, size = [], 0
            if not whole.strip():
                raise InvalidStream("the bundle is damaged: its log has an empty line")
            yield whole
        parts.append(rest)
        size += len(rest)
        if size > limits.import_record_bytes_max:
            raise LimitExceeded(f"the bundle has a record of more than {limits.import_record_bytes_max} bytes")
    if size:
        yield b"".join(parts)


def _entry(name: str, method: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH_OF_ZIP)
    entry.compress_type = method
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
