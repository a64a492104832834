"""What an append is before any storage sees it: checked, numbered and encoded; and whether it fits the end of a log.

Every log asks the same questions in the same order, so they stand here once: does the write fit? If not, is it a repetition
of one that was made at this very place? If not, it is a conflict.

Rule: no storage here. A write that a log can never take is refused before it is given to one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from greenroom.codec import encode_event, weight_of_files
from greenroom.config import check_session_id
from greenroom.errors import Corrupted, InvalidArgument, LimitExceeded
from greenroom.events import Event, Record
from greenroom.interfaces import IndexUpdate, PendingAppend, SessionSummary

SEQ_MAX: Final = 2**31 - 1
"""Records of one session. The SQLite log keeps a record's log and number in one 63-bit key, and all logs have one bound."""


AT_ONCE_EVENTS_MAX: Final = 512
"""Events that are encoded or decoded at once: a copy of a long session is too much for the event loop."""


class Head(msgspec.Struct, frozen=True):
    """The end of a log: number and epoch of its last record. A log that nobody knows ends at record 0."""

    seq: int = 0
    epoch: int = 0


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """An append that could be made.

    Attributes:
        key: names the append; the same key at the same place is the same append.
        bodies: the events of `records`, encoded.
        index, summary: what changes in the index, and its row, encoded.
    """

    session_id: str
    expected: Head
    key: str
    records: tuple[Record, ...]
    bodies: tuple[bytes, ...]
    index: IndexUpdate | None = None
    summary: bytes = b""

    @property
    def end(self) -> Head:
        """The end of the log once this is written."""
        return Head(self.records[-1].seq, self.expected.epoch)

    def fits(self, head: Head) -> bool:
        """Returns whether the log ends where the writer thinks, and nobody with a later epoch has written."""
        return head.seq == self.expected.seq and head.epoch <= self.expected.epoch


def prepare(
    session_id: str,
    events: Sequence[Event],
    *,
    expected_seq: int,
    epoch: int,
    at_ms: int | Sequence[int],
    key: str,
    index: IndexUpdate | None = None,
) -> Write:
    """Returns the append as a log can take it.

    Raises:
        InvalidArgument: a malformed id, no events, no key, a position or epoch that no log has, an index row of another
            session, or text that is not Unicode.
        LimitExceeded: the session would have more records than a log can number.
    """
    check_session_id(session_id)
    if not events or not key:
        raise InvalidArgument("an append needs at least one event and a key", hint="make a new key for each append")
    if expected_seq < 0 or epoch < 0:
        raise InvalidArgument(
            f"expected_seq={expected_seq}, epoch={epoch} is no place in a log",
            hint="records count from 1, so a new log is at 0; an epoch never is below 0",
        )
    if expected_seq + len(events) > SEQ_MAX:
        raise LimitExceeded(f"a session has at most {SEQ_MAX} records", hint="fork the session and go on there")
    if index is not None and index.summary.session_id != session_id:
        raise InvalidArgument(f"the index row is of session {index.summary.session_id!r}, the events of {session_id!r}")
    times_ms = [at_ms] * len(events) if isinstance(at_ms, int) else at_ms
    if len(times_ms) != len(events):
        raise InvalidArgument(
            f"{len(times_ms)} times for {len(events)} events", hint="give one time, or one for each event"
        )
    bodies, summary = _encoded(events, index)
    return Write(
        session_id=session_id,
        expected=Head(expected_seq, epoch),
        key=key,
        records=tuple(
            Record(seq=seq, epoch=epoch, at_ms=time_ms, event=event)
            for seq, (event, time_ms) in enumerate(zip(events, times_ms, strict=True), start=expected_seq + 1)
        ),
        bodies=bodies,
        index=index,
        summary=summary,
    )


def prepared(append: PendingAppend) -> Write:
    """Returns the append as a log can take it.

    Raises:
        InvalidArgument, LimitExceeded: as `prepare`.
    """
    return prepare(
        append.session_id,
        append.events,
        expected_seq=append.expected_seq,
        epoch=append.epoch,
        at_ms=append.at_ms,
        key=append.key,
        index=append.index,
    )


def weight_of_all(events: Sequence[Event]) -> int:
    """Returns how large the messages among the events are: what takes time to encode."""
    return sum([weight_of_files(event) for event in events])


def bounded_seq(seq: int) -> int:
    """Returns the record number that is nearest to `seq`: a wild one must not reach into another log."""
    return min(max(seq, 0), SEQ_MAX)


_summary_encoder: Final = msgspec.json.Encoder()
_summary_decoder: Final = msgspec.json.Decoder(SessionSummary)


def encode_summary(summary: SessionSummary) -> bytes:
    """Returns an index row as compact JSON."""
    return _summary_encoder.encode(summary)


def decode_summary(body: bytes | msgspec.Raw) -> SessionSummary:
    """Returns the index row that `encode_summary` wrote.

    Raises:
        Corrupted: the bytes are not one.
    """
    try:
        return _summary_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Corrupted(f"not a stored index row: {error}") from error


def _encoded(events: Sequence[Event], index: IndexUpdate | None) -> tuple[tuple[bytes, ...], bytes]:
    try:
        for text in index.texts if index else ():
            text.text.encode()
        return tuple(encode_event(event) for event in events), encode_summary(index.summary) if index else b""
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            f"text that is not Unicode cannot be stored: {error}", hint="replace lone surrogates before"
        ) from error
