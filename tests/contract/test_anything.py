"""Anything in any order: whatever is done to a session, it can be used afterwards, and nothing that was accepted is lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from contract.conftest import OpenStage, in_memory, on_file
from contract.reading import FrontEnd, all_of, checked_run, text_of
from contract.stage import Stage, let_others_run, words
from greenroom import BackendGarbled, BackendRejected, BackendUnavailable, TurnInProgress
from greenroom.backends.scripted import Call, Cut, Fail, Finish, Gate, Refuse, Say, Think

T = TypeVar("T")

CALLS = [
    Call("roll_dice", {"notation": "2d6"}),
    Call("roll_dice", '{"notation": '),
    Call("no_such_tool", {}),
    Call("write_file", {"path": "../a", "content": "b"}),
    Call("remember", {"text": "something"}),
    Call("roll_dice", {}, call_id="same"),
    Call("random_choice", {"options": []}, call_id=""),
]
ENDS: list[Any] = [
    Cut(),
    Fail(BackendUnavailable("gone", retry_after_s=0.001)),
    Fail(BackendRejected("no")),
    Fail(BackendGarbled("what?")),
    Finish(reason="length"),
    Finish(),
]


class Chaos:
    """One session, a model that does anything, and a person who does anything to it."""

    def __init__(self, seed: int, open_stage: OpenStage) -> None:
        self.dice = random.Random(seed)
        self.open_stage = open_stage
        self.gates: list[Gate] = []
        self.is_calm = False
        self.accepted: list[str] = []
        self.rewound: set[str] = set()
        self.log: list[str] = []
        self.front_end = FrontEnd()
        self.cursor: str | None = None
        self.stages: list[Stage] = []
        self.stage: Stage
        self.session_id: str
        self.moves: list[Callable[[], Awaitable[object]]] = [
            self.send, self.send, self.stream, self.cancel, self.update, self.hibernate, self.rewind, self.fork,
            self.restart, self.read, self.read, self.open_gates, self.open_gates,
        ]  # fmt: skip

    def answer(self, _request: object) -> Any:
        if self.is_calm:
            return "Calm."
        cues: list[Any] = []
        for _ in range(self.dice.randint(0, 4)):
            gate = Gate()
            cue = self.dice.choice([Say(["a ", "b "]), Think(["c ", "d"]), Refuse("no"), gate, *CALLS])
            if cue is gate:
                self.gates.append(gate)
            cues.append(cue)
        if self.dice.random() < 0.4:
            cues.append(self.dice.choice(ENDS))
        return cues

    async def begin(self, managers: int) -> None:
        self.stages = [self.open_stage(self.answer) for _ in range(managers)]
        self.stage = self.stages[0]
        self.session_id = await self.stage.session(max_steps=4)

    async def move(self) -> None:
        self.stage = self.dice.choice(self.stages)
        chosen = self.dice.choice(self.moves)
        self.log.append(f"{chosen.__name__} at {self.stages.index(self.stage)}")
        try:
            await chosen()
        except TurnInProgress:
            self.log.append("  refused: a turn runs")
        if self.dice.random() < 0.5:
            await let_others_run()

    async def send(self) -> None:
        text = f"message {len(self.accepted):02}"
        await self.stage.manager.send(self.session_id, text)
        self.accepted.append(text)

    async def stream(self) -> None:
        text = f"message {len(self.accepted):02}"
        stream = self.stage.manager.stream_response(self.session_id, text)
        await self.through(anext(stream))
        self.accepted.append(text)
        await stream.aclose()

    async def cancel(self) -> None:
        await self.stage.manager.cancel(self.session_id)

    async def update(self) -> None:
        await self.stage.manager.update_session(self.session_id, llm_model=f"m{self.dice.randint(0, 3)}")

    async def hibernate(self) -> None:
        await self.stage.manager.hibernate(self.session_id)

    async def rewind(self) -> None:
        history = await self.stage.manager.history(self.session_id)
        if history:
            turn_id = self.dice.choice(history).turn_id
            await self.stage.manager.rewind_session(self.session_id, turn_id)
            first = next(place for place, message in enumerate(history) if message.turn_id == turn_id)
            self.rewound |= {message.text for message in history[first:] if message.role == "user"}

    async def fork(self) -> None:
        seq = self.dice.randint(1, self.stage.data(self.session_id)["last_seq"])
        fork = await self.stage.manager.fork_session(self.session_id, seq)
        assert self.stage.data(fork)["status"] == "idle"
        copy = await self.stage.manager.import_session(await self.stage.manager.export_session(fork))
        assert await self.stage.manager.history(copy) == await self.stage.manager.history(fork)
        was_calm, self.is_calm = self.is_calm, True
        assert text_of(await self.stage.say(fork, "Are you well?")) == "Calm."
        self.is_calm = was_calm

    async def restart(self) -> None:
        place = self.stages.index(self.stage)
        await self.stage.manager.close()
        self.stage = self.stages[place] = self.open_stage(self.answer)

    async def read(self) -> None:
        """The one reader goes on where it was, sees some more, and leaves again."""
        reader = self.stage.manager.attach(self.session_id, self.cursor)
        for number in range(self.dice.randint(1, 12)):
            frame = await self.through(anext(reader, None))
            if frame is None:
                break
            self.cursor = frame.cursor
            self.front_end.apply(frame.data, is_first=number == 0)
        await reader.aclose()

    async def open_gates(self) -> None:
        self.open_all()

    def open_all(self) -> None:
        for gate in self.gates:
            gate.open()

    async def end(self) -> None:
        self.is_calm = True
        frames = await self.through(all_of(self.stage.manager.attach(self.session_id, self.cursor)))
        self.front_end.apply_all(data for _, data in frames)

    async def through(self, work: Awaitable[T]) -> T:
        """Does something that takes as long as the model does, with all gates open."""
        doing = asyncio.ensure_future(work)
        while not doing.done():
            self.open_all()
            await let_others_run()
        return await doing


@pytest.mark.parametrize("seed", range(16))
@in_memory
async def test_a_session_survives_anything(open_stage: OpenStage, seed: int) -> None:
    chaos = Chaos(seed, open_stage)
    chaos.moves = [move for move in chaos.moves if move != chaos.restart]
    await survives(chaos, managers=1)


@pytest.mark.parametrize("seed", range(16))
@on_file
async def test_a_session_survives_restarts(open_stage: OpenStage, seed: int) -> None:
    await survives(Chaos(seed, open_stage), managers=1)


@pytest.mark.parametrize("seed", range(16))
@on_file
async def test_a_session_survives_two_managers(open_stage: OpenStage, seed: int) -> None:
    chaos = Chaos(seed, open_stage)
    # Which turns a rewind takes along is not known when another manager may just have added one.
    chaos.moves = [move for move in chaos.moves if move != chaos.rewind]
    await survives(chaos, managers=2)


async def survives(chaos: Chaos, *, managers: int) -> None:
    async with asyncio.timeout(30):
        await chaos.begin(managers)
        for _ in range(25):
            await chaos.move()
        await chaos.end()

    session_id = chaos.session_id
    for stage in chaos.stages:
        assert stage.data(session_id)["status"] == "idle", chaos.log
        history = await stage.manager.history(session_id)
        said = [message.text for message in history if message.role == "user"]
        kept = [text for text in chaos.accepted if text not in chaos.rewound]
        # What two processes accept at the same time has no order that a caller could know.
        assert (said if managers == 1 else sorted(said)) == sorted(kept), chaos.log
        answers = [message for message in history if message.role == "assistant"]
        assert len(answers) == len(said), chaos.log
        assert all(answer.outcome for answer in answers), chaos.log

    stage = chaos.stages[0]
    fresh = FrontEnd().apply_all(data for _, data in await all_of(stage.manager.attach(session_id)))
    for message_id in {**fresh.messages, **chaos.front_end.messages}:
        seen, is_there = chaos.front_end.messages.get(message_id), fresh.messages.get(message_id)
        assert content(seen) == content(is_there), (message_id, seen, is_there, chaos.log)
    receipt = await stage.manager.send(session_id, "Are you well?")
    frames = await all_of(stage.manager.attach(session_id, receipt.cursor))
    assert text_of(checked_run([data for _, data in frames])) == "Calm."
    assert "Are you well?" in words(stage.last_request)[-1][1]


def content(message: dict[str, Any] | None) -> Any:
    """What a person sees of a message: an empty one and none are the same."""
    calls = [call["function"] for call in (message or {}).get("toolCalls") or ()]
    return ((message or {}).get("content") or "", calls)
