"""Azure, Bedrock and Vertex over their SDKs, against a server that shows what they sent."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import pytest

from backends.wire import END, EVENTS, Wire, chunked, head, serve
from greenroom import usable
from greenroom.backends import clouds
from greenroom.backends.bedrock_frames import BedrockFrames
from greenroom.backends.claude import ClaudeBackend
from greenroom.backends.clouds import CloudOptions
from greenroom.backends.faults import Endpoint
from greenroom.backends.openai import OpenAIBackend
from greenroom.backends.openai_responses import OpenAIResponsesBackend
from greenroom.catalog import Catalog
from greenroom.errors import (
    BackendError,
    BackendGarbled,
    BackendRejected,
    BackendUnauthorized,
    BackendUnavailable,
    InvalidConfig,
)
from greenroom.interfaces import Backend, BackendRequest
from greenroom.messages import StreamItem, TextPart, UserMessage
from greenroom.settings import Settings, load_settings
from greenroom.testing.backend_conformance import put_together

CLAUDE = [
    {"type": "message_start", "message": {"id": "m", "model": "claude", "usage": {"input_tokens": 3}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Grüße\n"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]
CHAT = {"id": "c", "model": "gpt", "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}
RESPONSES = [
    {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "content_index": 0, "delta": "Hi"},
    {"type": "response.completed", "response": {"id": "r", "model": "gpt", "status": "completed", "output": []}},
]
BEDROCK_MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
ENDPOINT = Endpoint(provider="Amazon Bedrock", base_url="http://b.test", key_variable="K", base_url_variable="U")


@pytest.fixture(autouse=True)
def no_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    """No machine's credentials are found, and nobody asks a metadata server for them."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_BEARER_TOKEN_BEDROCK", "AWS_PROFILE", "CLOUD_ML_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "AZURE_OPENAI_ENDPOINT", "OPENAI_API_VERSION"):
        monkeypatch.delenv(name, raising=False)


def frame(payload: bytes, **headers: str) -> bytes:
    """Returns a frame of Amazon's event stream; a header's `_` is a `-`."""
    encoded = b"".join(
        bytes([len(name) + 1])
        + b":"
        + name.replace("_", "-").encode()
        + b"\x07"
        + struct.pack(">H", len(value))
        + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", 16 + len(encoded) + len(payload), len(encoded))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + encoded + payload
    return body + struct.pack(">I", zlib.crc32(body))


def event(data: bytes) -> bytes:
    payload = json.dumps({"bytes": base64.b64encode(data).decode(), "p": "abc"}).encode()
    return frame(payload, message_type="event", event_type="chunk", content_type="application/json")


def exception(kind: str, words: str) -> bytes:
    return frame(json.dumps({"message": words}).encode(), message_type="exception", exception_type=kind)


FRAMES = [event(json.dumps(data, indent=1).encode()) for data in CLAUDE]
BEDROCK_HEAD = head(content_type="application/vnd.amazon.eventstream", transfer_encoding="chunked")


def answer(frames: Sequence[bytes]) -> list[bytes]:
    return [BEDROCK_HEAD, *(chunked(frame) for frame in frames), END]


def sse(*events: Any) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(data).encode() for data in events)


async def asked(
    backend: Backend, model: str, *, into: list[StreamItem] | None = None, **settings: Any
) -> list[StreamItem]:
    heard = [] if into is None else into
    request = BackendRequest(model=model, system="S", messages=(UserMessage(parts=(TextPart(text="Hi"),)),), **settings)
    try:
        async with backend.stream(request) as stream:
            async for items in stream:
                heard += items
    finally:
        await backend.close()
    return heard


def texts(items: list[StreamItem]) -> list[str]:
    return [part.text for part in put_together(items)[0]]


def line(wire: Wire) -> str:
    return wire.requests[0].splitlines()[0]


def header(wire: Wire, name: str) -> str:
    found = [text.partition(": ")[2] for text in wire.requests[0].splitlines() if text.lower().startswith(name + ":")]
    assert len(found) == 1, (name, wire.requests[0])
    return found[0]


# --- azure --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("from_environment", [True, False])
async def test_azure_names_deployment_and_version(monkeypatch: pytest.MonkeyPatch, from_environment: bool) -> None:  # noqa: FBT001
    async with serve([EVENTS, chunked(sse(CHAT) + b"data: [DONE]\n\n"), END]) as wire:
        url = wire.base_url.removesuffix("/v1")
        options = CloudOptions()
        if from_environment:
            monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", url)
            monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-key")
            monkeypatch.setenv("OPENAI_API_VERSION", "2025-04-01-preview")
        else:
            options = CloudOptions(base_url=url, api_key="azure-key", api_version="2025-04-01-preview")
        items = await asked(OpenAIBackend(cloud=options), "my-gpt")
    assert texts(items) == ["Hi"]
    assert line(wire) == "POST /openai/deployments/my-gpt/chat/completions?api-version=2025-04-01-preview HTTP/1.1"
    assert header(wire, "api-key") == "azure-key"
    assert "prompt_cache_key" not in json.loads(wire.bodies[0])


