"""The protocols by name, and what a projection is.

Rule: whoever serves readers knows projections by this interface; what a protocol looks like stands in its own module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal, Protocol, get_args

from greenroom.core.session import SessionState
from greenroom.errors import GreenroomError, InvalidArgument
from greenroom.events import Event
from greenroom.large import Unwritten
from greenroom.messages import PartItem
from greenroom.protocols.agui import AguiProjection
from greenroom.protocols.ai_sdk import AiSdkProjection
from greenroom.protocols.native import NativeProjection

ProtocolName = Literal["ag-ui", "ag-ui-0", "ai-sdk", "ai-sdk-7", "native"]
"""`ag-ui-0` is for clients of before 1.0; `ai-sdk` for versions 5 to 7 of the SDK, `ai-sdk-7` for a front end that says it is 7."""

PROTOCOLS: Final[tuple[ProtocolName, ...]] = get_args(ProtocolName)


class Projection(Protocol):
    """Entries of a session to frames, for one reader. It remembers what is open at the reader, and nothing else."""

    def is_running(self, turn_id: str) -> bool:
        """Returns whether the reader was told of the turn's start and not of its end."""
        ...

    def events(self, payload: Event | PartItem, *, seq: int) -> Sequence[str]:
        """Returns the frames of an entry, in order."""
        ...

    def begin_with(
        self, state: SessionState, items: Sequence[PartItem], turn_id: str | None = None
    ) -> Sequence[str | Unwritten]:
        """Returns what a reader gets that begins, or begins again, in the middle; `events` goes on behind that point.

        What is large is not written yet.
        """
        ...

    def error(self, error: GreenroomError) -> Sequence[str]:
        """Returns the last frames of a stream that cannot go on."""
        ...


def check_protocol(protocol: str) -> None:
    """Checks that there is such a protocol.

    Raises:
        InvalidArgument: there is none; names those that there are.
    """
    if protocol not in PROTOCOLS:
        raise InvalidArgument(f"there is no protocol {str(protocol)[:40]!r}", hint=f"there are {', '.join(PROTOCOLS)}")


def projection(
    protocol: ProtocolName,
    session_id: str,
    *,
    find_state: Callable[[], SessionState | None],
    shows_messages: bool,
) -> Projection:
    """Returns a projection for one reader.

    Args:
        protocol: what the reader speaks.
        session_id: the session.
        find_state: returns the session's state, which may be ahead of the entries.
        shows_messages: the reader did not send the messages itself, and wants to see them.

    """
    match protocol:
        case "ag-ui" | "ag-ui-0":
            return AguiProjection(
                session_id,
                find_state=find_state,
                shows_messages=shows_messages,
                is_legacy=protocol == "ag-ui-0",
            )
        case "ai-sdk" | "ai-sdk-7":
            return AiSdkProjection(find_state=find_state, resets_steps=protocol == "ai-sdk-7")
        case "native":
            return NativeProjection()
