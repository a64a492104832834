"""`greenroom chat` on a terminal: a person and an agent, as long as they like.

Rule: leaving is never losing: what was said is in the session, and the last line says how to come back to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from greenroom.cli.chat import DEMO_NOTICE, Wish, introduction, open_session
from greenroom.cli.commands import Leave, run_command, words_of
from greenroom.cli.conversation import Conversation
from greenroom.cli.deciding import decide_all
from greenroom.cli.keyboard import Interrupted, Keyboard
from greenroom.cli.output import OK, hint_of, terminal, visible
from greenroom.cli.painter import TerminalPainter
from greenroom.cli.running import managing
from greenroom.cli.telling import tell
from greenroom.cli.turn import ask, go_on, join
from greenroom.core.view import Message
from greenroom.errors import GreenroomError, SessionNotFound
from greenroom.manager import AgentManager
from greenroom.settings import Settings

_MESSAGES_SHOWN: Final = 6
"""Of a session that is gone on with: enough to see where one was."""


async def converse(settings: Settings, wish: Wish) -> int:
    """Talks until the person leaves; returns the exit code.

    Raises:
        GreenroomError: the session cannot be opened.
    """
    async with managing(settings) as manager:
        opened = await open_session(manager, wish)
        chat = Chat(manager, settings, opened.session)
        try:
            await chat.introduce()
            await chat.show_past()
            await chat.run()
        except Leave:
            pass
        finally:
            await chat.leave()
    return OK


class Chat:
    """A conversation on the terminal, in one session at a time.

    Attributes:
        manager: keeps the sessions.
        session: data of the session that is talked in.
        persona_names: for completion.
    """

    def __init__(self, manager: AgentManager, settings: Settings, session: dict[str, Any]) -> None:
        self.manager: AgentManager = manager
        self.session: dict[str, Any] = session
        self.persona_names: Sequence[str] = ()
        self._settings = settings
        self._console = terminal()
        self._painter = TerminalPainter(known_notices={DEMO_NOTICE}, console=self._console)
        self._keyboard: Keyboard | None = None
        self._may_leave = False

    @property
    def session_id(self) -> str:
        """Id of the session that is talked in."""
        return str(self.session["session_id"])

    # --- talking --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Reads and answers, until the person leaves.

        Raises:
            Leave: the person left.
        """
        self.persona_names = [persona.name for persona in await self.manager.catalog.personas()]
        while True:
            line = await self.read()
            self._may_leave = False
            try:
                if line.startswith("/"):
                    await run_command(self, line)
                elif line.strip():
                    await self._answer(line)
            except GreenroomError as error:
                self._complain(error)
                if isinstance(error, SessionNotFound) and error.session_id == self.session_id:
                    raise Leave from error

    async def introduce(self) -> None:
        """Says who answers, and what should be known about that."""
        line, caution = await introduction(self.session, self._settings)
        self.say(line, style="bold")
        if caution:
            self.say(caution, style="yellow")
        if self._keyboard is None:
            self.say("/help lists what can be done besides talking", style="dim")

    async def show_past(self) -> None:
        """Shows the last messages, and the rest of an answer that goes on or was interrupted."""
        messages = await self.manager.history(self.session_id)
        ended = {message.turn_id for message in messages if message.outcome is not None}
        told = [message for message in messages if message.turn_id in ended]
        if len(told) > _MESSAGES_SHOWN:
            self.say(f"... {len(told) - _MESSAGES_SHOWN} earlier messages; /history shows all", style="dim")
        for message in told[-_MESSAGES_SHOWN:]:
            self.tell(message)
        if len(ended) < len({message.turn_id for message in messages}):
            await self._go_on(messages, ended)

    async def leave(self) -> None:
        """Says how to come back; a session in which nothing was said is not kept."""
        session = await self.manager.fetch_session_data(self.session_id)
        if session is None:
            return
        if session["message_count"]:
            self.say(f"to go on: greenroom chat --session {self.session_id}", style="dim")
        else:
            await self.manager.cleanup_session(self.session_id)

    # --- what commands need ---------------------------------------------------------------------------------------------

    async def update(self, **changes: Any) -> None:
        """Changes the session.

        Raises:
            GreenroomError: as `AgentManager.update_session`; nothing has changed.
        """
        await self.manager.update_session(self.session_id, **changes)
        session = await self.manager.fetch_session_data(self.session_id)
        if session is None:
            raise SessionNotFound(self.session_id)
        self.session = session

    async def switch_to(self, session: dict[str, Any]) -> None:
        """Goes on in another session."""
        await self.leave()
        self.session = session
        await self.introduce()

    def say(self, text: str, *, style: str = "") -> None:
        """Prints a line of ours."""
        self._console.print(visible(text), style=style, soft_wrap=True)

    def tell(self, message: Message) -> None:
        """Prints a message of the past."""
        tell(self._console, message)

    # --- parts of talking -----------------------------------------------------------------------------------------------

    async def read(self) -> str:
        """Returns what the person typed.

        Raises:
            Leave: Ctrl-D at the empty prompt, or Ctrl-C twice.
        """
        if self._keyboard is None:
            self._keyboard = await asyncio.to_thread(Keyboard, self._settings.home, self._words)
        while True:
            self._console.out("")
            try:
                return await self._keyboard.read()
            except EOFError:
                raise Leave from None
            except Interrupted as interrupted:
                if self._may_leave and not interrupted.had_text:
                    raise Leave from None
                self._may_leave = not interrupted.had_text
                if self._may_leave:
                    self.say("Ctrl-C again, or Ctrl-D, leaves", style="dim")

    async def _answer(self, message: str) -> None:
        await self._heard(await ask(self.manager, self.session_id, message, self._painter, steers=True))

    async def _go_on(self, messages: Sequence[Message], ended: Collection[str]) -> None:
        """Shows the turn that is open, and the ones that wait for it: each begins with what the person said."""
        opened = next(message for message in messages if message.turn_id not in ended)
        has_begun = any(message.turn_id == opened.turn_id and message.role == "assistant" for message in messages)
        if has_begun:
            self.tell(opened)
        self.say("the last answer was not finished; it goes on", style="dim")
        await self._heard(await join(self.manager, self.session_id, self._painter, known_turns=ended))

    async def _heard(self, conversation: Conversation) -> None:
        while conversation.ended is not None and conversation.ended.outcome == "waiting":
            receipt = await decide_all(self)
            if receipt is None:
                return  # decided elsewhere meanwhile
            conversation = await go_on(self.manager, receipt, self._painter, conversation)
        session = await self.manager.fetch_session_data(self.session_id)
        if session is not None and session["status"] == "running":
            # What was typed while the last answer came, and came too late for it.
            messages = await self.manager.history(self.session_id)
            ended = {message.turn_id for message in messages if message.outcome is not None}
            await self._heard(await join(self.manager, self.session_id, self._painter, known_turns=ended))
            return
        # Who has just stopped an answer with Ctrl-C leaves with the next one.
        self._may_leave = conversation.ended is not None and conversation.ended.outcome == "cancelled"

    def _complain(self, error: GreenroomError) -> None:
        self.say(f"error: {error.message} [{error.code}]", style="red")
        if hint := hint_of(error):
            self.say(f"hint: {hint}", style="dim")

    def _words(self, before: Sequence[str]) -> Iterable[str]:
        return words_of(self, before)
