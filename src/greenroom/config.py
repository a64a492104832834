"""What a session is set to: model, backend, persona, tools and settings.

Rule: a setting exists here or nowhere. An unknown name is refused with the names that exist; a setting that a backend cannot
honour is refused or reported by that backend, never dropped in silence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence, Sized
from typing import Annotated, Any, Final, Literal, get_args
from weakref import WeakValueDictionary

import msgspec

from greenroom import limits
from greenroom.errors import InvalidArgument, NotSupported, UnknownSetting

ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
EFFORTS: Final[tuple[ReasoningEffort, ...]] = get_args(ReasoningEffort)
"""From the least to the most."""
Overlap = Literal["enqueue", "reject", "interrupt", "rollback", "steer", "merge", "latest"]
Recovery = Literal["resume", "close"]
ApprovalRule = Literal["allow", "ask", "deny"]
UnknownOutcome = Literal["tell", "ask"]

ESSENTIAL_TOOLS: Final = ("MemoryTools", "WorkspaceTools", "PreferenceTools", "RandomNumberTools")
DAYS_MAX: Final = 3660
"""Ten years of usage."""
_SHOWN_CHARACTERS_MAX: Final = 80
_SHOWN_NAMES_MAX: Final = 5
_SHOWN_INTEGER_MAX: Final = 10**30
DEFAULT_MODEL: Final = "gpt-4o"
DEFAULT_BACKEND: Final = "openai"
DEFAULT_PERSONA: Final = "default"


class SessionConfig(msgspec.Struct, frozen=True, kw_only=True, weakref=True):
    """How the turns of a session are run. Versioned as a whole: an update replaces it, a rollback brings an older one back.

    Stored with every field, also those at their default: a later default must not change an old session.

    Attributes:
        essential_tools: which of the essential toolsets it has; all of them unless somebody chose.
        additional_tools: class names of toolsets beside the essential ones.
        temperature: 0 to 2; `None` leaves it to the provider, as for every optional setting.
        max_tokens: most tokens of one step's answer.
        max_steps: requests to the backend in one turn.
        turn_timeout_s, tool_timeout_s: seconds of wall time.
        fallbacks: `backend:model` to try, in this order, when the first is unavailable.
        budget_usd, budget_tokens: of the whole session; `turn_budget_usd`, `turn_budget_tokens`: of each turn. At 0 nothing may
            be used.
        approval: pattern of tool names -> what happens to such a call. The last pattern that fits counts.
        unknown_outcome: who learns that nobody knows whether a call took effect: `tell` the model, or `ask` a person first.
    """

    llm_model: str = DEFAULT_MODEL
    backend: str = DEFAULT_BACKEND
    persona_name: str = DEFAULT_PERSONA
    essential_tools: tuple[str, ...] = ESSENTIAL_TOOLS
    additional_tools: tuple[str, ...] = ()
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    reasoning_effort: ReasoningEffort | None = None
    thinking_budget_tokens: int | None = None
    parallel_tool_calls: bool | None = None
    custom_persona_text: str = ""
    max_steps: int = 25
    turn_timeout_s: float = 600.0
    tool_timeout_s: float = 60.0
    overlap: Overlap = "enqueue"
    recovery: Recovery = "resume"
    fallbacks: tuple[str, ...] = ()
    budget_usd: float | None = None
    budget_tokens: int | None = None
    turn_budget_usd: float | None = None
    turn_budget_tokens: int | None = None
    mcp_servers: tuple[str, ...] = ()
    approval: dict[str, ApprovalRule] = {}
    unknown_outcome: UnknownOutcome = "tell"

    @property
    def tools(self) -> tuple[str, ...]:
        """Class names of all toolsets of the session: the essential ones first."""
        return tuple(dict.fromkeys((*self.essential_tools, *self.additional_tools)))


class UserBudget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What each user may use, in all sessions together.

    Attributes:
        usd, tokens: how much; `None` bounds nothing, at 0 nothing may be used.
        days: in how many days of UTC, today included. What was used before does not count any more.
    """

    usd: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] | None = None
    tokens: Annotated[int, msgspec.Meta(ge=0, le=10**12)] | None = None
    days: Annotated[int, msgspec.Meta(ge=1, le=DAYS_MAX)] = 30

    def __post_init__(self) -> None:
        """Refuses one that bounds nothing.

        Raises:
            ValueError: neither money nor tokens are named.
        """
        if self.usd is None and self.tokens is None:
            raise ValueError("a user budget needs `usd` or `tokens`")


