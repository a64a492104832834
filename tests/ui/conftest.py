"""The web UI in a real browser, on the real server in a process of its own.

Rule: a page that breaks the content security policy, throws, or logs an error fails its test, whatever else it shows.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, expect, sync_playwright

from ui.stage import TOKEN

STAGE = Path(__file__).with_name("stage.py")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
expect.set_options(timeout=30_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A browser beside other work takes its time; a test that hangs is still ended."""
    for item in items:
        if STAGE.parent in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(180))


# --- the browser ----------------------------------------------------------------------------------------------------------


def _find_browser() -> str | None:
    named = os.environ.get("GREENROOM_TEST_BROWSER")
    return named or next((path for name in BROWSERS if (path := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser_path() -> str:
    """Where Chromium is. Without it the tests fail under CI, and are skipped, loudly, elsewhere."""
    if (path := _find_browser()) is not None:
        return path
    reason = "no Chromium: `make browser` installs it where it may; else set GREENROOM_TEST_BROWSER to one"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason.upper())


@pytest.fixture(scope="session")
def _playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def browser(browser_path: str, _playwright: Playwright) -> Iterator[Browser]:
    """One browser for all tests of a worker; each test has a profile of its own in it."""
    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    browser = _playwright.chromium.launch(executable_path=browser_path, args=arguments)
    yield browser
    browser.close()


def log_in(context: BrowserContext, url: str) -> None:
    """Logs a profile in, without the page where people do it: that has tests of its own."""
    answer = context.request.post(f"{url}v1/login", data={"token": TOKEN})
    assert answer.ok, answer.text()


class Pages:
    """Opens pages, and remembers what went wrong on them."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.wrong: list[str] = []
        self.expected: tuple[str, ...] = ("net::ERR_",)
        """Parts of console messages that are no fault: the network is what some tests take away."""

    def open(self, server: Server, path: str = "/", **options: Any) -> Page:
        """Opens a page in a profile of its own, logged in."""
        page = self.strange(**options)
        log_in(page.context, server.url)
        page.goto(server.url.rstrip("/") + path)
        return page

    def strange(self, **options: Any) -> Page:
        """Opens an empty page in a profile that is logged in nowhere."""
        options.setdefault("viewport", {"width": 1280, "height": 800})
        context = self._browser.new_context(**options)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        self._contexts.append(context)
        return self.tab(context)

    def tab(self, context: BrowserContext) -> Page:
        """Opens one more page of a profile."""
        page = context.new_page()
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.wrong.append(f"page error: {error}"))
        return page

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not any(part in message.text for part in self.expected):
            self.wrong.append(f"console: {message.text}")

    def close(self) -> None:
        """Closes them; once is enough."""
        while self._contexts:
            self._contexts.pop().close()


@pytest.fixture
def pages(browser: Browser) -> Iterator[Pages]:
    """Opens pages; fails if anything went wrong on one."""
    pages = Pages(browser)
    yield pages
    pages.close()
    assert not pages.wrong, pages.wrong


# --- the server -----------------------------------------------------------------------------------------------------------


class Server:
    """The stage, as a process that can be killed and started again at the same address."""

    def __init__(self, home: Path, *, sessions: int = 0) -> None:
        self.home = home
        self._sessions = sessions
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}/"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Starts it; returns when it listens."""
        command = [sys.executable, str(STAGE), str(self.home), str(self._port), str(self._sessions)]
        path = [str(STAGE.parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(path)}
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.strip() == self.url, f"the stage did not start: {line!r}"

    def kill(self) -> None:
        """Kills it: no goodbye, no flush."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ends it as an operator does."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None

    def ask(self, method: str, path: str, body: Mapping[str, Any] | bytes | None = None) -> Any:
        """Sends a request beside the page; returns the JSON of the answer."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        media = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        request = urllib.request.Request(
            self.url.rstrip("/") + path,
            data=data,
            method=method,
            headers={"authorization": f"Bearer {TOKEN}", "content-type": media},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            raw = answer.read()
        return json.loads(raw) if raw else None

    def session(self, **settings: Any) -> str:
        """Creates a session of the scripted model."""
        made = self.ask("POST", "/v1/sessions", {"backend": "scripted", "llm_model": "demo", **settings})
        return str(made["session_id"])

    def tell(self, session_id: str, *messages: str) -> None:
        """Says something in a session, and waits for the answers."""
        for message in messages:
            self._say(session_id, message)

    def _say(self, session_id: str, message: str) -> None:
        request = urllib.request.Request(
            f"{self.url}v1/sessions/{session_id}/messages",
            data=json.dumps({"message": message}).encode(),
            headers={"authorization": f"Bearer {TOKEN}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert b"RUN_FINISHED" in answer.read() or message.startswith("fail")


OpenServer = Callable[[], Server]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests of a file; each works in sessions of its own."""
    server = Server(tmp_path_factory.mktemp("stage"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_server(tmp_path: Path, pages: Pages) -> Iterator[Server]:
    """A server for one test, which may kill it; its pages go before it does, or they would still ask one that stops."""
    server = Server(tmp_path / "stage")
    server.start()
    yield server
    pages.close()
    server.stop()


# --- what people do -------------------------------------------------------------------------------------------------------


def say(page: Page, text: str) -> None:
    """Writes a message and sends it."""
    box = page.get_by_label("Message", exact=True)
    box.fill(text)
    box.press("Enter")


def is_idle(page: Page) -> None:
    """Waits until nothing is being answered."""
    expect(page.get_by_label("Stop the answer")).to_have_count(0, timeout=30_000)
    expect(page.locator(".message-tools-last")).to_be_visible()


def answers(page: Page) -> list[str]:
    """Returns the texts of the answers, without their cards and buttons."""
    found = page.locator(".message-assistant").all()
    return ["\n".join(prose.text_content() or "" for prose in each.locator(".prose").all()).strip() for each in found]


def until(holds: Callable[[], bool], what: str, *, seconds: float = 20.0) -> None:
    """Waits for something that no locator can wait for."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.05)  # real time: another process is at work
