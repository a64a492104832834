"""Plans an update: asks the catalogue what the new configuration means for the history that is there.

Rule: nothing is changed, and what would be refused is refused here in the same words.
"""

from __future__ import annotations

import asyncio

from greenroom.catalog import Catalog
from greenroom.config import Patch, SessionConfig
from greenroom.core.plan import (
    Change,
    Loss,
    UpdatePlan,
    changes_between,
    history_tokens,
    keeps_prefix,
    lost_signatures,
    lost_tools,
)
from greenroom.core.prompt import system_prompt
from greenroom.core.session import SessionState
from greenroom.core.transcript import render
from greenroom.interfaces import BackendRequest, Notice
from greenroom.messages import TextPart, Usage, UserMessage


async def plan_of(catalog: Catalog, state: SessionState, patch: Patch) -> UpdatePlan:
    """Returns what the update would do.

    Raises:
        ValueError: the update would be refused.
    """
    after, labels = patch.applied(state.config, state.tally.labels)
    persona = await catalog.persona(after.persona_name)
    catalog.check(after)
    await catalog.check_prices(after)
    changes = changes_between(state.config, after)
    messages = render(state)
    backend = catalog.backend(after.backend)
    prompt = system_prompt(persona_text=persona.text, custom_persona_text=after.custom_persona_text, custom_prompt=None)
    known = {
        _about(note) for note in catalog.backend(state.config.backend).notices(_request(state, state.config, prompt))
    }
    asked = _request(state, after, prompt)
    dialect = backend.dialect(asked)
    notices = backend.notices(asked)
    losses = [
        *lost_signatures(messages, dialect=dialect, model=after.llm_model),
        *lost_tools(messages, catalog.tools(after.tools)),
    ]
    losses += [Loss(kind="notice", text=note.text) for note in notices if _about(note) not in known]
    tokens = history_tokens(state) if messages else 0
    window = await asyncio.to_thread(catalog.prices.context_window, backend=after.backend, model=after.llm_model)
    lost_tokens = 0 if keeps_prefix(changes) else tokens
    return UpdatePlan(
        session_id=state.session_id,
        config_version=state.tally.config_version + bool(changes),
        changes=(*changes, *_label_changes(state, labels.title, labels.metadata)),
        losses=tuple(losses),
        dialect=dialect,
        history_tokens=tokens,
        context_window=window,
        fits=tokens + (after.max_tokens or 0) <= window if window is not None else None,
        cache_lost_tokens=lost_tokens,
        cache_lost_usd=await _cache_cost(catalog, after, lost_tokens),
    )


def _label_changes(state: SessionState, title: str, metadata: object) -> list[Change]:
    labels = state.tally.labels
    pairs = (("title", labels.title, title), ("metadata", labels.metadata, metadata))
    return [Change(name=name, before=before, after=after) for name, before, after in pairs if before != after]


def _about(note: Notice) -> tuple[str, str]:
    """Returns what a notice is about: a file that neither model is shown is not lost, although each has a reason of its own."""
    return note.code, note.about or note.text


def _request(state: SessionState, config: SessionConfig, prompt: str) -> BackendRequest:
    messages = render(state) or (UserMessage(parts=(TextPart(text="?"),)),)
    return BackendRequest(
        model=config.llm_model,
        system=prompt,
        messages=messages,
        session_id=state.session_id,
        temperature=config.temperature,
        top_p=config.top_p,
        max_tokens=config.max_tokens,
        stop=config.stop,
        reasoning_effort=config.reasoning_effort,
        thinking_budget_tokens=config.thinking_budget_tokens,
        parallel_tool_calls=config.parallel_tool_calls,
    )


async def _cache_cost(catalog: Catalog, config: SessionConfig, tokens: int) -> float | None:
    if not tokens:
        return 0.0
    full = await catalog.priced(Usage(input_tokens=tokens), backend=config.backend, model=config.llm_model)
    cached = await catalog.priced(
        Usage(input_tokens=tokens, cached_input_tokens=tokens), backend=config.backend, model=config.llm_model
    )
    if full.cost_usd is None or cached.cost_usd is None:
        return None
    return full.cost_usd - cached.cost_usd
