"""What an AG-UI client sends: the run's input, and what is new in it.

Rule: tolerant of what the protocol adds (unknown members are left out), strict about what it defines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from greenroom.core.session import SessionState
from greenroom.errors import InvalidArgument
from greenroom.server.attachments import attachment
from greenroom.server.bodies import SessionId, TurnId

IGNORED: Final = ("tools", "context", "state")
"""What clients send and an agent of ours does not use: it has its own tools, prompt and state."""
_SETTINGS: Final = frozenset({"llm_model", "backend", "persona_name", "additional_tools", "title"})
_MEDIA: Final = frozenset({"image", "audio", "video", "document"})


class InputMessage(msgspec.Struct, kw_only=True):
    """A message as the client knows it."""

    id: str
    role: str
    content: Any = None


class RunInput(msgspec.Struct, kw_only=True, rename="camel"):
    """RunAgentInput of AG-UI."""

    thread_id: SessionId
    run_id: TurnId
    messages: list[InputMessage]
    protocol_version: Any = None
    state: Any = None
    tools: Any = None
    context: Any = None
    forwarded_props: Any = None
    resume: list[dict[str, Any]] | None = None


class NewMessage(NamedTuple):
    """What a person has said since."""

    text: str
    attachments: Sequence[Mapping[str, Any]]
    message_id: str | None


def new_message(body: RunInput, state: SessionState | None) -> NewMessage:
    """Returns what is new at the end of the messages.

    Raises:
        InvalidArgument: nothing is, or it cannot be read.
    """
    known = _known_ids(state)
    new: list[InputMessage] = []
    for message in reversed(body.messages):
        if message.role in {"system", "developer"}:
            continue
        if message.role != "user" or message.id in known:
            break
        new.append(message)
    if not new:
        raise InvalidArgument("there is no new message of a user", hint="add one with an id of its own at the end")
    texts: list[str] = []
    attachments: list[Mapping[str, Any]] = []
    for message in reversed(new):
        text, files = _content(message.content)
        texts.extend([text] if text else [])
        attachments.extend(files)
    return NewMessage("\n\n".join(texts), attachments, new[0].id)


def session_settings(body: RunInput) -> dict[str, Any]:
    """Returns the settings of a new session that the client forwards."""
    props = body.forwarded_props
    return {name: props[name] for name in _SETTINGS & set(props)} if isinstance(props, Mapping) else {}


def _known_ids(state: SessionState | None) -> set[str]:
    if state is None:
        return set()
    waiting = {accepted.message.message_id for accepted in state.queue}
    return waiting | {turn.message.message_id for turn in state.turns}


def _content(content: Any) -> tuple[str, list[Mapping[str, Any]]]:
    if isinstance(content, str):
        return content, []
    if not isinstance(content, list):
        raise InvalidArgument("a message's content is neither text nor a list of parts")
    texts: list[str] = []
    files: list[Mapping[str, Any]] = []
    for part in content:
        match part:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": str(kind), "source": {"type": "data", "value": str(data), "mimeType": str(media_type)}} if (
                kind in _MEDIA
            ):
                files.append(attachment(data, media_type, _name(part)))
            case {"type": str(kind), "source": {"type": "url", "value": str(url)}} if kind in _MEDIA:
                files.append(attachment(url, "", _name(part)))
            case {"type": "binary", "mimeType": str(media_type), "data": str(data)}:
                files.append(attachment(data, media_type, _name(part)))
            case {"type": "binary", "mimeType": str(media_type), "url": str(url)}:
                files.append(attachment(url, media_type, _name(part)))
            case _:
                found = part.get("type") if isinstance(part, Mapping) else type(part).__name__
                raise InvalidArgument(
                    f"a part of type {str(found)[:40]!r} cannot be read",
                    hint="text, or image, audio, video or document with a source of type data",
                )
    return "\n".join(texts), files


def _name(part: Mapping[str, Any]) -> str:
    places = (part, part.get("metadata"))
    names = [place.get("filename") for place in places if isinstance(place, Mapping)]
    return next((name for name in names if isinstance(name, str)), "")
