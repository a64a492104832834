"""The web UI as a new user has it: `greenroom serve`, no key, the embedded model."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from ui.conftest import answers, is_idle, say

pytestmark = [pytest.mark.local_model, pytest.mark.timeout(600)]


@pytest.fixture
def address(tmp_path: Path, local_model: Path) -> Iterator[str]:
    """Where `greenroom serve` listens, with a home that has nothing but the model."""
    home = tmp_path / "home"
    models = next(folder for folder in local_model.parents if folder.name == "models")
    shutil.copytree(models, home / "models", copy_function=os.link, symlinks=True)
    environment = {**os.environ, "GREENROOM_HOME": str(home), "OLLAMA_HOST": "127.0.0.1:1"}
    command = [sys.executable, "-m", "greenroom", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
            process.wait(30)


def test_a_new_user_is_answered(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.goto(address)
    expect(page).to_have_url(re.compile(r"^http://127\.0\.0\.1:\d+/$"))
    expect(page.get_by_role("note").filter(has_text="small model")).to_be_visible()
    say(page, "What is the capital of France?")
    expect(page.locator(".message-assistant .prose")).to_be_visible(timeout=120_000)
    is_idle(page)
    assert answers(page)[0]
    page.reload()
    expect(page.locator(".message-assistant .prose")).to_be_visible()
    page.context.close()


@pytest.mark.parametrize("numbers", [[0], pytest.param([1, 2, 3], marks=pytest.mark.long)], ids=["one", "the others"])
def test_each_starter_is_answered(browser: Browser, address: str, numbers: list[int]) -> None:
    """N2 of `first-hour.md`: a click on each starter, sent to the model that comes along, is answered to the end of a sentence."""
    page = browser.new_page()
    page.goto(address)
    starters = page.locator(".beginnings button")
    expect(starters).to_have_count(4)
    for number in numbers:
        starters.nth(number).click()
        page.get_by_label("Message", exact=True).press("Enter")
        expect(page.locator(".message-assistant .prose")).to_be_visible(timeout=120_000)
        expect(page.get_by_label("Stop the answer")).to_have_count(0, timeout=120_000)
        expect(page.locator(".cut-short")).to_have_count(0)
        assert answers(page)[0].endswith((".", "!", "?")), answers(page)
        page.get_by_role("link", name="New conversation").click()
    page.context.close()
