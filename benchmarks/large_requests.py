"""One user's largest allowed requests, of every shape, and how long another user waits meanwhile.

One user sends a few requests of a shape at once, from threads that do nothing but write and read sockets. Another one asks
for its status all the time, sends short messages, and follows an answer of a delta each 20 ms. What counts is the longest wait
while the large requests are under way, less the median wait of the same small request when nothing else happens.

Rule: a shape is as large as its limit allows, and is answered as it should be: a request that is refused at its door measures nothing.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Final

from benchmarks.contenders.orders import Failed
from benchmarks.fake_provider import provider
from benchmarks.measure import PACED_MS, Row, Sizes, quantiles_ms, run
from benchmarks.serving import readers, servers
from benchmarks.serving.servers import Server

GROUP: Final = "one user's largest requests: what another user waits longer"
TARGET_MS: Final = 100
MB: Final = 1024 * 1024
QUIET_S: Final = 0.5
STATUS_EVERY_S: Final = 0.002
MESSAGE_EVERY_S: Final = 0.05
SECONDS_MAX: Final = 120
ANSWER_DELTAS: Final = 100_000
AT_ONCE: Final = 4
_OK: Final = frozenset({200, 201, 202, 204})

_Make = Callable[[], Awaitable[bytes]]
"""Makes a request."""
_Where = Callable[[], list[float]]
"""Where its time is noted."""


@dataclass(frozen=True)
class Request:
    """What is sent, and with what it has to be answered."""

    method: str
    path: str
    body: bytes = b""
    media_type: str = "application/json"
    headers: str = ""
    answers: frozenset[int] = _OK


Make = Callable[[Server, int], Awaitable[Request]]
"""Returns a request of a user; in a new session each time, where it changes one."""


@dataclass(frozen=True)
class Shape:
    """One kind of large request."""

    name: str
    make: Make
    at_once: int = AT_ONCE


@dataclass
class Waits:
    """What the small requests of the other user took."""

    status_s: list[float] = field(default_factory=list)
    message_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)

    def kinds(self) -> Sequence[tuple[str, list[float]]]:
        return (("status", self.status_s), ("message", self.message_s), ("stream", self.late_s))


def rows(sizes: Sizes) -> list[Row]:
    """Measures `greenroom serve` over SQLite."""
    rounds = sizes.paced_rounds
    found: list[Row] = []
    endless = f"paced/1000000/{PACED_MS}"
    for large_answer, shapes in ((1, _requests()), (ANSWER_DELTAS, _answers())):
        try:
            with (
                provider() as base,
                servers.greenroom(
                    f"{base}/{endless}", claude_url=f"{base}/burst/{large_answer}", users=("a", "b")
                ) as server,
            ):
                found += run(_measured(server, shapes, rounds))
        except (Failed, EOFError, OSError, TimeoutError) as error:
            found.append(Row(GROUP, "greenroom serve, sqlite", 0, "", failure=f"{type(error).__name__}: {error}"))
    return found


async def _measured(server: Server, shapes: Sequence[Shape], rounds: int) -> list[Row]:
    other = _Other(server.as_user("b"))
    await other.begin()
    try:
        return [await _row(server.as_user("a"), other, shape, rounds) for shape in shapes]
    finally:
        await other.end()


async def _row(server: Server, other: _Other, shape: Shape, rounds: int) -> Row:
    worst: list[float] = []
    kinds: dict[str, float] = {}
    status_ms: list[float] = []
    took: list[float] = []
    try:
        for _ in range(rounds):
            requests = [await shape.make(server, number) for number in range(shape.at_once)]
            quiet = await other.quiet()
            usual = {name: median(waits) if waits else 0.0 for name, waits in quiet.kinds()}
            began_s = time.perf_counter()
            async with asyncio.timeout(SECONDS_MAX):
                waits = await other.during(asyncio.to_thread(_all_sent, server, requests))
            took.append(time.perf_counter() - began_s)
            delays = {name: (max(found) - usual[name]) * 1e3 for name, found in waits.kinds() if found}
            worst.append(max(delays.values()))
            kinds = {name: max(kinds.get(name, 0.0), delay) for name, delay in delays.items()}
            status_ms += [(wait - usual["status"]) * 1e3 for wait in waits.status_s]
    except (Failed, EOFError, OSError, TimeoutError) as error:
        return Row(GROUP, shape.name, 0, "ms", failure=f"{type(error).__name__}: {error}"[:300])
    _, p99_s = quantiles_ms([wait / 1e3 for wait in status_ms])
    told = ", ".join(f"{name} {delay:.0f}" for name, delay in kinds.items())
    note = f"{shape.at_once} at once, {median(took):.1f} s; p99 of a status {p99_s:.1f} ms; worst: {told}"
    return Row(GROUP, shape.name, median(worst), "ms", target=TARGET_MS, samples=worst, note=note)


# --- the other user -----------------------------------------------------------------------------------------------------


class _Other:
    """Asks for small things all the time."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._waits = Waits()
        self._asked: list[tuple[_Make, float, _Where]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._stream: readers.StreamReader | None = None
        self._transport: asyncio.BaseTransport | None = None

    async def begin(self) -> None:
        loop = asyncio.get_running_loop()
        followed = await readers.create(self._server)
        path = self._server.message.format(followed)
        transport, self._stream = await loop.create_connection(
            lambda: readers.StreamReader(self._server.mark), "127.0.0.1", self._server.port
        )
        self._transport = transport
        transport.write(readers.request(self._server, "POST", path, self._server.message_body))
        status = readers.request(self._server, "GET", "/v1/status")
        prefers = replace(self._server, headers=self._server.headers | {"prefer": "respond-async"})

        async def message() -> bytes:
            # Each in a session of its own: none waits for another, and no history grows.
            spoken = await readers.create(self._server, "claude")
            return readers.request(prefers, "POST", self._server.message.format(spoken), self._server.message_body)

        async def same() -> bytes:
            return status

        self._asked = [
            (same, STATUS_EVERY_S, lambda: self._waits.status_s),
            (message, MESSAGE_EVERY_S, lambda: self._waits.message_s),
        ]
        self._tasks = [loop.create_task(self._ask(*asked)) for asked in self._asked]
        await asyncio.sleep(QUIET_S)

    async def quiet(self) -> Waits:
        """Returns what it waits when nothing else happens."""
        return await self.during(asyncio.sleep(QUIET_S))

    async def during(self, work: Awaitable[object]) -> Waits:
        """Returns what it waits while `work` is done."""
        assert self._stream is not None
        self._waits, self._stream.late = Waits(), []
        await work
        await asyncio.sleep(0.05)  # what was asked for at the end is answered by then
        self._waits.late_s = self._stream.late
        ended = [(place, task) for place, task in enumerate(self._tasks) if task.done()]
        for place, _ in ended:  # only this shape has no figures: for the next one it is asked again
            self._tasks[place] = asyncio.get_running_loop().create_task(self._ask(*self._asked[place]))
        for _, task in ended:
            task.result()
        if self._stream.done.done():
            raise Failed(f"the other's stream ended: {self._stream.done.exception()}")
        return self._waits

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._transport is not None:
            self._transport.close()
        assert self._stream is not None
        await asyncio.gather(self._stream.done, return_exceptions=True)

    async def _ask(self, make: _Make, every_s: float, waits: _Where) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        while True:
            request = await make()
            began_s = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if int(head[9:12]) not in _OK:
                raise Failed(f"a small request was answered {head[:200]!r}")
            length = next(
                int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
            )
            await reader.readexactly(length)
            waits().append(time.perf_counter() - began_s)
            await asyncio.sleep(every_s)


# --- the user with the large requests -----------------------------------------------------------------------------------


def _all_sent(server: Server, requests: Sequence[Request]) -> None:
    """Sends requests at once, each from a thread of its own, and reads the answers to their ends."""
    errors: list[Exception] = []

    def sent(request: Request) -> None:
        try:
            _sent(server, request)
        except Exception as error:  # noqa: BLE001 # broad: of a thread, told by whoever waits for it
            errors.append(error)

    threads = [threading.Thread(target=sent, args=(request,)) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise Failed(str(errors[0])) from errors[0]


def _sent(server: Server, request: Request) -> bytes:
    lines = [
        f"{request.method} {request.path} HTTP/1.1",
        f"host: 127.0.0.1:{server.port}",
        "connection: close",
        *(f"{name}: {value}" for name, value in server.headers.items()),
        *([f"content-type: {request.media_type}", f"content-length: {len(request.body)}"] if request.body else []),
        *([request.headers] if request.headers else []),
    ]
    with socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS_MAX) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        try:
            connection.sendall(request.body)
        except (BrokenPipeError, ConnectionResetError):
            if request.answers == _OK:
                raise  # refused in the middle is what some are for
        pieces: list[bytes] = []
        try:
            while piece := connection.recv(MB):
                pieces.append(piece)
        except ConnectionResetError:
            if request.answers == _OK:
                raise
    answer = b"".join(pieces)
    if answer and int(answer[9:12]) not in request.answers:
        raise Failed(f"{request.method} {request.path} was answered {answer[:400]!r}")
    if not answer and request.answers == _OK:
        raise Failed(f"{request.method} {request.path} was not answered")
    return answer


def _answer_body(answer: bytes) -> bytes:
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"chunked" not in head.lower():
        return body
    pieces = []
    while body:
        size, _, body = body.partition(b"\r\n")
        pieces.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]
    return b"".join(pieces)


