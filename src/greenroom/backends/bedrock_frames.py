"""Amazon's event stream, in which Bedrock wraps the events of the Messages API, to server-sent events.

A frame has a prelude with its lengths, headers, a payload and checksums; botocore takes it apart. The payload of an event is
`{"bytes": base64 of an event of the Messages API}`; a frame can also say that something went wrong.

Rule: import this module late: it loads botocore. Knows nothing of what is in the events.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import aiohttp
import msgspec
from botocore.eventstream import EventStreamBuffer, ParserError

from greenroom.backends.faults import Endpoint, Fault, classified
from greenroom.backends.transport import ByteStream, map_exceptions
from greenroom.errors import BackendError, BackendGarbled

_STATUSES: Final = {
    "throttlingexception": 429,
    "serviceunavailableexception": 503,
    "internalserverexception": 500,
    "modelstreamerrorexception": 500,
    "modeltimeoutexception": 408,
    "modelnotreadyexception": 503,
    "accessdeniedexception": 403,
    "validationexception": 400,
}
"""What Bedrock's exceptions are as HTTP answers (Amazon: *InvokeModelWithResponseStream*, Errors)."""


class _Payload(msgspec.Struct):
    bytes: str = ""
    message: str = ""


class BedrockFrames:
    """Takes one stream apart.

    Attributes:
        failure: what ended it; `feed` raises it once there is nothing before it.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.failure: BackendError | None = None
        self._endpoint = endpoint
        self._buffer = EventStreamBuffer()

    def feed(self, chunk: bytes) -> bytes:
        """Returns the events that the chunk completes, as server-sent events; possibly nothing.

        Raises:
            BackendGarbled: the bytes are no such stream.
            BackendError: a frame reports an error; classified.
        """
        events: list[bytes] = []
        if self.failure is None:
            self._buffer.add_data(chunk)
            try:
                events.extend(b"data: %b\n\n" % self._event(frame) for frame in self._buffer)
            except BackendError as error:
                self.failure = error
            except (ParserError, UnicodeDecodeError, msgspec.DecodeError, binascii.Error) as error:
                self.failure = BackendGarbled(f"{self._endpoint.provider} sent a frame that cannot be read: {error}")
        if self.failure is not None and not events:
            raise self.failure
        return b"".join(events)

    def _event(self, frame: Any) -> bytes:
        headers = frame.headers
        kind = headers.get(":message-type")
        if kind == "event":
            payload = msgspec.json.decode(frame.payload, type=_Payload)
            # JSON may hold line ends between its tokens; in a server-sent event they would end the line.
            return base64.b64decode(payload.bytes, validate=True).translate(_NO_LINE_ENDS)
        code = str(headers.get(":exception-type") or headers.get(":error-code") or "error")
        words = headers.get(":error-message") or _words(frame.payload)
        fault = Fault(words=str(words), kind=code.lower(), code=code.lower(), status=_STATUSES.get(code.lower(), 500))
        raise classified(fault, self._endpoint)


class BedrockStream(ByteStream):
    """The body of an answer of Bedrock, as server-sent events."""

    __slots__ = ("_frames",)

    def __init__(self, answer: aiohttp.ClientResponse, endpoint: Endpoint) -> None:
        super().__init__(answer, endpoint)
        self._frames = BedrockFrames(endpoint)

    async def read(self) -> bytes:
        """Returns the events that have arrived since the last call, or waits for more; nothing at the end.

        Raises:
            BackendError: as `ByteStream.read`, and as `BedrockFrames.feed`.
        """
        with map_exceptions(self._endpoint):
            while self._frames.failure is None and (chunk := await self._content.readany()):
                if events := self._frames.feed(chunk):
                    return events
        if self._frames.failure is not None:
            raise self._frames.failure
        return b""


def _words(payload: bytes) -> str:
    try:
        return msgspec.json.decode(payload, type=_Payload).message
    except (msgspec.DecodeError, UnicodeDecodeError):
        return payload.decode("utf-8", "replace")


_NO_LINE_ENDS: Final = bytes.maketrans(b"\r\n", b"  ")
