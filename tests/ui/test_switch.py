"""Changing who answers in the middle of a conversation."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from ui.conftest import Pages, Server, is_idle, say


def test_the_model_is_switched_and_the_conversation_shows_where(pages: Pages, server: Server) -> None:
    session_id = server.session()
    page = pages.open(server, f"/s/{session_id}")
    say(page, "before")
    is_idle(page)
    page.get_by_label("Model:").click()
    page.get_by_label("Find a model").fill("other:grand-9b")
    page.get_by_role("button", name="Use “grand-9b” of other").click()
    expect(page.get_by_label("Model: grand-9b")).to_be_visible()
    divider = page.get_by_role("note").filter(has_text="Switched to grand-9b · other")
    expect(divider).to_be_visible()
    say(page, "after")
    is_idle(page)
    page.reload()
    expect(divider).to_have_count(1)
    order = page.locator(".divider, .bubble").all_text_contents()
    assert order == ["before", "Switched to grand-9b · other", "after"]
    data = server.ask("GET", f"/v1/sessions/{session_id}")
    assert (data["backend"], data["llm_model"], data["config_version"]) == ("other", "grand-9b", 2)


@pytest.mark.long
def test_the_persona_is_switched_while_an_answer_runs(pages: Pages, server: Server) -> None:
    session_id = server.session()
    page = pages.open(server, f"/s/{session_id}")
    say(page, "count 80 40")
    expect(page.locator(".message-assistant")).to_contain_text("w5")
    page.get_by_label("Persona:").click()
    page.get_by_role("button", name="concise").click()
    expect(page.get_by_label("Persona: concise")).to_be_visible()
    is_idle(page)
    say(page, "and now?")
    is_idle(page)
    expect(page.get_by_role("note").filter(has_text="as concise")).to_be_visible()
    assert server.ask("GET", f"/v1/sessions/{session_id}")["persona_name"] == "concise"


def test_what_a_switch_would_cost_is_said_before(pages: Pages, server: Server) -> None:
    session_id = server.session()
    server.tell(session_id, "count 60 1")
    page = pages.open(server, f"/s/{session_id}")

    def choose() -> None:
        page.get_by_label("Model:").click()
        page.get_by_label("Find a model").fill("other:small")
        page.get_by_role("button", name="Use “small” of other").click()

    choose()
    doubt = page.get_by_role("group", name="Before you change it")
    expect(doubt).to_contain_text("tokens, and this model reads 40.")
    expect(doubt).to_contain_text("tokens anew: about $")
    expect(doubt.get_by_role("button", name="Leave it")).to_be_focused()
    page.keyboard.press("Enter")
    expect(doubt).to_have_count(0)
    expect(page.get_by_label("Find a model")).to_be_focused()
    page.get_by_role("button", name="Use “small” of other").click()
    expect(doubt).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_label("Model: demo").click()
    expect(page.get_by_label("Find a model")).to_be_visible()
    expect(doubt).to_have_count(0)
    assert server.ask("GET", f"/v1/sessions/{session_id}")["llm_model"] == "demo", "nothing was changed"
    page.get_by_role("button", name="Use “small” of other").click()
    doubt.get_by_role("button", name="Change it").click()
    expect(page.get_by_label("Model: small")).to_be_visible()
    assert server.ask("GET", f"/v1/sessions/{session_id}")["llm_model"] == "small"


@pytest.mark.long
def test_a_choice_before_the_first_message_counts(pages: Pages, server: Server) -> None:
    page = pages.open(server)
    page.get_by_label("Persona:").click()
    page.get_by_role("button", name="tutor").click()
    say(page, "hello")
    is_idle(page)
    assert server.ask("GET", f"/v1/sessions/{page.url.rpartition('/')[2]}")["persona_name"] == "tutor"


@pytest.mark.long
def test_what_the_server_refuses_is_said_and_changes_nothing(pages: Pages, server: Server) -> None:
    pages.expected += ("422", "400")
    session_id = server.session()
    server.tell(session_id, "hello")
    page = pages.open(server, f"/s/{session_id}")
    page.get_by_label("Model:").click()
    page.get_by_label("Find a model").fill(f"other:{'x' * 300}")
    page.get_by_role("button", name="Use “xxx").click()
    expect(page.get_by_role("dialog", name="Model").get_by_role("alert")).to_contain_text("llm_model")
    page.keyboard.press("Escape")
    expect(page.get_by_label("Model: demo")).to_be_visible()
