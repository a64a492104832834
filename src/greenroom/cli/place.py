"""Where a command works: home, store and configuration as they were named, and the manager over them.

Rule: the settings are read once for a command, and everything in it sees the same ones.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from greenroom.errors import InvalidConfig
from greenroom.settings import LogLevel, Settings, load_settings

if TYPE_CHECKING:
    from greenroom.manager import AgentManager

T = TypeVar("T")

LOG_LEVELS: Final[tuple[LogLevel, ...]] = ("debug", "info", "warning", "error")


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What was said about it on the command line; `None` leaves it to the environment and the configuration file."""

    home: str | None = None
    store: str | None = None
    config: str | None = None
    log_level: str | None = None

    def over(self, other: Place) -> Place:
        """Returns this, with what it leaves out taken from `other`."""
        return Place(
            home=self.home or other.home,
            store=self.store or other.store,
            config=self.config or other.config,
            log_level=self.log_level or other.log_level,
        )

    def settings(self) -> Settings:
        """Returns the settings in force, and sets up the log accordingly.

        Raises:
            InvalidConfig: the configuration file or a variable is wrong.
        """
        arguments = {"home": self.home, "store": self.store, "log_level": self.log_level}
        settings = load_settings(file=self.config, arguments=arguments)
        _log_to_stderr(settings.log_level)
        return settings


def manager_of(settings: Settings) -> AgentManager:
    """Returns a manager over these settings; it does nothing yet."""
    from greenroom.manager import AgentManager

    contents = msgspec.to_builtins(settings, enc_hook=_as_text)
    # Given once more as arguments: only those win over the environment.
    return AgentManager(settings.store, home=settings.home, config=_without_none(contents))


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs a command's work to its end."""
    with asyncio.Runner() as runner:
        return runner.run(work)


def run_fast(work: Coroutine[Any, Any, T]) -> T:
    """As `run`, on uvloop where it is installed: for work that streams."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(work)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if importlib.util.find_spec("uvloop") is None:
        return None
    import uvloop

    return uvloop.new_event_loop


class _Formatter(logging.Formatter):
    """One line for each message. A traceback is for whoever asked for the details."""

    def __init__(self, *, with_tracebacks: bool) -> None:
        super().__init__("greenroom: %(levelname)s: %(message)s")
        self._with_tracebacks = with_tracebacks

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line."""
        if self._with_tracebacks or not record.exc_info:
            return super().format(record)
        error = record.exc_info[1]
        plain = logging.makeLogRecord({**record.__dict__, "exc_info": None, "exc_text": None})
        return f"{super().format(plain)}: {error or type(error).__name__}"


def _log_to_stderr(level: LogLevel) -> None:
    logger = logging.getLogger("greenroom")
    logger.setLevel(level.upper())
    logger.propagate = False
    for handler in tuple(logger.handlers):
        logger.removeHandler(handler)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(with_tracebacks=level == "debug"))
    logger.addHandler(handler)


def _as_text(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise InvalidConfig(f"a setting is a {type(value).__name__}", hint="settings are texts, numbers and folders")


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _without_none(value) if isinstance(value, dict) else value
        for name, value in values.items()
        if value is not None
    }
