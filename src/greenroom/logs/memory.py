"""Sessions in memory: for tests, for demos, and for whoever wants nothing kept.

Everything that the other stores promise holds here too, except that nothing survives the process. Events are kept encoded, so
what cannot be stored cannot be stored here either, and what is read is what a disk would have given back.

A store can be closed and opened again, with another `node` and the same sessions: what a restart looks like to the manager.
`sibling` makes a second store on the same sessions: another process of the same cluster.

Rule: no operation waits between looking and writing, so each is atomic for all tasks of the loop.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Final, NamedTuple

import msgspec

from greenroom.codec import decode_event
from greenroom.errors import Conflict, GreenroomError, LimitExceeded, LogUnavailable, SessionNotFound
from greenroom.events import Event, Record
from greenroom.interfaces import (
    InboxItem,
    IndexUpdate,
    Login,
    LoginCode,
    Note,
    Page,
    PendingAppend,
    SearchHit,
    SessionSummary,
    Spent,
)
from greenroom.large_thread import in_thread
from greenroom.limits import DEFAULT_LIMITS, Limits
from greenroom.logs.appending import (
    AT_ONCE_EVENTS_MAX,
    SEQ_MAX,
    Head,
    Write,
    bounded_seq,
    prepare,
    prepared,
    weight_of_all,
)
from greenroom.logs.paging import Position, check_limit, decode_cursor, encode_cursor
from greenroom.logs.ranking import RANKED_MAX, best
from greenroom.logs.spending import Account, spending
from greenroom.logs.words import Query, matches, parse_query, snippet, words_of

_AT_ONCE_CHARS_MAX: Final = 4096
"""Text whose words are found on the event loop; more is done in a thread."""


class _Row(NamedTuple):
    """A record as it is kept; `key` is the append's, and only its first record has it."""

    epoch: int
    at_ms: int
    key: str
    body: bytes


class _Text(NamedTuple):
    """A text that search finds; `number` tells which of two is the later one."""

    number: int
    seq: int
    role: str
    text: str
    words: Sequence[str]


class _NewText(NamedTuple):
    """What is kept of a text that is added."""

    text: str
    words: Sequence[str]


class _KeptNote(NamedTuple):
    """A note, with the words that it is found by."""

    note: Note
    words: Sequence[str]


class _Log:
    """One session: its records and what the index knows of it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.rows: list[_Row] = []
        self.summary: SessionSummary | None = None
        self.texts: list[_Text] = []

    @property
    def head(self) -> Head:
        return Head(len(self.rows), self.rows[-1].epoch) if self.rows else Head()

    @property
    def position(self) -> Position:
        return Position(self.summary.updated_at_ms if self.summary else 0, self.number)


class _Shelf:
    """What the stores of one cluster share.

    Attributes:
        nodes: the stores that are open.
        commits: changes by each node since it was opened.
        at_work: the owners of sessions in which something is to be done.
    """

    def __init__(self) -> None:
        self.logs: dict[str, _Log] = {}
        self.ledger: dict[Account, Spent] = {}
        self.inbox: dict[str, list[InboxItem]] = {}
        self.notes: dict[tuple[str, str], dict[str, _KeptNote]] = {}
        self.logins: dict[bytes, Login] = {}
        self.login_codes: dict[bytes, LoginCode] = {}
        self.numbers = count(1)
        self.nodes: set[str] = set()
        self.commits: dict[str, int] = {}
        self.at_work: dict[str, str] = {}


class _Desk:
    """A store's own place at the shelf: open or not."""

    def __init__(self, shelf: _Shelf, limits: Limits) -> None:
        self.limits = limits
        self.node = ""
        self._shelf = shelf

    def open(self) -> None:
        if not self.node:
            self.node = secrets.token_hex(8)
            self._shelf.nodes.add(self.node)

    def close(self) -> None:
        self._shelf.nodes.discard(self.node)
        self.node = ""

    def peek(self) -> _Shelf:
        """Returns the shelf for a look that needs no opening."""
        return self._shelf

    def read(self) -> _Shelf:
        """Returns the shelf to look at."""
        if not self.node:
            raise LogUnavailable("the store is not open", hint="call `await store.open()` first")
        return self._shelf

    def write(self) -> _Shelf:
        """Returns the shelf to change."""
        shelf = self.read()
        shelf.commits[self.node] = shelf.commits.get(self.node, 0) + 1
        return shelf


