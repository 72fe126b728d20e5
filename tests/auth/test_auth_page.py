"""docs/authentication.md is true: every test that it names exists, and its tables hold the words that the code can say."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from gateway.policy.vocabulary import VOCABULARY

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "authentication.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"\b(test_\w+)::(test_\w+)\b", PAGE)))
SOURCES = {
    "DKIM": ["checks/dkim.py", "auth/dkim_verify.py", "auth/dkim_signature.py", "auth/dkim_key.py"],
    "DMARC": ["checks/dmarc.py"],
    "ARC": ["checks/arc.py", "auth/arc_verify.py"],
    "iprev": ["checks/iprev.py"],
}


def section(title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def reasons(path: Path) -> set[str]:
    """The literal words with which results and faults are made."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in ("Finding", "DkimFinding", "judged", "result", "KeyFault", "Fault", "_Broken"):
            found |= {
                arg.value
                for arg in node.args[-2:]
                if name not in ("Finding", "DkimFinding")
                if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
            }
            if name in ("Finding", "DkimFinding") and len(node.args) > 2 and isinstance(node.args[2], ast.Constant):
                found.add(node.args[2].value)
    return found


def test_the_page_names_tests() -> None:
    assert len(NAMED) >= 40


@pytest.mark.parametrize(("file", "function"), NAMED, ids="::".join)
def test_each_test_that_is_named_exists(file: str, function: str) -> None:
    (path,) = (ROOT / "tests").rglob(f"{file}.py")
    names = {
        node.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert function in names


@pytest.mark.parametrize("check", ["SPF", "DKIM", "DMARC", "ARC", "iprev"])
def test_each_word_that_a_check_can_say_is_explained(check: str) -> None:
    first = {word for row in re.findall(r"^\| ([a-z, ]+) \|", section(check), re.MULTILINE) for word in row.split(", ")}
    # arc says fail for what has other words elsewhere; dmarc has no policy of its own
    possible = {outcome.value for outcome in VOCABULARY[check.lower()].outcomes} | {"temperror"}
    spare = {
        "ARC": {"neutral", "policy", "permerror"},
        "DMARC": {"policy"},
        "SPF": {"policy"},
        "DKIM": {"neutral"},
        "iprev": {"none"},
    }
    assert possible - spare[check] <= first <= possible | {"word"}


@pytest.mark.parametrize("check", SOURCES)
def test_each_reason_that_stands_in_the_code_is_explained(check: str) -> None:
    words = set().union(*(reasons(ROOT / "gateway" / path) for path in SOURCES[check]))
    words = {word for word in words if re.fullmatch(r"[a-z]+(?:-[a-z]+)+|[a-z]{4,}", word)}
    assert words
    told = set(re.findall(r"`([a-z-]+)`", section(check)))
    assert not words - told, words - told
