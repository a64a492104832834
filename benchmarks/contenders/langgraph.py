"""LangGraph: LangChain's `create_agent`, streamed as messages, with a checkpointer.

Rule: a session is a thread of the checkpointer, `InMemorySaver` or `AsyncSqliteSaver`.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from benchmarks.contenders.contract import INSTRUCTIONS, MODEL, QUESTION, Store, Streaming


class LangGraph(Streaming):
    """One graph; sessions are names of threads."""

    def __init__(self, url: str, checkpointer: Any) -> None:
        model = ChatOpenAI(model=MODEL, api_key="none", base_url=f"{url}/v1", streaming=True, use_responses_api=False)
        self._agent = create_agent(model, tools=[], system_prompt=INSTRUCTIONS, checkpointer=checkpointer)

    async def create(self) -> dict[str, Any]:
        """Returns the configuration that names a thread; it is written with its first message."""
        return {"configurable": {"thread_id": uuid.uuid4().hex}}

    async def pieces(self, session: dict[str, Any]) -> AsyncIterator[str]:
        """Reads the tokens of the model."""
        question = {"messages": [{"role": "user", "content": QUESTION}]}
        async for message, _ in self._agent.astream(question, session, stream_mode="messages"):
            if isinstance(message, AIMessageChunk) and isinstance(message.content, str) and message.content:
                yield message.content


@asynccontextmanager
async def opened(url: str, store: Store, folder: Path) -> AsyncIterator[LangGraph]:
    """Opens the checkpointer."""
    async with AsyncExitStack() as stack:
        if store == "memory":
            checkpointer: Any = InMemorySaver()
        else:
            checkpointer = await stack.enter_async_context(
                AsyncSqliteSaver.from_conn_string(str(folder / "threads.db"))
            )
        yield LangGraph(url, checkpointer)