class MemoryStore:
    """A `Store` in dictionaries.

    Attributes:
        log, index, ledger, inbox, notes, logins: as `greenroom.interfaces.Store` describes them.
    """

    def __init__(self, *, limits: Limits = DEFAULT_LIMITS, _shelf: _Shelf | None = None) -> None:
        self._limits = limits
        self._shelf = _shelf or _Shelf()
        self._desk = _Desk(self._shelf, limits)
        self.log = _MemoryLog(self._desk)
        self.index = _MemoryIndex(self._desk)
        self.ledger = _MemoryLedger(self._desk)
        self.inbox = _MemoryInbox(self._desk)
        self.notes = _MemoryNotes(self._desk)
        self.logins = _MemoryLogins(self._desk)
        self.node = ""

    def sibling(self) -> MemoryStore:
        """Returns another store on the same sessions, not open yet: a second node."""
        return MemoryStore(limits=self._limits, _shelf=self._shelf)

    async def open(self) -> None:
        """Begins a new incarnation. Idempotent."""
        self._desk.open()
        self.node = self._desk.node

    async def is_alive(self, node: str) -> bool:
        """Returns whether a store with that node is open."""
        return node in self._desk.read().nodes

    async def foreign_changes(self) -> int:
        """Returns how often other nodes have written."""
        commits = self._desk.read().commits
        return sum(commits.values()) - commits.get(self.node, 0)

    async def close(self) -> None:
        """Ends the incarnation; the sessions stay for the next. Idempotent."""
        self._desk.close()


class _MemoryLog:
    """`greenroom.interfaces.EventLog`."""

    def __init__(self, desk: _Desk) -> None:
        self._desk = desk

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
        made = partial(
            prepare, session_id, events, expected_seq=expected_seq, epoch=epoch, at_ms=at_ms, key=key, index=index
        )
        ready = partial(_ready, made, self._desk.limits.search_text_chars_max)
        is_long = len(events) > AT_ONCE_EVENTS_MAX or _has_long_text(index)
        weight = weight_of_all(events)
        return self._made(*(await asyncio.to_thread(ready) if is_long else await in_thread(weight, ready)))

    async def append_all(self, appends: Sequence[PendingAppend]) -> Sequence[Sequence[Record] | Exception]:
        outcomes: list[Sequence[Record] | Exception] = []
        for append in appends:
            try:
                ready = partial(_ready, partial(prepared, append), self._desk.limits.search_text_chars_max)
                is_long = _has_long_text(append.index)
                weight = weight_of_all(append.events)
                outcomes.append(
                    self._made(*(await asyncio.to_thread(ready) if is_long else await in_thread(weight, ready)))
                )
            except GreenroomError as error:
                outcomes.append(error)
        return outcomes

    def _made(self, write: Write, texts: Sequence[_NewText]) -> Sequence[Record]:
        session_id, key, index = write.session_id, write.key, write.index
        log = self._desk.read().logs.get(session_id)
        head = log.head if log else Head()
        if not write.fits(head):
            if repeated := _appended(log, write):
                return repeated
            raise Conflict(session_id, expected_seq=write.expected.seq, actual_seq=head.seq)
        shelf = self._desk.write()
        log = log or shelf.logs.setdefault(session_id, _Log(next(shelf.numbers)))
        log.rows.extend(
            _Row(record.epoch, record.at_ms, "" if at else key, body)
            for at, (record, body) in enumerate(zip(write.records, write.bodies, strict=True))
        )
        if index is not None:
            _update(log, index, texts, shelf.numbers)
            if index.summary.open_turn:
                shelf.at_work[session_id] = index.summary.owner
            else:
                shelf.at_work.pop(session_id, None)
            for account, spent in spending([write]).items():
                shelf.ledger[account] = shelf.ledger.get(account, Spent()).plus(spent)
        return write.records

    async def read(
        self, session_id: str, *, after_seq: int = 0, limit: int | None = None, bytes_max: int | None = None
    ) -> Sequence[Record]:
        log = self._desk.read().logs.get(session_id)
        after_seq = bounded_seq(after_seq)
        rows = log.rows[after_seq : after_seq + (SEQ_MAX if limit is None else limit)] if log else []
        if bytes_max is not None:
            rows = list(_up_to(bytes_max, rows))
        decoded = partial(_records, rows, after_seq + 1)
        if len(rows) > AT_ONCE_EVENTS_MAX:
            return await asyncio.to_thread(decoded)
        return await in_thread(sum([len(row.body) for row in rows]), decoded)

    async def delete(self, session_id: str) -> bool:
        shelf = self._desk.write()
        shelf.inbox.pop(session_id, None)
        shelf.at_work.pop(session_id, None)
        return shelf.logs.pop(session_id, None) is not None


