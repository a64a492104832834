"""What is known of models by their names: the table `models.toml`, read at the first question.

A provider's interface has no way to ask what a model takes, so its name has to tell. How a row is found is told in the table.

Rule: the only place that takes names apart. Facts are in the table, what follows from them is in `openai_models` and `claude_models`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from datetime import date
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from pkgutil import get_data
from typing import Final, Literal

import msgspec

from greenroom.config import EFFORTS, ModelOverride, ReasoningEffort

Version = tuple[int, int]

ChatTools = Literal["any", "no_effort", "none", "never"]
"""With which effort Chat Completions takes function tools: any; where none is set or it is `none`; only where it is `none`; never."""

CallIds = Literal["any", "nine_characters"]
"""What a server accepts as the id of a tool call."""

ThinkingForm = Literal["none", "budget", "either", "adaptive"]
"""How Claude is asked to think: not at all, with a number of tokens, in both ways, or by effort alone."""

ThinkingOff = Literal["omit", "disabled", "between_tools", "never"]
"""How thinking is turned off: by saying nothing, with that `type`, or not at all."""

Sampling = Literal["both", "one", "none"]
"""Whether `temperature` and `top_p` are accepted together, one at a time, or not at all."""


NO_OVERRIDES: Final[Mapping[str, ModelOverride]] = {}
"""Every name tells the truth."""


class OpenAIRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A family of OpenAI's models; see the table."""

    series: str
    since: str
    word: str = ""
    reasons: bool = False
    efforts: tuple[ReasoningEffort, ...] = ()
    chat_efforts: tuple[ReasoningEffort, ...] | None = None
    chat_tools: ChatTools = "any"
    parallel_tool_calls: bool = True
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"


class OtherRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"excepted": "except"}):
    """What models of another company demand; see the table."""

    names: tuple[str, ...]
    excepted: tuple[str, ...] = ()
    call_ids: CallIds = "any"
    wants_reasoning_back: bool = False
    wants_signature: bool = False
    gives_encrypted_reasoning: bool = False

    def fits(self, name: str) -> bool:
        """Returns whether the row is about a model of that name."""
        return _fits_any(name, self.names) and not _fits_any(name, self.excepted)


class ClaudeModel(msgspec.Struct, frozen=True, kw_only=True):
    """What a Claude model accepts.

    Attributes:
        max_tokens: length of an answer, thinking included, where the session does not set one.
        max_tokens_max: longest answer that the model can be asked for.
        thinks_unasked: a request that does not mention thinking gets it.
        efforts: accepted values of `output_config.effort`; none: it is not known.
        binds_thinking: the API checks that nothing before a thinking block has changed since it was made.
    """

    max_tokens: int
    max_tokens_max: int
    thinking: ThinkingForm = "none"
    thinking_off: ThinkingOff = "omit"
    thinks_unasked: bool = False
    efforts: tuple[ReasoningEffort, ...] = ()
    sampling: Sampling = "both"
    binds_thinking: bool = False


