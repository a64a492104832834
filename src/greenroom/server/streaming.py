"""A stream of frames to one client: server-sent events, as `wire-protocols` of every client that we know want them.

Lines end with LF, every frame has an `id:`, a comment goes out every 15 seconds so that proxies keep the connection, and no
middleware stands in the way of a frame. Beside the request's own task there is one that waits for the client to leave.

A client may see a stream as long as it could ask for it (`stay`): it ends with the client's token or login, and says so.

Rule: a client that leaves ends nothing but its stream; one that does not read holds nothing but its connection, and that not for
ever (`connection`).
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from functools import partial
from typing import Final, Protocol

from greenroom.errors import GreenroomError, LimitExceeded
from greenroom.events import NoticeGiven
from greenroom.protocols.projection import ProtocolName, projection
from greenroom.runtime.tasks import Tasks
from greenroom.server.answers import PIECE_BYTES, Receive, Send, raw_headers
from greenroom.server.refusal import Refusal
from greenroom.server.stay import Stay
from greenroom.streams import Frame

logger: Final = logging.getLogger("greenroom.server")

KEEP_ALIVE_S: Final = 15.0
"""What proxies that cut silent connections allow at the least; the advice of the EventSource specification."""
_HEADERS: Final = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
}
_BEGIN: Final = b": open\nretry: 1000\n\n"
_KEEP_ALIVE: Final = b": keep-alive\n\n"
_END_OF_FRAME: Final = b"\n\n"

_IGNORED_MAX: Final = 20
_NAME_CHARACTERS_MAX: Final = 60
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9_.()\[\] -]")

Batches = AsyncGenerator[Sequence[Frame], None]


class OnEnd(Protocol):
    """What somebody wants to do when a stream has ended."""

    def __call__(self, *, is_whole: bool) -> None:
        """Takes note of it."""
        ...


class Unauthorized(GreenroomError):
    """The client of a stream may not see more of it: its next request would be answered with 401."""

    code = "unauthorized"
    status_hint = 401


class Stream:
    """An answer that goes on.

    Args:
        batches: the frames.
        tasks: where the task lives that waits for the client to leave.
        protocol: of the frames.
        end: what the protocol writes behind the last frame.
        headers: further headers.
        slot: held while the stream is open.
        hold: counts so many characters while they wait for the client.
        on_end: called once, with whether the client was sent everything.
        stay: how long the client may see this; left out where that has no end.
        ignored: names of what the client sent and is not used: a notice after the first frame says so.
    """

    status = 200

    def __init__(
        self,
        batches: Batches,
        *,
        tasks: Tasks,
        protocol: ProtocolName,
        slot: AbstractContextManager[object],
        hold: Callable[[int], AbstractContextManager[object]],
        end: bytes = b"",
        headers: Mapping[str, str] | None = None,
        on_end: OnEnd | None = None,
        stay: Stay | None = None,
        ignored: Sequence[str] = (),
    ) -> None:
        self._on_end = on_end
        self._stay = stay
        self._refusal: Refusal | None = None
        self._is_within_frame = False
        self._is_stopped = False
        self._notice = self._told(protocol, ignored) if ignored else b""
        self._is_whole = False
        self.headers = _HEADERS | dict(headers or {})
        self._batches = batches
        self._tasks = tasks
        self._protocol = protocol
        self._end = end
        self._slot = slot
        self._hold = hold
        self._is_sending = False
        self._sent_at_s = 0.0
        self._has_left = False

    async def send_to(self, receive: Receive, send: Send) -> None:
        """Sends frames until there are no more, the client leaves, or it may see no more of them."""
        own = asyncio.current_task()
        assert own is not None, "ASGI servers run a request in a task"

        put_out = partial(self._put_out, own)
        with self._slot:
            await send({"type": "http.response.start", "status": self.status, "headers": raw_headers(self.headers)})
            with self._stay.told(put_out) if self._stay is not None else nullcontext():
                await self._send_to(receive, send, own)

    def _put_out(self, own: asyncio.Task[None], refusal: Refusal) -> None:
        if self._refusal is None:
            self._refusal = refusal
            # Within a frame nothing else can be said: it goes to its end first.
            if not self._is_within_frame:
                self._stop(own)

    def _stop(self, own: asyncio.Task[None]) -> None:
        """Stops the sending, once: a second cancellation would be taken for one by the server, and end the last words too."""
        if not self._is_stopped:
            self._is_stopped = True
            own.cancel()

    async def _send_to(self, receive: Receive, send: Send, own: asyncio.Task[None]) -> None:
        watching = self._tasks.start(self._watch(receive, send, own), name="watch a client", done=_looked_at)
        try:
            await self._sent(send, _BEGIN)
            await self._pump(send)
            await self._finish(send)
            self._is_whole = self._refusal is None and not self._has_left
        except asyncio.CancelledError:
            if (not self._has_left and self._refusal is None) or own.uncancel() > 0:
                raise
            if not self._has_left:
                await self._finish(send)
        finally:
            watching.cancel()
            if self._on_end is not None:
                self._on_end(is_whole=self._is_whole)

    async def _finish(self, send: Send) -> None:
        if self._refusal is not None:
            await self._sent(send, self._failed(Unauthorized(self._refusal.message, hint=self._refusal.hint)))
        await self._sent(send, self._end, more=False)

    async def _pump(self, send: Send) -> None:
        async with aclosing(self._batches) as batches:
            try:
                async for batch in batches:
                    if self._notice and batch:
                        # The first frame opens the run or message; only within it may anything else stand.
                        await self._sent(send, encoded(batch[:1]) + self._notice)
                        self._notice, batch = b"", batch[1:]  # noqa: PLW2901 - the rest of it
                    size = sum([len(frame.data) for frame in batch])
                    if size <= PIECE_BYTES:
                        await self._sent(send, encoded(batch))
                        continue
                    with self._hold(size):
                        for piece in encoded_pieces(batch):
                            await self._sent_piece(send, piece)
                            if self._refusal is not None and not self._is_within_frame:
                                return
                        # There has to be room for more before it is made.
                        await self._sent(send, b"")
            except Refusal as refusal:
                await self._sent(send, self._failed(LimitExceeded(refusal.message, hint=refusal.hint)))
            except GreenroomError as error:
                await self._sent(send, self._failed(error))
            except Exception as error:  # broad: the client is owed an end, and the log the reason
                logger.exception("a stream failed")
                del error
                failure = GreenroomError("the server failed", hint="its log says why")
                await self._sent(send, self._failed(failure))

    @staticmethod
    def _told(protocol: ProtocolName, ignored: Sequence[str]) -> bytes:
        """Returns the notice as an event without an id: it belongs to the request, not to the session, and has no position."""
        text = f"not used here: {', '.join(map(_shown, ignored[:_IGNORED_MAX]))}"
        notice = NoticeGiven(code="request_partly_ignored", text=text)
        shown = projection(protocol, "", find_state=_no_state, shows_messages=False)
        return "".join([f"data: {frame}\n\n" for frame in shown.events(notice, seq=0)]).encode()

    def _failed(self, error: GreenroomError) -> bytes:
        """Returns the last frames of a stream that did not come to its own end."""
        shown = projection(self._protocol, "", find_state=_no_state, shows_messages=False)
        return "".join([f"data: {frame}\n\n" for frame in shown.error(error)]).encode()

    async def _sent(self, send: Send, body: bytes, *, more: bool = True) -> None:
        self._is_sending = True
        self._sent_at_s = asyncio.get_running_loop().time()
        await send({"type": "http.response.body", "body": body, "more_body": more})
        self._is_sending = False

    async def _sent_piece(self, send: Send, piece: bytes) -> None:
        """Sends a piece of frames; it may begin or end within one."""
        ends_within = not piece.endswith(_END_OF_FRAME)
        self._is_within_frame = self._is_within_frame or ends_within
        await self._sent(send, piece)
        self._is_within_frame = ends_within

    async def _watch(self, receive: Receive, send: Send, own: asyncio.Task[None]) -> None:
        loop = asyncio.get_running_loop()
        asked_at_s = loop.time()
        ends_at_s = loop.time() + self._stay.left_s() if self._stay is not None else math.inf
        while True:
            if self._stay is not None and loop.time() >= min(ends_at_s, asked_at_s + KEEP_ALIVE_S):
                asked_at_s = loop.time()
                refusal = self._stay.over() if asked_at_s >= ends_at_s else await self._stay.refusal()
                if refusal is not None:
                    self._put_out(own, refusal)
                    return
            silent_s = loop.time() - self._sent_at_s
            if not self._is_sending and silent_s >= KEEP_ALIVE_S:
                self._sent_at_s, silent_s = loop.time(), 0.0
                await send({"type": "http.response.body", "body": _KEEP_ALIVE, "more_body": True})
            try:
                async with asyncio.timeout(min(max(KEEP_ALIVE_S - silent_s, 1.0), ends_at_s - loop.time())):
                    while (await receive())["type"] != "http.disconnect":
                        pass
                break
            except TimeoutError:
                pass
        self._has_left = True
        self._stop(own)


def ignored_header(ignored: Sequence[str]) -> dict[str, str]:
    """Returns the header that names what a client sent and is not used; none where there is nothing to name."""
    return {"x-greenroom-ignored": ", ".join(map(_shown, ignored[:_IGNORED_MAX]))} if ignored else {}


def _shown(name: str) -> str:
    """Returns a name as a header may hold it: it comes from a client."""
    return _NOT_IN_A_NAME.sub("?", name[:_NAME_CHARACTERS_MAX])


def encoded(batch: Sequence[Frame]) -> bytes:
    """Returns frames as server-sent events."""
    return "".join([f"id: {frame.cursor}\ndata: {frame.data}\n\n" for frame in batch]).encode()


def encoded_pieces(batch: Sequence[Frame]) -> Iterator[bytes]:
    """Returns frames as server-sent events, in pieces: of a large one there is never a second whole."""
    texts: list[str] = []
    size = 0
    for frame in batch:
        texts.append(f"id: {frame.cursor}\ndata: ")
        whole = len(frame.data) // PIECE_BYTES * PIECE_BYTES
        for start in range(0, whole, PIECE_BYTES):
            texts.append(frame.data[start : start + PIECE_BYTES])
            yield "".join(texts).encode()
            texts, size = [], 0
        texts += (frame.data[whole:] if whole else frame.data), "\n\n"
        size += len(frame.data) - whole
        if size >= PIECE_BYTES:
            yield "".join(texts).encode()
            texts, size = [], 0
    if texts:
        yield "".join(texts).encode()


def _no_state() -> None:
    return None


def _looked_at(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (failure := task.exception()) is not None:
        logger.error("watching a client failed", exc_info=failure)
