"""Mail loops: a message that was here too often has too many Received fields (RFC 5321 section 6.3).

Known gaps: a hop that removes Received fields hides the loop.
"""

from __future__ import annotations

from gateway.mail.finding import Finding, Outcome
from gateway.mail.transaction import Transaction
from gateway.policy.settings import CheckSettings, LoopSettings
from gateway.ports import Ports


async def loop(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding | None:  # noqa: ARG001
    """Count the Received fields. FAIL 'too-many-received' above the limit; None without content."""
    assert isinstance(settings, LoopSettings)
    if tx.message is None:
        return None
    received = len(tx.message.all("received"))
    evidence = {"received": received, "limit": settings.max_received}
    if received > settings.max_received:
        return Finding("loop", Outcome.FAIL, "too-many-received", evidence)
    return Finding("loop", Outcome.PASS, "below-limit", evidence)
