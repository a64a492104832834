"""Sends a picture and a message to a server. Run as `python refusals_child.py HOME SESSION`, with `OPENAI_*` in the environment."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, Final

from greenroom import AgentManager
from greenroom.messages import FilePart

LIMITS: Final[dict[str, Any]] = {"retry_base_s": 0.01, "close_s_max": 1.0}
PICTURE: Final = FilePart(data=b"\x89PNG\r\n\x1a\n" + bytes(16), media_type="image/png", name="photo.png")


async def main(home: Path, session_id: str) -> None:
    async with AgentManager(home=home, config={"limits": LIMITS}) as manager:
        await manager.create_session(
            existing_session_id=session_id, backend="openai", llm_model="my-model", essential_tools=[]
        )
        for text, files in (("hello", []), ("what is this?", [PICTURE]), ("and now?", [])):
            async for _ in manager.stream_response(session_id, text, attachments=files):
                pass


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
