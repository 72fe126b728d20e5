"""A message that passed too many hops goes in circles."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.dns_broken import BrokenResolver
from gateway.adapters.store_broken import BrokenStore
from gateway.checks.loop import loop
from gateway.mail.message import Message
from gateway.mail.transaction import Connection, Transaction
from gateway.policy.settings import LoopSettings
from gateway.ports import Ports

PORTS = Ports(BrokenResolver(), BrokenStore(), None, SystemClock())  # type: ignore[arg-type]


@pytest.mark.parametrize(("number", "outcome"), [(0, "pass"), (50, "pass"), (51, "fail")])
async def test_received_fields_are_counted(number: int, outcome: str) -> None:
    message = Message.parse(b"RECEIVED: from x\r\n by y\r\n" * number + b"From: a@b\r\n\r\nReceived: not a field\r\n")
    tx = Transaction("T", Connection("S", ip_address("192.0.2.1")), 0.0, message=message)
    found = await loop(tx, PORTS, LoopSettings())
    assert found
    assert (found.outcome, found.evidence["received"], found.evidence["limit"]) == (outcome, number, 50)
