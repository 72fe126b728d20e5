"""The fields that every message carries on from here, and those it must lose.

Top first: Received (RFC 5321 section 4.4 has trace fields go to the very beginning, so it is the topmost),
Authentication-Results, Received-SPF, then ours: ``X-Gateway-Verdict``, ``-Id``, ``-Unknown``, ``-Reason``. Removed:
Authentication-Results that claim to be ours and inbound fields with our prefix. All else stays octet by octet,
inbound Received-SPF of former hops included; signatures of the author therefore survive.

Known gaps: no ARC set is sealed here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.mail.authres import authentication_results, claims
from gateway.mail.message import OutgoingMessage
from gateway.mail.trace import folded, received_field, received_spf_field
from gateway.mail.transaction import Transaction
from gateway.mail.verdict import Action, Verdict


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are: the name in the greeting, EHLO and ``by``, the cluster's authserv-id, the prefix of our fields, the
    node's name in records ('': the hostname)."""

    hostname: str
    authserv_id: str
    header_prefix: str = "X-Gateway-"
    node: str = ""


def stamp(tx: Transaction, verdict: Verdict, identity: Identity) -> OutgoingMessage:
    """The message as it goes to the mailstore. ``tx`` must have its content."""
    assert tx.message is not None
    fields = [
        received_field(tx, identity.hostname),
        authentication_results(tx, identity.authserv_id, verdict),
        received_spf_field(tx, identity.hostname),
        _own(identity, "Verdict", verdict.effective.word),
        _own(identity, "Id", tx.id),
    ]
    if verdict.unknown:
        fields.append(_own(identity, "Unknown", *[f"{name}," for name in verdict.unknown[:-1]], verdict.unknown[-1]))
    if verdict.action >= Action.QUARANTINE:
        observed = () if verdict.enforced else ("(observed:", "would", "be", f"{verdict.action.word})")
        fields.append(_own(identity, "Reason", verdict.reason, *observed))
    return OutgoingMessage(
        tx.message, b"".join(fields), claims(tx.message, identity.authserv_id, identity.header_prefix)
    )


def _own(identity: Identity, name: str, *words: str) -> bytes:
    clean = [re.sub(r"[^\x21-\x7e]", "?", word)[:300] or "?" for word in words]
    return folded(f"{identity.header_prefix}{name}", clean)
