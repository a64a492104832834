"""A server over the scripted model, as a process: `python serving_child.py HOME PORT TOKEN`.

Rule: nothing but the model differs from `greenroom serve`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import uvloop

from clients.script import Script
from greenroom import AgentManager
from greenroom.backends.scripted import ScriptedBackend
from greenroom.server.serving import serve


async def main(home: Path, port: int, token: str) -> None:
    """Serves until it is stopped, and says where."""
    manager = AgentManager(
        home=home,
        backends={"scripted": ScriptedBackend(Script())},
        config={
            "host": "127.0.0.1",
            "port": port,
            "token": token,
            "default_backend": "scripted",
            "limits": {"retry_base_s": 0.01},
        },
    )
    await serve(manager, token=token, on_listening=lambda url: print(url, flush=True))


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
