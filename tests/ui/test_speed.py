"""How fast it is, where people would notice: while it streams, when it opens, with very many sessions.

Figures are printed (`-rP` shows them) and compared with the bounds that the project has set itself. On a machine that does other work at
the same time they say little.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from ui.conftest import Pages, Server, say

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

FRAME_MS_MAX = 32.0
IDLE_FRAME_MS_MAX = 20.0
OPEN_S_MAX = 1.0


@pytest.fixture(autouse=True)
def _quiet_machine(pages: Pages, own_server: Server) -> None:
    """Skips where even an empty page does not get its frames: what is measured there is the other work."""
    page = pages.open(own_server)
    page.get_by_label("Message", exact=True).wait_for()
    frames = frames_ms(page, 3)
    p95 = frames[int(len(frames) * 0.95)]
    page.close()
    if p95 > IDLE_FRAME_MS_MAX:
        pytest.skip(f"THE MACHINE IS TOO BUSY TO MEASURE: an empty page has a p95 frame of {p95:.0f} ms")


def frames_ms(page: Page, seconds: float) -> list[float]:
    """Returns the times between frames, as the browser traces them while the page wants every frame."""
    events: list[dict[str, Any]] = []
    over: list[bool] = []
    tracing = page.context.new_cdp_session(page)
    tracing.on("Tracing.dataCollected", lambda data: events.extend(data["value"]))
    tracing.on("Tracing.tracingComplete", lambda _: over.append(True))
    page.evaluate("() => { const again = () => requestAnimationFrame(again); again(); }")
    wanted = {"includedCategories": ["devtools.timeline"], "excludedCategories": ["*"]}
    tracing.send("Tracing.start", {"transferMode": "ReportEvents", "traceConfig": wanted})
    page.wait_for_timeout(seconds * 1000)
    tracing.send("Tracing.end")
    while not over:
        page.wait_for_timeout(50)
    at_us = sorted(event["ts"] for event in events if event["name"] == "FireAnimationFrame")
    return sorted((after - before) / 1000 for before, after in itertools.pairwise(at_us))


def test_a_long_answer_streams_without_dropped_frames(pages: Pages, own_server: Server) -> None:
    page = pages.open(own_server, f"/s/{own_server.session()}")
    say(page, "long 20000 5")
    expect(page.locator(".message-assistant")).to_contain_text("word10")
    frames = frames_ms(page, 95)
    p50, p95, p99 = (frames[int(len(frames) * share)] for share in (0.5, 0.95, 0.99))
    print(f"frames: {len(frames)}, p50 {p50:.1f} ms, p95 {p95:.1f} ms, p99 {p99:.1f} ms, longest {frames[-1]:.1f} ms")
    expect(page.locator(".message-assistant")).to_contain_text("word19999", timeout=120_000)
    assert p95 <= FRAME_MS_MAX


def test_a_session_of_2000_messages_opens_at_once(pages: Pages, own_server: Server) -> None:
    session_id = own_server.session(title="Long")
    own_server.tell(session_id, *(f"message {number}" for number in range(1000)))
    page = pages.open(own_server)
    expect(page.get_by_role("heading", name="The stage is yours")).to_be_visible()
    began_s = time.perf_counter()
    page.locator(".row-session").filter(has_text="Long").locator("a").click()
    expect(page.get_by_text("You said: message 999", exact=True)).to_be_visible()
    took_s = time.perf_counter() - began_s
    print(f"a session of 2,000 messages: {took_s:.2f} s")
    assert took_s <= OPEN_S_MAX
    for _ in range(5):  # what is above comes as the reader goes there
        page.get_by_role("region", name="Conversation").evaluate("e => { e.scrollTop = 0 }")
        page.wait_for_timeout(200)
    assert page.locator(".message").count() >= 120


def test_the_page_loads_at_once(pages: Pages, own_server: Server) -> None:
    took = []
    for _ in range(5):
        fresh = pages.open(own_server)  # in a profile of its own, with nothing in its cache
        fresh.get_by_label("Message", exact=True).wait_for()
        took.append(fresh.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        fresh.close()
    print(f"first load, until the page is painted: {[round(ms) for ms in sorted(took)]} ms")
    assert sorted(took)[2] <= OPEN_S_MAX * 1000


def test_with_100_000_sessions(pages: Pages, tmp_path: Path) -> None:
    server = Server(tmp_path / "stage", sessions=100_000)
    server.start()
    try:
        page = pages.open(server)
        began_s = time.perf_counter()
        page.reload()
        expect(page.locator(".row-session").first).to_be_visible()
        opened_s = time.perf_counter() - began_s
        began_s = time.perf_counter()
        page.get_by_label("Search sessions").fill("Zanzibar")
        expect(page.locator(".row-session")).to_have_count(1)
        found_s = time.perf_counter() - began_s
        page.get_by_label("Search sessions").fill("")
        expect(page.locator(".row-session").nth(5)).to_be_visible()
        box = page.locator(".rows-box")
        began_s = time.perf_counter()
        while box.evaluate("e => e.scrollHeight") < 36 * 20_000:
            box.evaluate("e => { e.scrollTop = e.scrollHeight }")
            page.wait_for_timeout(5)
        scrolled_s = time.perf_counter() - began_s
        assert page.locator(".row-session").count() < 80
        frames = frames_ms(page, 3)
        print(
            f"100,000 sessions: opens in {opened_s:.2f} s, finds in {found_s:.2f} s, 20,000 rows scrolled in {scrolled_s:.0f} s, "
        )
        print(f"p95 frame behind them {frames[int(len(frames) * 0.95)]:.1f} ms")
        assert opened_s < 3
        assert found_s < 3
    finally:
        server.stop()
