"""What went wrong at a provider, as one of our errors.

A refusal reaches us as an HTTP status with a body, or as an `error` object in the middle of a stream; the shapes differ from
provider to provider. Here they become `BackendUnavailable` (repeat later), `BackendRejected` and `BackendUnauthorized` (do not
repeat), `ContextTooLong` or `BackendGarbled`, with the provider's own words and a remedy.

Rule: pure functions, no I/O, no SDK. Every text that leaves this file went through `redacted`: messages reach clients.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

import msgspec

from greenroom.backends.unicode_text import valid_json, valid_unicode
from greenroom.errors import (
    BackendError,
    BackendGarbled,
    BackendRejected,
    BackendUnauthorized,
    BackendUnavailable,
    ContextTooLong,
    Refused,
)

WORDS_MAX: Final = 500
"""Characters of a provider's own text that a message quotes."""

BODY_BYTES_MAX: Final = 64 * 1024
"""Bytes of a refusal's body that are read."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asked, as error messages name it.

    Attributes:
        provider: name for people, for example `OpenAI`.
        base_url: where requests go; may hold credentials, so it is shown by `shown_url` only.
        key: the secret, to take it out of messages; empty if there is none.
        key_variable, base_url_variable: environment variables that set the two.
    """

    provider: str
    base_url: str
    key_variable: str
    base_url_variable: str
    key: str = ""

    def __repr__(self) -> str:
        return f"Endpoint(provider={self.provider!r}, base_url={self.shown_url!r})"

    @property
    def shown_url(self) -> str:
        """The base URL without credentials, query and fragment."""
        return re.split(r"[?#]", redacted(self.base_url), maxsplit=1)[0]


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal, whatever its shape was.

    Attributes:
        status: the HTTP status, or the one that an error in a stream names; 0 if there is none.
        kind, code: the provider's own classification, lower case.
        words: the provider's own text, not yet redacted.
    """

    words: str
    status: int = 0
    kind: str = ""
    code: str = ""


def fault_of(error: object, *, status: int = 0) -> Fault:
    """Returns what an `error` value says: an object of any known shape, a text, or a list of either."""
    while isinstance(error, list) and error:
        error = error[0]
    if not isinstance(error, dict):
        return Fault(words=error if isinstance(error, str) else _as_words(error), status=status)
    inner = error.get("error")
    if isinstance(inner, dict | list) or (isinstance(inner, str) and "message" not in error):
        return fault_of(inner, status=status)
    code = error.get("code")
    if not status:
        named = (code, error.get("status_code"), error.get("status"))
        status = next((number for number in named if isinstance(number, int) and number in _FAILURES), 0)
    words = next((text for name in ("message", "detail", "msg") if (text := error.get(name))), None)
    if isinstance(words, list | dict):
        words = _as_words(words)
    return Fault(
        words=words if isinstance(words, str) else _as_words(error),
        status=status,
        kind=str(error.get("type") or "").lower(),
        code=str(code or "").lower(),
    )


def fault_of_body(body: bytes, *, status: int) -> Fault:
    """Returns what the body of a refusal says: JSON of any known shape, or text."""
    try:
        return fault_of(msgspec.json.decode(body), status=status)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Fault(words=_plain_text(body), status=status)


def classified(fault: Fault, endpoint: Endpoint, headers: Mapping[str, str] | None = None) -> BackendError:
    """Returns the error for a fault; `headers` (lower-case names) are those of the answer, if there was one."""
    said = redacted(fault.words, endpoint.key)
    what = f"{endpoint.provider} answered {fault.status}" if fault.status else f"{endpoint.provider} reported an error"
    message = f"{what}: {said}" if said else what
    words = fault.words.lower()
    marks = {fault.kind, fault.code}
    if fault.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and not _CONTEXT_WORDS.search(words):
        return ContextTooLong(message, hint="send less at once: fewer or smaller attachments", refused="size")
    if marks & _CONTEXT_MARKS or _CONTEXT_WORDS.search(words):
        return ContextTooLong(message, hint="shorten the conversation, or choose a model with a larger context window")
    if marks & _MONEY_MARKS or fault.status == HTTPStatus.PAYMENT_REQUIRED or _MONEY_WORDS.search(words):
        return BackendRejected(message, hint="check the plan and the credit of the account that the key belongs to")
    if marks & _MODEL_OUTPUT_MARKS:
        return BackendGarbled(message, hint="the model wrote a tool call that its provider could not read; ask again")
    if fault.status == HTTPStatus.UNAUTHORIZED or marks & _KEY_MARKS or _KEY_WORDS.search(words):
        return BackendUnauthorized(
            message, hint=f"set {endpoint.key_variable} to a key that {endpoint.shown_url} accepts"
        )
    if fault.status == HTTPStatus.FORBIDDEN:
        return BackendUnauthorized(
            message, hint="the key is known but not allowed to do this: check its project and rights"
        )
    if _is_weather(fault, marks, headers or {}):
        return BackendUnavailable(message, retry_after_s=retry_after_s(headers or {}))
    return BackendRejected(message, hint=_rejection_hint(fault, endpoint), refused=_refused(fault, marks, words))


def missing_key(endpoint: Endpoint) -> BackendUnauthorized:
    """Returns the error for a request that no provider would accept without a key."""
    return BackendUnauthorized(
        f"there is no key for {endpoint.provider}",
        hint=f"set {endpoint.key_variable}, or {endpoint.base_url_variable} to a server that needs no key",
    )


def not_an_event_stream(body: bytes, content_type: str, endpoint: Endpoint) -> BackendError | None:
    """Returns the error for an answer with status 200 whose `body` begins like anything but server-sent events."""
    begin = body.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
    if begin[:1] in {b"{", b"["}:
        try:
            answer = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            answer = None
        if isinstance(answer, dict) and (answer.get("error") or answer.get("object") == "error"):
            return classified(fault_of(answer), endpoint)
    elif begin[:1] != b"<" and begin[:2] != b"\x1f\x8b":
        fields = (b"data", b"event", b"id", b"retry", b":")
        if content_type.startswith("text/event-stream") or any(
            begin.startswith(field) or field.startswith(begin) for field in fields
        ):
            return None
    shown = redacted(_plain_text(body), endpoint.key) if begin[:2] != b"\x1f\x8b" else "compressed bytes"
    return BackendGarbled(
        f"{endpoint.provider} answered with something that is not an event stream: {shown}",
        hint=f"is {endpoint.shown_url} the address of an API that streams? {endpoint.base_url_variable} sets it",
    )


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Returns how long the provider asks us to wait, or `None`.

    A date is measured against the `Date` of the same answer: the provider's own clock, so that ours need not agree with it.
    """
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
            return float(value) * scale
    try:
        until = parsedate_to_datetime(headers.get("retry-after", ""))
        now = parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, (until - now).total_seconds())
    except (ValueError, TypeError):  # no date, or one with and one without a time zone
        return None


