"""Text to words, for search: the same words in every log, so that all find the same.

A word is a run of letters and digits without case and accents. Scripts that put no space between words (Chinese, Japanese,
Thai and their neighbours) are cut into single characters, and a run of them in a query is looked for as that run.

A query has no syntax: whatever is in it is words to find. Its last word may be unfinished, as it is while somebody types.

Rule: pure functions. `words_of` is part of what is stored: another result for the same text leaves old texts half findable, so
a change of it comes with a migration that indexes them again.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Final

import msgspec

_UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao; Myanmar; Khmer
    "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # kana, Han
)
_WORD: Final = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_RUN: Final = re.compile(rf"[{_UNSPACED}]+|[^\W_{_UNSPACED}]+")
_SPACED: Final = re.compile(rf"[^\W_{_UNSPACED}]")
_JAMO_FIRST: Final = "\u1160"
_JAMO_LAST: Final = "\u11ff"
"""Vowels and finals of Hangul that make one syllable with what is before them. No other letters combine."""
_PIECE_CHARS: Final = 4096
_QUERY_CHARS_MAX: Final = 2048
"""How far a query is read: far more than the words that count."""
_KANA_MARKS: Final = "\u3099\u309a"
"""Voicing marks: unlike an accent they make another letter."""

_SNIPPET_CHARS: Final = 160
_SNIPPET_LEAD_CHARS: Final = 50
_SLOW_CHARS_MAX: Final = 8 * 1024
"""How far a snippet looks for a word that only differs in its accents; behind that the text is shown from its beginning."""


class Query(msgspec.Struct, frozen=True):
    """What is looked for.

    Attributes:
        phrases: words that follow each other, all of which a text must have; mostly single words.
        is_open: the last word may go on.
    """

    phrases: tuple[tuple[str, ...], ...]
    is_open: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """All words, each once."""
        return tuple(dict.fromkeys(word for phrase in self.phrases for word in phrase))


def fold(text: str) -> str:
    """Returns the text without case, accents and variants of form (full width, ligatures)."""
    return "".join(_folded_pieces(text))


def words_of(text: str) -> list[str]:
    """Returns the words of a text, folded, in their order."""
    words: list[str] = []
    unfinished = ""
    for piece in _folded_pieces(text):
        found = _WORD.findall(unfinished + piece)
        # A word at the end may continue in the next piece; a character of an unspaced script is a word by itself.
        unfinished = found.pop() if found and _SPACED.fullmatch(piece[-1:]) else ""
        words += found
    return [*words, unfinished] if unfinished else words


def _folded_pieces(text: str) -> Iterator[str]:
    """Yields the folded text in pieces: each is one call into the interpreter, during which no other thread runs.

    One character may become eighteen, so the pieces are counted before that.
    """
    start = 0
    while start < len(text):
        end = start + _PIECE_CHARS
        while end < len(text) and not _may_begin(text[end]):
            end += 1
        yield _folded(text[start:end])
        start = end


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    # Marks go first as well: normalizing sorts a run of them, in the square of its length.
    marks = _marks()
    plain = marks.sub("", unicodedata.normalize("NFKD", marks.sub("", text.casefold())))
    return unicodedata.normalize("NFC", plain).casefold()


def _may_begin(character: str) -> bool:
    """Returns whether a text can be cut before the character and folds to the same: nothing there combines with what is before."""
    if character.isascii():
        return True
    first = unicodedata.normalize("NFKD", character.casefold())[:1]
    is_mark = unicodedata.combining(first) or _marks().match(first)
    return not is_mark and not _JAMO_FIRST <= first <= _JAMO_LAST


def parse_query(text: str, *, words_max: int, is_open: bool = True) -> Query:
    """Returns what `text` asks for, its first `words_max` words. Never fails; a text without any word asks for nothing.

    With `is_open`, a word at the very end counts as unfinished.
    """
    is_open = is_open and len(text) <= _QUERY_CHARS_MAX
    folded = fold(text[:_QUERY_CHARS_MAX])  # a message may be asked for as it is, with a megabyte
    phrases: list[tuple[str, ...]] = []
    count = 0
    for run in _RUN.findall(folded):
        phrase = tuple(_WORD.findall(run))[: words_max - count]
        if not phrase:
            break
        count += len(phrase)
        phrases.append(phrase)
    ends_in_word = bool(phrases) and bool(_WORD.fullmatch(folded[-1:])) and count < words_max
    return Query(tuple(dict.fromkeys(phrases)), is_open and ends_in_word and len(phrases[-1]) == 1)


def matches(query: Query, words: Sequence[str]) -> bool:
    """Returns whether a text of these words has all phrases of the query. No phrase at all matches nothing."""
    if not query.phrases:
        return False
    *finished, last = query.phrases
    return all(_has_phrase(words, phrase) for phrase in finished) and (
        any(word.startswith(last[0]) for word in words) if query.is_open else _has_phrase(words, last)
    )


def snippet(text: str, query: Query) -> str:
    """Returns the part of a text around the first word that was looked for, such words between `[` and `]`."""
    start = max(0, _first_match(text, query) - _SNIPPET_LEAD_CHARS)
    if start:  # begin with a whole word, if there is one to begin with
        start = text.find(" ", start, start + _SNIPPET_LEAD_CHARS) + 1 or start
    end = min(len(text), start + _SNIPPET_CHARS)
    window = text[start:end]
    marked = "".join(_marked(window, query))
    return f"{'…' if start else ''}{' '.join(marked.split())}{'…' if end < len(text) else ''}"


def _has_phrase(words: Sequence[str], phrase: tuple[str, ...]) -> bool:
    if len(phrase) == 1:
        return phrase[0] in words
    return any(tuple(words[at : at + len(phrase)]) == phrase for at in range(len(words) - len(phrase) + 1))


def _first_match(text: str, query: Query) -> int:
    # The regular expression finds nearly everything, fast and in the original text; it does not see through accents.
    alternatives = [re.escape("".join(phrase)) for phrase in query.phrases]
    if found := re.search(rf"(?<![^\W_{_UNSPACED}])(?:{'|'.join(alternatives)})", text, re.IGNORECASE):
        return found.start()
    for word in _WORD.finditer(text, 0, _SLOW_CHARS_MAX):
        if _is_wanted(fold(word.group()), query):
            return word.start()
    return 0


def _marked(text: str, query: Query) -> Iterator[str]:
    shown = 0
    for word in _WORD.finditer(text):
        if not _is_wanted(fold(word.group()), query):
            continue
        is_joined = shown == word.start() and shown > 0  # the characters of an unspaced word share one pair of brackets
        yield from (text[shown : word.start()], "" if is_joined else "[", word.group())
        shown = word.end()
        follower = _WORD.match(text, shown)
        if follower is None or not _is_wanted(fold(follower.group()), query):
            yield "]"
    yield text[shown:]


def _is_wanted(word: str, query: Query) -> bool:
    return word in query.words or (query.is_open and word.startswith(query.phrases[-1][0]))


@cache
def _marks() -> re.Pattern[str]:
    # Python's regular expressions have no class for combining marks; no script in use has any behind U+1FFFF.
    points = [point for point in range(0x300, 0x20000) if unicodedata.category(chr(point)).startswith("M")]
    return re.compile(f"[{''.join(_ranges(points))}]+")


def _ranges(points: Iterable[int]) -> Iterator[str]:
    start = previous = -2
    for point in points:
        if chr(point) in _KANA_MARKS:
            continue
        if point != previous + 1:
            if start >= 0:
                yield f"{chr(start)}-{chr(previous)}"
            start = point
        previous = point
    yield f"{chr(start)}-{chr(previous)}"
