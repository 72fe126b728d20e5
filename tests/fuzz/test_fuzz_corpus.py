"""Every octet string of the corpus, seeds and findings, through its target."""

from __future__ import annotations

import gc
from collections import Counter
from pathlib import Path

import pytest
from fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
FILES = sorted(file for file in CORPUS.rglob("*") if file.is_file())


def test_every_target_has_seeds() -> None:
    assert {file.parent.name for file in FILES} == set(TARGETS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_corpus(file: Path) -> None:
    TARGETS[file.parent.name](file.read_bytes())


def ours() -> Counter[str]:
    gc.collect()
    return Counter(type(item).__qualname__ for item in gc.get_objects() if str(type(item).__module__).startswith("gateway."))


def test_sessions_leave_nothing_in_memory() -> None:
    octets = [file.read_bytes() for file in FILES if file.parent.name == "session"]
    others = ours()  # what tests before this one still hold
    rounds = []
    for _ in range(2):
        for one in octets:
            TARGETS["session"](one)
        rounds.append(ours())
    print(f"{len(octets)} sessions left {rounds[1].total() - rounds[0].total()} objects of {rounds[1].total()}")
    # what is made once stays: tables, compiled policies
    assert rounds[1] == rounds[0]
    left = rounds[1] - others
    assert not left["Session"] + left["Reception"] + left["SmtpServer"] + left["Message"]
