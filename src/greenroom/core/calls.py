"""The tool calls of one step, on their way to results.

A call is asked for (if a person has to decide about it), started (the intent), and returned. Every call returns once; what comes
before that depends on the tool and on the session's rules, which the runtime looks up.

A call that its step may have cut off is never run: with what is missing, it would run with the tool's defaults. That is told from
the log alone, so that a live turn, recovery and approvals agree about it.

A call whose process ended while it ran is a suspect: perhaps it was the end of the process. It is run alone when it is run again,
so that it takes no other call with it, and is given up when that happens too often.

Rule: a call about which a person is asked is not started; one that was started is not started again, unless a person said so, or its
process is gone and the tool says that a second run does no harm; and half a call is no call.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Final, Self

from greenroom.events import ApprovalDecided, ApprovalRequested, StepFinished, ToolReturned, ToolStarted
from greenroom.finish_reasons import cut_off_by, is_normal
from greenroom.messages import ToolCallPart
from greenroom.tool_arguments import whole_object

CallEvent = ToolStarted | ToolReturned | ApprovalRequested | ApprovalDecided

_CUT: Final = (
    "[Not run: your answer was cut off by {by} before this call was complete. Make the call again, with all of its arguments; "
    "if they are long, split the work into smaller calls.]"
)
_CUT_WHILE_RUNNING: Final = (
    "[Outcome unknown: your answer was cut off by {by} before this call was complete. It was started nevertheless, was "
    "interrupted, and is not run again. Find out what it did before you repeat it.]"
)


class Calls:
    """The calls of a step and how far each is.

    Attributes:
        all: as the model wrote them, in order.

    Args:
        calls: these.
        finished: how their step ended; `None` as long as it has not.
        last_call_id: of the call with which the answer ended; empty if it ended with something else.
    """

    def __init__(
        self, calls: Sequence[ToolCallPart] = (), *, finished: StepFinished | None = None, last_call_id: str = ""
    ) -> None:
        self.all = tuple(calls)
        self._finished = finished
        self._last_call_id = last_call_id
        self._open = {call.call_id for call in calls}
        self._started: dict[str, ToolStarted] = {}
        self._asked: dict[str, ApprovalRequested] = {}
        self._decided: dict[str, ApprovalDecided] = {}
        self._arguments: dict[str, str] = {}
        self._questions: dict[str, int] = {}
        self._runs: dict[str, int] = {}
        self._cut: set[str] = set()

    def copied(self) -> Self:
        """Returns a copy on which events can be tried out."""
        copied = copy.copy(self)
        copied._open = set(self._open)  # noqa: SLF001 - a copy of myself
        copied._cut = set(self._cut)  # noqa: SLF001 - a copy of myself
        for name in ("_started", "_asked", "_decided", "_arguments", "_questions", "_runs"):
            setattr(copied, name, dict(getattr(self, name)))
        return copied

    def allows(self, event: CallEvent) -> bool:
        """Returns whether `event` may come next."""
        call_id = event.call_id
        if call_id not in self._open:
            return False
        match event:
            case ToolStarted():
                is_runnable = call_id not in self._started or self._may_run_again(call_id)
                return is_runnable and call_id not in self._asked and not self.is_denied(call_id)
            case ToolReturned():
                return True
            case ApprovalRequested():
                is_of_started = event.question == "run_again"
                return (
                    call_id not in self._asked
                    and is_of_started == (call_id in self._started)
                    and event.approval_id == self.next_approval_id(call_id)
                )
            case ApprovalDecided():
                asked = self._asked.get(call_id)
                return asked is not None and asked.approval_id == event.approval_id

    def apply(self, event: CallEvent) -> None:
        """Believes `event`, which must be allowed."""
        call_id = event.call_id
        match event:
            case ToolStarted():
                self._started[call_id] = event
                self._runs[call_id] = self._runs.get(call_id, 0) + 1
                self._cut.discard(call_id)
            case ToolReturned():
                self._open.discard(call_id)
                self._asked.pop(call_id, None)
            case ApprovalRequested():
                self._asked[call_id] = event
                self._questions[call_id] = self._questions.get(call_id, 0) + 1
            case ApprovalDecided():
                asked = self._asked.pop(call_id)
                self._decided[call_id] = event
                if event.arguments is not None:
                    self._arguments[call_id] = event.arguments
                if asked.question == "run_again" and event.decision == "approve":
                    del self._started[call_id]  # the next run has an intent of its own

    def cut(self, *, is_planned: bool) -> None:
        """Notes that the process is gone in which calls were running.

        Args:
            is_planned: it let go of the session in good order: what it cut off does not count as a run.
        """
        running = {call_id for call_id in self._started if call_id in self._open} - self._cut
        if is_planned:
            for call_id in running:
                self._runs[call_id] -= 1
        self._cut |= running

    def runs(self, call_id: str) -> int:
        """Returns how often a call was started, runs not counted that were cut off in good order."""
        return self._runs.get(call_id, 0)

    @property
    def suspects(self) -> frozenset[str]:
        """The calls that were running when a process died, and are run again."""
        return frozenset(call_id for call_id in self._cut if call_id in self._open and self._runs[call_id] > 0)

    def _may_run_again(self, call_id: str) -> bool:
        return call_id in self._cut and self._started[call_id].effect != "once"

    @property
    def open(self) -> tuple[ToolCallPart, ...]:
        """The calls without a result, with the arguments that count."""
        return tuple(self._effective(call) for call in self.all if call.call_id in self._open)

    @property
    def runnable(self) -> tuple[ToolCallPart, ...]:
        """The calls that nobody has to be asked about any more."""
        return tuple(call for call in self.open if call.call_id not in self._asked)

    @property
    def started(self) -> tuple[ToolStarted, ...]:
        """The intents of calls without a result: after a crash, nobody knows what they did."""
        return tuple(started for call_id, started in self._started.items() if call_id in self._open)

    @property
    def asked(self) -> tuple[ApprovalRequested, ...]:
        """The approvals that are waited for."""
        return tuple(self._asked.values())

    def cut_off(self, call_id: str) -> ToolReturned | None:
        """Returns the result of a call that may not be run because its step may have cut it off; `None` if it is whole.

        A call is whole if its step ended normally, if its arguments are a JSON object, or if a person has written them.
        """
        finished = self._finished
        if finished is None or is_normal(finished.reason, finished.raw_reason) or call_id in self._arguments:
            return None
        call = next(call for call in self.all if call.call_id == call_id)
        # An empty object may stand in for what did not come any more; where more of the answer follows, it is whole.
        arguments = whole_object(call.arguments)
        if arguments or (arguments is not None and call_id != self._last_call_id):
            return None
        by = cut_off_by(finished.reason, finished.raw_reason)
        if call_id in self._started:  # in a log from before this rule
            return ToolReturned(
                call_id=call_id, name=call.name, outcome="unknown", content=_CUT_WHILE_RUNNING.format(by=by)
            )
        return ToolReturned(call_id=call_id, name=call.name, outcome="error", content=_CUT.format(by=by))

    def decision(self, call_id: str) -> ApprovalDecided | None:
        """Returns what was decided last about a call."""
        return self._decided.get(call_id)

    def next_approval_id(self, call_id: str) -> str:
        """Returns the id of the next question about a call: no call id has a dot in it, so it is unique in the session."""
        return f"{call_id}.{self._questions.get(call_id, 0) + 1}"

    def is_denied(self, call_id: str) -> bool:
        """Returns whether a person does not want the call to be run, or to be run again."""
        decided = self._decided.get(call_id)
        return decided is not None and decided.decision == "deny"

    def _effective(self, call: ToolCallPart) -> ToolCallPart:
        arguments = self._arguments.get(call.call_id)
        if arguments is None:
            return call
        return ToolCallPart(call_id=call.call_id, name=call.name, arguments=arguments)
