"""The further members of `AgentManager`: update, history, listing, search, fork, rewind, hibernate, and those of later versions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from contract.conftest import OpenStage, in_memory
from contract.reading import FrontEnd, results_of, text_of
from contract.stage import Stage, words
from greenroom import (
    AgentManager,
    BackendRejected,
    InvalidArgument,
    SessionNotFound,
    TurnInProgress,
)
from greenroom.backends.scripted import Call, Fail, Gate, Refuse, Say, Think

Member = Callable[[AgentManager, Any], Awaitable[object]]

BY_ID: dict[str, Member] = {
    "update_session": lambda manager, given: manager.update_session(given, temperature=1),
    "plan_update": lambda manager, given: manager.plan_update(given, temperature=1),
    "rollback_session": lambda manager, given: manager.rollback_session(given, 1),
    "send": lambda manager, given: manager.send(given, "Hi"),
    "attach": lambda manager, given: anext(manager.attach(given)),
    "cancel": lambda manager, given: manager.cancel(given),
    "steer": lambda manager, given: manager.steer(given, "left"),
    "approve": lambda manager, given: manager.approve(given, "a1", "allow"),
    "fork_session": lambda manager, given: manager.fork_session(given),
    "rewind_session": lambda manager, given: manager.rewind_session(given, "t1"),
    "history": lambda manager, given: manager.history(given),
    "export_session": lambda manager, given: manager.export_session(given),
    "hibernate": lambda manager, given: manager.hibernate(given),
}


@in_memory
@pytest.mark.parametrize("member", BY_ID.values(), ids=BY_ID)
@pytest.mark.parametrize("given", ["never-there", "", "../up", "a b", None, 7], ids=repr)
async def test_an_unknown_session_is_not_found(stage: Stage, member: Member, given: object) -> None:
    with pytest.raises(SessionNotFound) as refused:
        await member(stage.manager, given)
    assert isinstance(refused.value, ValueError)
    assert refused.value.code == "session_not_found"
    assert (await stage.manager.list_sessions()).sessions == ()
    assert len(stage.manager._locks) == 0


# --- update_session -----------------------------------------------------------------------------------------------------


async def test_update_changes_what_is_named_and_nothing_else(stage: Stage) -> None:
    session_id = await stage.session(temperature=0.5, title="Kept", llm_model="old")
    before = stage.data(session_id)
    await stage.manager.update_session(session_id, llm_model="new")
    after = stage.data(session_id)

    assert after["llm_model"] == "new"
    assert after["title"] == "Kept"
    assert after["settings"] == before["settings"]
    assert after["config_version"] == before["config_version"] + 1


async def test_every_update_is_a_version(stage: Stage) -> None:
    session_id = await stage.session()
    for version, temperature in enumerate((0.1, 0.2, 0.3), start=2):
        await stage.manager.update_session(session_id, temperature=temperature)
        assert stage.data(session_id)["config_version"] == version
    await stage.manager.update_session(session_id, temperature=0.3, title="A label is no configuration")
    assert stage.data(session_id)["config_version"] == 4
    assert stage.data(session_id)["title"] == "A label is no configuration"


@pytest.mark.parametrize(
    "bad", [{"temperature": 9}, {"backend": "nowhere"}, {"persona_name": "nobody"}, {"nonsense": 1}]
)
async def test_a_refused_update_changes_nothing(stage: Stage, bad: dict[str, Any]) -> None:
    session_id = await stage.session(llm_model="old")
    seq = stage.data(session_id)["last_seq"]
    with pytest.raises((ValueError, TypeError)):
        await stage.manager.update_session(session_id, **{"llm_model": "new", "title": "new", **bad})
    assert stage.data(session_id)["llm_model"] == "old"
    assert stage.data(session_id)["title"] == ""
    assert stage.data(session_id)["last_seq"] == seq


async def test_an_update_within_a_turn_holds_from_the_next_step_on(open_stage: OpenStage) -> None:
    stages: list[Stage] = []
    gate = Gate()
    stage = open_stage([[Call("roll_dice", {"notation": "1d1"}), gate], "Done."])
    stages.append(stage)
    session_id = await stage.session(llm_model="old", temperature=0.1)
    reading = asyncio.ensure_future(stage.say(session_id))
    await gate.reached()
    await stage.manager.update_session(session_id, llm_model="new", temperature=0.9)
    gate.open()
    await reading
    assert [(request.model, request.temperature) for request in stage.backend.requests] == [("old", 0.1), ("new", 0.9)]


async def test_updates_survive_a_restart(open_stage: OpenStage, file_store: str) -> None:
    first = open_stage(store=file_store)
    session_id = await first.session()
    await first.manager.update_session(session_id, llm_model="new", title="New", metadata={"a": 1})
    await first.manager.close()
    data = open_stage(store=file_store).data(session_id)
    assert (data["llm_model"], data["title"], data["settings"]["metadata"]) == ("new", "New", {"a": 1})


# --- history ------------------------------------------------------------------------------------------------------------


async def test_history_has_everything_in_order(open_stage: OpenStage) -> None:
    stage = open_stage(
        [[Think("Hm."), Say("Rolling."), Call("roll_dice", {"notation": "2d1"})], "Two.", [Refuse("No.")],
         Fail(BackendRejected("broken"))]
    )  # fmt: skip
    session_id = await stage.session()
    for text in ("Roll", "Do harm", "Break"):
        await stage.say(session_id, text)
    history = await stage.manager.history(session_id)

    assert isinstance(history, list)
    assert [(message.role, message.text) for message in history] == [
        ("user", "Roll"),
        ("assistant", "Rolling.\nTwo."),
        ("user", "Do harm"),
        ("assistant", "No."),
        ("user", "Break"),
        ("assistant", ""),
    ]
    assert [message.outcome for message in history[1::2]] == ["completed", "completed", "failed"]
    assert history[-1].error_code == "backend_rejected"
    assert len({message.message_id for message in history}) == 6
    assert [message.turn_id for message in history[::2]] == [message.turn_id for message in history[1::2]]
    assert "2 = " in str(history[1].parts)


async def test_history_is_the_same_after_a_restart(open_stage: OpenStage, file_store: str) -> None:
    first = open_stage([[Think("Hm."), Say("ok"), Call("roll_dice")], "Done."], store=file_store)
    session_id = await first.session()
    await first.say(session_id, "Roll")
    history = await first.manager.history(session_id)
    await first.manager.close()
    assert await open_stage(store=file_store).manager.history(session_id) == history


async def test_the_history_of_a_new_session_is_empty(stage: Stage) -> None:
    assert await stage.manager.history(await stage.session()) == []


# --- listing and search -------------------------------------------------------------------------------------------------


async def test_paging_shows_every_session_once_the_latest_first(stage: Stage) -> None:
    ids = [await stage.session() for _ in range(23)]
    seen: list[str] = []
    cursor: str | None = None
    pages = 0
    while True:
        page = await stage.manager.list_sessions(limit=5, cursor=cursor)
        assert len(page.sessions) <= 5
        seen += [summary.session_id for summary in page.sessions]
        cursor, pages = page.cursor, pages + 1
        if cursor is None:
            break
    assert sorted(seen) == sorted(ids)
    assert pages == 5
    times = [stage.data(session_id)["updated_at"] for session_id in seen]
    assert times == sorted(times, reverse=True)


async def test_paging_survives_changes_in_between(stage: Stage) -> None:
    ids = [await stage.session() for _ in range(10)]
    first = await stage.manager.list_sessions(limit=5)
    await stage.session()
    shown = {summary.session_id for summary in first.sessions}
    left = next(session_id for session_id in ids if session_id not in shown)
    await stage.manager.cleanup_session(left)
    second = await stage.manager.list_sessions(limit=50, cursor=first.cursor)

    rest = [summary.session_id for summary in second.sessions]
    assert not shown & set(rest)
    assert shown | set(rest) | {left} >= set(ids)


async def test_the_default_page_has_at_most_fifty(stage: Stage) -> None:
    for _ in range(52):
        await stage.session()
    page = await stage.manager.list_sessions()
    assert len(page.sessions) == 50
    assert page.cursor is not None


async def test_a_listing_is_of_one_user_when_asked(stage: Stage) -> None:
    mine = await stage.session(user_id="ann", title="Mine")
    await stage.session(user_id="bob", title="Theirs")
    page = await stage.manager.list_sessions(user_id="ann")
    assert [summary.session_id for summary in page.sessions] == [mine]
    assert (await stage.manager.list_sessions(user_id="nobody")).sessions == ()
    assert (await stage.manager.list_sessions(user_id="%")).sessions == ()


async def test_a_listing_finds_titles_and_messages(stage: Stage) -> None:
    titled = await stage.session(title="The Zanzibar files")
    spoken = await stage.session()
    await stage.say(spoken, "Tell me about Zanzibar")
    await stage.session(title="Nothing")
    page = await stage.manager.list_sessions(query="zanzibar")
    assert {summary.session_id for summary in page.sessions} == {titled, spoken}


@pytest.mark.parametrize("bad", [{"limit": 0}, {"limit": -1}, {"limit": 10**9}, {"limit": "many"}, {"cursor": "nonsense"},
    {"cursor": ""}, {"cursor": 7}])  # fmt: skip
async def test_a_bad_page_is_refused(stage: Stage, bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        await stage.manager.list_sessions(**bad)


async def test_search_finds_what_was_said_on_both_sides(open_stage: OpenStage) -> None:
    stage = open_stage(["The answer is Fjord.", "Nothing here."])
    session_id = await stage.session(title="Geography")
    await stage.say(session_id, "Where is Ålesund?")
    await stage.say(session_id, "And then?")

    for query, role in (("Fjord", "assistant"), ("ålesund", "user"), ("FJORD answer", "assistant")):
        hits = await stage.manager.search(query)
        assert [(hit.session_id, hit.role) for hit in hits] == [(session_id, role)], query
        assert hits[0].snippet
    assert list(await stage.manager.search("fjord zebra")) == []


async def test_search_keeps_users_apart(stage: Stage) -> None:
    for user_id in ("ann", "bob"):
        await stage.say(await stage.session(user_id=user_id), "A common secret")
    hits = await stage.manager.search("secret", user_id="ann")
    users = {stage.data(hit.session_id)["user_id"] for hit in hits}
    assert users == {"ann"}


@pytest.mark.parametrize(
    "query", ["", " ", '"', "'", "*", "a AND", "NEAR(", "title:x", "-", "(", "x OR y NOT", "\0", "%", "🎲", "^a" * 500]
)
async def test_any_text_is_a_query(stage: Stage, query: str) -> None:
    await stage.say(await stage.session(), "Something to find")
    await stage.manager.search(query)
    await stage.manager.list_sessions(query=query)


# --- fork ---------------------------------------------------------------------------------------------------------------


async def test_a_fork_is_a_copy_that_goes_its_own_way(open_stage: OpenStage) -> None:
    script = [[Call("write_file", {"path": "a.txt", "content": "one"})], "Written.", "To the fork.",
              [Call("read_file", {"path": "a.txt"})], "Read.", "To the first."]  # fmt: skip
    stage = open_stage(script)
    first = await stage.session(user_id="ann", title="Origin", temperature=0.5)
    await stage.say(first, "Write")
    fork = await stage.manager.fork_session(first)

    assert fork != first
    assert [m.text for m in await stage.manager.history(fork)] == [m.text for m in await stage.manager.history(first)]
    data = stage.data(fork)
    assert (data["user_id"], data["settings"]["temperature"]) == ("ann", 0.5)
    await stage.say(fork, "Only here")
    assert "one" in results_of(await stage.say(fork, "Read it"))[0]
    await stage.say(first, "Only there")
    assert ("user", "Only here") not in words(stage.last_request)
    assert [m.text for m in await stage.manager.history(first)][-2:] == ["Only there", "To the first."]

    await stage.manager.cleanup_session(first)
    assert len(await stage.manager.history(fork)) == 6


async def test_a_fork_up_to_a_record(stage: Stage) -> None:
    session_id = await stage.session()
    await stage.say(session_id, "one")
    seq = stage.data(session_id)["last_seq"]
    await stage.say(session_id, "two")

    fork = await stage.manager.fork_session(session_id, seq)
    assert [m.text for m in await stage.manager.history(fork)] == ["one", "You said: one"]
    await stage.say(fork, "three")
    assert ("user", "two") not in words(stage.last_request)


async def test_a_fork_at_every_record_is_a_valid_session(open_stage: OpenStage) -> None:
    steps = [[Say("Now."), Call("roll_dice"), Call("random_integer", {"minimum": 1, "maximum": 2})], "Done."]
    stage = open_stage(lambda request: "Yes." if "Go on" in str(words(request)) else steps[len(request.messages) > 1])
    session_id = await stage.session()
    await stage.say(session_id, "Roll")
    for seq in range(1, stage.data(session_id)["last_seq"] + 1):
        fork = await stage.manager.fork_session(session_id, seq)
        assert text_of(await stage.say(fork, "Go on")) == "Yes.", f"forked at {seq}"


@pytest.mark.parametrize("at_seq", [0, -1, 10**6, "one", 1.5])
async def test_a_fork_at_no_record_is_refused(stage: Stage, at_seq: Any) -> None:
    session_id = await stage.session()
    with pytest.raises(InvalidArgument):
        await stage.manager.fork_session(session_id, at_seq)
    assert len((await stage.manager.list_sessions()).sessions) == 1


async def test_a_fork_of_a_running_session(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Say("Half "), gate, Say("done")], "From the fork."])
    session_id = await stage.session()
    await stage.manager.send(session_id, "Go")
    await gate.reached()
    await stage.manager.send(session_id, "Waiting")
    fork = await stage.manager.fork_session(session_id)
    assert stage.data(fork)["status"] == "idle"
    assert text_of(await stage.say(fork, "Here")) == "From the fork."
    gate.open()


# --- rewind -------------------------------------------------------------------------------------------------------------


async def test_rewinding_takes_a_turn_and_all_after_it_out(stage: Stage) -> None:
    session_id = await stage.session()
    for text in ("one", "two", "three"):
        await stage.say(session_id, text)
    usage = stage.data(session_id)["usage"]
    second = (await stage.manager.history(session_id))[2].turn_id
    await stage.manager.rewind_session(session_id, second)

    assert [m.text for m in await stage.manager.history(session_id)] == ["one", "You said: one"]
    assert stage.data(session_id)["message_count"] == 2
    assert stage.data(session_id)["usage"] == usage, "what was paid stays paid"
    await stage.say(session_id, "again")
    assert words(stage.last_request) == [("user", "one"), ("assistant", "You said: one"), ("user", "again")]
    assert [m.text for m in await stage.manager.history(session_id)][2:] == ["again", "You said: again"]


async def test_what_was_rewound_is_not_found_and_stays_away_after_a_restart(
    open_stage: OpenStage, file_store: str
) -> None:
    first = open_stage(store=file_store)
    session_id = await first.session()
    await first.say(session_id, "keep")
    await first.say(session_id, "Forgettable")
    await first.manager.rewind_session(session_id, (await first.manager.history(session_id))[-1].turn_id)
    assert list(await first.manager.search("Forgettable")) == []
    await first.manager.close()

    second = open_stage(store=file_store)
    assert [m.text for m in await second.manager.history(session_id)] == ["keep", "You said: keep"]
    shown = FrontEnd().apply_all([data async for _, data in second.manager.attach(session_id)])
    assert shown.said("user") == "keep"


async def test_rewinding_everything_leaves_an_empty_session(stage: Stage) -> None:
    session_id = await stage.session()
    await stage.say(session_id, "one")
    await stage.manager.rewind_session(session_id, (await stage.manager.history(session_id))[0].turn_id)
    assert await stage.manager.history(session_id) == []
    await stage.say(session_id, "two")
    assert words(stage.last_request) == [("user", "two")]


async def test_rewinding_is_refused_while_a_turn_runs_and_for_unknown_turns(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage(["One.", [Say("a"), gate]])
    session_id = await stage.session()
    await stage.say(session_id)
    turn_id = (await stage.manager.history(session_id))[0].turn_id
    for nonsense in ("never", "", None):
        with pytest.raises(InvalidArgument):
            await stage.manager.rewind_session(session_id, nonsense)  # type: ignore[arg-type]
    await stage.manager.send(session_id, "two")
    await gate.reached()
    with pytest.raises(TurnInProgress):
        await stage.manager.rewind_session(session_id, turn_id)
    gate.open()


# --- hibernate ----------------------------------------------------------------------------------------------------------


async def test_a_hibernating_session_comes_back_as_it_was(open_stage: OpenStage) -> None:
    stage = open_stage()
    session_id = await stage.session(title="Asleep", temperature=0.5)
    await stage.say(session_id, "one")
    history = await stage.manager.history(session_id)
    await stage.manager.hibernate(session_id)
    assert session_id not in stage.manager.sessions
    assert [summary.session_id for summary in (await stage.manager.list_sessions()).sessions] == [session_id]

    assert await stage.manager.history(session_id) == history
    await stage.manager.hibernate(session_id)
    await stage.manager.hibernate(session_id)
    await stage.say(session_id, "two")
    assert words(stage.last_request)[0] == ("user", "one")
    assert stage.last_request.temperature == 0.5


async def test_a_running_session_does_not_hibernate(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Say("a"), gate]])
    session_id = await stage.session()
    await stage.manager.send(session_id, "one")
    await gate.reached()
    with pytest.raises(TurnInProgress):
        await stage.manager.hibernate(session_id)
    gate.open()


async def test_memory_holds_so_much_of_what_was_said(open_stage: OpenStage) -> None:
    gate = Gate()
    script = [[Say("x" * 30_000)]] * 10 + [[Say("y" * 90_000), gate]] + [[Say("Well.")]] * 2
    stage = open_stage(script, config={"limits": {"sessions_open_bytes_max": 100_000}})
    ids = [await stage.session() for _ in range(10)]
    for number, session_id in enumerate(ids):
        await stage.say(session_id)
        assert len(set(stage.manager.sessions) & set(ids[: number + 1])) <= 3
    assert ids[-1] in stage.manager.sessions, "the one used last stays"
    large = await stage.session()
    await stage.manager.send(large, "Much more")
    await gate.reached()
    await stage.manager.history(ids[0])
    assert large in stage.manager.sessions, "what is at work stays"
    gate.open()
    await stage.say(ids[0], "still there?")
    assert words(stage.last_request)[1] == ("assistant", "x" * 30_000)
    await stage.say(large, "And on?")
    assert [message.role for message in await stage.manager.history(large)] == ["user", "assistant"] * 2


async def test_memory_holds_a_bounded_number_of_sessions(open_stage: OpenStage) -> None:
    stage = open_stage(config={"limits": {"sessions_open_max": 5}})
    ids = [await stage.session() for _ in range(20)]
    for session_id in ids:
        await stage.say(session_id)
    assert len(stage.manager.sessions) <= 5
    assert all(stage.data(session_id)["turn_count"] == 1 for session_id in ids)
    await stage.say(ids[0], "still there?")
    assert ("user", "Hello") in words(stage.last_request)
