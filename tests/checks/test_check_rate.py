"""Limits of clients, networks, reverse-path domains and recipients: what is counted, what is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.dns_broken import BrokenResolver
from gateway.adapters.limiter_local import LocalLimiter
from gateway.adapters.store_broken import BrokenStore
from gateway.adapters.store_memory import MemoryStore
from gateway.checks.rate import rate, rate_content, rate_messages, rate_recipients
from gateway.cluster.accounts import Accounts
from gateway.mail.address import Mailbox
from gateway.mail.finding import Finding, Outcome
from gateway.mail.reply import reply_for
from gateway.mail.transaction import Connection, Envelope, Transaction
from gateway.policy.load import load_packaged
from gateway.policy.settings import ClientLimits, DomainLimits, RateSettings, RecipientLimits
from gateway.ports import Ports
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import Known, RecipientStatus
from gateway.ports.presence import Alone, Limiter, Presence
from gateway.ports.store import Counter, Store, Tally

DAY = 86400.0
NONE = {"connections": 0, "messages": 0, "recipients": 0, "errors": 0, "sessions": 0, "window": DAY}


class Anybody:
    async def recipient(self, mailbox: Mailbox) -> RecipientStatus:
        return RecipientStatus(Known.YES)


def ports(store: Store, presence: Presence | None = None, limiter: Limiter | None = None) -> Ports:
    return Ports(
        BrokenResolver(), store, Anybody(), SystemClock(), presence=presence or Alone(), limiter=limiter
    )


def from_(address: str, reverse_path: str = "", rcpt: str = "", spf: Outcome = Outcome.NONE) -> Transaction:
    tx = Transaction("T-1", Connection("S", ip_address(address)), 0.0)
    if reverse_path:
        local, _, domain = reverse_path.partition("@")
        tx = replace(tx, envelope=Envelope(Mailbox(local, domain)), findings={"spf": Finding("spf", spf, "x")})
    if rcpt:
        local, _, domain = rcpt.partition("@")
        tx = replace(tx, rcpt=Mailbox(local, domain))
    return tx


def to(tx: Transaction, *recipients: str) -> Transaction:
    assert tx.envelope
    mailboxes = tuple(Mailbox(*recipient.split("@")) for recipient in recipients)
    return replace(tx, rcpt=None, envelope=replace(tx.envelope, recipients=mailboxes))


def limits(**those: object) -> RateSettings:
    return RateSettings.model_validate({**NONE, **those})


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(SystemClock())


async def test_a_network_has_one_limit(store: MemoryStore) -> None:
    at, settings = ports(store), limits(connections=2)
    assert [(await rate(from_(f"192.0.2.{n}"), at, settings)).outcome for n in range(3)] == ["pass", "pass", "fail"]
    found = await rate(from_("192.0.2.9"), at, settings)
    assert found.reason == "too-many-connections"
    # what is refused counts too
    assert found.evidence == {
        "what": "connections", "by": "network", "of": "192.0.2.0/24", "used": 4.0, "limit": 2, "window": DAY,
    }
    assert (await rate(from_("192.0.3.1"), at, settings)).outcome is Outcome.PASS
    assert (await rate(from_("2001:db8::1"), at, settings)).evidence["of"] == "2001:db8::/64"


async def test_a_client_has_its_own_limit_beside_that_of_its_network(store: MemoryStore) -> None:
    at, settings = ports(store), limits(connections=9, client=ClientLimits(connections=1, window=DAY, sessions=0))
    await rate(from_("192.0.2.1"), at, settings)
    found = await rate(from_("192.0.2.1"), at, settings)
    assert (found.outcome, found.evidence["by"], found.evidence["of"]) == (Outcome.FAIL, "client", "192.0.2.1")
    assert (await rate(from_("192.0.2.2"), at, settings)).outcome is Outcome.PASS


async def test_messages_and_connections_are_counted_apart(store: MemoryStore) -> None:
    at, settings = ports(store), limits(connections=1, messages=1)
    await rate(from_("192.0.2.1"), at, settings)
    tx = from_("192.0.2.1", "a@b.example")
    assert (await rate_messages(tx, at, settings)).reason == "below-limit"
    found = await rate_content(tx, at, settings)
    assert (found.outcome, found.evidence["used"], found.evidence["charged"]) == (Outcome.PASS, 1.0, True)
    found = await rate_messages(tx, at, settings)
    assert (found.check, found.reason, found.evidence["used"]) == ("rate", "too-many-messages", 2.0)


async def test_attempts_that_do_not_come_to_their_content_use_no_budget(store: MemoryStore) -> None:
    at, settings = ports(store), limits(messages=1, recipients=1)
    for _ in range(5):
        assert (await rate_messages(from_("192.0.2.1", "a@b.example"), at, settings)).outcome is Outcome.PASS
        found = await rate_recipients(from_("192.0.2.1", "a@b.example", "u@example.com"), at, settings)
        assert found.outcome is Outcome.PASS


async def test_of_many_at_once_no_more_than_the_limit_come_through(store: MemoryStore) -> None:
    at, settings = ports(store), limits(messages=9, recipients=3)
    tx = to(from_("192.0.2.1", "a@b.example"), "u@example.com")
    found = [await rate_content(tx, at, settings) for _ in range(5)]
    assert [one.outcome for one in found] == ["pass"] * 3 + ["fail"] * 2
    assert found[4].evidence == {
        "what": "recipients", "by": "network", "of": "192.0.2.0/24", "used": 4.0, "limit": 3, "window": DAY,
    }
    # those that were refused have used nothing of the other limit either
    assert (await rate_messages(tx, at, settings)).evidence["used"] == 4.0


async def test_forgers_do_not_use_up_the_budget_of_the_domain(store: MemoryStore) -> None:
    at, settings = ports(store), limits(domain=DomainLimits(messages=2, window=DAY))
    for n in range(4):
        forged = await rate_content(from_(f"198.51.{n}.1", "x@bank.example"), at, settings)
    assert (forged.outcome, forged.evidence["of"]) == (Outcome.FAIL, "bank.example (no SPF pass)")
    true = await rate_content(from_("192.0.2.1", "x@bank.example", spf=Outcome.PASS), at, settings)
    assert (true.outcome, true.evidence["used"]) == (Outcome.PASS, 1.0)


async def test_a_recipient_gets_so_many_from_all_together(store: MemoryStore) -> None:
    at, settings = ports(store), limits(recipient=RecipientLimits(messages=2, window=DAY), recipients=9)
    for n in range(3):
        tx = from_(f"198.51.{n}.1", f"x@d{n}.example", "user@example.com")
        found = await rate_recipients(tx, at, settings)
        assert found.outcome == (Outcome.FAIL if n == 2 else Outcome.PASS)
        assert (await rate_content(to(tx, "User@example.com"), at, settings)).outcome == found.outcome
    assert (found.evidence["what"], found.evidence["of"]) == ("messages", "user@example.com")
    other = await rate_recipients(from_("198.51.0.1", "x@d.example", "other@example.com"), at, settings)
    assert other.outcome is Outcome.PASS


async def test_the_exempt_are_not_even_counted() -> None:
    at = ports(BrokenStore())
    assert (await rate(from_("192.0.2.1"), at, limits())).reason == "exempt"
    settings = RateSettings(exempt=(ip_network("192.0.2.0/24"),))
    assert (await rate(from_("192.0.2.1"), at, settings)).reason == "exempt"


async def test_without_a_store_nothing_is_known_or_each_worker_has_its_share() -> None:
    with pytest.raises(PortFailure):
        await rate(from_("192.0.2.1"), ports(BrokenStore()), RateSettings())
    limiter = LocalLimiter(SystemClock(), lambda: 6)  # three nodes with two workers each
    with pytest.raises(PortFailure):
        await rate(from_("192.0.2.1"), ports(BrokenStore(), limiter=limiter), RateSettings(on_store_error="open"))
    at, settings = ports(BrokenStore(), limiter=limiter), limits(messages=40, connections=8)
    # 40 / 6 x 1.5 = 10
    seen = [await rate_content(from_("192.0.2.1", "a@b.example"), at, settings) for _ in range(12)]
    assert [found.outcome for found in seen] == ["pass"] * 10 + ["fail"] * 2
    assert seen[0].evidence["local"] is True
    assert [(await rate(from_("192.0.2.1"), at, settings)).outcome for _ in range(3)] == ["pass", "pass", "fail"]


async def test_alone_a_worker_has_the_whole_limit_and_no_more() -> None:
    limiter = LocalLimiter(SystemClock(), lambda: 1, capacity=10)
    at, settings = ports(BrokenStore(), limiter=limiter), limits(connections=3)
    seen = [(await rate(from_("192.0.2.1"), at, settings)).outcome for _ in range(4)]
    assert seen == ["pass", "pass", "pass", "fail"]
    for n in range(50):  # strangers cannot fill the memory
        await rate(from_(f"10.{n}.0.1"), at, settings)
    assert len(limiter._kept) <= 10


def accounts_with(store: Store, owner: str, settings: RateSettings, limiter: Limiter | None = None) -> Accounts:
    policy = load_packaged("default")
    checks = policy.default.checks.model_copy(update={"rate": settings})
    policy = replace(policy, default=replace(policy.default, checks=checks))
    return Accounts(store, limiter or LocalLimiter(SystemClock(), lambda: 1), lambda: policy, owner)


async def test_sessions_on_all_nodes_count_and_those_that_end_are_given_back(store: MemoryStore) -> None:
    settings = limits(client=ClientLimits(sessions=2))
    client = ip_address("192.0.2.1")
    mx1, mx2 = (accounts_with(store, owner, settings) for owner in ("mx1", "mx2"))
    outcomes = []
    for accounts in (mx1, mx2, mx1):
        accounts.enter(client)
        outcomes.append((await rate(from_("192.0.2.1"), ports(store, accounts), settings)).reason)
    assert outcomes == ["below-limit", "below-limit", "too-many-sessions"]
    mx1.leave(client)
    mx2.leave(client)
    await mx1.flush()
    await mx2.flush()
    mx2.enter(client)
    found = await rate(from_("192.0.2.1"), ports(store, mx2), settings)
    assert (found.outcome, found.evidence["used"]) == (Outcome.PASS, 2.0)
    await mx1.close()
    assert (await rate(from_("192.0.2.1"), ports(store, mx2), settings)).evidence["used"] == 1.0


async def test_who_hears_4yz_gets_message_and_recipients_back(store: MemoryStore) -> None:
    settings = limits(messages=1, recipients=2, recipient=RecipientLimits(messages=1, window=DAY))
    accounts = accounts_with(store, "mx1", settings)
    profile, at = accounts._policy().default, ports(store)
    tx = to(from_("192.0.2.1", "a@b.example"), "u@example.com", "v@example.com")

    async def attempt(reason: str) -> str:
        found = await rate_content(tx, at, settings)
        judged = tx.with_findings({"rate": found})
        reply = reply_for(reason if found.outcome is Outcome.PASS else "rate", "T-1") if reason else None
        accounts.ended(judged, None, reply, profile)
        await accounts.flush()
        return found.reason

    # greylisted after the content, deferred by the mailstore, and gone before we answered, again and again
    for reason in ("greylisted", "mailstore-deferred", "") * 3:
        assert await attempt(reason) == "below-limit"
    assert await attempt("accepted") == "below-limit"
    # what was not charged is not given back
    for _ in range(2):
        assert (await attempt("accepted")).startswith("too-many-")


async def test_a_message_that_is_refused_before_its_content_counts(store: MemoryStore) -> None:
    settings = limits(messages=1)
    accounts = accounts_with(store, "mx1", settings)
    profile, at = accounts._policy().default, ports(store)
    tx = from_("192.0.2.1", "a@b.example", "u@example.com")
    tx = tx.with_findings({"rate": await rate_messages(tx, at, settings)})
    accounts.ended(tx, None, None, profile)
    accounts.ended(tx, None, reply_for("greylisted", "T-1"), profile)
    await accounts.flush()
    assert (await rate_messages(tx, at, settings)).outcome is Outcome.PASS
    accounts.ended(tx, None, reply_for("dnsbl", "T-1"), profile)
    await accounts.flush()
    assert (await rate_messages(tx, at, settings)).outcome is Outcome.FAIL


async def test_errors_and_unknown_recipients_are_charged_behind_the_scenes(store: MemoryStore) -> None:
    settings = limits(errors=2, domain=DomainLimits(unknown=1, window=DAY))
    accounts = accounts_with(store, "mx1", settings)
    profile, at = accounts._policy().default, ports(store, accounts)
    tx = from_("192.0.2.1", "a@b.example", "nobody@example.com")
    tx = tx.with_findings({"recipient": Finding("recipient", Outcome.FAIL, "no-such-recipient")})
    for _ in range(2):
        assert (await rate_recipients(tx, at, settings)).outcome is Outcome.PASS
        accounts.recipient_refused(tx, profile)
        await accounts.flush()
    assert (await rate_recipients(tx, at, settings)).reason == "too-many-unknown"
    for _ in range(3):
        assert (await rate(from_("192.0.2.7"), at, settings)).outcome is Outcome.PASS
        accounts.error(ip_address("192.0.2.7"))
        await accounts.flush()
    assert (await rate(from_("192.0.2.8"), at, settings)).reason == "too-many-errors"


async def test_what_the_store_did_not_take_the_local_limiter_does() -> None:
    settings, limiter = limits(messages=1), LocalLimiter(SystemClock(), lambda: 1)
    accounts = accounts_with(BrokenStore(), "mx1", settings, limiter)
    at, profile = ports(BrokenStore(), accounts, limiter), accounts._policy().default
    tx = from_("192.0.2.1", "a@b.example")
    for _ in range(3):
        found = await rate_content(tx, at, settings)
        assert found.outcome is Outcome.PASS
        accounts.ended(tx.with_findings({"rate": found}), None, reply_for("greylisted", "T-1"), profile)
        await accounts.flush()


class FaultyOnce(MemoryStore):
    """A store with an error of ours, in its first call."""

    calls = 0

    async def count(self, counters: Sequence[Counter]) -> tuple[float, ...]:
        self.calls += 1
        if self.calls == 1:
            raise RuntimeError("an error of ours")
        return await super().count(counters)


async def test_an_error_of_ours_does_not_end_the_accounts(caplog: pytest.LogCaptureFixture) -> None:
    store = FaultyOnce(SystemClock())
    accounts = accounts_with(store, "mx1", limits())
    work = asyncio.create_task(accounts.run())
    async with asyncio.timeout(20):
        while store.calls < 2:
            accounts.note([Counter("a", 1, DAY)])
            await asyncio.sleep(0.02)
    assert not work.done()
    work.cancel()
    assert "duty accounts failed" in caplog.text
    assert (await store.count([Counter("a", 0, DAY)]))[0] >= 1


async def test_counters_are_charged_once_each(store: MemoryStore) -> None:
    await store.count([Counter("a", 1, DAY)])
    accounts = accounts_with(store, "mx1", limits())
    accounts.note([Counter("a", 1, DAY), Counter("a", 2.5, DAY)])
    await accounts.flush()
    assert await store.count([Counter("a", 0, DAY)]) == (4.5,)


class Telling(MemoryStore):
    """A store that notes the sessions it is told."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.told: list[tuple[str, float]] = []

    async def count(self, counters: Sequence[Counter]) -> tuple[float, ...]:
        self.told += [(counter.key, counter.amount) for counter in counters if counter.tally is Tally.HELD]
        return await super().count(counters)


async def test_sessions_are_renewed_also_by_a_worker_that_is_never_idle() -> None:
    store, client = Telling(), ip_address("192.0.2.1")
    accounts = accounts_with(store, "mx1", limits())
    work = asyncio.create_task(accounts.run())
    accounts.enter(client)
    accounts.held(client, 0.5)
    async with asyncio.timeout(10):
        while store.told.count(("sessions:client:192.0.2.1", 1)) < 3:
            accounts.note([Counter("a", 1, DAY)])
            await asyncio.sleep(0.01)
    work.cancel()


async def test_while_the_store_is_out_sessions_that_have_ended_are_forgotten() -> None:
    accounts = accounts_with(BrokenStore(), "mx1", limits())
    for last in range(256):
        client = ip_address(f"192.0.2.{last}")
        accounts.enter(client)
        accounts.held(client, 60)
        if last:
            accounts.leave(client)
    await accounts.flush()
    assert set(accounts._leases) == {"sessions:client:192.0.2.0", "sessions:network:192.0.2.0/24"}
    assert accounts._changed == {"sessions:network:192.0.2.0/24"}
