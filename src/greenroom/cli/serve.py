"""`greenroom serve`: the sessions over HTTP.

Rule: prints the address once, with the token that opens it, to whoever started the server, and to nobody else.
"""

from __future__ import annotations

import os
import sys
import webbrowser
from typing import TYPE_CHECKING

from greenroom.cli.output import OK, note, print_note
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
    tell_configuration(place)
    from greenroom.server.logs import LogWriter, log_to_stderr
    from greenroom.server.serving import DEFAULT_PORT, token_of, with_port

    token = token_of(settings)
    is_chosen = settings.port is not None
    settings = with_port(settings)
    if not is_chosen and settings.port != DEFAULT_PORT:
        print_note(f"port {DEFAULT_PORT} is taken: this server listens at {settings.port}")
    log = log_to_stderr(settings, token)
    output = LogWriter(sys.stdout, waiting_bytes_max=settings.limits.log_waiting_bytes_max)
    try:
        run_fast(_serve(settings, token, log, output, opens=opens))
    finally:
        output.close()
        log.close()
    return OK


async def _serve(settings: Settings, token: str | None, log: Log, output: LogWriter, *, opens: bool) -> None:
    from greenroom.server.serving import serve

    def tell(address: str) -> None:
        url = f"{address}?token={token}" if token is not None else address
        output.put(url)
        log.say(note("Ctrl-C stops the server; running answers are finished first"))
        if opens and _has_display():
            webbrowser.open(url)

    async with managing(settings) as manager:
        await serve(manager, token=token, on_listening=tell, dropped_log_lines=lambda: log.dropped)


def _has_display() -> bool:
    """Without one, Python would open a browser for terminals, in the terminal of the server."""
    return sys.platform in {"darwin", "win32"} or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
