"""Attachments as requests carry them: base64, or data URLs.

Nothing is fetched: a URL of another machine would make the server ask it on a client's behalf.

Rule: what comes out is what `AgentManager.send` takes; sizes and media types it checks itself.
"""

from __future__ import annotations

import binascii
from typing import Any, Final

from greenroom.errors import InvalidArgument
from greenroom.large import SLICE_CHARACTERS, from_base64

_HEAD_CHARACTERS_MAX: Final = 1024
"""How far the comma of a data URL is looked for: media types and their parameters are short."""


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
    what = where or f"attachment {name[:80]!r}"
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
    comma = url.find(",", 5, _HEAD_CHARACTERS_MAX)
    if comma < 0:
        raise InvalidArgument(f"{what}: not a data URL", hint="data:image/png;base64,...")
    parts = [part.strip() for part in url[5:comma].split(";")]
    data = url[comma + 1 :]
    content = _base64(data, what) if "base64" in parts[1:] else _unquoted(data, what)
    return parts[0] or "text/plain", content


def _unquoted(text: str, what: str) -> bytes:
    # The standard library makes an object of every %, and a regular expression looks behind each: of a few megabytes, they stop the
    # loop for long. Quoted-printable is the same with another sign, and is decoded in one go. What is no pair of digits it leaves
    # longer than a pair becomes, but for a sign before the end of a line.
    contents = []
    start = 0
    while start < len(text):
        end = start + SLICE_CHARACTERS
        # A sign and its two digits stay together.
        split = text.rfind("%", end - 2, end)
        end = split if split >= 0 and end < len(text) else end
        contents.append(_unquoted_slice(text[start:end], what))
        start = end
    return b"".join(contents)


def _unquoted_slice(text: str, what: str) -> bytes:
    data = text.encode()
    content = binascii.a2b_qp(data.replace(b"=", b"=3D").replace(b"%", b"="))
    if b"%\n" in data or b"%\r" in data or len(content) != len(data) - 2 * data.count(b"%"):
        raise InvalidArgument(
            f"{what}: a % without two hexadecimal digits after it", hint="write %25 for the sign itself"
        )
    return content


def _base64(text: str, what: str) -> bytes:
    try:
        return from_base64(text)
    except ValueError as error:
        raise InvalidArgument(
            f"{what}: not base64", hint="send the file's bytes in base64, padded, without line ends"
        ) from error
