"""The UI message stream v1 of the AI SDK: a session's entries as the chunks that `useChat` reads.

One turn is one message: it begins with `start` and ends with `finish`, however it ends. A turn that waits for a person finishes
too, with the reason `tool-calls`, and goes on with another `start` of the same message. Only chunks that the versions 5, 6 and 7 of
the SDK know are sent. All tools are `dynamic`: no front end knows them beforehand.

A chunk that was sent cannot be taken back in these versions. What an attempt showed before its step was asked again stays in the
message as a step of its own, and the metadata names that step in `voidSteps`, so that a front end leaves it out. Version 7 can take
a step back (`reset-step`): to a front end that says it is one, nothing void remains. See `docs/decisions/0025-*`.

Rule: what is sent depends on the entries alone, so a reader that comes back gets the same chunks. A reader without a position gets
the whole message of the turn, from `start`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from greenroom.core.session import SessionState, StepState, TurnHistory
from greenroom.core.transcript import tool_name
from greenroom.errors import GreenroomError
from greenroom.events import (
    ApprovalDecided,
    ApprovalRequested,
    Event,
    NoticeGiven,
    StepFailed,
    StepFinished,
    StepStarted,
    ToolReturned,
    TurnEnded,
    TurnStarted,
    TurnSuspended,
)
from greenroom.large import as_text
from greenroom.messages import FinishReason, PartDelta, PartEnded, PartGiven, PartItem, PartStarted, Usage
from greenroom.protocols.ai_sdk_messages import (
    BROKEN_OFF,
    NEVER_RUN,
    ended_metadata,
    finish_reason,
    given_part,
    last_finished,
    started_metadata,
    tool_input,
)
from greenroom.protocols.ids import answer_id, part_id

DONE: Final = "[DONE]"
"""What the last `data:` field of a stream says; it is no chunk and has no position."""

_START_STEP: Final = '{"type":"start-step"}'
_FINISH_STEP: Final = '{"type":"finish-step"}'
_RESET_STEP: Final = '{"type":"reset-step"}'
_VOID: Final = "The call was not run: the answer broke off and was begun anew."

_encoder: Final = msgspec.json.Encoder(enc_hook=as_text)


def error_chunks(error: GreenroomError) -> Sequence[str]:
    """Returns the chunks of something that failed before or beside the log."""
    return _failed(f"{error.message} ({error.hint})" if error.hint else error.message)


class AiSdkProjection:
    """Projects the entries of one session, for one reader.

    Args:
        find_state: returns the session's state, which may be ahead of the entries; asked for what never changes again.
        resets_steps: the reader knows `reset-step`: version 7 of the SDK.
    """

    def __init__(self, *, find_state: Callable[[], SessionState | None], resets_steps: bool = False) -> None:
        self._find_state = find_state
        self._resets_steps = resets_steps
        self._turn_id = ""
        self._is_running = False
        self._is_suspended = False
        self._begin_message(Usage(cost_usd=0.0))

    def _begin_message(self, usage: Usage) -> None:
        self._usage = usage
        self._reason: FinishReason = "other"
        self._finished: StepFinished | None = None
        self._asked = ("", "")
        self._step = StepStarted(step=0, attempt=0, backend="", model="")
        self._is_step_open = False
        self._is_sealed = False
        self._has_shown = False
        self._steps_begun = 0
        self._void_steps: list[int] = []
        self._withheld: Sequence[PartItem] = ()
        self._open: dict[int, _Open] = {}
        self._unsettled: set[str] = set()
        self._questions: dict[str, ApprovalRequested] = {}

    def is_running(self, turn_id: str) -> bool:
        """Returns whether the turn's message was begun at the reader and not ended; one that is suspended goes on later."""
        return (self._is_running or self._is_suspended) and self._turn_id == turn_id

    def error(self, error: GreenroomError) -> Sequence[str]:
        """Returns the last chunks of a stream that cannot go on."""
        self._is_running = False
        return error_chunks(error)

    def events(self, payload: Event | PartItem, *, seq: int) -> Sequence[str]:
        """Returns the chunks of an entry, in order.

        Args:
            payload: of the entry.
            seq: of the entry.
        """
        match payload:
            case PartDelta():
                return self._open[payload.part].more(payload.delta)
            case PartStarted():
                return self._part_started(payload)
            case PartEnded() | PartGiven():
                return self._part_whole(payload)
            case TurnStarted():
                return self._turn_started(payload)
            case StepStarted():
                return self._step_started(payload)
            case StepFinished():
                self._usage = self._usage.plus(payload.usage)
                self._reason, self._finished = payload.reason, payload
                self._is_sealed = True
                return ()
            case StepFailed():
                self._usage = self._usage.plus(payload.usage)
                return self._broken_off()
            case ToolReturned():
                return *self._resumed(), *self._returned(payload)
            case ApprovalRequested() | ApprovalDecided() | TurnSuspended():
                return self._about_people(payload)
            case NoticeGiven():
                data = {"code": payload.code, "text": payload.text}
                return (_encoded({"type": "data-notice", "id": payload.code, "data": data, "transient": True}),)
            case TurnEnded():
                return *self._resumed(), *self._turn_ended(payload, seq)
            case _:
                return ()

    def begin_with(self, state: SessionState, items: Sequence[PartItem], turn_id: str | None = None) -> Sequence[str]:
        """Returns what a reader gets that begins, or begins again, in the middle; `events` goes on behind that point.

        The message of the turn, from its start. A turn that is over ends here. What an attempt has said that failed, and may be asked
        again, is withheld until it is known whether it counts.

        Args:
            state: of the session.
            items: what is shown of the running step but not in the log yet.
            turn_id: the turn that the reader is interested in; `None` for the last one.
        """
        turn = next((turn for turn in reversed(state.turns) if turn_id in {None, turn.turn_id}), None)
        if turn is None:
            return ()
        chunks: list[str] = []
        self._withheld = ()
        if self._is_running and self._turn_id != turn.turn_id:
            chunks += self._lost(state)
        if not self._is_running:
            self._turn_id = turn.turn_id
            chunks += self._message_started(turn)
            first = 1
        elif self._is_sealed:
            steps = (step for step in turn.steps if step.number == self._step.step)
            chunks += self._results(step, missing=frozenset(self._unsettled)) if (step := next(steps, None)) else ()
            first = self._step.step + 1
        else:
            # What is shown of the running step was never written, or is not all that was: it is shown again.
            chunks += self._broken_off()
            first = self._step.step
        for step in turn.steps:
            if step.number >= first:
                is_last = step is turn.steps[-1] and turn.ended is None
                chunks += self._replayed(
                    step, items if is_last else (), may_be_void=is_last and step.failed is not None
                )
        self._usage = turn.usage
        if turn.ended is not None:
            chunks += self._turn_ended(turn.ended, turn.ended_seq)
        elif state.is_waiting:
            chunks += self._suspended()
        return chunks

    def _lost(self, state: SessionState) -> Sequence[str]:
        """Returns the end of a message whose turn has ended, or was taken back, where the reader did not see it."""
        former = next((past for past in state.turns if past.turn_id == self._turn_id), None)
        if former is not None and former.ended is not None:
            self._usage = former.usage
            self._finished = last_finished(former)
            return self._turn_ended(former.ended, former.ended_seq)
        taken_back = "the turn was taken back"
        ended = TurnEnded(turn_id=self._turn_id, outcome="interrupted", code="interrupted", message=taken_back)
        return self._turn_ended(ended, state.seq)

    def _replayed(self, step: StepState, items: Sequence[PartItem], *, may_be_void: bool) -> Sequence[str]:
        is_running = step.finished is None and step.failed is None
        assembly = step.assembly.extended(items) if is_running and items else step.assembly
        chunks = list(
            self._step_started(
                StepStarted(step=step.number, attempt=step.attempt, backend=step.backend, model=step.model)
            )
        )
        if may_be_void:
            self._withheld = tuple(assembly.items())
            return chunks
        for item in assembly.items():
            chunks += self.events(item, seq=step.seq)
        if step.finished is not None:
            self._reason, self._finished, self._is_sealed = step.finished.reason, step.finished, True
        if step.failed is not None:
            chunks += self._broken_off()
        for asked in step.approvals.values():
            decided = step.decisions.get(asked.approval_id)
            if decided is None:
                chunks.append(self._approval_requested(asked))
            else:  # who comes late is not asked what was decided
                self._questions[asked.call_id] = asked
                chunks += self._approval_decided(decided)
        chunks += self._results(step, missing=frozenset(step.results))
        return chunks

    def _results(self, step: StepState, *, missing: frozenset[str]) -> Sequence[str]:
        found = (returned for call_id, returned in step.results.items() if call_id in missing)
        return [chunk for returned in found for chunk in self._returned(returned)]

    # --- parts ----------------------------------------------------------------------------------------------------------

    def _part_started(self, part: PartStarted) -> Sequence[str]:
        self._has_shown = True
        own_id = part_id(self._turn_id, self._step.step, self._step.attempt, part.part)
        match part.kind:
            case "text" | "refusal":
                self._open[part.part] = _OpenText("text", own_id)
                return (_encoded({"type": "text-start", "id": own_id}),)
            case "reasoning":
                self._open[part.part] = _OpenText("reasoning", own_id)
                return (_encoded({"type": "reasoning-start", "id": own_id}),)
            case "tool_call":
                call = _OpenCall(part.call_id, tool_name(part.name))
                self._open[part.part] = call
                self._unsettled.add(part.call_id)
                return (_encoded({"type": "tool-input-start", **call.names}),)
            case "opaque":
                self._open[part.part] = _Open()
                return ()

    def _part_whole(self, part: PartEnded | PartGiven) -> Sequence[str]:
        if isinstance(part, PartEnded):
            return self._open.pop(part.part).end()
        self._has_shown = True
        own_id = part_id(self._turn_id, self._step.step, self._step.attempt, part.part)
        return (_encoded(given_part(own_id, part.content)),)

    def _about_people(self, event: ApprovalRequested | ApprovalDecided | TurnSuspended) -> Sequence[str]:
        match event:
            case ApprovalRequested():
                return *self._resumed(), self._approval_requested(event)
            case ApprovalDecided():
                return *self._resumed(), *self._approval_decided(event)
            case TurnSuspended():
                return self._suspended()

    def _approval_requested(self, asked: ApprovalRequested) -> str:
        self._questions[asked.call_id] = asked
        return _encoded({"type": "tool-approval-request", "approvalId": asked.approval_id, "toolCallId": asked.call_id})

    def _approval_decided(self, decided: ApprovalDecided) -> Sequence[str]:
        """Returns what a decision changes at a front end that may not have made it."""
        asked = self._questions.get(decided.call_id)
        if decided.decision == "deny" or decided.arguments is None or asked is None:
            return ()
        value, _ = tool_input(decided.arguments)
        names = {"toolCallId": decided.call_id, "toolName": tool_name(asked.name), "dynamic": True}
        return (_encoded({"type": "tool-input-available", **names, "input": value}),)

    def _returned(self, returned: ToolReturned) -> Sequence[str]:
        self._unsettled.discard(returned.call_id)
        if returned.outcome == "denied" and returned.call_id in self._questions:
            return (_encoded({"type": "tool-output-denied", "toolCallId": returned.call_id}),)
        own = {"toolCallId": returned.call_id, "dynamic": True}
        if returned.outcome == "ok":
            return (_encoded({"type": "tool-output-available", **own, "output": returned.content}),)
        return (_encoded({"type": "tool-output-error", **own, "errorText": returned.content}),)

    # --- steps ----------------------------------------------------------------------------------------------------------

    def _step_started(self, step: StepStarted) -> Sequence[str]:
        is_again = self._is_step_open and self._step.step == step.step
        chunks = list(self._taken_back() if is_again else self._step_ended())
        self._step, self._is_sealed, self._withheld = step, False, ()
        if not self._is_step_open:
            self._is_step_open, self._has_shown = True, False
            self._steps_begun += 1
            chunks.append(_START_STEP)
        if self._asked != (step.backend, step.model):
            self._asked = (step.backend, step.model)
            chunks.append(_metadata({"backend": step.backend, "model": step.model}))
        return chunks

    def _broken_off(self) -> Sequence[str]:
        """Closes what is open in an attempt that came to nothing."""
        chunks = [chunk for part in self._open.values() for chunk in part.break_off()]
        for part in self._open.values():
            self._unsettled.discard(part.call_id)
        self._open = {}
        return chunks

    def _taken_back(self) -> Sequence[str]:
        """Returns what makes a front end forget what it was shown of the attempt before."""
        if not self._has_shown:
            return ()
        self._has_shown = False
        if self._resets_steps:
            self._unsettled.clear()
            return (_RESET_STEP,)
        self._void_steps.append(self._steps_begun - 1)
        return *self._step_ended(_VOID), _metadata({"voidSteps": self._void_steps})

    def _step_ended(self, never_run: str = NEVER_RUN) -> Sequence[str]:
        chunks = list(self._broken_off())
        chunks += [
            _encoded({"type": "tool-output-error", "toolCallId": call_id, "dynamic": True, "errorText": never_run})
            for call_id in sorted(self._unsettled)
        ]
        self._unsettled.clear()
        if self._is_step_open:
            chunks.append(_FINISH_STEP)
            self._is_step_open = False
        return chunks

    # --- messages -------------------------------------------------------------------------------------------------------

    def _suspended(self) -> Sequence[str]:
        """Returns the end of a stream whose turn waits for people; what they decide begins the rest of the message."""
        self._is_running, self._is_suspended = False, True
        is_step_open, self._is_step_open = self._is_step_open, False
        return *((_FINISH_STEP,) if is_step_open else ()), _encoded({"type": "finish", "finishReason": "tool-calls"})

    def _resumed(self) -> Sequence[str]:
        if not self._is_suspended:
            return ()
        self._is_running, self._is_suspended = True, False
        return (_encoded({"type": "start", "messageId": answer_id(self._turn_id)}),)

    def _turn_started(self, started: TurnStarted) -> Sequence[str]:
        state = self._find_state()
        turns = state.turns if state is not None else ()
        turn = next((turn for turn in turns if turn.turn_id == started.turn_id), None)
        self._turn_id = started.turn_id
        return self._message_started(turn)

    def _message_started(self, turn: TurnHistory | None) -> Sequence[str]:
        self._begin_message(Usage(cost_usd=0.0))
        self._is_running, self._is_suspended = True, False
        # A turn that was taken back meanwhile has no state any more.
        metadata = started_metadata(turn) if turn is not None else {"turnId": self._turn_id}
        return (_encoded({"type": "start", "messageId": answer_id(self._turn_id), "messageMetadata": metadata}),)

    def _turn_ended(self, ended: TurnEnded, seq: int) -> Sequence[str]:
        chunks = [chunk for item in self._withheld for chunk in self.events(item, seq=seq)]
        chunks += self._step_ended()
        self._is_running, self._withheld = False, ()
        metadata = ended_metadata(ended, seq=seq, usage=self._usage, finished=self._finished)
        match ended.outcome:
            case "completed":
                return *chunks, _finish(finish_reason(self._reason), metadata)
            case "cancelled":
                return *chunks, _encoded({"type": "abort", "reason": "cancelled"}), _finish("other", metadata)
            case "failed" | "interrupted":
                # Nothing behind an error is read: what belongs to the message comes before it.
                text = f"{ended.message} ({ended.hint})" if ended.hint else ended.message
                return *chunks, _metadata(metadata), *_failed(text)


