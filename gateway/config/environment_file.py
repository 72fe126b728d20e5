"""Variables in the file ``environment`` beside the settings: what systemd's EnvironmentFile= gives the node, so that
commands from a root shell see the store and the secret that the node sees.

Read as systemd.exec(5) has it: ``NAME=VALUE`` a line, comments with ``#`` or ``;``, quotes, backslashes.

Known gaps: a value that goes on over several lines.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from gateway.yamlfile import Fault, FaultsError

NAME: Final = "environment"
_QUOTED = re.compile(r"""'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)\"""", re.DOTALL)


def read_environment(folder: Path) -> dict[str, tuple[str, int]]:
    """Name -> value and line; empty where there is no such file. Raises FaultsError where it cannot be read: without
    it a command would go to another store and say that all is well."""
    path = folder / NAME
    if not path.is_file():
        return {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        remedy = "be root or in its group, or say its variables yourself"
        raise FaultsError([Fault(str(path), 0, "", f"cannot be read: {why}", remedy)]) from error
    found = {}
    for number, line in enumerate(lines, 1):
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith(("#", ";")):
            found[name.strip()] = _plain(value.strip()), number
    return found


def _plain(value: str) -> str:
    quoted = _QUOTED.fullmatch(value)
    if quoted is None:
        return re.sub(r"\\(.)", r"\1", value)
    if quoted["single"] is not None:
        return quoted["single"]
    return re.sub(r'\\(["\\`$])', r"\1", quoted["double"])
