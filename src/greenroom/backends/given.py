"""What providers give beside the words of an answer, in their own terms: citations, search results, pictures.

The fields are those of the providers' documentation: OpenAI (*Web search*, *File search*, *Image generation*), OpenRouter (*Web search*,
*Image generation*), Perplexity (*Sonar*: `citations`, `search_results`), Anthropic (*Citations*, *Web search tool*, *Web fetch tool*).

Rule: an odd value is no source and harms nothing. Which of them are kept, and how much of each, is `core.given`'s.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from greenroom.backends.parts_writer import entries_of
from greenroom.limits import SOURCE_QUOTE_CHARACTERS_MAX, SOURCE_TITLE_CHARACTERS_MAX, SOURCE_URL_CHARACTERS_MAX
from greenroom.messages import FilePart, SourcePart

FOUND_BY: Final = frozenset({"web_search_tool_result", "web_fetch_tool_result"})
"""Blocks of Claude that hold what it has found, whether or not it cites it."""

_HEAD_CHARACTERS_MAX: Final = 1024
"""How far the comma of a data URL is looked for."""

_DOCUMENTS_MAX: Final = 10_000
"""No request has more; and no number with thousands of digits becomes a text."""

_PICTURE: Final = "A picture that the model made"


def source_of(url: Any, title: Any = "", quote: Any = "") -> SourcePart:
    """Returns a source of values that may be anything; one without address and title says nothing, and is not kept."""
    return SourcePart(
        # One character more than is kept: so it is known that there are more.
        url=_text(url)[: SOURCE_URL_CHARACTERS_MAX + 1],
        title=_text(title)[: SOURCE_TITLE_CHARACTERS_MAX + 1],
        quote=_text(quote)[: SOURCE_QUOTE_CHARACTERS_MAX + 1],
    )


def annotated(annotations: Any) -> Iterator[SourcePart]:
    """Yields the sources among the annotations of a text, of both dialects of OpenAI."""
    for entry in entries_of(annotations):
        kind = entry.get("type")
        if not isinstance(kind, str) or not kind.endswith("_citation"):
            continue  # `file_path`, and OpenRouter's parsed `file`: nothing that the answer rests on
        within = entry.get(kind)
        told = within if isinstance(within, dict) else entry
        title = told.get("title") or told.get("filename") or (told.get("file_id") if not told.get("url") else "")
        yield source_of(told.get("url"), title, told.get("content") or told.get("quote"))


def cited_of(citations: Any) -> Iterator[SourcePart]:
    """Yields sources that stand beside the answer: addresses, or objects with one."""
    for entry in citations if isinstance(citations, list) else ():
        if isinstance(entry, str):
            yield source_of(entry)
        elif isinstance(entry, dict):
            yield source_of(entry.get("url"), entry.get("title"), entry.get("snippet"))


def quoted(citations: Any) -> Iterator[SourcePart]:
    """Yields what Claude cites: a page, or a place in a document."""
    for entry in entries_of(citations):
        title = entry.get("title") or entry.get("document_title")
        if not title and isinstance(number := entry.get("document_index"), int) and 0 <= number < _DOCUMENTS_MAX:
            title = f"Document {number + 1}"
        url = entry.get("url") or entry.get("source")
        yield source_of(url, title, entry.get("cited_text"))


def found(content: Any) -> Iterator[SourcePart]:
    """Yields what a search or a fetch of Claude has found."""
    for entry in entries_of(content):
        within = entry.get("content")
        title = entry.get("title") or (within.get("title") if isinstance(within, dict) else "")
        yield source_of(entry.get("url"), title)


def pictures_of(images: Any) -> Iterator[SourcePart | FilePart]:
    """Yields the pictures of a message. One that is only named by its address becomes a source: nothing is fetched."""
    for entry in entries_of(images):
        told = entry.get("image_url") or entry.get("url")
        url = told.get("url") if isinstance(told, dict) else told
        if isinstance(url, str) and url[:5].lower() == "data:":
            comma = url.find(",", 5, _HEAD_CHARACTERS_MAX)
            yield FilePart(media_type="", data=decoded(url[comma + 1 :]) if comma > 0 else b"")
        elif isinstance(url, str) and url:
            yield source_of(url, _PICTURE)
        elif isinstance(image := entry.get("b64_json"), str):
            yield FilePart(media_type="", data=decoded(image))


def decoded(text: str) -> bytes:
    """Returns the bytes that base64 stands for; none if it is not base64."""
    try:
        return msgspec.convert(text, bytes)  # four times as fast as the standard library's, and the loop waits for it
    except msgspec.ValidationError:
        pass
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4))  # with line ends, or without padding
    except ValueError:
        return b""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
