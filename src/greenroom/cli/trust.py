"""`greenroom trust`: says that the configuration file in a folder is one's own.

Rule: nothing is trusted before what the file sets was shown.
"""

from __future__ import annotations

from pathlib import Path

from greenroom.cli.output import OK, print_json, print_line, print_note
from greenroom.cli.running import shown
from greenroom.errors import InvalidConfig
from greenroom.settings import FILE_NAME, read_file, users_home
from greenroom.trust import distrust, needing_trust, trust


def trust_file(folder: str | None, *, forget: bool, as_json: bool) -> int:
    """Runs the command.

    Raises:
        InvalidConfig: there is no such file, it is not TOML, or the answer cannot be kept.
    """
    path = Path(folder or ".").expanduser()
    path = (path / FILE_NAME if path.is_dir() else path).absolute()
    home = users_home()
    if forget:
        was_trusted = distrust(path, home)
        if as_json:
            print_json({"file": str(path), "trusted": False})
        else:
            print_line(f"{path} is not trusted any more" if was_trusted else f"{path} was not trusted")
        return OK
    if not path.is_file():
        raise InvalidConfig(f"there is no {path}", hint="give the folder of a greenroom.toml")
    needs = needing_trust(read_file(path))
    for line in shown(needs):
        print_note(f"  {line}")
    trust(path, needs, home)
    if as_json:
        print_json({"file": str(path), "trusted": True})
    else:
        print_line(f"{path} is trusted, as long as it sets no more than this")
    return OK
