"""One phase of one transaction: run its checks, then decide. No SMTP, no sockets.

The same object serves port 25 and ``mxgw explain``: they differ in the ports behind it.

Known gaps: none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.checks import CHECKS
from gateway.checks.external_relay import marked
from gateway.checks.run import Check, run_phase
from gateway.mail.phase import Phase
from gateway.mail.transaction import Connection, Transaction
from gateway.mail.verdict import Verdict
from gateway.policy.decide import decide, refused_for_good
from gateway.policy.model import Profile
from gateway.ports import Ports
from gateway.ports.store_budget import one_decision


@dataclass(frozen=True, slots=True)
class Judgement:
    """A phase's result: the transaction with its findings, the verdict, and seconds by check and for the phase."""

    phase: Phase
    tx: Transaction
    verdict: Verdict
    seconds: float
    check_seconds: dict[str, float]


Beside = Callable[[Phase, Transaction, Verdict], None]


def both(one: Beside, other: Beside) -> Beside:
    """Each sees the judgements, in this order."""

    def seen(phase: Phase, tx: Transaction, verdict: Verdict) -> None:
        one(phase, tx, verdict)
        other(phase, tx, verdict)

    return seen


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The checks over the ports. ``judge`` is called once a phase (at rcpt once a recipient). beside: sees each
    judgement, and changes none; a second policy may be compared there. It must return at once and never raise."""

    ports: Ports
    checks: Sequence[Check] = CHECKS
    beside: Beside | None = None

    def arrived(self, connection: Connection, profile: Profile) -> Connection:
        """The connection as it is judged: that of a relay which the profile trusts has no client yet."""
        return marked(connection, profile.checks.external_relay)

    async def judge(self, phase: Phase, tx: Transaction, profile: Profile) -> Judgement:
        """Run the phase's checks and decide with all rules up to this phase. Never raises for a fault of a port."""
        started = time.perf_counter()
        with one_decision():
            judged, check_seconds = await run_phase(
                self.checks,
                phase,
                tx,
                self.ports,
                profile.checks,
                lambda now, check: refused_for_good(now, profile, phase, check),
            )
        verdict = decide(judged, profile, phase)
        if self.beside is not None:
            self.beside(phase, judged, verdict)
        return Judgement(phase, judged, verdict, time.perf_counter() - started, check_seconds)
