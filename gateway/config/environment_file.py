"""Variables in the file ``environment`` beside the settings: what systemd's EnvironmentFile= gives the node, so that
commands from a root shell see the store and the secret that the node sees.

Read as systemd.exec(5) has it: ``NAME=VALUE`` a line, comments with ``#`` or ``;``, quotes, backslashes.

Known gaps: a value that goes on over several lines.
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway.config.masking import masked
from gateway.yamlfile import Fault

NAME: Final = "environment"
_QUOTED = re.compile(r"""'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)\"""", re.DOTALL)


@dataclass(frozen=True, slots=True)
class EnvironmentFile:
    """variables: name -> value and line. fault: why it cannot be read; without it a command would go to another store
    and say that all is well. bare: it holds a secret, and every user of the machine can read it."""

    path: Path
    variables: dict[str, tuple[str, int]] = field(default_factory=dict)
    fault: Fault | None = None
    bare: bool = False


def read_environment(folder: Path) -> EnvironmentFile:
    """What stands in it; nothing where there is no such file."""
    path = folder / NAME
    try:
        if not path.is_file():
            return EnvironmentFile(path)
        # as systemd: what is no UTF-8 spoils its own line only, and none in a comment
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        modes = path.stat().st_mode, path.parent.stat().st_mode
    except OSError as error:
        problem = f"cannot be read: {error.strerror or type(error).__name__}"
        remedy = "be root or in its group, or give both MXGW_STORE and MXGW_SECRET yourself"
        return EnvironmentFile(path, fault=Fault(str(path), 0, "", problem, remedy))
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith(("#", ";")):
            found[name.strip()] = _plain(value.strip()), number
    store = found.get("MXGW_STORE", ("", 0))[0]
    secret = bool(found.get("MXGW_SECRET", ("", 0))[0]) or masked(store) != store
    bare = secret and bool(modes[0] & stat.S_IROTH and modes[1] & stat.S_IXOTH)
    return EnvironmentFile(path, found, bare=bare)


def _plain(value: str) -> str:
    quoted = _QUOTED.fullmatch(value)
    if quoted is None:
        return re.sub(r"\\(.)", r"\1", value)
    if quoted["single"] is not None:
        return quoted["single"]
    return re.sub(r'\\(["\\`$])', r"\1", quoted["double"])
