"""One look at a block or allow list: its test points (RFC 5782 section 5), and what their answers say of it.

An address list must hold 127.0.0.2 and must not hold 127.0.0.1; for IPv6 ::FFFF:7F00:2 and ::FFFF:7F00:1; a list of
domains TEST and INVALID. A point drawn by lot beside 127.0.0.1 (any other address of 127/8, any other name below
INVALID) sees through the caches on the way: no resolver has its answer already.

Known gaps: an address list without IPv6 test points is not told from one that never holds IPv6 addresses.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from gateway.mail.dnsbl_site import ERROR_CODES, LISTINGS, is_listing
from gateway.mail.finding import Cause, Why
from gateway.ports.dns import Resolver
from gateway.ports.failure import PortFailure
from gateway.ports.lists import DEGRADED, DISABLED, NO_ANSWER, OK

_CODES: Final = {
    IPv4Address("127.255.255.252"): "typing-error",
    IPv4Address("127.255.255.254"): "public-resolver",
    IPv4Address("127.255.255.255"): "excessive-queries",
}
FOREIGN: Final = "foreign-answer"
WORLD: Final = "lists-the-world"
NO_TEST_POINT: Final = "no-test-point"
PUBLIC_RESOLVER: Final = "public-resolver"
REASONS: Final = (WORLD, *_CODES.values(), "error-code", FOREIGN, NO_TEST_POINT, NO_ANSWER)


@dataclass(frozen=True, slots=True)
class Zone:
    """A list to look at. name: for people; domain: may hold an access key and is never shown; of_domains: whether it
    lists domains."""

    name: str
    domain: str
    of_domains: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """What a list answered: its A records, and the seconds for which they may be kept."""

    codes: tuple[IPv4Address, ...]
    ttl: int = 0


@dataclass(frozen=True, slots=True)
class Look:
    """What a look says of a list. state and reason as in ``ports.lists``; ttl: how long resolvers may keep an answer
    that should not be; ipv6: whether the list has IPv6 test points, None: nobody can say; listed: what the point that
    must be listed answered."""

    state: str
    reason: str = ""
    ttl: int = 0
    ipv6: bool | None = None
    listed: tuple[str, ...] = ()


async def ask(dns: Resolver, zone: Zone, what: str, timeout: float) -> Said | Cause:
    """Is this address, or this domain, on the list? timeout: seconds."""
    # details are made anew from the name: the domain may hold an access key, and a cause is logged
    try:
        async with asyncio.timeout(timeout):
            answer = await dns.lookup(f"{query_of(what)}.{zone.domain}", "A")
    except PortFailure as failure:
        return Cause("dns", failure.cause.why, zone.name)
    except TimeoutError:
        return Cause("dns", Why.TIMEOUT, zone.name)
    return Said(tuple(IPv4Address(record) for record in answer.records), answer.ttl)


async def explained(dns: Resolver, zone: Zone, what: str, timeout: float) -> str:
    """What the list says in words about an entry; '' where it says nothing. An access key in it is replaced."""
    try:
        async with asyncio.timeout(timeout):
            answer = await dns.lookup(f"{query_of(what)}.{zone.domain}", "TXT")
    except (PortFailure, TimeoutError):
        return ""
    return hidden(" ".join(answer.records), zone)


def hidden(text: str, zone: Zone) -> str:
    """The text with the list's domain, and each label that its name does not show, replaced."""
    text = text.replace(zone.domain, zone.name)
    for label in zone.domain.split("."):
        if len(label) > 8 and label not in zone.name:
            text = text.replace(label, "***")
    return text


def query_of(what: str) -> str:
    """The labels before the list's domain: of an address backwards, of a domain as they are."""
    try:
        address: IPv4Address | IPv6Address = ip_address(what)
    except ValueError:
        return what
    return address.reverse_pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")


async def look(dns: Resolver, zone: Zone, timeout: float) -> Look:
    """Ask for all test points at once."""
    if zone.of_domains:
        points = ["test", "invalid", f"{secrets.token_hex(6)}.invalid"]
    else:
        lot = f"127.{1 + secrets.randbelow(254)}.{secrets.randbelow(256)}.{secrets.randbelow(256)}"
        points = ["127.0.0.2", "127.0.0.1", lot, "::ffff:7f00:2", "::ffff:7f00:1"]
    said = dict(zip(points, await asyncio.gather(*(ask(dns, zone, at, timeout) for at in points)), strict=True))
    must, *others = points[:3]
    return judge(said[must], [said[at] for at in others], *(said[at] for at in points[3:]))


