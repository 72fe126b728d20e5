"""What all tests share: the folder of real programs on the path, a real node, and no quiet skips.

A test that lacks a real program skips with "real component missing: ...". All such are listed at the end of the run;
with MXGW_REQUIRE_REAL=1 (make check) each is a failure.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
for folder in (HERE, HERE / "real"):
    sys.path.insert(0, str(folder))

from node_process import NodeProcess  # noqa: E402

MISSING = "real component missing:"


ALONE = (
    "balancers/test_balancers_under_load.py",
    "cluster/test_cluster_drills.py",
    "cluster/test_cluster_two_sites.py",
    "crash/",
    "floods/",
    "outages/test_store_drills.py",
)
"""Tests that flood a node, or make a fault in one certain moment: they want the machine for themselves."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.relative_to(HERE).as_posix().startswith(ALONE):
            item.add_marker(pytest.mark.alone)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    outcome: Any = yield
    report: pytest.TestReport = outcome.get_result()
    if not report.skipped or not isinstance(report.longrepr, tuple) or MISSING not in report.longrepr[2]:
        return
    reason = report.longrepr[2].removeprefix("Skipped: ")
    if os.environ.get("MXGW_REQUIRE_REAL") == "1":
        report.outcome = "failed"
        report.longrepr = f"{reason}; MXGW_REQUIRE_REAL=1 does not allow to leave it out"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    # from the reports, since these come together from all processes that run tests
    left_out: dict[str, list[str]] = {}
    for report in (*terminalreporter.stats.get("skipped", ()), *terminalreporter.stats.get("failed", ())):
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if MISSING in text:
            reason = text.removeprefix("Skipped: ").partition("; MXGW_REQUIRE_REAL")[0]
            left_out.setdefault(reason, []).append(report.nodeid)
    if not left_out:
        return
    terminalreporter.section("LEFT OUT: real components that are missing", sep="!", red=True)
    for reason, tests in sorted(left_out.items()):
        terminalreporter.line(f"{reason}: {len(tests)} tests, {tests[0]} ...")


@pytest.fixture
def start_node(tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Starts real nodes: ``start_node(settings={...}, policy="yaml text")``; ends them after the test."""
    started: list[NodeProcess] = []

    def start(**given: Any) -> NodeProcess:
        node = NodeProcess(tmp_path / f"node{len(started)}", **given)
        started.append(node)
        node.wait_ready()
        return node

    yield start
    for node in started:
        node.end()


@pytest.fixture
def node_process(start_node: Callable[..., NodeProcess]) -> NodeProcess:
    """One real node with two workers, a Maildir and no DNS."""
    return start_node()
