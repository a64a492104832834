"""What kind of picture some bytes are.

What a file's name or a provider says of its type proves nothing: a browser that is told `image/png` may find HTML, and an SVG runs
scripts. So the first bytes decide.

Rule: a picture is shown, or sent to a model as one, only if it is of a type named here; SVG is none.
"""

from __future__ import annotations

from typing import Final

IMAGE_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""What browsers show safely, and all three dialects take (Anthropic: *Vision*; OpenAI: *Images and vision*)."""

_MAGIC: Final = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))


def image_type_of(data: bytes) -> str:
    """Returns the media type of a picture; empty if the bytes are of none that is known."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((found for magic, found in _MAGIC if data.startswith(magic)), "")
