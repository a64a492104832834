"""The commands, their options and their help: everything that `greenroom --help` can show.

A command is imported when it runs, so that help and usage errors come at once.

Rule: declarations only. A function here hands its arguments on to the module of its command.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, Final, Literal

import typer

from greenroom.cli.output import USAGE, print_line
from greenroom.cli.place import Place

_HELP: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_PAGE_MAX: Final = 500

Home = Annotated[str | None, typer.Option("--home", metavar="FOLDER", help="Where everything is kept.")]
Store = Annotated[str | None, typer.Option("--store", metavar="URL", help="The store, for example sqlite:///chat.db.")]
Config = Annotated[str | None, typer.Option("--config", metavar="FILE", help="The configuration file.")]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"] | None,
    typer.Option("--log-level", metavar="LEVEL", help="What to log: debug, info, warning or error."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
User = Annotated[str | None, typer.Option("--user", metavar="ID", help="Only this user's sessions.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=_PAGE_MAX, help="At most so many.")]
SessionId = Annotated[str, typer.Argument(metavar="ID", help="A session's id.")]


# --- how commands are declared ------------------------------------------------------------------------------------------


def _group(name: str, help_text: str) -> typer.Typer:
    # Without rich: it would take longer to load than all the rest of `--help`.
    return typer.Typer(
        name=name, help=help_text, rich_markup_mode=None, add_completion=False, context_settings=dict(_HELP)
    )


def _command(group: typer.Typer, name: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Declares a command; its parameter `place` becomes the options that every command has, before or behind its name."""

    def declare(function: Callable[..., int]) -> Callable[..., int]:
        group.command(name, context_settings=dict(_HELP))(_with_place(function))
        return function

    return declare


def _with_place(function: Callable[..., int]) -> Callable[..., int]:
    @wraps(function)
    def placed(
        ctx: typer.Context, home: str | None, store: str | None, config: str | None, log_level: str | None, **rest: Any
    ) -> int:
        here = Place(home=home, store=store, config=config, log_level=log_level).over(ctx.obj or Place())
        ctx.obj = here
        return function(place=here, **rest)

    # Typer reads the parameters off the signature.
    own = inspect.signature(function, eval_str=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    given = [inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)]
    given += [parameter.replace(kind=keyword) for parameter in own.parameters.values() if parameter.name != "place"]
    for name, annotation in {"home": Home, "store": Store, "config": Config, "log_level": LogLevel}.items():
        given.append(inspect.Parameter(name, keyword, default=None, annotation=annotation))
    placed.__signature__ = own.replace(parameters=given)  # type: ignore[attr-defined]
    placed.__annotations__ = {parameter.name: parameter.annotation for parameter in given}
    return placed


app: Final = _group("greenroom", "Agent sessions that are never lost, corrupted, leaked or run twice.")
sessions: Final = _group("sessions", "List, read, copy, move and delete sessions.")
model: Final = _group("model", "The embedded model, for machines without a key.")
personas: Final = _group("personas", "Who an agent can be.")
logins: Final = _group("logins", "The browsers that are logged in.")
for _group_of_commands in (sessions, logins, model, personas):
    app.add_typer(_group_of_commands)


