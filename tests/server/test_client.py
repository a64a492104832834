"""`greenroom.client` against a server process: everything it does, and what it does when the server goes away."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from greenroom import InvalidArgument, LimitExceeded, NotSupported, SessionNotFound, UnknownBackend, UnknownSetting
from greenroom.client import Answer, Client, ServerUnavailable
from greenroom.client.connection import raised_as
from greenroom.client.frames import FrameDecoder, WireFrame
from greenroom.errors import GreenroomError, TurnInProgress
from server.process import TOKEN, ServerProcess, running
from server.serving_child import STORY

WHOLE = "".join(STORY)


async def answer_of(client: Client, session_id: str, **options: Any) -> Answer:
    answer = Answer()
    async for event in client.stream(session_id, "Tell", **options):
        answer.apply(event)
    return answer


async def test_everything_a_client_can_do(home: Path) -> None:
    async with running(home) as server, Client(server.url, TOKEN) as client:
        made = await client.create_session(title="Trip", temperature=0.5)
        session_id = made["session_id"]
        assert (await client.session(session_id))["settings"]["temperature"] == 0.5
        assert (await client.update_session(session_id, title="Journey"))["title"] == "Journey"
        assert await client.ask(session_id, "Tell") == WHOLE
        receipt = await client.send(session_id, "large 1", turn_id="second")
        assert (receipt["turn_id"], (await client.send(session_id, "large 1", turn_id="second"))["is_repeat"]) == (
            "second",
            True,
        )
        events = [event async for _, event in client.attach(session_id, receipt["cursor"])]
        assert events[-1]["type"] == "turn_ended"
        assert [message["role"] for message in await client.history(session_id)] == ["user", "assistant"] * 2
        assert await client.cancel(session_id) is False
        assert (await client.search("word7"))[0]["session_id"] == session_id
        await client.write_file(session_id, "a b/c.txt", b"contents")
        assert [file["path"] for file in await client.list_files(session_id)] == ["a b/c.txt"]
        assert await client.read_file(session_id, "a b/c.txt") == b"contents"
        copy = await client.fork_session(session_id)
        assert await client.read_file(copy["session_id"], "a b/c.txt") == b"contents"
        await client.delete_file(session_id, "a b")
        assert (
            await client.rewind_session(copy["session_id"], (await client.history(copy["session_id"]))[2]["turn_id"])
        )["turn_count"] == 1
        bundle = await client.export_session(session_id)
        await client.hibernate(session_id)
        await client.cleanup_session(session_id)
        assert (await client.import_session(bundle))["session_id"] == session_id
        assert len((await client.list_sessions())["sessions"]) == 2


async def test_errors_are_those_of_the_manager(home: Path) -> None:
    async with running(home, {"message_bytes_max": 100}) as server, Client(server.url, TOKEN) as client:
        session_id = (await client.create_session())["session_id"]
        assert (await client.usage(days=7))["usage"]["input_tokens"] == 0
        with pytest.raises(InvalidArgument, match="days"):
            await client.usage(days=0)
        with pytest.raises(SessionNotFound, match="no session 'nobody'"):
            await client.session("nobody")
        with pytest.raises(UnknownBackend):
            await client.create_session(backend="nonsense")
        with pytest.raises(UnknownSetting, match="tempreature"):
            await client.create_session(tempreature=1)
        with pytest.raises(LimitExceeded):
            await client.ask(session_id, "x" * 101)
        with pytest.raises(GreenroomError) as refused:
            async with Client(server.url, "wrong") as stranger:
                await stranger.list_sessions()
        assert refused.value.code == "unauthorized"
        for odd in ("..", ".", "a/b", "../healthz", "a?b", "a#b", "%2e%2e", ""):
            with pytest.raises(GreenroomError) as refused:
                await client.session(odd)
            assert refused.value.code in {"session_not_found", "not_found"}, odd


async def test_a_server_that_is_not_there() -> None:
    async with Client("http://127.0.0.1:9", TOKEN, patience_s=0.2) as client:
        with pytest.raises(ServerUnavailable, match="cannot be reached"):
            await client.list_sessions()
        with pytest.raises(ServerUnavailable):
            await client.ask("s", "Hello")


async def kill_under(home: Path, count: int, *, kill: bool) -> None:
    """Kills or stops a server under `count` running streams and starts it again: every client gets the exact text."""
    async with running(home, {"drain_s_max": 0.1}) as server:
        clients = [Client(server.url, TOKEN) for _ in range(count)]
        ids = [(await client.create_session())["session_id"] for client in clients]
        reading = [
            asyncio.ensure_future(answer_of(client, session_id))
            for client, session_id in zip(clients, ids, strict=True)
        ]
        await begun(clients[-1], ids[-1])
        await (server.kill() if kill else server.stop())
        assert not any(task.done() for task in reading), "the server went too late"
        await server.start()
        answers = await asyncio.gather(*reading)
        assert [(answer.text, answer.outcome) for answer in answers] == [(WHOLE, "success")] * count
        for client, session_id in zip(clients, ids, strict=True):
            said = await client.history(session_id)
            assert len(said) == 2
            assert "".join(part["text"] for part in said[1]["parts"]) == WHOLE
            await client.close()


async def begun(client: Client, session_id: str) -> None:
    """Waits until an answer is well under way, which may have yet to begin: following an idle session ends at once."""
    while True:
        async for _, event in client.attach(session_id):
            if event["type"] == "part_delta" and "word9" in event["delta"]:
                return


class Overtaken(Client):
    """Sees, when it first asks how a session is, a turn that has begun a moment before."""

    has_sent = False

    async def session(self, session_id: str) -> dict[str, Any]:
        if not self.has_sent:
            self.has_sent = True
            await self.send(session_id, "Hello")
        return await super().session(session_id)


async def test_a_turn_that_begins_when_an_idle_session_was_followed_is_no_lost_connection(home: Path) -> None:
    async with running(home) as server, Overtaken(server.url, TOKEN, patience_s=0) as client:
        session_id = (await client.create_session())["session_id"]
        events = [event async for _, event in client.attach(session_id)]
        assert "".join(event["delta"] for event in events if event["type"] == "part_delta") == WHOLE


async def test_a_killed_server_costs_its_clients_nothing(home: Path) -> None:
    await kill_under(home, 5, kill=True)


async def test_a_server_that_is_stopped_and_started_costs_its_clients_nothing(home: Path) -> None:
    await kill_under(home, 5, kill=False)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_server_killed_under_a_hundred_streams(home: Path) -> None:
    await kill_under(home, 100, kill=True)


async def test_a_stopped_server_finishes_what_runs_and_takes_nothing_more(home: Path) -> None:
    async with running(home, {"drain_s_max": 30}) as server, Client(server.url, TOKEN, patience_s=0) as client:
        session_id = (await client.create_session())["session_id"]
        reading = asyncio.ensure_future(answer_of(client, session_id))
        await begun(client, session_id)
        server.ask_to_stop()
        with pytest.raises(ServerUnavailable):  # noqa: PT012 - the signal takes a moment
            while True:
                await client.send((await client.create_session())["session_id"], "one more")
        assert (await reading).text == WHOLE
        assert await server.ended() == 0


async def test_clients_that_do_not_read_cost_bounded_memory_and_hold_nobody_up(home: Path) -> None:
    kilobytes, count = 2_000, 30
    async with running(home, counts_memory=True) as server, Client(server.url, TOKEN) as client:
        assert await client.ask((await client.create_session())["session_id"], "large 100") == "x" * 1024 * 100
        session_id = (await client.create_session())["session_id"]
        before = await server.held_bytes()
        writers = [await silent_reader(server, session_id, f"large {kilobytes}") for _ in range(count)]
        assert await client.ask(session_id, f"large {kilobytes}", turn_id="same") == "x" * 1024 * kilobytes
        held = await server.held_bytes() - before
        for writer in writers:
            writer.close()
        # All follow one answer. Each keeps what fits into its connection, not the 2 MB that it has not read.
        assert held < count * kilobytes * 1024 / 4, f"{held / 1e6:.0f} MB"


async def silent_reader(server: ServerProcess, session_id: str, message: str) -> asyncio.StreamWriter:
    """Asks for a stream and reads nothing of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    body = f'{{"message": "{message}", "turn_id": "same"}}'
    writer.write(
        f"POST /v1/sessions/{session_id}/messages HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {TOKEN}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
    )
    await reader.read(1)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    return writer


