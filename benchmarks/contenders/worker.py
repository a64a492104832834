"""One piece of work of one contender, in a process and an environment of its own: `python -m benchmarks.contenders.worker JSON`.

The figures go to a file, since a contender may print what it likes.

Rule: this file and all that it imports need nothing but the standard library and uvloop, besides the contender itself.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from benchmarks.contenders.contract import Opener, Store
from benchmarks.contenders.works import WORKS, Figures
from benchmarks.measure import Sizes, run


@dataclass(frozen=True)
class Order:
    """What to do.

    Attributes:
        module: the contender's, of this package.
        opener: the function of the module that gives the contender.
        work: one of `WORKS`.
        result: path of the file that the figures go to.
    """

    module: str
    opener: str
    store: Store
    work: str
    url: str
    sizes: Sizes
    result: str

    def text(self) -> str:
        """Returns the order as an argument of the command line."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> Order:
        """Returns what `text` made of an order."""
        fields = json.loads(text)
        return cls(**{**fields, "sizes": Sizes(**fields["sizes"])})


async def done(order: Order) -> Figures:
    """Does it."""
    module = importlib.import_module(f"benchmarks.contenders.{order.module}")
    opened = cast("Opener", getattr(module, order.opener))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with opened(order.url, order.store, Path(folder)) as contender:
            return await WORKS[order.work](contender, order.sizes)


def main() -> None:
    """Does what the only argument says."""
    order = Order.parse(sys.argv[1])
    Path(order.result).write_text(json.dumps(run(done(order))), encoding="utf-8")


if __name__ == "__main__":
    main()
