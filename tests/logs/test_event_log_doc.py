"""docs/event-log.md says what the code does: every event, field, default, table and column."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest

from greenroom.config import SessionConfig, SessionLabels
from greenroom.events import FORMAT, Event, Parent, Record
from greenroom.limits import DEFAULT_LIMITS
from greenroom.logs.appending import SEQ_MAX
from greenroom.logs.ranking import RANKED_MAX
from greenroom.logs.sqlite.schema import APPLICATION_ID, migrate, migrations
from greenroom.messages import (
    FilePart,
    PartDelta,
    PartEnded,
    PartGiven,
    PartStarted,
    Sidecar,
    SourcePart,
    TextPart,
    Usage,
)

DOC = (Path(__file__).parents[2] / "docs" / "event-log.md").read_text(encoding="utf-8")
EVENTS = {event.__struct_config__.tag: event for event in get_args(Event)}
VALUES = {
    "Records": Record,
    "configuration": SessionConfig,
    "labels": SessionLabels,
    "parent": Parent,
    "usage": Usage,
    "sidecar": Sidecar,
    "**text**": TextPart,
    "**file**": FilePart,
    "**part_started**": PartStarted,
    "**part_delta**": PartDelta,
    "**part_ended**": PartEnded,
    "**part_given**": PartGiven,
    "**source**": SourcePart,
}
IN_WORDS = {"essential_tools": "all of them"}


def section(heading: str) -> str:
    """Returns what stands under a heading, up to the next one."""
    found = re.search(rf"^(?:#+ )?{re.escape(heading)}$(.*?)(?=^#|^\*\*|\Z)", DOC, re.MULTILINE | re.DOTALL)
    assert found, f"docs/event-log.md has no section {heading!r}"
    return found[1]


def described(heading: str) -> dict[str, str]:
    """Returns the fields of the first table under a heading with what it gives as their defaults."""
    rows = re.findall(r"^\| `(\w+)` \| [^|]+\| ([^|]*) \|", section(heading).replace("| |", "|  |"), re.MULTILINE)
    return {name: default.strip().strip("`") for name, default in rows}


def actual(kind: type[msgspec.Struct]) -> dict[str, str]:
    return {field.name: IN_WORDS.get(field.name) or written(field) for field in msgspec.structs.fields(kind)}


def written(field: msgspec.structs.FieldInfo) -> str:
    """Returns a default as JSON, nothing if there is none; a default that is left out as an empty object."""
    if field.default_factory is not msgspec.NODEFAULT:
        return json.dumps(field.default_factory())
    if field.default is msgspec.NODEFAULT:
        return ""
    if isinstance(field.default, msgspec.Struct):
        return "{}"
    return json.dumps(field.default)


@pytest.mark.parametrize(("heading", "kind"), {**EVENTS, **VALUES}.items())
def test_every_field_is_described(heading: str, kind: type[msgspec.Struct]) -> None:
    assert described(heading) == actual(kind)


def test_no_event_is_described_that_does_not_exist() -> None:
    events = re.search(r"^## Events$(.*?)^## ", DOC, re.MULTILINE | re.DOTALL)
    assert events
    assert re.findall(r"^### (\w+)$", events[1], re.MULTILINE) == list(EVENTS)


@pytest.mark.parametrize(("heading", "kind"), {**EVENTS, "**part_started**": PartStarted}.items())
def test_every_word_of_a_closed_set_is_named(heading: str, kind: type[msgspec.Struct]) -> None:
    text = section(heading)
    for name, hint in get_type_hints(kind).items():
        if get_origin(hint) is Literal:
            missing = [word for word in get_args(hint) if f"`{word}`" not in text]
            assert not missing, f"{heading}.{name}: {missing}"


def test_the_numbers_are_right() -> None:
    assert DOC.startswith(f"# The event log, format {FORMAT}\n")
    assert f"at most {SEQ_MAX}" in DOC
    assert f"0x{APPLICATION_ID:X}" in DOC
    assert f"at {RANKED_MAX} for places, at {DEFAULT_LIMITS.search_texts_max:,} for" in DOC
    assert f"first {DEFAULT_LIMITS.search_text_chars_max // 1024} Ki characters" in DOC
    assert f"up to {DEFAULT_LIMITS.flush_ms_max} ms or {DEFAULT_LIMITS.flush_bytes_max // 1024} KiB" in DOC


def test_every_table_and_column_is_described(tmp_path: Path) -> None:
    rows = re.findall(r"^\| `(\w+)` \| ((?:`\w+`(?:, )?)+) \|", section("In SQLite"), re.MULTILINE)
    described_tables = {name: re.findall(r"\w+", columns) for name, columns in rows}
    assert described_tables == columns_of_schema(tmp_path / "a.db")


def columns_of_schema(path: Path) -> Mapping[str, list[Any]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, migrations())
        made = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
        names = [name for (name,) in connection.execute(made)]
        # FTS5 keeps its index in tables of its own, named after it.
        names = [name for name in names if not re.fullmatch(r"\w+_index_\w+", name)]
        hidden = {"text_index", "note_index", "rank"}
        return {
            name: [row[1] for row in connection.execute(f"PRAGMA table_xinfo({name})") if row[1] not in hidden]
            for name in names
        }
