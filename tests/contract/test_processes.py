"""Two managers, or two processes, on one SQLite file."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contract.conftest import OpenStage
from contract.reading import FrontEnd, Json, checked_run, text_of
from contract.stage import Stage, becomes, let_others_run, words
from greenroom import InvalidArgument, TurnInProgress
from greenroom.backends.scripted import Gate, Say
from greenroom.events import CancelRequested, MessageAccepted
from greenroom.logs.sqlite import SqliteStore
from greenroom.messages import TextPart

PATIENCE_S = 10
"""One process hears of another's work within a moment; a test that waits longer waits for something that never comes."""


@pytest.fixture
def store(file_store: str) -> str:
    return file_store


async def frames(stage: Stage, session_id: str) -> list[str]:
    async with asyncio.timeout(PATIENCE_S):
        return [data async for _, data in stage.manager.attach(session_id)]


async def said(stage: Stage, session_id: str, text: str) -> list[Json]:
    async with asyncio.timeout(PATIENCE_S):
        return await stage.say(session_id, text)


async def until(stream: AsyncIterator[Any], text: str) -> list[str]:
    """Reads frames up to the first that contains `text`."""
    seen: list[str] = []
    async for frame in stream:
        seen.append(frame.data)
        if text in frame.data:
            break
    return seen


# --- two managers -------------------------------------------------------------------------------------------------------


async def test_the_second_knows_the_sessions_of_the_first(open_stage: OpenStage) -> None:
    first, second = open_stage(), open_stage()
    session_id = await first.session(title="Shared")
    await first.say(session_id, "one")

    assert second.data(session_id)["title"] == "Shared"
    assert [summary.session_id for summary in (await second.manager.list_sessions()).sessions] == [session_id]
    assert len(await second.manager.history(session_id)) == 2
    assert len(await second.manager.search("one")) == 2


@pytest.mark.parametrize("left", ["a stop that came too late", "a message"])
async def test_what_a_process_that_is_gone_has_left_for_an_idle_session_is_taken_in(
    open_stage: OpenStage, store: str, left: str
) -> None:
    stage = open_stage()
    session_id = await stage.session()
    await stage.say(session_id, "one")
    gone = SqliteStore(Path(store.removeprefix("sqlite:///")))
    await gone.open()
    late = CancelRequested(turn_id="t-over")
    message = MessageAccepted(message_id="m-2", turn_id="t-2", parts=(TextPart(text="two"),))
    await gone.inbox.post(session_id, msgspec.json.encode(message if left == "a message" else late))
    await gone.close()

    await frames(stage, session_id)  # they end
    said = [message.text for message in await stage.manager.history(session_id)]
    assert said[2:] == (["two", "You said: two"] if left == "a message" else [])


async def test_they_take_turns(open_stage: OpenStage) -> None:
    first, second = open_stage(), open_stage()
    session_id = await first.session()
    for number in range(3):
        await first.say(session_id, f"to the first {number}")
        await second.say(session_id, f"to the second {number}")
    said = [text for role, text in words(second.last_request) if role == "user"]
    assert said == [f"to the {who} {number}" for number in range(3) for who in ("first", "second")]
    assert await first.manager.history(session_id) == await second.manager.history(session_id)


async def test_the_second_follows_a_running_turn(open_stage: OpenStage) -> None:
    gate = Gate()
    first, second = open_stage([[Say(["So ", "far "]), gate, Say("so good.")]]), open_stage()
    session_id = await first.session()
    await first.manager.send(session_id, "Go")
    await gate.reached()

    following = second.manager.attach(session_id)
    async with asyncio.timeout(PATIENCE_S):
        seen = await until(following, "far ")
        assert second.data(session_id)["status"] == "running"
        gate.open()
        seen += [frame.data async for frame in following]
    checked_run(seen)
    assert FrontEnd().apply_all(seen).said() == "So far so good."
    assert second.backend.request_count == 0


async def test_the_second_knows_the_end_of_a_turn_that_it_stopped_following(open_stage: OpenStage) -> None:
    gate = Gate()
    first, second = open_stage([[Say("So far"), gate, Say(" so good.")]]), open_stage()
    session_id = await first.session()
    await first.manager.send(session_id, "Go")
    await gate.reached()
    following = second.manager.attach(session_id)
    await anext(following)
    await following.aclose()
    assert second.data(session_id)["status"] == "running"

    gate.open()
    await frames(first, session_id)
    fetched = await second.manager.fetch_session_data(session_id)
    assert fetched is not None
    assert fetched["status"] == "idle"
    for known in (second.data(session_id), second.manager.sessions[session_id]):
        assert (known["status"], known["last_seq"]) == ("idle", first.data(session_id)["last_seq"])


