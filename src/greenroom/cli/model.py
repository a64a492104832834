"""`greenroom model`: the embedded model, for machines without a key.

Rule: a progress bar for a person, a line now and then for a log, and nothing on standard output but the result.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from greenroom.backends.local.model import EMBEDDED, find_model, pull
from greenroom.backends.local.model import list_models as found_models
from greenroom.cli.output import OK, Column, is_terminal, print_json, print_line, print_note, print_table
from greenroom.cli.place import Place
from greenroom.cli.running import settings_of
from greenroom.errors import BackendRejected

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
    home = settings_of(place).home
    path = _pulled_with_bar(home) if is_terminal(sys.stderr) else pull(home, progress=_Lines().show)
    if as_json:
        print_json({"name": EMBEDDED.name, "file": str(path), "bytes": path.stat().st_size})
    else:
        print_line(f"{EMBEDDED.name} is here: {path}")
    return OK


def list_models(place: Place, *, as_json: bool) -> int:
    """Prints the models that can be run, and which one is."""
    settings = settings_of(place)
    try:
        used = find_model(settings.home, settings.local_model)
    except BackendRejected as error:
        used = None
        print_note(f"{error.message}: {error.hint}")
    models = list(found_models(settings.home))
    if used is not None and used not in models:
        models.append(used)
    if as_json:
        print_json(
            {
                "models": [
                    {
                        "name": model.name,
                        "file": str(model.path),
                        "bytes": model.bytes,
                        "embedded": model.is_embedded,
                        "used": model == used,
                    }
                    for model in models
                ]
            }
        )
        return OK
    rows = [
        (model.name, f"{model.bytes // _MB} MB", "yes" if model == used else "", str(model.path)) for model in models
    ]
    print_table(_MODELS, rows, empty="there is no model")
    return OK


def _pulled_with_bar(home: Path) -> Path:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"fetching {EMBEDDED.name}", total=None)
        return pull(home, progress=lambda done, total: progress.update(task, completed=done, total=total))


class _Lines:
    """The progress for who keeps a log: a line for each tenth."""

    def __init__(self) -> None:
        self._tenths = 0

    def show(self, done: int, total: int) -> None:
        """Tells how much is done; what is done at once is not worth a line."""
        tenths = _TENTHS * done // total
        if self._tenths < tenths < _TENTHS:
            print_note(f"fetching {EMBEDDED.name}: {10 * tenths} % of {total // _MB} MB")
            self._tenths = tenths
