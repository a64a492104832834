"""Names to implementations: the one module that knows concrete backends, toolsets, personas and stores.

Everything is made when it is first asked for: a user of one provider never pays for another.

Rule: a name is found in a table, given in code or by an entry point; it never becomes a module, an attribute or a path.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec

from greenroom.config import DEFAULT_BACKEND, DEFAULT_MODEL, ModelOverride, SessionConfig
from greenroom.errors import InvalidArgument, InvalidConfig, UnknownBackend, UnknownTool
from greenroom.interfaces import Backend, Persona, Store, Tool, ToolSource
from greenroom.logs import open_store
from greenroom.messages import Usage
from greenroom.personas.catalogue import ScannedPersonas
from greenroom.prices import PriceTable
from greenroom.runtime.foreign import foreign, trace_of
from greenroom.runtime.tasks import Expired, stoppable
from greenroom.settings import BackendKind, NamedBackend, Settings
from greenroom.toolsets.contained import Workspace
from greenroom.toolsets.function import Toolset

logger: Final = logging.getLogger("greenroom")

BackendFactory = Callable[[Settings], Backend]


class Catalog:
    """What exists in one manager: implements `greenroom.runtime.families.Families`.

    Args:
        settings: of the installation.
        backends: further backends by name, ready or as something that makes one; they win over the built-in ones.
        toolsets: further toolset classes or instances.
        personas: further personas.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        backends: Mapping[str, Backend | Callable[[], Backend]],
        toolsets: Sequence[type[Toolset] | ToolSource],
        personas: Sequence[Persona],
    ) -> None:
        if taken := sorted(name for name in settings.backends if name in _BACKENDS and name not in _CLOUDS):
            raise InvalidConfig(
                f"backends.{taken[0]}: this name is taken",
                hint=f"choose another; [{taken[0]}] sets the one that has it",
            )
        _check_models(settings)
        self.prices = PriceTable(settings.prices, kinds={name: named.kind for name, named in settings.backends.items()})
        self._settings = settings
        self._given_backends = dict(backends)
        self._backends: dict[str, Backend] = {}
        self._toolset_makers = _toolset_makers([*toolsets, *map(_imported, settings.toolsets)])
        self._toolsets: dict[str, ToolSource] = {}
        self._tools: dict[tuple[str, ...], Mapping[str, Tool]] = {}
        self._personas = ScannedPersonas(folders=[settings.personas_folder], extra=personas)
        self._found_backends: Mapping[str, EntryPoint] = {}
        self._found_toolsets: Mapping[str, EntryPoint] = {}

    def discover(self) -> None:
        """Looks for installed backends and toolsets. Reads files: not on an event loop."""
        self._found_backends = {found.name: found for found in entry_points(group="greenroom.backends")}
        self._found_toolsets = {found.name: found for found in entry_points(group="greenroom.toolsets")}

    def backend_names(self) -> Sequence[str]:
        """Returns the names of all backends."""
        return sorted({*_BACKENDS, *self._settings.backends, *self._given_backends, *self._found_backends})

    def toolset_names(self) -> Sequence[str]:
        """Returns the names of all toolsets."""
        return sorted({*self._toolset_makers, *self._found_toolsets})

    def toolset(self, name: str) -> ToolSource:
        """Returns the toolset.

        Raises:
            UnknownTool: there is none of that name; names those that exist.
        """
        if name not in self._toolsets:
            with foreign():
                self._toolsets[name] = self._made_toolset(name)
        return self._toolsets[name]

    async def personas(self) -> Sequence[Persona]:
        """Returns all personas by name."""
        return await asyncio.to_thread(self._personas.all)

    def backend(self, name: str) -> Backend:
        """Returns the backend.

        Raises:
            UnknownBackend: there is none of that name; names those that exist.
        """
        if name not in self._backends:
            with foreign():
                self._backends[name] = self._made_backend(name)
        return self._backends[name]

    def suggested_model(self, name: str) -> str | None:
        """Returns what a place that chooses for people asks a backend for; `None` where it has no model of its own.

        That is the backend's default, except at OpenAI: there the default is that of `create_session`, a model that ends.

        Raises:
            UnknownBackend: there is none of that name; names those that exist.
        """
        if name == DEFAULT_BACKEND and name not in self._given_backends:
            from greenroom.backends.model_facts import current_model
            from greenroom.backends.openai_client import address_of, is_openai_address

            if is_openai_address(address_of(self._settings.openai.base_url)):
                return current_model("openai")
        return self.backend(name).default_model

    def tools(self, names: Sequence[str]) -> Mapping[str, Tool]:
        """Returns the tools of these toolsets by tool name, in the order of the toolsets.

        Raises:
            UnknownTool: there is no toolset of a name; names those that exist.
            InvalidArgument: two toolsets have a tool of the same name.
        """
        key = tuple(names)
        if key not in self._tools:
            with foreign():
                self._tools[key] = self._collected(key)
        return self._tools[key]

    async def persona(self, name: str) -> Persona:
        """Returns the persona; looks into the user's folder, so a new or changed one is found.

        Raises:
            UnknownPersona: there is none of that name; names those that exist.
        """
        if (persona := self._personas.get_now(name)) is not None:
            return persona
        return await asyncio.to_thread(self._personas.get, name)

    def initial_config(self, persona: Persona, *, backend: str, model: str | None) -> SessionConfig:
        """Returns what a new session is set to where its creator names nothing.

        Args:
            persona: of the session.
            backend: who answers.
            model: the model that answers; `None` for the backend's default.

        Raises:
            UnknownBackend: there is none of that name; names those that exist.
        """
        return SessionConfig(
            backend=backend,
            llm_model=model or self.backend(backend).default_model or DEFAULT_MODEL,
            additional_tools=persona.tools,
            overlap=self._settings.overlap,
        )

    def check(self, config: SessionConfig) -> None:
        """Accepts a configuration whose backends and toolsets exist; personas are checked by looking them up.

        Raises:
            UnknownBackend, UnknownTool: one does not; the error names those that do.
            InvalidArgument: two of its toolsets have a tool of the same name.
        """
        self.backend(config.backend)
        self.tools(config.tools)
        for fallback in config.fallbacks:
            self.backend(fallback.partition(":")[0])

    async def priced(self, usage: Usage, *, backend: str, model: str) -> Usage:
        """Returns the usage with its cost, where the price of the model is known."""
        if usage.cost_usd is not None or usage == Usage():
            return usage
        # The first look-up loads the table of prices, which is slow: not on the event loop.
        cost_usd = await asyncio.to_thread(self.prices.cost_usd, usage, backend=backend, model=model)
        return msgspec.structs.replace(usage, cost_usd=cost_usd)

    async def check_prices(self, config: SessionConfig) -> None:
        """Accepts a configuration whose money budget can be kept: the price of every model that may answer is known.

        Raises:
            InvalidArgument: one is not known.
            InvalidConfig: the file of prices is wrong.
        """
        of_user = self._settings.user_budget
        if config.budget_usd is None and config.turn_budget_usd is None and (of_user is None or of_user.usd is None):
            return
        fallbacks = [fallback.partition(":")[::2] for fallback in config.fallbacks]
        for backend, model in ((config.backend, config.llm_model), *fallbacks):
            some = Usage(input_tokens=1000, output_tokens=1000)
            if await asyncio.to_thread(self.prices.cost_usd, some, backend=backend, model=model) is None:
                raise InvalidArgument(
                    f"a money budget cannot be kept: the price of {backend}:{model} is not known",
                    hint="add it to the file that `prices` names in greenroom.toml, or set a token budget instead",
                )

    def store(self) -> Store:
        """Returns the store that the settings name, not opened yet.

        Raises:
            InvalidConfig: the URL is not one of ours.
        """
        settings = self._settings
        if settings.store is None:
            # By its path: a home folder may have a name that no URL can carry as it is.
            from greenroom.logs.sqlite import SqliteStore

            return SqliteStore(settings.home / "greenroom.db", limits=settings.limits)
        return open_store(settings.store, limits=settings.limits)

    def workspace(self, folder: Path) -> Workspace:
        """Returns a session's folder, contained."""
        return Workspace(folder, limits=self._settings.limits)

    async def close_session(self, session_id: str) -> None:
        """Lets the toolsets go of what they hold for a session; one that fails or hangs is logged and delays no other."""
        for name, toolset in tuple(self._toolsets.items()):
            await self._closed(name, _of_session(toolset, session_id))

    async def close(self) -> None:
        """Closes all backends and toolsets that were used; one that fails or hangs is logged and delays no other. Idempotent."""
        backends, self._backends = self._backends, {}
        toolsets, self._toolsets, self._tools = self._toolsets, {}, {}
        everything: list[tuple[str, Backend | ToolSource]] = [*backends.items(), *toolsets.items()]
        for name, closable in everything:
            await self._closed(name, _whole(closable))

    async def _closed(self, name: str, closing: Coroutine[None, None, None]) -> None:
        limits = self._settings.limits
        try:
            await stoppable(closing, name=f"closing {name}", timeout_s=limits.close_s_max, grace_s=limits.stop_s_max)
        except Expired:
            logger.warning("closing %s took longer than %g s and was stopped", name, limits.close_s_max)
        except Exception as error:  # noqa: BLE001 # broad: foreign code; its failure to let go must not keep others from it
            logger.warning("closing %s failed\n%s", name, trace_of(error))

    def _made_backend(self, name: str) -> Backend:
        if (given := self._given_backends.get(name)) is not None:
            return given() if callable(given) else given
        if (named := self._settings.backends.get(name)) is not None:
            return _named(name, named, self._settings)
        if (make := _BACKENDS.get(name)) is not None:
            return make(self._settings)
        if (found := self._found_backends.get(name)) is not None:
            backend: Backend = found.load()()
            return backend
        raise UnknownBackend(f"unknown backend {name!r}", hint=f"the backends are {', '.join(self.backend_names())}")

    def _made_toolset(self, name: str) -> ToolSource:
        if (make := self._toolset_makers.get(name)) is not None:
            return make()
        if (found := self._found_toolsets.get(name)) is not None:
            toolset: ToolSource = found.load()()
            return toolset
        raise UnknownTool(f"unknown toolset {name!r}", hint=f"the toolsets are {', '.join(self.toolset_names())}")

    def _collected(self, names: Sequence[str]) -> Mapping[str, Tool]:
        tools: dict[str, Tool] = {}
        owners: dict[str, str] = {}
        for name in names:
            for tool in self.toolset(name).tools():
                tool_name = tool.spec.name
                if tool_name in tools:
                    raise InvalidArgument(
                        f"{owners[tool_name]} and {name} both have a tool {tool_name!r}",
                        hint="rename the tools of one with greenroom.toolsets.compose.prefixed",
                    )
                tools[tool_name], owners[tool_name] = tool, name
        return tools


