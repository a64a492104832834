"""What people do while a session answers: send, stop, decide, take back, change what waits.

Each is one change of the log, made here if this process may write, else left in the inbox of the owner.

Rule: what was accepted is durable when the call returns, whichever process it came to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from greenroom.config import Overlap
from greenroom.core.cursor import Cursor
from greenroom.core.overlap import (
    arrival,
    cancellation,
    check_arrival,
    check_repeat,
    current_turn_id,
    find_accepted,
    known_turn_id,
    position,
    withdrawal,
)
from greenroom.core.session import SessionState, StepState
from greenroom.errors import AlreadyDecided, ApprovalNotFound, InvalidArgument, LogUnavailable
from greenroom.events import (
    ApprovalDecided,
    ApprovalRequested,
    CancelRequested,
    Event,
    MessageAccepted,
    MessageEdited,
    MessageWithdrawn,
)
from greenroom.interfaces import ToolError
from greenroom.messages import FilePart, UserPart
from greenroom.runtime.attempts import attempted
from greenroom.runtime.live import LiveSession
from greenroom.runtime.operations import Operations
from greenroom.runtime.registry import Registry
from greenroom.runtime.watch import Watch


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted message, or decision: it is durable, and will be answered.

    Attributes:
        position: how many turns come before its own; 0 means that it is answered now.
        cursor: position from which `attach` shows the turn.
        is_repeat: it had come before; nothing was added.
    """

    session_id: str
    turn_id: str
    message_id: str
    position: int
    cursor: str
    is_repeat: bool = False


