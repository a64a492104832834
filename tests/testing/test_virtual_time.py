"""Virtual time keeps the order of real time and takes none of it.

Rule: real seconds are measured only to show that they did not pass; every bound is a hundred times what is needed.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from greenroom.testing.virtual_time import Deadlock, VirtualClock, VirtualTimeLoop, run

AN_HOUR_S = 3600.0


def virtual_loop() -> VirtualTimeLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    return loop


class TestJumping:
    def test_an_hour_of_sleep_takes_no_time(self) -> None:
        began = time.monotonic()

        async def main() -> float:
            await asyncio.sleep(AN_HOUR_S)
            return virtual_loop().time()

        assert run(main()) == AN_HOUR_S
        assert time.monotonic() - began < 5

    def test_a_timeout_fires_at_its_time(self) -> None:
        async def main() -> float:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(600):
                    await asyncio.Event().wait()
            return virtual_loop().time()

        assert run(main()) == 600

    def test_a_timeout_that_is_met_does_not_fire(self) -> None:
        async def main() -> str:
            async with asyncio.timeout(600):
                await asyncio.sleep(599)
            return "in time"

        assert run(main()) == "in time"

    def test_months_pass_too(self) -> None:
        # asyncio never asks its selector to sleep for more than a day at once.
        async def main() -> float:
            await asyncio.sleep(100 * 24 * AN_HOUR_S)
            return virtual_loop().time()

        assert run(main()) == pytest.approx(100 * 24 * AN_HOUR_S)

    def test_the_clock_stands_still_while_anything_can_run(self) -> None:
        async def main() -> float:
            for _ in range(1000):
                await asyncio.sleep(0)
            return virtual_loop().time()

        assert run(main()) == 0

    @given(st.lists(st.floats(min_value=0, max_value=1e6), min_size=1, max_size=20))
    def test_timers_fire_in_order_and_never_early(self, delays: list[float]) -> None:
        async def main() -> list[tuple[float, float]]:
            fired: list[tuple[float, float]] = []

            async def sleeper(delay: float) -> None:
                await asyncio.sleep(delay)
                fired.append((delay, virtual_loop().time()))

            async with asyncio.TaskGroup() as tasks:
                for delay in delays:
                    tasks.create_task(sleeper(delay))
            return fired

        fired = run(main())
        assert [delay for delay, _ in fired] == sorted(delays)
        assert all(at == pytest.approx(delay, abs=1e-6) for delay, at in fired)

    def test_it_counts_its_jumps(self) -> None:
        async def main() -> int:
            await asyncio.sleep(1)
            await asyncio.sleep(1)
            return virtual_loop().jumps

        assert run(main()) == 2

    def test_a_wall_clock_goes_along(self) -> None:
        async def main() -> int:
            clock = VirtualClock(start_ms=1000)
            await asyncio.sleep(AN_HOUR_S)
            return clock.now_ms()

        assert run(main()) == 3_601_000


class TestDeadlock:
    def test_it_is_an_error_that_names_who_waits_where(self) -> None:
        async def waits_for_nobody() -> None:
            await asyncio.Event().wait()

        async def main() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(waits_for_nobody(), name="forgotten")

        with pytest.raises(Deadlock, match=r"forgotten: .*Event.wait.* < .*waits_for_nobody"):
            run(main())

    def test_the_tasks_are_cancelled_properly_after_it(self) -> None:
        cleaned: list[str] = []

        async def main() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(10)
                cleaned.append("up")

        with pytest.raises(Deadlock):
            run(main())
        assert cleaned == ["up"]

    def test_a_pending_timer_is_no_deadlock(self) -> None:
        async def main() -> bool:
            event = asyncio.Event()
            virtual_loop().call_later(AN_HOUR_S, event.set)
            return await event.wait()

        assert run(main())


class TestThreads:
    def test_the_clock_waits_for_a_thread_job(self) -> None:
        release = threading.Event()

        async def main() -> tuple[str, float]:
            async def releases() -> None:
                release.set()

            async with asyncio.TaskGroup() as tasks, asyncio.timeout(0.001):
                job = tasks.create_task(asyncio.to_thread(lambda: release.wait() and time.sleep(0.05)))
                tasks.create_task(releases())
                await job
            return "done", virtual_loop().time()

        assert run(main()) == ("done", 0)

    def test_an_idle_worker_does_not_slow_the_jumps(self) -> None:
        async def main() -> None:
            await asyncio.to_thread(int)
            virtual_loop().patience_s = 1000
            await asyncio.sleep(AN_HOUR_S)

        run(main())

    def test_an_executor_of_ones_own_counts_too(self) -> None:
        async def main() -> tuple[float, int]:
            with ThreadPoolExecutor(1) as pool:
                async with asyncio.timeout(0.001):
                    answer = await virtual_loop().run_in_executor(pool, lambda: (time.sleep(0.05), 42)[1])
                return virtual_loop().time(), answer

        assert run(main()) == (0, 42)

    def test_a_job_that_raises_is_done_as_well(self) -> None:
        async def main() -> float:
            with pytest.raises(ValueError, match="invalid literal"):
                await asyncio.to_thread(int, "x")
            await asyncio.sleep(1)
            return virtual_loop().time()

        assert run(main()) == 1

    def test_a_thread_of_ones_own_is_given_patience(self) -> None:
        async def main() -> tuple[str, float]:
            loop = virtual_loop()
            loop.patience_s = 30
            answer: asyncio.Future[str] = loop.create_future()
            thread = threading.Thread(
                target=lambda: (time.sleep(0.05), loop.call_soon_threadsafe(answer.set_result, "hello"))
            )
            thread.start()
            async with asyncio.timeout(1):
                text = await answer
            thread.join()
            return text, loop.time()

        assert run(main()) == ("hello", 0)

    def test_patience_ends(self) -> None:
        # The thread says nothing: the clock goes on after the patience.
        silent = threading.Event()

        async def main() -> float:
            thread = threading.Thread(target=silent.wait)
            thread.start()
            try:
                await asyncio.sleep(AN_HOUR_S)
            finally:
                silent.set()
                thread.join()
            return virtual_loop().time()

        assert run(main()) == AN_HOUR_S

    def test_outside_work_needs_no_patience(self) -> None:
        async def main() -> float:
            loop = virtual_loop()
            loop.patience_s = 0
            answer: asyncio.Future[None] = loop.create_future()
            thread = threading.Thread(
                target=lambda: (time.sleep(0.05), loop.call_soon_threadsafe(answer.set_result, None))
            )
            with loop.outside_work():
                thread.start()
                async with asyncio.timeout(1):
                    await answer
            thread.join()
            return loop.time()

        assert run(main()) == 0

    def test_a_process_pool_works(self) -> None:
        async def main() -> int:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                return await virtual_loop().run_in_executor(pool, abs, -7)

        assert run(main()) == 7


class TestSockets:
    def test_bytes_on_their_way_are_not_jumped_over(self) -> None:
        async def main() -> tuple[bytes, float]:
            async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writer.write(b"you said " + await reader.readline())
                await writer.drain()
                writer.close()

            server = await asyncio.start_server(answers, "127.0.0.1", 0)
            async with server, asyncio.timeout(1):
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                writer.write(b"hello\n")
                said = await reader.read()
                writer.close()
                await writer.wait_closed()
            return said, virtual_loop().time()

        assert run(main()) == (b"you said hello\n", 0)

    def test_a_silent_socket_times_out(self) -> None:
        async def main() -> float:
            ours, theirs = socket.socketpair()
            reader, writer = await asyncio.open_connection(sock=ours)
            with theirs, pytest.raises(TimeoutError):
                async with asyncio.timeout(600):
                    await reader.read()
            writer.close()
            await writer.wait_closed()
            return virtual_loop().time()

        assert run(main()) == 600


@pytest.mark.virtual_time
class TestTheMarker:
    async def test_it_selects_the_loop(self) -> None:
        await asyncio.sleep(AN_HOUR_S)
        assert virtual_loop().time() == AN_HOUR_S

    async def test_each_test_begins_at_zero(self) -> None:
        assert virtual_loop().time() == 0


@pytest.mark.every_loop
async def test_every_loop_runs_on_asyncio_and_on_uvloop(request: pytest.FixtureRequest) -> None:
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop) == ("[uvloop]" in request.node.name)
