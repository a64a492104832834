"""The README's own tool, pasted into a fresh folder with its file and its commands, as a new user does (case N4)."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from cli.provider import Call, Say, provider

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def block(kind: str, mark: str) -> str:
    """The README's one block of this kind with `mark` in it, as it is pasted."""
    (found,) = [
        text for text in re.findall(rf"^```{kind}\n(.*?)^```", README, re.MULTILINE | re.DOTALL) if mark in text
    ]
    return str(found)


def test_the_tool_of_the_readme_works_from_the_command_line(tmp_path: Path) -> None:
    """N4: the program that the page shows could be run, but not be loaded as the toolset that the page says it is."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "weather.py").write_text(block("python", "class Weather"), encoding="utf-8")
    (folder / "greenroom.toml").write_text(block("toml", "toolsets"), encoding="utf-8")
    commands = [line.partition("#")[0].strip() for line in block("sh", "greenroom trust").splitlines()]
    trust, chat, serve = commands
    assert serve.startswith("greenroom serve"), "tried in tests/server"

    def answer(request: dict[str, Any]) -> list[Any]:
        results = [message["content"] for message in request["messages"] if message["role"] == "tool"]
        return [Say(f"It is {results[-1]}.")] if results else [Call("current", {"city": "Oslo"})]

    with provider(answer) as playing:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GREENROOM")},
            "GREENROOM_HOME": str(tmp_path / "home"),
            "OPENAI_API_KEY": "sk-test",
            "OPENAI_BASE_URL": playing.base_url,
        }

        def run(command: str) -> str:
            arguments = [sys.executable, "-m", *shlex.split(command)]
            done = subprocess.run(
                arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == 0, done.stderr
            return done.stdout + done.stderr

        assert "is trusted" in run(trust)
        assert "It is 18 C in Oslo." in run(chat)
