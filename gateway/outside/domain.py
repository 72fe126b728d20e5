"""A domain's DNS as senders find it, judged: MX, addresses, PTR, TTLs, SPF, DMARC, MTA-STS, TLS-RPT, DNSSEC, TLSA.

In: a resolver port for every type, and what judges records by their grammar. Out: lines of a report.

Known gaps: a TTL that is too short shows only where a name server of the zone is asked (``--resolver``).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import Final

from gateway.outside import agreement
from gateway.outside.hosts import MxHost, MxSet
from gateway.outside.report import Line, error, note, ok, unknown, warning
from gateway.ports.dns import Resolver
from gateway.ports.failure import PortFailure
from gateway.ports.records import RecordJudge

TTL: Final = (300, 1800)
_INSTANCE = re.compile(r"^(?:ip-\d+-|ec2-|i-[0-9a-f]{6,}|vm-?\d{4,}|[a-z0-9-]+-[0-9a-f]{8,10}-[a-z0-9]{5}\.)")


async def look(found: MxSet, dns: Resolver, judge: RecordJudge, ttl: tuple[int, int] = TTL) -> list[Line]:
    """Everything that DNS alone can tell. ttl: the seconds that TTLs should be between."""
    lines = list(mx_lines(found, ttl))
    for host in found.hosts:
        lines += address_lines(host, ttl)
    lines += shared_lines(found.hosts)
    reverse = await asyncio.gather(*(_ptr(dns, host, address) for host in found.hosts for address in host.addresses))
    lines += reverse
    for kind in ("spf", "dmarc", "mta-sts", "tls-rpt"):
        lines += await _record(found.domain, kind, dns, judge)
    lines += dnssec_lines(found)
    for host in found.hosts:
        lines += agreement.tlsa_records(host)
    return lines


def mx_lines(found: MxSet, ttl: tuple[int, int] = TTL) -> Iterator[Line]:
    """The MX set itself."""
    if found.null:
        yield error("mx", found.domain, "a null MX: the domain takes no mail (RFC 7505)")
        return
    if not found.exists:
        yield error("mx", found.domain, "the domain does not exist")
        return
    if found.implicit:
        yield error("mx", found.domain, "no MX: senders try the domain's own addresses")
    else:
        order = ", ".join(f"{host.preference} {host.name}" for host in found.hosts)
        yield ok("mx", found.domain, order)
        yield from _ttl("MX", found.domain, found.ttl, ttl, found.authoritative)
    if len({address for host in found.hosts for address in host.addresses}) == 1:
        yield warning("mx", found.domain, "one address only: no mail while it is away")


def address_lines(host: MxHost, ttl: tuple[int, int] = TTL) -> Iterator[Line]:
    """An MX host's name and addresses."""
    if host.alias:
        yield error("mx", host.name, f"is an alias of {host.alias}; an MX host must not be one (RFC 2181 section 10.3)")
    if _INSTANCE.match(host.name):
        yield warning("mx", host.name, "looks like the name of one machine; MX names should outlive machines")
    if not host.addresses:
        yield error("addresses", host.name, "has no address")
        return
    yield ok("addresses", host.name, " ".join(host.addresses))
    if host.families != {4, 6}:
        missing = "AAAA" if 4 in host.families else "A"
        yield (note if missing == "AAAA" else warning)("addresses", host.name, f"has no {missing}")
    for address in host.addresses:
        if not ip_address(address).is_global:
            yield warning("addresses", f"{host.name} {address}", "is not a public address")
    for rtype, seconds in host.ttls:
        yield from _ttl(rtype, host.name, seconds, ttl, host.authoritative)


def shared_lines(hosts: Sequence[MxHost]) -> Iterator[Line]:
    """MX hosts that are one machine under two names."""
    owners: dict[str, str] = {}
    for host in hosts:
        for address in host.addresses:
            if owners.get(address, host.name) != host.name:
                yield warning("addresses", address, f"belongs to {owners[address]} and {host.name}: they fail together")
            owners[address] = host.name


def dnssec_lines(found: MxSet) -> Iterator[Line]:
    """What the resolver validated."""
    if found.secure:
        yield ok("dnssec", found.domain, "the MX set is signed")
    else:
        yield note("dnssec", found.domain, "the MX set is not validated by this resolver")
    for host in found.hosts:
        if found.secure and not host.secure and host.addresses:
            yield warning("dnssec", host.name, "its addresses are not signed, so DANE is not possible")


def _ttl(rtype: str, name: str, seconds: int, between: tuple[int, int], authoritative: bool) -> Iterator[Line]:
    # a cache shows what is left of a TTL, so a small one says nothing there
    if seconds > between[1] or (authoritative and seconds < between[0]):
        yield warning("ttl", name, f"{rtype} has a TTL of {seconds} s, not {between[0]} to {between[1]}")


async def _ptr(dns: Resolver, host: MxHost, address: str) -> Line:
    subject = f"{host.name} {address}"
    ours = ip_address(address)
    try:
        names = (await dns.lookup(ours.reverse_pointer, "PTR")).records
        if not names:
            return warning("ptr", subject, "has no reverse name")
        rtype = "A" if ours.version == 4 else "AAAA"
        for name in names[:10]:
            if any(ip_address(one) == ours for one in (await dns.lookup(name, rtype)).records):
                return ok("ptr", subject, name)
    except PortFailure as failure:
        return unknown("ptr", subject, failure.cause.detail)
    return warning("ptr", subject, f"{names[0]} does not lead back to the address")


_PLACES: Final = {"spf": ("", "v=spf1"), "dmarc": ("_dmarc.", "v=DMARC1"), "mta-sts": ("_mta-sts.", "v=STSv1")}
_WITHOUT: Final = {
    "spf": "no SPF record: anybody may use the domain as reverse-path",
    "mta-sts": "no MTA-STS record",
    "tls-rpt": "no TLS-RPT record: nobody reports TLS failures",
}


async def _record(domain: str, kind: str, dns: Resolver, judge: RecordJudge) -> list[Line]:
    prefix, begin = _PLACES.get(kind, ("_smtp._tls.", "v=TLSRPTv1"))
    try:
        answer = await dns.lookup(f"{prefix}{domain}", "TXT")
    except PortFailure as failure:
        return [unknown(kind, domain, failure.cause.detail)]
    there = [record for record in answer.records if record.lower().startswith(begin.lower())]
    if not there and kind != "dmarc":  # DMARC may stand at the organisational domain
        return [(error if kind == "spf" else warning)(kind, domain, _WITHOUT[kind])]
    judged = await asyncio.to_thread(judge.judge, kind, domain)
    if judged.unanswered:
        return [unknown(kind, domain, judged.error)]
    if not judged.valid:
        text = judged.error if there or kind != "dmarc" else f"no DMARC record: {judged.error}"
        return [error(kind, domain, text)]
    shown = judged.record or there[0]
    return [ok(kind, domain, shown), *(warning(kind, domain, text) for text in judged.warnings)]
