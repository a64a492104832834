"""Writing with an input method, pasting, and in scripts that go from right to left."""

from __future__ import annotations

import base64
import json

import pytest
from playwright.sync_api import CDPSession, Page, expect

from ui.conftest import Pages, Server, is_idle, say
from ui.test_workspace import PIXEL

PERSIAN = "سلام دنیا"


def composing(page: Page) -> CDPSession:
    """Begins to choose a word with an input method, in whatever has the focus."""
    session = page.context.new_cdp_session(page)
    session.send("Input.imeSetComposition", {"text": "にほん", "selectionStart": 3, "selectionEnd": 3})
    return session


def key(page: Page, selector: str, name: str, **more: object) -> None:
    """A key as a browser tells it: with `keyCode` 229, or in Safari's order, both of which Chromium never does."""
    page.evaluate(
        """([selector, name, more]) => {
          const at = document.querySelector(selector);
          if (more.ends) at.dispatchEvent(new CompositionEvent('compositionend', {bubbles: true, data: 'x'}));
          const event = new KeyboardEvent('keydown', {key: name, bubbles: true, cancelable: true, ...more});
          if (more.keyCode) Object.defineProperty(event, 'keyCode', {value: more.keyCode});
          at.dispatchEvent(event);
        }""",
        [selector, name, more],
    )


KINDS: list[dict[str, object]] = [{"isComposing": True}, {"keyCode": 229}, {"ends": True}]
"""W2 (nearai/ironclaw#1139, DeepSeek-Reasonix#7919): the three ways in which a key says that it is the input method's."""


def test_keys_of_an_input_method_send_and_stop_nothing(pages: Pages, server: Server) -> None:
    page = pages.open(server, f"/s/{server.session()}")
    say(page, "count 400 50")
    expect(page.locator(".message-assistant")).to_contain_text("w2")
    page.get_by_label("Message", exact=True).fill("half a message")
    for kind in KINDS:
        for name in ("Enter", "Escape", "ArrowUp"):
            key(page, ".composer-text", name, **kind)
            key(page, "body", name, **kind)
        key(page, "body", "?", **kind)
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_have_count(0)
    expect(page.locator(".bubble")).to_have_count(1)
    expect(page.get_by_label("Waiting messages")).to_have_count(0)
    expect(page.get_by_label("Message", exact=True)).to_have_value("half a message")
    expect(page.get_by_label("Stop the answer")).to_be_enabled()
    page.wait_for_timeout(100)  # fingers are slower than the key that ends a composition
    page.keyboard.press("Escape")
    expect(page.get_by_text("You stopped this answer.")).to_be_visible()


@pytest.mark.long
def test_a_composition_in_chromium_itself(pages: Pages, server: Server) -> None:
    page = pages.open(server, f"/s/{server.session()}")
    page.get_by_label("Message", exact=True).focus()
    composing(page)
    page.keyboard.press("Enter")
    expect(page.locator(".bubble")).to_have_count(0)


@pytest.mark.long
def test_keys_of_an_input_method_end_no_edit_no_name_and_no_search(pages: Pages, server: Server) -> None:
    session_id = server.session(title="Before")
    server.tell(session_id, "first")
    page = pages.open(server, f"/s/{session_id}")
    page.get_by_label("Edit message").click()
    page.get_by_role("textbox", name="Edit message").fill("changed")
    for kind in KINDS:
        key(page, ".editor textarea", "Escape", **kind)
        key(page, ".editor textarea", "Enter", **kind)
    expect(page.get_by_role("textbox", name="Edit message")).to_have_value("changed")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("heading", level=1).dblclick()
    page.get_by_label("Name of the session").fill("Half")
    for kind in KINDS:
        key(page, ".rename", "Enter", **kind)
        key(page, ".rename", "Escape", **kind)
    expect(page.get_by_label("Name of the session")).to_have_value("Half")
    page.wait_for_timeout(100)
    page.keyboard.press("Escape")
    page.get_by_label("Search sessions").fill("Bef")
    for kind in KINDS:
        key(page, ".search input", "Escape", **kind)
    expect(page.get_by_label("Search sessions")).to_have_value("Bef")


def test_pasted_text_wins_and_its_picture_is_offered(pages: Pages, server: Server) -> None:
    """W3 (Chainlit/chainlit#743): cells of a spreadsheet come as text and as a picture of themselves."""
    page = pages.open(server, f"/s/{server.session()}")
    page.get_by_label("Message", exact=True).focus()
    is_left_alone = page.evaluate(
        """data => {
          const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
          const transfer = new DataTransfer();
          transfer.setData('text/plain', 'a\\tb');
          transfer.items.add(new File([bytes], 'image.png', { type: 'image/png' }));
          const event = new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true, cancelable: true });
          return document.querySelector('.composer-text').dispatchEvent(event);
        }""",
        base64.b64encode(PIXEL).decode(),
    )
    assert is_left_alone, "the browser pastes the text"
    expect(page.get_by_label("Attachments of this message")).to_have_count(0)
    page.get_by_role("button", name="Attach", exact=True).click()
    expect(page.get_by_label("Attachments of this message")).to_contain_text("image.png")


