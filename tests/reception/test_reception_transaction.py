"""The reception without a socket: what drops a transaction, what stays, and that each ending leaves one record.

Known gaps: timings in the record are not looked at.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "wire"))

from house import Anybody, KeepingRelay, OneRoute, Watcher

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.dns_zone import ZoneResolver
from gateway.adapters.store_memory import MemoryStore
from gateway.checks.run import Check
from gateway.delivery.stamp import Identity
from gateway.mail.address import Mailbox
from gateway.mail.finding import Finding, Outcome
from gateway.mail.message import Message, OutgoingMessage
from gateway.mail.phase import Phase
from gateway.mail.transaction import Connection, Tls, Transaction
from gateway.pipeline import Pipeline
from gateway.policy.load import load_text
from gateway.ports import Ports
from gateway.ports.mailstore import DeliveryResult
from gateway.reception import Reception, Services

POLICY = """
version: 1
mode: MODE
rules:
  - {id: bad-client, at: connect, when: {client: [192.0.2.66/32]}, then: reject, reason: blocked}
  - {id: bad-hello, at: helo, when: {helo_name: bad.example}, then: reject, reason: helo-policy}
  - {id: bad-path, at: mail, when: {reverse_path_domain: bad.example}, then: reject, reason: spf-policy}
  - {id: bad-rcpt, at: rcpt, when: {recipient: "bad@*"}, then: defer, reason: greylisted}
  - {id: bad-loop, at: content, when: {loop: fail}, then: reject, reason: loop}
profiles:
  - {name: lenient, domains: [profile.example.com], mode: observe}
  - {name: other, domains: [other.example.com]}
"""
MESSAGE = Message.parse(b"From: a@sender.example\r\nSubject: x\r\n\r\nbody\r\n")
LOOPING = Message.parse(b"Subject: loops\r\n\r\n")


class Relay(KeepingRelay):
    """Serves three domains over two routes and keeps what it hands over, with our fields on top."""

    def __init__(self) -> None:
        super().__init__()
        self.other = OneRoute("other.example.com")
        self.outgoing: list[bytes] = []

    def route_for(self, domain: str) -> Any:
        return {"example.com": self.route, "profile.example.com": self.route, "other.example.com": self.other}.get(
            domain
        )

    async def deliver(self, tx: Transaction, message: OutgoingMessage, budget: float) -> DeliveryResult:
        self.outgoing.append(b"".join(message.chunks()))
        return await super().deliver(tx, message, budget)


class BrokenJournal(Watcher):
    def transaction(self, record: Any) -> None:
        super().transaction(record)
        raise OSError("no space left on device")


@dataclass
class Desk:
    """One reception with all that it needs; ``looked`` counts what the connection's check did."""

    mode: str = "enforce"
    client: str = "192.0.2.1"
    watcher: Watcher = field(default_factory=Watcher)
    relay: Relay = field(default_factory=Relay)
    looked: int = 0

    def __post_init__(self) -> None:
        ports = Ports(ZoneResolver.from_text(""), MemoryStore(SystemClock()), Anybody(), SystemClock())
        policy = load_text(POLICY.replace("MODE", self.mode), "policy.yaml")
        checks = (
            Check("iprev", Phase.CONNECT, self._iprev, "", 5.0),
            Check("loop", Phase.CONTENT, self._loop, "", 5.0),
        )
        identity = Identity("mx.example.com", "mx.example.com")
        pipeline = Pipeline(ports, checks)
        services = Services(
            identity, pipeline, lambda: policy, self.relay, self.watcher, postmaster_domain="example.com"
        )
        self.reception = Reception(services, Connection("SESSION", ip_address(self.client)))

    async def _iprev(self, tx: Transaction, ports: Ports, settings: Any) -> Finding:
        self.looked += 1
        return Finding("iprev", Outcome.PASS, "confirmed", {"name": "client.example"})

    async def _loop(self, tx: Transaction, ports: Ports, settings: Any) -> Finding:
        assert tx.message
        looping = tx.message.first("subject") == b"loops"
        return Finding("loop", Outcome.FAIL if looping else Outcome.PASS, "too-many" if looping else "few")

    async def greet(self) -> Reception:
        assert (await self.reception.connect()).code == 220
        assert await self.reception.say_hello("EHLO", "client.example") is None
        return self.reception

    async def mail(self, domain: str = "sender.example") -> str:
        reply = await self.reception.mail(Mailbox("a", domain), size=None, body="7BIT", smtputf8=False)
        return f"{reply.code} {reply.enhanced}"

    async def rcpt(self, address: str = "user@example.com") -> str:
        local_part, _, domain = address.rpartition("@")
        reply = await self.reception.rcpt(Mailbox(local_part, domain))
        return f"{reply.code} {reply.enhanced}"

    async def envelope(self) -> Reception:
        reception = await self.greet()
        assert await self.mail() == "250 2.1.0"
        assert await self.rcpt() == "250 2.1.5"
        return reception

    @property
    def record(self) -> Any:
        (record,) = self.watcher.records
        return record


