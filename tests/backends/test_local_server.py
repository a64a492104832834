"""The child process of the local backend: started once, watched, restarted, and never left behind.

The child here is `local_double.py`; the real one is tested in `test_local_model.py`.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from greenroom.backends.local import server as server_module
from greenroom.backends.local.server import Child, LocalServer, Orders
from greenroom.errors import BackendRejected, BackendUnavailable

COMMAND = (sys.executable, "-I", str(Path(__file__).with_name("local_double.py")))

every_loop = pytest.mark.every_loop


def orders(does: str = "serves") -> Orders:
    return Orders(model_path="/secret/place/model.gguf", model_name=does, context_tokens=77, answer_tokens=5)


class ManualClock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def server(clock: ManualClock) -> AsyncIterator[LocalServer]:
    server = LocalServer(COMMAND, now_s=clock)
    yield server
    await server.close()


async def started(server: LocalServer, does: str = "serves") -> Child:
    return await server.start(lambda: orders(does))


async def killed(child: Child) -> BackendUnavailable:
    os.kill(child.pid, signal.SIGKILL)
    error = await child.crash()
    assert error is not None
    return error


def wait_for_end(pidfd: int) -> None:
    readable, _, _ = select.select([pidfd], [], [], 20)
    assert readable, "the process is still alive"


@every_loop
async def test_it_gives_its_orders_and_gets_a_report(server: LocalServer) -> None:
    child = await started(server)
    assert child.report is not None
    assert child.report.context_tokens == 77
    assert child.report.base_url == "http://127.0.0.1:1/v1"
    assert await child.crash() is None


@every_loop
async def test_closing_ends_the_child_by_the_end_of_its_input_and_leaves_no_thread(server: LocalServer) -> None:
    child = await started(server)
    pid = child.pid
    await server.close()
    await server.close()
    error = await child.crash()
    assert error is not None
    assert "ended with status 0" in error.message
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(BackendUnavailable, match="stopped"):
        await started(server)


async def test_the_threads_end_with_the_child(server: LocalServer) -> None:
    child = await started(server)
    lives = [thread for thread in threading.enumerate() if thread.name == "greenroom-local-model"]
    await server.close()
    for thread in lives:
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()
    assert child.ended_at_s is not None


@every_loop
async def test_many_first_requests_start_one_child(server: LocalServer) -> None:
    children = await asyncio.gather(*(started(server) for _ in range(5)))
    assert len({child.pid for child in children}) == 1


async def test_a_first_request_that_gives_up_leaves_the_start_to_the_others(server: LocalServer) -> None:
    impatient = asyncio.ensure_future(started(server))
    while server.child is None:  # noqa: ASYNC110 - nothing tells when it is there
        await asyncio.sleep(0)
    impatient.cancel()
    child = await started(server)
    assert child is server.child
    with pytest.raises(asyncio.CancelledError):
        await impatient


@every_loop
async def test_a_killed_child_is_an_error_with_its_last_words_and_the_next_request_starts_another(
    server: LocalServer,
) -> None:
    child = await started(server)
    error = await killed(child)
    assert error.message == "the local model was ended by SIGKILL during the answer"
    assert error.hint == "serving"
    again = await started(server)
    assert again is not child
    assert await again.crash() is None


async def test_a_child_that_keeps_dying_is_started_with_growing_pauses(server: LocalServer, clock: ManualClock) -> None:
    await killed(await started(server))
    await killed(await started(server))
    with pytest.raises(BackendUnavailable, match="failed 2 times") as refused:
        await started(server)
    assert refused.value.retry_after_s == 0.5
    clock.now_s += 0.5
    await killed(await started(server))
    with pytest.raises(BackendUnavailable, match="failed 3 times") as refused:
        await started(server)
    assert refused.value.retry_after_s == 1.0
    clock.now_s += 1.0
    child = await started(server)
    clock.now_s += 60.0
    await killed(child)
    assert await (await started(server)).crash() is None


@every_loop
async def test_a_model_that_cannot_be_loaded_is_rejected_without_its_place(server: LocalServer) -> None:
    with pytest.raises(BackendRejected, match="fails cannot be loaded") as refused:
        await started(server, "fails")
    assert refused.value.hint == "llama: failed to load model from model.gguf"


async def test_a_child_that_dies_while_loading_is_weather(server: LocalServer) -> None:
    with pytest.raises(BackendUnavailable, match="was ended by SIGABRT while it was loaded"):
        await started(server, "dies")


async def test_a_child_that_says_something_else_is_weather(server: LocalServer) -> None:
    with pytest.raises(BackendUnavailable, match="ended with status 0 while it was loaded"):
        await started(server, "lies")


async def test_a_child_that_never_serves_is_killed(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "START_S_MAX", 0.1)
    with pytest.raises(BackendUnavailable, match="was not ready"):
        await started(server, "hangs")
    assert server.child is not None
    assert await server.child.crash() is not None


async def test_much_talk_neither_blocks_the_child_nor_fills_memory(server: LocalServer) -> None:
    child = await started(server, "talks")
    error = await killed(child)
    assert error.hint == "line 19998 / line 19999 / serving"


async def test_secrets_of_the_environment_do_not_reach_the_child(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("MY_SECRET", "x")
    error = await killed(await started(server))
    assert error.hint == "serving"


async def test_a_command_that_does_not_exist_is_said() -> None:
    server = LocalServer(("/does/not/exist",))
    with pytest.raises(BackendUnavailable, match="while it was loaded") as refused:
        await started(server)
    assert refused.value.hint == "the process cannot be started: No such file or directory"
    await server.close()


async def test_without_the_extra_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(BackendRejected, match="xllamacpp") as refused:
        await started(LocalServer())
    assert refused.value.hint == 'pip install "greenroom[local]"'


def test_a_child_serves_one_event_loop_after_the_other() -> None:
    server = LocalServer(COMMAND)
    first = asyncio.run(started(server))
    second = asyncio.run(started(server))
    assert first is second
    asyncio.run(server.close())


@pytest.mark.skipif(sys.platform != "linux", reason="watches processes through pidfd")
def test_the_child_ends_when_its_parent_is_killed() -> None:
    parent_code = f"""
import asyncio, sys
from greenroom.backends.local.server import LocalServer, Orders

async def main():
    orders = Orders(model_path="m", model_name="serves", context_tokens=1, answer_tokens=1)
    child = await LocalServer({COMMAND!r}).start(lambda: orders)
    print(child.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", parent_code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.kill()
            wait_for_end(child)
        finally:
            os.close(child)
