"""Which models the providers have, as they say themselves: asked in the background, kept for some minutes.

A server's routes read what is known and never wait for a provider; what is old is asked for again beside them. A provider that
cannot be asked leaves what it said last, with a note that says why nothing newer is known.

Rule: what a provider lists is data of strangers: only names that a session could be set to, and no more of them than a bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from functools import partial
from typing import Final, Literal

import msgspec

from greenroom.backends.faults import redacted
from greenroom.backends.model_facts import is_for_chat
from greenroom.errors import GreenroomError
from greenroom.interfaces import Backend, ListedModel, ListsModels
from greenroom.runtime.foreign import foreign, text_of
from greenroom.runtime.tasks import Expired, Tasks, stoppable
from greenroom.usable import Candidate

ANSWER_S_MAX: Final = 10.0
"""How long a provider may take for its list, from the connection to the last byte."""

MODELS_MAX: Final = 1_000
"""Models of one provider that are offered: the first, as it lists them."""

NAME_CHARACTERS_MAX: Final = 256
"""A model's name: what a session can be set to."""

FRESH_S: Final = 300.0
"""How long a list is good for."""

AGAIN_S: Final = 60.0
"""How long a provider that could not be asked is left alone."""


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a provider's models.

    Attributes:
        models: what can be talked to, by name; `None` where the provider did not say.
        note: why nothing is known, or nothing newer; or what of the list is not shown. For people.
    """

    models: tuple[ListedModel, ...] | None = None
    note: str = ""


NOT_YET: Final = Listing(note="its list of models is being fetched")


class ModelLists:
    """The lists of one server's backends. Each is asked for once at a time, and only when a client looks.

    Args:
        backend: returns a backend by its name; may raise.
        tasks: what the requests run in.
    """

    def __init__(self, backend: Callable[[str], Backend], tasks: Tasks) -> None:
        self._backend = backend
        self._tasks = tasks
        self._known: dict[str, Listing] = {}
        self._due_s: dict[str, float] = {}
        self._asking: dict[str, asyncio.Task[Listing]] = {}

    def known(self, name: str) -> Listing:
        """Returns what is known of a backend's models; has its provider asked where that is nothing, or old. Never waits."""
        due_s = self._due_s.get(name)
        if name not in self._asking and (due_s is None or asyncio.get_running_loop().time() >= due_s):
            self._asking[name] = self._tasks.start(
                listing(lambda: self._backend(name)),
                name=f"list models of {name}",
                done=lambda task: self._on_answer(name, task),
            )
        return self._known.get(name, NOT_YET)

    async def settled(self) -> None:
        """Waits until no provider is being asked."""
        while self._asking:
            await asyncio.wait(tuple(self._asking.values()))
            await asyncio.sleep(0)

    def _on_answer(self, name: str, task: asyncio.Task[Listing]) -> None:
        del self._asking[name]
        if task.cancelled():  # the server closes
            return
        found, before = task.result(), self._known.get(name)
        has_failed = found.models is None and bool(found.note)
        if has_failed and before is not None and before.models is not None:
            found = Listing(models=before.models, note=f"its list of models may be old: {found.note}")
        self._known[name] = found
        self._due_s[name] = task.get_loop().time() + (AGAIN_S if has_failed else FRESH_S)


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What people are offered of one backend.

    Attributes:
        models: names, with the day on which each ends, if that is known; `None` where the backend has a model that has no name.
        source: who says so.
        note: why the provider's list is not known, or not as of now. For people.
    """

    models: tuple[tuple[str | None, str], ...]
    source: Literal["provider", "known"]
    note: str = ""


def is_listed(candidate: Candidate) -> bool:
    """Returns whether the provider of a candidate is to be asked for its models.

    Not that of `openai-responses`: it is that of `openai`, and which of its models have a Responses API its list does not say.
    """
    return candidate.is_usable and candidate.listed is None and candidate.backend != "openai-responses"


def offer_of(candidate: Candidate, suggested: str | None, found: Listing) -> Offer:
    """Returns what to offer: what the provider lists, else the one model that is suggested.

    Args:
        candidate: the backend.
        suggested: the model that answers where none is named.
        found: what the provider said.
    """
    listed = found.models
    if candidate.listed is not None:
        listed = tuple(ListedModel(name=name) for name in candidate.listed)
    if not listed:
        return Offer(models=((suggested, ""),), source="known", note=found.note)
    names = {model.name for model in listed}
    # A provider's list may leave out other names of its models (`claude-x` for `claude-x-20260101`), and what the configuration
    # names is its author's to know. A server of one's own has what it lists: nothing is offered there that it does not have.
    has_more = candidate.models is not None or candidate.model is not None
    first = ((suggested, ""),) if suggested is not None and suggested not in names and has_more else ()
    ordered = sorted(listed, key=lambda model: model.name != suggested)
    return Offer(
        models=(*first, *((model.name, model.ends_on) for model in ordered)), source="provider", note=found.note
    )


async def listing(backend: Callable[[], Backend]) -> Listing:
    """Asks a provider for its models, in a bounded time; a failure becomes the note.

    Args:
        backend: returns the one to ask; may raise.
    """
    try:
        rows = await stoppable(_rows(backend), name="a list of models", timeout_s=ANSWER_S_MAX, grace_s=0.5)
        return Listing() if rows is None else _offered(rows)
    except Expired:
        return Listing(note=f"its list of models did not arrive within {ANSWER_S_MAX:g} s")
    except GreenroomError as error:
        return Listing(note=f"its list of models could not be fetched: {error.message}")
    except Exception as error:  # noqa: BLE001 # broad: a backend may be foreign code; whatever it raises is told
        return Listing(note=f"its list of models could not be fetched: {redacted(text_of(error))}")


async def listings(names: Sequence[str], backend: Callable[[str], Backend]) -> dict[str, Listing]:
    """Asks the providers of several backends at the same time; see `listing`."""
    tasks = Tasks()
    asking = [tasks.start(listing(partial(backend, name)), name=f"list models of {name}", done=_seen) for name in names]
    try:
        for task in asking:
            await task
    finally:
        await tasks.end()
    return {name: task.result() for name, task in zip(names, asking, strict=True)}


def _seen(task: asyncio.Task[Listing]) -> None:
    if not task.cancelled():
        task.exception()  # it is raised where the task is waited for


async def _rows(backend: Callable[[], Backend]) -> Sequence[ListedModel] | None:
    with foreign():
        asked: object = backend()
    return await asked.list_models() if isinstance(asked, ListsModels) else None


def _offered(rows: Sequence[ListedModel]) -> Listing:
    today = datetime.now(UTC).date()
    names: dict[str, ListedModel] = {}
    for row in rows:
        is_name = 0 < len(row.name) <= NAME_CHARACTERS_MAX and row.name.isprintable() and row.name == row.name.strip()
        if is_name and is_for_chat(row.name) and not _has_ended(row, today):
            names.setdefault(row.name, row)
    models = tuple(names.values())
    note = f"the first {MODELS_MAX} of {len(models)} models are shown" if len(models) > MODELS_MAX else ""
    if not models:
        note = "its list names no model to chat with"
    return Listing(models=tuple(sorted(models[:MODELS_MAX], key=lambda model: model.name)), note=note)


def _has_ended(row: ListedModel, today: date) -> bool:
    return bool(row.ends_on) and date.fromisoformat(row.ends_on) <= today
