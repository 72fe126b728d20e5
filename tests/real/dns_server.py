"""A real name server (NSD) on a loopback port, for contract tests of the resolver.

Known gaps: NSD is authoritative only; it never recurses.
"""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import pytest


class NsdServer:
    """``with NsdServer({"example.test": zone_text}) as server``: answers on ``server.address`` over UDP and TCP.

    Zone texts are master files; a missing SOA and NS are added. port: 0 takes a free one; a server that comes back
    has its old one. host: where it listens. Skips the test where NSD is not installed.
    """

    def __init__(self, zones: Mapping[str, str], port: int = 0, host: str = "127.0.0.1") -> None:
        self._zones = zones
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port
        self._host = host

    @property
    def address(self) -> tuple[str, int]:
        return (self._host, self.port)

    def __enter__(self) -> NsdServer:
        program = shutil.which("nsd") or shutil.which("nsd", path="/usr/sbin")
        if program is None:
            pytest.skip("real component missing: nsd (Debian package nsd)")
        self._folder = Path(tempfile.mkdtemp(prefix="mxgw-nsd-"))
        self.port = self.port or _free_port()
        self._start(program)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def change(self, origin: str, text: str) -> None:
        """Put another text in the place of a zone's; the server answers from it a moment later."""
        assert self._folder is not None
        assert self._process is not None
        self._write(self._folder, origin, text)
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """End the server; nothing listens on its port afterwards."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _start(self, program: str) -> None:
        assert self._folder is not None
        folder = self._folder
        entries = []
        for origin, text in self._zones.items():
            file = self._write(folder, origin, text)
            entries.append(f'zone:\n  name: "{origin}"\n  zonefile: "{file}"\n')
        config = folder / "nsd.conf"
        config.write_text(
            f'server:\n  ip-address: {self._host}@{self.port}\n  username: ""\n  chroot: ""\n  zonesdir: "{folder}"\n'
            f'  pidfile: "{folder}/nsd.pid"\n  database: ""\n  zonelistfile: "{folder}/zone.list"\n'
            f'  xfrdfile: "{folder}/xfrd.state"\n  xfrdir: "{folder}"\n  logfile: "{folder}/log"\n  server-count: 1\n'
            f"  rrl-ratelimit: 0\nremote-control:\n  control-enable: no\n" + "".join(entries)
        )
        self._process = subprocess.Popen([program, "-d", "-c", str(config)])
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                if probe.connect_ex(self.address) == 0:
                    return
            time.sleep(0.02)
        log = (folder / "log").read_text() if (folder / "log").exists() else ""
        self.stop()
        raise RuntimeError(f"nsd did not start: {log}")

    @staticmethod
    def _write(folder: Path, origin: str, text: str) -> Path:
        head = f"$ORIGIN {origin}.\n$TTL 300\n"
        if not re.search(r"\sSOA\s", text):
            head += "@ SOA ns.invalid. hostmaster.invalid. 1 3600 600 86400 120\n@ NS ns.invalid.\n"
        file = folder / f"{origin}.zone"
        part = folder / f"{origin}.part"
        part.write_text(head + text + "\n")
        part.replace(file)
        return file


def _free_port() -> int:
    # the same number must be free for UDP and TCP
    for _ in range(50):
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        ):
            tcp.bind(("127.0.0.1", 0))
            port = int(tcp.getsockname()[1])
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")
