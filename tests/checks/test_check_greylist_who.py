"""Who never waits, what the content adds, and the words of the reply."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import ip_address

import pytest

from gateway.acceptance import refusal_of
from gateway.adapters.dns_broken import BrokenResolver
from gateway.adapters.store_broken import BrokenStore
from gateway.adapters.store_memory import MemoryStore
from gateway.adapters.store_near import NearStore
from gateway.checks import CHECKS
from gateway.checks.greylist import greylist, greylist_content
from gateway.checks.greylist_allow import AllowList, parse_entry
from gateway.mail.address import NULL, Mailbox, ReversePath
from gateway.mail.finding import Cause, DkimFinding, DkimSignature, Finding, Outcome, Why
from gateway.mail.greylist_text import greylist_text
from gateway.mail.message import Message
from gateway.mail.phase import Phase
from gateway.mail.transaction import Connection, Envelope, Hello, Transaction
from gateway.mail.verdict import Action
from gateway.pipeline import Pipeline
from gateway.policy.load import load_text
from gateway.policy.settings import ChecksSettings, GreylistSettings
from gateway.ports import Ports
from gateway.ports.observer import NullObserver

DAY = 86400.0
NOW = 20_000 * DAY  # day 20000: 000 of a thousand
NO_PTR = Finding("iprev", Outcome.PERMERROR, "no-ptr", {"name": "", "generic": False})
ANN = Mailbox("ann", "mail.example.org")
KNOWN = Finding("recipient", Outcome.PASS, "exists")


class Clock:
    time = NOW

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Desk:
    """Lets entries pass and keeps what was told."""

    def __init__(self, *entries: str) -> None:
        self.list = AllowList(entries)
        self.noted: list[str] = []

    def allowed(self, tx: Transaction) -> str:
        return self.list.match(tx)

    def note(self, finding: Finding, window: float) -> None:
        assert window == DAY
        self.noted.append(str(finding.evidence["state"]))


def spf(mechanism: str = "ip4:192.0.2.0/24") -> Finding:
    return Finding("spf", Outcome.PASS, "match", {"mechanism": mechanism})


def ptr(name: str, *, generic: bool = False) -> Finding:
    return Finding("iprev", Outcome.PASS, "confirmed", {"name": name, "generic": generic})


def tx_with(
    *found: Finding,
    path: ReversePath = ANN,
    rcpt: str = "user",
    ip: str = "192.0.2.7",
    now: float = NOW,
) -> Transaction:
    return Transaction(
        "T",
        Connection("S", ip_address(ip)),
        now,
        hello=Hello("EHLO", "mail.example.org"),
        envelope=Envelope(path),
        rcpt=Mailbox(rcpt, "example.com"),
        findings={finding.check: finding for finding in (NO_PTR, *found)},
    )


def ports(desk: Desk | None = None, clock: Clock | None = None) -> Ports:
    clock = clock or Clock()
    more = {"greylist": desk} if desk else {}
    return Ports(BrokenResolver(), MemoryStore(clock), None, clock, **more)  # type: ignore[arg-type]


async def state(tx: Transaction, desk: Desk | None = None, checks: ChecksSettings | None = None) -> str:
    found = await greylist(tx, ports(desk), (checks or ChecksSettings()).of("greylist"))
    assert found
    return str(found.evidence["state"]) if found.outcome is Outcome.FAIL else found.reason


@pytest.mark.parametrize(
    ("found", "domain", "result"),
    [
        ([spf()], "gmail.com", "pool"),
        ([spf("include:spf.protection.outlook.com")], "customer.example", "pool"),
        ([spf("+include:_spf.google.com")], "customer.example", "pool"),
        ([spf("include:%{d}.google.com")], "customer.example", "first"),
        ([spf("a:mail.google.com")], "customer.example", "first"),
        ([ptr("mail-ej1-x1.google.com")], "customer.example", "pool"),
        ([ptr("1-2-3-4.pool.google.com", generic=True)], "customer.example", "first"),
        ([Finding("spf", Outcome.FAIL, "no-match", {"mechanism": "-all"})], "gmail.com", "first"),
        ([spf()], "notgmail.com", "first"),
    ],
)
async def test_pools_are_known_by_names_that_are_proven(found: list[Finding], domain: str, result: str) -> None:
    tx = tx_with(*found, path=Mailbox("ann", domain))
    assert await state(tx) == result
    if result == "pool":
        waits = ChecksSettings.model_validate({"greylist": {"exempt_pools": False, "mode": "all"}})
        assert await state(tx, checks=waits) == "first"


async def test_own_pools_are_named_in_the_policy() -> None:
    checks = ChecksSettings.model_validate({"greylist": {"exempt_domains": ["bulk.example"]}})
    assert await state(tx_with(spf("include:_spf.bulk.example")), checks=checks) == "exempt-domain"


async def test_forwarders_of_the_policy_never_wait() -> None:
    checks = ChecksSettings.model_validate(
        {"forwarder": {"clients": ["198.51.100.0/24"], "domains": ["*.example.org"]}}
    )
    assert await state(tx_with(ip="198.51.100.9"), checks=checks) == "forwarder"
    assert await state(tx_with(spf()), checks=checks) == "forwarder"
    assert await state(tx_with(), checks=checks) == "first", "a name alone proves nothing"


@pytest.mark.parametrize(
    ("rcpt", "result"),
    [
        ("prvs=1003abcdef=user", "answers-own-mail"),  # runs out in three days
        ("prvs=user=1003abcdef", "answers-own-mail"),
        ("prvs=1000abcdef=user", "answers-own-mail"),
        ("prvs=1999abcdef=user", "first"),  # ran out yesterday
        ("prvs=1008abcdef=user", "first"),  # nobody signs for eight days
        ("prvs=1003abcxyz=user", "first"),
        ("user", "first"),
    ],
)
async def test_bounces_to_signed_addresses_never_wait(rcpt: str, result: str) -> None:
    assert await state(tx_with(KNOWN, path=NULL, rcpt=rcpt)) == result
    assert await state(tx_with(KNOWN, rcpt=rcpt)) == "first", "only a null reverse-path"
    assert await state(tx_with(path=NULL, rcpt=rcpt)) == "first", "the mailstore knows the key"


@pytest.mark.parametrize(
    ("entry", "kept", "passes"),
    [
        ("192.0.2.9", "192.0.2.9/32", False),
        ("192.0.2.9/24", "192.0.2.0/24", True),
        ("2001:DB8::/32", "2001:db8::/32", False),
        ("Example.ORG.", "example.org", True),
        ("other.example", "other.example", False),
        ("Ann@Mail.Example.org", "ann@mail.example.org", True),
        ("to:User@Example.com", "to:user@example.com", True),
        ("TO:example.com", "to:example.com", True),
        ("to:sub.example.com", "to:sub.example.com", False),
    ],
)
async def test_entries_of_the_operator(entry: str, kept: str, passes: bool) -> None:
    assert parse_entry(entry) == kept
    desk = Desk(kept)
    found = await greylist(tx_with(spf()), ports(desk), GreylistSettings())
    assert found
    assert (found.reason, found.evidence.get("entry")) == (("allowed", kept) if passes else ("first", None))
    assert desk.noted == ["bypass" if passes else "first"]


async def test_a_domain_must_prove_itself_to_be_let_pass() -> None:
    assert await state(tx_with(), Desk("example.org")) == "first"
    assert (
        await state(tx_with(ptr("a.example.org"), Finding("helo", Outcome.FAIL, "x")), Desk("example.org")) == "allowed"
    )


@pytest.mark.parametrize("text", ["", "a b", "to:", "@", "ann@", "1.2.3.4/99", "-x.example"])
def test_what_is_no_entry_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither"):
        parse_entry(text)


MESSAGE = Message.parse(b"From: Ann <ann@example.org>\r\nSubject: x\r\n\r\nHello\r\n")
SOUND = ptr("a.other.example")
CONTENT = GreylistSettings(at_content=True)


def signed(domain: str, outcome: Outcome = Outcome.PASS) -> DkimFinding:
    return DkimFinding("dkim", outcome, "x", signatures=(DkimSignature(outcome, "x", domain),))


async def after_content(*found: Finding, settings: GreylistSettings = CONTENT) -> str:
    at, tx = ports(), tx_with(SOUND, *found)
    early = await greylist(tx, at, settings)
    assert early
    accepted = replace(tx, rcpt=None, message=MESSAGE, envelope=Envelope(Mailbox("b", "x.example"), (tx.rcpt,)))  # type: ignore[arg-type]
    late = await greylist_content(accepted.with_findings({"greylist": early}), at, settings)
    return late.reason if late else f"as before: {early.reason}"


@pytest.mark.parametrize(
    ("found", "result"),
    [
        ([], "first"),
        ([signed("mail.example.org")], "as before: not-suspicious"),
        ([signed("example.org", Outcome.FAIL)], "first"),
        ([signed("unrelated.example")], "first"),
        ([signed("sendgrid.net")], "as before: not-suspicious"),
        ([Finding.unknown("dkim", Cause("dns", Why.TIMEOUT))], "as before: not-suspicious"),
    ],
)
async def test_after_the_content_dkim_speaks_too(found: list[Finding], result: str) -> None:
    assert await after_content(*found) == result
    off = await after_content(*found, settings=GreylistSettings())
    assert off == "as before: not-suspicious", "off by default"


async def test_after_the_content_the_rule_for_greylisting_defers() -> None:
    policy = load_text(
        "version: 1\nchecks: {greylist: {at_content: true}}\n"
        "rules: [{id: greylist, at: rcpt, when: {greylist: fail}, then: defer, reason: greylisted}]\n",
        "test",
    )
    pipeline = Pipeline(ports(), [check for check in CHECKS if check.name == "greylist"])
    at_rcpt = await pipeline.judge(Phase.RCPT, tx_with(SOUND, signed("unrelated.example")), policy.default)
    assert at_rcpt.verdict.action is Action.ACCEPT
    assert at_rcpt.tx.rcpt
    accepted = replace(at_rcpt.tx, rcpt=None, message=MESSAGE, envelope=Envelope(ANN, (at_rcpt.tx.rcpt,)))
    at_content = await pipeline.judge(Phase.CONTENT, accepted, policy.default)
    assert (at_content.verdict.action, at_content.verdict.reason) == (Action.DEFER, "greylisted")
    reply = refusal_of(at_content, NullObserver(), "DATA")
    assert str(reply) == "451 4.7.1 Greylisted, please try again in 120 seconds [T]"


async def test_a_pass_of_this_process_is_known_though_the_posture_defers() -> None:
    clock = Clock()
    inner = MemoryStore(clock)
    near = NearStore(inner, clock)
    at = replace(ports(clock=clock), store=near)
    settings = GreylistSettings(delay=0)
    for _ in range(2):
        await greylist(tx_with(), at, settings)
    near._inner = BrokenStore()
    found = await greylist(tx_with(), at, settings)
    assert found
    assert (found.outcome, found.reason, found.evidence["near"]) == (Outcome.PASS, "known", True)
    for word in ("open", "closed"):
        unasked = await greylist(tx_with(), at, GreylistSettings(delay=0, on_store_error=word))
        assert unasked
        assert unasked.outcome is Outcome.TEMPERROR
    stranger = await greylist(tx_with(path=Mailbox("new", "x.example")), at, settings)
    assert stranger
    assert stranger.outcome is Outcome.TEMPERROR


async def test_only_the_latest_passes_are_remembered() -> None:
    clock = Clock()
    inner = MemoryStore(clock)
    at = replace(ports(clock=clock), store=NearStore(inner, clock, passes=2))
    for name in ("a", "b", "a", "c"):
        for _ in range(2):
            await greylist(
                tx_with(path=Mailbox("ann", f"{name}.example")), at, GreylistSettings(delay=0, auto_allow_after=0)
            )
    at.store._inner = BrokenStore()  # type: ignore[attr-defined]
    found = [
        await greylist(tx_with(path=Mailbox("ann", f"{name}.example")), at, GreylistSettings())
        for name in ("a", "b", "c")
    ]
    assert [finding.reason if finding else "" for finding in found] == ["known", "refused", "known"]


async def test_the_answer_is_configurable() -> None:
    for answer, words in (
        ("seconds", "Greylisted, please try again in 120 seconds"),
        ("plain", None),
        ("neutral", "Service is unavailable, please try again later"),
    ):
        tx = tx_with()
        found = await greylist(tx, ports(), GreylistSettings(answer=answer))  # type: ignore[arg-type]
        assert found
        assert greylist_text(tx.with_findings({"greylist": found})) == words


async def test_a_pool_with_spf_is_accepted_at_its_second_attempt_from_whatever_address() -> None:
    picked = random.Random(6647)
    for _ in range(50):
        clock = Clock()
        at = ports(clock=clock)
        hosts = picked.sample(range(1, 255), 20)
        settings = GreylistSettings(mode=picked.choice(("suspicious", "all")))
        outcomes = []
        for host in hosts:
            # some hosts of the pool have a name, some have none; each message has a tag of its own
            name = ptr(f"out{host}.pool.example") if picked.random() < 0.5 else NO_PTR
            path = Mailbox(f"news+{host}-{picked.randrange(10**9)}", "pool.example")
            found = await greylist(tx_with(spf(), name, path=path, ip=f"198.51.{host}.{host}"), at, settings)
            assert found
            outcomes.append(found.outcome)
            clock.time += 400
        assert outcomes[:-1].count(Outcome.FAIL) == outcomes.count(Outcome.FAIL) <= 1, "one wait for the whole pool"
