"""Whether a secret that a person chose can stand where everybody may try.

Not a measure of entropy, which a text does not show: it finds what nobody would call random. Made ones (`openssl rand -hex 32`,
`secrets.token_urlsafe`) never fail it.

Rule: a message says what is weak about a secret and never shows any of it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

CHARACTERS_MIN: Final = 16
_KINDS_MIN: Final = 6


def weakness(secret: str) -> str | None:
    """Returns why a secret can be guessed, as the end of a sentence about it; `None` if nothing shows that it can."""
    if len(secret) < CHARACTERS_MIN:
        return f"is shorter than {CHARACTERS_MIN} characters"
    if len(set(secret)) < _KINDS_MIN:
        return f"has fewer than {_KINDS_MIN} different characters"
    if _period(secret) < CHARACTERS_MIN:
        return "is a shorter text, repeated"
    if len({ord(second) - ord(first) for first, second in pairwise(secret)}) < _KINDS_MIN:
        return "is a sequence"
    return None


def _period(text: str) -> int:
    """Returns the length of the shortest text that, repeated, begins with `text`: 3 for `abcabca`."""
    # The longest proper prefix that is a suffix too, as Knuth, Morris and Pratt find it.
    border = [0] * len(text)
    for at in range(1, len(text)):
        length = border[at - 1]
        while length and text[at] != text[length]:
            length = border[length - 1]
        border[at] = length + (text[at] == text[length])
    return len(text) - border[-1]
