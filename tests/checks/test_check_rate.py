"""Rates of a client's network, and mail loops' simpler cousin: counting."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.dns_broken import BrokenResolver
from gateway.adapters.store_broken import BrokenStore
from gateway.adapters.store_memory import MemoryStore
from gateway.checks.rate import rate, rate_messages
from gateway.mail.address import Mailbox
from gateway.mail.finding import Outcome
from gateway.mail.transaction import Connection, Transaction
from gateway.policy.settings import RateSettings
from gateway.ports import Ports
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import Known, RecipientStatus
from gateway.ports.store import Store


class Anybody:
    async def recipient(self, mailbox: Mailbox) -> RecipientStatus:
        return RecipientStatus(Known.YES)


def ports(store: Store) -> Ports:
    return Ports(BrokenResolver(), store, Anybody(), SystemClock())


def from_(address: str) -> Transaction:
    return Transaction("T", Connection("S", ip_address(address)), 0.0)


async def test_a_network_has_one_limit() -> None:
    at, settings = ports(MemoryStore(SystemClock())), RateSettings(connections=2, window=3600)
    assert [(await rate(from_(f"192.0.2.{n}"), at, settings)).outcome for n in range(3)] == ["pass", "pass", "fail"]
    found = await rate(from_("192.0.2.9"), at, settings)
    assert found.reason == "too-many-connections"
    assert found.evidence == {"connections": 4.0, "limit": 2, "network": "192.0.2.0/24"}
    assert (await rate(from_("192.0.3.1"), at, settings)).outcome is Outcome.PASS
    assert (await rate(from_("2001:db8::1"), at, settings)).evidence["network"] == "2001:db8::/64"


async def test_messages_and_connections_are_counted_apart() -> None:
    at, settings = ports(MemoryStore(SystemClock())), RateSettings(connections=1, messages=1, window=3600)
    await rate(from_("192.0.2.1"), at, settings)
    assert (await rate_messages(from_("192.0.2.1"), at, settings)).reason == "below-limit"
    found = await rate_messages(from_("192.0.2.1"), at, settings)
    assert (found.check, found.reason, found.evidence["messages"]) == ("rate", "too-many-messages", 2.0)


async def test_the_exempt_are_not_even_counted() -> None:
    at = ports(BrokenStore())
    assert (await rate(from_("192.0.2.1"), at, RateSettings(connections=0))).reason == "exempt"
    settings = RateSettings(exempt=(ip_network("192.0.2.0/24"),))
    assert (await rate(from_("192.0.2.1"), at, settings)).reason == "exempt"


async def test_without_a_store_nothing_is_known() -> None:
    with pytest.raises(PortFailure):
        await rate(from_("192.0.2.1"), ports(BrokenStore()), RateSettings())
