"""A server whose tools misbehave goes on serving everybody else. Case T2 (BasisResearch/effectful#757)."""

from __future__ import annotations

import asyncio
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