class ClaudeRow(ClaudeModel, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A family of Claude's models; see the table."""

    since: str
    families: tuple[str, ...] = ()


class ModelEnd(msgspec.Struct, frozen=True, kw_only=True):
    """When a model stops answering at its own provider, and which one the provider names in its place."""

    on: date
    successor: str


class _EndRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    on: date
    models: tuple[str, ...]
    successor: str


class _Names(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    not_openai: tuple[str, ...]
    not_for_chat: tuple[str, ...]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    date: str
    current: dict[str, str]
    aliases: dict[str, str]
    names: _Names
    openai: tuple[OpenAIRow, ...]
    other: tuple[OtherRow, ...]
    claude: tuple[ClaudeRow, ...]
    ends: tuple[_EndRow, ...]


def current_model(provider: Literal["openai", "claude"]) -> str:
    """Returns the model that a place which chooses takes of that provider."""
    return _table().current[provider]


@lru_cache(maxsize=256)
def openai_row(model: str) -> OpenAIRow | None:
    """Returns the family of OpenAI's that a model belongs to, by its name; `None` if it is not one of them."""
    name = _bare(model)
    if any(name == other or name.startswith((f"{other}-", f"{other}:")) for other in _table().names.not_openai):
        return None
    if found := _NAME.match(name):
        series, version, rest = found["series"], (int(found["major"]), int(found["minor"] or 0)), found["rest"]
    elif (found := _NAME_ALONE.match(name)) and not _fits_any(name, _table().names.not_for_chat):
        series, version, rest = "gpt", _NEWEST, found["rest"]
    else:
        return None
    words = f"-{re.sub('[:@.]', '-', rest)}-"
    rows = [
        row
        for row in _table().openai
        if row.series == series and version_of(row.since) <= version and (not row.word or f"-{row.word}-" in words)
    ]
    return max(rows, key=lambda row: (len(row.word), version_of(row.since)), default=None)


@lru_cache(maxsize=256)
def other_rows(model: str) -> tuple[OtherRow, ...]:
    """Returns what is demanded of requests to a model of another company, by its name."""
    name = model.lower().removeprefix("models/")
    return tuple(row for row in _table().other if row.fits(name))


def claude_row(version: Version, family: str) -> ClaudeRow:
    """Returns the row of a Claude model."""
    rows = [
        row
        for row in _table().claude
        if version_of(row.since) <= version and (not row.families or family in row.families)
    ]
    return max(rows, key=lambda row: (version_of(row.since), bool(row.families)))


def end_of(model: str) -> ModelEnd | None:
    """Returns when a model ends at its own provider, as far as that is known."""
    name = _bare(model)
    plain = re.sub(r"-(\d{4}-\d\d-\d\d|\d{8})$", "", name)
    for wanted in (name, plain):
        for row in _table().ends:
            if wanted in row.models:
                return ModelEnd(on=row.on, successor=row.successor)
    return None


def is_for_chat(model: str) -> bool:
    """Returns whether a model on a provider's list may be one to talk to: lists rarely tell."""
    return not _fits_any(_bare(model), _table().names.not_for_chat)


def nearest_effort(wanted: ReasoningEffort, efforts: tuple[ReasoningEffort, ...]) -> ReasoningEffort:
    """Returns the effort that comes nearest; of two that are as near, the one that thinks more."""
    place = EFFORTS.index(wanted)
    return min(efforts, key=lambda effort: (abs(EFFORTS.index(effort) - place), -EFFORTS.index(effort)))


def version_of(text: str) -> Version:
    """Returns a version of the table as numbers."""
    major, _, minor = text.partition(".")
    return int(major), int(minor or 0)


def _bare(model: str) -> str:
    """Returns the name without what gateways put before it (`openai/o3`, `us.openai.gpt-6-luna-v1:0`, `ft:gpt-4o:...`)."""
    name = model.lower().rpartition("/")[2].removeprefix("ft:").rpartition("openai.")[2]
    for written, meant in _table().aliases.items():
        if name == written or name.startswith((f"{written}-", f"{written}:")):
            return meant + name.removeprefix(written)
    return name


def _fits_any(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@cache
def _table() -> _Table:
    # As a module is read, by its loader: at the first question, and never again.
    data = get_data("greenroom.backends", "models.toml")
    assert data is not None, "the loader of a package can read what lies beside its modules"
    return msgspec.convert(tomllib.loads(data.decode()), _Table)


# Some gateways write `gpt-5-6-luna`; what follows `gpt-4-` in `gpt-4-1106-preview` is a date.
_NAME: Final = re.compile(
    r"(?P<series>(?:chat)?gpt(?=-)|o(?=[1-9]))-?(?P<major>\d{1,2})(?:[.-](?P<minor>\d)(?!\d))?(?P<rest>o?(?:[-:@].*)?)$"
)
_NAME_ALONE: Final = re.compile(r"gpt-(?P<rest>[a-z]+-.*)$")
_NEWEST: Final[Version] = (99, 0)