_random: Final = random.Random(11)
_FILES: Final[dict[str, bytes]] = {}


def _base64(size: int, begin: bytes) -> str:
    return base64.b64encode(begin + _random.randbytes(size - len(begin))).decode()


def _kept(name: str, make: Callable[[], bytes]) -> bytes:
    if name not in _FILES:
        _FILES[name] = make()
    return _FILES[name]


def _documents() -> list[dict[str, str]]:
    """Two documents at the limit of one, and a third: together what a body takes."""
    sizes = (10 * MB, 10 * MB, 3 * MB)
    return [{"media_type": "application/pdf", "name": "a.pdf", "data": _base64(size, b"%PDF-1.7\n")} for size in sizes]


def _images() -> list[dict[str, str]]:
    return [
        {"media_type": "image/gif", "name": "a.gif", "data": _base64(int(1.4 * MB), b"GIF89a\x01\x00\x01\x00")}
        for _ in range(16)
    ]


def _texts() -> list[dict[str, str]]:
    text = base64.b64encode(("Grüße, und viel Text. " * 480_000).encode()[: 10 * MB - 16]).decode()
    return [{"media_type": "text/plain", "name": "a.txt", "data": text}] * 2


def _quoted() -> list[dict[str, str]]:
    """Data URLs of which every byte is quoted."""
    return [
        {"media_type": "application/pdf", "name": "a.pdf", "data": "data:application/pdf," + "%25" * (10 * MB - 50)}
    ]


