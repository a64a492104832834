"""Words, queries and snippets: pure functions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.logs.ranking import best
from greenroom.logs.words import Query, fold, matches, parse_query, snippet, words_of

TEXTS = st.text(max_size=200)
QUERIES = st.text(max_size=30)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("The quick, brown FOX!", ["the", "quick", "brown", "fox"]),
        ("foo_bar-baz 12a 3.14", ["foo", "bar", "baz", "12a", "3", "14"]),
        ("Crème BRÛLÉE", ["creme", "brulee"]),
        ("Straße İstanbul ﬁne Ｆｕｌｌ", ["strasse", "istanbul", "fine", "full"]),
        ("東京タワー is 333m", ["東", "京", "タ", "ワ", "ー", "is", "333m"]),
        ("がく かく", ["が", "く", "か", "く"]),
        ("한국어 검색", ["한국어", "검색"]),
        ("привет Мир", ["привет", "мир"]),
        ("🙂 \x00 \ud800", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    # A change here makes stored texts half findable: it needs a migration that indexes them again.
    assert words_of(text) == words


@given(TEXTS)
def test_words_are_folded_once_and_for_all(text: str) -> None:
    words = words_of(text)
    assert all(fold(word) == word or words_of(word) == [word] for word in words)
    assert words_of(" ".join(words)) == words
    # Nothing in a word means anything to a full-text query, or splits it again.
    assert not any(character in '"*^:(){}' or character.isspace() for word in words for character in word)


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("", Query(())),
        ("?!", Query(())),
        ("fox", Query((("fox",),), is_open=True)),
        ("fox ", Query((("fox",),))),
        ("Fox fox hound!", Query((("fox",), ("hound",)))),
        ('"fox" OR -hou', Query((("fox",), ("or",), ("hou",)), is_open=True)),
        ("東京 tower", Query((("東", "京"), ("tower",)), is_open=True)),
        ("東京", Query((("東", "京"),))),
    ],
)
def test_queries(text: str, query: Query) -> None:
    assert parse_query(text, words_max=32) == query


def test_a_long_query_is_cut() -> None:
    query = parse_query("a b c d e", words_max=3)
    assert query == Query((("a",), ("b",), ("c",)))
    assert len(parse_query("東" * 100, words_max=3).words) == 1


@given(TEXTS)
def test_a_text_matches_its_own_words(text: str) -> None:
    words = words_of(text)
    query = parse_query(" ".join(words), words_max=1000)
    assert matches(query, words) == bool(words)


def bare(text: str) -> str:
    """Returns a text without spaces and without what a snippet adds."""
    return "".join(character for character in text if not character.isspace() and character not in "[]…")


@given(TEXTS, QUERIES)
def test_a_snippet_is_a_part_of_the_text(text: str, query: str) -> None:
    shown = snippet(text, parse_query(query, words_max=32))
    assert bare(shown) in bare(text)
    assert len(bare(shown)) <= 160


@pytest.mark.parametrize(
    ("text", "query", "shown"),
    [
        ("the quick brown fox", "QUICK ", "the [quick] brown fox"),
        ("the quick brown fox", "qui", "the [quick] brown fox"),
        ("x " * 60 + "needle " + "y " * 200, "needle", "… [needle] y"),
        ("今日は晴れです", "晴れ", "今日は[晴れ]です"),
        ("Crème", "creme ", "[Crème]"),
        ("nothing here", "zebra", "nothing here"),
        ("a[b]c\n\n\td", "b ", "a[[b]]c d"),
    ],
)
def test_snippets(text: str, query: str, shown: str) -> None:
    found = snippet(text, parse_query(query, words_max=32))
    if shown.startswith("…"):
        assert found.startswith("…")
        assert found.endswith("…")
        assert shown.strip("… ") in found
    else:
        assert found == shown


def test_ranking_prefers_more_hits_in_shorter_texts() -> None:
    query = parse_query("apple ", words_max=32)
    texts = ["an apple and a lot of other things that are not one", "apple apple", "no fruit", "an apple"]
    assert best(query, texts, 9) == [1, 3, 0, 2]
    assert best(query, texts, 2) == [1, 3]
    assert best(query, [], 2) == []


def test_ranking_weighs_rare_words_more() -> None:
    query = parse_query("the dog ", words_max=32)
    assert best(query, ["the the the", "the cat", "dog here", "the end"], 1) == [2]


def test_equal_texts_keep_their_order() -> None:
    query = parse_query("same ", words_max=32)
    assert best(query, ["same"] * 20, 20) == list(range(20))
