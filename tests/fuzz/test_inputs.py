"""What comes from outside and is not a provider's stream: stored events, cursors, tool arguments, bundles.

Whatever comes, it is taken or refused with one of our errors; and what was taken can be worked with.
"""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from typing import Any, Final

import msgspec
import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from contract.reading import all_of
from contract.stage import QUICK_LIMITS, CheckedBackend
from greenroom import AgentManager, GreenroomError, Toolset, tool
from greenroom.backends.scripted import Call, Say, Think
from greenroom.codec import decode_event, decode_record, encode_event, encode_record
from greenroom.core.cursor import Cursor, parse_cursor
from greenroom.events import Record
from greenroom.interfaces import ToolError
from greenroom.messages import ToolCallPart
from greenroom.runtime.tool_calls import parsed_arguments
from greenroom.testing.log_conformance.samples import every_event

PROTOCOLS: Final[Any] = ("ag-ui", "ag-ui-0", "ai-sdk", "ai-sdk-7", "native")
SCALARS: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["", "\ud800", "\x00", "scripted", "openai", "a" * 200, "0", 0, -1, 2**63, 1e308, [], {}]),
)
JSONS: Final = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)
OF_ITS_KIND: Final[Any] = {
    bool: st.booleans(),
    int: st.integers(-1, 10),
    float: st.floats(0, 1e9),
    str: st.one_of(
        st.text(max_size=8), st.sampled_from(["c1", "t1", "ok", "error", "once", "pure", "completed", "failed"])
    ),
}


