"""Where an installation's settings come from: a file, then the environment, then arguments; the later wins.

Paths in a file, the store's among them, are relative to the file; those of the environment and of arguments, to the working folder.

Rule: a key exists here or nowhere. An unknown one is an error that names those that exist; nothing is ignored.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from greenroom.config import ModelOverride, Overlap, UserBudget
from greenroom.errors import InvalidConfig
from greenroom.limits import Limits
from greenroom.trust import UntrustedConfig, is_trusted, needing_trust

FILE_NAME: Final = "greenroom.toml"

BackendName = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
"""A name without a colon: fallbacks are written `backend:model`."""

ModelKey = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]{0,63}:[^\s].{0,255}$")]
"""`backend:model`, as fallbacks are written."""

LogLevel = Literal["debug", "info", "warning", "error"]


class BackendSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a provider is reached; what is left out is taken from the variables that its SDK reads."""

    api_key: str | None = None
    base_url: str | None = None


class ApiKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A secret that stands for a user."""

    key: Annotated[str, msgspec.Meta(min_length=16)]
    user: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class JwtSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which JSON Web Tokens are accepted; `sub` is the user.

    Attributes:
        issuer, audience: what `iss` and `aud` have to be.
        algorithms: HS256, HS384, HS512 with a `secret`; RS*, ES*, PS* and EdDSA with a key.
        secret: shared with whoever makes the tokens; at least 32 bytes.
        public_key: in PEM.
        jwks_url: where the issuer publishes its keys.
        leeway_s: how wrong clocks may be.
        types: what `typ` may say; a token that says nothing counts as a `JWT`.
    """

    issuer: str
    audience: str
    types: tuple[str, ...] = ("JWT", "at+jwt")
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    secret: str | None = None
    public_key: str | None = None
    jwks_url: str | None = None
    leeway_s: float = 30.0


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may talk to the server.

    Attributes:
        access_log: write a line for each request.
        api_keys: secrets and whose they are.
        jwt: which signed tokens are accepted.
        hosts: names, beside its own, under which the server is reached, for example behind a proxy; `*` for any.
        origins: of pages, beside its own, that may call it from a browser, for example `https://app.example.com`.
        trusted_proxies: addresses or networks of proxies whose word about where a request comes from (X-Forwarded-For, Forwarded)
            is believed, for example `127.0.0.1` or `10.0.0.0/8`.
    """

    api_keys: tuple[ApiKey, ...] = ()
    jwt: JwtSettings | None = None
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    access_log: bool = True


BackendKind = Literal["openai", "openai-responses", "claude", "azure", "azure-responses", "bedrock", "vertex"]
"""Ways to reach a provider: a server of a dialect, or a cloud that serves it."""


class NamedBackend(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A backend that the installation names: a second server of a dialect, or a cloud.

    Attributes:
        kind: how it is reached.
        model: its default model.
        api_key, base_url, region, project, profile, api_version: what is left out is taken from the environment.
    """

    kind: BackendKind
    model: str | None = None
    api_key: str | None = None
    base_url: str | None = None
    region: str | None = None
    project: str | None = None
    profile: str | None = None
    api_version: str | None = None

    def __post_init__(self) -> None:
        """Refuses what this kind does not know.

        Raises:
            ValueError: a setting of another kind.
        """
        known = KIND_SETTINGS[self.kind]
        given = {name for name in self.__struct_fields__ if getattr(self, name) is not None}
        if unknown := sorted(given - known - {"kind", "model"}):
            raise ValueError(f"{self.kind} has no {', '.join(unknown)}: it takes {', '.join(sorted(known))}")


