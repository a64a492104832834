"""The React page of the README, as it stands there, in a browser: a stock `useChat` against the server.

Rule: nothing is added to the page but what bundles it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from clients.conftest import HERE, TOKEN, Served, node
from clients.script import texts

README = HERE.parent.parent / "README.md"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HTML = '<!doctype html><meta charset="utf-8"><body><script type="module" src="/page.js"></script>'
expect.set_options(timeout=45_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; without it the tests fail under CI and are skipped elsewhere."""
    found = os.environ.get("GREENROOM_TEST_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        reason = "no Chromium: install it, or set GREENROOM_TEST_BROWSER to one"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason.upper())
    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page_script(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the README, bundled."""
    (source,) = re.findall(r"```jsx\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len([line for line in source.splitlines() if line.strip()]) <= 14, "the README promises a short page"
    bundled = tmp_path_factory.mktemp("page") / "page.js"
    esbuild = [str(node()), str(HERE / "node_modules" / "esbuild" / "bin" / "esbuild")]
    options = [
        "--bundle",
        "--loader=jsx",
        "--jsx=automatic",
        "--format=esm",
        '--define:process.env.NODE_ENV="production"',
    ]
    run = subprocess.run([*esbuild, *options], input=source, cwd=HERE, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    bundled.write_text(run.stdout)
    return run.stdout


def session_of(served: Served, session_id: str) -> None:
    body = json.dumps({"session_id": session_id, "backend": "scripted"}).encode()
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{served.url}/v1/sessions", body, headers)) as response:
        assert response.status in {200, 201}


def opened(browser: Browser, served: Served, script: str, faults: list[str]) -> Page:
    """The page in a profile of its own, logged in."""
    context = browser.new_context()
    assert context.request.post(f"{served.url}/v1/login", data={"token": TOKEN}).ok
    page = context.new_page()
    page.on("pageerror", lambda error: faults.append(str(error)))
    shown: dict[str, Any] = {"/page": ("text/html", HTML), "/page.js": ("text/javascript", script)}

    def fulfil(route: Route) -> None:
        kind, body = shown[route.request.url.removeprefix(served.url)]
        route.fulfill(content_type=f"{kind}; charset=utf-8", body=body)

    page.route(re.compile(r"/page(\.js)?$"), fulfil)
    page.goto(f"{served.url}/page")
    return page


@pytest.mark.timeout(180)
def test_the_page_of_the_readme(browser: Browser, served: Served, page_script: str) -> None:
    session_of(served, "tea-time")
    faults: list[str] = []
    page = opened(browser, served, page_script, faults)
    message = "say:12 call say:3"
    page.get_by_role("textbox").fill(message)
    page.keyboard.press("Enter")
    expect(page.locator("p").nth(0)).to_have_text(f"user: {message}")
    expect(page.locator("p").nth(1)).to_have_text(f"assistant: {texts(message)}".strip())

    long = "pause:150 say:120 call say:5"
    page.get_by_role("textbox").fill(long)
    page.keyboard.press("Enter")
    expect(page.locator("p").nth(3)).to_contain_text(texts("say:4").strip())
    second = opened(browser, served, page_script, faults)  # another tab follows
    page.reload()  # and the page comes back in the middle
    for each in (page, second):
        expect(each.locator("p").last).to_have_text(f"assistant: {texts(long)}".strip())
    assert faults == []
