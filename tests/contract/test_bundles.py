"""`export_session` and `import_session`: a round trip, and bundles that mean harm."""

from __future__ import annotations

import asyncio
import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from contract.conftest import OpenStage, in_memory
from contract.reading import results_of
from contract.stage import Stage, words
from greenroom import GreenroomError, LimitExceeded
from greenroom.backends.scripted import Call, Gate, Say, Think
from greenroom.errors import InvalidStream
from greenroom.messages import ContextPart, TranscriptMessage, UserMessage
from greenroom.runtime.workspace import Workspaces
from greenroom.toolsets.contained import Workspace

WRITE = Call("write_file", {"path": "notes/plän.txt", "content": "Step öne."})
READ = Call("read_file", {"path": "notes/plän.txt"})


async def exported(stage: Stage) -> tuple[str, bytes]:
    """A session with a turn and a file, and its bundle."""
    session_id = await stage.session(title="Packed", user_id="ann", temperature=0.5, metadata={"a": [1]})
    await stage.say(session_id, "Write the plan")
    return session_id, await stage.manager.export_session(session_id)


SCRIPT = [[Think("Hm."), WRITE], "Written.", [READ], "Read."]


async def test_a_round_trip_into_another_store(open_stage: OpenStage, tmp_path: Path) -> None:
    here = open_stage(SCRIPT)
    session_id, data = await exported(here)
    assert isinstance(data, bytes)
    there = open_stage(SCRIPT[2:], store=f"sqlite:///{tmp_path / 'there.db'}", home=tmp_path / "there")
    imported = await there.manager.import_session(data)

    assert imported == session_id
    assert await there.manager.history(imported) == await here.manager.history(session_id)
    before, after = here.data(session_id), there.data(imported)
    for name in (
        "title",
        "user_id",
        "llm_model",
        "tools",
        "settings",
        "turn_count",
        "message_count",
        "usage",
        "created_at",
    ):
        assert after[name] == before[name], name
    assert "Step öne." in results_of(await there.say(imported, "Read the plan"))[0]
    assert words(there.last_request)[0] == ("user", "Write the plan")
    assert [hit.session_id for hit in await there.manager.search("plan")][:1] == [imported]


async def test_importing_beside_the_original_makes_another_session(open_stage: OpenStage) -> None:
    stage = open_stage(SCRIPT)
    session_id, data = await exported(stage)
    copy = await stage.manager.import_session(data)

    assert copy != session_id
    assert "Step öne." in results_of(await stage.say(copy, "Read"))[0]
    assert len(await stage.manager.history(session_id)) == 2
    await stage.manager.cleanup_session(session_id)
    assert len(await stage.manager.history(copy)) == 4


@pytest.mark.parametrize("user_id", [None, "bob"])
async def test_what_the_model_was_told_of_a_user_is_not_told_of_another(
    open_stage: OpenStage, user_id: str | None
) -> None:
    """Case P17: what is told of a user stays in the history, and a bundle may go to another user."""
    stage = open_stage([[Call("set_preference", {"key": "tone", "value": "secretive"})], "Set.", "Hi.", "Hello."])
    session_id = await stage.session(user_id="ann")
    await stage.say(session_id)
    await stage.say(session_id)
    copy = await stage.manager.import_session(await stage.manager.export_session(session_id), user_id=user_id)
    await stage.say(copy)
    told = [part.text for message in stage.last_request.messages for part in message_context(message)]
    assert any("secretive" in text for text in told) == (user_id is None)
    shown = str(await stage.manager.history(copy)) + str(await stage.manager.peek(copy))
    assert "greenroom-context" not in shown


def message_context(message: TranscriptMessage) -> list[ContextPart]:
    parts = message.parts if isinstance(message, UserMessage) else ()
    return [part for part in parts if isinstance(part, ContextPart)]


