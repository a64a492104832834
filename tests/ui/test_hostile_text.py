"""Case W1 of `front-ends.md` (remarkjs/react-markdown#689, bytedance/deer-flow#3393): no text makes the page go blank, or stand still.

Rule: what is beyond a bound is shown as it was written, and what stands beside it is drawn as ever.
"""

from __future__ import annotations

import json
import time
from typing import Final

import pytest
from playwright.sync_api import Page, Route, expect

from ui.conftest import Pages, Server, is_idle, say

OPEN_S_MAX: Final = 15.0
"""Until a session with one such answer is there, on a machine that does other work as well; an honest one takes below a second."""

LOOPS: Final[dict[str, tuple[int, str]]] = {
    "quotes": (3_000, "> "),
    "numbered lists": (2_000, "1. "),
    "quotes without spaces": (20_000, ">"),
    "lists within a line": (10_000, "+ "),
    "mixed containers": (5_000, "> 1. - "),
    "emphasis": (20_000, "*a_ "),
    "crossed emphasis": (5_000, "**a *b "),
    "runs of stars": (50_000, "*"),
    "brackets": (50_000, "["),
    "links that never close": (20_000, "[a]("),
    "pictures": (20_000, "![]("),
    "backticks": (50_000, "`a"),
    "less-than": (50_000, "<"),
    "deep HTML": (20_000, "<b>"),
    "comments": (10_000, "<!--"),
    "underlined headings": (10_000, "a\n=\n"),
    "table rows": (10_000, "|-|\n"),
    "table cells": (50_000, "|a"),
    "references": (10_000, "[a]: b\n"),
    "footnotes": (10_000, "[^1]: a\n"),
    "addresses": (10_000, "http://a.b "),
    "addresses without end": (20_000, "www.a."),
    "e-mail": (20_000, "a@b.c "),
    "dollars": (30_000, "$a "),
    "formulas that never close": (30_000, "\\(a "),
    "backslashes": (50_000, "\\"),
    "tildes": (20_000, "~~a ~b "),
    "one word": (300_000, "a"),
    "combining marks": (100_000, "\u0301"),
    "turned round": (50_000, "\u202ea"),
    "ampersands": (50_000, "&#"),
    "fences": (20_000, "> ```\n"),
    "boxes": (10_000, "- [ ] a\n"),
    "code that is no code": (1, "```xml\n" + "<a <!-- " * 6_000 + "\n```"),
}

GROWN: Final[dict[str, str]] = {
    "levels line by line": "\n".join("  " * level + "- a" for level in range(400)),
    "quotes line by line": "\n".join(">" * level + " a" for level in range(400)),
    "nested pictures": "![" * 3_000 + "](a)" * 3_000,
    "a table that fills itself up": "|a" * 900 + "|\n" + "|-" * 900 + "|\n" + "|\n" * 5_000,
    "an address that is repeated": "[a] " * 5_000 + "\n\n[a]: https://example.org/" + "x" * 100_000,
    "a long table": "| a | b |\n|---|---|\n" + "| c | **d** |\n" * 3_000,
    "paragraphs": "A *paragraph* with a [link](https://example.org) and `code`.\n\n" * 3_000,
}


def opens(page: Page, server: Server, session_id: str) -> float:
    """Opens a session; returns how long it took until it could be used."""
    began_s = time.perf_counter()
    page.goto(f"{server.url}s/{session_id}")
    expect(page.locator(".message-assistant").last).to_be_visible()
    page.get_by_label("Message", exact=True).fill("still here")
    expect(page.get_by_label("Message", exact=True)).to_have_value("still here")
    return time.perf_counter() - began_s


ALL: Final = {name: mark * count for name, (count, mark) in LOOPS.items()} | GROWN
ONE_OF_EACH_KIND: Final = (
    "quotes",
    "lists within a line",
    "crossed emphasis",
    "brackets",
    "deep HTML",
    "one word",
    "fences",
    "a table that fills itself up",
    "nested pictures",
)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "names",
    [
        pytest.param(ONE_OF_EACH_KIND, id="one of each kind"),
        pytest.param(
            tuple(name for name in ALL if name not in ONE_OF_EACH_KIND), id="the others", marks=pytest.mark.long
        ),
    ],
)
def test_no_answer_stops_the_page(pages: Pages, server: Server, names: tuple[str, ...]) -> None:
    page = pages.open(server)
    slow = {}
    for name in names:
        text = f"Before.\n\n{ALL[name]}\n\nAfter, **bold**."
        session_id = server.session(title=name)
        server.tell(session_id, f"say {json.dumps(text)}")
        took_s = opens(page, server, session_id)
        print(f"{name}: {took_s:.1f} s")
        answer = page.locator(".message-assistant").last
        expect(answer.get_by_text("After, bold."), name).to_be_visible()
        expect(answer.locator(".part-failed"), name).to_have_count(0)
        if took_s > OPEN_S_MAX:
            slow[name] = took_s
    assert not slow


