"""What a person types: one message at a time, with a history that is kept, and pasted lines kept together.

Rule: nothing typed here is stored anywhere but in the history file, which only its owner can read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

HISTORY_NAME: Final = "chat-history"
_HISTORY_BYTES_MAX: Final = 1024 * 1024
_PROMPT: Final = "> "

Words = Callable[[Sequence[str]], Iterable[str]]
"""Returns what may come next in a command of which these words are there already."""


class Interrupted(Exception):
    """Ctrl-C at the prompt. `had_text`: something was typed, and is gone."""

    def __init__(self, *, had_text: bool) -> None:
        super().__init__()
        self.had_text = had_text


class Keyboard:
    """Reads messages from the terminal.

    Args:
        home: where the history is kept.
        words: completes commands.
    """

    def __init__(self, home: Path, words: Words) -> None:
        self._session: PromptSession[str] = PromptSession(
            FormattedText([("bold", _PROMPT)]),
            history=_history(home / HISTORY_NAME),
            completer=_CommandCompleter(words),
            complete_while_typing=True,
            key_bindings=_bindings(),
            multiline=True,
            prompt_continuation=" " * len(_PROMPT),
        )

    async def read(self) -> str:
        """Returns what was typed.

        Raises:
            EOFError: Ctrl-D at the empty prompt, or the terminal is gone.
            Interrupted: Ctrl-C.
        """
        try:
            return await self._session.prompt_async()
        except KeyboardInterrupt:
            raise Interrupted(had_text=bool(self._session.default_buffer.text)) from None


class _CommandCompleter(Completer):
    """Completes lines that begin with a slash, and leaves messages alone."""

    def __init__(self, words: Words) -> None:
        self._words = words

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Yields what may come next."""
        del complete_event
        line = document.text_before_cursor
        if not line.startswith("/") or "\n" in line:
            return
        *before, begun = line.split(" ")
        for word in self._words(before):
            if word.startswith(begun):
                yield Completion(word, start_position=-len(begun))


def _bindings() -> KeyBindings:
    # Lines are kept together when they are pasted, or typed with Alt-Enter or Ctrl-J; Enter alone sends.
    bindings = KeyBindings()

    @bindings.add("enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @bindings.add("escape", "enter")
    @bindings.add("c-j")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return bindings


def _history(path: Path) -> History:
    """Returns the history in a file; one that ends with the program where no file can be made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        _forget_oldest(path)
    except OSError:
        return InMemoryHistory()
    return FileHistory(path)


def _forget_oldest(path: Path) -> None:
    if path.stat().st_size <= _HISTORY_BYTES_MAX:
        return
    latest = path.read_bytes()[-_HISTORY_BYTES_MAX // 2 :]
    # An entry begins with an empty line and a comment with its time.
    path.write_bytes(latest[max(latest.find(b"\n\n# ") + 1, 0) :])