async def test_a_deleted_session_comes_back_from_its_bundle(open_stage: OpenStage) -> None:
    stage = open_stage(SCRIPT)
    session_id, data = await exported(stage)
    await stage.manager.cleanup_session(session_id)
    assert await stage.manager.import_session(data) == session_id
    assert stage.data(session_id)["title"] == "Packed"


async def test_the_same_session_gives_the_same_bytes(open_stage: OpenStage) -> None:
    stage = open_stage(SCRIPT)
    session_id, data = await exported(stage)
    assert await stage.manager.export_session(session_id) == data


async def test_a_bundle_is_a_zip_that_anybody_can_read(open_stage: OpenStage) -> None:
    _, data = await exported(open_stage(SCRIPT))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert any("plän.txt" in name for name in archive.namelist())


async def test_exporting_a_running_session_gives_one_that_can_be_used(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Say("Half "), gate], "Whole."])
    session_id = await stage.session()
    await stage.manager.send(session_id, "Go")
    await gate.reached()
    copy = await stage.manager.import_session(await stage.manager.export_session(session_id))
    assert stage.data(copy)["status"] == "idle"
    await stage.say(copy, "And?")
    gate.open()


@in_memory
@pytest.mark.parametrize("copies_max", [1, 3])
async def test_many_at_once_are_in_memory_one_behind_the_other(open_stage: OpenStage, copies_max: int) -> None:
    size, count = 1024 * 1024, 24
    stage = open_stage([], config={"limits": {"copies_max": copies_max}})
    session_id = await stage.session()
    await stage.manager.in_workspace(session_id, lambda folder: folder.write_bytes("zeros", bytes(size)))
    packed = await stage.manager.export_session(session_id)
    tracemalloc.start()
    try:
        made = await asyncio.gather(*(stage.manager.import_session(packed) for _ in range(count)))
        assert len(set(made)) == count
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Of each in turn the file, and what it was unpacked from and into.
    assert peak < (2 + 3 * copies_max) * size, f"{peak / size:.1f} MB"


# --- bundles that mean harm ---------------------------------------------------------------------------------------------

Change = Callable[[dict[str, bytes]], None]


def rewritten(data: bytes, change: Change) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def log_name(files: dict[str, bytes]) -> str:
    return next(name for name in files if "plän" not in name)


def folder(files: dict[str, bytes]) -> str:
    return next(name for name in files if "plän" in name).removesuffix("notes/plän.txt")


def with_file(name: str) -> Change:
    def change(files: dict[str, bytes]) -> None:
        files[folder(files) + name] = b"evil"

    return change


def with_log(edit: Callable[[list[bytes]], list[bytes]]) -> Change:
    def change(files: dict[str, bytes]) -> None:
        name = log_name(files)
        files[name] = b"\n".join(edit(files[name].splitlines())) + b"\n"

    return change


def replaced(old: bytes, new: bytes) -> Change:
    def change(files: dict[str, bytes]) -> None:
        name = log_name(files)
        assert old in files[name]
        files[name] = files[name].replace(old, new)

    return change


def each_record(edit: Callable[[dict[str, Any]], object]) -> Change:
    """What the product has exported, with every record changed a little: everything else about it is right."""

    def edited(lines: list[bytes]) -> list[bytes]:
        records = [json.loads(line) for line in lines[1:]]
        for record in records:
            edit(record)
        return [lines[0], *(json.dumps(record).encode() for record in records)]

    return with_log(edited)


def with_usage(**figures: float) -> Change:
    def edit(record: dict[str, Any]) -> None:
        if record["event"]["type"] == "step_finished":
            record["event"]["usage"] = figures

    return each_record(edit)


