"""The server as an ASGI application: finds out what is asked and by whom, lets it be answered, and writes down that it was.

Rule: every request gets exactly one answer, and every answer that is no stream is complete before its first byte is sent.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final
from urllib.parse import quote

from starlette.routing import Match, Route

from greenroom import __version__
from greenroom.errors import GreenroomError
from greenroom.large import LARGE_BYTES, hollowed
from greenroom.large_thread import in_thread
from greenroom.manager import AgentManager
from greenroom.runtime.clock import backoff_s, new_id
from greenroom.runtime.foreign import contained
from greenroom.server.access import Access
from greenroom.server.answers import PIECE_BYTES, Answer, Data, Empty, Json, Receive, Scope, Send, joined_headers
from greenroom.server.call import Call
from greenroom.server.gate import Gate
from greenroom.server.mine import Sessions
from greenroom.server.openapi import document
from greenroom.server.operation import STREAM, Operation, parsed_body, parsed_query, unread_members
from greenroom.server.place import Place
from greenroom.server.refusal import RETRY_AFTER_S, Refusal, refusal_of
from greenroom.server.site_files import read_files
from greenroom.server.streaming import Stream
from greenroom.server.table import operations

logger: Final = logging.getLogger("greenroom.server")
access_logger: Final = logging.getLogger("greenroom.access")

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_LOGGED_PATH_CHARACTERS_MAX: Final = 200
_ALWAYS: Final = {"x-content-type-options": "nosniff"}


class App:
    """One server over one manager.

    Args:
        manager: whose sessions are served; opened at the start, closed at the end.
        access: who may do what.
        dropped_log_lines: returns how many lines of the log were not written.
    """

    def __init__(
        self, manager: AgentManager, access: Access, *, dropped_log_lines: Callable[[], int] = lambda: 0
    ) -> None:
        self._manager = manager
        self._access = access
        self._gate = Gate(manager.settings)
        self.place = Place(manager, dropped_log_lines=dropped_log_lines)
        rows = operations()
        self._routes = _routes(rows)
        self.place.document = document(rows, __version__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or follows the server's life."""
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    async def start(self) -> None:
        """Opens the store, and goes on in the background with what was left open.

        Raises:
            GreenroomError: the store cannot be opened.
        """
        self.place.files = await asyncio.to_thread(read_files)
        await self._manager.list_sessions(limit=1)
        self.place.is_ready = True
        self.place.tasks.keep(self._recover, name="recover sessions")

    async def _recover(self) -> None:
        """Goes on with what other processes have left: at the start, and as long as the server runs."""
        longest_s = self._manager.settings.limits.recovery_look_s_max
        while not self.place.is_draining:
            try:
                await self._manager.recover()
            except GreenroomError:
                if self.place.is_draining:
                    return  # the store was closed while we looked
                raise
            # Not in step with other servers that started when this one did.
            await asyncio.sleep(backoff_s(1, base_s=longest_s, longest_s=longest_s))

    async def drain(self) -> None:
        """Takes no more turns, lets running ones finish for a while, and ends all streams. Idempotent."""
        self.place.is_draining = True
        await self._manager.close()

    async def stop(self) -> None:
        """Drains, and lets go of everything."""
        await self.drain()
        await self.place.tasks.end()
        await self._access.close()

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.start()
                except GreenroomError as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    # --- one request ----------------------------------------------------------------------------------------------------

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        began_s = time.perf_counter()
        headers = joined_headers(scope["headers"])
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else new_id("r", int(time.time() * 1000))
        always = {**_ALWAYS, "x-request-id": request_id}
        told: dict[str, Any] = {"request_id": request_id}
        try:
            answer = await contained(self._answered(scope, headers, receive, always, told))
        except Refusal as refusal:
            answer = Json(refusal.body, status=refusal.status, headers=refusal.headers)
        except GreenroomError as error:
            if error.status_hint >= 500:  # noqa: PLR2004 - the server's own fault
                logger.warning("%s: %s", error.code, error, extra=told)
            mapped = refusal_of(error)
            answer = Json(mapped.body, status=mapped.status, headers=mapped.headers)
        except Exception:  # broad: whatever it is, the client gets an answer, and the log the details
            logger.exception("a request failed", extra=told)
            failed = Refusal(500, "internal_error", "the server failed", hint=f"its log has request {request_id}")
            answer = Json(failed.body, status=500)
        for name, value in always.items():
            answer.headers.setdefault(name, value)
        try:
            await answer.send_to(receive, send)
        finally:
            self._note(scope, answer, time.perf_counter() - began_s, told)

    async def _answered(
        self, scope: Scope, headers: Mapping[str, str], receive: Receive, always: dict[str, str], told: dict[str, Any]
    ) -> Answer:
        self._gate.check_once(scope)
        self._gate.check_host(headers)
        origin = self._gate.check_origin(scope, headers)
        if origin is not None:
            always |= self._gate.cors_headers(origin)
            if scope["method"] == "OPTIONS":
                return Empty(204, headers=self._gate.preflight_headers(origin))
        operation, path = self._found(scope)
        told["route"] = operation.path
        if operation.is_for_own_pages:
            self._gate.check_own_page(scope, headers)
        principal = None
        if operation.is_public:
            sessions = Sessions(self._manager, "")
        else:
            principal = await self._access.principal(headers, scope)
            self._gate.check_forgery(scope, headers, principal)
            if operation.is_for_operator and not principal.is_operator:
                raise _not_for_users()
            self.place.quotas.count_request(principal.user_id)
            sessions = Sessions(self._manager, principal.user_id)
            told["user_id"] = principal.user_id
        if "session_id" in path:
            told["session_id"] = path["session_id"]
        query = parsed_query(operation.query, scope["query_string"])
        self._gate.check_media_type(operation, headers)
        with ExitStack() as holding:
            has_body = scope["method"] not in {"GET", "HEAD"}
            whose = sessions.user_id or f"@{self._access.client_of(headers, scope)}"
            raw = await self._gate.body(operation, headers, receive, whose=whose, holding=holding) if has_body else b""
            body, unread = await in_thread(len(raw), _read, operation, raw)
            call = Call(
                place=self.place,
                access=self._access,
                principal=principal,
                sessions=sessions,
                path=path,
                query=query,
                body=body,
                unread=unread,
                headers=headers,
                scope=scope,
            )
            if operation.is_turn:
                if self.place.is_draining:
                    raise _draining()
                self.place.quotas.count_message(sessions.user_id)
            answer = await operation.handle(call)
            if isinstance(answer, Data) and len(answer.body) > PIECE_BYTES and not operation.is_public:
                answer.holding = self.place.quotas.hold(sessions.user_id, len(answer.body))
            return answer

    def _found(self, scope: Scope) -> tuple[Operation, Mapping[str, str]]:
        allowed: set[str] = set()
        for route, methods in self._routes:
            match, found = route.matches(scope)
            if match is Match.NONE:
                continue
            if scope["method"] in methods:
                return methods[scope["method"]], found["path_params"]
            if scope["method"] == "HEAD" and "GET" in methods and STREAM not in methods["GET"].answers.values():
                return methods["GET"], found["path_params"]
            allowed.update(methods)
        if not allowed:
            hint = "leave out the slash at its end" if scope["path"].endswith("/") else "/openapi.json has all there is"
            raise Refusal(404, "not_found", f"there is nothing at {scope['path'][:200]!r}", hint=hint)
        possible = ", ".join(sorted(allowed))
        raise Refusal(
            405,
            "method_not_allowed",
            f"{scope['method'][:20]} is not possible here",
            hint=f"possible: {possible}",
            headers={"allow": possible},
        )

    def _note(self, scope: Scope, answer: Answer, took_s: float, told: Mapping[str, Any]) -> None:
        self.place.metrics.note(
            scope["method"] if scope["method"] in _METHODS else "other",
            told.get("route", "none"),
            answer.status,
            took_s,
            is_stream=isinstance(answer, Stream),
        )
        if access_logger.isEnabledFor(logging.INFO):
            where = quote(scope["path"][:_LOGGED_PATH_CHARACTERS_MAX], safe="/-._~")
            if "x-turn-id" in answer.headers:
                told = {**told, "turn_id": answer.headers["x-turn-id"]}
            extra = {**told, "status": answer.status, "took_ms": round(took_s * 1000, 1)}
            access_logger.info("%s %s %d", scope["method"][:20], where, answer.status, extra=extra)


