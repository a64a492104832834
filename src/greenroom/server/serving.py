"""`greenroom serve`: uvicorn around the application, from the address it listens at to the last open stream.

Rule: whoever stops the server with SIGTERM or Ctrl-C stops no turn that can be finished in time, and loses none that cannot.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec
import uvicorn

from greenroom.errors import InvalidConfig
from greenroom.interfaces import LoginBasis, Logins
from greenroom.manager import AgentManager
from greenroom.server.access import DEFAULT_USER, Access
from greenroom.server.app import App
from greenroom.server.connection import bounded
from greenroom.server.gate import is_loopback
from greenroom.server.logins import new_code
from greenroom.server.pauses import keep_short
from greenroom.server.proxies import Proxies
from greenroom.server.signed import Keys, fetch_over_http
from greenroom.server.strength import CHARACTERS_MIN, weakness
from greenroom.settings import Settings

logger: Final = logging.getLogger("greenroom")

TOKEN_FILE: Final = "server-token"  # noqa: S105 - the name of the file
DEFAULT_PORT: Final = 8765
_PORTS_TRIED: Final = 20
_ALL_ADDRESSES: Final = {"0.0.0.0": "localhost", "::": "localhost"}  # noqa: S104 - is replaced
_STREAMS_END_S_MAX: Final = 5
_BACKLOG: Final = 1024


class Server(uvicorn.Server):
    """Uvicorn that lets turns finish before it closes connections."""

    def __init__(self, config: uvicorn.Config, app: App, on_listening: Callable[[int], Awaitable[None]]) -> None:
        super().__init__(config)
        self._app = app
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to listen, and says so."""
        await super().startup(sockets)
        if sockets and not self.should_exit:
            await self._on_listening(sockets[0].getsockname()[1])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stops; at the second Ctrl-C at once. The signal is not raised again behind it: the server has done what it asked for."""
        del frame
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drains, then closes what is left."""
        await self._app.drain()
        await super().shutdown(sockets)


def make_app(manager: AgentManager, *, token: str | None, dropped_log_lines: Callable[[], int] = lambda: 0) -> App:
    """Returns the application over a manager.

    Args:
        manager: whose sessions are served.
        token: as `token_of` returns it.
        dropped_log_lines: returns how many lines of the log were not written, for `/metrics`.

    Raises:
        InvalidConfig: the settings of the access contradict themselves.
    """
    jwt = manager.settings.server.jwt
    keys = Keys(jwt.jwks_url, fetch_over_http) if jwt is not None and jwt.jwks_url is not None else None
    check_secrets(manager.settings, token)
    access = Access(manager.settings, token=token, logins=manager.logins, keys=keys)
    return App(manager, access, dropped_log_lines=dropped_log_lines)


async def serve(
    manager: AgentManager,
    *,
    token: str | None,
    on_listening: Callable[[str], None],
    code_for: str | None = None,
    dropped_log_lines: Callable[[], int] = lambda: 0,
) -> None:
    """Serves until a signal says to stop. For a process that does nothing else: sets up the whole interpreter (`pauses`).

    Args:
        manager: closed at the end.
        token: as `token_of` returns it.
        on_listening: called with the address, once it can be asked. It may not wait for anybody to read what it says.
        code_for: the user as whom the address logs in the browser that opens it first, within some minutes; `None` for an address that
            logs nobody in.
        dropped_log_lines: as `make_app`.

    Raises:
        InvalidConfig: the address is taken or not one of this machine.
    """
    settings = manager.settings
    app = make_app(manager, token=token, dropped_log_lines=dropped_log_lines)
    listening = _bound(settings)
    config = uvicorn.Config(
        app,
        http=bounded(settings.limits, is_exempt=partial(_is_many_clients, Proxies(settings.server.trusted_proxies))),
        ws="none",
        loop="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_STREAMS_END_S_MAX,
        backlog=_BACKLOG,
    )

    async def listens(port: int) -> None:
        address = address_of(settings, port)
        if code_for is not None:
            address = await login_link(address, await manager.logins(), settings, code_for, token=token)
        on_listening(address)

    app.place.tasks.keep(partial(keep_short, lambda: manager.running_turns), name="collect garbage")
    try:
        await Server(config, app, listens).serve(sockets=[listening])
    finally:
        await app.place.tasks.end()
        listening.close()


def address_of(settings: Settings, port: int) -> str:
    """Returns the address of a server for browsers of its machine, with a slash at its end."""
    host = _ALL_ADDRESSES.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


