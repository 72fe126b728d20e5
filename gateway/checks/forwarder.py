"""Local exceptions to DMARC: does the message come through a forwarder or a mailing list that the site has listed?

Both break SPF, and a list often DKIM too, of authors who did nothing wrong (RFC 7960); RFC 9989 section 5.4 therefore
wants more than a published policy before a message is refused. What is listed is a network, from which any author may
come, or a domain that must prove itself: an SPF pass of the reverse-path or a DKIM pass of its signature.

Reasons: ``nothing-listed``, ``not-listed``, ``forwarder``, ``list`` (the message has a List-Id field, RFC 2919).

Known gaps: a forwarder that proves itself by its reverse name only must be listed by network.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.auth.dmarc_eval import Identifier
from gateway.checks.proven import dkim_identifiers
from gateway.mail.address import NULL
from gateway.mail.finding import Cause, Finding, Outcome
from gateway.mail.transaction import Transaction
from gateway.policy.settings import CheckSettings, ForwarderSettings
from gateway.ports import Ports


async def forwarder(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding | None:  # noqa: ARG001
    """pass for a listed one, none for any other; unknown where a listed domain might have passed. Evidence: entry (as
    listed), by (client, spf or dkim)."""
    assert isinstance(settings, ForwarderSettings)
    if tx.message is None:
        return None
    if not settings.clients and not settings.domains:
        return Finding("forwarder", Outcome.NONE, "nothing-listed")
    if tx.connection.client_known:
        for network in settings.clients:
            if tx.connection.client_ip in network:
                return _passed(tx, str(network), "client")
    unknown: Cause | None = None
    for one in _proven(tx):
        entry = entry_for(one.domain, settings.domains)
        if entry and one.cause is None:
            return _passed(tx, entry, one.method)
        if entry:
            unknown = unknown or one.cause
    if unknown:
        return Finding.unknown("forwarder", unknown)
    return Finding("forwarder", Outcome.NONE, "not-listed")


def _passed(tx: Transaction, entry: str, by: str) -> Finding:
    assert tx.message is not None
    reason = "list" if tx.message.first("list-id") is not None else "forwarder"
    return Finding("forwarder", Outcome.PASS, reason, {"entry": entry, "by": by})


def entry_for(domain: str, listed: tuple[str, ...]) -> str:
    """The entry that names the domain: itself, or ``*.`` and a parent of it."""
    for entry in listed:
        name = entry.lower().rstrip(".")
        if domain == name or (name.startswith("*.") and domain.endswith(name[1:])):
            return entry
    return ""


def _proven(tx: Transaction) -> Iterator[Identifier]:
    spf, path = tx.findings.get("spf"), tx.envelope.reverse_path if tx.envelope else NULL
    if spf and path is not NULL and not path.is_literal and spf.outcome in (Outcome.PASS, Outcome.TEMPERROR):
        yield Identifier("spf", path.domain, spf.cause)
    yield from dkim_identifiers(tx)
