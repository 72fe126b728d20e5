"""Our own addresses, and which block lists hold them: mail that our users send may come from there.

They are those of the MX hosts of the domains that are served (of the domain itself where it has no MX), and those that
the policy names.

Known gaps: of more than 200 domains or addresses only the first are looked at.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from gateway.cluster.list_probe import Said, Zone, ask
from gateway.cluster.list_watch import ListWatch, Watched
from gateway.mail.dnsbl_site import Site, is_listing
from gateway.mail.finding import Cause
from gateway.ports.board import Board
from gateway.ports.dns import Answer, Resolver, addresses
from gateway.ports.failure import PortFailure

log = logging.getLogger("mxgw.rbl")

PLACE: Final = "rbl-own"
_KEY: Final = "addresses"
_KEPT: Final = 86400.0
_MOST: Final = 200
_AT_ONCE: Final = 20
_PRIVATE: Final = tuple(
    ip_network(text)
    for text in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16",
                 "::1/128", "fc00::/7", "fe80::/10")
)  # fmt: skip
Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class OwnAddress:
    """address; source: the MX host, or 'policy'; listed: list -> its answer; unknown: lists that did not answer."""

    address: str
    source: str
    listed: Mapping[str, str]
    unknown: tuple[str, ...] = ()


async def find(dns: Resolver, domains: Iterable[str], configured: Iterable[Address]) -> dict[Address, str]:
    """Address -> where it is from; private ones left out. Domains that DNS knows nothing of are left out."""
    found: dict[Address, str] = dict.fromkeys(configured, "policy")
    limit = asyncio.Semaphore(_AT_ONCE)

    async def hosts_of(domain: str) -> list[str]:
        async with limit:
            try:
                answer: Answer = await dns.lookup(domain, "MX")
            except PortFailure:
                return []
        names = [record.partition(" ")[2] for record in answer.records]
        return [name for name in names if name not in ("", ".")] if names else [domain]

    async def at(host: str, family: int) -> frozenset[Address]:
        async with limit:
            try:
                return await addresses(dns, host, family)
            except PortFailure:
                return frozenset()

    served = list(dict.fromkeys(domain.removeprefix("*.") for domain in domains))[:_MOST]
    hosts = list(dict.fromkeys(host for some in await asyncio.gather(*map(hosts_of, served)) for host in some))
    asked = [(host, family) for host in hosts for family in (4, 6)]
    for (host, _), some in zip(asked, await asyncio.gather(*(at(*one) for one in asked)), strict=True):
        for address in sorted(some, key=str):
            found.setdefault(address, host)
    public = [a for a in found if not any(a in net for net in _PRIVATE if net.version == a.version)]
    return {address: found[address] for address in public[:_MOST]}


async def look_up(
    dns: Resolver, own: Mapping[Address, str], sites: Sequence[Site], timeout: float
) -> tuple[OwnAddress, ...]:
    """Ask the block lists (of positive weight) about each address. Filters of the policy count."""
    blocking = [site for site in sites if site.weight > 0]
    zones = list(dict.fromkeys(Zone(site.label, site.domain) for site in blocking))
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(zone: Zone, address: Address) -> Said | Cause:
        async with limit:
            return await ask(dns, zone, str(address), timeout)

    found = []
    for address, source in own.items():
        answers = dict(zip(zones, await asyncio.gather(*(one(zone, address) for zone in zones)), strict=True))
        listed = {}
        for zone, said in answers.items():
            codes = said.codes if isinstance(said, Said) else ()
            mine = [site for site in blocking if site.label == zone.name]
            if hit := next((c for c in codes if is_listing(c) and any(site.matches(c) for site in mine)), None):
                listed[zone.name] = str(hit)
        unknown = tuple(zone.name for zone, said in answers.items() if isinstance(said, Cause))
        found.append(OwnAddress(str(address), source, listed, unknown))
    return tuple(found)


class OwnWatch:
    """A node's duty: the leader of the lists asks now and then and puts the answer on the board, all nodes show it.
    tell: gets all addresses and the names of the block lists."""

    def __init__(
        self,
        board: Board,
        lists: ListWatch,
        watched: Callable[[], Watched],
        domains: Sequence[str],
        resolver: Callable[[], Resolver],
        tell: Callable[[Sequence[OwnAddress], Sequence[str]], None],
    ) -> None:
        self._board = board
        self._lists = lists
        self._watched = watched
        self._domains = tuple(domains)
        self._resolver = resolver
        self._tell = tell
        self._known: dict[tuple[str, str], str] = {}

    async def turn(self) -> None:
        """One turn: ask where the board's answer is old and this node leads, and tell. Raises PortFailure."""
        watched = self._watched()
        if not any(site.weight > 0 for site in watched.sites):
            return
        kept = await self._board.read(PLACE, _KEY)
        at, found = _decode(kept)
        now = await self._board.now()
        if self._lists.leads and now >= at + watched.settings.own_every:
            found = await self._ask(watched)
            said = {"at": now, "addresses": [asdict(one) for one in found]}
            await self._board.write(PLACE, _KEY, json.dumps(said), _KEPT)
        self._told(found, watched)

    async def _ask(self, watched: Watched) -> tuple[OwnAddress, ...]:
        dns = self._resolver()
        # a list that is out says nothing about us either
        sites = [site for site in watched.sites if self._lists.state(site.label).counts]
        try:
            own = await find(dns, self._domains, watched.settings.own_addresses)
            return await look_up(dns, own, sites, watched.settings.query_timeout)
        finally:
            await dns.close()

    def _told(self, found: Sequence[OwnAddress], watched: Watched) -> None:
        listed = {(one.address, name): code for one in found for name, code in one.listed.items()}
        for address, name in listed.keys() - self._known.keys():
            text = "our own address %s is on list %s"
            log.error(text, address, name, extra={"event": "own_address", "address": address, "list": name})
        for address, name in self._known.keys() - listed.keys():
            text = "our own address %s is on list %s no more"
            log.info(text, address, name, extra={"event": "own_address", "address": address, "list": name})
        self._known = listed
        self._tell(found, list(dict.fromkeys(site.label for site in watched.sites if site.weight > 0)))


def _decode(text: str | None) -> tuple[float, tuple[OwnAddress, ...]]:
    """When, and what; (0, ()) for nothing. What cannot be read counts as nothing: it is asked anew."""
    if text is None:
        return 0.0, ()
    try:
        said = json.loads(text)
        found = [OwnAddress(str(ip_address(o["address"])), o["source"], o["listed"], tuple(o["unknown"]))
                 for o in said["addresses"]]  # fmt: skip
        return float(said["at"]), tuple(found)
    except (ValueError, TypeError, KeyError) as error:
        log.warning("what the board says of our addresses cannot be read: %s", error, extra={"event": "rbl"})
        return 0.0, ()
