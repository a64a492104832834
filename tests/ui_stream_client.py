"""What `useChat` makes of a UI message stream: one message, folded as the SDK's `processUIMessageStream` folds it.

Rule: written after the SDK's source (the part that versions 5, 6 and 7 share). What it throws at, fails here; and so does what it
would quietly ignore, behind an error or an end.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from greenroom.tool_arguments import read_arguments

Json = dict[str, Any]

REQUIRED: dict[str, set[str]] = {
    "start": set(),
    "start-step": set(),
    "finish-step": set(),
    "text-start": {"id"},
    "text-delta": {"id", "delta"},
    "text-end": {"id"},
    "reasoning-start": {"id"},
    "reasoning-delta": {"id", "delta"},
    "reasoning-end": {"id"},
    "tool-input-start": {"toolCallId", "toolName", "dynamic"},
    "tool-input-delta": {"toolCallId", "inputTextDelta"},
    "tool-input-available": {"toolCallId", "toolName", "input", "dynamic"},
    "tool-input-error": {"toolCallId", "toolName", "input", "errorText", "dynamic"},
    "tool-output-available": {"toolCallId", "output", "dynamic"},
    "tool-output-error": {"toolCallId", "errorText", "dynamic"},
    "tool-output-denied": {"toolCallId"},
    "tool-approval-request": {"approvalId", "toolCallId"},
    "message-metadata": {"messageMetadata"},
    "data-notice": {"data", "id", "transient"},
    "source-url": {"sourceId", "url"},
    "source-document": {"sourceId", "mediaType", "title"},
    "file": {"url", "mediaType"},
    "error": {"errorText"},
    "abort": set(),
    "finish": {"finishReason"},
    "reset-step": set(),
}
OPTIONAL: dict[str, set[str]] = {
    "start": {"messageId", "messageMetadata"},
    "abort": {"reason"},
    "finish": {"messageMetadata"},
    "source-url": {"title", "providerMetadata"},
    "source-document": {"providerMetadata"},
    "tool-approval-request": {"reason"},
}
FINISH_REASONS = {"stop", "length", "content-filter", "tool-calls", "error", "other"}


class UiMessage:
    """The assistant message of one turn, as a front end shows it."""

    def __init__(self, *, knows_reset: bool = False) -> None:
        self.id = ""
        self.metadata: Json = {}
        self.parts: list[Json] = []
        self.notices: list[Json] = []
        self.errors: list[str] = []
        self.finish_reason: str | None = None
        self.is_aborted = False
        self._knows_reset = knows_reset
        self._open: dict[tuple[str, str], Json] = {}
        self._inputs: dict[str, str] = {}
        self._is_step_open = False

    def apply_all(self, chunks: Iterable[str]) -> UiMessage:
        for chunk in chunks:
            self.apply(chunk)
        return self

    @property
    def kept(self) -> list[Json]:
        """The parts that count: without steps that the metadata calls void."""
        void, number, kept = set(self.metadata.get("voidSteps", ())), -1, []
        for part in self.parts:
            number += part["type"] == "step-start"
            if number not in void:
                kept.append(part)
        return kept

    def text(self, kind: str = "text") -> str:
        return "".join(part["text"] for part in self.kept if part["type"] == kind)

    def tools(self) -> list[tuple[str, str, Any, Any]]:
        """Name, state, input, and output or error of each call that counts."""
        return [
            (part["toolName"], part["state"], part.get("input"), part.get("output", part.get("errorText")))
            for part in self.kept
            if part["type"] == "dynamic-tool"
        ]

    def apply(self, text: str) -> None:
        assert "\n" not in text, "a chunk is one line: it becomes one `data:` field"
        chunk = json.loads(text)
        kind = chunk.pop("type")
        assert kind in REQUIRED, f"the SDK throws at the unknown chunk {kind}"
        assert set(chunk) >= REQUIRED[kind], f"{kind} without {REQUIRED[kind] - set(chunk)}"
        assert set(chunk) <= REQUIRED[kind] | OPTIONAL.get(kind, set()), f"{kind} with more: {sorted(chunk)}"
        assert None not in chunk.values() or kind in {"tool-input-available", "tool-input-error"}, f"null in {kind}"
        if kind == "start" and self.finish_reason == "tool-calls":
            self.finish_reason = None  # what people have decided begins the rest of the message
        assert self.finish_reason is None, f"{kind} behind the end"
        assert not self.errors or kind == "finish", f"{kind} behind an error is not read"
        assert kind == "start" or self.id or kind == "error" or self.errors, f"{kind} before start"
        getattr(self, "_" + kind.replace("-", "_"))(chunk)

    def _start(self, chunk: Json) -> None:
        assert not self.id or self.id == chunk["messageId"], "one stream is one message"
        self.id = chunk["messageId"]
        self._merge(chunk)

    def _merge(self, chunk: Json) -> None:
        self.metadata.update(chunk.get("messageMetadata", {}))

    def _message_metadata(self, chunk: Json) -> None:
        self._merge(chunk)

    def _start_step(self, chunk: Json) -> None:
        assert not self._is_step_open
        assert not self._open
        self._is_step_open = True
        self.parts.append({"type": "step-start"})

    def _finish_step(self, chunk: Json) -> None:
        assert self._is_step_open
        assert not self._open, f"open at the end of the step: {list(self._open)}"
        self._is_step_open = False

    def _reset_step(self, chunk: Json) -> None:
        assert self._knows_reset, "versions 5 and 6 throw at reset-step"
        assert self._is_step_open
        start = max(number for number, part in enumerate(self.parts) if part["type"] == "step-start")
        del self.parts[start + 1 :]
        self._open.clear()
        self._inputs.clear()

    def _begin(self, kind: str, part_id: str) -> None:
        assert self._is_step_open
        assert (kind, part_id) not in self._open, f"{part_id} is started while it is open"
        self._open[kind, part_id] = {"type": kind, "text": "", "state": "streaming"}
        self.parts.append(self._open[kind, part_id])

    def _text_start(self, chunk: Json) -> None:
        self._begin("text", chunk["id"])

    def _reasoning_start(self, chunk: Json) -> None:
        self._begin("reasoning", chunk["id"])

    def _text_delta(self, chunk: Json) -> None:
        self._open["text", chunk["id"]]["text"] += chunk["delta"]

    def _reasoning_delta(self, chunk: Json) -> None:
        self._open["reasoning", chunk["id"]]["text"] += chunk["delta"]

    def _text_end(self, chunk: Json) -> None:
        self._open.pop(("text", chunk["id"]))["state"] = "done"

    def _reasoning_end(self, chunk: Json) -> None:
        self._open.pop(("reasoning", chunk["id"]))["state"] = "done"

    def _tool_input_start(self, chunk: Json) -> None:
        assert self._is_step_open
        assert chunk["dynamic"] is True
        assert chunk["toolCallId"] not in self._inputs
        self._inputs[chunk["toolCallId"]] = ""
        part = {"type": "dynamic-tool", "toolCallId": chunk["toolCallId"], "toolName": chunk["toolName"]}
        self.parts.append(part | {"state": "input-streaming"})
        self._open["tool", chunk["toolCallId"]] = self.parts[-1]

    def _tool_input_delta(self, chunk: Json) -> None:
        assert ("tool", chunk["toolCallId"]) in self._open
        self._inputs[chunk["toolCallId"]] += chunk["inputTextDelta"]

    def _tool_input_available(self, chunk: Json) -> None:
        if ("tool", chunk["toolCallId"]) not in self._open:  # a person has changed the arguments
            part = self._tool(chunk["toolCallId"])
            assert part["state"] in {"approval-requested", "input-available"}
            part.update(state="input-available", input=chunk["input"])
            return
        part = self._open.pop(("tool", chunk["toolCallId"]))
        part.update(state="input-available", input=chunk["input"])
        assert read_arguments(self._inputs[chunk["toolCallId"]]) == chunk["input"]

    def _tool_input_error(self, chunk: Json) -> None:
        part = self._open.pop(("tool", chunk["toolCallId"]))
        part.update(state="output-error", input=chunk["input"], errorText=chunk["errorText"])

    def _tool(self, call_id: str) -> Json:
        found = [part for part in self.parts if part.get("toolCallId") == call_id]
        assert found, f"no call {call_id}"
        assert ("tool", call_id) not in self._open, "a result of a call that is being written"
        return found[-1]

    def _tool_output_available(self, chunk: Json) -> None:
        self._tool(chunk["toolCallId"]).update(state="output-available", output=chunk["output"])

    def _tool_output_error(self, chunk: Json) -> None:
        self._tool(chunk["toolCallId"]).update(state="output-error", errorText=chunk["errorText"])

    def _tool_output_denied(self, chunk: Json) -> None:
        self._tool(chunk["toolCallId"]).update(state="output-denied")

    def _tool_approval_request(self, chunk: Json) -> None:
        self._tool(chunk["toolCallId"]).update(state="approval-requested", approval={"id": chunk["approvalId"]})

    def _source_url(self, chunk: Json) -> None:
        assert chunk["url"].startswith(("http://", "https://")), "a link that leads somewhere else"
        self._given("source-url", chunk)

    def _source_document(self, chunk: Json) -> None:
        self._given("source-document", chunk)

    def _file(self, chunk: Json) -> None:
        assert chunk["url"].startswith("data:image/")
        self._given("file", chunk)

    def _given(self, kind: str, chunk: Json) -> None:
        assert self._is_step_open
        self.parts.append({"type": kind, **chunk})

    def _data_notice(self, chunk: Json) -> None:
        assert chunk["transient"] is True
        self.notices.append(chunk["data"])

    def _error(self, chunk: Json) -> None:
        self.errors.append(chunk["errorText"])

    def _abort(self, chunk: Json) -> None:
        self.is_aborted = True

    def _finish(self, chunk: Json) -> None:
        assert chunk["finishReason"] in FINISH_REASONS
        if self.id:
            assert not self._is_step_open, "the message ends within a step"
            assert not self._open, f"the message ends with {list(self._open)} open"
            assert not [part for part in self.parts if part.get("state") in {"streaming", "input-streaming"}]
        self.finish_reason = chunk["finishReason"]
        self._merge(chunk)


def messages_of(chunks: Iterable[str], *, knows_reset: bool = False) -> list[UiMessage]:
    """Folds a stream of several turns: each `start` with another id begins a message."""
    messages: list[UiMessage] = []
    for text in chunks:
        chunk = json.loads(text)
        if chunk["type"] == "start" and (not messages or messages[-1].id != chunk["messageId"]):
            messages.append(UiMessage(knows_reset=knows_reset))
        messages[-1].apply(text)
    return messages
