"""Leaving, losing and coming back: the answer goes on by itself, exactly."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from ui.conftest import Pages, Server, answers, is_idle, say
from ui.stage import words

COUNT = "count 100 40"
"""Four seconds of words."""


def test_a_reload_in_the_middle(pages: Pages, server: Server) -> None:
    page = pages.open(server, f"/s/{server.session()}")
    say(page, COUNT)
    expect(page.locator(".message-assistant")).to_contain_text("w10")
    page.reload()
    expect(page.locator(".message-assistant")).to_contain_text("w30")
    is_idle(page)
    assert answers(page) == [words(100)]
    expect(page.locator(".bubble")).to_have_count(1)


@pytest.mark.long
def test_a_reload_of_the_first_message(pages: Pages, server: Server) -> None:
    page = pages.open(server)
    say(page, COUNT)
    expect(page.locator(".message-assistant")).to_contain_text("w10")
    page.reload()
    is_idle(page)
    assert answers(page) == [words(100)]


@pytest.mark.long
def test_leaving_for_another_session_and_coming_back(pages: Pages, server: Server) -> None:
    page = pages.open(server, f"/s/{server.session()}")
    say(page, COUNT)
    expect(page.locator(".message-assistant")).to_contain_text("w10")
    page.get_by_role("link", name="New conversation").click()
    expect(page.get_by_role("heading", name="The stage is yours")).to_be_visible()
    page.go_back()
    is_idle(page)
    assert answers(page) == [words(100)]


def test_a_server_that_is_killed_and_started_again(pages: Pages, own_server: Server) -> None:
    page = pages.open(own_server, f"/s/{own_server.session()}")
    say(page, COUNT)
    expect(page.locator(".message-assistant")).to_contain_text("w20")
    own_server.kill()
    expect(page.get_by_text("Greenroom does not answer.")).to_be_visible()
    own_server.start()
    is_idle(page)
    expect(page.get_by_text("Greenroom does not answer.")).to_have_count(0)
    assert answers(page) == [words(100)]
    expect(page.locator(".bubble")).to_have_count(1)


def test_a_message_that_the_server_was_not_there_for(pages: Pages, own_server: Server) -> None:
    page = pages.open(own_server, f"/s/{own_server.session()}")
    own_server.kill()
    say(page, "are you there?")
    expect(page.get_by_text("Greenroom does not answer.")).to_be_visible()
    own_server.start()
    expect(page.locator(".message-assistant")).to_contain_text("You said: are you there?")
    is_idle(page)
    expect(page.locator(".bubble")).to_have_count(1)
    page.reload()
    expect(page.locator(".bubble")).to_have_count(1)


def test_losing_the_network(pages: Pages, server: Server) -> None:
    page = pages.open(server, f"/s/{server.session()}")
    page.context.set_offline(True)
    say(page, COUNT)
    expect(page.get_by_text("You are offline.")).to_be_visible()
    page.context.set_offline(False)
    expect(page.get_by_text("Connected again")).to_be_visible()
    is_idle(page)
    assert answers(page) == [words(100)]


def test_two_tabs_stay_in_step(pages: Pages, server: Server) -> None:
    one = pages.open(server, f"/s/{server.session()}")
    two = pages.tab(one.context)
    two.goto(one.url)
    expect(two.get_by_label("Message", exact=True)).to_be_visible()
    say(one, COUNT)
    expect(two.locator(".bubble")).to_have_text(COUNT)
    expect(two.locator(".message-assistant")).to_contain_text("w30")
    is_idle(one)
    is_idle(two)
    assert answers(one) == answers(two) == [words(100)]
    say(two, "and back")
    expect(one.locator(".message-assistant").last).to_contain_text("You said: and back")


@pytest.mark.long
def test_what_is_said_elsewhere_appears(pages: Pages, server: Server) -> None:
    session_id = server.session()
    page = pages.open(server, f"/s/{session_id}")
    expect(page.get_by_label("Message", exact=True)).to_be_visible()
    server.tell(session_id, "said by a program")
    expect(page.locator(".message-assistant")).to_contain_text("You said: said by a program")
