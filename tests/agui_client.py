"""What an AG-UI client makes of a stream: messages, folded as the reference client folds them.

Rule: what the reference client refuses (a content without a start, a run that ends with something open), fails here.
"""

from __future__ import annotations

import json
from typing import Any


class Client:
    """Applies events to messages; ids and order as they come."""

    def __init__(self) -> None:
        self.messages: dict[str, dict[str, Any]] = {}
        self.open: set[tuple[str, str]] = set()
        self.is_running = False
        self.ends: list[str] = []
        self.cursor: str | None = None

    def texts(self) -> list[str]:
        """What the assistant said, part by part."""
        return [m.get("content", "") for m in self.messages.values() if m["role"] == "assistant" and "content" in m]

    def content(self) -> list[Any]:
        """Everything but ids, to compare with another client."""
        return [{key: value for key, value in m.items() if key != "error"} for m in self.messages.values()]

    def apply(self, data: str) -> None:
        event = json.loads(data)
        assert None not in event.values(), f"null in {event}"
        kind = event["type"]
        assert self.is_running or kind in {"RUN_STARTED", "RUN_ERROR"}, f"{kind} outside of a run"
        match kind:
            case "RUN_STARTED":
                assert not self.is_running
                self.is_running = True
            case "RUN_FINISHED":
                assert not self.open, f"open at the end: {self.open}"
                self.is_running = False
                self.ends.append(event["outcome"]["type"])
            case "RUN_ERROR":
                self.is_running = False
                self.open.clear()
                self.ends.append(event["code"])
            case "MESSAGES_SNAPSHOT":
                told = {message["id"]: dict(message) for message in event["messages"]}
                if not any(message["role"] == "activity" for message in told.values()):
                    # The reference client keeps its own then: it takes the agent for one that does not send them in snapshots.
                    told |= {own: m for own, m in self.messages.items() if m["role"] == "activity"}
                self.messages = told
            case "STEP_STARTED" | "STEP_FINISHED":
                self._toggle("step", event["stepName"], opens=kind == "STEP_STARTED")
            case "TEXT_MESSAGE_START" | "REASONING_MESSAGE_START":
                self._toggle("message", event["messageId"], opens=True)
                new = {"id": event["messageId"], "role": event["role"], "content": ""}
                self.messages.setdefault(event["messageId"], new)
            case "TEXT_MESSAGE_CONTENT" | "REASONING_MESSAGE_CONTENT":
                assert ("message", event["messageId"]) in self.open
                self.messages[event["messageId"]]["content"] += event["delta"]
            case "TEXT_MESSAGE_END" | "REASONING_MESSAGE_END":
                self._toggle("message", event["messageId"], opens=False)
            case "REASONING_START" | "REASONING_END":
                self._toggle("reasoning", event["messageId"], opens=kind == "REASONING_START")
            case "TOOL_CALL_START":
                self._toggle("call", event["toolCallId"], opens=True)
                self._call(event["toolCallId"], event["toolCallName"], event["parentMessageId"])
            case "TOOL_CALL_ARGS":
                assert ("call", event["toolCallId"]) in self.open
                self._find_call(event["toolCallId"])["function"]["arguments"] += event["delta"]
            case "TOOL_CALL_END":
                self._toggle("call", event["toolCallId"], opens=False)
            case "TOOL_CALL_RESULT":
                new = {"id": event["messageId"], "role": "tool", "content": event["content"]}
                self.messages[event["messageId"]] = new | {"toolCallId": event["toolCallId"]}
            case "ACTIVITY_SNAPSHOT":
                new = {"id": event["messageId"], "role": "activity", "activityType": event["activityType"]}
                self.messages[event["messageId"]] = new | {"content": event["content"]}
            case "CUSTOM":
                pass
            case _:
                raise AssertionError(f"unknown event {kind}")

    def _toggle(self, space: str, name: str, *, opens: bool) -> None:
        assert ((space, name) in self.open) != opens, f"{space} {name} {'opened' if opens else 'closed'} twice"
        (self.open.add if opens else self.open.remove)((space, name))

    def _call(self, call_id: str, name: str, parent_id: str) -> None:
        parent = self.messages.setdefault(parent_id, {"id": parent_id, "role": "assistant", "toolCalls": []})
        if not any(call["id"] == call_id for call in parent["toolCalls"]):
            function = {"name": name, "arguments": ""}
            parent["toolCalls"].append({"id": call_id, "type": "function", "function": function})

    def _find_call(self, call_id: str) -> dict[str, Any]:
        for message in self.messages.values():
            for call in message.get("toolCalls", ()):
                if call["id"] == call_id:
                    return dict(call) | {"function": call["function"]}
        raise AssertionError(f"no call {call_id}")