async def test_azure_is_asked_for_responses() -> None:
    async with serve([EVENTS, chunked(sse(*RESPONSES)), END]) as wire:
        url = wire.base_url.removesuffix("/v1")
        options = CloudOptions(base_url=url, api_key="azure-key", api_version="2025-04-01-preview")
        items = await asked(OpenAIResponsesBackend(cloud=options), "my-gpt")
    assert texts(items) == ["Hi"]
    assert line(wire) == "POST /openai/responses?api-version=2025-04-01-preview HTTP/1.1"
    assert header(wire, "api-key") == "azure-key"
    assert json.loads(wire.bodies[0])["model"] == "my-gpt", "the path does not name the deployment"


@pytest.mark.parametrize("with_token", [True, False])
@pytest.mark.parametrize(
    ("kind", "path", "answer"),
    [
        (OpenAIBackend, "chat/completions", [CHAT]),
        (OpenAIResponsesBackend, "responses", RESPONSES),
    ],
)
async def test_azure_without_versions(
    monkeypatch: pytest.MonkeyPatch,
    kind: type[OpenAIBackend | OpenAIResponsesBackend],
    path: str,
    answer: list[Any],
    with_token: bool,  # noqa: FBT001
) -> None:
    async with serve([EVENTS, chunked(sse(*answer)), END]) as wire:
        variable = "AZURE_OPENAI_AD_TOKEN" if with_token else "AZURE_OPENAI_API_KEY"
        monkeypatch.setenv(variable, "secret")
        url = wire.base_url.removesuffix("/v1") + "/openai/v1/"
        items = await asked(kind(cloud=CloudOptions(base_url=url)), "my-gpt")
    assert texts(items) == ["Hi"]
    assert line(wire) == f"POST /openai/v1/{path} HTTP/1.1"
    assert header(wire, "authorization" if with_token else "api-key") == ("Bearer secret" if with_token else "secret")
    assert json.loads(wire.bodies[0])["model"] == "my-gpt"


async def test_azure_takes_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve([EVENTS, chunked(sse(CHAT)), END]) as wire:
        monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", "entra-token")
        options = CloudOptions(base_url=wire.base_url.removesuffix("/v1"), api_version="2024-10-21")
        await asked(OpenAIBackend(cloud=options), "my-gpt")
    assert header(wire, "authorization") == "Bearer entra-token"


# --- bedrock ------------------------------------------------------------------------------------------------------------


async def test_bedrock_is_asked_with_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(answer(FRAMES)) as wire:
        monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "bedrock-key")
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        monkeypatch.setenv("ANTHROPIC_BEDROCK_BASE_URL", wire.base_url.removesuffix("/v1"))
        items = await asked(ClaudeBackend(cloud="bedrock"), BEDROCK_MODEL, temperature=0.5)
    assert texts(items) == ["Grüße\n"]
    end = put_together(items)[1]
    assert end is not None
    assert end.usage is not None
    assert (end.reason, end.usage.input_tokens, end.usage.output_tokens) == ("stop", 3, 2)
    assert line(wire) == f"POST /model/{BEDROCK_MODEL}/invoke-with-response-stream HTTP/1.1"
    assert header(wire, "authorization") == "Bearer bedrock-key"
    body = json.loads(wire.bodies[0])
    assert not {"model", "stream"} & set(body)
    assert body["anthropic_version"] == "2023-06-01", "the version that knows temperature"


async def test_bedrock_is_asked_with_a_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(answer(FRAMES)) as wire:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        options = CloudOptions(region="us-west-2", base_url=wire.base_url.removesuffix("/v1"))
        items = await asked(ClaudeBackend(cloud="bedrock", cloud_options=options), BEDROCK_MODEL)
    assert texts(items) == ["Grüße\n"]
    signature = header(wire, "authorization")
    assert signature.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "/us-west-2/bedrock/aws4_request" in signature
    assert header(wire, "x-amz-date")


async def test_bedrock_without_credentials() -> None:
    options = CloudOptions(region="eu-north-1", base_url="http://127.0.0.1:9")
    with pytest.raises(BackendUnauthorized) as caught:
        await asked(ClaudeBackend(cloud="bedrock", cloud_options=options), BEDROCK_MODEL)
    assert "AWS_ACCESS_KEY_ID" in (caught.value.hint or "")


