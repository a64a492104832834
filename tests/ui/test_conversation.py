"""What a conversation shows, and what can be done with it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from ui.conftest import Pages, Server, answers, is_idle, say
from ui.stage import words


def test_markdown_is_drawn(pages: Pages, server: Server) -> None:
    page = pages.open(server, f"/s/{server.session()}")
    say(page, "tour")
    is_idle(page)
    answer = page.locator(".message-assistant")
    expect(answer.get_by_role("heading", name="A short tour")).to_be_visible()
    expect(answer.get_by_role("table")).to_be_visible()
    expect(answer.locator(".hljs-keyword").first).to_have_text("def")
    link = answer.get_by_role("link", name="link")
    expect(link).to_have_attribute("rel", re.compile("noopener.*noreferrer"))
    answer.get_by_label("Copy code").click()
    assert page.evaluate("navigator.clipboard.readText()").startswith("def knock(")


@pytest.mark.long
def test_thoughts_are_folded(pages: Pages, server: Server) -> None:
    page = pages.open(server, f"/s/{server.session()}")
    say(page, "think")
    is_idle(page)
    expect(page.get_by_text("I look at it from all sides.")).to_be_hidden()
    page.get_by_text("Thoughts").click()
    expect(page.get_by_text("I look at it from all sides.")).to_be_visible()


def test_tools_are_cards(pages: Pages, server: Server) -> None:
    page = pages.open(server, f"/s/{server.session()}")
    say(page, "tools")
    expect(page.get_by_text("All tools are done.", exact=True)).to_be_visible()
    written = page.get_by_role("region", name="Tool write_file, done")
    expect(written).to_contain_text("notes/haiku.md")
    written.get_by_role("button").first.click()
    expect(written.get_by_text("Waves arrive and leave")).to_be_visible()
    expect(written.get_by_text("Wrote notes/haiku.md")).to_be_visible()
    failed = page.get_by_role("region", name="Tool read_file, failed")
    failed.get_by_role("button").first.click()
    expect(failed).to_contain_text("missing.txt")


def test_an_error_says_what_to_do_and_can_be_retried(pages: Pages, server: Server) -> None:
    page = pages.open(server, f"/s/{server.session()}")
    say(page, "fail")
    failure = page.get_by_role("alert")
    expect(failure).to_contain_text("The provider did not accept the key")
    expect(failure).to_contain_text("Check OPENAI_API_KEY")
    page.get_by_label("Answer again").click()
    expect(page.locator(".message-assistant")).to_have_count(1)
    expect(page.get_by_role("alert")).to_contain_text("Check OPENAI_API_KEY")


def test_stop_stops(pages: Pages, server: Server) -> None:
    session_id = server.session()
    page = pages.open(server, f"/s/{session_id}")
    say(page, "count 1000 50")
    expect(page.locator(".message-assistant")).to_contain_text("w3")
    page.get_by_label("Stop the answer").click()
    expect(page.get_by_text("You stopped this answer.")).to_be_visible()
    is_idle(page)
    shown = answers(page)[0]
    assert words(1000).startswith(shown)
    page.reload()
    expect(page.get_by_text("You stopped this answer.")).to_be_visible()
    assert answers(page) == [shown]
    assert server.ask("GET", f"/v1/sessions/{session_id}")["status"] == "idle"


@pytest.mark.long
def test_escape_stops_too(pages: Pages, server: Server) -> None:
    page = pages.open(server, f"/s/{server.session()}")
    say(page, "count 1000 50")
    expect(page.locator(".message-assistant")).to_contain_text("w2")
    page.keyboard.press("Escape")
    expect(page.get_by_text("You stopped this answer.")).to_be_visible()


def test_an_earlier_message_can_be_edited(pages: Pages, server: Server) -> None:
    session_id = server.session()
    server.tell(session_id, "first", "second")
    page = pages.open(server, f"/s/{session_id}")
    expect(page.locator(".message-assistant")).to_have_count(2)
    page.get_by_label("Edit message").first.click()
    page.get_by_role("textbox", name="Edit message").fill("first, but better")
    page.keyboard.press("Enter")
    expect(page.locator(".message-assistant")).to_have_count(1)
    is_idle(page)
    assert answers(page) == ["You said: first, but better"]
    page.reload()
    expect(page.locator(".bubble")).to_have_text("first, but better")


@pytest.mark.long
def test_an_edit_can_be_sent_in_a_copy(pages: Pages, server: Server) -> None:
    session_id = server.session(title="The original")
    server.tell(session_id, "first", "second")
    page = pages.open(server, f"/s/{session_id}")
    page.get_by_label("Edit message").last.click()
    page.get_by_role("textbox", name="Edit message").fill("second, otherwise")
    page.get_by_role("button", name="Send in a copy").click()
    expect(page.locator(".bubble").last).to_have_text("second, otherwise")
    is_idle(page)
    assert answers(page) == ["You said: first", "You said: second, otherwise"]
    assert not page.url.endswith(session_id)
    page.go_back()
    expect(page.locator(".bubble").last).to_have_text("second")


def test_what_is_said_meanwhile_waits_for_its_turn(pages: Pages, server: Server) -> None:
    page = pages.open(server, f"/s/{server.session()}")
    say(page, "count 60 50")
    expect(page.locator(".message-assistant")).to_contain_text("w2")
    say(page, "and this")
    expect(page.get_by_label("Waiting messages")).to_contain_text("and this")
    expect(page.locator(".bubble")).to_have_count(2)
    is_idle(page)
    expect(page.get_by_label("Waiting messages")).to_have_count(0)
    assert answers(page) == [words(60), "You said: and this"]


@pytest.mark.long
def test_what_waits_can_be_taken_back(pages: Pages, server: Server) -> None:
    page = pages.open(server, f"/s/{server.session()}")
    say(page, "count 100 50")
    expect(page.locator(".message-assistant")).to_contain_text("w2")
    say(page, "on second thoughts")
    page.get_by_label("Take it back").click()
    expect(page.get_by_label("Waiting messages")).to_have_count(0)
    expect(page.get_by_label("Message", exact=True)).to_have_value("on second thoughts")
    is_idle(page)
    expect(page.locator(".bubble")).to_have_count(1)


@pytest.mark.long
def test_what_waits_can_be_told_to_the_running_answer(pages: Pages, server: Server) -> None:
    session_id = server.session()
    page = pages.open(server, f"/s/{session_id}")
    say(page, "count 100 50")
    expect(page.locator(".message-assistant")).to_contain_text("w2")
    say(page, "now please")
    page.get_by_label("Tell the running answer now").click()
    is_idle(page)
    expect(page.get_by_label("Waiting messages")).to_have_count(0)
    said = server.ask("GET", f"/v1/sessions/{session_id}/messages")["messages"]
    assert any("now please" in str(message["parts"]) for message in said)


AT_REST = """async e => {
  for (let still = 0, at = e.scrollTop; still < 12; at = e.scrollTop) {
    await new Promise(requestAnimationFrame);
    still = e.scrollTop === at ? still + 1 : 0;
  }
  return e.scrollTop;
}"""
"""Where something is scrolled to, once the wheel has come to rest."""


@pytest.mark.long
def test_the_reader_is_not_dragged_along(pages: Pages, server: Server) -> None:
    page = pages.open(server, f"/s/{server.session()}")
    say(page, "long 3000 2")
    conversation = page.get_by_role("region", name="Conversation")
    expect(page.locator(".message-assistant")).to_contain_text("word500")
    gap = "e => e.scrollHeight - e.scrollTop - e.clientHeight"
    assert conversation.evaluate(gap) < 100
    conversation.hover()
    page.mouse.wheel(0, -600)
    expect(page.get_by_role("button", name="Follow the answer")).to_be_visible()
    before = conversation.evaluate(AT_REST)
    expect(page.locator(".message-assistant")).to_contain_text("word900")
    assert abs(conversation.evaluate("e => e.scrollTop") - before) < 5
    page.get_by_role("button", name="Follow the answer").click()
    expect(page.locator(".message-assistant")).to_contain_text("word1300")
    assert conversation.evaluate(gap) < 100


@pytest.mark.long
def test_usage_is_shown_quietly(pages: Pages, server: Server) -> None:
    session_id = server.session()
    server.tell(session_id, "hello")
    page = pages.open(server, f"/s/{session_id}")
    expect(page.locator(".session-usage")).to_contain_text("tokens")
    expect(page.locator(".message-assistant .message-note")).to_contain_text(re.compile(r"\d+ in · \d+ out"))
