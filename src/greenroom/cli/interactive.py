"""`greenroom chat` on a terminal: a person and an agent, as long as they like.

Rule: leaving is never losing: what was said is in the session, and the last line says how to come back to it.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from rich.console import Console

from greenroom.cli.chat import DEMO_NOTICE, Wish, introduction, open_session, title_of
from greenroom.cli.commands import COMMANDS, Leave, run_command, words_of
from greenroom.cli.keyboard import Interrupted, Keyboard
from greenroom.cli.output import OK, terminal, visible
from greenroom.cli.painter import TerminalPainter
from greenroom.cli.running import managing
from greenroom.cli.telling import print_error_in, tell
from greenroom.cli.turn import ask, join
from greenroom.core.view import Message
from greenroom.errors import GreenroomError, SessionNotFound
from greenroom.manager import AgentManager
from greenroom.settings import Settings
from greenroom.usable import Candidate, choose

_MESSAGES_SHOWN: Final = 6
"""Of a session that is gone on with: enough to see where one was."""


async def converse(settings: Settings, wish: Wish) -> int:
    """Talks until the person leaves; returns the exit code.

    Raises:
        GreenroomError: the session cannot be opened.
    """
    default = None
    if wish.backend is None:
        choice = await choose(settings)
        default, settings = choice.candidate, choice.settings
    async with managing(settings) as manager:
        opened = await open_session(manager, wish, default)
        chat = Chat(manager, settings, opened.session, default)
        await chat.introduce()
        try:
            if not opened.is_new:
                await chat.show_past()
            await chat.run()
        except Leave:
            pass
        await chat.leave()
    return OK


class Chat:
    """A conversation on the terminal, in one session at a time.

    Attributes:
        manager: keeps the sessions.
        console: the terminal.
        session: data of the session that is talked in.
        default: what answers where nobody names a backend.
    """

    def __init__(
        self, manager: AgentManager, settings: Settings, session: dict[str, Any], default: Candidate | None
    ) -> None:
        self.manager = manager
        self.console: Console = terminal()
        self.session = session
        self.default = default
        self._settings = settings
        self._keyboard: Keyboard | None = None
        self._is_leaving = False

    @property
    def session_id(self) -> str:
        """Id of the session that is talked in."""
        return str(self.session["session_id"])

    async def run(self) -> None:
        """Reads and answers until the person leaves.

        Raises:
            Leave: the person left.
        """
        self._keyboard = await asyncio.to_thread(Keyboard, self._settings.home, self._words)
        while True:
            line = await self._read()
            if not line.strip():
                continue
            self._is_leaving = False
            try:
                if line.startswith("/"):
                    await run_command(self, line)
                else:
                    await self._answer(line)
            except GreenroomError as error:
                print_error_in(self.console, error.message, error.hint)
                if isinstance(error, SessionNotFound):
                    raise Leave from error

    async def introduce(self) -> None:
        """Says who answers, and what should be known about that."""
        line, caution = introduction(self.session, self.default, self._settings)
        self.say(line, style="bold")
        if caution:
            self.say(caution, style="yellow")
        self.say("/help lists what can be done besides talking", style="dim")

    async def show_past(self) -> None:
        """Shows the last messages, and the rest of an answer that goes on, or was interrupted."""
        messages = await self.manager.history(self.session_id)
        is_busy = self.session["status"] != "idle"
        past = [message for message in messages if not (message.role == "assistant" and message.outcome is None)]
        if len(past) > _MESSAGES_SHOWN:
            self.say(f"... {len(past) - _MESSAGES_SHOWN} earlier messages: /history shows them", style="dim")
        for message in past[-_MESSAGES_SHOWN:]:
            self.tell(message)
        if is_busy:
            self.say("the last answer was not finished; it goes on", style="dim")
            self._is_leaving = await self._shown(join=True, message="")

    async def leave(self) -> None:
        """Says how to come back; a session in which nothing was said is not kept."""
        session = await self.manager.fetch_session_data(self.session_id)
        if session is not None and not session["message_count"]:
            await self.manager.cleanup_session(self.session_id)
        elif session is not None:
            self.say(f"to go on: greenroom chat --session {self.session_id}", style="dim")

    async def switch_to(self, session: dict[str, Any]) -> None:
        """Goes on in another session."""
        await self.leave()
        self.session = session
        await self.introduce()

    async def refresh(self) -> None:
        """Reads the session's data anew.

        Raises:
            SessionNotFound: it was deleted meanwhile.
        """
        session = await self.manager.fetch_session_data(self.session_id)
        if session is None:
            raise SessionNotFound(self.session_id)
        self.session = session

    def say(self, text: str, *, style: str = "") -> None:
        """Prints a line of ours."""
        self.console.print(visible(text), style=style, soft_wrap=True)

    def tell(self, message: Message) -> None:
        """Prints a message of the past."""
        tell(self.console, message)

    async def _read(self) -> str:
        """Returns what the person typed.

        Raises:
            Leave: Ctrl-D at the empty prompt, or Ctrl-C twice.
        """
        assert self._keyboard is not None
        while True:
            self.console.out("")
            try:
                return await self._keyboard.read()
            except EOFError:
                raise Leave from None
            except Interrupted as interrupted:
                if self._is_leaving and not interrupted.had_text:
                    raise Leave from None
                self._is_leaving = not interrupted.had_text
                if self._is_leaving:
                    self.say("Ctrl-C again, or Ctrl-D, leaves", style="dim")

    async def _answer(self, message: str) -> None:
        if not self.session["title"]:
            await self.manager.update_session(self.session_id, title=title_of(message))
            await self.refresh()
        self._is_leaving = await self._shown(join=False, message=message)

    async def _shown(self, *, join: bool, message: str) -> bool: ...

    def _words(self, before: list[str]) -> list[str]: ...