def _message(attachments: Callable[[], list[dict[str, str]]], text: str = "what is this?") -> Make:
    async def make(server: Server, number: int) -> Request:
        del number
        session_id = await readers.create(server, "claude")
        body = _kept(
            attachments.__name__ + text[:20],
            lambda: json.dumps({"message": text, "attachments": attachments()}).encode(),
        )
        return Request("POST", server.message.format(session_id), body)

    return make


def _nothing() -> list[dict[str, str]]:
    return []


def _long_text() -> str:
    return ('"Grüße"\n' * 130_000)[:800_000]


def _chat(body: Callable[[], dict[str, object]], path: str = "/api/chat", key: str = "id") -> Make:
    async def make(server: Server, number: int) -> Request:
        del number
        session_id = await readers.create(server, "claude")
        rest = _kept(path + body.__name__, lambda: json.dumps(body()).encode()[1:])
        return Request("POST", path, b'{"%s":"%s",' % (key.encode(), session_id.encode()) + rest)

    return make


def _ui_history() -> dict[str, object]:
    text = "some words that were said before, again and again. " * 105
    messages = [
        {"id": f"m{n}", "role": "user" if n % 2 else "assistant", "parts": [{"type": "text", "text": text}]}
        for n in range(4_999)
    ]
    return {"messages": [*messages, {"id": "m-last", "role": "user", "parts": [{"type": "text", "text": "go"}]}]}