def redacted(text: str, key: str = "") -> str:
    """Returns the text on one line, without secrets, and no longer than `WORDS_MAX` characters."""
    text = valid_unicode(text)
    if key:
        text = text.replace(key, "[key]")
    text = _URL_CREDENTIALS.sub(r"\1", text[: 8 * WORDS_MAX])
    text = _SECRET.sub("[key]", text)
    text = _SECRET_PARAMETER.sub(r"\1[key]", text)
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    text = " ".join(text.split())
    return text if len(text) <= WORDS_MAX else text[: WORDS_MAX - 1] + "…"


def _is_weather(fault: Fault, marks: set[str], headers: Mapping[str, str]) -> bool:
    # Both SDKs let the server overrule their own judgement by this header.
    advice = headers.get("x-should-retry", "")
    if advice in {"true", "false"}:
        return advice == "true"
    if fault.status:
        return fault.status in _WEATHER
    # Without a status: the provider had accepted the request, so an error that does not blame it is weather.
    return not any(mark.startswith(_BLAME) for mark in marks)


def _refused(fault: Fault, marks: set[str], words: str) -> Refused | None:
    """Returns what of the request was refused."""
    if _TOOL_WORDS.search(words):
        return "tools"
    if marks & _FILTER_MARKS or _FILTER_WORDS.search(words):
        return "content"
    if marks & _SETTING_MARKS or fault.status not in _OF_CONTENT:
        return None
    return "attachment" if _FILE_WORDS.search(words) else "request"