async def test_an_exception_of_bedrock_comes_behind_what_was_said() -> None:
    frames = [*FRAMES[:3], exception("throttlingException", "Too many requests")]
    async with serve(answer([b"".join(frames)])) as wire:
        options = CloudOptions(region="r", api_key="k", base_url=wire.base_url.removesuffix("/v1"))
        backend = ClaudeBackend(cloud="bedrock", cloud_options=options)
        items: list[StreamItem] = []
        with pytest.raises(BackendUnavailable, match="Too many requests"):
            await asked(backend, BEDROCK_MODEL, into=items)
    assert texts(items) == ["Grüße\n"]


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            "429 Too Many Requests",
            b'{"message": "Too many tokens, please wait before trying again."}',
            BackendUnavailable,
        ),
        ("403 Forbidden", b'{"message": "You don\'t have access to the model."}', BackendUnauthorized),
        ("400 Bad Request", b'{"message": "The provided model identifier is invalid."}', BackendRejected),
    ],
)
async def test_refusals_of_bedrock(status: str, body: bytes, expected: type[BackendError]) -> None:
    said = head(status, content_type="application/json", content_length=str(len(body))) + body
    async with serve(said) as wire:
        options = CloudOptions(region="r", api_key="k", base_url=wire.base_url.removesuffix("/v1"))
        with pytest.raises(expected):
            await asked(ClaudeBackend(cloud="bedrock", cloud_options=options), BEDROCK_MODEL)


@pytest.mark.parametrize("size", [1, 2, 7, 50, 10_000])
def test_frames_are_read_however_they_are_cut(size: int) -> None:
    frames, stream = BedrockFrames(ENDPOINT), b"".join(FRAMES)
    out = b"".join(frames.feed(stream[start : start + size]) for start in range(0, len(stream), size))
    events = [json.loads(part.removeprefix(b"data: ")) for part in out.split(b"\n\n") if part]
    assert events == CLAUDE


@pytest.mark.parametrize(
    "stream",
    [
        b"<html><body>Bad gateway</body></html>" * 3,
        FRAMES[0][:-1] + b"\x00",
        frame(b"no json", message_type="event"),
        frame(b'{"bytes": "%%%"}', message_type="event"),
        b"\x1f\x8b" + bytes(40),
    ],
)
def test_frames_that_are_none(stream: bytes) -> None:
    with pytest.raises(BackendGarbled):
        BedrockFrames(ENDPOINT).feed(stream)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("validationException", BackendRejected),
        ("internalServerException", BackendUnavailable),
        ("modelTimeoutException", BackendUnavailable),
        ("accessDeniedException", BackendUnauthorized),
        ("yetToBeInvented", BackendUnavailable),
    ],
)
def test_exceptions_are_classified(kind: str, expected: type[BackendError]) -> None:
    frames = BedrockFrames(ENDPOINT)
    assert frames.feed(FRAMES[0] + exception(kind, "words")).startswith(b"data: ")
    with pytest.raises(expected):
        frames.feed(b"")


# --- vertex -------------------------------------------------------------------------------------------------------------


async def test_vertex_names_project_region_and_model() -> None:
    async with serve([EVENTS, chunked(sse(*CLAUDE)), END]) as wire:
        options = CloudOptions(
            region="europe-west1", project="my-project", api_key="ya29.token", base_url=wire.base_url
        )
        items = await asked(ClaudeBackend(cloud="vertex", cloud_options=options), "claude-sonnet-4-5@20250929")
    assert texts(items) == ["Grüße\n"]
    path = "/v1/projects/my-project/locations/europe-west1/publishers/anthropic/models/"
    assert line(wire) == f"POST {path}claude-sonnet-4-5@20250929:streamRawPredict HTTP/1.1"
    assert header(wire, "authorization") == "Bearer ya29.token"
    body = json.loads(wire.bodies[0])
    assert body["stream"] is True
    assert "model" not in body


async def test_vertex_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent.json")
    options = CloudOptions(region="r", project="p", base_url="http://127.0.0.1:9")
    with pytest.raises(BackendUnauthorized) as caught:
        await asked(ClaudeBackend(cloud="vertex", cloud_options=options), "claude-sonnet-4-5")
    assert "gcloud" in (caught.value.hint or "")


