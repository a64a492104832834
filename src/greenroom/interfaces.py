"""What the families promise: logs, backends, toolsets, personas. Read this first.

The runtime knows the families only through these protocols; the conformance suites in `greenroom.testing` hold every
implementation, ours and yours, to them.

Rule: a promise that matters stands in a docstring here and as a test in a suite there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import msgspec

from greenroom.config import ReasoningEffort, SessionConfig, SessionLabels
from greenroom.events import Effect, Event, Record
from greenroom.limits import Limits
from greenroom.messages import StreamItem, SystemPrompt, ToolSpec, TranscriptMessage, Usage

# --- storage ------------------------------------------------------------------------------------------------------------


class SessionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The row of a session in the index: what a listing shows, without reading the log.

    Attributes:
        open_turn: a turn is running, waiting or queued: somebody must finish it.
        owner: node that wrote last.
        created_at_ms, updated_at_ms: milliseconds since 1970.
    """

    session_id: str
    user_id: str
    labels: SessionLabels
    config: SessionConfig
    config_version: int
    created_at_ms: int
    updated_at_ms: int
    last_seq: int
    epoch: int
    owner: str
    status: Literal["idle", "running", "waiting"] = "idle"
    open_turn: bool = False
    turn_count: int = 0
    message_count: int = 0
    usage: Usage = Usage()


class SearchText(msgspec.Struct, frozen=True, kw_only=True):
    """Text of a record that full-text search should find."""

    seq: int
    role: Literal["user", "assistant"]
    text: str


class IndexUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """What an append changes in the index, in the same transaction.

    Attributes:
        forget_from_seq: texts of this record and later ones leave the search (after a rewind).
    """

    summary: SessionSummary
    texts: tuple[SearchText, ...] = ()
    forget_from_seq: int | None = None


class EventLog(Protocol):
    """The truth: one append-only sequence of records per session."""

    async def append(
        self,
        session_id: str,
        events: Sequence[Event],
        *,
        expected_seq: int,
        epoch: int,
        at_ms: int | Sequence[int],
        key: str,
        index: IndexUpdate | None = None,
    ) -> Sequence[Record]:
        """Adds `events` after record `expected_seq`, all or none, and returns them as records. Durable on return.

        `at_ms` is the time of all events, or one time for each: a copy keeps the times of the original. An append with the `key` of an earlier append at the same place is that append: it returns its records and writes
        nothing. A log that does not know the session is at record 0.

        Raises:
            Conflict: the log does not end at `expected_seq`, or its last epoch is above `epoch`. Nothing was written.
            LogUnavailable: unknown whether written; read before repeating.
        """
        ...

    async def read(self, session_id: str, *, after_seq: int = 0, limit: int | None = None) -> Sequence[Record]:
        """Returns the records behind `after_seq` in order; none for a session that does not exist.

        Raises:
            Corrupted: a stored record is not what was written.
            NewerFormat: a record of a newer version.
            LogUnavailable: the storage failed.
        """
        ...

    async def delete(self, session_id: str) -> bool:
        """Removes the session's records, index row, texts and inbox; returns whether there was one.

        The writer that comes after it finds record 0: a late append of a former owner is a `Conflict`.
        """
        ...


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some rows of a listing, newest first. `cursor` is what to ask for the next page with, `None` at the end."""

    sessions: tuple[SessionSummary, ...]
    cursor: str | None = None


class SearchHit(msgspec.Struct, frozen=True, kw_only=True):
    """A place where a text was found. `snippet` marks the words with `[` and `]`."""

    session_id: str
    seq: int
    role: str
    snippet: str
    title: str = ""


class SessionIndex(Protocol):
    """Listing and search over all sessions, fed by `EventLog.append`."""

    async def get(self, session_id: str) -> SessionSummary | None:
        """Returns the row of a session, or `None`."""
        ...

    def get_now(self, session_id: str) -> SessionSummary | None:
        """As `get`, at once; only for an embedded store. `None` too where the store cannot tell without waiting."""
        ...

    async def page(
        self, *, user_id: str | None = None, query: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page:
        """Returns sessions by time of their last change, newest first; `query` matches words of titles and messages.

        Raises:
            InvalidArgument: a limit out of range, or a cursor that is not one of ours.
        """
        ...

    async def search(self, query: str, *, user_id: str | None = None, limit: int = 50) -> Sequence[SearchHit]:
        """Returns places where all words of `query` occur, best first. Any text is a valid query; nobody has to know a
        query syntax, and none can be injected.
        """
        ...

    async def unfinished(self) -> Sequence[str]:
        """Returns ids of sessions with an open turn or something in their inbox: what recovery has to look at."""
        ...


class InboxItem(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a process which does not own the session wants its owner to do."""

    item_id: int
    body: bytes


