"""How much memory a session's history takes, about: what people, models and tools have said, and the files among it.

Rule: one look at each record, so it is rather too much: what a rewind or an edit took out still counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from greenroom.core.given import given_size
from greenroom.events import Event, MessageAccepted, MessageEdited, StepProgress, ToolReturned, TurnStarted
from greenroom.messages import FilePart, PartDelta, PartGiven, PartItem, UserPart


def weight_of(event: Event) -> int:
    """Returns the characters, and bytes of files, that an event adds to the history."""
    match event:
        case MessageAccepted() | MessageEdited():
            return _of_parts(event.parts)
        case StepProgress():
            return sum([_of_item(item) for item in event.items])
        case ToolReturned():
            return len(event.content)
        case TurnStarted():
            return len(event.context)
        case _:
            return 0


def _of_item(item: PartItem) -> int:
    match item:
        case PartDelta():
            return len(item.delta)
        case PartGiven():
            return given_size(item.content)
        case _:
            return 0


def _of_parts(parts: Sequence[UserPart]) -> int:
    return sum([len(part.data) if isinstance(part, FilePart) else len(part.text) for part in parts])