# --- the parts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_frames_come_out_of_pieces_of_any_size(size: int) -> None:
    text = ': open\nretry: 1000\n\nid: 1.0~1\ndata: {"a":"ö"}\n\n: keep-alive\n\ndata: [DONE]\n\nid: 2\n'.encode()
    decoder = FrameDecoder()
    found = [frame for at in range(0, len(text), size) for frame in decoder.feed(text[at : at + size])]
    assert found == [WireFrame("1.0~1", '{"a":"ö"}'), WireFrame("", "[DONE]")]


def test_a_snapshot_replaces_what_was_there() -> None:
    answer = Answer()
    for event in (
        {"type": "RUN_STARTED", "runId": "t1"},
        {"type": "TEXT_MESSAGE_START", "messageId": "t1-1.1.0"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "t1-1.1.0", "delta": "lost"},
        {"type": "MESSAGES_SNAPSHOT", "messages": [{"id": "t0-1.1.0", "role": "assistant", "content": "of another turn"},
                                                   {"id": "t1-1.2.0", "role": "assistant", "content": "kept"}]},
        {"type": "TEXT_MESSAGE_START", "messageId": "t1-1.2.0"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "t1-1.2.0", "delta": " and more"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "said-by-a-person", "delta": "no"},
        {"type": "RUN_FINISHED"},
    ):  # fmt: skip
        answer.apply(event)
    assert (answer.text, answer.outcome) == ("kept and more", "success")


@pytest.mark.parametrize(
    ("code", "kind"),
    [("session_not_found", SessionNotFound), ("turn_in_progress", TurnInProgress), ("not_supported", NotSupported)],
)
def test_a_code_becomes_its_error(code: str, kind: type[GreenroomError]) -> None:
    error = raised_as(code, "words", "remedy")
    assert type(error) is kind
    assert str(error) == "words (remedy)"


def test_the_client_loads_no_server() -> None:
    import subprocess

    probe = "import sys, greenroom.client; print([m for m in ('uvicorn', 'starlette', 'openai', 'jwt') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=50)
    assert done.stdout.strip() == "[]"
