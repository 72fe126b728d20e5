"""The words with which a greylisted client is asked to come again.

Known gaps: English only.
"""

from __future__ import annotations

import math

from gateway.mail.transaction import Transaction

NEUTRAL = "Service is unavailable, please try again later"


def greylist_text(tx: Transaction) -> str | None:
    """From the greylisting finding: the seconds that are left, or neutral words where the policy wants them; None: the
    table's words. Mail servers do not read the number, people who read logs do."""
    finding = tx.findings.get("greylist")
    if finding is None:
        return None
    answer, wait = finding.evidence.get("answer"), finding.evidence.get("wait")
    if answer == "neutral":
        return NEUTRAL
    if answer != "seconds" or not isinstance(wait, int | float) or wait <= 0:
        return None
    seconds = math.ceil(wait)
    return f"Greylisted, please try again in {seconds} second{'s' if seconds > 1 else ''}"
