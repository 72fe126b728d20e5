"""Counts of a session and of sessions: at the limit minus one, at the limit, one above."""

from __future__ import annotations

from contextlib import AsyncExitStack
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from client import RawClient, connect
from house import house

from gateway.config.model import LimitsSettings
from gateway.mail import limits
from gateway.mail.network import network_of


async def greeted(c: RawClient) -> None:
    assert (await c.reply()).code == 220
    assert (await c.ask("EHLO client.example")).code == 250


@pytest.mark.parametrize(
    ("over", "status"), [(-1, "250 2.0.0"), (0, "250 2.0.0"), (1, "500 5.5.2"), (70_000, "500 5.5.2")]
)
async def test_command_line(over: int, status: str) -> None:
    async with house() as h, connect(h.port) as c:
        await greeted(c)
        line = b"NOOP " + b"x" * (limits.COMMAND_OCTETS - 2 - 5 + over)
        assert (await c.ask(line)).status == status
        assert (await c.ask("NOOP")).status == "250 2.0.0"


async def test_a_command_line_without_end_closes_the_session() -> None:
    async with house() as h, connect(h.port) as c:
        await greeted(c)
        await c.send(b"x" * 400_000)
        assert (await c.reply()).status == "500 5.5.2"
        assert (await c.reply()).status == "421 4.7.0"
        assert (await c.reply()).code == 0


@pytest.mark.parametrize(("octets", "status"), [(63, "250 2.1.5"), (64, "250 2.1.5"), (65, "501 5.1.3")])
async def test_local_part(octets: int, status: str) -> None:
    async with house() as h, connect(h.port) as c:
        await greeted(c)
        assert (await c.ask("MAIL FROM:<>")).code == 250
        assert (await c.ask(f"RCPT TO:<{'a' * octets}@example.com>")).status == status


async def test_recipients() -> None:
    async with house(recipients=100) as h, connect(h.port) as c:
        await greeted(c)
        assert (await c.ask("MAIL FROM:<>")).code == 250
        said = [(await c.ask(f"RCPT TO:<u{n}@example.com>")).status for n in range(102)]
        assert said == ["250 2.1.5"] * 100 + ["452 4.5.3"] * 2
        assert (await c.ask("DATA")).code == 354
        assert (await c.ask("Subject: x\r\n\r\nx\r\n.")).code == 250
        assert h.relay.transactions[0].envelope is not None
        assert len(h.relay.transactions[0].envelope.recipients) == 100


async def test_the_same_recipient_again_and_again() -> None:
    async with house(fruitless_commands=5) as h, connect(h.port) as c:
        await greeted(c)
        assert (await c.ask("MAIL FROM:<>")).code == 250
        assert [(await c.ask("RCPT TO:<u@example.com>")).code for _ in range(6)] == [250] * 6
        assert (await c.ask("RCPT TO:<u@example.com>")).status == "421 4.7.0"
        await c.reply()
    (record,) = h.watcher.records
    assert [rcpt["address"] for rcpt in record["rcpts"]] == ["u@example.com"], "noted once"


async def test_errors() -> None:
    async with house(errors_soft=100, errors_hard=5) as h, connect(h.port) as c:
        await greeted(c)
        assert [(await c.ask("DATA")).status for _ in range(5)] == ["503 5.5.1"] * 4 + ["421 4.7.0"]
        assert (await c.reply()).code == 0


async def test_unknown_commands() -> None:
    async with house(errors_soft=100, junk_commands=3) as h, connect(h.port) as c:
        await greeted(c)
        assert [(await c.ask("XYZZY")).status for _ in range(2)] == ["500 5.5.2"] * 2
        assert (await c.ask("NOOP")).code == 250
        assert (await c.ask("XYZZY")).status == "421 4.7.0"
        assert (await c.reply()).code == 0


async def test_transactions() -> None:
    async with house(transactions=3) as h, connect(h.port) as c:
        await greeted(c)
        for _ in range(3):
            assert (await c.ask("MAIL FROM:<>")).status == "250 2.1.0"
            assert (await c.ask("RSET")).code == 250
        assert (await c.ask("MAIL FROM:<>")).status == "421 4.7.0"
        assert (await c.reply()).code == 0


@pytest.mark.parametrize(
    ("limit", "status"),
    [("sessions", "421 4.3.2"), ("sessions_per_client", "421 4.7.0"), ("sessions_per_network", "421 4.7.0")],
)
async def test_sessions(limit: str, status: str) -> None:
    async with house(**{limit: 3}) as h, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(h.port)) for _ in range(3)]
        assert [(await c.reply()).code for c in clients] == [220] * 3
        async with connect(h.port) as late:
            assert (await late.reply()).status == status
            assert (await late.reply()).code == 0
        assert (await clients[0].ask("QUIT")).code == 221
        assert (await clients[0].reply()).code == 0
        async with connect(h.port) as next_one:
            assert (await next_one.reply()).code == 220


async def test_a_network_is_counted_whatever_its_addresses() -> None:
    trusted = (ip_network("127.0.0.0/8"),)
    async with house(proxy_trusted=trusted, sessions_per_network=2) as h, AsyncExitStack() as stack:

        async def client(address: str) -> str:
            c = await stack.enter_async_context(connect(h.port))
            await c.send(
                f"PROXY TCP{6 if ':' in address else 4} {address} {'::1' if ':' in address else '192.0.2.1'} 5000 25\r\n".encode()
            )
            return (await c.reply()).status

        assert [await client(f"198.51.100.{n}") for n in (1, 2, 3)] == ["220", "220", "421 4.7.0"]
        assert await client("198.51.101.1") == "220"
        assert [await client(f"2001:db8:0:1::{n}") for n in (1, 2, 3)] == ["220", "220", "421 4.7.0"]
        assert await client("2001:db8:0:2::1") == "220"


async def test_no_counter_is_left_behind() -> None:
    async with house() as h:
        async with connect(h.port) as c:
            await greeted(c)
            assert len(h.server._clients) == 2
            assert (await c.ask("QUIT")).code == 221
            assert (await c.reply()).code == 0
        assert not h.server._clients


def test_networks() -> None:
    assert network_of(IPv4Address("192.0.2.77")) == "192.0.2.0/24"
    assert network_of(IPv6Address("2001:db8:1:2:3:4:5:6")) == "2001:db8:1:2::/64"


@pytest.mark.parametrize(("node", "workers", "share"), [(0, 4, 1000), (400, 4, 100), (3, 4, 1), (9000, 4, 1000)])
def test_a_nodes_sessions_are_shared_out(node: int, workers: int, share: int) -> None:
    assert LimitsSettings.model_validate({"sessions_per_node": node}).wire(workers).sessions == share


@pytest.mark.parametrize("where", ["command_timeout", "session_timeout"])
async def test_silence_and_length_of_a_session_are_answered(where: str) -> None:
    async with house(**{where: 0.3}) as h, connect(h.port) as c:
        assert (await c.reply()).code == 220
        assert (await c.reply()).status == "421 4.4.2"
        assert (await c.reply()).code == 0


async def test_silence_inside_content_is_answered() -> None:
    async with house(data_idle_timeout=0.3) as h, connect(h.port) as c:
        await c.envelope()
        await c.send(b"Subject: x\r\n")
        assert (await c.reply()).status == "421 4.4.2"
        assert (await c.reply()).code == 0
