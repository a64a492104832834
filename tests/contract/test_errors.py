"""Errors: one tree, stable codes, the same in Python and on the wire, and the built-in classes that callers catch."""

from __future__ import annotations

import pickle
import re
from typing import Any

import pytest

import greenroom
from contract.conftest import OpenStage, in_memory
from contract.reading import error_of
from greenroom import (
    BackendError,
    BackendGarbled,
    BackendRejected,
    BackendUnavailable,
    Conflict,
    ContextTooLong,
    Corrupted,
    EventLogError,
    GreenroomError,
    LimitExceeded,
    LogUnavailable,
    SessionNotFound,
    TurnInProgress,
    UnknownBackend,
    UnknownPersona,
    UnknownSetting,
    UnknownTool,
)
from greenroom.backends.scripted import Fail


def everything() -> list[type[GreenroomError]]:
    """Returns the tree of `greenroom.errors`; what a part adds for itself, as the client does, is not in it."""
    found: list[type[GreenroomError]] = []
    left = [GreenroomError]
    while left:
        kind = left.pop()
        if kind.__module__ == GreenroomError.__module__:
            found.append(kind)
        left.extend(kind.__subclasses__())
    return found


@pytest.mark.parametrize(
    ("kind", "parent"),
    [
        (SessionNotFound, ValueError),
        (UnknownBackend, ValueError),
        (UnknownPersona, ValueError),
        (UnknownTool, ValueError),
        (UnknownSetting, TypeError),
        (BackendUnavailable, BackendError),
        (BackendRejected, BackendError),
        (ContextTooLong, BackendError),
        (BackendGarbled, BackendError),
        (Conflict, EventLogError),
        (Corrupted, EventLogError),
        (LogUnavailable, EventLogError),
        (LimitExceeded, GreenroomError),
        (TurnInProgress, GreenroomError),
    ],
)
def test_branches(kind: type[Exception], parent: type[Exception]) -> None:
    assert issubclass(kind, parent)
    assert issubclass(kind, GreenroomError)


def test_the_branches_do_not_mix() -> None:
    for one in (BackendError, EventLogError, LimitExceeded):
        for other in (BackendError, EventLogError, LimitExceeded):
            assert one is other or not issubclass(one, other)
        assert not issubclass(one, ValueError | TypeError)


@pytest.mark.parametrize("kind", everything(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_code_and_a_status(kind: type[GreenroomError]) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", kind.code)
    assert 400 <= kind.status_hint <= 599
    assert kind.__doc__


def test_codes_are_those_that_clients_know() -> None:
    """Written down once more: a renamed class must not rename what is on the wire."""
    assert {kind.code: kind.__name__ for kind in everything()} == {
        "internal_error": "GreenroomError",
        "usage_error": "UsageError",
        "invalid_argument": "InvalidArgument",
        "invalid_config": "InvalidConfig",
        "unknown_backend": "UnknownBackend",
        "unknown_persona": "UnknownPersona",
        "unknown_tool": "UnknownTool",
        "invalid_stream": "InvalidStream",
        "unknown_setting": "UnknownSetting",
        "session_not_found": "SessionNotFound",
        "turn_in_progress": "TurnInProgress",
        "approval_not_found": "ApprovalNotFound",
        "already_decided": "AlreadyDecided",
        "not_supported": "NotSupported",
        "manager_closed": "ManagerClosed",
        "backend_error": "BackendError",
        "backend_unavailable": "BackendUnavailable",
        "backend_rejected": "BackendRejected",
        "backend_unauthorized": "BackendUnauthorized",
        "context_too_long": "ContextTooLong",
        "backend_garbled": "BackendGarbled",
        "budget_exceeded": "BudgetExceeded",
        "log_error": "EventLogError",
        "conflict": "Conflict",
        "corrupted": "Corrupted",
        "newer_format": "NewerFormat",
        "log_unavailable": "LogUnavailable",
        "limit_exceeded": "LimitExceeded",
    }


@pytest.mark.parametrize("kind", everything(), ids=lambda kind: kind.__name__)
def test_every_error_can_be_imported_from_the_package(kind: type[GreenroomError]) -> None:
    if kind.__name__ not in {"InvalidStream", "ManagerClosed"}:  # nobody has to tell these from their parents
        assert getattr(greenroom, kind.__name__) is kind


def test_an_error_says_what_and_what_to_do() -> None:
    error = BackendUnavailable("the server is busy", hint="wait a little", retry_after_s=2.5)
    assert "the server is busy" in str(error)
    assert "wait a little" in str(error)
    assert (error.code, error.hint, error.retry_after_s) == ("backend_unavailable", "wait a little", 2.5)
    assert BackendUnavailable("x").retry_after_s is None


@pytest.mark.parametrize(
    "error",
    [
        SessionNotFound("s1"),
        BackendUnavailable("busy", hint="wait", retry_after_s=2.5),
        Conflict("s1", expected_seq=3, actual_seq=4),
        UnknownTool("unknown toolset", hint="there are others"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_the_way_between_processes(error: GreenroomError) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)


@pytest.mark.parametrize(
    "kind", [kind for kind in everything() if issubclass(kind, BackendError)], ids=lambda kind: kind.__name__
)
@in_memory
async def test_the_code_on_the_wire_is_the_code_in_python(open_stage: OpenStage, kind: Any) -> None:
    stage = open_stage(lambda _: Fail(kind("it failed", hint="do something")))
    error = error_of(await stage.say(await stage.session()))
    assert error["code"] == kind.code
    assert "it failed" in error["message"]
    assert "do something" in error["message"]
