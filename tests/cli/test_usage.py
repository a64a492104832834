"""`greenroom usage`: what was used, for people and for programs."""

from __future__ import annotations

from pathlib import Path

from cli.conftest import Run


def test_usage_counts_all_sessions_also_deleted_ones(run: Run) -> None:
    assert run("usage").rows == [["user", "default"], ["days", "30"], ["tokens", "0 in, 0 out"], ["cost", "0.0000 USD"]]
    for session in ("a", "b"):
        assert run("chat", "-m", "Hello", "--backend", "scripted", "--session", session).code == 0
    first = run("usage", "--json").json
    assert first["usage"]["output_tokens"] > 0
    assert run("sessions", "delete", "--yes", "a").code == 0
    assert run("usage", "--json").json == first
    assert run("usage", "--user", "ann", "--days", "7", "--json").json["usage"]["output_tokens"] == 0


def test_usage_says_the_budget(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "greenroom.toml"
    config.write_text("[user_budget]\nusd = 2.5\ntokens = 1000\ndays = 1\n", encoding="utf-8")
    assert run("usage", "--config", str(config)).rows[-1] == ["budget", "1000 tokens and 2.5 USD in 1 day"]
    for line in ("days = 3", "usd = -1", "tokens = 'x'", "usd = 1\nday = 2"):
        config.write_text(f"[user_budget]\n{line}\n", encoding="utf-8")
        ran = run("usage", "--config", str(config))
        assert ran.code != 0
        assert "user_budget" in ran.err


def test_days_that_make_no_sense_are_refused(run: Run) -> None:
    assert "3660" in run("usage", "--days", "4000").err
    assert run("usage", "--days", "0").code != 0
