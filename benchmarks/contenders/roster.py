"""All contenders, in the order of the tables.

Rule: to be measured, a contender needs one entry here; to be a peer, also its versions in `versions.toml`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from benchmarks.contenders.contract import Store


@dataclass(frozen=True)
class Entry:
    """One contender.

    Attributes:
        module: of this package.
        stores: where its sessions can be kept; each is measured.
        peer: its environment in `versions.toml`; `None` for the project's own.
        opener: the function of the module.
        imports: what a program of its users imports.
        distribution: the package that they install, with extras.
        session_is: what a session is there.
    """

    label: str
    module: str
    stores: tuple[Store, ...]
    peer: str | None = None
    opener: str = "opened"
    role: Literal["", "floor", "ours"] = ""
    imports: str = ""
    distribution: str = ""
    session_is: str = ""

    def name(self, store: Store) -> str:
        """Returns what the tables call it."""
        return f"{self.label}, {store}" if self.module.startswith("greenroom_manager") or self.peer else self.label


BARE: Final = Entry("bare asyncio protocol (the floor)", "bare", ("memory",), role="floor")
BYTES: Final = Entry("aiohttp, bytes only", "aiohttp_bytes", ("memory",))
BACKEND: Final = Entry("our backend alone, to stream items", "greenroom_backend", ("memory",))
GREENROOM: Final = Entry(
    "Greenroom", "greenroom_manager", ("memory", "sqlite"), role="ours", session_is="a log, durable at once"
)
RELAY: Final = Entry("aiohttp relay, no sessions", "relay", ("memory",))
SDK: Final = Entry("openai SDK alone", "openai_sdk", ("memory",), session_is="a list")

CLAUDE: Final = (
    Entry("bare asyncio protocol (the floor)", "bare", ("memory",), opener="opened_claude", role="floor"),
    Entry("our backend alone, to stream items", "greenroom_backend", ("memory",), opener="opened_claude"),
    Entry("Greenroom", "greenroom_manager", ("memory", "sqlite"), opener="opened_claude", role="ours"),
    Entry("anthropic SDK alone", "anthropic_sdk", ("memory",)),
)

PEERS: Final = (
    Entry(
        "OpenAI Agents",
        "openai_agents",
        ("memory", "sqlite"),
        peer="openai-agents",
        imports="from agents import Agent, Runner, SQLiteSession",
        distribution="openai-agents",
        session_is="a session object",
    ),
    Entry(
        "Pydantic AI",
        "pydantic_ai",
        ("memory",),
        peer="pydantic-ai",
        imports="from pydantic_ai import Agent; from pydantic_ai.models.openai import OpenAIChatModel",
        distribution="pydantic-ai-slim[openai]",
        session_is="a list of messages",
    ),
    Entry(
        "LangGraph",
        "langgraph",
        ("memory", "sqlite"),
        peer="langgraph",
        imports="from langchain.agents import create_agent; from langchain_openai import ChatOpenAI",
        distribution="langchain-openai",
        session_is="a name, written with the first message",
    ),
    Entry(
        "Agno",
        "agno",
        ("memory", "sqlite"),
        peer="agno",
        imports="from agno.agent import Agent; from agno.models.openai import OpenAIChat",
        distribution="agno",
        session_is="a name, written with the first message",
    ),
    Entry(
        "Strands",
        "strands",
        ("memory", "files"),
        peer="strands",
        imports="from strands import Agent; from strands.models.openai import OpenAIModel",
        distribution="strands-agents[openai]",
        session_is="an agent",
    ),
    Entry(
        "Google ADK",
        "google_adk",
        ("memory", "sqlite"),
        peer="google-adk",
        imports="from google.adk.runners import Runner; from google.adk.models.lite_llm import LiteLlm",
        distribution="google-adk[db]",
        session_is="a session, durable at once in its database",
    ),
)
