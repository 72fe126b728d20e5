"""The ledger around hand-overs: a retry of a delivered message is told so and delivered once; doubt means delivery."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from parts import ANN, BOB, CID, outgoing, transaction

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.dns_zone import ZoneResolver
from gateway.adapters.store_broken import BrokenStore
from gateway.adapters.store_memory import MemoryStore
from gateway.delivery import ledger as ledger_module
from gateway.delivery.fold import fold
from gateway.delivery.ledger import DeliveryLedger
from gateway.delivery.routes import Route, Router
from gateway.delivery.stamp import Identity
from gateway.evidence.explain import ExplainRequest, explain
from gateway.mail.address import NULL, Mailbox
from gateway.mail.finding import Why
from gateway.mail.message import Message, OutgoingMessage
from gateway.mail.transaction import Transaction
from gateway.node.timed_store import TimedStore
from gateway.pipeline import Pipeline
from gateway.policy.load import load_text
from gateway.ports import Ports
from gateway.ports.failure import PortFailure
from gateway.ports.ledger import Entry, LedgerStore
from gateway.ports.mailstore import DeliveryResult, Handover, RecipientResult, RecipientStatus

NAMED = b"Message-ID: <1@example.org>\r\nSubject: x\r\n\r\nhello\r\n"
TOLD = {"delivered": Handover.DELIVERED, "deferred": Handover.DEFERRED, "refused": Handover.REFUSED}


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


class OneStore:
    """A mailstore that keeps the recipients of each hand-over; ``says`` by recipient, DELIVERED if nothing."""

    name = "one"

    def __init__(self) -> None:
        self.got: list[tuple[Mailbox, ...]] = []
        self.says: Mapping[Mailbox, Handover] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None

    async def deliver(self, tx: Transaction, message: OutgoingMessage, budget: float) -> DeliveryResult:
        assert tx.envelope
        self.got.append(tx.envelope.recipients)
        await self.gate.wait()
        if self.failure:
            raise self.failure
        said = {each: self.says.get(each, Handover.DELIVERED) for each in tx.envelope.recipients}
        codes = {Handover.DELIVERED: 250, Handover.REFUSED: 550, Handover.DEFERRED: 452}
        return DeliveryResult("one", {each: RecipientResult(what, codes.get(what, 0)) for each, what in said.items()})

    async def recipient(self, mailbox: Mailbox) -> RecipientStatus:
        raise AssertionError("nobody asks")

    async def close(self) -> None:
        pass


class Cluster:
    """Two nodes that share a store and a mailstore."""

    def __init__(
        self, shared: LedgerStore, remember: float = 86400.0, lease: float = 5.0, patience: float = 0.0
    ) -> None:
        self.words: list[str] = []
        self.mailstore = OneStore()
        self.nodes = [
            Router(
                [Route(("example.com",), (self.mailstore,))],
                ledger=DeliveryLedger(shared, b"secret", remember, self.words.append, lease, patience),
            )
            for _ in range(2)
        ]

    async def send(
        self, node: int, *recipients: Mailbox, content: bytes = NAMED, path: Mailbox | None = None, budget: float = 5.0
    ) -> DeliveryResult:
        tx = transaction(*recipients)
        assert tx.envelope
        self._sent = getattr(self, "_sent", 0) + 1
        envelope = replace(tx.envelope, reverse_path=path or tx.envelope.reverse_path)
        tx = replace(tx, id=f"T{self._sent}", envelope=envelope)
        # each attempt gets another Received of ours
        return await self.nodes[node].deliver(
            tx, OutgoingMessage(Message.parse(content), b"Received: %d\r\n" % self._sent), budget
        )


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def cluster(time: Time) -> Cluster:
    return Cluster(MemoryStore(time))


def handovers(result: DeliveryResult) -> list[str]:
    return [each.handover.value for each in result.results.values()]


async def test_a_retry_on_another_node_is_answered_250_and_not_delivered_again(cluster: Cluster) -> None:
    first = await cluster.send(0, ANN, BOB)
    again = await cluster.send(1, ANN, BOB)
    assert handovers(first) == ["delivered"] * 2
    assert handovers(again) == ["delivered-before"] * 2
    assert (first.ledger, again.ledger, again.mailstore) == ("", "delivered-before", "")
    assert fold(again, "T2").code == 250
    assert cluster.mailstore.got == [(ANN, BOB)]
    assert cluster.words == ["recorded", "delivered-before"]


async def test_who_of_several_has_it_is_known_for_each(cluster: Cluster) -> None:
    cluster.mailstore.says = {BOB: Handover.DEFERRED, CID: Handover.REFUSED}
    assert handovers(await cluster.send(0, ANN, BOB, CID)) == ["delivered", "deferred", "refused"]
    cluster.mailstore.says = {}
    again = await cluster.send(1, ANN, BOB, CID)
    assert handovers(again) == ["delivered-before", "delivered", "delivered"]
    assert list(again.results) == [ANN, BOB, CID]
    assert cluster.mailstore.got == [(ANN, BOB, CID), (BOB, CID)]


@pytest.mark.parametrize("what", [Handover.DEFERRED, Handover.REFUSED, Handover.MAYBE])
async def test_what_no_mailstore_has_for_sure_is_handed_over_anew(cluster: Cluster, what: Handover) -> None:
    cluster.mailstore.says = {ANN: what}
    first = await cluster.send(0, ANN)
    assert (handovers(first), first.receipt) == ([what.value], "")
    cluster.mailstore.says = {}
    assert handovers(await cluster.send(1, ANN)) == ["delivered"]


async def test_a_mailstore_that_is_down_leaves_no_trace(cluster: Cluster) -> None:
    cluster.mailstore.failure = PortFailure("mailstore", Why.REFUSED, "down")
    assert handovers(await cluster.send(0, ANN)) == ["deferred"]
    cluster.mailstore.failure = None
    assert handovers(await cluster.send(1, ANN)) == ["delivered"]


async def test_two_attempts_at_once_never_deliver_both(cluster: Cluster) -> None:
    cluster.mailstore.gate.clear()
    first = asyncio.create_task(cluster.send(0, ANN))
    while not cluster.mailstore.got:
        await asyncio.sleep(0)
    second = await cluster.send(1, ANN)
    assert (handovers(second), second.ledger) == (["busy"], "busy")
    reply = fold(second, "T2")
    assert (reply.code, reply.enhanced) == (451, "4.3.0")
    cluster.mailstore.gate.set()
    assert handovers(await first) == ["delivered"]
    assert handovers(await cluster.send(1, ANN)) == ["delivered-before"]
    assert len(cluster.mailstore.got) == 1


async def test_an_attempt_that_died_holds_nobody_up_for_longer_than_its_lease(cluster: Cluster, time: Time) -> None:
    cluster.mailstore.failure = RuntimeError("as if the node were killed")
    with pytest.raises(RuntimeError):
        await cluster.send(0, ANN)
    cluster.mailstore.failure = None
    time.seconds += ledger_module.LEASE - 0.1
    assert handovers(await cluster.send(1, ANN)) == ["busy"]
    time.seconds += 0.2
    assert handovers(await cluster.send(1, ANN)) == ["delivered"]


async def test_an_attempt_that_lives_keeps_others_off_for_as_long_as_it_takes() -> None:
    cluster = Cluster(MemoryStore(SystemClock()), lease=0.6)
    cluster.mailstore.gate.clear()
    slow = asyncio.create_task(cluster.send(0, ANN))
    while not cluster.mailstore.got:
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0.1)
        assert handovers(await cluster.send(1, ANN)) == ["busy"]
    cluster.mailstore.gate.set()
    assert handovers(await slow) == ["delivered"]
    assert cluster.mailstore.got == [(ANN,)]


async def test_a_retry_waits_for_the_end_of_the_other_attempt() -> None:
    cluster = Cluster(MemoryStore(SystemClock()), patience=30.0)
    cluster.mailstore.gate.clear()
    first = asyncio.create_task(cluster.send(0, ANN, BOB, budget=60.0))
    while not cluster.mailstore.got:
        await asyncio.sleep(0)
    retry = asyncio.create_task(cluster.send(1, ANN, BOB, CID, budget=60.0))
    await asyncio.sleep(0.5)
    assert not retry.done()
    cluster.mailstore.says = {BOB: Handover.DEFERRED}
    cluster.mailstore.gate.set()
    assert handovers(await first) == ["delivered", "deferred"]
    cluster.mailstore.says = {}
    assert handovers(await retry) == ["delivered-before", "delivered", "delivered"]
    assert cluster.mailstore.got == [(ANN, BOB), (BOB, CID)]


async def test_a_retry_waits_until_the_lease_of_a_dead_attempt_is_over() -> None:
    cluster = Cluster(MemoryStore(SystemClock()), lease=0.5, patience=30.0)
    cluster.mailstore.failure = RuntimeError("as if the node were killed")
    with pytest.raises(RuntimeError):
        await cluster.send(0, ANN)
    cluster.mailstore.failure = None
    assert handovers(await cluster.send(1, ANN, budget=60.0)) == ["delivered"]


async def test_a_store_that_is_out_means_no_ledger_and_mail_flows() -> None:
    cluster = Cluster(BrokenStore())
    for node in (0, 1):
        result = await cluster.send(node, ANN)
        assert (handovers(result), result.ledger, result.receipt) == (["delivered"], "unavailable", "")
    assert cluster.words == ["unavailable"] * 2


async def test_a_store_that_fails_before_the_end_is_recorded_delays_a_retry_and_loses_nothing(time: Time) -> None:
    class Dying(MemoryStore):
        async def settle(self, *_: object) -> None:
            raise PortFailure("store", Why.TIMEOUT, "gone")

    cluster = Cluster(Dying(time))
    result = await cluster.send(0, ANN)
    assert (handovers(result), result.ledger) == (["delivered"], "unavailable")
    assert handovers(await cluster.send(1, ANN)) == ["busy"]
    time.seconds += 10
    assert handovers(await cluster.send(1, ANN)) == ["delivered"]


class Stalled(MemoryStore):
    """A store whose records of the end wait, as behind a disk that hangs."""

    def __init__(self, clock: Time) -> None:
        super().__init__(clock)
        self.gate = asyncio.Event()

    async def settle(self, key: str, done: Sequence[str], free: Sequence[str], owner: str, ttl: float) -> None:
        await self.gate.wait()
        await super().settle(key, done, free, owner, ttl)


async def test_a_store_that_is_slow_at_the_end_records_it_all_the_same(time: Time) -> None:
    shared = Stalled(time)
    cluster = Cluster(TimedStore(shared, lambda *_: None))
    result = await cluster.send(0, ANN)
    assert (handovers(result), result.ledger) == (["delivered"], "unavailable")
    closing = asyncio.create_task(cluster.nodes[0].close())
    await asyncio.sleep(0)
    shared.gate.set()
    await closing
    assert handovers(await cluster.send(1, ANN)) == ["delivered-before"]


async def test_what_was_read_before_it_was_recorded_is_forgotten_after(time: Time) -> None:
    shared = Stalled(time)
    cluster = Cluster(TimedStore(shared, lambda *_: None))
    cluster.nodes[0].reply_read(await cluster.send(0, ANN))
    await asyncio.sleep(0)
    shared.gate.set()
    await cluster.nodes[0].close()
    assert handovers(await cluster.send(1, ANN)) == ["delivered"]


async def test_what_the_client_has_read_is_no_retry_any_more(cluster: Cluster) -> None:
    for _ in range(3):
        result = await cluster.send(0, ANN)
        assert handovers(result) == ["delivered"]
        # at once, without a turn of the loop: the next one waits for it
        cluster.nodes[0].reply_read(result)
    again = await cluster.send(1, ANN)
    assert handovers(again) == ["delivered"]
    cluster.nodes[1].reply_read(again)
    await cluster.nodes[1].close()
    assert handovers(await cluster.send(0, ANN)) == ["delivered"]


async def test_a_delivered_message_is_forgotten_in_time(time: Time) -> None:
    cluster = Cluster(MemoryStore(time), remember=3600.0)
    await cluster.send(0, ANN)
    time.seconds += 3599
    assert handovers(await cluster.send(1, ANN)) == ["delivered-before"]
    time.seconds += 2
    assert handovers(await cluster.send(1, ANN)) == ["delivered"]


async def test_the_same_words_without_id_and_date_are_another_message_after_half_an_hour(
    cluster: Cluster, time: Time
) -> None:
    alarm = b"Subject: alarm\r\n\r\nthe disk is full\r\n"
    await cluster.send(0, ANN, content=alarm)
    time.seconds += ledger_module.NAMELESS_REMEMBER - 1
    assert handovers(await cluster.send(1, ANN, content=alarm)) == ["delivered-before"]
    time.seconds += 2
    assert handovers(await cluster.send(1, ANN, content=alarm)) == ["delivered"]


async def test_another_recipient_reverse_path_or_content_is_another_message(cluster: Cluster) -> None:
    large = NAMED + b"x" * 300_000
    assert handovers(await cluster.send(0, ANN)) == ["delivered"]
    assert handovers(await cluster.send(0, BOB)) == ["delivered"]
    assert handovers(await cluster.send(0, ANN, path=Mailbox("other", "example.org"))) == ["delivered"]
    assert handovers(await cluster.send(0, ANN, content=NAMED + b".\r\n")) == ["delivered"]
    assert handovers(await cluster.send(0, ANN, content=large)) == ["delivered"]
    assert handovers(await cluster.send(1, ANN, content=large)) == ["delivered-before"]
    assert handovers(await cluster.send(1, ANN)) == ["delivered-before"]


async def test_without_a_ledger_a_retry_is_a_message_like_any_other() -> None:
    mailstore = OneStore()
    router = Router([Route(("example.com",), (mailstore,))])
    for _ in range(2):
        result = await router.deliver(transaction(ANN), outgoing(NAMED), 5.0)
        assert (handovers(result), result.ledger, result.receipt) == (["delivered"], "", "")
        router.reply_read(result)
    assert len(mailstore.got) == 2


async def test_clusters_with_different_secrets_know_nothing_of_each_other(time: Time) -> None:
    shared = MemoryStore(time)
    tx = transaction(ANN)
    assert tx.envelope
    tx = replace(tx, envelope=replace(tx.envelope, reverse_path=NULL))

    async def hand_over(tx: Transaction, message: OutgoingMessage, budget: float) -> DeliveryResult:
        return DeliveryResult("one", {ANN: RecipientResult(Handover.DELIVERED, 250)})

    for secret in (b"one", b"two"):
        result = await DeliveryLedger(shared, secret, 60.0).deliver(tx, outgoing(), 5.0, hand_over)
        assert handovers(result) == ["delivered"]
        assert result.receipt.isalnum()


async def test_explain_never_asks_the_ledger() -> None:
    class Asked(MemoryStore):
        async def begin(self, *_: object) -> tuple[Entry, ...]:
            raise AssertionError("explain hands nothing over")

    clock, mailstore = SystemClock(), OneStore()
    shared = Asked(clock)
    router = Router([Route(("example.com",), (mailstore,))], ledger=DeliveryLedger(shared, b"secret", 60.0))
    found = await explain(
        ExplainRequest(ip_address("192.0.2.1"), "a.test", Mailbox("a", "sender.example"), (ANN,), NAMED),
        pipeline=Pipeline(Ports(ZoneResolver.from_text(""), shared, router, clock), checks=()),
        policy=load_text("version: 1\nmode: enforce\nrules: []\n", "policy.yaml"),
        route=router.route_for,
        identity=Identity("mx.test", "mx.test"),
    )
    assert found.reply.startswith("250 2.0.0")
    assert mailstore.got == []
