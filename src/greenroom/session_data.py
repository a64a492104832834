"""What a caller is told about a session or a user: a dictionary that can be sent as JSON.

Rule: the same keys whether the session is in memory or not.
"""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from greenroom.installation import Installation
from greenroom.interfaces import SessionSummary
from greenroom.messages import Usage
from greenroom.runtime.allowance import UserUsage
from greenroom.runtime.live import LiveSession

if TYPE_CHECKING:
    from greenroom.agent import ReactJSAgent

_NOT_SETTINGS = frozenset({"llm_model", "backend", "persona_name", "additional_tools"})


def session_data(summary: SessionSummary, agent: ReactJSAgent | None) -> dict[str, Any]:
    """Returns the session's data; everything but `agent` is JSON."""
    config = msgspec.json.decode(msgspec.json.encode(summary.config))
    return {
        "session_id": summary.session_id,
        "user_id": summary.user_id,
        "title": summary.labels.title,
        "created_at": _iso(summary.created_at_ms),
        "updated_at": _iso(summary.updated_at_ms),
        "llm_model": summary.config.llm_model,
        "backend": summary.config.backend,
        "persona_name": summary.config.persona_name,
        "tools": list(summary.config.tools),
        "settings": {name: value for name, value in config.items() if name not in _NOT_SETTINGS}
        | {"metadata": copy.deepcopy(summary.labels.metadata)},
        "config_version": summary.config_version,
        "status": summary.status,
        "turn_count": summary.turn_count,
        "message_count": summary.message_count,
        "usage": _usage(summary.usage),
        "last_seq": summary.last_seq,
        "agent": agent,
    }


def user_usage_data(found: UserUsage) -> dict[str, Any]:
    """Returns what a user has used, as JSON."""
    return {
        "user_id": found.user_id,
        "days": found.days,
        "usage": _usage(found.usage),
        "unpriced_tokens": found.unpriced_tokens,
        "estimated_tokens": found.estimated_tokens,
        "budget": msgspec.to_builtins(found.budget),
    }


class SessionsInMemory(Mapping[str, dict[str, Any]]):
    """The sessions in memory, by id; each value is what `get_session_data` returns."""

    def __init__(self, installation: Installation, data: Callable[[str], dict[str, Any] | None]) -> None:
        self._installation = installation
        self._data = data

    def __getitem__(self, session_id: str) -> dict[str, Any]:
        is_here = any(live.session_id == session_id for live in self._live())
        data = self._data(session_id) if is_here else None
        if data is None:
            raise KeyError(session_id)
        return data

    def __iter__(self) -> Iterator[str]:
        return iter([live.session_id for live in self._live()])

    def __len__(self) -> int:
        return len(self._live())

    def _live(self) -> Sequence[LiveSession]:
        opened = self._installation.now
        return tuple(opened.registry) if opened is not None else ()


def _usage(usage: Usage) -> dict[str, Any]:
    figures = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_input_tokens": usage.cached_input_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cost_usd": usage.cost_usd,
    }
    # The document names the keys of what was counted; what was not says so.
    return figures | ({"estimated": True} if usage.estimated else {})


def _iso(at_ms: int) -> str:
    return dt.datetime.fromtimestamp(at_ms / 1000, tz=dt.UTC).isoformat(timespec="milliseconds")