# ---- what drops a transaction


async def test_starttls_drops_hello_and_transaction_and_keeps_what_is_known_of_the_connection() -> None:
    desk = Desk()
    reception = await desk.envelope()
    reception.tls_started(Tls("TLSv1.3", "TLS_AES_256_GCM_SHA384"))
    assert reception.hello is None
    assert reception.envelope is None
    assert reception.connection.tls
    assert desk.record["result"] == "aborted"
    assert await reception.say_hello("EHLO", "again.example") is None
    assert await desk.mail() == "250 2.1.0"
    assert reception.transaction
    assert reception.transaction.findings["iprev"].evidence["name"] == "client.example"
    assert desk.looked == 1, "the connection is looked at once"


async def test_another_hello_drops_the_transaction() -> None:
    desk = Desk()
    reception = await desk.envelope()
    assert await reception.say_hello("EHLO", "again.example") is None
    assert reception.envelope is None
    assert reception.hello
    assert reception.hello.name == "again.example"
    assert desk.record["result"] == "aborted"


async def test_a_refused_hello_leaves_the_session_without_any() -> None:
    desk = Desk()
    reception = await desk.greet()
    refusal = await reception.say_hello("EHLO", "bad.example")
    assert refusal
    assert refusal.code == 550
    assert desk.record["helo"] == "bad.example"
    # RFC 5321 section 4.1.4: a failed EHLO leaves the state as it was before
    assert reception.hello
    assert reception.hello.name == "client.example"


# ---- one record each


async def test_accepted() -> None:
    desk = Desk()
    reception = await desk.envelope()
    assert (await reception.content(MESSAGE)).code == 250
    reception.close()
    assert desk.record["result"] == "accepted"
    assert desk.record["rcpts"][0]["result"] == "delivered"
    assert len(desk.relay.kept) == 1


@pytest.mark.parametrize("ending", ["reset", "close"])
async def test_ended_before_its_content(ending: str) -> None:
    desk = Desk()
    reception = await desk.envelope()
    getattr(reception, ending)()
    reception.close()
    assert desk.record["result"] == "aborted"
    assert desk.record["rcpt"] == ["user@example.com"]


@pytest.mark.parametrize(
    ("recipient", "result", "reason"),
    [("bad@example.com", "deferred", "greylisted"), ("user@elsewhere.example", "rejected", "relay-denied")],
)
async def test_all_recipients_refused(recipient: str, result: str, reason: str) -> None:
    desk = Desk()
    reception = await desk.greet()
    await desk.mail()
    await desk.rcpt(recipient)
    reception.reset()
    reception.close()
    assert (desk.record["result"], desk.record["reason"]) == (result, reason)
    assert desk.record["rcpts"][0]["address"] == recipient


async def test_mail_refused() -> None:
    desk = Desk()
    reception = await desk.greet()
    assert await desk.mail("bad.example") == "550 5.7.23"
    assert reception.envelope is None
    reception.close()
    assert desk.record["result"] == "rejected"


async def test_content_refused_by_a_rule() -> None:
    desk = Desk()
    reception = await desk.envelope()
    assert (await reception.content(LOOPING)).code == 554
    reception.close()
    assert (desk.record["result"], desk.record["reason"], desk.relay.kept) == ("rejected", "loop", [])


@pytest.mark.parametrize(
    ("reason", "result", "verdict"), [("too-big", "rejected", "reject"), ("local-error", "deferred", "defer")]
)
async def test_content_that_cannot_be_judged(reason: str, result: str, verdict: str) -> None:
    desk = Desk()
    reception = await desk.envelope()
    reception.refuse_content(reason)
    reception.close()
    assert (desk.record["result"], desk.record["verdict"], desk.record["reason"]) == (result, verdict, reason)


