"""The sessions of one user: the one door between a request and the manager.

A session of somebody else is not found, in the same words as one that does not exist. Whatever takes a session id begins with
`check`; nothing else in the server has the manager in its hands.

Rule: no method here trusts an id, and none takes a user from a request.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from greenroom.config import DEFAULT_MODEL, DEFAULT_PERSONA, Overlap, check_session_id
from greenroom.core.cursor import parse_cursor
from greenroom.core.overlap import find_accepted
from greenroom.core.owned import OwnedId
from greenroom.core.session import SessionState
from greenroom.core.view import Message, PendingApproval, QueuedMessage
from greenroom.errors import EventLogError, InvalidArgument, LogUnavailable, SessionNotFound, UsageError
from greenroom.events import Decision
from greenroom.interfaces import SearchHit, WorkspaceFolder
from greenroom.manager import AgentManager
from greenroom.message_input import AttachmentInput, accepted_message
from greenroom.protocols.projection import ProtocolName
from greenroom.runtime.exchange import Receipt
from greenroom.session_data import session_data, user_usage_data
from greenroom.streams import Frame

_LOOKED_THROUGH_MAX: Final = 20
"""Sessions in which a turn is looked for whose session nobody names."""


T = TypeVar("T")


class Sessions:
    """What one user can do.

    Attributes:
        user_id: the user.
    """

    def __init__(self, manager: AgentManager, user_id: str) -> None:
        self.user_id = user_id
        self._manager = manager

    async def check(self, session_id: str) -> OwnedId:
        """Accepts the id of a session of this user; returns it so that it opens no other user's session, also later.

        Raises:
            SessionNotFound: there is none of that id, or it is somebody else's.
        """
        if await self._manager.user_of(session_id) != self.user_id:
            raise SessionNotFound(session_id)
        return OwnedId.of(session_id, self.user_id)

    async def exists(self, session_id: str) -> bool:
        """Returns whether the user has this session; `False` if nobody has it.

        Raises:
            SessionNotFound: it is somebody else's.
            InvalidArgument: malformed id.
        """
        check_session_id(session_id)
        try:
            await self.check(session_id)
        except SessionNotFound:
            if await self._manager.fetch_session_data(session_id) is None:
                return False
            raise
        return True

    # --- sessions -------------------------------------------------------------------------------------------------------

    async def create(self, session_id: str | None, settings: Mapping[str, Any]) -> tuple[str, bool]:
        """Creates a session, or updates one of the user's; returns its id, and whether it is new.

        Raises:
            SessionNotFound: the id belongs to somebody else.
            GreenroomError: as `AgentManager.create_session`.
        """
        is_new = session_id is None or not await self.exists(session_id)
        given = dict(settings)
        if is_new:
            persona = await self._manager.catalog.persona(given.get("persona_name", DEFAULT_PERSONA))
            given = await self._manager.defaults.applied(given, persona)
            if "llm_model" not in given:
                given["llm_model"] = self._manager.catalog.suggested_model(given["backend"]) or DEFAULT_MODEL
        try:
            # With the user in it, the manager decides under its lock whose the session is.
            made = await self._manager.create_session(
                existing_session_id=session_id, **{**given, "user_id": self.user_id}
            )
        except InvalidArgument:
            if session_id is not None:
                await self.check(session_id)  # somebody else was quicker with the same id
            raise
        return made, is_new

    async def data(self, session_id: str) -> dict[str, Any]:
        """Returns the session's data, as JSON."""
        owned = await self.check(session_id)
        data = await self._manager.fetch_session_data(owned)
        if data is None or data["user_id"] != self.user_id:
            raise SessionNotFound(session_id)
        return _public(data)

    async def update(self, session_id: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Changes the session and returns its data."""
        owned = await self.check(session_id)
        await self._manager.update_session(owned, **patch)
        return await self.data(session_id)

    async def plan(self, session_id: str, patch: Mapping[str, Any]) -> Any:
        """Returns what an update would do."""
        owned = await self.check(session_id)
        return await self._manager.plan_update(owned, **patch)

    async def delete(self, session_id: str) -> None:
        """Deletes the session.

        Raises:
            SessionNotFound: no session of this user.
            LogUnavailable: it is still there.
        """
        owned = await self.check(session_id)
        await self._manager.cleanup_session(owned)
        # By contract that never raises: whether it could be done, only the store can say.
        left = await self._manager.fetch_session_data(session_id)
        if left is not None and left["user_id"] == self.user_id:
            raise LogUnavailable("the session could not be deleted", hint="try again; the server's log says why")

    async def page(self, query: str | None, limit: int, cursor: str | None) -> dict[str, Any]:
        """Returns a page of the user's sessions."""
        page = await self._manager.list_sessions(self.user_id, query, limit, cursor)
        return {"sessions": [_public(session_data(row, None)) for row in page.sessions], "cursor": page.cursor}

    async def search(self, query: str, limit: int) -> Sequence[SearchHit]:
        """Returns places in the user's sessions."""
        return await self._manager.search(query, self.user_id, limit)

    async def usage(self, days: int | None) -> dict[str, Any]:
        """Returns what the user has used and may use, as JSON."""
        return user_usage_data(await self._manager.usage(self.user_id, days=days))

    # --- messages -------------------------------------------------------------------------------------------------------

    def check_message(self, message: str, attachments: Sequence[AttachmentInput]) -> None:
        """Accepts a message that `send` would accept.

        Raises:
            InvalidArgument, LimitExceeded: as `send`.
        """
        accepted_message(
            message,
            custom_prompt=None,
            idempotency_key=None,
            attachments=attachments,
            limits=self._manager.settings.limits,
            at_ms=0,
        )

    async def send(
        self,
        session_id: str,
        message: str,
        *,
        custom_prompt: str | None = None,
        overlap: Overlap | None = None,
        idempotency_key: str | None = None,
        attachments: Sequence[AttachmentInput] = (),
        turn_id: str | None = None,
        message_id: str | None = None,
    ) -> Receipt:
        """Accepts a message."""
        owned = await self.check(session_id)
        return await self._manager.send(
            owned,
            message,
            custom_prompt,
            overlap=overlap,
            idempotency_key=idempotency_key,
            attachments=attachments,
            turn_id=turn_id,
            message_id=message_id,
        )

    async def history(self, session_id: str) -> list[Message]:
        """Returns what was said."""
        owned = await self.check(session_id)
        return await self._manager.history(owned)

    async def state(self, session_id: str) -> SessionState:
        """Returns the session's state, to look at."""
        owned = await self.check(session_id)
        return await self._manager.peek(owned)

    async def turn_of_run(self, session_id: str, run_id: str) -> str:
        """Returns the turn of that id, or with a run of that id.

        Raises:
            InvalidArgument: the session has none, or has it no more.
        """
        state = await self.state(session_id)
        turn_id = state.turn_of_run(run_id)
        if turn_id is None or find_accepted(state, turn_id) is None:
            raise InvalidArgument(f"there is no turn {run_id[:130]!r}", hint="GET .../messages shows the turns")
        return turn_id

    async def session_of(self, run_id: str) -> str | None:
        """Returns which of the user's sessions has a run, of those changed last; `None` if none of them has."""
        page = await self._manager.list_sessions(self.user_id, None, _LOOKED_THROUGH_MAX, None)
        for row in page.sessions:
            try:
                await self.turn_of_run(row.session_id, run_id)
            except (UsageError, EventLogError):
                continue  # it has no such turn, is gone, or is damaged
            return row.session_id
        return None

    async def attach(
        self,
        session_id: str,
        cursor: str | None,
        *,
        protocol: ProtocolName,
        turn_id: str | None = None,
        joins: bool = False,
    ) -> AsyncGenerator[Sequence[Frame], None]:
        """Returns frames in batches; what can be refused is refused before the first."""
        owned = await self.check(session_id)
        if cursor is not None:
            parse_cursor(cursor)
        return self._manager.attach_batches(owned, cursor, protocol=protocol, turn_id=turn_id, joins=joins)

    async def cancel(self, session_id: str) -> bool:
        """Stops the running turn; returns whether there was one."""
        owned = await self.check(session_id)
        return await self._manager.cancel(owned)

    async def steer(self, session_id: str, message: str) -> Any:
        """Gives the running turn a message."""
        owned = await self.check(session_id)
        return await self._manager.steer(owned, message)

    async def approve(
        self,
        session_id: str,
        approval_id: str,
        decision: Decision,
        *,
        arguments: Mapping[str, Any] | None,
        reason: str | None,
        run_id: str | None = None,
    ) -> Receipt:
        """Decides about a tool call that waits."""
        owned = await self.check(session_id)
        return await self._manager.approve(
            owned, approval_id, decision, arguments=arguments, reason=reason, run_id=run_id
        )

    async def approvals(self, session_id: str) -> Sequence[PendingApproval]:
        """Returns the tool calls that wait for a person."""
        owned = await self.check(session_id)
        return await self._manager.approvals(owned)

    async def queue(self, session_id: str) -> Sequence[QueuedMessage]:
        """Returns the messages that wait for their turn."""
        owned = await self.check(session_id)
        return await self._manager.queue(owned)

    async def edit(self, session_id: str, turn_id: str, message: str) -> bool:
        """Changes a message that waits; returns whether it did wait."""
        owned = await self.check(session_id)
        return await self._manager.edit_message(owned, turn_id, message)

    async def withdraw(self, session_id: str, turn_id: str) -> bool:
        """Takes a message that waits back; returns whether it did wait."""
        owned = await self.check(session_id)
        return await self._manager.withdraw_message(owned, turn_id)

    # --- the life of a session ------------------------------------------------------------------------------------------

    async def fork(self, session_id: str, at_seq: int | None) -> dict[str, Any]:
        """Copies the session; returns the data of the copy."""
        owned = await self.check(session_id)
        return await self.data(await self._manager.fork_session(owned, at_seq))

    async def rewind(self, session_id: str, turn_id: str) -> None:
        """Takes a turn and all after it out."""
        owned = await self.check(session_id)
        await self._manager.rewind_session(owned, turn_id)

    async def rollback(self, session_id: str, config_version: int) -> None:
        """Brings an earlier configuration back."""
        owned = await self.check(session_id)
        await self._manager.rollback_session(owned, config_version)

    async def hibernate(self, session_id: str) -> None:
        """Takes the session out of memory."""
        owned = await self.check(session_id)
        await self._manager.hibernate(owned)

    async def export(self, session_id: str) -> bytes:
        """Returns the session as a bundle."""
        owned = await self.check(session_id)
        return await self._manager.export_session(owned)

    async def take_in(self, bundle: bytes) -> dict[str, Any]:
        """Makes a session of a bundle, which is the user's from then on; returns its data, and what the user should know of it."""
        made = await self._manager.import_bundle(bundle, user_id=self.user_id)
        return await self.data(made.session_id) | {"notices": msgspec.to_builtins(made.notices)}

    async def in_workspace(self, session_id: str, work: Callable[[WorkspaceFolder], T], *, changes: bool = True) -> T:
        """Works in the session's folder, in a thread when it is the user's turn; what is found or changed is the user's."""
        owned = await self.check(session_id)
        return await self._manager.in_workspace(owned, work, changes=changes)


def _public(data: dict[str, Any]) -> dict[str, Any]:
    """Returns a session's data without what cannot leave the process."""
    return {name: value for name, value in data.items() if name != "agent"}
