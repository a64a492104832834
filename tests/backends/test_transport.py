"""The way to the providers: what can go wrong on it, who closes what, and when.

Every test goes both ways: directly, and through an SDK. That is OpenAI's here; nothing depends on it.
"""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import logging
import socket
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx2
import pytest
from aiohttp.client_reqrep import ConnectionKey

from backends.wire import END, EVENTS, HANG, Wire, chunked, head, serve
from greenroom.backends.clients import Client, DirectClient, SdkClient
from greenroom.backends.faults import Endpoint
from greenroom.backends.sse import SseSplitter
from greenroom.backends.transport import ByteStream, map_exceptions, open_stream
from greenroom.errors import (
    BackendError,
    BackendGarbled,
    BackendRejected,
    BackendUnauthorized,
    BackendUnavailable,
    ContextTooLong,
)
from greenroom.limits import DEFAULT_LIMITS, SSE_LINE_BYTES_MAX, Limits

if TYPE_CHECKING:
    from openai import AsyncOpenAI

pytestmark = pytest.mark.every_loop

BODY = {"model": "m", "messages": []}
HELLO = b"data: hello\n\n"
KEY = "sk-a-key-for-tests"


@pytest.fixture(params=["direct", "sdk"], autouse=True)
def way(request: pytest.FixtureRequest) -> str:
    """The kind of client that `client_for` makes in this test."""
    KIND[0] = str(request.param)
    return KIND[0]


KIND = ["direct"]


def endpoint_of(base_url: str, key: str = KEY) -> Endpoint:
    return Endpoint(
        provider="Test", base_url=base_url, key=key, key_variable="TEST_API_KEY", base_url_variable="TEST_BASE_URL"
    )


def client_for(base_url: str, *, key: str = KEY, limits: Limits = DEFAULT_LIMITS) -> Any:
    endpoint = endpoint_of(base_url, key)
    if KIND[0] == "direct":
        return DirectClient(endpoint, headers={"authorization": f"Bearer {key}"}, limits=limits)
    return sdk_client_for(endpoint, limits=limits)


def sdk_client_for(endpoint: Endpoint, *, limits: Limits = DEFAULT_LIMITS) -> SdkClient[AsyncOpenAI]:
    key, base_url = endpoint.key, endpoint.base_url

    def build(http_client: httpx2.AsyncClient) -> AsyncOpenAI:
        from openai import AsyncOpenAI

        return AsyncOpenAI(api_key=key, base_url=base_url, max_retries=0, http_client=http_client)

    return SdkClient(endpoint, build=build, limits=limits)


@asynccontextmanager
async def opened(base_url: str, limits: Limits = DEFAULT_LIMITS, **options: Any) -> AsyncIterator[ByteStream]:
    client = client_for(base_url, limits=limits)
    try:
        async with open_stream(client, "/chat/completions", BODY, **options) as chunks:
            yield chunks
    finally:
        await client.close()


async def read(base_url: str, limits: Limits = DEFAULT_LIMITS) -> bytes:
    async with opened(base_url, limits) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def failure_of(*answers: Any, limits: Limits = DEFAULT_LIMITS) -> BackendError:
    """Returns the error that a server with these answers causes."""
    async with serve(*answers) as wire:
        with pytest.raises(BackendError) as failed:
            await read(wire.base_url, limits)
    return failed.value


# --- the good way -------------------------------------------------------------------------------------------------------


async def test_bytes_arrive_as_they_are_sent() -> None:
    pieces = [EVENTS + chunked(b"data: one\n\n"), chunked(b"data: two\n\n"), END]
    async with serve(pieces) as wire, opened(wire.base_url, headers={"x-extra": "1"}) as chunks:
        assert b"".join([chunk async for chunk in chunks]) == b"data: one\n\ndata: two\n\n"
    [request] = wire.requests
    assert request.startswith("POST /v1/chat/completions HTTP/1.1\r\n")
    assert f"authorization: bearer {KEY}" in request.lower()
    assert "accept-encoding: identity" in request.lower()
    assert "x-extra: 1" in request.lower()
    assert wire.bodies == [b'{"model":"m","messages":[]}']


async def test_the_first_bytes_do_not_wait_for_the_rest() -> None:
    async with serve([EVENTS + chunked(HELLO), HANG]) as wire, opened(wire.base_url) as chunks:
        assert await chunks.read() == HELLO


