"""What was once written is read for ever: the golden logs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from greenroom.codec import check_format, decode_record, encode_record
from greenroom.errors import Corrupted, NewerFormat
from greenroom.events import FORMAT, Event
from greenroom.testing.log_conformance.samples import every_event

GOLDEN = Path(__file__).parent.parent / "golden"
LOGS = {int(re.sub(r"\D", "", path.stem)): path for path in GOLDEN.glob("format-*.jsonl")}
EVENTS = get_args(Event)
LINES = [
    pytest.param(line, id=f"format-{version}:{number}")
    for version, path in sorted(LOGS.items())
    for number, line in enumerate(path.read_bytes().splitlines(), start=1)
]


def tag_of(event: type[msgspec.Struct]) -> str:
    return str(event.__struct_config__.tag)


def test_there_is_a_log_of_every_format() -> None:
    assert sorted(LOGS) == list(range(1, FORMAT + 1))
    for version in LOGS:
        check_format(version)
    with pytest.raises(NewerFormat, match="upgrade"):
        check_format(FORMAT + 1)


def test_the_newest_log_has_every_event() -> None:
    lines = LOGS[FORMAT].read_bytes().splitlines()
    assert {tag_of(type(decode_record(line).event)) for line in lines} == {tag_of(event) for event in EVENTS}


@pytest.mark.parametrize("line", LINES)
def test_a_line_is_read_and_written_as_it_was(line: bytes) -> None:
    record = decode_record(line)
    written = encode_record(record)
    assert decode_record(written) == record
    # A field that was added since appears at its default; everything else is the same, in the same order.
    assert json.dumps(without_news(json.loads(written), json.loads(line))) == json.dumps(json.loads(line))
    if not any(name in line for name in (b'"session_created"', b'"session_updated"')):
        assert written == line


def without_news(new: Any, old: Any) -> Any:
    """Returns `new` without the keys that `old` does not have."""
    if isinstance(new, dict) and isinstance(old, dict):
        return {name: without_news(value, old[name]) for name, value in new.items() if name in old}
    if isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        return [without_news(*pair) for pair in zip(new, old, strict=True)]
    return new


@pytest.mark.parametrize("line", LINES)
def test_a_line_is_one_line(line: bytes) -> None:
    # Logs, exports and the SQLite log put records behind each other with a line end between them.
    assert b"\n" not in line
    assert b"\r" not in line


def damaged(line: bytes) -> Iterator[bytes]:
    yield b""
    yield line[:-1]
    yield line[1:]
    yield line.replace(b'"seq":', b'"seq":"', 1)
    yield line + b"}"
    yield b"[" + line + b"]"
    yield line[:20] + b"\xff" + line[20:]


@pytest.mark.parametrize("line", LINES[:17])
def test_damage_is_told(line: bytes) -> None:
    for bytes_ in damaged(line):
        with pytest.raises(Corrupted):
            decode_record(bytes_)


def test_the_samples_show_every_field_of_every_event() -> None:
    samples = {type(event): event for event in every_event()}
    assert set(samples) == set(EVENTS), "the suite's samples are one of each event"
    unused = [
        f"{tag_of(kind)}.{field.name}"
        for kind, event in samples.items()
        for field in msgspec.structs.fields(kind)
        if getattr(event, field.name) == field.default
    ]
    assert not unused, "give these fields a value in samples.every_event, and append a line to the newest golden log"
