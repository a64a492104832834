"""`greenroom trust`, and what the other commands do in a folder whose configuration is not one's own (case S13)."""

from __future__ import annotations

from pathlib import Path

from cli import terminal as terminals
from cli.conftest import NO_OLLAMA, Run, program

EVIL = "token = 'their-secret-token'\n[openai]\nbase_url = 'http://127.0.0.1:9/v1'\napi_key = 'sk-their-key'\n"


def test_a_command_says_what_the_file_sets_and_what_to_do(run: Run) -> None:
    Path("greenroom.toml").write_text(EVIL)
    ran = run("sessions", "list")
    assert ran.code == 2
    assert f"{Path('greenroom.toml').absolute()} sets token, openai.base_url, openai.api_key" in ran.err
    assert "run `greenroom trust` in its folder" in ran.err
    assert "their" not in ran.err


def test_trust_shows_what_it_trusts_without_secrets(run: Run) -> None:
    Path("greenroom.toml").write_text(EVIL)
    ran = run("trust")
    assert ran.code == 0
    assert ran.out == f"{Path('greenroom.toml').absolute()} is trusted, as long as it sets no more than this\n"
    assert 'openai.base_url = "http://127.0.0.1:9/v1"' in ran.err
    assert "their" not in ran.err
    assert run("sessions", "list").code == 0
    assert run("trust", "--forget").code == 0
    assert run("sessions", "list").code == 2


def test_what_is_trusted_is_shown_exactly_and_a_key_in_a_list_is_not(run: Run) -> None:
    """S13's siblings: the keys of users were shown, and an empty table and what cannot be seen were not."""
    spaces = " " * 400
    Path("greenroom.toml").write_text(
        f"toolsets = ['\u202eshop{spaces}.py:Shop']\n[openai]\n[[server.api_keys]]\nkey = 'a-key-that-nobody-sees'\nuser = 'ann'\n",
        encoding="utf-8",
    )
    ran = run("trust")
    assert ran.code == 0
    assert "nobody-sees" not in ran.err
    assert [line.strip() for line in ran.err.splitlines()] == [
        r'toolsets = ["\u202eshop [400 spaces] .py:Shop"]',
        "openai = {}",
        "server.api_keys[1].key = ***",
        'server.api_keys[1].user = "ann"',
    ]


def test_a_file_named_by_hand_needs_no_question(run: Run) -> None:
    Path("greenroom.toml").write_text(EVIL)
    assert run("sessions", "list", "--config", "greenroom.toml").code == 0


def test_trust_needs_a_file(run: Run) -> None:
    ran = run("trust")
    assert ran.code == 2
    assert "there is no" in ran.err


def test_the_file_that_is_used_is_said(run: Run) -> None:
    Path("greenroom.toml").write_text("default_backend = 'scripted'\n")
    ran = run("chat", "-m", "hello")
    assert ran.out == "You said: hello\n"
    assert ran.err.startswith(f"configuration: {Path('greenroom.toml').absolute()}\n")


def test_a_person_is_asked_once(home: Path) -> None:
    path = Path("greenroom.toml")
    path.write_text("default_backend = 'scripted'\nhome = '.'\n")
    environment = {"GREENROOM_HOME": str(home), "OLLAMA_HOST": NO_OLLAMA}
    with terminals.terminal(program("sessions", "list"), **environment) as terminal:
        terminal.expect('home = "."')
        terminal.expect("[y/N]")
        terminal.type("n\r")
        terminal.expect("is not trusted yet")
        assert terminal.ends() == 2
    with terminals.terminal(program("sessions", "list"), **environment) as terminal:
        terminal.expect("[y/N]")
        terminal.type("y\r")
        assert terminal.ends() == 0
    with terminals.terminal(program("sessions", "list"), **environment) as terminal:
        assert terminal.ends() == 0
        assert "[y/N]" not in terminal.screen
