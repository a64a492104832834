"""`ReactJSAgent`: one session's agent, as the code that holds it sees it.

Rule: an agent holds no state of the conversation. It names a session; the session is in the log.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any, Self

from greenroom.config import DEFAULT_BACKEND, DEFAULT_MODEL, DEFAULT_PERSONA
from greenroom.interfaces import SessionSummary

if TYPE_CHECKING:
    from greenroom.manager import AgentManager


class ReactJSAgent:
    """An agent that streams AG-UI events to a front end; usable alone, without a manager.

    Args:
        user_id: whose session it is.
        session_manager: where the session is kept; `None` for a manager of its own, which `close` closes.
        backend, model_name, persona_name, custom_persona_text: as the session's settings.
        essential_tools: which of the essential toolsets it has; `None` for all.
        additional_tools: class names of further toolsets.
        **settings: further session settings.

    Attributes:
        session_id: of its session; `None` before `initialize`.
    """

    def __init__(
        self,
        user_id: str = "default",
        session_manager: AgentManager | None = None,
        backend: str = DEFAULT_BACKEND,
        model_name: str = DEFAULT_MODEL,
        persona_name: str = DEFAULT_PERSONA,
        custom_persona_text: str = "",
        essential_tools: Sequence[str] | None = None,
        additional_tools: Sequence[str] | None = None,
        **settings: Any,
    ) -> None:
        self.user_id = user_id
        self.session_manager = session_manager
        self.backend = backend
        self.model_name = model_name
        self.persona_name = persona_name
        self.custom_persona_text = custom_persona_text
        self.essential_tools: Sequence[str] | None = essential_tools
        self.additional_tools: tuple[str, ...] = tuple(additional_tools or ())
        self.settings = settings
        self.session_id: str | None = None
        self._owns_manager = session_manager is None

    @classmethod
    def of_session(cls, manager: AgentManager, summary: SessionSummary) -> Self:
        """Returns the agent of a session that exists."""
        agent = cls(session_manager=manager)
        agent.show(summary)
        return agent

    def show(self, summary: SessionSummary) -> None:
        """Takes over how the session is set now."""
        config = summary.config
        self.session_id = summary.session_id
        self.user_id = summary.user_id
        self.backend = config.backend
        self.model_name = config.llm_model
        self.persona_name = config.persona_name
        self.custom_persona_text = config.custom_persona_text
        self.essential_tools = config.essential_tools
        self.additional_tools = config.additional_tools

    async def initialize(self) -> None:
        """Creates the session, unless it has one. Idempotent.

        Raises:
            ValueError, TypeError, EventLogError: as `AgentManager.create_session`.
        """
        if self.session_id is not None:
            return
        if self.session_manager is None:
            from greenroom.manager import AgentManager

            self.session_manager = AgentManager()
        settings = dict(self.settings)
        if self.essential_tools is not None:
            settings["essential_tools"] = tuple(self.essential_tools)
        self.session_id = await self.session_manager.create_session(
            llm_model=self.model_name,
            backend=self.backend,
            persona_name=self.persona_name,
            additional_tools=self.additional_tools,
            user_id=self.user_id,
            custom_persona_text=self.custom_persona_text,
            **settings,
        )

    async def stream_chat(self, user_message: str, custom_prompt: str | None = None) -> AsyncGenerator[str, None]:
        """Sends a message and yields its answer as AG-UI events in JSON; as `AgentManager.stream_response`.

        Raises:
            SessionNotFound: the session was deleted.
        """
        await self.initialize()
        assert self.session_manager is not None
        assert self.session_id is not None
        async for event in self.session_manager.stream_response(self.session_id, user_message, custom_prompt):
            yield event

    async def update_tools(self, names: Sequence[str]) -> None:
        """Sets the toolsets beside the essential ones; from the next step on.

        Raises:
            UnknownTool: a toolset that does not exist; the agent keeps what it has.
        """
        await self.initialize()
        assert self.session_manager is not None
        assert self.session_id is not None
        await self.session_manager.update_session(self.session_id, additional_tools=tuple(names))
        self.additional_tools = tuple(names)

    async def close(self) -> None:
        """Closes the manager, if it is the agent's own. The session stays. Idempotent."""
        if self._owns_manager and self.session_manager is not None:
            await self.session_manager.close()
