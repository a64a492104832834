"""The personas that there are: those that come with Greenroom, those in the user's folders, and those given in code.

A folder is read when somebody asks, and again when something in it has changed, so a new or edited file counts at once. Of two
personas with the same name the more deliberate one counts: code before folders, a later folder before an earlier one, any
folder before what is shipped.

A file that cannot be used takes nothing else with it. It is reported by `problems`, and whoever asks for that persona is told
what is wrong; a shipped one of the same name does not quietly take its place.

Rule: a name is looked up in what was found, and never becomes a path.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from greenroom.config import parse_patch
from greenroom.errors import GreenroomError, InvalidConfig, UnknownPersona
from greenroom.interfaces import Persona
from greenroom.limits import DEFAULT_LIMITS, PERSONA_FILES_MAX
from greenroom.personas.front_matter import Value, split_front_matter

_SHIPPED: Final = Path(__file__).parent
_SUFFIX: Final = ".md"
_NAME_CHARACTERS_MAX: Final = 128
_NAMES_SHOWN: Final = 40
_BYTES_MAX: Final = DEFAULT_LIMITS.prompt_bytes_max
_NOW_FILES_MAX: Final = 16
"""Files of one folder that may be looked at (not into) while somebody waits: two microseconds each."""
_KEYS: Final = ("name", "description", "model", "llm_model", "backend", "tools")

_State = tuple[tuple[str, int, int, int], ...]
"""Name, size, and times of change of the files of a folder: when it is the same, so are they."""


class PersonaProblem(msgspec.Struct, frozen=True, kw_only=True):
    """A file or folder that cannot be used.

    Attributes:
        path: where it is; for the operator's eyes only.
    """

    path: str
    text: str


class _Broken(msgspec.Struct, frozen=True, kw_only=True):
    """A file of which no persona could be made. `name` is what it is asked for by."""

    name: str
    path: Path
    error: GreenroomError


class _Folder(msgspec.Struct, frozen=True, kw_only=True):
    """A folder as it was read.

    Attributes:
        error: why it could not be read as a whole, or an empty text.
    """

    state: _State
    found: tuple[Persona | _Broken, ...] = ()
    error: str = ""


class ScannedPersonas:
    """The catalogue. May be asked from several threads; looking at the folders blocks for some ten microseconds."""

    def __init__(self, folders: Sequence[Path] = (), extra: Sequence[Persona] = ()) -> None:
        """Names the folders; none is read yet, and none has to exist.

        Args:
            folders: with Markdown files, each a persona.
            extra: further personas; they count before all others.

        Raises:
            InvalidConfig: one of `extra` is not usable.
        """
        self._folders = (_SHIPPED, *folders)
        self._read: Mapping[Path, _Folder] = {}
        self._known: Mapping[str, Persona | _Broken] = {}
        self._extra = {persona.name: _checked(persona) for persona in extra}
        if len(self._extra) < len(extra):
            raise InvalidConfig("two personas have the same name", hint="rename one of them")

    def get(self, name: str) -> Persona:
        """Returns the persona.

        Raises:
            UnknownPersona: no such persona; names those that exist.
            InvalidConfig: there is a file for it, and something is wrong with it.
        """
        everything = self._everything()
        match everything.get(name):
            case Persona() as persona:
                return persona
            case _Broken(path=path, error=error):
                # The name of the file, not its place: the message may reach a client.
                raise InvalidConfig(
                    f"persona {name!r} cannot be used: {path.name}: {error.message}", hint=error.hint
                ) from error
            case None:
                raise UnknownPersona(f"unknown persona {str(name)[:80]!r}", hint=_alternatives(everything))

    def get_now(self, name: str) -> Persona | None:
        """Returns the persona if no file has changed since the folders were read, else `None`: then `get` knows.

        As true as `get`, and quick enough for an event loop: it reads no file, and folders with many files it leaves to `get`.
        """
        for path, folder in self._read.items():
            if path != _SHIPPED and (folder.error or len(folder.state) > _NOW_FILES_MAX or not _is_same(path, folder)):
                return None
        known = self._known.get(name)
        return known if isinstance(known, Persona) else None

    def all(self) -> Sequence[Persona]:
        """Returns all usable personas by name."""
        everything = self._everything()
        return [persona for _, persona in sorted(everything.items()) if isinstance(persona, Persona)]

    def problems(self) -> Sequence[PersonaProblem]:
        """Returns what cannot be used in the folders, and why."""
        self._everything()
        problems: list[PersonaProblem] = []
        for path, folder in self._read.items():
            if folder.error:
                problems.append(PersonaProblem(path=str(path), text=folder.error))
            broken = (entry for entry in folder.found if isinstance(entry, _Broken))
            problems.extend(PersonaProblem(path=str(entry.path), text=str(entry.error)) for entry in broken)
        return problems

    def _everything(self) -> Mapping[str, Persona | _Broken]:
        # Replaced as a whole, so that another thread sees either the old or the new state.
        self._read = read = {folder: _looked_at(folder, self._read.get(folder)) for folder in self._folders}
        found = {entry.name: entry for folder in read.values() for entry in folder.found}
        self._known = known = {**found, **self._extra}
        return known


def _looked_at(path: Path, before: _Folder | None) -> _Folder:
    """Returns the folder as it is now; read anew only if something has changed."""
    if before is not None and path == _SHIPPED:
        return before
    try:
        files = sorted(_files(path))
        state = tuple(_state(path, name) for name in files)
    except FileNotFoundError:
        return _Folder(state=())
    except OSError as error:
        return _Folder(state=(), error=f"the folder cannot be read: {error.strerror}")
    if before is not None and before.state == state and state:
        return before
    left_out = len(files) - PERSONA_FILES_MAX
    return _Folder(
        state=state,
        found=tuple(_found(path, files[:PERSONA_FILES_MAX])),
        error=f"{left_out} files too many: only the first {PERSONA_FILES_MAX} are looked at" if left_out > 0 else "",
    )


def _is_same(path: Path, folder: _Folder) -> bool:
    try:
        return folder.state == tuple(_state(path, name) for name in sorted(_files(path)))
    except FileNotFoundError:
        return not folder.state
    except OSError:
        return False


def _files(path: Path) -> Iterator[str]:
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.casefold().endswith(_SUFFIX) and not entry.name.startswith("."):
                yield entry.name


def _state(folder: Path, name: str) -> tuple[str, int, int, int]:
    try:
        found = (folder / name).stat()
    except OSError:  # a link to nowhere is found out about when it is read
        return name, 0, 0, 0
    return name, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _found(folder: Path, files: Sequence[str]) -> Iterator[Persona | _Broken]:
    seen: dict[str, str] = {}
    for file in files:
        path = folder / file
        stem = file[: -len(_SUFFIX)]
        name = stem
        try:
            values, text = split_front_matter(_content(folder, path))
            given = values.get("name")
            name = given if isinstance(given, str) else stem
            persona = _persona(values, text, stem)
            if name in seen:
                raise InvalidConfig(f"{seen[name]} is the persona {name!r} already", hint="give one another name")
        except GreenroomError as error:
            # The first file of a name keeps it; a second one is known by its own.
            yield _Broken(name=stem if name in seen else name, path=path, error=error)
        else:
            yield persona
        seen.setdefault(name, file)


def _content(folder: Path, path: Path) -> str:
    """Returns the text of a file.

    Raises:
        InvalidConfig: it is not a text file of a bearable size in this folder.
    """
    try:
        target = path.resolve(strict=True)
        if not target.is_relative_to(folder.resolve()):
            raise InvalidConfig("it is a link that leads out of the folder", hint="copy the file instead")
        if not stat.S_ISREG(target.stat().st_mode):
            raise InvalidConfig("it is not a regular file")
        with target.open("rb") as file:
            content = file.read(_BYTES_MAX + 1)
    except (OSError, RuntimeError) as error:  # RuntimeError: a circle of links, on Python 3.12 and before
        raise InvalidConfig(
            f"it cannot be read: {getattr(error, 'strerror', None) or 'links lead in a circle'}"
        ) from error
    if len(content) > _BYTES_MAX:
        raise InvalidConfig("it is too large", hint=f"a persona has at most {_BYTES_MAX // 1024} KiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidConfig(f"byte {error.start + 1} is not UTF-8", hint="save the file as UTF-8") from error
    return text.replace("\r\n", "\n")


def _persona(values: Mapping[str, Value], text: str, stem: str) -> Persona:
    """Returns the persona of a file.

    Raises:
        InvalidConfig: a value is unknown or wrong.
    """
    if unknown := sorted(set(values) - set(_KEYS)):
        raise InvalidConfig(f"unknown key {', '.join(map(repr, unknown))}", hint=f"the keys are {', '.join(_KEYS)}")
    if "model" in values and "llm_model" in values:
        raise InvalidConfig("model and llm_model are the same: both are given", hint="keep one of them")
    texts: dict[str, str] = {}
    for key, value in values.items():
        if key != "tools":
            if not isinstance(value, str):
                raise InvalidConfig(f"{key} is a list", hint=f"write {key}: text")
            texts[key] = value
    tools = values.get("tools", ())
    return _checked(
        Persona(
            name=texts.get("name", stem),
            text=text.strip(),
            description=texts.get("description", ""),
            llm_model=texts.get("model") or texts.get("llm_model"),
            backend=texts.get("backend"),
            tools=(tools,) if isinstance(tools, str) else tools,
        )
    )


def _checked(persona: Persona) -> Persona:
    """Returns the persona if a session can be made with it.

    Raises:
        InvalidConfig: it cannot.
    """
    name = persona.name
    if not (0 < len(name) <= _NAME_CHARACTERS_MAX and name.isprintable() and name == name.strip()):
        raise InvalidConfig(
            f"{name[:80]!r} cannot be the name of a persona", hint=f"1 to {_NAME_CHARACTERS_MAX} printable characters"
        )
    if not persona.text.strip():
        raise InvalidConfig(f"persona {name!r} has no text", hint="say who the agent is, below the front matter")
    if len(persona.text.encode("utf-8", "replace")) > _BYTES_MAX:
        raise InvalidConfig(f"the text of persona {name!r} is too long", hint=f"at most {_BYTES_MAX // 1024} KiB")
    defaults = {"llm_model": persona.llm_model, "backend": persona.backend, "additional_tools": persona.tools}
    try:
        parse_patch({setting: value for setting, value in defaults.items() if value is not None})
    except GreenroomError as error:
        raise InvalidConfig(f"persona {name!r}: {error.message}", hint=error.hint) from error
    return persona


def _alternatives(everything: Mapping[str, Persona | _Broken]) -> str:
    names = sorted(name for name, entry in everything.items() if isinstance(entry, Persona))
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return f"the personas are {', '.join(names[:_NAMES_SHOWN])}{more}"
