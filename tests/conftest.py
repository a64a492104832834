"""What holds for every test: no provider, no blocked event loop, no foreign settings, a home of its own.

Marks: `virtual_time` runs an async test on `VirtualTimeLoop`, `every_loop` runs it on asyncio's loop and on uvloop; without a
mark it runs on asyncio's, whose debug mode `--asyncio-debug` switches on. uvloop is what servers use, so whatever touches
sockets, child processes or signals carries `every_loop`; pure logic gains nothing from a second run.

Rule: a guard fails the test that trips it, also when the code under test swallows the guard's exception.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import uvloop
from blockbuster import BlockBuster, blockbuster_ctx

from greenroom.testing.virtual_time import VirtualTimeLoop

pytest_plugins = ("pytester",)  # for test_guards.py
# A suite that is a part of the package; its assertions should tell as much as ours do. Before any test imports it.
pytest.register_assert_rewrite("greenroom.testing.log_conformance")

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

PROVIDER_VARIABLES = ("OPENAI_", "ANTHROPIC_", "AZURE_", "OLLAMA_", "AWS_", "GOOGLE_")


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, LoopFactory]:
    """Chooses the event loops of an async test by its marks."""
    if item.get_closest_marker("virtual_time"):
        return {"virtual": VirtualTimeLoop}
    if item.get_closest_marker("every_loop"):
        return {"asyncio": asyncio.SelectorEventLoop, "uvloop": _GuardedUvloop}
    return {"asyncio": asyncio.SelectorEventLoop}


# Examples are as slow as the machine is busy, so they have no deadline of their own. `make test` judges a change, not its luck: its
# examples are the same at every run. The long tests draw other ones each time.
hypothesis.settings.register_profile("house", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("house")


# --- the environment ----------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Takes away keys and settings of whoever runs the tests; nothing may fall back to their home folder."""
    for name in list(os.environ):
        if name.startswith((*PROVIDER_VARIABLES, "GREENROOM_")) and name != "GREENROOM_TEST_MODELS":
            monkeypatch.delenv(name)
    monkeypatch.setenv("GREENROOM_HOME", str(tmp_path / "greenroom-home"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder for one test; it does not exist yet, as on a new machine."""
    return tmp_path / "greenroom-home"


# --- the event loop must never wait -------------------------------------------------------------------------------------


@pytest.fixture(autouse=True, scope="session")
def _no_blocking_calls() -> Iterator[None]:
    """Fails any call of ours that blocks a running event loop: files, locks, sleeps, SQLite, blocking sockets."""
    with blockbuster_ctx("greenroom", excluded_modules=["greenroom.testing"]) as blockbuster:
        _allow_blocking(blockbuster)
        yield


def _allow_blocking(blockbuster: BlockBuster) -> None:
    for function in blockbuster.functions.values():
        # Synchronous by contract: one indexed read of an embedded store, and before the first call of all the settings.
        function.can_block_in("greenroom/manager.py", {"get_session_data"})
        function.can_block_in("greenroom/logs/sqlite/index.py", {"get_now"})
        # A look at the names and times of a few files, for which a thread would cost five times as much.
        function.can_block_in("greenroom/personas/catalogue.py", {"get_now"})
        # An import reads files whoever asks for it; what may be imported where is for test_import.py.
        function.can_block_in("<frozen importlib._bootstrap>", {"_find_and_load"})


# --- nothing leaves the machine -----------------------------------------------------------------------------------------


class _NetworkGuard:
    """Refuses connections to anything but this machine, and remembers them: a refusal may be swallowed on its way up."""

    def __init__(self) -> None:
        self.refused: list[str] | None = None
        """What the running test was refused; `None` while no test runs."""

    def __call__(self, event: str, args: tuple[object, ...]) -> None:
        if self.refused is None:
            return
        if event in {"socket.connect", "socket.sendto"}:
            self.check(event, args[1][0] if isinstance(args[1], tuple) else None)
        elif event == "socket.getaddrinfo":
            self.check(event, args[0])

    def check(self, event: str, host: object) -> None:
        """Refuses `host` unless it is this machine."""
        name = host.decode() if isinstance(host, bytes) else host
        if not isinstance(name, str) or is_this_machine(name):  # a path: a Unix socket
            return
        if self.refused is not None:
            self.refused.append(f"{event} {name}")
        raise RuntimeError(
            f"a test tried to reach {name!r}: tests talk to 127.0.0.1 only, for example to a port of their own"
        )


def is_this_machine(host: str) -> bool:
    """Returns whether `host` is a loopback address or stands for one."""
    if host in {"", "localhost"} or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


_network_guard = _NetworkGuard()
# An audit hook sees every socket, whichever library opened it, and cannot be taken away again: hence one for the process.
sys.addaudithook(_network_guard)


class _GuardedUvloop(uvloop.Loop):
    """uvloop connects in C, where no audit hook sees it."""

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        _network_guard.check("create_connection", host)
        return await super().create_connection(protocol_factory, host, port, **options)


@pytest.fixture(autouse=True)
def _loopback_only() -> Iterator[None]:
    """Fails a test that tries to reach another machine."""
    _network_guard.refused = refused = []
    try:
        yield
    finally:
        _network_guard.refused = None
    assert not refused, f"this test tried to leave the machine: {', '.join(refused)}"


# --- the embedded model -------------------------------------------------------------------------------------------------


def _find_model() -> Path | None:
    # The folder is what `make model` pulls into; any GGUF file there will do.
    default = Path.home() / ".cache" / "greenroom-test"
    folder = Path(os.environ.get("GREENROOM_TEST_MODELS") or default)
    return next(iter(sorted(folder.rglob("*.gguf"))), None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `local_model` need the model: without it they fail under CI and are skipped, loudly, elsewhere."""
    if not item.get_closest_marker("local_model") or _find_model():
        return
    reason = "the embedded model is not there: `make model` pulls it (190 MB, once) into GREENROOM_TEST_MODELS"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason.upper())


@pytest.fixture(scope="session")
def local_model() -> Path:
    """The GGUF file of the embedded model; for tests marked `local_model`."""
    model = _find_model()
    assert model is not None, "mark the test with pytest.mark.local_model"
    return model
