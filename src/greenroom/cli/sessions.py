"""`greenroom sessions`: what is stored, to read, copy, move and delete.

Rule: reading opens no session: nothing is started, recovered or taken over by looking at it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final, TypeVar

import msgspec
import typer

from greenroom.cli.output import (
    FAILURE,
    OK,
    Column,
    age,
    is_terminal,
    on_one_line,
    print_error,
    print_facts,
    print_json,
    print_line,
    print_note,
    print_table,
    print_text,
    terminal,
)
from greenroom.cli.place import Place
from greenroom.cli.running import managing, run, settings_of
from greenroom.cli.telling import lines_of, tell
from greenroom.core.view import Message
from greenroom.errors import InvalidArgument, LimitExceeded, SessionNotFound
from greenroom.interfaces import Page, SearchHit, SessionSummary
from greenroom.manager import AgentManager, ImportedSession
from greenroom.runtime.clock import SystemClock
from greenroom.session_data import session_data

T = TypeVar("T")

_SUFFIX: Final = ".greenroom.zip"
_LISTED: Final = (
    Column("ID"),
    Column("TITLE", is_wide=True),
    Column("MODEL", style="cyan"),
    Column("TURNS", is_number=True),
    Column("CHANGED", style="dim"),
)
_LISTED_IN_PIPE: Final = tuple(
    Column(heading) for heading in ("ID", "TITLE", "BACKEND", "MODEL", "TURNS", "STATUS", "CHANGED")
)
_FOUND: Final = (Column("ID"), Column("SEQ", is_number=True), Column("WHO", style="cyan"), Column("TEXT", is_wide=True))


def list_sessions(
    place: Place, *, query: str | None, user: str | None, limit: int, cursor: str | None, as_json: bool
) -> int:
    """Prints a page of sessions."""

    async def work(manager: AgentManager) -> Page:
        return await manager.list_sessions(user_id=user, query=query, limit=limit, cursor=cursor)

    page = _with_manager(place, work)
    if as_json:
        rows = [_data(session_data(summary, None)) for summary in page.sessions]
        print_json({"sessions": rows, "cursor": page.cursor})
        return OK
    if is_terminal(sys.stdout):
        listed = [_screen_row(summary) for summary in page.sessions]
        narrowed = " like that" if query or user else "; greenroom chat begins one"
        print_table(_LISTED, listed, empty=f"there are no sessions{narrowed}")
    else:
        print_table(_LISTED_IN_PIPE, [_pipe_row(summary) for summary in page.sessions], empty="")
    if page.cursor is not None:
        print_note(f"there are more: --cursor {page.cursor}")
    return OK


def show_session(place: Place, session_id: str, *, limit: int | None, as_json: bool) -> int:
    """Prints a session's data and messages."""

    async def work(manager: AgentManager) -> tuple[dict[str, Any], list[Message]]:
        return await _existing(manager, session_id), await manager.history(session_id)

    session, messages = _with_manager(place, work)
    if limit is not None:
        messages = messages[-limit:]
    if as_json:
        print_json({"session": _data(session), "messages": msgspec.to_builtins(messages)})
        return OK
    print_facts(_facts(session))
    for message in messages:
        if is_terminal(sys.stdout):
            print_line()
            tell(terminal(), message)
        else:
            for line in lines_of(message):
                print_text(line.text)
    return OK


def export_session(place: Place, session_id: str, *, output: str | None, force: bool, as_json: bool) -> int:
    """Writes a session into a file."""
    to_stdout = output == "-"
    if to_stdout and (as_json or is_terminal(sys.stdout)):
        raise InvalidArgument(
            "a bundle is not for a terminal"
            if not as_json
            else "--json and a bundle cannot both go to standard output",
            hint="name a file with -o",
        )
    path = Path(output or f"{session_id}{_SUFFIX}")
    if not to_stdout and not force and path.exists():
        raise InvalidArgument(f"{path.name} is there already", hint="--force replaces it, -o names another file")

    async def work(manager: AgentManager) -> bytes:
        return await manager.export_session(session_id)

    data = _with_manager(place, work)
    if to_stdout:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return OK
    if failure := _written(path, data):
        print_error(f"{path.name} cannot be written: {failure.strerror}", "name another file with -o")
        return FAILURE
    _report({"session_id": session_id, "file": str(path), "bytes": len(data)}, str(path), as_json=as_json)
    return OK


def import_session(place: Place, file: str, *, user: str | None, as_json: bool) -> int:
    """Takes in an exported session."""
    settings = settings_of(place)
    bytes_max = settings.limits.export_bytes_max
    try:
        data = sys.stdin.buffer.read(bytes_max + 1) if file == "-" else _read(Path(file), bytes_max)
    except OSError as error:
        print_error(f"{file} cannot be read: {error.strerror}", "give a file that `greenroom sessions export` wrote")
        return FAILURE
    if len(data) > bytes_max:
        raise LimitExceeded(f"{file} is larger than {bytes_max} bytes, the most that a bundle may have")

    async def work(manager: AgentManager) -> ImportedSession:
        return await manager.import_bundle(data, user_id=user)

    made = _with_manager(place, work)
    notices = [{"code": notice.code, "text": notice.text} for notice in made.notices]
    for notice in made.notices:
        print_note(notice.text)
    _report({"session_id": made.session_id, "notices": notices}, made.session_id, as_json=as_json)
    return OK


