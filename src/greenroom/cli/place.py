"""Where a command works, as the command line names it.

Rule: imported for `--help` too, so it imports nothing.
"""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """Home, store, configuration; `None` leaves it to the environment and the configuration file."""

    home: str | None = None
    store: str | None = None
    config: str | None = None
    log_level: str | None = None

    def over(self, other: Place) -> Place:
        """Returns this, with what it leaves out taken from `other`."""
        return Place(*(mine if mine is not None else theirs for mine, theirs in zip(self, other, strict=True)))
