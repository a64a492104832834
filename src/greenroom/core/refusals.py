"""What a provider refuses, and what later requests to it leave out, so that the next message is answered.

A refusal is a fact in the log (`StepFailed.refused`), what follows from it another one (`RequestAdapted`), written together.
`core.adaptation` is the fold of the latter for one backend and model; `core.transcript` renders by it.

What may be the reason is what the provider has not accepted before: all that came after the last step that it answered, and what an
update of the configuration brought back. As long as the step is refused, and nothing of an answer was seen, it is left out in this order:

1. the feature that the provider named (tools, the reasoning effort): the step is asked again;
2. attachments, all at once: the step is asked again;
3. what is not the turn's own message (results of tools, answers, messages before it, memories that stand beside it): the step is asked
   again. Where the provider gives no reason, what another model has taken stays;
4. the turn's own message: the turn fails, and the person may say it in another way. What was tried in vain comes back.

If the turn before came to rung 4 as well, its message was not the reason, or not the only one: then everything before the turn is
left out for one try. What only does not fit into the context window is never taken out of turns that were answered: to shorten a
history is another matter than to mend a refusal.

A failure that nobody explains (a failure of the server, a closed connection, silence, a bare 403 or 501) may have its reason in what
was said, or none in it at all. It takes nothing out. But if it ends a turn, and an earlier one since the last answer has ended so too,
then the same step is asked once more, without what is suspect. Only where everything fails and that is answered, and the same
again in a later turn, it is left out for good. If that would be the whole earlier conversation, the later turn first tries whether it is
enough to leave out what the failed turns brought. A provider that is down fails at all of these, so it costs a request for each turn,
and nothing of the session.

Rule: pure, and decided by the log alone: the same log gives the same requests in every process, also after a crash.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from greenroom.core.adaptation import Adaptation, Items
from greenroom.core.prompt import quotes_user
from greenroom.core.session import SessionState
from greenroom.errors import Refused
from greenroom.events import Event, Feature, FileRef, NoticeGiven, RequestAdapted, StepFailed, StepFinished, StepRef
from greenroom.messages import FilePart

LISTED_MAX: Final = 100
"""Messages and steps that one event lists. Where there are more, everything before the turn is left out."""

_NAMED_MAX: Final = 5
"""Attachments that a notice names."""

_SIZES: Final = frozenset({"length", "size"})

_SEND_AGAIN: Final = "it is left out of later requests: change it and send it again"
_WITHOUT: Final[dict[Feature, str]] = {
    "tools": "tools (essential_tools=[] makes a session without them)",
    "reasoning_effort": "a reasoning effort",
}


def adapting(state: SessionState, failed: StepFailed, *, has_begun: bool) -> Sequence[Event]:
    """Returns what is written when the running step fails: its failure first, then what follows from a refusal.

    Args:
        state: of the session, with a step that runs.
        failed: as its backend told.
        has_begun: a part of the answer was seen: then the step is not asked again.
    """
    if failed.refused == "unexplained":
        probe = _Refusal(state, failed.refused).probe(failed)
        return (failed,) if probe is None else (failed, probe)
    rung = _Refusal(state, failed.refused).next_rung(has_begun=has_begun) if failed.refused else None
    if rung is None:
        return (failed,)
    if not rung.event.asks_again and not failed.hint:
        failed = msgspec.structs.replace(failed, hint=_SEND_AGAIN)
    who = f"{rung.event.backend}:{rung.event.model}"
    text = f"{who} refused the request ({failed.message}); {rung.text}"
    return failed, rung.event, *([NoticeGiven(code=f"{rung.what}_left_out", text=text)] if rung.what else [])


def answered(state: SessionState, finished: StepFinished) -> Sequence[Event]:
    """Returns what is written when the running step is complete: its end, and what a person should know of how it came about.

    Args:
        state: of the session, with a step that runs.
        finished: as its backend told.
    """
    step = state.turns[-1].steps[-1]
    adaptation = state.adaptation(step.backend, step.model)
    if adaptation.probe.is_running:
        return (finished,) if adaptation.is_answered else (finished, _found(adaptation, f"{step.backend}:{step.model}"))
    tried = adaptation.tried
    if not (tried.messages or tried.steps or tried.contexts) and adaptation.since_seq == adaptation.accepted_since_seq:
        return (finished,)
    text = f"{step.backend}:{step.model} refused a part of the earlier conversation, and answered without it"
    return finished, NoticeGiven(code="history_left_out", text=text)


def _found(adaptation: Adaptation, who: str) -> NoticeGiven:
    """Returns what a person should know of a probe that was answered."""
    probe = adaptation.probe
    if probe.since_seq > adaptation.since_seq:
        code, what = "history_left_out", "the earlier conversation"
    else:
        code, what = "message_left_out", "what was new in the turns that failed"
    then = (
        "it is left out of later requests: change it and send it again"
        if adaptation.is_proven
        else "the next request has everything again"
    )
    return NoticeGiven(code=code, text=f"{who} failed at the request, and answered it without {what}; {then}")


class _Rung(msgspec.Struct, frozen=True):
    """What is left out next, and what a person is told now: in a word and in a clause. Nothing of what is only tried."""

    event: RequestAdapted
    what: str = ""
    text: str = ""


class _Refusal:
    """One refusal: who refused, and what may be the reason."""

    def __init__(self, state: SessionState, refused: Refused) -> None:
        self._state = state
        self._refused = refused
        self._turn = state.turns[-1]
        self._step = self._turn.steps[-1]
        self._adaptation = state.adaptation(self._step.backend, self._step.model)
        self._turns = [turn for turn in state.turns if turn.seq >= self._adaptation.since_seq]
        self._own = frozenset(accepted.message.turn_id for accepted in self._turn.all_accepted)
        self._was_answered, self._suspects = self._find_suspects()

    def next_rung(self, *, has_begun: bool) -> _Rung | None:
        """Returns what is left out next; `None` if nothing is left that could be."""
        suspects, mine = self._suspects, self._suspects.messages & self._own
        if has_begun:
            event = self._event(suspects, since_seq=self._adaptation.accepted_since_seq)
            return _Rung(event, "message", f"what was new in it is the reason: {_SEND_AGAIN}") if suspects else None
        feature = self._refused
        if feature in _WITHOUT and feature not in self._adaptation.without:
            event = self._event(asks_again=True, without=(feature,))
            return _Rung(event, feature, f"it is sent again without {_WITHOUT[feature]}")
        files = suspects.files
        if not files and feature in {"attachment", "size"}:
            files = self._files() - self._adaptation.out.files
        if files:
            event = self._event(Items(files=files), asks_again=True)
            text = f"it is sent again without {self._named(event.files)}, of which the model is told only the name"
            return _Rung(event, "attachment", text)
        if (others := self._others()) is not None:
            return _Rung(others)
        if not mine:
            return None
        if self._is_second_in_a_row() and self._refused != "length":
            return _Rung(self._event(asks_again=True, since_seq=self._turn.seq))
        event = self._event(Items(messages=mine), since_seq=self._adaptation.accepted_since_seq)
        return _Rung(event, "message", f"the message is the reason: {_SEND_AGAIN}")

    def probe(self, failed: StepFailed) -> RequestAdapted | None:
        """Returns what the step is asked without after a failure that nobody explains; `None` if it is not tried without anything."""
        adaptation, turn, machine = self._adaptation.probed_in_vain(), self._turn, self._state.turn
        is_due = adaptation.has_failed_before(turn.turn_id) and adaptation.probe.turn_id != turn.turn_id
        # Where the turn before was over in silence, there may be no time for all the attempts of this one.
        if machine is None or not is_due or not (adaptation.is_silent or machine.is_last(failed, self._state.config)):
            return None
        if (proven := adaptation.proven) is not None:
            # A message that was sent again as it was failed with every probe that left out only the one before.
            is_narrow = proven.since_seq > adaptation.since_seq and bool(proven.out) and not proven.is_narrowed
            return self._event(proven.out, asks_again=True, since_seq=None if is_narrow else proven.since_seq)
        suspects = self._suspects
        new = suspects.minus(suspects.minus(self._new_since(self._last_answered())).minus(adaptation.back))
        ours = {file for file in suspects.files if file.turn_id in self._own}
        items = Items(
            messages=new.messages - self._own,
            steps=new.steps,
            files=suspects.files - ours,
            contexts=suspects.contexts,
        )
        is_listed = len(items.messages) + len(items.steps) + len(items.files) <= LISTED_MAX
        if items and is_listed and not adaptation.in_vain:
            return self._event(items, asks_again=True)
        if self._turns[0] is turn:
            return None
        mine = Items(
            steps=frozenset(step for step in items.steps if step.turn_id == turn.turn_id),
            contexts=items.contexts & {turn.turn_id},
        )
        return self._event(items if is_listed else mine, asks_again=True, since_seq=turn.seq)

    def _find_suspects(self) -> tuple[bool, Items]:
        """Returns whether this backend and model have answered before, and what of the request they have not accepted yet."""
        back, out = self._adaptation.back, self._adaptation.out
        there = {accepted.message.turn_id for turn in self._turns for accepted in turn.all_accepted}
        answered = self._last_answered((self._step.backend, self._step.model))
        new = self._new_since(answered)
        messages = new.messages | (back.messages & there)
        files = {file for file in self._files() if file.turn_id in messages or file in back.files}
        suspects = Items(
            messages=messages,
            steps=new.steps | {step for step in back.steps if step.turn_id in there},
            files=frozenset(files),
            contexts=new.contexts | (back.contexts & there),
        )
        return answered is not None, suspects.minus(out)

    def _new_since(self, answered: tuple[int, int] | None) -> Items:
        """Returns what the request has that the one for an answered step had not: files aside, they belong to messages."""
        place, number = answered or (-1, -1)
        messages: set[str] = set()
        contexts: set[str] = set()
        steps: set[StepRef] = set()
        for turn in self._turns[max(place, 0) :]:
            # The request for a step had all that stands before it; what it brought is new.
            is_partly_new = place >= 0 and turn is self._turns[place]
            first = number if is_partly_new else 0
            messages.update(joined.accepted.message.turn_id for joined in turn.joined if joined.after_step >= first)
            if not is_partly_new:
                messages.add(turn.turn_id)
                contexts.update([turn.turn_id] if quotes_user(turn.context) else [])
            steps.update(
                StepRef(turn_id=turn.turn_id, step=step.number)
                for step in turn.steps
                if step.number >= first and step is not self._step
            )
        return Items(messages=frozenset(messages), steps=frozenset(steps), contexts=frozenset(contexts))

    def _last_answered(self, asked: tuple[str, str] | None = None) -> tuple[int, int] | None:
        """Returns the place of the last turn that has an answer, and the number of its step; `None` if there is none.

        Args:
            asked: the backend and model that answered; `None` for any.
        """
        for place in range(len(self._turns) - 1, -1, -1):
            for step in reversed(self._turns[place].steps):
                if step.finished is not None and asked in {None, (step.backend, step.model)}:
                    return place, step.number
        return None

    def _files(self) -> frozenset[FileRef]:
        """Returns all attachments of the request."""
        return frozenset(
            FileRef(turn_id=accepted.message.turn_id, part=number)
            for turn in self._turns
            for accepted in turn.all_accepted
            if accepted.message.turn_id not in self._adaptation.out.messages
            for number, part in enumerate(accepted.message.parts)
            if isinstance(part, FilePart)
        )

    def _others(self) -> RequestAdapted | None:
        """Returns how everything is left out that is suspect and not the turn's own message; `None` if there is nothing."""
        suspects = self._suspects
        if self._refused == "request":
            # It may pass by itself, or have nothing to do with what was said: nothing that another model took is given up for that.
            taken_elsewhere = suspects.minus(self._new_since(self._last_answered())).minus(self._adaptation.back)
            suspects = suspects.minus(taken_elsewhere)
        messages, steps = suspects.messages - self._own, suspects.steps
        contexts = suspects.contexts if self._refused not in _SIZES else frozenset()
        mine = Items(
            steps=frozenset(step for step in steps if step.turn_id == self._turn.turn_id),
            contexts=contexts & {self._turn.turn_id},
        )
        if self._refused == "length":
            failed = [turn for turn in self._state.turns if turn.outcome == "failed"]
            messages &= {accepted.message.turn_id for turn in failed for accepted in turn.all_accepted}
            steps = (
                frozenset(step for step in steps if any(step.turn_id == turn.turn_id for turn in failed)) | mine.steps
            )
            is_history = False
        else:
            is_unknown = not self._was_answered and self._refused != "request"
            is_history = is_unknown or self._adaptation.back_since_seq > self._adaptation.since_seq
        is_history = (is_history or len(messages) + len(steps) > LISTED_MAX) and self._turns[0] is not self._turn
        if is_history:
            return self._event(mine, asks_again=True, since_seq=self._turn.seq)
        others = Items(messages=messages, steps=steps, contexts=contexts)
        return self._event(others, asks_again=True) if others else None

    def _is_second_in_a_row(self) -> bool:
        """Returns whether the turn before failed with its message as the last suspect."""
        if self._turns[0] is self._turn:
            return False
        former = self._turns[-2]
        return former.outcome == "failed" and former.turn_id in self._adaptation.out.messages

    def _event(
        self,
        items: Items = Items(),  # noqa: B008 - it is frozen
        *,
        asks_again: bool = False,
        without: tuple[Feature, ...] = (),
        since_seq: int | None = None,
    ) -> RequestAdapted:
        return RequestAdapted(
            backend=self._step.backend,
            model=self._step.model,
            refused=self._refused,
            asks_again=asks_again,
            without=without,
            messages=tuple(sorted(items.messages)),
            steps=tuple(sorted(items.steps, key=lambda step: (step.turn_id, step.step))),
            files=tuple(sorted(items.files, key=lambda file: (file.turn_id, file.part))),
            contexts=tuple(sorted(items.contexts)),
            since_seq=self._adaptation.since_seq if since_seq is None else since_seq,
        )

    def _named(self, files: Sequence[FileRef]) -> str:
        messages = {
            accepted.message.turn_id: accepted.message for turn in self._turns for accepted in turn.all_accepted
        }
        parts: Iterable[object] = (messages[file.turn_id].parts[file.part] for file in files[:_NAMED_MAX])
        names = [f"{part.name or 'a file'} ({part.media_type})" for part in parts if isinstance(part, FilePart)]
        more = len(files) - len(names)
        return ", ".join(names) + (f" and {more} more" if more else "")
