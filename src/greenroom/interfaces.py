"""What the families promise: logs, backends, toolsets, personas. Read this first; what a store promises is in `storage`.

The runtime knows the families only through these protocols; the conformance suites in `greenroom.testing` hold every
implementation, ours and yours, to them.

Rule: a promise that matters stands in a docstring here and as a test in a suite there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Literal, Protocol, Self, runtime_checkable

import msgspec

from greenroom.config import ReasoningEffort
from greenroom.events import Effect
from greenroom.limits import Limits
from greenroom.messages import StreamItem, ToolSpec, TranscriptMessage
from greenroom.storage import (
    EventLog,
    Inbox,
    InboxItem,
    IndexUpdate,
    Ledger,
    Login,
    LoginBasis,
    LoginCode,
    Logins,
    Note,
    Notes,
    Page,
    PendingAppend,
    SearchHit,
    SearchText,
    SessionIndex,
    SessionSummary,
    Spent,
    Store,
)

__all__ = [
    "Backend",
    "BackendRequest",
    "Entry",
    "EntryKind",
    "EventLog",
    "Inbox",
    "InboxItem",
    "IndexUpdate",
    "Ledger",
    "Login",
    "LoginBasis",
    "LoginCode",
    "Logins",
    "Note",
    "Notes",
    "Notice",
    "Page",
    "PendingAppend",
    "Persona",
    "PersonaCatalogue",
    "SearchHit",
    "SearchText",
    "SessionIndex",
    "SessionSummary",
    "Spent",
    "Store",
    "Tool",
    "ToolContext",
    "ToolError",
    "ToolSource",
    "WorkspaceFolder",
]

# --- backends -----------------------------------------------------------------------------------------------------------


class BackendRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One step, as the backend is asked for it.

    Attributes:
        system: who the model is; the same for every step while the session's configuration is. Empty for none.
        session_id: for the provider's cache routing; never a secret.
        messages: begins with a user message and answers every call; ends with a user or tool message, or with the assistant
            message of a step that the provider paused.
        weight: how large it is at the most, in characters and bytes of files; what is large is encoded in a thread.
    """

    model: str
    system: str
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
    weight: int = 0


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a person should know before the answer: a setting that is not honoured, a demo-grade model.

    Attributes:
        about: what of the request it is about, if there may be several of a code: for plans, which compare two models. Empty for the
            text itself.
    """

    code: str
    text: str
    about: str = ""


class Backend(Protocol):
    """A model provider. A pure translation: request to wire, wire to stream items.

    Attributes:
        default_model: what to ask when nobody named a model, or `None`.
    """

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
            BackendUnavailable, BackendRejected, BackendUnauthorized, ContextTooLong, BackendGarbled. A rejection names in `refused`
                what of the request was refused (`request` where that is not known), so that the session can continue without it.
            LimitExceeded: the answer is larger than `limits` allow.
        """
        ...

    def dialect(self, request: BackendRequest) -> str:
        """Returns the name of the wire dialect that this request is asked in: what the sidecars of its answer carry.

        It may depend on the model and on the settings of the request, and on nothing else: not on its messages, nor on what was
        answered before. So it can be told before anything is asked.
        """
        ...

    def notices(self, request: BackendRequest) -> Sequence[Notice]:
        """Returns what a person should know about how this request will be answered."""
        ...

    async def close(self) -> None:
        """Closes connections and child processes. Idempotent."""
        ...


class ListedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that a provider has.

    Attributes:
        name: what to ask for.
        ends_on: the day on which it stops answering, as `YYYY-MM-DD`; empty where the provider does not say.
    """

    name: str
    ends_on: str = ""


@runtime_checkable
class ListsModels(Protocol):
    """A backend whose provider says which models it has. Backends that cannot say leave the method out."""

    async def list_models(self) -> Sequence[ListedModel] | None:
        """Asks the provider, with the backend's own credentials; `None` where this provider has no list that says what works.

        Raises:
            BackendError: it cannot be reached, refused, or answered with something else.
        """
        ...


# --- workspaces ---------------------------------------------------------------------------------------------------------


EntryKind = Literal["file", "folder", "link", "other"]
"""`link` is never followed. `other` is what cannot be used here: a device, a FIFO, a file with further names (hard links), or a
name that no path can have."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Something in a workspace."""

    path: str
    kind: EntryKind
    size_bytes: int = 0
    modified_at_ms: int = 0


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

    def walk(self, path: str = "") -> Iterator[Entry]:
        """Yields what is in a folder and in the folders below it; nothing where nobody has written yet.

        Raises:
            InvalidArgument: not a path, or not the path of a folder.
            FileNotFoundError: it does not exist.
            OSError: the system failed.
        """
        ...

    def find(self, path: str) -> Entry | None:
        """Returns what is at a path, or `None`.

        Raises:
            InvalidArgument: not a path.
            OSError: the system failed.
        """
        ...

    def read_bytes(self, path: str) -> bytes:
        """Returns the contents of a file.

        Raises:
            InvalidArgument: not a path, or not the path of a regular file with one name.
            FileNotFoundError: it does not exist.
            LimitExceeded: it is too large.
            OSError: the system failed.
        """
        ...

    def check_path(self, path: str) -> None:
        """Accepts the path of a file that could be written here; touches nothing.

        Raises:
            InvalidArgument: not a path within a workspace.
        """
        ...

    def write_bytes(self, path: str, content: bytes) -> bool:
        """Writes a file whole, with the folders that it needs; returns whether it replaced one.

        Raises:
            InvalidArgument: not a path, or there is something else than a regular file.
            LimitExceeded: a quota.
            OSError: the system failed; the file is as it was.
        """
        ...

    def remove(self, path: str, *, recursive: bool = False) -> bool:
        """Removes a file, a link or a folder; returns whether there was anything.

        Raises:
            InvalidArgument: not a path, or a folder that is not empty and `recursive` is not set.
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

    @property
    def needs_approval(self) -> bool:
        """Whether a person is asked before it runs, unless the session is set otherwise."""
        ...

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Accepts arguments that fit; does nothing else.

        Raises:
            ToolError: they do not fit; says everything that is wrong with them.
        """
        ...

    def call(self, arguments: Mapping[str, Any], context: ToolContext) -> Coroutine[Any, Any, str]:
        """Checks the arguments against the schema, runs, and returns text for the model.

        Called as `async def call`. One that goes on when it is cancelled is left behind.

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
