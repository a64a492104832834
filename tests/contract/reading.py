"""A front end of our own: reads AG-UI 1.0 events as a client does, and is strict about each of them.

Rule: written from the protocol's specification and its reference models; it knows nothing of how Greenroom makes events.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from ag_ui.core import Event
from ag_ui_validate.pytest_plugin import assert_valid_agui
from pydantic import TypeAdapter

Json = dict[str, Any]

_EVENTS: TypeAdapter[Any] = TypeAdapter(Event)
_TERMINAL = {"RUN_FINISHED", "RUN_ERROR"}


def parsed(text: object) -> Json:
    """One event: a JSON object that the reference models take, without fields of our own and without nulls."""
    assert isinstance(text, str), f"a chunk is a str, not {type(text).__name__}"
    assert "\n" not in text, "a chunk is one line: it becomes one `data:` field"
    event = json.loads(text)
    assert isinstance(event, dict)
    model = _EVENTS.validate_python(event)
    unknown = list(model.model_extra or ())
    assert not unknown, f"{event['type']} has fields that AG-UI 1.0 does not know: {unknown}"
    assert not list(_nulls(event)), f"{event['type']} has nulls: absent is not null"
    return event


def checked_run(texts: Iterable[str], *, broken_arguments: bool = False) -> list[Json]:
    """The events of a stream that is whole: valid one by one and together, with exactly one end, which is last."""
    events = [parsed(text) for text in texts]
    assert events, "a stream has at least a terminal event"
    assert events[-1]["type"] in _TERMINAL, f"the stream ends with {events[-1]['type']}"
    overrides = {"AGUI902": "off", "AGUI208": "off"}
    if broken_arguments:
        overrides["AGUI204"] = "off"
    if [event["type"] for event in events] == ["RUN_ERROR"]:
        return events  # The protocol's verifier takes an error as the first event: there was no run.
    assert [event["type"] for event in events].count("RUN_STARTED") == 1
    assert sum(event["type"] in _TERMINAL for event in events) == 1
    assert_valid_agui(events, severity_overrides=overrides, max_warnings=0)
    return events


async def run_of(stream: AsyncIterator[str], *, broken_arguments: bool = False) -> list[Json]:
    """Reads a stream to its end and checks it."""
    return checked_run([text async for text in stream], broken_arguments=broken_arguments)


async def all_of(stream: AsyncIterator[Any]) -> list[tuple[str, str]]:
    """Reads frames `(cursor, data)` to their end."""
    return [(cursor, data) async for cursor, data in stream]


def types(events: Iterable[Json]) -> list[str]:
    return [event["type"] for event in events]


def only(events: Iterable[Json], kind: str) -> Json:
    found = [event for event in events if event["type"] == kind]
    assert len(found) == 1, f"{len(found)} events {kind}"
    return found[0]


def text_of(events: Iterable[Json]) -> str:
    """What the assistant said in a run."""
    events = list(events)
    others = {
        event["messageId"]
        for event in events
        if event["type"] == "TEXT_MESSAGE_START" and event.get("role", "assistant") != "assistant"
    }
    return "".join(
        event["delta"]
        for event in events
        if event["type"] == "TEXT_MESSAGE_CONTENT" and event["messageId"] not in others
    )


def error_of(events: Sequence[Json]) -> Json:
    """The error that a run ended with."""
    assert events[-1]["type"] == "RUN_ERROR", events[-1]
    return events[-1]


def results_of(events: Iterable[Json]) -> list[str]:
    """What the tools gave back, in the order of their results."""
    return [event["content"] for event in events if event["type"] == "TOOL_CALL_RESULT"]


class FrontEnd:
    """Applies events to what it shows: messages by id, as the reference client does.

    START of an id that is there already goes on with it; a snapshot replaces everything. Starting what is open, or going on with
    what is not, is an error, as in the client's verifier.
    """

    def __init__(self) -> None:
        self.messages: dict[str, Json] = {}
        self.run: str | None = None
        self.ended: list[Json] = []
        self._open: set[tuple[str, str]] = set()
        self._calls: dict[str, Json] = {}

    def apply_all(self, texts: Iterable[str]) -> FrontEnd:
        """Applies what one stream brought."""
        for number, text in enumerate(texts):
            self.apply(text, is_first=number == 0)
        return self

    def apply(self, text: str, *, is_first: bool = False) -> None:
        """Applies one event; the first of a stream may start a run anew, whatever the stream before had left open."""
        event = parsed(text)
        if is_first and event["type"] == "RUN_STARTED":
            self.run = None
        kind = event["type"]
        match kind:
            case "RUN_STARTED":
                assert self.run is None, "a run starts while another is active"
                self.run = event["runId"]
                self._open.clear()
            case "RUN_FINISHED" | "RUN_ERROR":
                assert kind == "RUN_ERROR" or not self._open, f"the run ended with {self._open} open"
                self.run = None
                self._open.clear()
                self.ended.append(event)
            case "MESSAGES_SNAPSHOT":
                self.messages = {message["id"]: json.loads(json.dumps(message)) for message in event["messages"]}
                self._calls = {
                    call["id"]: call for message in event["messages"] for call in message.get("toolCalls") or ()
                }
                for message in self.messages.values():
                    for call in message.get("toolCalls") or ():
                        self._calls[call["id"]] = call
            case "TEXT_MESSAGE_START":
                self._start("text", event["messageId"], {"role": event.get("role", "assistant"), "content": ""})
            case "REASONING_MESSAGE_START":
                self._start("reasoning", event["messageId"], {"role": "reasoning", "content": ""})
            case "TEXT_MESSAGE_CONTENT" | "REASONING_MESSAGE_CONTENT":
                what = "text" if kind.startswith("TEXT") else "reasoning"
                assert (what, event["messageId"]) in self._open, f"{kind} of a message that is not open"
                message = self.messages[event["messageId"]]
                message["content"] = message.get("content", "") + event["delta"]
            case "TEXT_MESSAGE_END" | "REASONING_MESSAGE_END":
                self._open.remove(("text" if kind.startswith("TEXT") else "reasoning", event["messageId"]))
            case "TOOL_CALL_START":
                self._start_call(event)
            case "TOOL_CALL_ARGS":
                assert ("call", event["toolCallId"]) in self._open, "arguments of a call that is not open"
                self._calls[event["toolCallId"]]["function"]["arguments"] += event["delta"]
            case "TOOL_CALL_END":
                self._open.remove(("call", event["toolCallId"]))
            case "TOOL_CALL_RESULT":
                assert event["messageId"] not in self.messages, "a result came twice"
                self.messages[event["messageId"]] = {"role": "tool", "content": event["content"]}
            case _:
                pass

    @property
    def shown(self) -> list[tuple[str, str]]:
        """Role and content of everything with words in it, in order."""
        return [(message["role"], message["content"]) for message in self.messages.values() if message.get("content")]

    @property
    def calls(self) -> list[tuple[str, str]]:
        """Name and arguments of all tool calls, in order."""
        return [(call["function"]["name"], call["function"]["arguments"]) for call in self._calls.values()]

    def said(self, role: str = "assistant") -> str:
        return "".join(content for who, content in self.shown if who == role)

    def _start(self, what: str, message_id: str, message: Json) -> None:
        assert (what, message_id) not in self._open, f"{message_id} is started while it is open"
        self._open.add((what, message_id))
        self.messages.setdefault(message_id, message)

    def _start_call(self, event: Json) -> None:
        call_id = event["toolCallId"]
        assert ("call", call_id) not in self._open, f"{call_id} is started while it is open"
        self._open.add(("call", call_id))
        if call_id in self._calls:
            return
        call = {"id": call_id, "function": {"name": event["toolCallName"], "arguments": ""}}
        self._calls[call_id] = call
        parent = self.messages.setdefault(event.get("parentMessageId", call_id), {"role": "assistant"})
        parent.setdefault("toolCalls", []).append(call)


def _nulls(value: object) -> Iterable[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if inner is None:
                yield name
            yield from _nulls(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _nulls(inner)