def _has_long_text(update: IndexUpdate | None) -> bool:
    """Returns whether finding the words of an update takes so long that the event loop should not wait for it."""
    return update is not None and sum(len(text.text) for text in update.texts) > _AT_ONCE_CHARS_MAX


def _ready(make: Callable[[], Write], chars_max: int) -> tuple[Write, Sequence[_NewText]]:
    """Returns an append, and the texts that it adds, cut and with their words."""
    write = make()
    texts = (
        [_NewText(text.text[:chars_max], words_of(text.text[:chars_max])) for text in write.index.texts]
        if write.index
        else []
    )
    return write, texts


def _up_to(bytes_max: int, rows: Iterable[_Row]) -> Iterator[_Row]:
    """Returns the first rows, up to the one that reaches so many bytes."""
    size = 0
    for row in rows:
        if size >= bytes_max:
            return
        yield row
        size += len(row.body)


def _records(rows: Sequence[_Row], first_seq: int) -> list[Record]:
    return [
        Record(seq=seq, epoch=row.epoch, at_ms=row.at_ms, event=decode_event(row.body))
        for seq, row in enumerate(rows, start=first_seq)
    ]


def _appended(log: _Log | None, write: Write) -> Sequence[Record]:
    """Returns the records of the earlier append that `write` repeats; none if it repeats nothing."""
    first_seq = write.expected.seq + 1
    rows = log.rows[write.expected.seq :] if log else []
    if not rows or rows[0].key != write.key:
        return ()
    length = next((at for at, row in enumerate(rows) if at and row.key), len(rows))
    return _records(rows[:length], first_seq)


def _update(log: _Log, update: IndexUpdate, texts: Sequence[_NewText], numbers: Iterator[int]) -> None:
    if update.forget:
        forgotten = frozenset(update.forget)
        log.texts = [text for text in log.texts if text.seq not in forgotten]
    title = update.summary.labels.title
    if title != (log.summary.labels.title if log.summary else ""):
        log.texts = [text for text in log.texts if text.seq]
        if title:
            log.texts.append(_Text(next(numbers), 0, "title", title, words_of(title)))
    log.texts += [
        _Text(next(numbers), added.seq, added.role, new.text, new.words)
        for added, new in zip(update.texts, texts, strict=True)
    ]
    log.summary = update.summary


