"""How a browser gets in: by the printed link, by what a person pastes, and never by another page.

Rule: the codes are made as the command line makes them, in the store, while the server runs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from ui.conftest import Pages, Server, until
from ui.stage import TOKEN


def link_of(server: Server, user_id: str = "default") -> str:
    """A link as `greenroom login-link` prints it."""
    command = [sys.executable, "-m", "greenroom", "login-link", "--home", str(server.home), "--url", server.url]
    command += ["--user", user_id]
    environment = {**os.environ, "GREENROOM_TOKEN": TOKEN}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()


@pytest.fixture
def strange(pages: Pages) -> Page:
    """An empty page in a profile that is not logged in: one of ours would go to the login page while a test leads it elsewhere."""
    pages.expected += ("401",)
    return pages.strange()


def is_in(page: Page) -> None:
    expect(page.get_by_label("Message", exact=True)).to_be_visible()


def is_out(page: Page) -> None:
    expect(page.get_by_role("heading", name="Log in to Greenroom")).to_be_visible()


def cookies(context: BrowserContext) -> list[str]:
    return [cookie["name"] for cookie in context.cookies()]


def test_the_printed_link_is_enough(strange: Page, server: Server) -> None:
    """S10: the link logs the browser in, and neither a code nor a token stays in the address or the history."""
    link = link_of(server)
    strange.goto(link)
    is_in(strange)
    expect(strange).to_have_url(server.url)
    assert "code" not in strange.evaluate("location.href + document.referrer")
    (cookie,) = strange.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    strange.goto("about:blank")
    strange.goto(link)  # again, from the history of the terminal: it is used up, but this browser is in
    is_in(strange)
    strange.context.clear_cookies()
    strange.goto("about:blank")
    strange.goto(link)
    is_out(strange)
    expect(strange.get_by_role("alert")).to_contain_text("has been used")


def test_a_link_whose_user_has_to_wait_can_be_tried_again(strange: Page, pages: Pages, server: Server) -> None:
    """S10's sibling: the server keeps the code after a 429, but the page had thrown it away."""
    pages.expected += ("429",)
    body = '{"error": {"code": "rate_limited", "message": "too many requests", "hint": "wait"}}'
    strange.route("**/v1/login", lambda route: route.fulfill(status=429, body=body), times=1)
    strange.goto(link_of(server))
    expect(strange.get_by_role("alert")).to_contain_text("Too many requests")
    strange.get_by_role("button", name="Log in").click()
    is_in(strange)


def test_a_link_for_a_user_waits_for_a_person(strange: Page, server: Server, pages: Pages) -> None:
    """S10's sibling: opened by a mail program, a scanner or a chat's preview, it stays good."""
    pages.expected += ("409",)
    link = link_of(server, "ann")
    strange.goto(link)
    strange.wait_for_load_state("networkidle")
    assert cookies(strange.context) == []
    strange.goto("about:blank")
    strange.goto(link)
    expect(strange.get_by_role("button", name="Log in")).to_be_focused()
    expect(strange.get_by_text("Continue only if you have just asked for it yourself")).to_be_visible()
    strange.keyboard.press("Enter")
    is_in(strange)


@pytest.mark.parametrize("what", ["token", "link", "code", "old link"])
def test_what_a_person_pastes_logs_in_at_the_address_that_was_asked_for(
    strange: Page, server: Server, what: str
) -> None:
    session_id = server.session(title="Here it is")
    server.tell(session_id, "Hello there")
    link = link_of(server)
    given = {
        "token": f"  {TOKEN}\n",
        "link": link,
        "code": link.partition("code=")[2],
        "old link": f"{server.url}?token={TOKEN}",
    }[what]
    strange.goto(f"{server.url}s/{session_id}")
    is_out(strange)
    field = strange.get_by_label("Token, API key or one-time link")
    expect(field).to_be_focused()
    field.fill("wrong")
    strange.keyboard.press("Enter")
    expect(strange.get_by_role("alert")).to_contain_text("The token is not accepted")
    expect(field).to_be_focused()
    field.fill(given)
    strange.keyboard.press("Enter")
    expect(strange.locator(".message-assistant")).to_contain_text("You said: Hello there")
    expect(strange).to_have_url(f"{server.url}s/{session_id}")


