"""What `useChat` posts to `/api/chat`, checked and reduced to what is new.

The body is `{id, messages, trigger, messageId}`; a front end may send its last message alone, as `message`. Beside them may stand settings of the
session. What the SDK or the application adds beyond is not read, and is named in the answer.

Rule: malformed is refused with the place and what would be right, before anything is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

import msgspec

from greenroom.config import Overlap
from greenroom.core.session import SessionState
from greenroom.errors import InvalidArgument
from greenroom.protocols.attachments import attachment
from greenroom.protocols.ids import answer_id
from greenroom.protocols.requests import (
    Decide,
    Decision,
    Follow,
    Request,
    Said,
    Send,
    SessionId,
    answered_again,
    is_changed,
    kept_id,
    known_again,
    known_message,
)

SETTINGS: Final = ("llm_model", "backend", "persona_name", "additional_tools")
"""Settings of the session that may stand beside the messages."""


class UiMessageInput(msgspec.Struct, frozen=True):
    """A UIMessage, as far as it is read."""

    role: Literal["system", "user", "assistant"]
    id: str = ""
    parts: tuple[dict[str, Any], ...] = ()
    content: str = ""
    metadata: Any = None


class ChatInput(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The body of a POST."""

    id: SessionId
    messages: tuple[UiMessageInput, ...] = ()
    message: UiMessageInput | str | None = None
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    message_id: str | None = None
    llm_model: str | None = msgspec.field(default=None, name="llm_model")
    backend: str | None = None
    persona_name: str | None = msgspec.field(default=None, name="persona_name")
    additional_tools: tuple[str, ...] | None = msgspec.field(default=None, name="additional_tools")
    overlap: Overlap | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that were given."""
        given = {name: getattr(self, name) for name in SETTINGS}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def weight(self) -> int:
        """Returns how large the files of the last message are, about."""
        parts = self.last.parts if self.last is not None else ()
        return sum([len(url) for part in parts if isinstance(url := part.get("url"), str)])

    @property
    def last(self) -> UiMessageInput | None:
        """The message that the request is about."""
        if isinstance(self.message, str):
            return UiMessageInput(role="user", content=self.message)
        return self.message or (self.messages[-1] if self.messages else None)

    def ignored(self, state: SessionState | None) -> Sequence[str]:
        """Returns the names of what the front end sent and is not used.

        Args:
            state: of the session, or `None` if there is none yet.
        """
        roles = {message.role for message in self.messages}
        names = ["messages (system)"] if "system" in roles else []
        if state is None and "assistant" in roles:
            names.append("messages (what was said before in another chat)")
        last = self.last
        if last is not None and last.role == "user":
            names += dict.fromkeys(_unread(last))
        return names


LastSaid = Said | InvalidArgument | None
"""What a person's last message says, or why it cannot be read; `None` where the last message is not a person's."""


def last_said(chat: ChatInput) -> LastSaid:
    """Returns what the last message says, with its files decoded: that can take long, and needs no session."""
    last = chat.last
    if last is None or last.role != "user":
        return None
    try:
        return _said(last, f"messages[{max(len(chat.messages) - 1, 0)}]")
    except InvalidArgument as error:
        return error


def chat_request(chat: ChatInput, state: SessionState | None, read: LastSaid = None) -> Request:
    """Returns what the front end asks for.

    Args:
        chat: the checked body.
        state: of the session, or `None` if there is none yet.
        read: what `last_said` made of it, if it was asked before.

    Raises:
        InvalidArgument: there is nothing to answer, or something that cannot be taken.
    """
    if chat.trigger == "regenerate-message":
        return _regenerated(chat, state, read)
    last = chat.last
    if last is None:
        raise InvalidArgument("messages: there is no message", hint="send at least the message to be answered")
    if last.role == "assistant":
        return Decide(decisions=_decisions(last))
    if last.role != "user":
        raise InvalidArgument("messages: the last one is not a person's", hint="send the message to be answered last")
    said = _readable(last_said(chat) if read is None else read)
    known = known_message(state, said.message_id) if state is not None and said.message_id else None
    if known is None or state is None:
        return Send(said=said)
    if chat.message_id:  # an edit says which message it replaces
        return Send(said=said, rewind_to=known.turn_id)
    # The same message once more is a request that was sent again.
    return known_again(state, known, said) if is_changed(known.accepted, said) else Follow(turn_id=known.turn_id)


def _regenerated(chat: ChatInput, state: SessionState | None, read: LastSaid) -> Request:
    if state is None or not (state.turns or state.queue):
        raise InvalidArgument("there is no such answer to be given again", hint="send a message first")
    named = [chat.message_id] if chat.message_id else []
    named += [message.id for message in reversed(chat.messages) if message.role == "user"][:1]
    for message_id in named:
        turn_id = _turn_of(state, message_id)
        if turn_id is not None:
            return _as_it_is_now(chat, state, answered_again(state, turn_id), read)
    if named:
        raise InvalidArgument(
            f"messageId: there is no message {named[0][:80]!r}", hint="fetch the messages of the session"
        )
    return answered_again(state, state.turns[-1].turn_id if state.turns else state.queue[0].message.turn_id)


def _as_it_is_now(chat: ChatInput, state: SessionState, request: Request, read: LastSaid) -> Request:
    """Returns the request with the message as the page shows it: pages edit a message and have it answered again."""
    last = chat.last
    if last is None or last.role != "user" or not isinstance(request, Send):
        return request
    said = _readable(last_said(chat) if read is None else read)
    known = known_message(state, said.message_id)
    is_it = known is not None and known.turn_id == request.rewind_to and is_changed(known.accepted, said)
    return Send(said=said, rewind_to=request.rewind_to) if is_it else request


def _turn_of(state: SessionState, message_id: str) -> str | None:
    turn_id = next((turn.turn_id for turn in state.turns if answer_id(turn.turn_id) == message_id), None)
    if turn_id is None and (known := known_message(state, kept_id(message_id))) is not None:
        return known.turn_id
    return turn_id


def _readable(read: LastSaid) -> Said:
    if isinstance(read, InvalidArgument):
        raise read
    assert read is not None, "the last message is a person's"
    return read


def _said(message: UiMessageInput, where: str) -> Said:
    texts = [message.content] if message.content and not message.parts else []
    attachments: list[dict[str, Any]] = []
    for number, part in enumerate(message.parts):
        place = f"{where}.parts[{number}]"
        match part:
            case {"type": "text", "text": str() as text}:
                texts.append(text)
            case {"type": "file", "url": str() as url}:
                media_type, name = part.get("mediaType") or "", part.get("filename") or ""
                if not isinstance(media_type, str) or not isinstance(name, str):
                    raise InvalidArgument(f"{place}: mediaType and filename are texts")
                attachments.append(attachment(url, media_type, name, where=place))
            case {"type": "text" | "file" as kind}:
                missing = "text" if kind == "text" else "url"
                raise InvalidArgument(f"{place}: a {kind} part without {missing}", hint=f"give {missing} as a text")
            case {"type": str(kind)} if kind.startswith("data-") or kind == "step-start":
                pass  # the application's own
            case _:
                kind = str(part.get("type"))[:40]
                raise InvalidArgument(f"{place}: a part of type {kind!r} cannot be read", hint="text, or file")
    message_id = kept_id(message.id) if message.id else ""
    return Said(text="\n".join(texts), message_id=message_id, attachments=tuple(attachments))


_READ_OF_PART: Final = frozenset({"type", "text", "state", "url", "mediaType", "filename"})
_OUR_METADATA: Final = frozenset({"turnId", "seq", "createdAt", "queued"})
"""What a person's message has from us, when a page sends it again."""


