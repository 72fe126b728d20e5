"""One reception over a master file and stores that may be out, recorded; its lines replayed without any of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.dns_zone import ZoneResolver
from gateway.adapters.port_recording import recording
from gateway.adapters.store_broken import BrokenStore
from gateway.adapters.store_memory import MemoryStore
from gateway.cluster.blocks import BlockTable
from gateway.delivery.routes import Route
from gateway.delivery.stamp import Identity
from gateway.evidence.recording import Recorder
from gateway.mail.address import NULL, Mailbox
from gateway.mail.finding import Why
from gateway.mail.message import Message, OutgoingMessage
from gateway.mail.transaction import Connection, Tls, Transaction
from gateway.node.policy_source import PolicyText
from gateway.node.replaying import Journal
from gateway.ops.journal_file import JournalFile
from gateway.pipeline import Pipeline
from gateway.policy.model import Policy
from gateway.ports import Ports
from gateway.ports.blocks import Block
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import DeliveryResult, Handover, Known, RecipientResult, RecipientStatus
from gateway.ports.observer import NullObserver
from gateway.reception import Reception, Services

ZONE = """
$ORIGIN .
client.sender.example. A 192.0.2.10
10.2.0.192.in-addr.arpa. PTR client.sender.example.
20.2.0.192.in-addr.arpa. PTR dyn-20-2.pool.example.
sender.example. TXT "v=spf1 ip4:192.0.2.0/28 include:more.example -all"
more.example. TXT "v=spf1 exists:%{i}.seen.example -all"
_dmarc.sender.example. TXT "v=DMARC1; p=reject"
bank.example. TXT "v=spf1 -all"
_dmarc.bank.example. TXT "v=DMARC1; p=quarantine"
66.2.0.192.dnsbl.example. A 127.0.0.2
;; SERVFAIL *.dead.example
;; TIMEOUT *.slow.example
;; SERVFAIL dead.example
"""
POLICY = """
version: 1
checks:
  dnsbl: {sites: ["dnsbl.example=127.0.0.2*5", "other.slow.example*1"]}
  greylist: {mode: suspicious, delay: 60}
  rate: {connections: 3, messages: 2}
rules:
  - {id: rate-connections, at: connect, when: {rate: fail}, then: defer, reason: rate-connect}
  - {id: listed, at: rcpt, when: {dnsbl.score: ">= 5"}, then: reject, reason: dnsbl}
  - {id: unknown, at: rcpt, when: {recipient: fail}, then: reject, reason: recipient-unknown}
  - {id: grey, at: rcpt, when: {greylist: fail}, then: defer, reason: greylisted}
  - {id: spf-of-bank, at: mail, when: {spf: fail, reverse_path_domain: bank.example}, then: reject, reason: spf-policy}
  - {id: dmarc-reject, at: content, when: {dmarc: fail, dmarc.policy: reject}, then: reject, reason: auth-policy}
  - {id: dmarc-quarantine, at: content, when: {dmarc: fail, dmarc.policy: [quarantine, reject]}, then: quarantine}
  - {id: loop, at: content, when: {loop: fail}, then: reject, reason: loop}
outage: {dns: proceed, store: proceed, mailstore: defer}
profiles:
  - {name: quiet, domains: [quiet.example], mode: observe}