def _ui_files() -> dict[str, object]:
    parts = [
        {"type": "file", "mediaType": file["media_type"], "url": f"data:application/pdf;base64,{file['data']}"}
        for file in _documents()
    ]
    return {"messages": [{"id": "m-last", "role": "user", "parts": [*parts, {"type": "text", "text": "go"}]}]}


def _agui_history() -> dict[str, object]:
    text = "some words that were said before, again and again. " * 50
    messages = [{"id": f"m{n}", "role": "user" if n % 2 else "assistant", "content": text} for n in range(11_999)]
    return {"runId": f"r{time.time_ns()}", "messages": [*messages, {"id": "m-last", "role": "user", "content": "go"}]}


def _agui_state() -> dict[str, object]:
    """A state of many small values, as deep as is taken."""
    deep: object = 1
    for _ in range(120):
        deep = [deep]
    values = {f"k{n}": {"a": 1, "b": "x" * 1_900} for n in range(15_000)}
    return {
        "runId": f"r{time.time_ns()}",
        "messages": [{"id": "m-last", "role": "user", "content": "go"}],
        "state": {"values": values, "deep": deep},
    }


def _agui_files() -> dict[str, object]:
    content: list[dict[str, object]] = [
        {"type": "document", "source": {"type": "data", "value": file["data"], "mimeType": "application/pdf"}}
        for file in _documents()
    ]
    content.append({"type": "text", "text": "go"})
    return {"runId": f"r{time.time_ns()}", "messages": [{"id": "m-last", "role": "user", "content": content}]}


def _refused(body: Callable[[], bytes], answers: frozenset[int]) -> Make:
    async def make(server: Server, number: int) -> Request:
        del number
        session_id = await readers.create(server, "claude")
        return Request("POST", server.message.format(session_id), _kept(body.__name__, body), answers=answers)

    return make


def _many_values() -> bytes:
    return b'{"message":"x","attachments":[' + b"{}," * (10 * MB) + b"{}]}"


def _no_base64() -> bytes:
    data = "A" * (13 * MB) + "!!"
    return json.dumps({"message": "x", "attachments": [{"data": data, "media_type": "image/gif"}] * 2}).encode()


def _unknown_member() -> bytes:
    return json.dumps({"message": "x", "more": "A" * (30 * MB)}).encode()


async def _patch(server: Server, number: int) -> Request:
    session_id = await readers.create(server, "claude")
    metadata = {f"k{n}": {"a": n} for n in range(3_000)}
    body = {"custom_persona_text": "x" * (256 * 1024), "metadata": metadata, "title": f"t{number}" * 40}
    return Request("PATCH", f"/v1/sessions/{session_id}", json.dumps(body).encode(), answers=_OK | {413, 422})


async def _put_file(server: Server, number: int) -> Request:
    session_id = await readers.create(server, "claude")
    body = _kept("file", lambda: _random.randbytes(16 * MB))
    return Request("PUT", f"/v1/sessions/{session_id}/workspace/a{number}.bin", body, "application/octet-stream")


async def _search(server: Server, number: int) -> Request:
    del server, number
    words = "%20".join(["some", "words", "x*", "%22a"] * 1_500)
    return Request("GET", f"/v1/search?query={words}&limit=500")


async def _login(server: Server, number: int) -> Request:
    del number
    body = json.dumps({"token": "x" * (MB - 100)}).encode()
    return Request(
        "POST",
        "/v1/login",
        body,
        headers=f"origin: http://127.0.0.1:{server.port}",
        answers=frozenset({401, 413, 422, 429}),
    )


_filled: Final[dict[tuple[int, str], str]] = {}


async def _session_with(server: Server, attachments: Callable[[], list[dict[str, str]]], times: int) -> str:
    """Returns a session in which so many messages with these attachments were answered."""
    key = (server.port, attachments.__name__)
    if key not in _filled:
        for _ in range(times):
            if key not in _filled:
                request = await _message(attachments)(server, 0)
                _filled[key] = request.path.split("/")[3]
            request = Request("POST", server.message.format(_filled[key]), request.body)
            await asyncio.to_thread(_sent, server, request)
    return _filled[key]


