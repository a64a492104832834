"""A server process whose model calls the tools that it is told to. Run as `python tools_child.py HOME PORT TOKEN [LIMITS_JSON]`.

A message `call NAME JSON` is answered by that call, `calls [[NAME, {...}], ...]` by several in one step, and the results by their text.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import uvloop

from greenroom import AgentManager, ToolContext, Toolset, tool
from greenroom.backends.scripted import Call, ScriptedBackend
from greenroom.interfaces import BackendRequest
from greenroom.messages import TextPart, ToolMessage, UserMessage
from greenroom.server.serving import serve

RUNS = os.environ.get("GREENROOM_TEST_RUNS", "")
"""The file in which the tools write down that they run."""


class Fatal(Toolset):
    """What ends a process, or would."""

    @tool
    async def leave(self) -> str:
        """Ends the process as Python does."""
        sys.exit(3)

    @tool
    async def leave_in_task(self) -> str:
        """Ends it from a task of its own."""
        await asyncio.gather(_leave(), _leave())
        return "never"

    @tool
    async def interrupt(self) -> str:
        """As if somebody had pressed Ctrl-C."""
        raise KeyboardInterrupt

    @tool(effect="pure")
    async def die(self, context: ToolContext) -> str:
        """Is killed by the system: there is no memory left."""
        _note(context, "die")
        os._exit(137)

    @tool(effect="idempotent")
    async def abort(self, context: ToolContext) -> str:
        """Crashes as an extension module does."""
        _note(context, "abort")
        os.abort()

    @tool(effect="idempotent")
    async def wait(self, context: ToolContext) -> str:
        """Waits until the test says so; does no harm."""
        _note(context, "wait")
        while not Path(f"{RUNS}.go").exists():  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # real time: another process says so
        return "waited"


async def _leave() -> None:
    sys.exit(4)


def _note(context: ToolContext, name: str) -> None:
    with Path(RUNS).open("a") as file:
        file.write(f"{name} {context.idempotency_key}\n")


def step_for(request: BackendRequest) -> Any:
    last = request.messages[-1]
    if isinstance(last, ToolMessage):
        return "; ".join(result.content for result in last.results)
    said = last.parts[-1].text if isinstance(last, UserMessage) and isinstance(last.parts[-1], TextPart) else ""
    word, _, rest = said.partition(" ")
    if word == "call":
        name, _, arguments = rest.partition(" ")
        return [Call(name, arguments or "{}")]
    if word == "calls":
        return [Call(name, arguments) for name, arguments in json.loads(rest)]
    return f"You said {said!r}."


async def main(home: str, port: str, token: str, limits: str = "{}") -> None:
    config = {
        "host": "127.0.0.1",
        "port": int(port),
        "default_backend": "scripted",
        "limits": json.loads(limits),
        "server": {"api_keys": [{"key": f"key-of-the-user-{name}", "user": name} for name in ("ann", "bob")]},
    }
    manager = AgentManager(home=home, config=config, backends={"scripted": ScriptedBackend(step_for)}, toolsets=[Fatal])
    await serve(manager, token=token, on_listening=lambda address: print(address, flush=True))


if __name__ == "__main__":
    logging.basicConfig(level="WARNING", stream=sys.stderr)
    uvloop.run(main(*sys.argv[1:]))
