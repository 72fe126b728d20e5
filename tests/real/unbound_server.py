"""A real validating resolver (Unbound) on a loopback port that asks one name server for the zones it is given, and nobody for others, and a signature for zones.

Known gaps: TTLs count down in its cache.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import dns.dnssec
import dns.rdatatype
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec
from debian import need
from dns_server import _free_port

HEAD = "$ORIGIN {origin}.\n$TTL 300\n@ SOA ns.invalid. hostmaster.invalid. 1 3600 600 86400 120\n@ NS ns.invalid.\n"


def signed(origin: str, text: str) -> tuple[str, str]:
    """A zone's text (without SOA) signed, and its trust anchor."""
    zone = dns.zone.from_text(HEAD.format(origin=origin) + text, origin=origin, relativize=False, check_origin=False)
    key = ec.generate_private_key(ec.SECP256R1())
    public = dns.dnssec.make_dnskey(key.public_key(), dns.dnssec.Algorithm.ECDSAP256SHA256, flags=257)
    with zone.writer() as writer:
        dns.dnssec.sign_zone(zone, writer, [(key, public)], add_dnskey=True, dnskey_ttl=300, lifetime=86400)
    return zone.to_text(relativize=False), f"{origin}. IN DNSKEY {public.to_text()}"


class UnboundServer:
    """``with UnboundServer(nsd.address, {zone: trust anchor}) as resolver``: answers on ``resolver.address``. anchor: ''
    for a zone that is not signed."""

    def __init__(self, upstream: tuple[str, int], zones: Mapping[str, str]) -> None:
        self._upstream = upstream
        self._zones = zones
        self.address = ("127.0.0.1", 0)

    def __enter__(self) -> UnboundServer:
        program = need("unbound")
        self._folder = Path(tempfile.mkdtemp(prefix="mxgw-unbound-"))
        port = _free_port()
        self.address = ("127.0.0.1", port)
        # nothing leaves the machine: other names are refused
        lines = '  local-zone: "." refuse\n'
        stubs = ""
        for name, anchor in self._zones.items():
            lines += f'  local-zone: "{name}." transparent\n'
            lines += f'  trust-anchor: "{anchor}"\n' if anchor else f'  domain-insecure: "{name}"\n'
            stubs += f'stub-zone:\n  name: "{name}"\n  stub-addr: {self._upstream[0]}@{self._upstream[1]}\n'
        (self._folder / "unbound.conf").write_text(
            f'server:\n  interface: 127.0.0.1@{port}\n  do-daemonize: no\n  username: ""\n  chroot: ""\n'
            f'  directory: "{self._folder}"\n  pidfile: ""\n  logfile: "{self._folder}/log"\n  use-syslog: no\n'
            "  do-not-query-localhost: no\n  num-threads: 1\n  do-ip6: no\n"
            f'  module-config: "validator iterator"\n{lines}remote-control:\n  control-enable: no\n{stubs}'
        )
        self._process = subprocess.Popen(
            [program, "-d", "-c", str(self._folder / "unbound.conf")], stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(self.address) == 0:
                    return self
            time.sleep(0.02)
        log = self._folder / "log"
        raise RuntimeError(f"unbound did not start: {log.read_text() if log.exists() else ''}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(10)
        shutil.rmtree(self._folder, ignore_errors=True)
