"""Performs what a session's turn machine asks for, until nothing is left to do.

A runner is a task of the manager, not of whoever sent the message: readers come and go. It asks `next_action`, acts, writes what
came of it, and asks again. Stop, time-out, failure and success all leave through `_end`, so a turn has one end on every path.

Rule: no decision here. What may follow what is in `core.turn`; what to render is in `core.transcript`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from greenroom.core.budget import Prices, budgets_of, exceeded, has_budget, needs_prices
from greenroom.core.prompt import system_prompt, turn_context
from greenroom.core.recovery import ending, unknown_outcome
from greenroom.core.refusals import adapting, answered
from greenroom.core.session import JoinMessages, SessionState, StartTurn, StepState
from greenroom.core.step import Intake, notice_of_end
from greenroom.core.transcript import render
from greenroom.core.turn import AskBackend, FinishTurn, RunTools, Suspend, TurnState
from greenroom.errors import (
    BackendError,
    BackendGarbled,
    BackendUnavailable,
    EventLogError,
    GreenroomError,
)
from greenroom.events import (
    Event,
    MessageAccepted,
    MessageJoined,
    NoticeGiven,
    StepFailed,
    StepFinished,
    StepStarted,
    ToolReturned,
    ToolStarted,
    TurnEnded,
    TurnOutcome,
    TurnStarted,
    TurnSuspended,
)
from greenroom.interfaces import Backend, BackendRequest, Notice, Store, Tool, ToolContext
from greenroom.large_thread import in_thread
from greenroom.limits import Limits
from greenroom.messages import TextPart, ToolCallPart, Usage
from greenroom.runtime.allowance import Account, Allowances
from greenroom.runtime.clock import Clock, backoff_s, date_of
from greenroom.runtime.families import Families
from greenroom.runtime.foreign import foreign
from greenroom.runtime.live import LiveSession
from greenroom.runtime.metering import Meter, check_budgets, prices_of, usage_of
from greenroom.runtime.tasks import Tasks, stoppable
from greenroom.runtime.tool_calls import effect_of, run_call, specs_of, verdict
from greenroom.runtime.workspace import Workspaces

logger: Final = logging.getLogger("greenroom")

_MEMORIES_SHOWN: Final = 5
_PREFERENCES_SHOWN: Final = 50


class Runner:
    """Drives one session while it is busy."""

    def __init__(
        self,
        live: LiveSession,
        *,
        families: Families,
        store: Store,
        workspaces: Workspaces,
        clock: Clock,
        tasks: Tasks,
        limits: Limits,
        allowances: Allowances,
        take_in: Callable[[LiveSession], Awaitable[None]],
    ) -> None:
        self._live = live
        self._take_in = take_in
        self._families = families
        self._store = store
        self._workspaces = workspaces
        self._clock = clock
        self._tasks = tasks
        self._limits = limits
        self._allowances = allowances
        self._turn: asyncio.Task[None] | None = None
        self._intake: Intake | None = None
        self._asked: BackendRequest | None = None
        """What the provider has taken: it is billed, whether or not anything comes of it."""
        self._is_leaving = False
        self._drained = asyncio.Event()
        self._harmless: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Performs actions until the session is idle, waits for a person, or is another process's: one that was idle may be taken.

        Raises:
            EventLogError: the log failed; the session was thrown away and its open turn is left to recovery.
        """
        while self._live.is_mine and self._live.state.is_at_work and not self._is_leaving:
            await self._run_turn()
            await self._take_in(self._live)

    def stop_turn(self) -> None:
        """Interrupts whatever the turn is doing, if the log says that it was cancelled.

        A stop can arrive when its turn has ended by itself and the next one runs already: that one goes on.
        """
        turn = self._live.state.turn
        if self._turn is not None and turn is not None and turn.cancelled:
            self._turn.cancel()

    def drain(self) -> None:
        """Lets go of the session at the next step boundary; calls that do no harm when they are run again are cut off at once.

        A session that is not to be resumed has its whole turn to end.
        """
        self._is_leaving = True
        if self._live.state.config.recovery == "close":
            return
        self._drained.set()
        for task in self._harmless:
            task.cancel()

    async def _run_turn(self) -> None:
        """Drives one turn in a task of its own, so that it can be stopped while we live on to write its end."""
        self._turn = self._tasks.start(self._drive(), name=f"turn {self._live.session_id}", done=lambda _: None)
        try:
            done, _ = await asyncio.wait({self._turn}, timeout=self._live.state.config.turn_timeout_s)
            if not done:
                await self._stopped()
                timeout_s = self._live.state.config.turn_timeout_s
                message = f"the turn was stopped after turn_timeout_s={timeout_s:g}"
                await self._end("failed", code="turn_timeout", message=message)
            elif self._turn.cancelled():
                await self._end("cancelled")
            elif (failure := self._turn.exception()) is not None:
                await self._fail(failure)
        except asyncio.CancelledError:
            await self._stopped()
            raise
        finally:
            self._turn = None

    async def _stopped(self) -> None:
        """Cancels the turn's task and waits for it, however often we are cancelled meanwhile."""
        assert self._turn is not None
        self._turn.cancel()
        while not self._turn.done():
            try:
                await asyncio.wait({self._turn})
            except asyncio.CancelledError:
                self._turn.cancel()

    async def _fail(self, failure: BaseException) -> None:
        if isinstance(failure, EventLogError) or self._live.is_broken:
            raise failure
        if isinstance(failure, GreenroomError):
            await self._end("failed", code=failure.code, message=failure.message, hint=failure.hint or "")
            return
        logger.error("turn of session %s failed", self._live.session_id, exc_info=failure)
        await self._end("failed", code="internal_error", message="an internal error ended the turn")

    async def _end(self, outcome: TurnOutcome, *, code: str = "", message: str = "", hint: str = "") -> None:
        usage = await self._spent()
        self._intake = self._asked = None

        def ends(state: SessionState) -> Sequence[Event]:
            turn = state.turn
            if turn is None:
                return ()  # it ended, or was never started, before the stop arrived
            # A step that has ended by itself has said what it used.
            cut = usage if turn.state is TurnState.STREAMING else Usage()
            end = TurnEnded(turn_id=turn.turn_id, outcome=outcome, code=code, message=message, hint=hint, usage=cut)
            return ending(turn, end)

        await self._live.change(ends)

    # --- actions --------------------------------------------------------------------------------------------------------

    async def _drive(self) -> None:
        while True:
            action = self._live.state.next_action()
            if self._drained.is_set() and not isinstance(action, FinishTurn | Suspend):
                return
            match action:
                case StartTurn(message=message):
                    await self._start_turn(message)
                case AskBackend() as action:
                    await self._ask_backend(action)
                case RunTools() as action:
                    await self._run_tools(action)
                case JoinMessages():
                    await self._live.change(joining)
                case Suspend():
                    await self._live.change(suspension)
                case FinishTurn() as action:
                    await self._end(action.outcome, code=action.code, message=action.message, hint=action.hint)
                    return
                case None:
                    return

    async def _start_turn(self, message: MessageAccepted) -> None:
        config = self._live.state.config
        user_id = self._live.state.tally.user_id
        said = " ".join(part.text for part in message.parts if isinstance(part, TextPart))
        notes = self._store.notes
        preferences, memories = await asyncio.gather(
            notes.page(user_id, "preference", limit=_PREFERENCES_SHOWN),
            notes.search(user_id, "memory", said, limit=_MEMORIES_SHOWN),
        )
        context = turn_context(date=date_of(self._clock.now_ms()), preferences=preferences, memories=memories)
        started = TurnStarted(turn_id=message.turn_id, context=context)
        step = StepStarted(step=1, attempt=1, backend=config.backend, model=config.llm_model)
        account = await self._allowances.of(user_id)

        def start(state: SessionState) -> Sequence[Event]:
            if self._drained.is_set():
                return ()
            is_next = state.turn is None and state.queue and state.queue[0].message.turn_id == message.turn_id
            if not is_next:
                return ()  # it was stopped or taken back meanwhile
            joins = (MessageJoined(turn_id=joined, joined_turn_id=message.turn_id) for joined in state.joining())
            budgets = budgets_of(config, turn=Usage(cost_usd=0.0), session=state.tally.usage)
            if exceeded([*budgets, account.budget()]) is not None:
                return started, *joins  # it ends before its first step
            return started, *joins, step

        if any(isinstance(record.event, StepStarted) for record in await self._live.change(start)):
            await self._perform(config.backend, account)

    async def _ask_backend(self, action: AskBackend) -> None:
        if action.retry:
            wait_s = action.retry_after_s
            if wait_s is None:
                wait_s = backoff_s(
                    action.retry, base_s=self._limits.retry_base_s, longest_s=self._limits.retry_wait_s_max
                )
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._drained.wait()
                    return
        account = await self._allowances.of(self._live.state.tally.user_id)
        check_budgets([account.budget()])
        if self._drained.is_set():
            return
        await self._live.write(
            StepStarted(step=action.step, attempt=action.attempt, backend=action.backend, model=action.model)
        )
        await self._perform(action.backend, account)

    async def _perform(self, backend_name: str, account: Account) -> None:
        """Performs the step that was just started, as its user's account has to know."""
        try:
            await self._stream(backend_name, account)
        finally:
            account.end(self._live.session_id)

    async def _stream(self, backend_name: str, account: Account) -> None:
        """Asks the backend, and writes how the step ended."""
        live = self._live
        step = live.state.turns[-1].steps[-1]
        self._intake = intake = Intake(seq=step.seq, used_call_ids=live.state.call_ids, limits=self._limits)
        self._asked = None
        try:
            backend = self._families.backend(backend_name)
            request = await self._request(step)
            known = live.state.notices
            told = await in_thread(request.weight, _told, backend, request)
            if notices := [note for note in told if note.text not in known]:
                await live.write(*(NoticeGiven(code=note.code, text=note.text) for note in notices))
            meter = await self._metered(request, backend_name, account)
            name = f"backend {backend_name} of session {live.session_id}"
            # A turn that was over in silence is not followed by another: what was sent may be the reason, and there must be time to try.
            is_silent = live.state.adaptation(backend_name, step.model).is_silent
            patience_s = live.state.config.turn_timeout_s / 2 if is_silent else None
            pumped = self._pump(backend, request, intake, meter, patience_s=patience_s)
            await stoppable(pumped, name=name, timeout_s=None, grace_s=self._limits.stop_s_max)
            if intake.ended is None:
                raise BackendGarbled("the stream ended in the middle of the answer")
        except EventLogError:
            raise
        except GreenroomError as error:
            retry_after_s = error.retry_after_s if isinstance(error, BackendUnavailable) else None
            failed = StepFailed(
                code=error.code,
                message=error.message,
                hint=error.hint or "",
                retry_after_s=retry_after_s,
                usage=await self._spent() if intake.has_answered else Usage(),
                refused=error.refused if isinstance(error, BackendError) else None,
            )
            await live.change(lambda state: adapting(state, failed, has_begun=intake.has_begun))
            self._intake = self._asked = None
            return
        ended = intake.ended
        usage = await self._spent()
        finished = StepFinished(
            reason=ended.reason, raw_reason=ended.raw_reason, usage=usage, response_id=ended.response_id
        )
        notice = notice_of_end(ended)
        is_new = notice is not None and notice.text not in live.state.notices
        await live.write(*answered(live.state, finished), *([notice] if notice is not None and is_new else []))
        self._intake = self._asked = None

    async def _pump(
        self,
        backend: Backend,
        request: BackendRequest,
        intake: Intake,
        meter: Meter | None,
        *,
        patience_s: float | None,
    ) -> None:
        """Shows what the backend yields, as long as its step is the one that runs.

        Args:
            backend: who is asked.
            request: what.
            intake: takes what comes of it.
            meter: watches it.
            patience_s: seconds until the beginning of the answer; `None` for as long as the backend itself waits.

        Raises:
            BackendUnavailable: nothing has come in that time.
        """
        live = self._live
        counted: Usage | None = None
        is_awaited = patience_s is not None
        patience = asyncio.timeout(patience_s)
        try:
            async with patience, backend.stream(request) as batches:
                if self._intake is intake:
                    self._asked = request
                async for items in batches:
                    if self._intake is not intake:
                        return  # it was stopped, and left behind
                    live.show(intake.take(items))
                    if is_awaited and intake.has_begun:
                        patience.reschedule(None)
                        is_awaited = False
                    if intake.notices:
                        await self._tell(intake)
                    if meter is not None and intake.ended is None:  # what is complete is not cut off any more
                        meter.check()
                    if intake.usage is not counted and intake.usage is not None:
                        live.count(counted := intake.usage)
        except TimeoutError as error:
            if not patience.expired():
                raise  # the backend's own
            raise BackendUnavailable(f"the provider was silent for {patience_s:g} s, and in the turn before") from error

    async def _tell(self, intake: Intake) -> None:
        """Writes what a person is to be told of what was left out of the answer."""
        notices = [notice for notice in intake.notices if notice.text not in self._live.state.notices]
        intake.notices.clear()
        if notices:
            await self._live.write(*notices)

    async def _metered(self, request: BackendRequest, backend_name: str, account: Account) -> Meter | None:
        """Returns what watches the step, if a budget bounds it.

        Raises:
            BudgetExceeded: money is bounded, and the price of the model is not known.
        """
        state, intake = self._live.state, self._intake
        if intake is None or not (has_budget(state.config) or account.is_bounded):
            return None
        prices = Prices()
        if needs_prices(state.config) or account.needs_prices:
            prices = await prices_of(self._families, backend=backend_name, model=request.model)
        return Meter(state, intake, prices, account)

    async def _spent(self) -> Usage:
        """Returns what the running step has used, with its price: as its provider has counted, and estimated where it has not."""
        intake, asked = self._intake, self._asked
        if intake is None or asked is None:
            return Usage()
        step = self._live.state.turns[-1].steps[-1]
        usage = usage_of(intake, asked)
        return await self._families.priced(usage, backend=step.backend, model=intake.model or step.model)

    async def _run_tools(self, action: RunTools) -> None:
        config = self._live.state.config
        turn = self._live.state.turn
        assert turn is not None, "it asked for the tools"
        tools = self._families.tools(config.tools)
        settled = {
            call.call_id: event
            for call in action.calls
            if (event := verdict(call, tools, action=action, calls=turn.calls, rules=config.approval)) is not None
        }
        wanted = [call for call in action.calls if call.call_id not in settled]
        alone = [call for call in wanted if call.call_id in action.suspects]
        together = [call for call in wanted if call.call_id not in action.suspects]
        # Each call is written before it runs; those that run at once, in one append.
        slots = self._limits.tools_concurrent_max
        first = together[:slots]
        await self._live.write(*(self._intent(call, tools[call.name]) for call in first), *settled.values())
        begun = frozenset(call.call_id for call in first)
        await self._run_calls(together, tools, slots=slots, begun=begun)
        await self._run_calls(alone, tools, slots=1)

    async def _run_calls(
        self,
        calls: Sequence[ToolCallPart],
        tools: Mapping[str, Tool],
        *,
        slots: int,
        begun: frozenset[str] = frozenset(),
    ) -> None:
        """Runs calls, up to `slots` at the same time.

        Args:
            calls: these.
            tools: what there is, by name.
            slots: how many may run at the same time.
            begun: those whose intent is written.
        """
        free = asyncio.Semaphore(slots)
        try:
            async with asyncio.TaskGroup() as group:
                for call in calls:
                    tool = tools[call.name]
                    task = group.create_task(self._run_tool(call, tool, free, is_begun=call.call_id in begun))
                    if effect_of(tool) != "once":
                        self._harmless.add(task)
                        task.add_done_callback(self._harmless.discard)
        except BaseExceptionGroup as failures:
            # A call itself never fails; what fails is writing its result, and then all of them for the same reason.
            raise failures.exceptions[0] from failures

    def _intent(self, call: ToolCallPart, tool: Tool) -> ToolStarted:
        return ToolStarted(
            call_id=call.call_id,
            name=call.name,
            effect=effect_of(tool),
            idempotency_key=self._idempotency_key(call),
        )

    async def _run_tool(self, call: ToolCallPart, tool: Tool, free: asyncio.Semaphore, *, is_begun: bool) -> None:
        config = self._live.state.config
        async with free:
            if self._drained.is_set() and not (is_begun and effect_of(tool) == "once"):
                return
            if not is_begun:
                await self._live.write(self._intent(call, tool))
            returned: ToolReturned = await run_call(
                call, tool, self._context(call), timeout_s=config.tool_timeout_s, limits=self._limits
            )
        turn = self._live.state.turn
        if returned.outcome == "unknown" and effect_of(tool) == "once" and turn is not None:
            await self._live.write(unknown_outcome(turn, call, config, returned))
        else:
            await self._live.write(returned)

    # --- what actions need ----------------------------------------------------------------------------------------------

    async def _request(self, step: StepState) -> BackendRequest:
        state = self._live.state
        adaptation = state.adaptation(step.backend, step.model).in_force
        config, turn = state.config, state.turns[-1]
        persona_text = ""
        if turn.message.custom_prompt is None and not config.custom_persona_text:
            persona_text = (await self._families.persona(config.persona_name)).text
        return BackendRequest(
            model=step.model,
            system=system_prompt(
                persona_text=persona_text,
                custom_persona_text=config.custom_persona_text,
                custom_prompt=turn.message.custom_prompt,
            ),
            messages=render(state, adaptation=adaptation),
            tools=specs_of(self._families.tools(config.tools)) if "tools" not in adaptation.without else (),
            session_id=state.session_id,
            temperature=config.temperature,
            top_p=config.top_p,
            max_tokens=config.max_tokens,
            stop=config.stop,
            reasoning_effort=config.reasoning_effort if "reasoning_effort" not in adaptation.without else "none",
            thinking_budget_tokens=config.thinking_budget_tokens,
            parallel_tool_calls=config.parallel_tool_calls,
            weight=state.weight,
        )

    def _context(self, call: ToolCallPart) -> ToolContext:
        state = self._live.state
        return ToolContext(
            session_id=state.session_id,
            user_id=state.tally.user_id,
            call_id=call.call_id,
            idempotency_key=self._idempotency_key(call),
            workspace=self._workspaces.path(state.session_id),
            notes=self._store.notes,
            limits=self._limits,
            at_ms=self._clock.now_ms(),
        )

    def _idempotency_key(self, call: ToolCallPart) -> str:
        return f"{self._live.session_id}/{call.call_id}"


def _told(backend: Backend, request: BackendRequest) -> Sequence[Notice]:
    with foreign():
        return backend.notices(request)


def joining(state: SessionState) -> Sequence[Event]:
    """Returns what is written when messages join the open turn, as the queue is now."""
    action = state.next_action()
    if state.turn is None or not isinstance(action, JoinMessages):
        return ()
    return [MessageJoined(turn_id=turn_id, joined_turn_id=state.turn.turn_id) for turn_id in action.turn_ids]


def suspension(state: SessionState) -> Sequence[Event]:
    """Returns what is written when nothing is left to do but to wait; nothing, if a decision has come meanwhile."""
    turn = state.turn
    is_due = turn is not None and isinstance(state.next_action(), Suspend)
    return (TurnSuspended(turn_id=turn.turn_id),) if turn is not None and is_due else ()
