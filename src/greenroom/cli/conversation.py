"""One reader's copy of what is being said: AG-UI events in, what to show of them out.

Events come one by one and once, or all at once in a snapshot: when the reader joins in the middle, when it was too slow, and when
an answer begins anew. A snapshot is compared with what was shown already. What is new is shown; what was shown and is not in it any
more was withdrawn, which has to be said, because neither a terminal nor a pipe can take anything back.

Rule: a pure fold. It knows the protocol, not the screen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec


class TurnBegan(msgspec.Struct, frozen=True):
    """An answer begins."""

    turn_id: str


class PersonSaid(msgspec.Struct, frozen=True):
    """More of the message that is being answered: one that somebody else has sent, or that had to wait."""

    message_id: str
    text: str


class Said(msgspec.Struct, frozen=True):
    """More text of a message."""

    message_id: str
    text: str


class Thought(msgspec.Struct, frozen=True):
    """More reasoning."""

    message_id: str
    text: str


class CallMade(msgspec.Struct, frozen=True):
    """The model calls a tool; the arguments are complete."""

    call_id: str
    name: str
    arguments: str


class CallReturned(msgspec.Struct, frozen=True):
    """What came of a call."""

    call_id: str
    name: str
    content: str


class Noticed(msgspec.Struct, frozen=True):
    """Something that the person should know about how the session is answered."""

    code: str
    text: str


class SourceNamed(msgspec.Struct, frozen=True):
    """A source of the answer; `url` is empty for a document, and for an address that must not become a link."""

    title: str
    url: str


class PictureMade(msgspec.Struct, frozen=True):
    """A picture that the model made."""

    media_type: str
    size: int


class Withdrawn(msgspec.Struct, frozen=True):
    """What was shown of this answer is void: it begins again."""


class TurnEnded(msgspec.Struct, frozen=True, kw_only=True):
    """The answer ends.

    Attributes:
        outcome: `waiting`: a person has to decide about a call, then it goes on.
        code, message: of the error, if it failed.
        finish_reason: how a completed answer ended: `stop`, or why it is not whole.
        usage: tokens, as the protocol tells them: one entry for each step.
    """

    outcome: Literal["completed", "cancelled", "failed", "waiting"]
    code: str = ""
    message: str = ""
    finish_reason: str = "stop"
    usage: Sequence[Mapping[str, Any]] = ()


Shown = (
    TurnBegan
    | PersonSaid
    | Said
    | Thought
    | CallMade
    | CallReturned
    | SourceNamed
    | PictureMade
    | Noticed
    | Withdrawn
    | TurnEnded
)
"""Sources and pictures come after the answer, before its end: they are named in the middle of sentences."""


class _Call:
    """A call as far as it is known."""

    __slots__ = ("arguments", "content", "is_shown", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.arguments = ""
        self.content: str | None = None
        self.is_shown = False


class _Text:
    """A text that grows, often by a character at a time."""

    __slots__ = ("_length", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0

    def __str__(self) -> str:
        return "".join(self._pieces)

    def add(self, text: str) -> None:
        self._pieces.append(text)
        self._length += len(text)

    def beyond(self, whole: str) -> str:
        """Returns what `whole` has more; it begins with this text."""
        return whole[self._length :]


_OUTCOMES: Final[Mapping[Any, Literal["completed", "cancelled", "waiting"]]] = {
    "cancelled": "cancelled",
    "interrupt": "waiting",
}


class Conversation:
    """Folds the events of a session, run by run.

    Attributes:
        turn_id: of the last run.
        ended: how it ended; `None` while it goes on.
        notices: what was said beside the answer, in all runs.
    """

    def __init__(self) -> None:
        self.turn_id = ""
        self.ended: TurnEnded | None = None
        self.notices: list[Noticed] = []
        self._texts: defaultdict[str, _Text] = defaultdict(_Text)
        self._thoughts: defaultdict[str, _Text] = defaultdict(_Text)
        self._calls: dict[str, _Call] = {}
        self._of_people: set[str] = set()
        self._given: dict[str, SourceNamed | PictureMade] = {}

    @property
    def text(self) -> str:
        """The answer of the last run, as far as it is there."""
        return "\n".join(filter(None, map(str, self._texts.values())))

    @property
    def reasoning(self) -> str:
        """What the model thought before it answered."""
        return "\n".join(filter(None, map(str, self._thoughts.values())))

    @property
    def sources(self) -> list[SourceNamed]:
        """What the answer of the last run rests on, each once."""
        first: dict[str, SourceNamed] = {}
        for given in self._given.values():
            if isinstance(given, SourceNamed):
                first.setdefault(given.url or given.title, given)
        return list(first.values())

    @property
    def pictures(self) -> list[PictureMade]:
        """The pictures of the answer of the last run."""
        return [given for given in self._given.values() if isinstance(given, PictureMade)]

    @property
    def calls(self) -> list[dict[str, str | None]]:
        """The calls of the last run: name, arguments and result."""
        return [
            {"name": call.name, "arguments": call.arguments, "result": call.content} for call in self._calls.values()
        ]

    def feed(self, event: str) -> list[Shown]:
        """Takes an event, as JSON, and returns what there is to show."""
        return list(self._shown(msgspec.json.decode(event)))

    def _shown(self, event: Mapping[str, Any]) -> Iterator[Shown]:
        match event:
            case {"type": "RUN_STARTED", "runId": turn_id}:
                if self.ended is None or self.ended.outcome != "waiting" or self.turn_id != turn_id:
                    self._begin(turn_id)
                    yield TurnBegan(turn_id)
                self.ended = None  # a turn that waited goes on
            case {"type": "RUN_FINISHED"}:
                yield from self._beside()
                outcome = _OUTCOMES.get(event.get("outcome", {}).get("type"), "completed")
                finish_reason = (event.get("result") or {}).get("finishReason", "stop")
                yield self._end(TurnEnded(outcome=outcome, finish_reason=finish_reason, usage=_usage(event)))
            case {"type": "RUN_ERROR", "message": message}:
                code = event.get("code", "")
                yield from self._beside()
                yield self._end(TurnEnded(outcome="failed", code=code, message=message, usage=_usage(event)))
            case {"type": "MESSAGES_SNAPSHOT", "messages": messages}:
                yield from self._compared(messages)
            case {"type": "CUSTOM", "name": "greenroom.notice", "value": {"code": code, "text": text}}:
                notice = Noticed(code, text)
                self.notices.append(notice)
                yield notice
            case {"messageId": message_id}:
                yield from self._message_shown(event, message_id)
            case {"toolCallId": call_id}:
                yield from self._call_shown(event, call_id)
            case _:
                pass  # the protocol has events that say nothing to a person, and may get more

    def _message_shown(self, event: Mapping[str, Any], message_id: str) -> Iterator[Shown]:
        match event:
            case {"type": "TEXT_MESSAGE_START", "role": "user"}:
                self._of_people.add(message_id)
            case {"type": "TEXT_MESSAGE_CONTENT", "delta": delta} if message_id in self._of_people:
                yield PersonSaid(message_id, delta)
            case {"type": "TEXT_MESSAGE_CONTENT", "delta": delta}:
                self._texts[message_id].add(delta)
                yield Said(message_id, delta)
            case {"type": "REASONING_MESSAGE_CONTENT", "delta": delta}:
                self._thoughts[message_id].add(delta)
                yield Thought(message_id, delta)
            case {"type": "ACTIVITY_SNAPSHOT", "activityType": kind, "content": content}:
                self._give(message_id, kind, content)
            case {"type": "TOOL_CALL_RESULT", "toolCallId": call_id, "content": content}:
                yield from self._call_returned(call_id, content)
            case _:
                pass

    def _call_shown(self, event: Mapping[str, Any], call_id: str) -> Iterator[Shown]:
        match event:
            case {"type": "TOOL_CALL_START", "toolCallName": name}:
                # One that a snapshot has brought already goes on where the snapshot left it.
                self._calls.setdefault(call_id, _Call(name))
            case {"type": "TOOL_CALL_ARGS", "delta": delta}:
                self._calls[call_id].arguments += delta
            case {"type": "TOOL_CALL_END"}:
                yield from self._call_made(call_id)
            case _:
                pass

    def _begin(self, turn_id: str) -> None:
        self.turn_id, self.ended = turn_id, None
        self._texts.clear()
        self._thoughts.clear()
        self._calls.clear()
        self._of_people.clear()
        self._given.clear()

    def _give(self, message_id: str, kind: str, content: Mapping[str, Any]) -> None:
        match kind, content:
            case _, {"isVoid": True}:
                self._given.pop(message_id, None)
            case "greenroom.source", _:
                self._given[message_id] = SourceNamed(content.get("title", ""), content.get("url", ""))
            case "greenroom.picture", {"mediaType": media_type, "bytes": size}:
                self._given[message_id] = PictureMade(media_type, size)
            case _:
                pass  # of another kind, which is yet to be invented

    def _beside(self) -> Iterator[Shown]:
        yield from self.pictures
        yield from self.sources

    def _end(self, ended: TurnEnded) -> TurnEnded:
        self.ended = ended
        return ended

    # --- calls ----------------------------------------------------------------------------------------------------------

    def _call_made(self, call_id: str) -> Iterator[Shown]:
        call = self._calls[call_id]
        if not call.is_shown:
            call.is_shown = True
            yield CallMade(call_id, call.name, call.arguments)

    def _call_returned(self, call_id: str, content: str) -> Iterator[Shown]:
        call = self._calls.get(call_id)
        if call is None or call.content is not None:
            return
        yield from self._call_made(call_id)
        call.content = content
        yield CallReturned(call_id, call.name, content)

    # --- snapshots ------------------------------------------------------------------------------------------------------

    def _compared(self, messages: Sequence[Mapping[str, Any]]) -> Iterator[Shown]:
        own = _of_run(messages, self.turn_id)
        if self._has_lost(own):
            self._begin(self.turn_id)
            yield Withdrawn()
        self._given.clear()
        for message in own:
            match message:
                case {"role": "activity", "id": message_id, "activityType": kind, "content": content}:
                    self._give(message_id, kind, content)
                case {"role": "assistant", "id": message_id, "content": str(content)}:
                    if more := self._texts[message_id].beyond(content):
                        self._texts[message_id].add(more)
                        yield Said(message_id, more)
                case {"role": "reasoning", "id": message_id, "content": content}:
                    if more := self._thoughts[message_id].beyond(content):
                        self._thoughts[message_id].add(more)
                        yield Thought(message_id, more)
                case {"role": "assistant", "toolCalls": calls}:
                    for call in calls:
                        known = self._calls.setdefault(call["id"], _Call(call["function"]["name"]))
                        known.arguments = call["function"]["arguments"]
                        if _is_json(known.arguments):
                            yield from self._call_made(call["id"])
                case {"role": "tool", "toolCallId": call_id, "content": content}:
                    yield from self._call_returned(call_id, content)
                case _:
                    pass

    def _has_lost(self, messages: Sequence[Mapping[str, Any]]) -> bool:
        """Returns whether something was shown that is not in the snapshot, or is another now."""
        contents = {message["id"]: message.get("content", "") for message in messages}
        call_ids = {call["id"] for message in messages for call in message.get("toolCalls", ())}
        return any(
            not contents.get(message_id, "").startswith(str(text))
            for message_id, text in (*self._texts.items(), *self._thoughts.items())
        ) or any(call.is_shown and call_id not in call_ids for call_id, call in self._calls.items())


def _of_run(messages: Sequence[Mapping[str, Any]], turn_id: str) -> list[Mapping[str, Any]]:
    """Returns the messages of one run's answer: the ids of its messages begin with the run's."""
    own: list[Mapping[str, Any]] = []
    call_ids: set[str] = set()
    for message in messages:
        if message["id"].startswith(f"{turn_id}-"):
            call_ids.update(call["id"] for call in message.get("toolCalls", ()))
            own.append(message)
        elif message.get("toolCallId") in call_ids:
            own.append(message)
    return own


def _is_json(arguments: str) -> bool:
    """Returns whether the arguments are complete: a snapshot does not say which calls are still being written."""
    try:
        msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return False
    return True


def _usage(event: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    usage: Sequence[Mapping[str, Any]] = event.get("usage", ())
    return usage
