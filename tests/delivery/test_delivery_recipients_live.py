"""An open session with the mailstore is asked for each recipient; without one the answer that is kept counts."""

from __future__ import annotations

from ipaddress import ip_address

from parts import ANN, outgoing, relay, transaction
from scripted import DEFAULT, scripted

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.dns_broken import BrokenResolver
from gateway.adapters.store_memory import MemoryStore
from gateway.checks.recipient import recipient
from gateway.delivery.pool import PoolLimits
from gateway.delivery.routes import Route, Router
from gateway.mail.address import Mailbox
from gateway.mail.finding import Finding
from gateway.mail.transaction import Connection, Transaction
from gateway.policy.settings import RecipientSettings
from gateway.ports import Ports


class Asker:
    """The recipient check over a router with one mailstore."""

    def __init__(self, port: int, options: str = "", pool: PoolLimits | None = None) -> None:
        self.mailstore = relay(port, options, pool=pool)
        self.router = Router([Route(("example.com",), (self.mailstore,))])
        clock = SystemClock()
        self.ports = Ports(
            BrokenResolver(), MemoryStore(clock), self.router, clock, self.router.listed, self.router.live
        )

    async def ask(self, mailbox: Mailbox = ANN) -> Finding:
        tx = Transaction("T", Connection("S", ip_address("192.0.2.1")), 0.0, rcpt=mailbox)
        found = await recipient(tx, self.ports, RecipientSettings())
        assert found
        return found


async def test_a_mailbox_that_came_or_went_counts_at_once_while_a_session_is_open() -> None:
    replies = ["550 5.1.1 no such user", "250 2.1.5 ok", "250 2.1.5 ok", "550 5.1.1 no such user"]
    async with scripted({"RCPT": list(replies)}) as store:
        asker = Asker(store.port)
        found = [await asker.ask() for _ in replies]
        assert [one.reason for one in found] == ["no-such-recipient", "known", "known", "no-such-recipient"]
        assert not any(one.evidence["cached"] for one in found)
        assert len(store.sessions) == 1
        await asker.router.close()


async def test_no_session_is_opened_for_what_is_kept() -> None:
    async with scripted() as store:
        asker = Asker(store.port, pool=PoolLimits(idle=0))
        found = [await asker.ask() for _ in range(3)]
        assert [one.evidence["cached"] for one in found] == [False, True, True]
        assert len(store.sessions) == 1
        await asker.router.close()


async def test_a_session_that_stands_for_a_client_is_not_asked_in_its_name() -> None:
    hello = f"{DEFAULT['EHLO']}".replace("PIPELINING", "PIPELINING\n250-XCLIENT ADDR PORT HELO")
    async with scripted({"EHLO": hello, "XCLIENT": "220 again"}) as store:
        asker = Asker(store.port)
        await asker.mailstore.deliver(transaction(ANN), outgoing(), 10)
        assert asker.mailstore.idle == 1
        assert not asker.router.live("example.com")
        assert not asker.router.live("elsewhere.example")
        await asker.ask()
        assert asker.router.live("example.com")
        await asker.router.close()


async def test_a_mailstore_that_shall_not_be_asked_is_never_live() -> None:
    async with scripted() as store:
        asker = Asker(store.port, "?verify=no")
        await asker.mailstore.deliver(transaction(ANN), outgoing(), 10)
        assert not asker.router.live("example.com")
        await asker.router.close()
