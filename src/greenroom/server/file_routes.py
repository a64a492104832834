"""The files of a session's workspace: listed, fetched, put and removed.

What is in them comes from models and from anybody: it is sent as a download, never as a page of this server.

Rule: a path goes to the workspace as it came, and never becomes one of this machine here.
"""

from __future__ import annotations

import datetime as dt
import mimetypes
from collections.abc import Awaitable
from typing import Any, Final, TypeVar
from urllib.parse import quote

from greenroom.errors import InvalidArgument, LogUnavailable
from greenroom.interfaces import Entry, WorkspaceFolder
from greenroom.server import bodies
from greenroom.server.answers import Answer, Data, Empty, Json
from greenroom.server.call import Call
from greenroom.server.operation import BYTES, Operation
from greenroom.server.refusal import Refusal

_TAG: Final = "workspace"
_PATH: Final = "/v1/sessions/{session_id}/workspace/{path:path}"
_INLINE: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""What a browser shows without running anything in it."""

T = TypeVar("T")


async def show(call: Call) -> Answer:
    """Lists a folder with all below it, or fetches a file."""
    path = call.path["path"].rstrip("/")
    found = await _done(
        call.sessions.in_workspace(call.session_id, lambda folder: _looked_up(folder, path), changes=False)
    )
    if isinstance(found, list):
        return Json({"files": found})
    content, media_type = found
    name = path.rpartition("/")[2]
    is_inline = call.query.inline and media_type in _INLINE
    return Data(
        content,
        media_type,
        headers={
            "content-disposition": f"{'inline' if is_inline else 'attachment'}; filename*=UTF-8''{quote(name, safe='')}",
            "content-security-policy": "sandbox; default-src 'none'",
            "x-content-type-options": "nosniff",
        },
    )


async def put(call: Call) -> Answer:
    """Writes a file."""
    path = call.path["path"]
    content: bytes = call.body
    replaced = await _done(
        call.sessions.in_workspace(call.session_id, lambda folder: folder.write_bytes(path, content))
    )
    return Empty(204 if replaced else 201)


async def remove(call: Call) -> Answer:
    """Removes a file, or a folder with all in it."""
    path = call.path["path"]
    if not await _done(call.sessions.in_workspace(call.session_id, lambda folder: folder.remove(path, recursive=True))):
        raise _no_file()
    return Empty(204)


def _looked_up(folder: WorkspaceFolder, path: str) -> list[dict[str, Any]] | tuple[bytes, str]:
    entry = folder.find(path)
    if entry is None:
        raise FileNotFoundError(path)
    if entry.kind == "folder":
        files = (entry for entry in folder.walk(path) if entry.kind == "file")
        return [_row(entry) for entry in sorted(files, key=lambda entry: entry.path)]
    # The first look at the table of types reads files.
    return folder.read_bytes(path), mimetypes.guess_type(path)[0] or BYTES


def _row(entry: Entry) -> dict[str, Any]:
    modified_at = dt.datetime.fromtimestamp(entry.modified_at_ms / 1000, tz=dt.UTC).isoformat(timespec="milliseconds")
    return {"path": entry.path, "size": entry.size_bytes, "modified_at": modified_at}


async def _done(work: Awaitable[T]) -> T:
    try:
        return await work
    except FileNotFoundError as error:
        raise _no_file() from error
    except OSError as error:
        raise LogUnavailable(
            f"the workspace cannot be used: {error.strerror}", hint="check the server's disk"
        ) from error
    except UnicodeError as error:
        raise InvalidArgument("the path is not valid Unicode") from error


def _no_file() -> Refusal:
    return Refusal(404, "file_not_found", "there is no such file", hint="GET .../workspace/ lists the files")


OPERATIONS: Final = (
    Operation(
        method="GET", path=_PATH, handle=show, tag=_TAG, query=bodies.FileQuery,
        summary="Fetch a file; of a folder, the list of all files below it", answers={200: bodies.Files},
    ),
    Operation(
        method="PUT", path=_PATH, handle=put, tag=_TAG, raw_body=("*/*",), bytes_limit="workspace_file_bytes_max",
        summary="Write a file, with the folders that it needs", answers={201: None, 204: None},
    ),
    Operation(
        method="DELETE", path=_PATH, handle=remove, tag=_TAG,
        summary="Remove a file, or a folder with all in it", answers={204: None},
    ),
)  # fmt: skip
