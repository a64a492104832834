"""`kill -9` while a step is asked again without what was refused: another process makes the same request, and refuses nothing anew.

Cases P15 and P16; the server is a strict double that refuses pictures as real servers do.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from refusals_child import LIMITS

from greenroom import AgentManager
from greenroom.testing.strict_openai import Reply, StrictOpenAI
from greenroom.testing.strict_servers import text_only

CHILD = Path(__file__).with_name("refusals_child.py")
SESSION = "pictures"


@pytest.mark.parametrize("server", ["llama.cpp", "vLLM", "vLLM 500"])
async def test_a_process_that_is_killed_while_it_asks_again_changes_nothing(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an explanation the adapted request is that of the picture's own turn, without one the probe of the next."""
    is_held, never = asyncio.Event(), asyncio.Event()

    def answer(body: dict[str, Any]) -> Reply:
        if double.turned_away and not is_held.is_set():
            is_held.set()
            return Reply(text="Never heard.", hold=never)
        return Reply(text="Well.")

    async with StrictOpenAI(answer, refuses=text_only(server)) as double:
        environment = {"OPENAI_API_KEY": double.key, "OPENAI_BASE_URL": double.base_url}
        child = subprocess.Popen([sys.executable, str(CHILD), str(tmp_path), SESSION], env={"PATH": "", **environment})
        try:
            async with asyncio.timeout(60):
                await is_held.wait()
        finally:
            child.kill()
            await asyncio.to_thread(child.wait)
        turned_away, adapted = len(double.turned_away), double.bodies[-1]
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        async with AgentManager(home=tmp_path, config={"limits": LIMITS}) as manager:
            await manager.recover()
            async for _ in manager.attach(SESSION):
                pass
            assert len(double.turned_away) == turned_away, "what is left out is in the log"
            assert double.bodies[-1]["messages"] == adapted["messages"], "the same request"
            history = await manager.history(SESSION)
            assert "Well." in str(history[-1])
            for text in ("two", "three", "four"):
                async for _ in manager.stream_response(SESSION, text):
                    pass
            texts = [str(message) for message in await manager.history(SESSION) if message.role == "assistant"]
            assert all("Well." in text for text in texts[-4:])
            turned_away = len(double.turned_away)
            async for _ in manager.stream_response(SESSION, "five"):
                pass
            assert len(double.turned_away) == turned_away, "it is known for good"
            assert "image_url" not in json.dumps(double.bodies[-1])
        assert double.refused == []
