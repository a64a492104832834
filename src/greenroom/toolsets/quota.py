"""How much a workspace may hold, and how much it does.

It is counted anew before each change that adds something. A remembered number would be faster, and wrong as soon as anybody else
writes into the folder.

Rule: counting never fails because of what it finds, and stops where the answer is clear.
"""

from __future__ import annotations

from contextlib import suppress

from greenroom.errors import LimitExceeded
from greenroom.limits import PATH_DEPTH_MAX, Limits
from greenroom.toolsets.entry import SpaceUsed, kind_of
from greenroom.toolsets.folder import Folder
from greenroom.toolsets.prepared import discard, is_leftover


def space_used(folder: Folder, limits: Limits, *, depth_max: int = PATH_DEPTH_MAX) -> SpaceUsed:
    """Returns what is used below a folder, and removes what crashes have left there."""
    entries, size_bytes = 0, 0
    for name in folder.names():
        if entries > limits.workspace_files_max:
            break  # full: how full does not matter
        # Somebody else removed or replaced it meanwhile, or it is closed to us.
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            found = folder.stat(name)
            if is_leftover(name, found):
                discard(folder, name)
                continue
            entries += 1
            if kind_of(found) != "folder":
                size_bytes += found.st_size
            elif depth_max > 1:
                with folder.open_folder(name) as below:
                    inner = space_used(below, limits, depth_max=depth_max - 1)
                entries, size_bytes = entries + inner.entries, size_bytes + inner.size_bytes
    return SpaceUsed(entries=entries, size_bytes=size_bytes)


def check_room(used: SpaceUsed, limits: Limits, *, entries: int, size_bytes: int) -> None:
    """Accepts a change that adds so many entries and bytes.

    Raises:
        LimitExceeded: there is no room for it.
    """
    hint = "delete what is no longer needed"
    if entries > 0 and used.entries + entries > limits.workspace_files_max:
        raise LimitExceeded(
            f"the workspace has room for {limits.workspace_files_max} files and folders, and holds {used.entries}",
            hint=hint,
        )
    if size_bytes > 0 and used.size_bytes + size_bytes > limits.workspace_bytes_max:
        raise LimitExceeded(
            f"the workspace has room for {limits.workspace_bytes_max} bytes, and holds {used.size_bytes}", hint=hint
        )
