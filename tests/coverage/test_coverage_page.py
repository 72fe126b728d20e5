"""docs/coverage.md: every line that the guides ask for, once; and every page, test and command named there exists."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from gateway.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "coverage.md"
TEXT = PAGE.read_text(encoding="utf-8")
RANGES = {"S0-": 101, "S1-": 63, "S2-": 72, "S2-H": 24, "S3-": 15, "X-": 10}
"""Prefix of an id -> how many there are."""
WITHOUT_TEST = {"S0-12", "S0-94", "S1-55", "S1-61", "S1-63", "S2-09", "S2-65", "S2-H24"}
"""Lines that ask for words, or for what is ruled out; their words are looked for below."""


def rows() -> Iterator[list[str]]:
    """id, asked, met by, shown by."""
    for line in TEXT.splitlines():
        if re.match(r"\| (S\d|X)-", line):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            assert len(cells) == 4, line
            yield cells


@cache
def functions(file: Path) -> frozenset[str]:
    return frozenset(re.findall(r"(?m)^(?:async )?def (test_\w+)\(", file.read_text(encoding="utf-8")))


def test_every_line_is_there_once() -> None:
    wanted = Counter(f"{prefix}{n:02}" for prefix, last in RANGES.items() for n in range(1, last + 1))
    assert Counter(cells[0] for cells in rows()) == wanted


def test_every_line_says_what_where_and_how_it_is_shown() -> None:
    for name, asked, met, shown in rows():
        assert asked, name
        assert met, name
        assert ("`" in shown) != (name in WITHOUT_TEST), name
        assert name not in WITHOUT_TEST or "](" in met, name


def test_each_test_that_is_named_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", TEXT)
    assert len(named) > 300
    assert len(re.findall(r"\.py::", TEXT)) == len(named)
    missing = {f"{file}::{name}" for file, name in named if name not in functions(ROOT / "tests" / file)}
    assert missing == set()


def test_each_page_and_file_that_is_named_exists() -> None:
    targets = re.findall(r"\]\(([^)]+)\)", TEXT)
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"(?m)^#+ (.+)$", TEXT)}
    assert {target[1:] for target in targets if target.startswith("#")} <= headings
    files = {target for target in targets if not target.startswith("#")}
    assert {file for file in files if not (PAGE.parent / file).is_file()} == set()


def test_each_command_metric_and_alert_that_is_named_exists() -> None:
    words = {words.split()[0] for words in re.findall(r"`mxgw ([a-z][^`]*)`", TEXT)}
    assert words
    assert words - set(COMMANDS) == set()
    # that page is made from the definitions
    known = set(re.findall(r"(?m)^\| `(mxgw_\w+)`", (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")))
    assert set(re.findall(r"`(mxgw_\w+)`", TEXT)) - known == set()
    alerts = (ROOT / "deploy" / "prometheus" / "mxgw-alerts.yaml").read_text(encoding="utf-8")
    for alert in re.findall(r"`(Mxgw\w+)`", TEXT):
        assert f"alert: {alert}\n" in alerts, alert


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("topologies.md", "State the goal first"),  # S0-94
        ("topologies.md", "Nobody can promise a share, and no rotation"),  # S1-61, S2-09
        ("topologies.md", "Then a balancer with checks"),  # S1-63
        ("topologies.md", "It is a helper beside several MX hosts"),  # S2-65
        ("load-balancers.md", "smtpd_upstream_proxy_protocol"),  # S2-H24
        ("coverage.md", "No spam, virus or DLP scanner"),  # S0-11
        ("coverage.md", "A journal belongs to the mailstore"),  # S0-12
        ("coverage.md", "The node publishes where they go and reads none"),  # S1-55
    ],
)
def test_what_no_test_can_show_is_said(page: str, words: str) -> None:
    said = " ".join((PAGE.parent / page).read_text(encoding="utf-8").split())
    assert words in said
