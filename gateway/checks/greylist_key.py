"""Under which name a sending party is greylisted: the surest identity there is, so that pools of hosts count as one.

SPF pass: the reverse-path's domain. Else a confirmed reverse name: its parent domain. Else the client's network with
the reverse-path and the recipient.

Known gaps: the organisational domain is an approximation without DNS and public suffix data: the last two labels, or
three where the last but one is short and the last has two letters (``example.co.uk``); ``example.github.io`` is cut
too short, which only makes neighbours share a pass.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.checks.rate import network_of
from gateway.mail.address import Mailbox, parse_literal
from gateway.mail.finding import Outcome
from gateway.mail.transaction import Transaction
from gateway.policy.settings import GreylistSettings

_SRS0 = re.compile(r"srs0[=+-][^=]+=[^=]+=([^=]+)=(.+)")
_SRS1 = re.compile(r"srs1[=+-][^=]+=[^=]+=[=+-][^=]+=[^=]+=([^=]+)=(.+)")
_PRVS = re.compile(r"(?:prvs|btv\d=?)=[0-9a-z]+==?(.+)")
_PRVS_OLD = re.compile(r"prvs=([^=]+)=[0-9a-f]{10}")


@dataclass(frozen=True, slots=True)
class GreylistKey:
    """kind: spf, ptr or net. client: the party alone (counts for auto-allow); key: with the recipient's side."""

    kind: str
    client: str
    key: str


def organisation(domain: str) -> str:
    """The approximate organisational domain of a name in lower case."""
    labels = domain.rstrip(".").split(".")
    if len(labels) <= 2:
        return ".".join(labels)
    wide = len(labels[-1]) == 2 and len(labels[-2]) <= 3
    return ".".join(labels[-3:] if wide else labels[-2:])


def normalised(mailbox: Mailbox) -> str:
    """A mailbox without what changes from one message to the next: case, +tag, numbers, SRS, prvs and BATV."""
    local, domain = mailbox.local_part.lower(), mailbox.domain
    for pattern in (_SRS1, _SRS0):
        if match := pattern.fullmatch(local):
            domain, local = match[1], match[2]
            break
    if match := _PRVS_OLD.fullmatch(local) or _PRVS.fullmatch(local):
        local = match[1]
    local = local.split("+", 1)[0] or local
    return f"{re.sub(r'[0-9]+', '#', local)}@{domain}"


def key_of(tx: Transaction, settings: GreylistSettings) -> GreylistKey:
    """The key of this client, reverse-path and recipient, from the findings so far."""
    assert tx.rcpt is not None
    spf, iprev = tx.findings.get("spf"), tx.findings.get("iprev")
    if spf and spf.outcome is Outcome.PASS and (domain := spf_domain(tx)):
        client = f"spf:{organisation(domain)}"
        return GreylistKey("spf", client, f"{client}|{tx.rcpt.domain}")
    name = str(iprev.evidence.get("name", "")) if iprev and iprev.outcome is Outcome.PASS else ""
    # a generic name says which provider, not which party: a whole dial-up pool must not share a pass
    if name and iprev and not iprev.evidence.get("generic"):
        client = f"ptr:{organisation(name.lower())}"
        return GreylistKey("ptr", client, f"{client}|{tx.rcpt.domain}")
    client = f"net:{network_of(tx.connection.client_ip, settings.ipv4_prefix, settings.ipv6_prefix)}"
    path = tx.envelope.reverse_path if tx.envelope else None
    sender = normalised(path) if isinstance(path, Mailbox) else "<>"
    return GreylistKey("net", client, f"{client}|{sender}|{normalised(tx.rcpt)}")


def spf_domain(tx: Transaction) -> str:
    """The domain that SPF spoke for: the reverse-path's, or the HELO name's with a null reverse-path; '' if none."""
    path = tx.envelope.reverse_path if tx.envelope else None
    if isinstance(path, Mailbox):
        return "" if path.is_literal else path.domain
    name = tx.hello.name.lower() if tx.hello else ""
    return "" if parse_literal(name) is not None else name
