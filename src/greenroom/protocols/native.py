"""The session's own events as JSON: what happened, in the words of the log.

A frame is an object with a `type`, which is the event's name in the log (`docs/event-log.md`), and `seq`, the number of the
last record that is complete there. `docs/protocols.md` describes them all. What only the machine or a provider needs
(sidecars, prompts, ownership) is not shown.

Rule: an event is shown because it stands in the table, with the fields that stand there; of a new one a test asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from greenroom.core.session import SessionState
from greenroom.core.view import Message, ViewPart, history
from greenroom.errors import GreenroomError
from greenroom.events import (
    ApprovalDecided,
    ApprovalRequested,
    CancelRequested,
    Event,
    MessageAccepted,
    MessageEdited,
    MessageJoined,
    MessageRepeated,
    MessageWithdrawn,
    NoticeGiven,
    RequestAdapted,
    SessionClaimed,
    SessionCreated,
    SessionLabelled,
    SessionReleased,
    SessionRewound,
    SessionUpdated,
    StepFailed,
    StepFinished,
    StepProgress,
    StepStarted,
    ToolReturned,
    ToolStarted,
    TurnEnded,
    TurnStarted,
    TurnSuspended,
)
from greenroom.large import LARGE_BYTES, Unwritten
from greenroom.messages import PartDelta, PartEnded, PartGiven, PartItem, PartStarted

SHOWN: Final[dict[type, tuple[str, ...]]] = {
    SessionUpdated: ("config_version", "restores"),
    SessionLabelled: ("labels",),
    SessionRewound: ("turn_id",),
    MessageAccepted: ("message_id", "turn_id", "parts", "overlap"),
    MessageWithdrawn: ("turn_id",),
    MessageEdited: ("turn_id", "parts"),
    MessageRepeated: ("turn_id", "repeated_turn_id"),
    MessageJoined: ("turn_id", "joined_turn_id"),
    TurnStarted: ("turn_id",),
    StepStarted: ("step", "attempt", "backend", "model"),
    StepFinished: ("reason", "raw_reason", "usage"),
    StepFailed: ("code", "message", "hint", "retry_after_s", "refused"),
    RequestAdapted: (
        "backend",
        "model",
        "refused",
        "asks_again",
        "without",
        "messages",
        "steps",
        "files",
        "contexts",
        "since_seq",
    ),
    ToolStarted: ("call_id", "name", "effect"),
    ToolReturned: ("call_id", "name", "outcome", "content", "duration_ms"),
    ApprovalRequested: ("approval_id", "call_id", "name", "question"),
    ApprovalDecided: ("approval_id", "call_id", "decision", "arguments", "reason"),
    TurnSuspended: ("turn_id",),
    CancelRequested: ("turn_id", "takes_back"),
    NoticeGiven: ("code", "text"),
    TurnEnded: ("turn_id", "outcome", "code", "message", "hint"),
}
"""The events that clients see, and which of their fields. Empty fields are left out."""

HIDDEN: Final[frozenset[type]] = frozenset({SessionCreated, SessionClaimed, SessionReleased, StepProgress})
"""The events that no client sees: who owns the session; and what is shown item by item."""

_encoder: Final = msgspec.json.Encoder()


def message_json(message: Message) -> dict[str, Any]:
    """Returns a message as clients see it: without what only a provider understands."""
    parts = tuple(shown_part(part) for part in message.parts)
    shown: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(message, parts=parts), builtin_types=(bytes,))
    return shown


def shown_part(part: ViewPart) -> ViewPart:
    """Returns a part without what only a provider understands."""
    return msgspec.structs.replace(part, sidecar=None) if getattr(part, "sidecar", None) is not None else part


class NativeProjection:
    """Projects the entries of one session, for one reader."""

    def __init__(self) -> None:
        self._running = ""
        self._hidden: set[int] = set()

    def is_running(self, turn_id: str) -> bool:
        """Returns whether the reader was told of the turn's start and not of its end."""
        return self._running == turn_id

    def error(self, error: GreenroomError) -> Sequence[str]:
        """Returns the last frame of a stream that cannot go on."""
        hint = {"hint": error.hint} if error.hint else {}
        return (_encoded({"type": "error", "code": error.code, "message": error.message, **hint}),)

    def events(self, payload: Event | PartItem, *, seq: int) -> Sequence[str]:
        """Returns the frame of an entry, if it is shown.

        Args:
            payload: of the entry.
            seq: of the entry.
        """
        match payload:
            case PartDelta():
                if payload.part in self._hidden:
                    return ()
                delta = _encoder.encode(payload.delta).decode()
                return (f'{{"type":"part_delta","seq":{seq},"part":{payload.part},"delta":{delta}}}',)
            case PartStarted():
                return self._part_started(payload, seq)
            case PartGiven():
                return (
                    _encoded(
                        {"type": "part_given", "seq": seq, "part": payload.part, "content": shown_part(payload.content)}
                    ),
                )
            case PartEnded():
                hidden = payload.part in self._hidden
                return () if hidden else (_encoded({"type": "part_ended", "seq": seq, "part": payload.part}),)
            case StepStarted():
                self._hidden = set()
            case TurnStarted():
                self._running = payload.turn_id
            case TurnEnded():
                self._running = ""
            case _:
                pass
        fields = SHOWN.get(type(payload))
        return () if fields is None else (_encoded(_shown(payload, fields, seq)),)

    def begin_with(
        self, state: SessionState, items: Sequence[PartItem], turn_id: str | None = None
    ) -> Sequence[str | Unwritten]:
        """Returns what a reader gets that begins, or begins again, in the middle; `events` goes on behind that point.

        The messages, then what a reader has seen of the step that is not over, as if it had been there.

        Args:
            state: of the session.
            items: what is shown of the running step but not in the log yet.
            turn_id: the turn that the reader is interested in; `None` for the last one.
        """
        turn = next((turn for turn in reversed(state.turns) if turn_id in {None, turn.turn_id}), None)
        is_open = turn is not None and turn.ended is None
        step = turn.steps[-1] if turn is not None and is_open and turn.steps else None
        if step is not None and step.finished is not None:
            step = None
        messages = [message_json(message) for message in history(state, without=step)]
        running = {"turn_id": turn.turn_id} if turn is not None and is_open else {}
        snapshot = {"type": "snapshot", "seq": state.seq, "messages": messages, **running}
        is_large = state.weight > LARGE_BYTES
        frames: list[str | Unwritten] = [Unwritten(snapshot, state.weight) if is_large else _encoded(snapshot)]
        self._running = running.get("turn_id", "")
        if step is not None:
            started = StepStarted(step=step.number, attempt=step.attempt, backend=step.backend, model=step.model)
            assembly = step.assembly.extended(items) if step.failed is None else step.assembly
            seen: list[Event | PartItem] = [started, *assembly.items()]
            if step.failed is not None:
                seen.append(step.failed)
            frames += [frame for payload in seen for frame in self.events(payload, seq=state.seq)]
        if turn is not None and turn.ended is not None and turn_id is not None:
            frames += self.events(turn.ended, seq=turn.ended_seq)
        return frames

    def _part_started(self, part: PartStarted, seq: int) -> Sequence[str]:
        if part.kind == "opaque":
            self._hidden.add(part.part)
            return ()
        call = {"call_id": part.call_id, "name": part.name} if part.kind == "tool_call" else {}
        return (_encoded({"type": "part_started", "seq": seq, "part": part.part, "kind": part.kind, **call}),)


def _shown(event: Event | PartItem, fields: Sequence[str], seq: int) -> dict[str, Any]:
    values = {name: getattr(event, name) for name in fields}
    told = {name: value for name, value in values.items() if value is not None and value != ""}
    return {"type": event.__struct_config__.tag, "seq": seq} | told


def _encoded(frame: dict[str, Any]) -> str:
    return _encoder.encode(frame).decode()
