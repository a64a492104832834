"""The splitter: the format of the specification, every cut of the bytes, and the bound."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom import limits
from greenroom.backends.sse import DONE, SseSplitter
from greenroom.errors import BackendGarbled, BackendUnavailable


def split(pieces: Iterable[bytes]) -> list[bytes]:
    splitter = SseSplitter()
    payloads = [payload for piece in pieces for payload in splitter.feed(piece)]
    return payloads + splitter.close()


@pytest.mark.parametrize(
    ("stream", "payloads"),
    [
        (b"data: {}\n\n", [b"{}"]),
        (b"data:{}\n\n", [b"{}"]),
        (b"data:  {}\n\n", [b" {}"]),
        (b'data: {"a": 1}\n\ndata: [DONE]\n\n', [b'{"a": 1}', DONE]),
        (b"data: a\ndata: b\ndata:\ndata: c\n\n", [b"a\nb\n\nc"]),
        (b"event: delta\nid: 7\nretry: 10\ndata: x\n\n", [b"x"]),
        (b"data: x\nevent: delta\n\n", [b"x"]),
        (b": keep-alive\n\n: OPENROUTER PROCESSING\n\ndata: x\n\n", [b"x"]),
        (b"data: x\r\n\r\ndata: y\r\n\r\n", [b"x", b"y"]),
        (b"data: x\r\rdata: y\r\r", [b"x", b"y"]),
        (b"data: x\n\r\ndata: y\r\n\n", [b"x", b"y"]),
        (b"\xef\xbb\xbfdata: x\n\n", [b"x"]),
        (b"\n\n\ndata: x\n\n\n\n\ndata: y\n\n", [b"x", b"y"]),
        (b"data: x\n\ndata: last", [b"x", b"last"]),
        (b"data: x\n\ndata: last\n", [b"x", b"last"]),
        (b"data: x\n\nevent: end", [b"x"]),
        (b"data\n\ndata:\n\nevent: ping\n\n", []),
        (b"datas: x\n\n data: y\n\ndata : z\n\n", []),
        ("data: näive 🙂\n\n".encode(), ["näive 🙂".encode()]),
        (b"data: a: b\n\n", [b"a: b"]),
        (b"", []),
    ],
)
def test_the_format(stream: bytes, payloads: list[bytes]) -> None:
    assert split([stream]) == payloads
    assert split(stream[index : index + 1] for index in range(len(stream))) == payloads
    for cut in range(len(stream)):
        assert split([stream[:cut], stream[cut:]]) == payloads, f"cut at byte {cut}"


@given(
    lines=st.lists(
        st.sampled_from([b"data: a", b"data:b", b"data", b"", b"", b": c", b"event: e", b"data: \xef\xbb\xbf", b"x"]),
        max_size=30,
    ),
    ends=st.lists(st.sampled_from([b"\n", b"\r\n", b"\r"]), min_size=30, max_size=30),
    cuts=st.lists(st.integers(0, 300), max_size=12),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_any_stream_in_any_pieces(lines: list[bytes], ends: list[bytes], cuts: list[int], mark: bytes) -> None:
    stream = mark + b"".join(line + end for line, end in zip(lines, ends, strict=False))
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    pieces = [stream[start:stop] for start, stop in pairwise(edges)]
    assert split(pieces) == by_the_book(stream)


def by_the_book(stream: bytes) -> list[bytes]:
    """The algorithm of the specification, line by line; and what a stream without its last blank line holds."""
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    payloads, data = [], []
    for line in [*text.split(b"\n"), b""]:
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif line == b"data":
            data.append(b"")
        elif not line:
            if payload := b"\n".join(data):
                payloads.append(payload)
            data = []
    return payloads


def test_payloads_leave_with_the_piece_that_completes_them() -> None:
    splitter = SseSplitter()
    assert splitter.feed(b"data: a\n") == []
    assert splitter.feed(b"\ndata: b\n\ndata") == [b"a", b"b"]
    assert splitter.feed(b": c") == []
    assert splitter.feed(b"\r") == []
    assert splitter.feed(b"\n\r") == [b"c"]
    assert splitter.close() == []


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 65_536, b"data: x\n" * 8_192, b"x" * 65_536])
def test_an_event_that_never_ends_is_refused(piece: bytes) -> None:
    splitter = SseSplitter()
    pieces_max = limits.SSE_LINE_BYTES_MAX // len(piece)
    for _ in range(pieces_max):
        assert splitter.feed(piece) == []
    with pytest.raises(BackendGarbled, match="without an end"):
        splitter.feed(piece)


def test_a_long_event_in_small_pieces_passes() -> None:
    payload = b'{"image": "' + b"A" * (limits.SSE_LINE_BYTES_MAX // 2) + b'"}'
    stream = b"data: " + payload + b"\n\ndata: next\n\n"
    assert split(stream[start : start + 1024] for start in range(0, len(stream), 1024)) == [payload, b"next"]


def test_the_large_events_of_all_streams_have_a_bound_together() -> None:
    """One may be as long as an answer with pictures; a server that begins many of them at once does not fill memory."""
    piece = b"data: " + b"x" * (4 * 1024 * 1024)  # a little more than 4 MiB
    splitters = [SseSplitter() for _ in range(9)]
    for splitter in splitters * 7:
        assert splitter.feed(piece) == []
    with pytest.raises(BackendUnavailable, match=str(limits.SSE_LINES_BYTES_MAX)) as raised:
        splitters[0].feed(piece)
    assert raised.value.refused is None
    assert SseSplitter().feed(b"data: small\n\n") == [b"small"], "whoever sends small events notices nothing"
    [payload] = splitters[0].feed(b"\n\n")
    assert len(payload) > len(piece)
    del splitters[1:4]  # given up in the middle of their events
    for splitter in [SseSplitter() for _ in range(3)]:
        for _ in range(8):
            assert splitter.feed(piece) == []
