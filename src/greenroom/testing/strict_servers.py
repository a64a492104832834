"""What servers of OpenAI's dialects refuse besides its rules, each in its own words and with its own status: for `refuses=` of a double.

::

    async with StrictOpenAI(answer, refuses=text_only("llama.cpp")) as server:
        ...

Each wording names its source.

Rule: a refusal looks only at the request, as the servers do: a history with a picture in it is refused as often as it is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from greenroom.testing.strict_openai import Refused

__all__ = ["Refuses", "all_of", "filtered", "refused_files", "text_only", "without_tools"]

Refuses = Callable[[dict[str, Any]], Refused | None]


def all_of(*refuses: Refuses) -> Refuses:
    """Returns what is refused where any of these refuses it."""
    return lambda body: next((refused for each in refuses if (refused := each(body)) is not None), None)


def text_only(server: str) -> Refuses:
    """Returns what a server refuses whose model takes only text: pictures and files, wherever in the history they are.

    Args:
        server: `llama.cpp`, `vLLM`, `vLLM 500`, `Ollama` or `Ollama cloud`.
    """
    by_kind = _TEXT_ONLY[server]

    def refuses(body: dict[str, Any]) -> Refused | None:
        return next((by_kind[kind] for kind in _kinds(body) if kind in by_kind), None)

    return refuses


def refused_files(server: str) -> frozenset[str]:
    """Returns the kinds of content parts that a text-only server refuses."""
    return frozenset(_TEXT_ONLY[server])


def without_tools(server: str) -> Refuses:
    """Returns what a server refuses whose model calls no functions.

    Args:
        server: `Ollama`, `vLLM` or `llama.cpp`.
    """
    return lambda body: _WITHOUT_TOOLS[server] if body.get("tools") else None


def filtered(word: str, by: str) -> Refuses:
    """Returns what a filter refuses that does not like a word: anything with the word in it, in the history too.

    Args:
        word: the word.
        by: `OpenAI` or `Azure`.
    """
    return lambda body: _FILTERS[by] if any(word in text for text in _texts(body)) else None


def _kinds(body: Mapping[str, Any]) -> Iterator[str]:
    for part in _parts(body):
        yield str(part.get("type", "")).removeprefix("input_").removesuffix("_url")


def _parts(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for message in body.get("messages") or body.get("input") or ():
        content = message.get("content") if isinstance(message, dict) else None
        yield from (part for part in (content if isinstance(content, list) else ()) if isinstance(part, dict))


def _texts(body: Mapping[str, Any]) -> Iterator[str]:
    for message in body.get("messages") or body.get("input") or ():
        yield from (str(message[name]) for name in ("content", "output", "arguments") if name in message)


def _plain(status: int, kind: str, message: str) -> Refused:
    """An error of vLLM up to 0.10: the object itself, with the status as its code."""
    body = {"object": "error", "message": message, "type": kind, "param": None, "code": status}
    return Refused(status=status, body=msgspec.json.encode(body))


def _coded(status: int, kind: str, message: str) -> Refused:
    """An error of llama.cpp: the status is its code."""
    error = {"code": status, "message": message, "type": kind}
    return Refused(status=status, body=msgspec.json.encode({"error": error}))


_TEXT_ONLY: Final[dict[str, dict[str, Refused]]] = {
    "llama.cpp": {
        # ggml-org/llama.cpp#13566, and tools/server since: a failure of the server, not a refusal.
        "image": _coded(
            500,
            "server_error",
            "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
        ),
        # tools/server/server-common.cpp: `throw std::invalid_argument("unsupported content[].type")`.
        "file": _coded(400, "invalid_request_error", "unsupported content[].type"),
    },
    "vLLM": {
        # studio-dots-ai/dots.ocr#61.
        "image": _plain(400, "BadRequestError", "facebook/opt-125m is not a multimodal model None"),
        # langchain-ai/openwiki#63: NotImplementedError.
        "file": _plain(501, "NotImplementedError", "Unknown part type: file"),
    },
    # vllm-project/vllm#11629: the handler itself failed; Starlette's words, without any reason.
    "vLLM 500": {"image": Refused(status=500, body=b"Internal Server Error", headers={"content-type": "text/plain"})},
    "Ollama": {
        # open-webui/open-webui#13077: in its log; the client gets it with 500.
        "image": Refused(
            status=500,
            kind="api_error",
            message="Failed to create new sequence: failed to process inputs: this model is missing data required for image input",
        ),
        # openai/openai.go: any part but text and image_url.
        "file": Refused(status=400, kind="invalid_request_error", message="invalid message format"),
    },
    "Ollama cloud": {
        # ollama/ollama#17301.
        "image": Refused(
            status=400,
            kind="api_error",
            message="this model does not support image input (ref: b8bd630e-4a39-4b57-82af-9158ee9d5703)",
        ),
    },
}

_WITHOUT_TOOLS: Final[dict[str, Refused]] = {
    # ZoneMinder/zmNinjaNg#309.
    "Ollama": Refused(
        status=400, kind="api_error", message="registry.ollama.ai/library/gemma:2b does not support tools"
    ),
    # vLLM, openai/serving_chat.py.
    "vLLM": _plain(
        400, "BadRequestError", '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
    ),
    # llama.cpp, common/chat.cpp.
    "llama.cpp": _coded(500, "server_error", "tools param requires --jinja flag"),
}

_FILTERS: Final[dict[str, Refused]] = {
    "OpenAI": Refused(
        status=400,
        kind="invalid_request_error",
        code="content_policy_violation",
        message="Your request was rejected as a result of our safety system.",
    ),
    # compl-ai/compl-ai#20.
    "Azure": Refused(
        status=400,
        body=msgspec.json.encode(
            {
                "error": {
                    "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. "
                    "Please modify your prompt and retry. To learn more about our content filtering policies please read our "
                    "documentation: https://go.microsoft.com/fwlink/?linkid=2198766",
                    "type": None,
                    "param": "prompt",
                    "code": "content_filter",
                    "status": 400,
                    "innererror": {
                        "code": "ResponsibleAIPolicyViolation",
                        "content_filter_result": {
                            "hate": {"filtered": False, "severity": "safe"},
                            "jailbreak": {"filtered": False, "detected": False},
                            "violence": {"filtered": True, "severity": "medium"},
                        },
                    },
                }
            }
        ),
    ),
}
