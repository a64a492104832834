"""What can be done in a chat besides talking: lines that begin with a slash.

A change of model, backend, persona or tools is an update of the running session: its history goes along.

Rule: a command changes the session through the manager, and says what is so now.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from greenroom.cli.output import age, shortened
from greenroom.config import ESSENTIAL_TOOLS
from greenroom.errors import InvalidArgument, SessionNotFound
from greenroom.runtime.clock import SystemClock

if TYPE_CHECKING:
    from greenroom.cli.interactive import Chat

_SESSIONS_SHOWN: Final = 10
_TITLE_MAX: Final = 60


class Leave(Exception):
    """The person wants to go."""


class Command(NamedTuple):
    """A slash command.

    Attributes:
        arguments: how it is called, for the help.
        run: does it, with the words behind the name.
        words: what may come behind the name.
    """

    arguments: str
    summary: str
    run: Callable[[Chat, Sequence[str]], Awaitable[None]]
    words: Callable[[Chat], Iterable[str]] = lambda _: ()


async def run_command(chat: Chat, line: str) -> None:
    """Does what the line says.

    Raises:
        InvalidArgument: there is no such command, or it is not called like that.
        Leave: it was the one that leaves.
        GreenroomError: what the manager raises.
    """
    name, *words = line.split()
    command = COMMANDS.get(name)
    if command is None:
        raise InvalidArgument(
            f"unknown command {name}",
            hint="/help lists them; a message that begins with / is sent with a space before it",
        )
    if len(words) > len(command.arguments.split()) and "..." not in command.arguments:
        raise InvalidArgument(f"{name} does not take {' '.join(words)!r}", hint=f"{name} {command.arguments}".rstrip())
    await command.run(chat, words)


def words_of(chat: Chat, before: Sequence[str]) -> Iterable[str]:
    """Returns what may come next in a line that begins with these words."""
    if not before:
        return COMMANDS
    command = COMMANDS.get(before[0])
    return command.words(chat) if command is not None else ()


# --- the commands -------------------------------------------------------------------------------------------------------


async def _help(chat: Chat, _: Sequence[str]) -> None:
    calls = {f"{name} {command.arguments}".rstrip(): command.summary for name, command in COMMANDS.items()}
    width = max(map(len, calls)) + 2
    for call, summary in calls.items():
        chat.say(call.ljust(width) + summary)
    chat.say("")
    chat.say("Enter sends; Alt-Enter begins another line, and pasted lines stay together.", style="dim")
    chat.say("What you type while an answer comes is read before its next step.", style="dim")
    chat.say("Ctrl-C stops an answer; at the empty prompt Ctrl-C twice, or Ctrl-D, leaves.", style="dim")


async def _model(chat: Chat, words: Sequence[str]) -> None:
    if words:
        await chat.update(llm_model=words[0])
    chat.say(f"{chat.session['backend']} · {chat.session['llm_model']}")


async def _backend(chat: Chat, words: Sequence[str]) -> None:
    if not words:
        chat.say(f"{chat.session['backend']} · {chat.session['llm_model']}")
        chat.say(f"there are {', '.join(chat.manager.catalog.backend_names())}", style="dim")
        return
    name, *model = words
    # The model of another backend means nothing to this one.
    suggested = chat.manager.catalog.suggested_model(name)
    named = model[0] if model else await chat.manager.defaults.own_model(name) or suggested
    # A backend without a model of its own: the manager asks it for one, where the one that the session has is none.
    await chat.update(backend=name, **({"llm_model": named} if named else {}))
    await chat.introduce()


async def _persona(chat: Chat, words: Sequence[str]) -> None:
    if words:
        await chat.update(persona_name=words[0])
        chat.say(f"it is {chat.session['persona_name']} now")
        return
    for persona in await chat.manager.catalog.personas():
        mark = "*" if persona.name == chat.session["persona_name"] else " "
        chat.say(f"{mark} {persona.name}: {shortened(persona.description, 100)}")


async def _tools(chat: Chat, words: Sequence[str]) -> None:
    if words:
        tools = [name for name in chat.session["tools"] if name not in ESSENTIAL_TOOLS]
        essential = [name for name in chat.session["tools"] if name in ESSENTIAL_TOOLS]
        for word in words:
            sign, name = word[:1], word[1:]
            changed = essential if name in ESSENTIAL_TOOLS else tools
            if sign == "+" and name not in changed:
                changed.append(name)
            elif sign == "-" and name in changed:
                changed.remove(name)
            elif sign not in {"+", "-"} or not name:
                raise InvalidArgument(f"/tools does not take {word!r}", hint="write +Name or -Name")
        await chat.update(additional_tools=tools, essential_tools=essential)
    for name in chat.session["tools"]:
        toolset = chat.manager.catalog.toolset(name)
        chat.say(f"{name}: {', '.join(tool.spec.name for tool in toolset.tools())}")
    if others := [name for name in chat.manager.catalog.toolset_names() if name not in chat.session["tools"]]:
        chat.say(f"there are also {', '.join(others)}", style="dim")


async def _approval(chat: Chat, words: Sequence[str]) -> None:
    rules: dict[str, str] = dict(chat.session["settings"]["approval"])
    match words:
        case []:
            pass
        case [pattern, "-"]:
            rules.pop(pattern, None)
            await chat.update(approval=rules)
        case [pattern, rule]:
            await chat.update(approval={**rules, pattern: rule})
        case _:
            raise InvalidArgument("/approval takes a pattern and a rule", hint="/approval delete_* ask")
    for pattern, rule in chat.session["settings"]["approval"].items():
        chat.say(f"{pattern}: {rule}")
    if not chat.session["settings"]["approval"]:
        chat.say("no rule: tools are asked about as they declare", style="dim")


async def _sessions(chat: Chat, words: Sequence[str]) -> None:
    if words:
        session = await chat.manager.fetch_session_data(words[0])
        if session is None:
            raise SessionNotFound(words[0])
        await chat.switch_to(session)
        await chat.show_past()
        return
    page = await chat.manager.list_sessions(limit=_SESSIONS_SHOWN)
    for summary in page.sessions:
        mark = "*" if summary.session_id == chat.session_id else " "
        title = shortened(summary.labels.title, _TITLE_MAX)
        chat.say(f"{mark} {summary.session_id}  {age(summary.updated_at_ms, SystemClock().now_ms()):<10}  {title}")


async def _new(chat: Chat, _: Sequence[str]) -> None:
    session = chat.session
    settings: dict[str, Any] = {name: value for name, value in session["settings"].items() if name != "metadata"}
    session_id = await chat.manager.create_session(
        llm_model=session["llm_model"],
        backend=session["backend"],
        persona_name=session["persona_name"],
        additional_tools=[name for name in session["tools"] if name not in ESSENTIAL_TOOLS],
        user_id=session["user_id"],
        **settings,
    )
    made = await chat.manager.fetch_session_data(session_id)
    assert made is not None, "it was made just now"
    await chat.switch_to(made)


async def _history(chat: Chat, _: Sequence[str]) -> None:
    for message in await chat.manager.history(chat.session_id):
        chat.tell(message)


async def _quit(_: Chat, __: Sequence[str]) -> None:
    raise Leave


def _tool_words(chat: Chat) -> list[str]:
    names = chat.manager.catalog.toolset_names()
    return [f"-{name}" if name in chat.session["tools"] else f"+{name}" for name in names]


COMMANDS: Final[dict[str, Command]] = {
    "/help": Command("", "this list", _help),
    "/model": Command("[NAME]", "show or change the model", _model),
    "/backend": Command(
        "[NAME] [MODEL]", "show or change who answers", _backend, lambda chat: chat.manager.catalog.backend_names()
    ),
    "/persona": Command("[NAME]", "show or change who it is", _persona, lambda chat: chat.persona_names),
    "/tools": Command("[+NAME] [-NAME] ...", "show, add or remove toolsets", _tools, _tool_words),
    "/approval": Command(
        "[PATTERN] [RULE]", "show or set whether calls are asked about: allow, ask, deny, or - for no rule", _approval
    ),
    "/sessions": Command("[ID]", "list the latest sessions, or go on in another", _sessions),
    "/new": Command("", "begin a new session with the same settings", _new),
    "/history": Command("", "show all that was said in this session", _history),
    "/quit": Command("", "leave; the session is kept", _quit),
}
