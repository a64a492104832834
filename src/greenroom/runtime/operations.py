"""What can be done to sessions, each as one change of the log.

Every operation opens the session, decides under its write lock on the state as it is then, and appends. When another process was
quicker, it opens the session anew and decides again.

Rule: nothing changes unless all of it does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from greenroom.config import Patch, SessionConfig, SessionLabels
from greenroom.core.bundle import copied_records
from greenroom.core.index import texts_of
from greenroom.core.owned import check_owner
from greenroom.core.session import SessionState, replayed
from greenroom.errors import Conflict, InvalidArgument, LogUnavailable, SessionNotFound, TurnInProgress
from greenroom.events import (
    Event,
    Parent,
    Record,
    SessionCreated,
    SessionLabelled,
    SessionRewound,
    SessionUpdated,
)
from greenroom.interfaces import IndexUpdate, SearchText
from greenroom.limits import Limits
from greenroom.runtime.attempts import attempted
from greenroom.runtime.clock import new_id
from greenroom.runtime.live import LiveSession
from greenroom.runtime.registry import Registry
from greenroom.runtime.tasks import apart


class Operations:
    """Changes of sessions."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def create(self, session_id: str, *, user_id: str, config: SessionConfig, labels: SessionLabels) -> bool:
        """Creates the session; returns `False` if one of that id exists already.

        Raises:
            LogUnavailable: unknown whether it was created.
        """
        created = SessionCreated(user_id=user_id, config=config, labels=labels, node=self._registry.store.node)
        at_ms = self._registry.clock.now_ms()
        try:
            await self._append_new(session_id, [Record(seq=1, epoch=at_ms, at_ms=at_ms, event=created)])
        except Conflict:
            return False
        return True

    async def update(self, session_id: str, patch: Patch) -> None:
        """Changes configuration and labels together; nothing changes when nothing differs.

        Raises:
            SessionNotFound: no such session.
            InvalidArgument: the change does not fit, or would change the owner.
        """

        def decide(state: SessionState) -> Sequence[Event]:
            if patch.user_id is not None and patch.user_id != state.tally.user_id:
                raise InvalidArgument(
                    "user_id cannot be changed", hint="export the session and import it for the other user"
                )
            config, labels = patch.applied(state.config, state.tally.labels)
            events: list[Event] = []
            if config != state.config:
                events.append(SessionUpdated(config=config, config_version=state.tally.config_version + 1))
            if labels != state.tally.labels:
                events.append(SessionLabelled(labels=labels))
            return events

        await self._changed(session_id, decide)

    async def config_of(self, session_id: str, config_version: int) -> SessionConfig:
        """Returns a configuration that the session has or had.

        Raises:
            SessionNotFound: no such session.
            InvalidArgument: no such version.
        """
        configs: dict[int, SessionConfig] = {}
        for record in await self.records(session_id):
            match record.event:
                case SessionCreated(config=config):
                    configs[1] = config
                case SessionUpdated(config=config, config_version=version):
                    configs[version] = config
                case _:
                    pass
        if type(config_version) is not int or config_version not in configs:
            raise InvalidArgument(
                f"config_version={config_version!r} is none that the session had", hint=f"from 1 to {max(configs)}"
            )
        return configs[config_version]

    async def roll_back(self, session_id: str, config: SessionConfig, *, restores: int) -> None:
        """Makes a former configuration the next version; nothing changes if it is in force.

        Raises:
            SessionNotFound: no such session.
        """

        def decide(state: SessionState) -> Sequence[Event]:
            if config == state.config:
                return ()
            version = state.tally.config_version + 1
            return (SessionUpdated(config=config, config_version=version, restores=restores),)

        await self._changed(session_id, decide)

    async def rewind(self, session_id: str, turn_id: str) -> None:
        """Takes a turn and all after it out of the session.

        Raises:
            SessionNotFound: no such session.
            TurnInProgress: a turn is open or waits.
            InvalidArgument: no such turn.
        """

        def decide(state: SessionState) -> Sequence[Event]:
            if state.is_busy:
                raise TurnInProgress("a session cannot be rewound while it answers", hint="cancel the turn first")
            if not any(turn.turn_id == turn_id for turn in state.turns):
                raise InvalidArgument(f"there is no turn {turn_id!r}", hint="history() shows the turns")
            return (SessionRewound(turn_id=turn_id),)

        await self._changed(session_id, decide)

    async def fork(self, session_id: str, *, at_seq: int | None) -> str:
        """Copies the session up to record `at_seq`, or all of it, with its workspace; returns the copy's id.

        Raises:
            SessionNotFound: no such session.
            InvalidArgument: `at_seq` is not a record of the session.
        """
        records = await self.records(session_id)
        if at_seq is not None and not (isinstance(at_seq, int) and 1 <= at_seq <= len(records)):
            raise InvalidArgument(f"at_seq={at_seq!r} is not a record of the session", hint=f"from 1 to {len(records)}")
        records = records[:at_seq]
        parent = Parent(session_id=str(session_id), seq=len(records))
        copied = await self._copied(session_id, records, parent=parent, user_id=None)
        staged = await self._registry.workspaces.stage_copy(session_id)
        try:
            await self._check_still(session_id)
        except BaseException:
            await self._registry.workspaces.discard(staged)
            raise
        return await self._settle_in(new_id("s", self._registry.clock.now_ms()), copied, staged)

    async def take_in(
        self, session_id: str, records: Sequence[Record], files: Mapping[str, bytes], *, user_id: str | None
    ) -> str:
        """Creates a session from the checked contents of a bundle; returns its id, a new one if `session_id` is taken.

        Raises:
            InvalidStream: this system takes the names of two files for one; nothing stays behind.
            LogUnavailable: the workspace or the session could not be written; likewise.
        """
        copied = await self._copied(session_id, records, parent=None, user_id=user_id)
        staged = await self._registry.workspaces.stage(files)
        return await self._settle_in(session_id, copied, staged)

    async def _copied(
        self, source_id: str, records: Sequence[Record], *, parent: Parent | None, user_id: str | None
    ) -> list[Record]:
        copy = partial(
            copied_records,
            records,
            session_id=source_id,
            node=self._registry.store.node,
            parent=parent,
            user_id=user_id,
            now_ms=self._registry.clock.now_ms(),
        )
        return await apart(len(records), copy)

    async def _settle_in(self, wanted_id: str, copied: Sequence[Record], staged: Path | None) -> str:
        """Gives a copy its workspace, then its log: in this order a crash leaves a stray folder, not half a session."""
        registry = self._registry
        try:
            for session_id in (wanted_id, new_id("s", registry.clock.now_ms())):
                if await registry.store.index.get(session_id) is not None:
                    continue
                if not await registry.workspaces.adopt(staged, session_id):
                    continue
                try:
                    await self._append_new(session_id, copied)
                except Conflict:
                    await registry.workspaces.give_back(session_id, staged)
                except BaseException:
                    await registry.workspaces.give_back(session_id, staged)
                    raise
                else:
                    return session_id
            raise LogUnavailable("the copy found no free session id", hint="try again")
        finally:
            await registry.workspaces.discard(staged)

    async def delete(self, session_id: str) -> bool:
        """Stops what runs and deletes everything of the session; returns whether there was one.

        Raises:
            SessionNotFound: it has become another user's (`OwnedId`).
        """
        await self._check_still(session_id)
        session_id = str(session_id)
        await self._registry.leave(session_id)
        existed = await self._registry.store.log.delete(session_id)
        await self._registry.leave(session_id)
        await self._registry.families.close_session(session_id)
        await self._registry.workspaces.remove(session_id)
        return existed

    async def _check_still(self, session_id: str) -> None:
        summary = await self._registry.store.index.get(session_id)
        if summary is not None:
            check_owner(session_id, summary.user_id)

    async def hibernate(self, session_id: str) -> None:
        """Takes an idle session out of memory.

        Raises:
            SessionNotFound: no such session.
            TurnInProgress: a turn is open or waits here.
        """
        live = self._registry.find(session_id)
        if live is None:
            if await self._registry.store.index.get(session_id) is None:
                raise SessionNotFound(session_id)
            return
        if live.state.is_at_work and live.is_mine:
            raise TurnInProgress("a session cannot be put to sleep while it answers", hint="cancel the turn first")
        await self._registry.leave(session_id)

    async def records(self, session_id: str) -> Sequence[Record]:
        """Returns all records, without opening the session.

        Raises:
            SessionNotFound: no such session.
        """
        records = await self._registry.store.log.read(session_id)
        if not records:
            raise SessionNotFound(session_id)
        created = records[0].event
        assert isinstance(created, SessionCreated), "the first record of a log creates its session"
        check_owner(session_id, created.user_id)
        return records

    async def peek(self, session_id: str) -> SessionState:
        """Returns the state to look at, without recovering or following anything.

        Raises:
            SessionNotFound: no such session.
            Corrupted: the log is damaged.
        """
        live = self._registry.find(session_id)
        if live is not None:
            await self._registry.freshen(live)
            if not live.is_broken:
                check_owner(session_id, live.state.tally.user_id)
                return live.state
        records = await self.records(session_id)
        return await apart(len(records), partial(replayed, str(session_id), records, limits=self._registry.limits))

    # --- how a change is made -------------------------------------------------------------------------------------------

    async def _changed(self, session_id: str, decide: Callable[[SessionState], Sequence[Event]]) -> None:
        async def attempt(live: LiveSession) -> None:
            if not await self._registry.may_write(live):
                raise TurnInProgress(
                    "the session is answering in another process", hint="try again when the turn has ended"
                )
            await live.change(decide)
            self._registry.wake(live)

        await attempted(self._registry, session_id, attempt)

    async def _append_new(self, session_id: str, records: Sequence[Record]) -> None:
        changes = await self._registry.store.foreign_changes()
        state, texts = await apart(len(records), _indexed, session_id, records, self._registry.limits)
        await self._registry.store.log.append(
            session_id,
            [record.event for record in records],
            expected_seq=0,
            epoch=records[0].epoch,
            at_ms=[record.at_ms for record in records],
            key=new_id("", self._registry.clock.now_ms()),
            index=IndexUpdate(summary=state.tally.summary(), texts=tuple(texts)),
        )
        self._registry.adopt(state, seen_changes=changes)


def _indexed(session_id: str, records: Sequence[Record], limits: Limits) -> tuple[SessionState, list[SearchText]]:
    """Returns what the records of a new session fold to, and what search should find of them."""
    state = SessionState(session_id, limits=limits)
    for record in records:
        state.apply(record)
    return state, list(texts_of(state))
