"""One answer, from the message to its end: read from the manager as any client does, and shown.

Rule: a message that was accepted is answered or stopped before we go: nobody reads on when this program ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing, nullcontext

from greenroom.cli.conversation import Conversation, TurnEnded
from greenroom.cli.interrupt import Interrupts
from greenroom.cli.output import print_note
from greenroom.cli.painter import Painter
from greenroom.cli.typing_ahead import TypingAhead
from greenroom.manager import AgentManager
from greenroom.runtime.exchange import Receipt


async def ask(
    manager: AgentManager, session_id: str, message: str, painter: Painter | None, *, steers: bool = False
) -> Conversation:
    """Sends a message and shows its answer; Ctrl-C stops it.

    Args:
        manager: keeps the session.
        session_id: the session.
        message: what the person says.
        painter: shows the answer.
        steers: what is typed meanwhile is read before the next step.

    Raises:
        SessionNotFound: the session was deleted meanwhile.
        BrokenPipeError: nobody reads what is shown; the answer was stopped.
        KeyboardInterrupt: Ctrl-C again, before the answer had stopped.
    """
    events = manager.stream_response(session_id, message)
    return await _followed(manager, session_id, events, painter, steers=steers)


async def go_on(manager: AgentManager, receipt: Receipt, painter: Painter, conversation: Conversation) -> Conversation:
    """Shows the rest of a turn that waited, from where a decision let it go on.

    Raises:
        SessionNotFound, BrokenPipeError, KeyboardInterrupt: as `ask`.
    """
    events = _data(manager, receipt.session_id, receipt.cursor)
    return await _followed(manager, receipt.session_id, events, painter, conversation=conversation, steers=True)


async def join(
    manager: AgentManager, session_id: str, painter: Painter, *, known_turns: Collection[str]
) -> Conversation:
    """Shows what a session that is answering has said, and the rest as it comes; one that was interrupted goes on.

    Args:
        manager: keeps the session.
        session_id: the session.
        painter: shows it.
        known_turns: what was shown before, and is not shown again.

    Raises:
        SessionNotFound, BrokenPipeError, KeyboardInterrupt: as `ask`.
    """
    events = _data(manager, session_id)
    return await _followed(manager, session_id, events, painter, known_turns=known_turns, steers=True)


async def _followed(
    manager: AgentManager,
    session_id: str,
    events: AsyncGenerator[str, None],
    painter: Painter | None,
    *,
    known_turns: Collection[str] = (),
    conversation: Conversation | None = None,
    steers: bool = False,
) -> Conversation:
    conversation = conversation or Conversation()

    async def stop() -> None:
        await manager.cancel(session_id)

    async def steer(line: str) -> None:
        await manager.steer(session_id, line)
        print_note("noted: it is read before the next step")

    try:
        with Interrupts(stop), TypingAhead(steer) if steers else nullcontext():
            async with aclosing(events):
                async for event in events:
                    shown = conversation.feed(event)
                    if shown and painter is not None and conversation.turn_id not in known_turns:
                        # In a thread: writing waits for whoever reads, and the turn must not wait with it.
                        await asyncio.to_thread(painter.paint, shown)
    except BrokenPipeError:
        await stop()
        raise
    finally:
        if painter is not None:
            painter.close()
    if conversation.ended is None:
        conversation.ended = TurnEnded(outcome="failed", code="interrupted", message="the answer has no end")
    return conversation


async def _data(manager: AgentManager, session_id: str, cursor: str | None = None) -> AsyncGenerator[str, None]:
    async for frame in manager.attach(session_id, cursor):
        yield frame.data
