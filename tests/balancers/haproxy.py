"""A real haproxy over a configuration text, and two texts as operators write them."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from debian import need

SMTPCHK = """\
global
    log 127.0.0.1 local0
    daemon
    maxconn {maxconn}

defaults
    log global
    mode tcp
    option dontlognull
    timeout connect 5s
    timeout client 2m
    timeout server 2m

frontend smtp_inbound
    bind {bind[0]}
    mode tcp
    option tcplog
    default_backend smtp_backends

backend smtp_backends
    mode tcp
    balance leastconn
    option smtpchk HELO lb.example.com
    server mta1 {node[0]} check fall 2 rise 2
    server mta2 {node[1]} check fall 2 rise 2
    server mta3 {node[2]} check fall 2 rise 2
"""
"""Configuration A: the check waits for 220 and says HELO; no header anywhere."""

TCP_CHECK = """\
global
    log /dev/log local0
    daemon
    maxconn {maxconn}

defaults
    log global
    mode tcp
    option tcplog
    timeout connect 5s
    timeout client 1m
    timeout server 1m

frontend smtp_in
    bind {bind[0]}
    bind {bind[1]}
    default_backend mta_pool

backend mta_pool
    balance roundrobin
    option tcp-check
    tcp-check connect port {port}
    tcp-check send "EHLO lb.example.com\\r\\n"
    tcp-check expect rstring "^250"
    tcp-check send "QUIT\\r\\n"
    server mta1 {node[0]} send-proxy-v2 check
    server mta2 {node[1]} send-proxy-v2 check
    server mta3 {node[2]} send-proxy-v2 check maxconn 500
"""
"""Configuration B: v2 headers with clients, but none with the check, which expects 250 as the very first octets."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def filled(text: str, nodes: Sequence[str], binds: Sequence[int]) -> str:
    """One of the configurations with addresses, ports and maxconn of this test. The check of B names one port for all
    nodes, so there each node has an address of its own."""
    return text.format(
        maxconn=500, bind=[f"127.0.0.1:{port}" for port in binds], node=nodes, port=nodes[0].rpartition(":")[2]
    )


class Haproxy:
    """``with Haproxy(folder, text) as balancer: balancer.servers()``. The administration socket is given in a second
    file, so that the configuration itself stays as it is."""

    def __init__(self, folder: Path, text: str) -> None:
        self.socket = folder / "haproxy.sock"
        self.log = folder / "haproxy.log"
        (folder / "haproxy.cfg").write_text(text, encoding="utf-8")
        (folder / "stats.cfg").write_text(
            f"global\n  stats socket {self.socket} mode 600 level admin\n", encoding="utf-8"
        )
        with self.log.open("wb") as log:
            # -db: in the foreground; "daemon" of the configuration is then without effect
            self.process = subprocess.Popen(
                [need("haproxy"), "-db", "-f", str(folder / "haproxy.cfg"), "-f", str(folder / "stats.cfg")],
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def ask(self, command: str) -> str:
        """One command of the administration socket."""
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(10)
            asked.connect(str(self.socket))
            asked.sendall(command.encode() + b"\n")
            said = b""
            while octets := asked.recv(65536):
                said += octets
        return said.decode()

    def rows(self) -> list[Mapping[str, str]]:
        """What ``show stat`` says of each server."""
        lines = self.ask("show stat").lstrip("# ").splitlines()
        names = lines[0].split(",")
        rows = [dict(zip(names, line.split(","), strict=False)) for line in lines[1:] if line]
        return [row for row in rows if row["svname"] not in ("FRONTEND", "BACKEND")]

    def servers(self) -> dict[str, str]:
        """Server -> state and last check, ``mta1 -> UP L7OK``."""
        return {row["svname"]: f"{row['status']} {row['check_status'].removeprefix('* ')}" for row in self.rows()}

    def failed_checks(self) -> dict[str, int]:
        """Server -> how many checks have failed so far."""
        return {row["svname"]: int(row["chkfail"]) for row in self.rows()}

    def wait(self, expected: Mapping[str, str], seconds: float = 30.0) -> None:
        """Until the servers' states begin so."""
        end = time.monotonic() + seconds
        seen: Mapping[str, str] = {}
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()
            try:
                seen = self.servers()
            except OSError:
                seen = {}
            if seen and all(seen.get(name, "").startswith(state) for name, state in expected.items()):
                return
            time.sleep(0.05)
        raise AssertionError(f"not in {seconds:g} s: {expected}, but {seen}\n{self.log.read_text()}")

    def __enter__(self) -> Haproxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(10)
