"""Which sessions are in memory, and who drives them.

A session is opened once and shared; it stays while somebody works with it, and for a while after. Opening one whose owner is gone
is its recovery. What belongs to a process that is alive is followed, not touched.

Rule: at most one `LiveSession` of an id at a time, and one runner of a `LiveSession`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final
from weakref import WeakValueDictionary

from greenroom.config import UserBudget
from greenroom.core.owned import check_owner
from greenroom.core.recovery import recovery_events, usage_cut_off
from greenroom.core.session import SessionState, replayed
from greenroom.errors import Conflict, Corrupted, EventLogError, ManagerClosed, NewerFormat, SessionNotFound
from greenroom.interfaces import Store
from greenroom.limits import Limits
from greenroom.messages import Usage
from greenroom.runtime.allowance import Allowances
from greenroom.runtime.clock import Clock, backoff_s
from greenroom.runtime.families import Families
from greenroom.runtime.flushing import Flusher
from greenroom.runtime.live import LiveSession
from greenroom.runtime.runner import Runner
from greenroom.runtime.setbacks import Setbacks
from greenroom.runtime.tasks import AT_ONCE_MAX, Tasks, apart
from greenroom.runtime.workspace import Workspaces

logger: Final = logging.getLogger("greenroom")

_SWEEP_S: Final = 30.0
_OPEN_ATTEMPTS: Final = 20
_REVIVE_DOUBLINGS: Final = 16
_REVIVE_BASE_S: Final = 0.05


class Registry:
    """The sessions in memory of one manager.

    Attributes:
        take_in: called behind each turn: moves into the log what other processes have left for the session.
        on_interest: called when a turn runs here or a reader has joined: what other processes do may matter from now on.
    """

    def __init__(
        self,
        *,
        store: Store,
        families: Families,
        workspaces: Workspaces,
        clock: Clock,
        limits: Limits,
        user_budget: UserBudget | None = None,
    ) -> None:
        self.store = store
        self.families = families
        self.workspaces = workspaces
        self.clock = clock
        self.limits = limits
        self.allowances = Allowances(store.ledger, user_budget, clock)
        self.tasks = Tasks()
        self.flusher = Flusher(store.log, self.tasks, window_s=limits.flush_ms_max / 1000)
        self.on_interest: Callable[[], None] = _nothing
        self.take_in: Callable[[LiveSession], Awaitable[None]] = _nothing_in
        self._live: dict[str, LiveSession] = {}
        self._runners: dict[str, tuple[Runner, asyncio.Task[None]]] = {}
        self._opening: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._reviving: set[str] = set()
        self._setbacks = Setbacks(longest_s=limits.revive_wait_s_max, base_s=_REVIVE_BASE_S)
        self._sweep: asyncio.TimerHandle | None = None
        self._weight = 0
        self._weight_to_look_at = limits.sessions_open_bytes_max
        self._is_closed = False

    def __iter__(self) -> Iterator[LiveSession]:
        return iter(tuple(self._live.values()))

    def __len__(self) -> int:
        return len(self._live)

    def find(self, session_id: str) -> LiveSession | None:
        """Returns the session if it is in memory."""
        return self._live.get(session_id)

    @property
    def has_runners(self) -> bool:
        """Whether a turn runs in this process."""
        return bool(self._runners)

    @property
    def running(self) -> int:
        """How many sessions are driven in this process."""
        return len(self._runners)

    @asynccontextmanager
    async def using(self, session_id: str, *, may_be_behind: bool = False) -> AsyncIterator[LiveSession]:
        """Opens the session, recovered if need be, and keeps it in memory meanwhile.

        Args:
            session_id: the session.
            may_be_behind: do not ask the store whether another process has taken a session of ours: the caller is about to
                append, and finds out by a `Conflict`.

        Raises:
            SessionNotFound: there is no such session, or it has become another user's (`OwnedId`).
            ManagerClosed: the manager was closed.
            EventLogError: the log cannot be read or written, or is damaged.
        """
        live = await self._opened(str(session_id), may_be_behind=may_be_behind)
        check_owner(session_id, live.state.tally.user_id)
        live.users += 1
        try:
            yield live
        finally:
            live.users -= 1
            live.used_at_s = asyncio.get_running_loop().time()

    def adopt(self, state: SessionState, *, seen_changes: int) -> LiveSession:
        """Takes a session into memory, as it was when the store told of `seen_changes` by others."""
        live = LiveSession(
            state,
            store=self.store,
            clock=self.clock,
            flusher=self.flusher,
            limits=self.limits,
            keeper=self,
        )
        live.used_at_s = asyncio.get_running_loop().time()
        live.seen_changes = seen_changes
        self._live[state.session_id] = live
        self._weight += state.weight
        self._make_room(live)
        return live

    def wake(self, live: LiveSession) -> None:
        """Starts a runner if there is something to do and nobody does it."""
        session_id = live.session_id
        may_run = live.is_ready and live.is_mine and live.state.is_at_work
        if session_id in self._runners or live.is_broken or self._is_closed or not may_run:
            return
        runner = Runner(
            live,
            families=self.families,
            store=self.store,
            workspaces=self.workspaces,
            clock=self.clock,
            tasks=self.tasks,
            limits=self.limits,
            allowances=self.allowances,
            take_in=self.take_in,
        )
        task = self.tasks.start(
            runner.run(), name=f"runner {session_id}", done=lambda task: self._on_runner_done(live, task)
        )
        self._runners[session_id] = (runner, task)
        self.on_interest()

    def stop_turn(self, session_id: str) -> None:
        """Interrupts the session's turn, whose cancellation is in the log."""
        if session_id in self._runners:
            self._runners[session_id][0].stop_turn()

    async def may_write(self, live: LiveSession) -> bool:
        """Returns whether this process may write: the session is ours, nothing is done in it, or its owner is gone (then it is
        recovered).

        Raises:
            Conflict: somebody else was quicker; open the session anew.
        """
        if live.is_mine or not live.state.is_at_work:
            return True
        if await self.store.is_alive(live.state.tally.owner):
            return False
        async with self._opening.setdefault(live.session_id, asyncio.Lock()):
            if not live.is_mine and not live.is_broken:  # not done by somebody else here while we waited
                await self._take_over(live)
        return True

    async def freshen(self, live: LiveSession) -> None:
        """Brings a session up to date that another process may have written to since we looked last.

        Raises:
            SessionNotFound: it was deleted.
            EventLogError: the log cannot be read.
        """
        if live.is_mine and live.state.is_at_work:
            return  # as long as we live, nobody takes over a turn of ours
        changes = await self.store.foreign_changes()
        if changes != live.seen_changes:
            await live.refresh()
            live.seen_changes = changes

    async def leave(self, session_id: str) -> None:
        """Takes the session out of memory: its turn is stopped where it stands, its readers go back to the log."""
        if session_id in self._runners:
            _, task = self._runners[session_id]
            task.cancel()
            await asyncio.wait({task})
        if (live := self._live.get(session_id)) is not None:
            live.throw_away()

    async def close(self) -> None:
        """Hands over what runs here, and forgets everything. Idempotent.

        A step, or a call that must not be run twice, may end within `drain_s_max`; everything else is let go at once. Then a record in
        each session that is still at work says that it may be claimed, and that what was cut off was no attempt.
        """
        self._is_closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for runner, _ in self._runners.values():
            runner.drain()
        if running := {task for _, task in self._runners.values()}:
            _, cut = await asyncio.wait(running, timeout=self.limits.drain_s_max)
            for task in cut:
                task.cancel()
            if cut:
                await asyncio.wait(cut)
        await asyncio.gather(*(self._release(live) for live in self))
        self.flusher.close()
        await self.tasks.end()
        for live in self:
            live.throw_away()

    async def _release(self, live: LiveSession) -> None:
        if live.is_broken or not live.is_ready:
            return
        try:
            await live.release()
        except EventLogError as error:
            logger.warning("session %s could not be released, and is left to recovery: %s", live.session_id, error)

    # --- opening --------------------------------------------------------------------------------------------------------

    async def _opened(self, session_id: str, *, may_be_behind: bool) -> LiveSession:
        for number in range(1, _OPEN_ATTEMPTS + 1):
            if self._is_closed:
                raise ManagerClosed("the manager is closed")
            live = self._live.get(session_id)
            if live is not None and not live.is_broken and live.is_ready:
                if not (may_be_behind and live.is_mine):
                    await self.freshen(live)
                if not live.is_broken:
                    return live
                continue
            lock = self._opening.setdefault(session_id, asyncio.Lock())
            async with lock:
                if session_id in self._live:
                    continue
                try:
                    return await self._read(session_id)
                except Conflict:
                    # Another process took it over between our reading and our claim: read again, not in step with it.
                    await asyncio.sleep(backoff_s(number, base_s=0.002, longest_s=0.1))
        raise EventLogError(f"session {session_id!r} changes hands too quickly", hint="try again")

    async def _read(self, session_id: str) -> LiveSession:
        changes = await self.store.foreign_changes()
        records = await self.store.log.read(session_id)
        state = await apart(len(records), partial(replayed, session_id, records, limits=self.limits))
        if len(records) > AT_ONCE_MAX and not await self.store.log.read(session_id, limit=1):
            raise SessionNotFound(session_id)  # deleted while it was folded
        live = self.adopt(state, seen_changes=changes)
        live.is_ready = False
        try:
            state = live.state
            # At work, and in the name of this process, but not in its memory: thrown away after an error of the log.
            if state.is_at_work and (live.is_mine or not await self.store.is_alive(state.tally.owner)):
                await self._take_over(live)
        except BaseException:
            live.throw_away()
            raise
        live.is_ready = True
        self.wake(live)
        return live

    async def _take_over(self, live: LiveSession) -> None:
        state, spent = live.state, None
        if (used := usage_cut_off(state)) != Usage():
            step = state.turns[-1].steps[-1]
            spent = await self.families.priced(used, backend=step.backend, model=step.model)
        await live.take_over(lambda state: recovery_events(state, spent=spent))
        logger.info(
            "session %s: recovered a turn that its owner left open",
            live.session_id,
            extra={"session_id": live.session_id},
        )
        self.wake(live)

    # --- forgetting -----------------------------------------------------------------------------------------------------

    def forget(self, live: LiveSession) -> None:
        """Lets go of a session that is broken, and sees to it that one is opened again whose log has failed."""
        session_id = live.session_id
        if self._live.get(session_id) is live:
            del self._live[session_id]
            self._weight -= live.state.weight
        if session_id in self._runners:
            self._runners[session_id][1].cancel()
        if live.is_lost:
            self._revive(session_id)

    def _revive(self, session_id: str) -> None:
        """Sees to it that a session is opened again whose log has failed: a turn may be open, and nobody else may ever come."""
        if self._is_closed or session_id in self._reviving:
            return
        self._reviving.add(session_id)
        self._setbacks.note(session_id)  # if it goes wrong again and again, then later and later
        self.tasks.keep(partial(self._revived, session_id), name="open a session again")

    async def _revived(self, session_id: str) -> None:
        number = 0
        while True:
            number = min(number + 1, _REVIVE_DOUBLINGS)
            pause_s = backoff_s(number, base_s=_REVIVE_BASE_S, longest_s=self.limits.revive_wait_s_max)
            await asyncio.sleep(max(pause_s, self._setbacks.wait_s(session_id)))
            if await self._is_open_again(session_id):
                # In the same step in which it was found to be open: what fails from now on is another reason to revive it.
                self._reviving.discard(session_id)
                return

    async def _is_open_again(self, session_id: str) -> bool:
        try:
            async with self.using(session_id) as live:
                if live.is_mine:
                    await self.take_in(live)
                    self.wake(live)
                if not live.state.is_at_work:
                    self._setbacks.settled(session_id)
        except (SessionNotFound, ManagerClosed, Corrupted, NewerFormat):
            return True  # there is nothing to go on with, or no way to: whoever asks for it is told
        except EventLogError as error:
            logger.warning("session %s waits for its log: %s", session_id, error)
            return False
        return not live.is_lost  # else its log has failed again, while what waited was taken in

    def _on_runner_done(self, live: LiveSession, task: asyncio.Task[None]) -> None:
        session_id = live.session_id
        self._runners.pop(session_id, None)
        live.used_at_s = asyncio.get_running_loop().time()
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            if not live.is_broken:
                # A bug. The log keeps the turn open: the session is opened again, later and later if that fails as well.
                self._setbacks.tell(
                    session_id, failure, "was thrown away and is opened again, because its runner failed"
                )
                live.throw_away()
                self._revive(session_id)
        elif not task.cancelled():
            self._setbacks.settled(session_id)
        # A message may have come after the runner's last look; and an opened successor may have waited for its end. Who
        # cancelled the runner of a sound session wants it to end: the manager closes, or the event loop.
        current = self._live.get(session_id)
        if current is not None and not (task.cancelled() and current is live):
            self.wake(current)

    def grew(self, live: LiveSession, by: int) -> None:
        """Takes note of what a session takes more than before; idle ones may have to leave for it."""
        if by and self._live.get(live.session_id) is live:
            self._weight += by
            if self._weight > self._weight_to_look_at:
                self._make_room(live)

    def _make_room(self, kept: LiveSession | None = None) -> None:
        """Throws idle sessions away, those first that were idle for longest, if there are too many or they take too much.

        Args:
            kept: not this one, which is about to be used.
        """
        open_max, weight_max = self.limits.sessions_open_max, self.limits.sessions_open_bytes_max
        if len(self._live) > open_max or self._weight > self._weight_to_look_at:
            # Some more than need be: sorting thousands for each session that comes would cost milliseconds each.
            count = open_max - open_max // 16 if len(self._live) > open_max else open_max
            for live in sorted((live for live in self if self._is_idle(live)), key=lambda live: live.used_at_s):
                if len(self._live) <= count and self._weight <= weight_max - weight_max // 16:
                    break
                if live is not kept:
                    live.throw_away()
            # What is at work has to stay: look again when it takes markedly more, or at the next sweep.
            self._weight_to_look_at = max(weight_max, self._weight + weight_max // 16)
        if self._sweep is None and not self._is_closed:
            self._sweep = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep_idle)

    def _sweep_idle(self) -> None:
        self._sweep = None
        horizon_s = asyncio.get_running_loop().time() - self.limits.session_idle_s_max
        for live in self:
            if live.used_at_s < horizon_s and self._is_idle(live):
                live.throw_away()
        self._weight_to_look_at = self.limits.sessions_open_bytes_max
        if self._live:
            self._make_room()

    def _is_idle(self, live: LiveSession) -> bool:
        is_used = live.users or len(live.feed) or live.session_id in self._runners
        return not is_used and not live.state.is_at_work


def _nothing() -> None:
    pass


async def _nothing_in(live: LiveSession) -> None:
    del live
