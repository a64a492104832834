"""A store by its URL.

Rule: making a store does nothing yet; `open` does.
"""

from __future__ import annotations

from typing import Final

from greenroom.errors import InvalidConfig, NotSupported
from greenroom.interfaces import Store
from greenroom.limits import DEFAULT_LIMITS, Limits

_FORMS: Final = "memory://, sqlite:///relative/path.db or sqlite:////absolute/path.db"


def open_store(url: str, *, limits: Limits = DEFAULT_LIMITS) -> Store:
    """Returns the store that `url` names, ready for `await store.open()`.

    As in SQLAlchemy, three slashes begin a path relative to the working folder and four an absolute one.

    Raises:
        InvalidConfig: the URL is not one of a store; names the forms that are.
        NotSupported: a kind of store that this version does not have.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise InvalidConfig(f"{url[:200]!r} is not the URL of a store", hint=f"write {_FORMS}")
    match scheme:
        case "memory":
            if rest:
                raise InvalidConfig("memory:// takes nothing behind it", hint=f"write {_FORMS}")
            from greenroom.logs.memory import MemoryStore

            return MemoryStore(limits=limits)
        case "sqlite":
            path = _path(rest)
            from greenroom.logs.sqlite import SqliteStore

            return SqliteStore(path, limits=limits)
        case "postgresql" | "postgres":
            raise NotSupported("PostgreSQL stores are not supported yet", hint=f"until then: {_FORMS}")
        case _:
            raise InvalidConfig(f"unknown kind of store {scheme[:40]!r}", hint=f"write {_FORMS}")


def _path(rest: str) -> str:
    host, slash, path = rest.partition("/")
    if host or not slash or not path or path == ":memory:" or "?" in path:
        raise InvalidConfig(
            f"sqlite://{rest[:200]} names no database file",
            hint=f"write {_FORMS}, without host and options; memory:// keeps nothing on disk",
        )
    return path
