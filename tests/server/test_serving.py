"""A server process, and what reaches it before the application: connections, heads that never end, signals, the log."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from aiohttp import web

from contract.stage import becomes
from greenroom.limits import LOG_LINE_CHARACTERS_MAX, Limits
from greenroom.server.connection import bounded
from greenroom.server.logs import JsonLines, Lines, LogWriter, Redaction, log_to
from greenroom.server.proxies import Proxies
from greenroom.server.serving import DEFAULT_PORT, _is_many_clients, with_port
from greenroom.settings import load_settings
from greenroom.testing.loopback import Loopback
from server.process import TOKEN, free_port, running

HEAD = f"host: localhost\r\nauthorization: Bearer {TOKEN}\r\n"


async def exchange(port: int, data: bytes) -> tuple[bytes, bytes]:
    """Sends bytes, reads to the end of the connection; returns head and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


def posted(path: str, body: dict[str, Any]) -> bytes:
    """A request with JSON, after which the connection is closed."""
    content = json.dumps(body).encode()
    kind = f"content-type: application/json\r\ncontent-length: {len(content)}\r\n"
    return closing(f"POST {path} HTTP/1.1", kind) + content


def chunk(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    """A piece of an answer, as OpenAI's Chat Completions send it."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return f"data: {json.dumps({'id': 'c', 'object': 'chat.completion.chunk', 'model': 'm', 'choices': [choice]})}\n\n".encode()


def closing(first: str, rest: str = "") -> bytes:
    return f"{first}\r\n{HEAD}connection: close\r\n{rest}\r\n".encode()


async def test_heads_of_all_sorts(home: Path) -> None:
    limits = {"request_headers_bytes_max": 4096, "request_read_s_max": 0.5, "connections_max": 20}
    async with running(home, limits) as server:
        head, body = await exchange(server.port, closing("GET /v1/sessions HTTP/1.1"))
        assert b" 200 " in head
        assert json.loads(body)["sessions"] == []
        fits = 4096 - len(closing("GET /v1/sessions HTTP/1.1", "x-filler: \r\n"))
        head, _ = await exchange(server.port, closing("GET /v1/sessions HTTP/1.1", f"x-filler: {'x' * (fits - 1)}\r\n"))
        assert b" 200 " in head
        for above in (
            closing("GET /v1/sessions HTTP/1.1", f"x-filler: {'x' * (fits + 1)}\r\n"),
            closing(f"GET /{'x' * 5000} HTTP/1.1"),
            closing("GET / HTTP/1.1", "x: y\r\n" * 2000),
            b"GET / HTTP/1.1\r\nx: " + b"x" * 100_000,
        ):
            head, body = await exchange(server.port, above)
            assert b" 431 " in head, above[:40]
            assert json.loads(body)["error"]["code"] == "limit_exceeded"
        for garbage in (b"\x16\x03\x01\x02\x00", b"HELLO\r\n\r\n", b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
                        closing("GET / HTTP/1.1", "content-length: 5\r\ntransfer-encoding: chunked\r\n"),
                        closing("GET / HTTP/1.1", "bad header\r\n")):  # fmt: skip
            head, body = await exchange(server.port, garbage)
            assert b" 400 " in head, garbage
            assert json.loads(body)["error"]["code"] == "malformed_request"
        for slow in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: loc"):
            head, body = await exchange(server.port, slow)
            assert b" 408 " in head, slow
        slow_body = (
            closing("POST /v1/sessions HTTP/1.1", "content-type: application/json\r\ncontent-length: 10\r\n") + b"{"
        )
        head, body = await exchange(server.port, slow_body)
        assert b" 408 " in head
        two = closing("GET /healthz HTTP/1.1").replace(b"connection: close\r\n", b"") + closing("GET /healthz HTTP/1.1")
        assert (await exchange(server.port, two))[1].count(b'{"status":"ok"}') == 2, "one behind the other"
        opened = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(20)]
        head, body = await exchange(server.port, b"")
        assert b" 503 " in head
        assert b"retry-after" in head
        for _, writer in opened:
            writer.close()


CHUNKED = "content-type: application/json\r\ntransfer-encoding: chunked\r\n"


@pytest.mark.parametrize(
    ("first", "more"),
    [
        (b"2\r\n{}\r\n0\r\n", b"x: " + b"y" * 1000 + b"\r\n"),
        (b"2\r\n{}\r\n0\r\n", b"x" * 1000),
        (b"2\r\n{}\r\n0\r\nx: ", b"y" * 1000),
        (b"2;", b"y" * 1000),
        (b"", b"1;" + b"y" * 1000 + b"\r\n \r\n"),
    ],
    ids=["trailers", "name", "value", "extension", "extensions"],
)
@pytest.mark.parametrize("credential", [TOKEN, "somebody-who-may-not-come-in"])
async def test_what_stands_around_a_body_is_bounded(home: Path, first: bytes, more: bytes, credential: str) -> None:
    async with running(home, {"request_headers_bytes_max": 4096, "request_read_s_max": 20}) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = closing("POST /v1/sessions HTTP/1.1", CHUNKED).replace(b"connection: close\r\n", b"")
        writer.write(head.replace(TOKEN.encode(), credential.encode()) + first)
        with suppress(ConnectionError):  # it is closed while we send
            for _ in range(2_000):
                writer.write(more)
                await writer.drain()
        answer = b""
        with suppress(ConnectionError):
            answer = await reader.read()
        assert not answer.count(b"HTTP/1.1") > 1, "one answer at the most"
        writer.close()
        head, _ = await exchange(server.port, closing("GET /healthz HTTP/1.1"))
        assert b" 200 " in head


async def test_a_body_byte_by_byte_and_trailers_are_taken(home: Path) -> None:
    async with running(home, {"request_headers_bytes_max": 4096}) as server:
        body = json.dumps({"title": "t" * 400, "metadata": {"note": "n" * 5000}}).encode()
        pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
        trailers = b"0\r\nx-checksum: 1\r\nauthorization: Bearer other\r\n\r\n"
        head, made = await exchange(server.port, closing("POST /v1/sessions HTTP/1.1", CHUNKED) + pieces + trailers)
        assert b" 201 " in head
        assert json.loads(made)["title"] == "t" * 400


async def test_the_rest_of_a_request_that_was_answered_has_its_time(home: Path) -> None:
    async with running(home, {"request_read_s_max": 0.5}) as server:
        refused = closing("POST /v1/sessions HTTP/1.1", "content-length: 1000000\r\n").replace(
            TOKEN.encode(), b"nobody"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(refused.replace(b"connection: close\r\n", b""))
        with suppress(ConnectionError):
            for _ in range(10_000):
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)  # real time: the server's clock decides
                if reader.at_eof():
                    break
        assert reader.at_eof() or writer.is_closing()
        with suppress(ConnectionError):
            assert (await reader.read()).count(b"HTTP/1.1") == 1


def test_the_command_serves_and_stops(home: Path) -> None:
    config = home.parent / "greenroom.toml"
    config.write_text('default_backend = "scripted"\n', encoding="utf-8")
    command = [sys.executable, "-m", "greenroom", "serve", "--port", "0", "--home", str(home), "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        url = child.stdout.readline().strip()
        address, _, code = url.partition("login#code=")
        token = (home / "server-token").read_text(encoding="utf-8")
        assert token not in url, "S10: neither a journal nor a history gets the token"

        def asked(method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[Any, str]:
            request = urllib.request.Request(address + path, data=body, headers=headers, method=method)
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read()), answer.headers.get("set-cookie", "").partition(";")[0]

        assert asked("GET", "v1/sessions", authorization=f"Bearer {token}")[0]["sessions"] == []
        typed = {"content-type": "application/json"}
        _, cookie = asked("POST", "v1/login", json.dumps({"code": code}).encode(), **typed)
        assert asked("GET", "v1/login", cookie=cookie)[0]["by"] == "cookie"

        def command_of(*words: str) -> str:
            given = [sys.executable, "-m", "greenroom", *words, "--home", str(home), "--config", str(config)]
            return subprocess.run(given, capture_output=True, text=True, check=True, timeout=60).stdout

        link = command_of("login-link", "--url", address).strip()
        assert link.startswith(f"{address}login#code=grc_")
        _, second = asked("POST", "v1/login", json.dumps({"code": link.partition("=")[2]}).encode(), **typed)
        logins = json.loads(command_of("logins", "list", "--json"))["logins"]
        assert [row["user_id"] for row in logins] == ["default", "default"]
        own = asked("GET", "v1/login", cookie=cookie)[0]["login"]["login_id"]
        assert "1 logged out" in command_of("logins", "revoke", own)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            asked("GET", "v1/login", cookie=cookie)
        assert asked("GET", "v1/login", cookie=second)[0]["user_id"] == "default"
        child.terminate()
        assert child.wait(30) == 0
        lines = child.stderr.read()
    for secret in (token, code, link.partition("=")[2], cookie.partition("=")[2]):
        assert secret not in lines
    access = [json.loads(line) for line in lines.splitlines() if line.startswith("{")]
    assert (access[0]["route"], access[0]["status"], access[0]["user_id"]) == ("/v1/sessions", 200, "default")
    assert "request_id" in access[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "nobody has said who may come in"),
        (["--host", "no.such.host.invalid"], "nobody has said who may come in"),
        (["--port", "70000"], "65535"),
    ],
)
def test_the_command_refuses(home: Path, options: list[str], message: str) -> None:
    command = [sys.executable, "-m", "greenroom", "serve", "--home", str(home), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode in {1, 2}
    assert message in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_port_that_is_taken(home: Path) -> None:
    async with running(home) as server:
        command = [
            sys.executable,
            "-m",
            "greenroom",
            "serve",
            "--home",
            str(home / "other"),
            "--port",
            str(server.port),
        ]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=50, check=False)
        assert done.returncode in {1, 2}
        assert f"cannot listen at 127.0.0.1:{server.port}" in done.stderr
    assert free_port()


def test_where_no_port_was_chosen_the_next_free_one_is_taken(home: Path) -> None:
    # Case N9: the second `make run` ended with "make: *** Error 2" and a hint at an option that `make run` has not.
    settings = load_settings(file={"home": str(home)}, environment={})
    first = with_port(settings).port
    assert first is not None
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", first))
        other.listen()
        second = with_port(settings).port
        assert second is not None
        assert first < second < DEFAULT_PORT + 20
        chosen = load_settings(file={"home": str(home), "port": first}, environment={})
        assert with_port(chosen).port == first, "a port that was chosen is used, or it is an error"


async def test_the_command_takes_the_next_free_port_and_says_so(home: Path) -> None:
    command = [sys.executable, "-m", "greenroom", "serve", "--home", str(home)]
    addresses: list[str] = []
    notes: list[list[str]] = []
    servers = []
    try:
        for _ in range(2):
            server = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            servers.append(server)
            assert server.stdout is not None
            assert server.stderr is not None
            addresses.append((await server.stdout.readline()).decode())
            notes.append([(await server.stderr.readline()).decode()])
            while "login-link" not in notes[-1][-1]:
                notes[-1].append((await server.stderr.readline()).decode())
                assert notes[-1][-1], "the server says how to get another link"
    finally:
        for server in servers:
            server.send_signal(signal.SIGTERM)
        codes = [await server.wait() for server in servers]
    ports = [int(address.split(":")[2].split("/")[0]) for address in addresses]
    assert ports[0] != ports[1]
    assert f"`greenroom login-link --url http://127.0.0.1:{ports[1]}/`" in notes[1][-1], "its port stands nowhere else"
    assert notes[1][0] == f"port {DEFAULT_PORT} is taken: this server listens on {ports[1]}\n"
    assert codes == [0, 0]


# --- the log ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "the token is s3cr3t-and-long", "Authorization: Bearer abcdefgh", "GET /?token=abcdefgh HTTP/1.1", "api_key=abcdefgh",
        "http://x/login#code=grc_abcdefgh", "grc_abcdefgh-1",
        '{"api_key": "abcdefgh"}', "sk-abcdefghijkl", "eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl", "password: abcdefgh",
    ],
)  # fmt: skip
def test_secrets_are_not_written(text: str) -> None:
    written = Redaction(["s3cr3t-and-long", "", None, "the"])(text)
    assert "***" in written
    for secret in ("s3cr3t", "abcdefgh", "c2lnbmF0dXJl"):
        assert secret not in written
    assert Redaction(["the"])("the word is short") == "the word is short"


@pytest.mark.parametrize("piece", ["eyJ-", "eyJa.", "secret ", "api_key=", "bearer ", "sk-", "grc_", "?token="])
def test_a_long_line_is_searched_for_secrets_at_once(piece: str) -> None:
    """S17's sibling: one line of the log, of the length at which lines are cut, held the event loop for more than a second."""
    text = piece * (2 * LOG_LINE_CHARACTERS_MAX // len(piece))
    began_s = time.perf_counter()
    Redaction(["known-secret"])(text)
    assert time.perf_counter() - began_s < 0.3


@pytest.fixture
def _log_as_it_was() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("", "greenroom", "uvicorn", "greenroom.access")]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    logging.captureWarnings(False)
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers[:], logger.level, logger.propagate = handlers, level, propagate


@pytest.mark.usefixtures("_log_as_it_was")
def test_a_machine_gets_json_and_no_secrets(home: Path) -> None:
    stream = io.StringIO()
    log = log_to(stream, load_settings(file={"home": str(home)}, environment={}), "the-token-of-this-server")
    try:
        {}["the-token-of-this-server"]
    except KeyError:
        logging.getLogger("greenroom.server").exception("failed", extra={"request_id": "r1", "session_id": "s1"})
    logging.getLogger("greenroom.access").info("GET / 200", extra={"status": 200, "took_ms": 1.5, "turn_id": "t1"})
    logging.getLogger("greenroom").info("not at this level")
    log.flush()
    first, second = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert (first["level"], first["request_id"], first["session_id"]) == ("error", "r1", "s1")
    assert "KeyError: '***'" in first["traceback"]
    assert (second["status"], second["took_ms"], second["turn_id"]) == (200, 1.5, "t1")


def test_a_person_gets_a_line() -> None:
    record = logging.makeLogRecord({"msg": "GET / %d", "args": (200,), "levelname": "INFO", "took_ms": 2.5})
    assert Lines(Redaction([]), with_tracebacks=False).format(record) == "greenroom: INFO: GET / 200 in 2.5 ms"
    assert json.loads(JsonLines(Redaction([])).format(record))["took_ms"] == 2.5


def test_addresses_that_many_clients_come_from_have_no_bound() -> None:
    """S17: behind a trusted proxy, everybody has the proxy's address."""
    proxies = Proxies(["10.0.0.0/8"])
    assert [_is_many_clients(proxies, address) for address in ("", "127.0.0.1", "::1", "10.1.2.3")] == [True] * 4
    assert not any(_is_many_clients(proxies, address) for address in ("192.0.2.1", "2001:db8::1", "nonsense"))


async def test_connections_of_one_address_are_bounded() -> None:
    """S17: no connection limit per address. Here every client has one address, which is no proxy."""
    loop = asyncio.get_running_loop()
    limits = Limits(connections_per_address_max=2)
    kind = bounded(limits, is_exempt=lambda address: address == "proxy")
    config = uvicorn.Config(app=None, http=kind, log_config=None)  # type: ignore[arg-type]
    state = uvicorn.server.ServerState()
    config.load()
    server = await loop.create_server(lambda: kind(config=config, server_state=state, app_state={}), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        head, body = await exchange(port, b"")
        assert b" 503 " in head
        assert b"retry-after" in head
        assert json.loads(body)["error"]["code"] == "too_many_connections"
        opened.pop()[1].close()
        await becomes(lambda: kind.by_client["127.0.0.1"] == 1)
        _, another = await asyncio.open_connection("127.0.0.1", port)
        await becomes(lambda: kind.by_client["127.0.0.1"] == 2)
        assert len(state.connections) == 2, "what was closed counts no more"
        for writer in (another, opened[0][1]):
            writer.close()
    finally:
        server.close()
        await server.wait_closed()
    await becomes(lambda: not kind.by_client)


class _Unopened(asyncio.Transport):
    """A connection from an address that this machine has not."""

    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 1, 0, 0), "sockname": ("::1", 2, 0, 0)})
        self.written = b""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing waits here."""

    def is_closing(self) -> bool:
        return False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        """There is nothing to close."""

    def can_write_eof(self) -> bool:
        return False


async def test_the_addresses_of_one_ipv6_network_are_one_client() -> None:
    """S17's sibling: who has IPv6 has 2 ** 64 addresses, each of which had as many connections as one client may have."""
    kind = bounded(Limits(connections_per_address_max=2), is_exempt=lambda address: address == "2001:db8::99")
    config = uvicorn.Config(app=None, http=kind, log_config=None)  # type: ignore[arg-type]
    config.load()
    state = uvicorn.server.ServerState()
    opened = []
    for address in ("2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::99", "2001:db8:0:1::1"):
        transport, connection = _Unopened(address), kind(config=config, server_state=state, app_state={})
        connection.connection_made(transport)
        opened.append((transport, connection))
    assert [b" 503 " in transport.written for transport, _ in opened] == [False, False, True, False, False]
    assert kind.by_client == {"2001:db8::/64": 4, "2001:db8:0:1::/64": 1}
    for _, connection in opened:
        connection.connection_lost(None)
    assert not kind.by_client


