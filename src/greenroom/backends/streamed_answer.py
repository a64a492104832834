"""The items of one answer as they arrive, in any dialect: when to stop waiting for more.

Providers and gateways keep a connection alive with comments, with events of their own (`ping`, `keepalive`, `response.in_progress`) and
with chunks that say nothing. So that bytes arrive says nothing: an answer whose provider has said why it ended is complete a few seconds
later, though the connection stays open; and one of which nothing comes any more has stalled.

Rule: what counts is what the answer grows by. Time is looked at only where that is nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Self

from greenroom.backends.parts_writer import StreamDecoder
from greenroom.backends.transport import ByteStream
from greenroom.errors import BackendError, BackendUnavailable
from greenroom.messages import StreamItem

TAIL_S: Final = 3.0
"""How long accounting may take to arrive once an answer is whole, and its connection stays open."""


class StreamedAnswer:
    """The items of one answer, as they arrive. Not a generator: those hold their frames open when they are abandoned."""

    def __init__(self, chunks: ByteStream, decoder: StreamDecoder) -> None:
        self._chunks = chunks
        self._decoder = decoder
        self._is_in_event = False
        self._idle_since_s: float | None = None
        self._tail_until_s: float | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Sequence[StreamItem]:
        """Returns the items of the next read that brings any.

        Raises:
            BackendUnavailable: nothing but keep-alives came for `Limits.stream_idle_s_max`.
            BackendError, LimitExceeded: as the decoder and the connection.
        """
        decoder = self._decoder
        if decoder.is_ended:
            raise StopAsyncIteration
        while decoder.failure is None and (chunk := await self._read()):
            if items := decoder.feed(chunk):
                self._idle_since_s = self._tail_until_s = None
                return items
            if self._has_stalled():
                if not decoder.is_whole:
                    raise BackendUnavailable(
                        f"{decoder.provider} stopped answering: nothing but keep-alives came for {decoder.idle_s_max:g} s"
                    )
                break
        return decoder.close()

    async def _read(self) -> bytes:
        """Returns the next bytes; nothing at the end of the answer, wherever the stream ends."""
        if not self._decoder.is_answered:
            try:
                return await self._chunks.read()
            except BackendError:
                if self._decoder.is_whole:
                    return b""
                raise
        now_s = asyncio.get_running_loop().time()
        if self._tail_until_s is None:
            self._tail_until_s = now_s + TAIL_S
        elif now_s >= self._tail_until_s:
            return b""  # also where comments never cease to arrive
        try:
            async with asyncio.timeout_at(self._tail_until_s):
                return await self._chunks.read()
        except (BackendError, TimeoutError):
            # A connection that breaks, or stays open, after the finish reason takes nothing of the answer along.
            return b""

    def _has_stalled(self) -> bool:
        """Returns whether nothing but keep-alives came for too long."""
        # An event of which more and more arrives is a large one; a keep-alive may be cut in two by the network.
        was_in_event, self._is_in_event = self._is_in_event, self._decoder.splitter.is_in_event
        if was_in_event and self._is_in_event:
            self._idle_since_s = None
            return False
        now_s = asyncio.get_running_loop().time()
        if self._idle_since_s is None:
            self._idle_since_s = now_s
        return now_s - self._idle_since_s >= self._decoder.idle_s_max