async def test_a_large_body_is_sent() -> None:
    async with serve([EVENTS + chunked(HELLO) + END]) as wire:
        client = client_for(wire.base_url)
        async with open_stream(client, "/x", {"text": "x" * 3_000_000}) as chunks:
            assert await chunks.read() == HELLO
        await client.close()
    assert len(wire.bodies[0]) > 3_000_000


async def test_a_compressed_answer_is_unpacked() -> None:
    body = gzip.compress(HELLO)
    answer = head(content_type="text/event-stream", content_encoding="gzip", content_length=str(len(body))) + body
    async with serve(answer) as wire:
        assert await read(wire.base_url) == HELLO


async def test_a_redirection_is_followed() -> None:
    async with serve(EVENTS + chunked(HELLO) + END) as target:
        moved = head("307 Temporary Redirect", location=f"{target.base_url}/elsewhere", content_length="0")
        async with serve(moved) as wire:
            assert await read(wire.base_url) == HELLO
    assert target.requests[0].startswith("POST /v1/elsewhere")
    assert target.bodies == wire.bodies
    assert KEY not in target.requests[0], "another host must not get the key"


async def test_an_address_that_has_moved_is_named() -> None:
    moved = head("301 Moved Permanently", location="https://u:p@new.example/v1/x", content_length="0")
    async with serve(moved) as wire:
        client = DirectClient(endpoint_of(wire.base_url), headers={})
        with pytest.raises(BackendRejected, match="answered 301: it has moved") as failed:
            async with open_stream(client, "/x", BODY):
                pass
        await client.close()
    assert failed.value.hint == "set TEST_BASE_URL to the new address, https://new.example"


async def test_a_query_of_the_address_stays_one() -> None:
    async with serve(EVENTS + chunked(HELLO) + END) as wire:
        client = DirectClient(endpoint_of(f"{wire.base_url}/?api-version=1"), headers={})
        async with open_stream(client, "/x", BODY) as chunks:
            assert await chunks.read() == HELLO
        await client.close()
    assert wire.requests[0].startswith("POST /v1/x?api-version=1 HTTP/1.1\r\n")


async def test_credentials_in_the_address_are_sent_as_a_header() -> None:
    async with serve(EVENTS + chunked(HELLO) + END) as wire:
        assert await read(wire.base_url.replace("http://", "http://ann:secret@")) == HELLO
    assert "authorization: basic yw5uonnly3jlda==" in wire.requests[0].lower()


async def test_connections_are_used_again() -> None:
    answers = EVENTS + chunked(HELLO) + END
    connections = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(len(b'{"model":"m","messages":[]}'))
            writer.write(answers)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        client = client_for(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        for _ in range(2):
            async with open_stream(client, "/x", BODY) as chunks:
                assert await chunks.read() == HELLO
                await chunks.drain()
        await client.close()
    assert len(connections) == 1


async def test_drain_gives_up_on_a_body_that_goes_on() -> None:
    async with serve([EVENTS + chunked(HELLO), HANG]) as wire:
        async with opened(wire.base_url) as chunks:
            assert await chunks.read() == HELLO
            await chunks.drain()
        await wire.left.wait()


# --- leaving ------------------------------------------------------------------------------------------------------------


async def test_leaving_closes_the_connection() -> None:
    async with serve([EVENTS + chunked(HELLO), HANG]) as wire:
        async with opened(wire.base_url) as chunks:
            await chunks.read()
        await wire.left.wait()


async def test_an_error_of_the_caller_closes_the_connection_and_passes() -> None:
    async def ask(base_url: str) -> None:
        async with opened(base_url) as chunks:
            await chunks.read()
            raise ZeroDivisionError

    async with serve([EVENTS + chunked(HELLO), HANG]) as wire:
        with pytest.raises(ZeroDivisionError):
            await ask(wire.base_url)
        await wire.left.wait()


@pytest.mark.parametrize("answer", [[HANG], [EVENTS, HANG], [EVENTS + chunked(HELLO), HANG]])
async def test_cancelling_closes_the_connection(answer: list[bytes]) -> None:
    async with serve(answer) as wire:
        client = client_for(wire.base_url)

        async def ask() -> None:
            async with open_stream(client, "/x", BODY) as chunks:
                async for _ in chunks:
                    pass

        task = asyncio.create_task(ask())
        await wire.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wire.left.wait()
        await client.close()


async def test_cancelling_in_the_first_request_leaves_the_client_usable() -> None:
    async with serve(EVENTS + chunked(HELLO) + END) as wire:
        client = client_for(wire.base_url)
        first = asyncio.create_task(client.way())
        second = asyncio.create_task(client.way())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first, second])
        assert second.result() is await client.way()
        await client.close()


