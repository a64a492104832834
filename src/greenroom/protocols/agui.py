"""AG-UI: a session's entries as the events of the Agent User Interaction Protocol, version 1.0.

Clients of before 1.0 (their last version is 0.0.59, which other products bundle) break at what they do not know. To them a
cancelled run is an error with the code `cancelled`.

One projection serves one reader. It turns each entry into the JSON texts of the events it stands for; it opens and closes what the
protocol wants opened and closed, so that every run is well formed however it ends: everything open is ended before
RUN_FINISHED or RUN_ERROR.

Rule: what is sent depends on the entries alone, so a reader that comes back gets the same events. Source of the rules: the AG-UI
1.0 specification and the verifier of its reference client.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from greenroom.core.session import SessionState, StepState, TurnHistory
from greenroom.core.step import Assembly
from greenroom.core.transcript import tool_name
from greenroom.errors import GreenroomError
from greenroom.events import (
    ApprovalDecided,
    ApprovalRequested,
    Event,
    MessageAccepted,
    MessageJoined,
    NoticeGiven,
    SessionRewound,
    StepFailed,
    StepFinished,
    StepStarted,
    ToolReturned,
    TurnEnded,
    TurnStarted,
    TurnSuspended,
)
from greenroom.finish_reasons import UNKNOWN_END, finish_of, finish_text
from greenroom.large import LARGE_BYTES, Unwritten, as_text
from greenroom.messages import (
    FilePart,
    PartDelta,
    PartEnded,
    PartGiven,
    PartItem,
    PartStarted,
    SourcePart,
    TextPart,
    Usage,
)
from greenroom.protocols.agui_interrupts import interrupt
from greenroom.protocols.agui_messages import (
    activity_type,
    all_messages,
    given_content,
    messages_before,
    messages_until,
)
from greenroom.protocols.closing import closing
from greenroom.protocols.ids import call_parent_id, part_id, result_id

PROTOCOL_VERSION: Final = "1.0"
NOTICE: Final = "greenroom.notice"
"""Name of the custom event with which people are told something."""

_encoder: Final = msgspec.json.Encoder(enc_hook=as_text)


def error_event(error: GreenroomError) -> str:
    """Returns the RUN_ERROR of something that failed before or beside the log."""
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    return encoded({"type": "RUN_ERROR", "message": message, "code": error.code})


def encoded(event: dict[str, Any]) -> str:
    """Returns the event as compact JSON."""
    return _encoder.encode(event).decode()


def _snapshot(state: SessionState, running: Assembly | None = None) -> str | Unwritten:
    event = {"type": "MESSAGES_SNAPSHOT", "messages": all_messages(state, running)}
    return Unwritten(event, state.weight) if state.weight > LARGE_BYTES else encoded(event)


def empty_run(thread_id: str, run_id: str, *, is_legacy: bool) -> Sequence[str]:
    """Returns a run in which nothing is said."""
    run = {"threadId": thread_id, "runId": run_id}
    version = {} if is_legacy else {"protocolVersion": PROTOCOL_VERSION}
    return (
        encoded({"type": "RUN_STARTED", **run, **version}),
        encoded({"type": "RUN_FINISHED", **run, "outcome": {"type": "success"}}),
    )


class AguiProjection:
    """Projects the entries of one session, for one reader.

    Args:
        thread_id: the session's id.
        find_state: returns the session's state, which may be ahead of the entries; asked for what never changes again: the
            messages before a step, when an answer begins anew and what was shown of it is void.
        shows_messages: show a person's message at the beginning of its turn: for readers that did not send it.
        is_legacy: the client is of before 1.0: it has not said which version it speaks.
    """

    def __init__(
        self,
        thread_id: str,
        *,
        find_state: Callable[[], SessionState | None],
        shows_messages: bool = False,
        is_legacy: bool = False,
    ) -> None:
        self._thread_id = thread_id
        self._find_state = find_state
        self._shows_messages = shows_messages
        self._is_legacy = is_legacy
        self._turn_id = self._run_id = ""
        self._is_running = False
        self._step: StepStarted | None = None
        self._is_void = False
        self._has_shown = self._is_end_told = False
        self._open: dict[int, _Open] = {}
        self._given: list[dict[str, Any]] = []
        self._usage: list[dict[str, Any]] = []
        self._asked: dict[str, ApprovalRequested] = {}
        self._is_suspended = False
        self._finished: StepFinished | None = None

    def is_running(self, turn_id: str) -> bool:
        """Returns whether the turn's run was opened at the reader and not ended; one that is suspended goes on later."""
        return (self._is_running or self._is_suspended) and self._turn_id == turn_id

    def error(self, error: GreenroomError) -> Sequence[str]:
        """Returns the last event of a stream that cannot go on."""
        self._is_running = False
        return (error_event(error),)

    def events(self, payload: Event | PartItem, *, seq: int) -> Sequence[str]:
        """Returns the AG-UI events of an entry, in order.

        Args:
            payload: of the entry.
            seq: of the entry.
        """
        match payload:
            case PartDelta():
                return self._open[payload.part].more(payload.delta)
            case PartStarted() | PartEnded() | PartGiven():
                return self._part(payload)
            case TurnStarted():
                return self._turn_started(payload)
            case SessionRewound():
                return self._rewound(payload, seq)
            case StepStarted():
                return self._step_started(payload)
            case StepFinished():
                self._finished = payload
                self._count(payload.usage)
                return self._step_ended()
            case StepFailed():
                self._is_void = self._has_shown
                self._count(payload.usage)
                return self._step_ended()
            case ToolReturned():
                self._asked.pop(payload.call_id, None)
                return (
                    *self._resumed(),
                    encoded(
                        {
                            "type": "TOOL_CALL_RESULT",
                            "messageId": result_id(payload.call_id),
                            "toolCallId": payload.call_id,
                            "content": payload.content,
                            "role": "tool",
                        }
                    ),
                )
            case ApprovalRequested() | ApprovalDecided() | TurnSuspended() | MessageJoined() | NoticeGiven():
                return self._about_people(payload)
            case TurnEnded():
                self._count(payload.usage)
                return (*self._resumed(), *self._step_ended(), *self._run_ended(payload))
            case _:
                return ()

    def begin_with(
        self, state: SessionState, items: Sequence[PartItem], turn_id: str | None = None
    ) -> Sequence[str | Unwritten]:
        """Returns what a reader gets that begins, or begins again, in the middle; `events` goes on behind that point.

        The messages so far, and from the first part that is open on the parts as events. (A part that were in the snapshot and then
        opened again would begin anew at some clients, and go on at others.) A turn that is over ends here.

        Args:
            state: of the session.
            items: what is shown of the running step but not in the log yet; it belongs to the snapshot too.
            turn_id: the turn that the reader is interested in; `None` for the last one.
        """
        turn = next((turn for turn in reversed(state.turns) if turn_id in {None, turn.turn_id}), None)
        if turn is None:
            return self._told(state.rewound_turn_id, []) if state.rewound_turn_id and turn_id is None else ()
        events: list[str | Unwritten] = list(self._step_ended())
        if self._is_running and self._turn_id != turn.turn_id:
            former = next((past for past in state.turns if past.turn_id == self._turn_id), None)
            lost = TurnEnded(
                turn_id=self._turn_id, outcome="interrupted", code="interrupted", message="the turn was taken back"
            )
            events.extend(self._run_ended(former.ended if former is not None and former.ended is not None else lost))
        if not self._is_running:
            self._turn_id, self._run_id = turn.turn_id, turn.run_id
            events.append(self._run_started())
        self._usage = _usage_of(turn)
        step = turn.steps[-1] if turn.ended is None and turn.steps else None
        # What a failed attempt said counts until it is asked again.
        self._is_void = step is not None and step.failed is not None and not step.assembly.is_empty()
        if step is None or step.finished is not None or step.failed is not None:
            events.append(_snapshot(state))
            self._note_given(step)
        else:
            sealed, rest = step.assembly.extended(items).split_at_open()
            events.append(_snapshot(state, sealed))
            started = StepStarted(step=step.number, attempt=step.attempt, backend=step.backend, model=step.model)
            events.extend(self._step_started(started))
            self._has_shown = not sealed.is_empty()
            self._note_given(step, sealed)
            for item in rest:
                events.extend(self.events(item, seq=state.seq))
        self._asked = {asked.call_id: asked for asked in state.turn.calls.asked} if state.turn is not None else {}
        if turn.ended is not None:
            self._finished = turn.steps[-1].finished if turn.steps else None
            events.extend(self._run_ended(turn.ended))
        elif state.is_waiting:
            events.append(self._suspended())
        return events

    # --- parts ----------------------------------------------------------------------------------------------------------

    def _part(self, item: PartStarted | PartEnded | PartGiven) -> Sequence[str]:
        match item:
            case PartStarted():
                return self._part_started(item)
            case PartEnded():
                return self._open.pop(item.part).end()
            case PartGiven():
                return self._part_given(item)

    def _part_started(self, part: PartStarted) -> Sequence[str]:
        assert self._step is not None, "a part outside of a step"
        self._has_shown = True
        step = self._step
        own_id = part_id(self._turn_id, step.step, step.attempt, part.part)
        match part.kind:
            case "text" | "refusal":
                self._open[part.part] = _Open("TEXT_MESSAGE_CONTENT", "messageId", own_id, ("TEXT_MESSAGE_END",))
                return (encoded({"type": "TEXT_MESSAGE_START", "messageId": own_id, "role": "assistant"}),)
            case "reasoning":
                ends = ("REASONING_MESSAGE_END", "REASONING_END")
                self._open[part.part] = _Open("REASONING_MESSAGE_CONTENT", "messageId", own_id, ends)
                return (
                    encoded({"type": "REASONING_START", "messageId": own_id}),
                    encoded({"type": "REASONING_MESSAGE_START", "messageId": own_id, "role": "reasoning"}),
                )
            case "tool_call":
                self._open[part.part] = _Open(
                    "TOOL_CALL_ARGS", "toolCallId", part.call_id, ("TOOL_CALL_END",), is_json=True
                )
                parent = call_parent_id(self._turn_id, step.step, step.attempt)
                name = tool_name(part.name)
                start = {"type": "TOOL_CALL_START", "toolCallId": part.call_id, "toolCallName": name}
                return (encoded({**start, "parentMessageId": parent}),)
            case "opaque":
                self._open[part.part] = _Open("", "", "", ())
                return ()

    def _part_given(self, part: PartGiven) -> Sequence[str]:
        assert self._step is not None, "a part outside of a step"
        self._has_shown = True
        activity = self._activity(self._step, part.part, part.content)
        self._given.append(activity)
        return (encoded({**activity, "content": given_content(part.content)}),)

    def _note_given(self, step: StepState | None, shown: Assembly | None = None) -> None:
        """Notes what a snapshot has shown of a step that may turn out to be void: all of it, if `shown` is `None`."""
        parts = (shown or step.assembly).numbered() if step is not None else ()
        self._given = [
            self._activity(step, number, part)
            for number, part in parts
            if step is not None and isinstance(part, SourcePart | FilePart)
        ]

    def _activity(self, step: StepStarted | StepState, number: int, content: SourcePart | FilePart) -> dict[str, Any]:
        place = step.step if isinstance(step, StepStarted) else step.number
        own_id = part_id(self._turn_id, place, step.attempt, number)
        return {"type": "ACTIVITY_SNAPSHOT", "messageId": own_id, "activityType": activity_type(content)}

    # --- steps and runs -------------------------------------------------------------------------------------------------

    def _run_started(self) -> str:
        self._is_running, self._is_suspended = True, False
        version = {} if self._is_legacy else {"protocolVersion": PROTOCOL_VERSION}
        parent = {"parentRunId": self._turn_id} if self._run_id != self._turn_id else {}
        return encoded({"type": "RUN_STARTED", "threadId": self._thread_id, "runId": self._run_id, **parent, **version})

    def _rewound(self, rewound: SessionRewound, seq: int) -> Sequence[str]:
        """Returns a run that says nothing but what is left: no other event of the protocol takes messages away."""
        state = self._find_state()
        if state is None or not self._shows_messages:
            return ()
        return self._told(rewound.turn_id, messages_until(state, seq))

    def _told(self, turn_id: str, messages: list[dict[str, Any]]) -> Sequence[str]:
        self._turn_id, self._run_id, self._usage = turn_id, turn_id, []
        snapshot = encoded({"type": "MESSAGES_SNAPSHOT", "messages": messages})
        return self._run_started(), snapshot, *self._run_ended(TurnEnded(turn_id=turn_id, outcome="completed"))

    def _about_people(
        self, event: ApprovalRequested | ApprovalDecided | TurnSuspended | MessageJoined | NoticeGiven
    ) -> Sequence[str]:
        """Returns what people are asked, told or have said."""
        match event:
            case NoticeGiven():
                self._is_end_told = self._is_end_told or event.code.startswith(UNKNOWN_END)
                value = {"code": event.code, "text": event.text}
                return (encoded({"type": "CUSTOM", "name": NOTICE, "value": value}),)
            case ApprovalDecided():
                self._run_id = (self._is_suspended and event.run_id) or self._run_id
                return (*self._resumed(), self._approval(event))
            case ApprovalRequested():
                return (*self._resumed(), self._approval(event))
            case TurnSuspended():
                return (self._suspended(),)
            case MessageJoined():
                return self._joined(event)

    def _suspended(self) -> str:
        """Returns the end of a run that waits for people; what they decide begins the rest of the turn."""
        self._is_running, self._is_suspended = False, True
        state = self._find_state()
        interrupts = [interrupt(asked, state) for asked in self._asked.values()]
        outcome = {"type": "interrupt", "interrupts": interrupts}
        finished = {"type": "RUN_FINISHED", "threadId": self._thread_id, "runId": self._run_id, "outcome": outcome}
        return encoded({**finished, "usage": self._usage} if self._usage else finished)

    def _resumed(self) -> Sequence[str]:
        if not self._is_suspended:
            return ()
        self._usage = []
        return (self._run_started(),)

    def _approval(self, event: ApprovalRequested | ApprovalDecided) -> str:
        value: dict[str, Any] = {"approvalId": event.approval_id, "toolCallId": event.call_id}
        match event:
            case ApprovalRequested():
                self._asked[event.call_id] = event
                name = "greenroom.approval_requested"
                value |= {"toolName": tool_name(event.name), "question": event.question}
            case ApprovalDecided():
                self._asked.pop(event.call_id, None)
                name = "greenroom.approval_decided"
                value |= {"decision": event.decision, "reason": event.reason}
        return encoded({"type": "CUSTOM", "name": name, "value": value})

    def _joined(self, joined: MessageJoined) -> Sequence[str]:
        """Returns the message that joins the run, for readers that did not send it."""
        state = self._find_state() if self._shows_messages else None
        turns = state.turns if state is not None else ()
        messages = [each.accepted.message for turn in turns for each in turn.joined]
        message = next((message for message in messages if message.turn_id == joined.turn_id), None)
        return self._said(message) if message is not None else ()

    def _said(self, message: MessageAccepted) -> Sequence[str]:
        own = {"messageId": message.message_id}
        text = "\n".join(part.text for part in message.parts if isinstance(part, TextPart))
        return (
            encoded({"type": "TEXT_MESSAGE_START", **own, "role": "user"}),
            encoded({"type": "TEXT_MESSAGE_CONTENT", **own, "delta": text}),
            encoded({"type": "TEXT_MESSAGE_END", **own}),
        )

    def _turn_started(self, started: TurnStarted) -> Sequence[str]:
        self._turn_id = self._run_id = started.turn_id
        self._usage, self._open, self._step = [], {}, None
        events = [self._run_started()]
        state = self._find_state() if self._shows_messages else None
        turn = next((turn for turn in state.turns if turn.turn_id == started.turn_id), None) if state else None
        if turn is None:
            return events
        if all(isinstance(part, TextPart) for part in turn.message.parts):
            events.extend(self._said(turn.message))
        else:
            events.append(self._snapshot_before(1))
        return events

    def _snapshot_before(self, step: int) -> str:
        state = self._find_state()
        messages = messages_before(state, self._turn_id, step) if state is not None else []
        return encoded({"type": "MESSAGES_SNAPSHOT", "messages": messages})

    def _step_started(self, step: StepStarted) -> Sequence[str]:
        self._step = step
        self._has_shown = self._is_end_told = False
        events = [encoded({"type": "STEP_STARTED", "stepName": _step_name(step)})]
        if self._is_void:
            # What was shown of the attempt before does not count any more: the client forgets it. A snapshot without any activity
            # leaves those that the client has, so they are emptied first.
            events.extend(encoded({**activity, "content": {"isVoid": True}}) for activity in self._given)
            events.append(self._snapshot_before(step.step))
            self._is_void = False
        self._given = []
        return events

    def _step_ended(self) -> Sequence[str]:
        events = [event for part in self._open.values() for event in part.end()]
        self._open = {}
        if self._step is not None:
            events.append(encoded({"type": "STEP_FINISHED", "stepName": _step_name(self._step)}))
            self._step = None
        return events

    def _run_ended(self, ended: TurnEnded) -> Sequence[str]:
        """Returns the end of the run; of an answer that is not whole, the notice and the result say why.

        The protocol has no outcome for such an answer: it is a success, and what a client shows of `result` is its own affair.
        """
        self._is_running = self._is_suspended = False
        finished, self._finished = self._finished, None
        usage = {"usage": self._usage} if self._usage else {}
        run = {"type": "RUN_FINISHED", "threadId": self._thread_id, "runId": self._run_id}
        match ended.outcome:
            case "cancelled" if self._is_legacy:
                return (
                    encoded({"type": "RUN_ERROR", "message": "the run was cancelled", "code": "cancelled", **usage}),
                )
            case "cancelled":
                return (encoded({**run, "outcome": {"type": "cancelled"}, **usage}),)
            case "completed":
                finish = finish_of(finished.reason, finished.raw_reason) if finished is not None else "stop"
                if finished is None or finish == "stop":
                    return (encoded({**run, "outcome": {"type": "success"}, **usage}),)
                tokens = finished.usage.output_tokens
                result = {"finishReason": finish, "outputTokens": tokens}
                end = encoded({**run, "result": result, "outcome": {"type": "success"}, **usage})
                if finish == "other" and self._is_end_told:
                    return (end,)
                text = finish_text(finish, raw_reason=finished.raw_reason, output_tokens=tokens)
                value = {"code": f"answer_{finish}", "text": text}
                return encoded({"type": "CUSTOM", "name": NOTICE, "value": value}), end
            case "failed" | "interrupted":
                message = f"{ended.message} ({ended.hint})" if ended.hint else ended.message
                return (encoded({"type": "RUN_ERROR", "message": message, "code": ended.code, **usage}),)

    def _count(self, usage: Usage) -> None:
        if self._step is not None and usage != Usage():
            self._usage.append(_token_usage(usage, self._step.backend, self._step.model))


