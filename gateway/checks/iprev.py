"""Forward-confirmed reverse DNS (RFC 8601 section 3): does a name of the client's address map back to it?

Evidence: name (the confirmed one, or ''), names (all that were looked up), generic (the name looks like one of a pool
of dial-up or rented addresses). Reasons: confirmed, mismatch, no-ptr.

Known gaps: ``generic`` is a guess by words and digits, in English and common abbreviations only.
"""

from __future__ import annotations

import asyncio
import re
from ipaddress import IPv4Address

from gateway.mail.finding import Cause, Fact, Finding, Outcome
from gateway.mail.transaction import Address, Transaction
from gateway.policy.settings import CheckSettings, IprevSettings
from gateway.ports import Ports
from gateway.ports.dns import Resolver, addresses, reverse_names
from gateway.ports.failure import PortFailure

_POOL_WORDS = re.compile(
    r"(?:^|[.\-_\d])(?:(?:a?dsl|vdsl|dyn|dynamic|dynip|dhcp|pools?|ppp|pppoe|dial|dialup|dip|cable|broadband|cpe|res|"
    r"residential|unassigned|nat)(?=[.\-_\d])|(?:client|customer|cust|user|host|ip|ipv4)(?=[.\-_]?\d))"
)


async def iprev(tx: Transaction, ports: Ports, settings: CheckSettings) -> Finding:
    """PTR, then the addresses of each name. Unknown where the PTR failed, or no name confirmed and one failed."""
    assert isinstance(settings, IprevSettings)
    client = tx.connection.client_ip
    names = (await reverse_names(ports.dns, client))[: settings.max_names]
    if not names:
        return Finding("iprev", Outcome.PERMERROR, "no-ptr", {"name": "", "names": (), "generic": False})
    results = await asyncio.gather(*(_maps_back(ports.dns, name, client) for name in names))
    confirmed = [name for name, result in zip(names, results, strict=True) if result is True]
    if confirmed:
        return Finding("iprev", Outcome.PASS, "confirmed", _evidence(confirmed[0], names, client))
    for result in results:
        if isinstance(result, Cause):
            return Finding.unknown("iprev", result, _evidence("", names, client))
    return Finding("iprev", Outcome.FAIL, "mismatch", _evidence("", names, client))


async def _maps_back(dns: Resolver, name: str, client: Address) -> bool | Cause:
    # one name's dead server must not hide that another name confirms
    try:
        return client in await addresses(dns, name, client.version)
    except PortFailure as failure:
        return failure.cause


def _evidence(name: str, names: tuple[str, ...], client: Address) -> dict[str, Fact]:
    return {"name": name, "names": names, "generic": looks_generic(name or names[0], client)}


def looks_generic(name: str, client: Address) -> bool:
    """True for names made from the address (its last two octets stand in it as numbers, or its last 16 bits in hex) or
    with the words of address pools. The registered part of the name (the last two labels) is left out."""
    host = ".".join(name.split(".")[:-2]) + "."
    if _POOL_WORDS.search(host):
        return True
    if isinstance(client, IPv4Address):
        third, fourth = client.packed[2:]
        numbers = {int(number) for number in re.findall(r"\d{1,3}(?!\d)", host)}
        if third in numbers and fourth in numbers and len(re.findall(r"\d+", host)) > 1:
            return True
        packed = client.packed.hex()
        return packed in host or "".join(f"{octet:03d}" for octet in client.packed) in host
    return (
        client.exploded.replace(":", "")[-16:] in re.sub(r"[^0-9a-f]", "", host)
        or client.exploded[-19:].replace(":", "-") in host
    )
