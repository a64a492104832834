"""Every bound of `Limits`: what fits exactly is taken, one more is refused, cut or waits, as its documentation says.

Rule: a bound without a line here, or a named test of its own, fails `test_every_bound_is_tried`.
"""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from contract.conftest import OpenStage, in_memory
from contract.stage import Stage, becomes
from greenroom import LimitExceeded, Toolset, tool
from greenroom.backends.scripted import Call, Cut, Fail, Gate, Say, Think
from greenroom.errors import BackendUnavailable, InvalidArgument
from greenroom.limits import Limits

TESTS: Final = Path(__file__).parents[1]

Try = Callable[[Stage, str, int], Awaitable[Any]]
"""Brings so much into a session."""


def attachment(size: int) -> Mapping[str, Any]:
    return {"data": b"x" * size, "name": "a.txt", "media_type": "text/plain"}


async def message(stage: Stage, session_id: str, size: int) -> None:
    await stage.manager.send(session_id, "é" * (size // 2) + "x" * (size % 2))


async def one_attachment(stage: Stage, session_id: str, size: int) -> None:
    await stage.manager.send(session_id, "Look", attachments=[attachment(size)])


async def attachments(stage: Stage, session_id: str, count: int) -> None:
    await stage.manager.send(session_id, "Look", attachments=[attachment(1)] * count)


async def prompt(stage: Stage, session_id: str, size: int) -> None:
    await stage.manager.send(session_id, "Hi", "p" * size)


async def queue(stage: Stage, session_id: str, count: int) -> None:
    before = len(await stage.manager.queue(session_id))
    for _ in range(count - before):
        await stage.manager.send(session_id, "wait")


async def page(stage: Stage, _: str, rows: int) -> None:
    await stage.manager.list_sessions(limit=rows)


TAKEN: Final[Mapping[str, Try]] = {
    "message_bytes_max": message,
    "attachment_bytes_max": one_attachment,
    "attachments_max": attachments,
    "prompt_bytes_max": prompt,
    "queue_max": queue,
    "page_max": page,
}


@in_memory
@pytest.mark.parametrize("name", sorted(TAKEN))
async def test_what_comes_in_fits_or_is_refused(open_stage: OpenStage, name: str) -> None:
    gate = Gate()
    stage = open_stage([[gate, Say("x")]] + [[Say("x")]] * 9, config={"limits": {name: 7}})
    session_id = await stage.session()
    await stage.manager.send(session_id, "Go")
    await gate.reached()
    await TAKEN[name](stage, session_id, 7)
    seq = stage.data(session_id)["last_seq"]
    with pytest.raises((LimitExceeded, InvalidArgument)) as refused:
        await TAKEN[name](stage, session_id, 8)
    assert "7" in f"{refused.value} {refused.value.hint}", "says how much is taken"
    assert stage.data(session_id)["last_seq"] == seq, "nothing was written"
    gate.open()


@in_memory
async def test_what_a_person_says_about_an_approval(open_stage: OpenStage) -> None:
    stage = open_stage([[Call("pay")], [Say("x")]], toolsets=[Till], config={"limits": {"reason_bytes_max": 10}})
    session_id = await stage.session(additional_tools=["Till"], approval={"pay": "ask"})
    await stage.say(session_id)
    (asked,) = await stage.manager.approvals(session_id)
    with pytest.raises(LimitExceeded, match="10"):
        await stage.manager.approve(session_id, asked.approval_id, "deny", reason="x" * 11)
    await stage.manager.approve(session_id, asked.approval_id, "deny", reason="ä" * 5)


class Till(Toolset):
    """Counts how many of its calls run at the same time."""

    def __init__(self) -> None:
        self.running = self.most = 0
        self.gate = Gate()

    @tool(effect="pure")
    async def pay(self) -> str:
        """Pays."""
        self.running += 1
        self.most = max(self.most, self.running)
        await self.gate.pass_through()
        self.running -= 1
        return "paid"


@in_memory
@pytest.mark.parametrize("calls", [3, 4])
async def test_tool_calls_at_the_same_time(open_stage: OpenStage, calls: int) -> None:
    till = Till()
    stage = open_stage(
        [[Call("pay") for _ in range(calls)], [Say("x")]],
        toolsets=[till],
        config={"limits": {"tools_concurrent_max": 3}},
    )
    session_id = await stage.session(additional_tools=["Till"])
    await stage.manager.send(session_id, "Go")
    await becomes(lambda: till.running == 3)
    till.gate.open()
    async for _ in stage.manager.attach(session_id):
        pass
    assert till.most == 3
    assert [row.role for row in await stage.manager.history(session_id)].count("tool") in {0, calls}


class Talker(Toolset):
    """Talks."""

    @tool(effect="pure")
    async def talk(self, size: int) -> str:
        """Talks.

        Args:
            size: how much.
        """
        return "x" * size


@in_memory
async def test_what_a_tool_says_fits_or_is_cut(open_stage: OpenStage) -> None:
    bound = 1000
    calls = [Call("talk", {"size": bound}), Call("talk", {"size": bound + 1})]
    stage = open_stage([calls, [Say("x")]], toolsets=[Talker], config={"limits": {"tool_output_bytes_max": bound}})
    session_id = await stage.session(additional_tools=["Talker"])
    results = [event["content"] for event in await stage.say(session_id) if event["type"] == "TOOL_CALL_RESULT"]
    assert results[0] == "x" * bound
    assert results[1] == "x" * bound + "\n[cut: 1001 characters, the first 1000 are shown]", "and the model is told"


STEPS: Final = {
    "step_bytes_max": ({"step_bytes_max": 10}, [Say("x" * 10)], [Say("x" * 11)]),
    "step_bytes_max, of all parts": ({"step_bytes_max": 10}, [Think("x" * 4), Say("x" * 6)], [Think("xxxx"), Say("x" * 7)]),
    "step_parts_max": ({"step_parts_max": 2}, [Think("a"), Say("b")], [Think("a"), Say("b"), Think("c")]),
    "tool_arguments_bytes_max": (
        {"tool_arguments_bytes_max": 20},
        [Call("roll_dice", '{"notation":  "1d1"}')],
        [Call("roll_dice", '{"notation":   "1d1"}')],
    ),
}  # fmt: skip


@in_memory
@pytest.mark.parametrize("name", sorted(STEPS))
async def test_what_a_model_says_fits_or_ends_the_turn(open_stage: OpenStage, name: str) -> None:
    limits, fits, beyond = STEPS[name]
    stage = open_stage([fits, [Say("x")]], config={"limits": limits})
    session_id = await stage.session()
    assert (await stage.say(session_id))[-1]["type"] == "RUN_FINISHED"

    stage = open_stage([beyond, [Say("x")]], config={"limits": limits}, store="memory://")
    session_id = await stage.session()
    last = (await stage.say(session_id))[-1]
    assert (last["type"], last["code"]) == ("RUN_ERROR", "limit_exceeded")
    assert (await stage.say(session_id))[-1]["type"] == "RUN_FINISHED", "the session goes on"


@in_memory
@pytest.mark.parametrize(
    ("limits", "script", "tries"),
    [
        ({"retries_max": 2}, [Fail(BackendUnavailable("busy"))], 3),
        ({"attempts_max": 2}, [Say("half"), Cut()], 3),
    ],
    ids=["retries_max", "attempts_max"],
)
async def test_how_often_a_provider_is_asked(
    open_stage: OpenStage, limits: dict[str, int], script: list[Any], tries: int
) -> None:
    """The bound counts repetitions: one try more than it says."""
    stage = open_stage([script] * (tries - 1) + [[Say("at last")]], config={"limits": limits})
    session_id = await stage.session()
    assert (await stage.say(session_id))[-1]["type"] == "RUN_FINISHED"
    assert stage.backend.request_count == tries

    stage = open_stage([script] * tries + [[Say("too late")]], config={"limits": limits}, store="memory://")
    session_id = await stage.session()
    assert (await stage.say(session_id))[-1]["type"] == "RUN_ERROR"
    assert stage.backend.request_count == tries


@in_memory
@pytest.mark.virtual_time
@pytest.mark.parametrize(("asked_s", "end"), [(5.0, "RUN_FINISHED"), (5.1, "RUN_ERROR")])
async def test_how_long_a_provider_may_ask_for(open_stage: OpenStage, asked_s: float, end: str) -> None:
    script = [[Fail(BackendUnavailable("busy", retry_after_s=asked_s))], [Say("at last")]]
    stage = open_stage(script, config={"limits": {"retry_wait_s_max": 5.0}})
    session_id = await stage.session()
    assert (await stage.say(session_id))[-1]["type"] == end


@in_memory
@pytest.mark.virtual_time
async def test_how_long_the_first_pause_is(open_stage: OpenStage) -> None:
    script = [[Fail(BackendUnavailable("busy"))]] * 2 + [[Say("at last")]]
    stage = open_stage(script, config={"limits": {"retry_base_s": 8.0, "retry_wait_s_max": 60.0}})
    session_id = await stage.session()
    began_s = asyncio.get_running_loop().time()
    await stage.say(session_id)
    # Eight seconds, then sixteen, each with a half of it at random.
    assert 4 + 8 <= asyncio.get_running_loop().time() - began_s <= 8 + 16


async def test_words_of_a_query(open_stage: OpenStage) -> None:
    stage = open_stage([[Say("x")]] * 2, config={"limits": {"search_words_max": 2}})
    session_id = await stage.session()
    await stage.say(session_id, "apples pears")
    found = await stage.manager.search("apples pears plums")
    assert {hit.session_id for hit in found} == {session_id}, "the third word is not looked for"
    assert not await stage.manager.search("apples plums")


ELSEWHERE: Final = {
    "flush_ms_max": "runtime/test_flushing.py",
    "flush_bytes_max": "runtime/test_flushing.py",
    "stream_idle_s_max": "backends/test_transport.py",
    "reader_entries_max": "contract/test_attach.py",
    "read_page_bytes": "runtime/test_follow.py",
    "sessions_open_max": "contract/test_members.py",
    "sessions_open_bytes_max": "contract/test_members.py",
    "session_idle_s_max": "contract/test_resources.py",
    "revive_wait_s_max": "runtime/test_failing_log.py",
    "stop_s_max": "runtime/test_stopping.py",
    "drain_s_max": "contract/test_manager.py",
    "request_body_bytes_max": "server/test_request_bounds.py",
    "text_body_bytes_max": "server/test_request_bounds.py",
    "json_body_bytes_max": "server/test_request_bounds.py",
    "json_values_max": "server/test_request_bounds.py",
    "request_bodies_bytes_max": "server/test_bad_input.py",
    "request_bodies_per_user_bytes_max": "server/test_request_bounds.py",
    "connections_per_address_max": "server/test_serving.py",
    "import_bytes_max": "server/test_bad_input.py",
    "request_headers_bytes_max": "server/test_serving.py",
    "request_read_s_max": "server/test_serving.py",
    "answers_bytes_max": "server/test_unread.py",
    "answers_per_user_bytes_max": "server/test_unread.py",
    "unread_s_max": "server/test_unread.py",
    "log_waiting_bytes_max": "server/test_serving.py",
    "connections_max": "server/test_serving.py",
    "streams_max": "server/test_bad_input.py",
    "streams_per_user_max": "server/test_bad_input.py",
    "requests_per_minute_max": "server/test_bad_input.py",
    "failed_logins_per_minute_max": "server/test_access.py",
    "close_s_max": "contract/test_misbehaving_tools.py",
    "file_threads_max": "toolsets/test_thread_shares.py",
    "file_threads_per_user_max": "toolsets/test_thread_shares.py",
    "search_threads_max": "toolsets/test_thread_shares.py",
    "search_threads_per_user_max": "toolsets/test_thread_shares.py",
    "logins_per_user_max": "server/test_logins.py",
    "login_idle_s_max": "server/test_logins.py",
    "login_s_max": "server/test_logins.py",
    "login_code_s_max": "server/test_logins.py",
    "login_codes_max": "server/test_logins.py",
    "messages_per_minute_max": "server/test_bad_input.py",
    "search_text_chars_max": "logs/test_sqlite.py",
    "search_texts_max": "logs/test_sqlite.py",
    "export_bytes_max": "contract/test_bundles.py",
    "import_records_max": "contract/test_bundles.py",
    "import_record_bytes_max": "contract/test_bundles.py",
    "copies_max": "contract/test_bundles.py",
    "sources_max": "backends/test_given.py",
    "recovery_look_s_max": "server/test_recovering.py",
    "workspace_bytes_max": "contract/test_bundles.py",
    "workspace_files_max": "toolsets/test_contained.py",
    "workspace_file_bytes_max": "contract/test_bundles.py",
    "workspace_read_bytes_max": "toolsets/test_workspace.py",
    "workspace_lines_max": "toolsets/test_workspace.py",
    "workspace_search_s_max": "toolsets/test_workspace.py",
    "memories_max": "toolsets/conftest.py",
    "memory_bytes_max": "toolsets/conftest.py",
    "preferences_max": "toolsets/conftest.py",
}
"""Bounds that are tried where what they bound is tested: name -> the file that names the bound; those of tools are set for all of them."""


def test_every_bound_is_tried() -> None:
    here = {word for node in ast.walk(ast.parse(Path(__file__).read_text())) for word in words_of(node)}
    for field in msgspec.structs.fields(Limits):
        if (file := ELSEWHERE.get(field.name)) is None:
            assert field.name in here, f"{field.name} is not tried"
        else:
            assert field.name in (TESTS / file).read_text(encoding="utf-8"), f"{file} does not try {field.name}"
    assert set(ELSEWHERE) <= {field.name for field in msgspec.structs.fields(Limits)}


def words_of(node: ast.AST) -> list[str]:
    """Keys of the dictionaries of this file, but for the one of what is tried elsewhere."""
    if not isinstance(node, ast.Dict):
        return []
    keys = [key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
    return [] if "flush_ms_max" in keys else keys
