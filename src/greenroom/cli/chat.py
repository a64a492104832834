"""`greenroom chat`: opens a session as it was wished for, and talks: one message, or as long as a person likes.

Rule: what is wrong with the command is found before anything is stored.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final, NamedTuple

from greenroom.cli.conversation import Conversation
from greenroom.cli.output import FAILURE, INCOMPLETE, OK, is_terminal, print_error, print_json, print_note
from greenroom.cli.painter import Painter, PipePainter, TerminalPainter
from greenroom.cli.place import Place
from greenroom.cli.running import managing, run_fast, settings_of, tell_configuration
from greenroom.cli.turn import ask
from greenroom.config import DEFAULT_PERSONA
from greenroom.errors import InvalidArgument, LimitExceeded
from greenroom.manager import AgentManager
from greenroom.settings import Settings
from greenroom.usable import answers_for_show

DEMO_NOTICE: Final = "local_demo_model"
"""Code of the notice that says what the introduction has said already."""
_REAL_MODEL: Final = (
    "a very small model for demonstrations: expect wrong answers. For real work set OPENAI_API_KEY or ANTHROPIC_API_KEY, or "
    "run Ollama; `greenroom doctor` says what it finds."
)


class Wish(NamedTuple):
    """What the command line asks for; `None` keeps what the session has, or takes the default."""

    session_id: str | None = None
    backend: str | None = None
    model: str | None = None
    persona: str | None = None
    tools: tuple[str, ...] = ()


class Opened(NamedTuple):
    """A session to talk in.

    Attributes:
        session: its data.
        is_new: it was made for this.
    """

    session: dict[str, Any]
    is_new: bool

    @property
    def session_id(self) -> str:
        """Its id."""
        return str(self.session["session_id"])


def chat(place: Place, wish: Wish, *, message: str | None, as_json: bool) -> int:
    """Runs the command.

    Raises:
        GreenroomError: whatever keeps it from being done.
    """
    settings = settings_of(place)
    tell_configuration(place)
    is_piped = message is None and not is_terminal(sys.stdin)
    if is_piped:
        message = _read_stdin(settings.limits.message_bytes_max)
    if message is None:
        if as_json or not is_terminal(sys.stdout):
            what = "--json is for one message" if as_json else "chatting needs a terminal"
            raise InvalidArgument(what, hint='give a message with -m "...", or pipe one in')
        from greenroom.cli.interactive import converse

        return run_fast(converse(settings, wish))
    if not message.strip():
        raise InvalidArgument("the message is empty", hint='say something: -m "...", or a text in a pipe')
    return run_fast(_one_message(settings, wish, message, as_json=as_json, plain=is_piped))


async def open_session(manager: AgentManager, wish: Wish) -> Opened:
    """Returns the session that was wished for: made, or found and changed as far as the wish says.

    Raises:
        BackendUnavailable: nothing can answer here, or not with the model that was asked for.
        ValueError, EventLogError: as `AgentManager.create_session`.
    """
    existing = await manager.fetch_session_data(wish.session_id) if wish.session_id is not None else None
    named = {"backend": wish.backend, "llm_model": wish.model, "persona_name": wish.persona}
    changes: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if wish.tools:
        changes["additional_tools"] = wish.tools
    if existing is None:
        persona = await manager.catalog.persona(wish.persona or DEFAULT_PERSONA)
        changes = await manager.defaults.applied(changes, persona)
        if "llm_model" not in changes and (model := await default_model(manager, changes["backend"])) is not None:
            changes["llm_model"] = model
    elif (
        wish.backend not in {None, existing["backend"]}
        and wish.model is None
        # The model that it has means nothing to another backend. One without a default, the manager asks for what it has.
        and (model := await default_model(manager, str(wish.backend))) is not None
    ):
        changes["llm_model"] = model
    session_id = wish.session_id
    if existing is None or changes:
        session_id = await manager.create_session(existing_session_id=session_id, **changes)
    session = await manager.fetch_session_data(str(session_id))
    assert session is not None, "it was made or found just now"
    return Opened(session, is_new=existing is None)


async def default_model(manager: AgentManager, backend: str) -> str | None:
    """Returns what to ask a backend for when nobody names a model.

    Raises:
        UnknownBackend: no such backend; names those that exist.
    """
    suggested = manager.catalog.suggested_model(backend)
    return await manager.defaults.own_model(backend) or suggested


async def introduction(session: dict[str, Any], settings: Settings) -> tuple[str, str]:
    """Returns who answers, in one line, and what should be known about that, if anything."""
    parts = [session["backend"], session["llm_model"]]
    if session["persona_name"] != DEFAULT_PERSONA:
        parts.append(session["persona_name"])
    is_demo = session["backend"] == "local" and await asyncio.to_thread(answers_for_show, settings)
    parts.extend(["demo-grade"] if is_demo else [])
    parts.append(f"session {session['session_id']}")
    return " · ".join(parts), f"{session['llm_model']} is {_REAL_MODEL}" if is_demo else ""


async def _one_message(settings: Settings, wish: Wish, message: str, *, as_json: bool, plain: bool) -> int:
    async with managing(settings) as manager:
        opened = await open_session(manager, wish)
        if as_json:
            conversation = await ask(manager, opened.session_id, message, None)
            print_json(_document(opened, conversation))
            return _exit_code(conversation)
        await _introduce(opened, settings)
        painter: Painter
        if plain or not is_terminal(sys.stdout):
            painter = pipe = PipePainter(sys.stdout, known_notices={DEMO_NOTICE})
        else:
            painter, pipe = TerminalPainter(known_notices={DEMO_NOTICE}), None
        conversation = await ask(manager, opened.session_id, message, painter)
    if pipe is not None and pipe.is_spoiled:
        print_error(
            "the answer was begun twice: the output also has the beginning that is void",
            f"greenroom sessions show {opened.session_id} has the answer alone",
        )
        return FAILURE
    return _exit_code(conversation)


async def _introduce(opened: Opened, settings: Settings) -> None:
    line, caution = await introduction(opened.session, settings)
    print_note(line)
    if caution:
        print_note(caution)
    if opened.session["status"] != "idle":
        print_note("the session is still answering; your message comes next")


def _exit_code(conversation: Conversation) -> int:
    assert conversation.ended is not None
    if conversation.ended.outcome != "completed":
        return FAILURE
    return OK if conversation.ended.finish_reason == "stop" else INCOMPLETE


def _document(opened: Opened, conversation: Conversation) -> dict[str, Any]:
    ended = conversation.ended
    assert ended is not None
    return {
        "session_id": opened.session_id,
        "turn_id": conversation.turn_id,
        "backend": opened.session["backend"],
        "llm_model": opened.session["llm_model"],
        "outcome": ended.outcome,
        "finish_reason": ended.finish_reason if ended.outcome == "completed" else None,
        "error": {"code": ended.code, "message": ended.message} if ended.outcome == "failed" else None,
        "text": conversation.text,
        "reasoning": conversation.reasoning,
        "tool_calls": conversation.calls,
        "sources": [{"title": source.title, "url": source.url} for source in conversation.sources],
        "notices": [{"code": notice.code, "text": notice.text} for notice in conversation.notices],
        "usage": list(ended.usage),
    }


def _read_stdin(bytes_max: int) -> str:
    """Returns the whole of standard input, which is one message.

    Raises:
        InvalidArgument: it is not text in UTF-8.
        LimitExceeded: it is longer than a message may be.
    """
    data = sys.stdin.buffer.read(bytes_max + 1) if sys.stdin is not None else b""
    if len(data) > bytes_max:
        raise LimitExceeded(f"the piped text has more than {bytes_max} bytes", hint="send less of it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidArgument(
            f"the piped text is not UTF-8: byte {error.start} cannot be read", hint="convert it, for example with iconv"
        ) from error
