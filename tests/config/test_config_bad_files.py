"""Each folder of tests/bad_config is a mistake: ``expected`` is all that the operator reads about it, line by line.

``MXGW_UPDATE=1`` writes the files anew; read the difference before you commit it.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.config import load_settings
from gateway.yamlfile import FaultsError

FOLDERS = sorted((Path(__file__).parents[1] / "bad_config").glob("[0-9]*"))
ROOT = Path(__file__).parents[2]


def _environ() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MXGW_")}
    return {**kept, "PYTHONPATH": str(ROOT)}


def _mxgw(folder: Path, *words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "gateway", *words]
    return subprocess.run(
        command, check=False, cwd=folder, env=_environ() | environ, capture_output=True, text=True, timeout=60
    )


def test_there_are_enough_mistakes() -> None:
    assert len(FOLDERS) >= 15


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_fault_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(FaultsError) as caught:
        load_settings(Path("gateway.yaml"), {})
    told = "".join(f"{fault}\n" for fault in caught.value.faults).replace(f"{folder}/", "")
    expected = folder / "expected"
    if os.environ.get("MXGW_UPDATE"):
        expected.write_text(told)
    assert told == expected.read_text()
    assert "hunter2" not in told


@pytest.mark.parametrize("folder", FOLDERS[::4], ids=lambda folder: folder.name)
def test_the_command_says_the_same_and_leaves_with_78(folder: Path) -> None:
    done = _mxgw(folder, "check-config", "gateway.yaml")
    assert done.returncode == 78
    assert done.stderr.replace(f"{folder}/", "") == (folder / "expected").read_text()
    assert done.stdout == ""


def test_run_refuses_to_start_with_a_bad_file() -> None:
    done = _mxgw(FOLDERS[0], "run", "--config", "gateway.yaml")
    assert done.returncode == 78
    assert "did you mean 'listeners'?" in done.stderr
    assert "Traceback" not in done.stderr
