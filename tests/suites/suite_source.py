"""Public test suites that come from source distributions on the package index, fetched once into ``.test/``."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import pytest

CACHE = Path(__file__).parents[2] / ".test" / "suites"


def member(distribution: str, path: str) -> bytes:
    """One file of the source distribution of the installed version. A suite that cannot be had is a failure, never a
    silent skip. path: without the top folder."""
    number = version(distribution)
    archive = CACHE / f"{distribution}-{number}.tar.gz"
    if not archive.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--no-binary", ":all:", "--dest", str(CACHE), f"{distribution}=={number}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode or not archive.exists():
            pytest.fail(f"the suite of {distribution} {number} cannot be fetched: {done.stderr.strip()[-600:]}")
    with tarfile.open(archive) as opened:
        file = opened.extractfile(f"{distribution}-{number}/{path}")
        assert file is not None, path
        return file.read()