async def test_a_message_sent_at_the_second_while_the_first_is_busy_is_answered_once(open_stage: OpenStage) -> None:
    gate = Gate()
    first = open_stage(
        lambda request: [Say(f"To {words(request)[-1][1]}."), *([gate] if len(request.messages) == 1 else [])]
    )
    second = open_stage(lambda request: f"To {words(request)[-1][1]}.")
    session_id = await first.session()
    await first.manager.send(session_id, "one")
    await gate.reached()

    receipt = await second.manager.send(session_id, "two", idempotency_key="k")
    assert receipt.position == 1
    assert (await second.manager.send(session_id, "two", idempotency_key="k")).turn_id == receipt.turn_id
    gate.open()
    shown = FrontEnd().apply_all(await frames(second, session_id))
    while len(shown.shown) < 4:
        shown = FrontEnd().apply_all(await frames(second, session_id))
    assert [text for _, text in shown.shown] == ["one", "To one.", "two", "To two."]
    assert first.backend.request_count + second.backend.request_count == 2
    history = await first.manager.history(session_id)
    assert [message.text for message in history] == ["one", "To one.", "two", "To two."]
    assert history[2].turn_id == receipt.turn_id


@pytest.mark.parametrize("name", [{"idempotency_key": "k"}, {"turn_id": "run-1"}], ids=["key", "turn id"])
async def test_another_message_under_the_name_of_one_that_waits_for_the_first(
    open_stage: OpenStage, name: dict[str, str]
) -> None:
    gate = Gate()
    first, second = open_stage([[gate, Say("one")], [Say("two")]]), open_stage()
    session_id = await first.session()
    await first.manager.send(session_id, "one")
    await gate.reached()
    receipt = await second.manager.send(session_id, "two", **name)
    assert (await second.manager.send(session_id, "two", **name)).turn_id == receipt.turn_id
    with pytest.raises(InvalidArgument, match="is that of another message"):
        await second.manager.send(session_id, "three", **name)
    gate.open()
    async with asyncio.timeout(PATIENCE_S):
        while len(await first.manager.history(session_id)) < 4:
            await frames(second, session_id)
    assert [message.text for message in await first.manager.history(session_id)] == ["one", "one", "two", "two"]


async def test_a_receipt_of_the_second_leads_to_the_answer(open_stage: OpenStage) -> None:
    gate = Gate()
    first = open_stage(lambda request: [*([gate] if len(request.messages) == 1 else []), Say("Said.")])
    second = open_stage(lambda _: "Said.")
    session_id = await first.session()
    await first.manager.send(session_id, "one")
    await gate.reached()
    receipt = await second.manager.send(session_id, "two")
    gate.open()
    async with asyncio.timeout(PATIENCE_S):
        shown = [data async for _, data in second.manager.attach(session_id, receipt.cursor)]
    assert any(receipt.turn_id in data and "RUN_FINISHED" in data for data in shown)


async def test_a_turn_whose_message_waits_for_the_first_can_be_joined(open_stage: OpenStage) -> None:
    gate = Gate()
    first = open_stage(lambda request: [*([gate] if len(request.messages) == 1 else []), Say("Said.")])
    second = open_stage()
    session_id = await first.session()
    await first.manager.send(session_id, "one")
    await gate.reached()
    receipt = await second.manager.send(session_id, "two")
    reading = second.manager.attach(session_id, turn_id=receipt.turn_id)
    joined = asyncio.ensure_future(anext(reading))
    await let_others_run()
    assert not joined.done()
    gate.open()
    async with asyncio.timeout(PATIENCE_S):
        shown = [(await joined).data] + [data async for _, data in reading]
    checked_run(shown)
    assert json.loads(shown[0])["runId"] == receipt.turn_id
    assert FrontEnd().apply_all(shown).said() == "Said."


async def test_a_stream_at_the_second_shows_the_answer_of_the_first(open_stage: OpenStage) -> None:
    gate = Gate()
    first = open_stage(
        lambda request: [Say(list(f"To {words(request)[-1][1]}.")), *([gate] if len(request.messages) == 1 else [])]
    )
    second = open_stage()
    session_id = await first.session()
    await first.manager.send(session_id, "one")
    await gate.reached()
    reading = asyncio.ensure_future(said(second, session_id, "two"))
    await becomes(lambda: first.data(session_id)["message_count"] == 2)
    gate.open()
    assert text_of(await reading) == "To two."


async def test_reject_at_the_second(open_stage: OpenStage) -> None:
    gate = Gate()
    first, second = open_stage([[Say("a"), gate]]), open_stage()
    session_id = await first.session()
    await first.manager.send(session_id, "one")
    await gate.reached()
    with pytest.raises(TurnInProgress):
        await second.manager.send(session_id, "two", overlap="reject")
    gate.open()


async def test_cancel_at_the_second_stops_the_first(open_stage: OpenStage) -> None:
    gate = Gate()
    first, second = open_stage([[Say("So far"), gate]]), open_stage()
    session_id = await first.session()
    await first.manager.send(session_id, "one")
    await gate.reached()
    assert await second.manager.cancel(session_id) is True
    async with asyncio.timeout(1):
        run = checked_run(await frames(first, session_id))
    assert run[-1]["outcome"] == {"type": "cancelled"}
    assert first.backend.streams_open == 0


