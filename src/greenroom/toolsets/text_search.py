"""A search through the text of a workspace: which files, in which order, and what a model is told of it.

Rule: it ends, by itself or by force, and says what it has not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator

from greenroom.interfaces import Entry, ToolError
from greenroom.limits import Limits
from greenroom.toolsets.contained import Workspace
from greenroom.toolsets.line_matcher import LineMatcher, SearchStopped
from greenroom.toolsets.listing import bounded_lines, counted
from greenroom.toolsets.relative_path import Glob
from greenroom.toolsets.text_file import is_binary


def search_lines(
    workspace: Workspace, matcher: LineMatcher, *, path: str, glob: Glob | None, lines_max: int, limits: Limits
) -> str:
    """Returns the lines that match, as `path:line: text`, with a note where that is not all.

    Args:
        workspace: where to search.
        matcher: is started and closed here.
        path: a folder or a file.
        glob: which files, by their whole path; all of them if `None`.
        lines_max: most lines to return.
        limits: how much of a file is read, and how much is returned.

    Raises:
        ToolError: the pattern is wrong, or its time was over before anything was found.
        InvalidArgument, FileNotFoundError, OSError: as `Workspace.walk`.
    """
    lines: list[str] = []
    notes: list[str] = []
    skipped = 0
    try:
        matcher.start()
        for entry in _files_at(workspace, path):
            if glob is not None and not glob.matches(entry.path.split("/")):
                continue
            content = _text_or_none(workspace, entry, limits)
            if content is None:
                skipped += 1
                continue
            lines.extend(
                f"{entry.path}:{match.line}: {match.text}" for match in matcher.matches(content, lines_max + 1)
            )
            if len(lines) > lines_max:
                break
    except SearchStopped as error:
        if not lines:
            raise ToolError(
                f"The search was stopped after {limits.workspace_search_s_max:g} s without a match. Repetition within "
                "repetition, as in (a+)+, can take for ever: simplify the pattern, or narrow path and files."
            ) from error
        notes.append(f"stopped after {limits.workspace_search_s_max:g} s: narrow path and files to search the rest")
    finally:
        matcher.close()
    kept, complete = bounded_lines(lines, lines_max=lines_max, bytes_max=limits.workspace_read_bytes_max)
    if not complete:
        notes.append("there are more: narrow the pattern, path or files, or raise limit")
    if skipped:
        notes.append(f"not searched: {counted(skipped, 'file')}, binary or too large")
    return "\n".join([*(kept or ["No line matches."]), *(f"[{note}]" for note in notes)])


def _files_at(workspace: Workspace, path: str) -> Iterator[Entry]:
    entry = workspace.find(path)
    if entry is not None and entry.kind == "file":
        yield entry
    else:
        yield from (entry for entry in workspace.walk(path) if entry.kind == "file")


def _text_or_none(workspace: Workspace, entry: Entry, limits: Limits) -> bytes | None:
    """Returns what can be searched of a file: nothing of one that was removed since it was found."""
    if entry.size_bytes > limits.workspace_file_bytes_max:
        return None
    try:
        content = workspace.read_bytes(entry.path)
    except FileNotFoundError:
        return b""
    return None if is_binary(content) else content
