"""The embedded model itself: a real llama.cpp server, really streaming, really killed."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from greenroom.backends.local import LocalBackend, LocalServer
from greenroom.backends.local.model import EMBEDDED, find_model, has_tools, models_folder
from greenroom.backends.local.server import Orders
from greenroom.backends.openai import OpenAIBackend
from greenroom.errors import BackendRejected, BackendUnavailable, ContextTooLong
from greenroom.interfaces import Backend, BackendRequest
from greenroom.messages import (
    AssistantMessage,
    FilePart,
    PartDelta,
    PartEnded,
    PartStarted,
    StreamEnded,
    StreamItem,
    TextPart,
    ToolCallPart,
    ToolMessage,
    ToolResult,
    TranscriptMessage,
    UserMessage,
)

pytestmark = [pytest.mark.local_model, pytest.mark.timeout(180)]


def user(text: str) -> UserMessage:
    return UserMessage(parts=(TextPart(text=text),))


def assistant(text: str) -> AssistantMessage:
    return AssistantMessage(parts=(TextPart(text=text),))


def request(*messages: TranscriptMessage, max_tokens: int | None = None) -> BackendRequest:
    return BackendRequest(model=EMBEDDED.name, system="", messages=messages, max_tokens=max_tokens)


STORY = request(user("Write a very long story about a dragon."), max_tokens=1500)


async def played(backend: Backend, asked: BackendRequest) -> list[StreamItem]:
    if isinstance(backend, LocalBackend):  # asked for the model that it has
        asked = msgspec.structs.replace(asked, model=backend.default_model)
    async with backend.stream(asked) as stream:
        return [item async for items in stream for item in items]


def text_of(items: list[StreamItem]) -> str:
    return "".join(item.delta for item in items if isinstance(item, PartDelta))


def local_backend(home: Path) -> LocalBackend:
    return LocalBackend(lambda base_url, api_key: OpenAIBackend(base_url=base_url, api_key=api_key), home=home)


def small_backend(tmp_path: Path, local_model: Path) -> LocalBackend:
    """With a file that nobody knows as the embedded model, and little context."""
    other = tmp_path / "other.gguf"
    other.symlink_to(local_model)
    return LocalBackend(
        lambda base_url, api_key: OpenAIBackend(base_url=base_url, api_key=api_key),
        home=tmp_path,
        model_path=other,
        context_tokens=512,
    )


def child_of(backend: LocalBackend) -> int:
    child = backend._server.child
    assert child is not None
    return child.pid


@pytest.fixture
def model_home(home: Path, local_model: Path) -> Path:
    models_folder(home).mkdir(parents=True)
    (models_folder(home) / EMBEDDED.file_name).symlink_to(local_model)
    return home


@pytest.fixture
async def backend(model_home: Path) -> AsyncIterator[LocalBackend]:
    backend = local_backend(model_home)
    yield backend
    await backend.close()


def test_the_pulled_model_is_the_embedded_one(model_home: Path) -> None:
    model = find_model(model_home)
    assert (model.name, model.is_embedded) == (EMBEDDED.name, True)
    assert not has_tools(model.path)


@pytest.mark.every_loop
async def test_it_answers_a_question_in_a_stream(backend: LocalBackend) -> None:
    items = await played(backend, request(user("What is the capital of France?")))
    assert "Paris" in text_of(items)
    assert sum(isinstance(item, PartDelta) for item in items) > 3
    assert items[0] == PartStarted(part=0, kind="text")
    assert PartEnded(part=0) in items
    end = items[-1]
    assert isinstance(end, StreamEnded)
    assert (end.reason, end.model) == ("stop", EMBEDDED.name)
    assert end.usage is not None
    assert end.usage.input_tokens > 0
    assert end.usage.output_tokens > 3


@pytest.mark.long
async def test_the_same_question_has_the_same_answer(backend: LocalBackend) -> None:
    asked = request(user("Name three fruits."), max_tokens=30)
    assert text_of(await played(backend, asked)) == text_of(await played(backend, asked))


@pytest.mark.long
async def test_an_answer_ends_even_if_the_model_would_not(backend: LocalBackend) -> None:
    items = await played(backend, request(user("Write a very long story about a dragon.")))
    end = items[-1]
    assert isinstance(end, StreamEnded)
    assert end.reason == "length"
    assert end.usage is not None
    assert end.usage.output_tokens == 256


@pytest.mark.long
async def test_more_requests_than_slots_wait_and_are_all_answered(backend: LocalBackend) -> None:
    asked = [request(user(f"Count to {number}."), max_tokens=20) for number in range(3, 8)]
    answers = await asyncio.gather(*(played(backend, question) for question in asked))
    assert all(isinstance(items[-1], StreamEnded) and text_of(items) for items in answers)


async def test_a_history_of_any_provider_is_taken(backend: LocalBackend) -> None:
    picture = FilePart(media_type="image/png", data=b"png", name="cat.png")
    call = ToolCallPart(call_id="c1", name="roll", arguments='{"sides": 6}')
    result = ToolMessage(results=(ToolResult(call_id="c1", name="roll", content="4"),))
    asked = request(
        *(UserMessage(parts=(TextPart(text="Look."), picture)), assistant("A cat.")),
        *(user("Roll."), AssistantMessage(parts=(call,)), result, assistant("A four.")),
        *(user("Again."), AssistantMessage(parts=(call,)), result),
        max_tokens=20,
    )
    assert isinstance((await played(backend, asked))[-1], StreamEnded)


@pytest.mark.long
async def test_a_chat_goes_on_when_its_context_is_full(tmp_path: Path, local_model: Path) -> None:
    backend = small_backend(tmp_path, local_model)
    turns = [message for number in range(60) for message in (user(f"Say {number} " * 9), assistant(f"{number} " * 9))]
    asked = request(*turns, user("Are you there?"), max_tokens=5)
    assert isinstance((await played(backend, asked))[-1], StreamEnded)
    assert "local_history_left_out" in [notice.code for notice in backend.notices(asked)]
    await backend.close()


@pytest.mark.long
async def test_digits_take_more_tokens_than_expected_and_the_chat_goes_on_all_the_same(
    tmp_path: Path, local_model: Path
) -> None:
    backend = small_backend(tmp_path, local_model)
    turns = [message for _ in range(6) for message in (user("0123456789" * 12), assistant("9876543210" * 6))]
    items = await played(backend, request(*turns, user("Are you there?"), max_tokens=5))
    assert isinstance(items[-1], StreamEnded)
    await backend.close()


async def test_a_message_beyond_the_context_is_an_error_and_the_next_one_works(backend: LocalBackend) -> None:
    with pytest.raises(ContextTooLong):
        await played(backend, request(user("word " * 5000)))
    assert isinstance((await played(backend, request(user("Hi"), max_tokens=5)))[-1], StreamEnded)


@pytest.mark.every_loop
async def test_killed_in_mid_answer_it_is_a_typed_error_and_the_next_request_works(backend: LocalBackend) -> None:
    async with backend.stream(STORY) as stream:
        await anext(stream)
        await anext(stream)
        pid = child_of(backend)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(BackendUnavailable, match="ended by SIGKILL during the answer"):
            async for _ in stream:
                pass
    assert isinstance((await played(backend, request(user("Hi"), max_tokens=5)))[-1], StreamEnded)
    assert child_of(backend) != pid


@pytest.mark.long
async def test_killed_between_two_answers_the_next_request_starts_it_again(backend: LocalBackend) -> None:
    await played(backend, request(user("Hi"), max_tokens=5))
    child = backend._server.child
    assert child is not None
    os.kill(child.pid, signal.SIGKILL)
    assert await child.crash() is not None
    assert isinstance((await played(backend, request(user("Hi"), max_tokens=5)))[-1], StreamEnded)


async def test_leaving_in_mid_answer_frees_the_slot(backend: LocalBackend) -> None:
    for _ in range(5):
        async with backend.stream(STORY) as stream:
            await anext(stream)
    async with asyncio.timeout(15):
        assert isinstance((await played(backend, request(user("Hi"), max_tokens=5)))[-1], StreamEnded)


async def test_close_ends_the_process_even_in_mid_answer(backend: LocalBackend) -> None:
    async with backend.stream(STORY) as stream:
        await anext(stream)
        pid = child_of(backend)
        await backend.close()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory in /proc")
async def test_idle_it_leaves_the_memory_and_comes_back(local_model: Path) -> None:
    server = LocalServer()
    orders = Orders(model_path=str(local_model), model_name="m", context_tokens=256, answer_tokens=8, idle_s=1)
    child = await server.start(lambda: orders)
    assert child.report is not None
    wire = OpenAIBackend(base_url=child.report.base_url, api_key=orders.api_key)
    await played(wire, request(user("Hi")))
    awake = await asyncio.to_thread(memory_of, child.pid)
    async with asyncio.timeout(30):
        while await asyncio.to_thread(memory_of, child.pid) > awake / 2:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.2)  # real time: llama.cpp measures how long nobody asked
    assert isinstance((await played(wire, request(user("Hi"))))[-1], StreamEnded)
    await wire.close()
    await server.close()


def memory_of(pid: int) -> int:
    fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
    return int(fields[1])


async def test_nobody_without_the_key_gets_in_and_no_page_reads_an_answer(backend: LocalBackend) -> None:
    await played(backend, request(user("Hi"), max_tokens=5))
    child = backend._server.child
    assert child is not None
    assert child.report is not None
    url = child.report.base_url

    def asked(path: str) -> tuple[int, str | None]:
        request = urllib.request.Request(url + path, headers={"Origin": "https://example.org"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.headers["Access-Control-Allow-Origin"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers["Access-Control-Allow-Origin"]

    assert await asyncio.to_thread(asked, "/models") == (401, "")
    assert await asyncio.to_thread(asked, "/chat/completions") == (401, "")


async def test_a_broken_model_is_rejected_with_the_reason(tmp_path: Path, local_model: Path) -> None:
    broken = tmp_path / "broken.gguf"
    with local_model.open("rb") as whole:
        broken.write_bytes(whole.read(100_000))
    backend = LocalBackend(lambda *_: OpenAIBackend(), home=tmp_path, model_path=broken)
    with pytest.raises(BackendRejected, match="broken cannot be loaded") as refused:
        await played(backend, request(user("Hi")))
    assert "failed to load model" in str(refused.value.hint)
    assert str(tmp_path) not in str(refused.value)
    await backend.close()


async def test_any_other_file_is_another_model(tmp_path: Path, local_model: Path) -> None:
    backend = small_backend(tmp_path, local_model)
    items = await played(backend, request(user("Hi"), max_tokens=5))
    assert isinstance(items[-1], StreamEnded)
    assert items[-1].model == "other"
    assert backend.notices(request(user("Hi"))) == ()
    await backend.close()


@pytest.fixture
def parent(model_home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process with the model running; its first line says the child's id."""
    code = f"""
import asyncio, sys
from pathlib import Path
from greenroom.backends.local.server import LocalServer, Orders

async def main():
    path = {str(models_folder(model_home) / EMBEDDED.file_name)!r}
    orders = Orders(model_path=path, model_name="m", context_tokens=512, answer_tokens=16)
    child = await LocalServer().start(lambda: orders)
    print(child.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="watches processes through pidfd")
def test_it_ends_with_a_parent_that_is_killed(parent: subprocess.Popen[bytes]) -> None:
    assert parent.stdout is not None
    child = os.pidfd_open(int(parent.stdout.readline()))
    try:
        parent.kill()
        readable, _, _ = select.select([child], [], [], 20)
        assert readable, "the model is still running"
    finally:
        os.close(child)


async def test_one_child_serves_several_backends_of_one_server(model_home: Path) -> None:
    server = LocalServer()
    backends = [
        LocalBackend(
            lambda base_url, api_key: OpenAIBackend(base_url=base_url, api_key=api_key), home=model_home, server=server
        )
        for _ in range(2)
    ]
    answers = await asyncio.gather(*(played(backend, request(user("Hi"), max_tokens=5)) for backend in backends))
    assert len(answers) == 2
    assert child_of(backends[0]) == child_of(backends[1])
    for backend in backends:
        await backend.close()


def test_the_whole_chat_needs_no_environment(model_home: Path) -> None:
    """In a process of its own: nothing of the development environment is needed, and nothing is printed."""
    code = f"""
import asyncio, json
from pathlib import Path
from greenroom.backends.local import LocalBackend
from greenroom.backends.openai import OpenAIBackend
from greenroom.interfaces import BackendRequest
from greenroom.messages import PartDelta, TextPart, UserMessage

async def main():
    wire = lambda base_url, api_key: OpenAIBackend(base_url=base_url, api_key=api_key)
    backend = LocalBackend(wire, home=Path({str(model_home)!r}))
    asked = BackendRequest(model="smollm2-135m-instruct", system="", max_tokens=20,
        messages=(UserMessage(parts=(TextPart(text="What is the capital of France?"),)),))
    async with backend.stream(asked) as stream:
        texts = [item.delta async for items in stream for item in items if isinstance(item, PartDelta)]
    print(json.dumps("".join(texts)))

asyncio.run(main())
"""
    environment = {"PATH": os.environ["PATH"]}
    # Nothing is closed by hand: the process must end all the same, and without a word.
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=60, env=environment, check=False
    )
    assert process.stderr == b""
    assert "Paris" in json.loads(process.stdout)
