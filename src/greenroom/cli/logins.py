"""`greenroom login-link` and `greenroom logins`: how a browser gets in, and how it is put out again.

They work on the store, which the server looks at for every request: nothing is asked of the server, and what is done here holds at
once for every server over this store.

Rule: who may write to the store may log in as any user; so these commands ask for no token.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from greenroom.cli.output import (
    FAILURE,
    OK,
    Column,
    age,
    is_terminal,
    print_error,
    print_json,
    print_line,
    print_note,
    print_table,
)
from greenroom.cli.place import Place
from greenroom.cli.running import managing, run, settings_of
from greenroom.config import check_user_id
from greenroom.errors import InvalidArgument, InvalidConfig
from greenroom.interfaces import Login
from greenroom.runtime.clock import SystemClock
from greenroom.settings import Settings

_LISTED: Final = (
    Column("ID"),
    Column("USER", style="cyan"),
    Column("WITH"),
    Column("BEGAN", style="dim"),
    Column("USED", style="dim"),
    Column("BROWSER", is_wide=True),
)


def print_login_link(place: Place, *, user: str | None, url: str | None, as_json: bool) -> int:
    """Prints a one-time link."""
    settings = settings_of(place)
    from greenroom.server.access import DEFAULT_USER
    from greenroom.server.serving import login_link, token_of

    if settings.store_url.startswith("memory:"):
        raise InvalidConfig(
            "this store is in the server's memory, out of reach of other processes",
            hint="log in at /login with the token; or use a store on disk",
        )
    address = _address(settings, url)
    token = token_of(settings)
    if user is None and token is None:
        raise InvalidArgument("this server has no token of its own, only users", hint="name one with --user")
    user_id = check_user_id(user if user is not None else DEFAULT_USER)

    async def work() -> str:
        async with managing(settings) as manager:
            return await login_link(address, await manager.logins(), settings, user_id, token=token)

    link = run(work())
    if as_json:
        print_json({"url": link, "user_id": user_id, "seconds": settings.limits.login_code_s_max})
    else:
        print_line(link)
        minutes = max(1, round(settings.limits.login_code_s_max / 60))
        print_note(f"logs one browser in as {user_id}, within {minutes} min")
        if url is None and settings.port is None:
            print_note("for the server at this port; if yours has chosen another one, name its address with --url")
    return OK


def list_logins(place: Place, *, user: str | None, limit: int, as_json: bool) -> int:
    """Prints the browsers that are logged in."""
    from greenroom.server.logins import BrowserLogins, login_data

    settings = settings_of(place)

    async def work() -> Sequence[Login]:
        async with managing(settings) as manager:
            return await BrowserLogins(settings.limits, manager.logins).page(user, limit)

    found = run(work())
    if as_json:
        print_json({"logins": [login_data(login, is_current=False) for login in found]})
        return OK
    now_ms = SystemClock().now_ms()
    rows = [
        (
            login.login_id,
            login.user_id,
            login.basis,
            age(login.created_at_ms, now_ms),
            age(login.seen_at_ms, now_ms),
            login.user_agent,
        )
        for login in found
    ]
    print_table(_LISTED, rows, empty="no browser is logged in")
    return OK


def revoke_logins(place: Place, login_ids: Sequence[str], *, user: str | None, everything: bool, as_json: bool) -> int:
    """Ends logins."""
    if everything == bool(login_ids):
        raise InvalidArgument("name the logins to end, or use --all", hint="`greenroom logins list` shows them")
    settings = settings_of(place)

    async def work() -> tuple[int, list[str]]:
        async with managing(settings) as manager:
            logins = await manager.logins()
            if everything:
                return await logins.remove_all(user), []
            unknown = [login_id for login_id in login_ids if not await logins.remove(user, login_id)]
            return len(login_ids) - len(unknown), unknown

    count, unknown = run(work())
    if as_json:
        print_json({"revoked": count, "unknown": unknown})
    elif is_terminal(sys.stdout) or not unknown:
        print_line(f"{count} logged out")
    for login_id in unknown:
        print_error(f"there is no login {login_id}", "`greenroom logins list` shows them")
    return FAILURE if unknown else OK


def _address(settings: Settings, url: str | None) -> str:
    """Returns the address of the server, with a slash at its end: the one given, else what the configuration says.

    Raises:
        InvalidArgument: it is none.
    """
    if url is None:
        if settings.port == 0:
            raise InvalidArgument("the server's port is not configured", hint="name its address with --url")
        from greenroom.server.serving import DEFAULT_PORT, address_of

        return address_of(settings, settings.port or DEFAULT_PORT)
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.query or parts.fragment:
        raise InvalidArgument(
            f"{url[:200]!r} is not the address of a server", hint="write for example https://agents.example.com/"
        )
    return f"{url.rstrip('/')}/"
