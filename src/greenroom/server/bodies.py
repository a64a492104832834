"""What requests carry and answers hold, as types: they validate, and they are the schemas of the OpenAPI document.

Rule: an unknown field is refused. Only what comes from clients of other protocols, which send more than we need, may have others.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from greenroom.config import DAYS_MAX, Overlap, SessionConfig, SessionLabels, UserBudget
from greenroom.core.view import Message
from greenroom.interfaces import LoginBasis
from greenroom.protocols.requests import SessionId, TurnId

Limit = Annotated[int, Meta(ge=1, le=500)]


class _Strict(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Common shape."""


def _settings() -> list[tuple[str, Any, Any]]:
    fields = [*msgspec.structs.fields(SessionConfig), *msgspec.structs.fields(SessionLabels)]
    return [(field.name, field.type | UnsetType, UNSET) for field in fields]


SessionPatch: Final[Any] = msgspec.defstruct(
    "SessionPatch", _settings(), kw_only=True, forbid_unknown_fields=True, module=__name__
)
"""The settings of a session (`docs/sessions.md`), each of which may be left out."""
SessionWish: Final[Any] = msgspec.defstruct(
    "SessionWish",
    [("session_id", SessionId | UnsetType, UNSET), *_settings()],
    kw_only=True,
    forbid_unknown_fields=True,
    module=__name__,
)
"""A new session, or one of the user's under its id."""


def given(body: Struct) -> dict[str, Any]:
    """Returns the fields that a request has."""
    values = ((name, getattr(body, name)) for name in body.__struct_fields__)
    return {name: value for name, value in values if value is not UNSET}


class AttachmentBody(_Strict):
    """A file that comes with a message: `data` is base64, or a data URL."""

    data: str
    media_type: str = ""
    name: Annotated[str, Meta(max_length=256)] = ""


class MessageBody(_Strict):
    """A message of a person."""

    message: str
    custom_prompt: str | None = None
    overlap: Overlap | None = None
    idempotency_key: str | None = None
    attachments: list[AttachmentBody] = []
    turn_id: TurnId | None = None
    message_id: TurnId | None = None


class SteerBody(_Strict):
    """What the running turn should hear."""

    message: str


class ApprovalBody(_Strict):
    """What a person decides about a tool call."""

    decision: Literal["approve", "deny"]
    arguments: dict[str, Any] | None = None
    reason: str | None = None


class ForkBody(_Strict):
    """Up to where a session is copied; all of it without `at_seq`."""

    at_seq: Annotated[int, Meta(ge=1)] | None = None


class RewindBody(_Strict):
    """The first turn that is taken out."""

    turn_id: str


class RollbackBody(_Strict):
    """The configuration that comes back."""

    config_version: Annotated[int, Meta(ge=1)]


class PageQuery(_Strict):
    """Which sessions."""

    query: str | None = None
    limit: Limit = 50
    cursor: str | None = None


class SearchQuery(_Strict):
    """What to look for."""

    query: str
    limit: Limit = 50


class UsageQuery(_Strict):
    """In how many days; left out, those that the budget counts."""

    days: Annotated[int, Meta(ge=1, le=DAYS_MAX)] | None = None


class PatchQuery(_Strict):
    """Whether the change is only planned."""

    dry_run: bool = False


class EventsQuery(_Strict):
    """Where to go on, and in which protocol."""

    cursor: str | None = None
    turn_id: str | None = None
    protocol: Literal["native", "ag-ui", "ag-ui-0", "ai-sdk", "ai-sdk-7"] = "native"


class FileQuery(_Strict):
    """Whether an image is shown rather than saved."""

    inline: bool = False


class LoginBody(_Strict):
    """One of the two: a one-time code, or a token, an API key or a signed token.

    Attributes:
        confirmed: a person has asked for it. Without that, only a code for the user of the server's own token is accepted.
    """

    code: Annotated[str, Meta(max_length=256)] | None = None
    token: Annotated[str, Meta(max_length=32 * 1024)] | None = None
    confirmed: bool = True


# --- answers ------------------------------------------------------------------------------------------------------------


class ErrorDetail(Struct, kw_only=True, omit_defaults=True):
    """What was wrong."""

    code: str
    message: str
    hint: str | None = None


class Error(Struct, kw_only=True):
    """Every error."""

    error: ErrorDetail