@pytest.fixture
def full_pipe() -> Iterator[tuple[int, int]]:
    """A pipe that nobody reads, into which nothing fits any more: reading end, writing end."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while os.write(writing, b"x" * 65536):
            pass
    with suppress(BlockingIOError):
        while os.write(writing, b"x"):
            pass
    os.set_blocking(writing, True)
    yield reading, writing
    for descriptor in (reading, writing):
        with suppress(OSError):
            os.close(descriptor)


@pytest.mark.skipif(sys.platform == "win32", reason="fills a pipe of POSIX")
async def test_a_server_whose_output_nobody_reads_answers(home: Path, full_pipe: tuple[int, int]) -> None:
    """S18: after 64 KiB of access log that nobody read, the event loop stood in a write, and every request with it.

    Standard error and standard output are full from the beginning, for real. What does not fit is dropped, counted, and told when
    somebody reads again; and the server ends when it is told to. A stream that is open meanwhile goes on.
    """
    reading, writing = full_pipe
    port = free_port()
    home.mkdir(exist_ok=True)
    config = home / "greenroom.toml"
    may_end = asyncio.Event()
    provider = Loopback()

    async def answer(request: web.Request) -> web.StreamResponse:
        async def events() -> AsyncIterator[bytes]:
            yield chunk({"content": "One"})
            await may_end.wait()
            yield chunk({"content": "Two"}, finish_reason="stop")
            yield b"data: [DONE]\n\n"

        return await provider.stream(request, events())

    provider.route("POST", "/v1/chat/completions", answer)
    await provider.start()
    config.write_text(
        f'port = {port}\ntoken = "{TOKEN}"\ndefault_backend = "openai"\ndefault_model = "m"\n'
        f'[openai]\nbase_url = "{provider.url}/v1"\napi_key = "key-of-the-test"\n[limits]\nlog_waiting_bytes_max = 4000\n'
    )
    command = [sys.executable, "-m", "greenroom", "serve", "--home", str(home / "data")]
    environment = {**os.environ, "GREENROOM_CONFIG": str(config)}
    server = await asyncio.create_subprocess_exec(*command, env=environment, stdout=writing, stderr=writing)
    try:
        while True:  # nothing tells that it listens: its output is full
            with suppress(ConnectionError):
                head, _ = await exchange(port, closing("GET /healthz HTTP/1.1"))
                break
            assert server.returncode is None
            await asyncio.sleep(0.05)  # real time: another process starts
        assert b" 200 " in head
        await exchange(port, posted("/v1/sessions", {"session_id": "open"}))
        stream, leaving = await asyncio.open_connection("127.0.0.1", port)
        leaving.write(posted("/v1/sessions/open/messages", {"message": "hello"}))
        await stream.readuntil(b'"One"')
        for path in ("/v1/sessions", "/nothing-here", f"/{'x' * 3000}") * 10:
            head, _ = await exchange(port, closing(f"GET {path} HTTP/1.1"))
            assert head.startswith(b"HTTP/1.1 ")
        await exchange(port, b"HELLO\r\n\r\n")  # uvicorn warns
        head, body = await exchange(port, closing("GET /metrics HTTP/1.1"))
        dropped = [line for line in body.decode().splitlines() if line.startswith("greenroom_log_lines_dropped_total")]
        assert float(dropped[0].split()[1]) > 0
        may_end.set()
        rest = await stream.read()
        assert b'"Two"' in rest
        assert b'"RUN_FINISHED"' in rest
        leaving.close()
        os.set_blocking(reading, False)
        written = b""
        while b"lines of the log were dropped" not in written:
            with suppress(BlockingIOError):
                written += os.read(reading, 65536).lstrip(b"x")
            await asyncio.sleep(0.01)  # real time: another process writes
        assert max(map(len, written.splitlines())) < 2000, "the path of a request is cut"
    finally:
        server.terminate()
        assert await asyncio.wait_for(server.wait(), 30) == 0
        await provider.stop()


class _Stuck(io.StringIO):
    """A stream whose first write waits until it may continue."""

    def __init__(self) -> None:
        super().__init__()
        self.may_continue = threading.Event()

    def write(self, text: str) -> int:
        self.may_continue.wait(60)
        return super().write(text)


def test_what_does_not_fit_is_dropped_counted_and_told() -> None:
    """S18: the writer of lines never waits, whatever the stream does."""
    stream = _Stuck()
    writer = LogWriter(stream, waiting_bytes_max=100, told=lambda count: f"{count} dropped")
    for number in range(50):
        writer.put(f"line {number:2}")
    assert writer.dropped == 50 - 100 // 8
    stream.may_continue.set()
    assert writer.flush(30)
    assert writer.flush(30)  # the line that tells was put while the first was written
    lines = stream.getvalue().splitlines()
    assert lines[:2] == ["line  0", "line  1"]
    assert f"{writer.dropped} dropped" in lines
    writer.put("later")
    assert writer.flush(30)
    assert stream.getvalue().endswith("later\n")
    stream.close()
    writer.put("to nobody")
    assert writer.flush(30)
    assert writer.dropped == 50 - 100 // 8 + 1, "a stream that was closed ends neither the thread nor the program"
    writer.close()


@pytest.mark.usefixtures("_log_as_it_was")
def test_lines_about_clients_without_a_login_are_few_and_short(home: Path) -> None:
    """S17: a client without a login wrote as many lines as it liked, each as long as it liked."""
    stream = io.StringIO()
    log = log_to(stream, load_settings(file={"home": str(home)}, environment={}), None)
    access, uvicorns = logging.getLogger("greenroom.access"), logging.getLogger("uvicorn.error")
    for _ in range(1000):
        access.info("GET /%s 401", "x" * 100_000)
        uvicorns.warning("Invalid HTTP request received.")
    access.info("GET / 200", extra={"user_id": "ada"})
    logging.getLogger("greenroom").warning("a warning of ours")
    logging.getLogger("some.library").warning("a warning of a library")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)  # as `log_to` has it; pytest has put its own way of warning in its place
        warnings.warn("a warning of Python", stacklevel=1)
    log.flush()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    messages = [line["message"] for line in lines]
    assert max(map(len, messages)) <= LOG_LINE_CHARACTERS_MAX + 1
    assert len([line for line in messages if " 401" in line or line.startswith(("GET /x", "Invalid"))]) < 700
    assert any("lines about clients without a login were left out" in message for message in messages)
    assert messages[-4:-1] == ["GET / 200", "a warning of ours", "a warning of a library"]
    assert "a warning of Python" in messages[-1]
    assert log.dropped > 1000
