"""Arguments that a model should not write, the whole way: the model is told, every front end is served, the session goes on."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from contract.conftest import OpenStage, in_memory
from contract.reading import all_of, run_of
from contract.stage import words
from greenroom import Toolset, tool
from greenroom.backends.scripted import Call, Say


class Echo(Toolset):
    """Says what it was told."""

    @tool(effect="pure")
    async def echo(self, value: Any) -> str:
        """Echoes.

        Args:
            value: anything.
        """
        return f"got {str(value)[:50]}"


HOSTILE: Final = {
    "lists that never end": "[" * 100_000,
    "objects that never end": '{"value":' * 50_000,
    "nested deeply": '{"value":' + "[" * 5_000 + "]" * 5_000 + "}",
    "a number of 5000 digits": '{"value": ' + "9" * 5_000 + "}",
    "a number beyond all": '{"value": 1e999}',
    "a name twice": '{"value": 1, "value": 2}',
    "NUL": '{"value": "a\\u0000b"}',
    "half a character": '{"value": "\\ud800"}',
    "half a character, cut off": '{"value": "\\ud8',
    "half a megabyte": json.dumps({"value": "x" * 500_000}),
    "no JSON": "value = 7",
    "Infinity": '{"value": Infinity}',
    "a lone quote": '"',
    "white space": " \n\t ",
}


@in_memory
@pytest.mark.parametrize("name", HOSTILE)
async def test_it_is_told_and_goes_on(open_stage: OpenStage, name: str) -> None:
    stage = open_stage([[Call("echo", HOSTILE[name])], [Say("Well.")], [Say("And on.")]], toolsets=[Echo])
    session_id = await stage.session(additional_tools=["Echo"], approval={"echo": "allow"})
    events = await run_of(stage.manager.stream_response(session_id, "Go"), broken_arguments=True)
    assert events[-1]["type"] == "RUN_FINISHED"
    (told,) = [text for role, text in words(stage.last_request) if role == "tool"]
    assert told
    for protocol in ("ag-ui", "ag-ui-0", "ai-sdk", "ai-sdk-7", "native"):
        for cursor in (None, "0.0~0"):
            frames = await all_of(stage.manager.attach(session_id, cursor, protocol=protocol))
            assert frames
            assert all(json.loads(data) for _, data in frames)
            assert "internal" not in frames[-1][1]
    assert len(await stage.manager.history(session_id)) == 2
    await stage.manager.hibernate(session_id)
    assert (await stage.say(session_id, "And now?"))[-1]["type"] == "RUN_FINISHED"
    copy = await stage.manager.import_session(await stage.manager.export_session(session_id))
    assert len(await stage.manager.history(copy)) == 4


@in_memory
@pytest.mark.parametrize("name", HOSTILE)
async def test_a_person_is_asked_about_it_or_the_model_told(open_stage: OpenStage, name: str) -> None:
    stage = open_stage([[Call("echo", HOSTILE[name])], [Say("Well.")]], toolsets=[Echo])
    session_id = await stage.session(additional_tools=["Echo"], approval={"echo": "ask"})
    await run_of(stage.manager.stream_response(session_id, "Go"), broken_arguments=True)
    for asked in await stage.manager.approvals(session_id):
        for protocol in ("ag-ui", "ai-sdk", "native"):
            assert await all_of(stage.manager.attach(session_id, protocol=protocol))
        await stage.manager.approve(session_id, asked.approval_id, "deny")
    async for _ in stage.manager.attach(session_id):
        pass
    assert [row.outcome for row in await stage.manager.history(session_id) if row.role == "assistant"] == ["completed"]
