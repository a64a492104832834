"""The answer of one turn, folded from its AG-UI events as they come, over any number of reconnections.

Rule: a snapshot replaces what was there; everything else adds to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Answer:
    """What was said in one turn.

    Attributes:
        outcome: `success`, `cancelled` or `error`; empty while the turn runs.
        error: the last event, if it was an error.
        finish_reason: of a success: `stop`, or why the answer is not whole: `length`, `context`, `content_filter`, `refusal`, `other`.
    """

    def __init__(self) -> None:
        self.turn_id = ""
        self.outcome = ""
        self.error: Mapping[str, Any] | None = None
        self.finish_reason = ""
        self._texts: dict[str, str] = {}
        self._given: dict[str, tuple[str, Mapping[str, Any]]] = {}

    @property
    def text(self) -> str:
        """All texts of the answer."""
        return "".join(self._texts.values())

    @property
    def sources(self) -> list[Mapping[str, Any]]:
        """What the answer rests on: objects with `url`, `title` and `quote`, as far as they are known."""
        return [content for kind, content in self._given.values() if kind == "greenroom.source"]

    @property
    def pictures(self) -> list[Mapping[str, Any]]:
        """The pictures of the answer: objects with `mediaType`, `bytes` (their number) and, where it fits an event, `data` (base64)."""
        return [content for kind, content in self._given.values() if kind == "greenroom.picture"]

    def apply(self, event: Mapping[str, Any]) -> None:
        """Adds the next event."""
        match event["type"]:
            case "RUN_STARTED":
                self.turn_id = event["runId"]
            case "TEXT_MESSAGE_START" if event.get("role", "assistant") == "assistant":
                self._texts.setdefault(event["messageId"], "")
            case "TEXT_MESSAGE_CONTENT" if event["messageId"] in self._texts:
                self._texts[event["messageId"]] += event["delta"]
            case "ACTIVITY_SNAPSHOT" if event["content"].get("isVoid"):
                self._given.pop(event["messageId"], None)
            case "ACTIVITY_SNAPSHOT":
                self._given[event["messageId"]] = (event["activityType"], event["content"])
            case "MESSAGES_SNAPSHOT":
                own = f"{self.turn_id}-"
                self._given = {
                    message["id"]: (message["activityType"], message["content"])
                    for message in event["messages"]
                    if message["role"] == "activity" and message["id"].startswith(own)
                }
                self._texts = {
                    message["id"]: message["content"]
                    for message in event["messages"]
                    if message["role"] == "assistant" and message["id"].startswith(own) and message.get("content")
                }
            case "RUN_FINISHED":
                self.outcome = event.get("outcome", {}).get("type", "success")
                if self.outcome == "success":
                    self.finish_reason = (event.get("result") or {}).get("finishReason", "stop")
            case "RUN_ERROR":
                self.outcome, self.error = "error", event
            case _:
                pass
