"""How a command gets its settings and its manager, and how its work is run.

Rule: the settings are read once for a command, and everything in it sees the same ones.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from greenroom.cli.output import exact, is_terminal, print_note
from greenroom.cli.place import Place
from greenroom.manager import AgentManager
from greenroom.settings import LogLevel, Settings, configuration_file, load_settings, users_home
from greenroom.trust import UntrustedConfig, trust

T = TypeVar("T")


def settings_of(place: Place, **given: Any) -> Settings:
    """Returns the settings in force at a place, and sets up the log as they say.

    Args:
        place: where the command works.
        **given: further settings by hand; `None` leaves them as they are.

    Raises:
        InvalidConfig: the configuration file, a variable or an option is wrong.
        UntrustedConfig: the file in the working folder is not trusted, and the person said no or cannot be asked.
    """
    arguments = {"home": place.home, "store": place.store, "log_level": place.log_level, **given}
    try:
        settings = load_settings(file=place.config, arguments=arguments)
    except UntrustedConfig as error:
        if not (is_terminal(sys.stdin) and is_terminal(sys.stderr) and asks_for_trust(error)):
            raise
        settings = load_settings(file=place.config, arguments=arguments)
    _log_to_stderr(settings.log_level)
    return settings


def asks_for_trust(error: UntrustedConfig) -> bool:
    """Shows what an untrusted file sets, and asks; returns whether it is trusted now.

    Raises:
        InvalidConfig: the answer cannot be kept.
    """
    print_note(f"{error.path} is not trusted yet. It sets:")
    for line in shown(error.needs):
        print_note(f"  {line}")
    sys.stderr.write("Trust this file? It can decide where your keys and data go, and load code. [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        return False
    trust(error.path, error.needs, users_home())
    return True


def shown(needs: Mapping[str, Any]) -> Iterator[str]:
    """Yields settings as lines for a person who decides about them: exact, but for secrets, which are not shown."""
    for name, value in needs.items():
        yield from _lines(exact(name), value, is_secret=name in _SECRETS)


def _lines(name: str, value: Any, *, is_secret: bool) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for inner, each in value.items():
            yield from _lines(f"{name}.{exact(inner)}", each, is_secret=inner in _SECRETS)
    elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
        for number, each in enumerate(value, start=1):
            yield from _lines(f"{name}[{number}]", each, is_secret=is_secret)
    else:
        yield f"{name} = {'***' if is_secret else exact(msgspec.json.encode(value, enc_hook=str).decode())}"


def tell_configuration(place: Place, say: Callable[[str], None] = print_note) -> None:
    """Says which configuration file is used, where it was not named by hand."""
    if place.config is None and (path := configuration_file()) is not None:
        say(f"configuration: {path.absolute()}")


_SECRETS: Final = frozenset({"api_key", "key", "secret", "token"})


@asynccontextmanager
async def managing(settings: Settings) -> AsyncIterator[AgentManager]:
    """Gives a manager over these settings, and closes it."""
    contents = msgspec.to_builtins(settings, enc_hook=_as_text)
    # Home and store are given once more as arguments: only those win over the environment.
    async with AgentManager(settings.store, home=settings.home, config=_without_none(contents)) as manager:
        yield manager


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


class _OneLine(logging.Formatter):
    """A traceback is for whoever asked for the details; everybody else gets what the error says."""

    def __init__(self, *, with_tracebacks: bool) -> None:
        super().__init__("greenroom: %(levelname)s: %(message)s")
        self._with_tracebacks = with_tracebacks

    def format(self, record: logging.LogRecord) -> str:
        """Returns the record as text."""
        if self._with_tracebacks or not record.exc_info:
            return super().format(record)
        error = record.exc_info[1]
        bare = logging.makeLogRecord({**record.__dict__, "exc_info": None, "exc_text": None})
        return f"{super().format(bare)}: {error or type(error).__name__}"


def _log_to_stderr(level: LogLevel) -> None:
    logger = logging.getLogger("greenroom")
    logger.setLevel(level.upper())
    logger.propagate = False
    for handler in tuple(logger.handlers):
        logger.removeHandler(handler)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine(with_tracebacks=level == "debug"))
    logger.addHandler(handler)


def _as_text(value: object) -> str:
    assert isinstance(value, Path), f"a setting that is a {type(value).__name__}"
    return str(value)


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _without_none(value) if isinstance(value, dict) else value
        for name, value in values.items()
        if value is not None
    }
