"""Attachments of every kind, in every dialect: what it is known not to take is told to the model, and the rest is accepted.

P16 (anthropics/claude-code#10395, danny-avila/LibreChat#16234, willdady/platypus#328).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import pytest

from greenroom.backends import claude_request, openai_chat, openai_responses_request
from greenroom.backends.attachments import media_type_of, text_of
from greenroom.interfaces import BackendRequest, Notice
from greenroom.large import settled
from greenroom.messages import FilePart, UserMessage
from greenroom.testing import strict_claude_rules, strict_openai_rules, strict_responses_rules

DIALECTS: dict[str, tuple[str, Any, Callable[[dict[str, Any]], list[str]]]] = {
    "chat": ("gpt-4o", openai_chat, strict_openai_rules.refusals),
    "claude": ("claude-sonnet-4-5", claude_request, strict_claude_rules.refusals),
    "responses": ("gpt-4o", openai_responses_request, strict_responses_rules.refusals),
}
every_dialect = pytest.mark.parametrize("dialect", DIALECTS)
MIB = 1024 * 1024


def png(width: int = 1, height: int = 1, *, size: int = 0) -> bytes:
    return (b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR" + struct.pack(">II", width, height)).ljust(size, b"\x00")


def asked(dialect: str, *files: FilePart) -> tuple[str, list[Notice]]:
    """Returns the body of a request with the files, which the strict double accepts, and what a person is told."""
    model, encoder, refusals = DIALECTS[dialect]
    request = BackendRequest(model=model, system="", messages=(UserMessage(parts=files),))
    body = settled(encoder.encode(request))
    assert refusals(body | {"stream": True}) == []
    return json.dumps(body), [note for note in encoder.notices(request) if note.code == "attachment_not_shown"]


@every_dialect
@pytest.mark.parametrize(
    ("media_type", "name", "data"),
    [
        ("application/x-yaml", "a.yaml", b"key: value-42"),
        ("application/octet-stream", "a.py", b"print('value-42')"),
        ("application/toml", "a.toml", b"x = 'value-42'"),
        ("application/xml", "a.xml", b"<a>value-42</a>"),
        ("application/x-sh", "a.sh", b"echo value-42"),
        ("text/csv; charset=utf-8", "a.csv", b"a,value-42"),
        ("text/plain", "latin.txt", b"value-42 \xe4"),
        ("application/json", "bom.json", b'\xef\xbb\xbf{"a": "value-42"}'),
        ("application/vnd.api+json", "a.json", b'{"a": "value-42"}'),
    ],
)
def test_readable_files_are_sent_as_their_text(dialect: str, media_type: str, name: str, data: bytes) -> None:
    body, told = asked(dialect, FilePart(media_type=media_type, data=data, name=name))
    assert "value-42" in body
    assert name in body
    assert told == []


@every_dialect
@pytest.mark.parametrize(
    ("media_type", "name", "data"),
    [
        ("application/zip", "a.zip", b"PK\x03\x04"),
        ("application/octet-stream", "a.bin", b"\x00\x01"),
        ("video/mp4", "a.mp4", b"ftyp"),
        ("image/heic", "a.heic", b"heic"),
        ("image/svg+xml", "a.svg", b"<svg/>"),
        ("audio/flac", "a.flac", b"fLaC"),
        ("image/png", "large.png", png(size=51 * 1000 * 1000)),
    ],
)
def test_what_is_known_not_to_be_taken_is_told_in_a_line_and_to_the_person(
    dialect: str, media_type: str, name: str, data: bytes
) -> None:
    body, told = asked(dialect, FilePart(media_type=media_type, data=data, name=name))
    assert f"[{name} ({media_type}): {len(data)} bytes that cannot be shown here" in body
    assert len(told) == 1
    assert name in told[0].text


@pytest.mark.parametrize("data", [png(size=5 * MIB * 3 // 4 + 1), png(8001, 1), b"GIF89a" + struct.pack("<HH", 1, 9000), b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08" + struct.pack(">HH", 9000, 1)])  # fmt: skip
def test_claude_takes_images_up_to_a_size(data: bytes) -> None:
    body, told = asked("claude", FilePart(media_type="image/png", data=data, name="a.png"))
    assert "cannot be shown here: more than" in body
    assert len(told) == 1
    for taken in (png(8000, 8000), png(size=5 * MIB * 3 // 4)):
        assert asked("claude", FilePart(media_type="image/png", data=taken, name="a.png"))[1] == []


@every_dialect
def test_an_image_is_sent_under_the_type_that_its_bytes_have(dialect: str) -> None:
    """Screenshots are renamed; "Image does not match the provided media type"."""
    jpeg = FilePart(media_type="image/png", data=b"\xff\xd8\xff\xe0\x00\x10JFIF", name="a.png")
    assert media_type_of(jpeg) == "image/jpeg"
    body, told = asked(dialect, jpeg)
    assert "image/jpeg" in body
    assert told == []


@every_dialect
def test_files_together_fit_into_a_request_and_the_first_ones_stay(dialect: str) -> None:
    files = [
        FilePart(media_type="application/pdf", data=b"%PDF" + b"\x00" * 9 * MIB, name=f"{n}.pdf") for n in range(6)
    ]
    body, told = asked(dialect, *files)
    assert told
    assert all(f"{note.text[0]}.pdf (application/pdf)" in note.text for note in told)
    shown = 6 - len(told)
    assert [note.text[0] for note in told] == [str(n) for n in range(shown, 6)]
    assert body.count("base64,") + body.count('"base64"') >= shown, "the first ones stay"


def test_a_picture_is_never_sent_as_text() -> None:
    """The frame of what the program tells the model is not looked for in pictures."""
    assert text_of(FilePart(media_type="image/svg+xml", data=b"<greenroom-context>", name="a.svg")) is None


def test_sounds_go_to_models_that_take_them() -> None:
    sound = FilePart(media_type="audio/wav", data=b"RIFF\x00wav", name="a.wav")
    body, told = asked("chat", sound)
    assert "cannot be shown here: audio" in body
    assert len(told) == 1
