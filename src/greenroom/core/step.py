"""One attempt of one step: from what a backend yields to complete parts.

`Intake` stands between a backend and the log: whatever a provider, or a backend written by somebody else, comes up with, only
well-formed items pass. `Assembly` folds items into parts, live and on replay alike.

Rule: what `Intake` lets through, every provider accepts when it is rendered again.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Container, Iterable, Sequence
from typing import Final

from greenroom.core.given import GivenParts
from greenroom.errors import BackendGarbled, LimitExceeded
from greenroom.events import NoticeGiven
from greenroom.finish_reasons import UNKNOWN_END, ending_of
from greenroom.limits import CALL_ID_PATTERN, Limits
from greenroom.messages import (
    GIVEN_PARTS_FROM,
    AnswerPart,
    OpaquePart,
    PartDelta,
    PartEnded,
    PartGiven,
    PartItem,
    PartKind,
    PartStarted,
    ReasoningPart,
    RefusalPart,
    Sidecar,
    StreamEnded,
    StreamItem,
    TextPart,
    ToolCallPart,
    Usage,
    UsageCounted,
)
from greenroom.tool_arguments import shown_arguments

_CALL_ID: Final = re.compile(CALL_ID_PATTERN)
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


def units(item: PartItem) -> int:
    """Returns what the item counts in a cursor's offset: a delta its characters, everything else one."""
    return len(item.delta) if isinstance(item, PartDelta) else 1


def minted_call_id(seq: int, part: int) -> str:
    """Returns an id for a call whose provider gave none, or one that cannot be used.

    Nine lower-case letters and digits: unique in the session (no two steps start at the same record), and the one form that
    every provider accepts (Mistral insists on exactly nine).
    """
    number = seq * 1024 + part
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits.rjust(9, "0")


class Intake:
    """Checks the items of one attempt and makes call ids unique.

    Attributes:
        ended: how the stream ended, once it has.
        usage: what the attempt has used so far, as the provider told; `None` as long as it told nothing.
        model: who answers, as the provider told.
        notices: what a person is to be told of what was left out; whoever tells it takes it out.

    Args:
        seq: of the attempt's `StepStarted`.
        used_call_ids: ids that the session has seen before.
    """

    def __init__(self, *, seq: int, used_call_ids: Container[str], limits: Limits) -> None:
        self.ended: StreamEnded | None = None
        self.usage: Usage | None = None
        self.model = ""
        self._counted_bytes = 0
        self._seq = seq
        self._used = used_call_ids
        self._mine: set[str] = set()
        self._limits = limits
        self._open: dict[int, PartKind] = {}
        self._argument_bytes: dict[int, int] = {}
        self._closed: set[int] = set()
        self._bytes = 0
        self._given = GivenParts(limits)
        self._given_count = 0
        self.notices = self._given.notices

    @property
    def has_begun(self) -> bool:
        """Whether anything of the answer was taken."""
        return bool(self._open or self._closed or self._given_count)

    @property
    def size(self) -> int:
        """How much was said so far, in characters."""
        return self._bytes

    @property
    def uncounted(self) -> int:
        """How much was said since the provider last counted, in characters."""
        return self._bytes - self._counted_bytes

    @property
    def has_answered(self) -> bool:
        """Whether anything has come from the provider: it has taken the request, and bills it."""
        return self.ended is not None or self.usage is not None or self.has_begun

    def take(self, items: Iterable[StreamItem]) -> list[PartItem]:
        """Returns the items that may be shown and logged.

        Raises:
            BackendGarbled: the items are out of order.
            LimitExceeded: the step grows beyond its bounds.
        """
        taken: list[PartItem] = []
        for item in items:
            if self.ended is not None:
                raise BackendGarbled("the backend went on after the end of its stream")
            match item:
                case PartDelta():
                    self._check_delta(item)
                    taken.append(item)
                case PartStarted():
                    taken.append(self._started(item))
                case PartEnded():
                    if self._open.pop(item.part, None) is None:
                        raise BackendGarbled(f"the backend ended part {item.part}, which is not open")
                    self._closed.add(item.part)
                    taken.append(item)
                case PartGiven():
                    taken.extend(self._kept(item))
                case UsageCounted():
                    self._count(item.usage)
                    self.model = item.model or self.model
                case StreamEnded():
                    if self._open:
                        raise BackendGarbled("the backend ended its stream in the middle of a part")
                    if item.reason == "other" and ending_of(item.raw_reason) in {"broken", "garbled"}:
                        raise BackendGarbled(f"the provider failed: the answer ended with {item.raw_reason!r}")
                    self.ended = item
                    if item.usage is not None and item.usage != self.usage:  # the same again is no new count
                        self._count(item.usage)
                    self.model = item.model or self.model
        return taken

    def _kept(self, item: PartGiven) -> Sequence[PartItem]:
        content = self._given.taken(item.content)
        if content is None:
            return ()
        self._given_count += 1
        return (PartGiven(part=GIVEN_PARTS_FROM + self._given_count - 1, content=content),)

    def _count(self, usage: Usage) -> None:
        if usage == Usage():
            return  # it counts nothing, and takes nothing back
        self.usage = usage
        if usage.output_tokens:
            self._counted_bytes = self._bytes

    def _check_delta(self, item: PartDelta) -> None:
        kind = self._open.get(item.part)
        if kind is None:
            raise BackendGarbled(f"the backend continued part {item.part}, which is not open")
        size = len(item.delta)
        self._bytes += size
        if self._bytes > self._limits.step_bytes_max:
            raise LimitExceeded(f"the answer grew beyond {self._limits.step_bytes_max} bytes")
        if kind == "tool_call":
            total = self._argument_bytes.get(item.part, 0) + size
            self._argument_bytes[item.part] = total
            if total > self._limits.tool_arguments_bytes_max:
                raise LimitExceeded(
                    f"the arguments of a tool call grew beyond {self._limits.tool_arguments_bytes_max} bytes"
                )

    def _started(self, item: PartStarted) -> PartStarted:
        if item.part in self._open or item.part in self._closed:
            raise BackendGarbled(f"the backend started part {item.part} twice")
        if len(self._open) + len(self._closed) >= self._limits.step_parts_max:
            raise LimitExceeded(f"the answer has more than {self._limits.step_parts_max} parts")
        self._open[item.part] = item.kind
        if item.kind != "tool_call":
            return item
        call_id = item.call_id
        if not _CALL_ID.fullmatch(call_id) or call_id in self._used or call_id in self._mine:
            call_id = minted_call_id(self._seq, item.part)
        self._mine.add(call_id)
        return PartStarted(part=item.part, kind="tool_call", call_id=call_id, name=item.name)


