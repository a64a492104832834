"""Providers' prompt caches, as far as a client can see them: which part of a request was sent before.

A token is four characters here. What matters is not how many there are, but that they are counted from what was really sent: a
client that changes the beginning of its requests finds nothing cached.

Rule: knows no dialect; the doubles cut their requests into pieces and say where they are marked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import Final

CACHED_MIN: Final = 1024
"""Tokens below which nothing is cached: OpenAI's prompt caching guide; Anthropic's, for most of its models."""

STEP: Final = 128
"""OpenAI counts cached tokens in steps of this size (prompt caching guide)."""

LOOKBACK: Final = 20
"""Pieces before a breakpoint at which Anthropic looks for an earlier one (docs: build-with-claude/prompt-caching)."""

_CHARACTERS_PER_TOKEN: Final = 4


def tokens(pieces: Sequence[str]) -> int:
    """Returns how many tokens the pieces are."""
    return sum(len(piece) for piece in pieces) // _CHARACTERS_PER_TOKEN + 1


class PromptCache:
    """What was sent so far."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def automatic(self, pieces: Sequence[str]) -> int:
        """Returns the cached tokens of a request whose provider caches every beginning by itself, and remembers it."""
        prefixes = _prefixes(pieces)
        known = next((count for count in range(len(pieces), 0, -1) if prefixes[count - 1] in self._known), 0)
        self._known.update(prefixes)
        cached = tokens(pieces[:known]) if known else 0
        return cached // STEP * STEP if cached >= CACHED_MIN else 0

    def marked(self, pieces: Sequence[str], marks: Collection[int]) -> tuple[int, int]:
        """Returns the tokens read from the cache and written to it, by a provider that caches up to the marked pieces.

        Args:
            pieces: of the request.
            marks: places of the pieces that have a breakpoint.
        """
        prefixes = _prefixes(pieces)
        places = {place - back for place in marks for back in range(LOOKBACK + 1) if place - back >= 0}
        read = max((place + 1 for place in places if prefixes[place] in self._known), default=0)
        written = max(marks, default=-1) + 1
        self._known.update(prefixes[place] for place in marks if tokens(pieces[: place + 1]) >= CACHED_MIN)
        total = tokens(pieces[:written]) if written else 0
        cached = tokens(pieces[:read]) if read else 0
        return (cached, total - cached) if total >= CACHED_MIN else (0, 0)


def _prefixes(pieces: Sequence[str]) -> list[str]:
    digest = hashlib.sha256()
    found = []
    for piece in pieces:
        digest.update(piece.encode() + b"\x00")
        found.append(digest.hexdigest())
    return found
