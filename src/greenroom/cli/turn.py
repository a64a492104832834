"""One answer, from the message to its end: read from the manager as any client does, and shown.

Rule: a message that was accepted is answered or stopped before we go: nobody reads on when this program ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing

from greenroom.cli.conversation import Conversation, TurnEnded
from greenroom.cli.interrupt import Interrupts
from greenroom.cli.painter import Painter
from greenroom.manager import AgentManager


async def ask(manager: AgentManager, session_id: str, message: str, painter: Painter | None) -> Conversation:
    """Sends a message and shows its answer; Ctrl-C stops it.

    Raises:
        SessionNotFound: the session was deleted meanwhile.
        BrokenPipeError: nobody reads what is shown; the answer was stopped.
        KeyboardInterrupt: Ctrl-C again, before the answer had stopped.
    """
    events = manager.stream_response(session_id, message)
    return await _followed(manager, session_id, events, painter)


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
    return await _followed(manager, session_id, _data(manager, session_id), painter, known_turns=known_turns)


async def _followed(
    manager: AgentManager,
    session_id: str,
    events: AsyncGenerator[str, None],
    painter: Painter | None,
    *,
    known_turns: Collection[str] = (),
) -> Conversation:
    conversation = Conversation()

    async def stop() -> None:
        await manager.cancel(session_id)

    try:
        with Interrupts(stop):
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


async def _data(manager: AgentManager, session_id: str) -> AsyncGenerator[str, None]:
    async for frame in manager.attach(session_id):
        yield frame.data
