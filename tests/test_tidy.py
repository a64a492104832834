"""The style of the house as a test: what a machine can hold, a review need not.

Rule: every message names file and line, says what is wrong and what to do. An exception to a rule is a written reason beside
the code (`# broad: ...`, `# real time: ...`) or an entry in a list below that says why; both are read in review.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from source_tree import (
    PACKAGE,
    ROOT,
    called_name,
    dotted,
    imports_of,
    module_name,
    over,
    package_modules,
    parsed,
    place,
    python_files,
    text_files,
)

REAL_TIME_TESTS: Final = {"tests/testing/test_virtual_time.py"}
"""The tests of the virtual clock itself: they need something that takes real time."""

FOR_AUTHORS: Final = {"greenroom.toolsets.compose": "wraps the toolsets that people write"}
"""Modules of the public contract that nothing of ours needs."""

BANNED_CLASS_NAMES: Final = re.compile(r"^_?(Base[A-Z]\w*|\w+(Impl|Helper|Utils|Handler|Mixin))$")

SOURCES: Final = python_files("src", "benchmarks", "scripts")
TESTS: Final = python_files("tests")
THIS: Final = Path(__file__).resolve()

Finding = tuple[int, str]


def check(path: Path, findings: Iterator[Finding]) -> None:
    """Fails with one line for each finding."""
    lines = [f"{place(path, line)}: {message}" for line, message in findings]
    if lines:
        raise AssertionError("\n".join(lines))


# --- modules, functions, names ------------------------------------------------------------------------------------------


@over(SOURCES)
def test_a_module_says_what_it_is_for_and_its_rule(path: Path) -> None:
    docstring = ast.get_docstring(parsed(path))
    assert docstring, f"{place(path)}: begin with a docstring: what the module is for"
    if PACKAGE in path.parents and path.name != "__main__.py" and path != PACKAGE / "__init__.py":
        assert "Rule:" in docstring, f"{place(path)}: the docstring ends with the rule of the file: `Rule: ...`"


@over([*SOURCES, *TESTS])
def test_class_names_say_what_a_thing_is(path: Path) -> None:
    check(path, class_name_findings(parsed(path)))


def class_name_findings(tree: ast.Module) -> Iterator[Finding]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and BANNED_CLASS_NAMES.match(node.name):
            yield node.lineno, f"class {node.name}: name the thing, not its place in a hierarchy (no Base*, *Impl, ...)"


@over(SOURCES)
def test_all_is_sorted_and_complete(path: Path) -> None:
    check(path, all_findings(parsed(path)))


def all_findings(tree: ast.Module) -> Iterator[Finding]:
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List() | ast.Tuple() as value):
                names = [element.value for element in value.elts if isinstance(element, ast.Constant)]
                # The order that ruff's RUF022 makes: constants, classes, functions.
                ordered = sorted(
                    set(names), key=lambda name: (0 if name.isupper() else 1 if name[0].isupper() else 2, name)
                )
                if names != ordered:
                    yield node.lineno, f"__all__ should be {ordered}"
            case _:
                pass


# --- what is not done ---------------------------------------------------------------------------------------------------


@over([*SOURCES, *TESTS])
def test_no_error_is_swallowed(path: Path) -> None:
    source = path.read_text(encoding="utf-8").splitlines()
    check(path, broad_findings(parsed(path), source))


def broad_findings(tree: ast.Module, source: Sequence[str]) -> Iterator[Finding]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.ExceptHandler) or not _is_broad(node.type):
            continue
        header = "\n".join(source[node.lineno - 1 : max(node.lineno, node.body[0].lineno - 1)])
        reason = re.search(r"# broad: \S", header)
        if not reason and not _raises(node):
            yield node.lineno, "a broad except that does not raise: name the errors, or write why: `# broad: <why>`"


def _is_broad(caught: ast.expr | None) -> bool:
    match caught:
        case None:
            return True
        case ast.Tuple(elts=elements):
            return any(_is_broad(element) for element in elements)
        case _:
            return dotted(caught) in {"Exception", "BaseException"}


def _raises(handler: ast.ExceptHandler) -> bool:
    # Only a raise on the way out of the handler counts; one behind an `if` lets the other errors through.
    return any(isinstance(statement, ast.Raise) for statement in handler.body)


@over([*SOURCES, *TESTS])
def test_no_mocks(path: Path) -> None:
    findings = (
        (line, f"{target}: write a double that behaves, or use one of greenroom.testing")
        for target, line in imports_of("any", parsed(path))
        if target == "mock" or target.startswith("unittest.mock")
    )
    check(path, findings)


@over([path for path in TESTS if str(path.relative_to(ROOT)) not in REAL_TIME_TESTS])
def test_tests_do_not_sleep(path: Path) -> None:
    check(path, sleep_findings(parsed(path), path.read_text(encoding="utf-8").splitlines()))


_NO_SLEEP: Final = (
    "a sleep makes a test slow or flaky: wait for an event, mark the test virtual_time, or write `# real time: <why>`"
)


def sleep_findings(tree: ast.Module, source: Sequence[str]) -> Iterator[Finding]:
    """Yields sleeps outside of virtual time. `asyncio.sleep(0)` only lets others run."""
    virtual = [
        (node.lineno, node.end_lineno or node.lineno)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and any(dotted(mark).endswith("virtual_time") for mark in node.decorator_list)
    ]
    if any("pytestmark" in line and "virtual_time" in line for line in source):
        virtual.append((1, len(source)))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or dotted(node.func) not in {"time.sleep", "asyncio.sleep", "sleep"}:
            continue
        is_zero = bool(node.args) and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
        is_virtual = dotted(node.func) != "time.sleep" and any(start <= node.lineno <= end for start, end in virtual)
        if not is_zero and not is_virtual and not re.search(r"# real time: \S", source[node.lineno - 1]):
            yield node.lineno, _NO_SLEEP


@over(python_files("src"))
def test_only_the_command_line_prints(path: Path) -> None:
    if PACKAGE / "cli" in path.parents:
        return
    findings = (
        (node.lineno, "print: return it, or log it through the `greenroom` logger")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and called_name(node) == "print"
    )
    check(path, findings)


# --- words that do not belong into the repository -----------------------------------------------------------------------

TEXT_FILES: Final = [
    path
    for path in text_files(
        ".py", ".md", ".toml", ".sql", ".txt", ".sh", ".cfg", ".yml", ".yaml", ".json", ".ts", ".tsx"
    )
    if path not in {THIS, ROOT / "LICENSE"}
]
LEFTOVERS: Final = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
WORKPLACE: Final = {
    "a folder of somebody's machine": re.compile(
        r"/root/\.|/(home/[a-z][\w-]*|Users/[A-Za-z]\w*|work/(main|shared))/|/tmp/v/|C:\\\\Users\\\\"
    ),
    "the host of a package registry": re.compile(
        r"\b(pypi\.org|pythonhosted\.org|registry\.npmjs\.org|deb\.debian\.org|crates\.io)\b"
    ),
}
RECORDED: Final = ("recordings", "golden")
"""Folders of data that came from elsewhere, byte for byte."""


@over([path for path in TEXT_FILES if not set(RECORDED) & set(path.parts)])
def test_words(path: Path) -> None:
    check(path, word_findings(path.read_text(encoding="utf-8")))


def word_findings(text: str) -> Iterator[Finding]:
    for number, line in enumerate(text.splitlines(), start=1):
        if found := LEFTOVERS.search(line):
            yield number, f"{found.group()}: do it, delete it, or file an issue"
        for what, pattern in WORKPLACE.items():
            if found := pattern.search(line):
                yield number, f"{found.group()!r} is {what}: it means nothing to others"


# --- documents ----------------------------------------------------------------------------------------------------------

DECISIONS: Final = sorted((ROOT / "docs" / "decisions").glob("*.md"))
DECISION_HEADINGS: Final = ["Context", "Choice", "Rejected", "Cost"]
CHANGES: Final = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_every_decision_has_a_number_of_its_own() -> None:
    numbers = [path.name[:4] for path in DECISIONS]
    twice = {number for number in numbers if numbers.count(number) > 1}
    assert not twice, f"docs/decisions: the numbers {sorted(twice)} are given twice"


@over(DECISIONS)
def test_a_decision_tells_what_was_rejected_and_what_it_costs(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.fullmatch(r"\d{4}-[a-z0-9]+(-[a-z0-9]+)*\.md", path.name), f"{place(path)}: name it `NNNN-some-words.md`"
    assert text.startswith("# "), f"{place(path)}: begin with a title: `# ...`"
    headings = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert headings == DECISION_HEADINGS, f"{place(path)}: the headings are {DECISION_HEADINGS}, not {headings}"


def test_the_changelog_keeps_its_shape() -> None:
    path = ROOT / "CHANGELOG.md"
    check(path, changelog_findings(path.read_text(encoding="utf-8")))


def changelog_findings(text: str) -> Iterator[Finding]:
    """Yields what differs from the form of keepachangelog.com."""
    if not text.startswith("# Changelog\n"):
        yield 1, "begin with `# Changelog`"
    versions: list[tuple[int, ...]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("### ") and line[4:] not in CHANGES:
            yield number, f"{line[4:]!r}: the sections are {', '.join(sorted(CHANGES))}"
        if not line.startswith("## ") or line == "## [Unreleased]":
            continue
        if version := re.fullmatch(r"## \[(\d+)\.(\d+)\.(\d+)\] - \d{4}-\d{2}-\d{2}", line):
            versions.append(tuple(int(part) for part in version.groups()))
        else:
            yield number, "a version is `## [1.2.3] - 2026-12-31`, the next one `## [Unreleased]`"
    if versions != sorted(set(versions), reverse=True):
        yield 1, "versions go from the newest to the oldest"


# --- dead modules -------------------------------------------------------------------------------------------------------


def test_every_module_is_used() -> None:
    modules = package_modules()
    used = {*_entry_points(), *FOR_AUTHORS}
    for name, path in modules.items():
        used.update(target for target, _ in imports_of(name, parsed(path), is_package=path.name == "__init__.py"))
        used.update(_programs_of(name, parsed(path)))
    for path in [*TESTS, *python_files("benchmarks")]:  # the test kit is for tests
        used.update(
            target for target, _ in imports_of("tests.x", parsed(path)) if target.startswith("greenroom.testing")
        )
    dead = [
        name for name, path in modules.items() if name not in used and path.name not in {"__init__.py", "__main__.py"}
    ]
    assert not dead, "nobody imports these modules: " + ", ".join(place(modules[name]) for name in dead)


def _programs_of(name: str, tree: ast.Module) -> Iterator[str]:
    """Yields the modules beside `name` that it runs as programs of their own: `Path(__file__).with_name("child.py")`."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="with_name"), args=[ast.Constant(value=str(file))]):
                yield f"{name.rpartition('.')[0]}.{file.removesuffix('.py')}"
            case _:
                pass


