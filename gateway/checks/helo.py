"""The EHLO or HELO name (RFC 5321 sections 2.3.5 and 4.1.4): is it a name, is it the client's?

Evidence: name (in lower case, as A-label where it is a domain), reason is repeated by the finding itself.
Outcomes and reasons: pass matches, literal-matches; neutral resolves, well-formed (not looked up); none unresolvable;
fail bad-syntax, bare-address, not-fqdn, own-name, literal-mismatch. Whether any of them is worth a refusal is policy:
RFC 5321 section 4.1.4 forbids to refuse mail only because the name does not match the address.

Known gaps: where the client's address is unknown, only the syntax is judged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address

from gateway.mail.address import AddressError, parse_domain, parse_literal
from gateway.mail.finding import Finding, Outcome
from gateway.mail.transaction import Address, Transaction
from gateway.policy.settings import CheckSettings, HeloSettings
from gateway.ports import Ports
from gateway.ports.dns import Resolver, addresses


async def helo(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding | None:
    """Judge the name; None before there is one. Raises PortFailure where the name could not be looked up."""
    assert isinstance(settings, HeloSettings)
    if tx.hello is None:
        return None
    client = tx.connection.client_ip if tx.connection.client_known else None
    given = tx.hello.name
    if given.startswith("["):
        return _literal(given, client)
    if _is_address(given):
        return _finding(Outcome.FAIL, "bare-address", given)
    try:
        name = parse_domain(given)
    except AddressError:
        return _finding(Outcome.FAIL, "bad-syntax", given)
    from_here = client is not None and client.is_loopback
    if _is_own(name, (*settings.own_names, tx.connection.server_name)) and not from_here:
        return _finding(Outcome.FAIL, "own-name", name)
    if "." not in name:
        return _finding(Outcome.FAIL, "not-fqdn", name)
    if name.rpartition(".")[2].isdigit():
        return _finding(Outcome.FAIL, "bad-syntax", name)
    if client is None or not settings.resolve:
        return _finding(Outcome.NEUTRAL, "well-formed", name)
    iprev = tx.findings.get("iprev")
    if iprev is not None and iprev.outcome is Outcome.PASS and iprev.evidence.get("name") == name:
        return _finding(Outcome.PASS, "matches", name)
    return await _looked_up(ports.dns, name, client)


async def _looked_up(dns: Resolver, name: str, client: Address) -> Finding:
    same_family = await addresses(dns, name, client.version)
    if client in same_family:
        return _finding(Outcome.PASS, "matches", name)
    if same_family or await addresses(dns, name, 10 - client.version):
        return _finding(Outcome.NEUTRAL, "resolves", name)
    # RFC 5321 section 2.3.5 lets a name stand that has only MX records
    if (await dns.lookup(name, "MX")).records:
        return _finding(Outcome.NEUTRAL, "resolves", name)
    return _finding(Outcome.NONE, "unresolvable", name)


def _literal(given: str, client: Address | None) -> Finding:
    address = parse_literal(given)
    if address is None:
        return _finding(Outcome.FAIL, "bad-syntax", given)
    if client is None:
        return _finding(Outcome.NEUTRAL, "well-formed", given)
    if address == client:
        return _finding(Outcome.PASS, "literal-matches", given)
    return _finding(Outcome.FAIL, "literal-mismatch", given)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return bool(re.fullmatch(r"(?i:ipv6:)?[0-9a-fA-F]*:[0-9a-fA-F:.]*", text))
    return True


def _is_own(name: str, own_names: Sequence[str]) -> bool:
    return any(name == own.lower().rstrip(".") for own in own_names if own)


def _finding(outcome: Outcome, reason: str, name: str) -> Finding:
    return Finding("helo", outcome, reason, {"name": name.lower(), "reason": reason})
