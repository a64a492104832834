"""The OpenAPI document says what the server does: whatever it allows, and much that it does not, gets an answer that is none of 5xx."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from contract.stage import QUICK_LIMITS
from greenroom import AgentManager
from greenroom.backends.scripted import ScriptedBackend
from greenroom.server.openapi import document
from greenroom.server.serving import make_app
from greenroom.server.table import operations
from server.asgi import Response, Web
from server.conftest import TOKEN

# A bundle as application/zip is one of octets, too: those are made.
pytestmark = pytest.mark.filterwarnings("ignore:Skipped test cases with unsupported payload")
SCHEMA = schemathesis.openapi.from_dict(json.loads(document(operations(), "test")))
PLENTY = {"requests_per_minute_max": 10_000_000, "messages_per_minute_max": 10_000_000}


class Running:
    """A server on an event loop in a thread: schemathesis makes its requests from outside of any loop."""

    def __init__(self, home: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        config: dict[str, Any] = {"default_backend": "scripted", "limits": {**QUICK_LIMITS, **PLENTY}}
        manager = AgentManager("memory://", home=home, config=config, backends={"scripted": ScriptedBackend()})
        self._web = Web(make_app(manager, token=TOKEN), TOKEN)
        self.wait(self._web.post("/v1/sessions", {"session_id": "0"}))

    def ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str | None]) -> Response:
        return self.wait(self._web.ask(method, path, data=body, headers=headers))

    def wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(50)

    def close(self) -> None:
        self.wait(self._web.app.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("home"))
    yield running
    running.close()


def examples(count: int) -> Any:
    return settings(
        max_examples=count,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )


def check(server: Running, case: schemathesis.Case) -> None:
    """Sends the case as it is; an answer is one of those that the document names, and an error is JSON with a code."""
    arguments = case.as_transport_kwargs(base_url="http://localhost")
    path = arguments["url"].removeprefix("http://localhost")
    query = "&".join(f"{name}={value}" for name, value in (arguments.get("params") or {}).items())
    body = arguments.get("data") if arguments.get("json") is None else json.dumps(arguments["json"]).encode()
    content = body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else None
    headers = {"content-type": case.media_type} if content is not None else {}
    hypothesis.target(float(len(content or b"")))
    answer = server.ask(case.method, f"{path}?{query}".encode("utf-8", "replace").decode("latin-1"), content, headers)
    assert answer.status < 500 or answer.status == 501, f"{case.method} {path}: {answer.body!r}"
    assert str(answer.status) in case.operation.definition.raw["responses"], f"{case.method} {path}: {answer.status}"
    if answer.status >= 400:
        assert set(answer.json()["error"]) <= {"code", "message", "hint"}


SMALL = SCHEMA.exclude(path_regex="^/(assets|s/|\\{name\\})")


@SMALL.parametrize()
@examples(3)
def test_no_request_makes_the_server_fail(server: Running, case: schemathesis.Case) -> None:
    check(server, case)


@pytest.mark.long
@pytest.mark.timeout(3600)
@SCHEMA.parametrize()
@examples(400)
def test_no_request_of_many_makes_the_server_fail(server: Running, case: schemathesis.Case) -> None:
    check(server, case)


def test_the_document_is_one_of_openapi() -> None:
    from jsonschema_rs import Draft202012Validator

    whole = json.loads(document(operations(), "test"))
    assert whole["openapi"] == "3.1.0"
    for schema in whole["components"]["schemas"].values():
        Draft202012Validator({**schema, "components": whole["components"]})
    ids = [operation["operationId"] for methods in whole["paths"].values() for operation in methods.values()]
    assert len(set(ids)) == len(ids)
