"""OpenAI's platform: Chat Completions, Responses and the list of models at one address, as OpenAI and Azure serve them.

::

    async with StrictPlatform(responses=["Hello!"]) as platform:
        monkeypatch.setenv("HTTP_PROXY", platform.url)
        backend = OpenAIBackend(api_key=platform.key, base_url=OWN_URL)

Who is asked for `OWN_URL` by way of the platform as a proxy asks, as far as anybody can tell, OpenAI itself.

Rule: the two dialects are `StrictOpenAI` and `StrictResponses`; nothing is told twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Self

import msgspec
from aiohttp import web

from greenroom.testing.loopback import Loopback
from greenroom.testing.strict_openai import Refused, StrictOpenAI, key_refusal, refusal_of
from greenroom.testing.strict_openai import Script as ChatScript
from greenroom.testing.strict_responses import Script as ResponsesScript
from greenroom.testing.strict_responses import StrictResponses

__all__ = ["OWN_URL", "StrictPlatform"]

OWN_URL: Final = "http://api.openai.com/v1"
"""OpenAI's own address, without encryption: what a proxy can look into."""


class StrictPlatform:
    """The platform. An async context manager, as its parts are.

    Attributes:
        chat, responses: its two dialects.
        listed: what its list of models says, row by row.
        asked_for_list: how often the list was asked for.
        key: the one key that it accepts.
    """

    def __init__(
        self,
        *,
        chat: ChatScript = (),
        responses: ResponsesScript = (),
        models: Sequence[str | dict[str, Any]] = (),
        prefix: str = "/v1",
        deployments: Mapping[str, str] | None = None,
        key: str = "sk-strict-test-key",
        counts_usage: bool = False,
        refuses: Callable[[dict[str, Any]], Refused | None] | None = None,
    ) -> None:
        """Takes the scripts.

        Args:
            chat: see `StrictOpenAI`.
            responses: see `StrictResponses`.
            models: names, or whole rows of the list.
            prefix: what its paths begin with; Azure's do with `/openai/v1`.
            deployments: models under names of their users' own.
            key: see above.
            counts_usage: see `StrictOpenAI`.
            refuses: see `StrictOpenAI`; in both dialects.
        """
        self.key = key
        self._loopback = Loopback()
        common: dict[str, Any] = {
            "key": key,
            "prefix": prefix,
            "deployments": deployments,
            "counts_usage": counts_usage,
            "refuses": refuses,
        }
        self.chat = StrictOpenAI(chat, loopback=self._loopback, **common)
        self.responses = StrictResponses(responses, loopback=self._loopback, **common)
        # API reference, "List models"; `shutdown_date` is in the SDK's type `Model`.
        plain = {"object": "model", "created": 1_700_000_000, "owned_by": "openai"}
        self.listed = [plain | (row if isinstance(row, dict) else {"id": row}) for row in models]
        self.asked_for_list = 0
        self._loopback.route("GET", f"{prefix}/models", self._list)
        self._prefix = prefix

    @property
    def url(self) -> str:
        """Where it listens, and what `HTTP_PROXY` is set to."""
        return self._loopback.url

    @property
    def base_url(self) -> str:
        """What a client's base URL is set to."""
        return f"{self.url}{self._prefix}"

    @property
    def refused(self) -> list[str]:
        """What was wrong with the requests that broke a rule."""
        return [*self.chat.refused, *self.responses.refused]

    async def __aenter__(self) -> Self:
        await self._loopback.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._loopback.stop()

    async def _list(self, request: web.Request) -> web.StreamResponse:
        self.asked_for_list += 1
        if isinstance(refused := key_refusal(request, self.key), Refused):
            return refusal_of(refused)
        return web.Response(
            body=msgspec.json.encode({"object": "list", "data": self.listed}), content_type="application/json"
        )