HOSTILE: dict[str, Change] = {
    "a time that no calendar has": each_record(lambda record: record.update(at_ms=2**60)),
    "a time of more than 64 bits": each_record(lambda record: record.update(at_ms=10**30)),
    "a time before 1970": each_record(lambda record: record.update(at_ms=-1)),
    "tokens of more than 64 bits": with_usage(input_tokens=2**70),
    "tokens that give a budget back": with_usage(input_tokens=5, output_tokens=-1_000_000),
    "money that gives a budget back": with_usage(input_tokens=5, cost_usd=-100.0),
    "a time as a text": each_record(lambda record: record.update(at_ms="today")),
    "half a letter": replaced(b'"title":"Packed"', b'"title":"\\ud800"'),
    "a name in two orders": with_file("gpj.\u202eexe"),
    "file outside": with_file("../../evil.txt"),
    "file outside, deep": with_file("a/../../../evil.txt"),
    "absolute file": with_file("/etc/evil.txt"),
    "backslashes": with_file("..\\..\\evil.txt"),
    "drive": with_file("C:/evil.txt"),
    "dot": with_file("."),
    "file below a file": with_file("notes/plän.txt/evil.txt"),
    "too deep": with_file("/".join(["d"] * 2000)),
    "name too long": with_file("n" * 5000),
    "no log": lambda files: files.pop(log_name(files)) and None,
    "empty log": with_log(lambda lines: []),
    "header only": with_log(lambda lines: lines[:1]),
    "no header": with_log(lambda lines: lines[1:]),
    "first record gone": with_log(lambda lines: [lines[0], *lines[2:]]),
    "record gone": with_log(lambda lines: [*lines[:4], *lines[5:]]),
    "records swapped": with_log(lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]]),
    "record twice": with_log(lambda lines: [*lines[:4], lines[3], *lines[4:]]),
    "half a record": with_log(lambda lines: [*lines[:-1], lines[-1][:20]]),
    "not JSON": with_log(lambda lines: [*lines, b"nonsense"]),
    "JSON of another kind": with_log(lambda lines: [*lines, b"[1,2,3]"]),
    "not UTF-8": with_log(lambda lines: [*lines, b'{"a":"\xff"}']),
    "unknown event": replaced(b'"turn_started"', b'"turn_exploded"'),
    "another kind": replaced(b"greenroom-session", b"somebody-elses"),
    "newer format": replaced(b'"format":1', b'"format":99'),
    "max_steps of a billion": replaced(b'"max_steps":25', b'"max_steps":1000000000'),
    "a persona text of 5 MB": replaced(b'"custom_persona_text":""', b'"custom_persona_text":"%s"' % (b"p" * 5_000_000)),
    "a budget below nothing": replaced(b'"budget_usd":null', b'"budget_usd":-1'),
    "a tool of a megabyte": replaced(b'"additional_tools":[]', b'"additional_tools":["%s"]' % (b"t" * 1_000_000)),
    "a title of a megabyte": replaced(b'"title":"Packed"', b'"title":"%s"' % (b"t" * 1_000_000)),
    "metadata of many values": replaced(b'"metadata":{"a":[1]}', b'"metadata":{"a":[%s{}]}' % (b"{}," * 60_000)),
    "metadata that is deep": replaced(b'"metadata":{"a":[1]}', b'"metadata":{"a":%s}' % (b"[" * 100 + b"]" * 100)),
    "an MCP server": replaced(b'"mcp_servers":[]', b'"mcp_servers":["x"]'),
    "a user without a name": replaced(b'"user_id":"ann"', b'"user_id":""'),
    "an empty line": with_log(lambda lines: [*lines[:3], b"", *lines[3:]]),
    "nothing but line ends": with_log(lambda lines: [lines[0], *[b""] * 1_000_000]),
    "a name that cannot be seen": with_file("a\u200bb.txt"),
    "a name of ours": with_file(".greenroom-tmp-x"),
    "blank name": with_file("  /x.txt"),
    "malformed id": replaced(b'"session_id":"', b'"session_id":"../'),
}


