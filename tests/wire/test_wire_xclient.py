"""XCLIENT: a listed host says who its client is; nobody else can."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from client import RawClient, connect
from house import House, house

from gateway.mail.transaction import Connection
from gateway.smtp.xclient import Told, XclientError, take

HOST = Told(Connection("S", ip_address("127.0.0.1"), 40000, ip_address("127.0.0.1"), 25, "smtp"))
LISTED = {"xclient": [ip_network("127.0.0.0/8")]}


@asynccontextmanager
async def listed(**given: Any) -> AsyncIterator[tuple[House, RawClient]]:
    async with house(listener=LISTED, **given) as h, connect(h.port) as c:
        assert (await c.reply()).code == 220
        yield h, c


async def delivered(h: House, c: RawClient) -> Any:
    await c.data()
    await c.send(b".\r\n")
    assert (await c.reply()).code == 250
    return h.relay.transactions[-1]


async def test_the_client_that_a_listed_host_tells_of() -> None:
    async with listed(sessions_per_client=1) as (h, c):
        said = await c.ask("EHLO filter.example.com")
        assert "XCLIENT NAME ADDR PORT PROTO HELO DESTADDR DESTPORT" in (said.enhanced + " " + " ".join(said.texts))
        told = "NAME=mail.sender.example ADDR=192.0.2.7 PORT=5000 HELO=mail.sender.example PROTO=ESMTP"
        assert (await c.ask(f"XCLIENT {told} DESTADDR=198.51.100.1 DESTPORT=25")).code == 220
        assert (await c.ask("MAIL FROM:<a@sender.example>")).status == "503 5.5.1", "the session starts over"
        assert (await c.ask("EHLO filter.example.com")).code == 250
        tx = await delivered(h, c)
        connection = tx.connection
        assert (str(connection.client_ip), connection.client_port) == ("192.0.2.7", 5000)
        assert (str(connection.local_ip), connection.local_port) == ("198.51.100.1", 25)
        assert (tx.hello.verb, tx.hello.name) == ("EHLO", "mail.sender.example")
        assert h.watcher.records[-1]["client_ip"] == "192.0.2.7"
        async with connect(h.port) as second:
            assert (await second.reply()).code == 220, "the host is under no limit of a client's sessions"


async def test_attributes_of_several_commands_add_up_and_a_later_client_replaces_the_first() -> None:
    async with listed() as (h, c):
        for command in ("XCLIENT ADDR=192.0.2.7 PORT=5000", "XCLIENT HELO=one.example PROTO=SMTP"):
            assert (await c.ask(command)).code == 220
        assert (await c.ask("EHLO filter.example.com")).code == 250
        first = await delivered(h, c)
        assert (str(first.connection.client_ip), first.hello.verb, first.hello.name) == (
            "192.0.2.7",
            "HELO",
            "one.example",
        )
        assert (await c.ask("XCLIENT ADDR=IPV6:2001:db8::7 HELO=two.example PROTO=ESMTP")).code == 220
        assert (await c.ask("EHLO filter.example.com")).code == 250
        second = await delivered(h, c)
        assert (str(second.connection.client_ip), second.hello.name) == ("2001:db8::7", "two.example")
        assert first.connection.session_id != second.connection.session_id


def test_a_mapped_client_is_the_ipv4_client() -> None:
    # else all of them would share one network of IPv6, and its limits
    assert str(take("ADDR=IPV6:::ffff:192.0.2.7", HOST).connection.client_ip) == "192.0.2.7"


async def test_a_client_whose_address_the_host_does_not_know() -> None:
    async with listed() as (h, c):
        assert (await c.ask("XCLIENT ADDR=[UNAVAILABLE] HELO=[TEMPUNAVAIL]")).code == 220
        assert (await c.ask("EHLO client.example")).code == 250
        tx = await delivered(h, c)
        assert (tx.connection.client_known, tx.hello.name) == (False, "client.example")


async def test_what_the_host_told_survives_starttls(tmp_path: Path) -> None:
    async with listed(tls=tmp_path) as (h, c):
        assert (await c.ask("XCLIENT ADDR=192.0.2.7")).code == 220
        assert (await c.ask("EHLO filter.example.com")).code == 250
        assert (await c.starttls()).code == 220
        assert (await c.ask("EHLO filter.example.com")).code == 250
        tx = await delivered(h, c)
        assert tx.connection.tls
        assert str(tx.connection.client_ip) == "192.0.2.7"


async def test_not_from_others() -> None:
    async with house(listener={"xclient": [ip_network("192.0.2.0/24")]}) as h, connect(h.port) as c:
        assert (await c.reply()).code == 220
        assert "XCLIENT" not in " ".join((await c.ask("EHLO client.example")).texts)
        assert (await c.ask("XCLIENT ADDR=192.0.2.7")).status == "502 5.5.1"
        tx = await delivered(h, c)
        assert str(tx.connection.client_ip) == "127.0.0.1"


async def test_the_client_cannot_pass_it_on_to_itself() -> None:
    """Behind a balancer it is the client's address that must be listed, not the balancer's."""
    trusted = [ip_network("127.0.0.0/8")]
    async with house(proxy_trusted=trusted, listener=LISTED) as h, connect(h.port) as c:
        await c.send(b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 25\r\n")
        assert (await c.reply()).code == 220
        assert (await c.ask("XCLIENT ADDR=192.0.2.8")).status == "502 5.5.1"


async def test_not_inside_a_transaction() -> None:
    async with listed() as (_, c):
        assert (await c.ask("EHLO filter.example.com")).code == 250
        assert (await c.ask("MAIL FROM:<a@sender.example>")).code == 250
        assert (await c.ask("XCLIENT ADDR=192.0.2.7")).status == "503 5.5.1"
        assert (await c.ask("RCPT TO:<user@example.com>")).code == 250
        assert (await c.ask("RSET")).code == 250
        assert (await c.ask("XCLIENT ADDR=192.0.2.7")).code == 220


@pytest.mark.parametrize(
    "argument",
    ["", "ADDR", "LOGIN=a", "X=1", "ADDR=mail.example", "ADDR=192.0.2.7.1", "PORT=99999", "PORT=-1", "PROTO=LMTP", "HELO=a+0D+0Ab",
     "HELO=a+2", "HELO=+FF", "HELO=a b"],
)  # fmt: skip
async def test_broken_attributes(argument: str) -> None:
    with pytest.raises(XclientError):
        take(argument, HOST)
    async with listed() as (h, c):
        assert (await c.ask(f"XCLIENT {argument}")).status == "501 5.5.4"
        assert (await c.ask("EHLO filter.example.com")).code == 250
        tx = await delivered(h, c)
        assert str(tx.connection.client_ip) == "127.0.0.1", "nothing of it is taken"


def test_xtext() -> None:
    assert take("HELO=a+2Bb+C3+BC", HOST).hello == "a+bü"
