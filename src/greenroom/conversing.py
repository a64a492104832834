"""The part of the manager that is about talking: messages, answers, stops and decisions.

Rule: what is checked here is what a caller can get wrong; what a message means to a session is the core's to decide.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from greenroom.config import Overlap, parse_patch
from greenroom.core.cursor import parse_cursor
from greenroom.core.session import SessionState
from greenroom.core.view import Message, PendingApproval, QueuedMessage, history, pending_approvals, queued_messages
from greenroom.errors import GreenroomError, InvalidArgument, LimitExceeded, SessionNotFound
from greenroom.events import ApprovalDecided, Decision
from greenroom.installation import Installation, Opened
from greenroom.message_input import AttachmentInput, accepted_message, checked_id, message_parts
from greenroom.protocols.agui import error_event
from greenroom.protocols.projection import ProtocolName, check_protocol
from greenroom.runtime.exchange import Receipt
from greenroom.streams import Frame, session_frames, turn_events, turn_frames


class Conversing:
    """Talks in the sessions of an installation."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    async def stream_response(
        self,
        session_id: str,
        user_message: str,
        custom_prompt: str | None = None,
        *,
        overlap: Overlap | None = None,
        idempotency_key: str | None = None,
        attachments: Sequence[AttachmentInput] = (),
    ) -> AsyncGenerator[str, None]:
        """Sends a message and yields its answer as AG-UI 1.0 events, each a JSON text.

        Abandoning the generator leaves the turn running. After the session was found, whatever goes wrong arrives as a RUN_ERROR
        event, and the generator ends.

        Args:
            session_id: the session.
            user_message: what the person says.
            custom_prompt: replaces the persona's prompt, for this turn only.
            overlap: what to do if the session is answering: `enqueue`, `reject`, `interrupt`, `rollback`, `steer`, `merge` or
                `latest`; `None` for the session's setting.
            idempotency_key: a second message with the same key is the same message; one that says something else is refused.
            attachments: files that come with the message.

        Raises:
            SessionNotFound: no such session; nothing was written.
        """
        opened = await self._existing(session_id)
        try:
            receipt = await self.send(
                session_id,
                user_message,
                custom_prompt,
                overlap=overlap,
                idempotency_key=idempotency_key,
                attachments=attachments,
            )
        except SessionNotFound:
            raise
        except GreenroomError as error:
            yield error_event(error)
            return
        cursor = parse_cursor(receipt.cursor)
        async for event in turn_events(opened.registry, session_id, turn_id=receipt.turn_id, cursor=cursor):
            yield event

    async def send(
        self,
        session_id: str,
        message: str,
        custom_prompt: str | None = None,
        *,
        overlap: Overlap | None = None,
        idempotency_key: str | None = None,
        attachments: Sequence[AttachmentInput] = (),
        turn_id: str | None = None,
        message_id: str | None = None,
    ) -> Receipt:
        """Accepts a message durably and returns; the answer comes by itself.

        Args:
            session_id, message, custom_prompt, overlap, idempotency_key, attachments: as `stream_response`.
            turn_id: what the turn is to be called; a second message with the id of a turn that the session has is the same message.
            message_id: what the message is to be called.

        Raises:
            SessionNotFound: no such session.
            InvalidArgument: an empty message, or one that is no text; a malformed id; another message has this turn id or key.
            LimitExceeded: a message or attachment beyond the bounds, or too many messages that wait.
            TurnInProgress: `reject`, and the session is answering.
        """
        opened = await self._existing(session_id)
        if overlap is not None:
            parse_patch({"overlap": overlap})
        accepted = accepted_message(
            message,
            custom_prompt=custom_prompt,
            idempotency_key=idempotency_key,
            attachments=attachments,
            limits=self._installation.settings.limits,
            at_ms=opened.registry.clock.now_ms(),
            turn_id=turn_id,
            message_id=message_id,
        )
        return await opened.exchange.send(session_id, accepted, overlap=overlap)

    async def attach(
        self,
        session_id: str,
        cursor: str | None = None,
        *,
        protocol: ProtocolName = "ag-ui",
        turn_id: str | None = None,
        joins: bool = False,
    ) -> AsyncGenerator[Frame, None]:
        """Joins or rejoins a session: yields frames `(cursor, data)` until it is idle, or the turn is over.

        Args:
            session_id: the session.
            cursor: of the last frame that was seen: goes on exactly behind it. `None`, or one that was never written (its writer
                died): begins with a snapshot, or at the start of the turn `turn_id`.
            protocol: what `data` is written in: `ag-ui` (or `ag-ui-0` for clients of before 1.0), `ai-sdk` (or `ai-sdk-7` for
                a front end that knows `reset-step`), or `native`.
            turn_id: only this turn, without the message that it answers; also one that waits or is over.
            joins: with `turn_id` and without a cursor: begin with a snapshot, not at the start of the turn. For a reader that may
                have seen a part of it.

        Raises:
            SessionNotFound: no such session.
            InvalidStream: not a cursor.
            InvalidArgument: no such turn, or no such protocol.
        """
        batches = self.attach_batches(session_id, cursor, protocol=protocol, turn_id=turn_id, joins=joins)
        async with aclosing(batches):
            async for batch in batches:
                for frame in batch:
                    yield frame

    async def attach_batches(
        self,
        session_id: str,
        cursor: str | None = None,
        *,
        protocol: ProtocolName = "ag-ui",
        turn_id: str | None = None,
        joins: bool = False,
    ) -> AsyncGenerator[Sequence[Frame], None]:
        """As `attach`, with the frames that are there at one time together: for whoever sends them on."""
        check_protocol(protocol)
        position = parse_cursor(cursor) if cursor is not None else None
        opened = await self._existing(session_id)
        if turn_id is None:
            frames = session_frames(opened.registry, session_id, position, protocol=protocol)
        else:
            turn_id, begin = await opened.exchange.find_turn(session_id, turn_id)
            frames = turn_frames(
                opened.registry,
                session_id,
                turn_id=turn_id,
                begin=begin,
                seen=position,
                joins=joins,
                protocol=protocol,
            )
        async with aclosing(frames) as batches:
            async for batch in batches:
                yield batch

    async def cancel(self, session_id: str) -> bool:
        """Stops the running turn; what was said so far is kept. Returns whether there was a turn to stop.

        Raises:
            SessionNotFound: no such session.
        """
        opened = await self._existing(session_id)
        return await opened.exchange.cancel(session_id)

    async def steer(self, session_id: str, message: str, *, attachments: Sequence[AttachmentInput] = ()) -> Receipt:
        """Sends a message that the running turn reads before its next step; if there is none, it becomes the next turn.

        Raises:
            SessionNotFound, InvalidArgument, LimitExceeded: as `send`.
        """
        return await self.send(session_id, message, overlap="steer", attachments=attachments)

    async def history(self, session_id: str) -> list[Message]:
        """Returns what was said in the session, in order.

        Raises:
            SessionNotFound: no such session.
        """
        return history(await self.peek(session_id))

    async def peek(self, session_id: str) -> SessionState:
        """Returns the session's state to look at, never to change: what projections and tools for operators are made from.

        Raises:
            SessionNotFound: no such session.
        """
        opened = await self._existing(session_id)
        return await opened.operations.peek(session_id)

    # --- what waits -----------------------------------------------------------------------------------------------------

    async def queue(self, session_id: str) -> list[QueuedMessage]:
        """Returns the messages that wait for their turn, the next one first.

        Raises:
            SessionNotFound: no such session.
        """
        opened = await self._existing(session_id)
        return queued_messages(await opened.operations.peek(session_id))

    async def withdraw_message(self, session_id: str, turn_id: str) -> bool:
        """Takes a message back that waits; returns whether it did: one that is answered already can be cancelled.

        Args:
            session_id: the session.
            turn_id: of the message, from its receipt.

        Raises:
            SessionNotFound: no such session.
            LogUnavailable: another process is at work in the session, and does not react.
        """
        opened = await self._existing(session_id)
        return await opened.exchange.withdraw(session_id, turn_id)

    async def edit_message(
        self,
        session_id: str,
        turn_id: str,
        message: str,
        *,
        attachments: Sequence[AttachmentInput] | None = None,
    ) -> bool:
        """Changes a message that waits, which keeps its place; returns whether it did wait.

        Args:
            session_id: the session.
            turn_id: of the message, from its receipt.
            message: what it says now.
            attachments: what comes with it now; `None` keeps what it had.

        Raises:
            SessionNotFound: no such session.
            InvalidArgument, LimitExceeded: as `send`.
            LogUnavailable: another process is at work in the session, and does not react.
        """
        opened = await self._existing(session_id)
        parts = message_parts(message, attachments or (), limits=self._installation.settings.limits)
        return await opened.exchange.edit(session_id, turn_id, parts, keeps_files=attachments is None)

    async def approvals(self, session_id: str) -> list[PendingApproval]:
        """Returns the calls about which a person has to decide.

        Raises:
            SessionNotFound: no such session.
        """
        opened = await self._existing(session_id)
        return pending_approvals(await opened.operations.peek(session_id))

    async def approve(
        self,
        session_id: str,
        approval_id: str,
        decision: Decision,
        *,
        arguments: Mapping[str, Any] | None = None,
        reason: str | None = None,
        run_id: str | None = None,
    ) -> Receipt:
        """Takes down what a person has decided about a call; the turn goes on by itself. The same decision again is harmless.

        Args:
            session_id: the session.
            approval_id: of the question, from `approvals` or the event that announced it.
            decision: `approve` or `deny`.
            arguments: with `approve`: run the call with these instead. They have to fit the tool.
            reason: for the model to read.
            run_id: what the rest of the turn is called, where an answer begins a new run (AG-UI).

        Returns:
            where the turn goes on: `attach` shows it from the receipt's cursor.

        Raises:
            SessionNotFound: no such session.
            ApprovalNotFound: nobody was asked that.
            AlreadyDecided: it was decided otherwise before, or its turn has ended.
            InvalidArgument: another decision, or arguments that do not fit.
            LimitExceeded: arguments or a reason beyond the bounds.
        """
        opened = await self._existing(session_id)
        if decision not in {"approve", "deny"}:
            raise InvalidArgument(f"the decision {decision!r} does not exist", hint="approve or deny")
        if arguments is not None and decision == "deny":
            raise InvalidArgument("a call that is denied has no arguments", hint="say why in reason")
        decided = ApprovalDecided(
            approval_id=str(approval_id),
            call_id="",
            decision=decision,
            arguments=self._encoded(arguments) if arguments is not None else None,
            reason=self._reason(reason),
            run_id="" if run_id is None else checked_id("run_id", run_id),
        )
        return await opened.exchange.approve(session_id, decided)

    def _encoded(self, arguments: Mapping[str, Any]) -> str:
        if not isinstance(arguments, Mapping):
            raise InvalidArgument(f"arguments is a {type(arguments).__name__}", hint="give a mapping of parameters")
        try:
            encoded = msgspec.json.encode(dict(arguments)).decode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidArgument(f"arguments is not JSON: {error}") from error
        bytes_max = self._installation.settings.limits.tool_arguments_bytes_max
        if len(encoded.encode()) > bytes_max:
            raise LimitExceeded(f"the arguments have more than {bytes_max} bytes")
        return encoded

    def _reason(self, reason: str | None) -> str:
        if reason is None:
            return ""
        if not isinstance(reason, str):
            raise InvalidArgument(f"reason is a {type(reason).__name__}", hint="give a str")
        bytes_max = self._installation.settings.limits.reason_bytes_max
        if len(reason.encode("utf-8", "replace")) > bytes_max:
            raise LimitExceeded(f"the reason has more than {bytes_max} bytes")
        return reason.encode("utf-8", "replace").decode()

    async def _existing(self, session_id: str) -> Opened:
        opened = await self._installation.opened()
        await opened.check_exists(session_id)
        return opened
