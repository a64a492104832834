"""The files of a session, as a model works with them.

Every tool is one call of `Workspace` in a thread, so that no disk keeps the event loop waiting. A call that is cancelled lets the
thread go and tells it to stop: what it prepared is thrown away, and nothing appears afterwards that was not there before.

Rule: a tool returns paths relative to the workspace, tells the model what was left out, and how to get it.
"""
# ruff: noqa: D417 - the docstrings of tools are for the model, which does not see the context

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Annotated, Final, Literal, TypeVar

from msgspec import Meta

from greenroom.errors import InvalidArgument, LimitExceeded
from greenroom.interfaces import Entry, ToolContext, ToolError
from greenroom.limits import PATH_DEPTH_MAX, Limits
from greenroom.thread_shares import ThreadShares
from greenroom.toolsets.contained import Workspace
from greenroom.toolsets.function import Toolset, tool
from greenroom.toolsets.line_matcher import LineMatcher
from greenroom.toolsets.listing import bounded_lines, counted
from greenroom.toolsets.relative_path import Glob, parse_path
from greenroom.toolsets.text_file import decoded, edited, line_range
from greenroom.toolsets.text_search import search_lines

_T = TypeVar("_T")

_SIMILAR_AMONG: Final = 1000
_MATCHES_MAX: Final = 1000

LineNumber = Annotated[int, Meta(ge=1)]


