"""The invariants, checked on what a world left behind.

a  every acknowledged message is in the log, once        e  every reader saw what the log has, without a gap or a repetition
b  no number twice, no gap                               f  every started turn has one end, and nothing behind it
c  epochs never fall                                     g  an unknown outcome was resolved in one way: at most once in the log
d  no record of an older epoch after a newer one         h  a tool with side effects ran once, unless a person said again

And: whatever a provider refuses, the next message is answered, and what is left out is told once. The fold of the log is the row of the index, the ledger is the sum of the sessions, and every provider takes the history.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from greenroom.core.cursor import Cursor
from greenroom.core.session import replayed
from greenroom.core.transcript import render
from greenroom.events import (
    Feature,
    FileRef,
    MessageAccepted,
    MessageRepeated,
    NoticeGiven,
    Record,
    RequestAdapted,
    SessionUpdated,
    StepFailed,
    StepFinished,
    StepProgress,
    StepStarted,
    TurnEnded,
    TurnStarted,
)
from greenroom.messages import PartDelta, TextPart, Usage
from greenroom.runtime.feed import entries_of
from provider_rules import refusals
from simulation.world import LIMITS, PROBE, Reading, World
from transcript_rules import violations


async def check(world: World) -> None:
    """Raises `AssertionError` for the first invariant that does not hold."""
    used = Usage(cost_usd=0.0)
    for session_id in world.sessions:
        records = await world.shelf.log.read(session_id)
        check_order(records)
        check_messages(world, session_id, records)
        check_turns(records)
        check_refusals(records)
        check_tried_again(world, records)
        state = replayed(session_id, records, limits=LIMITS)
        assert not state.is_busy
        last = state.turns[-1]
        assert last.message.parts == (TextPart(text=PROBE),)
        has_no_budget = world.user_budget is None and state.config.turn_budget_tokens is None
        assert last.outcome == "completed" or not has_no_budget, f"the next message is not answered: {last.outcome}"
        used = used.plus(state.tally.usage)
        assert state.tally.summary() == await world.shelf.index.get(session_id), "the index is not the fold"
        history = render(state)
        assert violations(history) == []
        assert refusals(history) == []
        for reading in (reading for read_id, reading in world.readings if read_id == session_id):
            check_reading(reading, records)
    spent = await world.shelf.ledger.spent("ann")
    assert spent.usage == msgspec.structs.replace(used, cost_usd=used.cost_usd or 0.0), "the ledger is not the sum"
    assert (spent.unpriced_tokens > 0) == (used.cost_usd is None)
    for key, runs in Counter(world.bench.pay.runs).items():
        assert runs <= 1 + world.again[key], f"h: {key} ran {runs} times"


def check_order(records: Sequence[Record]) -> None:
    assert [record.seq for record in records] == list(range(1, len(records) + 1)), "b"
    epochs = [record.epoch for record in records]
    assert epochs == sorted(epochs), "c, d"


def check_messages(world: World, session_id: str, records: Sequence[Record]) -> None:
    accepted = Counter(r.event.turn_id for r in records if isinstance(r.event, MessageAccepted))
    repeated = {r.event.turn_id for r in records if isinstance(r.event, MessageRepeated)}
    lost = world.acknowledged[session_id] - set(accepted) - repeated
    assert not lost, f"a: acknowledged and not in the log: {lost}"
    assert set(accepted.values()) <= {1}, "g"
    keys = Counter(r.event.idempotency_key for r in records if isinstance(r.event, MessageAccepted))
    assert keys["the same"] <= 1, "g: an idempotency key was taken twice"


def check_turns(records: Sequence[Record]) -> None:
    started = Counter(r.event.turn_id for r in records if isinstance(r.event, TurnStarted))
    ended = Counter(r.event.turn_id for r in records if isinstance(r.event, TurnEnded))
    assert started == ended, "f"
    assert set(started.values()) <= {1}, "f"


def check_refusals(records: Sequence[Record]) -> None:
    """What is left out at the provider's word is told in the same append, and not again before the configuration changes."""
    left_out: set[tuple[str, str, Feature | FileRef]] = set()
    for record, following in pairwise(records):
        match record.event:
            case SessionUpdated():
                left_out.clear()
            case RequestAdapted(refused="unexplained"):
                pass  # a probe: it is told when it is answered
            case RequestAdapted(asks_again=False, backend=backend, model=model):
                check_told(following, "message_left_out")
                # Files that were left out in vain come back.
                left_out = {entry for entry in left_out if entry[:2] != (backend, model) or isinstance(entry[2], str)}
            case RequestAdapted(backend=backend, model=model, without=without, files=files) if without or files:
                for what in (*without, *files):
                    assert (backend, model, what) not in left_out, f"{what} was left out already"
                    left_out.add((backend, model, what))
                check_told(following, f"{without[0] if without else 'attachment'}_left_out")
            case StepFailed(refused=("tools" | "reasoning_effort") as feature):
                assert isinstance(following.event, RequestAdapted), f"{feature} was refused in vain"
            case _:
                pass


def check_told(record: Record, code: str) -> None:
    assert isinstance(record.event, NoticeGiven), "what is left out is not told"
    assert record.event.code == code


def check_tried_again(world: World, records: Sequence[Record]) -> None:
    """After an update of the configuration a model is asked with everything again: it may be another model by the same name."""
    refused: set[str] = set()
    asked, must_refuse = "", False
    for record in records:
        match record.event:
            case SessionUpdated():
                refused.clear()
            case StepStarted(model=model):
                asked, must_refuse = model, model not in refused and "tools" in world.rules[model]
            case StepFailed(refused="tools"):
                refused.add(asked)
            case StepFinished():
                assert not must_refuse, f"{asked} was not asked with tools"
            case _:
                pass


def check_reading(reading: Reading, records: Sequence[Record]) -> None:
    """What was read and was written is the log, from where the reading began to where it ended."""
    if reading.start is None or not reading.entries:
        return
    at = reading.start
    silent = {record.seq for record in records if not list(entries_of(record))}
    text: dict[tuple[int, int], str] = {}
    for entry in reading.entries:
        cursor = entry.cursor
        assert (cursor.seq, cursor.offset) > (at.seq, at.offset), f"e: {cursor} behind {at}"
        # The record that the position is in or behind; a record that only counts usage shows nothing.
        record, former = cursor.seq + (cursor.offset > 0), at.seq + (at.offset > 0)
        is_next = (record == former and cursor.offset > 0) or (
            record > former and silent.issuperset(range(former + 1, record))
        )
        assert is_next, f"e: a gap between {at} and {cursor}"
        at = Cursor(cursor.seq, cursor.offset, cursor.epoch)
        if isinstance(entry.payload, PartDelta):
            text[cursor.seq, cursor.epoch] = text.get((cursor.seq, cursor.epoch), "") + entry.payload.delta
    written: dict[tuple[int, int], str] = {}
    for record in records:
        if isinstance(record.event, StepProgress):
            for entry in entries_of(record):
                if isinstance(entry.payload, PartDelta):
                    place = entry.seq, entry.epoch
                    written[place] = written.get(place, "") + entry.payload.delta
    places = list(text)
    for place, seen in text.items():
        if place not in written:
            continue  # shown by a writer that died before it was written
        is_whole = place not in {places[0], places[-1]}
        assert seen == written[place] if is_whole else seen in written[place], (
            f"e: {seen!r} was read at {place}, {written[place]!r} was written"
        )
