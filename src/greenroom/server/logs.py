"""The server's log: for a person at a terminal a line each, for a machine a JSON object each.

Lines are formatted where they are said, and written by a thread: who reads the log may stop reading (a full pipe, a paused terminal),
and then a write waits for ever. What does not fit into the queue before the thread is dropped and counted, and one line says so later.

Rule: no secret is written, wherever it stands: those that are known are replaced, and so is what looks like one. Nothing here waits
for a file descriptor but the thread.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import queue
import re
import select
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final, TextIO

import msgspec

from greenroom.limits import LOG_LINE_CHARACTERS_MAX
from greenroom.server.quotas import Rate
from greenroom.settings import LogLevel, Settings

_LOOKS_SECRET: Final = re.compile(
    r"""(?P<before>\"?(?:api[_-]?key|authorization|secret|password)\"?\s*[:=]\s*\"?(?:bearer\s+)?|\bbearer\s+|[?&]token=)"""
    r"""(?P<secret>[^\s\"'&,}]{6,})|\bsk-[A-Za-z0-9_-]{8,}|\bgrc_[A-Za-z0-9_-]{8,}|\beyJ[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*)*""",
    re.IGNORECASE,
)
"""Each alternative takes what it has looked at, or looks at little: a line is read in one pass, whoever wrote it."""
_HIDDEN: Final = "***"
_FIELD_CHARACTERS_MAX: Final = 256
_STRANGERS_LINES_PER_MINUTE_MAX: Final = 600
_ABOUT_CLIENTS: Final = ("greenroom.access", "greenroom.server", "uvicorn.error")
"""Loggers that say something for each request or connection: of clients that are not known, so many lines and no more."""
_CLOSE_S: Final = 1.0
"""How long the end of the program waits for a reader of the log."""
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