def _entry_points() -> Iterator[str]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    for group in (project.get("scripts", {}), *project.get("entry-points", {}).values()):
        yield from (target.partition(":")[0] for target in group.values())


# --- the checks themselves ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    f()\nexcept Exception:\n    pass",
        "try:\n    f()\nexcept:\n    log()",
        "try:\n    f()\nexcept (OSError, BaseException):\n    pass",
        "try:\n    f()\nexcept Exception:\n    if x:\n        raise",
    ],
)
def test_swallowed_errors_are_seen(source: str) -> None:
    assert list(broad_findings(ast.parse(source), source.splitlines()))


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    f()\nexcept Exception:  # broad: a tool may raise anything\n    pass",
        "try:\n    f()\nexcept BaseException:\n    undo()\n    raise",
        "try:\n    f()\nexcept OSError:\n    pass",
    ],
)
def test_honest_handlers_pass(source: str) -> None:
    assert not list(broad_findings(ast.parse(source), source.splitlines()))


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("time.sleep(1)", 1),
        ("await asyncio.sleep(0.1)", 1),
        ("await asyncio.sleep(0)", 0),
        ("await asyncio.sleep(1)  # real time: a process is starting", 0),
        ("@pytest.mark.virtual_time\nasync def test():\n    await asyncio.sleep(1)", 0),
        ("@pytest.mark.virtual_time\nasync def test():\n    time.sleep(1)", 1),
        ("pytestmark = pytest.mark.virtual_time\nasync def test():\n    await asyncio.sleep(1)", 0),
    ],
)
def test_sleeps_are_seen(source: str, count: int) -> None:
    assert len(list(sleep_findings(ast.parse(source), source.splitlines()))) == count


