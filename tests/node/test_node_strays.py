"""A worker that goes on with another policy than its node's is told of once; one that is a moment late is not."""

from __future__ import annotations

import pytest

from gateway.node.strays import PATIENCE, Strays
from gateway.ops.health import WorkerHealth


def test_a_worker_with_another_policy_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    strays = Strays()
    workers = {7: WorkerHealth(7, beat={"policy": "aaaa"}), 8: WorkerHealth(8, beat={"policy": "bbbb"}), 9: WorkerHealth(9)}
    strays.see(workers, "bbbb", 0.0)
    workers[7].beat = {"policy": "bbbb"}
    strays.see(workers, "bbbb", PATIENCE)
    assert not caplog.records
    workers[7].beat = {"policy": "aaaa"}
    for now in (100.0, 101.0, 100.0 + PATIENCE, 101.0 + PATIENCE):
        strays.see(workers, "bbbb", now)
    assert [record.getMessage() for record in caplog.records] == [
        "worker 7 serves policy aaaa, in force is bbbb: restart the node"
    ]
