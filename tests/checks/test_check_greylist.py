"""Who waits, who does not, and under which name."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from gateway.adapters.dns_broken import BrokenResolver
from gateway.adapters.store_broken import BrokenStore
from gateway.adapters.store_memory import MemoryStore
from gateway.checks.greylist import greylist
from gateway.checks.greylist_key import key_of, normalised, organisation
from gateway.mail.address import NULL, Mailbox
from gateway.mail.finding import Cause, Finding, Outcome, Why
from gateway.mail.transaction import Connection, Envelope, Hello, Transaction
from gateway.policy.settings import GreylistSettings
from gateway.ports import Ports


class Clock:
    time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


RCPT = Mailbox("user", "example.com")
SPF = Finding("spf", Outcome.PASS, "match")
NO_SPF = Finding("spf", Outcome.NONE, "no-record")
PTR = Finding("iprev", Outcome.PASS, "confirmed", {"name": "mx3.out.example.co.uk", "generic": False})
NO_PTR = Finding("iprev", Outcome.PERMERROR, "no-ptr", {"name": "", "generic": False})
GENERIC = Finding("iprev", Outcome.PASS, "confirmed", {"name": "p1-2-0-192.isp.example", "generic": True})


def unknown(check: str) -> Finding:
    return Finding.unknown(check, Cause("dns", Why.TIMEOUT))


def partly_known(**evidence: float) -> Finding:
    return Finding.unknown("dnsbl", Cause("dns", Why.TIMEOUT), evidence)


def tx_with(*found: Finding, ip: str = "192.0.2.7", rcpt: Mailbox = RCPT, path: str = "anna") -> Transaction:
    return Transaction(
        "T",
        Connection("S", ip_address(ip)),
        0.0,
        hello=Hello("EHLO", "mail.example.org"),
        envelope=Envelope(Mailbox(path, "mail.example.org") if path else NULL),
        rcpt=rcpt,
        findings={finding.check: finding for finding in found},
    )


async def ask(tx: Transaction, ports: Ports | None = None, **settings: object) -> Finding:
    at = ports or Ports(BrokenResolver(), MemoryStore(Clock()), None, Clock())  # type: ignore[arg-type]
    found = await greylist(tx, at, GreylistSettings(**settings))  # type: ignore[arg-type]
    assert found
    return found


@pytest.mark.parametrize(
    ("mode", "found", "outcome", "state"),
    [
        ("off", [NO_PTR], "none", "off"),
        ("learn", [NO_PTR], "pass", "learn"),
        ("all", [SPF, PTR], "fail", "first"),
        ("unknown", [NO_SPF, NO_PTR], "fail", "first"),
        ("unknown", [SPF, NO_PTR], "pass", "skipped"),
        ("unknown", [NO_SPF, PTR], "pass", "skipped"),
        ("unknown", [unknown("spf"), NO_PTR], "pass", "skipped"),
        ("suspicious", [NO_SPF, PTR], "pass", "skipped"),
        ("suspicious", [NO_PTR], "fail", "first"),
        ("suspicious", [GENERIC], "fail", "first"),
        ("suspicious", [PTR, Finding("helo", Outcome.FAIL, "own-name")], "fail", "first"),
        ("suspicious", [PTR, Finding("pregreet", Outcome.FAIL, "early-talker")], "fail", "first"),
        ("suspicious", [PTR, Finding("dnsbl", Outcome.FAIL, "listed", {"score": 0.5})], "fail", "first"),
        ("suspicious", [PTR, partly_known(score=3.0, score_least=1.0)], "fail", "first"),
        ("suspicious", [PTR, partly_known(score=3.0, score_least=-1.0)], "pass", "skipped"),
        ("suspicious", [NO_PTR, Finding("dnsbl", Outcome.PASS, "allowed", {"score": -2.0})], "pass", "bypass"),
        ("suspicious", [unknown("spf"), unknown("iprev"), unknown("helo"), unknown("dnsbl")], "pass", "skipped"),
        ("suspicious", [], "pass", "skipped"),
        ("suspicious", [NO_PTR, Finding("recipient", Outcome.FAIL, "no-such-recipient")], "pass", "skipped"),
    ],
)
async def test_who_waits(mode: str, found: list[Finding], outcome: str, state: str) -> None:
    finding = await ask(tx_with(*found), mode=mode)
    assert (finding.outcome, finding.evidence["state"]) == (outcome, state)


async def test_the_exempt_never_wait() -> None:
    assert (await ask(tx_with(NO_PTR, rcpt=Mailbox("Postmaster", "example.com")))).reason == "exempt-recipient"
    assert (await ask(tx_with(NO_PTR), exempt_clients=(ip_network("192.0.2.0/24"),))).reason == "exempt-client"
    assert (await ask(tx_with(NO_PTR, SPF), exempt_domains=("example.org",))).reason == "exempt-domain"
    assert (await ask(tx_with(NO_PTR), exempt_domains=("example.org",))).outcome is Outcome.FAIL, "SPF must pass"
    tx = tx_with(NO_PTR)
    hidden = replace(tx, connection=replace(tx.connection, client_known=False))
    assert (await ask(hidden)).reason == "client-not-known"


async def test_a_retry_passes_and_is_known() -> None:
    clock = Clock()
    ports = Ports(BrokenResolver(), MemoryStore(clock), None, clock)  # type: ignore[arg-type]
    first = await ask(tx_with(NO_PTR), ports)
    assert (first.outcome, first.evidence["wait"], first.evidence["key_kind"]) == (Outcome.FAIL, 120.0, "net")
    clock.time += 60
    assert (await ask(tx_with(NO_PTR, ip="192.0.2.99"), ports)).evidence["wait"] == 60.0
    clock.time += 61
    passed = await ask(tx_with(NO_PTR), ports)
    assert (passed.outcome, passed.reason, passed.evidence["waited"]) == (Outcome.PASS, "passed", 121.0)
    assert (await ask(tx_with(NO_PTR), ports)).reason == "known"


async def test_without_a_store_nothing_is_known() -> None:
    found = await ask(tx_with(NO_PTR), Ports(BrokenResolver(), BrokenStore(), None, Clock()))  # type: ignore[arg-type]
    assert (found.outcome, found.evidence["state"]) == (Outcome.TEMPERROR, "skipped_store")
    assert found.cause
    assert found.cause.port == "store"


def test_keys_prefer_the_surest_identity() -> None:
    settings = GreylistSettings()
    assert key_of(tx_with(SPF, PTR), settings).key == "spf:example.org|example.com"
    assert key_of(tx_with(SPF, PTR, path=""), settings).key == "spf:example.org|example.com"
    assert key_of(tx_with(NO_SPF, PTR), settings).key == "ptr:example.co.uk|example.com"
    assert key_of(tx_with(NO_SPF, GENERIC), settings).key == (
        "net:192.0.2.0/24|anna@mail.example.org|user@example.com"
    )
    key = key_of(tx_with(ip="2001:db8:1:2::3", path=""), settings)
    assert (key.client, key.key) == ("net:2001:db8:1:2::/64", "net:2001:db8:1:2::/64|<>|user@example.com")


@pytest.mark.parametrize(
    ("local", "result"),
    [
        ("Anna+news", "anna@x.org"),
        ("bounce-12345-678", "bounce-#-#@x.org"),
        ("SRS0=HHH=TT=orig.example=anna", "anna@orig.example"),
        ("srs0+ab3=tt=orig.example=anna+x", "anna@orig.example"),
        ("SRS1=HHH=first.example==HHH=TT=orig.example=anna", "anna@orig.example"),
        ("prvs=0123456789=anna", "anna@x.org"),
        ("prvs=anna=0123456789", "anna@x.org"),
        ("btv1==01234567890==anna", "anna@x.org"),
        ("+", "+@x.org"),
        ("bounces+8811-user=example.com", "bounces@x.org"),
        ("0100018c9d2a4b17-9f1b3c2d-000000", "#-#-#@x.org"),
        ("msprvs1=19abcdef=bounces-77", "msprvs#=#=bounces-#@x.org"),
        ("facade", "facade@x.org"),
    ],
)
def test_what_changes_from_mail_to_mail_is_left_out(local: str, result: str) -> None:
    assert normalised(Mailbox(local, "x.org")) == result


@pytest.mark.parametrize(
    ("name", "result"),
    [("a.b.example.org", "example.org"), ("a.example.co.uk", "example.co.uk"), ("a.b.c.de", "c.de"), ("org", "org"),
     ("x.anna.github.io", "anna.github.io")],
)
def test_organisations_are_those_of_the_public_suffix_list(name: str, result: str) -> None:
    assert organisation(name) == result
