"""A real haproxy over one of the configurations of operators, with addresses, ports and maxconn changed and nothing else."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from debian import need

HERE = Path(__file__).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def changed(text: str, nodes: Sequence[int], binds: Sequence[int], maxconn: int = 500) -> str:
    """The same configuration for these node ports. Configuration B names the port of its check itself: all nodes share
    one port there, so each has a loopback address of its own (127.0.0.2, .3, .4)."""
    ports = iter(binds)
    text = re.sub(r"(?m)^(\s*bind )\S+", lambda found: f"{found[1]}127.0.0.1:{next(ports)}", text)
    text = re.sub(r"(?m)^(\s*)maxconn \d+$", rf"\g<1>maxconn {maxconn}", text)
    one_port = len(set(nodes)) == 1
    for number, port in enumerate(nodes, 1):
        host = f"127.0.0.{number + 1}" if one_port else "127.0.0.1"
        text = text.replace(f"10.0.0.1{number}:25", f"{host}:{port}")
    return text.replace("tcp-check connect port 25", f"tcp-check connect port {nodes[0]}")


class Haproxy:
    """``with Haproxy(folder, text) as balancer: balancer.servers()``. The administration socket is given on the command
    line's second file, so that the configuration itself stays as it is."""

    def __init__(self, folder: Path, text: str) -> None:
        self.socket = folder / "haproxy.sock"
        self.log = folder / "haproxy.log"
        (folder / "haproxy.cfg").write_text(text, encoding="utf-8")
        (folder / "stats.cfg").write_text(f"global\n  stats socket {self.socket} mode 600 level admin\n", encoding="utf-8")
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
            time.sleep(0.1)
        raise AssertionError(f"not in {seconds:g} s: {expected}, but {seen}\n{self.log.read_text()}")

    def __enter__(self) -> Haproxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(10)
