"""The facts that a session's log is made of.

A session *is* its log: everything else (state, transcript, view, protocol frames) is a fold over these events. The format is
specified in `docs/event-log.md`.

Rule: an event is in the past tense, immutable, and tagged with a stable name that never follows a class name. A field may be
added with a default; a changed meaning is a new event. Deciding what may follow what is the turn machine's business, not ours.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from greenroom.config import Overlap, SessionConfig, SessionLabels
from greenroom.errors import Refused
from greenroom.messages import FinishReason, Outcome, PartItem, Usage, UserPart

FORMAT = 1
"""Version of the log format: raised when a reader of the older version could misread what we write."""

TurnOutcome = Literal["completed", "cancelled", "failed", "interrupted"]
Effect = Literal["pure", "idempotent", "once"]
"""What a second run of a tool would do: nothing, nothing more, or harm."""
Question = Literal["run", "run_again"]
"""What a person is asked about a call: may it run; or, when nobody knows whether it took effect, shall it run once more."""
Decision = Literal["approve", "deny"]
Feature = Literal["tools", "reasoning_effort"]
"""What a request can do without: `tools` are then told as text, `reasoning_effort` is `none`."""


class _Event(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag_field="type", omit_defaults=True):
    """Common shape of the events."""


class Parent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where a forked or imported session comes from."""

    session_id: str
    seq: int


class StepRef(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A step of a turn: what the model said there, and the results of its calls."""

    turn_id: str
    step: int


class FileRef(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An attachment of a message.

    Attributes:
        turn_id: of the message.
        part: its place among the parts of the message, counted from 0.
    """

    turn_id: str
    part: int


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


class SessionReleased(_Event, frozen=True, kw_only=True, tag="session_released"):
    """The process that owned the session has let go of it in good order, because it closes: the next process may claim it at once.

    What this stopped, a step or a call, was no attempt: it is asked again without being counted.
    """


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
        overlap: under which policy it came while the session was busy. After `interrupt` and `rollback` it is the next to be
            answered; `steer` and `merge` let it join another turn.
    """

    message_id: str
    turn_id: str
    parts: tuple[UserPart, ...]
    custom_prompt: str | None = None
    idempotency_key: str = ""
    overlap: Overlap = "enqueue"


class MessageWithdrawn(_Event, frozen=True, kw_only=True, tag="message_withdrawn"):
    """A message that waited will not be answered: its turn never starts."""

    turn_id: str


class MessageEdited(_Event, frozen=True, kw_only=True, tag="message_edited"):
    """A message that waited was changed before anybody answered it."""

    turn_id: str
    parts: tuple[UserPart, ...]


class MessageRepeated(_Event, frozen=True, kw_only=True, tag="message_repeated"):
    """A message was acknowledged that was there already: it came to two processes at the same time. Nobody answers it twice.

    Attributes:
        turn_id: that was acknowledged.
        repeated_turn_id: of the message that it repeats.
    """

    turn_id: str
    repeated_turn_id: str


class MessageJoined(_Event, frozen=True, kw_only=True, tag="message_joined"):
    """A message that waited is answered by another turn: it steers the one that runs, or is merged with the one that starts.

    Attributes:
        turn_id: of the message; this turn never starts.
        joined_turn_id: the turn that answers it. The model reads the message behind the last step that is complete.
    """

    turn_id: str
    joined_turn_id: str


class TurnStarted(_Event, frozen=True, kw_only=True, tag="turn_started"):
    """The turn is under way.

    Attributes:
        context: what the model is told about the user, fixed for the turn (date, preferences, memories), so that rendering stays a
            pure function of the log. What of it is new stands before the message in the transcript.
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
        refused: what of the request the provider did not take; `None` if that was not the reason, `unexplained` if nobody knows.
    """

    code: str
    message: str
    hint: str = ""
    retry_after_s: float | None = None
    usage: Usage = Usage()
    refused: Refused | None = None


class RequestAdapted(_Event, frozen=True, kw_only=True, tag="request_adapted"):
    """The provider refused the step: from here on requests to this backend and model leave something out, in addition to what was left
    out before. An update of the configuration ends that: then everything is tried again.

    Attributes:
        refused: what the provider did not take. `unexplained` makes it a probe: it holds for the next answer to this step, and for good
            only if the next turn needs the same probe once more.
        asks_again: the step is asked again at once, without it; else the turn fails, or continues at a fallback.
        without: features that are not used.
        messages: turn ids of messages that are left out; a line of text stands in their place.
        steps: of which only the calls stay, without arguments and results.
        files: attachments that a line of text stands for.
        contexts: turn ids of messages of which only what was told beside them (preferences, memories) is left out.
        since_seq: turns that started before this record are left out; 0 for none. Replaces what was said before.
    """

    backend: str
    model: str
    refused: Refused
    asks_again: bool = False
    without: tuple[Feature, ...] = ()
    messages: tuple[str, ...] = ()
    steps: tuple[StepRef, ...] = ()
    files: tuple[FileRef, ...] = ()
    contexts: tuple[str, ...] = ()
    since_seq: int = 0

    @property
    def is_probe(self) -> bool:
        """Whether it only finds out if what is left out was the reason of a failure."""
        return self.refused == "unexplained"


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


class ApprovalRequested(_Event, frozen=True, kw_only=True, tag="approval_requested"):
    """A person has to decide about a call before the turn goes on. It waits as long as that takes.

    Attributes:
        approval_id: unique in the session.
        name: of the tool.
        question: `run`: may the call be run. `run_again`: it was started, nobody knows whether it took effect, and it must not
            be run again unless a person says so.
    """

    approval_id: str
    call_id: str
    name: str
    question: Question = "run"


class ApprovalDecided(_Event, frozen=True, kw_only=True, tag="approval_decided"):
    """A person has decided. An approved call runs, a denied one never does, and the model is told.

    Attributes:
        arguments: JSON object that replaces the model's arguments, if not `None`.
        reason: what the person said about it; the model reads it.
        run_id: what the rest of the turn is called where an answer to a question begins a new run (AG-UI); empty for the turn's id.
    """

    approval_id: str
    call_id: str
    decision: Decision
    arguments: str | None = None
    reason: str = ""
    run_id: str = ""


class TurnSuspended(_Event, frozen=True, kw_only=True, tag="turn_suspended"):
    """All that is left to do waits for a person: nothing runs until an approval is decided, whichever process it reaches."""

    turn_id: str


class CancelRequested(_Event, frozen=True, kw_only=True, tag="cancel_requested"):
    """Somebody stopped the turn. Recovery ends the turn even when the process dies before it could.

    Attributes:
        takes_back: the turn is rewound when it has ended.
    """

    turn_id: str
    takes_back: bool = False


class NoticeGiven(_Event, frozen=True, kw_only=True, tag="notice_given"):
    """Something that a person should know about how the session is answered; never sent to a model.

    The same text is said once, but what a provider refused is said each time.
    """

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
    | SessionReleased
    | SessionUpdated
    | SessionLabelled
    | SessionRewound
    | MessageAccepted
    | MessageWithdrawn
    | MessageEdited
    | MessageRepeated
    | MessageJoined
    | TurnStarted
    | StepStarted
    | StepProgress
    | StepFinished
    | StepFailed
    | RequestAdapted
    | ToolStarted
    | ToolReturned
    | ApprovalRequested
    | ApprovalDecided
    | TurnSuspended
    | CancelRequested
    | NoticeGiven
    | TurnEnded
)


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
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
