"""A model for the tests with real clients: what it does stands in the message that it is sent.

A message is a list of words: `think:4` and `say:9` stream so many numbered words, `call` calls a tool (what follows is the next
step), `cut` breaks the attempt off (what follows is the next attempt), `fail` fails the turn, `hang` says nothing for ever, and
`pause:20` waits so many milliseconds before each further word. `source` names a page, `document` a document, and `picture` gives one.

Rule: the words are numbered by their place in the message, so that a test knows the whole text, and that of each attempt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from greenroom import BackendRejected
from greenroom.backends.scripted import Call, Cut, Fail, Give, Pause, Say, Think
from greenroom.interfaces import BackendRequest
from greenroom.messages import AssistantMessage, FilePart, SourcePart, TextPart, UserMessage

GIVEN: dict[str, SourcePart | FilePart] = {
    "source": SourcePart(url="https://a.example/ö", title="A page", quote="so it is"),
    "document": SourcePart(title="report.pdf"),
    "picture": FilePart(media_type="image/png", data=b"\x89PNG\r\n\x1a\n"),
}


def texts(message: str, kind: str = "say") -> str:
    """All words of a kind that count in the end: those of the last attempt of each step."""
    return "".join(
        word for step in _steps(message) for token, words in _worded(step[-1]) if token == kind for word in words
    )


class Script:
    """Plays messages, for any number of sessions at the same time."""

    def __init__(self) -> None:
        self._asked: Counter[tuple[str, int, str]] = Counter()

    def __call__(self, request: BackendRequest) -> Any:
        message, answered = _last(request)
        attempts = _steps(message)[answered]
        place = (request.session_id, len(request.messages), message)
        number = min(self._asked[place], len(attempts) - 1)
        self._asked[place] += 1
        is_last = number == len(attempts) - 1
        cues = list(_cues(attempts[number]))
        if not is_last:
            return [*cues, Cut()]
        if "fail" in attempts[number].split():
            return [*cues, Fail(BackendRejected("the script says: fail"))]
        if answered < len(_steps(message)) - 1:
            return [*cues, Call("roll_dice", ['{"nota', 'tion": "1', 'd1"}'])]
        return cues or [Say("Nothing.")]


def _last(request: BackendRequest) -> tuple[str, int]:
    """The last message of a person, and how many steps have answered it already."""
    answered = 0
    for message in reversed(request.messages):
        if isinstance(message, UserMessage):
            spoken = [part.text for part in message.parts if isinstance(part, TextPart)]
            return spoken[-1] if spoken else "", answered
        answered += isinstance(message, AssistantMessage)
    return "", 0


def _steps(message: str) -> list[list[str]]:
    """The attempts of each step. Places are kept: each token carries the number of its first word."""
    number, placed = 0, []
    for token in message.split():
        kind, _, value = token.partition(":")
        if kind in {"say", "think"} and value.isdigit():
            placed.append(f"{kind}:{value}:{number}")
            number += int(value)
        else:
            placed.append(token)
    steps = " ".join(placed).split("call")
    return [step.split("cut") for step in steps]


def _worded(attempt: str) -> Iterator[tuple[str, list[str]]]:
    for token in attempt.split():
        kind, _, rest = token.partition(":")
        if kind in {"say", "think"} and rest:
            count, _, first = rest.partition(":")
            yield kind, [_word(n) for n in range(int(first), int(first) + int(count))]


def _word(number: int) -> str:
    return f"w{number}{'👋🏽' if number % 7 == 3 else ''} "


def _cues(attempt: str) -> Iterator[Any]:
    pause = 0.005
    for token in attempt.split():
        kind, _, rest = token.partition(":")
        if kind == "pause":
            pause = int(rest) / 1000
        elif kind == "hang":
            yield Pause(3600)
        elif kind in GIVEN:
            yield Give(GIVEN[kind])
        elif kind in {"say", "think"}:
            ((_, words),) = _worded(token)
            for word in words:
                yield Say([word]) if kind == "say" else Think([word])
                yield Pause(pause)
