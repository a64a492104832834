"""What a dialect is known not to take of an attachment, before it is sent: the model is then told of it in a line of text.

Files that can be read are sent as their text, whatever their declared type; images under the type that their bytes have. What is
refused all the same is left out by the session (decision 57): a rule stands here only where it is known, and is rather too lenient.

Rule: pure, and decided by an attachment and those before it: a longer history must not change how an earlier file was sent.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

import msgspec

from greenroom.interfaces import Notice
from greenroom.media_types import IMAGE_TYPES, image_type_of
from greenroom.messages import FilePart

_BINARY: Final = (
    # As `core.prompt` has it: in these nothing is looked for that could pass for our own words, so they are never sent as text.
    *("image/", "audio/", "video/", "application/pdf"),
    *("font/", "application/zip", "application/msword", "application/rtf", "application/vnd.o", "application/vnd.ms-"),
)
_PDF_HEADER_WITHIN: Final = 1024
"""Bytes in which readers look for the header. Without it Claude says "The PDF specified was not valid"."""
_CONTROLS: Final = bytes(code for code in range(32) if code not in b"\t\n\r\f\x1b")
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a dialect takes.

    Attributes:
        image_bytes_max: of one image.
        image_side_max: pixels of its longer side; `None` where no limit is known.
        images_bytes_max: of all images of a request.
        total_bytes_max: of all files of a request, images included.
    """

    image_bytes_max: int
    image_side_max: int | None = None
    images_bytes_max: int
    total_bytes_max: int


CLAUDE: Final = Rules(
    # Anthropic, *Vision*: 5 MB an image, 8000 x 8000 pixels, 32 MB a request; the rest of it needs room. It counts what it is sent:
    # "image exceeds 5 MB maximum: 6405384 bytes > 5242880 bytes" was said of a file of 4804036 bytes (langchain-ai/langchain#21654).
    image_bytes_max=5 * 1024 * 1024 * 3 // 4,
    image_side_max=8000,
    images_bytes_max=28 * 1024 * 1024 * 3 // 4,
    total_bytes_max=28 * 1024 * 1024 * 3 // 4,
)
OPENAI: Final = Rules(
    # OpenAI, *Images and vision*: a payload of 50 MB, which is what is sent, in base64; *File inputs*: 50 MB of files in a request.
    image_bytes_max=49 * 1000 * 1000 * 3 // 4,
    images_bytes_max=49 * 1000 * 1000 * 3 // 4,
    total_bytes_max=50 * 1000 * 1000,
)


class Room:
    """What is left for files in a request; they are asked for in the order of the history."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._left = rules.total_bytes_max
        self._left_for_images = rules.images_bytes_max

    def refused(self, part: FilePart) -> str:
        """Returns why a file that is not text cannot be sent; empty if it can, and takes its room."""
        media_type = media_type_of(part)
        is_image, size = media_type.startswith("image/"), len(part.data)
        if media_type == "application/pdf" and b"%PDF" not in part.data[:_PDF_HEADER_WITHIN]:
            return "not a PDF"
        if is_image:
            if media_type not in IMAGE_TYPES:
                return "not a PNG, JPEG, GIF or WebP image"
            if size > self._rules.image_bytes_max:
                return f"more than {self._rules.image_bytes_max / 1_000_000:.1f} MB"
            if self._rules.image_side_max is not None and max(_sides(part.data)) > self._rules.image_side_max:
                return f"more than {self._rules.image_side_max} pixels high or wide"
        if size > self._left or (is_image and size > self._left_for_images):
            return "more than fits into a request together with the files before it"
        self._left -= size
        self._left_for_images -= size if is_image else 0
        return ""


def media_type_of(part: FilePart) -> str:
    """Returns the type without parameters: of an image the one that its bytes have, as providers compare them."""
    declared = part.media_type.partition(";")[0].strip().lower().replace("image/jpg", "image/jpeg")
    if not declared.startswith("image/"):
        return declared
    return image_type_of(part.data) or declared


def text_of(part: FilePart) -> str | None:
    """Returns the text of a file that can be read, `None` for any other.

    What is declared as text is text, in whatever encoding; anything else is, if it is UTF-8 without control characters and not
    declared as a picture, a sound or a document.
    """
    media_type = media_type_of(part)
    if media_type.startswith("text/"):
        return part.data.decode("utf-8-sig", "replace")
    if media_type.startswith(_BINARY) or len(part.data.translate(None, _CONTROLS)) < len(part.data):
        return None
    try:
        return part.data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def told(part: FilePart, why: str) -> str:
    """Returns the line that stands for a file which is not sent."""
    return f"[{label(part)}: {len(part.data)} bytes that cannot be shown here: {why}]"


def told_picture(part: FilePart) -> str:
    """Returns the line that stands for a picture that a model made, where a dialect does not take it back from the assistant."""
    return f"[A picture was made and shown to the user here: {part.media_type}, {len(part.data)} bytes.]"


def label(part: FilePart) -> str:
    """Returns what a file is called, for people and models."""
    return f"{part.name or 'a file'} ({part.media_type or 'of unknown type'})"


def not_shown(found: Iterable[tuple[FilePart, str]]) -> list[Notice]:
    """Returns what a person should know of files that are not sent, each with the reason."""
    notices = {label(part): f"{label(part)} is {why}: the model is told only its name" for part, why in found}
    return [Notice(code="attachment_not_shown", text=text, about=about) for about, text in notices.items()]


def _sides(data: bytes) -> tuple[int, int]:
    """Returns width and height of an image, as far as its first bytes tell; zeros if they do not."""
    try:
        if data.startswith(b"\x89PNG"):
            width, height = struct.unpack_from(">II", data, 16)
            return width, height
        if data.startswith(b"GIF8"):
            width, height = struct.unpack_from("<HH", data, 6)
            return width, height
        if data.startswith(b"\xff\xd8"):
            return _sides_of_jpeg(data)
    except struct.error:
        pass
    return 0, 0


def _sides_of_jpeg(data: bytes) -> tuple[int, int]:
    place = 2
    while data[place : place + 1] == b"\xff":
        marker, length = struct.unpack_from(">xBH", data, place)
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, place + 5)
            return width, height
        place += 2 + length
    return 0, 0