class UsageData(Struct, kw_only=True):
    """What was used. `cost_usd` is null where it is not known; `estimated` is there, and true, where a provider has not counted all."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    reasoning_tokens: int
    cost_usd: float | None
    estimated: bool = False


class UserUsageData(Struct, kw_only=True):
    """What the user has used, in all sessions, and may use."""

    user_id: str
    days: int
    usage: UsageData
    unpriced_tokens: int
    estimated_tokens: int
    budget: UserBudget | None


class SessionData(Struct, kw_only=True):
    """A session."""

    session_id: str
    user_id: str
    title: str
    created_at: str
    updated_at: str
    llm_model: str
    backend: str
    persona_name: str
    tools: list[str]
    settings: dict[str, Any]
    config_version: int
    status: Literal["idle", "running", "waiting"]
    turn_count: int
    message_count: int
    usage: UsageData
    last_seq: int


class NoticeData(Struct, kw_only=True):
    """Something that a person should know."""

    code: str
    text: str


class ImportedData(SessionData, kw_only=True):
    """A session that was made of a bundle: what was left out of it, and what is a stranger's."""

    notices: list[NoticeData]


class SessionPage(Struct, kw_only=True):
    """Sessions, those changed last first."""

    sessions: list[SessionData]
    cursor: str | None


class Messages(Struct, kw_only=True):
    """What was said."""

    messages: list[Message]


class ReceiptData(Struct, kw_only=True):
    """An accepted message."""

    session_id: str
    turn_id: str
    message_id: str
    position: int
    cursor: str
    is_repeat: bool


class Cancelled(Struct, kw_only=True):
    """Whether there was a turn to stop."""

    cancelled: bool


class Hit(Struct, kw_only=True):
    """A place where the words occur."""

    session_id: str
    seq: int
    role: str
    snippet: str
    title: str


class Hits(Struct, kw_only=True):
    """Places, best first."""

    hits: list[Hit]


class PersonaRow(Struct, kw_only=True):
    """A persona."""

    name: str
    description: str


class Personas(Struct, kw_only=True):
    """Who an agent can be."""

    personas: list[PersonaRow]


class ToolRow(Struct, kw_only=True):
    """A tool."""

    name: str
    description: str


class ToolsetRow(Struct, kw_only=True):
    """A toolset."""

    name: str
    description: str
    is_essential: bool
    tools: list[ToolRow]


class Toolsets(Struct, kw_only=True):
    """What agents can do."""

    toolsets: list[ToolsetRow]


class ModelRow(Struct, kw_only=True, omit_defaults=True):
    """A backend with one of its models.

    Attributes:
        source: who says that the backend has it: its provider, by its own list, or what is known here.
        reason: why it is not usable.
        note: why the provider's list is not known, or not as of now; in the first row of a backend.
        ends_on: the day on which the provider ends it.
    """

    backend: str
    model: str | None
    is_default: bool
    usable: bool
    source: Literal["provider", "known"] = "known"
    reason: str = ""
    note: str = ""
    ends_on: str = ""


class Models(Struct, kw_only=True):
    """Who can answer."""

    models: list[ModelRow]


class FileRow(Struct, kw_only=True):
    """A file of a workspace."""

    path: str
    size: int
    modified_at: str


class Files(Struct, kw_only=True):
    """Files, by path."""

    files: list[FileRow]


class Health(Struct, kw_only=True):
    """How the server is.

    Attributes:
        failing: what runs beside the requests and has failed within the last minute. It was started again each time.
    """

    status: str
    failing: tuple[str, ...] = ()


class LoginRow(Struct, kw_only=True):
    """A browser that is logged in."""

    login_id: str
    user_id: str
    basis: LoginBasis
    created_at: str
    seen_at: str
    ends_at: str
    user_agent: str
    is_current: bool


class LoggedIn(Struct, kw_only=True):
    """A browser was logged in; its cookie comes along."""

    user_id: str
    login: LoginRow


class Who(Struct, kw_only=True):
    """Who asks: with a cookie, of which login."""

    user_id: str
    by: Literal["header", "cookie"]
    login: LoginRow | None


class LoginList(Struct, kw_only=True):
    """Browsers, those used last first."""

    logins: list[LoginRow]


class Revoked(Struct, kw_only=True):
    """How many browsers were logged out."""

    revoked: int