def test_a_model_that_loops_is_shown_live_and_after_a_reload(pages: Pages, server: Server) -> None:
    page = pages.open(server, f"/s/{server.session()}")
    for text in ("> ", "1. "):
        say(page, f"again 3000 {json.dumps(text)}")
        is_idle(page)
        answer = page.locator(".message-assistant").last
        expect(answer.get_by_text("After, bold.")).to_be_visible()
        expect(answer.locator(".plain-text")).to_contain_text(text * 100)
        expect(answer.locator("strong")).to_have_text("bold")
    page.reload()
    expect(page.get_by_text("After, bold.")).to_have_count(2)
    say(page, "hello")
    is_idle(page)


@pytest.mark.long
def test_what_a_person_says_a_tool_returns_or_a_file_has(pages: Pages, server: Server) -> None:
    hostile = "> " * 3_000 + "x" + "\u0301" * 50_000
    session_id = server.session(title="[" * 200 + "\u202e" * 100)
    page = pages.open(server, f"/s/{session_id}")
    say(page, f"call write_file {json.dumps({'path': 'loop.md', 'content': hostile})}")
    expect(page.get_by_text("All tools are done.", exact=True)).to_be_visible()
    say(page, f"call write_file {json.dumps({'path': 'deep.json', 'content': '[' * 5_000 + ']' * 5_000})}")
    expect(page.get_by_text("All tools are done.", exact=True)).to_have_count(2)
    for head in page.locator(".tool-head").all():
        head.click()
    page.get_by_label("Files", exact=True).click()
    files = page.get_by_role("complementary", name="Files of this session")
    for name in ("loop.md", "deep.json"):
        files.get_by_role("button", name=name).click()
        expect(files.locator(".plain-text, pre").first).to_be_visible()
        files.get_by_label("All files").click()
    say(page, "> " * 3_000 + "\u0301" * 50_000)
    is_idle(page)
    page.reload()
    expect(page.locator(".bubble")).to_have_count(3)
    expect(page.locator(".part-failed")).to_have_count(0)


@pytest.mark.long
@pytest.mark.parametrize("broken", ["message", "conversation", "list"])
def test_what_cannot_be_drawn_takes_nothing_else_along(pages: Pages, server: Server, broken: str) -> None:
    """What no server of ours sends: each part of the page fails on its own, and says how to go on."""
    pages.expected += ("TypeError", "above error", "Cannot read")
    session_id = server.session(title="Still here")
    server.tell(session_id, "first", "second")
    page = pages.open(server)

    def spoil(route: Route) -> None:
        answer = route.fetch()
        data = answer.json()
        match broken:
            case "message":
                data["messages"][1]["parts"] = [{"type": "reasoning"}, {"type": "text", "text": "These words stay."}]
            case "conversation":
                data["messages"][3]["metadata"] |= {"model": 7, "configVersion": 99}
            case _:
                for session in data["sessions"]:
                    session["title"] = 7
        route.fulfill(response=answer, json=data)

    page.route("**/v1/sessions?*" if broken == "list" else "**/api/chat/*/messages", spoil)
    page.goto(f"{server.url}s/{session_id}")
    expect(page.get_by_role("alert").first).to_contain_text("could not be shown")
    if broken == "message":
        expect(page.get_by_text("These words stay.")).to_be_visible()
        expect(page.get_by_text("You said: second", exact=True)).to_be_visible()
    if broken != "list":
        expect(page.locator(".row-session").first).to_be_visible()
    else:
        expect(page.get_by_text("You said: second", exact=True)).to_be_visible()
    page.unroute_all()
    page.get_by_role("button", name="Try again").first.click()
    page.reload()
    expect(page.get_by_text("You said: second", exact=True)).to_be_visible()
