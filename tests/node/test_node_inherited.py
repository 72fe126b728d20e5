"""Sockets of a service manager find their listeners; a worker that serves but says nothing is seen as stuck."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from gateway.config.model import ListenerSettings
from gateway.node.inherited import Inherited, InheritedError, fitted, take
from gateway.ops.health import FRESH, HUNG, NOBODY, NodeHealth, WorkerHealth


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def test_place_comes_before_name_and_name_before_order() -> None:
    with listening() as first, listening() as second, listening() as third:
        passed = [Inherited("smtp", first), Inherited("balancer", second), Inherited("smtp", third)]
        listeners = [
            ListenerSettings(address="127.0.0.1:2599"),
            ListenerSettings(address="0.0.0.0:2526", name="balancer"),
            ListenerSettings(address=f"127.0.0.1:{third.getsockname()[1]}"),
            ListenerSettings(address="127.0.0.1:0"),
        ]
        assert fitted(passed, listeners) == [first, second, third, None]
        assert fitted([], listeners[:1]) == [None]
        with pytest.raises(InheritedError, match=f"takes: 127.0.0.1 port {third.getsockname()[1]}"):
            fitted(passed, listeners[:2])


def test_sockets_for_another_process_are_not_ours() -> None:
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "smtp", "HOME": "/"}
    assert take(environ) == []
    assert environ == {"HOME": "/"}


def test_what_does_not_listen_is_named() -> None:
    code = (
        "import os, socket, sys; from gateway.node.inherited import take, InheritedError\n"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='smtp')\n"
        "try: take(os.environ, int(sys.argv[1]))\n"
        "except InheritedError as error: print(error)"
    )
    for sock in (socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)):
        with sock:
            done = subprocess.run(
                [sys.executable, "-c", code, str(sock.fileno())],
                pass_fds=[sock.fileno()], capture_output=True, text=True, check=True, env={**os.environ},
            )  # fmt: skip
        assert done.stdout == "the socket smtp does not listen for TCP connections\n", done.stderr


def test_a_silent_worker_that_served_is_stuck_and_one_that_starts_is_not() -> None:
    health = NodeHealth({})
    health.workers[1] = WorkerHealth(1, ready=True, last=100.0)
    health.workers[2] = WorkerHealth(2, ready=False, last=0.0)
    assert HUNG > FRESH
    assert health.hung(100.0 + FRESH) == ""
    assert health.hung(100.0 + HUNG) == "no word from worker 1"


def test_a_node_without_any_worker_that_serves_is_stuck_unless_it_drains() -> None:
    health = NodeHealth({})
    assert health.hung(1e9) == "", "its workers have not been started yet"
    health.served = 100.0
    health.workers[2] = WorkerHealth(2, ready=False, last=100.0 + NOBODY)
    assert health.hung(99.0 + NOBODY) == ""
    assert health.hung(100.0 + NOBODY) == "no worker has served for 60 s"
    health.draining = True
    assert health.hung(100.0 + NOBODY) == ""
