"""`Client`: what `AgentManager` offers, over HTTP.

A stream that is lost is joined again behind its last frame, also when the server was stopped and started meanwhile: a turn does not
end with a connection.

Rule: one method for each thing that can be done, named as the manager names it.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, Literal, Self
from urllib.parse import quote

import msgspec

from greenroom.client.answer import Answer
from greenroom.client.connection import Connection, Patience, ServerUnavailable, raised_as
from greenroom.config import Overlap

_GOES_ON: Final = frozenset({"manager_closed", "log_unavailable", "log_error"})
"""Codes of streams that the server could not go on with, while the turn goes on."""

_OUT: Final = "unauthorized"
"""Code of a stream that ended with its client's token; the turn goes on without the client."""

Data = dict[str, Any]


class Client:
    """A server, as one user sees it.

    Args:
        url: of the server, for example `http://127.0.0.1:8765`.
        token: a token, an API key or a JWT.
        patience_s: how long the server may be away before a call fails with `ServerUnavailable`.
    """

    def __init__(self, url: str, token: str | None = None, *, patience_s: float = 60.0) -> None:
        self._connection = Connection(url, token, patience_s=patience_s)
        self._patience_s = patience_s

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes all connections. Turns go on. Idempotent."""
        await self._connection.close()

    # --- sessions -------------------------------------------------------------------------------------------------------

    async def create_session(self, session_id: str | None = None, **settings: Any) -> Data:
        """Creates a session, or updates one under its id; returns its data.

        Raises:
            GreenroomError: as `AgentManager.create_session`.
        """
        named = {"session_id": session_id} if session_id is not None else {}
        # With an id of its own it is the same session, however often it is asked for.
        return await self._json(
            "POST", "/v1/sessions", body={**named, **settings}, is_repeatable=session_id is not None
        )

    async def session(self, session_id: str) -> Data:
        """Returns a session's data.

        Raises:
            SessionNotFound: no such session.
        """
        return await self._json("GET", _path(session_id))

    async def list_sessions(self, query: str | None = None, limit: int = 50, cursor: str | None = None) -> Data:
        """Returns `sessions`, those changed last first, and the `cursor` of the next page."""
        return await self._json("GET", "/v1/sessions", query={"query": query, "limit": limit, "cursor": cursor})

    async def update_session(self, session_id: str, **patch: Any) -> Data:
        """Changes what is named; returns the data.

        Raises:
            GreenroomError: as `AgentManager.update_session`.
        """
        return await self._json("PATCH", _path(session_id), body=patch, is_repeatable=True)

    async def plan_update(self, session_id: str, **patch: Any) -> Data:
        """Returns what an update would do."""
        query = {"dry_run": True}
        return await self._json("PATCH", _path(session_id), body=patch, query=query, is_repeatable=True)

    async def rollback_session(self, session_id: str, config_version: int) -> Data:
        """Brings an earlier configuration back; returns the data."""
        return await self._json("POST", _path(session_id, "rollback"), body={"config_version": config_version})

    async def cleanup_session(self, session_id: str) -> None:
        """Deletes the session with all it has.

        Raises:
            SessionNotFound: no such session.
        """
        await self._connection.ask("DELETE", _path(session_id), is_repeatable=False)

    async def fork_session(self, session_id: str, at_seq: int | None = None) -> Data:
        """Copies the session; returns the data of the copy."""
        return await self._json("POST", _path(session_id, "fork"), body={} if at_seq is None else {"at_seq": at_seq})

    async def rewind_session(self, session_id: str, turn_id: str) -> Data:
        """Takes a turn and all after it out; returns the data."""
        return await self._json("POST", _path(session_id, "rewind"), body={"turn_id": turn_id})

    async def hibernate(self, session_id: str) -> None:
        """Takes an idle session out of the server's memory."""
        await self._connection.ask("POST", _path(session_id, "hibernate"), is_repeatable=True)

    async def export_session(self, session_id: str) -> bytes:
        """Returns the session as a bundle."""
        return (await self._connection.ask("GET", _path(session_id, "export")))[0]

    async def import_session(self, data: bytes) -> Data:
        """Makes a session of a bundle; returns its data."""
        headers = {"content-type": "application/zip"}
        text, _ = await self._connection.ask("POST", "/v1/sessions/import", data=data, headers=headers)
        made: Data = msgspec.json.decode(text)
        return made

    async def search(self, query: str, limit: int = 50) -> list[Data]:
        """Returns places in all sessions where the words occur, best first."""
        hits: list[Data] = (await self._json("GET", "/v1/search", query={"query": query, "limit": limit}))["hits"]
        return hits

    async def usage(self, *, days: int | None = None) -> Data:
        """Returns what the user has used in all sessions, in so many days, and the user's budget.

        Raises:
            InvalidArgument: not from 1 to 3660 days.
        """
        return await self._json("GET", "/v1/usage", query={"days": days})

    # --- messages -------------------------------------------------------------------------------------------------------

    async def send(
        self,
        session_id: str,
        message: str,
        *,
        turn_id: str | None = None,
        custom_prompt: str | None = None,
        overlap: Overlap | None = None,
        attachments: Sequence[Mapping[str, Any]] = (),
    ) -> Data:
        """Sends a message; returns the receipt. The answer comes by itself.

        Args:
            session_id: the session.
            message: what is said.
            turn_id: what the turn is to be called; sent again, it is the same turn.
            custom_prompt: replaces the persona's prompt for this turn.
            overlap: what to do if the session is answering.
            attachments: mappings with `data` (base64 or a data URL), `media_type` and `name`.

        Raises:
            GreenroomError: as `AgentManager.send`.
        """
        body = _message(message, turn_id, custom_prompt, overlap, attachments)
        headers = {"prefer": "respond-async"}
        return await self._json("POST", _path(session_id, "messages"), body=body, headers=headers, is_repeatable=True)

    async def stream(
        self,
        session_id: str,
        message: str,
        *,
        turn_id: str | None = None,
        custom_prompt: str | None = None,
        overlap: Overlap | None = None,
        attachments: Sequence[Mapping[str, Any]] = (),
    ) -> AsyncGenerator[Data, None]:
        """Sends a message and yields the AG-UI events of its answer, to the end of the turn. Arguments as `send`.

        Behind a lost connection it goes on exactly where it was; where that cannot be (what was shown was lost with the server),
        with a MESSAGES_SNAPSHOT. `Answer` folds the events.

        Raises:
            GreenroomError: as `AgentManager.send`, before the first event; later `ServerUnavailable`, and `unauthorized` when the
                token ends: with a new one, the same message under the same `turn_id` shows the answer again.
        """
        body = _message(message, turn_id, custom_prompt, overlap, attachments)
        cursor: str | None = None
        waiting = Patience(self._patience_s)
        while True:
            path = _path(session_id, "messages")
            error = ServerUnavailable("the connection ended before the turn")
            try:
                async with aclosing(self._connection.frames("POST", path, body=body, last_event_id=cursor)) as frames:
                    async for frame in frames:
                        event: Data = msgspec.json.decode(frame.data)
                        if event["type"] == "RUN_ERROR" and event.get("code") in _GOES_ON:
                            break
                        if event["type"] == "RUN_ERROR" and event.get("code") == _OUT:
                            raise raised_as(_OUT, event["message"], None, status=401)
                        cursor = frame.cursor or cursor
                        waiting.begin_anew()
                        yield event
                        if event["type"] in {"RUN_FINISHED", "RUN_ERROR"}:
                            return
            except ServerUnavailable as lost:
                error = lost
            await waiting.wait(error)

    async def ask(self, session_id: str, message: str, **options: Any) -> str:
        """Sends a message and returns the text of its answer. Options as `send`.

        Raises:
            GreenroomError: as `stream`; and what the turn failed with.
        """
        answer = Answer()
        async for event in self.stream(session_id, message, **options):
            answer.apply(event)
        if answer.error is not None:
            raise raised_as(str(answer.error.get("code", "")), str(answer.error["message"]), None)
        return answer.text

    async def attach(
        self,
        session_id: str,
        cursor: str | None = None,
        *,
        protocol: Literal["native", "ag-ui", "ag-ui-0", "ai-sdk", "ai-sdk-7"] = "native",
    ) -> AsyncGenerator[tuple[str, Data], None]:
        """Joins or rejoins a session: yields `(cursor, event)` until it is idle, or waits for a person.

        Raises:
            GreenroomError: as `AgentManager.attach`.
        """
        waiting, has_brought = Patience(self._patience_s), True
        while True:
            try:
                frames = self._connection.frames(
                    "GET", _path(session_id, "events"), query={"protocol": protocol}, last_event_id=cursor
                )
                async with aclosing(frames):
                    async for frame in frames:
                        if not frame.cursor:
                            continue  # the end of the protocol
                        event: Data = msgspec.json.decode(frame.data)
                        if event.get("code") in _GOES_ON and event["type"] in {"error", "RUN_ERROR"}:
                            break
                        cursor, has_brought = frame.cursor, True
                        waiting.begin_anew()
                        yield cursor, event
                if (await self.session(session_id))["status"] != "running":
                    return
                if has_brought:  # a turn has begun since: joined at once, and with patience only if that brings nothing
                    has_brought = False
                    continue
                error = ServerUnavailable("the connection ended before the session was idle")
            except ServerUnavailable as lost:
                error = lost
            await waiting.wait(error)

    async def history(self, session_id: str) -> list[Data]:
        """Returns what was said, in order.

        Raises:
            SessionNotFound: no such session.
        """
        messages: list[Data] = (await self._json("GET", _path(session_id, "messages")))["messages"]
        return messages

    async def cancel(self, session_id: str) -> bool:
        """Stops the running turn; returns whether there was one.

        Raises:
            SessionNotFound: no such session.
        """
        return bool((await self._json("POST", _path(session_id, "cancel")))["cancelled"])

    async def steer(self, session_id: str, message: str) -> Data:
        """Tells the running turn something at its next step; returns the receipt."""
        return await self._json("POST", _path(session_id, "steer"), body={"message": message})

    async def approve(
        self,
        session_id: str,
        approval_id: str,
        decision: Literal["approve", "deny"],
        *,
        arguments: Mapping[str, Any] | None = None,
        reason: str | None = None,
    ) -> Data:
        """Approves or denies a tool call that waits; the turn goes on behind the receipt's cursor.

        Raises:
            GreenroomError: as `AgentManager.approve`.
        """
        body = {"decision": decision, "arguments": arguments, "reason": reason}
        path = _path(session_id, f"approvals/{quote(approval_id, safe='')}")
        return await self._json("POST", path, body=body, is_repeatable=True)

    async def approvals(self, session_id: str) -> list[Data]:
        """Returns the tool calls that wait for a person."""
        waiting: list[Data] = (await self._json("GET", _path(session_id, "approvals")))["approvals"]
        return waiting

    async def queue(self, session_id: str) -> list[Data]:
        """Returns the messages that wait for their turn."""
        waiting: list[Data] = (await self._json("GET", _path(session_id, "queue")))["queue"]
        return waiting

    async def edit_message(self, session_id: str, turn_id: str, message: str) -> None:
        """Changes a message that waits.

        Raises:
            GreenroomError: with the code `message_not_found`: it does not wait.
        """
        path = _path(session_id, f"queue/{quote(turn_id, safe='')}")
        await self._connection.ask("PATCH", path, body={"message": message}, is_repeatable=True)

    async def withdraw_message(self, session_id: str, turn_id: str) -> None:
        """Takes a message that waits back.

        Raises:
            GreenroomError: with the code `message_not_found`: it does not wait.
        """
        path = _path(session_id, f"queue/{quote(turn_id, safe='')}")
        await self._connection.ask("DELETE", path, is_repeatable=False)

    # --- files ----------------------------------------------------------------------------------------------------------

    async def list_files(self, session_id: str, folder: str = "") -> list[Data]:
        """Returns the files of the workspace, or of a folder in it, with all below."""
        files: list[Data] = (await self._json("GET", _file(session_id, folder)))["files"]
        return files

    async def read_file(self, session_id: str, path: str) -> bytes:
        """Returns the contents of a file of the workspace."""
        return (await self._connection.ask("GET", _file(session_id, path)))[0]

    async def write_file(self, session_id: str, path: str, content: bytes) -> None:
        """Writes a file of the workspace, with the folders that it needs."""
        await self._connection.ask("PUT", _file(session_id, path), data=content)

    async def delete_file(self, session_id: str, path: str) -> None:
        """Removes a file of the workspace, or a folder with all in it."""
        await self._connection.ask("DELETE", _file(session_id, path), is_repeatable=False)

    async def _json(self, method: str, path: str, **options: Any) -> Data:
        text, _ = await self._connection.ask(method, path, **options)
        answer: Data = msgspec.json.decode(text)
        return answer


def _path(session_id: str, rest: str = "") -> str:
    # Dots would be taken for steps in the path by whatever is in between.
    named = quote(session_id, safe="") if session_id.strip(".") else "%00"
    return f"/v1/sessions/{named}" + (f"/{rest}" if rest else "")


def _file(session_id: str, path: str) -> str:
    return _path(session_id, f"workspace/{quote(path, safe='/')}")


def _message(
    message: str,
    turn_id: str | None,
    custom_prompt: str | None,
    overlap: Overlap | None,
    attachments: Sequence[Mapping[str, Any]],
) -> Data:
    body = {
        "message": message,
        "turn_id": turn_id if turn_id is not None else f"t{secrets.token_hex(16)}",
        "custom_prompt": custom_prompt,
        "overlap": overlap,
        "attachments": list(attachments),
    }
    return {name: value for name, value in body.items() if value is not None and value != []}