class WorkspaceTools(Toolset):
    """Reads, writes, finds and searches files in a folder that belongs to the session."""

    def __init__(self) -> None:
        self._shares: dict[str, ThreadShares] = {}

    @tool(effect="pure")
    async def list_files(self, context: ToolContext, path: str = "") -> str:
        """Lists one folder. Folders end with a slash; links are not followed.

        Args:
            path: The folder; the workspace itself if left out.
        """
        return await self._run(
            context,
            path,
            lambda workspace: _listed(
                map(_line, workspace.list(path)),
                context.limits,
                nothing="The folder is empty.",
                remedy="list a folder in it",
            ),
        )

    @tool(effect="pure")
    async def tree(
        self, context: ToolContext, path: str = "", depth: Annotated[int, Meta(ge=1, le=PATH_DEPTH_MAX)] = 3
    ) -> str:
        """Shows a folder and the folders below it.

        Args:
            path: The folder; the workspace itself if left out.
            depth: How many levels to show.
        """

        def work(workspace: Workspace) -> str:
            above = len(parse_path(path))
            lines = (_indented(entry, above) for entry in workspace.walk(path, depth_max=depth))
            return _listed(
                lines, context.limits, nothing="The folder is empty.", remedy="show a folder in it, or less depth"
            )

        return await self._run(context, path, work)

    @tool(effect="pure")
    async def read_file(
        self,
        context: ToolContext,
        path: str,
        start_line: LineNumber = 1,
        end_line: LineNumber | None = None,
        start_column: LineNumber = 1,
    ) -> str:
        """Reads a text file, or some lines of it. A long file is cut, with a note on how to go on.

        Args:
            path: The file.
            start_line: First line to read; lines count from 1.
            end_line: Last line to read; the last of the file if left out.
            start_column: First character to read of the first line, where a note says so.
        """

        def work(workspace: Workspace) -> str:
            text = decoded(workspace.read_bytes(path), path)
            bytes_max = context.limits.workspace_read_bytes_max
            return line_range(text, start_line, end_line, start_column=start_column, bytes_max=bytes_max)

        return await self._run(context, path, work)

    @tool(effect="idempotent")
    async def write_file(self, context: ToolContext, path: str, content: str) -> str:
        """Writes a text file: makes it, with the folders that it needs, or replaces it as a whole.

        Args:
            path: The file.
            content: All of its text.
        """
        encoded = _encoded(content)

        def work(workspace: Workspace) -> str:
            replaced = workspace.write_bytes(path, encoded)
            return f"{'Replaced' if replaced else 'Wrote'} {path} ({counted(len(encoded), 'byte')})."

        return await self._run(context, path, work)

    @tool(effect="once")
    async def append_file(self, context: ToolContext, path: str, content: str) -> str:
        """Adds text to the end of a file, which is made if it does not exist.

        Args:
            path: The file.
            content: Text to add exactly as it is; begin or end it with a line break where one is needed.
        """
        encoded = _encoded(content)

        def work(workspace: Workspace) -> str:
            size_bytes = workspace.append_bytes(path, encoded)
            return f"Added {counted(len(encoded), 'byte')} to {path}, which has {size_bytes} now."

        return await self._run(context, path, work)

    @tool(effect="once")
    async def edit_file(
        self,
        context: ToolContext,
        path: str,
        old_text: str,
        new_text: str,
        count: LineNumber | Literal["all"] = 1,
    ) -> str:
        """Replaces exact text in a file. Nothing changes unless old_text occurs as often as expected.

        Args:
            path: The file.
            old_text: The text to replace, with its white space; with enough around it to be unique.
            new_text: The text to put there.
            count: How often old_text occurs, or "all" to replace it wherever it is.
        """

        def work(workspace: Workspace) -> str:
            with workspace.changing(path) as file:
                text, replaced = edited(decoded(file.content, path), old_text, new_text, count)
                file.content = _encoded(text)
            return f"Replaced {counted(replaced, 'place')} in {path}."

        return await self._run(context, path, work)

    @tool(effect="pure")
    async def find_files(self, context: ToolContext, pattern: str, path: str = "") -> str:
        """Finds files and folders by name.

        Args:
            pattern: With * and ? within a name and ** for any folders, for example *.py or src/**/test_*.py. Without a slash it
                is looked for in all folders.
            path: Folder to look in; the workspace itself if left out.
        """

        def work(workspace: Workspace) -> str:
            glob, above = _glob(pattern), len(parse_path(path))
            found = (entry for entry in workspace.walk(path) if glob.matches(entry.path.split("/")[above:]))
            return _listed(
                map(_line, found), context.limits, nothing=f"Nothing matches {pattern!r}.", remedy="narrow the pattern"
            )

        return await self._run(context, path, work)

    @tool(effect="pure")
    async def search_files(
        self,
        context: ToolContext,
        pattern: str,
        path: str = "",
        *,
        files: str | None = None,
        ignore_case: bool = False,
        limit: Annotated[int, Meta(ge=1, le=_MATCHES_MAX)] = 100,
    ) -> str:
        """Searches the lines of text files for a regular expression.

        Args:
            pattern: Regular expression (Python); it is tried on each line.
            path: Folder or file to search; the whole workspace if left out.
            files: Only files whose names match this pattern, for example *.py.
            ignore_case: Whether upper and lower case are the same.
            limit: Most lines to return.
        """
        limits = context.limits
        glob = None if files is None else _glob(files)
        with LineMatcher(pattern, ignore_case=ignore_case, time_s_max=limits.workspace_search_s_max) as matcher:

            def work(workspace: Workspace) -> str:
                return search_lines(workspace, matcher, path=path, glob=glob, lines_max=limit, limits=limits)

            return await self._run(context, path, work, kind="search")

    @tool(effect="once")
    async def move_file(
        self,
        context: ToolContext,
        source: str,
        target: str,
        *,
        overwrite: bool = False,
    ) -> str:
        """Moves or renames a file or folder.

        Args:
            source: What to move.
            target: Its new path, including its name.
            overwrite: Whether a file at target may be replaced.
        """

        def work(workspace: Workspace) -> str:
            workspace.move(source, target, replace=overwrite)
            return f"Moved {source} to {target}."

        return await self._run(context, source, work)

    @tool(effect="once")
    async def copy_file(
        self,
        context: ToolContext,
        source: str,
        target: str,
        *,
        overwrite: bool = False,
    ) -> str:
        """Copies a file, or a folder with everything in it.

        Args:
            source: What to copy.
            target: Path of the copy, including its name.
            overwrite: Whether a file at target may be replaced.
        """

        def work(workspace: Workspace) -> str:
            left_out = workspace.copy(source, target, replace=overwrite)
            note = f" Left out: {counted(left_out, 'link or special file')}." if left_out else ""
            return f"Copied {source} to {target}.{note}"

        return await self._run(context, source, work)

    @tool(effect="idempotent")
    async def delete_file(
        self,
        context: ToolContext,
        path: str,
        *,
        recursive: bool = False,
    ) -> str:
        """Deletes a file or folder for good.

        Args:
            path: What to delete.
            recursive: Must be true for a folder that is not empty.
        """

        def work(workspace: Workspace) -> str:
            if workspace.remove(path, recursive=recursive):
                return f"Deleted {path}."
            return f"There is nothing to delete: {path} does not exist.{_similar(workspace, path)}"

        return await self._run(context, path, work)

    @tool(effect="idempotent")
    async def make_folder(self, context: ToolContext, path: str) -> str:
        """Makes a folder, with those above it. Writing a file makes its folders by itself.

        Args:
            path: The folder.
        """
        return await self._run(
            context,
            path,
            lambda workspace: f"Made {path}." if workspace.make_folder(path) else f"{path} exists already.",
        )

    async def close(self) -> None:
        """Begins nothing more."""
        shares, self._shares = self._shares, {}
        for share in shares.values():
            share.close()

    async def _run(
        self,
        context: ToolContext,
        path: str,
        work: Callable[[Workspace], _T],
        *,
        kind: Literal["files", "search"] = "files",
    ) -> _T:
        """Returns what `work` returns, done in a thread of its kind when it is the user's turn.

        Raises:
            ToolError: whatever is wrong, in words for the model. A missing file is answered with paths similar to `path`.
        """
        stop = threading.Event()

        def attempt() -> _T:
            workspace = Workspace(context.workspace, limits=context.limits, stop=stop)
            try:
                return work(workspace)
            except FileNotFoundError as error:
                raise ToolError(f"{error}.{_similar(workspace, path)}") from error

        try:
            return await self._threads(kind, context.limits).run(context.user_id, attempt)
        except asyncio.CancelledError:
            stop.set()
            raise
        except (InvalidArgument, LimitExceeded) as error:
            raise ToolError(str(error)) from error
        except OSError as error:
            raise ToolError(f"{error.filename or path}: {error.strerror or error}") from error

    def _threads(self, kind: Literal["files", "search"], limits: Limits) -> ThreadShares:
        if kind not in self._shares:
            name = f"greenroom-{kind}"
            if kind == "search":
                self._shares[kind] = ThreadShares(
                    name, threads_max=limits.search_threads_max, per_user_max=limits.search_threads_per_user_max
                )
            else:
                self._shares[kind] = ThreadShares(
                    name, threads_max=limits.file_threads_max, per_user_max=limits.file_threads_per_user_max
                )
        return self._shares[kind]


