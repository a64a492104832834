"""Cases P15 and P16 over HTTP: whatever a server refuses or falls over, in its own words, the next message is answered.

The doubles hold each request to the rules of its dialect first, and refuse then what the server that they stand for refuses besides.
"""

from __future__ import annotations

import base64
import io
import json
import struct
import zipfile
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from contract.reading import run_of
from contract.stage import QUICK_LIMITS
from greenroom import AgentManager
from greenroom.messages import FilePart
from greenroom.testing.strict_claude import StrictClaude
from greenroom.testing.strict_openai import Reply
from greenroom.testing.strict_platform import OWN_URL, StrictPlatform
from greenroom.testing.strict_servers import Refuses, all_of, filtered, text_only, without_tools


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(side: int = 1, *, weight: int = 0) -> bytes:
    """Returns a picture; only its size and weight are looked at."""
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + _chunk(b"tEXt", b"\x00" * weight) + _chunk(b"IDAT", zlib.compress(b"\x00\x00"))


def pdf(pages: int = 1) -> bytes:
    return b"%PDF-1.7\n" + b"1 0 obj <</Type /Page>> endobj\n" * pages + b"%%EOF"


def archive(name: str) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as zipped:
            zipped.writestr(name, "<x/>")
        return file.getvalue()


DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
FILES = {
    "small.png": FilePart(data=png(), media_type="image/png", name="small.png"),
    "wide.png": FilePart(data=png(9000), media_type="image/png", name="wide.png"),
    "heavy.png": FilePart(data=png(weight=6 * 1024 * 1024), media_type="image/png", name="heavy.png"),
    "photo.tiff": FilePart(data=b"II*\x00abc", media_type="image/tiff", name="photo.tiff"),
    "paper.pdf": FilePart(data=pdf(), media_type="application/pdf", name="paper.pdf"),
    "broken.pdf": FilePart(data=b"\x00\x01 no PDF", media_type="application/pdf", name="broken.pdf"),
    "things.zip": FilePart(data=archive("things.txt"), media_type="application/zip", name="things.zip"),
    "letter.docx": FilePart(data=archive("word/document.xml"), media_type=DOCX, name="letter.docx"),
    "notes.yaml": FilePart(data=b"a: 1\n", media_type="application/yaml", name="notes.yaml"),
    "sound.mp3": FilePart(data=b"ID3\x04\x00\x00", media_type="audio/mpeg", name="sound.mp3"),
}


@asynccontextmanager
async def open_manager(home: Path) -> AsyncIterator[AgentManager]:
    limits = {**QUICK_LIMITS, "retry_base_s": 0.01}
    async with AgentManager(home=home, config={"limits": limits}) as manager:
        yield manager


async def say(manager: AgentManager, session_id: str, text: str, *files: FilePart) -> str:
    """Sends a message; returns how its turn ended: its text, or the code of its error."""
    events = await run_of(manager.stream_response(session_id, text, attachments=files))
    if events[-1]["type"] != "RUN_FINISHED":
        return str(events[-1]["code"])
    return "".join(event["delta"] for event in events if event["type"] == "TEXT_MESSAGE_CONTENT")


def shown_files(body: dict[str, Any]) -> set[str]:
    """Returns the files that a request shows, by what is in them."""
    text = json.dumps(body)
    return {name for name, file in FILES.items() if base64.b64encode(file.data).decode() in text}


MODELS = {"chat": "gpt-4o", "responses": "gpt-5.6-luna", "claude": "claude-sonnet-4-5"}


def told_files(body: dict[str, Any]) -> set[str]:
    """Returns the files of which a request tells only that they were attached."""
    text = json.dumps(body)
    return {
        name
        for name, file in FILES.items()
        if f"[{name} ({file.media_type}): {len(file.data)} bytes that cannot be shown" in text
    }


