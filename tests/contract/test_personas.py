"""Personas: those that come along, the user's own, and names that mean harm."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.conftest import OpenStage
from contract.stage import Stage
from greenroom import UnknownPersona

CHEF = """---
name: chef
description: Cooks.
---
You are a chef. Answer with recipes.
"""


@pytest.fixture
def personas(home: Path) -> Path:
    folder = home / "personas"
    folder.mkdir(parents=True)
    (folder / "chef.md").write_text(CHEF)
    (folder / "plain.md").write_text("You are plain.")
    (home / "secret.md").write_text("You are a secret.")
    return folder


async def test_the_default_persona_says_something(stage: Stage) -> None:
    await stage.say(await stage.session())
    assert stage.last_request.system.strip()


async def test_the_users_own(open_stage: OpenStage, personas: Path) -> None:
    stage = open_stage()
    for name, text in (("chef", "Answer with recipes."), ("plain", "You are plain.")):
        await stage.say(await stage.session(persona_name=name))
        assert text in stage.last_request.system
        assert "description:" not in stage.last_request.system


async def test_a_new_choice_is_heard_from_the_next_turn_on(open_stage: OpenStage, personas: Path) -> None:
    stage = open_stage()
    session_id = await stage.session(persona_name="plain")
    await stage.say(session_id)
    await stage.manager.update_session(session_id, persona_name="chef")
    await stage.say(session_id)
    assert "recipes" in stage.last_request.system
    assert "plain" not in stage.last_request.system


@pytest.mark.parametrize(
    "name", ["../secret", "..", ".", "personas/chef", "chef.md", "/etc/passwd", "CHEF\0", "chef/", "*", "", "secret"]
)
async def test_a_name_is_never_a_path(open_stage: OpenStage, personas: Path, name: str) -> None:
    stage = open_stage()
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - an empty name is malformed, another one is unknown
        await stage.session(persona_name=name)
    if name:
        assert isinstance(refused.value, UnknownPersona)
        for known in ("chef", "default", "plain"):
            assert known in str(refused.value)
        assert str(personas) not in str(refused.value)


async def test_a_persona_that_is_broken_stops_nobody_else(open_stage: OpenStage, personas: Path) -> None:
    (personas / "broken.md").write_bytes(b"---\nname: [\n---\n\xff\xfe")
    (personas / "empty.md").write_text("")
    (personas / "link.md").symlink_to(personas.parent / "secret.md")
    stage = open_stage()
    await stage.say(await stage.session(persona_name="chef"))
    assert "recipes" in stage.last_request.system
    await stage.say(await stage.session())
