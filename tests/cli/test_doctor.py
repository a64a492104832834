"""`greenroom doctor`: what works here and what is missing."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from cli.conftest import Ran, Run, program
from cli.terminal import terminal


def verdicts(ran: Ran) -> dict[str, tuple[str, str, str]]:
    return {row[1]: (row[0], row[2], row[3]) for row in ran.rows}


def test_a_new_machine(run: Run, home: Path) -> None:
    ran = run("doctor")
    found = verdicts(ran)
    assert ran.code == 1, "nothing can answer"
    assert found["home"] == ("ok", f"{home}, made when it is needed", "")
    assert found["store"][0] == "ok"
    assert found["store"][1].endswith(", 0 sessions")
    assert found["OpenAI"] == ("missing", "OPENAI_API_KEY is not set", "export OPENAI_API_KEY=...")
    assert found["Claude"][0] == "missing"
    assert found["Ollama"][0] == "missing"
    assert found["Local model"][2] == "greenroom model pull"
    assert found["default"][0] == "broken"
    assert list(found)[-1] == "default"


def test_a_machine_with_a_key(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-very-secret")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://me:password@proxy.example/claude")
    run("chat", "-m", "x", "--backend", "scripted")
    ran = run("doctor")
    found = verdicts(ran)
    assert ran.code == 0
    assert found["Claude"] == ("ok", "ANTHROPIC_API_KEY is set, and requests go to proxy.example", "")
    assert found["ANTHROPIC_BASE_URL"] == ("ok", "https://me:***@proxy.example/claude", "")
    assert found["store"][1].endswith(", 1 session")
    assert found["default"][1].startswith("Claude (claude with claude-")
    for shown in (ran.out, run("doctor", "--json").out):
        assert "secret" not in shown
        assert "password" not in shown


def test_as_json(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    report = run("doctor", "--json").json
    assert report["ok"]
    assert report["default"] == {"backend": "openai", "llm_model": "gpt-6.1-sol", "reason": "OPENAI_API_KEY is set"}
    assert {finding["verdict"] for finding in report["findings"]} <= {"ok", "missing"}
    assert all(finding["remedy"] for finding in report["findings"] if finding["verdict"] != "ok")


def test_a_damaged_store(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    home.mkdir()
    (home / "greenroom.db").write_bytes(b"this is not a database" * 1000)
    ran = run("doctor")
    assert (ran.code, verdicts(ran)["store"][0]) == (1, "broken")
    assert verdicts(ran)["store"][2]


def test_a_store_of_a_newer_version(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    run("migrate")
    connection = sqlite3.connect(home / "greenroom.db")
    connection.execute("PRAGMA user_version = 9999")
    connection.close()
    ran = run("doctor")
    assert (ran.code, verdicts(ran)["store"][0]) == (1, "broken")
    assert "version 9999" in verdicts(ran)["store"][1]
    assert "upgrade" in verdicts(ran)["store"][2]


def test_a_home_that_is_a_file(run: Run, home: Path) -> None:
    home.write_text("")
    found = verdicts(run("doctor"))
    assert found["home"][0] == "broken"
    assert found["store"][0] == "broken"


def test_a_default_that_does_not_exist(run: Run, tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text('default_backend = "nobody"\n')
    ran = run("doctor", "--config", str(tmp_path / "my.toml"))
    assert (ran.code, verdicts(ran)["default"][0]) == (1, "broken")
    assert verdicts(ran)["configuration"][1].endswith("my.toml")


def test_on_a_terminal() -> None:
    with terminal(program("doctor"), OPENAI_API_KEY="x") as screen:
        screen.expect("✓")
        screen.expect("Greenroom ")
        screen.expect("export ANTHROPIC_API_KEY=...")
        screen.expect("OpenAI (openai with gpt-6.1-sol over the Responses API):")
        screen.expect("OPENAI_API_KEY is set")
        assert screen.ends() == 0
