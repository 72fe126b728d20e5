"""The headers that a real haproxy writes: v1 and v2, IPv4 and IPv6, with a checksum and an id, and for no address at all."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from pathlib import Path

import pytest
from client import RawClient
from haproxy import Haproxy, free_port
from house import House, house

from gateway.smtp.identify import HeaderUse

TRUSTED = [ip_network("127.0.0.1/32")]
KINDS = {
    "v1": "send-proxy",
    "v2": "send-proxy-v2",
    "checked": "send-proxy-v2 proxy-v2-options crc32c,unique-id",
}
FRONT = """\
listen {kind}
    bind {four}
    bind {six}
    bind unix@{unix}
    unique-id-format %{{+X}}o\\ %ci:%cp_%fi:%fp_%Ts_%rt:%pid
    server node 127.0.0.1:{port} {words}
"""


def configured(folder: Path, port: int) -> tuple[str, dict[str, dict[str, str]]]:
    """The text, and for each kind of header where haproxy listens."""
    text = "global\n    maxconn 100\ndefaults\n    mode tcp\n    timeout connect 5s\n    timeout client 1m\n    timeout server 1m\n"
    places = {}
    for kind, words in KINDS.items():
        place = {
            "four": f"127.0.0.1:{free_port()}",
            "six": f"[::1]:{free_port()}",
            "unix": str(folder / f"{kind}.sock"),
        }
        text += FRONT.format(kind=kind, port=port, words=words, **place)
        places[kind] = place
    return text, places


async def talk(place: str, source: tuple[str, int] | None) -> RawClient:
    if place.startswith("/"):
        return RawClient(*await asyncio.open_unix_connection(place))
    host, _, port = place.rpartition(":")
    return RawClient(*await asyncio.open_connection(host.strip("[]"), int(port), local_addr=source))


async def delivered(h: House, client: RawClient) -> str:
    await client.envelope()
    await client.send(b".\r\n")
    assert (await client.reply()).code == 250
    client.writer.close()
    connection = h.relay.transactions[-1].connection
    return str(connection.client_ip) if connection.client_known else ""


async def test_each_header_that_haproxy_writes(tmp_path: Path) -> None:
    async with house(proxy_trusted=TRUSTED) as h:
        text, places = configured(tmp_path, h.port)
        with Haproxy(tmp_path, text) as balancer:
            await asyncio.to_thread(balancer.wait, {"node": "no check"})
            for number, place in enumerate(places.values(), 30):
                assert await delivered(h, await talk(place["four"], (f"127.0.0.{number}", 0))) == f"127.0.0.{number}"
                assert await delivered(h, await talk(place["six"], None)) == "::1"
        assert {str(tx.connection.proxy_ip) for tx in h.relay.transactions} == {"127.0.0.1"}


@pytest.mark.parametrize("header", [HeaderUse.REQUIRED, HeaderUse.OPTIONAL])
async def test_clients_without_any_address(tmp_path: Path, header: HeaderUse) -> None:
    """From a UNIX socket. v1 says UNKNOWN; v2 says LOCAL, so haproxy takes what comes from this machine for its own."""
    async with house(proxy_trusted=TRUSTED, listener={"header": header}) as h:
        text, places = configured(tmp_path, h.port)
        with Haproxy(tmp_path, text) as balancer:
            await asyncio.to_thread(balancer.wait, {"node": "no check"})
            for kind, place in places.items():
                client = await talk(place["unix"], None)
                if header is HeaderUse.OPTIONAL and kind == "v1":
                    assert await delivered(h, client) == ""
                    continue
                assert (await client.reply()).code == 220
                assert (await client.ask("EHLO client.example")).code == 250
                assert (await client.ask("MAIL FROM:<a@sender.example>")).status == "421 4.3.2"
                assert "whose header names no client" in h.watcher.records[-1]["detail"]
                client.writer.close()
