"""When the client has read our reply: only what comes after it left shows that, and a 4yz for all ends nothing.

A real ledger and router stand behind the session; the mailstore takes all, or defers by recipient.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from client import RawClient, connect
from house import Watcher, house

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.store_memory import MemoryStore
from gateway.delivery.ledger import DeliveryLedger
from gateway.delivery.routes import Route, Router
from gateway.mail.address import Mailbox
from gateway.mail.message import OutgoingMessage
from gateway.mail.transaction import Transaction
from gateway.ports.mailstore import DeliveryResult, Handover, Known, RecipientResult, RecipientStatus

CONTENT = b"Message-ID: <1@sender.example>\r\nSubject: x\r\n\r\nhello\r\n"
LATER = "later@example.com"


class Store:
    """Takes all but ``later``; keeps who got the message."""

    name = "store"

    def __init__(self) -> None:
        self.got: list[str] = []
        self.full = True

    async def deliver(self, tx: Transaction, message: OutgoingMessage, budget: float) -> DeliveryResult:
        assert tx.envelope
        results = {}
        for each in tx.envelope.recipients:
            if str(each) == LATER and self.full:
                results[each] = RecipientResult(Handover.DEFERRED, 452, "4.2.2", "full")
            else:
                results[each] = RecipientResult(Handover.DELIVERED, 250, "2.0.0", "ok")
                self.got.append(str(each))
        return DeliveryResult("store", results)

    async def recipient(self, mailbox: Mailbox) -> RecipientStatus:
        return RecipientStatus(Known.YES)

    async def close(self) -> None:
        pass


@dataclass
class Scene:
    port: int
    store: Store
    watcher: Watcher

    def results(self) -> list[list[str]]:
        return [[rcpt["result"] for rcpt in record["rcpts"]] for record in self.watcher.records]


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    store = Store()
    ledger = DeliveryLedger(MemoryStore(SystemClock()), b"secret", 3600.0)
    router = Router([Route(("example.com",), (store,))], ledger=ledger)
    async with house() as h:
        h.server.services = replace(h.server.services, relay=router, reply_read=router.reply_read)
        yield Scene(h.port, store, h.watcher)
    await router.close()


async def send(client: RawClient, *recipients: str) -> int:
    await client.data("a@sender.example", *recipients)
    await client.send(CONTENT + b".\r\n")
    return (await client.reply()).code


async def greeted(client: RawClient) -> None:
    await client.reply()
    await client.ask("EHLO client.example")


async def test_a_client_that_hangs_up_without_another_word_comes_again_for_the_same_message() -> None:
    async with scene() as s:
        for _ in range(3):
            async with connect(s.port) as client:
                await greeted(client)
                assert await send(client) == 250
        assert s.store.got == ["user@example.com"]
        assert s.results() == [["delivered"], ["delivered-before"], ["delivered-before"]]
        assert [record.get("ledger") for record in s.watcher.records] == [None, "delivered-before", "delivered-before"]
        assert {record["result"] for record in s.watcher.records} == {"accepted"}


async def test_any_command_after_the_reply_makes_the_same_content_another_message() -> None:
    async with scene() as s:
        for word in ("QUIT", "NOOP", "RSET", "nonsense", "EHLO client.example"):
            async with connect(s.port) as client:
                await greeted(client)
                assert await send(client) == 250
                await client.ask(word)
        async with connect(s.port) as client:
            await greeted(client)
            assert [await send(client) for _ in range(3)] == [250] * 3
        assert len(s.store.got) == 8


async def test_commands_sent_together_with_the_content_show_nothing() -> None:
    async with scene() as s:
        for _ in range(2):
            async with connect(s.port) as client:
                await greeted(client)
                await client.data()
                # RFC 2920: the next commands may come with the dot, before anybody can have read our 250
                await client.send(CONTENT + b".\r\nNOOP\r\nNOOP\r\n")
                assert [(await client.reply()).code for _ in range(3)] == [250] * 3
        assert s.results() == [["delivered"], ["delivered-before"]]


async def test_the_same_content_twice_in_one_burst_is_two_messages() -> None:
    chunk = b"BDAT %d LAST\r\n%s" % (len(CONTENT), CONTENT)
    burst = (b"MAIL FROM:<a@sender.example>\r\nRCPT TO:<user@example.com>\r\n" + chunk) * 2
    async with scene() as s, connect(s.port) as client:
        await greeted(client)
        await client.send(burst)
        assert [(await client.reply()).code for _ in range(6)] == [250] * 6
        assert s.results() == [["delivered"], ["delivered"]]


async def test_a_4yz_for_all_keeps_in_mind_who_has_it_also_when_the_client_has_read_it() -> None:
    async with scene() as s:
        async with connect(s.port) as client:
            await greeted(client)
            assert await send(client, "ann@example.com", LATER) == 452
            await client.ask("QUIT")
        s.store.full = False
        async with connect(s.port) as client:
            await greeted(client)
            assert await send(client, "ann@example.com", LATER) == 250
            await client.ask("QUIT")
        assert s.store.got == ["ann@example.com", LATER]
        assert s.results() == [["delivered", "deferred"], ["delivered-before", "delivered"]]
        assert [record["result"] for record in s.watcher.records] == ["partly", "accepted"]


async def test_with_a_reply_for_each_those_who_were_told_250_are_done_with() -> None:
    async with scene() as s:
        async with connect(s.port) as client:
            await greeted(client)
            assert (await client.ask("MAIL FROM:<a@sender.example> PRDR")).code == 250
            for recipient in ("ann@example.com", LATER):
                assert (await client.ask(f"RCPT TO:<{recipient}>")).code == 250
            assert (await client.ask("DATA")).code == 354
            await client.send(CONTENT + b".\r\n")
            assert [(await client.reply()).code for _ in range(4)] == [353, 250, 452, 250]
            await client.ask("QUIT")
        async with connect(s.port) as client:
            await greeted(client)
            assert await send(client, "ann@example.com") == 250
        assert s.store.got == ["ann@example.com"] * 2
