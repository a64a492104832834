"""A session id that holds only as long as the session is the same user's.

Between the look at whose a session is and what is done in it, the session can be deleted and made again under its id, by somebody
else. The id itself carries whose it was, and whoever opens the session compares: so nobody in between has to hand it on.

Rule: an id that says nothing is one of the process itself, which may open every session.
"""

from __future__ import annotations

from greenroom.errors import SessionNotFound


class OwnedId(str):
    """The id of a session of `owner`, and of nobody else."""

    __slots__ = ("owner",)

    owner: str

    @classmethod
    def of(cls, session_id: str, owner: str) -> OwnedId:
        """Returns the id, bound to its owner."""
        owned = cls(session_id)
        owned.owner = owner
        return owned


def check_owner(session_id: str, owner: str) -> None:
    """Accepts a session that was opened: it is of the user whom its id names, if it names one.

    Raises:
        SessionNotFound: it has become somebody else's.
    """
    if isinstance(session_id, OwnedId) and session_id.owner != owner:
        raise SessionNotFound(str(session_id))