class _Open:
    """A part that is open at the client, with the beginning of its content events made once."""

    __slots__ = ("_content", "_ends", "_said")

    def __init__(
        self, content_type: str, id_name: str, own_id: str, ends: Sequence[str], *, is_json: bool = False
    ) -> None:
        self._content = encoded({"type": content_type, id_name: own_id})[:-1] + ',"delta":'
        self._said: list[str] | None = [] if is_json else None
        self._ends = tuple(encoded({"type": end, id_name: own_id}) for end in ends)

    def more(self, delta: str) -> Sequence[str]:
        if self._said is not None:
            self._said.append(delta)
        return (self._content + _encoder.encode(delta).decode() + "}",)

    def end(self) -> Sequence[str]:
        """Returns what closes the part; JSON that broke off is closed first."""
        rest = closing("".join(self._said)) if self._said is not None else ""
        return (*self.more(rest), *self._ends) if rest else self._ends


def _step_name(step: StepStarted) -> str:
    return f"step-{step.step}"


def _usage_of(turn: TurnHistory) -> list[dict[str, Any]]:
    """Returns what the turn has used so far, as far as its steps still say."""
    ends = [(step, step.finished or step.failed) for step in turn.steps]
    return [
        _token_usage(end.usage, step.backend, step.model)
        for step, end in ends
        if end is not None and end.usage != Usage()
    ]


def _token_usage(usage: Usage, backend: str, model: str) -> dict[str, Any]:
    tokens = {
        "provider": backend,
        "model": model,
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.input_tokens + usage.output_tokens,
    }
    parts = {
        "reasoningTokens": usage.reasoning_tokens,
        "cachedInputTokens": usage.cached_input_tokens,
        "cacheWriteInputTokens": usage.cache_write_input_tokens,
    }
    estimated = {"estimated": True} if usage.estimated else {}
    return tokens | {name: count for name, count in parts.items() if count} | estimated