class LogWriter:
    """Writes lines to a stream from a thread of its own, which starts with the first line.

    Args:
        stream: is written to by its file descriptor, where it has one: no lock of the interpreter is held meanwhile.
        waiting_bytes_max: what may wait to be written.
        told: makes the line that says how many were dropped.

    Attributes:
        dropped: lines that were not written.
    """

    def __init__(self, stream: TextIO, *, waiting_bytes_max: int, told: Callable[[int], str] = str) -> None:
        self.dropped = 0
        self._write = _writing(stream)
        self._waiting_bytes_max = waiting_bytes_max
        self._told = told
        self._untold = 0
        self._waiting_bytes = 0
        self._queue: queue.SimpleQueue[bytes | threading.Event | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # held for a few steps of counting, never while writing
        self._thread: threading.Thread | None = None

    def put(self, line: str) -> None:
        """Has the line written, or drops it. Never waits."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        with self._lock:
            if self._waiting_bytes + len(data) > self._waiting_bytes_max:
                self.dropped += 1
                self._untold += 1
                return
            self._waiting_bytes += len(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="greenroom-log", daemon=True)
                self._thread.start()
        self._queue.put(data)

    def flush(self, timeout_s: float = _CLOSE_S) -> bool:
        """Waits until what was put before is written; returns whether it was in time. Not for an event loop."""
        if self._thread is None:
            return True
        written = threading.Event()
        self._queue.put(written)
        return written.wait(timeout_s)

    def close(self) -> None:
        """Gives the reader of the log a moment to take what waits."""
        self.flush()
        self._queue.put(None)

    def _work(self) -> None:
        while (data := self._queue.get()) is not None:
            if isinstance(data, threading.Event):
                data.set()
                continue
            try:
                self._write(data)
            except (OSError, ValueError):  # nobody will ever read it: the reader is gone, or the stream was closed
                with self._lock:
                    self.dropped += 1
            with self._lock:
                self._waiting_bytes -= len(data)
                untold, self._untold = self._untold, 0
            if untold:
                self.put(self._told(untold))


def _writing(stream: TextIO) -> Callable[[bytes], None]:
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError, AttributeError):  # a stream of a test, or of a notebook
        return lambda data: _write_text(stream, data)
    if sys.platform == "win32" and stream.isatty():
        return lambda data: _write_text(stream, data)  # its console takes text, not bytes
    return lambda data: _write_all(descriptor, data)


def _write_text(stream: TextIO, data: bytes) -> None:
    stream.write(data.decode())
    stream.flush()


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # somebody else made the descriptor so; it is shared
            select.select([], [descriptor], [])


class LineMaker(logging.Handler):
    """Formats records and gives them to a writer; of clients that are not known, so many a minute and no more.

    Attributes:
        left_out: lines about clients that are not known that were not written.
    """

    def __init__(self, writer: LogWriter, form: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(form)
        self.left_out = 0
        self._untold = 0
        self._writer = writer
        self._strangers = Rate(_STRANGERS_LINES_PER_MINUTE_MAX)

    def emit(self, record: logging.LogRecord) -> None:
        """Has the record written."""
        is_about_a_stranger = record.name in _ABOUT_CLIENTS and getattr(record, "user_id", None) is None
        if is_about_a_stranger and record.levelno < logging.ERROR and self._strangers.hit(""):
            self.left_out += 1
            self._untold += 1
            return
        if self._untold:
            self._writer.put(self.format(_notice(f"{self._untold} lines about clients without a login were left out")))
            self._untold = 0
        self._writer.put(self.format(record))


def _notice(text: str) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"name": "greenroom.log", "levelno": logging.WARNING, "levelname": "WARNING", "msg": text}
    )


class Log:
    """The log of a server, as it is set up.

    Args:
        writer: writes the lines.
        maker: makes them.
    """

    def __init__(self, writer: LogWriter, maker: LineMaker) -> None:
        self._writer = writer
        self._maker = maker

    @property
    def dropped(self) -> int:
        """How many lines were not written."""
        return self._writer.dropped + self._maker.left_out

    def say(self, line: str) -> None:
        """Writes a line that is no event, for a person who started the server."""
        self._writer.put(line)

    def flush(self) -> None:
        """Waits a moment for what was said to be written. Not for an event loop."""
        self._writer.flush()

    def close(self) -> None:
        """Gives the reader of the log a moment to take what waits."""
        self._writer.close()


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
        return _cut(super().format(record) + rest, self._redaction)


class JsonLines(logging.Formatter):
    """A JSON object for each event, with the ids that it is about."""

    def __init__(self, redaction: Redaction) -> None:
        super().__init__()
        self._redaction = redaction

    def format(self, record: logging.LogRecord) -> str:
        """Returns the record as JSON."""
        at = dt.datetime.fromtimestamp(record.created, tz=dt.UTC).isoformat(timespec="milliseconds")
        event: dict[str, Any] = {"at": at, "level": record.levelname.lower(), "logger": record.name}
        event["message"] = _cut(record.getMessage(), self._redaction)
        for name in _FIELDS:
            if (value := getattr(record, name, None)) is not None:
                event[name] = self._redaction(value[:_FIELD_CHARACTERS_MAX]) if isinstance(value, str) else value
        if record.exc_info:
            event["traceback"] = _cut(self.formatException(record.exc_info), self._redaction, keeps_end=True)
        return _encoder.encode(event).decode()


def _cut(text: str, redaction: Redaction, *, keeps_end: bool = False) -> str:
    """Returns the text without secrets, and no longer than a line may be; a traceback says at its end what it is about."""
    if len(text) > LOG_LINE_CHARACTERS_MAX:  # twice as much is looked at, so that no half of a secret is left
        text = text[-2 * LOG_LINE_CHARACTERS_MAX :] if keeps_end else text[: 2 * LOG_LINE_CHARACTERS_MAX]
    text = redaction(text)
    if len(text) <= LOG_LINE_CHARACTERS_MAX:
        return text
    return "…" + text[-LOG_LINE_CHARACTERS_MAX:] if keeps_end else text[:LOG_LINE_CHARACTERS_MAX] + "…"


def log_to(stream: TextIO, settings: Settings, token: str | None) -> Log:
    """Sends the log of Greenroom and uvicorn, and what anybody else warns of, to a stream; returns it.

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
    writer = LogWriter(
        stream,
        waiting_bytes_max=settings.limits.log_waiting_bytes_max,
        told=lambda count: form.format(_notice(f"{count} lines of the log were dropped: they were not read in time")),
    )
    handler = LineMaker(writer, form)
    _send("", "warning", handler)  # without a handler, the warnings of libraries are written by the caller
    logging.captureWarnings(True)
    _send("greenroom", settings.log_level, handler)
    _send("uvicorn", "debug" if is_debug else "warning", handler)
    logging.getLogger("greenroom.access").setLevel(logging.INFO if server.access_log else logging.ERROR)
    return Log(writer, handler)


def log_to_stderr(settings: Settings, token: str | None) -> Log:
    """As `log_to`, for a program of its own: what the interpreter would write to standard error by itself goes to the log too."""
    log = log_to(sys.stderr, settings, token)
    sys.unraisablehook = _unraisable
    threading.excepthook = _failed_thread
    return log


def _unraisable(failure: sys.UnraisableHookArgs) -> None:
    _tell_failure(failure.err_msg or "an error in a destructor", failure.exc_value)


def _failed_thread(failure: threading.ExceptHookArgs) -> None:
    _tell_failure("a thread failed", failure.exc_value)


def _tell_failure(what: str, error: BaseException | None) -> None:
    logging.getLogger("greenroom").error("%s", what, exc_info=error)


def _send(name: str, level: LogLevel, handler: logging.Handler) -> None:
    logger = logging.getLogger(name)
    logger.setLevel(level.upper())
    logger.propagate = False
    for former in tuple(logger.handlers):
        logger.removeHandler(former)
    logger.addHandler(handler)
