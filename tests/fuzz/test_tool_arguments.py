"""Arguments of tool calls that are not quite JSON: damage with one meaning reads back as what it was, and nothing raises anything else."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom.limits import ARGUMENTS_ENCODED_MAX
from greenroom.tool_arguments import UnreadableArguments, read_arguments, sent_arguments, sent_text, shown_arguments

TEXTS: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES: Final = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        TEXTS,
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)
OBJECTS: Final = st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4)


def unescaped(text: str) -> str:
    """Control characters stand in texts as they are."""
    pieces = text.split("\\\\")
    for escape, character in (("\\n", "\n"), ("\\r", "\r"), ("\\t", "\t"), ("\\b", "\b"), ("\\f", "\f")):
        pieces = [piece.replace(escape, character) for piece in pieces]
    return "\\\\".join(pieces)


DAMAGES: Final[dict[str, Callable[[str], str]]] = {
    "control characters": unescaped,
    "encoded again": json.dumps,
    "encoded again, escapes kept": lambda text: json.dumps(text, ensure_ascii=False),
    "encoded again, without quotes": lambda text: json.dumps(text)[1:-1],
    "placeholder": lambda text: "{} " + text,
    "twice": lambda text: text + "\n" + text,
    "fence": lambda text: f"```json\n{text}\n```",
    "marker": lambda text: f"{text}\n</tool_call>",
    "brace": lambda text: text + "}",
    "trailing comma": lambda text: text[:-1] + ",}" if text.startswith("{") and len(text) > 2 else text,
    "mark": lambda text: "\ufeff" + text,
}


@settings(max_examples=300)
@given(OBJECTS, st.sampled_from(sorted(DAMAGES)))
def test_an_object_that_is_damaged_reads_back_as_itself(arguments: dict[str, Any], damage: str) -> None:
    written = DAMAGES[damage](json.dumps(arguments))
    assert read_arguments(written) == arguments
    assert json.loads(shown_arguments(written)) == sent_arguments(written) == arguments


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from("aAb"), VALUES), max_size=4), st.booleans())
def test_members_in_any_number_are_shown_as_they_are_read(members: list[tuple[str, Any]], is_escaped: bool) -> None:  # noqa: FBT001
    """What a decoder of others finds in the text that a person approves is what runs, and nothing else stands there."""

    def once(found: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(found)) == len(found), "a name twice"
        return dict(found)

    names = {"A": r"\u0061" if is_escaped else "A"}
    written = ", ".join(f'"{names.get(name, name)}": {json.dumps(value)}' for name, value in members)
    for text in (f"{{{written}}}", f'{{"x": [{{{written}}}]}}'):
        try:
            arguments = read_arguments(text)
        except UnreadableArguments:
            assert len(dict(members)) < len(members) or is_escaped, "only a name twice is refused"
            continue
        for told in (shown_arguments(text), sent_text(text)):
            assert json.loads(told, object_pairs_hook=once) == arguments


@settings(max_examples=200)
@given(OBJECTS, st.lists(st.sampled_from(["encoded again", "placeholder", "fence", "mark"]), max_size=4))
def test_damages_one_upon_the_other(arguments: dict[str, Any], damages: list[str]) -> None:
    written = json.dumps(arguments)
    for damage in damages:
        written = written if damage == "placeholder" and written[0] != "{" else DAMAGES[damage](written)
    assert read_arguments(written) == arguments


@settings(max_examples=200)
@given(st.dictionaries(TEXTS, st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), st.text("ab'\" ", max_size=6)), lambda inner: st.lists(inner, max_size=3), max_leaves=6), max_size=4))  # fmt: skip
def test_what_python_prints_is_read_or_refused_and_never_something_else(arguments: dict[str, Any]) -> None:
    try:
        assert read_arguments(repr(arguments)) == arguments
    except UnreadableArguments:
        assert any("\\" in repr(name) for name in arguments), "only escapes that JSON does not know are refused"


@settings(max_examples=300)
@given(OBJECTS, OBJECTS)
def test_two_objects_are_one_only_if_they_are_the_same(first: dict[str, Any], second: dict[str, Any]) -> None:
    written = json.dumps(first) + json.dumps(second)
    if msgspec.json.encode(first, order="deterministic") == msgspec.json.encode(second, order="deterministic"):
        assert read_arguments(written) == first
        return
    with pytest.raises(UnreadableArguments, match="different objects"):
        read_arguments(written)


@settings(max_examples=200)
@given(OBJECTS, st.sampled_from(["control characters", "encoded again", "placeholder"]), st.data())
def test_what_is_cut_off_is_never_the_whole(arguments: dict[str, Any], damage: str, data: st.DataObject) -> None:
    written = DAMAGES[damage](json.dumps(arguments))
    cut = written[: data.draw(st.integers(1, len(written) - 1))]
    if cut.strip() in {"{}", ""}:
        return  # of `{}{"a": 1}`; whether it may run is decided by how the answer ended
    with pytest.raises(UnreadableArguments):
        read_arguments(cut)


PIECES: Final = st.sampled_from(
    (
        *"{}[]\"':,\\a1-.e \n\ud800\ufeff\x00",
        *("\\u", "d83d", "null", "True", "{}", '{"a":1}', "```", "</a>", "<|a|>", "[A_B]"),
    )
)


@settings(max_examples=1000)
@given(st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join)))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        arguments = read_arguments(text)
    except UnreadableArguments as refusal:
        str(refusal).encode()
        assert shown_arguments(text) == text
        assert sent_arguments(text) == {"invalid_json": text}
        return
    assert read_arguments(msgspec.json.encode(arguments).decode()) == arguments


def test_how_often_they_may_have_been_encoded() -> None:
    written = '{"a": 1}'
    for _ in range(ARGUMENTS_ENCODED_MAX):
        written = json.dumps(written)
    assert read_arguments(written) == {"a": 1}
    with pytest.raises(UnreadableArguments, match=f"more than {ARGUMENTS_ENCODED_MAX} times"):
        read_arguments(json.dumps(written))


@pytest.mark.parametrize(
    "piece",
    [
        "[1,",
        '"',
        "'",
        "\\",
        "{",
        "}",
        "{}",
        "`",
        "<",
        "</a>",
        " ",
        "a",
        "1",
        '\\"',
        '{\\"',
        "[",
        '{"a":',
        "\n",
        "[],",
        "\\q",
    ],
)
@pytest.mark.long  # it measures time, which a busy machine gives unevenly
@pytest.mark.parametrize("frame", ["{}", '{{"a": "{}', '{{"a": [{}', '"{}', '{{"a":1}}{}'])
def test_it_takes_time_in_proportion_to_the_text(piece: str, frame: str) -> None:
    def measured(length: int) -> float:
        text = frame.format(piece * (length // len(piece)))
        began = time.thread_time()
        with contextlib.suppress(UnreadableArguments):
            read_arguments(text)
        return time.thread_time() - began

    # A quadratic reader takes 64 times as long for 8 times the text, and minutes for the longer one.
    assert min(measured(800_000) for _ in range(2)) < 20 * min(measured(100_000) for _ in range(3)) + 0.1