# --- broken ways --------------------------------------------------------------------------------------------------------


def unused_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_nobody_listens(host: str) -> None:
    address = f"http://{host}:{unused_port()}/v1"
    with pytest.raises(BackendUnavailable) as failed:
        await read(address)
    assert "refused the connection" in str(failed.value)
    assert f"is the server at {address} running? TEST_BASE_URL" in str(failed.value)


async def test_no_answer_at_all() -> None:
    error = await failure_of([HANG], limits=Limits(stream_idle_s_max=0.05))
    assert isinstance(error, BackendUnavailable)
    assert "silent" in error.message


async def test_silence_in_the_middle() -> None:
    limits = Limits(stream_idle_s_max=0.05)
    async with serve([EVENTS + chunked(HELLO), HANG]) as wire, opened(wire.base_url, limits) as chunks:
        assert await chunks.read() == HELLO
        with pytest.raises(BackendUnavailable, match="silent"):
            await chunks.read()


@pytest.mark.parametrize(
    ("answer", "expected", "said"),
    [
        (b"\x15\x03\x01 not HTTP\r\n\r\n", BackendGarbled, "does not speak HTTP"),
        (b"HTTP/1.1 200", BackendUnavailable, "before it answered"),
        ([EVENTS + chunked(HELLO)], BackendGarbled, "in the middle"),
        ([EVENTS + chunked(HELLO) + b"zz\r\n"], BackendGarbled, "does not speak HTTP"),
        (head(content_type="text/event-stream", content_length="999") + HELLO, BackendGarbled, "in the middle"),
        (head(content_type="text/html", content_length="15") + b"<h1>Welcome</h1>"[:15], BackendGarbled, "not an event stream"),
        (head(content_length="11") + b'{"a": true}', BackendGarbled, '{"a": true}'),
        (
            head(content_type="application/json", content_length="41") + b'{"error": {"message": "Overloaded, sorry"}'[:41] + b"}",
            BackendGarbled,
            "Overloaded",
        ),
        (head("302 Found", content_length="6") + b"moved!", BackendRejected, "answered 302: moved!"),
    ],
)  # fmt: skip
async def test_broken_answers(answer: Any, expected: type[BackendError], said: str) -> None:
    error = await failure_of(answer)
    assert isinstance(error, expected)
    assert said in error.message


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream", "text/plain; charset=utf-8"])
async def test_an_answer_that_is_not_streamed_is_one_event(content_type: str) -> None:
    """A sibling of P19: servers that do not stream, though they were asked to."""
    answer = json.dumps({"choices": [{"message": {"content": "x" * 100_000}}]}, indent=2).encode()
    pieces = [
        head(content_type=content_type, content_length=str(len(answer))),
        answer[:10],
        answer[10:90_000],
        answer[90_000:],
    ]
    async with serve(pieces) as wire:
        [payload] = SseSplitter().feed(await read(wire.base_url))
    assert json.loads(payload) == json.loads(answer)


@pytest.mark.parametrize("before", [[b"\n", b"   ", b" \n"], [b"      \n\n", b"\t"], [b" "]])
async def test_white_space_before_an_answer_that_is_not_streamed_is_no_beginning(before: list[bytes]) -> None:
    pieces = [EVENTS.replace(b"text/event-stream", b"application/json"), *map(chunked, before)]
    async with serve(
        [*pieces, chunked(b'  {"choices": [{"message": '), chunked(b'{"content": "x"}}]}\n'), END]
    ) as wire:
        [payload] = SseSplitter().feed(await read(wire.base_url))
    assert json.loads(payload) == {"choices": [{"message": {"content": "x"}}]}
    async with serve([EVENTS, *map(chunked, before[:1]), chunked(b"\n"), chunked(HELLO), END]) as wire:
        assert SseSplitter().feed(await read(wire.base_url)) == [b"hello"]


async def test_an_answer_that_is_not_streamed_is_bounded() -> None:
    answer = b'{"choices": [{"message": {"content": "' + b"x" * SSE_LINE_BYTES_MAX + b'"}}]}'
    error = await failure_of(head(content_type="application/json", content_length=str(len(answer))) + answer)
    assert isinstance(error, BackendGarbled)
    assert str(SSE_LINE_BYTES_MAX) in error.message