def _print_version(asked: bool) -> None:  # noqa: FBT001 - the signature of typer's callbacks
    if asked:
        from greenroom import __version__

        print_line(f"greenroom {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    *,
    home: Home = None,
    store: Store = None,
    config: Config = None,
    log_level: LogLevel = None,
    version: Annotated[  # noqa: ARG001 - acts in its callback
        bool, typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Agent sessions that are never lost, corrupted, leaked or run twice."""
    ctx.obj = Place(home=home, store=store, config=config, log_level=log_level)
    _help_without_command(ctx)


@sessions.callback(invoke_without_command=True)
def sessions_group(ctx: typer.Context) -> None:
    """List, read, copy, move and delete sessions. Nothing here starts or continues an answer."""
    _help_without_command(ctx)


@logins.callback(invoke_without_command=True)
def logins_group(ctx: typer.Context) -> None:
    """The browsers that are logged in to a server over this store."""
    _help_without_command(ctx)


@model.callback(invoke_without_command=True)
def model_group(ctx: typer.Context) -> None:
    """The embedded model, for machines without a key."""
    _help_without_command(ctx)


def _help_without_command(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        sys.stderr.write(f"{ctx.get_help()}\n")
        raise typer.Exit(USAGE)


# --- chat ---------------------------------------------------------------------------------------------------------------


@_command(app, "chat")
def chat(
    place: Place,
    *,
    message: Annotated[
        str | None, typer.Option("-m", "--message", metavar="TEXT", help="Ask this, print the answer, and leave.")
    ] = None,
    session: Annotated[
        str | None, typer.Option("--session", metavar="ID", help="Go on with this session; a new id begins one.")
    ] = None,
    backend: Annotated[str | None, typer.Option("--backend", metavar="NAME", help="Who answers.")] = None,
    model_name: Annotated[str | None, typer.Option("--model", metavar="NAME", help="Which model answers.")] = None,
    persona: Annotated[str | None, typer.Option("--persona", metavar="NAME", help="Who it is.")] = None,
    tool: Annotated[
        list[str] | None, typer.Option("--tool", metavar="TOOLSET", help="A further toolset; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Chat with an agent.

    With -m, or with a text in a pipe: one message, and its answer on standard output. Whatever else there is to say goes to
    standard error.
    """
    from greenroom.cli.chat import Wish, chat

    wish = Wish(session_id=session, backend=backend, model=model_name, persona=persona, tools=tuple(tool or ()))
    return chat(place, wish, message=message, as_json=as_json)


# --- serve ----------------------------------------------------------------------------------------------------------------


@_command(app, "serve")
def serve(
    place: Place,
    *,
    host: Annotated[str | None, typer.Option("--host", metavar="NAME", help="Where to listen. [127.0.0.1]")] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="N", min=0, max=65535, help="At which port; 0 for a free one. [8765]"),
    ] = None,
    opens: Annotated[bool, typer.Option("--open", help="Show it in a browser.")] = False,
) -> int:
    """Serve the sessions over HTTP: to browsers, AG-UI and AI SDK front ends, and programs."""
    from greenroom.cli.serve import serve

    return serve(place, host=host, port=port, opens=opens)


@_command(app, "login-link")
def login_link(
    place: Place,
    *,
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="ID", help="The user to log in. [the user of the server's own token]"),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            "--url", metavar="URL", help="Where browsers reach the server. [http://HOST:PORT/ of the configuration]"
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Print a one-time link that logs a browser in to a server over this store."""
    from greenroom.cli.logins import print_login_link

    return print_login_link(place, user=user, url=url, as_json=as_json)


@_command(logins, "list")
def logins_list(place: Place, *, user: User = None, limit: Limit = 50, as_json: Json = False) -> int:
    """List the browsers that are logged in, those used last first."""
    from greenroom.cli.logins import list_logins

    return list_logins(place, user=user, limit=limit, as_json=as_json)


@_command(logins, "revoke")
def logins_revoke(
    place: Place,
    login_ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Ids of logins.")] = None,
    *,
    user: User = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All logins and unused links; with --user, those of one user.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Log browsers out of every server over this store, at once."""
    from greenroom.cli.logins import revoke_logins

    return revoke_logins(place, login_ids or (), user=user, everything=everything, as_json=as_json)


# --- sessions -----------------------------------------------------------------------------------------------------------


@_command(sessions, "list")
def sessions_list(
    place: Place,
    *,
    query: Annotated[
        str | None, typer.Option("--query", metavar="WORDS", help="Only those in which these words occur.")
    ] = None,
    user: User = None,
    limit: Limit = 50,
    cursor: Annotated[str | None, typer.Option("--cursor", metavar="TEXT", help="Of the page before.")] = None,
    as_json: Json = False,
) -> int:
    """List sessions, those changed last first."""
    from greenroom.cli.sessions import list_sessions

    return list_sessions(place, query=query, user=user, limit=limit, cursor=cursor, as_json=as_json)


@_command(sessions, "show")
def sessions_show(
    place: Place,
    session: SessionId,
    *,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only so many of the last messages.")] = None,
    as_json: Json = False,
) -> int:
    """Show a session: what it is set to, and what was said."""
    from greenroom.cli.sessions import show_session

    return show_session(place, session, limit=limit, as_json=as_json)


@_command(sessions, "export")
def sessions_export(
    place: Place,
    session: SessionId,
    *,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="FILE", help="Where to; `-` is standard output. [ID.greenroom.zip]"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: Json = False,
) -> int:
    """Write a session, with its workspace, into a file that another Greenroom can import."""
    from greenroom.cli.sessions import export_session

    return export_session(place, session, output=output, force=force, as_json=as_json)


@_command(sessions, "import")
def sessions_import(
    place: Place,
    file: Annotated[str, typer.Argument(metavar="FILE", help="An exported session; `-` is standard input.")],
    *,
    user: Annotated[str | None, typer.Option("--user", metavar="ID", help="Whose it will be.")] = None,
    as_json: Json = False,
) -> int:
    """Take in an exported session: under the id it had, or a new one if that is taken."""
    from greenroom.cli.sessions import import_session

    return import_session(place, file, user=user, as_json=as_json)


