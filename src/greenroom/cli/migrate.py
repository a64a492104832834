"""`greenroom migrate`: makes the store, or brings it to the version of this program.

Any command does so when it first needs the store. This one does nothing else, and says what it did: for before an upgrade goes
live, and for stores that many processes share.

Rule: repeating it changes nothing.
"""

from __future__ import annotations

from greenroom.catalog import Catalog
from greenroom.cli.output import OK, print_json, print_line
from greenroom.cli.place import Place
from greenroom.cli.running import run, settings_of
from greenroom.logs.version import store_version


def migrate(place: Place, *, as_json: bool) -> int:
    """Runs the command."""
    settings = settings_of(place)
    store = Catalog(settings, backends={}, toolsets=(), personas=()).store()

    async def work() -> None:
        try:
            await store.open()
        finally:
            await store.close()

    before = store_version(store)
    run(work())
    after = store_version(store)
    if after is None or before is None:
        action, text = "none", "this kind of store has nothing to migrate"
    elif before.found == after.found:
        action, text = "none", f"the store has version {after.found} already; nothing was changed"
    elif not before.found:
        action, text = "created", f"the store was made, with version {after.found}"
    else:
        action, text = "migrated", f"the store was brought from version {before.found} to {after.found}"
    if as_json:
        print_json(
            {
                "action": action,
                "from": None if before is None else before.found,
                "to": None if after is None else after.found,
                "store": settings.store_url,
            }
        )
    else:
        print_line(text)
    return OK
