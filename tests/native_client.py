"""A reader of the session's own events, written after `docs/protocols.md`.

Rule: it knows what the page says and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]


class NativeReader:
    """Folds frames to what was said, message by message."""

    def __init__(self) -> None:
        self.messages: list[Json] = []
        self.turn_id = ""
        self.outcomes: list[str] = []
        self.errors: list[str] = []
        self._step = 0
        self._attempt: dict[int, Json] = {}

    def apply_all(self, frames: Iterable[str]) -> NativeReader:
        for frame in frames:
            self.apply(json.loads(frame))
        return self

    def text(self) -> str:
        """All that the model said aloud in the last answer."""
        answers = [message for message in self.messages if message["role"] == "assistant"]
        parts = answers[-1]["parts"] if answers else []
        return "".join(part["text"] for part in parts if part["type"] in {"text", "refusal"})

    def apply(self, frame: Json) -> None:
        kind = frame["type"]
        assert isinstance(frame.get("seq", 0), int)
        match kind:
            case "snapshot":
                self.messages = frame["messages"]
                self.turn_id, self._step, self._attempt = frame.get("turn_id", ""), 0, {}
            case "message_accepted":
                message = {"message_id": frame["message_id"], "turn_id": frame["turn_id"], "parts": frame["parts"]}
                self.messages.append(message | {"role": "user"})
            case "turn_started":
                self.turn_id, self._step = frame["turn_id"], 0
            case "step_started":
                if frame["step"] == self._step:  # asked again: what the attempt before has said is void
                    void = [id(part) for part in self._attempt.values()]
                    self._answer()["parts"] = [part for part in self._answer()["parts"] if id(part) not in void]
                self._step, self._attempt = frame["step"], {}
            case "part_started":
                part: Json = {"type": frame["kind"], "text": ""}
                if frame["kind"] == "tool_call":
                    part = {"type": "tool_call", "call_id": frame["call_id"], "name": frame["name"], "text": ""}
                assert frame["part"] not in self._attempt
                self._attempt[frame["part"]] = part
                self._answer()["parts"].append(part)
            case "part_delta":
                self._attempt[frame["part"]]["text"] += frame["delta"]
            case "part_given":
                assert frame["part"] not in self._attempt
                self._attempt[frame["part"]] = frame["content"]
                self._answer()["parts"].append(frame["content"])
            case "part_ended":
                assert frame["part"] in self._attempt
            case "turn_ended":
                self.outcomes.append(frame["outcome"])
                self.turn_id = ""
            case "error":
                self.errors.append(frame["code"])

    def _answer(self) -> Json:
        own_id = f"{self.turn_id}-answer"
        if not self.messages or self.messages[-1].get("message_id") != own_id:
            waiting = [m for m in self.messages if m.get("message_id") == own_id]
            if waiting:
                return waiting[0]
            self.messages.append({"message_id": own_id, "turn_id": self.turn_id, "role": "assistant", "parts": []})
        return self.messages[-1]
