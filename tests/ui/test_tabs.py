"""Case W11 of `front-ends.md` (freenet/freenet-core#5213): many answering tabs of one browser, over HTTP/1.1 with its six connections.

Rule: a real browser; its tabs are all visible to it, as windows beside each other are.
"""

from __future__ import annotations

import time
from typing import Final

import pytest
from playwright.sync_api import Page, Request, expect

from ui.conftest import Pages, Server, answers, is_idle, say
from ui.stage import words

pytestmark = pytest.mark.timeout(400)

PLACES: Final = 4
"""As in `frontend/src/chat/places.ts`: two of six connections stay for what people do."""
LONG: Final = "count 5000 200"
"""Sixteen minutes: nothing here is freed by an answer that ends."""
PROMPTLY_S: Final = 60.0
"""For many tabs on a machine that does other work as well; without free connections it would be those sixteen minutes."""


class Streams:
    """Counts the streams that are open in a browser."""

    def __init__(self) -> None:
        self.open: set[Request] = set()

    def watch(self, page: Page) -> Page:
        """Counts those of a page, too."""
        page.on("request", self._began)
        page.on("requestfinished", self._ended)
        page.on("requestfailed", self._ended)
        return page

    def _began(self, request: Request) -> None:
        if request.url.endswith(("/api/chat", "/stream")):
            self.open.add(request)

    def _ended(self, request: Request) -> None:
        self.open.discard(request)


@pytest.mark.parametrize("count", [PLACES + 1, pytest.param(8, marks=pytest.mark.long)])
def test_many_answering_tabs(pages: Pages, server: Server, count: int) -> None:
    streams = Streams()
    first = streams.watch(pages.open(server, f"/s/{server.session()}"))
    tabs: list[Page] = [first]
    while len(tabs) < count:
        tab = streams.watch(pages.tab(first.context))
        tab.goto(f"{server.url}s/{server.session()}")
        tabs.append(tab)
    for tab in tabs:
        say(tab, LONG)
        expect(tab.locator(".message-assistant")).to_contain_text("w1")
    for tab in tabs[:-PLACES]:
        expect(tab.get_by_text("Other tabs are following theirs")).to_be_visible()
    assert len(streams.open) == PLACES
    began_s = time.monotonic()
    extra = pages.tab(first.context)
    extra.goto(server.url)
    expect(extra.get_by_label("Message", exact=True)).to_be_visible()
    for tab in (tabs[-1], first, tabs[3]):
        tab.get_by_label("Stop the answer").click()
        expect(tab.get_by_text("You stopped this answer.")).to_be_visible()
        is_idle(tab)
        assert words(5000).startswith(answers(tab)[0])
    assert time.monotonic() - began_s < PROMPTLY_S, "pages load, and Stop arrives"


@pytest.mark.long
def test_a_tab_that_gave_way_follows_again_when_it_is_used(pages: Pages, server: Server) -> None:
    first = pages.open(server, f"/s/{server.session()}")
    say(first, LONG)
    expect(first.locator(".message-assistant")).to_contain_text("w3")
    for _ in range(PLACES):
        tab = pages.tab(first.context)
        tab.goto(f"{server.url}s/{server.session()}")
        say(tab, LONG)
        expect(tab.locator(".message-assistant")).to_contain_text("w1")
    note = first.get_by_text("Other tabs are following theirs")
    expect(note).to_be_visible()
    before = len(answers(first)[0])
    say(first, "and this")
    expect(first.get_by_label("Waiting messages")).to_contain_text("and this")
    expect(note).to_have_count(0)
    grown = "n => document.querySelector('.message-assistant .prose').textContent.length > n + 40"
    first.wait_for_function(grown, arg=before)
    first.get_by_label("Take it back").click()
    expect(first.get_by_label("Waiting messages")).to_have_count(0)
    first.get_by_label("Stop the answer").click()
    expect(first.get_by_text("You stopped this answer.")).to_be_visible()
    assert words(5000).startswith(answers(first)[0])
