"""What an answer gives beside its words: sources, and pictures that the model made. One rule for every backend.

Providers name a source as often as they like (Perplexity: all of them in each chunk) and with any address; a page that a model has
read may have chosen it. So a source is kept once, only http and https become an address, and all texts are short. A picture is kept
if its bytes are of a type that anybody may be shown.

Rule: what is left out is told; what is kept is safe to show as it is.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from greenroom.events import NoticeGiven
from greenroom.limits import (
    SOURCE_QUOTE_CHARACTERS_MAX,
    SOURCE_TITLE_CHARACTERS_MAX,
    SOURCE_URL_CHARACTERS_MAX,
    Limits,
)
from greenroom.media_types import image_type_of
from greenroom.messages import FilePart, SourcePart

_NAMELESS: Final = "A source without a name"
_NO_PICTURE: Final = "A file that is no picture, and was left out"
_SCHEMES: Final = frozenset({"http", "https"})


class GivenParts:
    """The given parts of one attempt.

    Attributes:
        notices: what a person is to be told; whoever tells it takes it out.
    """

    def __init__(self, limits: Limits) -> None:
        self.notices: list[NoticeGiven] = []
        self._limits = limits
        self._sources: set[str] = set()
        self._pictures: set[bytes] = set()
        self._picture_bytes = 0

    def taken(self, content: SourcePart | FilePart) -> SourcePart | FilePart | None:
        """Returns what is kept of a part; `None` for one that is there already, says nothing, or is left out."""
        return self._source(content) if isinstance(content, SourcePart) else self._picture(content)

    def _source(self, told: SourcePart) -> SourcePart | None:
        key = told.url or told.title
        if key in self._sources:
            return None
        source = shown_source(told)
        if source is None:
            return None
        if len(self._sources) >= self._limits.sources_max:
            text = f"the answer names more than {self._limits.sources_max} sources (Limits.sources_max): the others are left out"
            self._tell("sources_left_out", text)
            return None
        self._sources.add(key)
        return source

    def _picture(self, told: FilePart) -> FilePart | None:
        if told.data in self._pictures:
            return None
        media_type = image_type_of(told.data)
        if why := self._refused(told, media_type):
            self._tell("picture_left_out", f"a picture that the model made is left out: {why}")
            return None
        self._pictures.add(told.data)
        self._picture_bytes += len(told.data)
        return FilePart(media_type=media_type, data=told.data, sidecar=told.sidecar)

    def _refused(self, told: FilePart, media_type: str) -> str:
        """Returns why a picture is not kept; empty if it is."""
        limits, size = self._limits, len(told.data)
        if not media_type:
            return "it is no PNG, JPEG, GIF or WebP image"
        if size > limits.attachment_bytes_max:
            return f"it has more than {limits.attachment_bytes_max} bytes (Limits.attachment_bytes_max)"
        if len(self._pictures) >= limits.attachments_max:
            return f"the answer has more than {limits.attachments_max} (Limits.attachments_max)"
        if self._picture_bytes + size > limits.step_bytes_max:
            return f"those of the answer have more than {limits.step_bytes_max} bytes (Limits.step_bytes_max)"
        return ""

    def _tell(self, code: str, text: str) -> None:
        notice = NoticeGiven(code=code, text=text)
        if notice not in self.notices:
            self.notices.append(notice)


def shown_source(told: SourcePart) -> SourcePart | None:
    """Returns a source as people may be shown it; `None` if nothing is left of it.

    An address that must not become a link stands as the title, if there is no other.
    """
    url = told.url.strip()
    title = _line(told.title, SOURCE_TITLE_CHARACTERS_MAX)
    if url and not is_link(url):
        title, url = title or _line(url, SOURCE_TITLE_CHARACTERS_MAX), ""
    if not url and not title:
        return None
    return SourcePart(url=url, title=title, quote=_line(told.quote, SOURCE_QUOTE_CHARACTERS_MAX))


def safe_part(part: SourcePart | FilePart) -> SourcePart | FilePart:
    """Returns a part that a stranger's log holds, as people may be shown it; one that is safe is returned as it is."""
    if isinstance(part, SourcePart):
        return shown_source(part) or SourcePart(title=_NAMELESS)
    media_type = image_type_of(part.data)
    if not media_type:
        return SourcePart(title=_NO_PICTURE)
    return part if part.media_type == media_type else FilePart(media_type=media_type, data=part.data)


def is_link(url: str) -> bool:
    """Returns whether an address may become a link: http or https with a host, without anything that cannot be seen."""
    if len(url) > SOURCE_URL_CHARACTERS_MAX or not url.isprintable() or " " in url or "\\" in url:
        return False
    try:
        found = urlsplit(url)
        return found.scheme.lower() in _SCHEMES and bool(found.hostname) and found.port != 0
    except ValueError:
        return False  # a broken host or port


def _line(text: str, characters_max: int) -> str:
    """Returns a text on one line, in valid Unicode, and cut where it is too long."""
    text = " ".join(text[: 4 * characters_max].encode("utf-8", "replace").decode().split())
    return text if len(text) <= characters_max else text[: characters_max - 1] + "…"


def given_size(content: SourcePart | FilePart) -> int:
    """Returns about how much memory a given part takes, in bytes."""
    match content:
        case SourcePart():
            return len(content.url) + len(content.title) + len(content.quote)
        case FilePart():
            return len(content.data)
