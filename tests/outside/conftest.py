"""The outside world of these tests: two nodes that are alike, one that is not, name servers, a web server before them.

Everything is on loopback: the MX hosts are 127.0.0.x with one port.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from debian import need
from dns_server import NsdServer
from node_process import NodeProcess
from unbound_server import UnboundServer, signed

from gateway.cli.main import main

NGINX = """\
daemon off;
pid {folder}/nginx.pid;
error_log stderr error;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{
        listen 127.0.0.1:{https} ssl;
        server_name mta-sts.example.com;
        ssl_certificate {tls[certificate]};
        ssl_certificate_key {tls[key]};
        location = /.well-known/mta-sts.txt {{ proxy_pass http://{node}; }}
    }}
}}
"""
HAPROXY = """\
defaults
    mode tcp
    timeout connect 5s
    timeout client 1m
    timeout server 1m
listen mx4
    bind 127.0.0.5:{port}
    balance roundrobin
    server alike 127.0.0.2:{port}
    server odd 127.0.0.4:{port}
"""
REVERSE = "2.0.0 PTR mx1.example.com.\n3.0.0 PTR mx2.example.com.\n4.0.0 PTR mx3.example.com.\n5.0.0 PTR nobody.example.com.\n"


def _six() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


SIX = _six()
"""Whether this machine has IPv6; without it the second host has one family only."""
MX2 = ["127.0.0.3", *(["::1"] if SIX else [])]


def free_port() -> int:
    """A port that is free on all loopback addresses of these tests."""
    for _ in range(50):
        with socket.socket() as first:
            first.bind(("127.0.0.2", 0))
            port = int(first.getsockname()[1])
            try:
                for last in (1, 3, 4, 5):
                    with socket.socket() as other:
                        other.bind((f"127.0.0.{last}", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")


def listens(address: tuple[str, int], process: subprocess.Popen[bytes]) -> None:
    """Wait until somebody does."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(address) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"nobody listens on {address}")


@dataclass(frozen=True)
class World:
    """port: of SMTP; https: of the policy's host; validating, plain: resolvers as --resolver wants them."""

    folder: Path
    authority: Authority
    nodes: tuple[NodeProcess, ...]
    port: int
    https: int
    validating: str
    plain: str
    tls: dict[str, str]

    @property
    def config(self) -> str:
        return str(self.nodes[0].config)

    def run(self, *words: str, resolver: str = "", config: bool = False) -> int:
        """A command that looks at this world."""
        more = [
            "--resolver",
            resolver or self.validating,
            "--port",
            str(self.port),
            "--ca",
            str(self.folder / "ca.pem"),
        ]
        return main([*words, *more, *(["--config", self.config] if config else [])])


def node_of(folder: Path, name: str, addresses: list[str], port: int, tls: dict[str, str], **more: Any) -> NodeProcess:
    return NodeProcess(
        folder / name,
        {
            "hostname": f"{name}.example.com",
            "listeners": [{"address": f"{one}:{port}"} for one in addresses],
            "tls": tls,
            "workers": 1,
            "publish": {
                "ttl": 900,
                "dmarc": "v=DMARC1; p=reject; rua=mailto:dmarc@example.com",
                "mx": [
                    {"host": "mx1.example.com", "addresses": ["127.0.0.2"]},
                    {"host": "mx2.example.com", "addresses": MX2},
                ],
            },
            "mta_sts": {"mode": "enforce", "host": "web.example.com", "address": "127.0.0.1:0"},
            **more,
        },
    )


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("outside")
    authority = Authority()
    (folder / "ca.pem").write_bytes(authority.certificate)
    names = ("mx1.example.com", "mx2.example.com", "mta-sts.example.com")
    tls = authority.write(folder / "tls", "mx", "ecdsa", *names)
    other = authority.write(folder / "tls", "odd", "rsa", "mx3.example.com")
    port, https = free_port(), free_port()
    nodes = (
        node_of(folder, "mx1", ["127.0.0.2"], port, tls),
        node_of(folder, "mx2", [f"[{one}]" if ":" in one else one for one in MX2], port, tls),
        node_of(
            folder,
            "mx3",
            ["127.0.0.4"],
            port,
            other,
            limits={"message_octets": 1000000},
            routes=[{"domains": ["example.org"], "mailstore": f"maildir:{folder}/odd"}],
        ),
    )
    started: list[subprocess.Popen[bytes]] = []
    try:
        for node in nodes:
            node.wait_ready()
        served = nodes[0].events("listening")[0]["mta_sts"]
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, https=https, tls=tls, node=served))
        (folder / "haproxy.cfg").write_text(HAPROXY.format(port=port))
        started.append(subprocess.Popen([need("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")]))
        started.append(subprocess.Popen([need("haproxy"), "-q", "-f", str(folder / "haproxy.cfg")]))
        listens(("127.0.0.1", https), started[0])
        listens(("127.0.0.5", port), started[1])
        zone, anchor = signed(
            "example.com",
            published(nodes[0]) + "web A 127.0.0.1\nmx3 A 127.0.0.4\nmx4 A 127.0.0.5\n"
            f"_25._tcp.mx3 TLSA 3 1 1 {64 * 'a'}\n",
        )
        zones = {
            "example.com": zone,
            "example.net": "@ 60 MX 10 mx1.example.com.\n@ 60 MX 20 mx3.example.com.\n@ 60 MX 30 alias\nalias CNAME mx3.example.com.\n"
            '_mta-sts TXT "v=STSv1; id=one;"\n_mta-sts TXT "v=STSv1; id=two;"\n_dmarc TXT "v=DMARC1; p=perhaps"\n',
            "127.in-addr.arpa": REVERSE,
            ip_address("::1").reverse_pointer: "@ PTR mx2.example.com.\n",
        }
        with (
            NsdServer(zones) as nsd,
            UnboundServer(nsd.address, dict.fromkeys(zones, "") | {"example.com": anchor}) as unbound,
        ):
            yield World(
                folder,
                authority,
                nodes,
                port,
                https,
                "{}:{}".format(*unbound.address),
                "{}:{}".format(*nsd.address),
                tls,
            )
    finally:
        for process in started:
            process.terminate()
            process.wait(10)
        for node in nodes:
            node.kill(signal.SIGTERM)
        for node in nodes:
            node.end()


def published(node: NodeProcess) -> str:
    """What ``mxgw dns-records`` prints for the zone example.com."""
    said = subprocess.run(
        [sys.executable, "-m", "gateway", "dns-records", "example.com", "--config", str(node.config)],
        capture_output=True,
        text=True,
        check=True,
    )
    return "".join(f"{line}\n" for line in said.stdout.splitlines() if ".arpa." not in line)
