"""`greenroom model`: the embedded model, for machines without a key.

Rule: a progress bar for a person, a line now and then for a log, and nothing on standard output but the result.
"""

from __future__ import annotations

import sys
from typing import Final

from greenroom.cli.output import OK, Column, is_terminal, print_json, print_line, print_note, print_table
from greenroom.cli.place import Place
from greenroom.cli.running import settings_of
from greenroom.settings import Settings
from greenroom.usable import LocalModel, local, local_models, pull_local_model

_MODELS: Final = (
    Column("NAME", style="cyan"),
    Column("SIZE", is_number=True),
    Column("USED"),
    Column("FILE", style="dim", is_wide=True),
)
_MB: Final = 1_000_000
_TENTHS: Final = 10


def pull_model(place: Place, *, as_json: bool) -> int:
    """Fetches the embedded model, unless it is there whole."""
    settings = settings_of(place)
    has_screen = is_terminal(sys.stderr)
    model = _pulled_with_bar(settings) if has_screen else pull_local_model(settings, Lines().show)
    if as_json:
        print_json(model)
    else:
        print_line(f"{model.name} is here: {model.file}")
    return OK


def list_models(place: Place, *, as_json: bool) -> int:
    """Prints the models that can be run, and which one is."""
    settings = settings_of(place)
    models = local_models(settings)
    if as_json:
        print_json({"models": models})
        return OK
    rows = [(model.name, f"{model.bytes // _MB} MB", "used" if model.used else "", model.file) for model in models]
    print_table(_MODELS, rows, empty="there is no model; `greenroom model pull` fetches a small one")
    found = local(settings)
    if not found.is_usable:
        print_note(f"the backend `local` cannot answer: {found.why}; {found.remedy}")
    return OK


def _pulled_with_bar(settings: Settings) -> LocalModel:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("fetching the model", total=None)
        return pull_local_model(settings, lambda done, total: progress.update(task, completed=done, total=total))


class Lines:
    """The progress for who keeps a log: a line for each tenth."""

    def __init__(self) -> None:
        self._tenths = 0

    def show(self, done: int, total: int) -> None:
        """Tells how much is done; what is done at once is not worth a line."""
        tenths = _TENTHS * done // total
        if self._tenths < tenths < _TENTHS:
            print_note(f"fetching the model: {10 * tenths} %")
            self._tenths = tenths