def _similar(workspace: Workspace, path: str) -> str:
    """Returns a sentence with paths that look like one that does not exist."""
    # Only where something went wrong anyway: the module takes as long to import as a small file takes to read.
    import difflib

    paths: list[str] = []
    with suppress(OSError):  # a hint is not worth an error of its own
        for entry in workspace.walk():
            paths.append(entry.path)
            if len(paths) == _SIMILAR_AMONG:
                break
    if not paths:
        return " The workspace is empty."
    last_name = path.rstrip("/").rpartition("/")[2]
    similar = difflib.get_close_matches(path, paths) or [p for p in paths if p.rpartition("/")[2] == last_name][:3]
    return f" Similar: {', '.join(similar)}." if similar else ""


def _glob(pattern: str) -> Glob:
    try:
        return Glob(pattern)
    except InvalidArgument as error:
        raise ToolError(str(error)) from error


def _listed(lines: Iterator[str], limits: Limits, *, nothing: str, remedy: str) -> str:
    kept, complete = bounded_lines(
        lines, lines_max=limits.workspace_lines_max, bytes_max=limits.workspace_read_bytes_max
    )
    note: Sequence[str] = () if complete else (f"[there are more: {remedy}]",)
    return "\n".join([*kept, *note]) or nothing


def _line(entry: Entry) -> str:
    return entry.path + _suffix(entry)


def _indented(entry: Entry, above: int) -> str:
    names = entry.path.split("/")
    return "  " * (len(names) - above - 1) + names[-1] + _suffix(entry)


def _suffix(entry: Entry) -> str:
    match entry.kind:
        case "folder":
            return "/"
        case "file":
            return f" ({counted(entry.size_bytes, 'byte')})"
        case "link":
            return " (a link, not followed)"
        case "other":
            return " (a special file, cannot be used)"


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ToolError("The text contains half of a surrogate pair, which no file can hold in UTF-8.") from error
