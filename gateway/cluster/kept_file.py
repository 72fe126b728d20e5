"""Small files of a node that outlive it: whole or as they were, whatever happens while they are written.

Known gaps: none.
"""

from __future__ import annotations

import os
from pathlib import Path


def put_text(path: Path, text: str) -> None:
    """Write it, readable for the owner only; it is on the disk when this returns. Raises OSError."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)


def replace_text(path: Path, text: str) -> None:
    """The same in one step: nobody ever reads a part of it. Raises OSError."""
    part = path.with_suffix(".part")
    put_text(part, text)
    part.replace(path)
