"""The React page of the README, as it stands there with its configuration, in a browser: served by Vite, over its proxy.

Rule: nothing is added to the page.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from clients.conftest import HERE, TOKEN, Served, free_port, node
from clients.script import texts

README = HERE.parent.parent / "README.md"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FRONTEND = HERE.parent.parent / "frontend"
HTML = '<!doctype html><meta charset="utf-8"><div id="root"></div><script type="module" src="/src/main.jsx"></script>'
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


class Project:
    """The README's Vite project, served by Vite as `npm run dev` does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self.url = ""
        text = README.read_text(encoding="utf-8")
        (folder / "src").mkdir(parents=True)
        (folder / "vite.config.js").write_text(_block(text, "js"))
        (folder / "src" / "main.jsx").write_text(_block(text, "jsx"))
        (folder / "package.json").write_text('{"type": "module"}')
        (folder / "index.html").write_text(HTML)
        # What `npm install` brings, from the two places where the tests have it.
        for source in (FRONTEND / "node_modules", HERE / "node_modules"):
            for package in (*source.glob("[!.@]*"), *source.glob("@*/*")):
                target = folder / "node_modules" / package.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    target.symlink_to(package)

    def start(self, served: Served, *, token: str = TOKEN) -> None:
        program = self._folder / "node_modules" / "vite" / "bin" / "vite.js"
        environment = {**os.environ, "GREENROOM_URL": served.url, "GREENROOM_TOKEN": token}
        self._process = subprocess.Popen(
            [str(node()), str(program), "--host", "127.0.0.1", "--port", str(free_port())],
            cwd=self._folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        seen = ""
        for line in self._process.stdout:
            seen += line
            if found := re.search(r"http://127\.0\.0\.1:\d+/", re.sub(r"\x1b\[[0-9;]*m", "", line)):
                self.url = found.group()
                return
        pytest.fail(f"Vite did not start: {seen}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


def _block(text: str, language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return str(found)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path / "tea")
    yield made
    made.stop()


def opened(browser: Browser, project: Project, faults: list[str]) -> Page:
    """The page in a profile of its own."""
    page = browser.new_context().new_page()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(project.url)
    return page


@pytest.mark.timeout(240)
def test_the_page_of_the_readme(browser: Browser, own_server: Served, project: Project) -> None:
    """Case N3: the page as it is pasted, with its proxy, from the first message on."""
    project.start(own_server)
    faults: list[str] = []
    page = opened(browser, project, faults)
    message = "say:12 call say:3"
    page.get_by_role("textbox").fill(message)
    page.keyboard.press("Enter")
    said = [f"user: {message}", f"assistant: {texts(message)}".strip()]
    for number, text in enumerate(said):
        expect(page.locator("p").nth(number)).to_have_text(text)
    page.reload()  # between two answers: question and answer are both there
    for number, text in enumerate(said):
        expect(page.locator("p").nth(number)).to_have_text(text)

    long = "pause:150 say:60 call say:5"
    page.get_by_role("textbox").fill(long)
    page.keyboard.press("Enter")
    expect(page.locator("p").nth(3)).to_contain_text(texts("say:4").strip())
    second = opened(browser, project, faults)  # another tab follows
    page.reload()  # and the page comes back in the middle
    for each in (page, second):
        expect(each.locator("p").nth(2)).to_have_text(f"user: {long}")
        expect(each.locator("p").nth(3)).to_have_text(f"assistant: {texts(long)}".strip())
    assert faults == []


@pytest.mark.timeout(240)
def test_the_page_of_the_readme_says_what_is_wrong(browser: Browser, own_server: Served, project: Project) -> None:
    """Case N3: a 401 was shown as an empty page."""
    project.start(own_server, token="a-token-that-is-not-the-server-s")
    page = opened(browser, project, [])
    expect(page.get_by_role("alert")).to_contain_text("unauthorized")
