"""Greenroom keeps agent sessions: it creates, streams, suspends and recovers conversations, and never loses or repeats one.

It is not an agent framework: the model decides what to do, your tools do it, and Greenroom sees to it that the session survives.

Rule: importing this module does nothing and loads next to nothing; a name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from greenroom.agent import ReactJSAgent
    from greenroom.core.plan import UpdatePlan
    from greenroom.core.view import Message
    from greenroom.errors import (
        AlreadyDecided,
        ApprovalNotFound,
        BackendError,
        BackendGarbled,
        BackendRejected,
        BackendUnauthorized,
        BackendUnavailable,
        BudgetExceeded,
        Conflict,
        ContextTooLong,
        Corrupted,
        EventLogError,
        GreenroomError,
        InvalidArgument,
        InvalidConfig,
        LimitExceeded,
        LogUnavailable,
        NewerFormat,
        NotSupported,
        SessionNotFound,
        TurnInProgress,
        UnknownBackend,
        UnknownPersona,
        UnknownSetting,
        UnknownTool,
        UsageError,
    )
    from greenroom.interfaces import Page, Persona, SearchHit, ToolContext, ToolError
    from greenroom.manager import AgentManager
    from greenroom.messages import FilePart
    from greenroom.runtime.exchange import Receipt
    from greenroom.streams import Frame
    from greenroom.toolsets.function import Toolset, tool

__version__: Final = "0.1.0.dev0"

__all__ = [
    "AgentManager",
    "AlreadyDecided",
    "ApprovalNotFound",
    "BackendError",
    "BackendGarbled",
    "BackendRejected",
    "BackendUnauthorized",
    "BackendUnavailable",
    "BudgetExceeded",
    "Conflict",
    "ContextTooLong",
    "Corrupted",
    "EventLogError",
    "FilePart",
    "Frame",
    "GreenroomError",
    "InvalidArgument",
    "InvalidConfig",
    "LimitExceeded",
    "LogUnavailable",
    "Message",
    "NewerFormat",
    "NotSupported",
    "Page",
    "Persona",
    "ReactJSAgent",
    "Receipt",
    "SearchHit",
    "SessionNotFound",
    "ToolContext",
    "ToolError",
    "Toolset",
    "TurnInProgress",
    "UnknownBackend",
    "UnknownPersona",
    "UnknownSetting",
    "UnknownTool",
    "UpdatePlan",
    "UsageError",
    "tool",
]

_HOMES: Final = {
    "AgentManager": "greenroom.manager",
    "FilePart": "greenroom.messages",
    "Frame": "greenroom.streams",
    "Message": "greenroom.core.view",
    "Page": "greenroom.interfaces",
    "Persona": "greenroom.interfaces",
    "ReactJSAgent": "greenroom.agent",
    "Receipt": "greenroom.runtime.exchange",
    "SearchHit": "greenroom.interfaces",
    "ToolContext": "greenroom.interfaces",
    "ToolError": "greenroom.interfaces",
    "Toolset": "greenroom.toolsets.function",
    "UpdatePlan": "greenroom.core.plan",
    "tool": "greenroom.toolsets.function",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'greenroom' has no attribute {name!r}")
    value = getattr(import_module(_HOMES.get(name, "greenroom.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