async def test_half_of_an_answer_that_is_not_streamed_is_none() -> None:
    answer = b'{"choices": [{"message": {"content": "x"}}]}'
    for half in (head(content_length="99") + answer, head(content_length="20") + answer[:20]):
        assert isinstance(await failure_of(half), BackendGarbled)


async def test_an_error_with_status_200_in_pieces() -> None:
    pieces = [
        head(content_type="application/json", content_length="52"),
        b'{"error": {"message": "Overl',
        b'oaded", "code": 503 } } }'[:24],
    ]
    error = await failure_of(pieces)
    assert isinstance(error, BackendUnavailable)
    assert "Overloaded" in error.message


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("400 Bad Request", BackendRejected),
        ("401 Unauthorized", BackendUnauthorized),
        ("404 Not Found", BackendRejected),
        ("413 Too Large", ContextTooLong),
        ("429 Too Many Requests", BackendUnavailable),
        ("500 Oops", BackendUnavailable),
        ("529 Overloaded", BackendUnavailable),
    ],
)
async def test_refusals(status: str, expected: type[BackendError]) -> None:
    body = f'{{"error": {{"message": "Sorry about {KEY}"}}}}'.encode()
    error = await failure_of(head(status, content_length=str(len(body)), retry_after="3") + body)
    assert type(error) is expected
    assert error.message == f"Test answered {status[:3]}: Sorry about [key]"
    if isinstance(error, BackendUnavailable):
        assert error.retry_after_s == 3.0


async def test_an_endless_refusal_is_not_read_to_its_end() -> None:
    async with serve([head("500 Oops", transfer_encoding="chunked"), *[chunked(b"x" * 60_000)] * 4, HANG]) as wire:
        with pytest.raises(BackendUnavailable):
            await read(wire.base_url)
        await wire.left.wait()


async def test_redirections_in_a_circle() -> None:
    async with serve(
        *[head("307 Temporary Redirect", location="/v1/again", content_length="0", connection="close")] * 30
    ) as wire:
        with pytest.raises(BackendRejected, match="without end"):
            await read(wire.base_url)


