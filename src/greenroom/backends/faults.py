"""What went wrong at a provider, as one of our errors.

A refusal reaches us as an HTTP status with a body, or as an `error` object in the middle of a stream; the shapes differ from
provider to provider. Here they become `BackendUnavailable` (repeat later), `BackendRejected` and `BackendUnauthorized` (do not
repeat), `ContextTooLong` or `BackendGarbled`, with the provider's own words and a remedy.

Rule: pure functions, no I/O, no SDK. Every text that leaves this file went through `redacted`: messages reach clients.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec

from greenroom import json_scan
from greenroom.backends.delays import delay_in_error, delay_in_headers, delay_in_words
from greenroom.backends.fault_words import (
    ANSWER_TOKENS,
    CODES_IN_WORDS,
    CONTEXT_CODES,
    CONTEXT_WORDS,
    COUNTED_TOKENS,
    EFFORT_WORDS,
    FIELD_WORDS,
    FILE_WORDS,
    FILE_WORDS_OF_400,
    FILTER_CODES,
    FILTER_WORDS,
    MONEY_CODES,
    MONEY_WORDS,
    NO_SUCH_MODEL,
    SETTING_CODES,
    SETTING_FIELDS,
    SETTING_HINTS,
    SETTING_WORDS,
    TOO_MUCH,
    TOOL_FIELDS,
    TOOL_WORDS,
)
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
from greenroom.limits import PROVIDER_VALUES_MAX

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
        delay_s: how long to wait, as a field of the error says.
        field: the field of the request that is refused, lower case, if the error names one (`tools`, of `tools[0].function`).
    """

    words: str
    status: int = 0
    kind: str = ""
    code: str = ""
    delay_s: float | None = None
    field: str = ""


def fault_of(error: object, *, status: int = 0) -> Fault:
    """Returns what an `error` value says: an object of any known shape, a text, or a list of either."""
    while isinstance(error, list) and error:
        error = error[0]
    if not isinstance(error, dict):
        return Fault(words=error if isinstance(error, str) else _as_words(error), status=status)
    words = next((text for name in ("message", "detail", "msg") if (text := error.get(name))), None)
    inner, outcome = error.get("error") or error.get("errors") or None, error.get("base_resp")
    if isinstance(inner, dict | list) or (isinstance(inner, str) and "message" not in error):
        fault = fault_of(inner, status=status)
    elif isinstance(words, dict):
        fault = fault_of(words, status=status)
    elif words is None and isinstance(outcome, dict):  # MiniMax
        fault = Fault(words=str(outcome.get("status_msg")), status=status, code=str(outcome.get("status_code")))
    else:
        said = _as_words(words) if isinstance(words, list) else words
        fault = Fault(words=said if isinstance(said, str) else _as_words(error), status=status)
    return _completed(fault, error)


def _completed(fault: Fault, error: Mapping[str, Any]) -> Fault:
    """Returns a fault with what the object around its words says besides.

    A gateway wraps what the provider behind it answered: OpenRouter passes that on as the text `metadata.raw`.
    """
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if isinstance(raw, dict):
        cause = fault_of(raw)
    else:
        cause = fault_of_body(raw.encode(), status=0) if isinstance(raw, str) else Fault(words="")
    codes = (error.get("code"), error.get("status_code"), error.get("status"))
    status = next((number for number in codes if isinstance(number, int) and number in _FAILURES), 0)
    delays = (fault.delay_s, cause.delay_s, delay_in_error(error))
    return Fault(
        words=": ".join(filter(None, (fault.words, cause.words))),
        status=fault.status or status or cause.status,
        kind=fault.kind or cause.kind or str(error.get("type") or "").lower(),
        code=fault.code or cause.code or str(_finer_code(error) or error.get("code") or "").lower(),
        delay_s=next((delay for delay in delays if delay is not None), None),
        field=fault.field or cause.field or _field(error),
    )


