"""Which texts answer a query best: BM25 over the texts that were found.

The weights come from the found texts themselves, not from everything that is stored: counting a frequent word in a million
texts costs more than the whole search may take, and within a result the order is what matters.

Rule: pure functions; texts that are equally good keep the order in which they came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import log
from typing import Final

from greenroom.logs.words import Query, words_of

RANKED_MAX: Final = 250
"""Texts that are weighed for one answer: a few milliseconds of work."""
CHARS_MAX: Final = 2_000
"""How much of a text is weighed."""

# The usual constants of BM25 (Robertson and Zaragoza, 2009): how soon repetition stops to count, how much length does.
_K1: Final = 1.2
_B: Final = 0.75


def best(query: Query, texts: Sequence[str], limit: int) -> list[int]:
    """Returns the places of the best `limit` texts in `texts`, the best first."""
    words = query.words
    counts = [_counted(query, text) for text in texts]
    lengths = [max(1, len(text[:CHARS_MAX])) for text in texts]
    average = sum(lengths) / max(1, len(lengths))
    holders = {word: sum(1 for count in counts if count[word]) for word in words}
    weights = {word: log(1 + (len(texts) - holders[word] + 0.5) / (holders[word] + 0.5)) for word in words}

    def score(place: int) -> float:
        norm = _K1 * (1 - _B + _B * lengths[place] / average)
        count = counts[place]
        return sum(weights[word] * count[word] * (_K1 + 1) / (count[word] + norm) for word in words)

    scores = [score(place) for place in range(len(texts))]
    return sorted(range(len(texts)), key=lambda place: -scores[place])[:limit]


def _counted(query: Query, text: str) -> Counter[str]:
    counts = Counter(words_of(text[:CHARS_MAX]))
    if query.is_open:
        prefix = query.phrases[-1][0]
        counts[prefix] = sum(count for word, count in counts.items() if word.startswith(prefix))
    return counts
