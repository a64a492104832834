"""Refusals of many providers, and which of our errors they become."""

from __future__ import annotations

import json
from typing import Any

import pytest

from greenroom.backends.faults import (
    WORDS_MAX,
    Endpoint,
    classified,
    fault_of,
    fault_of_body,
    missing_key,
    not_an_event_stream,
    redacted,
    retry_after_s,
)
from greenroom.errors import (
    BackendError,
    BackendGarbled,
    BackendRejected,
    BackendUnauthorized,
    BackendUnavailable,
    ContextTooLong,
)

KEY = "my-very-own-key"
ENDPOINT = Endpoint(
    provider="OpenAI",
    base_url="https://ann:secret@gateway.example/v1?api-key=12345",
    key=KEY,
    key_variable="OPENAI_API_KEY",
    base_url_variable="OPENAI_BASE_URL",
)


def refused(status: int, body: Any, headers: dict[str, str] | None = None) -> BackendError:
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    return classified(fault_of_body(encoded, status=status), ENDPOINT, headers)


def openai(message: str, kind: str = "invalid_request_error", code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, openai("Unsupported parameter: 'max_tokens'", code="unsupported_parameter"), BackendRejected),
        (400, openai("This model's maximum context length is 128000 tokens.", code="context_length_exceeded"), ContextTooLong),
        (400, openai("Invalid 'messages': array too long. Expected an array with maximum length 2048"), ContextTooLong),
        (400, openai("Invalid 'messages[2].tool_calls[0].id': string too long."), BackendRejected),
        (400, openai("Invalid 'tools': array too long. Expected an array with maximum length 128"), BackendRejected),
        (401, openai("Incorrect API key provided: sk-abc***xyz.", code="invalid_api_key"), BackendUnauthorized),
        (403, openai("Project does not have access to model"), BackendUnauthorized),
        (404, openai("The model `gpt-9` does not exist", code="model_not_found"), BackendRejected),
        (408, openai("Timeout"), BackendUnavailable),
        (409, openai("Lock timeout"), BackendUnavailable),
        (413, b"<html><h1>413 Request Entity Too Large</h1></html>", ContextTooLong),
        (422, {"detail": [{"loc": ["body", "n"], "msg": "extra fields not permitted"}]}, BackendRejected),
        (429, openai("Rate limit reached", "requests", "rate_limit_exceeded"), BackendUnavailable),
        (429, openai("You exceeded your current quota", "insufficient_quota", "insufficient_quota"), BackendRejected),
        (429, openai("Request too large for gpt-4o on tokens per min (TPM): Limit 30000", "tokens"), ContextTooLong),
        (402, {"error": {"message": "Insufficient Balance", "type": "unknown_error"}}, BackendRejected),
        (500, openai("The server had an error", "server_error"), BackendUnavailable),
        (501, openai("Not implemented"), BackendRejected),
        (502, b"<html><head><title>502 Bad Gateway</title></head></html>", BackendUnavailable),
        (503, b"upstream connect error", BackendUnavailable),
        (520, b"", BackendUnavailable),
        # Anthropic
        (529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, BackendUnavailable),
        (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"}}, ContextTooLong),
        (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}}, BackendRejected),
        (401, {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}, BackendUnauthorized),
        # Google, xAI, vLLM, llama.cpp, Mistral, Groq, Ollama
        (400, [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key."}}], BackendUnauthorized),
        (400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xai-123456."}, BackendUnauthorized),
        (400, {"object": "error", "message": "bad temperature", "type": "BadRequestError", "code": 400}, BackendRejected),
        (400, {"error": {"code": 400, "message": "too big", "type": "exceed_context_size_error"}}, ContextTooLong),
        (400, openai("Failed to call a function.", code="tool_use_failed"), BackendGarbled),
        (404, {"error": "model 'llama9' not found"}, BackendRejected),
        (404, b"404 page not found", BackendRejected),
        (418, b"\xff\xfe", BackendRejected),
        (400, "just a text", BackendRejected),
        (400, [], BackendRejected),
        (400, 7, BackendRejected),
    ],
)  # fmt: skip
def test_refusals_by_status(status: int, body: Any, expected: type[BackendError]) -> None:
    error = refused(status, body)
    assert type(error) is expected
    assert f"OpenAI answered {status}" in error.message


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"message": "The server is overloaded", "type": "server_error"}, BackendUnavailable),
        ({"type": "overloaded_error", "message": "Overloaded"}, BackendUnavailable),
        ({"code": 502, "message": "Provider returned error"}, BackendUnavailable),
        ({"code": 400, "message": "bad"}, BackendRejected),
        ({"code": "429", "message": "slow down", "status_code": 429}, BackendUnavailable),
        ({"message": "no such field", "type": "invalid_request_error"}, BackendRejected),
        ({"message": "filtered", "code": "content_filter"}, BackendRejected),
        ({"message": "quota", "code": "insufficient_quota"}, BackendRejected),
        ({"message": "too long", "code": "context_length_exceeded"}, ContextTooLong),
        ({"message": "bad call", "type": "invalid_request_error", "code": "tool_use_failed", "status_code": 400}, BackendGarbled),
        ("something broke", BackendUnavailable),
        ({"unheard": "of"}, BackendUnavailable),
    ],
)  # fmt: skip
def test_errors_in_a_stream(error: Any, expected: type[BackendError]) -> None:
    assert type(classified(fault_of(error), ENDPOINT)) is expected


