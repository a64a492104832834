"""Nothing that a client sends is large, many or deep on the event loop: it is counted as it arrives, before it is decoded.

Cases S1 of the security review (sources: greenroom's own review, 2026-11; the decoding bomb of `{"a":[{},{},...]}`).
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest

from greenroom.errors import InvalidArgument, LimitExceeded
from greenroom.json_scan import JsonScan
from greenroom.limits import DEFAULT_LIMITS, JSON_DEPTH_MAX, JSON_NUMBER_CHARACTERS_MAX
from greenroom.logs.words import fold, parse_query, words_of
from greenroom.protocols.attachments import attachment
from greenroom.server.operation import Operation
from greenroom.server.table import operations
from server.asgi import Web
from server.conftest import OTHER, OpenWeb

SESSION = "the-session"
SHOWN_MAX = 1000
"""A refusal is no longer than this, whatever it refuses."""

JSON_ROUTES = [row for row in operations() if row.method not in {"GET", "HEAD", "DELETE"} and not row.raw_body]
"""All that can be sent JSON, also those that take no body."""

VALUES = DEFAULT_LIMITS.json_values_max


def path_of(row: Operation) -> str:
    names = {"session_id": SESSION, "approval_id": "a", "turn_id": "t", "agent_id": "default"}
    return row.path.format(**names)


SHAPES: dict[str, bytes] = {
    "many objects": b'{"metadata":{"a":[' + b"{}," * VALUES + b"{}]}}",
    "many lists": b'{"forwardedProps":[' + b"[]," * VALUES + b"[]]}",
    "many members": b"{" + b",".join(b'"%d":1' % number for number in range(VALUES + 1)) + b"}",
    "many attachments": b'{"message":"x","attachments":[' + b"{}," * VALUES + b"{}]}",
    "deep lists": b'{"state":' + b"[" * JSON_DEPTH_MAX + b"]" * JSON_DEPTH_MAX + b"}",
    "deep objects": b'{"a":' * JSON_DEPTH_MAX + b"{}" + b"}" * JSON_DEPTH_MAX,
    "a long number": b'{"temperature":' + b"9" * JSON_NUMBER_CHARACTERS_MAX + b"}",
    "a long fraction": b'{"temperature":0.' + b"9" * JSON_NUMBER_CHARACTERS_MAX + b"}",
}


@pytest.mark.parametrize("shape", sorted(SHAPES))
async def test_every_route_refuses_what_holds_too_much(web: Web, shape: str) -> None:
    await web.post("/v1/sessions", {"session_id": SESSION})
    for row in JSON_ROUTES:
        answer = await web.ask(row.method, path_of(row), data=SHAPES[shape])
        assert (answer.status, answer.error) == (413, "limit_exceeded"), (row.path, answer.body[:300])
        assert len(answer.body) < SHOWN_MAX, row.path
        assert answer.headers["connection"] == "close"


async def test_the_rest_of_a_body_that_holds_too_much_is_not_read(web: Web) -> None:
    """S1: refused with the piece in which it becomes too much; what follows is neither kept nor decoded."""
    given = iter([b'{"a":[' + b"{}," * VALUES, b"{}]", b"never"])
    taken: list[bytes] = []

    async def receive() -> dict[str, Any]:
        taken.append(next(given))
        return {"type": "http.request", "body": taken[-1], "more_body": True}

    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = web._scope("POST", "/v1/sessions", {}, {"content-length": None, "transfer-encoding": "chunked"}, None)
    await web.app(scope, receive, send)
    assert sent[0]["status"] == 413
    assert len(taken) == 1


@pytest.mark.parametrize("row", JSON_ROUTES, ids=lambda row: f"{row.method} {row.path}")
async def test_every_route_has_a_bound_of_its_own(open_web: OpenWeb, row: Operation) -> None:
    """S1: 1 MiB where neither a file nor a text is carried."""
    carries = {
        "request_body_bytes_max": "messages /agui run connect suggest /api/chat",
        "text_body_bytes_max": "steer queue approvals",
    }
    if row.bytes_limit != "json_body_bytes_max":
        assert any(part in row.path for part in carries[row.bytes_limit].split()), row.path
    web = open_web(config={"limits": {row.bytes_limit: 100}})
    answer = await web.ask(row.method, path_of(row), data=b'{"x":"' + b"y" * 200 + b'"}')
    assert (answer.status, answer.error) == (413, "limit_exceeded")


LONG = "é" * 200_000
ECHOES: list[tuple[str, str, Any]] = [
    ("POST", "/v1/sessions", {LONG: 1}),
    ("POST", "/v1/sessions", {"session_id": LONG}),
    ("POST", "/v1/sessions", {"backend": LONG}),
    ("POST", "/v1/sessions", {"llm_model": LONG}),
    ("POST", "/v1/sessions", {"persona_name": LONG}),
    ("POST", "/v1/sessions", {"title": LONG}),
    ("POST", "/v1/sessions", {"metadata": {"a": LONG}}),
    ("POST", "/v1/sessions", {"metadata": {"a": ["b"] * 20_000}}),
    ("POST", "/v1/sessions", {"additional_tools": [LONG]}),
    ("POST", "/v1/sessions", {"additional_tools": ["x"] * 20_000}),
    ("POST", "/v1/sessions", {"stop": [LONG]}),
    ("POST", "/v1/sessions", {"fallbacks": [f"openai:{LONG}"]}),
    ("POST", "/v1/sessions", {"approval": {LONG: "ask"}}),
    ("POST", "/v1/sessions", {"overlap": LONG}),
    ("POST", "/v1/sessions", {"max_steps": 10**100}),
    ("PATCH", f"/v1/sessions/{SESSION}", {"custom_persona_text": LONG}),
    ("POST", f"/v1/sessions/{SESSION}/messages", {"message": "x", "turn_id": LONG}),
    ("POST", f"/v1/sessions/{SESSION}/messages", {"message": "x", "idempotency_key": LONG}),
    ("POST", f"/v1/sessions/{SESSION}/messages", {"message": "x", "attachments": [{"data": LONG, "name": "a.png"}]}),
    ("POST", f"/v1/sessions/{SESSION}/messages", {"message": "x", "attachments": [{"data": "QQ==", "media_type": LONG}]}),
    ("POST", f"/v1/sessions/{SESSION}/rewind", {"turn_id": LONG}),
    ("POST", f"/v1/sessions/{SESSION}/approvals/{'a' * 20_000}", {"decision": "approve"}),
    ("POST", f"/v1/sessions/{SESSION}/approvals/a", {"decision": LONG}),
    ("POST", "/agui", {"threadId": SESSION, "runId": LONG, "messages": []}),
    ("POST", "/agui", {"threadId": SESSION, "runId": "r", "messages": [{"id": "m", "role": "user", "content": {LONG: 1}}]}),
    ("POST", "/agui", {"threadId": "new", "runId": "r", "messages": [{"id": "m", "role": "user", "content": "x"}],
                       "forwardedProps": {"llm_model": LONG}}),
    ("POST", "/api/chat", {"id": SESSION, "messages": [{"role": "user", "parts": [{"type": LONG}]}]}),
    ("POST", "/api/chat", {"id": SESSION, "trigger": "regenerate-message", "messageId": LONG}),
    ("GET", f"/v1/sessions/{'a' * 20_000}", None),
    ("GET", f"/v1/sessions?cursor={'a' * 20_000}", None),
    ("GET", f"/v1/sessions?{'a' * 20_000}=1", None),
    ("GET", f"/v1/sessions/{SESSION}/events?cursor={'1' * 20_000}", None),
    ("GET", f"/v1/sessions/{SESSION}/workspace/{'a' * 20_000}", None),
    ("GET", f"/agui?runId={'a' * 20_000}", None),
    ("GET", f"/{'a' * 20_000}", None),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body"), ECHOES, ids=range(len(ECHOES)))
async def test_a_refusal_does_not_echo_what_it_refuses(web: Web, method: str, path: str, body: Any) -> None:
    """S1: up to 40 MB of the request came back in its refusal."""
    await web.post("/v1/sessions", {"session_id": SESSION})
    answer = await web.ask(method, path, body)
    assert 400 <= answer.status < 500, answer.body[:300]
    assert len(answer.body) < SHOWN_MAX
    assert set(answer.json()["error"]) <= {"code", "message", "hint"}


def fed(text: bytes, size: int, *, values_max: int = VALUES) -> None:
    scan = JsonScan("the body", values_max=values_max)
    for at in range(0, len(text), size):
        scan.feed(text[at : at + size])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("text", "values"),
    [
        (b"{}", 1),
        (b'{"a":1,"b":[1,2]}', 4),
        (b'{"a":"[[[,,,{{{"}', 1),
        (b'{"a":"\\"[,\\\\"}', 1),
        (b'["\\\\\\"[,", "\\\\", [1]]', 4),
        (b'{"\\u005b[": ["}", {}]}', 4),
    ],
)
def test_values_are_counted_outside_of_strings_however_the_text_is_cut(text: bytes, values: int, size: int) -> None:
    fed(text, size, values_max=values)
    with pytest.raises(LimitExceeded):
        fed(text, size, values_max=values - 1)


@pytest.mark.parametrize("size", [1, 5, 100, 10_000])
def test_a_long_number_is_found_however_it_is_cut(size: int) -> None:
    """Sibling: a number of a million digits keeps the decoder busy for the square of it, and one piece never shows it."""
    fed(b"[" + b",".join([b"1" * (JSON_NUMBER_CHARACTERS_MAX - 1)] * 3) + b"]", size)
    fed(b'["' + b"1" * 5000 + b'"]', size)
    with pytest.raises(LimitExceeded):
        fed(b"[" + b"1" * JSON_NUMBER_CHARACTERS_MAX + b"]", size)


@pytest.mark.parametrize(
    "text",
    ["ﷺ" * 9000, "a" + "\u0316\u0301" * 9000, "漢字か\u3099" * 3000, "\u1112\u1161\u11ab" * 5000, "ﾊﾞ é ﬃ" * 2000, "x" * 9000],
    ids=["ligature of 18", "marks", "han and kana", "jamo", "mixed", "one word"],
)  # fmt: skip
def test_words_found_in_pieces_are_those_of_the_whole(text: str) -> None:
    """S1: 300,000 times U+FDFA held the loop for 0.87 s; 40,000 marks on one letter hold it for seconds (they are sorted)."""
    assert words_of(text[:600]) == words_of(fold(text[:600]))
    short = words_of(text[:3000])
    assert words_of(text)[: len(short) - 1] == short[:-1]


def test_a_text_is_cut_where_nothing_combines() -> None:
    drawn = random.Random(11)
    pool = [
        "a",
        "B",
        " ",
        "é",
        "e\u0301",
        "か\u3099",
        "ﾊﾞ",
        "ﷺ",
        "ﬃ",
        "한",
        "\u1112\u1161\u11ab",
        "\u1161",
        "漢",
        "\u0316",
        "İ",
        "\u09be",
    ]
    for _ in range(50):
        text = "".join(drawn.choices(pool, k=40)) * 120  # longer than a piece, cut somewhere else each time
        pieces = [fold(piece) for piece in text.split(" ")]
        assert fold(text) == " ".join(pieces)


def test_a_data_url_is_decoded_without_an_object_for_each_character() -> None:
    """Sibling of S1: a data URL of 32 MB of `%41` was an object for each, on the loop; one of semicolons too."""
    found = attachment("data:text/plain,a%20b=c%3D%0A=\n", "", "a.txt")
    assert (found["data"], found["media_type"]) == (b"a b=c=\n=\n", "text/plain")
    assert attachment("data:," + "%41" * 100_000, "", "a.txt")["data"] == b"A" * 100_000
    for wrong in ("data:,100%", "data:,%zz", "data:" + ";" * 100_000 + ",x", "data:x"):
        with pytest.raises(InvalidArgument):
            attachment(wrong, "", "a.txt")
    assert attachment("data:image/png;base64," + base64.b64encode(b"png").decode(), "", "")["data"] == b"png"


def test_a_data_url_is_decoded_as_the_standard_library_does() -> None:
    """And what that would leave as it is, is refused: also where a `%` stands before the end of a line, or another `%`."""
    drawn = random.Random(7)
    pool = ["%41", "%3D", "%0a", "%0D%0A", "%25", "%ff", "=", "=3D", "=\n", "_", " ", "\t", "\n", "\r\n", "é", "a", "."]
    wrong = ["%", "%%", "%4", "%zz", "%\n", "%\r", "% ", "%=", "%é"]
    for _ in range(3000):
        text = "".join(drawn.choices(pool, k=6))
        assert attachment(f"data:,{text}", "", "")["data"] == unquote_to_bytes(text)
        broken = text + drawn.choice(wrong) + "g" + "".join(drawn.choices(pool, k=2))
        with pytest.raises(InvalidArgument, match="hexadecimal"):
            attachment(f"data:,{broken}", "", "")


async def test_many_new_messages_are_looked_up_once(web: Web) -> None:
    """Sibling of S1: each of a thousand messages was looked for in all turns of the session."""
    messages = [{"id": f"m{number}", "role": "user", "content": "x"} for number in range(3000)]
    answer = await web.post("/agui", {"threadId": SESSION, "runId": "r1", "messages": messages})
    assert answer.status == 200
    again = await web.post("/agui", {"threadId": SESSION, "runId": "r1", "messages": messages})
    assert again.status == 200
    history = (await web.get(f"/v1/sessions/{SESSION}/messages")).json()["messages"]
    assert [message["role"] for message in history] == ["user", "assistant"]


async def test_unfinished_bodies_of_one_user_leave_room_for_others(open_web: OpenWeb) -> None:
    """S14: 17 unfinished bodies of one user were 503 for every other POST, for 30 s."""
    limits = {"request_bodies_bytes_max": 1000, "request_bodies_per_user_bytes_max": 300, "import_bytes_max": 500}
    web = open_web(config={"limits": limits})
    others = web.of(OTHER)
    held = asyncio.Event()

    async def unfinished(size: int) -> tuple[int, dict[str, Any]]:
        pieces = iter([b"x" * size])
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            if (piece := next(pieces, None)) is None:
                await held.wait()
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": piece, "more_body": True}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = {"content-length": None, "transfer-encoding": "chunked", "content-type": "application/zip"}
        await web.app(web._scope("POST", "/v1/sessions/import", {}, headers, None), receive, send)
        return sent[0]["status"], json.loads(sent[1]["body"])

    first = asyncio.ensure_future(unfinished(400))  # a single one may be larger than the share
    await asyncio.sleep(0)
    status, body = await unfinished(1)
    assert (status, body["error"]["code"]) == (429, "too_many_bodies")
    small = await web.post("/v1/sessions", {"title": "mine"})
    assert (small.status, small.error, small.headers["retry-after"]) == (429, "too_many_bodies", "2")
    assert (await others.post("/v1/sessions", {"title": "x" * 100})).status == 201, "another user's share is untouched"
    held.set()
    assert (await first)[0] == 400
    assert (await web.post("/v1/sessions", {"title": "mine"})).status == 201, "it was let go"


def test_a_query_is_read_no_further_than_its_words_count() -> None:
    """S1: a person's message is looked for among the memories, on the loop: a megabyte of U+FDFA held it for seconds."""
    query = parse_query("ﷺ" * 100_000, words_max=32)
    assert query == parse_query("ﷺ" * 5_000, words_max=32)
    assert len(query.words) <= 32
    assert not query.is_open
