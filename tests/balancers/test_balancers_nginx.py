"""Debian's nginx with its stream module, configured as docs/load-balancers.md says: v1 headers before a node."""

from __future__ import annotations

import asyncio
import smtplib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest
from debian import MISSING, need
from haproxy import free_port
from house import house
from nodes import message
from page import block, changed

MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


@contextmanager
def nginx(folder: Path, text: str, front: int) -> Iterator[None]:
    program = need("nginx")
    if not MODULE.exists():
        pytest.skip(f"{MISSING} nginx's stream module (Debian package libnginx-mod-stream)")
    own = f"load_module {MODULE};\ndaemon off;\npid {folder}/nginx.pid;\nerror_log stderr notice;\nevents {{}}\n"
    (folder / "nginx.conf").write_text(own + text, encoding="utf-8")
    log = folder / "nginx.log"
    with log.open("wb") as errors:
        process = subprocess.Popen([program, "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=errors)
    try:
        for _ in range(200):
            assert process.poll() is None, log.read_text()
            with socket.socket() as probe:
                probe.settimeout(0.05)
                if probe.connect_ex(("127.0.0.1", front)) == 0:
                    break
        yield
    finally:
        process.terminate()
        process.wait(10)


def send_tls(port: int, source: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", port, "client.example", timeout=20, source_address=(source, 0)) as client:
        client.starttls(context=context)
        client.sendmail("a@sender.example", ["user@example.com"], message(f"{source}@sender.example"))


async def test_clients_of_nginx_are_known_also_over_tls_and_a_dead_node_costs_them_nothing(tmp_path: Path) -> None:
    front = free_port()
    async with house(proxy_trusted=[ip_network("127.0.0.1/32")], tls=tmp_path) as h:
        dead = [free_port(), free_port()]
        with nginx(tmp_path, changed(block("nginx"), front, [*dead, h.port]), front):
            clients = [f"127.0.0.{number}" for number in range(20, 26)]
            await asyncio.gather(*(asyncio.to_thread(send_tls, front, client) for client in clients))
        connections = [tx.connection for tx in h.relay.transactions]
        assert sorted(str(each.client_ip) for each in connections) == clients
        assert {str(each.proxy_ip) for each in connections} == {"127.0.0.1"}
        assert all(each.tls and each.client_known for each in connections)
        # the test's own look at nginx was passed on too, and was no client to be served for long
        assert h.watcher.connections.count("proxy_error") == 0