async def login_link(address: str, logins: Logins, settings: Settings, user_id: str, *, token: str | None) -> str:
    """Returns an address that logs the browser in that opens it first, within some minutes.

    The code stands in the fragment, which browsers send to nobody. A link for the user of the server's own token rests on that token:
    what was logged in with it ends when the token changes.

    Args:
        address: of the server, with a slash at its end.
        logins: of its store.
        settings: of the installation.
        user_id: as whom.
        token: of the server.
    """
    basis: LoginBasis = "token" if user_id == DEFAULT_USER and token is not None else "operator"
    code = await new_code(logins, user_id, basis, settings.limits)
    return f"{address}login#code={code}"


def check_secrets(settings: Settings, token: str | None) -> None:
    """Accepts the secrets that people chose, where other machines may try them: also behind a proxy, which the settings tell of.

    Raises:
        InvalidConfig: one of them can be guessed.
    """
    if is_loopback(settings.host) and not (settings.server.hosts or settings.server.trusted_proxies):
        return
    secrets_ = {"the token": token}
    secrets_ |= {f"server.api_keys: number {at}": key.key for at, key in enumerate(settings.server.api_keys, start=1)}
    if settings.server.jwt is not None:
        secrets_["server.jwt.secret"] = settings.server.jwt.secret
    for name, secret in secrets_.items():
        if secret is not None and (why := weakness(secret)) is not None:
            raise InvalidConfig(
                f"{name} {why}, and this server can be reached from other machines",
                hint="make one with: openssl rand -hex 32",
            )


def token_of(settings: Settings) -> str | None:
    """Returns the token of this server: the configured one, else one that is made and kept in the home folder.

    Where there are keys or JWTs, there is no token unless one is configured. Touches files: not on an event loop.

    Raises:
        InvalidConfig: the server would listen to other machines without anybody having chosen who may come in; the home folder
            cannot be used.
    """
    if settings.token is not None:
        if len(settings.token) < CHARACTERS_MIN:
            raise InvalidConfig(
                f"the token is shorter than {CHARACTERS_MIN} characters", hint="make one with: openssl rand -hex 32"
            )
        return settings.token
    if settings.server.api_keys or settings.server.jwt is not None:
        return None
    if not is_loopback(settings.host):
        raise InvalidConfig(
            f"{settings.host} can be reached from other machines, and nobody has said who may come in",
            hint="set GREENROOM_TOKEN, or server.api_keys or server.jwt in greenroom.toml; or listen at 127.0.0.1",
        )
    try:
        return _kept(settings.home / TOKEN_FILE)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise InvalidConfig(
            f"the token cannot be kept in {settings.home / TOKEN_FILE}: {why}",
            hint="set GREENROOM_HOME to a folder that can be written to, or GREENROOM_TOKEN",
        ) from error


def _is_many_clients(proxies: Proxies, address: str) -> bool:
    """Returns whether many clients come from an address: all of a Unix socket, and of a proxy, on this machine or a trusted one."""
    return not address or is_loopback(address) or proxies.are_at(address)


def with_port(settings: Settings) -> Settings:
    """Returns the settings with the port to listen at: the one that was chosen, else the first of ours that is free.

    Raises:
        InvalidConfig: none of ours is free, or the host is not an address of this machine.
    """
    if settings.port is not None:
        return settings
    for port in range(DEFAULT_PORT, DEFAULT_PORT + _PORTS_TRIED):
        candidate = msgspec.structs.replace(settings, port=port)
        try:
            _bound(candidate).close()
        except _Taken:
            continue
        return candidate
    raise InvalidConfig(
        f"the ports {DEFAULT_PORT} to {DEFAULT_PORT + _PORTS_TRIED - 1} are taken", hint="choose another with --port"
    )


def _kept(path: Path) -> str:
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    made = secrets.token_urlsafe(32)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read(path)  # another server was quicker
    with os.fdopen(descriptor, "w") as file:
        file.write(made)
    return made


def _read(path: Path) -> str:
    token = path.read_text(encoding="utf-8").strip()
    if len(token) < CHARACTERS_MIN:
        raise InvalidConfig(f"{path.name} in the home folder holds no token", hint="delete it; a new one is made")
    return token


class _Taken(InvalidConfig):
    """Another program listens there."""


def _bound(settings: Settings) -> socket.socket:
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        if sys.platform != "win32":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(address)
        except BaseException:
            listening.close()
            raise
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        refused = _Taken if getattr(error, "errno", None) == errno.EADDRINUSE else InvalidConfig
        raise refused(
            f"cannot listen at {settings.host}:{settings.port}: {why}", hint="choose another with --port or --host"
        ) from error
    return listening