def _get(path: str, *, is_cold: bool = False) -> Make:
    """Reads a session with 46 MB of attachments, from memory or from the disk."""

    async def make(server: Server, number: int) -> Request:
        del number
        session_id = await _session_with(server, _documents, 2)
        if is_cold:
            await asyncio.to_thread(_sent, server, Request("POST", f"/v1/sessions/{session_id}/hibernate"))
        return Request("GET", path.format(session_id))

    return make


async def _fork(server: Server, number: int) -> Request:
    del number
    session_id = await _session_with(server, _documents, 2)
    return Request("POST", f"/v1/sessions/{session_id}/fork")


async def _import(server: Server, number: int) -> Request:
    del number
    session_id = await _session_with(server, _documents, 2)
    if "bundle" not in _FILES:
        answer = await asyncio.to_thread(_sent, server, Request("GET", f"/v1/sessions/{session_id}/export"))
        _FILES["bundle"] = _answer_body(answer)
    return Request("POST", "/v1/sessions/import", _FILES["bundle"], "application/zip")


async def _connect(server: Server, number: int) -> Request:
    session_id = await _session_with(server, _documents, 2)
    body = {"threadId": session_id, "runId": f"c{number}{time.time_ns()}", "messages": []}
    return Request("POST", "/copilotkit/agent/default/connect", json.dumps(body).encode())


def _requests() -> Sequence[Shape]:
    refused = frozenset({400, 413, 422})
    return (
        Shape("nothing large", _get_status),
        Shape("a message of 1 MB of text", _message(_nothing, _long_text())),
        Shape("a message with 23 MB of documents", _message(_documents), 2),
        Shape("a message with 16 images", _message(_images), 2),
        Shape("a message with 20 MB of text files", _message(_texts), 2),
        Shape("a message with a quoted data URL", _message(_quoted), 2),
        Shape("AI SDK: 28 MB of history", _chat(_ui_history), 2),
        Shape("AI SDK: 23 MB of documents", _chat(_ui_files), 2),
        Shape("AG-UI: 28 MB of history", _chat(_agui_history, "/agui", "threadId"), 2),
        Shape("AG-UI: a state of 45,000 values", _chat(_agui_state, "/agui", "threadId"), 2),
        Shape("AG-UI: 23 MB of documents", _chat(_agui_files, "/agui", "threadId"), 2),
        Shape("refused: 10 million values", _refused(_many_values, frozenset({413})), 16),
        Shape("refused: no base64", _refused(_no_base64, refused), 2),
        Shape("refused: an unknown member", _refused(_unknown_member, refused), 2),
        Shape("a change of all settings", _patch),
        Shape("a file of 16 MB", _put_file),
        Shape("a search for 6,000 words", _search),
        Shape("logins that are refused", _login),
        Shape("the messages of a session with 46 MB", _get("/v1/sessions/{}/messages")),
        Shape("the same, for useChat", _get("/api/chat/{}/messages")),
        Shape("the same, from the disk", _get("/v1/sessions/{}/messages", is_cold=True)),
        Shape("its snapshot (native)", _get("/v1/sessions/{}/events")),
        Shape("its snapshot (AG-UI)", _connect),
        Shape("its export", _get("/v1/sessions/{}/export")),
        Shape("its copy", _fork),
        Shape("its import", _import, 2),
    )


async def _get_status(server: Server, number: int) -> Request:
    del server, number
    return Request("GET", "/v1/status")


async def _go(server: Server, number: int) -> Request:
    del number
    session_id = await readers.create(server, "claude")
    return Request("POST", server.message.format(session_id), b'{"message":"go"}')


_long: Final[dict[int, str]] = {}


async def _long_session(server: Server) -> str:
    if server.port not in _long:
        request = await _go(server, 0)
        await asyncio.to_thread(_sent, server, request)
        _long[server.port] = request.path.split("/")[3]
    return _long[server.port]


def _long_get(path: str) -> Make:
    async def make(server: Server, number: int) -> Request:
        del number
        return Request("GET", path.format(await _long_session(server)))

    return make


def _answers() -> Sequence[Shape]:
    return (
        Shape(f"an answer of {ANSWER_DELTAS:,} deltas", _go),
        Shape("its messages", _long_get("/v1/sessions/{}/messages")),
        Shape("its snapshot", _long_get("/v1/sessions/{}/events")),
        Shape("its export", _long_get("/v1/sessions/{}/export")),
    )
