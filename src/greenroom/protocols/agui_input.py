"""What AG-UI clients post: `RunAgentInput`, checked and reduced to what is new.

`messages` is the client's whole history. Only a person's messages at its end that the session does not have are new; what the model
and the tools said, the session knows better. Members that AG-UI 1.0 does not know are left out, as it demands; what is known and not
used (`tools`, `context`, `state`, system messages, ...) is named in `ignored`, so that the client can be told.

Rule: malformed is refused with the place and what would be right, before anything is written.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, Literal

import msgspec

from greenroom.core.session import SessionState
from greenroom.errors import InvalidArgument
from greenroom.protocols.agui_messages import PICTURE, SOURCE
from greenroom.protocols.attachments import attachment
from greenroom.protocols.requests import (
    Decide,
    Decision,
    Follow,
    Known,
    Request,
    Said,
    Send,
    SessionId,
    TurnId,
    followed,
    is_changed,
    kept_id,
    known_again,
    known_messages,
)


class DataSource(msgspec.Struct, frozen=True, tag="data", tag_field="type", rename="camel"):
    """The bytes of a medium, as base64."""

    value: str
    mime_type: str = ""


class UrlSource(msgspec.Struct, frozen=True, tag="url", tag_field="type", rename="camel"):
    """A medium somewhere else; only data URLs are taken."""

    value: str
    mime_type: str = ""


class FileSource(msgspec.Struct, frozen=True, tag="file", tag_field="type", rename="camel"):
    """A medium that a provider keeps; not taken."""

    value: str
    mime_type: str = ""


Source = DataSource | UrlSource | FileSource


class TextContent(msgspec.Struct, frozen=True, tag="text", tag_field="type"):
    """Text of a message."""

    text: str


class _Media(msgspec.Struct, frozen=True, tag_field="type"):
    """A medium in a message."""

    source: Source
    metadata: Any = None


class ImageContent(_Media, frozen=True, tag="image"):
    """An image."""


class AudioContent(_Media, frozen=True, tag="audio"):
    """Sound."""


class VideoContent(_Media, frozen=True, tag="video"):
    """Moving images."""


class DocumentContent(_Media, frozen=True, tag="document"):
    """A document."""


class BinaryContent(msgspec.Struct, frozen=True, tag="binary", tag_field="type", rename="camel", kw_only=True):
    """A medium, as clients of before 1.0 send it."""

    mime_type: str
    data: str = ""
    url: str = ""
    id: str = ""
    filename: str = ""


Content = TextContent | ImageContent | AudioContent | VideoContent | DocumentContent | BinaryContent

SETTINGS: Final = ("llm_model", "backend", "persona_name", "additional_tools", "title")
"""What a client may forward in `forwardedProps`."""

Role = Literal["developer", "system", "user", "assistant", "tool", "activity", "reasoning"]


class InputMessage(msgspec.Struct, frozen=True):
    """A message of the client's history."""

    id: str
    role: Role
    content: Any = None
    metadata: Any = None
    activity_type: Any = msgspec.field(name="activityType", default=None)

    @property
    def is_ours(self) -> bool:
        """Whether it is an activity that came from here, which some clients send back."""
        return self.role == "activity" and self.activity_type in (SOURCE, PICTURE)


class ContextItem(msgspec.Struct, frozen=True):
    """Something that the client knows."""

    description: str
    value: str


class ResumeEntry(msgspec.Struct, frozen=True, rename="camel"):
    """A person's answer to an interrupt."""

    interrupt_id: str
    status: Literal["resolved", "cancelled"]
    payload: Any = None
    metadata: Any = None


class _Content(msgspec.Struct, frozen=True):
    """What a message says. A type with a name: one that has none is analysed again for each message."""

    content: str | tuple[Content, ...]