class Exchange:
    """Messages, stops and decisions, on their way into sessions."""

    def __init__(self, registry: Registry, operations: Operations, watch: Watch) -> None:
        self._registry = registry
        self._operations = operations
        self._watch = watch

    async def send(self, session_id: str, message: MessageAccepted, *, overlap: Overlap | None) -> Receipt:
        """Accepts a message and sees to it that it is answered.

        Raises:
            SessionNotFound: no such session.
            TurnInProgress: `reject`, and a turn is open or waits.
            LimitExceeded: too many messages wait already.
            InvalidArgument: its turn id, or idempotency key, is that of a message which says something else, or was taken back.
        """
        queue_max = self._registry.limits.queue_max
        known: list[str] = []

        def arrived(state: SessionState) -> MessageAccepted:
            return msgspec.structs.replace(message, overlap=overlap or state.config.overlap)

        def decide(state: SessionState) -> Sequence[Event]:
            known.clear()
            if (turn_id := known_turn_id(state, message)) is not None:
                known.append(turn_id)
                return ()
            arriving = arrived(state)
            check_arrival(state, arriving, queue_max=queue_max)
            return arrival(state, arriving)

        async def attempt(live: LiveSession) -> Receipt:
            if await self._is_foreign(live):
                if (turn_id := known_turn_id(live.state, message)) is not None:
                    return _repeat(live.state, turn_id, message)
                pending = await self._watch.waiting(session_id)
                check_arrival(live.state, arrived(live.state), queue_max=queue_max, posted=len(pending))
                posted = await self._watch.post(live, arrived(live.state))
                await live.refresh()
                turn_id = known_turn_id(live.state, message)
                if turn_id not in {None, posted.turn_id}:  # the same was taken from the inbox while we looked
                    return _repeat(live.state, turn_id, message)
                cursor = Cursor(live.state.seq, 0, live.state.epoch)
                return _receipt(live.state, posted, cursor=cursor, position=1 + len(live.state.queue))
            if live.is_mine and live.state.is_at_work:
                await self._watch.take_in(live)  # what came first by another way is first in the queue
            records = await live.change(decide)
            self._registry.stop_turn(session_id)  # if it was cancelled by this
            self._registry.wake(live)
            if known:
                return _repeat(live.state, known[0], message)
            accepted = records[-1]
            cursor = Cursor(accepted.seq, 0, accepted.epoch)
            return _receipt(live.state, message, cursor=cursor, position=position(live.state, message.turn_id))

        try:
            return await attempted(self._registry, session_id, attempt, may_be_behind=True)
        except LogUnavailable:
            # Unknown whether written: the log knows, and a message that is in it is not added again.
            return await attempted(self._registry, session_id, attempt)

    async def find_turn(self, session_id: str, turn_id: str) -> tuple[str, Cursor]:
        """Returns the turn of that id, or with a run of that id, and the position from which it shows: where its message was accepted.

        Raises:
            SessionNotFound: no such session.
            InvalidArgument: no such turn, or one that was taken back.
        """
        state = await self._operations.peek(session_id)
        if state.turn_of_run(turn_id) is None:
            if await self._watch.has_message(session_id, turn_id):
                return turn_id, Cursor(state.seq, 0, state.epoch)  # on its way to the process that is at work
            state = await self._operations.peek(session_id)  # or it has just arrived there
        accepted = find_accepted(state, state.turn_of_run(turn_id) or "")
        if accepted is None:
            raise InvalidArgument(f"there is no turn {turn_id!r}", hint="history() shows the turns")
        return accepted.message.turn_id, Cursor(accepted.seq, 0, accepted.epoch)

    async def cancel(self, session_id: str) -> bool:
        """Stops the open turn, or withdraws the one that is about to start; returns whether there was one.

        Raises:
            SessionNotFound: no such session.
        """

        async def attempt(live: LiveSession) -> bool:
            is_foreign = await self._is_foreign(live)
            turn_id = current_turn_id(live.state)
            if turn_id is None:
                return False
            if is_foreign:
                await self._watch.post(live, CancelRequested(turn_id=turn_id))
                return True
            await live.change(lambda state: cancellation(state, turn_id))
            self._registry.stop_turn(session_id)
            self._registry.wake(live)  # a turn that waited for a person has nobody who ends it
            return True

        return await attempted(self._registry, session_id, attempt)

    async def approve(self, session_id: str, decided: ApprovalDecided) -> Receipt:
        """Takes down what a person has decided, and lets the turn go on; returns where it does.

        Deciding the same again changes nothing.

        Raises:
            SessionNotFound: no such session.
            ApprovalNotFound: nobody was asked that.
            AlreadyDecided: it was decided otherwise, or the turn has ended.
            InvalidArgument: the changed arguments do not fit the tool.
        """

        def decide(state: SessionState) -> Sequence[Event]:
            asked = self._asked(state, decided)
            # Only behind a question does a new run begin; and an id that is in use names nothing new.
            run_id = decided.run_id if state.is_waiting and state.turn_of_run(decided.run_id) is None else ""
            return () if asked is None else (msgspec.structs.replace(decided, call_id=asked.call_id, run_id=run_id),)

        async def attempt(live: LiveSession) -> Receipt:
            is_foreign = await self._is_foreign(live)
            before = Cursor(live.state.seq, 0, live.state.epoch)
            if is_foreign:
                added: Sequence[object] = decide(live.state)
                for event in added:
                    assert isinstance(event, ApprovalDecided)
                    await self._watch.post(live, event)
            else:
                added = await live.change(decide)
                self._registry.wake(live)
            state = live.state
            turn = next(turn for turn in reversed(state.turns) if _question(turn.steps, decided.approval_id))
            return Receipt(
                session_id=str(session_id),
                turn_id=turn.turn_id,
                message_id=turn.message.message_id,
                position=0,
                cursor=str(before),
                is_repeat=not added,
            )

        return await attempted(self._registry, session_id, attempt)

    async def withdraw(self, session_id: str, turn_id: str) -> bool:
        """Takes a message back that waits; returns whether it waited.

        Raises:
            SessionNotFound: no such session.
        """
        return await self._changed_queue(session_id, MessageWithdrawn(turn_id=turn_id))

    async def edit(self, session_id: str, turn_id: str, parts: Sequence[UserPart], *, keeps_files: bool) -> bool:
        """Changes a message that waits; returns whether it waited.

        Args:
            session_id: the session.
            turn_id: of the message.
            parts: what it says now.
            keeps_files: the files that it had stay.

        Raises:
            SessionNotFound: no such session.
        """

        async def attempt(live: LiveSession) -> bool:
            await self._is_foreign(live)
            before = next((a.message.parts for a in live.state.queue if a.message.turn_id == turn_id), ())
            files = tuple(part for part in before if isinstance(part, FilePart)) if keeps_files else ()
            return await self._change_queue(live, MessageEdited(turn_id=turn_id, parts=(*files, *parts)))

        return await attempted(self._registry, session_id, attempt)

    async def _changed_queue(self, session_id: str, event: MessageWithdrawn | MessageEdited) -> bool:
        return await attempted(self._registry, session_id, lambda live: self._change_queue(live, event))

    async def _change_queue(self, live: LiveSession, event: MessageWithdrawn | MessageEdited) -> bool:
        if await self._is_foreign(live):
            if not withdrawal(live.state, event.turn_id):
                return False
            await self._watch.post(live, event)
            return await self._watch.has_taken(live, event)
        return bool(await live.change(lambda state: (event,) if withdrawal(state, event.turn_id) else ()))

    async def _is_foreign(self, live: LiveSession) -> bool:
        """Returns whether another process is at work in the session; then its state is as of now."""
        if await self._registry.may_write(live):
            return False
        await live.refresh()
        return live.state.is_at_work and not live.is_mine

    # --- approvals ------------------------------------------------------------------------------------------------------

    def _asked(self, state: SessionState, decided: ApprovalDecided) -> ApprovalRequested | None:
        """Returns the question, checked against the answer; `None` if it has this answer already."""
        steps = [step for turn in state.turns for step in turn.steps]
        asked = _question(steps, decided.approval_id)
        if asked is None:
            raise ApprovalNotFound(
                f"there is no approval {decided.approval_id[:80]!r}", hint="approvals() shows what waits for a decision"
            )
        former = next(
            (step.decisions[asked.approval_id] for step in steps if asked.approval_id in step.decisions), None
        )
        if former is not None:
            if (former.decision, former.arguments) == (decided.decision, decided.arguments):
                return None
            raise AlreadyDecided(f"approval {asked.approval_id!r} was decided before: {former.decision}")
        if state.turn is None or asked not in state.turn.calls.asked or state.turn.cancelled:
            raise AlreadyDecided(
                f"nothing waits for approval {asked.approval_id!r} any more", hint="the turn has ended"
            )
        if decided.arguments is not None:
            self._check_arguments(state, asked, decided.arguments)
        return asked

    def _check_arguments(self, state: SessionState, asked: ApprovalRequested, arguments: str) -> None:
        if asked.question == "run_again":
            raise InvalidArgument(
                "a call that was started can be run again only as it was", hint="leave the arguments out"
            )
        tool = self._registry.families.tools(state.config.tools).get(asked.name)
        if tool is None:
            raise InvalidArgument(f"the session has no tool {asked.name!r} any more", hint="deny the call")
        try:
            tool.check(msgspec.json.decode(arguments))
        except ToolError as error:
            raise InvalidArgument(str(error)) from error


def _question(steps: Iterable[StepState], approval_id: str) -> ApprovalRequested | None:
    return next((step.approvals[approval_id] for step in steps if approval_id in step.approvals), None)


def _receipt(state: SessionState, message: MessageAccepted, *, cursor: Cursor, position: int) -> Receipt:
    return Receipt(
        session_id=state.session_id,
        turn_id=message.turn_id,
        message_id=message.message_id,
        position=max(0, position),
        cursor=str(cursor),
    )


def _repeat(state: SessionState, turn_id: str, message: MessageAccepted) -> Receipt:
    accepted = find_accepted(state, turn_id)
    if accepted is None:
        raise InvalidArgument(
            "the message of this idempotency key, or turn id, was taken back", hint="send it with a new one"
        )
    if not accepted.is_edited:
        check_repeat(message, accepted.message)
    cursor = Cursor(accepted.seq, 0, accepted.epoch)
    receipt = _receipt(state, accepted.message, cursor=cursor, position=position(state, turn_id))
    return msgspec.structs.replace(receipt, is_repeat=True)
