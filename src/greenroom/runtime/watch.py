"""Other processes on the same store: their sessions are followed, their messages for ours are taken in.

One task per manager asks the store whether somebody else has committed something, and only then looks closer. It runs while it
has a reason to: a turn runs here that somebody elsewhere may want to stop or to queue behind, or somebody here reads a session
in which no turn of ours runs.

What waits may have been left by a newer version, or be damaged. What cannot be read, or taken, here stays where it is, for a process
that can; everything else goes on without it.

Rule: an inbox item is written into the log before it leaves the inbox; its turn id makes the repetition harmless.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from greenroom.core.overlap import arrival_from_inbox, cancellation, check_repeat, withdrawal
from greenroom.errors import Conflict, EventLogError, LogUnavailable, SessionNotFound
from greenroom.events import (
    ApprovalDecided,
    CancelRequested,
    MessageAccepted,
    MessageEdited,
    MessageWithdrawn,
)
from greenroom.interfaces import InboxItem
from greenroom.runtime.foreign import text_of
from greenroom.runtime.live import LiveSession
from greenroom.runtime.registry import Registry
from greenroom.runtime.setbacks import Setbacks

logger: Final = logging.getLogger("greenroom")

_POLL_S: Final = 0.1
_PATIENCE: Final = 100
_SET_ASIDE_MAX: Final = 10_000

InboxEvent = MessageAccepted | MessageEdited | MessageWithdrawn | CancelRequested | ApprovalDecided
T = TypeVar("T", bound=InboxEvent)
_inbox_decoder: Final = msgspec.json.Decoder(InboxEvent)
_encoder: Final = msgspec.json.Encoder()


class Watch:
    """Keeps the sessions of this process in step with those of others."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._task: asyncio.Task[None] | None = None
        self._seen = 0
        self._posted: set[str] = set()
        self._set_aside: dict[int, None] = {}
        self._setbacks = Setbacks(longest_s=registry.limits.revive_wait_s_max)

    def start(self) -> None:
        """Watches as long as there is a reason to."""
        if (self._task is None or self._task.done()) and self._has_reason():
            self._task = self._registry.tasks.keep(self._run, name="watch other processes")

    async def post(self, live: LiveSession, event: T) -> T:
        """Leaves a message or a stop for the owner of the session; returns it, or the same message if it waits there already.

        Raises:
            InvalidArgument: another message waits there under the same turn id or idempotency key.
        """
        if (waiting := await self._same(live.session_id, event)) is not None:
            return waiting
        await self._registry.store.inbox.post(live.session_id, _encoder.encode(event))
        # Until the owner has taken it, it is our business: the owner may be about to become idle, or to die.
        self._posted.add(live.session_id)
        self.start()
        # Of two that came at the same time under one name the owner takes the first.
        return await self._same(live.session_id, event) or event

    async def _same(self, session_id: str, event: T) -> T | None:
        """Returns the message that waits first under a name of this one."""
        if not isinstance(event, MessageAccepted):
            return None
        for waiting in await self.waiting(session_id):
            if isinstance(waiting, type(event)) and _has_a_name_of(waiting, event):
                check_repeat(event, waiting)
                return waiting
        return None

    async def waiting(self, session_id: str) -> Sequence[InboxEvent]:
        """Returns what waits for the owner of the session, as far as this process can read it."""
        return [event for _, event in await self._readable(session_id)]

    async def has_message(self, session_id: str, turn_id: str) -> bool:
        """Returns whether the message of a turn waits for the owner of the session."""
        waiting = await self.waiting(session_id)
        return any(isinstance(event, MessageAccepted) and event.turn_id == turn_id for event in waiting)

    async def has_taken(self, live: LiveSession, event: MessageEdited | MessageWithdrawn) -> bool:
        """Waits until the owner has taken a change of the queue, or is gone; returns whether it came in time.

        Raises:
            LogUnavailable: the owner neither answers nor is gone; the change still waits for it.
        """
        seq = live.state.seq
        for _ in range(_PATIENCE):
            if not await self._readable(live.session_id):
                records = await self._registry.store.log.read(live.session_id, after_seq=seq)
                return any(record.event == event for record in records)
            await asyncio.sleep(_POLL_S / 2)
            await self._look_safely(live)
        raise LogUnavailable("the process that is answering does not react", hint="look again later")

    async def look(self, live: LiveSession) -> None:
        """Brings one session up to date, takes in its inbox if it is ours, and takes it over if its owner is gone."""
        await self._registry.freshen(live)
        if await self._registry.may_write(live):
            await self._take_in(live)

    async def take_in(self, live: LiveSession) -> None:
        """Moves what waits in the inbox of a session of ours into its log, if another process has written at all."""
        changes = await self._registry.store.foreign_changes()
        if changes != live.seen_inbox:
            await self._take_in(live)
            live.seen_inbox = changes

    async def _run(self) -> None:
        while self._has_reason():
            changes = await self._registry.store.foreign_changes()
            changed, self._seen = changes != self._seen, changes
            for live in self._registry:
                is_followed = self._is_followed(live)
                if is_followed or (changed and live.state.is_at_work):
                    await self._look_safely(live)
            for session_id in tuple(self._posted):
                await self._see_through(session_id)
            await asyncio.sleep(_POLL_S)

    async def _see_through(self, session_id: str) -> None:
        if not self._setbacks.is_due(session_id):
            return
        if not await self._readable(session_id):
            self._posted.discard(session_id)
            self._setbacks.settled(session_id)
            return
        try:
            async with self._registry.using(session_id) as live:
                await self._look_safely(live)
        except SessionNotFound:
            self._posted.discard(session_id)  # and with it what waited
        except Exception as error:  # noqa: BLE001 # broad: one session must not keep the others from being looked at
            self._setbacks.failed(session_id, error, "cannot be opened, and a message waits for it")

    async def _look_safely(self, live: LiveSession) -> None:
        try:
            await self.look(live)
        except (Conflict, SessionNotFound):
            pass  # it changed hands or is gone while we looked: its readers find out by themselves
        except Exception as error:  # noqa: BLE001 # broad: one session must not keep the others from being looked at
            self._setbacks.failed(live.session_id, error, "cannot be followed")
            live.throw_away()
        else:
            self._setbacks.settled(live.session_id)

    async def _take_in(self, live: LiveSession) -> None:
        taken: list[int] = []
        for item, event in await self._readable(live.session_id):
            try:
                await self._take(live, event)
            except EventLogError:
                raise
            except asyncio.CancelledError as cancelled:
                # A session that is thrown away stops its runner, and that may be us.
                if isinstance(reason := cancelled.__cause__, Exception) and not isinstance(reason, EventLogError):
                    self._leave_aside(live.session_id, item, reason)
                raise
            except Exception as error:  # broad: one item must not keep the others from being taken
                self._leave_aside(live.session_id, item, error)
                if live.is_broken:
                    seq = live.state.seq
                    raise Conflict(live.session_id, expected_seq=seq, actual_seq=seq) from error
            else:
                taken.append(item.item_id)
        if taken:
            await self._registry.store.inbox.remove(live.session_id, taken)
            self._registry.wake(live)

    async def _readable(self, session_id: str) -> Sequence[tuple[InboxItem, InboxEvent]]:
        """Returns the items of an inbox that can be taken here, in the order of their arrival; the others stay, for other processes."""
        readable: list[tuple[InboxItem, InboxEvent]] = []
        for item in await self._registry.store.inbox.pending(session_id):
            if item.item_id in self._set_aside:
                continue
            try:
                readable.append((item, _inbox_decoder.decode(item.body)))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                self._leave_aside(session_id, item, error)
        return readable

    def _leave_aside(self, session_id: str, item: InboxItem, error: Exception) -> None:
        """Does not look at an item again: another version may have left it, which a process of that version can take."""
        logger.warning(
            "session %s: item %d of its inbox cannot be taken by this process, and is left for one of a newer version: %s",
            session_id, item.item_id, text_of(error),
        )  # fmt: skip
        self._set_aside[item.item_id] = None
        if len(self._set_aside) > _SET_ASIDE_MAX:
            del self._set_aside[next(iter(self._set_aside))]

    async def _take(self, live: LiveSession, event: InboxEvent) -> None:
        match event:
            case MessageAccepted():
                # It was checked when it was accepted, and acknowledged: now it is taken, whatever has changed.
                await live.change(lambda state: arrival_from_inbox(state, event))
            case MessageEdited() | MessageWithdrawn():
                await live.change(lambda state: (event,) if withdrawal(state, event.turn_id) else ())
            case CancelRequested():
                await live.change(lambda state: cancellation(state, event.turn_id))
            case ApprovalDecided():
                await live.change(lambda state: (event,) if state.allows((event,)) else ())
        self._registry.stop_turn(live.session_id)

    def _has_reason(self) -> bool:
        return (
            bool(self._posted) or self._registry.has_runners or any(self._is_followed(live) for live in self._registry)
        )

    @staticmethod
    def _is_followed(live: LiveSession) -> bool:
        """Returns whether somebody here reads what another process writes, or may have left: a decision, or what came too late.

        A process that leaves something sees it through; if it dies meanwhile, only who reads the session is left to look.
        """
        return len(live.feed) > 0 and not (live.is_mine and live.state.is_at_work)


def _has_a_name_of(waiting: MessageAccepted, message: MessageAccepted) -> bool:
    has_its_key = bool(message.idempotency_key) and waiting.idempotency_key == message.idempotency_key
    return has_its_key or waiting.turn_id == message.turn_id
