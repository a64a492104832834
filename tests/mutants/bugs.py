"""Deliberate bugs that the simulation does not look for, each with the suite that has to find it.

Rule: a bug changes one thing, in the code under test and nowhere else. It is put in before the suite's own process imports the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest

Bug = Callable[[pytest.MonkeyPatch], None]


def hears_no_stop(patch: pytest.MonkeyPatch) -> None:
    """P6: who runs the turn is not told that it was stopped."""
    from greenroom.runtime.registry import Registry

    patch.setattr(Registry, "stop_turn", lambda self, session_id: None)


def waits_for_the_stubborn(patch: pytest.MonkeyPatch) -> None:
    """P6: a tool that ignores being stopped is waited for."""
    from greenroom.runtime import tool_calls

    real = tool_calls.stoppable
    patch.setattr(tool_calls, "stoppable", lambda *args, **options: real(*args, **{**options, "grace_s": 3600.0}))


def updates_by_halves(patch: pytest.MonkeyPatch) -> None:
    """P7: of an update only what people call the session arrives."""
    from greenroom.config import Patch

    real = Patch.applied
    patch.setattr(Patch, "applied", lambda self, config, labels: (config, real(self, config, labels)[1]))


def brings_back_nothing(patch: pytest.MonkeyPatch) -> None:
    """P7: an earlier configuration that is brought back is the one that there is."""
    from greenroom.runtime.operations import Operations

    async def roll_back(self: Any, session_id: str, config: Any, *, restores: int) -> None:
        del self, session_id, config, restores

    patch.setattr(Operations, "roll_back", roll_back)


def asks_nobody_whose_it_is(patch: pytest.MonkeyPatch) -> None:
    """P9: a session is opened by whoever knows its id."""
    from greenroom.core.owned import OwnedId
    from greenroom.server.mine import Sessions

    async def check(self: Sessions, session_id: str) -> OwnedId:
        return OwnedId.of(session_id, await self._manager.user_of(session_id) or "")

    patch.setattr(Sessions, "check", check)


def forgets_to_look_again(patch: pytest.MonkeyPatch) -> None:
    """P9: a session that has become somebody else's since it was looked at is opened all the same."""
    from greenroom.core import owned
    from greenroom.runtime import operations, registry

    for module in (owned, operations, registry):
        patch.setattr(module, "check_owner", lambda session_id, owner: None)


def keeps_what_idles(patch: pytest.MonkeyPatch) -> None:
    """P10: sessions stay in memory for ever."""
    from greenroom.runtime.live import LiveSession

    patch.setattr(LiveSession, "throw_away", lambda self: None)


BUGS: Final[Mapping[str, tuple[Bug, str]]] = {
    bug.__name__: (bug, suite)
    for bug, suite in (
        (hears_no_stop, "tests/runtime/test_stopping.py"),
        (waits_for_the_stubborn, "tests/runtime/test_stopping.py"),
        (updates_by_halves, "tests/contract/test_members.py"),
        (brings_back_nothing, "tests/contract/test_plan.py"),
        (asks_nobody_whose_it_is, "tests/server/test_ownership.py"),
        (forgets_to_look_again, "tests/server/test_ownership.py"),
        (keeps_what_idles, "tests/contract/test_resources.py"),
    )
}
