"""Models that end: what is said before the day, and what an error says after it.

Providers name the day half a year before, and refuse every request from then on. The dates are those of the provider's own address;
clouds and gateways keep a model for longer, or not as long, so nothing is said about theirs.

Rule: nothing here stops a request. The table may be wrong, the provider is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Final

from greenroom.backends.fault_words import NO_SUCH_MODEL
from greenroom.backends.model_facts import end_of
from greenroom.errors import BackendRejected, BackendUnauthorized
from greenroom.interfaces import Notice

TOLD_BEFORE: Final = timedelta(days=90)
"""How long before its end a model's users are told of it."""


def end_notices(model: str, *, told: date | None = None, today: date | None = None) -> list[Notice]:
    """Returns what users are told about the end of a model that is asked at its provider's own address.

    Args:
        model: the model.
        told: the day that the provider's list of models names; it takes precedence over the known one.
        today: for tests.
    """
    end, now = end_of(model), today or datetime.now(UTC).date()
    on = told or (end.on if end is not None else None)
    if on is None or on - now > TOLD_BEFORE:
        return []
    ends = f"ends on {on}" if now < on else f"ended on {on}"
    instead = f": its provider recommends {end.successor} instead" if end is not None else ""
    return [Notice(code="model_ends", text=f"{model} {ends}{instead}")]


@contextmanager
def successor_named(model: str) -> Iterator[None]:
    """Adds the successor to the error that a model which has ended is answered with.

    Raises:
        BackendRejected: as it came, with another hint.
    """
    try:
        yield
    except BackendUnauthorized:
        raise
    except BackendRejected as refused:
        if (end := end_of(model)) is None or not NO_SUCH_MODEL.search(refused.message.lower()):
            raise
        hint = f"its provider ends {model} on {end.on} and recommends {end.successor}: set llm_model to it"
        raise BackendRejected(refused.message, hint=hint, refused=refused.refused) from refused