class Server:
    """The double of one dialect, which answers "Well." to everything, and the backend and model that ask it."""

    def __init__(self, dialect: str, double: Any) -> None:
        self.double = double
        self.settings: dict[str, Any] = {
            "backend": "claude" if dialect == "claude" else "openai",
            "llm_model": MODELS[dialect],
        }

    @property
    def last(self) -> dict[str, Any]:
        """The last request that was accepted."""
        body: dict[str, Any] = self.double.bodies[-1]
        return body

    @property
    def turned_away(self) -> int:
        """How many requests were refused although they keep OpenAI's rules."""
        return len(self.double.turned_away)


@asynccontextmanager
async def open_servers(
    monkeypatch: pytest.MonkeyPatch, refuses: Refuses | None = None
) -> AsyncIterator[dict[str, Server]]:
    """Opens the doubles of all dialects; those of OpenAI refuse what `refuses` says besides."""
    platform = StrictPlatform(chat=lambda body: Reply(text="Well."), responses=lambda body: "Well.", refuses=refuses)
    async with platform, StrictClaude(lambda body: "Well.") as claude:
        monkeypatch.setenv("OPENAI_API_KEY", platform.key)
        monkeypatch.setenv("OPENAI_BASE_URL", OWN_URL)
        monkeypatch.setenv("HTTP_PROXY", platform.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("ANTHROPIC_API_KEY", claude.key)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", claude.base_url)
        doubles = {"chat": platform.chat, "responses": platform.responses, "claude": claude}
        yield {dialect: Server(dialect, double) for dialect, double in doubles.items()}


DIALECTS = ["chat", "responses", "claude"]
OPENAIS = ["chat", "responses"]


@pytest.mark.parametrize("dialect", OPENAIS)
@pytest.mark.parametrize("kind", ["Ollama", "vLLM", "llama.cpp"])
async def test_tools_that_a_server_refuses(
    dialect: str, kind: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P15 (ZoneMinder/zmNinjaNg#309)."""
    async with open_servers(monkeypatch, without_tools(kind)) as servers, open_manager(home) as manager:
        server = servers[dialect]
        session_id = await manager.create_session(**server.settings)
        assert await say(manager, session_id, "hello") == "Well."
        assert await say(manager, session_id, "and now?") == "Well."
        assert server.turned_away == 1, "it is remembered"
        await manager.update_session(session_id, temperature=1.0)
        assert await say(manager, session_id, "again") == "Well."
        assert server.turned_away == 2, "it is tried again"
    assert server.double.refused == []


@pytest.mark.parametrize("dialect", OPENAIS)
@pytest.mark.parametrize("kind", ["llama.cpp", "vLLM", "Ollama", "Ollama cloud"])
@pytest.mark.parametrize("name", ["small.png", "paper.pdf"])
async def test_a_file_that_a_text_only_server_refuses(
    dialect: str, kind: str, name: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P16 (ggml-org/llama.cpp#13566, studio-dots-ai/dots.ocr#61, langchain-ai/openwiki#63, ollama/ollama#17301)."""
    refuses = all_of(text_only(kind), without_tools(kind.partition(" ")[0]))
    async with open_servers(monkeypatch, refuses) as servers, open_manager(home) as manager:
        server = servers[dialect]
        session_id = await manager.create_session(**server.settings)
        assert await say(manager, session_id, "hello") == "Well."
        assert await say(manager, session_id, "what is this?", FILES[name]) == "Well."
        turned_away = server.turned_away
        assert await say(manager, session_id, "and now?") == "Well."
        assert server.turned_away == turned_away, "it is remembered"
    assert server.double.refused == []


async def test_a_server_that_says_nothing_but_500_to_a_picture(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P16 (vllm-project/vllm#11629): the message fails, and none after it."""
    async with open_servers(monkeypatch, text_only("vLLM 500")) as servers, open_manager(home) as manager:
        server = servers["chat"]
        session_id = await manager.create_session(**server.settings)
        assert await say(manager, session_id, "hello") == "Well."
        assert await say(manager, session_id, "what is this?", FILES["small.png"]) == "backend_unavailable"
        assert [await say(manager, session_id, text) for text in ("two", "three", "four")] == ["Well."] * 3
        turned_away = server.turned_away
        assert await say(manager, session_id, "five") == "Well."
        assert server.turned_away == turned_away


@pytest.mark.parametrize("dialect", OPENAIS)
@pytest.mark.parametrize("by", ["OpenAI", "Azure"])
async def test_a_text_that_a_filter_refuses(dialect: str, by: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P16: `content_policy_violation`, and Azure's `content_filter` (compl-ai/compl-ai#20)."""
    async with open_servers(monkeypatch, filtered("forbidden", by)) as servers, open_manager(home) as manager:
        server = servers[dialect]
        session_id = await manager.create_session(**server.settings)
        assert await say(manager, session_id, "hello") == "Well."
        assert await say(manager, session_id, "something forbidden") == "backend_rejected"
        turned_away = server.turned_away
        assert await say(manager, session_id, "and now?") == "Well."
        assert server.turned_away == turned_away
        await manager.update_session(session_id, temperature=1.0)
        assert await say(manager, session_id, "again") == "Well.", "it is tried again, in vain"
        assert server.turned_away > turned_away
    assert server.double.refused == []


@pytest.mark.parametrize(("model", "pages"), [("claude-sonnet-4-5", 101), ("claude-sonnet-5-5", 601)])
async def test_a_pdf_with_more_pages_than_claude_takes(
    model: str, pages: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P16: Anthropic, *PDF support*; two files that each would do are together too many as well."""
    async with open_servers(monkeypatch) as servers, open_manager(home) as manager:
        server = servers["claude"]
        session_id = await manager.create_session(backend="claude", llm_model=model)
        assert await say(manager, session_id, "hello") == "Well."
        half = FilePart(data=pdf(pages // 2 + 1), media_type="application/pdf", name="half.pdf")
        assert (
            await say(
                manager, session_id, "read it", FilePart(data=pdf(pages), media_type="application/pdf", name="all.pdf")
            )
            == "Well."
        )
        assert await say(manager, session_id, "and this", half) == "Well."
        assert "half.pdf" in json.dumps(server.last) or "application/pdf" in json.dumps(server.last)
        assert await say(manager, session_id, "and that", half) == "Well."
        assert json.dumps(server.last).count('"application/pdf"') == 1
        refused = len(server.double.refused)
        assert await say(manager, session_id, "and now?") == "Well."
        assert len(server.double.refused) == refused


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_whatever_is_attached_is_answered_at_once(
    dialect: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P16: what a dialect is known not to take is not sent, so nothing is refused."""
    async with open_servers(monkeypatch) as servers, open_manager(home) as manager:
        server = servers[dialect]
        session_id = await manager.create_session(**server.settings)
        for name, file in FILES.items():
            assert await say(manager, session_id, f"what is in {name}?", file) == "Well."
        assert await say(manager, session_id, "and all of them?", *FILES.values()) == "Well."
    assert server.double.refused == []


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("target", DIALECTS)
async def test_a_plan_lists_exactly_the_attachments_that_the_next_request_leaves_out(
    dialect: str, target: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P16: `plan_update` lists what the other model will not see any more, and nothing else."""
    async with open_servers(monkeypatch) as servers, open_manager(home) as manager:
        session_id = await manager.create_session(**servers[dialect].settings)
        await say(manager, session_id, "look", *FILES.values())
        before = told_files(servers[dialect].last)
        settings = servers[target].settings | {"temperature": 1.0 if dialect == target else None}
        plan = await manager.plan_update(session_id, **settings)
        listed = {
            name for name in FILES if any(name in notice.text for notice in plan.losses if notice.kind == "notice")
        }
        await manager.update_session(session_id, **settings)
        assert await say(manager, session_id, "and now?") == "Well."
        told = told_files(servers[target].last)
        assert listed == told - before
        assert told | shown_files(servers[target].last) | {"notes.yaml"} == set(FILES)
        assert not told & shown_files(servers[target].last)
