"""Calls about which a person is asked: the turn waits, durably, and goes on with what was decided."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from contract.conftest import OpenStage, in_memory, on_file
from contract.reading import parsed, run_of, text_of, types
from contract.stage import Stage, becomes, let_others_run, words
from greenroom import AlreadyDecided, ApprovalNotFound, InvalidArgument, SessionNotFound, Toolset, TurnInProgress, tool
from greenroom.backends.scripted import Call, Gate, Say
from greenroom.core.view import ToolCallView


class Files(Toolset):
    """Files that can be deleted."""

    def __init__(self) -> None:
        self.deleted: list[str] = []
        self.gate: Gate | None = None

    @tool
    async def delete_file_forever(self, path: str) -> str:
        """Deletes."""
        self.deleted.append(path)
        return f"{path} is gone"

    @tool(effect="pure")
    async def look_at(self, path: str) -> str:
        """Looks."""
        if self.gate is not None:
            await self.gate.pass_through()
        return f"{path} is there"

    @tool(needs_approval=True)
    async def format_disk(self) -> str:
        """Formats."""
        self.deleted.append("everything")
        return "formatted"


def script(*calls: Call) -> Callable[[Any], Any]:
    def step(request: Any) -> Any:
        role, said = words(request)[-1]
        return list(calls) if role == "user" else [Say(f"I read: {said}")]

    return step


DELETE = Call("delete_file_forever", {"path": "a.txt"})
LOOK = Call("look_at", {"path": "b.txt"})
ASK = {"delete_*": "ask"}


async def asked(open_stage: OpenStage, *calls: Call, **settings: Any) -> tuple[Stage, str, Files]:
    """Returns a stage with a session that waits for a person."""
    files = Files()
    stage = open_stage(script(*calls), toolsets=[files])
    session_id = await stage.session(**{"additional_tools": ["Files"], "approval": ASK, **settings})
    events = await run_of(stage.manager.stream_response(session_id, "delete it"))
    assert events[-1]["outcome"]["type"] == "interrupt"
    assert stage.data(session_id)["status"] == "waiting"
    return stage, session_id, files


async def answer_of(stage: Stage, session_id: str) -> str:
    await becomes(lambda: stage.data(session_id)["status"] == "idle")
    return (await stage.manager.history(session_id))[-1].text


async def test_a_call_waits_and_runs_when_a_person_approves(open_stage: OpenStage) -> None:
    stage, session_id, files = await asked(open_stage, DELETE)
    assert files.deleted == []
    [approval] = await stage.manager.approvals(session_id)
    assert (approval.name, json.loads(approval.arguments), approval.question) == (
        "delete_file_forever", {"path": "a.txt"}, "run",
    )  # fmt: skip
    receipt = await stage.manager.approve(session_id, approval.approval_id, "approve")
    assert receipt.turn_id == approval.turn_id
    assert await answer_of(stage, session_id) == "I read: a.txt is gone"
    assert files.deleted == ["a.txt"]
    assert await stage.manager.approvals(session_id) == []


async def test_a_denied_call_never_runs_and_the_model_reads_why(open_stage: OpenStage) -> None:
    stage, session_id, files = await asked(open_stage, DELETE)
    [approval] = await stage.manager.approvals(session_id)
    await stage.manager.approve(session_id, approval.approval_id, "deny", reason="I still need it")
    answer = await answer_of(stage, session_id)
    assert "declined" in answer
    assert "I still need it" in answer
    assert files.deleted == []
    view = (await stage.manager.history(session_id))[-1].parts[0]
    assert isinstance(view, ToolCallView)
    assert view.outcome == "denied"
    assert view.approval is not None
    assert (view.approval.decision, view.approval.reason) == ("deny", "I still need it")


async def test_approved_with_other_arguments_it_runs_with_those_and_the_model_knows(open_stage: OpenStage) -> None:
    stage, session_id, files = await asked(open_stage, DELETE)
    [approval] = await stage.manager.approvals(session_id)
    await stage.manager.approve(session_id, approval.approval_id, "approve", arguments={"path": "old.txt"})
    answer = await answer_of(stage, session_id)
    assert files.deleted == ["old.txt"]
    assert "old.txt is gone" in answer
    assert "A person changed the arguments" in answer
    sent = next(m for m in stage.last_request.messages if getattr(m, "parts", None) and "AssistantMessage" in repr(m))
    assert "a.txt" in repr(sent), "what the model wrote stays as it was"


@in_memory
@pytest.mark.parametrize("arguments", [{}, {"path": 7, "more": 1}, {"path": ["x"]}])
async def test_arguments_that_do_not_fit_are_refused_and_it_waits_on(
    open_stage: OpenStage, arguments: dict[str, Any]
) -> None:
    stage, session_id, files = await asked(open_stage, DELETE)
    [approval] = await stage.manager.approvals(session_id)
    with pytest.raises(InvalidArgument, match="path"):
        await stage.manager.approve(session_id, approval.approval_id, "approve", arguments=arguments)
    assert stage.data(session_id)["status"] == "waiting"
    assert files.deleted == []


@in_memory
async def test_what_does_not_make_sense_is_refused(open_stage: OpenStage) -> None:
    stage, session_id, _ = await asked(open_stage, DELETE)
    approve = stage.manager.approve
    [approval] = await stage.manager.approvals(session_id)
    with pytest.raises(InvalidArgument, match="approve or deny"):
        await approve(session_id, approval.approval_id, "perhaps")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="denied"):
        await approve(session_id, approval.approval_id, "deny", arguments={"path": "x"})
    with pytest.raises(ApprovalNotFound):
        await approve(session_id, "nothing.1", "approve")
    with pytest.raises(SessionNotFound):
        await approve("elsewhere", approval.approval_id, "approve")
    assert stage.data(session_id)["status"] == "waiting"


async def test_deciding_twice_is_harmless_and_deciding_otherwise_is_refused(open_stage: OpenStage) -> None:
    stage, session_id, files = await asked(open_stage, DELETE)
    [approval] = await stage.manager.approvals(session_id)
    await asyncio.gather(*(stage.manager.approve(session_id, approval.approval_id, "approve") for _ in range(3)))
    await answer_of(stage, session_id)
    seq = stage.data(session_id)["last_seq"]
    await stage.manager.approve(session_id, approval.approval_id, "approve")
    with pytest.raises(AlreadyDecided):
        await stage.manager.approve(session_id, approval.approval_id, "deny")
    assert stage.data(session_id)["last_seq"] == seq
    assert files.deleted == ["a.txt"]


async def test_the_other_calls_of_the_step_do_not_wait(open_stage: OpenStage) -> None:
    stage, session_id, files = await asked(open_stage, DELETE, LOOK, Call("delete_file_forever", {"path": "c.txt"}))
    views = [part for part in (await stage.manager.history(session_id))[-1].parts if isinstance(part, ToolCallView)]
    assert [view.outcome for view in views] == [None, "ok", None]
    first, second = await stage.manager.approvals(session_id)
    await stage.manager.approve(session_id, second.approval_id, "approve")
    await becomes(lambda: stage.data(session_id)["status"] == "waiting")
    assert files.deleted == ["c.txt"]
    await stage.manager.approve(session_id, first.approval_id, "deny")
    await answer_of(stage, session_id)
    results = [text for role, text in words(stage.last_request) if role == "tool"]
    assert [text.split()[0] for text in results] == ["[Not", "b.txt", "c.txt"], "results keep the order of the calls"


async def test_a_waiting_session_survives_its_process_and_anybody_may_decide(
    open_stage: OpenStage, file_store: str
) -> None:
    files = Files()
    first = open_stage(script(DELETE), store=file_store, toolsets=[files])
    session_id = await first.session(additional_tools=["Files"], approval=ASK)
    await first.say(session_id, "delete it")
    seq = first.data(session_id)["last_seq"]
    await first.manager.close()

    second = open_stage(script(DELETE), store=file_store, toolsets=[files])
    assert await second.manager.recover() == 0, "there is nothing to do before a person decides"
    data = await second.manager.fetch_session_data(session_id)
    assert data is not None
    assert (data["status"], data["last_seq"]) == ("waiting", seq)
    [approval] = await second.manager.approvals(session_id)
    await second.manager.approve(session_id, approval.approval_id, "approve")
    assert await answer_of(second, session_id) == "I read: a.txt is gone"


async def test_a_stop_ends_a_turn_that_waits(open_stage: OpenStage) -> None:
    stage, session_id, files = await asked(open_stage, DELETE)
    [approval] = await stage.manager.approvals(session_id)
    assert await stage.manager.cancel(session_id)
    await becomes(lambda: stage.data(session_id)["status"] == "idle")
    with pytest.raises(AlreadyDecided):
        await stage.manager.approve(session_id, approval.approval_id, "approve")
    assert files.deleted == []
    assert (await stage.manager.history(session_id))[-1].outcome == "cancelled"
    assert types(await stage.say(session_id, "go on"))[0] == "RUN_STARTED"


async def test_messages_wait_behind_it_and_an_interrupt_does_not(open_stage: OpenStage) -> None:
    stage, session_id, files = await asked(open_stage, DELETE)
    receipt = await stage.manager.send(session_id, "later")
    assert receipt.position == 1
    with pytest.raises(TurnInProgress):
        await stage.manager.send(session_id, "now?", overlap="reject")
    await stage.manager.send(session_id, "stop that", overlap="interrupt")
    # Both of the others are asked about again: each deletes a file.
    await becomes(lambda: stage.data(session_id)["status"] == "waiting")
    assert stage.manager.history is not None
    said = [message.text for message in await stage.manager.history(session_id) if message.role == "user"]
    assert said == ["delete it", "stop that", "later"]
    assert files.deleted == []


@pytest.mark.parametrize(
    ("rules", "name", "expected"),
    [
        ({}, "delete_file_forever", "ran"),
        ({}, "format_disk", "waits"),
        ({"*": "allow"}, "format_disk", "ran"),
        ({"delete_*": "deny"}, "delete_file_forever", "denied"),
        ({"*": "ask", "delete_*": "allow"}, "delete_file_forever", "ran"),
        ({"delete_*": "allow", "*": "ask"}, "delete_file_forever", "ran"),
        ({"delete_file_*": "ask", "delete_*": "deny"}, "delete_file_forever", "waits"),
        ({"delete_file_forever": "allow", "delete_file_foreve?": "deny"}, "delete_file_forever", "ran"),
        ({"Delete_*": "deny"}, "delete_file_forever", "ran"),
    ],
)
@in_memory
async def test_the_most_specific_pattern_counts(
    open_stage: OpenStage, rules: dict[str, str], name: str, expected: str
) -> None:
    files = Files()
    call = Call(name, {"path": "a.txt"} if name.startswith("delete") else {})
    stage = open_stage(script(call), toolsets=[files])
    session_id = await stage.session(additional_tools=["Files"], approval=rules)
    await stage.say(session_id, "do it")
    assert stage.data(session_id)["status"] == ("waiting" if expected == "waits" else "idle")
    assert bool(files.deleted) == (expected == "ran")
    if expected == "denied":
        assert "does not allow" in (await stage.manager.history(session_id))[-1].text


@in_memory
async def test_nobody_is_asked_about_a_call_that_cannot_run(open_stage: OpenStage) -> None:
    files = Files()
    stage = open_stage(script(Call("delete_file_forever", {"file": "a"}), Call("delete_nothing")), toolsets=[files])
    session_id = await stage.session(additional_tools=["Files"], approval=ASK)
    await stage.say(session_id, "do it")
    results = [text for role, text in words(stage.last_request) if role == "tool"]
    assert "path is missing" in results[0]
    assert "no tool 'delete_nothing'" in results[1]


@in_memory
@pytest.mark.parametrize(
    "value",
    [{"delete_*": "maybe"}, {"": "ask"}, {"x" * 129: "ask"}, ["ask"], "ask", {f"t{n}": "ask" for n in range(101)}],
)
async def test_rules_that_make_no_sense_are_refused(stage: Stage, value: Any) -> None:
    with pytest.raises(InvalidArgument, match="approval"):
        await stage.session(approval=value)
    await stage.session(approval={f"t{n}": "ask" for n in range(100)})


@on_file
async def test_a_decision_reaches_the_process_that_is_at_work(open_stage: OpenStage, store: str) -> None:
    files = Files()
    files.gate = gate = Gate()
    owner = open_stage(script(DELETE, LOOK), toolsets=[files])
    session_id = await owner.session(additional_tools=["Files"], approval=ASK)
    await owner.manager.send(session_id, "delete it")
    await gate.reached()  # one call runs, the other one waits for a person

    other = open_stage(script(DELETE, LOOK), store=store, toolsets=[Files()])
    [approval] = await other.manager.approvals(session_id)
    await other.manager.approve(session_id, approval.approval_id, "approve")
    # Before the gate opens: a turn that waits for nothing but the decision may go on in either process.
    while await owner.manager.approvals(session_id):
        await let_others_run()
    gate.open()
    assert "b.txt is there" in await answer_of(owner, session_id)
    assert files.deleted == ["a.txt"]


async def test_a_front_end_sees_the_question_and_the_rest_of_the_turn(open_stage: OpenStage) -> None:
    files = Files()
    stage = open_stage(script(DELETE), toolsets=[files])
    session_id = await stage.session(additional_tools=["Files"], approval=ASK)
    events = await run_of(stage.manager.stream_response(session_id, "delete it"))
    [interrupt] = events[-1]["outcome"]["interrupts"]
    receipt = await stage.manager.approve(session_id, interrupt["id"], "approve")
    # The validator sees one run only, and the call was started in the run before.
    rest = [parsed(frame.data) async for frame in stage.manager.attach(session_id, receipt.cursor)]
    assert types(rest)[:3] == ["RUN_STARTED", "CUSTOM", "TOOL_CALL_RESULT"]
    assert text_of(rest) == "I read: a.txt is gone"
    assert rest[-1]["outcome"]["type"] == "success"


async def test_the_rest_of_a_turn_is_a_run_of_its_own_name(open_stage: OpenStage) -> None:
    files = Files()
    stage = open_stage(script(DELETE), toolsets=[files])
    session_id = await stage.session(additional_tools=["Files"], approval=ASK)
    receipt = await stage.manager.send(session_id, "delete it", turn_id="run-1")
    asked = [parsed(frame.data) async for frame in stage.manager.attach(session_id, turn_id="run-1")]
    approval_id = asked[-1]["outcome"]["interrupts"][0]["id"]
    decided = await stage.manager.approve(session_id, approval_id, "approve", run_id="run-2")
    rest = [parsed(frame.data) async for frame in stage.manager.attach(session_id, decided.cursor)]
    assert (rest[0]["runId"], rest[0]["parentRunId"], rest[-1]["runId"]) == ("run-2", "run-1", "run-2")
    whole = [parsed(frame.data) async for frame in stage.manager.attach(session_id, receipt.cursor, turn_id="run-1")]
    assert [event["runId"] for event in whole if event["type"] == "RUN_STARTED"] == ["run-1", "run-2"]
    snapshot = [parsed(frame.data) async for frame in stage.manager.attach(session_id)]
    assert (snapshot[0]["runId"], snapshot[-1]["runId"]) == ("run-2", "run-2")
    with pytest.raises(InvalidArgument, match="'run-2' is that of another message"):
        await stage.manager.send(session_id, "again", turn_id="run-2")


async def test_a_name_that_is_in_use_names_no_run(open_stage: OpenStage) -> None:
    stage = open_stage(script(DELETE), toolsets=[Files()])
    session_id = await stage.session(additional_tools=["Files"], approval=ASK)
    await run_of(stage.manager.stream_response(session_id, "delete it"))
    [approval] = await stage.manager.approvals(session_id)
    decided = await stage.manager.approve(session_id, approval.approval_id, "approve", run_id=approval.turn_id)
    rest = [parsed(frame.data) async for frame in stage.manager.attach(session_id, decided.cursor)]
    assert rest[0]["runId"] == approval.turn_id
    assert "parentRunId" not in rest[0]
    with pytest.raises(InvalidArgument, match="run_id"):
        await stage.manager.approve(session_id, approval.approval_id, "approve", run_id="a/b")
