"""What models and tools say is data: it never becomes part of the page."""

from __future__ import annotations

from playwright.sync_api import expect

from ui.conftest import Pages, Server, is_idle, say

FORBIDDEN = "script, iframe, object, embed, style, form:not(.composer):not(.editor), svg:not(.icon):not(.mark), [onclick], [onerror], [onload], #raw"
"""None of it may be below what a model has said."""


def test_hostile_markdown_html_svg_and_links(pages: Pages, server: Server) -> None:
    page = pages.open(server, f"/s/{server.session()}")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    say(page, "hostile")
    is_idle(page)
    expect(page.locator(".message-assistant")).to_contain_text("After.")
    page.wait_for_timeout(300)
    assert page.evaluate("window.hacked") is None
    assert page.locator(".conversation").locator(FORBIDDEN).count() == 0
    links = page.locator(".conversation a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert "https://example.org/good" in links
    assert all(link.startswith(("https://", "/v1/sessions/")) for link in links), links
    assert not any("etc/passwd" in link for link in links)
    assert page.locator(".conversation img").count() == 0
    assert all(url.startswith(server.url) for url in asked), asked


def test_hostile_results_of_tools(pages: Pages, server: Server) -> None:
    page = pages.open(server, f"/s/{server.session()}")
    say(page, "hostiletool")
    is_idle(page)
    for head in page.locator(".tool-head").all():
        head.click()
    expect(page.locator(".tool").first).to_contain_text("<script>")
    assert page.evaluate("window.hacked") is None
    assert page.locator(".conversation").locator(FORBIDDEN).count() == 0


def test_hostile_words_of_a_person_and_in_a_title(pages: Pages, server: Server) -> None:
    text = "<img src=x onerror=\"window.hacked='title'\"> [x](javascript:alert(1))"
    session_id = server.session(title=text)
    server.tell(session_id, text)
    page = pages.open(server, f"/s/{session_id}")
    expect(page.locator(".bubble")).to_have_text(text)
    expect(page.get_by_role("heading", level=1)).to_have_text(text)
    assert page.evaluate("window.hacked") is None
    assert page.locator("img").count() == 0


def test_the_page_is_served_under_a_strict_policy(pages: Pages, server: Server) -> None:
    page = pages.open(server)
    answer = page.goto(server.url)
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    assert "'unsafe-inline'" not in policy
    assert "'unsafe-eval'" not in policy
    assert "script-src 'self'" in policy or "default-src 'self'" in policy
