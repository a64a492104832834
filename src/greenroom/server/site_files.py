"""The files of the web UI, and those of the login page, which needs nothing of it: read once, and sent to those who do not have them.

Rule: a name in a request is looked up among them and never becomes a path.
"""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from greenroom.server.answers import Answer, Data, Empty

FOLDER: Final = Path(__file__).parent.parent / "ui" / "dist"

LOGIN_PAGE: Final = Path(__file__).parent / "login_page"


class File(NamedTuple):
    """A file of the UI."""

    content: bytes
    media_type: str
    etag: str


def answer_with(file: File, asked: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
    """Returns a file as an answer; without its content for a browser that has this version of it.

    Args:
        file: what is asked for.
        asked: the headers of the request.
        headers: of the answer.
    """
    given = {**headers, "etag": file.etag}
    if asked.get("if-none-match") == file.etag:
        return Empty(304, headers=given)
    return Data(file.content, file.media_type, headers=given)


def read_files(folder: Path = FOLDER) -> dict[str, File]:
    """Returns the files by name; none where there is no UI. Reads them: not on an event loop."""
    files: dict[str, File] = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.is_file():
            content = path.read_bytes()
            media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            charset = "; charset=utf-8" if media_type.startswith("text/") else ""
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            files[path.relative_to(folder).as_posix()] = File(content, media_type + charset, etag)
    return files
