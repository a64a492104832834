"""For everybody: by keyboard, by ear, on a phone, in the dark, without motion.

axe is Deque's engine, which finds what a machine can find of WCAG 2.2 AA.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from ui.conftest import Pages, Server, is_idle, say
from ui.test_build import FRONTEND, node

__all__ = ["node"]  # the fixture: axe comes with the packages of npm

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def faults(page: Page) -> list[str]:
    """Returns what axe finds serious or critical."""
    page.evaluate((FRONTEND / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("tags => axe.run(document, {runOnly: tags})", TAGS)
    return [
        f"{each['id']} ({each['impact']}): {each['help']}: {[place['html'][:160] for place in each['nodes'][:3]]}"
        for each in found["violations"]
        if each["impact"] in {"serious", "critical"}
    ]


def _nothing(page: Page) -> None:
    del page


def _conversation(page: Page) -> None:
    say(page, "tour")
    is_idle(page)
    say(page, "tools")
    is_idle(page)
    for head in page.locator(".tool-head").all():
        head.click()


def _failure(page: Page) -> None:
    say(page, "fail")
    expect(page.get_by_role("alert")).to_be_visible()


def _files(page: Page) -> None:
    say(page, "tools")
    is_idle(page)
    page.get_by_label("Files", exact=True).click()
    # Of the panel: the card of the tool has such a button too, and is there before the list is.
    files = page.get_by_role("complementary", name="Files of this session")
    files.get_by_role("button", name="notes/haiku.md").click()
    expect(page.get_by_role("heading", name="Sea")).to_be_visible()


def _models(page: Page) -> None:
    page.get_by_label("Model:").click()
    expect(page.get_by_role("dialog", name="Model")).to_be_visible()


def _menu(page: Page) -> None:
    say(page, "hello")
    is_idle(page)
    page.locator(".session-head").get_by_label("Actions for").click()
    expect(page.get_by_role("menu")).to_be_visible()


def _shortcuts(page: Page) -> None:
    page.get_by_label("Keyboard shortcuts").click()


ACTS = (_nothing, _conversation, _failure, _files, _models, _menu, _shortcuts)
IN_THE_DARK = {_conversation}
"""What every run looks at in the dark, too: it has most of the colours. The long tests look at all of it."""


@pytest.mark.parametrize(
    ("act", "scheme"),
    [
        *((act, "light") for act in ACTS),
        *(pytest.param(act, "dark", marks=() if act in IN_THE_DARK else pytest.mark.long) for act in ACTS),
    ],
)
@pytest.mark.usefixtures("node")
def test_axe_finds_nothing_serious(pages: Pages, server: Server, act: Callable[[Page], None], scheme: str) -> None:
    page = pages.open(server, color_scheme=scheme)
    expect(page.get_by_label("Message", exact=True)).to_be_visible()
    act(page)
    page.wait_for_timeout(300)  # what fades in has its colours then
    assert not faults(page)


@pytest.mark.usefixtures("node")
def test_axe_finds_nothing_serious_on_a_phone(pages: Pages, server: Server) -> None:
    page = pages.open(server, **PHONE)
    _conversation(page)
    assert not faults(page)
    page.get_by_label("Show sessions").click()
    expect(page.get_by_role("navigation", name="Sessions")).to_be_visible()
    page.wait_for_timeout(300)
    assert not faults(page)


def test_everything_by_keyboard(pages: Pages, server: Server) -> None:
    page = pages.open(server)
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    page.keyboard.type("by keyboard")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("second line")
    page.keyboard.press("Enter")
    is_idle(page)
    expect(page.locator(".bubble")).to_have_text("by keyboard\nsecond line")
    page.keyboard.press("ArrowUp")  # in the empty field: edit what was said last
    page.keyboard.press("Control+a")
    page.keyboard.type("changed")
    page.keyboard.press("Enter")
    expect(page.locator(".message-assistant")).to_contain_text("You said: changed")
    is_idle(page)
    page.keyboard.press("/")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Model:")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Find a model")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_label("Model:")).to_be_focused()
    page.keyboard.press("Control+k")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("F2")
    page.keyboard.type("Named by keyboard")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Named by keyboard")).to_be_visible()
    page.keyboard.press("Control+Shift+O")
    expect(page.get_by_role("heading", name="The stage is yours")).to_be_visible()


def test_an_answer_is_announced(pages: Pages, server: Server) -> None:
    page = pages.open(server)
    say(page, "tour")
    is_idle(page)
    expect(page.locator("[data-announcer]")).to_contain_text("End of the answer.")


def test_on_a_phone_nothing_is_cut_off(pages: Pages, server: Server) -> None:
    page = pages.open(server, **PHONE)
    _conversation(page)
    widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1]
    page.get_by_label("Show sessions").click()
    page.locator(".sidebar").get_by_role("link", name="New conversation").click()
    expect(page.locator(".sidebar")).to_have_count(0)
    page.get_by_label("Show sessions").click()
    page.keyboard.press("Escape")
    expect(page.locator(".sidebar")).to_have_count(0)
    for button in page.get_by_role("button").all():
        box = button.bounding_box()
        assert box is None or min(box["width"], box["height"]) >= 24, button.get_attribute("aria-label")


def test_the_dark_follows_the_system(pages: Pages, server: Server) -> None:
    page = pages.open(server, color_scheme="dark")
    brightness = (
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number).reduce((a, b) => a + b) / 3"
    )
    assert page.evaluate(brightness) < 60
    page.emulate_media(color_scheme="light")
    assert page.evaluate(brightness) > 200


def test_motion_is_reduced_on_request(pages: Pages, server: Server) -> None:
    page = pages.open(server, reduced_motion="reduce")
    say(page, "count 30 40")
    expect(page.locator(".message-assistant")).to_be_visible()
    running = page.evaluate("document.getAnimations().filter(a => a.effect.getTiming().iterations === Infinity).length")
    assert running == 0