class _Open:
    """A part that is open at the front end: one that it is not shown."""

    call_id = ""

    def more(self, delta: str) -> Sequence[str]:  # noqa: ARG002 - what its provider alone understands is not shown
        return ()

    def end(self) -> Sequence[str]:
        return ()

    def break_off(self) -> Sequence[str]:
        return self.end()


class _OpenText(_Open):
    """A text or a reasoning, with the beginning of its chunks made once."""

    __slots__ = ("_delta", "_end")

    def __init__(self, kind: str, own_id: str) -> None:
        self._delta = _encoded({"type": f"{kind}-delta", "id": own_id})[:-1] + ',"delta":'
        self._end = (_encoded({"type": f"{kind}-end", "id": own_id}),)

    def more(self, delta: str) -> Sequence[str]:
        return (self._delta + _encoder.encode(delta).decode() + "}",)

    def end(self) -> Sequence[str]:
        return self._end


class _OpenCall(_Open):
    """A call whose arguments are being written."""

    def __init__(self, call_id: str, name: str) -> None:
        self.call_id = call_id
        self.names = {"toolCallId": call_id, "toolName": name, "dynamic": True}
        self._arguments: list[str] = []
        self._delta = _encoded({"type": "tool-input-delta", "toolCallId": call_id})[:-1] + ',"inputTextDelta":'

    def more(self, delta: str) -> Sequence[str]:
        self._arguments.append(delta)
        return (self._delta + _encoder.encode(delta).decode() + "}",)

    def end(self) -> Sequence[str]:
        value, wrong = tool_input("".join(self._arguments))
        if wrong:
            return (self._failed(wrong),)
        return (_encoded({"type": "tool-input-available", **self.names, "input": value}),)

    def break_off(self) -> Sequence[str]:
        return (self._failed(BROKEN_OFF),)

    def _failed(self, why: str) -> str:
        own = {"type": "tool-input-error", **self.names}
        return _encoded(own | {"input": "".join(self._arguments), "errorText": why})


def _metadata(metadata: dict[str, Any]) -> str:
    return _encoded({"type": "message-metadata", "messageMetadata": metadata})


def _finish(reason: str, metadata: dict[str, Any]) -> str:
    return _encoded({"type": "finish", "finishReason": reason, "messageMetadata": metadata})


def _failed(text: str) -> Sequence[str]:
    return _encoded({"type": "error", "errorText": text}), _encoded({"type": "finish", "finishReason": "error"})


def _encoded(chunk: dict[str, Any]) -> str:
    return _encoder.encode(chunk).decode()
