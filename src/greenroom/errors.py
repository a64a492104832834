"""Every exception that Greenroom raises, as one tree.

::

    GreenroomError                 code: stable wire name; status_hint: HTTP status; hint: what can be done
    ├── UsageError                 the caller is wrong; repeating the call does not help
    │   ├── InvalidArgument          a value that is malformed or out of range (also ValueError)
    │   │   ├── InvalidConfig          a configuration file, variable or setting
    │   │   ├── UnknownBackend         a backend that is not installed
    │   │   ├── UnknownPersona         a persona that no catalogue has
    │   │   ├── UnknownTool            a toolset or tool that is not registered
    │   │   └── InvalidStream          an export or import that is not one of ours
    │   ├── UnknownSetting           a setting name that does not exist (also TypeError)
    │   ├── SessionNotFound          no such session, or not yours (also ValueError)
    │   ├── TurnInProgress           the operation needs an idle session, or `overlap="reject"`
    │   ├── ApprovalNotFound         nobody was asked that (also ValueError)
    │   ├── AlreadyDecided           an approval that was decided otherwise, or that nothing waits for any more
    │   ├── NotSupported             a part of the contract that this version refuses
    │   └── ManagerClosed            the manager was closed
    ├── BackendError               the provider, or the way to it
    │   ├── BackendUnavailable       weather: refused, overloaded, timed out; retry_after_s when the provider said so
    │   ├── BackendRejected          the provider understood and declined: bad request, no such model
    │   │   └── BackendUnauthorized    no key, or one that the provider does not accept
    │   ├── ContextTooLong           the transcript does not fit the model
    │   └── BackendGarbled           the stream broke its own protocol, or ended in the middle
    ├── EventLogError              our storage
    │   ├── Conflict                 the session is not where the writer thought; nothing was written
    │   ├── Corrupted                stored bytes that are not what we wrote
    │   ├── NewerFormat              written by a newer version of Greenroom
    │   └── LogUnavailable           the storage failed; unknown whether written: read before retrying
    └── LimitExceeded              a bound of `greenroom.limits`
        └── BudgetExceeded           tokens or money of a turn or session

Rule: three questions choose the class. Who is at fault? Does repeating help? What can be done? Nothing here ever carries a
secret, a system prompt or a path of the server in its message: messages reach clients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

Refused = Literal["tools", "reasoning_effort", "attachment", "content", "size", "length", "request", "unexplained"]
"""What of a request a provider did not take: tools, a reasoning effort together with tools, an attachment, a text (its content policy), so
many bytes, so many tokens, or something that it does not name (`request`)."""


class GreenroomError(Exception):
    """Base of everything that Greenroom raises on purpose.

    Attributes:
        code: stable name of the error, the same in Python and on the wire.
        status_hint: the HTTP status a server would answer with.
        hint: what the reader can do about it, or `None`.
    """

    code: ClassVar[str] = "internal_error"
    status_hint: ClassVar[int] = 500

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[Callable[..., GreenroomError], tuple[object, ...]]:
        # Errors cross process pools, and constructors with names of their own do not survive the default.
        return _restored, (type(self), self.args, dict(self.__dict__))


def _restored(kind: type[GreenroomError], args: tuple[object, ...], state: dict[str, object]) -> GreenroomError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class UsageError(GreenroomError):
    """The caller is wrong; repeating the same call does not help."""

    code = "usage_error"
    status_hint = 400


class InvalidArgument(UsageError, ValueError):
    """A value is malformed or out of its range."""

    code = "invalid_argument"
    status_hint = 422


class InvalidConfig(InvalidArgument):
    """A configuration file, environment variable or setting is wrong."""

    code = "invalid_config"


class UnknownBackend(InvalidArgument):
    """No backend of that name is installed."""

    code = "unknown_backend"


class UnknownPersona(InvalidArgument):
    """No persona of that name is in the catalogue."""

    code = "unknown_persona"


class UnknownTool(InvalidArgument):
    """No toolset of that name is registered."""

    code = "unknown_tool"


class InvalidStream(InvalidArgument):
    """An import that is not an export of Greenroom, or a cursor that is not one of ours."""

    code = "invalid_stream"


class UnknownSetting(UsageError, TypeError):
    """A session setting that does not exist."""

    code = "unknown_setting"
    status_hint = 422


class SessionNotFound(UsageError, ValueError):
    """There is no such session, or it is not the caller's."""

    code = "session_not_found"
    status_hint = 404

    def __init__(self, session_id: str, *, hint: str = "list_sessions() shows the sessions that exist") -> None:
        super().__init__(f"no session {session_id!r}", hint=hint)
        self.session_id = session_id


