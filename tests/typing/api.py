"""The public API as a type checker sees it. Checked, never run."""

from collections.abc import AsyncGenerator
from typing import Any, assert_type

from greenroom import AgentManager, Frame, Message, Page, ReactJSAgent, Receipt, ToolContext, Toolset, tool


class Weather(Toolset):
    """What the weather is."""

    @tool(effect="pure")
    async def current(self, city: str, context: ToolContext) -> str:
        """Current weather."""
        return f"{city} {context.user_id}"


async def everything(manager: AgentManager) -> None:
    """Uses it."""
    session_id = await manager.create_session(backend="openai", additional_tools=["Weather"], temperature=0.5)
    assert_type(session_id, str)
    assert_type(manager.stream_response(session_id, "hello"), AsyncGenerator[str, None])
    assert_type(manager.attach(session_id), AsyncGenerator[Frame, None])
    assert_type(await manager.send(session_id, "hello"), Receipt)
    assert_type(manager.get_session_data(session_id), dict[str, Any] | None)
    assert_type(await manager.list_sessions(), Page)
    assert_type(await manager.history(session_id), list[Message])
    assert_type(await manager.cancel(session_id), bool)
    assert_type(await manager.export_session(session_id), bytes)
    agent = ReactJSAgent(session_manager=manager)
    assert_type(agent.stream_chat("hello"), AsyncGenerator[str, None])
    AgentManager(toolsets=[Weather, Weather()])
