"""The facts that a session's log is made of.

A session *is* its log: everything else (state, transcript, view, protocol frames) is a fold over these events. The format is
specified in `docs/event-log.md`.

Rule: an event is in the past tense, immutable, and tagged with a stable name that never follows a class name. A field may be
added with a default; a changed meaning is a new event. Deciding what may follow what is the turn machine's business, not ours.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from greenroom.config import SessionConfig, SessionLabels
from greenroom.messages import FinishReason, Outcome, PartItem, Usage, UserPart

FORMAT = 1
"""Version of the log format: raised when a reader of the older version could misread what we write."""

TurnOutcome = Literal["completed", "cancelled", "failed", "interrupted"]
Effect = Literal["pure", "idempotent", "once"]
"""What a second run of a tool would do: nothing, nothing more, or harm."""


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """Common shape of the events."""


class Parent(msgspec.Struct, frozen=True, kw_only=True):
    """Where a forked or imported session comes from."""

    session_id: str
    seq: int


class SessionCreated(_Event, frozen=True, kw_only=True, tag="session_created"):
    """The session exists. Always record 1, and only there.

    Attributes:
        node: the process that owns the session from here on.
    """

    user_id: str
    config: SessionConfig
    labels: SessionLabels = SessionLabels()
    node: str = ""
    parent: Parent | None = None


class SessionClaimed(_Event, frozen=True, kw_only=True, tag="session_claimed"):
    """Another process, or a new incarnation of this one, owns the session from here on. The record begins a new epoch."""

    node: str


class SessionUpdated(_Event, frozen=True, kw_only=True, tag="session_updated"):
    """The configuration was replaced as a whole; it applies from the next step on.

    Attributes:
        config_version: counts from 1, at the creation.
        restores: the version that a rollback brought back, or `None`.
    """

    config: SessionConfig
    config_version: int
    restores: int | None = None


class SessionLabelled(_Event, frozen=True, kw_only=True, tag="session_labelled"):
    """Title or metadata were replaced."""

    labels: SessionLabels


class SessionRewound(_Event, frozen=True, kw_only=True, tag="session_rewound"):
    """The turn and all that came after it are taken out of transcript and view. They stay in the log."""

    turn_id: str


class MessageAccepted(_Event, frozen=True, kw_only=True, tag="message_accepted"):
    """A person's message is durable and will be answered by the turn `turn_id`.

    Attributes:
        custom_prompt: replaces the persona's prompt for this turn, if not `None`.
        idempotency_key: a second message with the same key is the same message.
    """

    message_id: str
    turn_id: str
    parts: tuple[UserPart, ...]
    custom_prompt: str | None = None
    idempotency_key: str = ""


class MessageWithdrawn(_Event, frozen=True, kw_only=True, tag="message_withdrawn"):
    """A message that waited will not be answered: its turn never starts."""

    turn_id: str


class TurnStarted(_Event, frozen=True, kw_only=True, tag="turn_started"):
    """The turn is under way.

    Attributes:
        context: volatile part of the system prompt, fixed for the turn (date, preferences), so that rendering stays a pure
            function of the log.
    """

    turn_id: str
    context: str = ""


class StepStarted(_Event, frozen=True, kw_only=True, tag="step_started"):
    """We are about to ask the backend. After a crash this tells us that we may have been billed.

    Attributes:
        step: number of the step in its turn, counted from 1.
        attempt: counted from 1; above 1 the same step is asked again and the parts of the attempts before are void.
    """

    step: int
    attempt: int
    backend: str
    model: str


class StepProgress(_Event, frozen=True, kw_only=True, tag="step_progress"):
    """More of the running step, coalesced.

    Attributes:
        usage: what the provider said that the attempt has used so far, the total; left out where it said nothing new. It counts
            if the attempt comes to no end that names its usage.
    """

    items: tuple[PartItem, ...]
    usage: Usage = Usage()


class StepFinished(_Event, frozen=True, kw_only=True, tag="step_finished"):
    """The step is complete; its parts are sealed."""

    reason: FinishReason
    raw_reason: str = ""
    usage: Usage = Usage()
    response_id: str = ""


class StepFailed(_Event, frozen=True, kw_only=True, tag="step_failed"):
    """The attempt came to nothing. What it said stays in the log, not in the transcript, if the step is asked again.

    Attributes:
        code, message, hint: of the error, as on the wire.
        retry_after_s: seconds that the provider asked us to wait.
        usage: what the provider said the attempt has cost, if it did.
    """

    code: str
    message: str
    hint: str = ""
    retry_after_s: float | None = None
    usage: Usage = Usage()


class ToolStarted(_Event, frozen=True, kw_only=True, tag="tool_started"):
    """We are about to run the tool: the intent, written before the act.

    Attributes:
        idempotency_key: the same for every run of the same call.
    """

    call_id: str
    name: str
    effect: Effect
    idempotency_key: str


class ToolReturned(_Event, frozen=True, kw_only=True, tag="tool_returned"):
    """The call is settled, well or badly: the model will read `content`."""

    call_id: str
    name: str
    outcome: Outcome
    content: str
    duration_ms: int = 0


class CancelRequested(_Event, frozen=True, kw_only=True, tag="cancel_requested"):
    """Somebody stopped the turn. Recovery ends the turn even when the process dies before it could."""

    turn_id: str


class NoticeGiven(_Event, frozen=True, kw_only=True, tag="notice_given"):
    """Something that a person should know about how the session is answered; said once per code, never sent to a model."""

    code: str
    text: str


class TurnEnded(_Event, frozen=True, kw_only=True, tag="turn_ended"):
    """The one end of the turn.

    Attributes:
        code, message, hint: of the error, when the turn failed or was interrupted.
        usage: what the provider said of the step that the end cut off, if it did.
    """

    turn_id: str
    outcome: TurnOutcome
    code: str = ""
    message: str = ""
    hint: str = ""
    usage: Usage = Usage()


Event = (
    SessionCreated
    | SessionClaimed
    | SessionUpdated
    | SessionLabelled
    | SessionRewound
    | MessageAccepted
    | MessageWithdrawn
    | TurnStarted
    | StepStarted
    | StepProgress
    | StepFinished
    | StepFailed
    | ToolStarted
    | ToolReturned
    | CancelRequested
    | NoticeGiven
    | TurnEnded
)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """An event with its place in the log.

    Attributes:
        seq: counts from 1 without gaps.
        epoch: of the writer; never falls along the log. The first is the time of the creation in milliseconds, so that a session
            that is deleted and created again under the same id is not mistaken for the old one.
        at_ms: wall clock of the writer, milliseconds since 1970.
    """

    seq: int
    epoch: int
    at_ms: int
    event: Event
