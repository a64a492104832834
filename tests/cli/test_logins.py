"""`greenroom login-link` and `greenroom logins`: how a browser gets in, and how it is put out (cases S10, S11)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cli.conftest import Run
from greenroom import AgentManager
from greenroom.runtime.clock import SystemClock
from greenroom.testing.log_conformance.logging_in import login

KEYS = '[[server.api_keys]]\nkey = "b3f1c2d4e5a69788"\nuser = "ann"\n'


def log_in(home: Path, *names: str, user_id: str = "ann", ago_s: float = 60.0, lasts_s: float = 3600.0) -> None:
    """Has browsers logged in, as a server does."""

    async def work() -> None:
        began_ms = SystemClock().now_ms() - int(ago_s * 1000)
        async with AgentManager(home=home) as manager:
            logins = await manager.logins()
            for at, name in enumerate(names):
                entry = login(
                    name, user_id=user_id, created_at_ms=began_ms, seen_at_ms=began_ms + at,
                    ends_at_ms=began_ms + int(lasts_s * 1000), user_agent=f"{name}\x1b[2J",
                )  # fmt: skip
                await logins.add(entry, count_max=9, seen_after_ms=0)

    asyncio.run(work())


def test_a_link_is_for_the_server_as_it_is_configured(run: Run, home: Path) -> None:
    made = run("login-link")
    assert made.out.startswith("http://127.0.0.1:8765/login#code=grc_")
    assert "within 10 min" in made.err
    assert "name its address with --url" in made.err, "which port a server took by itself, only the server knows"
    assert (home / "server-token").read_text(encoding="utf-8") not in made.out + made.err
    assert run("login-link").out != made.out, "each is another one"
    away = run("login-link", "--url", "https://agents.example.com", "--user", "ann", "--json").json
    assert away["url"].startswith("https://agents.example.com/login#code=grc_")
    assert (away["user_id"], away["seconds"]) == ("ann", 600)
    config = home.parent / "greenroom.toml"
    config.write_text('host = "::"\nport = 9000\ntoken = "d41d8cd98f00b204e9800998ecf8427e"\n', encoding="utf-8")
    known = run("login-link", "--config", str(config))
    assert known.out.startswith("http://localhost:9000/login#code=grc_")
    assert "--url" not in known.err


@pytest.mark.parametrize(
    "url", ["agents.example.com", "ftp://a.example", "https://", "https://a.example/?x=1", "https://a.example/#x"]
)
def test_what_is_no_address_of_a_server_is_refused(run: Run, url: str) -> None:
    ran = run("login-link", "--url", url)
    assert ran.code == 2
    assert "is not the address of a server" in ran.err
    assert "https://agents.example.com/" in ran.err


def test_where_there_are_only_users_one_has_to_be_named(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "greenroom.toml"
    config.write_text(KEYS, encoding="utf-8")
    ran = run("login-link", "--config", str(config))
    assert ran.code == 2
    assert "--user" in ran.err
    assert run("login-link", "--config", str(config), "--user", "ann").code == 0
    assert run("login-link", "--user", "a\nb").code == 2


def test_a_store_that_no_other_process_reaches_is_said(run: Run) -> None:
    ran = run("login-link", "--store", "memory://")
    assert ran.code == 2
    assert "in the server's memory" in ran.err


def test_browsers_are_listed_and_logged_out(run: Run, home: Path) -> None:
    assert run("logins", "list").rows == []
    log_in(home, "one", "two")
    log_in(home, "three", user_id="bob", ago_s=59.9995)
    rows = run("logins", "list").rows
    assert [row[:3] for row in rows] == [
        ["login-three", "bob", "token"], ["login-two", "ann", "token"], ["login-one", "ann", "token"],
    ]  # fmt: skip
    assert "\x1b" not in run("logins", "list").out, "what a browser says of itself is shown, and not obeyed"
    listed = run("logins", "list", "--user", "ann", "--json").json["logins"]
    assert [row["login_id"] for row in listed] == ["login-two", "login-one"]
    assert "digest" not in listed[0]
    assert run("logins", "revoke", "login-one", "--user", "bob").code == 1, "bob has no such login"
    assert run("logins", "revoke", "login-one").out == "1 logged out\n"
    ran = run("logins", "revoke", "login-one", "nothing", "--json")
    assert (ran.code, ran.json) == (1, {"revoked": 0, "unknown": ["login-one", "nothing"]})
    assert "there is no login nothing" in ran.err
    assert run("logins", "revoke", "--all", "--user", "bob", "--json").json["revoked"] == 1
    assert run("logins", "revoke", "--all").out == "1 logged out\n"
    assert run("logins", "list").rows == []


def test_a_login_that_has_ended_is_not_listed(run: Run, home: Path) -> None:
    """S11's sibling: the list is of browsers that are logged in, not of rows that nobody has swept yet."""
    log_in(home, "ended", lasts_s=1.0)
    log_in(home, "unused", ago_s=20 * 86400.0, lasts_s=90 * 86400.0)
    log_in(home, "used")
    assert [row[0] for row in run("logins", "list").rows] == ["login-used"]


def test_it_is_said_which_logins_are_meant(run: Run) -> None:
    for words in ((), ("login-one", "--all")):
        ran = run("logins", "revoke", *words)
        assert ran.code == 2
        assert "--all" in ran.err