class RunAgentInput(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The body of a POST. Clients write null for what they do not set."""

    thread_id: SessionId
    run_id: TurnId
    messages: tuple[InputMessage, ...]
    protocol_version: str | None = None
    parent_run_id: str | None = None
    state: Any = None
    tools: tuple[dict[str, Any], ...] | None = None
    context: tuple[ContextItem, ...] | None = None
    forwarded_props: Any = None
    resume: tuple[ResumeEntry, ...] | None = None

    @property
    def weight(self) -> int:
        """Returns how large the contents of the messages are, about."""
        return sum([_size(message.content) for message in self.messages])

    @property
    def is_legacy(self) -> bool:
        """Whether the client is of before 1.0."""
        return self.protocol_version is None

    def ignored(self, state: SessionState | None) -> Sequence[str]:
        """Returns the names of what the client sent and is not used.

        Args:
            state: of the session, or `None` if there is none yet.
        """
        names = [name for name in ("tools", "context", "state") if getattr(self, name)]
        if self.parent_run_id and not self.resume:  # with an answer, it is the run that asked
            names.append("parentRunId")
        roles = {message.role for message in self.messages if not message.is_ours}
        names += [f"messages ({role})" for role in ("system", "developer", "activity") if role in roles]
        if state is None and roles & {"assistant", "tool", "reasoning"}:
            names.append("messages (what was said before on another thread)")
        new = list(itertools.takewhile(lambda message: message.role == "user", reversed(self.messages)))
        if self.resume:
            kept = known_messages(state) if state is not None else {}
            if any(kept_id(message.id) not in kept for message in new):
                names.append("messages (a new one beside resume)")
            names += _unread_of_answers(self.resume)
        else:
            names += dict.fromkeys(f"messages.{name}" for message in new for name in _unread_of(message))
        props = self.forwarded_props if isinstance(self.forwarded_props, dict) else {}
        # Settings are for the session that is made; a later run does not change it.
        names += [f"forwardedProps.{name}" for name in props if state is not None or name not in SETTINGS]
        return names

    @property
    def is_for_suggestions(self) -> bool:
        """Whether CopilotKit asks what a person could say next: under a thread of its own, with each message."""
        props = self.forwarded_props if isinstance(self.forwarded_props, dict) else {}
        match props.get("toolChoice"):
            case {"function": {"name": "copilotkitSuggest"}}:
                return True
            case _:
                return False

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of a new session, which the client forwards."""
        props = self.forwarded_props
        return {name: props[name] for name in SETTINGS if name in props} if isinstance(props, dict) else {}


Reading = Mapping[int, Said | InvalidArgument]
"""What a person's messages at the end of a history say, or why one cannot be read, by their places."""


def said_last(run: RunAgentInput) -> Reading:
    """Returns what the person's messages at the end say, with their files decoded: that can take long, and needs no session."""
    read: dict[int, Said | InvalidArgument] = {}
    for number, message in reversed(_spoken(run)):
        if message.role != "user":
            break
        try:
            read[number] = _said(message, number)
        except InvalidArgument as error:
            read[number] = error
    return read


def run_request(run: RunAgentInput, state: SessionState | None, read: Reading | None = None) -> Request:
    """Returns what the client asks for.

    Args:
        run: the checked body.
        state: of the session, or `None` if there is none yet.
        read: what `said_last` made of it, if it was asked before.

    Raises:
        InvalidArgument: there is nothing to answer, or something that cannot be taken.
    """
    if run.resume:
        return Decide(decisions=tuple(_decision(entry, number) for number, entry in enumerate(run.resume)))
    known_turn_id = state.turn_of_run(run.run_id) if state is not None else None
    spoken = _spoken(run)
    if not spoken or spoken[-1][1].role != "user":
        if known_turn_id is not None:
            return Follow(turn_id=known_turn_id)
        raise InvalidArgument(
            "messages: there is no new message to answer", hint="the last message has to be a person's"
        )
    read = said_last(run) if read is None else read
    new: list[int] = []
    kept = known_messages(state) if state is not None else {}
    for number, message in reversed(spoken):
        known = kept.get(kept_id(message.id))
        if message.role != "user" or known is not None:
            if not new and known is not None and state is not None:
                if known_turn_id is not None:
                    return Follow(turn_id=known_turn_id)
                return known_again(state, known, _last(spoken, known, read))
            break
        new.append(number)
    said = _joined([_readable(read[number]) for number in reversed(new)])
    if state is not None and known_turn_id is not None:
        return followed(state, known_turn_id, said)
    return Send(said=said)


def _spoken(run: RunAgentInput) -> list[tuple[int, InputMessage]]:
    return [(i, message) for i, message in enumerate(run.messages) if message.role in {"user", "assistant", "tool"}]


def _readable(read: Said | InvalidArgument) -> Said:
    if isinstance(read, InvalidArgument):
        raise read
    return read


def _last(spoken: Sequence[tuple[int, InputMessage]], known: Known, read: Reading) -> Said:
    """Returns what the last message says; several that a person has said in a row were taken for one."""
    trailing = list(itertools.takewhile(lambda each: each[1].role == "user", reversed(spoken)))
    said = _joined([_readable(read[number]) for number, _ in reversed(trailing)])
    return _readable(read[trailing[0][0]]) if is_changed(known.accepted, said) else said


def _joined(said: Sequence[Said]) -> Said:
    return Said(
        text="\n\n".join(one.text for one in said if one.text),
        message_id=said[-1].message_id,
        attachments=tuple(attachment for one in said for attachment in one.attachments),
    )


def _said(message: InputMessage, number: int) -> Said:
    where = f"messages[{number}].content"
    try:
        content = msgspec.convert({"content": message.content}, _Content).content
    except msgspec.ValidationError as error:
        why = str(error).replace("`$.content", "`$")
        raise InvalidArgument(f"{where}: {why}", hint="give a text, or a list of content parts") from error
    parts = (TextContent(content),) if isinstance(content, str) else content
    texts = [part.text for part in parts if isinstance(part, TextContent)]
    media = [_attachment(part, f"{where}[{i}]") for i, part in enumerate(parts) if not isinstance(part, TextContent)]
    return Said(text="\n".join(texts), message_id=kept_id(message.id), attachments=tuple(media))


def _size(content: Any) -> int:
    """Returns how many characters a message says or carries, about; what is no content is nothing."""
    if not isinstance(content, list):
        return 0
    sources = [part.get("source", part) for part in content if isinstance(part, dict)]
    members = [source.get(name) for source in sources if isinstance(source, dict) for name in ("value", "data", "url")]
    return sum([len(member) for member in members if isinstance(member, str)])


def _attachment(part: Content, where: str) -> dict[str, Any]:
    match part:
        case TextContent():
            raise AssertionError("a text is no attachment")
        case BinaryContent():
            data, media_type, name = part.data or part.url, part.mime_type, part.filename
        case ImageContent() | AudioContent() | VideoContent() | DocumentContent():
            data, media_type, name = part.source.value, part.source.mime_type, _name(part.metadata)
            if isinstance(part.source, FileSource):
                raise InvalidArgument(f"{where}.source: what a provider keeps cannot be read", hint="send the data")
    return attachment(data, media_type, name, where=where)


_READ: Final = frozenset({"type", "text", "source", "metadata", "mimeType", "data", "url", "id", "filename"})
_READ_OF_METADATA: Final = frozenset({"filename", "name", "bytes"})
_OF_CLIENTS: Final = frozenset({"tanstack"})
"""Metadata that a client gives each message by itself, for itself: TanStack AI when it was written. The user is told nothing by it."""
_READ_OF_ANSWER: Final = frozenset({"approved", "arguments", "editedArgs", "reason"})


def _unread_of(message: InputMessage) -> list[str]:
    """Returns the names of members of a message's metadata, and of its content parts, that are not read."""
    content = message.content
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    names = _unread_of_metadata(message.metadata, _OF_CLIENTS)
    names += [f"content.{name}" for part in parts for name, value in part.items() if name not in _READ and value]
    for part in parts:
        read = _READ_OF_METADATA if part.get("type") != "text" else frozenset()
        names += [f"content.{name}" for name in _unread_of_metadata(part.get("metadata"), read)]
    return names


def _unread_of_metadata(metadata: Any, read: AbstractSet[str]) -> list[str]:
    if not isinstance(metadata, dict):
        return ["metadata"] if metadata else []
    return [f"metadata.{name}" for name, value in metadata.items() if name not in read and value]


def _unread_of_answers(entries: Sequence[ResumeEntry]) -> list[str]:
    """Returns the names of members of answers to interrupts that are not read."""
    names = ["resume.metadata"] if any(entry.metadata for entry in entries) else []
    payloads = [entry.payload for entry in entries if isinstance(entry.payload, dict)]
    unread = [f"resume.payload.{name}" for payload in payloads for name in payload if name not in _READ_OF_ANSWER]
    return [*names, *dict.fromkeys(unread)]


def _name(metadata: Any) -> str:
    names = (metadata.get("filename"), metadata.get("name")) if isinstance(metadata, dict) else ()
    return next((name for name in names if isinstance(name, str)), "")


def _decision(entry: ResumeEntry, number: int) -> Decision:
    where = f"resume[{number}].payload"
    if entry.status == "cancelled":
        return Decision(approval_id=entry.interrupt_id, is_approved=False)
    payload = entry.payload
    if isinstance(payload, bool):
        return Decision(approval_id=entry.interrupt_id, is_approved=payload)
    approved = payload.get("approved") if isinstance(payload, dict) else None
    if not isinstance(approved, bool):
        raise InvalidArgument(
            f"{where}: it does not say whether the call is approved", hint='{"approved": true or false}'
        )
    arguments, reason = payload.get("arguments", payload.get("editedArgs")), payload.get("reason")
    if not isinstance(arguments, dict | None) or not isinstance(reason, str | None):
        raise InvalidArgument(f"{where}: arguments is an object, and reason a text")
    return Decision(approval_id=entry.interrupt_id, is_approved=approved, reason=reason or "", arguments=arguments)