async def _of_session(toolset: ToolSource, session_id: str) -> None:
    await toolset.close_session(session_id)


async def _whole(closable: Backend | ToolSource) -> None:
    await closable.close()


def _check_models(settings: Settings) -> None:
    """Accepts what the settings say of models, if their backends can make use of it.

    Raises:
        InvalidConfig: there is no such backend, or it has no such trait.
    """
    for key, override in settings.models.items():
        name = key.partition(":")[0]
        kind = named.kind if (named := settings.backends.get(name)) is not None else name
        known = _TRAITS.get(kind)
        if known is None:
            hint = f"the backends are {', '.join(sorted({*_TRAITS, *settings.backends}))}"
            raise InvalidConfig(
                f"models.{key!r}: there is no backend {name!r} whose models could be described", hint=hint
            )
        given = {trait for trait in override.__struct_fields__ if getattr(override, trait) is not None}
        if unknown := sorted(given - known):
            hint = f"for models of {name} there are {', '.join(sorted(known))}"
            raise InvalidConfig(f"models.{key!r}: {', '.join(unknown)} cannot be set for Claude's dialect", hint=hint)


def _openai(settings: Settings) -> Backend:
    from greenroom.backends.openai import OpenAIBackend

    openai, models = settings.openai, settings.models_of("openai")
    return OpenAIBackend(api_key=openai.api_key, base_url=openai.base_url, models=models, limits=settings.limits)


