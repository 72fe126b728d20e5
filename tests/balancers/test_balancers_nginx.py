"""Debian's nginx before a node: its stream module, configured as docs/load-balancers.md says, sends v1 headers; its mail
module speaks XCLIENT."""

from __future__ import annotations

import asyncio
import smtplib
import socket
import ssl
import subprocess
import time
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

MODULES = Path("/usr/lib/nginx/modules")

MAIL = """\
mail {
    auth_http 127.0.0.1:%d/;
    xclient on;
    server {
        listen 127.0.0.1:%d;
        protocol smtp;
        smtp_auth none;
    }
}
"""


@contextmanager
def nginx(folder: Path, kind: str, text: str, front: int) -> Iterator[None]:
    """kind: the module."""
    program, module = need("nginx"), MODULES / f"ngx_{kind}_module.so"
    if not module.exists():
        pytest.skip(f"{MISSING} nginx's {kind} module (Debian package libnginx-mod-{kind})")
    own = f"load_module {module};\ndaemon off;\npid {folder}/nginx.pid;\nerror_log stderr notice;\nevents {{}}\n"
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
            time.sleep(0.05)
        else:
            pytest.fail("nginx does not listen: " + log.read_text())
        yield
    finally:
        process.terminate()
        process.wait(10)


def send(port: int, source: str) -> None:
    with smtplib.SMTP("127.0.0.1", port, "client.example", timeout=20, source_address=(source, 0)) as client:
        client.sendmail("a@sender.example", ["user@example.com"], message(f"{source}@sender.example"))


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
        with nginx(tmp_path, "stream", changed(block("nginx"), front, [*dead, h.port]), front):
            clients = [f"127.0.0.{number}" for number in range(20, 26)]
            await asyncio.gather(*(asyncio.to_thread(send_tls, front, client) for client in clients))
        connections = [tx.connection for tx in h.relay.transactions]
        assert sorted(str(each.client_ip) for each in connections) == clients
        assert {str(each.proxy_ip) for each in connections} == {"127.0.0.1"}
        assert all(each.tls and each.client_known for each in connections)
        # the test's own look at nginx was passed on too, and was no client to be served for long
        assert h.watcher.connections.count("proxy_error") == 0


async def tell_node(node: int, asked: list[str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The authentication server that nginx's mail module asks where a session goes."""
    asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
    answer = f"HTTP/1.0 200 OK\r\nAuth-Status: OK\r\nAuth-Server: 127.0.0.1\r\nAuth-Port: {node}\r\n\r\n"
    writer.write(answer.encode())
    await writer.drain()
    writer.close()


async def test_the_mail_module_tells_its_clients_by_xclient(tmp_path: Path) -> None:
    front = free_port()
    asked: list[str] = []
    async with house(listener={"xclient": [ip_network("127.0.0.1/32")]}, sessions_per_client=1) as h:
        server = await asyncio.start_server(lambda r, w: tell_node(h.port, asked, r, w), "127.0.0.1", 0)
        with nginx(tmp_path, "mail", MAIL % (server.sockets[0].getsockname()[1], front), front):
            clients = [f"127.0.0.{number}" for number in range(20, 24)]
            await asyncio.gather(*(asyncio.to_thread(send, front, client) for client in clients))
        server.close()
        assert sorted(str(tx.connection.client_ip) for tx in h.relay.transactions) == clients
        assert {tx.hello.name for tx in h.relay.transactions if tx.hello} == {"client.example"}
        assert len(asked) == len(clients)