def changed(value: Any, data: st.DataObject) -> Any:
    """Returns JSON with one place of it changed: replaced, left out, or there twice."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 3)):
        key = data.draw(st.sampled_from(sorted(value)))
        how = data.draw(st.sampled_from(["deeper", "deeper", "deeper", "gone", "more"]))
        if how == "gone":
            return {name: inner for name, inner in value.items() if name != key}
        if how == "more":
            return {**value, data.draw(st.text(max_size=8)): data.draw(JSONS)}
        return {**value, key: changed(value[key], data)}
    if isinstance(value, list) and value and data.draw(st.integers(0, 3)):
        at = data.draw(st.integers(0, len(value) - 1))
        how = data.draw(st.sampled_from(["deeper", "deeper", "gone", "twice"]))
        middle = {"gone": [], "twice": [value[at]] * 2}.get(how) if how != "deeper" else [changed(value[at], data)]
        return [*value[:at], *(middle or []), *value[at + 1 :]]
    return data.draw(OF_ITS_KIND.get(type(value), JSONS) if data.draw(st.integers(0, 3)) else JSONS)


def line_of(value: Any) -> bytes:
    return json.dumps(value).encode()


# --- stored events and cursors ------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(st.data())
def test_a_stored_event_is_taken_or_refused(data: st.DataObject) -> None:
    event = data.draw(st.sampled_from(every_event()))
    body = line_of(changed(json.loads(encode_event(event)), data))
    cut = data.draw(st.integers(0, len(body)))
    for given_body in (body, body[:cut], body[:cut] + data.draw(st.binary(max_size=6)) + body[cut:]):
        try:
            taken = decode_event(given_body)
        except GreenroomError:
            continue
        assert decode_event(encode_event(taken)) == taken


@settings(max_examples=200)
@given(st.data())
def test_a_stored_record_is_taken_or_refused(data: st.DataObject) -> None:
    record = Record(seq=7, epoch=2, at_ms=1, event=data.draw(st.sampled_from(every_event())))
    try:
        taken = decode_record(line_of(changed(json.loads(encode_record(record)), data)))
    except GreenroomError:
        return
    assert decode_record(encode_record(taken)) == taken


NUMBERS: Final = st.one_of(st.integers(0, 10**15 - 1), st.sampled_from([0, 1, 10**15 - 1]))


@given(NUMBERS, NUMBERS, NUMBERS, st.integers(0, 999_999), st.booleans())
def test_a_cursor_comes_back_as_it_was(seq: int, offset: int, epoch: int, frame: int, in_snapshot: bool) -> None:  # noqa: FBT001
    cursor = Cursor(seq, offset, epoch, frame, in_snapshot=in_snapshot and frame > 0)
    assert parse_cursor(str(cursor)) == cursor


@settings(max_examples=300)
@given(st.one_of(st.text(), st.text(st.sampled_from("0123456789.~+!-٣ \n"), max_size=24), JSONS))
def test_a_cursor_is_taken_or_refused(text: Any) -> None:
    try:
        cursor = parse_cursor(text)
    except GreenroomError:
        return
    assert parse_cursor(str(cursor)) == cursor


# --- tool arguments -----------------------------------------------------------------------------------------------------


class Place(msgspec.Struct):
    """A place."""

    latitude: float
    names: list[str] = []


class Everything(Toolset):
    """Takes whatever a parameter can be."""

    @tool(effect="pure")
    async def look(
        self, count: int, ratio: float, place: Place, tags: set[str], *, more: dict[str, int | None], flag: bool = False
    ) -> str:
        """Looks.

        Args:
            count: how many.
            ratio: how much.
            place: where.
            tags: what.
            more: and more.
            flag: whether.
        """
        assert type(count) is int
        assert type(ratio) is float
        assert isinstance(place, Place)
        assert all(isinstance(tag, str) for tag in tags)
        assert all(value is None or type(value) is int for value in more.values())
        assert type(flag) is bool
        return "fine"


FITTING: Final = {"count": 3, "ratio": 0.5, "place": {"latitude": 1.5, "names": ["a"]}, "tags": ["x"], "more": {"n": None}, "flag": True}  # fmt: skip


@settings(max_examples=500)
@given(st.data())
def test_arguments_fit_or_are_refused(data: st.DataObject) -> None:
    (look,) = Everything().tools()
    arguments = changed(FITTING, data)
    text = json.dumps(arguments)
    cut = data.draw(st.integers(0, len(text)))
    for written in (text, text[:cut], text[:cut] + data.draw(st.text(max_size=4)) + text[cut:]):
        parsed = parsed_arguments(ToolCallPart(call_id="c", name="look", arguments=written))
        if isinstance(parsed, str):
            continue
        try:
            look.check(parsed)
        except ToolError:
            continue
        assert asyncio.run(look.call(parsed, None)) == "fine"  # type: ignore[arg-type]


# --- bundles ------------------------------------------------------------------------------------------------------------

SCRIPT: Final = [
    [Think("Hm."), Call("roll_dice", {"notation": "1d6"}), Call("roll_dice", {"notation": "2d6"})],
    [Say("Rolled.")],
    [Call("roll_dice", {"notation": "3d6"})],  # nobody has decided about it
]


async def _exported() -> list[Any]:
    """Returns the lines of a bundle with two turns, of which the second waits for a person."""
    async with AgentManager("memory://", backends={"scripted": CheckedBackend(SCRIPT)}) as manager:
        session_id = await manager.create_session(backend="scripted", title="Dice", budget_usd=5.0, metadata={"a": [1]})
        async for _ in manager.stream_response(session_id, "Roll"):
            pass
        await manager.update_session(session_id, approval={"roll_*": "ask"}, temperature=0.5)
        async for _ in manager.stream_response(session_id, "Again"):
            pass
        with zipfile.ZipFile(io.BytesIO(await manager.export_session(session_id))) as archive:
            (name,) = archive.namelist()
            return [json.loads(line) for line in archive.read(name).splitlines()]


@pytest.fixture(scope="module")
def lines() -> list[Any]:
    return asyncio.run(_exported())


@pytest.mark.timeout(300)
@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_bundle_is_refused_or_can_be_worked_with(lines: list[Any], data: st.DataObject) -> None:
    asyncio.run(_imported(damaged(lines, data)))


def damaged(lines: list[Any], data: st.DataObject) -> bytes:
    found = [json.loads(json.dumps(line)) for line in lines]
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, len(found) - 1))
        match data.draw(st.sampled_from(["change", "change", "change", "drop", "repeat", "swap", "cut"])):
            case "change":
                found[at] = changed(found[at], data)
            case "drop":
                del found[at]
            case "repeat":
                found.insert(at, found[at])
            case "swap":
                other = data.draw(st.integers(0, len(found) - 1))
                found[at], found[other] = found[other], found[at]
            case "cut":
                del found[at + 1 :]
        assume(found)
    if data.draw(st.booleans()):  # so that what was left out or moved is not seen by the numbers
        for seq, line in enumerate(found[1:], start=1):
            if isinstance(line, dict) and "seq" in line:
                line["seq"] = seq
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("session.jsonl", b"\n".join(map(line_of, found)) + b"\n")
    return packed.getvalue()


async def _imported(bundle: bytes) -> None:
    backend = CheckedBackend(lambda _: [Say("And on.")])
    limits = {**QUICK_LIMITS, "drain_s_max": 0.05}
    async with AgentManager("memory://", backends={"scripted": backend}, config={"limits": limits}) as manager:
        try:
            session_id = await manager.import_session(bundle, user_id="ada")
        except GreenroomError:
            assert not (await manager.list_sessions()).sessions, "nothing is left behind"
            event("refused")
            return
        event("taken")
        async with asyncio.timeout(60):
            assert (await manager.fetch_session_data(session_id))["user_id"] == "ada"  # type: ignore[index]
            await manager.cancel(session_id)
            await manager.update_session(session_id, backend="scripted", llm_model="x", budget_usd=None)
            async for _ in manager.stream_response(session_id, "Go on"):
                pass
            await manager.history(session_id)
            for protocol in PROTOCOLS:
                for cursor in (None, "0.0~0"):
                    assert await all_of(manager.attach(session_id, cursor, protocol=protocol))
            await manager.search("roll", user_id="ada")
            await manager.hibernate(session_id)
            again = await manager.import_session(await manager.export_session(session_id))
            assert len(await manager.history(again)) == len(await manager.history(session_id))
        assert not backend.violations