async def test_an_update_at_the_second_holds_for_the_first(open_stage: OpenStage) -> None:
    first, second = open_stage(), open_stage()
    session_id = await first.session(llm_model="old")
    await first.say(session_id, "one")
    await second.manager.update_session(session_id, llm_model="new")
    await first.say(session_id, "two")
    assert first.last_request.model == "new"
    assert first.data(session_id)["llm_model"] == "new"


async def test_a_session_cleaned_up_at_the_second_is_gone_for_the_first(open_stage: OpenStage) -> None:
    first, second = open_stage(), open_stage()
    session_id = await first.session()
    await first.say(session_id)
    await second.manager.cleanup_session(session_id)
    with pytest.raises(ValueError, match=session_id):
        await first.say(session_id, "Still there?")
    assert (await first.manager.list_sessions()).sessions == ()


async def test_both_at_once_never_mix(open_stage: OpenStage) -> None:
    def script(request: Any) -> Any:
        return [Say(list(f"To {words(request)[-1][1]}."))]

    stages = [open_stage(script), open_stage(script)]
    session_id = await stages[0].session()
    texts = [f"message {number}" for number in range(8)]
    runs = await asyncio.gather(*(said(stages[number % 2], session_id, text) for number, text in enumerate(texts)))
    assert [text_of(run) for run in runs] == [f"To {text}." for text in texts]
    history = await stages[0].manager.history(session_id)
    assert len(history) == 16
    assert [message.text for message in history[1::2]] == [f"To {message.text}." for message in history[::2]]
    assert history == await stages[1].manager.history(session_id)


async def test_the_same_given_id_at_both_is_one_session(open_stage: OpenStage) -> None:
    first, second = open_stage(), open_stage()
    await asyncio.gather(
        *(
            stage.session(existing_session_id="same", title=f"{number}")
            for number, stage in enumerate([first, second] * 5)
        )
    )
    assert len((await first.manager.list_sessions()).sessions) == 1
    await first.say("same", "one")
    await second.say("same", "two")
    assert len(await first.manager.history("same")) == 4


async def test_memory_of_a_user_is_shared(open_stage: OpenStage) -> None:
    from greenroom.backends.scripted import Call

    first = open_stage([[Call("remember", {"text": "Miez is the cat"})], "ok"])
    second = open_stage([[Call("recall", {"query": "cat"})], "ok"])
    await first.say(await first.session(user_id="ann"))
    await second.say(await second.session(user_id="ann"))
    assert any("Miez" in text for role, text in words(second.last_request) if role == "tool")


# --- two processes ------------------------------------------------------------------------------------------------------

PROGRAM = """
import asyncio, sys
from greenroom import AgentManager
from greenroom.backends.scripted import Gate, Say, ScriptedBackend

async def main(store, home, kind):
    script = [[Say(["The ", "wrong "]), Gate()]] if kind == "hang" else None
    manager = AgentManager(store, home=home, backends={"scripted": ScriptedBackend(script)})
    if kind == "hang":
        session_id = await manager.create_session(backend="scripted")
        print(session_id, flush=True)
        async for event in manager.stream_response(session_id, "Ask"):
            print(event, flush=True)
    else:
        async for event in manager.stream_response(kind, "From another process"):
            print(event, flush=True)
        await manager.close()

asyncio.run(main(*sys.argv[1:]))
"""


def started(store: str, home: Path, argument: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), store, str(home), argument],
        stdout=subprocess.PIPE, text=True, env={**os.environ},
    )  # fmt: skip


def lines_until(process: subprocess.Popen[str], text: str) -> list[str]:
    assert process.stdout is not None
    seen: list[str] = []
    for line in process.stdout:
        seen.append(line.rstrip("\n"))
        if text in line:
            break
    return seen


async def test_another_process_talks_to_a_session_that_is_open_here(
    open_stage: OpenStage, store: str, home: Path
) -> None:
    stage = open_stage()
    session_id = await stage.session()
    await stage.say(session_id, "From here")
    process = started(store, home, session_id)
    output, _ = await asyncio.to_thread(process.communicate)
    assert process.returncode == 0
    assert text_of(checked_run(output.splitlines())) == "You said: From another process"
    await stage.say(session_id, "Back here")
    assert [text for role, text in words(stage.last_request) if role == "user"] == [
        "From here", "From another process", "Back here",
    ]  # fmt: skip


async def test_a_killed_process_leaves_a_session_that_goes_on(open_stage: OpenStage, store: str, home: Path) -> None:
    process = started(store, home, "hang")
    try:
        session_id, *_ = await asyncio.to_thread(lines_until, process, "wrong ")
    finally:
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.communicate)

    stage = open_stage(["Right."])
    assert stage.data(session_id)["message_count"] >= 1
    shown = FrontEnd().apply_all(await frames(stage, session_id))
    assert shown.shown == [("user", "Ask"), ("assistant", "Right.")]
    assert stage.data(session_id)["status"] == "idle"
    assert json.loads(json.dumps(stage.data(session_id) | {"agent": None}))["turn_count"] == 1
