"""Whether a configuration file that happens to lie in the working folder may decide where keys, code and data go.

A folder that was cloned or unpacked can hold a `greenroom.toml`. What it sets could send the user's key to another server
(`openai.base_url`), run its code (`toolsets`) or let others in (`server`). So such a file is taken only after its owner has said so
once; a file that is named by hand (`--config`, `$GREENROOM_CONFIG`, `AgentManager(config=...)`) was chosen already.

What is trusted is what the file sets: when that changes, the question comes again.

Rule: a setting needs trust unless it is listed as harmless.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from greenroom.errors import InvalidConfig

TRUST_FILE: Final = "trusted.json"
"""In the home folder that the environment names, never in one that the file names."""

HARMLESS: Final = frozenset(
    {"port", "log_level", "default_backend", "default_model", "overlap", "user_budget", "limits"}
)
"""Settings that neither name a place, nor hold a secret, nor bring code or prompts."""


class UntrustedConfig(InvalidConfig):
    """The configuration file in the working folder sets what needs trust, and is not trusted yet."""

    code = "untrusted_config"

    def __init__(self, path: Path, needs: Mapping[str, Any]) -> None:
        super().__init__(
            f"{path} sets {', '.join(names_of(needs))}, and this file is not trusted yet",
            hint="read it; if it is yours, run `greenroom trust` in its folder, or name the file yourself (--config, GREENROOM_CONFIG)",
        )
        self.path = path
        self.needs = needs


def needing_trust(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a file that need trust."""
    return {name: value for name, value in values.items() if name not in HARMLESS}


def names_of(needs: Mapping[str, Any]) -> list[str]:
    """Returns the names of settings as the file's tables spell them: `openai.base_url`."""
    names: list[str] = []
    for name, value in needs.items():
        names += [f"{name}.{inner}" for inner in value] if isinstance(value, Mapping) and value else [name]
    return names


def is_trusted(path: Path, needs: Mapping[str, Any], home: Path) -> bool:
    """Returns whether the user of `home` trusts what the file sets."""
    return _trusted(home).get(str(path.resolve())) == _fingerprint(needs)


def trust(path: Path, needs: Mapping[str, Any], home: Path) -> None:
    """Remembers that the file's settings are trusted.

    Raises:
        InvalidConfig: that cannot be written down.
    """
    _keep({**_trusted(home), str(path.resolve()): _fingerprint(needs)}, home)


def distrust(path: Path, home: Path) -> bool:
    """Forgets that the file is trusted; returns whether it was.

    Raises:
        InvalidConfig: that cannot be written down.
    """
    trusted = _trusted(home)
    was_trusted = trusted.pop(str(path.resolve()), None) is not None
    if was_trusted:
        _keep(trusted, home)
    return was_trusted


def _trusted(home: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode((home / TRUST_FILE).read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError):  # not there, or damaged: then nothing is trusted
        return {}


def _keep(trusted: Mapping[str, str], home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
        descriptor, made = tempfile.mkstemp(dir=home, prefix=".trusted-")  # readable by its owner only
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(trusted), indent=2))
            Path(made).replace(home / TRUST_FILE)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(made).unlink()
            raise
    except OSError as error:
        raise InvalidConfig(
            f"{home / TRUST_FILE} cannot be written: {error.strerror}",
            hint="set GREENROOM_HOME to a folder that can be written",
        ) from error


def _fingerprint(needs: Mapping[str, Any]) -> str:
    # TOML's dates are no JSON; nothing of ours has one.
    return hashlib.sha256(msgspec.json.encode(needs, order="deterministic", enc_hook=str)).hexdigest()
