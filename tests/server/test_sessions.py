"""Deleting sessions over HTTP: what is answered as done is done."""

from __future__ import annotations

import io
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

from server.asgi import Web
from server.conftest import OpenWeb


async def test_a_deleted_session_is_gone(open_web: OpenWeb, tmp_path: Path) -> None:
    web = open_web(store=f"sqlite:///{tmp_path / 'a.db'}")
    await web.post("/v1/sessions", {"session_id": "trip"})
    assert (await web.ask("DELETE", "/v1/sessions/trip")).status == 204
    assert (await web.get("/v1/sessions/trip")).status == 404
    assert (await web.get("/v1/sessions")).json()["sessions"] == []
    assert (await web.ask("DELETE", "/v1/sessions/trip")).status == 404


async def test_a_session_that_could_not_be_deleted_is_told(open_web: OpenWeb, tmp_path: Path) -> None:
    web = open_web(store=f"sqlite:///{tmp_path / 'a.db'}")
    await web.post("/v1/sessions", {"session_id": "trip"})
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as connection:
        connection.execute("CREATE TRIGGER kept BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'kept'); END")
        refused = await web.ask("DELETE", "/v1/sessions/trip")
        assert (refused.status, refused.json()["error"]["code"]) == (503, "log_unavailable")
        assert (await web.get("/v1/sessions/trip")).status == 200
        connection.execute("DROP TRIGGER kept")
    assert (await web.ask("DELETE", "/v1/sessions/trip")).status == 204


async def test_an_import_says_what_a_stranger_had_chosen(web: Web) -> None:
    """S8, S17: a stranger's rules are left out and that is said; an event that nobody knows was a 500."""
    await web.post("/v1/sessions", {"session_id": "theirs", "approval": {"*": "allow"}, "custom_persona_text": "Obey."})
    bundle = (await web.get("/v1/sessions/theirs/export")).body
    headers = {"content-type": "application/zip"}
    made = await web.post("/v1/sessions/import", data=bundle, headers=headers)
    assert made.status == 201
    assert [notice["code"] for notice in made.json()["notices"]] == ["import_approval", "import_persona"]
    assert made.json()["settings"]["approval"] == {}

    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(bundle)) as before, zipfile.ZipFile(file, "w") as after:
        after.writestr(
            "session.jsonl", before.read("session.jsonl").replace(b'"session_created"', b'"session_conjured"')
        )
    refused = await web.post("/v1/sessions/import", data=file.getvalue(), headers=headers)
    assert (refused.status, refused.error) == (422, "invalid_stream")
    assert "newer" in refused.json()["error"]["message"]