@_command(sessions, "fork")
def sessions_fork(
    place: Place,
    session: SessionId,
    *,
    at_seq: Annotated[
        int | None, typer.Option("--at-seq", min=1, metavar="N", help="Only what was up to this record.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Copy a session, with its workspace, to a new one."""
    from greenroom.cli.sessions import fork_session

    return fork_session(place, session, at_seq=at_seq, as_json=as_json)


@_command(sessions, "delete")
def sessions_delete(
    place: Place,
    session_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Sessions' ids.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> int:
    """Delete sessions, with all they have: messages and workspace. Memories belong to the user and stay."""
    from greenroom.cli.sessions import delete_sessions

    return delete_sessions(place, session_ids, yes=yes, as_json=as_json)


@_command(sessions, "search")
def sessions_search(
    place: Place,
    query: Annotated[list[str], typer.Argument(metavar="WORDS...", help="What to look for; all have to occur.")],
    *,
    user: User = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> int:
    """Search what was said in all sessions, best places first."""
    from greenroom.cli.sessions import search_sessions

    return search_sessions(place, " ".join(query), user=user, limit=limit, as_json=as_json)


# --- what is here -------------------------------------------------------------------------------------------------------


@_command(app, "doctor")
def doctor(
    place: Place,
    *,
    online: Annotated[bool, typer.Option("--online", help="Also ask the providers how many models they have.")] = False,
    as_json: Json = False,
) -> int:
    """Say what works here, what is missing, and what would help."""
    from greenroom.cli.doctor import doctor

    return doctor(place, is_online=online, as_json=as_json)


@_command(app, "usage")
def usage(
    place: Place,
    *,
    user: Annotated[str, typer.Option("--user", metavar="ID", help="Whose.")] = "default",
    days: Annotated[int | None, typer.Option("--days", min=1, help="In so many days, today included.")] = None,
    as_json: Json = False,
) -> int:
    """Say what a user has used in all sessions, also in deleted ones, and the budget."""
    from greenroom.cli.usage import show_usage

    return show_usage(place, user, days=days, as_json=as_json)


@_command(app, "migrate")
def migrate(place: Place, *, as_json: Json = False) -> int:
    """Make the store, or bring it to the version of this program."""
    from greenroom.cli.migrate import migrate

    return migrate(place, as_json=as_json)


@_command(app, "trust")
def trust(
    place: Place,  # noqa: ARG001 - every command has its options; this one needs none of them
    folder: Annotated[
        str | None, typer.Argument(metavar="FOLDER", help="Where the greenroom.toml is. [the working folder]")
    ] = None,
    *,
    forget: Annotated[bool, typer.Option("--forget", help="Stop trusting it.")] = False,
    as_json: Json = False,
) -> int:
    """Trust the greenroom.toml in a folder: it may name servers, tools and places from then on."""
    from greenroom.cli.trust import trust_file

    return trust_file(folder, forget=forget, as_json=as_json)


@_command(model, "pull")
def model_pull(place: Place, *, as_json: Json = False) -> int:
    """Fetch the embedded model (93 MB), unless it is here."""
    from greenroom.cli.model import pull_model

    return pull_model(place, as_json=as_json)


@_command(model, "list")
def model_list(place: Place, *, as_json: Json = False) -> int:
    """List the models that the backend `local` can run."""
    from greenroom.cli.model import list_models

    return list_models(place, as_json=as_json)


@personas.callback(invoke_without_command=True)
def personas_group(
    ctx: typer.Context, *, home: Home = None, config: Config = None, as_json: Json = False
) -> int | None:
    """Who an agent can be: lists the personas; `show` prints one."""
    ctx.obj = Place(home=home, config=config).over(ctx.obj or Place())
    if ctx.invoked_subcommand is not None:
        return None
    from greenroom.cli.catalogues import list_personas

    return list_personas(ctx.obj, as_json=as_json)


@_command(personas, "show")
def personas_show(
    place: Place, name: Annotated[str, typer.Argument(metavar="NAME", help="A persona.")], *, as_json: Json = False
) -> int:
    """Print a persona: its defaults and its text."""
    from greenroom.cli.catalogues import show_persona

    return show_persona(place, name, as_json=as_json)


@_command(app, "toolsets")
def toolsets(place: Place, *, as_json: Json = False) -> int:
    """List the toolsets that a session can have, with their tools."""
    from greenroom.cli.catalogues import list_toolsets

    return list_toolsets(place, as_json=as_json)


@_command(app, "models")
def models(
    place: Place,
    *,
    backend: Annotated[str | None, typer.Option("--backend", metavar="NAME", help="Only this backend's.")] = None,
    as_json: Json = False,
) -> int:
    """Ask the providers for their models, and list them."""
    from greenroom.cli.catalogues import list_offers

    return list_offers(place, backend, as_json=as_json)
