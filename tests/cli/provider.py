"""A provider of Chat Completions on this machine, whose answers a test holds back and lets go.

Rule: it waits for the test, never for a while: an answer stands still until the test says so.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

WAIT_S_MAX = 30


class Say(NamedTuple):
    """Text of the answer, sent at once."""

    text: str


class Think(NamedTuple):
    """Reasoning, as servers of one's own send it."""

    text: str


class Call(NamedTuple):
    """A call of a tool."""

    name: str
    arguments: dict[str, Any]


class Gate:
    """Where an answer stands still, until the test opens it or the client goes."""

    def __init__(self) -> None:
        self.is_open = threading.Event()


class End(NamedTuple):
    """The answer ends for this reason; without it, for the one that its parts imply."""

    reason: str


class Cut(NamedTuple):
    """The connection breaks."""


class Refuse(NamedTuple):
    """An error instead of an answer."""

    status: int
    message: str


Cue = Say | Think | Call | Gate | End | Cut | Refuse
Script = Callable[[dict[str, Any]], Sequence[Cue]]


class Provider:
    """What a test sees of it."""

    def __init__(self, script: Script) -> None:
        self.requests: list[dict[str, Any]] = []
        self.models: list[str] = []
        self.looks = 0
        self.client_left = threading.Event()
        self.base_url = ""
        self._script = script
        self._closing = threading.Event()

    def asked(self, request: dict[str, Any]) -> Sequence[Cue]:
        """Returns what the script has for a request."""
        self.requests.append(request)
        return self._script(request)

    def play(self, cues: Sequence[Cue], write: Callable[[bytes], None]) -> None:
        """Streams an answer."""
        finish = "stop"
        for cue in cues:
            match cue:
                case Say(text):
                    write(_chunk({"content": text}))
                case Think(text):
                    write(_chunk({"reasoning_content": text}))
                case Call(name, arguments):
                    finish = "tool_calls"
                    function = {"name": name, "arguments": json.dumps(arguments)}
                    call = {"index": 0, "id": f"call_{len(self.requests)}", "type": "function", "function": function}
                    write(_chunk({"tool_calls": [call]}))
                case End(reason):
                    finish = reason
                case Gate():
                    self._stand_still(cue, write)
                case Cut() | Refuse():
                    return
        usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
        write(_chunk({}, finish_reason=finish))
        write(
            b"data: "
            + json.dumps({"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": usage}).encode()
        )
        write(b"\n\ndata: [DONE]\n\n")

    def close(self) -> None:
        """Lets go of every answer that stands still."""
        self._closing.set()

    def _stand_still(self, gate: Gate, write: Callable[[bytes], None]) -> None:
        while not gate.is_open.wait(0.02) and not self._closing.is_set():
            write(b": still here\n\n")


@contextmanager
def provider(script: Script) -> Iterator[Provider]:
    """Gives a provider that listens on a port of its own."""
    playing = Provider(script)

    class Connection(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            cues = playing.asked(request)
            if isinstance(cues[0], Refuse):
                self._send_json(
                    cues[0].status, {"error": {"message": cues[0].message, "type": "invalid_request_error"}}
                )
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            try:
                playing.play(cues, self._write)
            except OSError:
                playing.client_left.set()

        def do_GET(self) -> None:
            # What makes it an Ollama: its list of models.
            playing.looks += 1
            self._send_json(200, {"models": [{"name": name} for name in playing.models]})

        def _send_json(self, status: int, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _write(self, data: bytes) -> None:
            self.wfile.write(data)
            self.wfile.flush()

        def log_message(self, *message: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Connection)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    playing.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield playing
    finally:
        playing.close()
        server.shutdown()
        server.server_close()
        thread.join(WAIT_S_MAX)


def has_result(request: dict[str, Any]) -> bool:
    """Returns whether the request brings the result of a call."""
    return request["messages"][-1]["role"] == "tool"


def _chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "double", "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\n".encode()
