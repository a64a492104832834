"""The workspace over HTTP: put, listed, fetched, removed; and nothing outside of it."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from greenroom import AgentManager
from greenroom.backends.scripted import ScriptedBackend
from server.asgi import Web
from server.conftest import OTHER, OpenWeb


@pytest.fixture
async def files(web: Web) -> str:
    """Path of a workspace."""
    session_id = (await web.post("/v1/sessions", {})).json()["session_id"]
    return f"/v1/sessions/{session_id}/workspace/"


async def test_a_file_is_put_listed_fetched_and_removed(web: Web, files: str) -> None:
    assert (await web.get(files)).json() == {"files": []}
    assert (await web.ask("PUT", f"{files}notes/a%20b.txt", data=b"one")).status == 201
    assert (await web.ask("PUT", f"{files}notes/a%20b.txt", data=b"two!")).status == 204
    assert (await web.ask("PUT", f"{files}z.bin", data=b"")).status == 201
    listed = (await web.get(files)).json()["files"]
    assert [(row["path"], row["size"]) for row in listed] == [("notes/a b.txt", 4), ("z.bin", 0)]
    assert (await web.get(f"{files}notes")).json()["files"] == listed[:1]
    fetched = await web.get(f"{files}notes/a%20b.txt")
    assert fetched.body == b"two!"
    assert fetched.headers["content-disposition"] == "attachment; filename*=UTF-8''a%20b.txt"
    assert fetched.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in fetched.headers["content-security-policy"]
    assert (await web.ask("DELETE", f"{files}notes")).status == 204
    assert (await web.ask("DELETE", f"{files}notes")).status == 404
    assert (await web.get(f"{files}notes/a%20b.txt")).error == "file_not_found"


async def test_one_users_files_leave_threads_for_others(home: Path) -> None:
    """T6 and S4's sibling: one user's requests for files filled the threads that everybody's work needs."""
    may_go_on = threading.Event()
    async with AgentManager("memory://", home=home, backends={"scripted": ScriptedBackend()}) as manager:
        for user_id in ("ann", "bob"):
            await manager.create_session(existing_session_id=user_id, user_id=user_id, backend="scripted")
        limits = manager.settings.limits
        count = limits.file_threads_max + (os.cpu_count() or 1) + 40
        anns = [
            asyncio.ensure_future(manager.in_workspace("ann", lambda _: may_go_on.wait(60), changes=False))
            for _ in range(count)
        ]
        async with asyncio.timeout(30):
            await manager.in_workspace("bob", lambda folder: folder.write_bytes("b.txt", b"of bob"))
            assert (
                await manager.in_workspace("bob", lambda folder: folder.read_bytes("b.txt"), changes=False) == b"of bob"
            )
            assert await asyncio.to_thread(lambda: "done") == "done"
        assert not any(task.done() for task in anns)
        may_go_on.set()
        assert all(await asyncio.gather(*anns))


@pytest.mark.parametrize(("name", "how"), [("a.png", "inline"), ("a.svg", "attachment"), ("a.html", "attachment")])
async def test_only_what_runs_nothing_is_shown(web: Web, files: str, name: str, how: str) -> None:
    await web.ask("PUT", files + name, data=b"<script>alert(1)</script>")
    shown = await web.get(f"{files}{name}?inline=1")
    assert shown.headers["content-disposition"].startswith(how)


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt", "..", "a/../../secret.txt", "%2e%2e/secret.txt", "%2e%2e%2fsecret.txt", "..%2fsecret.txt", "a/..%2f..%2fsecret.txt",
        "%2fetc%2fpasswd", "/etc/passwd", "a%00b", "%00", "..%5csecret.txt", "a//b", "./a", "a/./b", "~/x", "a%0d%0aset-cookie:x=1",
        "x" * 2000, "/".join("d" * 40), "%ff%fe",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_no_path_leads_out(web: Web, files: str, home: Path, method: str, path: str) -> None:
    await web.ask("PUT", f"{files}inside.txt", data=b"inside")
    secret = home / "workspaces" / "secret.txt"
    secret.write_bytes(b"outside")
    answer = await web.ask(method, files + path, data=b"changed" if method == "PUT" else None)
    assert b"outside" not in answer.body
    assert "set-cookie" not in answer.headers
    assert str(home).encode() not in answer.body
    assert answer.status in {200, 201, 204, 404, 413, 422}, answer.body
    assert secret.read_bytes() == b"outside"
    assert [entry.name for entry in (home / "workspaces").iterdir() if entry.name == "secret.txt"] == ["secret.txt"]
    assert (await web.get(f"{files}inside.txt")).body == b"inside"


async def test_a_link_in_the_workspace_is_not_followed(web: Web, files: str, home: Path) -> None:
    await web.ask("PUT", f"{files}inside.txt", data=b"inside")
    folder = home / "workspaces" / files.split("/")[3]
    (home / "secret").write_bytes(b"outside")
    (folder / "link").symlink_to(home / "secret")
    (folder / "away").symlink_to(home)
    assert (await web.get(f"{files}link")).status == 422
    assert (await web.get(f"{files}away/secret")).status == 422
    await web.ask("PUT", f"{files}link", data=b"changed")
    await web.ask("PUT", f"{files}away/secret", data=b"changed")
    assert (home / "secret").read_bytes() == b"outside"
    assert [row["path"] for row in (await web.get(files)).json()["files"]] == ["inside.txt"]


async def test_a_file_of_the_largest_size_and_one_above(open_web: OpenWeb) -> None:
    web = open_web(config={"limits": {"workspace_file_bytes_max": 1000, "workspace_bytes_max": 2500}})
    session_id = (await web.post("/v1/sessions", {})).json()["session_id"]
    files = f"/v1/sessions/{session_id}/workspace/"
    assert (await web.ask("PUT", f"{files}a", data=b"x" * 1000)).status == 201
    above = await web.ask("PUT", f"{files}b", data=b"x" * 1001)
    assert (above.status, above.error) == (413, "limit_exceeded")
    assert (await web.ask("PUT", f"{files}b", data=b"x" * 1000)).status == 201
    full = await web.ask("PUT", f"{files}c", data=b"x" * 501)
    assert (full.status, full.error) == (413, "limit_exceeded")
    assert len((await web.get(files)).json()["files"]) == 2


async def test_the_files_of_another_user(web: Web, files: str) -> None:
    await web.ask("PUT", f"{files}a", data=b"mine")
    other = web.of(OTHER)
    for method in ("GET", "PUT", "DELETE"):
        assert (
            await other.ask(method, f"{files}a", data=b"x" if method == "PUT" else None)
        ).error == "session_not_found"
    assert (await web.get(f"{files}a")).body == b"mine"


async def test_what_a_tool_writes_can_be_fetched(open_web: OpenWeb) -> None:
    from greenroom.backends.scripted import Call, Say

    web = open_web([[Call("write_file", {"path": "a.txt", "content": "by a tool"})], [Say("done")]])
    session_id = (await web.post("/v1/sessions", {})).json()["session_id"]
    await web.post(f"/v1/sessions/{session_id}/messages", {"message": "write"})
    assert (await web.get(f"/v1/sessions/{session_id}/workspace/a.txt")).body == b"by a tool"
