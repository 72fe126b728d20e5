"""Under which name a sending party is greylisted: the surest identity there is, so that pools of hosts count as one.

SPF pass: the reverse-path's domain. Else a confirmed reverse name: its parent domain. Else the client's network with
the reverse-path and the recipient. Organisational domains are those of the public suffix list.

Known gaps: nodes whose lists differ in age may cut a rare name differently.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.auth.public_suffix import organisational_by_list
from gateway.mail.address import Mailbox, parse_literal
from gateway.mail.finding import Outcome
from gateway.mail.network import network_of
from gateway.mail.transaction import Transaction
from gateway.policy.settings import GreylistSettings

_SRS0 = re.compile(r"srs0[=+-][^=]+=[^=]+=([^=]+)=(.+)")
_SRS1 = re.compile(r"srs1[=+-][^=]+=[^=]+=[=+-][^=]+=[^=]+=([^=]+)=(.+)")
_PRVS = re.compile(r"(?:prvs|btv\d=?)=[0-9a-z]+==?(.+)")
_PRVS_OLD = re.compile(r"prvs=([^=]+)=[0-9a-f]{10}")
_TOKEN = re.compile(r"(?<![0-9a-z])(?=[0-9a-f]*[0-9])[0-9a-f]{6,}(?![0-9a-z])")
_DAY_STAMP = re.compile(r"prvs=[0-9](\d{3})[0-9a-f]{6}=.+|prvs=[^=]+=[0-9](\d{3})[0-9a-f]{6}")
_STAMP_DAYS = 7


@dataclass(frozen=True, slots=True)
class GreylistKey:
    """kind: spf, ptr or net. client: the party alone (counts for auto-allow); key: with the recipient's side."""

    kind: str
    client: str
    key: str


def organisation(domain: str) -> str:
    """The organisational domain of a name in lower case; a public suffix stands for itself."""
    return organisational_by_list(domain.rstrip("."))


def normalised(mailbox: Mailbox) -> str:
    """A mailbox without what changes from one message to the next: case, +tag, numbers and hexadecimal tokens (VERP),
    SRS, prvs and BATV."""
    local, domain = mailbox.local_part.lower(), mailbox.domain
    for pattern in (_SRS1, _SRS0):
        if match := pattern.fullmatch(local):
            domain, local = match[1], match[2]
            break
    if match := _PRVS_OLD.fullmatch(local) or _PRVS.fullmatch(local):
        local = match[1]
    local = local.split("+", 1)[0] or local
    return f"{re.sub(r'[0-9]+', '#', _TOKEN.sub('#', local))}@{domain}"


def key_of(tx: Transaction, settings: GreylistSettings) -> GreylistKey:
    """The key of this client, reverse-path and recipient, from the findings so far."""
    assert tx.rcpt is not None
    spf = tx.findings.get("spf")
    if spf and spf.outcome is Outcome.PASS and (domain := spf_domain(tx)):
        client = f"spf:{organisation(domain)}"
        return GreylistKey("spf", client, f"{client}|{tx.rcpt.domain}")
    if name := confirmed_name(tx):
        client = f"ptr:{organisation(name)}"
        return GreylistKey("ptr", client, f"{client}|{tx.rcpt.domain}")
    client = f"net:{network_of(tx.connection.client_ip, settings.ipv4_prefix, settings.ipv6_prefix)}"
    return GreylistKey("net", client, f"{client}|{sender_of(tx)}|{normalised(tx.rcpt)}")


def spf_domain(tx: Transaction) -> str:
    """The domain that SPF spoke for: the reverse-path's, or the HELO name's with a null reverse-path; '' if none."""
    path = tx.envelope.reverse_path if tx.envelope else None
    if isinstance(path, Mailbox):
        return "" if path.is_literal else path.domain
    name = tx.hello.name.lower() if tx.hello else ""
    return "" if parse_literal(name) is not None else name


def confirmed_name(tx: Transaction) -> str:
    """The client's confirmed reverse name in lower case; '' where there is none, or a generic one: that says which
    provider, not which party, and a whole dial-up pool must not share a pass."""
    iprev = tx.findings.get("iprev")
    if iprev is None or iprev.outcome is not Outcome.PASS or iprev.evidence.get("generic"):
        return ""
    return str(iprev.evidence.get("name", "")).lower()


def sender_of(tx: Transaction) -> str:
    """The reverse-path as senders are told apart."""
    path = tx.envelope.reverse_path if tx.envelope else None
    return normalised(path) if isinstance(path, Mailbox) else "<>"


def answers_own_mail(tx: Transaction) -> bool:
    """Whether a null reverse-path comes to an address that was signed by BATV (prvs) in the last seven days. The
    signature is the mailstore's to verify, which it does when it is asked for the recipient."""
    path = tx.envelope.reverse_path if tx.envelope else None
    if isinstance(path, Mailbox) or tx.rcpt is None:
        return False
    match = _DAY_STAMP.fullmatch(tx.rcpt.local_part.lower())
    if match is None:
        return False
    # the stamp is the day, modulo 1000, on which the signature runs out: seven days after it was made
    left = (int(match[1] or match[2]) - int(tx.now // 86400)) % 1000
    return left <= _STAMP_DAYS