async def test_tls_to_a_server_without() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        with pytest.raises(BackendUnavailable, match="no trusted connection") as failed:
            await read(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    assert "SSL_CERT_FILE" in str(failed.value)


@pytest.mark.parametrize(
    "address", ["localhost:8000", "ftp://127.0.0.1/v1", "http://", "http://[::1/v1", "http://[", "http://a b/v1", "v1"]
)
async def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(BackendRejected, match="not the address of an API") as failed:
        await read(address)
    assert "http://127.0.0.1:8000/v1" in str(failed.value)


@pytest.mark.parametrize("key", ["sk-line-end\n", " sk-blank", "sk-“quoted”", "sk-\x00"])
async def test_keys_that_cannot_be_sent(key: str) -> None:
    client = client_for("http://127.0.0.1:1/v1", key=key)
    with pytest.raises(BackendUnauthorized, match="characters that no key has") as failed:
        await client.way()
    assert key.strip() not in str(failed.value)
    assert "TEST_API_KEY" in str(failed.value)


# --- failures by their class: those that no server on loopback can cause ------------------------------------------------


PLACE = ConnectionKey("host", 443, True, True, None, None, None)


@pytest.mark.parametrize(
    ("failure", "expected", "said"),
    [
        (aiohttp.ClientConnectorDNSError(PLACE, OSError(-2, "unknown")), BackendUnavailable, "the host of https://host/v1 is unknown"),
        (aiohttp.ConnectionTimeoutError("x"), BackendUnavailable, "in time"),
        (aiohttp.ClientProxyConnectionError(PLACE, OSError(111, "x")), BackendUnavailable, "proxy"),
        (aiohttp.ClientOSError(104, "Connection reset by peer"), BackendUnavailable, "Connection reset by peer"),
        (FileNotFoundError(2, "No such file", "/srv/secret.pem"), BackendUnavailable, "No such file"),
        (aiohttp.ClientError("odd"), BackendUnavailable, "odd"),
        (httpx2.ConnectError("odd"), BackendUnavailable, "odd"),
        (httpx2.InvalidURL("odd"), BackendRejected, "not the address"),
        (TimeoutError(), BackendUnavailable, "silent"),
        (BackendGarbled("as it is"), BackendGarbled, "as it is"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("wrapper", [None, RuntimeError("of an SDK")])
def test_failures_are_mapped(
    failure: Exception, expected: type[BackendError], said: str, wrapper: Exception | None
) -> None:
    endpoint = Endpoint(provider="Test", base_url="https://u:p@host/v1", key_variable="K", base_url_variable="U")
    if wrapper is not None:
        wrapper.__cause__ = failure
    with pytest.raises(expected) as failed, map_exceptions(endpoint):
        raise wrapper or failure
    assert said in failed.value.message
    assert "/srv" not in str(failed.value)


def test_bugs_are_not_mapped() -> None:
    endpoint = Endpoint(provider="Test", base_url="https://host/v1", key_variable="K", base_url_variable="U")
    with pytest.raises(KeyError), map_exceptions(endpoint):
        raise KeyError("bug")
    with pytest.raises(asyncio.CancelledError), map_exceptions(endpoint):
        raise asyncio.CancelledError


# --- proxies ------------------------------------------------------------------------------------------------------------


async def test_the_environments_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(EVENTS + chunked(HELLO) + END) as wire:
        monkeypatch.setenv("http_proxy", f"http://ann:se%20cret@127.0.0.1:{wire.port}")
        assert await read("http://api.example/v1") == HELLO
    assert wire.requests[0].startswith("POST http://api.example/v1/chat/completions")
    assert "proxy-authorization: basic yw5uonnlignyzxq=" in wire.requests[0].lower()


async def test_no_proxy_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{unused_port()}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    async with serve(EVENTS + chunked(HELLO) + END) as wire:
        assert await read(wire.base_url) == HELLO


async def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"127.0.0.1:{unused_port()}")
    with pytest.raises(BackendUnavailable, match="proxy"):
        await read("http://api.example/v1")


async def test_other_proxies_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1080")
    with pytest.raises(BackendRejected, match="socks5 proxy"):
        await read("http://api.example/v1")


# --- the client ---------------------------------------------------------------------------------------------------------


async def test_the_client_is_built_once_in_a_thread() -> None:
    threads = []

    def build(http_client: httpx2.AsyncClient) -> Any:
        threads.append(threading.current_thread())
        return http_client

    client = SdkClient(endpoint_of("http://127.0.0.1:1/v1"), build=build)
    first, second = await asyncio.gather(client.get(), client.get())
    assert first is second is await client.get()
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()
    await client.close()
    await client.close()
    assert await client.get() is not first
    await client.close()


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Returns what is said about connections that nobody closed; warnings about them fail a test by themselves."""
    gc.collect()
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


KEPT_ALIVE = [EVENTS + chunked(HELLO) + END, HANG]


async def ask_once(client: Client) -> None:
    async with open_stream(client, "/x", BODY) as chunks:
        assert await chunks.read() == HELLO
        await chunks.drain()


@contextmanager
def served_in_a_thread(*answers: Any) -> Iterator[Wire]:
    """As `serve`, in an event loop of its own that outlives those of the test."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    serving = serve(*answers)
    try:
        yield asyncio.run_coroutine_threadsafe(serving.__aenter__(), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(serving.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning"
)  # sockets belong to their loop, which asyncio closes over them
def test_one_client_in_many_event_loops(caplog: pytest.LogCaptureFixture) -> None:
    with served_in_a_thread(*[KEPT_ALIVE] * 3) as wire:
        client = client_for(wire.base_url)
        for _ in range(3):
            asyncio.run(ask_once(client))
        assert len(wire.requests) == 3
        del client
        assert complaints(caplog) == []


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_what_was_open_in_a_loop_that_is_closed_is_forgotten() -> None:
    """Case W18: a client that kept the connections of every loop it was ever asked in was noticed by no test."""
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def asked(client: Client) -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await ask_once(client)

    with served_in_a_thread(*[KEPT_ALIVE] * 3) as wire:
        client = client_for(wire.base_url)
        for _ in range(3):
            asyncio.run(asked(client))
        gc.collect()
        assert [loop() is None for loop in loops[:2]] == [True, True]
        del client
        gc.collect()


async def test_a_client_that_nobody_closes(caplog: pytest.LogCaptureFixture) -> None:
    async with serve(KEPT_ALIVE) as wire:
        client = client_for(wire.base_url)
        await ask_once(client)
        del client
        gc.collect()
        await wire.left.wait()
    assert complaints(caplog) == []