def judge(
    must: Said | Cause,
    must_not: Sequence[Said | Cause],
    must_ipv6: Said | Cause | None = None,
    must_not_ipv6: Said | Cause | None = None,
) -> Look:
    """What answers about test points say. must: the point that is listed; must_not: those that are not. Absent IPv6
    points are no fault, but one that must not be listed is."""
    forbidden = [*must_not, *([must_not_ipv6] if must_not_ipv6 else [])]
    answers = [said for said in (must, must_ipv6, *forbidden) if isinstance(said, Said)]
    codes = [code for said in answers for code in said.codes]
    ttl = max((said.ttl for said in answers if said.codes), default=0)
    ipv6 = any(is_listing(code) for code in must_ipv6.codes) if isinstance(must_ipv6, Said) else None
    listed = tuple(str(code) for code in must.codes) if isinstance(must, Said) else ()
    if error := next((code for code in codes if code in ERROR_CODES), None):
        return Look(DISABLED, _CODES.get(error, "error-code"), ttl, ipv6, listed)
    if any(code not in LISTINGS for code in codes):
        return Look(DISABLED, FOREIGN, ttl, ipv6, listed)
    if any(said.codes for said in forbidden if isinstance(said, Said)):
        return Look(DISABLED, WORLD, ttl, ipv6, listed)
    if any(isinstance(said, Cause) for said in (must, *must_not)):
        return Look(DEGRADED, NO_ANSWER, 0, ipv6, listed)
    return Look(OK, "", 0, ipv6, listed) if listed else Look(DEGRADED, NO_TEST_POINT, 0, ipv6)


_PUBLIC: Final[Mapping[str, str]] = {
    **dict.fromkeys(("8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844"), "Google"),
    **dict.fromkeys(("1.1.1.1", "1.0.0.1", "1.1.1.2", "1.0.0.2", "1.1.1.3", "1.0.0.3"), "Cloudflare"),
    **dict.fromkeys(("2606:4700:4700::1111", "2606:4700:4700::1001"), "Cloudflare"),
    **dict.fromkeys(("9.9.9.9", "9.9.9.10", "9.9.9.11", "149.112.112.112", "2620:fe::fe", "2620:fe::9"), "Quad9"),
    **dict.fromkeys(("208.67.222.222", "208.67.220.220", "2620:119:35::35", "2620:119:53::53"), "OpenDNS"),
    **dict.fromkeys(("4.2.2.1", "4.2.2.2", "4.2.2.3", "4.2.2.4"), "Level 3"),
    **dict.fromkeys(("64.6.64.6", "64.6.65.6"), "Vercara"),
    **dict.fromkeys(("94.140.14.14", "94.140.15.15"), "AdGuard"),
    **dict.fromkeys(("185.228.168.9", "185.228.169.9"), "CleanBrowsing"),
    **dict.fromkeys(("76.76.2.0", "76.76.10.0"), "Control D"),
}
RESOLVER_FAULTS: Final = (PUBLIC_RESOLVER, "invents-answers")


async def resolver_faults(dns: Resolver, servers: Sequence[str], looks: Sequence[Look], timeout: float) -> list[str]:
    """What makes our resolvers unfit for lists, each as ``word detail``; [] for sound ones. servers: their addresses;
    looks: what the lists have said just now."""
    plain = (str(ip_address(server)) for server in servers)
    found = [f"{PUBLIC_RESOLVER} {server} ({_PUBLIC[server]})" for server in plain if server in _PUBLIC]
    if not found and any(one.reason == PUBLIC_RESOLVER for one in looks):
        found.append(f"{PUBLIC_RESOLVER} a list says so")
    nowhere = Zone("a name that does not exist", "invalid")
    said = await ask(dns, nowhere, f"mxgw-{secrets.token_hex(6)}", timeout)
    if isinstance(said, Said) and said.codes:
        found.append(f"invents-answers {said.codes[0]} for a name below .invalid")
    return found
