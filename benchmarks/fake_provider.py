"""A model provider that costs next to nothing: a process of its own that plays pre-rendered answers over loopback.

The path of the base URL says what to play, so that any client can be pointed at it without knowing it:

* `/burst/N/...`: N deltas as fast as the socket takes them;
* `/paced/N/MS/...`: N deltas, one each MS milliseconds;
* `/middle/N/MS/...`: half of N deltas as fast as the socket takes them, then the others, one each MS milliseconds;
* `/stats`: how late the provider itself was with its paced deltas since it was last asked (`stats`).

Below them stand `/v1/chat/completions` (OpenAI) and `/v1/messages` (Claude). Each delta is 5 characters long. Paced ones are time
stamps in base 36: microseconds of the monotonic clock, which all processes of a machine share, modulo a minute. Whoever
receives one knows how late it is (`lateness_s`), also after it was merged with its neighbours.

Python on uvloop takes some 10 to 20 us for a paced delta: a fifth of a core at 200 streams of 50 a second. Its own lateness is
printed beside what was measured with it.

Rule: nothing is rendered while a stream plays but the five characters of a stamp.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, cast
from urllib.request import urlopen

from benchmarks.measure import run

STAMP_CHARS: Final = 5
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_PAIRS: Final = [a + b for a in _DIGITS for b in _DIGITS]
_WRAP_US: Final = len(_DIGITS) ** STAMP_CHARS  # 60.466 s
_WORDS: Final = (
    b"about after again began being below could every first found great house large never other place".split()
)
_FRAMES_PER_WRITE: Final = len(_WORDS)
"""A burst arrives in pieces of about 4 KB, as from a busy proxy: neither one delta nor all of them per read."""

_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\nrequest-id: req_fake\r\n\r\n"
)


def stamp(now_us: int) -> str:
    """Returns `now_us` as five characters."""
    left = now_us % _WRAP_US
    return _DIGITS[left // 1_679_616] + _PAIRS[left // 1296 % 1296] + _PAIRS[left % 1296]


def lateness_s(text: str, now_us: int) -> list[float]:
    """Returns how late each delta in `text` is at `now_us`."""
    return [
        (now_us - int(text[start : start + STAMP_CHARS], 36)) % _WRAP_US / 1e6
        for start in range(0, len(text) - len(text) % STAMP_CHARS, STAMP_CHARS)
    ]


def now_us() -> int:
    """Returns the clock of the stamps."""
    return time.monotonic_ns() // 1000


class Dialect:
    """Frames of one provider's streaming format; each is a chunk of HTTP/1.1's chunked coding."""

    def __init__(self, before: list[bytes], delta: bytes, after: list[bytes]) -> None:
        self.before = b"".join(map(_chunk, before))
        start, end = _chunk(delta).split(b"#####")
        self._start, self._end = start, end
        self.after = b"".join(map(_chunk, after)) + b"0\r\n\r\n"
        self._burst = [start + word + end for word in _WORDS]

    def burst(self, count: int) -> bytes:
        """Returns some deltas, of which no two neighbours are the same: a client may take a repetition for an error."""
        return b"".join(self._burst[:count])

    def frame(self) -> bytes:
        """Returns a delta that carries the time."""
        return self._start + stamp(now_us()).encode() + self._end


def _chunk(payload: bytes) -> bytes:
    return f"{len(payload):x}\r\n".encode() + payload + b"\r\n"


def _openai() -> Dialect:
    def event(delta: dict[str, str], finish: str | None = None) -> bytes:
        body = {
            "id": "chatcmpl-fake",
            "object": "chat.completion.chunk",
            "created": 1_767_225_600,
            "model": "gpt-4o-2024-08-06",
            "service_tier": "default",
            "system_fingerprint": "fp_fake",
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
            "usage": None,
        }
        return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"

    usage = (
        b'data: {"id":"chatcmpl-fake","object":"chat.completion.chunk","created":1767225600,"model":"gpt-4o-2024-08-06",'
        b'"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}\n\n'
    )
    return Dialect(
        before=[event({"role": "assistant", "content": ""})],
        delta=event({"content": "#####"}),
        after=[event({}, "stop"), usage, b"data: [DONE]\n\n"],
    )


def _claude() -> Dialect:
    def event(name: str, body: dict[str, object]) -> bytes:
        return f"event: {name}\ndata: {json.dumps({'type': name, **body}, separators=(',', ':'))}\n\n".encode()

    message: dict[str, object] = {
        "id": "msg_fake",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-5-5",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 1},
    }
    return Dialect(
        before=[
            event("message_start", {"message": message}),
            event("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
            event("ping", {}),
        ],
        delta=event("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "#####"}}),
        after=[
            event("content_block_stop", {"index": 0}),
            event(
                "message_delta",
                {"delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 12}},
            ),
            event("message_stop", {}),
        ],
    )


_OPENAI: Final = _openai()
_CLAUDE: Final = _claude()


class Lateness:
    """How late paced deltas were written, counted in steps of a tenth of a millisecond."""

    STEP_S = 0.0001

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, late_s: float) -> None:
        """Counts a delta."""
        self._counts[int(late_s / self.STEP_S)] += 1

    def take(self) -> dict[str, float]:
        """Returns number, median and 99th percentile, and begins anew."""
        counts, self._counts = self._counts, Counter()
        total = counts.total()
        found = {"deltas": float(total), "cpu_s": time.process_time()}
        for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99)):
            left = total * share
            for step in sorted(counts):
                left -= counts[step]
                found[name] = step * self.STEP_S * 1e3
                if left <= 0:
                    break
        return found


class Connection(asyncio.Protocol):
    """One client. Keeps the connection for the next request, as providers do."""

    def __init__(self, lateness: Lateness) -> None:
        self._lateness = lateness
        self._head = b""
        self._path: list[str] = []
        self._body_left = 0
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes a client."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its base class

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        """Stops playing to a client that left."""
        self._transport = None
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Reads a request: its path and its length are all that matters."""
        # The body is counted and forgotten: one of thirty megabytes costs no more than its reading.
        while data:
            if not self._body_left:
                head, found, data = (self._head + data).partition(b"\r\n\r\n")
                self._head = b"" if found else head
                if not found:
                    return
                self._path = head.split(b" ", 2)[1].decode().split("?")[0].strip("/").split("/")
                self._body_left = _length_of(head)
            taken = min(len(data), self._body_left)
            self._body_left -= taken
            data = data[taken:]
            if not self._body_left:
                self._play(self._path)

    def _play(self, path: list[str]) -> None:
        dialect = _CLAUDE if path[-1] == "messages" else _OPENAI
        match path:
            case ["burst", count, *_]:
                self._write(_HEAD + dialect.before)
                self._burst(dialect, int(count), dialect.after)
            case ["middle", count, ms, *_]:
                self._write(_HEAD + dialect.before)
                self._burst(dialect, int(count) // 2, b"")
                self._paced(dialect, int(count) - int(count) // 2, int(ms) / 1000, self._loop.time() + int(ms) / 1000)
            case ["stats"]:
                body = json.dumps(self._lateness.take()).encode()
                self._write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            case ["paced", count, ms, *_]:
                self._write(_HEAD + dialect.before)
                self._paced(dialect, int(count), int(ms) / 1000, self._loop.time() + int(ms) / 1000)
            case _:
                self._write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")

    def _burst(self, dialect: Dialect, left: int, after: bytes) -> None:
        # A write of its own per turn of the loop: a transport would merge them, and the reader see one flood.
        count = min(left, _FRAMES_PER_WRITE)
        self._write(dialect.burst(count))
        if left > count:
            self._loop.call_soon(self._burst, dialect, left - count, after)
        elif after:
            self._write(after)

    def _paced(self, dialect: Dialect, left: int, every_s: float, due_s: float) -> None:
        # Due times are added up, so that a late delta does not delay the ones after it.
        if left:
            self._timer = self._loop.call_at(due_s, self._beat, dialect, left, every_s, due_s)
        else:
            self._write(dialect.after)

    def _beat(self, dialect: Dialect, left: int, every_s: float, due_s: float) -> None:
        self._lateness.add(time.monotonic() - due_s)  # the loop's own clock stands still during its turn
        self._write(dialect.frame())
        self._paced(dialect, left - 1, every_s, due_s + every_s)

    def _write(self, data: bytes) -> None:
        if self._transport:
            self._transport.write(data)


def _length_of(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def serve() -> None:
    """Serves on a free port of loopback, prints it, and ends when standard input does: with the process that started it."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(Connection, Lateness()), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    server.close()


@contextmanager
def provider() -> Iterator[str]:
    """Runs a provider for the time of the block; yields its URL, to be followed by what to play."""
    command = [sys.executable, "-m", "benchmarks.fake_provider"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        port = child.stdout.readline().strip()
        if not port:
            raise RuntimeError("the fake provider did not start: run `python -m benchmarks.fake_provider` to see why")
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            child.stdin.close()
            child.wait(timeout=10)


def stats(url: str) -> dict[str, float]:
    """Returns how late the provider was since the last call: `deltas`, `p50_ms`, `p99_ms`; and `cpu_s` since it began."""
    with urlopen(f"{url}/stats", timeout=10) as answer:  # `url` is a provider's of this process
        return cast("dict[str, float]", json.load(answer))


def main() -> None:
    """Runs the provider until standard input ends."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    run(serve())


if __name__ == "__main__":
    main()
