"""A tool that asks first: the person decides in its card."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from ui.conftest import Pages, Server, is_idle, say


def asked(pages: Pages, server: Server) -> tuple[Page, str]:
    session_id = server.session(approval={"write_file": "ask"})
    page = pages.open(server, f"/s/{session_id}")
    say(page, "tools")
    expect(page.get_by_role("region", name="Tool write_file, waiting for you")).to_be_visible()
    return page, session_id


def written(server: Server, session_id: str) -> list[str]:
    listed = server.ask("GET", f"/v1/sessions/{session_id}/workspace/")["files"]
    return [file["path"] for file in listed]


def test_allow(pages: Pages, server: Server) -> None:
    page, session_id = asked(pages, server)
    assert written(server, session_id) == []
    page.get_by_role("button", name="Allow", exact=True).click()
    expect(page.get_by_role("region", name="Tool write_file, done")).to_be_visible()
    expect(page.get_by_text("All tools are done.", exact=True)).to_be_visible()
    is_idle(page)
    assert written(server, session_id) == ["notes/haiku.md"]
    expect(page.locator(".message-assistant")).to_have_count(1)


def test_deny(pages: Pages, server: Server) -> None:
    page, session_id = asked(pages, server)
    page.get_by_role("button", name="Deny").click()
    expect(page.get_by_role("region", name="Tool write_file, not run")).to_be_visible()
    expect(page.get_by_text("All tools are done.", exact=True)).to_be_visible()
    assert written(server, session_id) == []


def test_allow_with_other_arguments(pages: Pages, server: Server) -> None:
    page, session_id = asked(pages, server)
    page.get_by_role("button", name="Change arguments").click()
    page.get_by_label("Arguments, as JSON").fill("{nonsense")
    page.get_by_role("button", name="Allow with these").click()
    expect(page.get_by_text("The arguments are not JSON")).to_be_visible()
    page.get_by_label("Arguments, as JSON").fill('{"path": "other.md", "content": "other"}')
    page.get_by_role("button", name="Allow with these").click()
    expect(page.get_by_text("All tools are done.", exact=True)).to_be_visible()
    assert written(server, session_id) == ["other.md"]


def test_it_still_waits_after_a_reload_and_can_be_stopped(pages: Pages, server: Server) -> None:
    page, session_id = asked(pages, server)
    page.reload()
    expect(page.get_by_role("region", name="Tool write_file, waiting for you")).to_be_visible()
    expect(page.get_by_role("button", name="Allow", exact=True)).to_be_enabled()
    page.get_by_label("Stop the answer").click()
    expect(page.get_by_text("You stopped this answer.")).to_be_visible()
    assert written(server, session_id) == []
