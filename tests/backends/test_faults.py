"""Refusals of many providers, and which of our errors they become."""

from __future__ import annotations

import json
from typing import Any

import pytest

from greenroom.backends.delays import delay_in_headers, duration_s
from greenroom.backends.faults import (
    WORDS_MAX,
    Endpoint,
    classified,
    fault_of,
    fault_of_body,
    is_answer,
    missing_key,
    not_an_event_stream,
    redacted,
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
    assert delay_in_headers(headers) == seconds


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
        (b'{"base_resp":{"status_code":1004,"status_msg":"login fail"}}', BackendUnauthorized, "login fail"),
        (b'{"base_resp":{"status_code":1002,"status_msg":"rate limit"}}', BackendUnavailable, "rate limit"),
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


def gemini(code: int, message: str, *details: dict[str, Any], status: str = "INVALID_ARGUMENT") -> list[dict[str, Any]]:
    return [{"error": {"code": code, "message": message, "status": status, "details": list(details)}}]


def claude(message: str, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}}


MINUTE = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2s"}
QUOTA = "You exceeded your current quota, please check your plan and billing details."


@pytest.mark.parametrize(
    ("status", "body"),
    [
        # P13 (MoonshotAI/kimi-code#207 and the wordings of other providers)
        (400, gemini(400, "The input token count (1196265) exceeds the maximum number of tokens allowed (1048576).")),
        (400, gemini(400, "The input token count exceeds the maximum number of tokens allowed (1048576).")),
        (400, gemini(400, "The input token count is 40000 but model only supports up to 32768.")),  # Vertex
        (400, openai("This model's maximum context length is 128000 tokens. However, your messages resulted in 192871 tokens.")),
        (400, openai("Your input exceeds the context window of this model. Please adjust your input and try again.")),
        (400, claude("prompt is too long: 210000 tokens > 200000 maximum")),
        (400, claude("input length and `max_tokens` exceed context limit: 90402 + 116650 > 204648, decrease input length or max_tokens")),
        (400, {"message": "Input is too long for requested model."}),  # Bedrock
        (413, openai("Request too large for model `qwen` on tokens per minute (TPM): Limit 6000, Requested 7000", "tokens")),  # Groq
        (400, openai("Please reduce the length of the messages or completion.")),  # Groq
        (400, {"object": "error", "message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length", "type": "invalid_request_prompt", "code": "3051"}),  # Mistral
        (400, {"code": "Client specified an invalid argument", "error": "This model's maximum prompt length is 131072 but the request contains 537812 tokens."}),  # xAI
        (422, {"error": {"message": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000", "type": "invalid_request_error"}}),  # Together
        (400, openai("The prompt is too long: 200000, model maximum context length: 131071")),  # Fireworks
        (400, {"error": {"message": "This endpoint's maximum context length is 131072 tokens. However, you requested about 140000 tokens", "code": 400}}),  # OpenRouter
        (400, {"error": "prompt too long; exceeded max context length by 10 tokens"}),  # Ollama
        (400, {"object": "error", "message": "The decoder prompt (length 5000) is longer than the maximum model length of 4096.", "code": 400}),  # vLLM
        (400, {"error": {"code": 400, "message": "the request exceeds the available context size. try increasing the context size", "type": "exceed_context_size_error"}}),
        (400, {"error": "Trying to keep the first 7000 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens"}),  # LM Studio
        (400, {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000."}),  # Cohere
        (400, openai("Invalid request: Your request exceeded model token limit: 8192")),  # Moonshot
        (400, openai("Range of input length should be [1, 30720]")),  # Qwen
        (400, {"error": {"code": "1261", "message": "Prompt 超长"}}),  # Zhipu
        (400, openai("prompt token count of 130000 exceeds the limit of 128000", code="model_max_prompt_tokens_exceeded")),  # Copilot
        (400, {"code": 20015, "message": "number of input tokens (204703) has exceeded max_prompt_tokens (202752) limit.", "data": None}),  # SiliconFlow
        (400, {"error": {"message": "Prompt tokens (70000) exceeds context size (65536)", "type": "context_exceeded"}}),
        (400, openai("max_tokens must be at least 1, got -46771. (parameter=max_tokens, value=-46771)", "BadRequestError")),  # vLLM
        (400, openai("The input (1000016 tokens) is longer than the model's context length (131072 tokens).")),  # Together
        (400, openai("Prompt has 32769 tokens, but the configured context size is 32768 tokens")),  # DS4
        (400, openai("tokens in request more than max tokens allowed")),  # Zhipu
        (400, openai("Input length exceeds the maximum allowed input length of 262,144 tokens")),  # Poolside
        (400, {"error": {"message": "The total length of all messages is too long.", "type": "too_many_prompt_tokens", "code": 400}}),  # Perplexity
        (400, {"error": {"message": "Input Tokens Exceeded: Number of input tokens exceeds maximum length. Please update the input to try again."}}),  # Bedrock
        (400, {"error": "Context size has been exceeded."}),  # LM Studio
        (400, openai("The conversation is too long for this model.")),  # gateways
        # OpenRouter and others that wrap what their provider answered (tailcallhq/forgecode#1146, open-webui/computer#293)
        (400, {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": json.dumps(claude("prompt is too long: 9 tokens > 8")), "provider_name": "Google"}}}),
        (400, {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": claude("prompt is too long: 9 tokens > 8")}}}),
        (413, {"error": {"error": {"message": "Provider returned error", "metadata": {"raw": json.dumps(claude("Prompt is too long"))}}}, "code": 413}),
        (400, openai("Error code: 400 - {'error': {'message': 'too much', 'code': 'context_length_exceeded'}}", "None")),
        # Numbers, in words that no table has.
        (400, openai("Your 140000 tokens are larger than what this model reads: 128000 tokens")),
        (400, openai("You sent 70000 tokens, which is more than the 65536 tokens that fit.")),
        (500, openai("This model's maximum context length is 4096 tokens.")),  # gateways
    ],
)  # fmt: skip
def test_a_history_that_is_too_long_is_known_by_code_number_or_words(status: int, body: Any) -> None:
    error = refused(status, body)
    assert type(error) is ContextTooLong
    assert error.refused == "length"


@pytest.mark.parametrize(
    ("status", "body", "headers", "delay"),
    [
        # P4 (google-gemini/gemini-cli, browserbase/mcp-server-browserbase#129)
        (429, gemini(429, QUOTA, MINUTE, status="RESOURCE_EXHAUSTED"), {}, 2.0),
        (429, gemini(429, QUOTA + " Please retry in 41.265642542s.", status="RESOURCE_EXHAUSTED"), {}, 41.265642542),
        # P14 (anomalyco/opencode#13015)
        (429, {"message": "Too many tokens per day, please wait before trying again."}, {}, None),
        (429, {"message": "Too many tokens, please wait before trying again."}, {}, None),
        # P5 (openai/codex#2266)
        (429, openai("Rate limit reached for gpt-5 on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000. Please try again in 5.5s.", code="rate_limit_exceeded"), {}, 5.5),
        (429, openai("Rate limit reached. Please try again in 820ms.", code="rate_limit_exceeded"), {}, 0.82),
        (429, openai("Rate limit reached for model `x` on requests per day (RPD): Limit 1000. Please try again in 1m26.4s.", "requests"), {}, 86.4),  # Groq
        (429, openai("Requests have exceeded call rate limit of your current tier. Please retry after 23 seconds.", code="429"), {}, 23.0),  # Azure
        (429, openai("Please try again in 2 minutes and 5 seconds"), {}, 125.0),
        (429, openai("slow down"), {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m30s", "x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": "1h"}, 90.0),
        (429, {"error": {"code": 429, "message": "Rate limit exceeded: free-models-per-min"}}, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1795687230000", "date": "Thu, 26 Nov 2026 10:00:00 GMT"}, 30.0),  # OpenRouter
        (429, claude("rate limit", "rate_limit_error"), {"retry-after": "7"}, 7.0),
        (429, claude("rate limit", "rate_limit_error"), {"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "2026-11-26T10:00:12Z", "date": "Thu, 26 Nov 2026 10:00:00 GMT"}, 12.0),
        (429, openai("limit", "requests"), {"retry-after": "1", "x-ratelimit-reset-requests": "1h"}, 1.0),
        (429, {"error": {"message": "limit", "metadata": {"retry_after_seconds": 9}}}, {}, 9.0),
        (429, {"error": {"message": "limit"}}, {"retry-after-ms": "250"}, 0.25),
        (503, openai("overloaded, try again in 3 seconds"), {}, 3.0),
        (429, openai("The limit resets in 23 seconds"), {}, 23.0),
        (429, openai("Please retry your request after 6 seconds"), {}, 6.0),
        (429, openai("Rate limited upstream (Retry-After: 30)"), {}, 30.0),
        (429, openai('{"retry_after": 12}'), {}, 12.0),
        (429, openai("retry after 2026-11-30T10:00:00Z"), {}, None),
        (429, {"error": {"message": "limit", "retry_after": "30"}}, {}, 30.0),
        (429, {"error": {"message": "limit", "retry_after": "1m30s"}}, {}, 90.0),
        (429, {"error": {"message": "limit", "retry_after_ms": 1500}}, {}, 1.5),
        (429, {"error": {"message": "limit", "retry_after": True}}, {}, None),
        (429, {"error": {"message": "The usage limit has been reached", "type": "usage_limit_reached", "resets_in_seconds": 77}}, {}, 77.0),
        (429, {"error": "limit", "retry_after": 5}, {}, 5.0),
        (429, {"detail": {"error": "limit", "retry_after": 9}}, {}, 9.0),
        (429, {"error": {"message": "Provider returned error", "code": 429, "metadata": {"raw": json.dumps(gemini(429, QUOTA, MINUTE))}}}, {}, 2.0),  # OpenRouter
        (429, {"error": {"message": "Provider returned error", "code": 429, "metadata": {"raw": "z-ai/glm-5.3 is rate-limited upstream. Please retry in 8s."}}}, {}, 8.0),
        (429, {"object": "error", "message": "Requests rate limit exceeded", "type": "rate_limited", "code": "1300"}, {}, None),  # Mistral
        (429, {"error": {"code": "1302", "message": "rate limit"}}, {}, None),  # Zhipu
        (429, {"code": "Throttling.AllocationQuota", "message": "Allocated quota exceeded, please increase your quota limit."}, {}, None),  # Qwen
    ],
)  # fmt: skip
def test_a_limit_is_waited_for_wherever_the_delay_stands(
    status: int, body: Any, headers: dict[str, str], delay: float | None
) -> None:
    error = refused(status, body, headers)
    assert isinstance(error, BackendUnavailable), error
    assert error.retry_after_s == (None if delay is None else pytest.approx(delay))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, openai(QUOTA, "insufficient_quota", "insufficient_quota")),
        (429, {"error": {"type": "exceeded_current_quota_error", "message": "Your account is suspended, please check your plan"}}),  # Moonshot
        (429, {"error": {"code": "1113", "message": "您的账户已欠费"}}),  # Zhipu
        (400, {"error": {"code": "Arrearage", "message": "Access denied, please make sure your account is in good standing."}}),  # Qwen
        (403, {"code": "The caller does not have permission", "error": "Your team has used all available credits."}),  # xAI
        (429, {"code": "Some resource has been exhausted", "error": "Your team has either used all available credits or reached its monthly spending limit."}),  # xAI
        (402, {"error": {"message": "Insufficient credits", "code": 402}}),  # OpenRouter
        (400, claude("You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.")),  # anthropics/claude-code#38035
        (500, claude("insufficient balance (1008)", "api_error")),  # MiniMax
        (429, {"error": {"http_code": "429", "message": "no money", "type": "insufficient_balance_error"}}),  # MiniMax
        (429, openai("litellm.RateLimitError: Error code: 429 - {'error': {'type': 'insufficient_quota'}}", "throttling_error")),
    ],
)  # fmt: skip
def test_an_empty_account_is_known_by_its_code(status: int, body: Any) -> None:
    error = refused(status, body)
    assert type(error) is BackendRejected
    assert "credit" in (error.hint or "")
    assert error.refused is None


@pytest.mark.parametrize(
    ("status", "body", "what"),
    [
        # P15 (ZoneMinder/zmNinjaNg#309)
        (400, {"error": {"message": "registry.ollama.ai/library/gemma:2b does not support tools", "type": "api_error"}}, "tools"),
        (404, {"error": {"message": "No endpoints found that support tool use.", "code": 404}}, "tools"),  # OpenRouter
        (400, {"object": "error", "message": '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set', "code": 400}, "tools"),  # vLLM
        (500, {"error": {"code": 500, "message": "tools param requires --jinja flag", "type": "server_error"}}, "tools"),  # llama.cpp
        (400, openai("`tool calling` is not supported with this model"), "tools"),  # Groq
        (400, gemini(400, "Function calling is not enabled for models/gemma-3-27b-it"), "tools"),
        (400, {"message": "This model doesn't support tool use."}, "tools"),  # Bedrock
        (400, openai("tools is not supported in this model. For a list of supported models, refer to ..."), "tools"),  # OpenAI
        (400, openai("`tools` is not supported with this model", code="unsupported_parameter"), "tools"),
        (400, {"error": {"code": 400, "message": "Functions are not supported for this API version or this model version."}}, "tools"),  # Azure
        (400, {"message": "This model does not support tool use."}, "tools"),
        (400, openai("This model does not support the `tools` parameter"), "tools"),
        (422, openai("tool_calls not supported on this model"), "tools"),  # Hugging Face
        (500, {"error": {"message": "x doesn't support function calling"}}, "tools"),
        (400, openai("parallel tool calls are not supported"), "request"),
        (400, openai("Invalid schema for function 'f': schema must be a JSON Schema of 'type: \"object\"'."), "tools"),
        # Siblings of P15: the field of the request is named, in whatever way.
        (400, openai("Unrecognized request argument supplied: tools"), "tools"),
        (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "tools"], "msg": "Extra inputs are not permitted", "input": []}]}, "tools"),  # Mistral
        (400, {"error": {"message": "Not supported by this deployment.", "type": "invalid_request_error", "param": "tools[0].type", "code": None}}, "tools"),
        (400, {"error": {"message": "litellm.UnsupportedParamsError: x does not support parameters: ['tools'], for model=x.", "code": "400"}}, "tools"),
        # A setting is no part of the conversation, and is not the tools: nothing of either is to be left out.
        (400, openai("Unsupported parameter: 'parallel_tool_calls' is not supported with this model."), None),  # tensorzero/tensorzero#2805
        (400, gemini(400, 'Invalid JSON payload received. Unknown name "parallel_tool_calls": Cannot find field.'), None),  # jackmpcollins/magentic#382
        (400, {"message": 'Malformed input request: #: subject must not be valid against schema {"required":["messages"]}#/tool_choice: extraneous key [disable_parallel_tool_use] is not permitted, please reformat your input and try again.'}, None),  # anthropics/anthropic-sdk-python#739
        (400, claude("tool_choice.auto.disable_parallel_tool_use: Extra inputs are not permitted"), None),
        (400, gemini(400, 'Invalid JSON payload received. Unknown name "tools": Cannot find field.'), "tools"),
        (400, gemini(400, "Invalid JSON payload received. Unknown name \"reasoning\" at 'messages[1]': Cannot find field."), "request"),
        (400, claude("tool_choice: Extra inputs are not permitted"), "tools"),
        (400, openai("Unsupported parameter: 'reasoning.effort' is not supported with this model."), None),
        (400, openai("Unsupported value: 'temperature' does not support 0.2 with this model."), None),
        (400, {"error": {"message": "litellm.UnsupportedParamsError: x does not support parameters: ['temperature'], for model=x.", "code": "400"}}, None),
        (400, openai("property 'reasoning_effort' is unsupported"), None),  # Groq
        (400, claude("max_tokens: 200000 > 64000, which is the maximum allowed number of output tokens for claude-x"), None),
        (400, claude("thinking.budget_tokens: Input should be greater than or equal to 1024"), None),
        (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]}, None),
        (400, {"error": {"message": "Bad value.", "type": "invalid_request_error", "param": "top_p", "code": None}}, None),
        (422, {"detail": [{"type": "missing", "loc": ["body", "messages", 1, "content"], "msg": "Field required"}]}, "request"),
        (400, {"error": {"message": "Invalid.", "type": "invalid_request_error", "param": 7, "code": None}}, "request"),
        (451, openai("Unavailable for legal reasons"), "request"),
        (400, openai("Function tools with reasoning_effort are not supported for gpt-5.6 in /v1/chat/completions. Please use /v1/responses instead."), "reasoning_effort"),  # P1
        # P16
        (400, openai("This request has been flagged.", code="content_policy_violation"), "content"),
        (400, {"error": {"code": "content_filter", "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}, "content"),
        (400, openai("Input data may contain inappropriate content.", code="data_inspection_failed"), "content"),  # Qwen
        (400, {"error": {"code": "1301", "message": "系统检测到输入或生成内容可能包含不安全或敏感内容"}}, "content"),  # Zhipu
        (400, openai("Content Exists Risk"), "content"),  # DeepSeek
        (400, {"error": {"type": "content_filter", "message": "The request was rejected because it was considered high risk"}}, "content"),  # Moonshot
        (403, {"code": "The caller does not have permission", "error": "Content violates usage guidelines. Team: x, API key ID: y, Model: grok-4"}, "content"),  # xAI
        (403, {"error": {"code": 403, "message": "Your input was flagged", "metadata": {"reasons": ["violence"]}}}, "content"),  # OpenRouter
        (400, claude("Output blocked by content filtering policy"), "content"),
        (400, openai("Invalid prompt: your prompt was flagged as potentially violating our usage policy.", code="invalid_prompt"), "content"),
        (400, claude("messages.0.content.0.image.source.base64: image exceeds 5 MB maximum: 6291456 bytes > 5242880 bytes"), "attachment"),
        (400, openai("You uploaded an unsupported image. Please make sure your image is valid.", code="invalid_image_format"), "attachment"),
        (400, {"error": {"code": 400, "message": "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj", "type": "invalid_request_error"}}, "attachment"),
        (500, {"error": {"code": 500, "message": "image input is not supported - hint: ...", "type": "server_error"}}, "attachment"),  # llama.cpp
        (404, {"error": {"message": "No endpoints found that support image input", "code": 404}}, "attachment"),
        (400, openai("'messages.1' : for 'role:user' the following must be satisfied[('messages.1.content' : value must be a string)]"), "request"),  # Groq
        (400, openai("messages[0].content must be a string"), "attachment"),
        (415, openai("Unsupported Media Type"), "attachment"),
        (500, {"error": "This model does not support image input"}, "attachment"),
        (404, openai("vision is not supported by this model"), "attachment"),
        (400, {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": '{"error":{"code":"content_policy_violation"}}'}}}, "content"),
        (400, openai("Invalid input."), "request"),
        (422, {"detail": "bad"}, "request"),
        (400, openai("Unsupported parameter: 'max_tokens'", code="unsupported_parameter"), None),
        (400, {"error": {"message": "Invalid value: 'xhigh'.", "param": "reasoning_effort", "code": "invalid_value"}}, None),
        (400, {"error": {"message": "max_tokens is too large: 100000. This model supports at most 16384 completion tokens.", "param": "max_tokens"}}, None),
        (400, claude("max_tokens: 100000 > 64000, which is the maximum allowed number of output tokens for claude-x"), None),
        (400, claude("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"), None),
        (400, {"error": {"message": "Invalid value", "param": "messages[1].content"}}, "request"),
        (400, openai("max_tokens is too large: 100000. This model supports at most 16384 completion tokens."), "request"),
        (404, openai("The model `gpt-9` does not exist", code="model_not_found"), None),
        (501, openai("Not implemented"), "unexplained"),
        (418, openai("I'm a teapot"), "unexplained"),
        (405, openai("Method Not Allowed"), None),
    ],
)  # fmt: skip
def test_a_rejection_names_what_was_refused(status: int, body: Any, what: str | None) -> None:
    error = refused(status, body)
    assert type(error) is BackendRejected, error
    assert error.refused == what
    assert what != "tools" or "essential_tools=[]" in (error.hint or "")


def test_a_body_that_is_too_large_is_another_matter_than_a_context() -> None:
    for body in (
        b"<html><h1>413 Request Entity Too Large</h1></html>",
        claude("Request exceeds the maximum size", "request_too_large"),
    ):
        error = refused(413, body)
        assert isinstance(error, ContextTooLong)
        assert error.refused == "size"


@pytest.mark.parametrize(
    ("key", "shown"), [("ollama", "registry.ollama.ai"), ("k", "registry.ollama.ai"), ("registry.ollama", "[key].ai")]
)
def test_a_key_that_is_no_secret_is_left_in_words(key: str, shown: str) -> None:
    assert redacted("registry.ollama.ai", key) == shown


@pytest.mark.parametrize(("text", "seconds"), [("34.07s", 34.07), ("1h2m3s", 3723.0), ("820ms", 0.82), ("2 minutes", 120.0), ("1 day", 86400.0), ("soon", None), ("", None), ("9999999 days", None), ("1s; rm", None)])  # fmt: skip
def test_durations(text: str, seconds: float | None) -> None:
    assert duration_s(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("status", "body", "setting"),
    [
        # OpenAI: `param` and words; decolua/9router#560, koosoli/ESPHomeDesigner#379.
        (400, {"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "type": "invalid_request_error", "param": "max_tokens", "code": "unsupported_parameter"}}, "max_tokens"),
        (400, {"error": {"message": "Unsupported value: 'temperature' does not support 0.16 with this model. Only the default (1) value is supported.", "type": "invalid_request_error", "param": "temperature", "code": "unsupported_value"}}, "temperature"),
        (400, {"error": {"message": "Unsupported value: 'reasoning.effort' does not support 'minimal' with this model.", "type": "invalid_request_error", "param": "reasoning.effort", "code": "unsupported_value"}}, "reasoning_effort"),
        (400, {"error": {"message": "max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas you provided 100000.", "type": "invalid_request_error", "param": "max_tokens", "code": None}}, "max_tokens"),
        (400, {"error": {"message": "Invalid 'stop': array too long.", "type": "invalid_request_error", "param": "stop", "code": "array_above_max_length"}}, "stop"),
        (400, {"error": {"message": "The requested model 'gpt-9' does not exist.", "type": "invalid_request_error", "param": "model", "code": "model_not_found"}}, "model"),
        # Anthropic: words alone.
        (400, claude("`temperature` and `top_p` cannot both be specified for this model. Please use only one."), "temperature"),
        (400, claude("`top_p` is deprecated for this model."), "top_p"),
        (400, claude("max_tokens: 99999 > 64000, which is the maximum allowed number of output tokens for claude-sonnet-4-5"), "max_tokens"),
        (400, claude("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"), "thinking_budget_tokens"),
        (400, claude("stop_sequences: each stop sequence must contain non-whitespace"), "stop"),
        # Mistral, vLLM: `loc` of a validation.
        (422, {"detail": [{"type": "less_than_equal", "loc": ["body", "temperature"], "msg": "Input should be less than or equal to 1.5"}]}, "temperature"),
        (422, {"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "reasoning_effort"], "msg": "Extra inputs are not permitted"}]}, "type": "invalid_request_error"}, "reasoning_effort"),
        # xAI, Gemini, Groq, Ollama.
        (400, {"code": "Client specified an invalid argument", "error": "Model grok-4 does not support parameter reasoningEffort."}, "reasoning_effort"),
        (400, {"error": {"code": 400, "message": "Unable to submit request because it has a maxOutputTokens value of 100000 but the supported range is from 1 (inclusive) to 65537 (exclusive).", "status": "INVALID_ARGUMENT"}}, "max_tokens"),
        (400, {"error": {"message": "`reasoning_effort` must be one of `none` or `default`", "type": "invalid_request_error"}}, "reasoning_effort"),
        (400, {"error": {"message": '"gemma3" does not support thinking', "type": "api_error"}}, "reasoning_effort"),
        (400, {"error": {"message": "Unsupported parameter: 'parallel_tool_calls' is not supported with this model.", "type": "invalid_request_error", "param": "parallel_tool_calls", "code": "unsupported_parameter"}}, "parallel_tool_calls"),
        (400, gemini(400, 'Invalid JSON payload received. Unknown name "parallel_tool_calls": Cannot find field.'), "parallel_tool_calls"),
        (400, {"message": "Malformed input request: #/tool_choice: extraneous key [disable_parallel_tool_use] is not permitted, please reformat your input and try again."}, "parallel_tool_calls"),
    ],
)  # fmt: skip
def test_a_refused_setting_is_named_as_we_call_it(status: int, body: Any, setting: str) -> None:
    """Whatever the provider calls it: who set `max_tokens` does not know `maxOutputTokens`."""
    error = refused(status, body)
    assert type(error) is BackendRejected
    assert error.hint is not None
    assert (f"`{setting}`" in error.hint) or setting == "model"
    assert error.hint.startswith(("set ", "check the model's name"))


@pytest.mark.parametrize("words", ["Something is wrong with your request.", "The top private models stop here", "messages: at least one message is required"])  # fmt: skip
def test_a_refusal_that_is_about_no_setting_names_none(words: str) -> None:
    error = refused(400, claude(words))
    assert error.hint is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"choices": [{}]}', True),
        (b'{"type": "message"}', True),
        (b'{"object": "response", "error": null}', True),
        (b'{"error": false, "choices": [1]}', True),
        (b'{"choices": [{"a": NaN}]}', True),
        (rb'{"choices": [{"a": "\ud800"}]}', True),
        (b'{"choices": [NaN' + b",1" * 500_001 + b"]}", True),  # too much to be looked into: the decoder refuses it
        (b'{"choices": [], "error": null}', False),
        (b'{"object": "response", "error": {"code": 1}}', False),
        (b'{"object": "error", "message": "x"}', False),
        (b'{"choices": [{"message"', False),
        (b"[]", False),
    ],
    ids=range(12),
)
def test_a_whole_answer_is_known_by_its_fields(body: bytes, *, expected: bool) -> None:
    assert is_answer(body) is expected
