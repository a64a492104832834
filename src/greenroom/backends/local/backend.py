"""The backend `local`: another backend, speaking to a child process that runs a small model.

Nothing is started before the first request. The child's death is an error of the step that it was answering; the next request
starts another child. The backend that speaks to it is given: the catalogue composes the two.

Rule: nothing here knows a wire format.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from greenroom.backends.local.fitting import Profile, fit, notices
from greenroom.backends.local.model import ModelFile, find_model, has_tools, model_name
from greenroom.backends.local.server import Child, LocalServer, Orders
from greenroom.errors import BackendGarbled, BackendRejected, BackendUnavailable, ContextTooLong
from greenroom.interfaces import Backend, BackendRequest, Notice
from greenroom.messages import StreamItem

MakeBackend = Callable[[str, str], Backend]
"""Makes a backend for a base URL and a key; it is used for one stream and closed."""

EMBEDDED_CONTEXT_TOKENS: Final = 2048
"""Context of one conversation with the embedded model: reading 1,200 tokens takes it 7 s on one core already."""

EMBEDDED_ANSWER_TOKENS: Final = 256
"""Where it is stopped: left to itself it may never end."""

EMBEDDED_REPEAT_PENALTY: Final = 1.05
"""Keeps it from saying the same words until it is stopped."""

OTHER_CONTEXT_TOKENS: Final = 8192
"""Context of one conversation with any other model: tools need 4,000 before anything was said."""


class LocalBackend:
    """Answers with a model on this machine: no key, no network."""

    def __init__(
        self,
        make_backend: MakeBackend,
        *,
        home: Path,
        model_path: Path | None = None,
        context_tokens: int = OTHER_CONTEXT_TOKENS,
        server: LocalServer | None = None,
    ) -> None:
        """Takes what is needed later; looks at nothing yet.

        Args:
            make_backend: for the child's base URL and key, a backend of the OpenAI dialect.
            home: under which the embedded model lies.
            model_path: another model; `None` is the embedded one.
            context_tokens: of one conversation with another model, prompt and answer together.
            server: what runs the child.
        """
        self.default_model: str = model_name(model_path)
        self._make_backend = make_backend
        self._home = home
        self._model_path = model_path
        self._context_tokens = context_tokens
        self._server = server or LocalServer()
        self._model: ModelFile | None = None
        self._tools_in_file: bool | None = None

    def dialect(self, _: BackendRequest) -> str:
        """Returns the dialect that the child speaks."""
        return "openai"

    @asynccontextmanager
    async def stream(self, request: BackendRequest) -> AsyncGenerator[AsyncIterator[Sequence[StreamItem]]]:
        """Asks the model for one step; starts it if it does not run. More requests than it has slots wait.

        The oldest turns are left out of a conversation that is too long; see `greenroom.backends.local.fitting`.

        Raises:
            BackendUnavailable: the child does not start, or died.
            BackendRejected: the model or the package that runs it is missing, or the request names another model; says what to do.
            ContextTooLong: the last turn alone does not fit.
            BackendGarbled: the child's answer is not one.
        """
        child = await self._server.start(self._orders)
        assert child.report is not None
        assert self._model is not None, "it was looked at for the child"
        if request.model not in {self.default_model, self._model.name}:
            raise BackendRejected(
                f"the local backend runs {self._model.name}, not {request.model}",
                hint=f"set llm_model to {self.default_model!r}, or choose a backend that has {request.model}",
            )
        # One for each stream: llama.cpp closes a connection after its stream without having said so, and a backend that keeps it
        # for the next request would lose that request.
        wire = self._make_backend(child.report.base_url, child.orders.api_key)
        try:
            async with AsyncExitStack() as stack:
                batches = await self._opened(stack, request, child, wire)
                async with aclosing(_watched(batches, child)) as watched:
                    yield watched
        finally:
            await wire.close()

    def notices(self, request: BackendRequest) -> Sequence[Notice]:
        """Returns what a person should know about how the model will answer this request."""
        return tuple(notices(request, self._profile()))

    async def close(self) -> None:
        """Ends the child. Idempotent."""
        await self._server.close()

    def _orders(self) -> Orders:
        """Looks at the model's file. Runs in a thread."""
        self._model = model = find_model(self._home, self._model_path)
        if model.is_embedded:
            return Orders(
                model_path=str(model.path),
                model_name=model.name,
                context_tokens=EMBEDDED_CONTEXT_TOKENS,
                answer_tokens=EMBEDDED_ANSWER_TOKENS,
                repeat_penalty=EMBEDDED_REPEAT_PENALTY,
            )
        return Orders(
            model_path=str(model.path),
            model_name=model.name,
            context_tokens=self._context_tokens,
            answer_tokens=self._context_tokens // 4,
        )

    def _profile(self) -> Profile:
        """Returns what the model can do: as the child says, or before there is one, as its file lets expect."""
        is_embedded = self._model_path is None if self._model is None else self._model.is_embedded
        report = None if self._server.child is None else self._server.child.report
        if report is not None:
            context_tokens, tools = report.context_tokens, report.tools
        else:
            context_tokens = EMBEDDED_CONTEXT_TOKENS if is_embedded else self._context_tokens
            tools = not is_embedded and self._tools_expected()
        return Profile(
            name=self._model.name if self._model is not None else self.default_model,
            is_embedded=is_embedded,
            tools=tools,
            context_tokens=context_tokens,
            answer_tokens=EMBEDDED_ANSWER_TOKENS if is_embedded else context_tokens // 4,
        )

    def _tools_expected(self) -> bool:
        # One look at the file, of a millisecond. What is wrong with the file is said when it is to be used.
        if self._tools_in_file is None and self._model_path is not None:
            try:
                self._tools_in_file = has_tools(self._model_path.expanduser())
            except OSError:
                self._tools_in_file = True
        return bool(self._tools_in_file)

    async def _opened(
        self, stack: AsyncExitStack, request: BackendRequest, child: Child, wire: Backend
    ) -> AsyncIterator[Sequence[StreamItem]]:
        profile = self._profile()
        while True:
            fitted = fit(request, profile)
            try:
                return await stack.enter_async_context(wire.stream(fitted.request))
            except ContextTooLong:
                # The number of tokens was estimated; the server has counted them.
                if fitted.turns == 1:
                    raise
                profile = msgspec.structs.replace(profile, context_tokens=profile.context_tokens // 2)
            except (BackendUnavailable, BackendGarbled) as error:
                if (crash := await child.crash()) is not None:
                    raise crash from error
                raise


async def _watched(batches: AsyncIterator[Sequence[StreamItem]], child: Child) -> AsyncGenerator[Sequence[StreamItem]]:
    try:
        async for items in batches:
            yield items
    except (BackendUnavailable, BackendGarbled) as error:
        if (crash := await child.crash()) is not None:
            raise crash from error
        raise
