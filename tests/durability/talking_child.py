"""A process that talks to an agent until it is killed. Run as `python talking_child.py HOME SESSION_ID`.

Prints a line when a message is acknowledged, when a tool ran, and when an answer has ended; the parent kills it between any two
instructions and then holds the log to these lines.
"""

from __future__ import annotations

import asyncio
import sys

from talking import manager_at

from greenroom import AgentManager


async def main(home: str, session_id: str) -> None:
    manager = manager_at(home, on_paid=lambda key: print("paid", key, flush=True))
    await manager.create_session(existing_session_id=session_id, backend="scripted", additional_tools=["Till"])
    print("open", flush=True)
    number = 0
    while True:
        number += 1
        await talk(manager, session_id, f"message {number}")


async def talk(manager: AgentManager, session_id: str, text: str) -> None:
    receipt = await manager.send(session_id, text)
    print("acknowledged", receipt.turn_id, flush=True)
    async for frame in manager.attach(session_id, receipt.cursor):
        if '"RUN_FINISHED"' in frame.data:
            print("finished", receipt.turn_id, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
