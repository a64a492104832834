"""What every transcript must satisfy, whatever happened: the common core of what the providers enforce."""

from __future__ import annotations

import re
from collections.abc import Sequence

from greenroom.messages import (
    AssistantMessage,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolMessage,
    TranscriptMessage,
    UserMessage,
)


def violations(messages: Sequence[TranscriptMessage]) -> list[str]:
    """Returns the rules that are broken."""
    found: list[str] = []
    if messages and not isinstance(messages[0], UserMessage):
        found.append("does not begin with a user message")
    ids: set[str] = set()
    for i, message in enumerate(messages):
        after = messages[i + 1] if i + 1 < len(messages) else None
        before = messages[i - 1] if i else None
        match message:
            case UserMessage(parts=parts):
                if not parts or any(isinstance(part, TextPart) and not part.text for part in parts):
                    found.append(f"{i}: empty user message or text")
                if isinstance(before, UserMessage):
                    found.append(f"{i}: two user messages in a row")
            case AssistantMessage(parts=parts):
                if not parts:
                    found.append(f"{i}: empty assistant message")
                if any(isinstance(p, TextPart | RefusalPart) and not p.text.strip() for p in parts):
                    found.append(f"{i}: empty text")
                calls = [part for part in parts if isinstance(part, ToolCallPart)]
                for call in calls:
                    if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", call.call_id) or call.call_id in ids:
                        found.append(f"{i}: call id {call.call_id!r}")
                    if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", call.name):
                        found.append(f"{i}: name {call.name!r}")
                    ids.add(call.call_id)
                answered = [r.call_id for r in after.results] if isinstance(after, ToolMessage) else []
                if answered != [call.call_id for call in calls]:
                    found.append(f"{i}: calls {[call.call_id for call in calls]} answered by {answered}")
            case ToolMessage(results=results):
                if not isinstance(before, AssistantMessage) or any(not result.content for result in results):
                    found.append(f"{i}: stray or empty tool results")
    return found