class Inbox(Protocol):
    """Where messages and cancels wait, durably, for the owner of a session that runs in another process."""

    async def post(self, session_id: str, body: bytes) -> None:
        """Adds an item. Durable on return.

        Raises:
            SessionNotFound: no such session.
        """
        ...

    async def pending(self, session_id: str) -> Sequence[InboxItem]:
        """Returns the items in the order of their arrival."""
        ...

    async def remove(self, session_id: str, item_ids: Sequence[int]) -> None:
        """Removes items that have been moved into the log."""
        ...


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is kept for a user: a memory or a preference.

    Attributes:
        kind: which collection it belongs to, for example `memory`.
        key: unique in the user's collection.
    """

    kind: str
    key: str
    text: str
    at_ms: int


class Notes(Protocol):
    """What belongs to a user and survives the session: memories and preferences."""

    async def put(self, user_id: str, note: Note, *, count_max: int) -> None:
        """Adds or replaces a note. Durable on return.

        Raises:
            LimitExceeded: it would be new, and the user's collection has `count_max` already.
        """
        ...

    async def get(self, user_id: str, kind: str, key: str) -> Note | None:
        """Returns a note, or `None`."""
        ...

    async def page(self, user_id: str, kind: str, *, limit: int, offset: int = 0) -> Sequence[Note]:
        """Returns notes, the latest first."""
        ...

    async def search(self, user_id: str, kind: str, query: str, *, limit: int) -> Sequence[Note]:
        """Returns notes with any of the words of `query`, best first (BM25 or as good)."""
        ...

    async def delete(self, user_id: str, kind: str, key: str) -> bool:
        """Removes a note; returns whether there was one."""
        ...


class Store(Protocol):
    """A place where sessions are kept: everything that shares one transaction domain.

    Attributes:
        log, index, inbox, notes: the parts.
        node: id of this process incarnation in the store; a new one at every opening.
    """

    @property
    def log(self) -> EventLog:
        """See above."""
        ...

    @property
    def index(self) -> SessionIndex:
        """See above."""
        ...

    @property
    def inbox(self) -> Inbox:
        """See above."""
        ...

    @property
    def notes(self) -> Notes:
        """See above."""
        ...

    @property
    def node(self) -> str:
        """See above."""
        ...

    async def open(self) -> None:
        """Connects, makes or migrates the schema. Idempotent; every other call needs it.

        Raises:
            NewerFormat: the data is of a newer version.
            Corrupted: the data is damaged.
            LogUnavailable: no access, no space, not there.
        """
        ...

    async def is_alive(self, node: str) -> bool:
        """Returns whether the process behind `node` still runs. This process's own node is alive."""
        ...

    async def foreign_changes(self) -> int:
        """Returns a number that changes when another process has committed something; cheap enough to poll."""
        ...

    async def close(self) -> None:
        """Flushes and lets go. Idempotent."""
        ...


# --- backends -----------------------------------------------------------------------------------------------------------


class BackendRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One step, as the backend is asked for it.

    Attributes:
        session_id: for the provider's cache routing; never a secret.
        messages: begins with a user message and answers every call; ends with a user or tool message, or with the assistant
            message of a step that the provider paused.
    """

    model: str
    system: SystemPrompt
    messages: tuple[TranscriptMessage, ...]
    tools: tuple[ToolSpec, ...] = ()
    session_id: str = ""
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    reasoning_effort: ReasoningEffort | None = None
    thinking_budget_tokens: int | None = None
    parallel_tool_calls: bool | None = None


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a person should know before the answer: a setting that is not honoured, a demo-grade model."""

    code: str
    text: str