def _openai_responses(settings: Settings) -> Backend:
    from greenroom.backends.openai_responses import OpenAIResponsesBackend

    # The same account and address as Chat Completions: another way to ask the same provider.
    openai, models = settings.openai, settings.models_of("openai-responses")
    return OpenAIResponsesBackend(
        api_key=openai.api_key, base_url=openai.base_url, models=models, limits=settings.limits
    )


def _claude(settings: Settings) -> Backend:
    from greenroom.backends.claude import ClaudeBackend

    claude, models = settings.claude, settings.models_of("claude")
    return ClaudeBackend(api_key=claude.api_key, base_url=claude.base_url, models=models, limits=settings.limits)


def _local(settings: Settings) -> Backend:
    from greenroom.backends.local import LocalBackend
    from greenroom.backends.openai import OpenAIBackend

    def speaking_to(base_url: str, api_key: str) -> Backend:
        models = settings.models_of("local")
        return OpenAIBackend(api_key=api_key, base_url=base_url, models=models, limits=settings.limits)

    return LocalBackend(speaking_to, home=settings.home, model_path=settings.local_model)


def _ollama(settings: Settings) -> Backend:
    from greenroom.backends.ollama import ollama_url
    from greenroom.backends.openai import OpenAIBackend

    # Ollama wants no key; the wire wants one.
    models = settings.models_of("ollama")
    return OpenAIBackend(
        api_key="ollama", base_url=f"{ollama_url()}/v1", model=None, models=models, limits=settings.limits
    )


def _cloud(kind: BackendKind) -> BackendFactory:
    return lambda settings: _named(kind, NamedBackend(kind=kind), settings)


