"""A server process for tests. Run as `python serving_child.py HOME PORT TOKEN [LIMITS_JSON]`; prints the address when it listens.
Run with `-X tracemalloc`, it answers each line of its input with the bytes that its objects take.

Its model tells a story: in small pieces of real time, or, asked for `large N`, N kilobytes at once.
"""

from __future__ import annotations

import gc
import json
import logging
import sys
import threading
import tracemalloc
from typing import Any

import uvloop

from greenroom import AgentManager
from greenroom.backends.scripted import Pause, Say, ScriptedBackend
from greenroom.interfaces import BackendRequest
from greenroom.messages import TextPart, UserMessage
from greenroom.server.serving import serve

STORY = [f"word{i} " for i in range(40)]
PAUSE_S = 0.05
KILOBYTE = "x" * 1024
PIECE_KILOBYTES = 16


def step_for(request: BackendRequest) -> list[Any]:
    last = request.messages[-1]
    said = last.parts[-1].text if isinstance(last, UserMessage) and isinstance(last.parts[-1], TextPart) else ""
    if said.startswith("large "):
        pieces, rest = divmod(int(said.split()[1]), PIECE_KILOBYTES)
        return [Say([*[KILOBYTE * PIECE_KILOBYTES] * pieces, KILOBYTE * rest])]
    return [cue for word in STORY for cue in (Say(word), Pause(PAUSE_S))]


def tell_memory() -> None:
    for _ in sys.stdin:
        gc.collect()
        print(tracemalloc.get_traced_memory()[0], flush=True)


async def main(home: str, port: str, token: str, limits: str = "{}") -> None:
    config = {"host": "127.0.0.1", "port": int(port), "default_backend": "scripted", "limits": json.loads(limits)}
    manager = AgentManager(home=home, config=config, backends={"scripted": ScriptedBackend(step_for)})
    await serve(manager, token=token, on_listening=lambda address: print(address, flush=True))


if __name__ == "__main__":
    if tracemalloc.is_tracing():
        threading.Thread(target=tell_memory, daemon=True).start()
    logging.basicConfig(level="WARNING", stream=sys.stderr)
    uvloop.run(main(*sys.argv[1:]))
