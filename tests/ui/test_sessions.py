"""The list of sessions."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from ui.conftest import Pages, Server, until


def act(page: Page, title: str, action: str) -> None:
    row = page.locator(".row-session").filter(has_text=title).first
    row.hover()
    row.get_by_label("Actions for").click()
    page.get_by_role("menuitem", name=action).click()


def test_search_as_you_type(pages: Pages, server: Server) -> None:
    wanted = server.session(title="Zebra crossing")
    server.session(title="Something else")
    page = pages.open(server)
    expect(page.locator(".row-session").filter(has_text="Something else").first).to_be_visible()
    page.keyboard.press("Control+k")
    page.keyboard.type("zeb")
    expect(page.locator(".row-session")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{server.url}s/{wanted}")
    page.get_by_label("Search sessions").fill("no such thing")
    expect(page.get_by_text("Nothing found for “no such thing”.")).to_be_visible()


@pytest.mark.long
def test_rename(pages: Pages, server: Server) -> None:
    session_id = server.session(title="Old name")
    page = pages.open(server, f"/s/{session_id}")
    act(page, "Old name", "Rename")
    page.get_by_label("Name of the session").fill("New name")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="New name")).to_be_visible()
    until(lambda: server.ask("GET", f"/v1/sessions/{session_id}")["title"] == "New name", "renamed")


@pytest.mark.long
def test_a_title_makes_itself(pages: Pages, server: Server) -> None:
    session_id = server.session()
    server.tell(
        session_id, "how high is the **Eiffel tower**, and why is it painted in three colours from top to bottom?"
    )
    page = pages.open(server, f"/s/{session_id}")
    expect(page.get_by_role("heading", name="how high is the Eiffel tower, and why is it painted in…")).to_be_visible()


@pytest.mark.long
def test_a_copy(pages: Pages, server: Server) -> None:
    session_id = server.session(title="To be copied")
    server.tell(session_id, "hello")
    page = pages.open(server, f"/s/{session_id}")
    act(page, "To be copied", "Make a copy")
    expect(page.get_by_role("heading", name="To be copied (copy)")).to_be_visible()
    expect(page.locator(".message-assistant")).to_contain_text("You said: hello")
    assert not page.url.endswith(session_id)


def test_delete_can_be_undone(pages: Pages, server: Server) -> None:
    session_id = server.session(title="Nearly gone")
    page = pages.open(server, f"/s/{session_id}")
    act(page, "Nearly gone", "Delete")
    expect(page.locator(".row-session").filter(has_text="Nearly gone")).to_have_count(0)
    expect(page).to_have_url(server.url)
    page.get_by_role("button", name="Undo").click()
    expect(page).to_have_url(f"{server.url}s/{session_id}")
    expect(page.locator(".row-session").filter(has_text="Nearly gone")).to_have_count(1)
    assert server.ask("GET", f"/v1/sessions/{session_id}")["title"] == "Nearly gone"


def test_deleted_is_deleted_also_when_the_page_is_closed_at_once(pages: Pages, server: Server) -> None:
    session_id = server.session(title="Really gone")
    page = pages.open(server, f"/s/{session_id}")
    act(page, "Really gone", "Delete")
    page.close()

    def is_gone() -> bool:
        listed = server.ask("GET", "/v1/sessions?query=Really")
        return not any(session["session_id"] == session_id for session in listed["sessions"])

    until(is_gone, "deleted")


def test_export_and_import(pages: Pages, server: Server, tmp_path: Path) -> None:
    session_id = server.session(title="Packed up")
    server.tell(session_id, "hello")
    page = pages.open(server, f"/s/{session_id}")
    with page.expect_download() as download:
        act(page, "Packed up", "Export")
    bundle = tmp_path / "bundle.zip"
    download.value.save_as(bundle)
    page.get_by_label("Sessions to import").set_input_files(bundle)
    expect(page.get_by_text("Imported “Packed up”")).to_be_visible()
    expect(page.locator(".message-assistant")).to_contain_text("You said: hello")
    assert not page.url.endswith(session_id)


def test_what_a_stranger_had_chosen_is_told(pages: Pages, server: Server, tmp_path: Path) -> None:
    """S8 (decision 65): the web UI passes on the notices of an import."""
    session_id = server.session(title="From elsewhere", approval={"*": "allow"})
    server.tell(session_id, "hello")
    page = pages.open(server, f"/s/{session_id}")
    with page.expect_download() as download:
        act(page, "From elsewhere", "Export")
    bundle = tmp_path / "bundle.zip"
    download.value.save_as(bundle)
    page.get_by_label("Sessions to import").set_input_files(bundle)
    expect(page.get_by_text("Left out: rules that let tools run unasked")).to_be_visible()


@pytest.mark.long
def test_what_is_not_an_export_is_refused_in_words(pages: Pages, server: Server, tmp_path: Path) -> None:
    pages.expected += ("422", "400")
    page = pages.open(server)
    wrong = tmp_path / "holiday.png"
    wrong.write_bytes(b"not a bundle")
    page.get_by_label("Sessions to import").set_input_files(wrong)
    expect(page.get_by_text("holiday.png was not imported")).to_be_visible()


@pytest.mark.long
def test_only_what_is_in_view_is_drawn(pages: Pages, own_server: Server) -> None:
    for number in range(260):
        own_server.session(title=f"Session {number:04}")
    page = pages.open(own_server)
    expect(page.locator(".row-session").first).to_contain_text("Session 0259")
    assert page.locator(".row-session").count() < 60
    box = page.locator(".rows-box")
    for _ in range(40):
        box.evaluate("e => { e.scrollTop = e.scrollHeight }")
        if page.get_by_text("Session 0000").count():
            break
        page.wait_for_timeout(100)
    expect(page.get_by_text("Session 0000")).to_be_visible()
    assert page.locator(".row-session").count() < 60