@in_memory
@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_bundle_is_refused_and_leaves_nothing(
    open_stage: OpenStage, tmp_path: Path, change: Change
) -> None:
    here = open_stage(SCRIPT)
    _, data = await exported(here)
    home = tmp_path / "inner" / "home"
    there = open_stage(store="memory://", home=home)
    await there.session(existing_session_id="innocent")

    with pytest.raises(GreenroomError) as refused:
        await there.manager.import_session(rewritten(data, change))
    assert isinstance(refused.value, ValueError) or refused.value.code == "limit_exceeded"
    assert 400 <= refused.value.status_hint < 500, "S17: an unknown event was a 500"
    assert len(str(refused.value)) < 1000
    assert [summary.session_id for summary in (await there.manager.list_sessions()).sessions] == ["innocent"]
    assert not list(tmp_path.rglob("evil*"))
    assert not list(home.rglob("plän.txt"))


@pytest.mark.parametrize("names", [("a", "a/b.txt"), ("a/b.txt", "a")])
async def test_files_whose_names_are_the_same_to_the_file_system_are_refused(
    tmp_path: Path, names: Sequence[str]
) -> None:
    """Sibling of S17: on macOS `A.txt` is `a.txt`, as `a` is `a` everywhere; neither may replace the other."""
    workspaces = Workspaces(tmp_path / "workspaces", open_folder=Workspace)
    with pytest.raises(InvalidStream, match=f"'{names[1]}' and another file of the bundle have the same name"):
        await workspaces.stage(dict.fromkeys(names, b"contents"))
    assert not list(tmp_path.glob("workspaces/*"))


@in_memory
async def test_files_whose_names_differ_in_case_are_taken_where_the_system_tells_them_apart(
    open_stage: OpenStage, tmp_path: Path
) -> None:
    (tmp_path / "case").touch()
    if (tmp_path / "CASE").exists():
        pytest.skip("here they are the same")
    stage = open_stage(SCRIPT)
    _, data = await exported(stage)
    session_id = await stage.manager.import_session(rewritten(data, with_file("notes/PLÄN.txt")))
    found = await stage.manager.in_workspace(session_id, lambda folder: dict(folder.files()))
    assert found["notes/PLÄN.txt"] != found["notes/plän.txt"]


@in_memory
@pytest.mark.parametrize(
    "data", [b"", b"nonsense", b"PK\x03\x04", b"PK\x05\x06" + b"\0" * 18, "text", None, 7], ids=repr
)
async def test_what_is_no_bundle_is_refused(stage: Stage, data: object) -> None:
    with pytest.raises(GreenroomError) as refused:
        await stage.manager.import_session(data)  # type: ignore[arg-type]
    assert isinstance(refused.value, ValueError)


