"""`greenroom personas`, `toolsets`, `migrate` and `model`: what a session can be made of, and where it is kept."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from cli.conftest import Run, ids
from greenroom.backends.local.model import EMBEDDED
from greenroom.cli.model import Lines
from greenroom.config import ESSENTIAL_TOOLS


def test_personas(run: Run, home: Path) -> None:
    (home / "personas").mkdir(parents=True)
    (home / "personas" / "pirate.md").write_text(
        "---\ndescription: Says arr\nbackend: claude\n---\nYou are a pirate.\n"
    )
    rows = run("personas").rows
    assert ["pirate", "Says arr"] in rows
    assert "default" in ids(rows)
    document = run("personas", "--json").json["personas"]
    assert {
        "name": "pirate",
        "description": "Says arr",
        "llm_model": None,
        "backend": "claude",
        "tools": [],
    } in document
    assert run("--home", str(home), "personas").rows == rows
    assert run("personas", "--home", str(home)).rows == rows


def test_one_persona(run: Run) -> None:
    ran = run("personas", "show", "default")
    assert ran.code == 0
    assert ran.out.strip()
    assert run("personas", "show", "default", "--json").json["text"].strip() == ran.out.strip()
    ran = run("personas", "show", "nobody")
    assert (ran.code, ran.err.splitlines()[0]) == (2, "error: unknown persona 'nobody'")


def test_toolsets(run: Run) -> None:
    rows = run("toolsets").rows
    assert {row[0] for row in rows} == set(ESSENTIAL_TOOLS)
    assert ["RandomNumberTools", "roll_dice"] in [row[:2] for row in rows]
    assert all(row[2] in {"pure", "idempotent", "once"} and row[3] for row in rows)
    toolsets = run("toolsets", "--json").json["toolsets"]
    assert [toolset["essential"] for toolset in toolsets] == [True] * 4
    assert toolsets[0]["tools"][0]["parameters"]["type"] == "object"


def test_neither_opens_the_store(run: Run, home: Path) -> None:
    run("personas")
    run("toolsets")
    assert not home.exists()


def test_migrate(run: Run, home: Path) -> None:
    assert run("migrate").out.startswith("the store was made, with version ")
    assert run("migrate").out.endswith("nothing was changed\n")
    version = run("migrate", "--json").json["to"]
    assert run("migrate", "--json").json == {
        "action": "none",
        "from": version,
        "to": version,
        "store": f"sqlite:///{home / 'greenroom.db'}",
    }
    assert run("migrate", "--store", "memory://").out == "this kind of store has nothing to migrate\n"


def test_migrate_refuses_what_is_newer(run: Run, home: Path) -> None:
    run("migrate")
    connection = sqlite3.connect(home / "greenroom.db")
    connection.execute("PRAGMA user_version = 9999")
    connection.close()
    ran = run("migrate")
    assert (ran.code, ran.out) == (1, "")
    assert "version 9999" in ran.err


def test_models(run: Run, home: Path) -> None:
    ran = run("model", "list")
    assert (ran.code, ran.rows) == (0, [])
    assert "greenroom model pull" in ran.err
    (home / "models").mkdir(parents=True)
    (home / "models" / EMBEDDED.file_name).write_bytes(b"GGUF" + bytes(100))
    (row,) = run("model", "list").rows
    assert row[1:3] == ["0 MB", "used"]
    (model,) = run("model", "list", "--json").json["models"]
    assert model["used"]
    assert model["file"].endswith(EMBEDDED.file_name)


@pytest.mark.local_model
def test_a_model_that_is_here_is_not_fetched_again(run: Run, home: Path, local_model: Path) -> None:
    (home / "models").mkdir(parents=True)
    path = home / "models" / EMBEDDED.file_name
    path.symlink_to(local_model)
    ran = run("model", "pull")
    assert (ran.code, ran.out, ran.err) == (0, f"{EMBEDDED.name} is here: {path}\n", "")
    assert run("model", "pull", "--json").json["file"] == str(path)


def test_a_model_that_cannot_be_fetched(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    ran = run("model", "pull")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("error: pip cannot download ")


def test_progress_in_a_log_is_ten_lines(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    for done in range(0, 100_000_001, 500_000):
        lines.show(done, 100_000_000)
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "fetching the model: 10 %"
    assert len(told) == 9
    Lines().show(100, 100)
    assert capsys.readouterr().err == "", "what is there already is not worth a line"
