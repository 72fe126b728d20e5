"""Is the client, the reverse-path or the author's domain shut out by an operator's emergency block?

Asked anew at each phase, so that a block also reaches sessions that are open already.

Known gaps: none.
"""

from __future__ import annotations

from gateway.auth.author import author
from gateway.mail.address import Mailbox
from gateway.mail.finding import Fact, Finding, Outcome
from gateway.mail.transaction import Transaction
from gateway.policy.settings import CheckSettings
from gateway.ports import Ports
from gateway.ports.blocks import Block


async def block(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding | None:  # noqa: ARG001
    """FAIL 'blocked-client', 'blocked-sender' or 'blocked-author'; None: no block. Evidence: what is blocked, why (the
    operator's reason), until (seconds since 1970)."""
    if tx.connection.client_known and (hit := ports.blocks.of_client(tx.connection.client_ip)):
        return _found("blocked-client", hit)
    path = tx.envelope.reverse_path if tx.envelope else None
    if isinstance(path, Mailbox) and (hit := ports.blocks.of_names((path.domain,), (str(path).lower(),))):
        return _found("blocked-sender", hit)
    if tx.message and (hit := ports.blocks.of_names(author(tx.message).domains)):
        return _found("blocked-author", hit)
    return None


def _found(reason: str, hit: Block) -> Finding:
    evidence: dict[str, Fact] = {"what": hit.what, "until": round(hit.until), "why": hit.reason}
    return Finding("block", Outcome.FAIL, reason, evidence)
