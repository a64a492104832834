"""`greenroom serve`: the sessions over HTTP.

Rule: what is printed here lands in journals and histories, so no token is: the address has a one-time code of some minutes.
"""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Sequence
from typing import TYPE_CHECKING

from greenroom.cli.output import OK, note
from greenroom.cli.place import Place
from greenroom.cli.running import managing, run_fast, settings_of, tell_configuration
from greenroom.settings import Settings

if TYPE_CHECKING:
    from greenroom.server.logs import Log, LogWriter


def serve(place: Place, *, host: str | None, port: int | None, opens: bool) -> int:
    """Runs the command.

    Raises:
        GreenroomError: whatever keeps it from being done.
    """
    settings = settings_of(place, host=host, port=port)
    from greenroom.server.logs import LogWriter, log_to_stderr
    from greenroom.server.serving import DEFAULT_PORT, token_of, with_port

    token = token_of(settings)
    chosen = settings.port
    settings = with_port(settings)
    # What the configuration says, `login-link` finds by itself.
    is_configured = host is None and port is None and settings.port == (chosen or DEFAULT_PORT)
    log = log_to_stderr(settings, token)
    # From here on nothing waits for a reader of the output: there may be none.
    tell_configuration(place, lambda text: log.say(note(text)))
    if chosen is None and settings.port != DEFAULT_PORT:
        log.say(note(f"port {DEFAULT_PORT} is taken: this server listens on {settings.port}"))
    output = LogWriter(sys.stdout, waiting_bytes_max=settings.limits.log_waiting_bytes_max)
    try:
        run_fast(_serve(settings, token, log, output, opens=opens, is_configured=is_configured))
    finally:
        output.close()
        log.close()
    return OK


async def _serve(
    settings: Settings, token: str | None, log: Log, output: LogWriter, *, opens: bool, is_configured: bool
) -> None:
    from greenroom.server.access import DEFAULT_USER
    from greenroom.server.serving import serve

    def tell(address: str) -> None:
        output.put(address)
        named = "" if is_configured else f" --url {address.partition('login#')[0]}"
        for line in _hints(settings, token, f"greenroom login-link{named}"):
            log.say(note(line))
        if opens and _has_display():
            webbrowser.open(address)

    async with managing(settings) as manager:
        await serve(
            manager,
            token=token,
            on_listening=tell,
            code_for=DEFAULT_USER if token is not None else None,
            dropped_log_lines=lambda: log.dropped,
        )


def _hints(settings: Settings, token: str | None, link_command: str) -> Sequence[str]:
    """Returns what a person should know who has started the server."""
    from greenroom.server.serving import TOKEN_FILE

    stops = "Ctrl-C stops the server; running answers are finished first"
    if token is None:
        link = f"`{link_command} --user ID` prints a link for one"
        return f"browsers log in there with a key or a signed token; {link}", stops
    minutes = max(1, round(settings.limits.login_code_s_max / 60))
    where = (
        f"{settings.home / TOKEN_FILE} has the token" if settings.token is None else "the token is the configured one"
    )
    return (
        f"the link logs one browser in, within {minutes} min; `{link_command}` prints another",
        f"programs send `Authorization: Bearer <token>`; {where}",
        stops,
    )


def _has_display() -> bool:
    """Without one, Python would open a browser for terminals, in the terminal of the server."""
    return sys.platform in {"darwin", "win32"} or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
