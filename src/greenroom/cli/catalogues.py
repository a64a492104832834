"""`greenroom personas` and `greenroom toolsets`: what a session can be made of.

Rule: neither needs the store, so neither opens it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from greenroom.catalog import Catalog
from greenroom.cli.output import OK, Column, is_terminal, print_facts, print_json, print_line, print_table, print_text
from greenroom.cli.place import Place
from greenroom.cli.running import run, settings_of
from greenroom.config import ESSENTIAL_TOOLS
from greenroom.interfaces import Persona

_PERSONAS = (Column("NAME", style="cyan"), Column("DESCRIPTION", is_wide=True))
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
