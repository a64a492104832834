"""An Ollama on this machine is found when it is there, and nobody waits when it is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from greenroom.backends.ollama import find_ollama, ollama_url


@asynccontextmanager
async def serving(answer: bytes | None) -> AsyncIterator[str]:
    """Yields the URL of a server that answers every request with these bytes; with none, it never answers."""
    silent = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"GET /api/tags ")
        if answer is None:
            await silent.wait()
        else:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        silent.set()


def http(body: bytes, status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def test_its_models_are_named_in_its_order() -> None:
    tags = b'{"models": [{"name": "qwen3:4b", "size": 1}, {"name": "llama3.2:latest"}]}'
    async with serving(http(tags)) as url:
        assert await find_ollama(url) == ["qwen3:4b", "llama3.2:latest"]
    async with serving(http(b'{"models": []}')) as url:
        assert await find_ollama(url) == []


@pytest.mark.parametrize(
    "answer",
    [
        http(b"Ollama is running"),
        http(b'{"data": []}'),
        http(b"[1]"),
        http(b"", "404 Not Found"),
        http(b"", "302 Found"),
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"",
    ],
)
async def test_another_server_is_none(answer: bytes) -> None:
    async with serving(answer) as url:
        assert await find_ollama(url) is None


async def test_nobody_there_is_none() -> None:
    async with serving(b"") as url:
        pass
    assert await find_ollama(url) is None
    assert await find_ollama("not a url") is None


async def test_one_that_does_not_answer_is_none_in_time() -> None:
    async with serving(None) as url, asyncio.timeout(5):
        assert await find_ollama(url) is None


async def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(http(b'{"models": []}')) as url:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        assert await find_ollama(url) == []


async def test_the_variable_of_ollama_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(http(b'{"models": []}')) as url:
        monkeypatch.setenv("OLLAMA_HOST", url.removeprefix("http://"))
        assert await find_ollama() == []


@pytest.mark.parametrize(
    ("named", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        (":8080", "http://127.0.0.1:8080"),
        ("[::]:8080", "http://127.0.0.1:8080"),
        ("[::1]", "http://[::1]:11434"),
        ("box:1234", "http://box:1234"),
        ("http://box", "http://box:80"),
        ("https://box/ollama/", "https://box:443/ollama"),
        (' "box" ', "http://box:11434"),
    ],
)
def test_hosts_are_read_as_ollama_reads_them(named: str, url: str) -> None:
    read: Callable[[dict[str, str]], str] = ollama_url
    assert read({"OLLAMA_HOST": named}) == url
