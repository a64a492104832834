"""How long a provider asks us to wait, wherever it says so: in headers, in fields of the error, or in its text.

Rule: pure functions. Seconds, or `None` for what is not said or cannot be meant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

SECONDS_MAX: Final = 31 * 24 * 3600
"""Longer than any limit lasts: not a delay."""

_UNITS: Final = {"ms": 0.001, "millisecond": 0.001, "s": 1.0, "sec": 1.0, "second": 1.0}
_UNITS_LONG: Final = {
    "m": 60.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hr": 3600.0,
    "hour": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
}
_ALL_UNITS: Final = _UNITS | _UNITS_LONG
_NUMBER: Final = r"\d{1,9}(?:\.\d{1,12})?"
_UNIT: Final = r"(?:milliseconds?|ms|seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|[smhd])"
_DURATION: Final = rf"{_NUMBER}\s*{_UNIT}\b(?:[\s,]*(?:and\s+)?{_NUMBER}\s*{_UNIT}\b)*|(?:{_NUMBER}[hms])+(?!\w|\.\d)"
_PIECE: Final = re.compile(rf"({_NUMBER})\s*({_UNIT})")
# OpenAI, Groq: "try again in 5.5s", "in 1m30.5s", "in 820ms". Azure: "retry after 23 seconds". Gemini: "retry in 41.2s".
_SAID: Final = re.compile(
    r"(?:try again|retry|wait|resets?|available)(?: later| your request)?[\s(:]*(?:(?:in|after|for)\s+)?(?:about\s+)?"
    rf"({_DURATION})"
)
# A header or field that is quoted in a text: seconds.
_QUOTED: Final = re.compile(
    rf"retry[-_ ]?after(?:[-_ ]?s(?:ec(?:ond)?s?)?)?['\"]?\s*[:=]?\s*['\"]?({_NUMBER})(?![-\d.:/]|\s*\w)"
)

_FIELDS: Final = {
    **dict.fromkeys(("retry_after", "retry_after_s", "retry_after_seconds", "retryafter", "resets_in_seconds"), 1.0),
    **dict.fromkeys(("retry_after_ms", "retryafterms"), 0.001),
}
"""What gateways and ChatGPT's own API add to an error, with the unit of a bare number in seconds."""


def delay_in_headers(headers: Mapping[str, str], *, is_limit: bool = False) -> float | None:
    """Returns what the headers (lower-case names) of an answer say.

    A date is measured against the `Date` of the same answer: the provider's own clock, so that ours need not agree with it.

    Args:
        headers: of the answer.
        is_limit: a rate limit was reached: then the headers that say when it is lifted count as well.
    """
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if re.fullmatch(_NUMBER, value):
            return float(value) * scale
    now = _date(headers.get("date", ""))
    if (until := _date(headers.get("retry-after", ""))) is not None and now is not None:
        return _between(now, until)
    return _of_limits(headers, now) if is_limit else None


def delay_in_error(error: Mapping[str, Any]) -> float | None:
    """Returns what the fields of an error say: `RetryInfo` of Google, and those that gateways add."""
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str) and (found := duration_s(delay)) is not None:
            return found
    metadata = error.get("metadata")
    for fields in (error, metadata if isinstance(metadata, dict) else {}):
        for name, value in fields.items():
            scale = _FIELDS.get(str(name).lower())
            if scale is not None and (delay := _in_field(value, scale)) is not None:
                return delay
    return None


def _in_field(value: Any, scale: float) -> float | None:
    if isinstance(value, str):
        if re.fullmatch(_NUMBER, value.strip()) is None:
            return duration_s(value)
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value * scale <= SECONDS_MAX:
        return None
    return float(value) * scale


def delay_in_words(words: str) -> float | None:
    """Returns what a text says, in lower case."""
    if (said := _SAID.search(words)) is not None:
        return duration_s(said[1])
    quoted = _QUOTED.search(words)
    return _in_field(quoted[1], 1.0) if quoted is not None else None


def duration_s(text: str) -> float | None:
    """Returns a duration such as `1m30.5s`, `820ms`, `23 seconds` or `2 minutes`, in seconds."""
    text = text.strip().lower()
    if re.fullmatch(_DURATION, text) is None:
        return None
    total = sum(
        float(number) * _ALL_UNITS[unit if unit in _ALL_UNITS else unit.removesuffix("s")]
        for number, unit in _PIECE.findall(text)
    )
    return total if total <= SECONDS_MAX else None


def _of_limits(headers: Mapping[str, str], now: datetime | None) -> float | None:
    """Returns when the limits are lifted of which nothing remains: the last of them."""
    delays: list[float] = []
    for name, value in headers.items():
        # OpenAI, Groq: x-ratelimit-reset-tokens. Anthropic: anthropic-ratelimit-tokens-reset. OpenRouter: x-ratelimit-reset.
        if "ratelimit" not in name or "reset" not in name:
            continue
        if headers.get(name.replace("reset", "remaining"), "0").strip() not in {"0", "0.0"}:
            continue
        delay = duration_s(value) if now is None or duration_s(value) is not None else _until(value.strip(), now)
        if delay is not None:
            delays.append(delay)
    return max(delays, default=None)


def _until(value: str, now: datetime) -> float | None:
    if re.fullmatch(r"\d{1,8}(\.\d+)?", value):
        return float(value)
    if re.fullmatch(r"\d{10}|\d{13}", value):
        delay = float(value) / (1000 if len(value) == 13 else 1) - now.timestamp()  # noqa: PLR2004 - milliseconds since 1970
        return max(0.0, delay) if delay <= SECONDS_MAX else None
    try:
        return _between(now, datetime.fromisoformat(value))
    except ValueError:
        return None


def _between(now: datetime, until: datetime) -> float | None:
    try:
        return max(0.0, (until - now).total_seconds())
    except TypeError:  # one with and one without a time zone
        return None


def _date(value: str) -> datetime | None:
    try:
        return parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
