"""What the strict doubles of the providers say of a history: the requests are encoded as they would be sent.

Rule: the same rules that the doubles refuse requests by; nothing here is lenient.
"""

from __future__ import annotations

from collections.abc import Sequence

from greenroom.backends import claude_request, openai_chat
from greenroom.interfaces import BackendRequest
from greenroom.large import settled
from greenroom.messages import AssistantMessage, TextPart, ToolSpec, TranscriptMessage, UserMessage
from greenroom.testing import strict_claude_rules, strict_openai_rules

_NAMES = ("pay", "look", "put")
_TOOLS = tuple(
    ToolSpec(name=name, description=name, parameters={"type": "object", "properties": {}}) for name in _NAMES
)


def refusals(messages: Sequence[TranscriptMessage]) -> list[str]:
    """Returns why OpenAI or Claude would refuse the next request of a session with this history."""
    asked = tuple(messages)
    if not asked or isinstance(asked[-1], AssistantMessage):
        asked += (UserMessage(parts=(TextPart(text="and now?"),)),)
    found: list[str] = []
    for model in ("gpt-4o", "o4-mini"):
        body = settled(openai_chat.encode(_request(model, asked)))
        found += [f"{model}: {why}" for why in strict_openai_rules.refusals(body | {"stream": True})]
    for thinking in (None, 2048):
        request = _request("claude-sonnet-4-5", asked, thinking=thinking)
        body = settled(claude_request.encode(request))
        found += [f"claude (thinking {thinking}): {why}" for why in strict_claude_rules.refusals(body)]
    return found


def _request(model: str, messages: tuple[TranscriptMessage, ...], *, thinking: int | None = None) -> BackendRequest:
    return BackendRequest(
        model=model,
        system="You are a test.",
        messages=messages,
        tools=_TOOLS,
        session_id="s1",
        thinking_budget_tokens=thinking,
        max_tokens=8192 if thinking else None,
    )
