"""What a store promises: the log, the index over it, the ledger, the inbox, the notes and the logins. A part of `greenroom.interfaces`.

Rule: a promise that matters stands in a docstring here and as a test in `greenroom.testing.log_conformance`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from greenroom.config import SessionConfig, SessionLabels
from greenroom.events import Event, Record
from greenroom.messages import Usage


class SessionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The row of a session in the index: what a listing shows, without reading the log.

    Attributes:
        status: `waiting`: the open turn waits for a person.
        open_turn: a turn is running, or waits to start: somebody must finish it.
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
    """What an append changes in the index and the ledger, in the same transaction.

    Attributes:
        forget: records whose texts leave the search (after a rewind), before the new texts enter it.
        spent: what the events add to what the session's user has used; `None` for nothing, as for a copy: it is paid for already.
    """

    summary: SessionSummary
    texts: tuple[SearchText, ...] = ()
    forget: tuple[int, ...] = ()
    spent: Usage | None = None


class PendingAppend(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of one `EventLog.append`."""

    session_id: str
    events: Sequence[Event]
    expected_seq: int
    epoch: int
    at_ms: int | Sequence[int]
    key: str
    index: IndexUpdate | None = None


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

    async def append_all(self, appends: Sequence[PendingAppend]) -> Sequence[Sequence[Record] | Exception]:
        """Makes several appends, each by itself as `append` does it, in this order; returns what each returned or raised.

        For many small ones at a time: a log that writes them together saves what a commit costs.
        """
        ...

    async def read(
        self, session_id: str, *, after_seq: int = 0, limit: int | None = None, bytes_max: int | None = None
    ) -> Sequence[Record]:
        """Returns the records behind `after_seq` in order; none for a session that does not exist.

        Args:
            session_id: the session.
            after_seq: number of the record behind which to begin.
            limit: how many records.
            bytes_max: one page: the record that reaches so many bytes, as they are stored, is its last one. A log may end a page
                earlier, but never before its first record.

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
        """Returns ids of sessions with an open turn or something in their inbox, whoever is at work in them."""
        ...

    async def orphaned(self, *, after: str = "", limit: int) -> Sequence[str]:
        """Returns ids of sessions that need a process and have none, in the order of their code points.

        Those are sessions whose row says `open_turn` and whose owner is not alive (`""`: it has released them); and those with
        something in their inbox, unless an owner that is alive is at work in them and will take it. It is asked every second: its cost
        must not grow with the sessions that need no process, nor with those that have one.

        Args:
            after: only ids that come after this one.
            limit: how many.
        """
        ...


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What a user has used.

    Attributes:
        usage: all of it; its cost is that of the tokens whose price is known.
        unpriced_tokens: how many of them have no known price.
        estimated_tokens: how many of them are in usage of which a part was estimated.
    """

    usage: Usage = Usage(cost_usd=0.0)
    unpriced_tokens: int = 0
    estimated_tokens: int = 0

    @classmethod
    def of(cls, usage: Usage) -> Spent:
        """Returns what steps have used whose usage this is."""
        tokens = usage.input_tokens + usage.output_tokens
        estimated = tokens if usage.estimated else 0
        if usage.cost_usd is not None:
            return cls(usage=usage, estimated_tokens=estimated)
        priced = msgspec.structs.replace(usage, cost_usd=0.0)
        return cls(usage=priced, unpriced_tokens=tokens, estimated_tokens=estimated)

    def plus(self, more: Spent) -> Spent:
        """Returns the sum."""
        return Spent(
            usage=self.usage.plus(more.usage),
            unpriced_tokens=self.unpriced_tokens + more.unpriced_tokens,
            estimated_tokens=self.estimated_tokens + more.estimated_tokens,
        )


class Ledger(Protocol):
    """What users have used on which day, fed by `EventLog.append`. It outlives the sessions: deleting one gives nothing back.

    Days are those of UTC, counted from 1970. An append counts on the day of its last event.
    """

    async def spent(self, user_id: str, *, from_day: int = 0) -> Spent:
        """Returns what the user has used since the beginning of that day."""
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


LoginBasis = Literal["token", "key", "jwt", "operator"]
"""What a login rests on: the server's own token, an API key, a signed token, or the word of the operator, who may write to the store."""


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """A browser that is logged in.

    Attributes:
        login_id: names it in lists; opens nothing.
        digest: of the secret that the browser has. The secret itself is stored nowhere.
        basis: what it rests on.
        proof: of the credential that it rests on, made with the secret, so that it tells nothing without it; empty where there is none.
        created_at_ms, seen_at_ms: when it began, and when it was last used, about; milliseconds since 1970.
        ends_at_ms: when it ends at the latest.
        user_agent: what the browser says of itself, cut.
    """

    login_id: str
    digest: bytes
    user_id: str
    basis: LoginBasis
    proof: bytes = b""
    created_at_ms: int
    seen_at_ms: int
    ends_at_ms: int
    user_agent: str = ""


class LoginCode(msgspec.Struct, frozen=True, kw_only=True):
    """A one-time code: the first browser that brings it is logged in.

    Attributes:
        digest: of the code. The code itself is stored nowhere.
        ends_at_ms: when it is worth nothing any more; milliseconds since 1970.
    """

    digest: bytes
    user_id: str
    basis: LoginBasis
    ends_at_ms: int


class Logins(Protocol):
    """The browsers that are logged in, and the one-time codes with which others may."""

    async def add(self, login: Login, *, count_max: int, seen_after_ms: int) -> None:
        """Adds a login. Durable on return.

        Logins that have ended when this one begins are removed, and those that were last seen at `seen_after_ms` or before; and of
        its user's, if there are more than `count_max` then, those that were last seen the longest ago.
        """
        ...

    async def find(self, digest: bytes) -> Login | None:
        """Returns the login with this digest, or `None`; also one that has ended and was not removed yet."""
        ...

    async def touch(self, digest: bytes, *, seen_at_ms: int) -> None:
        """Notes that a login was used; nothing, where there is none. A time before the one that is noted changes nothing."""
        ...

    async def page(self, user_id: str | None, *, limit: int) -> Sequence[Login]:
        """Returns the logins of a user, or of all, those last seen first.

        Raises:
            InvalidArgument: a limit out of range.
        """
        ...

    async def remove(self, user_id: str | None, login_id: str) -> bool:
        """Ends a login of this user, or of any; returns whether there was one. Durable on return."""
        ...

    async def remove_all(self, user_id: str | None) -> int:
        """Ends the logins of a user, or of all, and makes their codes worthless; returns how many logins there were. Durable on return."""
        ...

    async def add_code(self, code: LoginCode, *, count_max: int, now_ms: int) -> None:
        """Adds a one-time code. Durable on return. Codes that have ended are removed; and beyond `count_max`, those that end first."""
        ...

    async def find_code(self, digest: bytes, *, now_ms: int) -> LoginCode | None:
        """Returns a code and leaves it; `None` if it has ended, was taken or never was."""
        ...

    async def take_code(self, digest: bytes, *, now_ms: int) -> LoginCode | None:
        """Removes a code and returns it; `None` if it has ended, was taken or never was. Of several that take it at once, one gets it."""
        ...


class Store(Protocol):
    """A place where sessions are kept: everything that shares one transaction domain.

    Attributes:
        log, index, ledger, inbox, notes, logins: the parts.
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
    def ledger(self) -> Ledger:
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
    def logins(self) -> Logins:
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
