"""What the suite writes: a session, some events, and a writer that knows where its log ends.

Rule: no clock and no dice: the same test writes the same bytes on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Generic, TypeVar

import msgspec

from greenroom.config import SessionConfig, SessionLabels
from greenroom.events import (
    ApprovalDecided,
    ApprovalRequested,
    CancelRequested,
    Event,
    FileRef,
    MessageAccepted,
    MessageEdited,
    MessageJoined,
    MessageRepeated,
    MessageWithdrawn,
    NoticeGiven,
    Parent,
    Record,
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
    StepRef,
    StepStarted,
    ToolReturned,
    ToolStarted,
    TurnEnded,
    TurnStarted,
    TurnSuspended,
)
from greenroom.interfaces import IndexUpdate, Note, SearchText, SessionSummary, Store
from greenroom.messages import (
    FilePart,
    PartDelta,
    PartEnded,
    PartGiven,
    PartStarted,
    Sidecar,
    SourcePart,
    TextPart,
    Usage,
)

E = TypeVar("E", bound=BaseException)

START_MS: Final = 1_700_000_000_000

ODD_TEXTS: Final = (
    "",
    " ",
    "plain",
    'quotes " and \\ backslashes',
    "lines\nof\r\ntext\x00with\x1fcontrols\u2028and separators",
    "Grüße, привет, שלום, 你好, 🙂👩‍👩‍👧‍👦",
    "Z\u0351\u036b\u0343a\u0300lgo \u202e reversed",
    "'; DROP TABLE record; --",
    '{"type":"turn_ended"}',
    "x" * 10_000,
)
"""Content that has broken other systems."""


class Caught(Generic[E]):
    """The error that `raises` has caught, once its block has been left."""

    error: E


@contextmanager
def raises(kind: type[E]) -> Iterator[Caught[E]]:
    """Expects the block to raise `kind`: what `pytest.raises` does, without pytest."""
    caught: Caught[E] = Caught()
    try:
        yield caught
    except kind as error:
        caught.error = error
    else:
        raise AssertionError(f"{kind.__name__} was not raised")


def text(content: str = "hello", *, turn_id: str = "turn-1") -> MessageAccepted:
    """Returns a message from a person."""
    return MessageAccepted(message_id=f"message-{turn_id}", turn_id=turn_id, parts=(TextPart(text=content),))


def every_event() -> tuple[Event, ...]:
    """Returns one event of every type, every field at a value of its own."""
    config = SessionConfig(llm_model="gpt-x", temperature=0.5, stop=("END",), approval={"delete_*": "ask"})
    labels = SessionLabels(title="Grüße", metadata={"list": [1, 2.5, None, True], "nested": {"ключ": "значение"}})
    sidecar = Sidecar(backend="claude", model="m", data=msgspec.Raw(b'{"signature":"YWJj","n":[1, 2]}'))
    usage = Usage(input_tokens=10, output_tokens=20, cached_input_tokens=5, reasoning_tokens=7, cost_usd=0.125)
    return (
        SessionCreated(
            user_id="ann", config=config, labels=labels, node="node-1", parent=Parent(session_id="parent", seq=7)
        ),
        SessionClaimed(node="node-2"),
        SessionUpdated(config=config, config_version=2, restores=1),
        SessionLabelled(labels=labels),
        MessageAccepted(
            message_id="m-1",
            turn_id="t-1",
            parts=(
                TextPart(text="look", sidecar=sidecar),
                FilePart(media_type="image/png", data=bytes(range(256)), name="a.png"),
            ),
            custom_prompt="be brief",
            idempotency_key="send-1",
            overlap="interrupt",
        ),
        TurnStarted(turn_id="t-1", context="today"),
        StepStarted(step=1, attempt=1, backend="claude", model="m"),
        StepProgress(
            items=(
                PartStarted(part=0, kind="reasoning"),
                PartDelta(part=0, delta="hm\nhm"),
                PartEnded(part=0, sidecar=sidecar),
                PartStarted(part=1, kind="tool_call", call_id="call-1", name="roll_dice"),
                PartDelta(part=1, delta='{"sides": '),
                PartGiven(
                    part=1_000_000,
                    content=SourcePart(url="https://example.com/ö", title="Ein Beispiel", quote="so it is"),
                ),
                PartGiven(
                    part=1_000_001, content=FilePart(media_type="image/png", data=b"\x89PNG\r\n\x1a\n", sidecar=sidecar)
                ),
            ),
            usage=usage,
        ),
        StepFailed(
            code="backend_garbled", message="cut off", hint="ask again", retry_after_s=1.5, usage=usage, refused="size"
        ),
        RequestAdapted(
            backend="openai",
            model="gpt-4o",
            refused="attachment",
            asks_again=True,
            without=("tools",),
            messages=("t-0",),
            steps=(StepRef(turn_id="t-0", step=1),),
            files=(FileRef(turn_id="t-1", part=0),),
            contexts=("t-1",),
            since_seq=2,
        ),
        StepFinished(reason="tool_calls", raw_reason="tool_use", usage=usage, response_id="r-1"),
        ToolStarted(call_id="call-1", name="roll_dice", effect="once", idempotency_key="key-1"),
        ToolReturned(call_id="call-1", name="roll_dice", outcome="error", content="no dice", duration_ms=12),
        ApprovalRequested(approval_id="call-1.1", call_id="call-1", name="roll_dice", question="run_again"),
        ApprovalDecided(
            approval_id="call-1.1",
            call_id="call-1",
            decision="approve",
            arguments='{"sides": 6}',
            reason="go on",
            run_id="r-2",
        ),
        TurnSuspended(turn_id="t-1"),
        NoticeGiven(code="demo", text="a small model"),
        CancelRequested(turn_id="t-1", takes_back=True),
        TurnEnded(turn_id="t-1", outcome="failed", code="x", message="y", hint="z", usage=usage),
        MessageWithdrawn(turn_id="t-2"),
        MessageEdited(turn_id="t-3", parts=(TextPart(text="look again"),)),
        MessageRepeated(turn_id="t-4", repeated_turn_id="t-3"),
        SessionReleased(),
        MessageJoined(turn_id="t-3", joined_turn_id="t-1"),
        SessionRewound(turn_id="t-1"),
    )


def note(key: str, content: str = "", *, kind: str = "memory", at_ms: int = START_MS) -> Note:
    """Returns a note."""
    return Note(kind=kind, key=key, text=content or key, at_ms=at_ms)


class Author:
    """Writes one session, as its owner does.

    Attributes:
        name: tells two writers of one session apart: their appends have different keys.
        seq: last record that it wrote.
        epoch: under which it writes.
        summary: the index row as it last wrote it.
    """

    def __init__(self, store: Store, session_id: str, *, user_id: str = "ann", name: str = "author") -> None:
        self.store = store
        self.name = name
        self.session_id = session_id
        self.seq = 0
        self.epoch = 1
        self.summary = SessionSummary(
            session_id=session_id,
            user_id=user_id,
            labels=SessionLabels(),
            config=SessionConfig(),
            config_version=1,
            created_at_ms=START_MS,
            updated_at_ms=START_MS,
            last_seq=0,
            epoch=1,
            owner=store.node,
        )

    async def append(
        self, *events: Event, key: str | None = None, index: IndexUpdate | None = None
    ) -> Sequence[Record]:
        """Appends where the log ends for this author."""
        records = await self.store.log.append(
            self.session_id,
            events,
            expected_seq=self.seq,
            epoch=self.epoch,
            at_ms=START_MS + self.seq,
            key=key or f"{self.name}-{self.epoch}-{self.seq}",
            index=index,
        )
        self.seq = records[-1].seq
        return records

    async def create(self, **changes: Any) -> None:
        """Makes the session; `changes` are of its index row."""
        await self.say(SessionCreated(user_id=self.summary.user_id, config=SessionConfig()), **changes)

    async def say(
        self,
        event: Event | None = None,
        *,
        texts: Sequence[str] = (),
        role: str = "user",
        title: str | None = None,
        forget: Sequence[int] = (),
        **changes: Any,
    ) -> int:
        """Appends an event together with a change of the index, and returns the number of its record."""
        seq = self.seq + 1
        if title is not None:
            changes["labels"] = SessionLabels(title=title)
        summary = msgspec.structs.replace(self.summary, last_seq=seq, epoch=self.epoch, **changes)
        update = IndexUpdate(
            summary=summary,
            texts=tuple(msgspec.convert({"seq": seq, "role": role, "text": text}, SearchText) for text in texts),
            forget=tuple(forget),
        )
        await self.append(event or text(" ".join(texts)), index=update)
        self.summary = summary
        return seq


async def sessions_of(store: Store, **question: Any) -> list[str]:
    """Returns the ids of a page, in its order."""
    return [summary.session_id for summary in (await store.index.page(**question)).sessions]


async def found(store: Store, query: str, **question: Any) -> list[tuple[str, int]]:
    """Returns the places that a search finds, sorted."""
    return sorted((hit.session_id, hit.seq) for hit in await store.index.search(query, **question))
