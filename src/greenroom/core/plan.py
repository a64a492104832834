"""What an update of a session would do to its history: what is lost, whether it fits, what it costs.

Rule: facts only, from the log and two configurations; who may answer and what it costs is looked up by others.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal

import msgspec

from greenroom.config import CONFIG_FIELDS, SessionConfig
from greenroom.core.budget import CHARACTERS_PER_TOKEN
from greenroom.core.session import SessionState
from greenroom.core.transcript import render
from greenroom.messages import AssistantMessage, ToolCallPart, TranscriptMessage

_PREFIX: frozenset[str] = frozenset(
    {"llm_model", "backend", "persona_name", "custom_persona_text", "essential_tools", "additional_tools"}
)
"""What stands at the beginning of every request: when it changes, nothing of a prompt cache fits any more."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A setting that would be another one."""

    name: str
    before: Any
    after: Any


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the model would not see any more, or not as it was.

    Attributes:
        kind: `signatures`: what only the former provider understands (kept in the log, and sent again after switching back).
            `tools`: calls in the history of tools that the session would not have. `notice`: what the new backend says
            about the session: a setting or an attachment that it does not honour.
        count: of parts or calls.
    """

    kind: Literal["signatures", "tools", "notice"]
    text: str
    count: int = 1


class UpdatePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What an update would do; nothing was changed.

    Attributes:
        config_version: that the session would have.
        changes: settings that would be others; none if nothing changes.
        losses: what would be lost.
        dialect: the wire dialect in which the new model would be asked.
        history_tokens: how long the history is: as the last provider counted it, else estimated.
        context_window: of the new model in tokens, or `None` where nobody knows.
        fits: whether the history fits into it, or `None` where nobody knows.
        cache_lost_tokens: tokens that a prompt cache had to be filled with again.
        cache_lost_usd: what that costs more than reading them from the cache, or `None` where nobody knows.
    """

    session_id: str
    config_version: int
    changes: tuple[Change, ...]
    losses: tuple[Loss, ...]
    history_tokens: int
    context_window: int | None
    fits: bool | None
    cache_lost_tokens: int
    cache_lost_usd: float | None
    dialect: str = ""


def changes_between(before: SessionConfig, after: SessionConfig) -> tuple[Change, ...]:
    """Returns the settings that differ."""
    return tuple(
        Change(name=name, before=getattr(before, name), after=getattr(after, name))
        for name in CONFIG_FIELDS
        if getattr(before, name) != getattr(after, name)
    )


def keeps_prefix(changes: Sequence[Change]) -> bool:
    """Returns whether requests would begin as they did."""
    return not any(change.name in _PREFIX for change in changes)


def lost_signatures(messages: Sequence[TranscriptMessage], *, dialect: str, model: str) -> list[Loss]:
    """Returns the parts that only another provider or model understands."""
    foreign: dict[str, int] = {}
    for part in (part for message in messages if isinstance(message, AssistantMessage) for part in message.parts):
        sidecar = getattr(part, "sidecar", None)
        if sidecar is not None and (sidecar.backend, sidecar.model) != (dialect, model):
            name = f"{sidecar.backend}:{sidecar.model}"
            foreign[name] = foreign.get(name, 0) + 1
    return [
        Loss(kind="signatures", text=f"signatures and encrypted reasoning of {name}", count=count)
        for name, count in foreign.items()
    ]


def lost_tools(messages: Sequence[TranscriptMessage], names: Collection[str]) -> list[Loss]:
    """Returns the calls in the history of tools that are not among `names`."""
    gone: dict[str, int] = {}
    for part in (part for message in messages if isinstance(message, AssistantMessage) for part in message.parts):
        if isinstance(part, ToolCallPart) and part.name not in names:
            gone[part.name] = gone.get(part.name, 0) + 1
    return [
        Loss(kind="tools", text=f"calls of {name!r}, which the session would not have", count=count)
        for name, count in gone.items()
    ]


def history_tokens(state: SessionState) -> int:
    """Returns how many tokens the history has: as counted with the last step, and estimated for what came after it."""
    counted = 0
    for turn in state.turns:
        for step in turn.steps:
            usage = step.finished.usage if step.finished is not None else None
            if usage is not None and usage.input_tokens:
                counted = usage.input_tokens + usage.output_tokens
    return counted or len(msgspec.json.encode(render(state))) // CHARACTERS_PER_TOKEN
