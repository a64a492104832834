"""Somebody opens the page for the first time.

Rule: the page is used as a person uses it; only what no person sees is asked of the server.
"""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from ui.conftest import Pages, Server, answers, is_idle, say


def test_opening_the_page_is_enough(pages: Pages, server: Server) -> None:
    page = pages.open(server)
    expect(page.get_by_role("heading", name="The stage is yours")).to_be_visible()
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    page.keyboard.type("Hello there")
    page.keyboard.press("Enter")
    expect(page.locator(".message-assistant")).to_contain_text("You said: Hello there")
    is_idle(page)
    expect(page).to_have_url(f"{server.url}s/{page.url.rpartition('/')[2]}")
    expect(page).to_have_title("Hello there – Greenroom")
    expect(page.locator(".row-session").first).to_contain_text("Hello there")


def test_a_beginning_is_put_into_the_field(pages: Pages, server: Server) -> None:
    page = pages.open(server)
    page.get_by_role("button", name="Write a file").click()
    expect(page.get_by_label("Message", exact=True)).to_have_value(
        "Write a short haiku about the sea and save it as haiku.md."
    )
    expect(page.get_by_label("Message", exact=True)).to_be_focused()


def test_what_is_missing_is_said_with_the_remedy(pages: Pages, server: Server) -> None:
    page = pages.open(server)
    page.get_by_label("Model:").click()
    openai = page.get_by_role("region", name="openai", exact=True)
    row = openai.get_by_role("button", name="gpt-6.1-sol OPENAI_API_KEY is not set")
    expect(row).to_have_attribute("aria-disabled", "true")


def test_what_was_begun_is_still_there_after_a_reload(pages: Pages, server: Server) -> None:
    page = pages.open(server)
    page.get_by_label("Message", exact=True).fill("Half a thought")
    page.reload()
    expect(page.get_by_label("Message", exact=True)).to_have_value("Half a thought")


@pytest.mark.long
def test_a_session_that_is_not_there_is_said_to_be_missing(pages: Pages, server: Server) -> None:
    pages.expected += ("404",)
    page = pages.open(server, "/s/nobody")
    expect(page.get_by_text("Nobody here")).to_be_visible()
    page.get_by_role("button", name="New conversation").click()
    say(page, "Hello again")
    is_idle(page)
    assert answers(page) == ["You said: Hello again"]
