"""The web UI as a new user has it: `greenroom serve`, no key, the embedded model."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from ui.conftest import answers, is_idle, say

pytestmark = [pytest.mark.local_model, pytest.mark.timeout(300)]


def test_a_new_user_is_answered(browser: Browser, tmp_path: Path, local_model: Path) -> None:
    home = tmp_path / "home"
    models = next(folder for folder in local_model.parents if folder.name == "models")
    shutil.copytree(models, home / "models", copy_function=os.link, symlinks=True)
    environment = {**os.environ, "GREENROOM_HOME": str(home), "OLLAMA_HOST": "127.0.0.1:1"}
    command = [sys.executable, "-m", "greenroom", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            page = browser.new_page()
            page.goto(url)
            expect(page).to_have_url(re.compile(r"^http://127\.0\.0\.1:\d+/$"))
            expect(page.get_by_role("note").filter(has_text="small model")).to_be_visible()
            say(page, "What is the capital of France?")
            expect(page.locator(".message-assistant .prose")).to_be_visible(timeout=120_000)
            is_idle(page)
            assert answers(page)[0]
            page.reload()
            expect(page.locator(".message-assistant .prose")).to_be_visible()
            page.context.close()
        finally:
            process.terminate()
            process.wait(30)
