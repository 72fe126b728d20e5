"""In a phase a check waits for those whose findings it reads, and for no others."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import cast

import pytest

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.dns_broken import BrokenResolver
from gateway.adapters.store_broken import BrokenStore
from gateway.checks.run import Check, CheckFunction, run_phase
from gateway.mail.finding import Finding, Outcome
from gateway.mail.phase import Phase
from gateway.mail.transaction import Connection, Transaction
from gateway.policy.settings import CheckSettings, ChecksSettings
from gateway.ports import Ports
from gateway.ports.mailstore import RecipientDirectory

NOTHING = Ports(BrokenResolver(), BrokenStore(), cast(RecipientDirectory, None), SystemClock())
TX = Transaction("T1", Connection("s1", ip_address("192.0.2.1"), 4711), 0.0)


def _row(name: str, run: CheckFunction, *after: str) -> Check:
    return Check(name, Phase.CONTENT, run, "", 30.0, after=after)


async def test_a_slow_check_holds_up_nobody_who_does_not_read_its_finding() -> None:
    told = asyncio.Event()
    seen: list[str] = []

    async def arc(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding:
        await told.wait()  # slower than all that does not need it
        return Finding("arc", Outcome.PASS, "")

    async def dkim(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding:
        return Finding("dkim", Outcome.PASS, "")

    async def dmarc(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding:
        seen.extend(tx.findings)
        told.set()
        return Finding("dmarc", Outcome.PASS, "")

    rows = [_row("arc", arc), _row("dmarc", dmarc, "dkim", "spf"), _row("dkim", dkim)]
    tx, seconds = await run_phase(rows, Phase.CONTENT, TX, NOTHING, ChecksSettings())
    assert [(name, finding.outcome) for name, finding in tx.findings.items()] == [
        ("arc", Outcome.PASS), ("dmarc", Outcome.PASS), ("dkim", Outcome.PASS),
    ]
    assert seen == ["dkim"]
    assert set(seconds) == {"arc", "dkim", "dmarc"}


async def test_a_phase_that_is_given_up_leaves_no_check_behind() -> None:
    ended = []

    async def hang(tx: Transaction, ports: Ports, settings: CheckSettings) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(tx.id)

    rows = [_row("arc", hang), _row("dkim", hang), _row("dmarc", hang, "dkim")]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await run_phase(rows, Phase.CONTENT, TX, NOTHING, ChecksSettings())
    assert ended == ["T1", "T1"]
