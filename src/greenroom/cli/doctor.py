"""`greenroom doctor`: what works here, what is missing, and what would help.

Rule: it looks and tells. The store is opened, as any command would; no provider is asked unless `--online` says so, and then only
for its list of models, which also shows whether it takes the key; nothing is fetched, no key is shown.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import sqlite3
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from greenroom import __version__
from greenroom.catalog import Catalog
from greenroom.cli.output import FAILURE, OK, is_terminal, on_one_line, print_json, print_line, terminal
from greenroom.cli.place import Place
from greenroom.cli.running import run, settings_of
from greenroom.errors import GreenroomError
from greenroom.interfaces import BackendRequest, Store
from greenroom.logs.version import store_version
from greenroom.model_lists import Listing, is_listed, listings
from greenroom.settings import Settings, configuration_file
from greenroom.usable import Candidate, Choice, Defaults, candidates, choose, preferred

Verdict = Literal["ok", "missing", "broken"]
"""`missing` can be done without; `broken` cannot."""

_EXTRAS: Final = {
    "local": ("xllamacpp", "runs the local model"),
    "uvloop": ("uvloop", "a faster event loop"),
}
_COUNTED_MAX: Final = 10_000
"""Sessions that are counted: nobody needs to know exactly beyond that."""
_SIGNS: Final = {"ok": ("✓", "green"), "missing": ("-", "yellow"), "broken": ("✗", "red")}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was looked at."""

    name: str
    verdict: Verdict
    text: str
    remedy: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was found.

    Attributes:
        ok: something can answer, and the store can be opened.
        default: who answers when nobody is named, and why.
    """

    ok: bool
    greenroom: str
    default: dict[str, str | None]
    findings: Sequence[Finding]


def doctor(place: Place, *, is_online: bool, as_json: bool) -> int:
    """Runs the command; fails if nothing can answer, or the store cannot be opened."""
    report = _report(settings_of(place), place, is_online=is_online)
    if as_json:
        print_json(report)
    elif is_terminal(sys.stdout):
        _paint(report)
    else:
        for finding in report.findings:
            print_line(
                "\t".join((finding.verdict, finding.name, on_one_line(finding.text), on_one_line(finding.remedy)))
            )
    return OK if report.ok else FAILURE


def _report(settings: Settings, place: Place, *, is_online: bool) -> Report:
    catalog = Catalog(settings, backends={}, toolsets=(), personas=())
    catalog.discover()
    home = _home(settings.home)  # before the store makes it
    choice, found = run(_answers(settings))
    lists = run(_lists(catalog, found)) if is_online else {}
    listed = lists.get(choice.candidate.backend, Listing()).models or ()
    is_own = Defaults(settings).is_own(choice.candidate.backend)
    default, model = _default(choice, catalog, [each.name for each in listed] if is_own else [])
    store = _store(settings, catalog)
    return Report(
        ok=not any(finding.verdict == "broken" for finding in (default, *store)),
        greenroom=__version__,
        default={"backend": choice.candidate.backend, "llm_model": model, "reason": choice.reason},
        findings=[
            _version(),
            _configuration(place),
            home,
            *store,
            *(_candidate(candidate, lists.get(candidate.backend)) for candidate in found),
            *_base_urls(settings),
            *(_extra(name, *extra) for name, extra in _EXTRAS.items()),
            default,
        ],
    )


# --- what is looked at --------------------------------------------------------------------------------------------------


def _version() -> Finding:
    text = f"Greenroom {__version__} on Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    return Finding(name="version", verdict="ok", text=text)


def _configuration(place: Place) -> Finding:
    path = place.config or configuration_file()
    text = f"read from {Path(path).absolute()}" if path is not None else "no file; the defaults are used"
    return Finding(name="configuration", verdict="ok", text=text)


def _home(home: Path) -> Finding:
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    if not place.is_dir():
        return Finding(
            name="home", verdict="broken", text=f"{place} is not a folder", remedy="set GREENROOM_HOME to one"
        )
    if not os.access(place, os.W_OK | os.X_OK):
        remedy = f"make {place} writable, or set GREENROOM_HOME to a folder that is"
        return Finding(name="home", verdict="broken", text=f"{home} cannot be written", remedy=remedy)
    return Finding(name="home", verdict="ok", text=str(home) if place == home else f"{home}, made when it is needed")


async def _answers(settings: Settings) -> tuple[Choice, Sequence[Candidate]]:
    return await choose(settings), await candidates(settings)


def _store(settings: Settings, catalog: Catalog) -> list[Finding]:
    url = _without_password(settings.store_url)
    try:
        store = catalog.store()
        number, unfinished = run(_contents(store, settings.limits.page_max))
    except GreenroomError as error:
        return [Finding(name="store", verdict="broken", text=f"{url}: {error.message}", remedy=error.hint or "")]
    has = store_version(store)
    about = f" (version {has.found}, SQLite {sqlite3.sqlite_version})" if has is not None else ""
    count = f"{number} session{'s' if number != 1 else ''}" if number < _COUNTED_MAX else f"{number} sessions or more"
    findings = [Finding(name="store", verdict="ok", text=f"{url}{about}, {count}")]
    if unfinished:
        text = f"in {unfinished} of them an answer is not finished; it goes on when the session is opened"
        remedy = "greenroom chat --session ID; the ones that are `running` in greenroom sessions list"
        findings.append(Finding(name="unfinished", verdict="ok", text=text, remedy=remedy))
    return findings


async def _contents(store: Store, page_max: int) -> tuple[int, int]:
    """Returns how many sessions there are, and in how many something is left to do."""
    try:
        await store.open()
        return await _counted(store, page_max), len(await store.index.unfinished())
    finally:
        await store.close()


async def _counted(store: Store, page_max: int) -> int:
    number, cursor = 0, None
    while number < _COUNTED_MAX:
        page = await store.index.page(limit=page_max, cursor=cursor)
        number += len(page.sessions)
        cursor = page.cursor
        if cursor is None:
            break
    return number


async def _lists(catalog: Catalog, found: Sequence[Candidate]) -> dict[str, Listing]:
    """Returns what the providers that can be asked say of their models."""
    names = [candidate.backend for candidate in found if is_listed(candidate)]
    try:
        return await listings(names, catalog.backend)
    finally:
        await catalog.close()


def _candidate(candidate: Candidate, found: Listing | None) -> Finding:
    verdict: Verdict = "ok" if candidate.is_usable else "missing"
    text = candidate.why + (" (for demonstrations)" if candidate.is_demo and candidate.is_usable else "")
    remedy = candidate.remedy
    if found is not None and found.models:
        text += f"; its list has {len(found.models)} model{'s' if len(found.models) != 1 else ''} to chat with"
    if found is not None and found.note:
        text += f"; {found.note}"
    if found is not None and found.models is None and found.note:
        verdict, remedy = "broken", f"greenroom models --backend {candidate.backend} asks again"
    return Finding(name=candidate.label, verdict=verdict, text=text, remedy=remedy)


def _base_urls(settings: Settings) -> list[Finding]:
    found = {
        "OPENAI_BASE_URL": settings.openai.base_url or os.environ.get("OPENAI_BASE_URL"),
        "ANTHROPIC_BASE_URL": settings.claude.base_url or os.environ.get("ANTHROPIC_BASE_URL"),
    }
    return [Finding(name=name, verdict="ok", text=_without_password(url)) for name, url in found.items() if url]


def _extra(name: str, package: str, purpose: str) -> Finding:
    if importlib.util.find_spec(package) is None:
        remedy = f"pip install 'greenroom[{name}]'"
        return Finding(
            name=f"extra {name}", verdict="missing", text=f"{package} is not installed: {purpose}", remedy=remedy
        )
    try:
        number = version(package)
    except PackageNotFoundError:  # importable from a folder, without having been installed
        number = "of unknown version"
    return Finding(name=f"extra {name}", verdict="ok", text=f"{package} {number}: {purpose}")


def _default(choice: Choice, catalog: Catalog, listed: Sequence[str]) -> tuple[Finding, str | None]:
    """Returns what is to be said about the default, and its model.

    Args:
        choice: the default.
        catalog: the backends.
        listed: the models of a server of one's own, if it was asked for them.
    """
    candidate = choice.candidate
    if candidate.backend not in catalog.backend_names():
        text = f"default_backend names {candidate.backend!r}, which is none"
        remedy = f"the backends are {', '.join(catalog.backend_names())}"
        return Finding(name="default", verdict="broken", text=text, remedy=remedy), None
    model = candidate.model or preferred(listed) or catalog.suggested_model(candidate.backend)
    if not candidate.is_usable:
        remedy = f"set OPENAI_API_KEY or ANTHROPIC_API_KEY; or, without a key: {candidate.remedy}"
        return Finding(name="default", verdict="broken", text="nothing can answer here", remedy=remedy), model
    asked = f" with {model} over {_dialect(catalog, candidate.backend, model)}" if model else ""
    text = f"{candidate.label} ({candidate.backend}{asked}): {choice.reason}"
    return Finding(name="default", verdict="ok", text=text), model


def _dialect(catalog: Catalog, backend: str, model: str) -> str:
    """Returns in which dialect the model is asked, for people."""
    dialect = catalog.backend(backend).dialect(BackendRequest(model=model, system="", messages=()))
    return _DIALECTS.get(dialect, f"the dialect {dialect}")


def _without_password(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "not a URL"
    if not parts.password:
        return url
    return parts._replace(netloc=f"{parts.username}:***@{parts.netloc.rpartition('@')[2]}").geturl()


_DIALECTS: Final = {
    "openai": "Chat Completions",
    "openai-responses": "the Responses API",
    "claude": "the Messages API",
}

# --- how it is shown ----------------------------------------------------------------------------------------------------


def _paint(report: Report) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(style="bold", no_wrap=True)
    table.add_column(ratio=1)
    for finding in report.findings:
        sign, style = _SIGNS[finding.verdict]
        told = Text(on_one_line(finding.text))
        if finding.remedy:
            told.append(f"\n{on_one_line(finding.remedy)}", style="dim")
        table.add_row(Text(sign, style=style), Text(finding.name), told)
    terminal().print(table)