class _MemoryIndex:
    """`greenroom.interfaces.SessionIndex`."""

    def __init__(self, desk: _Desk) -> None:
        self._desk = desk

    async def get(self, session_id: str) -> SessionSummary | None:
        self._desk.read()
        return self.get_now(session_id)

    def get_now(self, session_id: str) -> SessionSummary | None:
        log = self._desk.peek().logs.get(session_id)
        return log.summary if log else None

    async def page(
        self, *, user_id: str | None = None, query: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page:
        check_limit(limit, self._desk.limits.page_max)
        after = decode_cursor(cursor)
        found: set[str] | None = None
        if query and not query.isspace():
            found = {session_id for session_id, _ in await self._found(self._parsed(query), user_id)}
        rows = [
            log
            for session_id, log in self._of_user(user_id).items()
            if log.position < after and (found is None or session_id in found)
        ]
        rows.sort(key=lambda log: log.position, reverse=True)
        return Page(
            sessions=tuple(log.summary for log in rows[:limit] if log.summary),
            cursor=encode_cursor(rows[limit - 1].position) if len(rows) > limit else None,
        )

    async def search(self, query: str, *, user_id: str | None = None, limit: int = 50) -> Sequence[SearchHit]:
        check_limit(limit, self._desk.limits.page_max)
        parsed = self._parsed(query)
        found = (await self._found(parsed, user_id))[:RANKED_MAX]
        logs = self._desk.read().logs
        hits: list[SearchHit] = []
        for place in best(parsed, [text.text for _, text in found], limit):
            session_id, text = found[place]
            if session_id not in logs:
                continue  # deleted while it was looked for
            summary = logs[session_id].summary
            hits.append(
                SearchHit(
                    session_id=session_id,
                    seq=text.seq,
                    role=text.role,
                    snippet=snippet(text.text, parsed),
                    title=summary.labels.title if summary else "",
                )
            )
        return hits

    async def unfinished(self) -> Sequence[str]:
        shelf = self._desk.read()
        return sorted({*shelf.at_work, *shelf.inbox})

    async def orphaned(self, *, after: str = "", limit: int) -> Sequence[str]:
        check_limit(limit, self._desk.limits.page_max)
        shelf = self._desk.read()
        gone = {session_id for session_id, owner in shelf.at_work.items() if owner not in shelf.nodes}
        left = {session_id for session_id in shelf.inbox if shelf.at_work.get(session_id) not in shelf.nodes}
        return sorted(session_id for session_id in gone | left if session_id > after)[:limit]

    def _parsed(self, query: str) -> Query:
        return parse_query(query, words_max=self._desk.limits.search_words_max)

    def _of_user(self, user_id: str | None) -> Mapping[str, _Log]:
        return {
            session_id: log
            for session_id, log in self._desk.read().logs.items()
            if log.summary is not None and user_id in {None, log.summary.user_id}
        }

    async def _found(self, query: Query, user_id: str | None) -> list[tuple[str, _Text]]:
        """Returns the texts that match, with their sessions, the latest first."""
        places = [(session_id, text) for session_id, log in self._of_user(user_id).items() for text in log.texts]
        matching = partial(_matching, query, places, self._desk.limits.search_texts_max)
        return await asyncio.to_thread(matching) if len(places) > AT_ONCE_EVENTS_MAX else matching()


def _matching(query: Query, places: list[tuple[str, _Text]], count_max: int) -> list[tuple[str, _Text]]:
    found = [place for place in places if matches(query, place[1].words)]
    found.sort(key=lambda place: -place[1].number)
    return found[:count_max]


class _MemoryLedger:
    """`greenroom.interfaces.Ledger`."""

    def __init__(self, desk: _Desk) -> None:
        self._desk = desk

    async def spent(self, user_id: str, *, from_day: int = 0) -> Spent:
        total = Spent()
        for account, spent in self._desk.read().ledger.items():
            if account.user_id == user_id and account.day >= from_day:
                total = total.plus(spent)
        return total


class _MemoryInbox:
    """`greenroom.interfaces.Inbox`."""

    def __init__(self, desk: _Desk) -> None:
        self._desk = desk

    async def post(self, session_id: str, body: bytes) -> None:
        if session_id not in self._desk.read().logs:
            raise SessionNotFound(session_id)
        shelf = self._desk.write()
        shelf.inbox.setdefault(session_id, []).append(InboxItem(item_id=next(shelf.numbers), body=body))

    async def pending(self, session_id: str) -> Sequence[InboxItem]:
        return tuple(self._desk.read().inbox.get(session_id, ()))

    async def remove(self, session_id: str, item_ids: Sequence[int]) -> None:
        shelf = self._desk.write()
        left = [item for item in shelf.inbox.pop(session_id, ()) if item.item_id not in set(item_ids)]
        if left:
            shelf.inbox[session_id] = left


class _MemoryNotes:
    """`greenroom.interfaces.Notes`."""

    def __init__(self, desk: _Desk) -> None:
        self._desk = desk

    async def put(self, user_id: str, note: Note, *, count_max: int) -> None:
        kept = self._desk.read().notes.get((user_id, note.kind), {})
        if note.key not in kept and len(kept) >= count_max:
            raise LimitExceeded(f"there are {len(kept)} notes of kind {note.kind!r} already", hint="delete some first")
        kept = self._desk.write().notes.setdefault((user_id, note.kind), {})
        kept.pop(note.key, None)  # a note that is written again is the latest one
        kept[note.key] = _KeptNote(note, words_of(note.text))

    async def get(self, user_id: str, kind: str, key: str) -> Note | None:
        kept = self._desk.read().notes.get((user_id, kind), {}).get(key)
        return kept.note if kept else None

    async def page(self, user_id: str, kind: str, *, limit: int, offset: int = 0) -> Sequence[Note]:
        check_limit(limit, self._desk.limits.memories_max)
        return [kept.note for kept in self._latest(user_id, kind)[max(0, offset) :][:limit]]

    async def search(self, user_id: str, kind: str, query: str, *, limit: int) -> Sequence[Note]:
        check_limit(limit, self._desk.limits.memories_max)
        parsed = parse_query(query, words_max=self._desk.limits.search_words_max, is_open=False)
        found = [
            kept.note
            for kept in self._latest(user_id, kind)
            if any(matches(Query((phrase,)), kept.words) for phrase in parsed.phrases)
        ]
        return [found[place] for place in best(parsed, [note.text for note in found], limit)]

    async def delete(self, user_id: str, kind: str, key: str) -> bool:
        kept = self._desk.write().notes.get((user_id, kind), {})
        return kept.pop(key, None) is not None

    def _latest(self, user_id: str, kind: str) -> list[_KeptNote]:
        kept = list(self._desk.read().notes.get((user_id, kind), {}).values())
        kept.reverse()
        return sorted(kept, key=lambda kept: -kept.note.at_ms)


class _MemoryLogins:
    """`greenroom.interfaces.Logins`."""

    def __init__(self, desk: _Desk) -> None:
        self._desk = desk

    async def add(self, login: Login, *, count_max: int, seen_after_ms: int) -> None:
        logins = self._desk.write().logins
        for known in tuple(logins.values()):
            if known.ends_at_ms <= login.created_at_ms or known.seen_at_ms <= seen_after_ms:
                del logins[known.digest]
        logins[login.digest] = login
        for surplus in self._latest(login.user_id)[count_max:]:
            del logins[surplus.digest]

    async def find(self, digest: bytes) -> Login | None:
        return self._desk.read().logins.get(digest)

    async def touch(self, digest: bytes, *, seen_at_ms: int) -> None:
        logins = self._desk.write().logins
        login = logins.get(digest)
        if login is not None and login.seen_at_ms < seen_at_ms:
            logins[digest] = msgspec.structs.replace(login, seen_at_ms=seen_at_ms)

    async def page(self, user_id: str | None, *, limit: int) -> Sequence[Login]:
        check_limit(limit, self._desk.limits.page_max)
        return self._latest(user_id)[:limit]

    async def remove(self, user_id: str | None, login_id: str) -> bool:
        logins = self._desk.write().logins
        found = [login for login in self._latest(user_id) if login.login_id == login_id]
        for login in found:
            del logins[login.digest]
        return bool(found)

    async def remove_all(self, user_id: str | None) -> int:
        shelf = self._desk.write()
        for code in [code for code in shelf.login_codes.values() if user_id in {None, code.user_id}]:
            del shelf.login_codes[code.digest]
        found = self._latest(user_id)
        for login in found:
            del shelf.logins[login.digest]
        return len(found)

    async def add_code(self, code: LoginCode, *, count_max: int, now_ms: int) -> None:
        codes = self._desk.write().login_codes
        codes[code.digest] = code
        by_end = sorted(codes.values(), key=lambda code: -code.ends_at_ms)
        for place, known in enumerate(by_end):
            if place >= count_max or known.ends_at_ms <= now_ms:
                del codes[known.digest]

    async def find_code(self, digest: bytes, *, now_ms: int) -> LoginCode | None:
        code = self._desk.read().login_codes.get(digest)
        return code if code is not None and code.ends_at_ms > now_ms else None

    async def take_code(self, digest: bytes, *, now_ms: int) -> LoginCode | None:
        code = self._desk.write().login_codes.pop(digest, None)
        return code if code is not None and code.ends_at_ms > now_ms else None

    def _latest(self, user_id: str | None) -> list[Login]:
        found = [login for login in self._desk.read().logins.values() if user_id in {None, login.user_id}]
        return sorted(found, key=lambda login: (login.seen_at_ms, login.login_id), reverse=True)
