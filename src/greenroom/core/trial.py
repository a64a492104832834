"""Events tried on a session before they are written: a record that cannot be replayed would brick the session.

Rule: nothing here is believed; what may follow what within a turn is the turn machine's to say.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from greenroom.config import Overlap
from greenroom.core.turn import TURN_EVENTS, Turn
from greenroom.events import (
    Event,
    MessageAccepted,
    MessageEdited,
    MessageJoined,
    MessageRepeated,
    MessageWithdrawn,
    NoticeGiven,
    SessionClaimed,
    SessionCreated,
    SessionReleased,
    SessionRewound,
    SessionUpdated,
    StepProgress,
    TurnEnded,
    TurnStarted,
)
from greenroom.limits import Limits

if TYPE_CHECKING:
    from greenroom.core.session import SessionState

_HURRIED: Final = frozenset({"interrupt", "rollback", "steer"})
"""Policies of messages that do not wait behind those that came before."""


class Trial:
    """What is left of a session's state when only order matters: events are tried on it, one behind the other."""

    def __init__(self, state: SessionState, limits: Limits) -> None:
        self._state = state
        self._limits = limits
        self._turn = state.turn.shadow() if state.turn is not None else None
        self._queue = [(accepted.message.turn_id, accepted.message.overlap) for accepted in state.queue]
        self._new: list[str] = []
        self._started: list[str] = []
        self._config_version = state.tally.config_version

    def takes(self, event: Event) -> bool:
        """Returns whether the event may come next, and if so takes it."""
        if isinstance(event, TurnStarted):
            if self._turn is not None or not self._queue or self._queue.pop(0)[0] != event.turn_id:
                return False
            self._turn = Turn(event.turn_id, limits=self._limits)
            self._started.append(event.turn_id)
        if type(event) not in TURN_EVENTS:
            return self._takes_of_session(event)
        if self._turn is None or not self._turn.allows(event):
            return False
        if not isinstance(event, StepProgress):  # changes no state; the shadow shares the real assembly
            self._turn.apply(event)
        if isinstance(event, TurnEnded):
            self._turn = None
        return True

    def _takes_of_session(self, event: Event) -> bool:
        state = self._state
        if state.seq == 0:
            return isinstance(event, SessionCreated)
        match event:
            case SessionCreated():
                return False
            case MessageAccepted():
                return self._accepts(event)
            case MessageWithdrawn() | MessageEdited() | MessageJoined():
                return self._takes_of_queue(event)
            case MessageRepeated(turn_id=turn_id, repeated_turn_id=repeated):
                return state.turn_of_run(turn_id) is None and state.turn_of_run(repeated) is not None
            case NoticeGiven():
                return self._turn is not None
            case SessionClaimed() | SessionReleased():
                if self._turn is not None:
                    self._turn.hand_over(event)
                return True
            case SessionUpdated():
                self._config_version += 1
                return event.config_version == self._config_version
            case SessionRewound():
                turn_ids = {*self._started, *(turn.turn_id for turn in state.turns)}
                return self._turn is None and event.turn_id in turn_ids
            case _:
                return True

    def _accepts(self, event: MessageAccepted) -> bool:
        if self._state.turn_of_run(event.turn_id) or event.turn_id in self._new:
            return False
        self._new.append(event.turn_id)
        place = place_of(event, [overlap for _, overlap in self._queue], is_open=self._turn is not None)
        self._queue.insert(place, (event.turn_id, event.overlap))
        return True

    def _takes_of_queue(self, event: MessageWithdrawn | MessageEdited | MessageJoined) -> bool:
        if not any(turn_id == event.turn_id for turn_id, _ in self._queue):
            return False
        if isinstance(event, MessageJoined):
            turn = self._turn
            if turn is None or turn.turn_id != event.joined_turn_id or not turn.may_be_joined:
                return False
        if not isinstance(event, MessageEdited):
            self._queue = [waiting for waiting in self._queue if waiting[0] != event.turn_id]
        return True


def place_of(message: MessageAccepted, queue: Sequence[Overlap], *, is_open: bool) -> int:
    """Returns the place of a new message among those that wait, of which `queue` is the policies.

    Args:
        message: the new one.
        queue: policies of those that wait, in order.
        is_open: a turn has started; else the first of them is as good as started.
    """
    match message.overlap:
        case "interrupt" | "rollback":
            return 0
        case "steer":
            begun = 0 if is_open else min(1, len(queue))
            hurried = itertools.takewhile(lambda overlap: overlap in _HURRIED, queue[begun:])
            return begun + sum(1 for _ in hurried)
        case _:
            return len(queue)
