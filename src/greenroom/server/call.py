"""One request, as a handler sees it: validated, and of somebody.

Rule: a handler gets what it may use, and nothing else: the sessions of the user, never the manager.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from greenroom.protocols.projection import ProtocolName
from greenroom.server.access import Access, Principal
from greenroom.server.answers import Scope
from greenroom.server.mine import Sessions
from greenroom.server.place import Place
from greenroom.server.streaming import Batches, OnEnd, Stream, ignored_header


class Call:
    """A request.

    Attributes:
        place: what the server has that belongs to nobody.
        access: who may come in.
        principal: who asks; `None` where no credential is needed.
        sessions: of the user.
        path: parameters of the path.
        query: the parameters, of the operation's type.
        body: the body, of the operation's type; bytes where it takes any.
        unread: names of members of the body that its type does not have, where the protocol has more than is read here.
        headers: by lower-case name; repeated ones joined.
        scope: of ASGI.
    """

    def __init__(
        self,
        *,
        place: Place,
        access: Access,
        principal: Principal | None,
        sessions: Sessions,
        path: Mapping[str, str],
        query: Any,
        body: Any,
        headers: Mapping[str, str],
        scope: Scope,
        unread: Sequence[str] = (),
    ) -> None:
        self.place = place
        self.access = access
        self.principal = principal
        self.sessions = sessions
        self.path = path
        self.query = query
        self.body = body
        self.headers = headers
        self.scope = scope
        self.unread = unread

    @property
    def session_id(self) -> str:
        """The session that the path names; whose it is, `sessions` checks."""
        return self.path["session_id"]

    @property
    def last_event_id(self) -> str | None:
        """Position of the last frame that the client has seen."""
        return self.headers.get("last-event-id") or None

    def stream(
        self,
        batches: Batches,
        *,
        protocol: ProtocolName,
        end: bytes = b"",
        headers: Mapping[str, str] | None = None,
        on_end: OnEnd | None = None,
        ignored: Sequence[str] = (),
    ) -> Stream:
        """Returns a stream, which counts among those of the user.

        Args:
            batches: the frames.
            protocol: of the frames.
            end: what the protocol writes after the last frame.
            headers: further headers.
            on_end: called once, with whether the client was sent everything.
            ignored: names of what the client sent and is not used: told in a header, and in the stream.

        Raises:
            Refusal: too many are open.
        """
        quotas, user_id = self.place.quotas, self.sessions.user_id
        slot = quotas.take_stream(user_id)
        return Stream(
            batches,
            tasks=self.place.tasks,
            protocol=protocol,
            end=end,
            headers={**(headers or {}), **ignored_header(ignored)},
            # Who comes back in the middle was told at the beginning; the end of a run may be all that is left.
            ignored=() if self.last_event_id else ignored,
            slot=slot,
            hold=lambda size: quotas.hold(user_id, size),
            on_end=on_end,
            stay=self.access.stay(self.principal, self.headers, self.scope) if self.principal is not None else None,
        )
