"""A contender as an HTTP server, as a careful user would write it: `python -m benchmarks.serving.apps JSON`.

`POST /sessions` makes a session, `POST /sessions/{id}/messages` streams an answer as server-sent events. On uvicorn with uvloop and
httptools, without access logs; FastAPI for the peers, bare Starlette for the floor.

Rule: nothing stands between the contender's pieces and the wire but one `json.dumps` and the framework's own streaming response.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

import uvicorn

from benchmarks.contenders.contract import Opener, Store, Streaming
from benchmarks.measure import run

Framework = Literal["fastapi", "starlette"]


@dataclass(frozen=True)
class ServerOrder:
    """What to serve."""

    module: str
    store: Store
    framework: Framework
    url: str

    def text(self) -> str:
        """Returns the order as an argument of the command line."""
        return json.dumps(asdict(self))


async def frames(contender: Streaming, session: Any) -> AsyncIterator[str]:
    """Yields the answer as server-sent events."""
    async for text in contender.pieces(session):
        yield f"data: {json.dumps({'delta': text}, separators=(',', ':'))}\n\n"


def fastapi_app(contender: Streaming) -> Any:
    """Returns the contender behind FastAPI."""
    from fastapi import FastAPI
    from fastapi.responses import StreamingResponse

    app = FastAPI()
    sessions: dict[str, Any] = {}

    async def create() -> dict[str, str]:
        sessions[name := str(len(sessions))] = await contender.create()
        return {"session_id": name}

    async def answer(session_id: str) -> Any:
        return StreamingResponse(frames(contender, sessions[session_id]), media_type="text/event-stream")

    answer.__annotations__["session_id"] = str  # FastAPI reads annotations as objects
    app.add_api_route("/sessions", create, methods=["POST"])
    app.add_api_route("/sessions/{session_id}/messages", answer, methods=["POST"], response_model=None)
    return app


def starlette_app(contender: Streaming) -> Any:
    """Returns the contender behind Starlette alone."""
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse, StreamingResponse
    from starlette.routing import Route

    sessions: dict[str, Any] = {}

    async def create(_: Any) -> Any:
        sessions[name := str(len(sessions))] = await contender.create()
        return JSONResponse({"session_id": name})

    async def answer(request: Any) -> Any:
        session = sessions[request.path_params["session_id"]]
        return StreamingResponse(frames(contender, session), media_type="text/event-stream")

    routes = [
        Route("/sessions", create, methods=["POST"]),
        Route("/sessions/{session_id}/messages", answer, methods=["POST"]),
    ]
    return Starlette(routes=routes)


class Announcing(uvicorn.Server):
    """Prints its port when it listens."""

    async def startup(self, sockets: list[Any] | None = None) -> None:
        """Begins to listen."""
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)


async def served(order: ServerOrder) -> None:
    """Serves until standard input ends; prints the port."""
    opened = cast("Opener", importlib.import_module(f"benchmarks.contenders.{order.module}").opened)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with opened(order.url, order.store, Path(folder)) as contender:
            make = fastapi_app if order.framework == "fastapi" else starlette_app
            app = make(cast("Streaming", contender))
            config = uvicorn.Config(
                app, host="127.0.0.1", port=0, log_level="warning", access_log=False, http="httptools", backlog=4096
            )
            server = Announcing(config)
            serving = asyncio.ensure_future(server.serve())
            await asyncio.to_thread(sys.stdin.buffer.read)
            server.should_exit = server.force_exit = True
            await serving


def main() -> None:
    """Serves what the only argument says."""
    run(served(ServerOrder(**json.loads(sys.argv[1]))))


if __name__ == "__main__":
    main()
