"""What requests to one backend and model leave out, because it was refused: the fold of `RequestAdapted`.

Failures that nobody explains are remembered here as well, and what a probe found out about them.

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


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """What one step is asked without, to find out whether it is the reason of a failure that nobody explains.

    Attributes:
        turn_id: of the turn; a turn has one probe, or two if the first leaves out less than what was proven.
        out: what a line of text stands for.
        since_seq: turns that started before this record are left out.
        is_running: it holds for the requests of now.
        is_narrowed: without `out` alone, and with the turns before `since_seq`, the same failed.
    """

    turn_id: str = ""
    out: Items = Items()
    since_seq: int = 0
    is_running: bool = False
    is_narrowed: bool = False


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
        failed_turn, failed_before: the last turn with a failure that nobody explains, and the one before it, since the last answer.
        is_silent: one of these turns was over before anything had come.
        probe: the last one; it holds while it is running.
        proven: the one that was answered, where everything was refused: the next failure of the kind makes it hold for good, the next
            answer to everything ends it.
        in_vain: probes that failed, since the last answer.
    """

    without: frozenset[Feature] = frozenset()
    out: Items = Items()
    since_seq: int = 0
    accepted_since_seq: int = 0
    tried: Items = Items()
    back: Items = Items()
    back_since_seq: int = 0
    failed_turn: str = ""
    failed_before: str = ""
    is_silent: bool = False
    probe: Probe = Probe()
    proven: Probe | None = None
    in_vain: int = 0

    @property
    def in_force(self) -> Adaptation:
        """What the request of now leaves out, with what is only tried."""
        if not self.probe.is_running:
            return self
        since_seq = max(self.since_seq, self.probe.since_seq)
        return msgspec.structs.replace(self, out=self.out.plus(self.probe.out), since_seq=since_seq)

    def has_failed_before(self, turn_id: str) -> bool:
        """Returns whether a turn before this one has failed without an explanation, and nothing has taken that back."""
        earlier = self.failed_before if self.failed_turn == turn_id else self.failed_turn
        return bool(earlier) or self.proven is not None

    def after(self, event: RequestAdapted, turn_id: str) -> Adaptation:
        """Returns what is left out after one more refusal, in the turn of that id."""
        more = Items(
            messages=frozenset(event.messages),
            steps=frozenset(event.steps),
            files=frozenset(event.files),
            contexts=frozenset(event.contexts),
        )
        if event.is_probe:
            probe = Probe(turn_id=turn_id, out=more, since_seq=event.since_seq, is_running=True)
            return msgspec.structs.replace(self, probe=probe)
        adapted = msgspec.structs.replace(
            self, without=self.without.union(event.without), since_seq=event.since_seq, back=self.back.minus(more)
        )
        if event.asks_again:
            return msgspec.structs.replace(adapted, out=self.out.plus(more), tried=self.tried.plus(more))
        in_vain = self.tried.minus(more)
        return msgspec.structs.replace(
            adapted, out=self.out.minus(in_vain).plus(more), tried=Items(), back=adapted.back.plus(in_vain)
        )

    def failed(self, turn_id: str) -> Adaptation:
        """Returns the same after a failure that nobody explains."""
        before = self.failed_before if self.failed_turn == turn_id else self.failed_turn
        return msgspec.structs.replace(self, failed_turn=turn_id, failed_before=before)

    def probed_in_vain(self) -> Adaptation:
        """Returns the same after a step that failed with its probe, too: if it had one."""
        if not self.probe.is_running or self.is_answered:
            return self
        if (proven := self.proven) is not None and self.probe.since_seq < proven.since_seq:
            # What was proven left out more: this turn may still be asked without that.
            return msgspec.structs.replace(
                self, probe=Probe(), proven=msgspec.structs.replace(proven, is_narrowed=True)
            )
        return msgspec.structs.replace(self.unprobed(), proven=None, in_vain=self.in_vain + 1)

    def unprobed(self) -> Adaptation:
        """Returns the same after the end of a turn: no probe outlives it."""
        if not self.probe.is_running:
            return self
        return msgspec.structs.replace(self, probe=msgspec.structs.replace(self.probe, is_running=False))

    def silent(self, turn_id: str) -> Adaptation:
        """Returns the same after a turn that was over before anything had come."""
        return msgspec.structs.replace(self.failed(turn_id), is_silent=True)

    def accepted(self) -> Adaptation:
        """Returns the same after a request that was answered: nothing that was in it is a suspect any more."""
        since_seq, probe = self.since_seq, self.probe
        answered = Adaptation(without=self.without, out=self.out, since_seq=since_seq, accepted_since_seq=since_seq)
        if not probe.is_running:
            return answered
        if not self.is_proven:
            # For this turn. The next one sends everything once more: what is only down for a while takes nothing out.
            return msgspec.structs.replace(
                answered,
                back=probe.out,
                back_since_seq=probe.since_seq,
                is_silent=self.is_silent,
                probe=probe,
                proven=probe,
            )
        since_seq = max(since_seq, probe.since_seq)
        return Adaptation(
            without=self.without, out=self.out.plus(probe.out), since_seq=since_seq, accepted_since_seq=since_seq
        )

    @property
    def is_proven(self) -> bool:
        """Whether the probe that runs is that of an earlier turn, where it was answered: its answer makes it hold for good."""
        return self.proven is not None and self.proven.turn_id != self.probe.turn_id

    @property
    def is_answered(self) -> bool:
        """Whether the probe that runs was answered by an earlier step of its turn."""
        return self.proven is not None and self.proven.turn_id == self.probe.turn_id

    def lifted(self) -> Adaptation:
        """Returns what is left when the configuration has changed: nothing is left out, and what was is a suspect."""
        return Adaptation(back=self.back.plus(self.out), back_since_seq=max(self.back_since_seq, self.since_seq))


UNADAPTED: Final = Adaptation()
