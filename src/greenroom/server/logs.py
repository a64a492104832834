"""The server's log: for a person at a terminal a line each, for a machine a JSON object each.

Rule: no secret is written, wherever it stands: those that are known are replaced, and so is what looks like one.
"""

from __future__ import annotations

import datetime as dt
import logging
import re
import sys
from collections.abc import Iterable
from typing import Any, Final, TextIO

import msgspec

from greenroom.settings import LogLevel, Settings

_LOOKS_SECRET: Final = re.compile(
    r"""(?P<before>\"?(?:api[_-]?key|authorization|secret|password)\"?\s*[:=]\s*\"?(?:bearer\s+)?|\bbearer\s+|[?&]token=)"""
    r"""(?P<secret>[^\s\"'&,}]{6,})|\bsk-[A-Za-z0-9_-]{8,}|\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*""",
    re.IGNORECASE,
)
_HIDDEN: Final = "***"
_FIELDS: Final = ("request_id", "session_id", "turn_id", "user_id", "route", "status", "took_ms")
_encoder: Final = msgspec.json.Encoder()


class Redaction:
    """Takes secrets out of texts.

    Args:
        secrets: those that are known; short ones are words, not secrets.
    """

    def __init__(self, secrets: Iterable[str | None]) -> None:
        known = sorted({secret for secret in secrets if secret and len(secret) >= 8}, key=len, reverse=True)  # noqa: PLR2004
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, text: str) -> str:
        """Returns the text without secrets."""
        if self._known is not None:
            text = self._known.sub(_HIDDEN, text)
        return _LOOKS_SECRET.sub(lambda match: f"{match['before'] or ''}{_HIDDEN}", text)


class Lines(logging.Formatter):
    """A line for each event; tracebacks only for whoever asked for details."""

    def __init__(self, redaction: Redaction, *, with_tracebacks: bool) -> None:
        super().__init__("greenroom: %(levelname)s: %(message)s")
        self._redaction = redaction
        self._with_tracebacks = with_tracebacks

    def format(self, record: logging.LogRecord) -> str:
        """Returns the record as text."""
        took = getattr(record, "took_ms", None)
        rest = f" in {took} ms" if took is not None else ""
        if record.exc_info and not self._with_tracebacks:
            rest += f": {record.exc_info[1]}"
            record = logging.makeLogRecord({**record.__dict__, "exc_info": None, "exc_text": None})
        return self._redaction(super().format(record) + rest)


class JsonLines(logging.Formatter):
    """A JSON object for each event, with the ids that it is about."""

    def __init__(self, redaction: Redaction) -> None:
        super().__init__()
        self._redaction = redaction

    def format(self, record: logging.LogRecord) -> str:
        """Returns the record as JSON."""
        at = dt.datetime.fromtimestamp(record.created, tz=dt.UTC).isoformat(timespec="milliseconds")
        event: dict[str, Any] = {"at": at, "level": record.levelname.lower(), "logger": record.name}
        event["message"] = self._redaction(record.getMessage())
        for name in _FIELDS:
            if (value := getattr(record, name, None)) is not None:
                event[name] = self._redaction(value) if isinstance(value, str) else value
        if record.exc_info:
            event["traceback"] = self._redaction(self.formatException(record.exc_info))
        return _encoder.encode(event).decode()


def log_to(stream: TextIO, settings: Settings, token: str | None) -> None:
    """Sends the log of Greenroom and uvicorn to a stream.

    Args:
        stream: a terminal gets lines, anything else JSON.
        settings: say how much, and know most secrets.
        token: of the server.
    """
    server = settings.server
    secrets = [
        token,
        settings.token,
        settings.openai.api_key,
        settings.claude.api_key,
        *(key.key for key in server.api_keys),
    ]
    redaction = Redaction([*secrets, server.jwt.secret if server.jwt is not None else None])
    is_debug = settings.log_level == "debug"
    form = Lines(redaction, with_tracebacks=is_debug) if stream.isatty() else JsonLines(redaction)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(form)
    _send("greenroom", settings.log_level, handler)
    _send("uvicorn", "debug" if is_debug else "warning", handler)
    logging.getLogger("greenroom.access").setLevel(logging.INFO if server.access_log else logging.ERROR)


def log_to_stderr(settings: Settings, token: str | None) -> None:
    """As `log_to`, for a program of its own."""
    log_to(sys.stderr, settings, token)


def _send(name: str, level: LogLevel, handler: logging.Handler) -> None:
    logger = logging.getLogger(name)
    logger.setLevel(level.upper())
    logger.propagate = False
    for former in tuple(logger.handlers):
        logger.removeHandler(former)
    logger.addHandler(handler)