def notice_of_end(ended: StreamEnded) -> NoticeGiven | None:
    """Returns what a person is told of an answer whose end is not understood; `None` for every other."""
    if ended.reason != "other":
        return None
    word = ended.raw_reason
    text = f"the provider ended the answer with a reason that is not known: {word!r}. It may not be complete"
    if not word:
        text = "the provider did not say why the answer ended. It may not be complete"
    return NoticeGiven(code=f"{UNKNOWN_END}{word}", text=text)


class _Part:
    """A part that grows."""

    __slots__ = ("by_provider", "call_id", "deltas", "ended", "kind", "name", "shown", "sidecar")

    def __init__(self, started: PartStarted) -> None:
        self.kind: PartKind = started.kind
        self.call_id = started.call_id
        self.name = started.name
        self.by_provider = started.by_provider
        self.deltas: list[str] = []
        self.sidecar: Sidecar | None = None
        self.ended = False
        self.shown: str | None = None

    def copied(self) -> _Part:
        part = copy.copy(self)
        part.deltas = list(self.deltas)
        return part

    def text(self) -> str:
        if len(self.deltas) > 1:
            self.deltas = ["".join(self.deltas)]
        return self.deltas[0] if self.deltas else ""

    def shown_arguments(self) -> str:
        """Returns the arguments of a call for people; once it is whole, they are read once: a megabyte takes milliseconds."""
        if self.shown is not None:
            return self.shown
        shown = shown_arguments(self.text())
        if self.ended:
            self.shown = shown
        return shown


class _Given:
    """A part that is there all at once; it never changes."""

    __slots__ = ("item",)

    kind: Final = "given"
    ended: Final = True
    call_id: Final = ""

    def __init__(self, item: PartGiven) -> None:
        self.item = item

    def copied(self) -> _Given:
        return self

    def text(self) -> str:
        return ""


