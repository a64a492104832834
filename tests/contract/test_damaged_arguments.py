r"""Arguments that are not quite JSON are read where they have one meaning, and that is what runs, is asked about, shown and sent back.

Case T4 (MoonshotAI/kimi-cli#1378): each refusal is a paid step more, and small models repeat it for ever. Where there are two meanings,
nothing is guessed: the model is told what is wrong and what would be right.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import pytest

from backends.wire import END, EVENTS, chunked, serve
from contract.conftest import OpenStage, in_memory
from contract.reading import all_of, checked_run, results_of, run_of
from contract.stage import words
from contract.test_cut_off_calls import Answer, chat, messages, responses
from contract.test_provider_faults import asking, plain
from greenroom import Toolset, tool
from greenroom.backends.scripted import Call, Finish, Say
from greenroom.core.step import Assembly
from greenroom.core.view import ToolCallView
from greenroom.messages import PartDelta, PartEnded, PartStarted, ToolCallPart
from greenroom.tool_arguments import read_arguments, sent_arguments, sent_text, shown_arguments

Json = dict[str, Any]


class Notes(Toolset):
    """Notes."""

    def __init__(self) -> None:
        self.written: list[Json] = []

    @tool
    async def write(self, text: str = "", tags: list[str] | None = None, keep: bool | None = None) -> str:  # noqa: FBT001
        """Writes a note."""
        arguments = {"text": text, "tags": tags, "keep": keep}
        self.written.append({name: value for name, value in arguments.items() if value or value is False})
        return "written"


BACKSLASHES: Final = r"C:\Users\Code \d+"

READ: Final[dict[str, tuple[str, Json]]] = {
    # name, source -> what the model wrote, what it meant
    "a line end within a text, MoonshotAI/kimi-cli#1378": ('{"text": "a\nb"}', {"text": "a\nb"}),
    "tabs and Windows' line ends, dynamiq-ai/dynamiq#734": ('{"text": "a\tb\r\nc\x00"}', {"text": "a\tb\r\nc\x00"}),
    "encoded twice, livekit/agents#5409": (r'"{\"text\": \"x\"}"', {"text": "x"}),
    "encoded twice, tailcallhq/forgecode#2764": (json.dumps(json.dumps({"text": 'a\n"b"'})), {"text": 'a\n"b"'}),
    "encoded three times": (json.dumps(json.dumps(json.dumps({"text": "x"}))), {"text": "x"}),
    "encoded twice, escaped once": (r'"{\"text\": \"a\nb\"}"', {"text": "a\nb"}),
    "encoded twice without the outer quotes, continuedev/continue#7491": (r"{\"text\": \"x\"}", {"text": "x"}),
    "a placeholder before, NousResearch/hermes-agent#54879": ('{}{"text": "x"}', {"text": "x"}),
    "the same twice, cline/kanban#339": ('{"text": "x"}{"text": "x"}', {"text": "x"}),
    "the same twice, simonw/llm#1130": (
        '{"keep": true, "text": "x"} \n{"text": "x", "keep": true}',
        {"keep": True, "text": "x"},
    ),
    "null, NousResearch/hermes-agent#453": ("null", {}),
    "null, agno-agi/agno#6303": ("None", {}),
    "an empty text, qwersyk/Newelle#429": ('""', {}),
    "a code fence, agents-flex/agents-flex#64": ('```json\n{"text": "x"}\n```', {"text": "x"}),
    "a code fence within a text stays": ('{"text": "```\nx\n```"}', {"text": "```\nx\n```"}),
    "a marker after it": ('{"text": "x"}\n</tool_call>', {"text": "x"}),
    "markers of a chat template": ('<tool_call>{"text": "x"}<|tool_call_end|><|im_end|>', {"text": "x"}),
    "a brace too many, yigit353/langchain-qwq#30": ('{"text": "x"}}', {"text": "x"}),
    "commas after the last": ('{"tags": ["a", "b",], "keep": true,}', {"tags": ["a", "b"], "keep": True}),
    "Python's literals, QwenLM/qwen-code#288": (
        "{'text': 'it\\'s', \"tags\": None, 'keep': False}",
        {"text": "it's", "keep": False},
    ),
    "names without quotes": ('{text: "x", keep: true}', {"text": "x", "keep": True}),
    "an escaped apostrophe": (r'{"text": "it\'s\n"}', {"text": "it's\n"}),
    "a path, mistralai/mistral-vibe#216": (f'{{"text": "{BACKSLASHES}"}}', {"text": BACKSLASHES}),
    "a path that begins an escape": (r'{"text": "C:\users"}', {"text": r"C:\users"}),
    "a byte-order mark and hard blanks": ('\ufeff{\u00a0"text": "x"}', {"text": "x"}),
}

REFUSED: Final[dict[str, tuple[str, str]]] = {
    # name, source -> what the model wrote, what it is told
    "two calls in one, NousResearch/hermes-agent#25333": ('{"text": "a"}{"text": "b"}', "2 different objects in a row"),
    "a call and one without arguments": ('{"text": "a"}{}', "2 different objects in a row"),
    "the same for Python only": ('{"text": 1}{"text": true}', "2 different objects in a row"),
    "half of the second, NousResearch/hermes-agent#54879": ('{"text": "a"}{"text":', "at the end, a value is missing"),
    "half an object": ('{"text": "a"', "an object is never closed"),
    "half a text": ('{"text": "a', "a text is never closed"),
    "half of what was encoded twice": (r'"{\"text\": \"a\""', "an object is never closed"),
    "a path, openclaw/openclaw#88918": (r'{"text": "C:\Users\new"}', "write \\\\ for each that does"),
    "an escape of Markdown": (r'{"text": "a\_b"}', "this backslash is no escape of JSON"),
    "a byte": (r'{"text": "\x41"}', "this backslash is no escape of JSON"),
    "an unescaped quote": ('{"text": "say "hi""}', "a comma or '}' is expected here"),
    "an unescaped apostrophe": ("{'text': 'it's'}", "a comma or '}' is expected here"),
    "a quote that ends early": ('{"text": "a", keep: "b"}', "a name in double quotes is expected here"),
    "prose": ('Sure: {"text": "x"}', "a JSON value is expected here"),
    "more after it": ('{"text": "x"}} and so on', "there is something after the object"),
    "a list": ('[{"text": "x"}]', "they are a list, not an object"),
    "no parameters, as a list": ("[]", "they are a list, not an object"),
    "a text": ('"x"', "encoded as a JSON text that holds no object"),
    "NaN": ('{"text": NaN}', "a JSON value is expected here"),
    "half a character": ('{"text": "\\ud800"}', "half of a surrogate pair"),
    "a name twice": ('{"text": "a", "text": "b",}', "appears twice, with different values"),
    "a name twice, all of it JSON": (
        '{"text": "a", "text": "b"}',
        "the name 'text' appears twice, with different values",
    ),
    "a name twice, once escaped": (r'{"text": "a", "\u0074ext": "b"}', 'at character 15 (\'"\\\\u0074ext": "b"}\')'),
    "a name twice, deep within": ('{"text": "a", "tags": [{"x": 1, "x": 2}]}', "the name 'x' appears twice"),
    "a name twice, the same for Python only": ('{"keep": 1, "keep": true}', "the name 'keep' appears twice"),
    "a name twice, encoded again": (r'"{\"text\": \"a\", \"text\": \"b\"}"', "the name 'text' appears twice"),
    "a number beyond all": ('{"text": 1e999}', "this number is out of range"),
    "no number at all": ('{"text": NaN}', "a JSON value is expected here"),
    "wrapped, NousResearch/hermes-agent#112120": ('{"arguments": {"text": "x"}}', 'there is no parameter "arguments"'),
    "wrapped, with the name": ('{"name": "write", "parameters": {"text": "x"}}', 'there is no parameter "parameters"'),
}


@in_memory
@pytest.mark.parametrize("name", READ)
async def test_what_has_one_meaning_runs_is_shown_and_sent_back(open_stage: OpenStage, name: str) -> None:
    written, meant = READ[name]
    notes = Notes()
    stage = open_stage([[Call("write", written)], [Say("Done.")]], toolsets=[notes])
    session_id = await stage.session(additional_tools=["Notes"])
    await run_of(stage.manager.stream_response(session_id, "Go"), broken_arguments=True)
    assert notes.written == [{key: value for key, value in meant.items() if value is not None}]
    for cursor in (None, "0.0~0"):
        frames = [
            json.loads(data) for _, data in await all_of(stage.manager.attach(session_id, cursor, protocol="ai-sdk"))
        ]
        inputs = [frame["input"] for frame in frames if frame["type"].startswith("tool-input-") and "input" in frame]
        assert all(without_nulls(shown) == meant for shown in inputs)
        assert inputs or cursor is None
    [*_, answer] = await stage.manager.history(session_id)
    [call] = [part for part in answer.parts if isinstance(part, ToolCallView)]
    assert without_nulls(json.loads(call.arguments or "{}")) == meant
    [kept] = calls_of(stage.last_request.messages)
    assert kept.arguments == written, "the log keeps what the model wrote"


@in_memory
@pytest.mark.parametrize("name", REFUSED)
async def test_what_has_two_meanings_or_none_is_refused_in_true_words(open_stage: OpenStage, name: str) -> None:
    written, told = REFUSED[name]
    notes = Notes()
    stage = open_stage([[Call("write", written)], [Say("Sorry.")]], toolsets=[notes])
    session_id = await stage.session(additional_tools=["Notes"], approval={"write": "ask"})
    await run_of(stage.manager.stream_response(session_id, "Go"), broken_arguments=True)
    assert notes.written == []
    assert await stage.manager.approvals(session_id) == []
    [result] = [text for role, text in words(stage.last_request) if role == "tool"]
    assert told in result
    assert "nothing was" in result
    assert "Send one JSON object with the parameters of 'write'" in result or "The parameters are: text" in result


@in_memory
async def test_a_person_decides_about_what_will_run(open_stage: OpenStage) -> None:
    notes = Notes()
    stage = open_stage([[Call("write", r'"{\"text\": \"a\nb\"}"')], [Say("Done.")]], toolsets=[notes])
    session_id = await stage.session(additional_tools=["Notes"], approval={"write": "ask"})
    events = await run_of(stage.manager.stream_response(session_id, "Go"), broken_arguments=True)
    meant = {"text": "a\nb"}
    [asked] = await stage.manager.approvals(session_id)
    assert json.loads(asked.arguments) == meant
    [interrupt] = events[-1]["outcome"]["interrupts"]
    assert interrupt["metadata"]["input"] == meant
    await stage.manager.approve(session_id, asked.approval_id, "approve")
    async for _ in stage.manager.attach(session_id):
        pass
    assert notes.written == [meant]


WRITTEN_AGAIN: Final = {
    # what the model wrote -> what a person is asked about, and what goes back to the provider
    '{"text": "a", "text": "a"}': '{"text":"a"}',
    '{"amount": 9007199254740993.0}': '{"amount":9007199254740992.0}',
    '{"amount": 0.10000000000000000001}': '{"amount":0.1}',
    '{"amount": 1e-400}': '{"amount":0.0}',
    '{"amount": 1e-99999999999999999999}': '{"amount":0.0}',
    '{"amount": [' + "1.50," * 2_000 + "2]}": '{"amount":[' + "1.5," * 2_000 + "2]}",
}
AS_WRITTEN: Final = (
    '{"amount": 1e5}', '{"amount": 1.50}', '{"amount": -0.0}', '{"amount": 100000000000000000000000000001}', '{"amount": 1E+2}',
    r'{"text": "\/\u00e9 9007199254740993.0 {\"a\": 1, \"a\": 2}"}', '{":": ":", "text": {"text": "a"}, "tags": [{"a": 1}, {"a": 2}]}',
    "{ }", '{"amount": 10' + "0" * 400 + "}",
)  # fmt: skip


@pytest.mark.parametrize("written", [*WRITTEN_AGAIN, *AS_WRITTEN])
def test_what_a_person_approves_and_a_provider_reads_is_what_runs(written: str) -> None:
    """A sibling of T4: valid JSON in which readers find different things. For a tool the last value of a name counts, people see both."""
    right = WRITTEN_AGAIN.get(written, written)
    assert shown_arguments(written) == sent_text(written) == right
    assert json.loads(right) == read_arguments(written) == sent_arguments(written)


def test_the_arguments_of_a_whole_call_are_read_once() -> None:
    """A view of a session shows all of its calls, as often as somebody looks: a megabyte takes too long for that."""
    assembly = Assembly()
    assembly.add([PartStarted(part=0, kind="tool_call", call_id="c", name="f"), PartDelta(part=0, delta='{"a": 1,')])
    assert assembly.shown_arguments(0) == '{"a": 1,'
    assembly.add([PartDelta(part=0, delta="}"), PartEnded(part=0)])
    assert assembly.shown_arguments(0) == '{"a":1}'
    assert assembly.shown_arguments(0) is assembly.shown_arguments(0)


@in_memory
async def test_a_person_is_asked_about_the_number_that_runs(open_stage: OpenStage) -> None:
    """And of two values of a name about none: see "a name twice" above, where the model is told and nobody is asked."""
    seen: list[float] = []

    class Bank(Toolset):
        """A bank."""

        @tool
        async def pay(self, amount: float) -> str:
            """Pays."""
            seen.append(amount)
            return "paid"

    stage = open_stage([[Call("pay", '{"amount": 9007199254740993.0}')], [Say("Done.")]], toolsets=[Bank])
    session_id = await stage.session(additional_tools=["Bank"], approval={"pay": "ask"})
    events = await run_of(stage.manager.stream_response(session_id, "Go"))
    [asked] = await stage.manager.approvals(session_id)
    assert asked.arguments == '{"amount":9007199254740992.0}'
    assert events[-1]["outcome"]["interrupts"][0]["metadata"]["input"] == {"amount": 9007199254740992.0}
    await stage.manager.approve(session_id, asked.approval_id, "approve")
    async for _ in stage.manager.attach(session_id):
        pass
    assert seen == [9007199254740992.0]


@in_memory
@pytest.mark.parametrize(
    "written", ['{"text": "a\nb"}', '{}{"text": "x"}', "null", '""', '{"text": "x"}}', r'"{\"text\": \"x\"}"']
)
async def test_a_call_that_may_be_half_is_not_made_whole(open_stage: OpenStage, written: str) -> None:
    """Case T1 comes before T4."""
    notes = Notes()
    cut = [Call("write", written), Finish(reason="length", raw_reason="length")]
    stage = open_stage([cut, [Say("Well.")]], toolsets=[notes])
    session_id = await stage.session(additional_tools=["Notes"])
    events = await run_of(stage.manager.stream_response(session_id, "Go"), broken_arguments=True)
    assert notes.written == []
    assert "cut off" in results_of(events)[0]


# --- over the wire, in every dialect: what goes back has to be the object that the provider demands -------------------------

DAMAGED: Final[Sequence[tuple[str, Json]]] = (
    ('{"folder": "a\nb"}', {"folder": "a\nb"}),
    ('{}{"folder": "x"}', {"folder": "x"}),
    (r'"{\"folder\": \"x\"}"', {"folder": "x"}),
)


def answer_of(dialect: str, written: str) -> Answer:
    pieces = (written[:3], written[3:])
    match dialect:
        case "chat":
            return chat("tool_calls", *pieces)
        case "messages":
            return messages("tool_use", *pieces)
        case _:
            return responses("completed", None, *pieces, status="completed")


@in_memory
@pytest.mark.parametrize("dialect", ["chat", "messages", "responses"])
@pytest.mark.parametrize(("written", "meant"), DAMAGED)
async def test_over_the_wire(open_stage: OpenStage, dialect: str, written: str, meant: Json) -> None:
    wiped: list[str] = []

    class Disk(Toolset):
        """A disk."""

        @tool
        async def wipe(self, folder: str) -> str:
            """Wipes a folder."""
            wiped.append(folder)
            return "wiped"

    spoken, events = answer_of(dialect, written)
    wire_answers = [[EVENTS, chunked(spoken.written(each)), END] for each in (events, plain(spoken))]
    async with serve(*wire_answers) as wire:
        stage, session_id = await asking(open_stage, spoken, wire, toolsets=[Disk()], additional_tools=["Disk"])
        said = [event async for event in stage.manager.stream_response(session_id, "Tidy up")]
        assert checked_run(said, broken_arguments=True)[-1]["type"] == "RUN_FINISHED"
        assert wiped == [meant["folder"]]
        assert meant in sent_back(json.loads(wire.bodies[-1]))


def sent_back(value: Any) -> list[Any]:
    """Returns the arguments of all calls in a request."""
    found: list[Any] = []
    if isinstance(value, dict):
        if isinstance(value.get("arguments"), str):
            found.append(json.loads(value["arguments"]))
        if value.get("type") == "tool_use":
            found.append(value["input"])
        value = list(value.values())
    if isinstance(value, list):
        found.extend(each for inner in value for each in sent_back(inner))
    return found


def without_nulls(arguments: Json) -> Json:
    return {name: value for name, value in arguments.items() if value is not None}


def calls_of(transcript: Sequence[Any]) -> list[ToolCallPart]:
    parts = (part for message in transcript for part in getattr(message, "parts", ()))
    return [part for part in parts if isinstance(part, ToolCallPart)]