class Backend(Protocol):
    """A model provider. A pure translation: request to wire, wire to stream items.

    Attributes:
        dialect: name that its sidecars carry.
        default_model: what to ask when nobody named a model, or `None`.
    """

    @property
    def dialect(self) -> str:
        """See above."""
        ...

    @property
    def default_model(self) -> str | None:
        """See above."""
        ...

    def stream(self, request: BackendRequest) -> AbstractAsyncContextManager[AsyncIterator[Sequence[StreamItem]]]:
        """Asks for one step; yields the items of each read from the wire together.

        Parts are started, continued and ended in order, each with a number of its own; the last item is `StreamEnded`.
        What the provider says of usage before that comes as `UsageCounted`, so that a step that is cut off is paid for too.
        Leaving the context closes the connection, also in the middle. Nothing is retried here.

        Raises (on entering or while iterating):
            BackendUnavailable, BackendRejected, BackendUnauthorized, ContextTooLong, BackendGarbled.
            LimitExceeded: the answer is larger than `limits` allow.
        """
        ...

    def notices(self, request: BackendRequest) -> Sequence[Notice]:
        """Returns what a person should know about how this request will be answered."""
        ...

    async def close(self) -> None:
        """Closes connections and child processes. Idempotent."""
        ...


# --- workspaces ---------------------------------------------------------------------------------------------------------


class WorkspaceFolder(Protocol):
    """The files of one session, contained: nothing outside of the folder is ever read, written, moved or deleted.

    The calls wait for the disk: not for an event loop.
    """

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yields name and contents of every regular file, by name.

        Raises:
            OSError: the system failed.
        """
        ...

    def copy_to(self, target: Self) -> int:
        """Copies everything into a folder that is empty; returns how many links and special files were left out.

        Raises:
            LimitExceeded: it is more than a workspace may hold.
            OSError: the system failed; the target is empty again.
        """
        ...

    def remove_all(self) -> None:
        """Removes the folder with everything in it. Idempotent.

        Raises:
            OSError: the system failed.
        """
        ...


# --- toolsets -----------------------------------------------------------------------------------------------------------


class ToolError(Exception):
    """A tool's own, deliberate failure: its text is written for the model, which reads it as the result."""


class ToolContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool may know about the call. A parameter annotated with this type is filled in and hidden from the model.

    Attributes:
        idempotency_key: the same for every run of the same call, also after a crash.
        workspace: the session's folder; it may not exist yet.
    """

    session_id: str
    user_id: str
    call_id: str
    idempotency_key: str
    workspace: Path
    notes: Notes
    limits: Limits
    at_ms: int


class Tool(Protocol):
    """Something that a model can call."""

    @property
    def spec(self) -> ToolSpec:
        """What the model is told."""
        ...

    @property
    def effect(self) -> Effect:
        """What a second run would do."""
        ...

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """Checks the arguments against the schema, runs, and returns text for the model.

        Raises:
            ToolError: the arguments do not fit, or the tool failed in a way that the model should read.
            Exception: anything else is a bug of the tool; the model is told its type and text.
        """
        ...


class ToolSource(Protocol):
    """A named group of tools, as a session asks for it by class name. One instance serves all sessions of a manager."""

    @property
    def name(self) -> str:
        """Name by which sessions ask for it."""
        ...

    @property
    def description(self) -> str:
        """One line for people."""
        ...

    def tools(self) -> Sequence[Tool]:
        """Returns the tools; names are unique."""
        ...

    async def close_session(self, session_id: str) -> None:
        """Lets go of what is held for the session. Idempotent."""
        ...

    async def close(self) -> None:
        """Lets go of everything. Idempotent."""
        ...


# --- personas -----------------------------------------------------------------------------------------------------------


class Persona(msgspec.Struct, frozen=True, kw_only=True):
    """Who an agent is: a prompt, and defaults that a session takes where its creator says nothing."""

    name: str
    text: str
    description: str = ""
    llm_model: str | None = None
    backend: str | None = None
    tools: tuple[str, ...] = ()


class PersonaCatalogue(Protocol):
    """The personas that exist. A name is looked up among them and never becomes a path."""

    def get(self, name: str) -> Persona:
        """Returns the persona.

        Raises:
            UnknownPersona: no such persona; names those that exist.
        """
        ...

    def all(self) -> Sequence[Persona]:
        """Returns all personas by name."""
        ...
