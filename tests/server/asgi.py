"""An ASGI server and client in one, in this process: sends a request, reads the answer as it comes, and can leave.

Rule: what it does, a real server does too: one request in one task, a disconnect that is a message, a `send` that may wait.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote_to_bytes

from greenroom.server.app import App

Json = dict[str, Any]


class Response:
    """An answer, as far as it has come."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.is_complete = False
        self._news = asyncio.Event()
        self._left = asyncio.Event()

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The code of the error."""
        return str(self.json()["error"]["code"])

    @property
    def frames(self) -> list[tuple[str, Any]]:
        """The events so far: position and data; what has no position is named `""`."""
        found = []
        for frame in self.body.decode().split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in frame.split("\n") if not line.startswith(":"))
            if "data" in fields and fields["data"] != "[DONE]":
                found.append((fields.get("id", ""), json.loads(fields["data"])))
        return found

    @property
    def text(self) -> str:
        """All that the assistant says in an AG-UI stream."""
        return "".join(event["delta"] for _, event in self.frames if event["type"] == "TEXT_MESSAGE_CONTENT")

    async def has(self, part: str) -> None:
        """Waits until the body has `part`."""
        while part.encode() not in self.body:
            assert not self.is_complete, f"the answer ended without {part!r}: {self.body!r}"
            self._news.clear()
            await self._news.wait()

    async def ends(self) -> None:
        """Waits for the end."""
        while not self.is_complete:
            self._news.clear()
            await self._news.wait()

    def leave(self) -> None:
        """The client closes the connection."""
        self._left.set()


class Web:
    """Requests of one user to one app."""

    def __init__(self, app: App, token: str | None) -> None:
        self.app = app
        self.token = token

    def of(self, token: str | None) -> Web:
        """The same app, for somebody else."""
        return Web(self.app, token)

    async def get(self, path: str, **options: Any) -> Response:
        return await self.ask("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Response:
        return await self.ask("POST", path, body, **options)

    async def ask(self, method: str, path: str, body: Any = None, **options: Any) -> Response:
        """Sends a request and reads the whole answer."""
        async with self.asking(method, path, body, **options) as response:
            await response.ends()
        return response

    @asynccontextmanager
    async def asking(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str | None] | None = None,
        data: bytes | None = None,
    ) -> AsyncIterator[Response]:
        """Sends a request; the answer comes while the context is open, and the client leaves with it."""
        response = Response()
        scope = self._scope(method, path, body, headers or {}, data)
        content = data if data is not None else b"" if body is None else json.dumps(body).encode()
        parts = [content[at : at + 65536] for at in range(0, len(content), 65536)] or [b""]

        async def receive() -> Json:
            if parts:
                return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}
            await response._left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Json) -> None:
            if response._left.is_set():
                return
            if message["type"] == "http.response.start":
                response.status = message["status"]
                response.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                assert not response.is_complete, "nothing comes behind the end"
                response.body += message.get("body", b"")
                response.is_complete = not message.get("more_body", False)
            response._news.set()

        task = asyncio.ensure_future(self.app(scope, receive, send))
        task.add_done_callback(lambda _: (setattr(response, "is_complete", True), response._news.set()))
        try:
            yield response
        finally:
            response.leave()
            await task

    def _scope(self, method: str, path: str, body: Any, headers: Mapping[str, str | None], data: bytes | None) -> Json:
        raw, _, query = path.partition("?")
        given: dict[str, str | None] = {"host": "localhost:8765"}
        if self.token is not None:
            given["authorization"] = f"Bearer {self.token}"
        if body is not None or data is not None:
            given["content-type"] = "application/json"
            given["content-length"] = str(len(data) if data is not None else len(json.dumps(body)))
        given |= headers
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote_to_bytes(raw).decode("utf-8", "replace"),
            "raw_path": raw.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(n.encode(), v.encode("latin-1")) for n, v in given.items() if v is not None],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8765),
        }
