"""What a provider says of its models: `GET /models`, as the dialects and their many servers answer it.

OpenAI, Claude and Ollama answer `{"data": [{"id": ...}]}`; some servers a bare list, or `models` with `name`. Few rows say more than
the name; where one does, it is used: what the model is not for, and when it ends.

Rule: an answer is data of strangers: bounded in bytes, decoded in a thread, and what is no list is an error that says what came.
"""

from __future__ import annotations

import asyncio
import difflib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import msgspec

from greenroom.backends.fault_words import NO_SUCH_MODEL
from greenroom.backends.faults import Endpoint, redacted
from greenroom.backends.model_facts import is_for_chat
from greenroom.backends.transport import map_exceptions
from greenroom.errors import BackendError, BackendGarbled, BackendRejected, BackendUnauthorized
from greenroom.interfaces import ListedModel

if TYPE_CHECKING:
    from greenroom.backends.clients import DirectClient

LIST_BYTES_MAX: Final = 4 * 1024 * 1024
"""Length of a list of models. The longest known, of a gateway to some hundred models, has half a megabyte."""

_NAMING_S_MAX: Final = 5.0
"""How long an error waits for the list of what there is instead."""
_NAMED_MAX: Final = 8
_LOOKED_AT_MAX: Final = 1_000
_NAME_CHARACTERS_MAX: Final = 80


async def fetch_models(
    client: DirectClient, path: str, query: Mapping[str, str] | None = None
) -> Sequence[ListedModel]:
    """Returns what the provider lists, in its order, without what it says is not for chat or has ended.

    Raises:
        BackendError: it cannot be reached, refused, or answered with something else.
    """
    # Loaded with the client's connections, which takes a thread: not before they are there.
    await client.way()
    from greenroom.backends.connections import read_at_most

    with map_exceptions(client.endpoint):
        answer = await client.get(path, query or {})
        try:
            body = await read_at_most(answer, LIST_BYTES_MAX + 1)
        finally:
            answer.close()
    if len(body) > LIST_BYTES_MAX:
        raise BackendGarbled(f"the list of models of {client.endpoint.provider} has more than {LIST_BYTES_MAX} bytes")
    return await asyncio.to_thread(models_in, body, client.endpoint)


def models_in(body: bytes, endpoint: Endpoint) -> Sequence[ListedModel]:
    """Returns the models that an answer lists.

    Raises:
        BackendGarbled: it is no list of models.
    """
    try:
        found = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        raise _no_list(body, endpoint) from error
    rows = found.get("data", found.get("models")) if isinstance(found, dict) else found
    if not isinstance(rows, list):
        raise _no_list(body, endpoint)
    named = [(name, row) for row in rows if (name := _name(row))]
    if rows and not named:
        raise _no_list(body, endpoint)
    return [
        ListedModel(name=name, ends_on=_end(row))
        for name, row in named
        if not isinstance(row, dict) or not _is_no_chat(row)
    ]


def _no_list(body: bytes, endpoint: Endpoint) -> BackendGarbled:
    shown = redacted(re.sub(r"<[^>]*>", " ", body[:2000].decode("utf-8", "replace")), endpoint.key)
    return BackendGarbled(
        f"{endpoint.provider} answered with something that is not a list of models: {shown or 'nothing'}",
        hint=f"is {endpoint.shown_url} the address of an API? {endpoint.base_url_variable} sets it",
    )


def _name(row: object) -> str:
    if isinstance(row, dict):
        row = row.get("id") or row.get("name")
    return row if isinstance(row, str) else ""


def _is_no_chat(row: Mapping[str, Any]) -> bool:
    """Returns whether a row says that its model has ended (Anthropic), or is for something else (Together, Mistral, OpenRouter)."""
    capabilities, architecture = row.get("capabilities"), row.get("architecture")
    modalities = architecture.get("output_modalities") if isinstance(architecture, dict) else None
    return (
        row.get("lifecycle") == "retired"
        or row.get("type") in _OTHER_TYPES
        or (isinstance(capabilities, dict) and capabilities.get("completion_chat") is False)
        or (isinstance(modalities, list) and bool(modalities) and "text" not in modalities)
    )


def _end(row: object) -> str:
    """Returns the day on which the provider ends a model: OpenAI's `shutdown_date`, Anthropic's `retires_at`."""
    if not isinstance(row, dict):
        return ""
    for field in ("shutdown_date", "retires_at"):
        if isinstance(told := row.get(field), str):
            try:
                return date.fromisoformat(told[:10]).isoformat()
            except ValueError:  # of a form that is not ours to guess
                continue
    return ""


_OTHER_TYPES: Final = (
    "embedding",
    "embeddings",
    "image",
    "video",
    "audio",
    "moderation",
    "rerank",
    "transcribe",
    "tts",
)


@asynccontextmanager
async def existing_named(
    model: str, list_models: Callable[[], Awaitable[Sequence[ListedModel] | None]]
) -> AsyncIterator[None]:
    """Adds the models that a provider has to the error with which it answers that it does not have this one.

    Args:
        model: that was asked for.
        list_models: asks the provider; what it raises leaves the error as it was.

    Raises:
        BackendRejected: as it came, with the names in its hint: those that look like this one first.
    """
    try:
        yield
    except BackendUnauthorized:
        raise
    except BackendRejected as rejected:
        if rejected.refused is not None or not NO_SUCH_MODEL.search(rejected.message.lower()):
            raise
        try:
            async with asyncio.timeout(_NAMING_S_MAX):
                listed = await list_models()
        except (BackendError, TimeoutError):
            raise rejected from None
        names = [row.name for row in listed or () if is_for_chat(row.name) and row.name.isprintable()][:_LOOKED_AT_MAX]
        if not names or model in names:
            raise  # it has no list, or the trouble is another
        raise BackendRejected(
            rejected.message, hint=f"{named_first(model, names)}: set llm_model to one of them"
        ) from rejected


def named_first(model: str, names: Sequence[str]) -> str:
    """Returns a sentence about which models exist, for people: those that look like `model` first, and not very many."""
    near = difflib.get_close_matches(model, names, n=_NAMED_MAX, cutoff=0.5)
    shown = [*near, *(name for name in names if name not in near)][:_NAMED_MAX]
    rest = len(names) - len(shown)
    return f"it has {', '.join(name[:_NAME_CHARACTERS_MAX] for name in shown)}" + (f" and {rest} more" if rest else "")