class Assembly:
    """The parts of one attempt, as they grow. Numbers of parts are kept as the backend gave them."""

    def __init__(self) -> None:
        self._parts: dict[int, _Part | _Given] = {}

    def add(self, items: Iterable[PartItem]) -> None:
        """Folds items that passed an `Intake`.

        Raises:
            KeyError: an item of a part that is not open, or the second beginning of one: the log is damaged.
        """
        for item in items:
            match item:
                case PartDelta():
                    self._open(item.part).deltas.append(item.delta)
                case PartStarted():
                    if item.part in self._parts:
                        raise KeyError(item.part)
                    self._parts[item.part] = _Part(item)
                case PartEnded():
                    part = self._open(item.part)
                    part.ended = True
                    part.sidecar = item.sidecar
                case PartGiven():
                    if item.part in self._parts:
                        raise KeyError(item.part)
                    self._parts[item.part] = _Given(item)

    def _open(self, number: int) -> _Part:
        part = self._parts[number]
        if isinstance(part, _Given) or part.ended:
            raise KeyError(number)
        return part

    def extended(self, items: Iterable[PartItem]) -> Assembly:
        """Returns a copy with more items; this one stays as it is."""
        copied = Assembly()
        copied._parts = {number: part.copied() for number, part in self._parts.items()}
        copied.add(items)
        return copied

    def numbered(self) -> Sequence[tuple[int, AnswerPart]]:
        """Returns all parts with their numbers, complete or not, for people to see."""
        return [(number, made) for number, part in self._parts.items() if (made := _made(part)) is not None]

    def shown_arguments(self, number: int) -> str:
        """Returns the arguments of a call as people should see them.

        Raises:
            KeyError: there is no part of that number that grows.
        """
        part = self._parts[number]
        if isinstance(part, _Given):
            raise KeyError(number)
        return part.shown_arguments()

    def items(self) -> list[PartItem]:
        """Returns the fewest items that make the same parts."""
        items: list[PartItem] = []
        for number, part in self._parts.items():
            if isinstance(part, _Given):
                items.append(part.item)
                continue
            items.append(
                PartStarted(
                    part=number,
                    kind=part.kind,
                    call_id=part.call_id,
                    name=part.name,
                    by_provider=part.by_provider,
                )
            )
            if text := part.text():
                items.append(PartDelta(part=number, delta=text))
            if part.ended:
                items.append(PartEnded(part=number, sidecar=part.sidecar))
        return items

    def split_at_open(self) -> tuple[Assembly, list[PartItem]]:
        """Returns the parts before the first that is not complete, and the items of all others."""
        sealed = Assembly()
        for number, part in self._parts.items():
            if not part.ended:
                break
            sealed._parts[number] = part
        return sealed, [item for item in self.items() if item.part not in sealed._parts]

    def complete(self) -> tuple[AnswerPart, ...]:
        """Returns the parts of a finished step."""
        return tuple(made for part in self._parts.values() if (made := _made(part)) is not None)

    def kept(self) -> tuple[AnswerPart, ...]:
        """Returns what an attempt that was cut off leaves in the transcript: the texts, and what was complete.

        A half-written call was never made, and half of a reasoning has no signature: both would be refused by a provider.
        """
        return tuple(
            made
            for part in self._parts.values()
            if (part.ended or part.kind in {"text", "refusal"}) and (made := _made(part)) is not None
        )

    def calls(self) -> tuple[ToolCallPart, ...]:
        """Returns the complete calls in order."""
        return tuple(
            made for part in self._parts.values() if part.ended and isinstance(made := _made(part), ToolCallPart)
        )

    def last_call_id(self) -> str:
        """Returns the id of the call that is the last part that can be seen; empty if that is something else."""
        seen = (part for part in reversed(self._parts.values()) if part.kind not in {"opaque", "given"})
        return next((part.call_id for part in seen), "")

    def text(self) -> str:
        """Returns what was said aloud, for search."""
        return "\n".join(
            text for part in self._parts.values() if part.kind in {"text", "refusal"} and (text := part.text())
        )

    def is_empty(self) -> bool:
        """Returns whether nothing was shown yet."""
        return not self._parts


def _made(part: _Part | _Given) -> AnswerPart | None:
    if isinstance(part, _Given):
        return part.item.content
    match part.kind:
        case "text":
            return TextPart(text=part.text(), sidecar=part.sidecar)
        case "reasoning":
            return ReasoningPart(text=part.text(), sidecar=part.sidecar)
        case "refusal":
            return RefusalPart(text=part.text(), by_provider=part.by_provider)
        case "tool_call":
            return ToolCallPart(call_id=part.call_id, name=part.name, arguments=part.text(), sidecar=part.sidecar)
        case "opaque":
            return OpaquePart(sidecar=part.sidecar) if part.sidecar is not None else None
