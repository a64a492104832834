"""What models cost and how much they can read: a table that ships with `genai-prices`, and an installation's own file before it.

The file is TOML. It says its date, so that nobody has to guess how old a price is::

    date = "2026-11-25"

    [[models]]
    backend = "openai"
    model = "acme-*"                 # a name, or a pattern of names
    input_usd = 1.25                 # for a million tokens, as all prices
    output_usd = 10.0
    cached_input_usd = 0.125         # left out: as input_usd
    cache_write_input_usd = 1.5      # left out: as input_usd
    context_window = 200000          # tokens; may be left out

Rule: a price that nobody knows is unknown, and never zero.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec

from greenroom.errors import InvalidConfig
from greenroom.messages import Usage

_FREE: Final = frozenset({"local", "ollama", "scripted"})
_PROVIDERS: Final = {
    "azure": "azure",
    "azure-responses": "azure",
    "bedrock": "aws",
    "vertex": "google",
    "openai": "openai",
    "openai-responses": "openai",
    "claude": "anthropic",
}
_GATEWAY_PREFIXES: Final = {
    # As LiteLLM, OpenRouter and Vercel's gateway put them before the provider's own name for a model.
    "anthropic": "anthropic",
    "azure": "azure",
    "azure_ai": "azure",
    "bedrock": "aws",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "fireworks_ai": "fireworks",
    "gemini": "google",
    "google": "google",
    "groq": "groq",
    "mistral": "mistral",
    "mistralai": "mistral",
    "moonshot": "moonshotai",
    "moonshotai": "moonshotai",
    "openai": "openai",
    "perplexity": "perplexity",
    "together_ai": "together",
    "vertex_ai": "google",
    "x-ai": "x-ai",
    "xai": "x-ai",
    "z-ai": "zai",
}
_GATEWAYS: Final = frozenset({"openrouter", "litellm", "litellm_proxy", "vercel_ai_gateway", "models"})
"""Prefixes that name no provider: another may follow."""
_MILLION: Final = 1_000_000


class ModelPrice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of the file. Prices are US dollars for a million tokens."""

    backend: str
    model: str
    input_usd: float
    output_usd: float
    cached_input_usd: float | None = None
    cache_write_input_usd: float | None = None
    context_window: int | None = None

    def cost_usd(self, usage: Usage) -> float:
        """Returns what the usage costs."""
        plain = max(0, usage.input_tokens - usage.cached_input_tokens - usage.cache_write_input_tokens)
        cached_usd = self.input_usd if self.cached_input_usd is None else self.cached_input_usd
        write_usd = self.input_usd if self.cache_write_input_usd is None else self.cache_write_input_usd
        total = (
            plain * self.input_usd
            + usage.cached_input_tokens * cached_usd
            + usage.cache_write_input_tokens * write_usd
            + usage.output_tokens * self.output_usd
        )
        return total / _MILLION


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    date: str
    models: tuple[ModelPrice, ...] = ()


class PriceTable:
    """Prices and context windows by backend and model. Looking up may read files and load the table: not on an event loop.

    Args:
        file: the installation's own prices, or `None`.
        kinds: name of a further backend -> the kind that it is of.
    """

    def __init__(self, file: Path | None, *, kinds: Mapping[str, str] | None = None) -> None:
        self._path = file
        self._kinds = dict(kinds or {})
        self._own: _File | None = None

    def date(self) -> str:
        """Returns how old the prices are, for people.

        Raises:
            InvalidConfig: the file cannot be read or is not one.
        """
        shipped = f"genai-prices {version('genai-prices')}"
        own = self._file()
        return f"{own.date} (own file), else {shipped}" if own.date else shipped

    def cost_usd(self, usage: Usage, *, backend: str, model: str) -> float | None:
        """Returns what the usage costs, or `None` where nobody knows.

        Raises:
            InvalidConfig: as `date`.
        """
        if backend in _FREE and self._found(backend, model) is None:
            return 0.0
        if (own := self._found(backend, model)) is not None:
            return own.cost_usd(usage)
        from genai_prices import Usage as PricedUsage
        from genai_prices import calc_price

        tokens = PricedUsage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cached_input_tokens,
            cache_write_tokens=usage.cache_write_input_tokens,
        )
        for name, provider in self._names(backend, model):
            try:
                return float(calc_price(tokens, name, provider_id=provider).total_price)
            except (LookupError, ValueError):
                continue  # no such model in the table, or counts that a server has made up
        return None

    def context_window(self, *, backend: str, model: str) -> int | None:
        """Returns how many tokens the model can read, or `None` where nobody knows.

        Raises:
            InvalidConfig: as `date`.
        """
        if (own := self._found(backend, model)) is not None and own.context_window is not None:
            return own.context_window
        if backend in _FREE:
            return None
        from genai_prices.data_snapshot import get_snapshot

        for name, provider in self._names(backend, model):
            try:
                _, found = get_snapshot().find_provider_model(name, None, provider, None)
            except LookupError:
                continue
            return found.context_window
        return None

    def _names(self, backend: str, model: str) -> Iterator[tuple[str, str | None]]:
        """Yields what the table may call the model, and whose it is: first as the backend names it, then without what a gateway put before it.

        A prefix that is no gateway's is left alone: a model file on a server of one's own costs nobody anything.
        """
        yield model, _PROVIDERS.get(self._kinds.get(backend, backend))
        prefix, slash, name = model.partition("/")
        while slash and prefix.lower() in _GATEWAYS:
            prefix, slash, name = name.partition("/")
        if slash and (provider := _GATEWAY_PREFIXES.get(prefix.lower())) is not None:
            # OpenRouter's variants: `model:free`, `model:nitro`. What is free says its cost itself.
            yield name.rpartition("/")[2].partition(":")[0] if provider != "aws" else name, provider

    def _found(self, backend: str, model: str) -> ModelPrice | None:
        rows = self._file().models
        return next((row for row in rows if row.backend == backend and fnmatchcase(model, row.model)), None)

    def _file(self) -> _File:
        if self._own is None:
            self._own = _read(self._path) if self._path is not None else _File(date="")
        return self._own


def _read(path: Path) -> _File:
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _File)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"the file of prices {path.name!r} cannot be read: {type(error).__name__}") from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise InvalidConfig(
            f"the file of prices {path.name!r}: {error}", hint="it has a date and [[models]]; see docs/sessions.md"
        ) from error