KIND_SETTINGS: Final[dict[BackendKind, frozenset[str]]] = {
    "openai": frozenset({"api_key", "base_url"}),
    "openai-responses": frozenset({"api_key", "base_url"}),
    "claude": frozenset({"api_key", "base_url"}),
    "azure": frozenset({"api_key", "base_url", "api_version"}),
    "azure-responses": frozenset({"api_key", "base_url", "api_version"}),
    "bedrock": frozenset({"api_key", "base_url", "region", "profile"}),
    "vertex": frozenset({"api_key", "base_url", "region", "project"}),
}
"""What each kind takes beside `kind` and `model`."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One installation.

    Attributes:
        home: folder of the database, the workspaces, the personas and the models.
        store: URL of the store; `None` for the database in `home`.
        port: where the server listens; 0 for any that is free, `None` for 8765 or, where that is taken, the next that is free.
        default_backend, default_model: what the command line takes when nobody says anything; `None` looks for what is usable.
        local_model: a GGUF file for the backend `local`; `None` for the embedded model.
        personas: folder of the user's personas; `None` for `personas` in `home`.
        overlap: what new sessions do with a message that arrives while they answer.
        prices: a file of prices that go before the shipped ones.
        user_budget: what each user may use; `None` bounds nothing.
        toolsets: toolset classes to import, each as `module:Class` or `file.py:Class`. A module that lies beside the configuration
            file is found there.
        backends: further backends by their names.
        models: what models are like whose names do not tell, by `backend:model`.
    """

    home: Path
    store: str | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] | None = None
    token: str | None = None
    log_level: LogLevel = "warning"
    default_backend: str | None = None
    default_model: str | None = None
    local_model: Path | None = None
    personas: Path | None = None
    toolsets: tuple[str, ...] = ()
    overlap: Overlap = "enqueue"
    prices: Path | None = None
    user_budget: UserBudget | None = None
    openai: BackendSettings = BackendSettings()
    claude: BackendSettings = BackendSettings()
    backends: dict[BackendName, NamedBackend] = {}
    models: dict[ModelKey, ModelOverride] = {}
    limits: Limits = Limits()
    server: ServerSettings = ServerSettings()

    @property
    def store_url(self) -> str:
        """The store, named or default."""
        return self.store or f"sqlite:///{self.home / 'greenroom.db'}"

    def models_of(self, backend: str) -> dict[str, ModelOverride]:
        """Returns what is said of the models of a backend, by their names."""
        keys = {key: key.partition(":") for key in self.models}
        return {model: self.models[key] for key, (name, _, model) in keys.items() if name == backend}

    @property
    def personas_folder(self) -> Path:
        """Where the user's personas are looked for."""
        return self.personas or self.home / "personas"


_VARIABLES: Final = {
    "GREENROOM_HOME": "home",
    "GREENROOM_STORE": "store",
    "GREENROOM_HOST": "host",
    "GREENROOM_PORT": "port",
    "GREENROOM_TOKEN": "token",
    "GREENROOM_LOG_LEVEL": "log_level",
    "GREENROOM_LOCAL_MODEL": "local_model",
    "GREENROOM_PRICES": "prices",
}


_TABLES: Final[dict[str, type[msgspec.Struct]]] = {
    "openai": BackendSettings,
    "claude": BackendSettings,
    "backends": NamedBackend,
    "models": ModelOverride,
    "limits": Limits,
    "user_budget": UserBudget,
    "server.jwt": JwtSettings,
    "server.api_keys": ApiKey,
    "server": ServerSettings,
}


def default_home() -> Path:
    """Returns the platform's folder for a user's data."""
    import platformdirs

    return Path(platformdirs.user_data_dir("greenroom", appauthor=False))


