"""What is counted of whom: the limits of the policy as counters of the store.

A charge is one counter with its limit. Who is charged: the client, its network, the reverse-path domain (with an SPF
pass and without one apart), the recipient.

Known gaps: none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from gateway.mail.address import Mailbox
from gateway.mail.finding import Outcome
from gateway.mail.network import network_of
from gateway.mail.transaction import Address, Transaction
from gateway.policy.settings import RateSettings
from gateway.ports.store import Counter

Subjects = Mapping[str, str]
"""client, network, domain, recipient -> whom."""
_SENDERS = ("client", "network", "domain")


@dataclass(frozen=True, slots=True)
class Charge:
    """what: connections, sessions, messages, recipients, unknown or errors. limit: 0 never stands here. planned: what
    would be added later if all goes well."""

    what: str
    by: str
    whom: str
    limit: float
    counter: Counter
    planned: float = 0.0


def clients(client: Address, settings: RateSettings) -> Subjects:
    """The client as a subject, and its network."""
    return {"client": str(client), "network": network_of(client, settings.ipv4_prefix, settings.ipv6_prefix)}


def subjects(tx: Transaction, settings: RateSettings) -> Subjects:
    """All that are known of a transaction; the recipient at RCPT only."""
    found = dict(clients(tx.connection.client_ip, settings)) if tx.connection.client_known else {}
    path = tx.envelope.reverse_path if tx.envelope else None
    if isinstance(path, Mailbox):
        spf = tx.findings.get("spf")
        found["domain"] = domain_subject(path.domain, spf is not None and spf.outcome is Outcome.PASS)
    if tx.rcpt is not None:
        found["recipient"] = str(tx.rcpt).lower()
    return found


def domain_subject(domain: str, is_proven: bool) -> str:
    """A reverse-path domain with an SPF pass, or what claims to be it."""
    return domain if is_proven else f"{domain} (no SPF pass)"


def exempt(client: Address, settings: RateSettings) -> bool:
    """Whether nothing of this client is counted."""
    return any(client in network for network in settings.exempt)


def charges(
    what: str,
    amount: float,
    whom: Subjects,
    settings: RateSettings,
    by: Iterable[str],
    *,
    planned: float = 0.0,
    together: bool = False,
) -> list[Charge]:
    """Those of ``by`` that are known and have a limit. together: nothing is added where one of the call is over."""
    found = []
    for subject in by:
        section = settings if subject == "network" else getattr(settings, subject)
        limit = getattr(section, what)
        if limit and subject in whom:
            key = f"{what}:{subject}:{whom[subject]}"
            counter = Counter(key, amount, section.window, limit=limit if together else 0.0)
            found.append(Charge(what, subject, whom[subject], limit, counter, planned))
    return found


def connection_charges(whom: Subjects, settings: RateSettings) -> list[Charge]:
    """One connection, refused or not: a flood does not become legal by being refused. (Of those that an emergency block
    refuses nobody asks.)"""
    return charges("connections", 1, whom, settings, ("client", "network"))


def message_plan(whom: Subjects, settings: RateSettings) -> list[Charge]:
    """One message more, looked at only."""
    return charges("messages", 0, whom, settings, _SENDERS, planned=1)


def recipient_plan(whom: Subjects, settings: RateSettings, number: int) -> list[Charge]:
    """So many recipients more, of which the last is a subject; looked at only."""
    return [
        *charges("recipients", 0, whom, settings, _SENDERS, planned=number),
        *charges("messages", 0, whom, settings, ("recipient",), planned=1),
    ]


def transaction_charges(tx: Transaction, settings: RateSettings, sign: int = 1) -> list[Charge]:
    """A message and its recipients, all or nothing; sign -1 gives them back."""
    assert tx.envelope is not None
    whom, recipients = subjects(replace(tx, rcpt=None), settings), tx.envelope.recipients
    found = charges("messages", sign, whom, settings, _SENDERS, together=sign > 0)
    found += charges("recipients", sign * len(recipients), whom, settings, _SENDERS, together=sign > 0)
    for mailbox in dict.fromkeys(str(mailbox).lower() for mailbox in recipients):
        found += charges("messages", sign, {"recipient": mailbox}, settings, ("recipient",), together=sign > 0)
    return found


def refused_charges(tx: Transaction, settings: RateSettings) -> list[Charge]:
    """A message that was refused for good before its content came."""
    return charges("messages", 1, subjects(replace(tx, rcpt=None), settings), settings, _SENDERS)


def unknown_charges(whom: Subjects, settings: RateSettings, amount: float = 1) -> list[Charge]:
    """One recipient that does not exist (a network's are counted by the recipient check)."""
    return charges("unknown", amount, whom, settings, ("client", "domain"))


def error_charges(whom: Subjects, settings: RateSettings, amount: float = 1) -> list[Charge]:
    """One 5yz reply."""
    return charges("errors", amount, whom, settings, ("client", "network"))
