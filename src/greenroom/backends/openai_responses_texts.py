"""The texts of one streamed response, written as parts: begun, continued, ended, within the bounds of an answer.

What arrives of one text in one read leaves as one delta: pieces wait in their text until another one grows or the read ends.

Rule: knows nothing of events and items. Everything that grows is counted here.
"""

from __future__ import annotations

from typing import Any

import msgspec

from greenroom.backends.openai_tool_calls import is_json_object
from greenroom.backends.unicode_text import SurrogateJoiner, bytes_of
from greenroom.errors import BackendGarbled, LimitExceeded
from greenroom.limits import Limits
from greenroom.messages import PartDelta, PartEnded, PartKind, PartStarted, Sidecar, StreamItem


class Text:
    """One text, and the part that it becomes.

    Attributes:
        part: its number; `None` as long as it has not begun: the name of a call cannot be said later.
        fresh: pieces that wait to be passed on.
        pieces: everything so far, of arguments only.
        is_settled: the provider has said that it is whole.
    """

    __slots__ = ("fresh", "has_spoken", "held", "is_ended", "is_settled", "joiner", "kind", "part", "pieces", "size")

    def __init__(self, kind: PartKind) -> None:
        self.kind = kind
        self.part: int | None = None
        self.joiner = SurrogateJoiner()
        self.fresh: list[str] = []
        self.pieces: list[str] = []
        self.held = 0
        self.size = 0
        self.has_spoken = False
        self.is_settled = False
        self.is_ended = False


class Texts:
    """Writes the texts of one answer.

    Attributes:
        items: what has been written since somebody took it.
    """

    def __init__(self, limits: Limits, *, provider: str) -> None:
        """`provider` is named by errors."""
        self.items: list[StreamItem] = []
        self._limits = limits
        self._provider = provider
        self._growing: Text | None = None
        self._parts = 0
        self._bytes = 0

    def begin(self, text: Text, *, call_id: str = "", name: str = "") -> None:
        """Begins the part of a text.

        Raises:
            LimitExceeded: the answer has too many parts.
        """
        self.flush()
        self.check_count(self._parts)
        text.part = self._parts
        self._parts += 1
        self.items.append(PartStarted(part=text.part, kind=text.kind, call_id=call_id, name=name))
        if text.fresh:
            self._growing = text

    def grow(self, text: Text, piece: Any) -> None:
        """Adds a piece to a text.

        Raises:
            BackendGarbled: the text has ended, or the piece is none.
            LimitExceeded: as `flush`.
        """
        if piece.__class__ is not str:
            if text.kind != "tool_call":
                raise BackendGarbled(f"{self._provider} sent text that is of the type {type(piece).__name__}")
            piece = msgspec.json.encode(piece).decode()
        if text.is_settled or text.is_ended:
            raise BackendGarbled(f"{self._provider} sent more of a text that has ended")
        text.has_spoken = True
        text.fresh.append(piece)
        if text.kind == "tool_call":
            text.pieces.append(piece)
        if text.part is None:
            text.held += len(piece)
            self._check_arguments(text.held)
        elif text is not self._growing:
            self.flush()
            self._growing = text

    def settle(self, text: Text, whole: Any) -> None:
        """Takes a text that is said as a whole, mostly again.

        What was passed on of other texts stands: they are for people, and cannot be taken back.

        Raises:
            BackendGarbled: the arguments of a call are said twice, differently, and the first ones are not whole.
            LimitExceeded: as `flush`.
        """
        if text.is_settled or text.is_ended:
            return
        if text.kind == "tool_call":
            self._settle_arguments(text, whole)
        elif not text.has_spoken and isinstance(whole, str) and whole:
            self.grow(text, whole)
        # Arguments of which nothing came may still be made an empty object, once it is known that they were not cut off.
        text.is_settled = text.has_spoken or text.kind != "tool_call"

    def _settle_arguments(self, text: Text, whole: Any) -> None:
        if whole is None:
            return
        if not isinstance(whole, str):
            whole = msgspec.json.encode(whole).decode()
        said = "".join(text.pieces)
        if whole.startswith(said):
            if missing := whole[len(said) :]:
                self.grow(text, missing)
        elif whole and not is_json_object(said):
            raise BackendGarbled(f"{self._provider} sent the arguments of a call twice, and different ones")

    def end(self, text: Text, sidecar: Sidecar | None) -> None:
        """Ends the part of a text. `sidecar` is counted.

        Raises:
            LimitExceeded: as `flush`.
        """
        self.flush()
        assert text.part is not None, "a text ends that never began"
        if rest := text.joiner.close():
            self.items.append(PartDelta(part=text.part, delta=rest))
        text.is_ended = True
        text.pieces.clear()
        self.items.append(PartEnded(part=text.part, sidecar=sidecar))
        if sidecar is not None:
            self.spend(len(memoryview(sidecar.data)))

    def flush(self) -> None:
        """Passes on what has been said since the last time.

        Raises:
            LimitExceeded: the arguments of a call, or the answer, are too large.
        """
        text = self._growing
        if text is None:
            return
        size = self.emit()
        text.size += size
        if text.kind == "tool_call":
            self._check_arguments(text.size)
        self.spend(size)

    def emit(self) -> int:
        """As `flush`, but holds no limit: returns the number of bytes."""
        text, self._growing = self._growing, None
        if text is None or text.part is None:
            return 0
        delta = text.joiner.feed("".join(text.fresh))
        text.fresh.clear()
        if not delta:
            return 0
        self.items.append(PartDelta(part=text.part, delta=delta))
        return bytes_of(delta)

    def spend(self, size: int) -> None:
        """Counts bytes of the answer.

        Raises:
            LimitExceeded: it has too many.
        """
        self._bytes += size
        if self._bytes > self._limits.step_bytes_max:
            raise LimitExceeded(
                f"the model's answer has more than {self._limits.step_bytes_max} bytes",
                hint="Limits.step_bytes_max bounds it",
            )

    def check_count(self, count: int) -> None:
        """Accepts that there is one more than `count`.

        Raises:
            LimitExceeded: that would be too many.
        """
        if count >= self._limits.step_parts_max:
            raise LimitExceeded(
                f"the model's answer has more than {self._limits.step_parts_max} parts",
                hint="Limits.step_parts_max bounds them",
            )

    def _check_arguments(self, size: int) -> None:
        if size > self._limits.tool_arguments_bytes_max:
            raise LimitExceeded(
                f"the model wrote more than {self._limits.tool_arguments_bytes_max} bytes of arguments for one tool call",
                hint="Limits.tool_arguments_bytes_max bounds them",
            )