def _named(name: str, named: NamedBackend, settings: Settings) -> Backend:
    from greenroom.backends.claude import ClaudeBackend
    from greenroom.backends.clouds import CloudOptions
    from greenroom.backends.openai import OpenAIBackend
    from greenroom.backends.openai_responses import OpenAIResponsesBackend

    common: dict[str, Any] = {"model": named.model, "models": settings.models_of(name), "limits": settings.limits}
    options = CloudOptions(**{field: getattr(named, field) for field in CloudOptions.__struct_fields__})
    match named.kind:
        case "openai":
            return OpenAIBackend(api_key=named.api_key, base_url=named.base_url, **common)
        case "openai-responses":
            return OpenAIResponsesBackend(api_key=named.api_key, base_url=named.base_url, **common)
        case "claude":
            return ClaudeBackend(api_key=named.api_key, base_url=named.base_url, **common)
        case "azure":
            return OpenAIBackend(cloud=options, **common)
        case "azure-responses":
            return OpenAIResponsesBackend(cloud=options, **common)
        case "bedrock" | "vertex":
            return ClaudeBackend(cloud=named.kind, cloud_options=options, **common)


def _scripted(_: Settings) -> Backend:
    from greenroom.backends.scripted import ScriptedBackend

    return ScriptedBackend()


_BACKENDS: Final[Mapping[str, BackendFactory]] = {
    "openai": _openai,
    "openai-responses": _openai_responses,
    "claude": _claude,
    "local": _local,
    "ollama": _ollama,
    "azure": _cloud("azure"),
    "azure-responses": _cloud("azure-responses"),
    "bedrock": _cloud("bedrock"),
    "vertex": _cloud("vertex"),
    "scripted": _scripted,
}
_OPENAI_TRAITS: Final = frozenset(ModelOverride.__struct_fields__)
_CLAUDE_TRAITS: Final = frozenset({"like", "efforts"})
_TRAITS: Final[Mapping[str, frozenset[str]]] = {
    name: _CLAUDE_TRAITS if name in {"claude", "bedrock", "vertex"} else _OPENAI_TRAITS
    for name in _BACKENDS
    if name != "scripted"
}
"""What can be said of the models of each kind of backend."""
_CLOUDS: Final = frozenset({"azure", "azure-responses", "bedrock", "vertex"})
"""They are set by tables of their own name."""


def _toolset_makers(given: Sequence[type[Toolset] | ToolSource]) -> Mapping[str, Callable[[], ToolSource]]:
    from greenroom.toolsets.memory import MemoryTools
    from greenroom.toolsets.preference import PreferenceTools
    from greenroom.toolsets.random_number import RandomNumberTools
    from greenroom.toolsets.workspace import WorkspaceTools

    makers: dict[str, Callable[[], ToolSource]] = {
        kind.__name__: kind for kind in (MemoryTools, WorkspaceTools, PreferenceTools, RandomNumberTools)
    }
    for toolset in given:
        if not (hasattr(toolset, "name") and hasattr(toolset, "tools")):
            raise InvalidConfig(
                f"toolsets: {toolset!r} is no toolset",
                hint="give a subclass of greenroom.Toolset, or an instance of one; sessions ask for it by its name",
            )
        if isinstance(toolset, type):
            makers[toolset.__name__] = toolset
        else:
            makers[toolset.name] = partial(_itself, toolset)
    return makers


def _itself(toolset: ToolSource) -> ToolSource:
    return toolset


def _imported(entry: str) -> type[Toolset]:
    """Returns the toolset class that `module:Class` or `/folder/file.py:Class` names.

    Raises:
        InvalidConfig: it cannot be imported, for whatever reason its module has, or is no toolset.
    """
    place, _, class_name = entry.rpartition(":")
    try:
        with foreign():  # a script may end the process when it is imported
            module = _module_at(Path(place)) if place.endswith(".py") else importlib.import_module(place)
            kind = getattr(module, class_name)
    except Exception as error:  # broad: the module is foreign code; whatever it raises is told to the user who named it
        why = str(error) if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"
        raise InvalidConfig(
            f"toolsets: {entry!r} cannot be imported: {why}",
            hint="write module:Class or file.py:Class; a module is looked for beside the configuration file and on Python's path",
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, Toolset)):
        raise InvalidConfig(
            f"toolsets: {entry!r} is not a subclass of greenroom.Toolset",
            hint="derive it from greenroom.Toolset, and mark its tools with @tool",
        )
    return kind


def _module_at(file: Path) -> ModuleType:
    """Imports a file under the name that it has from its topmost package, as if Python had been started beside that."""
    name, folder = ("" if file.name == "__init__.py" else file.stem), file.parent
    while (folder / "__init__.py").is_file():
        name, folder = f"{folder.name}.{name}".rstrip("."), folder.parent
    if not file.is_file():
        raise ImportError(f"there is no file {file}")
    # First while it is imported, so that it finds its neighbours; last from then on, so that they hide no other modules.
    sys.path.insert(0, str(folder))
    try:
        module = importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
    if (found := getattr(module, "__file__", None)) is None or not Path(found).samefile(file):
        raise ImportError(f"there is another module {name!r}, from {found}: rename the file")
    return module