@pytest.mark.parametrize("text", ["# TODO: later", "see /root/.x/y", "/home/ann/x", "https://pypi.org/simple"])
def test_stray_words_are_seen(text: str) -> None:
    assert list(word_findings(text))


def test_banned_class_names_are_seen() -> None:
    tree = ast.parse("class BaseLog: ...\nclass LogImpl: ...\nclass Baseline: ...\nclass EventLog: ...")
    assert [line for line, _ in class_name_findings(tree)] == [1, 2]


def test_an_unsorted_all_is_seen() -> None:
    assert not list(all_findings(ast.parse("__all__ = ['LIMIT', 'Agent', 'tool']")))
    assert list(all_findings(ast.parse("__all__ = ['tool', 'Agent']")))


def test_bad_changelogs_are_seen() -> None:
    assert not list(changelog_findings("# Changelog\n\n## [Unreleased]\n\n### Added\n\n## [0.1.0] - 2026-11-23\n"))
    bad = "# Changelog\n\n## 0.1\n\n### New\n\n## [0.1.0] - 2026-11-23\n\n## [0.2.0] - 2026-11-24\n"
    assert [line for line, _ in changelog_findings(bad)] == [3, 5, 1]


def test_every_file_of_the_package_was_read() -> None:
    assert module_name(PACKAGE / "core" / "__init__.py") == "greenroom.core"
    assert {path.name for path in SOURCES} >= {"errors.py", "interfaces.py"}