# --- what is missing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backend", "variable"),
    [
        (OpenAIBackend(cloud=CloudOptions()), "AZURE_OPENAI_ENDPOINT"),
        (OpenAIBackend(cloud=CloudOptions(base_url="http://a.test")), "OPENAI_API_VERSION"),
        (OpenAIResponsesBackend(cloud=CloudOptions(base_url="http://a.test")), "OPENAI_API_VERSION"),
        (OpenAIBackend(cloud=CloudOptions(base_url="http://a.test/openai/v1")), "AZURE_OPENAI_API_KEY"),
        (OpenAIBackend(cloud=CloudOptions(base_url="http://a.test", api_version="1")), "AZURE_OPENAI_API_KEY"),
        (ClaudeBackend(cloud="bedrock"), "AWS_REGION"),
        (ClaudeBackend(cloud="vertex"), "CLOUD_ML_REGION"),
        (ClaudeBackend(cloud="vertex", cloud_options=CloudOptions(region="r", api_key="t")), "ANTHROPIC_VERTEX_PROJECT_ID"),
    ],
)  # fmt: skip
async def test_what_is_not_set_is_named(backend: Backend, variable: str) -> None:
    with pytest.raises(BackendError) as caught:
        await asked(backend, "m")
    assert variable in (caught.value.hint or "")


@pytest.mark.parametrize(("cloud", "extra"), [("bedrock", "bedrock"), ("vertex", "vertex")])
async def test_an_extra_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, cloud: Any, extra: str) -> None:
    monkeypatch.setattr(clouds, "is_installed", lambda package: False)
    backend = ClaudeBackend(cloud=cloud, cloud_options=CloudOptions(region="r"))
    with pytest.raises(BackendRejected) as caught:
        await asked(backend, "m")
    assert caught.value.hint == f"pip install 'greenroom[{extra}]'"


# --- settings -----------------------------------------------------------------------------------------------------------


def catalog_of(settings: Settings) -> Catalog:
    return Catalog(settings, backends={}, toolsets=(), personas=())


def test_doctor_knows_them() -> None:
    file = {"home": "/nonexistent", "backends": {"work": {"kind": "bedrock", "region": "eu-central-1"}}}
    environment = {"AZURE_OPENAI_ENDPOINT": "https://a.test", "AZURE_OPENAI_API_KEY": "k"}
    work, azure, responses = usable.clouds(load_settings(file=file, environment={}), environment)
    assert (work.label, work.is_usable, work.why) == ("Amazon Bedrock (work)", True, "at eu-central-1")
    assert (azure.backend, azure.is_usable, azure.remedy) == ("azure", False, "export OPENAI_API_VERSION=...")
    assert (responses.backend, responses.is_usable) == ("azure-responses", False)
    environment["AZURE_OPENAI_ENDPOINT"] = "https://a.test/openai/v1/"
    assert all(found.is_usable for found in usable.clouds(load_settings(file=file, environment={}), environment))
    assert usable.clouds(load_settings(file={"home": "/nonexistent"}, environment={}), {}) == []


async def test_an_installation_names_its_backends() -> None:
    file = {
        "home": "/nonexistent",
        "backends": {
            "work": {"kind": "bedrock", "region": "eu-central-1", "model": BEDROCK_MODEL},
            "groq": {"kind": "openai", "base_url": "https://api.groq.com/openai/v1", "api_key": "k"},
            "studio": {"kind": "openai-responses", "base_url": "http://127.0.0.1:1234/v1", "model": "qwen"},
            "office": {"kind": "azure-responses", "model": "our-gpt"},
        },
    }
    catalog = catalog_of(load_settings(file=file, environment={}))
    assert {"work", "groq", "azure", "azure-responses", "bedrock", "vertex"} <= set(catalog.backend_names())
    assert catalog.backend("work").default_model == BEDROCK_MODEL
    hello = BackendRequest(model="m", system="", messages=())
    assert catalog.backend("work").dialect(hello) == "claude"
    assert catalog.backend("groq").dialect(hello) == "openai"
    for name, model in (("studio", "qwen"), ("office", "our-gpt")):
        backend = catalog.backend(name)
        assert (backend.dialect(hello), backend.default_model) == ("openai-responses", model)
    await catalog.close()


@pytest.mark.parametrize(
    ("backends", "said"),
    [
        ({"x": {"kind": "amazon"}}, "kind"),
        ({"x": {"kind": "bedrock", "regoin": "r"}}, "region"),
        ({"x": {"kind": "azure", "region": "r"}}, "azure has no region: it takes api_key, api_version, base_url"),
        ({"X:1": {"kind": "openai"}}, "backends"),
        ({"x": {}}, "kind"),
        ({"claude": {"kind": "openai"}}, "claude"),
    ],
)
def test_settings_that_are_none(backends: Any, said: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        catalog_of(load_settings(file={"home": "/nonexistent", "backends": backends}, environment={}))
    assert said in f"{caught.value.message} {caught.value.hint}"