"""
CONTENT = b"From: ann@sender.example\r\nTo: user@example.com\r\nSubject: lunch\r\nMessage-ID: <1@x>\r\n\r\nHello.\r\n"


@dataclass
class Facts:
    """What one session does."""

    client: str = "192.0.2.10"
    helo: str = "client.sender.example"
    path: str = "ann@sender.example"
    to: Sequence[str] = ("user@example.com",)
    content: bytes = CONTENT
    tls: bool = False
    early: bool = False
    prdr: bool = False
    delivered: str = "delivered"
    store: bool = True
    client_known: bool = True
    end: str = "content"
    blocked: bool = False


@dataclass
class World:
    """``run`` sessions; ``lines`` is what was recorded."""

    content: bool = True
    policy_text: str = POLICY
    lines: list[str] = field(default_factory=list)
    records: list[Any] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.policy: Policy = PolicyText(self.policy_text, "policy.yaml").parse()
        self.clock = SystemClock()
        self.stores = {True: MemoryStore(self.clock), False: BrokenStore()}
        self._known: set[str] = set()
        self._recorder = Recorder(recording, self._write, lambda: self.policy, content=self.content)
        self._count = 0

    def _write(self, line: str, digest: str, policy: str) -> None:
        self.lines += [line] if digest in self._known else [policy, line]
        self._known.add(digest)

    async def run(self, facts: Facts) -> None:
        self._count += 1
        blocks = BlockTable(self.clock)
        if facts.blocked:
            blocks.fill([Block("sender.example", self.clock.now() + 60)])
        ports = Ports(ZoneResolver.from_text(ZONE), self.stores[facts.store], _Directory(), self.clock, blocks=blocks)
        watch = _Watch(self)
        services = Services(
            Identity("mx.example.com", "mx.example.com"), Pipeline(ports), lambda: self.policy, _Relay(facts), watch
        )
        journal = Journal(self._recorder, JournalFile.__new__(JournalFile))
        connection = Connection(f"SESSION{self._count}", ip_address(facts.client), client_known=facts.client_known)
        await self._talk(Reception(journal.beside(services), connection), facts)

    async def _talk(self, reception: Reception, facts: Facts) -> None:
        said = await reception.connect()
        self.replies.append(str(said))
        if said.code != 220:
            return
        if facts.early:
            reception.talked_early()
        if await reception.say_hello("EHLO", facts.helo):
            return
        if facts.tls:
            reception.tls_started(Tls("TLSv1.3", "TLS_AES_256_GCM_SHA384"))
            if await reception.say_hello("EHLO", facts.helo):
                return
        local, _, domain = facts.path.rpartition("@")
        path = Mailbox(local, domain) if facts.path else NULL
        said = await reception.mail(path, size=None, body="8BITMIME", smtputf8=False, prdr=facts.prdr)
        self.replies.append(str(said))
        if said.code != 250:
            return
        for address in facts.to:
            local, _, domain = address.rpartition("@")
            self.replies.append(str(await reception.rcpt(Mailbox(local, domain))))
        if reception.envelope and reception.envelope.recipients:
            if facts.end == "content":
                self.replies += map(str, await reception.content_replies(Message.parse(facts.content)))
            elif facts.end == "gone":
                reception.client_gone = True
                await reception.content_replies(Message.parse(facts.content))
            elif facts.end == "bare":
                self.replies.append(str(reception.refuse_content("bare-line-ending")))
        reception.close()


class _Watch(NullObserver):
    def __init__(self, world: World) -> None:
        self._world = world

    def transaction(self, record: Any) -> None:
        self._world.records.append(record)
        self._world._recorder.note(record)


class _Directory:
    async def recipient(self, mailbox: Mailbox) -> RecipientStatus:
        if mailbox.local_part == "nobody":
            return RecipientStatus(Known.NO, "550 5.1.1 no such user")
        if mailbox.local_part == "later":
            raise PortFailure("mailstore", Why.TIMEOUT, "no answer")
        return RecipientStatus(Known.YES, "250 2.1.5 ok")


class _Relay:
    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._routes = {
            "example.com": Route((), (), "a"),
            "quiet.example": Route((), (), "a"),
            "other.example": Route((), (), "b"),
        }
        self._routes["quiet.example"] = self._routes["example.com"]

    def route_for(self, domain: str) -> Route | None:
        return self._routes.get(domain)

    async def deliver(self, tx: Transaction, message: OutgoingMessage, budget: float) -> DeliveryResult:
        assert tx.envelope
        kinds = {
            "delivered": (Handover.DELIVERED, 250),
            "deferred": (Handover.DEFERRED, 452),
            "refused": (Handover.REFUSED, 552),
        }
        kind, code = kinds[self._facts.delivered]
        result = RecipientResult(kind, code, f"{code // 100}.2.2", "said the mailstore")
        return DeliveryResult("smtp://store", dict.fromkeys(tx.envelope.recipients, result), {"connect": 0.1})
