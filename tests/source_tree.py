"""The project's own files, as the tests of its structure read them: found once, parsed once."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "greenroom"

_GENERATED = {"__pycache__", "build", "dist", "node_modules"}


def python_files(*folders: str) -> list[Path]:
    """Returns the Python files below `folders` of the repository, in order."""
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")) if not _is_generated(path)]


def text_files(*suffixes: str) -> Iterator[Path]:
    """Yields every file of the repository with one of `suffixes`, and the files without any."""
    for path in sorted(ROOT.rglob("*")):
        if (path.suffix in suffixes or not path.suffix) and not _is_generated(path) and path.is_file():
            yield path


def _is_generated(path: Path) -> bool:
    parts = path.relative_to(ROOT).parts
    return any(part in _GENERATED or (part.startswith(".") and part != ".ci") for part in parts)


@cache
def parsed(path: Path) -> ast.Module:
    """Returns the file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def place(path: Path, line: int | ast.AST = 1) -> str:
    """Returns `file:line`, as editors open it."""
    number = line if isinstance(line, int) else getattr(line, "lineno", 1)
    return f"{path.relative_to(ROOT)}:{number}"


def module_name(path: Path) -> str:
    """Returns the dotted name of a file of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_modules() -> dict[str, Path]:
    """Returns every module of the package by its dotted name."""
    return {module_name(path): path for path in python_files("src")}


def imports_of(name: str, tree: ast.Module, *, is_package: bool = False) -> Iterator[tuple[str, int]]:
    """Yields the dotted names that module `name` imports, with their lines.

    `from a import b` yields `a` and `a.b`: b may be a module. Imports under TYPE_CHECKING, inside of functions, and by
    `import_module("...")` count as any other.
    """
    base = name.split(".") if is_package else name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = base[: len(base) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            yield origin, node.lineno
            yield from ((f"{origin}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and called_name(node) == "import_module" and node.args:
            match node.args[0]:
                case ast.Constant(value=str(target)):
                    yield target, node.lineno
                case _:
                    pass


def called_name(call: ast.Call) -> str:
    """Returns the last word of what is called: `b` for `a.b(...)`."""
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def dotted(node: ast.expr) -> str:
    """Returns `a.b.c` for an expression that is a dotted name, else an empty text."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            return f"{front}.{attr}" if (front := dotted(value)) else ""
        case _:
            return ""


def over(items: Iterable[T]) -> Callable[[Callable[[T], None]], Callable[[], None]]:
    """Makes one test of a check over many items, which lists all that is wrong at once."""

    def made(check: Callable[[T], None]) -> Callable[[], None]:
        def test() -> None:
            found: list[str] = []
            for item in items:
                try:
                    check(item)
                except AssertionError as error:
                    found.append(str(error))
            assert not found, "\n" + "\n".join(found)

        test.__name__ = check.__name__
        test.__doc__ = check.__doc__
        test.__module__ = check.__module__
        return test

    return made