def _unread(message: UiMessageInput) -> Iterator[str]:
    """Yields the names of what is not read of a person's message."""
    if isinstance(message.metadata, dict):
        yield from (f"messages.metadata.{name}" for name in message.metadata if name not in _OUR_METADATA)
    elif message.metadata:
        yield "messages.metadata"
    for part in message.parts:
        kind = str(part.get("type"))
        if kind.startswith("data-"):
            yield f"messages.parts ({kind})"
        else:
            yield from (f"messages.parts.{name}" for name, value in part.items() if name not in _READ_OF_PART and value)


def _decisions(message: UiMessageInput) -> tuple[Decision, ...]:
    found: list[Decision] = []
    for number, part in enumerate(message.parts):
        match part:
            case {
                "state": "approval-responded",
                "approval": {"id": str() as approval_id, "approved": bool() as is_approved},
            }:
                reason = part["approval"].get("reason")
                given = reason if isinstance(reason, str) else ""
                found.append(Decision(approval_id=approval_id, is_approved=is_approved, reason=given))
            case {"state": "approval-responded"}:
                raise InvalidArgument(
                    f"the last message, parts[{number}].approval: it does not say what was decided",
                    hint="{id: text, approved: true or false}",
                )
            case _:
                pass
    if not found:
        raise InvalidArgument(
            "messages: the last one is the assistant's, and decides nothing",
            hint="send the message to be answered last",
        )
    return tuple(found)