def _rejection_hint(fault: Fault, endpoint: Endpoint) -> str | None:
    if fault.status in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
        return f"check the model's name, and that {endpoint.shown_url} is the address of the API ({endpoint.base_url_variable})"
    return None


def _as_words(value: object) -> str:
    try:
        return valid_json(value).decode()
    except RecursionError:
        return "an error that is nested too deeply to be shown"


def _plain_text(body: bytes) -> str:
    text = body[: 16 * WORDS_MAX].decode("utf-8", "replace")
    if text.lstrip()[:1] == "<":
        text = re.sub(r"(?is)<(script|style)\b.*?(</\1>|$)", " ", text)
        text = re.sub(r"<[^>]*(>|$)", " ", text)
    return text


_FAILURES: Final = range(400, 600)
# Of the server's failures, "not implemented" and "HTTP version not supported" are for ever. 520 to 529 are gateways' and Claude's.
_WEATHER: Final = frozenset({408, 409, 425, 429, *range(500, 600)}) - {501, 505}
_BLAME: Final = ("invalid", "bad_request", "badrequest", "not_found", "unsupported", "content_policy", "content_filter")

_CONTEXT_MARKS: Final = frozenset(
    {"context_length_exceeded", "exceed_context_size_error", "request_too_large", "context_window_exceeded"}
)
_CONTEXT_WORDS: Final = re.compile(
    r"maximum context length|context[ _]length[ _]exceeded|exceeds? the (available |model'?s? )?(maximum )?context"
    r"|exceeds the context window|prompt is too long|input is too long|input length .{0,40}exceed|too many (input )?tokens(?!, please wait)"
    r"|request too large for|'(\$\.)?messages(\[\d+\]\.content)?'[^'\"]{0,20} (too long|maximum length)"
    r"|\"\$\.messages\" exceeds the maximum length"
)
_MONEY_MARKS: Final = frozenset(
    {"insufficient_quota", "billing_error", "billing_not_active", "billing_hard_limit_reached", "insufficient_balance"}
)
_MONEY_WORDS: Final = re.compile(
    r"credit balance is too low|insufficient (balance|credit|fund)|exceeded your current quota"
)
_OF_CONTENT: Final = frozenset({0, 400, 413, 415, 422})
_SETTING_MARKS: Final = frozenset({"unsupported_parameter", "unknown_parameter", "model_not_found", "invalid_model"})
_FILTER_MARKS: Final = frozenset({"content_policy_violation", "content_filter", "data_inspection_failed", "1301"})
_FILTER_WORDS: Final = re.compile(
    r"content (management )?policy|content filter|inappropriate content|sensitive content"
)
_TOOL_WORDS: Final = re.compile(
    r"does not support tools|tool use is not supported|support tool use|tool choice requires --enable-auto-tool-choice"
    r"|does not support (function|tool) calling|function calling is not (enabled|supported)"
)
_FILE_WORDS: Final = re.compile(
    r"\b(images?|image_url|pdf|documents?|audio|media[ _]type|multimodal|mime type|files?|attachments?)\b"
)
_MODEL_OUTPUT_MARKS: Final = frozenset({"tool_use_failed", "output_parse_failed"})
_KEY_MARKS: Final = frozenset({"invalid_api_key", "authentication_error", "invalid_authentication", "unauthorized"})
_KEY_WORDS: Final = re.compile(r"(incorrect|invalid) (x-)?api[- ]?key|api[- ]key not valid")

_URL_CREDENTIALS: Final = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{1,20}://)[^\s/@]+@")
_SECRET: Final = re.compile(
    r"(?i)\b(?:sk|rk|pk|gsk|xai|hf|nvapi|pplx|fw|csk|tgp|r8)[-_][a-z0-9_*.-]{6,}"
    r"|\bAIza[a-z0-9_-]{20,}|\beyJ[a-z0-9_-]{8,}\.[a-z0-9_-]+\.[a-z0-9_-]*|(?<=\bbearer )[^\s\"',;)]{6,}"
)
_SECRET_PARAMETER: Final = re.compile(r"(?i)([?&](?:api[-_]?key|key|token|access_token|sig)=)[^&\s\"']+")
