"""What requests to one backend and model leave out, because it was refused: the fold of `RequestAdapted`.

Rule: a value without a past; why something is left out, and what next, is said in `core.refusals`.
"""

from __future__ import annotations

from typing import Final

import msgspec

from greenroom.events import Feature, FileRef, RequestAdapted, StepRef


class Items(msgspec.Struct, frozen=True, kw_only=True):
    """Things in a history that a request can leave out.

    Attributes:
        messages: turn ids of messages.
        contexts: turn ids of messages, of which this is what was told beside them.
    """

    messages: frozenset[str] = frozenset()
    steps: frozenset[StepRef] = frozenset()
    files: frozenset[FileRef] = frozenset()
    contexts: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.messages or self.steps or self.files or self.contexts)

    def plus(self, other: Items) -> Items:
        """Returns both."""
        return Items(
            messages=self.messages | other.messages,
            steps=self.steps | other.steps,
            files=self.files | other.files,
            contexts=self.contexts | other.contexts,
        )

    def minus(self, other: Items) -> Items:
        """Returns what is not in the other."""
        return Items(
            messages=self.messages - other.messages,
            steps=self.steps - other.steps,
            files=self.files - other.files,
            contexts=self.contexts - other.contexts,
        )


class Adaptation(msgspec.Struct, frozen=True, kw_only=True):
    """What requests to one backend and model leave out.

    Attributes:
        without: features that are not used.
        out: what a line of text stands for.
        since_seq: turns that started before this record are left out.
        accepted_since_seq: the same, in the last request that was answered.
        tried: that of `out` which the step that is refused is tried without.
        back: what was left out before the configuration changed, or was tried in vain, and has not been accepted since.
        back_since_seq: the turns before this record are in the same position.
    """

    without: frozenset[Feature] = frozenset()
    out: Items = Items()
    since_seq: int = 0
    accepted_since_seq: int = 0
    tried: Items = Items()
    back: Items = Items()
    back_since_seq: int = 0

    def after(self, event: RequestAdapted) -> Adaptation:
        """Returns what is left out after one more refusal."""
        more = Items(
            messages=frozenset(event.messages),
            steps=frozenset(event.steps),
            files=frozenset(event.files),
            contexts=frozenset(event.contexts),
        )
        adapted = msgspec.structs.replace(
            self, without=self.without.union(event.without), since_seq=event.since_seq, back=self.back.minus(more)
        )
        if event.asks_again:
            return msgspec.structs.replace(adapted, out=self.out.plus(more), tried=self.tried.plus(more))
        in_vain = self.tried.minus(more)
        return msgspec.structs.replace(
            adapted, out=self.out.minus(in_vain).plus(more), tried=Items(), back=adapted.back.plus(in_vain)
        )

    def accepted(self) -> Adaptation:
        """Returns the same after a request that was answered: nothing that was in it is a suspect any more."""
        return msgspec.structs.replace(
            self, accepted_since_seq=self.since_seq, tried=Items(), back=Items(), back_since_seq=0
        )

    def lifted(self) -> Adaptation:
        """Returns what is left when the configuration has changed: nothing is left out, and what was is a suspect."""
        return Adaptation(back=self.back.plus(self.out), back_since_seq=max(self.back_since_seq, self.since_seq))


UNADAPTED: Final = Adaptation()