def test_messages_carry_the_providers_words_and_a_remedy() -> None:
    error = refused(404, openai("The model `gpt-9` does not exist"))
    assert error.message == "OpenAI answered 404: The model `gpt-9` does not exist"
    assert error.hint is not None
    assert "model's name" in error.hint
    assert "https://gateway.example/v1" in error.hint
    error = refused(401, openai("nope"))
    assert error.hint == "set OPENAI_API_KEY to a key that https://gateway.example/v1 accepts"
    assert "set OPENAI_API_KEY, or OPENAI_BASE_URL" in str(missing_key(ENDPOINT))
    assert refused(400, openai("x" * 10_000)).message.endswith("…")
    assert len(refused(400, openai("x" * 10_000)).message) <= WORDS_MAX + 30
    assert (
        refused(502, b"<html><style>p{}</style><p>Bad\n\x00 gateway</p></html>").message
        == "OpenAI answered 502: Bad gateway"
    )


@pytest.mark.parametrize(
    "secret",
    [
        KEY,
        "sk-proj-abcdefghijklmnop",
        "sk-abc*********xyz",
        "gsk_abcdefghij",
        "xai-abcdefghij",
        "hf_abcdefghij",
        "AIzaSyA1234567890abcdefghijk",
        "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl",
    ],
)
def test_secrets_are_taken_out(secret: str) -> None:
    assert secret not in redacted(f"Incorrect API key provided: {secret}.", KEY)
    assert secret not in refused(401, openai(f"Incorrect API key provided: {secret}.")).message


def test_credentials_in_addresses_are_taken_out() -> None:
    said = redacted("Cannot connect to https://ann:s3cret@host/v1?api-key=123&x=1 (Authorization: Bearer abcdef123456)")
    assert said == "Cannot connect to https://host/v1?api-key=[key]&x=1 (Authorization: Bearer [key])"
    assert ENDPOINT.shown_url == "https://gateway.example/v1"
    assert "secret" not in repr(ENDPOINT)
    assert KEY not in repr(ENDPOINT)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "20"}, 20.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Mon, 23 Nov 2026 10:00:30 GMT", "date": "Mon, 23 Nov 2026 10:00:00 GMT"}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 09:00:00 GMT", "date": "Mon, 23 Nov 2026 10:00:00 GMT"}, 0.0),
        ({"retry-after": "Mon, 23 Nov 2026 10:00:30 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e99"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds


def test_a_rate_limit_says_how_long_to_wait() -> None:
    error = refused(429, openai("slow down"), {"retry-after": "7"})
    assert isinstance(error, BackendUnavailable)
    assert error.retry_after_s == 7.0


def test_the_server_may_overrule_the_status() -> None:
    assert type(refused(500, openai("x"), {"x-should-retry": "false"})) is BackendRejected
    assert type(refused(400, openai("x"), {"x-should-retry": "true"})) is BackendUnavailable


@pytest.mark.parametrize(
    "body",
    [b"data: {}", b"\xef\xbb\xbfdata: {}", b"\n\nevent: x", b": ping", b"id: 1", b"d", b"", b"retry: 5"],
)
def test_event_streams_pass(body: bytes) -> None:
    assert not_an_event_stream(body, "", ENDPOINT) is None


def test_odd_fields_pass_if_they_are_said_to_be_events() -> None:
    assert not_an_event_stream(b"hello: x\n\n", "text/event-stream; charset=utf-8", ENDPOINT) is None
    assert isinstance(not_an_event_stream(b"hello: x\n\n", "text/plain", ENDPOINT), BackendGarbled)


@pytest.mark.parametrize(
    ("body", "expected", "said"),
    [
        (b"<!doctype html><title>Welcome to nginx!</title>", BackendGarbled, "Welcome to nginx!"),
        (b'{"error": {"message": "Overloaded", "type": "server_error"}}', BackendUnavailable, "Overloaded"),
        (
            b'{"object": "error", "message": "no such model", "type": "invalid_request_error"}',
            BackendRejected,
            "no such model",
        ),
        (b'{"choices": [{"message": {"content": "Hi"}}]}', BackendGarbled, '"content": "Hi"'),
        (b'{"cut": ', BackendGarbled, '{"cut":'),
        (b"[1, 2]", BackendGarbled, "[1, 2]"),
        (b"\x1f\x8b\x08\x00", BackendGarbled, "compressed bytes"),
        (b"no healthy upstream", BackendGarbled, "no healthy upstream"),
    ],
)
def test_other_answers_are_named(body: bytes, expected: type[BackendError], said: str) -> None:
    error = not_an_event_stream(body, "text/plain", ENDPOINT)
    assert type(error) is expected
    assert said in error.message
