"""JSON that broke off anywhere is closed to JSON that begins with what was said."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.protocols.closing import closing

documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(
    st.data(), st.dictionaries(st.text(max_size=6), documents, max_size=4), st.booleans(), st.sampled_from([None, 1])
)
def test_whatever_broke_off_is_closed(
    data: st.DataObject, document: object, is_ascii: object, indent: int | None
) -> None:
    text = json.dumps(document, ensure_ascii=bool(is_ascii), indent=indent)
    cut = data.draw(st.integers(1, len(text)))
    json.loads(text[:cut] + closing(text[:cut]))


@pytest.mark.parametrize(
    ("text", "added"),
    [
        ("", ""),
        ("  ", ""),
        ("{", "}"),
        ('{"a', '":null}'),
        ('{"a"', ":null}"),
        ('{"a":', "null}"),
        ('{"a":"b', '"}'),
        ('{"a":"b\\', '\\"}'),
        ('{"a":"b\\\\', '"}'),
        ('{"a":"\\u00e', '0"}'),
        ('{"a":"\\\\u00e', '"}'),
        ('{"a":"\\ud83d', '\\udc00"}'),
        ('{"a":"\\ud83d\\ud', 'c00"}'),
        ('{"a":"\\\\ud83d', '"}'),
        ('{"a":[1,', "null]}"),
        ('{"a":1,', '"":null}'),
        ('{"a":-', "0}"),
        ('{"a":1.', "0}"),
        ('{"a":1e', "0}"),
        ('{"a":tr', "ue}"),
        ('{"a":{"b":[{"c":"', '"}]}}'),
        ('{"a":1}', ""),
        ("{broken", ""),
        ('{"a":1}}', ""),
        ('{"a" 1', ""),
        ("plain words", ""),
        ('{"a":' * 100_000, ""),
    ],
)
def test_what_is_added(text: str, added: str) -> None:
    assert closing(text) == added
