"""Run the checks of one phase: concurrently, each under its budget; the only broad ``except`` of the program.

A timeout, a dead port and a crash inside a check become the same kind of fact: a temperror with its cause. No check
decides what that means, and no check can take the session down.

Known gaps: a check that never awaits cannot be stopped by its budget; CPU-heavy ones leave the loop themselves.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from gateway.checks.external_relay import told_of, with_client
from gateway.mail.finding import Cause, Finding, Why
from gateway.mail.phase import Phase
from gateway.mail.transaction import Transaction
from gateway.policy.settings import CheckSettings, ChecksSettings
from gateway.ports import Ports
from gateway.ports.failure import PortFailure
from gateway.ports.purpose import asking

log = logging.getLogger("mxgw.checks")

Settled = Callable[[Transaction, str], bool]
"""Whether that check's finding alone refuses for good, so that no other one can change the verdict."""

CheckFunction = Callable[[Transaction, Ports, CheckSettings], Awaitable[Finding | None]]
"""A check: transaction, ports and its own section of the policy's settings in, a finding out; None: not applicable."""


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the table. budget in seconds. port: what it needs ('' for none), which chooses the posture when it is
    out. needs_client: it judges the client's address and is left out where that is unknown. behind_relay: at the
    content it judges the client behind a trusted relay, of whom it could know nothing in its own phase. after: checks
    that may run in the same phase whose findings it reads: it waits for these, and sees no others of its phase."""

    name: str
    phase: Phase
    run: CheckFunction
    port: str
    budget: float
    needs_client: bool = False
    behind_relay: bool = False
    after: tuple[str, ...] = ()
    first: bool = False
    """It asks nobody and runs before the others; where its finding settles the verdict, they do not run."""


def _never(tx: Transaction, check: str) -> bool:  # noqa: ARG001
    return False


async def run_phase(
    checks: Sequence[Check],
    phase: Phase,
    tx: Transaction,
    ports: Ports,
    settings: ChecksSettings,
    settled: Settled = _never,
) -> tuple[Transaction, dict[str, float]]:
    """Run all checks of a phase, each as soon as it can. Returns the transaction with their findings in the table's
    order, and seconds by check name. At the content of a trusted relay's session the transaction's client is the one
    behind it."""
    is_behind = phase is Phase.CONTENT and tx.connection.external_relay is not None
    if is_behind:
        tx = with_client(tx, settings.external_relay)
    pending = [
        check
        for check in checks
        if (check.phase is phase or (is_behind and check.behind_relay))
        and settings.of(check.name).enabled
        and (tx.connection.client_known or not check.needs_client)
    ]
    order = [check.name for check in pending]
    found: dict[str, Finding] = {}
    seconds: dict[str, float] = {}

    async def run(check: Check, seen: Mapping[str, Finding]) -> None:
        finding = await _timed(check, tx.with_findings(seen), ports, settings.of(check.name), seconds)
        if finding is not None:
            found[check.name] = told_of(finding, tx) if is_behind and check.behind_relay else finding

    first = [check for check in pending if check.first]
    for check in first:
        await run(check, {})
    if not any(settled(tx.with_findings(found), check.name) for check in first if check.name in found):
        await _in_order([check for check in pending if not check.first], run, found)
    return tx.with_findings({name: found[name] for name in order if name in found}), seconds


async def _in_order(
    checks: Sequence[Check],
    run: Callable[[Check, Mapping[str, Finding]], Awaitable[None]],
    found: Mapping[str, Finding],
) -> None:
    """All at the same time, but each after those whose findings it reads."""
    if len(checks) == 1:  # one needs no task of its own: a third of the phases run a single check
        await run(checks[0], {})
        return
    tasks: dict[str, asyncio.Task[None]] = {}

    async def in_turn(check: Check) -> None:
        for name in check.after:
            if name in tasks:
                await tasks[name]
        await run(check, {name: found[name] for name in check.after if name in found})

    tasks.update((check.name, asyncio.create_task(in_turn(check))) for check in checks)
    await asyncio.gather(*tasks.values())


async def _timed(
    check: Check, tx: Transaction, ports: Ports, settings: CheckSettings, seconds: dict[str, float]
) -> Finding | None:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(check.budget):
            with asking(check.name):
                return await check.run(tx, ports, settings)
    except PortFailure as failure:
        cause = failure.cause
    except TimeoutError:
        cause = Cause(check.port or check.name, Why.BUDGET, f"{check.budget:g} s")
    except Exception as error:
        log.exception("check %s crashed on %s", check.name, tx.id)
        cause = Cause(check.name, Why.CRASH, type(error).__name__)
    finally:
        seconds[check.name] = time.perf_counter() - started
    return Finding.unknown(check.name, cause)


def causes(findings: Mapping[str, Finding]) -> dict[str, Cause]:
    """The causes of all that is unknown, by check name."""
    return {name: finding.cause for name, finding in findings.items() if finding.cause is not None}
