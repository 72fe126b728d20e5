"""Early talkers: a client that sends before it was greeted does not speak SMTP (RFC 5321 section 4.3.1).

Known gaps: without ``limits.greeting_delay`` only what comes while the connection's other checks run is noticed.
"""

from __future__ import annotations

from gateway.mail.finding import Finding, Outcome
from gateway.mail.transaction import Transaction
from gateway.policy.settings import CheckSettings
from gateway.ports import Ports


async def pregreet(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding | None:  # noqa: ARG001
    """FAIL 'early-talker' or PASS 'waited'. It speaks at hello, when the greeting is out."""
    if tx.connection.early_talk:
        return Finding("pregreet", Outcome.FAIL, "early-talker")
    return Finding("pregreet", Outcome.PASS, "waited")