def _routes(rows: Sequence[Operation]) -> list[tuple[Route, dict[str, Operation]]]:
    by_path: dict[str, dict[str, Operation]] = {}
    for row in rows:
        by_path.setdefault(row.path, {})[row.method] = row
    return [(Route(path, endpoint=_Nowhere()), methods) for path, methods in by_path.items()]


class _Nowhere:
    """Starlette wants an endpoint; a request is answered by the rows of its path."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotImplementedError


def _read(operation: Operation, raw: bytes | bytearray) -> tuple[Any, Sequence[str]]:
    if (
        len(raw) > LARGE_BYTES
        and not operation.raw_body
        and (hollow := hollowed(raw, token=secrets.token_hex(8))) is not None
    ):
        try:
            body, unread = _decoded(operation, hollow.body)
        except Refusal:
            pass  # what is wrong, and where, is said of the body as it came
        else:
            return hollow.filled(body), unread
    return _decoded(operation, raw)


def _decoded(operation: Operation, raw: bytes | bytearray) -> tuple[Any, Sequence[str]]:
    body = _body(operation, raw)
    if operation.message is None:
        return body, ()
    return body, unread_members(type(body), raw, message=operation.message)


def _body(operation: Operation, raw: bytes | bytearray) -> Any:
    if operation.raw_body:
        return bytes(raw)
    if operation.body is None:
        if bytes(raw).strip() not in {b"", b"{}"}:
            raise Refusal(422, "invalid_argument", "nothing is to be sent here", hint="leave the body empty")
        return None
    if not raw and operation.has_optional_body:
        raw = b"{}"
    return parsed_body(operation.body, raw)


def _not_for_users() -> Refusal:
    return Refusal(
        403, "forbidden", "this is for the server's own token only, not for the keys and tokens of users",
        hint="set `token` in greenroom.toml, or GREENROOM_TOKEN, and send it as `Authorization: Bearer`",
    )  # fmt: skip


def _draining() -> Refusal:
    return Refusal(
        503, "draining", "the server is about to stop and takes no more messages",
        hint="send it again in a moment", headers={"retry-after": str(RETRY_AFTER_S)},
    )  # fmt: skip