def load_settings(
    *,
    file: str | Path | Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> Settings:
    """Returns the settings of this installation.

    Args:
        file: a configuration file, or its contents; `None` for `configuration_file`.
        environment: `None` for the process's.
        arguments: what was given by hand; `None` values are left out.

    Raises:
        InvalidConfig: the file cannot be read, is not TOML, or has a key or value that does not exist.
        UntrustedConfig: the file was found in the working folder, sets what needs trust, and is not trusted yet.
    """
    environment = os.environ if environment is None else environment
    if isinstance(file, Mapping):
        in_file = dict(file)
    elif (path := Path(file) if file is not None else configuration_file(environment)) is not None:
        in_file = read_file(path)
    else:
        in_file, path = {}, None
    values = dict(in_file)
    if not isinstance(file, Mapping) and path is not None:
        _place_beside(values, path)
    values |= {name: environment[variable] for variable, name in _VARIABLES.items() if environment.get(variable)}
    values |= {name: value for name, value in (arguments or {}).items() if value is not None}
    home = values.get("home")
    values["home"] = str(Path(home).expanduser().absolute() if home else default_home())
    for name in _PATHS:
        if isinstance(values.get(name), str | Path):
            values[name] = str(Path(values[name]).expanduser().absolute())
    _check_names(values)
    try:
        # Not strict: what comes from the environment is text, a port among it.
        settings = msgspec.convert(values, Settings, strict=False, dec_hook=_decoded)
    except msgspec.ValidationError as error:
        message = _with_entry(str(error), values)
        raise InvalidConfig(f"configuration: {message}", hint=f"the keys are {', '.join(_keys(message))}") from error
    if file is None and path is not None and not environment.get("GREENROOM_CONFIG"):
        needs = needing_trust(in_file)
        if needs and not is_trusted(path, needs, users_home(environment)):
            raise UntrustedConfig(path.absolute(), needs)
    return settings


def configuration_file(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Returns the file that is read where none is named: `$GREENROOM_CONFIG`, else `greenroom.toml` in the working folder."""
    if named := environment.get("GREENROOM_CONFIG"):
        return Path(named)
    here = Path(FILE_NAME)
    return here if here.is_file() else None


def users_home(environment: Mapping[str, str] = os.environ) -> Path:
    """Returns the home folder that the user chose: the environment's, else the platform's; never one that a file names."""
    named = environment.get("GREENROOM_HOME")
    return Path(named).expanduser().absolute() if named else default_home()


def read_file(path: Path) -> dict[str, Any]:
    """Returns what a configuration file sets.

    Raises:
        InvalidConfig: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"the configuration file {path.name!r} cannot be read: {type(error).__name__}") from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfig(f"the configuration file {path.name!r} is not TOML: {error}") from error


_PATHS: Final = ("personas", "local_model", "prices")
_RELATIVE_STORE: Final = re.compile(r"sqlite:///(?!:memory:$)([^/?][^?]*)")


def _place_beside(values: dict[str, Any], path: Path) -> None:
    """Makes what a file says of places independent of the working folder."""
    folder = path.absolute().parent
    for name in ("home", *_PATHS):
        if isinstance(values.get(name), str):
            values[name] = str(folder / Path(values[name]).expanduser())
    if isinstance(store := values.get("store"), str) and (relative := _RELATIVE_STORE.fullmatch(store)):
        values["store"] = f"sqlite:///{folder / relative[1]}"
    if isinstance(toolsets := values.get("toolsets"), list):
        values["toolsets"] = [_found_beside(entry, folder) for entry in toolsets]


def _found_beside(entry: object, folder: Path) -> object:
    """Returns a toolset's entry as `/folder/file.py:Class`, if its module lies in the folder; else as it is."""
    if not isinstance(entry, str):
        return entry  # refused later, by its type
    module, _, name = entry.rpartition(":")
    if module.endswith(".py"):
        return f"{folder / Path(module).expanduser()}:{name}"
    place = folder.joinpath(*module.split("."))
    for file in (place.with_name(f"{place.name}.py"), place / "__init__.py"):
        if module and file.is_file():
            return f"{file}:{name}"
    return entry


def _decoded(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(kind)


def _check_names(values: Mapping[str, Any]) -> None:
    """Accepts the names of the tables of models and of backends, which are a person's own.

    Raises:
        InvalidConfig: one of them cannot be one; says which, and what would be right.
    """
    for table, kind, right in (
        ("models", ModelKey, 'write the backend, a colon and the model: [models."openai:{name}"]'),
        (
            "backends",
            BackendName,
            "a lower-case letter, then up to 63 lower-case letters, digits, `_` and `-`: [backends.my-server]",
        ),
    ):
        entries = values.get(table)
        for name in entries if isinstance(entries, Mapping) else ():
            try:
                msgspec.convert(name, kind)
            except msgspec.ValidationError as error:
                shown = str(name)[:80]
                what = "`backend:model`" if table == "models" else "the name of a backend"
                raise InvalidConfig(
                    f'configuration: [{table}."{shown}"] is not {what}',
                    hint=right.format(name=shown.strip().strip(":") or "gpt-6.1-sol"),
                ) from error


def _with_entry(message: str, values: Mapping[str, Any]) -> str:
    """Returns a message with the name of the entry that it is about, which msgspec leaves out."""
    for table, kind in (("models", ModelOverride), ("backends", NamedBackend)):
        if f"`$.{table}[...]" in message:
            for name, entry in values[table].items():
                try:
                    msgspec.convert(entry, kind, strict=False)
                except msgspec.ValidationError:
                    return message.replace("[...]", f'."{name[:80]}"', 1)
    return message


def _keys(message: str) -> list[str]:
    """Returns the keys of the table that the message is about."""
    table: type[msgspec.Struct] = next((kind for name, kind in _TABLES.items() if f"`$.{name}" in message), Settings)
    return sorted(field.name for field in msgspec.structs.fields(table))
