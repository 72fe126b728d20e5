"""What verdicts teach about networks and domains that have proven themselves, and how it fades."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from gateway.adapters.dns_broken import BrokenResolver
from gateway.adapters.limiter_local import LocalLimiter
from gateway.adapters.store_broken import BrokenStore
from gateway.adapters.store_memory import MemoryStore
from gateway.checks.greylist import greylist
from gateway.checks.reputation import reputation
from gateway.checks.standing import domain_subject, lessons, score_of
from gateway.cluster.accounts import Accounts
from gateway.mail.address import Mailbox
from gateway.mail.finding import DkimFinding, DkimSignature, Finding, Outcome
from gateway.mail.reply import reply_for
from gateway.mail.transaction import Connection, Envelope, Transaction
from gateway.mail.verdict import Action, RuleHit, Verdict
from gateway.policy.load import load_packaged, load_text
from gateway.policy.settings import GreylistSettings, ReputationSettings
from gateway.ports import Ports
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import Known, RecipientStatus
from gateway.ports.store import Store

PROFILE = load_packaged("default").default
SETTINGS = ReputationSettings()
SPAM = Verdict(Action.REJECT, "content-policy")
HAM = Verdict(Action.ACCEPT, "accepted")


class FakeClock:
    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Anybody:
    async def recipient(self, mailbox: Mailbox) -> RecipientStatus:
        return RecipientStatus(Known.YES)


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store: Store = MemoryStore(self.clock)
        self.accounts = Accounts(self.store, LocalLimiter(self.clock, lambda: 1), lambda: load_packaged("default"), "mx1")

    def ports(self) -> Ports:
        return Ports(BrokenResolver(), self.store, Anybody(), self.clock)

    async def learn(self, tx: Transaction, verdict: Verdict, times: int = 1) -> None:
        reply = reply_for("accepted" if verdict.action is Action.ACCEPT else "content-policy", tx.id)
        for _ in range(times):
            self.accounts.ended(tx, verdict, reply, PROFILE)
        await self.accounts.flush()

    async def asked(self, tx: Transaction) -> Finding:
        found = await reputation(tx, self.ports(), SETTINGS)
        assert found
        return found


@pytest.fixture
def world() -> World:
    return World()


def mail(client: str = "192.0.2.1", domain: str = "sender.example", spf: Outcome = Outcome.NONE) -> Transaction:
    return Transaction(
        "T-1",
        Connection("S", ip_address(client)),
        0.0,
        envelope=Envelope(Mailbox("a", domain)),
        findings={"spf": Finding("spf", spf, "x")},
    )


async def test_a_network_gets_a_bad_name_by_its_verdicts_and_loses_it_in_time(world: World) -> None:
    assert (await world.asked(mail())).reason == "unknown"
    await world.learn(mail(), SPAM)
    assert (await world.asked(mail("192.0.2.200"))).outcome is Outcome.NEUTRAL  # little knowledge
    await world.learn(mail(), SPAM, 9)
    found = await world.asked(mail("192.0.2.200"))
    assert (found.outcome, found.reason) == (Outcome.FAIL, "bad")
    assert found.evidence["score"] == pytest.approx(10 * 10 / 13, abs=0.01)
    assert (found.evidence["by"], found.evidence["of"], found.evidence["bad"]) == ("network", "192.0.2.0/24", 10.0)
    assert (await world.asked(mail("192.0.3.1"))).reason == "unknown"
    world.clock.time += SETTINGS.half_life
    assert (await world.asked(mail())).evidence["bad"] == 5.0
    world.clock.time += 3 * SETTINGS.half_life
    assert (await world.asked(mail())).outcome is Outcome.NEUTRAL
    world.clock.time += 20 * SETTINGS.half_life
    assert (await world.asked(mail())).reason == "unknown"


async def test_good_mail_outweighs_some_bad(world: World) -> None:
    await world.learn(mail(), SPAM, 10)
    await world.learn(mail(), HAM, 60)
    found = await world.asked(mail())
    assert (found.outcome, found.evidence["good"], found.evidence["bad"]) == (Outcome.PASS, 60.0, 10.0)


async def test_a_domain_that_has_proven_itself_speaks_for_itself(world: World) -> None:
    await world.learn(mail("192.0.2.1", "nice.example", Outcome.PASS), HAM, 20)
    await world.learn(mail("198.51.100.1", "other.example"), SPAM, 20)
    good = await world.asked(mail("198.51.100.1", "nice.example", Outcome.PASS))
    assert (good.outcome, good.evidence["by"], good.evidence["of"]) == (Outcome.PASS, "domain", "nice.example")
    # who only claims to be it is what its network is
    claimed = await world.asked(mail("198.51.100.1", "nice.example", Outcome.FAIL))
    assert (claimed.outcome, claimed.evidence["by"]) == (Outcome.FAIL, "network")
    # and nothing was learnt about a domain that had not proven itself
    proven = await world.asked(mail("203.0.113.1", "other.example", Outcome.PASS))
    assert proven.reason == "unknown"


def test_which_domain_has_proven_itself() -> None:
    tx = mail(domain="bounces.example", spf=Outcome.PASS)
    assert (found := domain_subject(tx)) and found.whom == "bounces.example"
    dmarc = Finding("dmarc", Outcome.PASS, "aligned", {"author_domain": "author.example"})
    assert (found := domain_subject(tx.with_findings({"dmarc": dmarc}))) and found.whom == "author.example"
    signed = DkimFinding(
        "dkim", Outcome.PASS, "x", signatures=(
            DkimSignature(Outcome.FAIL, "x", "bad.example"), DkimSignature(Outcome.PASS, "x", "signer.example"),
        ),
    )
    assert (found := domain_subject(mail().with_findings({"dkim": signed}))) and found.whom == "signer.example"
    assert domain_subject(mail(spf=Outcome.FAIL)) is None


async def test_at_the_content_it_asks_again_only_if_there_is_more_to_ask(world: World) -> None:
    await world.learn(mail(), SPAM, 9)
    tx = mail()
    tx = tx.with_findings({"reputation": await world.asked(tx)})
    world.store = BrokenStore()
    assert await world.asked(tx) is tx.findings["reputation"]
    dmarc = Finding("dmarc", Outcome.PASS, "aligned", {"author_domain": "author.example"})
    with pytest.raises(PortFailure):
        await world.asked(tx.with_findings({"dmarc": dmarc}))


@pytest.mark.parametrize(
    ("verdict", "code", "expected"),
    [
        (HAM, 250, ("good", 1.0)),
        (HAM, 451, None),  # the mailstore deferred: no verdict on the sender
        (Verdict(Action.DEFER, "greylisted"), 451, None),
        (Verdict(Action.QUARANTINE, "accepted"), 250, ("bad", 0.5)),
        (Verdict(Action.REJECT, "dnsbl"), 554, ("bad", 1.0)),
        (Verdict(Action.REJECT, "recipient-unknown"), 550, ("bad", 0.25)),
        (Verdict(Action.REJECT, "blocked"), 554, None),  # an operator's word, no experience
        (Verdict(Action.REJECT, "too-big"), 552, None),
        (Verdict(Action.REJECT, "content-policy", (), (), False), 250, ("bad", 1.0)),  # mode observe
    ],
)
def test_what_a_verdict_teaches(verdict: Verdict, code: int, expected: tuple[str, float] | None) -> None:
    found = lessons(mail(), verdict, code, PROFILE)
    assert [(counter.key.split(":")[1], counter.amount) for counter in found] == ([expected] if expected else [])
    assert lessons(mail(), None, 250, PROFILE) == []


def test_a_refusal_for_the_reputation_alone_teaches_nothing() -> None:
    policy = load_text(
        "version: 1\nrules:\n"
        "  - {id: rep, at: mail, when: {reputation: fail}, then: reject, reason: content-policy}\n"
        "  - {id: other, at: mail, when: {spf: fail}, then: reject, reason: spf-policy}\n",
        "p.yaml",
    ).default
    rep, other = (RuleHit(name, Action.REJECT, "content-policy") for name in ("rep", "other"))
    assert lessons(mail(), Verdict(Action.REJECT, "content-policy", (rep,)), 554, policy) == []
    assert lessons(mail(), Verdict(Action.REJECT, "content-policy", (rep, other)), 554, policy) != []


def test_rules_may_speak_of_it_and_the_packaged_ones_refuse_nobody_for_it() -> None:
    load_text(
        'version: 1\nrules:\n  - {id: rep, at: mail, when: {reputation.score: ">= 8"}, then: defer}\n', "p.yaml"
    )
    for name in ("default", "observe", "strict"):
        rules = load_packaged(name).default.rules
        assert not [rule for rule in rules for one in rule.when if getattr(one, "check", "") == "reputation"]


async def test_greylisting_takes_a_bad_one_as_suspicious(world: World) -> None:
    tx = replace(mail(), rcpt=Mailbox("user", "example.com"))
    tx = tx.with_findings({"iprev": Finding("iprev", Outcome.PASS, "x", {"name": "mail.sender.example"})})
    settings = GreylistSettings()
    found = await greylist(tx, world.ports(), settings)
    assert found and found.outcome is Outcome.PASS
    bad = Finding("reputation", Outcome.FAIL, "bad", {"score": 7.0})
    found = await greylist(tx.with_findings({"reputation": bad}), world.ports(), settings)
    assert found and (found.outcome, found.reason) == (Outcome.FAIL, "first")


async def test_what_is_learnt_while_the_store_is_out_is_kept_for_later(world: World) -> None:
    real, world.store = world.store, BrokenStore()
    world.accounts._store = world.store
    await world.learn(mail(), SPAM, 9)
    world.accounts._store = world.store = real
    await world.accounts.flush()
    assert (await world.asked(mail())).outcome is Outcome.FAIL


def test_the_score() -> None:
    assert score_of(0, 0, 3) == 0
    assert score_of(0, 3, 3) == 5
    assert score_of(1000, 0, 3) == pytest.approx(-10, abs=0.1)
