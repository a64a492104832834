"""The backend `local` between a scripted wire and a child process that is a double."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest

from greenroom.backends.local.backend import LocalBackend
from greenroom.backends.local.model import EMBEDDED, models_folder
from greenroom.backends.local.server import LocalServer
from greenroom.backends.scripted import Call, Cut, Fail, Gate, Say, ScriptedBackend, Step, Think
from greenroom.errors import BackendGarbled, BackendRejected, BackendUnavailable, ContextTooLong
from greenroom.interfaces import Backend, BackendRequest
from greenroom.messages import (
    AssistantMessage,
    PartDelta,
    StreamEnded,
    StreamItem,
    TextPart,
    ToolSpec,
    UserMessage,
)
from greenroom.testing.backend_conformance import Answer, BackendConformance, Fails
from greenroom.testing.backend_conformance import Stage as ConformanceStage

COMMAND = (sys.executable, "-I", str(Path(__file__).with_name("local_double.py")))
DICE = ToolSpec(name="roll", description="Rolls a die.", parameters={"type": "object", "properties": {}})
BROKEN = BackendUnavailable("the connection broke")


def user(text: str) -> UserMessage:
    return UserMessage(parts=(TextPart(text=text),))


def request(*messages: UserMessage | AssistantMessage, tools: Sequence[ToolSpec] = ()) -> BackendRequest:
    return BackendRequest(
        model="smollm2-135m-instruct",
        system="",
        messages=messages or (user("Hi"),),
        tools=tuple(tools),
    )


async def answer(backend: Backend, asked: BackendRequest | None = None) -> str:
    async with backend.stream(asked or request()) as stream:
        items: list[StreamItem] = [item async for items in stream for item in items]
    assert isinstance(items[-1], StreamEnded)
    return "".join(item.delta for item in items if isinstance(item, PartDelta))


class Stage:
    """A local backend whose wires play one script, in the order in which they are made and asked."""

    def __init__(self, home: Path, model_path: Path | None = None) -> None:
        self.home = home
        self.steps: list[Step] = []
        self.wires: list[ScriptedBackend] = []
        self.ways: list[tuple[str, str]] = []
        self.server = LocalServer(COMMAND, now_s=lambda: 0.0)
        self.backend = LocalBackend(self._wire, home=home, model_path=model_path, server=self.server)

    def _wire(self, base_url: str, api_key: str) -> ScriptedBackend:
        self.ways.append((base_url, api_key))
        self.wires.append(ScriptedBackend(lambda _: self.steps.pop(0)))
        return self.wires[-1]

    def kill(self) -> None:
        assert self.server.child is not None
        os.kill(self.server.child.pid, signal.SIGKILL)


def put_model(path: Path, *, size: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"GGUF")
    os.truncate(path, size)


@pytest.fixture
async def stage(home: Path) -> AsyncIterator[Stage]:
    """With what looks like the embedded model."""
    put_model(models_folder(home) / EMBEDDED.file_name, size=EMBEDDED.bytes)
    stage = Stage(home)
    yield stage
    await stage.backend.close()


@pytest.mark.every_loop
async def test_it_answers_through_the_wire_to_its_child(stage: Stage) -> None:
    stage.steps = ["Hello", "Hello again"]
    assert await answer(stage.backend) == "Hello"
    assert await answer(stage.backend) == "Hello again"
    assert stage.server.child is not None
    assert stage.ways == [("http://127.0.0.1:1/v1", stage.server.child.orders.api_key)] * 2
    assert all(wire.is_closed for wire in stage.wires)
    sent = stage.wires[0].requests[0]
    assert (sent.model, sent.temperature) == (EMBEDDED.name, 0.0)


async def test_nothing_is_started_before_the_first_request(stage: Stage) -> None:
    assert stage.backend.notices(request())
    assert stage.server.child is None
    await stage.backend.close()
    assert stage.server.child is None


async def test_keys_are_random(home: Path) -> None:
    keys = set()
    put_model(models_folder(home) / EMBEDDED.file_name)
    for _ in range(2):
        stage = Stage(home)
        stage.steps = ["Hello"]
        await answer(stage.backend)
        await stage.backend.close()
        keys.add(stage.ways[0][1])
    assert len(keys) == 2
    assert all(len(key) >= 32 for key in keys)


async def test_a_missing_model_says_how_to_get_it_and_is_found_once_it_is_there(home: Path) -> None:
    stage = Stage(home)
    with pytest.raises(BackendRejected, match="not here yet") as refused:
        await answer(stage.backend)
    assert refused.value.hint == "run: greenroom model pull"
    put_model(models_folder(home) / EMBEDDED.file_name)
    stage.steps = ["Hello"]
    assert await answer(stage.backend) == "Hello"
    await stage.backend.close()


@pytest.mark.every_loop
async def test_a_child_killed_in_mid_answer_is_named_and_the_next_request_works(stage: Stage) -> None:
    gate = Gate()
    stage.steps = [[Say("Hel"), gate, Fail(BackendGarbled("the connection broke"))], "Hello"]
    async with stage.backend.stream(request()) as stream:
        assert PartDelta(part=0, delta="Hel") in await anext(stream)
        stage.kill()
        gate.open()
        with pytest.raises(BackendUnavailable, match="ended by SIGKILL during the answer") as crash:
            await anext(stream)
    assert crash.value.hint == "serving"
    assert await answer(stage.backend) == "Hello"
    assert len({key for _, key in stage.ways}) == 2


async def test_a_child_that_dies_before_its_answer_is_named(stage: Stage) -> None:
    def dies(_: BackendRequest) -> Step:
        stage.kill()
        return Fail(BROKEN)

    backend = LocalBackend(lambda *_: ScriptedBackend(dies), home=stage.home, server=stage.server)
    with pytest.raises(BackendUnavailable, match="ended by SIGKILL"):
        await answer(backend)


async def test_a_wire_that_breaks_while_the_child_lives_is_not_the_childs_fault(stage: Stage) -> None:
    stage.steps = [[Say("Hel"), Fail(BROKEN)]]
    with pytest.raises(BackendUnavailable, match="the connection broke"):
        await answer(stage.backend)


async def test_a_transcript_that_does_not_fit_after_all_loses_its_oldest_turns(stage: Stage) -> None:
    stage.steps = [Fail(ContextTooLong("too long")), Fail(ContextTooLong("too long")), "Hello"]
    asked = request(
        *(user("1 " * 400), AssistantMessage(parts=(TextPart(text="one"),))),
        *(user("2 " * 400), AssistantMessage(parts=(TextPart(text="two"),))),
        user("3"),
    )
    assert await answer(stage.backend, asked) == "Hello"
    lengths = [len(sent.messages) for sent in stage.wires[0].requests]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] < lengths[0] == 5


async def test_a_last_turn_that_does_not_fit_is_an_error(stage: Stage) -> None:
    stage.steps = [Fail(ContextTooLong("too long"))]
    with pytest.raises(ContextTooLong):
        await answer(stage.backend)


async def test_the_embedded_model_says_what_it_is(stage: Stage) -> None:
    codes = [notice.code for notice in stage.backend.notices(request(tools=[DICE]))]
    assert codes == ["local_demo_model", "local_no_tools"]
    assert stage.backend.default_model == EMBEDDED.name


@pytest.mark.parametrize("template", ["{% if tools %}{{ tools }}{% endif %}", "{{ messages }}"])
async def test_another_models_tools_are_expected_from_its_file_and_then_known(tmp_path: Path, template: str) -> None:
    key, text = b"tokenizer.chat_template", template.encode()
    path = tmp_path / "my-tools.gguf"
    path.write_bytes(
        b"GGUF" + len(key).to_bytes(8, "little") + key + bytes([8, 0, 0, 0]) + len(text).to_bytes(8, "little") + text
    )
    stage = Stage(tmp_path, path)
    asked = msgspec.structs.replace(request(tools=[DICE]), model="my-tools")
    expected = [notice.code for notice in stage.backend.notices(asked)]
    assert expected == ([] if "tools" in template else ["local_no_tools"])
    stage.steps = ["Hello"]
    await answer(stage.backend, asked)
    assert stage.backend.notices(asked) == ()
    assert stage.wires[0].requests[0].tools == (DICE,)
    await stage.backend.close()


async def test_a_model_file_that_is_not_there_or_not_one_is_said(tmp_path: Path) -> None:
    missing = Stage(tmp_path, tmp_path / "none.gguf")
    assert missing.backend.notices(request()) == ()
    with pytest.raises(BackendRejected, match="there is no model file none"):
        await answer(missing.backend)
    path = tmp_path / "text.gguf"
    path.write_text("hello", encoding="utf-8")
    with pytest.raises(BackendRejected, match=r"text\.gguf is not a GGUF file"):
        await answer(Stage(tmp_path, path).backend)


async def test_close_ends_the_child_and_is_final(stage: Stage) -> None:
    stage.steps = ["Hello"]
    await answer(stage.backend)
    await stage.backend.close()
    await stage.backend.close()
    assert stage.server.child is not None
    assert stage.server.child.ended_at_s is not None
    with pytest.raises(BackendUnavailable, match="stopped"):
        await answer(stage.backend)


@pytest.mark.every_loop
class TestConformance(BackendConformance):
    """The promises of every backend, for a model with tools."""

    @asynccontextmanager
    async def stage(self, *answers: Answer) -> AsyncIterator[ConformanceStage]:
        steps = iter([played(answer) for answer in answers])
        wires: list[ScriptedBackend] = []

        def wire(_: str, __: str) -> ScriptedBackend:
            wires.append(ScriptedBackend(lambda _: next(steps)))
            return wires[-1]

        async def left() -> None:
            while any(wire.streams_open for wire in wires):  # noqa: ASYNC110 - nobody is told of it
                await asyncio.sleep(0)

        with TemporaryDirectory() as folder:
            path = Path(folder) / "with-tools.gguf"
            put_model(path)
            backend = LocalBackend(wire, home=path.parent, model_path=path, server=LocalServer(COMMAND))
            yield ConformanceStage(
                backend=backend,
                request_count=lambda: sum(wire.request_count for wire in wires),
                left=left,
                model=backend.default_model,
            )
            await backend.close()


def played(answer: Answer) -> Step:
    if isinstance(answer, Fails):
        return Fail(answer.error("scripted"))
    return [
        *([Think(answer.reasoning)] if answer.reasoning else ()),
        *([Say(answer.text)] if answer.text else ()),
        *(Call(use.name, use.arguments, call_id=use.call_id) for use in answer.calls),
        *([Gate()] if answer.holds else ()),
        *([Cut()] if answer.breaks else ()),
    ]


async def test_it_answers_for_no_model_but_its_own(stage: Stage) -> None:
    # Case N1: a session that asked for gpt-4o was answered by the embedded model, and named gpt-4o for ever.
    stage.steps = ["Hello"]
    asked = msgspec.structs.replace(request(), model="gpt-4o")
    with pytest.raises(BackendRejected, match="runs smollm2-135m-instruct, not gpt-4o") as caught:
        await answer(stage.backend, asked)
    assert caught.value.hint is not None
    assert "llm_model to 'smollm2-135m-instruct'" in caught.value.hint
    assert stage.wires == []
