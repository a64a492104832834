"""A tool that asks first: the person decides in its card."""

from __future__ import annotations

import json

import pytest
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


@pytest.mark.long
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


@pytest.mark.long
def test_it_still_waits_after_a_reload_and_can_be_stopped(pages: Pages, server: Server) -> None:
    page, session_id = asked(pages, server)
    page.reload()
    expect(page.get_by_role("region", name="Tool write_file, waiting for you")).to_be_visible()
    expect(page.get_by_role("button", name="Allow", exact=True)).to_be_enabled()
    page.get_by_label("Stop the answer").click()
    expect(page.get_by_text("You stopped this answer.")).to_be_visible()
    assert written(server, session_id) == []


def test_what_is_allowed_is_what_is_shown(pages: Pages, server: Server) -> None:
    """S12 of `security.md`: U+202E, sixty newlines, 2,500 characters: all of it is there, and can be seen, before the buttons."""
    content = "harmless" + "\n" * 60 + "rm -rf \u202egnp.exe\u200b" + "x" * 2_500 + "the very end"
    arguments = {"path": "a\u202egpj.exe", "content": content}
    session_id = server.session(approval={"write_file": "ask"})
    page = pages.open(server, f"/s/{session_id}")
    say(page, f"call write_file {json.dumps(arguments)}")
    card = page.get_by_role("region", name="Tool write_file, waiting for you")
    expect(card).to_contain_text("aU+202Egpj.exe")
    expect(card).to_contain_text("59 empty lines")
    expect(card).to_contain_text("rm -rf U+202Egnp.exeU+200B")
    expect(card).to_contain_text("write_file")
    box = card.locator(".field pre").last
    assert box.evaluate("e => e.scrollHeight - e.clientHeight") <= 1, "nothing is out of sight within the box"
    assert box.inner_text().endswith("the very end")
    end = box.bounding_box()
    allow = page.get_by_role("button", name="Allow", exact=True).bounding_box()
    assert end is not None
    assert allow is not None
    assert allow["y"] >= end["y"] + end["height"]
    page.get_by_role("button", name="Change arguments").click()
    draft = page.get_by_label("Arguments, as JSON")
    assert "\\u202e" in draft.input_value()
    page.get_by_role("button", name="Allow with these").click()
    expect(page.get_by_text("All tools are done.", exact=True)).to_be_visible()


def test_names_and_titles_hide_nothing(pages: Pages, server: Server) -> None:
    """S12: titles, too; a title in which nothing can be read is none, and emoji and Persian stay whole."""
    invoice = server.session(title="invoice\u202efdp.exe")
    page = pages.open(server, f"/s/{invoice}")
    expect(page.get_by_role("heading", level=1)).to_have_text("invoiceU+202Efdp.exe")
    server.session(title="\u200b \u2060")
    family = server.session(title="👩‍👩‍👧 ❤️ می‌خواهم")
    page.goto(f"{server.url}s/{family}")
    expect(page.get_by_role("heading", level=1)).to_have_text("👩‍👩‍👧 ❤️ می‌خواهم")
    expect(page.locator(".row-session").filter(has_text="New conversation").first).to_be_visible()
