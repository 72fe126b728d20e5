"""`make test` gives what failed beside others a second, quiet attempt; it never hides it and never helps what is broken.

Known gaps: none known.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUN_TESTS = Path(__file__).parents[2] / "deploy" / "dev" / "run-tests"
SETTINGS = """
[pytest]
markers =
    alone: runs by itself
"""
FAILS_ONCE = """
import pathlib, pytest

@pytest.mark.parametrize("number", range({count}))
def test_fails_once(number):
    seen = pathlib.Path(f"seen-{{number}}")
    if not seen.exists():
        seen.touch()
        pytest.fail("no time was given")
"""
FAILS = "def test_fails():\n    assert 1 == 2\n"
PASSES = "def test_passes():\n    pass\n"
ALONE = "import pytest\n@pytest.mark.alone\ndef test_alone():\n    print('alone')\n"


def run(folder: Path, **tests: str) -> subprocess.CompletedProcess[str]:
    (folder / "pytest.ini").write_text(SETTINGS, encoding="utf-8")
    for name, text in tests.items():
        (folder / f"test_{name}.py").write_text(text, encoding="utf-8")
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    # a link would leave the environment that holds pytest
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    return subprocess.run([RUN_TESTS, "2"], cwd=folder, capture_output=True, text=True, check=False, timeout=100)


def test_all_pass_and_nothing_runs_twice(tmp_path: Path) -> None:
    done = run(tmp_path, one=PASSES, two=ALONE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert "ONCE MORE" not in done.stdout + done.stderr


def test_what_fails_beside_others_runs_once_more_and_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, one=FAILS_ONCE.format(count=2), two=PASSES)
    assert done.returncode == 0, done.stdout + done.stderr
    named = [line for line in done.stdout.splitlines() if line.startswith("PASSED ONLY AT THE SECOND ATTEMPT:")]
    assert [line.rpartition("[")[2] for line in sorted(named)] == ["0]", "1]"]


@pytest.mark.parametrize(
    "tests",
    [{"one": FAILS}, {f"n{n}": FAILS_ONCE.replace("seen-", f"seen-{n}-").format(count=1) for n in range(6)}, {"one": "import nothing_of_that_name\n"}, {"two": ALONE + FAILS}],
    ids=["fails twice", "six files fail", "cannot be imported", "alone part"],
)
def test_what_is_broken_fails_the_run(tmp_path: Path, tests: dict[str, str]) -> None:
    done = run(tmp_path, **tests)
    assert done.returncode != 0, done.stdout + done.stderr
    assert "PASSED ONLY" not in done.stdout
