"""Other processes on the same store: their sessions are followed, their messages for ours are taken in.

One task per manager asks the store whether somebody else has committed something, and only then looks closer. It runs while it
has a reason to: a turn runs here that somebody elsewhere may want to stop or to queue behind, or somebody here reads a session
in which no turn of ours runs.

Rule: an inbox item is written into the log before it leaves the inbox; its turn id makes the repetition harmless.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, TypeVar

import msgspec

from greenroom.core.overlap import arrival_from_inbox, cancellation, check_repeat, withdrawal
from greenroom.errors import Conflict, GreenroomError, LogUnavailable, SessionNotFound
from greenroom.events import (
    ApprovalDecided,
    CancelRequested,
    MessageAccepted,
    MessageEdited,
    MessageWithdrawn,
)
from greenroom.runtime.live import LiveSession
from greenroom.runtime.registry import Registry

logger: Final = logging.getLogger("greenroom")

_POLL_S: Final = 0.1
_PATIENCE: Final = 100

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

    def start(self) -> None:
        """Watches as long as there is a reason to."""
        if self._task is None and self._has_reason():
            self._task = self._registry.tasks.start(self._run(), name="watch other processes", done=self._on_done)

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
        for item in await self._registry.store.inbox.pending(session_id):
            waiting = _inbox_decoder.decode(item.body)
            if isinstance(waiting, type(event)) and _has_a_name_of(waiting, event):
                check_repeat(event, waiting)
                return waiting
        return None

    async def has_message(self, session_id: str, turn_id: str) -> bool:
        """Returns whether the message of a turn waits for the owner of the session."""
        items = await self._registry.store.inbox.pending(session_id)
        waiting = (_inbox_decoder.decode(item.body) for item in items)
        return any(isinstance(event, MessageAccepted) and event.turn_id == turn_id for event in waiting)

    async def has_taken(self, live: LiveSession, event: MessageEdited | MessageWithdrawn) -> bool:
        """Waits until the owner has taken a change of the queue, or is gone; returns whether it came in time.

        Raises:
            LogUnavailable: the owner neither answers nor is gone; the change still waits for it.
        """
        seq = live.state.seq
        for _ in range(_PATIENCE):
            if not await self._registry.store.inbox.pending(live.session_id):
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
        if not await self._registry.store.inbox.pending(session_id):
            self._posted.discard(session_id)
            return
        try:
            async with self._registry.using(session_id) as live:
                await self._look_safely(live)
        except GreenroomError as error:
            logger.warning("a message for session %s waits: %s", session_id, error)

    async def _look_safely(self, live: LiveSession) -> None:
        try:
            await self.look(live)
        except (Conflict, SessionNotFound):
            pass  # it changed hands or is gone while we looked: its readers find out by themselves
        except GreenroomError as error:
            logger.warning("session %s cannot be followed: %s", live.session_id, error)
            live.throw_away()

    async def _take_in(self, live: LiveSession) -> None:
        items = await self._registry.store.inbox.pending(live.session_id)
        for item in items:
            await self._take(live, _inbox_decoder.decode(item.body))
        if items:
            await self._registry.store.inbox.remove(live.session_id, [item.item_id for item in items])
            self._registry.wake(live)

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

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (failure := task.exception()) is not None:
            logger.error("watching other processes failed", exc_info=failure)


def _has_a_name_of(waiting: MessageAccepted, message: MessageAccepted) -> bool:
    has_its_key = bool(message.idempotency_key) and waiting.idempotency_key == message.idempotency_key
    return has_its_key or waiting.turn_id == message.turn_id
