"""Paths in a settings file: relative ones are relative to its folder, which the validation context names.

Known gaps: none.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo


def beside_settings(value: Path, info: ValidationInfo) -> Path:
    """The path as it is to be opened; without a context (``{"folder": Path}``) it stays as it is."""
    folder = (info.context or {}).get("folder")
    # the path is shown in logs and answers: without the ".." of a file that lies elsewhere
    return Path(os.path.normpath(folder / value)) if isinstance(folder, Path) else value


RelativePath = Annotated[Path, AfterValidator(beside_settings)]