@in_memory
async def test_a_damaged_bundle_is_refused_wherever_it_is_damaged(open_stage: OpenStage, tmp_path: Path) -> None:
    _, data = await exported(open_stage(SCRIPT))
    there = open_stage(store="memory://", home=tmp_path / "there")
    for place in range(0, len(data), max(1, len(data) // 60)):
        damaged = data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]
        try:
            session_id = await there.manager.import_session(damaged)
        except GreenroomError:
            continue
        # What the damage did not reach is as good as it was.
        assert [m.text for m in await there.manager.history(session_id)] == ["Write the plan", "Written."]
        await there.manager.cleanup_session(session_id)
    for length in range(0, len(data), max(1, len(data) // 20)):
        with pytest.raises(GreenroomError):
            await there.manager.import_session(data[:length])


@in_memory
async def test_a_bomb_is_refused_before_it_is_unpacked(open_stage: OpenStage, tmp_path: Path) -> None:
    _, data = await exported(open_stage(SCRIPT))

    def bomb(files: dict[str, bytes]) -> None:
        files[folder(files) + "bomb.bin"] = b"\0" * 4_000_000

    for limit in ("export_bytes_max", "workspace_bytes_max", "workspace_file_bytes_max"):
        home = tmp_path / limit
        there = open_stage(store="memory://", home=home, config={"limits": {limit: 1_000_000}})
        with pytest.raises(LimitExceeded):
            await there.manager.import_session(rewritten(data, bomb))
        assert (await there.manager.list_sessions()).sessions == ()
        assert not list(home.rglob("bomb.bin"))


@in_memory
async def test_a_bomb_that_lies_about_its_size_is_refused(open_stage: OpenStage, tmp_path: Path) -> None:
    _, data = await exported(open_stage(SCRIPT))

    def bomb(files: dict[str, bytes]) -> None:
        files[folder(files) + "bomb.bin"] = b"\0" * 4_000_000

    packed = rewritten(data, bomb)
    lied = packed.replace((4_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert lied != packed
    limits = {"export_bytes_max": 1_000_000}
    there = open_stage(store="memory://", home=tmp_path / "there", config={"limits": limits})
    with pytest.raises(GreenroomError):
        await there.manager.import_session(lied)


@in_memory
async def test_links_in_a_bundle_lead_nowhere(open_stage: OpenStage, tmp_path: Path) -> None:
    _, data = await exported(open_stage(SCRIPT))
    (tmp_path / "secret.txt").write_text("secret")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        prefix = next(name for name in archive.namelist() if "plän" in name).removesuffix("notes/plän.txt")
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, "a") as archive:
        link = zipfile.ZipInfo(prefix + "link.txt")
        link.create_system = 3
        link.external_attr = (0o120777) << 16
        archive.writestr(link, str(tmp_path / "secret.txt"))

    there = open_stage([[Call("read_file", {"path": "link.txt"})], "Read."], store="memory://", home=tmp_path / "there")
    try:
        session_id = await there.manager.import_session(file.getvalue())
    except GreenroomError:
        return
    assert not any(path.is_symlink() for path in (tmp_path / "there").rglob("*"))
    assert "secret" not in [line for result in results_of(await there.say(session_id)) for line in result.split()]


# --- what a bundle may cost, and what it may decide ---------------------------------------------------------------------


@in_memory
async def test_a_bomb_of_line_ends_is_refused_early(open_stage: OpenStage, tmp_path: Path) -> None:
    """S2: a bundle of 102 kB that unpacks to 100 MiB of newlines took 1.9 GB and 7 s."""
    _, data = await exported(open_stage(SCRIPT))
    there = open_stage(store="memory://", home=tmp_path / "there")
    bomb = rewritten(data, with_log(lambda lines: [lines[0], b"\n" * (100 * 1024 * 1024)]))
    within_ratio = rewritten(data, with_log(lambda lines: [lines[0], b"\n" * (15 * 1024 * 1024)]))
    long_line = rewritten(data, with_log(lambda lines: [*lines, b'"%s"' % (b"x" * 15_000_000)]))
    assert len(bomb) < 150_000
    tracemalloc.start()
    try:
        with pytest.raises(LimitExceeded, match="100 times"):
            await there.manager.import_session(bomb)
        with pytest.raises(InvalidStream, match="empty line"):
            await there.manager.import_session(within_ratio)
        _, peak = tracemalloc.get_traced_memory()
        assert peak < 4_000_000, peak
        narrow = open_stage(
            store="memory://", home=tmp_path / "n", config={"limits": {"import_record_bytes_max": 1_000_000}}
        )
        with pytest.raises(LimitExceeded, match="a record of more than 1000000 bytes"):
            await narrow.manager.import_session(long_line)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000, peak


@in_memory
async def test_entries_that_share_their_bytes_are_counted_each(open_stage: OpenStage, tmp_path: Path) -> None:
    """Sibling of S2: entries that overlap unpack to far more than an archive has; and many entries are objects before they are files."""
    _, data = await exported(open_stage(SCRIPT))

    def many(files: dict[str, bytes]) -> None:
        inside = folder(files)
        files |= {f"{inside}{number}": b"" for number in range(100)}

    there = open_stage(store="memory://", home=tmp_path / "there", config={"limits": {"workspace_files_max": 40}})
    with pytest.raises(LimitExceeded, match="files and folders"):
        await there.manager.import_session(rewritten(data, many))

    def heavy(files: dict[str, bytes]) -> None:
        inside = folder(files)
        files |= {f"{inside}{number}": bytes(1_000_000) for number in range(40)}

    with pytest.raises(LimitExceeded, match="100 times"):
        await there.manager.import_session(rewritten(data, heavy))


@in_memory
async def test_records_of_a_bundle_are_bounded(open_stage: OpenStage, tmp_path: Path) -> None:
    here = open_stage(SCRIPT)
    session_id, data = await exported(here)
    count = here.data(session_id)["last_seq"]
    for bound, is_taken in ((count, True), (count - 1, False)):
        there = open_stage(
            store="memory://", home=tmp_path / str(bound), config={"limits": {"import_records_max": bound}}
        )
        if is_taken:
            await there.manager.import_session(data)
        else:
            with pytest.raises(LimitExceeded, match="records"):
                await there.manager.import_session(data)


@in_memory
async def test_what_is_exported_can_be_imported_however_repetitive_it_is(open_stage: OpenStage, tmp_path: Path) -> None:
    stage = open_stage([])
    session_id = await stage.session()
    for number in range(2):
        await stage.manager.in_workspace(
            session_id, lambda place, n=number: place.write_bytes(f"{n}", bytes(10 * 1024 * 1024))
        )
    packed = await stage.manager.export_session(session_id)
    assert packed == await stage.manager.export_session(session_id)
    there = open_stage(store="memory://", home=tmp_path / "there")
    made = await there.manager.import_session(packed)
    content = await there.manager.in_workspace(made, lambda place: place.read_bytes("1"))
    assert content == bytes(10 * 1024 * 1024)


APPROVAL = {"*": "allow", "pay*": "ask", "rm": "deny", "look": "allow"}


@in_memory
@pytest.mark.parametrize("user_id", [None, "bob"])
async def test_a_strangers_rules_do_not_run_tools_unasked(
    open_stage: OpenStage, tmp_path: Path, user_id: str | None
) -> None:
    """S8: an imported `approval {"*": "allow"}` ran the tools that need approval without asking.

    Left out of every configuration that the session ever had: it can be rolled back to each. Said once, to whoever imports it.
    """
    here = open_stage(SCRIPT)
    session_id = await here.session(approval=APPROVAL, custom_persona_text="Obey me.")
    await here.manager.update_session(session_id, approval={"**": "allow"})
    await here.manager.update_session(session_id, approval={"*": "deny", "x": "allow"})
    data = await here.manager.export_session(session_id)

    there = open_stage(store="memory://", home=tmp_path / "there")
    made = await there.manager.import_bundle(data, user_id=user_id)
    assert there.data(made.session_id)["settings"]["approval"] == {"*": "deny"}
    assert there.data(made.session_id)["settings"]["custom_persona_text"] == "Obey me."
    assert {notice.code: notice.text for notice in made.notices} == {
        "import_approval": "Left out: rules that let tools run unasked (*, look, **, x).",
        "import_persona": "The session comes with a persona text of its own (8 characters).",
    }
    for version, rules in ((1, {"pay*": "ask", "rm": "deny"}), (2, {})):
        await there.manager.rollback_session(made.session_id, version)
        assert there.data(made.session_id)["settings"]["approval"] == rules


@in_memory
async def test_nothing_is_said_of_a_session_like_any_other(open_stage: OpenStage, tmp_path: Path) -> None:
    _, data = await exported(open_stage(SCRIPT))
    there = open_stage(store="memory://", home=tmp_path / "there")
    assert (await there.manager.import_bundle(data)).notices == ()
