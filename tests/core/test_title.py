"""A session that nobody has named is called after what was said first."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenroom import AgentManager
from greenroom.core.title import TITLE_CHARACTERS_MAX, title_of
from greenroom.messages import FilePart, TextPart

PICTURE = FilePart(media_type="image/png", data=b"x", name="stage.png")


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("hello there", "hello there"),
        ("explain **this**:\n```py\nx = 1\n```", "explain this:"),
        ("```py\nx = 1\n```", "x = 1"),
        ("# Plan\nmore", "Plan"),
        ("- milk\n- eggs", "milk"),
        ("call `my_function` twice", "call my_function twice"),
        ("\n\n  two   words \t", "two words"),
        ("x" * 500, "x" * 59 + "…"),
        ("a\x1b[31mred", "a [31mred"),
        ("***\n---", "---"),
        (" \n\t", ""),
    ],
)
def test_the_first_line_without_its_marks(text: str, title: str) -> None:
    assert title_of((TextPart(text=text),)) == title


def test_a_long_line_ends_at_a_word() -> None:
    title = title_of((TextPart(text="word " * 40),))
    assert title.endswith("word…")
    assert len(title) <= TITLE_CHARACTERS_MAX


def test_a_file_without_words_gives_its_name() -> None:
    assert title_of((TextPart(text=" "), PICTURE)) == "stage.png"
    assert title_of((PICTURE, TextPart(text="what is this?"))) == "what is this?"
    assert title_of((FilePart(media_type="image/png", data=b"x"),)) == ""


async def test_a_given_title_stands_and_one_taken_back_gives_way(tmp_path: Path) -> None:
    async with AgentManager(store=f"sqlite:///{tmp_path / 'greenroom.db'}") as manager:
        session_id = await manager.create_session(backend="scripted")
        assert _title(manager, session_id) == ""
        await _said(manager, session_id, "what is up?")
        assert _title(manager, session_id) == "what is up?"
        await manager.update_session(session_id, title="Mine")
        await _said(manager, session_id, "second")
        assert _title(manager, session_id) == "Mine"
        await manager.update_session(session_id, title="")
        assert _title(manager, session_id) == "what is up?"
        [hit] = (await manager.list_sessions(query="up")).sessions
        assert hit.labels.title == "what is up?"


async def _said(manager: AgentManager, session_id: str, message: str) -> None:
    async for _ in manager.stream_response(session_id, message):
        pass


def _title(manager: AgentManager, session_id: str) -> str:
    data = manager.get_session_data(session_id)
    assert data is not None
    return str(data["title"])
