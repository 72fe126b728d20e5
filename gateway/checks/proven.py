"""What the DKIM signatures of a content prove, or may prove: the one reading for all who build on it.

Known gaps: none.
"""

from __future__ import annotations

from typing import Final

from gateway.auth.dkim_verify import read_signatures
from gateway.auth.dmarc_eval import Identifier
from gateway.mail.finding import Cause, DkimFinding, Outcome, Why
from gateway.mail.transaction import Transaction

_UNTOLD: Final = Cause("dns", Why.BUDGET, "no cause was given")
_MOST_UNKNOWN: Final = 50


def dkim_domains(tx: Transaction) -> list[str]:
    """The d= of each signature that passes, in the message's order."""
    dkim = tx.findings.get("dkim")
    signatures = dkim.signatures if isinstance(dkim, DkimFinding) else ()
    return [signature.domain for signature in signatures if signature.outcome is Outcome.PASS and signature.domain]


def dkim_identifiers(tx: Transaction) -> list[Identifier]:
    """The d= of each signature that passes, and with its cause of each that may. Where the whole check is unknown
    (budget, crash) whatever the signatures name might have passed, as far as they can be read, and nothing else."""
    dkim = tx.findings.get("dkim")
    if isinstance(dkim, DkimFinding):
        unknown = {Outcome.PASS: None, Outcome.TEMPERROR: dkim.cause or _UNTOLD}
        return [
            Identifier("dkim", signature.domain, unknown[signature.outcome])
            for signature in dkim.signatures
            if signature.domain and signature.outcome in unknown
        ]
    if dkim is None or dkim.cause is None or tx.message is None:
        return []
    domains = dict.fromkeys(item.domain for item in read_signatures(tx.message) if not item.fault)
    return [Identifier("dkim", domain, dkim.cause) for domain in list(domains)[:_MOST_UNKNOWN]]