def test_an_old_link_is_told_what_happened(strange: Page, server: Server) -> None:
    """S10: links with a token in the query are not taken any more."""
    strange.goto(f"{server.url}?token={TOKEN}")
    is_out(strange)
    expect(strange.get_by_text("no longer log you in")).to_be_visible()
    expect(strange).to_have_url(server.url)  # the token has left the address
    assert cookies(strange.context) == []


def test_a_page_of_another_site_logs_nobody_in(strange: Page, server: Server) -> None:
    """S9: it led its visitor to a link of the attacker's, and the visitor worked in the attacker's account."""
    link = link_of(server, "mallory")
    evil = f"<a id=go href='{link}'>go</a>"
    strange.route("http://evil.example/", lambda route: route.fulfill(content_type="text/html", body=evil))
    strange.goto("http://evil.example/")
    strange.locator("#go").click()
    is_out(strange)
    expect(strange.get_by_text("Continue only if you have just asked for it yourself")).to_be_visible()
    assert "code" not in strange.url
    strange.wait_for_load_state("networkidle")
    assert cookies(strange.context) == [], "nothing was posted"
    strange.get_by_role("button", name="Log in").click()  # a link in a chat, which the person asked for
    is_in(strange)
    assert cookies(strange.context)


def test_a_link_over_the_address_of_an_open_page_waits_for_a_person(strange: Page, server: Server) -> None:
    """S9's sibling: a page that opened this one may change its fragment later."""
    strange.goto(f"{server.url}login")
    is_out(strange)
    link = link_of(server)
    strange.evaluate("fragment => { location.hash = fragment }", link.partition("#")[2])
    expect(strange.get_by_text("Continue only if you have just asked for it yourself")).to_be_visible()
    strange.wait_for_load_state("networkidle")
    assert cookies(strange.context) == []
    assert "code" not in strange.url
    strange.get_by_role("button", name="Log in").click()
    is_in(strange)


def test_a_link_of_another_site_to_a_session_needs_no_new_login(pages: Pages, server: Server) -> None:
    """The cookie does not come along from another site; the person is in all the same."""
    page = pages.open(server)
    session_id = server.session(title="Linked")
    server.tell(session_id, "Hello there")
    wiki = f"<a id=go href='{server.url}s/{session_id}'>go</a>"
    page.route("http://wiki.example/", lambda route: route.fulfill(content_type="text/html", body=wiki))
    page.goto("http://wiki.example/")
    page.locator("#go").click()
    expect(page.locator(".message-assistant")).to_contain_text("You said: Hello there")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_login_page_is_for_everybody(pages: Pages, server: Server, scheme: str) -> None:
    page = pages.strange(color_scheme=scheme, viewport={"width": 320, "height": 500})
    page.goto(f"{server.url}login")
    is_out(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is cut on a small phone"
    box = page.get_by_role("button", name="Log in").bounding_box()
    assert box is not None
    assert box["height"] >= 44
    assert page.evaluate("getComputedStyle(document.getElementById('credential')).fontSize") == "16px"
    colors = page.evaluate("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]")
    assert colors == (
        ["rgb(28, 33, 29)", "rgb(247, 246, 241)"] if scheme == "light" else ["rgb(236, 239, 233)", "rgb(17, 20, 18)"]
    )


def test_a_page_logs_out_and_one_whose_login_has_ended_says_so(pages: Pages, server: Server) -> None:
    """Logging out forgets what was being written; other tabs find that they are out."""
    page = pages.open(server, f"/s/{server.session()}")
    is_in(page)
    other = pages.tab(page.context)
    other.goto(page.url)
    is_in(other)
    page.get_by_label("Message", exact=True).fill("a secret draft")
    until(lambda: "a secret draft" in page.evaluate("Object.values(localStorage)"), "kept")
    pages.expected += ("401",)  # the other tab may ask for something first
    page.get_by_label("Log out").click()
    is_out(page)
    assert "a secret draft" not in page.evaluate("Object.values(localStorage)"), "the next person may be another user"
    is_out_or_asked = other.get_by_role("heading", name=re.compile("Log in to Greenroom|You are logged out"))
    other.reload()
    expect(is_out_or_asked).to_be_visible()
