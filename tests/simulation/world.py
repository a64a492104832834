"""One seed, one history of the world: processes, sessions, people who talk, stop, decide, read, leave, and processes that die.

At the end the faults stop, everything that waits is decided, and the invariants of `checks` must hold.

Rule: one pair of dice; the clock is virtual; so a seed is a schedule that can be run again.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, get_args

from greenroom.backends.scripted import Call, Cut, Fail, Finish, Pause, Say, ScriptedBackend, Think
from greenroom.config import Overlap, SessionConfig, SessionLabels, UserBudget
from greenroom.core.cursor import Cursor
from greenroom.core.view import pending_approvals
from greenroom.errors import BackendRejected, BackendUnavailable, Conflict, GreenroomError, Refused
from greenroom.events import ApprovalDecided
from greenroom.interfaces import BackendRequest
from greenroom.limits import Limits
from greenroom.logs.memory import MemoryStore
from greenroom.message_input import accepted_message
from greenroom.messages import FilePart, TextPart, ToolMessage, Usage, UserMessage
from greenroom.runtime.exchange import Exchange
from greenroom.runtime.feed import Entry
from greenroom.runtime.follow import Follower, Snapshot
from greenroom.runtime.operations import Operations
from greenroom.runtime.registry import Registry
from greenroom.runtime.watch import Watch
from greenroom.runtime.workspace import Workspaces
from greenroom.toolsets.contained import Workspace
from harness import Bench
from simulation.unreliable import UnreliableStore

LIMITS = Limits(
    retry_base_s=0.05, retry_wait_s_max=1.0, drain_s_max=0.2, reader_entries_max=24, read_page_bytes=700, queue_max=6
)
# Every test that lives in this world carries `pytestmark = pytest.mark.virtual_time`: its sleeps take no time.
POLICIES: Sequence[Overlap] = get_args(Overlap)
MODELS = (SessionConfig().llm_model, "m1", "m2")
REFUSABLE: Sequence[Refused] = ("tools", "reasoning_effort", "attachment", "content")
TABOO = "the word that a filter does not take"
PROBE = "are you there?"


PICTURE = {"media_type": "image/png", "data": "iVBORw0KGgo=", "name": "a.png"}


class VirtualClock:
    """The wall clock of a world whose loop has a clock of its own."""

    def now_ms(self) -> int:
        return 1_700_000_000_000 + int(asyncio.get_running_loop().time() * 1000)


class Process:
    """One process: a runtime on its own way to the shared store."""

    def __init__(self, store: UnreliableStore, bench: Bench, user_budget: UserBudget | None) -> None:
        self.store = store
        self.registry = Registry(
            store=store,
            families=bench,
            workspaces=Workspaces(Path("/nonexistent"), open_folder=Workspace),
            clock=VirtualClock(),
            limits=LIMITS,
            user_budget=user_budget,
        )
        self.watch = Watch(self.registry)
        self.registry.on_interest = self.watch.start
        self.registry.take_in = self.watch.take_in
        self.operations = Operations(self.registry)
        self.exchange = Exchange(self.registry, self.operations, self.watch)

    async def die(self) -> None:
        """Ends as by `kill -9`: from now on nothing is written, whatever is still under way."""
        self.store.is_dead = True
        await self.registry.tasks.end()
        for live in self.registry:
            live.throw_away()
        await self.store.close()

    async def close(self) -> None:
        """Ends in good order: what runs is handed over."""
        await self.registry.close()
        await self.store.close()


class Reading:
    """What one reader saw: entries behind each other since its last snapshot."""

    def __init__(self) -> None:
        self.start: Cursor | None = None
        self.entries: list[Entry] = []


class World:
    """Everything of one seed."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.shelf = MemoryStore()
        self.bench = Bench(ScriptedBackend(self._step))
        self.bench.look.runs = self.bench.put.runs = []
        self.processes: list[Process] = []
        self.sessions: list[str] = []
        self.acknowledged: dict[str, set[str]] = {}
        self.maybe: Counter[str] = Counter()
        self.again: Counter[str] = Counter()
        self.readings: list[tuple[str, Reading]] = []
        self.actions: Counter[str] = Counter()
        self.failures = 0
        self.user_budget = self.dice.choice([None, None, None, UserBudget(tokens=500)])
        self.is_calm = False
        # What each model refuses: decided by what a request has, so that the same request is refused again.
        self.rules: dict[str, frozenset[Refused]] = {
            model: frozenset(refused for refused in REFUSABLE if self.dice.random() < 0.25) for model in MODELS
        }

    async def run(self) -> None:
        """Lives through the seed, up to a calm end."""
        await self.shelf.open()
        for _ in range(self.dice.choice([1, 1, 2])):
            await self._start_process()
        for number in range(self.dice.choice([1, 2])):
            await self._create(f"s{number}")
        people = [self._person() for _ in range(self.dice.choice([2, 3]))]
        readers = [asyncio.ensure_future(self._reader()) for _ in range(2)]
        await asyncio.gather(*people)
        await self._calm_down()
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)
        for reader in readers:
            if not reader.cancelled():
                reader.result()
        for process in self.processes:
            await process.registry.close()

    # --- the cast -------------------------------------------------------------------------------------------------------

    async def _start_process(self) -> None:
        rate = self.dice.choice([0.0, 0.0, 0.02, 0.1])
        store = UnreliableStore(self.shelf.sibling(), self.dice, failure_rate=rate)
        await store.open()
        self.processes.append(Process(store, self.bench, self.user_budget))

    async def _create(self, session_id: str) -> None:
        dice = self.dice
        config = SessionConfig(
            backend="scripted",
            overlap=dice.choice(POLICIES),
            recovery=dice.choice(["resume", "resume", "close"]),
            approval=dice.choice([{}, {}, {"pay": "ask"}, {"p*": "ask", "put": "deny"}]),
            unknown_outcome=dice.choice(["tell", "ask"]),
            max_steps=dice.choice([3, 25]),
            turn_budget_tokens=dice.choice([None, None, 200]),
            fallbacks=dice.choice([(), ("scripted:m2",)]),
            reasoning_effort=dice.choice([None, "low"]),
        )
        store = self.processes[0].store
        rate, store.failure_rate = store.failure_rate, 0.0
        await self.processes[0].operations.create(session_id, user_id="ann", config=config, labels=SessionLabels())
        store.failure_rate = rate
        self.sessions.append(session_id)
        self.acknowledged[session_id] = set()

    def _step(self, request: BackendRequest) -> list[Any]:
        if (refused := self._refused(request)) is not None:
            return [Fail(BackendRejected(f"no {refused} here", refused=refused))]
        if self.is_calm:
            return [Say("Here."), Finish(usage=Usage(input_tokens=2, output_tokens=1, cost_usd=0.0))]
        dice = self.dice
        cues: list[Any] = []
        if dice.random() < 0.4:
            cues.append(Think(["Hm, ", "so."]))
        if dice.random() < 0.8:
            cues.append(Say(["One ", "two ", "three."] * dice.choice([1, 1, 5])))
        if dice.random() < 0.5:
            cues.insert(dice.randrange(len(cues) + 1), Pause(dice.choice([0.01, 0.06, 0.5])))
        after_tools = isinstance(request.messages[-1], ToolMessage)
        called = [name for name in ("pay", "look", "put") if dice.random() < (0.15 if after_tools else 0.4)]
        cues += [Call(name, dice.choice(["{}", '{"a": 1}', "{broken"])) for name in called]
        ending = dice.random()
        if ending < 0.08:
            cues.append(Cut())
        elif ending < 0.14:
            cues.append(Fail(BackendUnavailable("busy", retry_after_s=dice.choice([None, 0.2]))))
        else:
            cues.append(Finish(usage=Usage(input_tokens=20, output_tokens=10, cost_usd=0.0)))
        return cues

    def _refused(self, request: BackendRequest) -> Refused | None:
        """Returns what the model does not take of the request, if it has it."""
        parts = [part for message in request.messages if isinstance(message, UserMessage) for part in message.parts]
        there: dict[Refused, bool] = {
            "tools": bool(request.tools),
            "reasoning_effort": request.reasoning_effort not in {None, "none"},
            "attachment": any(isinstance(part, FilePart) for part in parts),
            "content": any(isinstance(part, TextPart) and TABOO in part.text for part in parts),
        }
        return next((refused for refused in REFUSABLE if there[refused] and refused in self.rules[request.model]), None)

    # --- people ---------------------------------------------------------------------------------------------------------

    async def _person(self) -> None:
        for _ in range(self.dice.randrange(3, 9)):
            await asyncio.sleep(self.dice.choice([0.0, 0.0, 0.001, 0.03, 0.1, 0.7]))
            action = self.dice.choices(
                ["send", "cancel", "decide", "withdraw", "edit", "update", "kill", "close", "rewind"],
                [8, 2, 3, 1, 1, 1, 1, 0.7, 0.5],
            )[0]
            process, session_id = self.dice.choice(self.processes), self.dice.choice(self.sessions)
            self.actions[action] += 1
            try:
                await getattr(self, f"_{action}")(process, session_id)
            except GreenroomError:
                self.failures += 1  # the caller was told; what must hold is checked at the end

    async def _send(self, process: Process, session_id: str) -> None:
        policy = self.dice.choice([None, *POLICIES])
        prompt = self.dice.choice([None, None, None, "Be brief."])
        key = self.dice.choice([None, None, "the same"])
        # Now and then another message comes under the key, and is refused.
        text = "the keyed message" if key and self.dice.random() < 0.9 else f"message {self.dice.random():.6f}"
        files = [] if key else self.dice.choice([[], [], [], [PICTURE]])
        if not key and self.dice.random() < 0.15:
            text = f"{text}: {TABOO}"
        message = accepted_message(
            text, custom_prompt=prompt, idempotency_key=key, attachments=files, limits=LIMITS, at_ms=1
        )
        self.maybe[message.turn_id] += 1
        receipt = await process.exchange.send(session_id, message, overlap=policy)
        self.acknowledged[session_id].add(receipt.turn_id)

    async def _cancel(self, process: Process, session_id: str) -> None:
        await process.exchange.cancel(session_id)

    async def _decide(self, process: Process, session_id: str) -> None:
        await self.decide(process, session_id, self.dice.choice(["approve", "approve", "deny"]))

    async def decide(self, process: Process, session_id: str, decision: Any) -> None:
        """Decides about the first call that waits."""
        pending = pending_approvals(await process.operations.peek(session_id))
        if not pending:
            return
        if pending[0].question == "run_again" and decision == "approve":
            self.again[f"{session_id}/{pending[0].call_id}"] += 1
        decided = ApprovalDecided(approval_id=pending[0].approval_id, call_id="", decision=decision)
        await process.exchange.approve(session_id, decided)

    async def _withdraw(self, process: Process, session_id: str) -> None:
        state = await process.operations.peek(session_id)
        if state.queue:
            await process.exchange.withdraw(session_id, state.queue[-1].message.turn_id)

    async def _edit(self, process: Process, session_id: str) -> None:
        state = await process.operations.peek(session_id)
        if state.queue:
            parts = (TextPart(text="changed"),)
            await process.exchange.edit(session_id, state.queue[-1].message.turn_id, parts, keeps_files=True)

    async def _update(self, process: Process, session_id: str) -> None:
        state = await process.operations.peek(session_id)
        other = SessionConfig(
            backend="scripted", llm_model=self.dice.choice(["m1", "m2"]), approval=state.config.approval
        )
        await process.operations.roll_back(session_id, other, restores=1)

    async def _rewind(self, process: Process, session_id: str) -> None:
        state = await process.operations.peek(session_id)
        if state.turns:
            await process.operations.rewind(session_id, state.turns[-1].turn_id)

    async def _kill(self, process: Process, session_id: str) -> None:
        del session_id
        if process in self.processes:
            await self._start_process()
            self.processes.remove(process)
            await process.die()

    async def _close(self, process: Process, session_id: str) -> None:
        del session_id
        if process in self.processes:
            await self._start_process()
            self.processes.remove(process)
            await process.close()

    # --- readers --------------------------------------------------------------------------------------------------------

    async def _reader(self) -> None:
        """Reads, leaves, and comes back where it was, at any process."""
        session_id = self.dice.choice(self.sessions)
        position: Cursor | None = None
        reading = Reading()
        self.readings.append((session_id, reading))
        while True:
            process = self.dice.choice(self.processes)
            follower = Follower(process.registry, session_id, snapshot=lambda state, items: None, until_idle=False)
            patience = self.dice.randrange(1, 12)
            with suppress(GreenroomError):
                async with aclosing(follower.read(position)) as batches:
                    async for batch in batches:
                        if isinstance(batch, Snapshot):
                            reading = Reading()
                            reading.start = position = batch.cursor
                            self.readings.append((session_id, reading))
                            continue
                        if position is None or reading.start is None:
                            reading.start = position or Cursor()
                        reading.entries.extend(batch)
                        position = batch[-1].cursor
                        patience -= 1
                        if patience <= 0:
                            break
            await asyncio.sleep(self.dice.choice([0.0, 0.01, 0.2]))

    # --- the end --------------------------------------------------------------------------------------------------------

    async def _calm_down(self) -> None:
        """Stops the faults, decides what waits, and lets everything end; then asks each session once more."""
        for process in self.processes:
            process.store.failure_rate = 0.0
        process = self.processes[0]
        await self._rest(process)
        self.is_calm = True
        for session_id in self.sessions:
            probe = accepted_message(
                PROBE, custom_prompt=None, idempotency_key=None, attachments=(), limits=LIMITS, at_ms=1
            )
            await process.exchange.send(session_id, probe, overlap="enqueue")
        await self._rest(process)

    async def _rest(self, process: Process) -> None:
        for session_id in self.sessions:
            for _ in range(200):
                with suppress(Conflict):  # the other process was quicker
                    async with process.registry.using(session_id) as live:
                        await process.watch.look(live)
                state = await process.operations.peek(session_id)
                if state.is_waiting:
                    await self.decide(process, session_id, "deny")
                elif not state.is_busy and not await process.store.inbox.pending(session_id):
                    break
                await asyncio.sleep(0.5)
            else:
                raise AssertionError(f"session {session_id} does not come to rest")
