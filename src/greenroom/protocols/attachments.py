"""Attachments as requests carry them: base64, or data URLs.

Nothing is fetched: a URL of another machine would make the server ask it on a client's behalf.

Rule: what comes out is what `AgentManager.send` takes; sizes and media types it checks itself.
"""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import unquote_to_bytes

from greenroom.errors import InvalidArgument


def attachment(data: str, media_type: str, name: str, *, where: str = "") -> dict[str, Any]:
    """Returns an attachment for `send`.

    Args:
        data: base64, or a data URL.
        media_type: as the client says; empty for what the URL says.
        name: of the file.
        where: the place in the request, for an error; its name, if empty.

    Raises:
        InvalidArgument: neither base64 nor a data URL.
    """
    what = where or f"attachment {name!r}"
    if data[:5].lower() == "data:":
        found_type, content = _data_url(data, what)
        media_type = media_type or found_type
    elif "://" in data[:20]:
        raise InvalidArgument(
            f"{what}: a URL of another place", hint="send its contents, as base64 or as a data: URL; nothing is fetched"
        )
    else:
        content = _base64(data, what)
    return {"data": content, "name": name} | ({"media_type": media_type} if media_type else {})


def _data_url(url: str, what: str) -> tuple[str, bytes]:
    head, comma, data = url[5:].partition(",")
    if not comma:
        raise InvalidArgument(f"{what}: not a data URL", hint="data:image/png;base64,...")
    parts = [part.strip() for part in head.split(";")]
    content = _base64(data, what) if "base64" in parts[1:] else unquote_to_bytes(data)
    return parts[0] or "text/plain", content


def _base64(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise InvalidArgument(f"{what}: not base64: {error}") from error
