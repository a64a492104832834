"""`docs/limits.md` has every bound, as the code has it."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", re.MULTILINE)
UNITS = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "Ki characters": 1024, "ms": 1, "s": 1}


def written() -> Iterator[tuple[str, float, str]]:
    """Name, value and description of each bound in `limits.py`."""
    module = ast.parse((ROOT / "src/greenroom/limits.py").read_text(encoding="utf-8"))
    (limits,) = [node for node in module.body if isinstance(node, ast.ClassDef)]
    for body in (module.body, limits.body):
        for node, text in itertools.pairwise(body):
            if (
                isinstance(node, ast.AnnAssign)
                and isinstance(node.target, ast.Name)
                and re.search(r"_max$|_s$|_page_bytes$", node.target.id, re.IGNORECASE)
                and node.value is not None
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
            ):
                value = eval(ast.unparse(node.value), {"__builtins__": {}})
                yield node.target.id, value, " ".join(str(text.value.value).split())


def shown() -> Iterator[tuple[str, float, str]]:
    page = (ROOT / "docs/limits.md").read_text(encoding="utf-8")
    for name, value, description in ROW.findall(page):
        number, _, unit = value.partition(" ")
        yield name, float(number.replace(",", "")) * UNITS[unit], description


def test_the_page_has_every_bound() -> None:
    assert sorted(shown()) == sorted(written())
    assert len(list(written())) > 50