def fork_session(place: Place, session_id: str, *, at_seq: int | None, as_json: bool) -> int:
    """Copies a session."""

    async def work(manager: AgentManager) -> str:
        return await manager.fork_session(session_id, at_seq)

    fork_id = _with_manager(place, work)
    _report({"session_id": fork_id, "parent": session_id}, fork_id, as_json=as_json)
    return OK


def delete_sessions(place: Place, session_ids: Sequence[str], *, yes: bool, as_json: bool) -> int:
    """Deletes sessions, after asking; all of them have to exist."""

    async def look(manager: AgentManager) -> list[dict[str, Any]]:
        return [await _existing(manager, session_id) for session_id in dict.fromkeys(session_ids)]

    async def work(manager: AgentManager) -> list[str]:
        return [session_id for session_id in dict.fromkeys(session_ids) if not await _deleted(manager, session_id)]

    sessions = _with_manager(place, look)
    if not yes:
        if not is_terminal(sys.stdin):
            raise InvalidArgument(
                "deleting asks first, and there is nobody to ask", hint="--yes deletes without asking"
            )
        for session in sessions:
            print_note(f"{session['session_id']}  {session['turn_count']} turns  {on_one_line(session['title'])}")
        if not typer.confirm(f"Delete {_counted(len(sessions))} for good?", err=True):
            print_note("nothing was deleted")
            return FAILURE
    left = _with_manager(place, work)
    deleted = [session["session_id"] for session in sessions if session["session_id"] not in left]
    if as_json:
        print_json({"deleted": deleted, "failed": left})
    else:
        for session_id in deleted:
            print_line(session_id)
    if left:
        print_error(f"{_counted(len(left))} could not be deleted: {', '.join(left)}", "--log-level info says more")
    return FAILURE if left else OK


def search_sessions(place: Place, query: str, *, user: str | None, limit: int, as_json: bool) -> int:
    """Prints the places where something was said."""

    async def work(manager: AgentManager) -> Sequence[SearchHit]:
        return await manager.search(query, user_id=user, limit=limit)

    hits = _with_manager(place, work)
    if as_json:
        print_json({"hits": msgspec.to_builtins(hits)})
        return OK
    rows = [(hit.session_id, str(hit.seq), hit.role, hit.snippet) for hit in hits]
    print_table(_FOUND, rows, empty="nothing was found")
    return OK


# --- parts --------------------------------------------------------------------------------------------------------------


def _with_manager(place: Place, work: Callable[[AgentManager], Awaitable[T]]) -> T:
    async def managed() -> T:
        async with managing(settings) as manager:
            return await work(manager)

    settings = settings_of(place)
    return run(managed())


async def _existing(manager: AgentManager, session_id: str) -> dict[str, Any]:
    session = await manager.fetch_session_data(session_id)
    if session is None:
        raise SessionNotFound(session_id)
    return session


async def _deleted(manager: AgentManager, session_id: str) -> bool:
    # It raises nothing by contract, so we look at what came of it.
    await manager.cleanup_session(session_id)
    return await manager.fetch_session_data(session_id) is None


def _data(session: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in session.items() if name != "agent"}


def _screen_row(summary: SessionSummary) -> tuple[str, ...]:
    changed = age(summary.updated_at_ms, SystemClock().now_ms()) if summary.status == "idle" else summary.status
    return summary.session_id, summary.labels.title, summary.config.llm_model, str(summary.turn_count), changed


def _pipe_row(summary: SessionSummary) -> tuple[str, ...]:
    return (
        summary.session_id,
        summary.labels.title,
        summary.config.backend,
        summary.config.llm_model,
        str(summary.turn_count),
        summary.status,
        session_data(summary, None)["updated_at"],
    )


def _facts(session: dict[str, Any]) -> list[tuple[str, str]]:
    usage = session["usage"]
    estimated = " (partly estimated)" if usage.get("estimated") else ""
    cost = "cost not known" if usage["cost_usd"] is None else f"{usage['cost_usd']:.4f} USD"
    return [
        ("session", session["session_id"]),
        ("title", session["title"]),
        ("user", session["user_id"]),
        ("answered by", f"{session['backend']} · {session['llm_model']}"),
        ("persona", session["persona_name"]),
        ("tools", ", ".join(session["tools"])),
        ("status", session["status"]),
        ("turns", str(session["turn_count"])),
        ("tokens", f"{usage['input_tokens']} in, {usage['output_tokens']} out{estimated}, {cost}"),
        ("created", session["created_at"]),
        ("changed", session["updated_at"]),
    ]


def _read(path: Path, bytes_max: int) -> bytes:
    with path.open("rb") as file:
        return file.read(bytes_max + 1)


def _written(path: Path, data: bytes) -> OSError | None:
    """Writes a file whole or not at all."""
    try:
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            except BaseException:
                with suppress(OSError):
                    Path(file.name).unlink()
                raise
    except OSError as error:
        return error
    return None


def _report(document: dict[str, Any], line: str, *, as_json: bool) -> None:
    if as_json:
        print_json(document)
    else:
        print_line(line)


def _counted(number: int) -> str:
    return f"{number} session{'s' if number != 1 else ''}"