class ModelOverride(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an installation says of a model whose name does not tell, or tells something wrong. What is left out, the name decides.

    Attributes:
        like: name of a model that it is one of: everything that is known of that one.
        reasoning: it reasons before it answers, as OpenAI's reasoning models do, and takes the settings that these take.
        efforts: the reasoning efforts that it takes; another one is mapped to the nearest.
        dialect: `responses` asks for it over the Responses API, `chat` over Chat Completions.
        max_tokens_field: the name under which it takes `max_tokens`.
        sampling, stop, parallel_tool_calls: whether it takes `temperature` and `top_p`; `stop`; `parallel_tool_calls`.
        description_max: most characters of a tool's description; longer ones are cut.
    """

    like: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None
    reasoning: bool | None = None
    efforts: Annotated[tuple[ReasoningEffort, ...], msgspec.Meta(min_length=1)] | None = None
    dialect: Literal["chat", "responses"] | None = None
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    sampling: bool | None = None
    stop: bool | None = None
    parallel_tool_calls: bool | None = None
    description_max: Annotated[int, msgspec.Meta(ge=1)] | None = None


class SessionLabels(msgspec.Struct, frozen=True, kw_only=True):
    """What people call a session. Not part of the configuration: a rollback of the model does not rename anything."""

    title: str = ""
    metadata: dict[str, Any] = {}


_CONFIG_TYPES: Final = {field.name: field.type for field in msgspec.structs.fields(SessionConfig)}
_LABEL_TYPES: Final = {field.name: field.type for field in msgspec.structs.fields(SessionLabels)}
CONFIG_FIELDS: Final = tuple(_CONFIG_TYPES)
LABEL_FIELDS: Final = tuple(_LABEL_TYPES)
SETTING_NAMES: Final = tuple(sorted({*CONFIG_FIELDS, *LABEL_FIELDS, "user_id"}))


class LeftOut(str):
    """The default of an argument: looks like its value, and can be told from the same value given by hand."""

    __slots__ = ()


_in_use: Final[WeakValueDictionary[bytes, SessionConfig]] = WeakValueDictionary()


def shared(config: SessionConfig) -> SessionConfig:
    """Returns the configuration, as one object for all sessions in memory that are set alike: most are. It goes with the last one."""
    encoded = msgspec.json.encode(config)
    found = _in_use.get(encoded)
    return found if found is not None else _in_use.setdefault(encoded, msgspec.json.decode(encoded, type=SessionConfig))


class Patch(msgspec.Struct, frozen=True, kw_only=True):
    """A validated change: only what it names is changed."""

    config: Mapping[str, Any]
    labels: Mapping[str, Any]
    user_id: str | None = None

    def applied(self, config: SessionConfig, labels: SessionLabels) -> tuple[SessionConfig, SessionLabels]:
        """Returns the configuration and labels after the change, checked as a whole.

        Raises:
            InvalidArgument: the result contradicts itself.
        """
        changed = msgspec.structs.replace(config, **self.config)
        _check_together(changed)
        return changed, msgspec.structs.replace(labels, **self.labels)


def parse_patch(values: Mapping[str, Any]) -> Patch:
    """Returns `values` (setting name -> value) as a checked change.

    Raises:
        UnknownSetting: a name that does not exist; names the ones that do.
        InvalidArgument: a value of the wrong type or out of its range.
        NotSupported: a setting that this version refuses.
    """
    if unknown := sorted(str(name)[:_SHOWN_CHARACTERS_MAX] for name in set(values) - set(SETTING_NAMES)):
        more = f" and {len(unknown) - _SHOWN_NAMES_MAX} more" if len(unknown) > _SHOWN_NAMES_MAX else ""
        raise UnknownSetting(
            f"unknown setting{'s' if len(unknown) > 1 else ''} {', '.join(map(repr, unknown[:_SHOWN_NAMES_MAX]))}{more}",
            hint=f"{_nearest(unknown[0])}the settings are {', '.join(SETTING_NAMES)}",
        )
    config = {name: _converted(_CONFIG_TYPES, name, value) for name, value in values.items() if name in CONFIG_FIELDS}
    labels = {name: _converted(_LABEL_TYPES, name, value) for name, value in values.items() if name in LABEL_FIELDS}
    user_id = values.get("user_id")
    if user_id is not None:
        check_user_id(user_id)
    return Patch(config=config, labels=labels, user_id=user_id)


def check_stored(config: SessionConfig | None, labels: SessionLabels | None) -> None:
    """Accepts what a session from somewhere else is set to, if it could have been set so here.

    Raises:
        InvalidArgument: a value out of its range.
        NotSupported: a setting that this version refuses.
    """
    if config is not None:
        for name in CONFIG_FIELDS:
            _check_range(name, getattr(config, name))
        _check_together(config)
    if labels is not None:
        _check_json(labels.metadata, depth=1)
        for name in LABEL_FIELDS:
            _check_range(name, getattr(labels, name))


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    return "".join(f"did you mean {found!r}? " for found in get_close_matches(name, SETTING_NAMES, n=1))


def check_session_id(session_id: object) -> str:
    """Returns `session_id` if it is well formed.

    Raises:
        InvalidArgument: it is not; says what a session id looks like.
    """
    if isinstance(session_id, str) and re.fullmatch(limits.ID_PATTERN, session_id):
        return session_id
    raise InvalidArgument(
        f"malformed session id {str(session_id)[:80]!r}",
        hint="1 to 128 letters, digits, '-', '_' and '.', beginning with a letter or digit",
    )


def check_user_id(user_id: object) -> str:
    """Returns `user_id` if it can name a user: 1 to 256 printable characters.

    Raises:
        InvalidArgument: it cannot.
    """
    if isinstance(user_id, str) and 0 < len(user_id) <= 256 and user_id.isprintable():
        return user_id
    raise InvalidArgument(f"malformed user_id {str(user_id)[:80]!r}", hint="1 to 256 printable characters")


def _converted(types: Mapping[str, Any], name: str, value: object) -> Any:
    if isinstance(value, str) and name in {"stop", "essential_tools", "additional_tools", "fallbacks", "mcp_servers"}:
        value = (value,)
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = tuple(value)
    if name == "metadata":
        value = _json_copy(value)
    try:
        converted = msgspec.convert(value, types[name])
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"{name}: {error}", hint=EXPECTED.get(name)) from error
    _check_range(name, converted)
    return converted


def _check_range(name: str, value: Any) -> None:
    check = _RANGES.get(name)
    if check is not None and value is not None and not check(value):
        raise InvalidArgument(f"{name}={_shown(value)} is out of range", hint=EXPECTED[name])
    if name in _LATER and value not in ({}, (), None):
        raise NotSupported(f"{name} is not supported yet", hint=_LATER[name])


def _shown(value: object) -> str:
    """Returns the value for an error: its beginning, or what it is, without writing it out as a whole first."""
    if isinstance(value, str):
        return repr(value[:_SHOWN_CHARACTERS_MAX])
    if isinstance(value, Sized):
        return f"{type(value).__name__} of {len(value)}"
    if isinstance(value, int) and abs(value) >= _SHOWN_INTEGER_MAX:
        return f"{'-' if value < 0 else ''}2^{value.bit_length() - 1} or more"
    return repr(value)[:_SHOWN_CHARACTERS_MAX]


def _json_copy(value: object) -> object:
    """Returns a copy that the caller cannot change any more, and that is the same after a round through the log."""
    try:
        copied = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"metadata is not JSON: {error}", hint=EXPECTED["metadata"]) from error
    _check_json(value, depth=1)
    return copied


def _check_json(value: object, *, depth: int) -> None:
    if depth > limits.METADATA_DEPTH_MAX:
        raise InvalidArgument(
            f"metadata has more than {limits.METADATA_DEPTH_MAX} levels of nesting",
            hint=EXPECTED["metadata"],
        )
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise InvalidArgument("metadata has a key that is not a text", hint=EXPECTED["metadata"])
        value = tuple(value.values())
    if isinstance(value, list | tuple):
        for inner in value:
            _check_json(inner, depth=depth + 1)


def _check_together(config: SessionConfig) -> None:
    if (
        config.thinking_budget_tokens is not None
        and config.max_tokens is not None
        and config.thinking_budget_tokens >= config.max_tokens
    ):
        raise InvalidArgument(
            f"thinking_budget_tokens={config.thinking_budget_tokens} must be below max_tokens={config.max_tokens}",
            hint="the answer needs room beside the thinking",
        )


def _printable(text: str) -> bool:
    return text.isprintable()


_RANGES: Final[dict[str, Any]] = {
    "llm_model": lambda value: 0 < len(value) <= 256 and _printable(value),
    "backend": lambda value: 0 < len(value) <= 64,
    "persona_name": lambda value: 0 < len(value) <= 128,
    "essential_tools": lambda value: len(value) <= len(ESSENTIAL_TOOLS) and set(value) <= set(ESSENTIAL_TOOLS),
    "additional_tools": lambda value: len(value) <= 64 and all(0 < len(name) <= 128 for name in value),
    "title": lambda value: len(value) <= 500,
    "metadata": lambda value: len(msgspec.json.encode(value)) <= 64 * 1024,
    "temperature": lambda value: 0 <= value <= 2,
    "top_p": lambda value: 0 < value <= 1,
    "max_tokens": lambda value: value >= 1,
    "stop": lambda value: len(value) <= 16 and all(0 < len(text) <= 1000 for text in value),
    "thinking_budget_tokens": lambda value: value >= 1024,
    "custom_persona_text": lambda value: len(value.encode()) <= limits.DEFAULT_LIMITS.prompt_bytes_max,
    "max_steps": lambda value: 1 <= value <= 1000,
    "turn_timeout_s": lambda value: 0 < value <= 86_400,
    "tool_timeout_s": lambda value: 0 < value <= 86_400,
    "fallbacks": lambda value: len(value) <= 8 and all(0 < entry.find(":") < len(entry) - 1 < 320 for entry in value),
    "budget_usd": lambda value: 0 <= value <= 1_000_000,
    "turn_budget_usd": lambda value: 0 <= value <= 1_000_000,
    "budget_tokens": lambda value: 0 <= value <= 10**12,
    "turn_budget_tokens": lambda value: 0 <= value <= 10**12,
    "approval": lambda value: len(value) <= 100 and all(0 < len(pattern) <= 128 for pattern in value),
}
EXPECTED: Final[dict[str, str]] = {
    "llm_model": "a model name of 1 to 256 printable characters",
    "backend": "a backend name",
    "persona_name": "a persona name",
    "essential_tools": f"some of {', '.join(ESSENTIAL_TOOLS)}",
    "additional_tools": "at most 64 names of toolsets",
    "title": "at most 500 characters",
    "metadata": f"a JSON object of at most 64 KiB and {limits.METADATA_DEPTH_MAX} levels",
    "temperature": "a number from 0 to 2",
    "top_p": "a number above 0, at most 1",
    "max_tokens": "a whole number, at least 1",
    "stop": "at most 16 texts of 1 to 1000 characters",
    "reasoning_effort": "none, minimal, low, medium, high, xhigh or max",
    "thinking_budget_tokens": "a whole number, at least 1024",
    "custom_persona_text": "at most 256 KiB of text",
    "max_steps": "a whole number from 1 to 1000",
    "turn_timeout_s": "seconds, above 0, at most 86400",
    "tool_timeout_s": "seconds, above 0, at most 86400",
    "overlap": ", ".join(get_args(Overlap)),
    "recovery": "resume or close",
    "fallbacks": "at most 8 entries of the form backend:model, of at most 320 characters",
    "budget_usd": "US dollars, from 0 to 1000000",
    "turn_budget_usd": "US dollars, from 0 to 1000000",
    "budget_tokens": "a whole number of tokens, from 0 to 10^12",
    "turn_budget_tokens": "a whole number of tokens, from 0 to 10^12",
    "approval": "at most 100 patterns of tool names, each with allow, ask or deny: {'delete_*': 'ask'}",
    "unknown_outcome": "tell or ask",
}
"""What would be right, by setting."""
_LATER: Final[dict[str, str]] = {
    "mcp_servers": "leave it out; give toolsets by class name in additional_tools",
}
