"""Sources and pictures of an answer, from the backend to everything that shows an answer (case P21).

How each protocol shows them wherever a reader was cut off is drawn in `test_protocols.py`; what providers send is in
`tests/backends/test_given.py`.
"""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agui_client import Client
from contract.conftest import OpenStage, in_memory
from contract.reading import all_of
from contract.stage import words
from greenroom.backends.scripted import Call, Cut, Gate, Give, Say
from greenroom.client.answer import Answer
from greenroom.messages import AssistantMessage, FilePart, Sidecar, SourcePart
from greenroom.protocols.ai_sdk_messages import ui_messages
from ui_stream_client import UiMessage

PNG = b"\x89PNG\r\n\x1a\n" + b"picture"
PAGE = SourcePart(url="https://a.example/ö", title="A page", quote="so it is")
DOCUMENT = SourcePart(title="report.pdf")
PICTURE = FilePart(media_type="image/png", data=PNG)
ANSWER: list[Any] = [Give(PAGE), Say(["Paris", " [1]"]), Give(PAGE), Give(DOCUMENT), Give(PICTURE), Say(".")]


async def test_they_are_part_of_the_answer_and_not_of_what_is_said(open_stage: OpenStage) -> None:
    stage = open_stage([ANSWER, "Yes."])
    session_id = await stage.session()
    await stage.say(session_id, "Where?")
    answer = (await stage.manager.history(session_id))[-1]
    assert answer.text == "Paris [1]."
    assert answer.sources == (PAGE, DOCUMENT)
    assert answer.files == (PICTURE,)

    await stage.say(session_id, "Sure?")
    assert words(stage.last_request) == [("user", "Where?"), ("assistant", "Paris [1]."), ("user", "Sure?")]
    (said,) = [message for message in stage.last_request.messages if isinstance(message, AssistantMessage)]
    assert [type(part).__name__ for part in said.parts] == ["TextPart", "FilePart"], "sources are for people"

    await stage.manager.hibernate(session_id)
    assert (await stage.manager.history(session_id))[1] == answer


@in_memory
async def test_the_live_message_of_the_ai_sdk_is_the_fetched_one(open_stage: OpenStage) -> None:
    stage = open_stage([ANSWER])
    session_id = await stage.session()
    receipt = await stage.manager.send(session_id, "Where?")
    frames = await all_of(stage.manager.attach(session_id, receipt.cursor, protocol="ai-sdk", turn_id=receipt.turn_id))
    live = UiMessage().apply_all(data for _, data in frames)
    opened = await stage.manager._existing(session_id)
    fetched = ui_messages(await opened.operations.peek(session_id))[-1]
    assert fetched["parts"] == live.parts
    url, document, picture = (part for part in live.parts if part["type"] in {"source-url", "source-document", "file"})
    assert (url["url"], url["title"], url["providerMetadata"]) == (
        PAGE.url,
        PAGE.title,
        {"greenroom": {"quote": PAGE.quote}},
    )
    assert document["title"] == "report.pdf"
    assert picture == {
        "type": "file",
        "mediaType": "image/png",
        "url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}",
    }
    assert len({part["sourceId"] for part in (url, document)}) == 2


@in_memory
async def test_what_is_left_out_is_told(open_stage: OpenStage) -> None:
    svg = FilePart(media_type="image/png", data=b"<svg onload='alert(1)'/>")
    script = SourcePart(url="javascript:alert(1)", title="Click")
    many = [Give(SourcePart(url=f"https://a.example/{number}")) for number in range(150)]
    stage = open_stage([[Say("Hello"), Give(svg), Give(svg), Give(script), *many]])
    session_id = await stage.session()
    events = await stage.say(session_id)
    told = [event["value"] for event in events if event["type"] == "CUSTOM"]
    assert [notice["code"] for notice in told] == ["picture_left_out", "sources_left_out"]
    assert "Limits.sources_max" in told[1]["text"]
    answer = (await stage.manager.history(session_id))[-1]
    assert len(answer.sources) == 100
    assert answer.sources[0] == SourcePart(title="Click"), "text, and no link"
    assert "javascript" not in json.dumps(events)


@in_memory
async def test_what_a_void_attempt_has_given_is_taken_back(open_stage: OpenStage) -> None:
    """The client of AG-UI keeps activities when a snapshot has none: they are emptied first."""
    stage = open_stage([[Say("Pa"), Give(PAGE), Give(PICTURE), Cut()], "Rome."])
    session_id = await stage.session()
    receipt = await stage.manager.send(session_id, "Where?")
    frames = await all_of(stage.manager.attach(session_id, receipt.cursor, turn_id=receipt.turn_id))
    client, answer = Client(), Answer()
    for _, data in frames:
        client.apply(data)
        answer.apply(json.loads(data))
        assert all(source.get("url") for source in answer.sources), "not what is emptied, at any moment"
    assert {str(m["content"]) for m in client.messages.values() if m["role"] == "activity"} == {"{'isVoid': True}"}
    assert not answer.sources
    assert not answer.pictures
    assert not (await stage.manager.history(session_id))[-1].sources


