"""Stores by URL, and the cursors of their listings."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.errors import InvalidConfig, InvalidStream, NotSupported
from greenroom.logs import open_store
from greenroom.logs.memory import MemoryStore
from greenroom.logs.paging import BEFORE_ALL, Position, decode_cursor, encode_cursor
from greenroom.logs.sqlite import SqliteStore


def test_a_store_in_memory() -> None:
    assert isinstance(open_store("memory://"), MemoryStore)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///a.db", "a.db"),
        ("sqlite:///some/folder/a.db", "some/folder/a.db"),
        ("sqlite:////var/lib/a.db", "/var/lib/a.db"),
        ("sqlite:///C:/data/a.db", "C:/data/a.db"),
        ("sqlite:////a folder/ü%20.db", "/a folder/ü%20.db"),
    ],
)
def test_a_store_in_a_file(url: str, path: str) -> None:
    store = open_store(url)
    assert isinstance(store, SqliteStore)
    assert store.path == Path(path)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.db",
        "/var/lib/a.db",
        "sqlite:",
        "sqlite:/a.db",
        "sqlite://",
        "sqlite:///",
        "sqlite://a.db",
        "sqlite://host/a.db",
        "sqlite:///:memory:",
        "sqlite:///a.db?mode=ro",
        "memory://something",
        "mysql://root:secret@localhost/x",
        "SQLITE:///a.db",
    ],
)
def test_what_is_no_store_is_refused_with_the_forms_that_are(url: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        open_store(url)
    assert "sqlite:///relative/path.db" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["postgresql://user:secret@host/db", "postgres://host/db"])
def test_what_comes_later_says_so(url: str) -> None:
    with pytest.raises(NotSupported, match="not supported yet") as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


@given(st.integers(-(10**17), 10**17), st.integers(0, 10**17))
def test_a_cursor_comes_back(updated_at_ms: int, number: int) -> None:
    position = Position(updated_at_ms, number)
    assert decode_cursor(encode_cursor(position)) == position
    assert position < BEFORE_ALL == decode_cursor(None)


@given(st.text(max_size=60))
def test_whatever_else_is_no_cursor(text: str) -> None:
    with pytest.raises(InvalidStream, match="cursor"):
        decode_cursor(text)
