"""Deleting sessions over HTTP: what is answered as done is done."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

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
