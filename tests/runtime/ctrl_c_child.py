"""A process whose tool holds the event loop and gets Ctrl-C meanwhile. Run as `python ctrl_c_child.py run|loop HOME`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

from greenroom import AgentManager, Toolset, tool
from greenroom.backends.scripted import Call, ScriptedBackend


class Busy(Toolset):
    """Holds the loop."""

    @tool
    async def hold(self) -> str:
        """Counts, and is interrupted."""
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            until_s = time.monotonic() + 0.1
            while time.monotonic() < until_s:
                pass  # it holds the loop; the handler of the signal runs here
        return "held"


async def main(home: str) -> None:
    backend = ScriptedBackend([[Call("hold")], "answered"])
    async with AgentManager("memory://", home=home, toolsets=[Busy], backends={"scripted": backend}) as manager:
        session_id = await manager.create_session(backend="scripted", additional_tools=["Busy"])
        async for _ in manager.stream_response(session_id, "hello"):
            pass
        print(backend.requests[-1].messages)


if __name__ == "__main__":
    try:
        if sys.argv[1] == "run":
            asyncio.run(main(sys.argv[2]))
        else:
            asyncio.new_event_loop().run_until_complete(main(sys.argv[2]))
    except KeyboardInterrupt:
        print("interrupted")