class TurnInProgress(UsageError):
    """The session is answering, and the operation needs it idle."""

    code = "turn_in_progress"
    status_hint = 409


class ApprovalNotFound(UsageError, ValueError):
    """There is no such approval in the session."""

    code = "approval_not_found"
    status_hint = 404


class AlreadyDecided(UsageError):
    """The approval was decided otherwise before, or its turn has ended without it."""

    code = "already_decided"
    status_hint = 409


class NotSupported(UsageError, ValueError):
    """A part of the contract that this version refuses rather than ignores."""

    code = "not_supported"
    status_hint = 501


class ManagerClosed(UsageError):
    """The manager was closed and takes no further work."""

    code = "manager_closed"
    status_hint = 503


class BackendError(GreenroomError):
    """The provider failed, or could not be reached.

    Attributes:
        refused: what of the request it did not take; `unexplained` where nobody says whether that was the reason, `None` where it was not.
    """

    code = "backend_error"
    status_hint = 502
    refused: Refused | None = None


class BackendUnavailable(BackendError):
    """Weather: refused connection, overload, rate limit, time-out. Repeating later may help.

    Attributes:
        retry_after_s: seconds that the provider asked us to wait, or `None`.
        refused: `unexplained`, or `None` where what was sent cannot be the reason: no connection, a rate limit.
    """

    code = "backend_unavailable"
    status_hint = 503

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        retry_after_s: float | None = None,
        refused: Refused | None = "unexplained",
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s
        self.refused = refused


class BackendRejected(BackendError):
    """The provider understood the request and declined it; repeating it does not help.

    Attributes:
        refused: what of the request it did not take: later requests are sent without that, so that the session continues. `None` where
            the request was not the reason: a missing setting, an account without credit, an unknown model.
    """

    code = "backend_rejected"

    def __init__(self, message: str, *, hint: str | None = None, refused: Refused | None = None) -> None:
        super().__init__(message, hint=hint)
        self.refused = refused


class BackendUnauthorized(BackendRejected):
    """There is no key for the provider, or it does not accept the one there is."""

    code = "backend_unauthorized"

    def __init__(self, message: str, *, hint: str | None = None, refused: Refused | None = None) -> None:
        super().__init__(message, hint=hint, refused=refused)


class ContextTooLong(BackendError):
    """The transcript does not fit the model's context window, or the request what the provider takes at once.

    Attributes:
        refused: `length` for tokens, `size` for bytes.
    """

    code = "context_too_long"

    def __init__(self, message: str, *, hint: str | None = None, refused: Refused = "length") -> None:
        super().__init__(message, hint=hint)
        self.refused = refused


class BackendGarbled(BackendError):
    """The provider's stream broke its own protocol, or ended in the middle. What was sent may be the reason."""

    code = "backend_garbled"
    refused = "unexplained"


class EventLogError(GreenroomError):
    """Our storage failed."""

    code = "log_error"
    status_hint = 503


class Conflict(EventLogError):
    """The session is not at the expected record, or a newer writer owns it. Nothing was written.

    Attributes:
        expected_seq: where the writer thought the log ended.
        actual_seq: where it ends.
    """

    code = "conflict"
    status_hint = 409

    def __init__(self, session_id: str, *, expected_seq: int, actual_seq: int) -> None:
        why = f"is at record {actual_seq}, not {expected_seq}" if actual_seq != expected_seq else "has a newer owner"
        super().__init__(f"session {session_id!r} {why}")
        self.session_id = session_id
        self.expected_seq = expected_seq
        self.actual_seq = actual_seq


class Corrupted(EventLogError):
    """Stored bytes are not what Greenroom wrote."""

    code = "corrupted"
    status_hint = 500


class NewerFormat(EventLogError):
    """The data was written by a newer version of Greenroom."""

    code = "newer_format"
    status_hint = 500


class LogUnavailable(EventLogError):
    """The storage failed. Unknown whether the write happened: read before repeating it."""

    code = "log_unavailable"


class LimitExceeded(GreenroomError):
    """A bound of `greenroom.limits` or of the session's settings was reached."""

    code = "limit_exceeded"
    status_hint = 413


class BudgetExceeded(LimitExceeded):
    """The budget of a turn or session is used up."""

    code = "budget_exceeded"
    status_hint = 402