def _field(error: Mapping[str, Any]) -> str:
    """Returns the field of the request that an error names: OpenAI's `param`, and `loc` of a validation by Pydantic (Mistral, vLLM)."""
    named, details = error.get("param"), error.get("detail")
    if not named and isinstance(details, list) and details and isinstance(details[0], dict):
        place = details[0].get("loc")
        named = next((name for name in place if name != "body"), None) if isinstance(place, list) else None
    found = _FIRST_NAME.match(named.lower()) if isinstance(named, str) else None
    return found[0] if found else ""


def _finer_code(error: Mapping[str, Any]) -> object:
    """Returns the finer code that Azure gives within the error."""
    inner = error.get("innererror")
    code = inner.get("code") if isinstance(inner, dict) else None
    return code if isinstance(code, str) else None


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
    marks = {fault.kind, fault.code, *CODES_IN_WORDS.findall(words)}
    headers = headers or {}
    is_limit = fault.status == HTTPStatus.TOO_MANY_REQUESTS
    if (refused := _too_long(fault, marks, words)) is not None:
        return ContextTooLong(message, hint=_SIZE_HINT if refused == "size" else _LENGTH_HINT, refused=refused)
    if marks & MONEY_CODES or fault.status == HTTPStatus.PAYMENT_REQUIRED or MONEY_WORDS.search(words):
        return BackendRejected(message, hint="check the plan and the credit of the account that the key belongs to")
    if marks & _MODEL_OUTPUT_MARKS:
        return BackendGarbled(message, hint="the model wrote a tool call that its provider could not read; ask again")
    if not is_limit and (refused := _named(fault, marks, words)) is not None:
        return BackendRejected(message, hint=_TOOLS_HINT if refused == "tools" else None, refused=refused)
    if fault.status == HTTPStatus.UNAUTHORIZED or marks & _KEY_MARKS or _KEY_WORDS.search(words):
        return BackendUnauthorized(
            message, hint=f"set {endpoint.key_variable} to a key that {endpoint.shown_url} accepts"
        )
    if fault.status == HTTPStatus.FORBIDDEN:
        return BackendUnauthorized(
            message,
            hint="the key is known but not allowed to do this: check its project and rights",
            refused="unexplained",  # firewalls and filters answer so, too
        )
    if _is_weather(fault, marks, headers):
        delay_s = _delay_s(fault, headers, words, is_limit=is_limit)
        return BackendUnavailable(message, retry_after_s=delay_s, refused=None if is_limit else "unexplained")
    return BackendRejected(message, hint=_rejection_hint(fault, endpoint, words), refused=_unnamed(fault, marks, words))


def is_error(body: bytes) -> bool:
    """Returns whether JSON that is no part of an answer is an error by its form, without being called one.

    Frameworks say `{"detail": ...}`, gateways `{"code": 503, "message": ...}`, Cloudflare `"success": false`, MiniMax `base_resp`.
    """
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    if not isinstance(told, dict):
        return False
    outcome, codes = told.get("base_resp"), [told.get(name) for name in ("code", "status", "status_code")]
    return (
        "error" in (told.get("object"), told.get("type"))
        or told.get("success") is False
        or (isinstance(told.get("errors"), list) and bool(told["errors"]))
        or isinstance(told.get("detail"), str)
        or (isinstance(outcome, dict) and outcome.get("status_code") not in {0, None})
        or (isinstance(told.get("message"), str) and any(code in _FAILURES or _is_name(code) for code in codes))
    )


def _is_name(code: object) -> bool:
    return isinstance(code, str) and bool(code) and code.lower() not in {"0", "200", "ok", "success"}


def missing_key(endpoint: Endpoint) -> BackendUnauthorized:
    """Returns the error for a request that no provider would accept without a key."""
    return BackendUnauthorized(
        f"there is no key for {endpoint.provider}",
        hint=f"set {endpoint.key_variable}, or {endpoint.base_url_variable} to a server that needs no key",
    )


