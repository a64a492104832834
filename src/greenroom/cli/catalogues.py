"""`greenroom personas`, `greenroom toolsets` and `greenroom models`: what a session can be made of.

Rule: none needs the store, so neither opens it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from greenroom.catalog import Catalog
from greenroom.cli.output import (
    OK,
    Column,
    is_terminal,
    print_facts,
    print_json,
    print_line,
    print_note,
    print_table,
    print_text,
)
from greenroom.cli.place import Place
from greenroom.cli.running import run, settings_of
from greenroom.config import ESSENTIAL_TOOLS
from greenroom.interfaces import Persona
from greenroom.model_lists import Listing, is_listed, listings, offer_of
from greenroom.settings import Settings
from greenroom.usable import Candidate, candidates

_PERSONAS = (Column("NAME", style="cyan"), Column("DESCRIPTION", is_wide=True))
_MODELS = (
    Column("BACKEND"),
    Column("MODEL", style="cyan", is_wide=True),
    Column("ENDS"),
    Column("ACCORDING TO", style="dim"),
)
_TOOLS = (
    Column("TOOLSET", style="cyan"),
    Column("TOOL"),
    Column("EFFECT", style="dim"),
    Column("DESCRIPTION", is_wide=True),
)


def list_personas(place: Place, *, as_json: bool) -> int:
    """Prints all personas."""
    catalog = _catalog(place)

    async def work() -> Sequence[Persona]:
        return await catalog.personas()

    found = run(work())
    if as_json:
        print_json({"personas": [_persona_document(persona) for persona in found]})
        return OK
    print_table(_PERSONAS, [(persona.name, persona.description) for persona in found], empty="there are no personas")
    return OK


def show_persona(place: Place, name: str, *, as_json: bool) -> int:
    """Prints one persona."""
    catalog = _catalog(place)

    async def work() -> Persona:
        return await catalog.persona(name)

    persona = run(work())
    if as_json:
        print_json(_persona_document(persona) | {"text": persona.text})
        return OK
    if is_terminal(sys.stdout):
        print_facts([(field, value) for field, value in _defaults(persona) if value])
        print_line()
    print_text(persona.text)
    return OK


def list_toolsets(place: Place, *, as_json: bool) -> int:
    """Prints all toolsets with their tools."""
    catalog = _catalog(place)
    toolsets = [catalog.toolset(name) for name in catalog.toolset_names()]
    if as_json:
        print_json(
            {
                "toolsets": [
                    {
                        "name": toolset.name,
                        "description": toolset.description,
                        "essential": toolset.name in ESSENTIAL_TOOLS,
                        "tools": [
                            {
                                "name": tool.spec.name,
                                "description": tool.spec.description,
                                "effect": tool.effect,
                                "parameters": tool.spec.parameters,
                            }
                            for tool in toolset.tools()
                        ],
                    }
                    for toolset in toolsets
                ]
            }
        )
        return OK
    rows = [
        (toolset.name, tool.spec.name, tool.effect, tool.spec.description.partition("\n")[0])
        for toolset in toolsets
        for tool in toolset.tools()
    ]
    print_table(_TOOLS, rows, empty="there are no toolsets")
    return OK


def list_offers(place: Place, name: str | None, *, as_json: bool) -> int:
    """Prints the models of one backend, or of all that can be asked here; asks their providers.

    Raises:
        UnknownBackend: there is no such backend; names those that exist.
    """
    settings, catalog = settings_of(place), _catalog(place)
    rows, notes = run(_offers(settings, catalog, name))
    if as_json:
        print_json({"models": rows})
    else:
        print_table(
            _MODELS,
            [(row["backend"], row["model"] or "", row.get("ends_on", ""), row["source"]) for row in rows],
            empty="nothing can answer here; `greenroom doctor` says what is missing",
        )
    for note in notes:
        print_note(note)
    return OK


async def _offers(settings: Settings, catalog: Catalog, name: str | None) -> tuple[list[dict[str, Any]], list[str]]:
    found = [
        candidate
        for candidate in await candidates(settings)
        if name == candidate.backend or (name is None and not candidate.is_guess)
    ]
    if name is not None and not found:
        catalog.backend(name)  # there may be none
        found = [Candidate(label=name, backend=name, is_usable=True, why="")]
    notes = [
        f"{candidate.backend}: {candidate.why}; {candidate.remedy}" for candidate in found if not candidate.is_usable
    ]
    usable = [candidate for candidate in found if candidate.is_usable]
    try:
        found_lists = await listings([each.backend for each in usable if is_listed(each)], catalog.backend)
        offers = [
            offer_of(
                each,
                each.model or catalog.suggested_model(each.backend),
                found_lists.get(each.backend, Listing()),
            )
            for each in usable
        ]
    finally:
        await catalog.close()
    rows = [
        {"backend": candidate.backend, "model": model, "source": offer.source}
        | ({"ends_on": ends_on} if ends_on else {})
        for candidate, offer in zip(usable, offers, strict=True)
        for model, ends_on in offer.models
    ]
    told = [f"{candidate.backend}: {offer.note}" for candidate, offer in zip(usable, offers, strict=True) if offer.note]
    return rows, [*(notes if name is not None else []), *told]


def _catalog(place: Place) -> Catalog:
    catalog = Catalog(settings_of(place), backends={}, toolsets=(), personas=())
    catalog.discover()
    return catalog


def _persona_document(persona: Persona) -> dict[str, Any]:
    return {
        "name": persona.name,
        "description": persona.description,
        "llm_model": persona.llm_model,
        "backend": persona.backend,
        "tools": list(persona.tools),
    }


def _defaults(persona: Persona) -> list[tuple[str, str]]:
    return [
        ("persona", persona.name),
        ("description", persona.description),
        ("model", persona.llm_model or ""),
        ("backend", persona.backend or ""),
        ("tools", ", ".join(persona.tools)),
    ]
