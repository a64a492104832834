"""The paths that a model or client may write, and the patterns that find them.

A path is relative to its workspace, with `/` between the names. What another system would read as something else (a drive, a
share, a parent folder) is refused everywhere, so that a workspace means the same wherever it is copied to.

Rule: pure text. What a path leads to is decided where it is walked, name by name; nothing here makes a path safe to open.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator, Sequence
from typing import Final

from greenroom.errors import InvalidArgument
from greenroom.limits import PATH_BYTES_MAX, PATH_DEPTH_MAX, PATTERN_CHARACTERS_MAX

OWN_PREFIX: Final = ".greenroom-tmp-"
"""Names that begin so are ours, while a file is being written. They cannot be reached from outside."""

_NAME_BYTES_MAX: Final = 255
_SHOWN_CHARACTERS_MAX: Final = 100
_JOINERS: Final = str.maketrans("", "", "\u200c\u200d")
"""Invisible, but part of how names are spelled in Persian, in Indian scripts and in emoji."""
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_WINDOWS_RESERVED: Final = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\..*)?", re.IGNORECASE)
_WINDOWS_FORBIDDEN: Final = frozenset('<>:"|?*')


def parse_path(path: str, *, windows: bool = os.name == "nt") -> tuple[str, ...]:
    """Returns the names that a path consists of; none for the workspace itself (`""` or `"."`).

    Args:
        path: as a model or client wrote it.
        windows: whether the names must also be possible, and mean only themselves, on Windows.

    Raises:
        InvalidArgument: it is not a path within a workspace; says why, and what would be right.
    """
    shown = _shown(path)
    if path.startswith(("/", "\\")) or _DRIVE.match(path):
        raise InvalidArgument(
            f"{shown} is absolute", hint="paths are relative to the workspace, for example notes/plan.md"
        )
    if "\\" in path:
        raise InvalidArgument(f"{shown} contains a backslash", hint="write / between folders")
    if len(path.encode("utf-8", "surrogatepass")) > PATH_BYTES_MAX:
        raise InvalidArgument(f"the path {shown} is too long", hint=f"at most {PATH_BYTES_MAX} bytes")
    names = tuple(name for name in path.split("/") if name not in {"", "."})
    if len(names) > PATH_DEPTH_MAX:
        raise InvalidArgument(f"{shown} is {len(names)} levels deep", hint=f"at most {PATH_DEPTH_MAX}")
    for name in names:
        if (wrong := _wrong_name(name)) or (windows and (wrong := _wrong_on_windows(name))):
            raise InvalidArgument(f"{shown}: {wrong}", hint="use plain names, for example notes/plan.md")
    return names


def is_name(name: str) -> bool:
    """Returns whether a name that was found on disk can be part of a path."""
    return "/" not in name and "\\" not in name and not _wrong_name(name)


def printable(name: str) -> str:
    """Returns a name that was found on disk so that it fits on one line of UTF-8."""
    return name if is_name(name) else name.encode("unicode_escape").decode()


def join(names: Sequence[str]) -> str:
    """Returns the path that consists of `names`; `.` for the workspace itself."""
    return "/".join(names) or "."


class Glob:
    """A pattern for paths: `*` and `?` within a name, `[a-z]`, and `**` for any number of folders.

    A pattern without `/` is looked for in every folder. Matching takes time in proportion to pattern times path: no pattern
    makes it explode.
    """

    def __init__(self, pattern: str) -> None:
        """Reads the pattern.

        Raises:
            InvalidArgument: it is empty, too long, absolute or contains `..`.
        """
        if len(pattern) > PATTERN_CHARACTERS_MAX:
            raise InvalidArgument("the pattern is too long", hint=f"at most {PATTERN_CHARACTERS_MAX} characters")
        names = [name for name in pattern.split("/") if name not in {"", "."}]
        if not names or pattern.startswith("/") or ".." in names:
            raise InvalidArgument(
                f"{_shown(pattern)} is not a pattern for paths in the workspace", hint="for example *.py or src/**/*.py"
            )
        if "/" not in pattern:
            names = ["**", *names]
        # fnmatch writes atomic groups, so that a name with many stars is matched without backtracking.
        self._names = [None if name == "**" else re.compile(fnmatch.translate(name)).match for name in names]

    def matches(self, names: Sequence[str]) -> bool:
        """Returns whether the pattern describes the path that consists of `names`."""
        # All places of the pattern where the path so far may have led, as a finite automaton has them.
        places = set(self._reached(0))
        for name in names:
            places = {following for place in places for following in self._after(place, name)}
        return len(self._names) in places

    def _after(self, place: int, name: str) -> Iterator[int]:
        """Yields where `name` leads from a place of the pattern."""
        if place == len(self._names):
            return
        match = self._names[place]
        if match is None:
            yield from self._reached(place)
        elif match(name):
            yield from self._reached(place + 1)

    def _reached(self, place: int) -> Iterator[int]:
        """Yields a place, and those behind it that need no name: `**` may stand for no folder at all."""
        yield place
        while place < len(self._names) and self._names[place] is None:
            place += 1
            yield place


def _wrong_name(name: str) -> str:
    """Returns what is wrong with one name of a path, or an empty text."""
    if name == "..":
        return "'..' leads out of a folder"
    if not name.translate(_JOINERS).isprintable() or not name.strip():
        return "it contains characters that cannot be seen"
    if _DRIVE.match(name):
        return f"{name!r} begins like a drive"
    if len(os.fsencode(name)) > _NAME_BYTES_MAX:
        return f"a name in it is longer than {_NAME_BYTES_MAX} bytes"
    if name.casefold().startswith(OWN_PREFIX):
        return f"names that begin with {OWN_PREFIX} are reserved"
    return ""


def _wrong_on_windows(name: str) -> str:
    # Windows finds devices (NUL, COM1.txt), streams (a:b) and other files (`a.` is a) behind such names.
    if _WINDOWS_RESERVED.fullmatch(name.rstrip(" .")) or _WINDOWS_FORBIDDEN & set(name) or name[-1] in " .":
        return f"{name!r} means something else on Windows"
    return ""


def _shown(path: str) -> str:
    return repr(path if len(path) <= _SHOWN_CHARACTERS_MAX else f"{path[:_SHOWN_CHARACTERS_MAX]}...")
