"""A server whose tools misbehave goes on serving everybody else.

Cases T2 (BasisResearch/effectful#757), T6 and S4, T3 (vectorize-io/hindsight#2675) and P27 (cloudflare/agents PR 1615), with real processes.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path

import pytest

from greenroom.client import Client
from server.process import ServerProcess, running

CHILD = Path(__file__).with_name("tools_child.py")
ANN, BOB = "key-of-the-user-ann", "key-of-the-user-bob"
TOOLS = ["Fatal"]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the tools write down that they run."""
    path = tmp_path / "runs"
    monkeypatch.setenv("GREENROOM_TEST_RUNS", str(path))
    return path


async def session_of(client: Client) -> str:
    session_id: str = (await client.create_session(additional_tools=TOOLS))["session_id"]
    return session_id


def is_running(server: ServerProcess) -> bool:
    return server._process is not None and server._process.returncode is None


async def test_what_a_tool_raises_drops_no_stream(home: Path, runs: Path) -> None:
    async with running(home, child=CHILD) as server, Client(server.url, ANN) as ann, Client(server.url, BOB) as bob:
        waiting = asyncio.ensure_future(bob.ask(await session_of(bob), "call wait"))
        session_id = await session_of(ann)
        for name, told in (
            ("leave", "SystemExit: 3"),
            ("leave_in_task", "SystemExit: 4"),
            ("interrupt", "KeyboardInterrupt"),
        ):
            assert told in await ann.ask(session_id, f"call {name}")
            assert is_running(server)
        assert not waiting.done(), "the other user's stream was open all the time"
        Path(f"{runs}.go").touch()
        assert await waiting == "waited"


async def test_a_call_that_kills_the_server_is_given_up(home: Path, runs: Path) -> None:
    async with running(home, child=CHILD) as server:
        async with Client(server.url, ANN) as ann:
            session_id = await session_of(ann)
            await ann.send(session_id, "call die")
        deaths = 0
        while True:
            process = server._process
            assert process is not None
            async with Client(server.url, ANN) as ann:
                dying = asyncio.ensure_future(process.wait())
                at_rest = asyncio.ensure_future(is_at_rest(ann, session_id))
                await asyncio.wait({dying, at_rest}, return_when=asyncio.FIRST_COMPLETED)
                if not dying.done():
                    break
                at_rest.cancel()
                await asyncio.wait({at_rest})
            deaths += 1
            assert deaths < 10, "the server cannot be started any more"
            with suppress(AssertionError):  # it may die before it says that it listens
                await server.start()
        dying.cancel()
        assert deaths == 3
        assert len(runs.read_text().splitlines()) == 3
        async with Client(server.url, ANN) as ann:
            assert "started 3 times" in str(await ann.history(session_id))
            assert await ann.ask(session_id, "still there?") == "You said 'still there?'."


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "message",
    [
        "call die",
        pytest.param('calls [["die", {}], ["die", {}]]', marks=pytest.mark.long),
        pytest.param("call abort", marks=pytest.mark.long),
    ],
)
async def test_calls_that_kill_the_server_from_several_sessions_are_given_up(
    home: Path, runs: Path, message: str
) -> None:
    """T3's siblings: two sessions (or two calls of one step) whose calls kill are suspects of each other; the healthy third is not hurt."""
    async with running(home, child=CHILD) as server:
        # Without patience: the first message may have ended the server before the second arrives.
        async with Client(server.url, ANN, patience_s=0.0) as ann, Client(server.url, BOB) as bob:
            healthy = await session_of(bob)
            assert await bob.ask(healthy, "hello") == "You said 'hello'."
            sessions = [await session_of(ann) for _ in range(2)]
            sending = [ann.send(session_id, message) for session_id in sessions]
            await asyncio.gather(*sending, return_exceptions=True)
        deaths = 0
        while True:
            process = server._process
            assert process is not None
            async with Client(server.url, ANN, patience_s=0.0) as ann:
                dying = asyncio.ensure_future(process.wait())
                at_rest = asyncio.gather(*(is_at_rest(ann, session_id) for session_id in sessions))
                await asyncio.wait({dying, at_rest}, return_when=asyncio.FIRST_COMPLETED)
                if not dying.done():
                    break
                at_rest.cancel()
                await asyncio.wait({at_rest})
            deaths += 1
            assert deaths < 20, "the server cannot be started any more"
            with suppress(AssertionError):  # it may die before it says that it listens
                await server.start()
        dying.cancel()
        assert 3 <= deaths <= 8
        async with Client(server.url, ANN) as ann, Client(server.url, BOB) as bob:
            assert "started 3 times" in str(await ann.history(sessions[0]))
            assert await bob.ask(healthy, "still there?") == "You said 'still there?'."


async def is_at_rest(client: Client, session_id: str) -> None:
    """Waits until the session has nothing to do, whatever becomes of the server meanwhile."""
    while True:
        with suppress(Exception):
            if (await client.session(session_id))["status"] == "idle":
                return
        await asyncio.sleep(0.05)  # real time: another process works


async def test_stopping_the_server_is_no_attempt(home: Path, runs: Path) -> None:
    async with running(home, child=CHILD) as server:
        async with Client(server.url, ANN) as ann:
            session_id = await session_of(ann)
            await ann.send(session_id, "call wait")
        for number in range(4):
            while not (runs.exists() and len(runs.read_text().splitlines()) > number):  # noqa: ASYNC110
                await asyncio.sleep(0.02)  # real time: another process works
            assert await server.stop() == 0
            await server.start()
        Path(f"{runs}.go").touch()
        async with Client(server.url, ANN) as ann:
            await is_at_rest(ann, session_id)
            assert "waited" in str((await ann.history(session_id))[-1])
        assert len(set(runs.read_text().splitlines())) == 1, "always under the same key"


async def test_one_users_searches_delay_nobody_else(home: Path) -> None:
    """Cases T6 and S4: `(a+)+$` from three sessions of one user, and another user's file, tool and message."""
    limits = {"workspace_search_s_max": 20}
    async with (
        running(home, limits, child=CHILD) as server,
        Client(server.url, ANN) as ann,
        Client(server.url, BOB) as bob,
    ):
        theirs = [await session_of(ann) for _ in range(3)]
        search = {"pattern": "(a+)+$"}
        for session_id in theirs:
            await ann.write_file(session_id, "a.txt", b"a" * 5000 + b"!")
            await ann.send(session_id, f"calls {json.dumps([['search_files', search]] * 6)}")
        session_id = await session_of(bob)
        await bob.write_file(session_id, "b.txt", b"hello b")
        assert await bob.read_file(session_id, "b.txt") == b"hello b"
        assert "hello b" in await bob.ask(session_id, 'call read_file {"path": "b.txt"}')
        assert "b.txt" in await bob.ask(session_id, 'call search_files {"pattern": "hello"}')
        statuses = [(await ann.session(session_id))["status"] for session_id in theirs]
        assert statuses == ["running"] * 3, "the searches are still under way"
        for session_id in theirs:
            await ann.cancel(session_id)
