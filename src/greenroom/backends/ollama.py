"""Finds an Ollama on this machine: it speaks the OpenAI dialect under `/v1`, so the backend `ollama` is the `openai` one at its address.

Rule: a short look that never fails: whatever does not answer like an Ollama at once is none.
"""

from __future__ import annotations

import asyncio
import os
import urllib.request
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from typing import Final

import msgspec

ANSWER_S_MAX: Final = 0.3
"""How long an Ollama on the same machine may take to answer: whoever has none should not notice that we looked."""

ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
"""Length of its list of models."""

DEFAULT_PORT: Final = 11434


class _Model(msgspec.Struct):
    name: str


class _Tags(msgspec.Struct):
    models: list[_Model]


def ollama_url(environment: Mapping[str, str] = os.environ) -> str:
    """Returns where the Ollama of this environment is: `OLLAMA_HOST` as Ollama itself reads it, else its default.

    The variable also tells the server where to listen, so an address that stands for all of them is read as this machine.
    """
    named = environment.get("OLLAMA_HOST", "").strip().strip("\"'")
    scheme, separator, rest = named.partition("://")
    if not separator:
        scheme, rest = "http", named
    address, _, path = rest.partition("/")
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]"):
        host, port = address, ""
    if host in {"", "0.0.0.0", "[::]"}:  # noqa: S104 - read, not bound
        host = "127.0.0.1"
    if not port.isdecimal():
        port = {"http": str(DEFAULT_PORT if not separator else 80), "https": "443"}.get(scheme, str(DEFAULT_PORT))
    path = path.rstrip("/")
    return f"{scheme}://{host}:{port}" + (f"/{path}" if path else "")


async def find_ollama(url: str | None = None) -> Sequence[str] | None:
    """Returns the names of the models that the Ollama at `url` (default: `ollama_url()`) has, the latest first.

    `None` if none answers there. An empty list is an Ollama without a model.
    """
    return await asyncio.to_thread(_models, url or ollama_url())


def _models(url: str) -> Sequence[str] | None:
    # The standard library, because this is asked before anybody knows whether an HTTP client will be needed at all; and an
    # opener of its own, because the environment may name a proxy.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/api/tags", timeout=ANSWER_S_MAX) as answer:
            tags = msgspec.json.decode(answer.read(ANSWER_BYTES_MAX), type=_Tags)
    except (OSError, ValueError, HTTPException):  # no connection, no URL, no HTTP, no JSON, another JSON
        return None
    return [model.name for model in tags.models]