async def test_the_connection_refused() -> None:
    desk = Desk(client="192.0.2.66")
    reply = await desk.reception.connect()
    desk.reception.close()
    assert (reply.code, reply.close) == (554, True)
    assert desk.record["event"] == "reject"


async def test_three_transactions_have_three_ids_and_three_records() -> None:
    desk = Desk()
    reception = await desk.greet()
    for _ in range(3):
        await desk.mail()
        await desk.rcpt()
        assert (await reception.content(MESSAGE)).code == 250
    reception.close()
    assert [record["qid"] for record in desk.watcher.records] == ["SESSION-1", "SESSION-2", "SESSION-3"]
    assert [len(record["rcpts"]) for record in desk.watcher.records] == [1, 1, 1]


# ---- recipients


async def test_recipients_of_another_route_or_profile_are_asked_to_come_again() -> None:
    desk = Desk()
    reception = await desk.envelope()
    assert await desk.rcpt("user@other.example.com") == "452 4.5.3"
    assert await desk.rcpt("user@profile.example.com") == "452 4.5.3"
    assert await desk.rcpt("second@example.com") == "250 2.1.5"
    assert (await reception.content(MESSAGE)).code == 250
    assert desk.record["rcpt"] == ["user@example.com", "second@example.com"]
    await desk.mail()
    assert await desk.rcpt("user@other.example.com") == "250 2.1.5", "a transaction of its own may have it"


async def test_a_refused_recipient_does_not_choose_the_route() -> None:
    desk = Desk()
    await desk.greet()
    await desk.mail()
    assert await desk.rcpt("bad@other.example.com") == "451 4.7.1"
    assert await desk.rcpt("user@example.com") == "250 2.1.5"


@pytest.mark.parametrize(
    "trick",
    ["user%elsewhere.example@example.com", "elsewhere.example!user@example.com", "u@elsewhere.example@example.com",
     "user@elsewhere.example", "user@sub.example.com", "user@[127.0.0.1]"],
)  # fmt: skip
async def test_nobody_relays_through_us(trick: str) -> None:
    desk = Desk()
    await desk.greet()
    await desk.mail()
    assert await desk.rcpt(trick) == "550 5.7.1"


async def test_the_same_recipient_twice_is_one_copy() -> None:
    desk = Desk()
    reception = await desk.envelope()
    assert await desk.rcpt() == "250 2.1.5"
    assert reception.envelope
    assert len(reception.envelope.recipients) == 1


# ---- faults


async def test_nothing_is_handed_over_for_a_client_that_has_gone() -> None:
    desk = Desk()
    reception = await desk.envelope()
    reception.client_gone = True
    assert (await reception.content(MESSAGE)).code == 451
    reception.close()
    assert desk.relay.kept == []
    assert desk.record["result"] == "aborted"


async def test_a_journal_that_fails_does_not_turn_250_into_a_duplicate(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(watcher=BrokenJournal())
    reception = await desk.envelope()
    assert (await reception.content(MESSAGE)).code == 250
    assert len(desk.relay.kept) == 1
    assert "the decision record is lost" in caplog.text
    await desk.mail()
    assert await desk.rcpt() == "250 2.1.5"


# ---- observe


async def test_observe_records_the_verdict_and_lets_the_mail_through() -> None:
    desk = Desk(mode="observe", client="192.0.2.66")
    reception = desk.reception
    assert (await reception.connect()).code == 220
    assert await reception.say_hello("EHLO", "bad.example") is None
    assert await desk.mail("bad.example") == "250 2.1.0"
    assert await desk.rcpt("bad@example.com") == "250 2.1.5"
    assert await desk.rcpt("user@elsewhere.example") == "550 5.7.1", "what is not ours is not ours in any mode"
    assert (await reception.content(LOOPING)).code == 250
    assert (desk.record["result"], desk.record["verdict"], desk.record["enforced"]) == ("accepted", "reject", False)
    assert {rule["id"] for rule in desk.record["rules"]} >= {"bad-client", "bad-hello", "bad-path", "bad-loop"}
    (outgoing,) = desk.relay.outgoing
    assert b"X-Gateway-Verdict: accept\r\n" in outgoing
    assert b"(observed: would be reject)" in outgoing