def test_what_is_written_from_right_to_left_is_shown_so(pages: Pages, server: Server) -> None:
    """W7: each block goes in the direction of its own first letter, code always from left to right."""
    text = f"# {PERSIAN}\n\n{PERSIAN} و `code`\n\n- {PERSIAN}\n- {PERSIAN}\n\n> {PERSIAN}\n\n| {PERSIAN} | b |\n|---|---|\n| {PERSIAN} | c |\n\n```py\nx = '{PERSIAN}'\n```\n\nIn English."
    session_id = server.session(title=PERSIAN)
    page = pages.open(server, f"/s/{session_id}")
    say(page, f"say {json.dumps(text)}")
    is_idle(page)
    direction = "e => getComputedStyle(e).direction"
    prose = page.locator(".message-assistant .prose")
    for place in ("h1", "p", "ul", "li", "blockquote", "table", "td"):
        assert prose.locator(place).first.evaluate(direction) == "rtl", place
    assert prose.locator("p").last.evaluate(direction) == "ltr"
    assert prose.locator("pre").evaluate(direction) == "ltr"
    assert prose.locator(".inline-code").evaluate(direction) == "ltr"
    assert page.locator(".row-title").first.evaluate(direction) == "rtl"
    say(page, PERSIAN)
    is_idle(page)
    assert page.locator(".bubble").last.evaluate(direction) == "rtl"
    page.get_by_label("Message", exact=True).fill(PERSIAN)
    assert page.get_by_label("Message", exact=True).evaluate(direction) == "rtl"


def test_tildes_formulas_and_addresses_stay_what_they_are(pages: Pages, server: Server) -> None:
    """W4 (langgenius/dify#31400), W5 (remarkjs/react-markdown#785), W6 (pingdotgg/t3code#9183), S17."""
    page = pages.open(server, f"/s/{server.session()}")
    text = (
        "~5 minutes to ~10 minutes, a~b~c, ~/x and ~/y, ~~gone~~.\n\n"
        "Mass is \\(m_1 * m_2\\), \\[ x^2_1 * y \\], $a*b*c$ and $$\\sum_i x_i$$; it costs $5 and $10, see \\[1\\].\n\n"
        "$$\na\n= b\n- c\n$$\n\n"
        "见 https://example.org/a。下一句\n\nfirst line\nsecond line\n\n"
        "[https://bank.example](https://evil.example/x) [a bank](https://evil.example/y)"
    )
    say(page, f"say {json.dumps(text)}")
    is_idle(page)
    answer = page.locator(".message-assistant")
    expect(answer.locator("del")).to_have_text(["gone"])
    for kept in (
        "~5 minutes to ~10 minutes, a~b~c, ~/x and ~/y",
        "\\(m_1 * m_2\\)",
        "\\[ x^2_1 * y \\]",
        "$a*b*c$",
        "$$\\sum_i x_i$$",
        "it costs $5 and $10, see [1].",
    ):
        expect(answer).to_contain_text(kept)
    assert answer.locator("em, h1, h2, li").count() == 0
    link = answer.get_by_role("link", name="https://example.org/a")
    expect(link).to_have_attribute("href", "https://example.org/a")
    expect(answer.locator("p").filter(has_text="first line").locator("br")).to_have_count(1)
    expect(answer).to_contain_text("https://bank.example (evil.example)")
    expect(answer).not_to_contain_text("a bank (evil.example)")


def test_an_answer_that_was_cut_off_says_so_and_can_be_continued(pages: Pages, server: Server) -> None:
    """P3 (CherryHQ/cherry-studio#16079): live and after a reload."""
    page = pages.open(server, f"/s/{server.session()}")
    said = page.get_by_text("The answer was cut off at the limit of 256 tokens.")
    say(page, "end length")
    expect(said).to_be_visible()
    page.reload()
    expect(said).to_be_visible()
    page.get_by_role("button", name="Continue", exact=True).click()
    is_idle(page)
    expect(page.locator(".bubble")).to_have_count(2)
    expect(page.get_by_role("button", name="Continue", exact=True)).to_have_count(0)
    ends = {
        "length model_context_window_exceeded": "the context window of the model is full",
        "refusal": "The model declined to answer.",
        "refusal content_filter": "content filter cut the answer off",
        "other": "without saying that it is complete",
    }
    for reason, words in ends.items():
        say(page, f"end {reason}")
        expect(page.locator(".cut-short").last).to_contain_text(words)
        is_idle(page)
        page.reload()
        expect(page.locator(".cut-short").last).to_contain_text(words)
        # There is no room for the rest of an answer that filled the window.
        expect(page.get_by_role("button", name="Continue", exact=True)).to_have_count(0)
