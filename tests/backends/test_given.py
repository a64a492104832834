"""What providers give beside the words of an answer (case P21): sources and pictures, in the terms of each dialect.

Each stream is read in one piece and in single bytes. The fields are those of the public documentation that is named; what the decoders
give is then taken by `Intake`, as in a session: once, within bounds, and told where something is left out.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, Final

import pytest

from backends.test_damage import CHAT, ENDPOINT, MESSAGES, RESPONSES, Dialect, heard
from backends.test_liberal import HELLO, MESSAGE_STOP, START, STOP, block, chunk, claude, read, stop, texts
from greenroom.backends.claude_request import encode as encode_claude
from greenroom.backends.openai_chat import encode as encode_chat
from greenroom.backends.openai_responses_decoder import ResponsesDecoder
from greenroom.backends.openai_responses_request import encode as encode_responses
from greenroom.backends.sse import as_event
from greenroom.core.given import is_link
from greenroom.core.step import Intake
from greenroom.errors import BackendGarbled, LimitExceeded
from greenroom.interfaces import BackendRequest
from greenroom.limits import DEFAULT_LIMITS, SOURCE_QUOTE_CHARACTERS_MAX, SOURCE_TITLE_CHARACTERS_MAX, Limits
from greenroom.media_types import image_type_of
from greenroom.messages import (
    AssistantMessage,
    FilePart,
    PartGiven,
    PartStarted,
    SourcePart,
    StreamItem,
    TextPart,
    UserMessage,
)
from greenroom.testing import strict_claude_rules, strict_openai_rules, strict_responses_rules

Json = dict[str, Any]
RECORDINGS: Final = Path(__file__).parent / "recordings"
PNG: Final = b"\x89PNG\r\n\x1a\n" + b"picture"
PNG_URL: Final = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


def kept(items: list[StreamItem], limits: Limits = DEFAULT_LIMITS) -> tuple[list[SourcePart | FilePart], list[str]]:
    """Returns what a session keeps of what was given, and the codes of what a person is told."""
    intake = Intake(seq=1, used_call_ids=(), limits=limits)
    taken = [item for item in intake.take(items) if isinstance(item, PartGiven)]
    assert len({item.part for item in taken}) == len(taken)
    return [item.content for item in taken], [notice.code for notice in intake.notices]


def chat(*chunks: Json, limits: Limits = DEFAULT_LIMITS) -> tuple[list[SourcePart | FilePart], list[str]]:
    stream = "".join(f"data: {json.dumps(one)}\n\n" for one in chunks) + "data: [DONE]\n\n"
    items, error = read(CHAT, stream.encode())
    assert error is None, error
    return kept(items, limits)


def recorded(dialect: Dialect, name: str) -> list[SourcePart | FilePart]:
    items, error = heard(dialect.decoder(), (RECORDINGS / dialect.folder / name).read_bytes())
    assert error is None, error
    return kept(items)[0]


# --- Chat Completions ---------------------------------------------------------------------------------------------------


def test_perplexity_says_its_sources_in_every_chunk_and_they_are_kept_once() -> None:
    """Perplexity, *Sonar*: `citations` (addresses) and `search_results` at the top of each chunk; [1] in the text is the first."""
    cited = ["https://a.example/1", "https://b.example/2"]
    found = [{"url": cited[0], "title": "One", "date": "2026-01-01", "snippet": "so it is"}]
    one = chunk({"content": "Paris[1]"}, citations=cited, search_results=found)
    assert chat(one, one, {**STOP, "citations": cited, "search_results": found}) == (
        [SourcePart(url=cited[0], title="One", quote="so it is"), SourcePart(url=cited[1])],
        [],
    )


def test_a_title_that_comes_later_is_kept_and_citations_that_change_are_all_kept() -> None:
    early = chunk({"content": "Paris[1]"}, citations=["https://a.example", "https://b.example"])
    late = {**STOP, "citations": ["https://c.example"], "search_results": [{"url": "https://a.example", "title": "A"}]}
    sources, _ = chat(early, late)
    assert sources == [
        SourcePart(url="https://a.example", title="A"),
        SourcePart(url="https://b.example"),
        SourcePart(url="https://c.example"),
    ]


def test_the_recording_of_perplexity() -> None:
    items, error = read(CHAT, (RECORDINGS / "liberal" / "perplexity-citations.sse").read_bytes())
    assert error is None
    assert kept(items)[0] == [SourcePart(url="https://e.x")]


def test_the_recording_of_openrouter() -> None:
    sources = recorded(
        CHAT,
        "pydantic-ai--test_openrouter-models__test_openrouter__test_openrouter_web_search_annotations_stream-0.sse",
    )
    assert len(sources) >= 3
    assert isinstance(first := sources[0], SourcePart)
    assert first.url == "https://github.com/pydantic/pydantic-ai"
    assert first.title == "AI Agent Framework, the Pydantic way - GitHub"
    assert first.quote.startswith("# pydantic/pydantic-ai")
    assert len(first.quote) <= SOURCE_QUOTE_CHARACTERS_MAX


def test_annotations_before_any_text_and_of_every_shape() -> None:
    """OpenAI, *Web search* (`url_citation` within, or flat as some gateways have it); a file has only a name."""
    shapes = [
        {"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "A"}},
        {"type": "url_citation", "url": "https://b.example", "title": "B", "start_index": 0},
        {"type": "file_citation", "file_citation": {"file_id": "file-1", "quote": "so it is"}},
        {"type": "file", "file": {"hash": "x", "name": "parsed.pdf"}},
        {"type": "url_citation", "url_citation": {"url": None, "title": ["odd"]}},
        {"type": ["odd"]},
        "odd",
    ]
    sources, told = chat(chunk({"annotations": shapes}), HELLO, STOP)
    assert sources == [
        SourcePart(url="https://a.example", title="A"),
        SourcePart(url="https://b.example", title="B"),
        SourcePart(title="file-1", quote="so it is"),
    ]
    assert not told


def test_a_picture_is_kept_and_may_be_all_that_is_said() -> None:
    """OpenRouter, *Image generation*: `images` in the delta, and once more in a whole message."""
    image = {"type": "image_url", "image_url": {"url": PNG_URL}}
    pictures, told = chat(
        chunk({"content": "", "images": [image]}),
        {"choices": [{"delta": {}, "message": {"content": "", "images": [image]}, "finish_reason": "stop"}]},
    )
    assert (pictures, told) == ([FilePart(media_type="image/png", data=PNG)], [])


@pytest.mark.parametrize(
    "url",
    [
        "data:image/svg+xml;base64," + base64.b64encode(b"<svg onload='alert(1)'/>").decode(),
        "data:image/png;base64," + base64.b64encode(b"<html><script>alert(1)</script>").decode(),
        "data:image/png;base64,%%%",
        "data:image/png",
    ],
)
def test_what_is_no_picture_is_left_out_and_told(url: str) -> None:
    """SVG and HTML run scripts: the bytes decide, not the type that is declared (S-cases of the file routes)."""
    assert chat(chunk({"images": [{"image_url": {"url": url}}]}), HELLO, STOP) == ([], ["picture_left_out"])


def test_a_picture_somewhere_else_is_a_source_and_is_not_fetched() -> None:
    (source,), told = chat(chunk({"images": [{"image_url": {"url": "http://pictures.example/1.png"}}]}), HELLO, STOP)
    assert isinstance(source, SourcePart)
    assert source.url == "http://pictures.example/1.png"
    assert not told


def test_a_picture_beside_a_call() -> None:
    call = {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{}"}}]}
    stream = [chunk({"images": [{"image_url": {"url": PNG_URL}}]} | call), chunk(finish="tool_calls")]
    items, error = read(CHAT, CHAT.written(stream))
    assert error is None
    assert [item.kind for item in items if isinstance(item, PartStarted)] == ["tool_call"]
    assert kept(items)[0] == [FilePart(media_type="image/png", data=PNG)]


# --- bounds -------------------------------------------------------------------------------------------------------------


def test_thousands_of_sources_are_cut_off_and_told_once() -> None:
    cited = [f"https://a.example/{number}" for number in range(2_000)]
    found = [{"url": url, "title": "t" * 10_000, "snippet": "q" * 10_000} for url in cited]
    said = chunk({"content": "Hello"}, search_results=found, citations=cited)
    items, error = heard(CHAT.decoder(), CHAT.written([said, STOP]))
    assert error is None
    sources, told = kept(items)
    assert len(sources) == DEFAULT_LIMITS.sources_max
    assert told == ["sources_left_out"]
    assert all(isinstance(each, SourcePart) for each in sources)
    assert {len(each.title) for each in sources if isinstance(each, SourcePart)} == {SOURCE_TITLE_CHARACTERS_MAX}
    assert {len(each.quote) for each in sources if isinstance(each, SourcePart)} == {SOURCE_QUOTE_CHARACTERS_MAX}


def test_a_picture_of_thirty_megabytes_is_left_out_and_the_answer_stays() -> None:
    url = "data:image/png;base64," + base64.b64encode(PNG + bytes(30_000_000)).decode()
    stream = CHAT.written([chunk({"images": [{"image_url": {"url": url}}]}), HELLO, STOP])
    items, error = heard(CHAT.decoder(), stream)
    assert error is None
    assert texts(items, "text") == "Hello"
    assert kept(items) == ([], ["picture_left_out"])


def test_pictures_have_a_number_and_a_size_together() -> None:
    many = [{"image_url": {"url": f"data:;base64,{base64.b64encode(PNG + bytes([n])).decode()}"}} for n in range(9)]
    pictures, told = chat(chunk({"images": many}), STOP, limits=Limits(attachments_max=4))
    assert (len(pictures), told) == (4, ["picture_left_out"])
    pictures, told = chat(chunk({"images": many}), STOP, limits=Limits(step_bytes_max=40))
    assert (len(pictures), told) == (2, ["picture_left_out"])


def test_what_stands_beside_a_picture_is_a_part_of_the_answer_and_bounded() -> None:
    image = {"type": "image_generation_call", "id": "ig", "status": "completed", "result": PNG_URL.partition(",")[2]}
    for junk, is_kept in (("x" * 500, True), ("x" * 2_000, False)):
        done = {"type": "response.output_item.done", "output_index": 0, "item": {**image, "junk": junk}}
        stream = RESPONSES.written([RESPONSES.events[0], done])
        items, error = heard(ResponsesDecoder(ENDPOINT, model="m", limits=Limits(step_bytes_max=1_000)), stream)
        assert isinstance(error, BackendGarbled if is_kept else LimitExceeded)
        assert any(isinstance(item, PartGiven) for item in items) == is_kept


def test_pictures_that_are_too_large_are_told_once() -> None:
    many = [{"image_url": {"url": f"data:;base64,{base64.b64encode(PNG + bytes(n)).decode()}"}} for n in range(20, 29)]
    assert chat(chunk({"images": many}), HELLO, STOP, limits=Limits(attachment_bytes_max=20)) == (
        [],
        ["picture_left_out"],
    )


def test_a_document_with_a_number_beyond_all_has_no_name() -> None:
    place = {"type": "char_location", "document_index": int("9" * 4_300), "document_title": None, "cited_text": "so"}
    cites = {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": place}}
    text = block("Hello")
    items = claude(START, text[0], cites, *text[1:], stop(), MESSAGE_STOP)
    assert texts(items, "text") == "Hello"
    assert kept(items) == ([], [])


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:alert(1)", "data:text/html,<script>", "vbscript:x",
        "file:///etc/passwd", "//a.example", "a.example", "https:a.example", "https://", "http:///x", "https://[",
        "https://a.example:99999", "https://a.example/\u202egpj.exe", "https://a.example/\nx", "https://a b.example",
        "https:\\\\a.example", "https://a.example/" + "x" * 3000, "java\nscript:alert(1)",
    ],
)  # fmt: skip
def test_only_web_addresses_become_links(url: str) -> None:
    assert not is_link(url.strip())
    (source,), told = chat(chunk({"content": "Hello"}, citations=[url]), STOP)
    assert isinstance(source, SourcePart)
    assert not source.url
    assert source.title  # it stands there as text, so that [2] in the answer stays the second
    assert "\n" not in source.title
    assert not told


@pytest.mark.parametrize(
    "url", ["https://a.example", "HTTP://A.example:8080/ö?q=[1]#x", "http://[::1]/", "https://例え.jp/"]
)
def test_web_addresses_stay_as_they_are(url: str) -> None:
    assert is_link(url)
    assert chat(chunk({"content": "Hello"}, citations=[url]), STOP)[0] == [SourcePart(url=url)]


def test_halves_of_characters_harm_nothing() -> None:
    stream = b'data: {"choices":[{"delta":{"content":"Hello","annotations":[{"type":"url_citation","url":"https://a.example","title":"\\ud83d x"}]}}]}\n\n'
    items, error = read(CHAT, stream + CHAT.written([STOP]))
    assert error is None
    (source,), _ = kept(items)
    source_json = json.dumps(source.title if isinstance(source, SourcePart) else "")
    source_json.encode()
    assert isinstance(source, SourcePart)
    source.title.encode()


# --- Claude -------------------------------------------------------------------------------------------------------------


def test_claude_cites_pages_and_documents() -> None:
    """Anthropic, *Citations* and *Web search tool*; what was found and not cited comes at the end."""
    page = {"type": "web_search_result_location", "url": "https://a.example", "title": "A", "cited_text": "so it is"}
    place = {"type": "char_location", "document_index": 0, "document_title": None, "cited_text": "and so"}
    found = [{"type": "web_search_result", "url": f"https://{name}.example", "title": name.upper()} for name in "ab"]
    result = {"type": "web_search_tool_result", "tool_use_id": "s", "content": found}
    fetched = {
        "type": "web_fetch_tool_result",
        "tool_use_id": "s2",
        "content": {"type": "web_fetch_result", "url": "https://c.example", "content": {"title": "C"}},
    }
    failed = {
        "type": "web_search_tool_result",
        "tool_use_id": "s3",
        "content": {"type": "web_search_tool_result_error"},
    }
    blocks = [
        event
        for number, raw in enumerate((result, fetched, failed))
        for event in (
            {"type": "content_block_start", "index": number, "content_block": raw},
            {"type": "content_block_stop", "index": number},
        )
    ]
    text = block("Hello", 3)
    cites = [
        {"type": "content_block_delta", "index": 3, "delta": {"type": "citations_delta", "citation": citation}}
        for citation in (page, place, page)
    ]
    items = claude(START, *blocks, text[0], *cites, *text[1:], stop(), MESSAGE_STOP)  # before any text
    assert kept(items)[0] == [
        SourcePart(url="https://a.example", title="A", quote="so it is"),
        SourcePart(title="Document 1", quote="and so"),
        SourcePart(url="https://b.example", title="B"),
        SourcePart(url="https://c.example", title="C"),
    ]


def test_the_recording_of_claude() -> None:
    sources = recorded(MESSAGES, "llm-anthropic--test_anthropic__test_web_search-0.sse")
    assert sources
    assert all(isinstance(each, SourcePart) and each.url.startswith("https://") and each.title for each in sources)
    assert isinstance(sources[0], SourcePart)
    assert sources[0].quote, "what is cited comes before what was only found"


# --- Responses ----------------------------------------------------------------------------------------------------------


def responses(*items: Json) -> list[SourcePart | FilePart]:
    done = [
        {"type": "response.output_item.done", "output_index": place, "item": item} for place, item in enumerate(items)
    ]
    end = {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": list(items)}}
    found, error = read(RESPONSES, RESPONSES.written([RESPONSES.events[0], *done, end]))
    assert error is None, error
    return kept(found)[0]


def test_responses_cite_pages_and_files() -> None:
    """OpenAI, *Web search* and *File search*; each annotation is said up to three times."""
    noted = [
        {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 0, "end_index": 5},
        {"type": "file_citation", "file_id": "file-1", "filename": "report.pdf", "index": 3},
        {"type": "container_file_citation", "container_id": "c", "file_id": "f", "filename": "rolls.csv"},
        {"type": "file_path", "file_id": "f", "index": 0},
    ]
    content = {"type": "output_text", "text": "Hello", "annotations": noted}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [content]}
    expected = [
        SourcePart(url="https://a.example", title="A"),
        SourcePart(title="report.pdf"),
        SourcePart(title="rolls.csv"),
    ]
    assert responses(item) == expected
    added = [
        {"type": "response.output_text.annotation.added", "output_index": 0, "item_id": "msg_1", "annotation": one}
        for one in noted
    ]
    events = [
        RESPONSES.events[0],
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
    ]
    delta = {"type": "response.output_text.delta", "output_index": 0, "item_id": "msg_1", "delta": "Hello"}
    done = {"type": "response.output_item.done", "output_index": 0, "item": item}
    end = {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": [item]}}
    items, error = read(RESPONSES, RESPONSES.written([*events, *added, delta, done, end]))
    assert error is None
    assert kept(items)[0] == expected
    assert texts(items, "text") == "Hello"


def picture_of_responses() -> FilePart:
    image = {
        "type": "image_generation_call",
        "id": "ig_1",
        "status": "completed",
        "revised_prompt": "a boat",
        "result": base64.b64encode(PNG).decode(),
    }
    (picture,) = responses(image)
    assert isinstance(picture, FilePart)
    return picture


def test_a_picture_of_responses_stands_once_and_goes_back_as_it_came() -> None:
    """OpenAI, *Image generation*: the item, with its `result`, is what the model edits in the next turn."""
    picture = picture_of_responses()
    assert (picture.media_type, picture.data) == ("image/png", PNG)
    assert picture.sidecar is not None
    assert b"result" not in bytes(picture.sidecar.data), "the picture stands in the log once"
    request = asked(picture)
    item = encode_responses(request)["input"][1]
    assert item == {
        "type": "image_generation_call",
        "id": "ig_1",
        "status": "completed",
        "revised_prompt": "a boat",
        "result": base64.b64encode(PNG).decode(),
    }


def asked(picture: FilePart, model: str = "m") -> BackendRequest:
    return BackendRequest(
        model=model,
        system="",
        messages=(
            UserMessage(parts=(TextPart(text="Draw a boat"),)),
            AssistantMessage(parts=(picture,)),
            UserMessage(parts=(TextPart(text="Make it blue"),)),
        ),
    )


LINE: Final = f"[A picture was made and shown to the user here: image/png, {len(PNG)} bytes.]"


def test_a_picture_is_told_in_a_line_where_it_does_not_go_back() -> None:
    """Deterministic, so that prompt caches hold; no dialect but Responses takes a picture from the assistant everywhere."""
    request = asked(picture_of_responses(), model="other")
    assert encode_chat(request)["messages"][1] == {"role": "assistant", "content": LINE}
    assert encode_claude(request)["messages"][1]["content"] == [{"type": "text", "text": LINE}]
    said = encode_responses(request)["input"][1]
    assert said["content"] == [{"type": "output_text", "text": LINE, "annotations": []}]


@pytest.mark.parametrize("model", ["m", "gpt-5.1", "claude-sonnet-4-5"])
def test_strict_providers_take_a_history_with_pictures(model: str) -> None:
    request = asked(picture_of_responses(), model)
    assert not strict_responses_rules.refusals(encode_responses(request))
    assert not strict_openai_rules.refusals(encode_chat(request))
    assert not strict_claude_rules.refusals(encode_claude(request))


def test_an_answer_that_is_not_streamed_has_them_too() -> None:
    noted = [{"type": "url_citation", "url_citation": {"url": "https://b.example", "title": "B"}}]
    whole = {"content": "Hello", "annotations": noted, "images": [{"image_url": {"url": PNG_URL}}]}
    answer = {"citations": ["https://a.example"], "choices": [{"message": whole, "finish_reason": "stop"}]}
    items, error = heard(CHAT.decoder(), as_event(json.dumps(answer).encode()))
    assert error is None
    assert kept(items)[0] == [
        SourcePart(url="https://b.example", title="B"),
        FilePart(media_type="image/png", data=PNG),
        SourcePart(url="https://a.example"),
    ]


def test_the_recording_of_azure() -> None:
    items, error = heard(
        RESPONSES.decoder(), (RECORDINGS / "openai-responses" / "vercel-ai--azure-image-generation.sse").read_bytes()
    )
    assert error is None
    given = [item.content for item in items if isinstance(item, PartGiven)]
    assert any(isinstance(each, FilePart) and each.sidecar is not None for each in given)


def test_the_recording_of_a_file_search() -> None:
    sources = recorded(RESPONSES, "vercel-ai--azure-file-search-annotations.sse")
    assert sources
    assert all(isinstance(each, SourcePart) and each.title for each in sources)


def test_the_bytes_say_what_a_picture_is() -> None:
    assert image_type_of(PNG) == "image/png"
    assert image_type_of(b"RIFF\0\0\0\0WEBPVP8 ") == "image/webp"
    assert image_type_of(b"RIFF\0\0\0\0WAVE") == ""
    assert image_type_of(b"<svg xmlns='http://www.w3.org/2000/svg'>") == ""