def not_an_event_stream(body: bytes, content_type: str, endpoint: Endpoint) -> BackendError | None:
    """Returns the error for an answer with status 200 whose `body` begins like anything but server-sent events."""
    begin = body.removeprefix(b"\xef\xbb\xbf").lstrip()
    if begin[:1] in {b"{", b"["}:
        try:
            answer = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            answer = None
        if isinstance(answer, dict) and (
            answer.get("error") or answer.get("object") == "error" or isinstance(answer.get("base_resp"), dict)
        ):
            return classified(fault_of_body(body, status=0), endpoint)
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


class _Head(msgspec.Struct, gc=False):
    """What tells a whole answer; nothing else of it is decoded, however large it is."""

    error: msgspec.Raw = msgspec.Raw()
    choices: msgspec.Raw = msgspec.Raw()
    object: msgspec.Raw = msgspec.Raw()
    type: msgspec.Raw = msgspec.Raw()


_NOTHING: Final = (b"", b"null", b"false", b'""', b"[]", b"{}")
_KIND_BYTES: Final = 32


def is_answer(body: bytes) -> bool:
    """Returns whether JSON looks like a whole answer of some dialect: of a server that does not stream, though it was asked to."""
    try:
        head = msgspec.json.decode(body, type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _is_odd_answer(body)
    kinds = _told(head.object), _told(head.type)
    return not _told(head.error) and (bool(_told(head.choices)) or b'"response"' in kinds or b'"message"' in kinds)


def _told(value: msgspec.Raw) -> bytes:
    """Returns how a value begins; nothing, if it says nothing."""
    begin = bytes(memoryview(value)[:_KIND_BYTES])
    return b"" if begin in _NOTHING else begin


def _is_odd_answer(body: bytes) -> bool:
    """Returns the same for JSON with half surrogate pairs or `NaN`, which decoders take, too."""
    if json_scan.is_crowded(body, PROVIDER_VALUES_MAX):
        return True  # too much to be looked into here: the decoder refuses it
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return False
    if not isinstance(answer, dict) or answer.get("error"):
        return False
    kinds = answer.get("object"), answer.get("type")
    return bool(answer.get("choices")) or "response" in kinds or "message" in kinds


def redacted(text: str, key: str = "") -> str:
    """Returns the text on one line, without secrets, and no longer than `WORDS_MAX` characters."""
    text = valid_unicode(text)
    if len(key) >= _SECRET_CHARACTERS_MIN:
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


def _delay_s(fault: Fault, headers: Mapping[str, str], words: str, *, is_limit: bool) -> float | None:
    """Returns how long the provider asks us to wait: by a header, a field, its text, or the end of its limits."""
    for delay in (delay_in_headers(headers), fault.delay_s, delay_in_words(words)):
        if delay is not None:
            return delay
    return delay_in_headers(headers, is_limit=is_limit)


def _too_long(fault: Fault, marks: set[str], words: str) -> Refused | None:
    """Returns `length` or `size` for a request that is too long, and `None` for any other."""
    if marks & CONTEXT_CODES:
        return "length"
    if fault.status == HTTPStatus.TOO_MANY_REQUESTS:
        # A limit of tokens in a time, unless a single request is larger than all of it.
        return "length" if "request too large" in words else None
    if fault.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or "request_too_large" in marks:
        return "length" if CONTEXT_WORDS.search(words) else "size"
    is_of_request = fault.status in _OF_CONTENT or fault.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    if is_of_request and (CONTEXT_WORDS.search(words) or (fault.status in _OF_CONTENT and _counts_too_many(words))):
        return "length"
    return None


def _counts_too_many(words: str) -> bool:
    """Returns whether a text says, with two numbers of tokens, that there are more than may be."""
    if not TOO_MUCH.search(words) or ANSWER_TOKENS.search(words) or _PER_TIME.search(words):
        return False
    counts = {number.strip(",._") for pair in COUNTED_TOKENS.findall(words) for number in pair if number}
    return len(counts) > 1


def _named(fault: Fault, marks: set[str], words: str) -> Refused | None:
    """Returns what of the request was refused, if the provider names it: with whatever status."""
    if EFFORT_WORDS.search(words):
        return "reasoning_effort"
    if marks & FILTER_CODES or FILTER_WORDS.search(words):
        return "content"
    is_about_request = fault.status in {*_OF_CONTENT, 404, 501} or fault.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    if is_about_request and (TOOL_WORDS.search(words) or _refused_field(fault, words) in TOOL_FIELDS):
        return "tools"
    return "attachment" if is_about_request and FILE_WORDS.search(words) else None


def _refused_field(fault: Fault, words: str) -> str:
    """Returns the field of the request that is refused, as a field of the error or its text names it."""
    found = FIELD_WORDS.search(words)
    named = next((name for name in found.groups() if name), "") if found else ""
    return named.partition(".")[0] or fault.field


def _unnamed(fault: Fault, marks: set[str], words: str) -> Refused | None:
    if marks & SETTING_CODES or fault.status in _OF_ADDRESS or _refused_field(fault, words) in SETTING_FIELDS:
        return None
    if NO_SUCH_MODEL.search(words):
        return None  # LiteLLM and OpenRouter answer 400
    if fault.status not in _OF_CONTENT:
        return "unexplained"
    return "attachment" if FILE_WORDS_OF_400.search(words) else "request"


def _rejection_hint(fault: Fault, endpoint: Endpoint, words: str) -> str | None:
    """Returns what to do about a refusal: which setting of ours it is about."""
    if fault.status in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
        return f"check the model's name, and that {endpoint.shown_url} is the address of the API ({endpoint.base_url_variable})"
    if (hint := _setting_hint(_refused_field(fault, words))) is not None:
        return hint
    found = SETTING_WORDS.search(words)
    named = next((name for name in found.groups() if name), "") if found else ""
    return _setting_hint("reasoning_effort" if named == "thinking" else named)


def _setting_hint(field: str) -> str | None:
    return SETTING_HINTS.get(field.replace("_", "").replace(".", "").lower())


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

_OF_CONTENT: Final = frozenset({0, 400, 406, 413, 415, 422, 451})
_OF_ADDRESS: Final = frozenset({404, 405, 410})
_FIRST_NAME: Final = re.compile(r"\w*")
_PER_TIME: Final = re.compile(r"\bper (?:second|minute|hour|day|month)\b|please wait|rate limit")
_LENGTH_HINT: Final = "shorten the conversation, or choose a model with a larger context window"
_SIZE_HINT: Final = "send less at once: fewer or smaller attachments"
_TOOLS_HINT: Final = "choose a model that takes tools, or make the session without any: essential_tools=[]"
_MODEL_OUTPUT_MARKS: Final = frozenset({"tool_use_failed", "output_parse_failed"})
_KEY_MARKS: Final = frozenset(
    {
        "invalid_api_key",
        "authentication_error",
        "invalid_authentication",
        "unauthorized",
        "1004",
    }  # the last is MiniMax's
)
_KEY_WORDS: Final = re.compile(r"(incorrect|invalid) (x-)?api[- ]?key|api[- ]key not valid")

_SECRET_CHARACTERS_MIN: Final = 8
"""Shorter keys (`x`, `ollama`, `EMPTY`) are given to servers that want none, and are words of the texts that they would be taken out of."""
_URL_CREDENTIALS: Final = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{1,20}://)[^\s/@]+@")
_SECRET: Final = re.compile(
    r"(?i)\b(?:sk|rk|pk|gsk|xai|hf|nvapi|pplx|fw|csk|tgp|r8)[-_][a-z0-9_*.-]{6,}"
    r"|\bAIza[a-z0-9_-]{20,}|\beyJ[a-z0-9_-]{8,}\.[a-z0-9_-]+\.[a-z0-9_-]*|(?<=\bbearer )[^\s\"',;)]{6,}"
)
_SECRET_PARAMETER: Final = re.compile(r"(?i)([?&](?:api[-_]?key|key|token|access_token|sig)=)[^&\s\"']+")
