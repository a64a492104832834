"""`greenroom doctor`: what works here, what is missing, and what would help.

Rule: it looks and tells. The store is opened, as any command would; no provider is asked, nothing is fetched, no key is shown.
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
from greenroom.interfaces import Store
from greenroom.limits import Limits
from greenroom.logs.version import store_version
from greenroom.settings import FILE_NAME, Settings
from greenroom.usable import Candidate, Choice, candidates, choose

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


def doctor(place: Place, *, as_json: bool) -> int:
    """Runs the command; fails if nothing can answer, or the store cannot be opened."""
    report = run(_examined(settings_of(place), place))
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


async def _examined(settings: Settings, place: Place) -> Report:
    choice = await choose(settings)
    candidate = choice.candidate
    catalog = _catalog(settings)
    exists = candidate.backend in catalog.backend_names()
    model = candidate.model or (catalog.backend(candidate.backend).default_model if exists else None)
    store = await _store(settings)
    findings = [
        _python(),
        _configuration(place),
        _home(settings.home),
        *store,
        *[_candidate(candidate) for candidate in await candidates(settings)],
        *_base_urls(settings),
        *[_extra(name, *extra) for name, extra in _EXTRAS.items()],
        _default(choice, model) if exists else _unknown_default(candidate, catalog),
    ]
    return Report(
        ok=candidate.is_usable and exists and not any(finding.verdict == "broken" for finding in store),
        greenroom=__version__,
        default={"backend": candidate.backend, "llm_model": model, "reason": choice.reason},
        findings=findings,
    )


# --- what is looked at --------------------------------------------------------------------------------------------------


def _python() -> Finding:
    text = f"Greenroom {__version__} on Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    return Finding(name="version", verdict="ok", text=text)


def _configuration(place: Place) -> Finding:
    named = place.config or os.environ.get("GREENROOM_CONFIG")
    here = Path(FILE_NAME).is_file()
    text = f"read from {named or Path(FILE_NAME).absolute()}" if named or here else "no file; the defaults are used"
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


async def _store(settings: Settings) -> list[Finding]:
    url = _without_password(settings.store_url)
    try:
        store = _catalog(settings).store()
        try:
            await store.open()
            return await _contents(store, url, settings.limits)
        finally:
            await store.close()
    except GreenroomError as error:
        text = f"{url}: {error.message}"
        return [Finding(name="store", verdict="broken", text=text, remedy=error.hint or "")]


def _catalog(settings: Settings) -> Catalog:
    catalog = Catalog(settings, backends={}, toolsets=(), personas=())
    catalog.discover()
    return catalog


async def _contents(store: Store, url: str, limits: Limits) -> list[Finding]:
    has = store_version(store)
    about = f" (version {has.found}, SQLite {sqlite3.sqlite_version})" if has is not None else ""
    number = await _counted(store, limits.page_max)
    unfinished = len(await store.index.unfinished())
    count = (
        f"{number} session{'s' if number != 1 else ''}" if number < _COUNTED_MAX else f"{_COUNTED_MAX} or more sessions"
    )
    findings = [Finding(name="store", verdict="ok", text=f"{url}{about}, {count}")]
    if unfinished:
        text = f"{unfinished} of them have an answer that is not finished"
        remedy = "they go on when they are opened: greenroom chat --session ID"
        findings.append(Finding(name="unfinished", verdict="ok", text=text, remedy=remedy))
    return findings


async def _counted(store: Store, page_max: int) -> int:
    number, cursor = 0, None
    while number < _COUNTED_MAX:
        page = await store.index.page(limit=page_max, cursor=cursor)
        number += len(page.sessions)
        cursor = page.cursor
        if cursor is None:
            break
    return number


def _candidate(candidate: Candidate) -> Finding:
    verdict: Verdict = "ok" if candidate.is_usable else "missing"
    text = candidate.why + (" (for demonstrations)" if candidate.is_demo and candidate.is_usable else "")
    return Finding(name=candidate.label, verdict=verdict, text=text, remedy=candidate.remedy)


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


def _default(choice: Choice, model: str | None) -> Finding:
    candidate = choice.candidate
    if not candidate.is_usable:
        text = "nothing can answer here"
        remedy = f"set OPENAI_API_KEY or ANTHROPIC_API_KEY; or, without a key: {candidate.remedy}"
        return Finding(name="default", verdict="broken", text=text, remedy=remedy)
    asked = f" ({model})" if model else ""
    return Finding(name="default", verdict="ok", text=f"{candidate.label} answers{asked}: {choice.reason}")


def _unknown_default(candidate: Candidate, catalog: Catalog) -> Finding:
    text = f"default_backend names {candidate.backend!r}, which is none"
    remedy = f"the backends are {', '.join(catalog.backend_names())}"
    return Finding(name="default", verdict="broken", text=text, remedy=remedy)


def _without_password(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "not a URL"
    if not parts.password:
        return url
    return parts._replace(netloc=f"{parts.username}:***@{parts.netloc.rpartition('@')[2]}").geturl()


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
