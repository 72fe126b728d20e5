"""Three nodes behind the haproxy of docs/load-balancers.md, under a constant load: restarted one after the other, killed,
drained by the administration socket. Nothing that was answered 250 is lost, nothing is there twice that was answered once."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from haproxy import Haproxy, free_port
from load import Load
from node_process import NodeProcess
from nodes import Nodes
from page import block, changed

SENDERS = 4
UP = {"mx1": "UP L7OK", "mx2": "UP L7OK", "mx3": "UP L7OK"}


def of_the_page(front: int, ports: list[int]) -> str:
    text = changed(block("haproxy"), front, ports, maxconn_20000="maxconn 500")
    # the socket is the test's own: see Haproxy
    lines = [line for line in text.splitlines(keepends=True) if "stats socket" not in line]
    assert len(lines) == len(text.splitlines()) - 1
    return "".join(lines)


def kill_all(node: NodeProcess) -> None:
    """The supervisor and its workers, with SIGKILL."""
    children = Path(f"/proc/{node.process.pid}/task/{node.process.pid}/children").read_text().split()
    assert children
    for pid in (node.process.pid, *map(int, children)):
        os.kill(pid, signal.SIGKILL)
    node.process.wait(10)


def test_restarts_drains_and_a_kill_under_a_constant_load(nodes: Nodes, tmp_path: Path) -> None:
    front, ports = free_port(), [free_port() for _ in range(3)]
    running = [nodes.add(f"127.0.0.1:{port}") for port in ports]
    with Haproxy(tmp_path, of_the_page(front, ports)) as balancer:
        balancer.wait(UP)
        with Load(front, SENDERS) as load:
            load.wait(20)
            assert load.seen() == (set(), 0), "a calm day"

            for number, port in enumerate(ports):
                assert running[number].stop() == 0, "SIGTERM: it drains"
                running[number] = nodes.add(f"127.0.0.1:{port}")
                balancer.wait(UP)
                load.wait(20)
            refusals, lost = load.seen()
            assert refusals <= {421}, "rolling restart"
            assert lost == 0

            kill_all(running[1])
            load.wait(20)
            balancer.wait({"mx1": "UP", "mx2": "DOWN", "mx3": "UP"})
            load.wait(20)
            refusals, lost = load.seen()
            assert refusals == set(), "kill: a session is cut, and nothing else"
            assert lost <= SENDERS, "of each sender one session at most"

            balancer.ask("set server mx_nodes/mx1 state drain")
            end = time.monotonic() + 30
            while next(row["scur"] for row in balancer.rows() if row["svname"] == "mx1") != "0":
                assert time.monotonic() < end
                time.sleep(0.02)
            assert running[0].stop() == 0
            load.wait(20)
            assert load.seen() == (set(), 0), "drained by the administration socket: nobody noticed"
    kept = nodes.kept()
    assert len(load.answered) > 120
    assert load.answered - set(kept) == set(), "lost"
    assert {name for name, times in kept.items() if times > 1} <= load.unanswered, "twice, though answered"
    assert set(kept) == load.answered, "at last each was answered"