@in_memory
async def test_a_picture_in_a_step_that_calls_a_tool(open_stage: OpenStage) -> None:
    stage = open_stage([[Give(PICTURE), Call("roll_dice", {"notation": "1d1"}), Give(PAGE)], "Done."])
    session_id = await stage.session()
    await stage.say(session_id)
    answer = (await stage.manager.history(session_id))[-1]
    assert (answer.files, answer.sources, answer.text) == ((PICTURE,), (PAGE,), "Done.")
    assert [result.content for m in stage.last_request.messages for result in getattr(m, "results", ())] != []


@in_memory
async def test_a_cancelled_answer_keeps_what_it_has_given(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Say("Pa"), Give(PAGE), gate], "Again."])
    session_id = await stage.session()
    await stage.manager.send(session_id, "Where?")
    await gate.reached()
    await stage.manager.cancel(session_id)
    assert (await stage.manager.history(session_id))[-1].sources == (PAGE,)
    await stage.say(session_id, "Go on")  # and the next request is one that a provider accepts: the stage checks that


@in_memory
async def test_pictures_fit_into_an_event_of_ag_ui(open_stage: OpenStage) -> None:
    """@ag-ui/client 1.0.0 breaks at a frame of more than 10 MB: the latest pictures have their data, the others their size."""
    large = [FilePart(media_type="image/png", data=PNG + bytes([n]) + bytes(3_000_000)) for n in range(3)]
    stage = open_stage([[*map(Give, large)]])
    session_id = await stage.session()
    await stage.say(session_id)
    answer = Answer()
    for _, data in await all_of(stage.manager.attach(session_id)):
        assert len(data) < 10 * 1024 * 1024
        answer.apply(json.loads(data))
    assert ["data" in picture for picture in answer.pictures] == [False, False, True]
    assert {picture["bytes"] for picture in answer.pictures} == {len(large[0].data)}


@in_memory
async def test_a_bundle_brings_them_and_cannot_bring_a_script(open_stage: OpenStage, tmp_path: Path) -> None:
    """A bundle may be a stranger's (decision 65): what its log says goes through the same rule as what a provider says."""
    here = open_stage([ANSWER])
    session_id = await here.session()
    await here.say(session_id)
    data = await here.manager.export_session(session_id)
    there = open_stage([], store=f"sqlite:///{tmp_path / 'there.db'}", home=tmp_path / "there")
    imported = await there.manager.import_bundle(data)
    assert (await there.manager.history(session_id))[-1].sources == (PAGE, DOCUMENT)
    assert "import_given" not in {notice.code for notice in imported.notices}

    forged = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(forged, "w") as new:
        for name in old.namelist():
            content = old.read(name).replace("https://a.example/ö".encode(), b"javascript:alert(1)")
            svg = base64.b64encode(b"<svg onload='alert(1)'/>")
            new.writestr(name, content.replace(base64.b64encode(PNG), svg))
    elsewhere = open_stage([], store=f"sqlite:///{tmp_path / 'else.db'}", home=tmp_path / "else")
    imported = await elsewhere.manager.import_bundle(forged.getvalue())
    assert "import_given" in {notice.code for notice in imported.notices}
    answer = (await elsewhere.manager.history(session_id))[-1]
    assert [source.url for source in answer.sources] == ["", "", ""]
    assert not answer.files
    for protocol in ("ag-ui", "ai-sdk", "native"):
        frames = await all_of(elsewhere.manager.attach(session_id, protocol=protocol))  # type: ignore[arg-type]
        assert not any('"url":"javascript' in frame or "svg" in frame for _, frame in frames)


@pytest.mark.parametrize("protocol", ["ag-ui", "native"])
@in_memory
async def test_a_sidecar_is_never_shown(open_stage: OpenStage, protocol: Any) -> None:
    sidecar = Sidecar(backend="openai-responses", model="m", data=msgspec.Raw(b'{"secret":"state"}'))
    stage = open_stage([[Give(FilePart(media_type="image/png", data=PNG, sidecar=sidecar))]])
    session_id = await stage.session()
    receipt = await stage.manager.send(session_id, "Draw")
    live = await all_of(stage.manager.attach(session_id, receipt.cursor, protocol=protocol))
    joined = await all_of(stage.manager.attach(session_id, protocol=protocol))
    assert not any("secret" in data for _, data in [*live, *joined])
