"""What a request is refused with: a status, a code, and words; never a traceback, a path or a secret.

Rule: an error of the manager keeps its code and its words. What is unexpected is logged here, and the client learns only that it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from greenroom.errors import BackendUnavailable, EventLogError, GreenroomError, ManagerClosed, SessionNotFound

RETRY_AFTER_S: Final = 2
"""When a client may try again where nothing better is known."""

_SHOWN_CHARACTERS_MAX: Final = 400
"""Of a message, and of a hint: what was sent is quoted in them, and no client needs it back as a whole."""

_NO_SESSION: Final = "GET /v1/sessions lists the sessions that exist"


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(
        self, status: int, code: str, message: str, *, hint: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = _cut(message)
        self.hint = _cut(hint) if hint is not None else None
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """The answer's JSON."""
        return error_body(self.code, self.message, self.hint)


def error_body(code: str, message: str, hint: str | None) -> dict[str, Any]:
    """Returns the JSON of an error; the same everywhere."""
    return {"error": {"code": code, "message": message} | ({"hint": hint} if hint else {})}


def refusal_of(error: GreenroomError) -> Refusal:
    """Returns how an error of the manager is answered."""
    headers: dict[str, str] = {}
    if isinstance(error, BackendUnavailable) and error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    elif isinstance(error, ManagerClosed | EventLogError) and error.status_hint == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = str(RETRY_AFTER_S)
    hint = _NO_SESSION if isinstance(error, SessionNotFound) else error.hint
    return Refusal(error.status_hint, error.code, error.message, hint=hint, headers=headers)


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS_MAX else text[: _SHOWN_CHARACTERS_MAX - 1] + "…"
