"""The values above the text of a persona, and what is refused rather than guessed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom.errors import InvalidConfig
from greenroom.personas.front_matter import split_front_matter


@pytest.mark.parametrize(
    ("text", "values", "body"),
    [
        ("Just text.", {}, "Just text."),
        ("", {}, ""),
        ("--- not a fence\ntext", {}, "--- not a fence\ntext"),
        ("---\n---\nText.", {}, "Text."),
        ("---\nname: a\n---", {"name": "a"}, ""),
        ("---  \nname: a b\n---\t\n\nText\n---\nmore", {"name": "a b"}, "\nText\n---\nmore"),
        ("---\n# a comment\n\nname:   padded   \n---\n", {"name": "padded"}, ""),
        ("---\ntools: [A, B]\n---\n", {"tools": ("A", "B")}, ""),
        ("---\ntools: []\n---\n", {"tools": ()}, ""),
        ("---\ntools: [ 'A, B' , \"C\" ,D ]\n---\n", {"tools": ("A, B", "C", "D")}, ""),
        ("---\na: \"x: y # \\\"z\\\"\"\nb: 'it''s'\n---\n", {"a": 'x: y # "z"', "b": "it's"}, ""),
        ("---\na: http://x.example/y#z\n---\n", {"a": "http://x.example/y#z"}, ""),
        ("---\na: -x\nb: gpt-4o:latest\n---\n", {"a": "-x", "b": "gpt-4o:latest"}, ""),
    ],
)
def test_what_is_read(text: str, values: dict[str, Any], body: str) -> None:
    assert split_front_matter(text) == (values, body)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["name: a"], "the front matter does not end"),
        (["name: a", "name: b", "---"], "line 3: name is given twice"),
        (["name a", "---"], "line 2: 'name a' is not `key: value`"),
        (["tools:", "  - A", "---"], "line 2: tools has no value"),
        (
            ["name: a", "  more", "---"],
            r"line 3: 'more' is not `key: value` .one line for each value; a list is written",
        ),
        (["name: [a", "---"], "line 2: .* is not a list .write .a, b"),
        (["name: [a] b", "---"], "line 2: .* is not a list"),
        (["name: [[a]]", "---"], "is not a list"),
        (["name: [a,,b]", "---"], "is not a list"),
        (["name: [" + " " * 100_000 + "a b]", "---"], "is not a list"),
        (["name: {a: b}", "---"], "means something special in YAML .put the text in double quotes"),
        (["name: |", "---"], "means something special"),
        (["name: >-", "---"], "means something special"),
        (["name: &a b", "---"], "means something special"),
        (["name: *a", "---"], "means something special"),
        (["name: !!int 3", "---"], "means something special"),
        (["name: Writer: crisp", "---"], "means something special"),
        (["name: a # b", "---"], "means something special"),
        (["name: - a", "---"], "means something special"),
        (["name: 'a", "---"], "means something special"),
        (['name: "a" b', "---"], "means something special"),
        (["name: @a", "---"], "means something special"),
        (["na me: a", "---"], "is not `key: value`"),
        (["name:a", "---"], "is not `key: value`"),
    ],
)
def test_what_is_refused(lines: list[str], message: str) -> None:
    with pytest.raises(InvalidConfig, match=message) as refused:
        split_front_matter("\n".join(["---", *lines]))
    assert refused.value.hint


yaml = pytest.importorskip("yaml")
VALUES = st.text(st.sampled_from("ab 1:#'\"[],{}-&*!|>%@`?\\"), max_size=10)


@settings(max_examples=500)
@given(VALUES)
def test_whatever_is_accepted_means_the_same_in_yaml(value: str) -> None:
    try:
        values, _ = split_front_matter(f"---\nkey: {value}\n---\n")
    except InvalidConfig:
        return
    # Every value is text here; YAML reads some texts as numbers.
    read = yaml.load(f"key: {value}", Loader=yaml.BaseLoader)["key"]
    assert values["key"] == (tuple(read) if isinstance(read, list) else read)
