"""The watch over block and allow lists: one state for the cluster, kept on the board by the node that leads.

The leader holds a lease on the board, looks at each list every ``check_every`` seconds and puts what it finds on the
board; every node reads that once a second and tells its workers. Every node also looks by itself at its start and now
and then: what it finds counts on that node alone (its resolvers may be the trouble), and only for the worse. While the
board is away each node looks as often as a leader would. A leader whose resolvers are unfit gives way to a node whose
resolvers are sound.

Known gaps: what an unfit leader has put on the board holds until ten looks of its successor.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from gateway.cluster.list_health import Health, after, worse
from gateway.cluster.list_hits import KEPT, Tally, read_all, share
from gateway.cluster.list_hits import PLACE as HITS
from gateway.cluster.list_probe import Look, Zone, look, resolver_faults
from gateway.mail.dnsbl_site import Site, parse_site
from gateway.policy.model import Policy
from gateway.policy.settings import DnsblSettings
from gateway.ports.board import Board
from gateway.ports.clock import Clock
from gateway.ports.dns import Resolver
from gateway.ports.failure import PortFailure
from gateway.ports.lists import DEGRADED, DISABLED, HIT_RATIO, OK, ListState

log = logging.getLogger("mxgw.rbl")

PLACE: Final = "rbl"
_LEASE: Final = "rbl-leader"
_LEASE_SECONDS: Final = 15.0
_UNFIT: Final = "unfit"
_KEPT_SECONDS: Final = 7 * 86400.0
PERIOD: Final = 1.0
HITS_PERIOD: Final = 2.0
_QUIET: Final = 600.0
"""A list that is only degraded for so many seconds is no alarm."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What a policy has us watch: its lists, of all profiles, each zone once; settings: those of the default one."""

    zones: tuple[Zone, ...]
    sites: tuple[Site, ...]
    settings: DnsblSettings

    @classmethod
    def of(cls, policy: Policy) -> Watched:
        """All lists that are switched on in a profile."""
        settings = policy.default.checks.dnsbl
        zones: dict[str, Zone] = {}
        sites: dict[Site, None] = {}
        for profile in (policy.default, *policy.profiles):
            section = profile.checks.dnsbl
            if not section.enabled:
                continue
            for text in section.sites:
                site = parse_site(text)
                sites.setdefault(site)
                zones.setdefault(site.label, Zone(site.label, site.domain))
            for text in section.domain_sites:
                site = parse_site(text)
                zones.setdefault(site.label, Zone(site.label, site.domain, of_domains=True))
        return cls(tuple(zones.values()), tuple(sites), settings)

    @property
    def looked_at(self) -> tuple[Zone, ...]:
        """Those with test points."""
        if not self.settings.watch:
            return ()
        return tuple(zone for zone in self.zones if zone.name not in self.settings.unwatched)


async def cluster_states(board: Board) -> Mapping[str, Health]:
    """What the board says of each list. Raises PortFailure."""
    found = {}
    for name, text in (await board.entries(PLACE)).items():
        try:
            found[name] = Health.of_text(text)
        except ValueError as error:
            # of another version
            log.warning("state of list %s cannot be read: %s", name, error, extra={"event": "rbl"})
    return found


class Listener(Protocol):
    """Who is told, in the supervisor: metrics."""

    def list_states(self, states: Mapping[str, ListState]) -> None:
        """All lists, by name."""
        ...

    def resolver_faults(self, faults: Sequence[str]) -> None:
        """What makes the resolvers unfit; their first words are ``list_probe.RESOLVER_FAULTS``."""
        ...


class ListWatch:
    """A node's duties. tell gets name -> [state, reason, since] for the workers; servers: addresses of our resolvers;
    resolver: makes one that has no cache, for one round of looks."""

    def __init__(
        self,
        board: Board,
        node: str,
        clock: Clock,
        watched: Callable[[], Watched],
        resolver: Callable[[], Resolver],
        servers: Sequence[str],
        tell: Callable[[Mapping[str, Any]], None],
        listener: Listener,
    ) -> None:
        self._board = board
        self._node = node
        self._clock = clock
        self._watched = watched
        self._resolver = resolver
        self._servers = tuple(servers)
        self._tell = tell
        self._listener = listener
        self._cluster: dict[str, Health] = {}
        self._own: dict[str, Health] = {}
        self._said: dict[str, ListState] = {}
        self._warned: set[str] = set()
        self._faults: tuple[str, ...] = ()
        self._heard = asyncio.Event()
        self._leads = False
        self._alone = False
        self._next = 0.0
        self._ahead = 0.0
        self._tally = Tally()
        self._tally_read = False
        self._tally_written = ""
        self._shares_out: frozenset[str] = frozenset()

    @property
    def leads(self) -> bool:
        """Whether this node looks for all: it holds the lease, or there is no board."""
        return self._leads or self._alone

    def state(self, name: str) -> ListState:
        """How a list is on this node: the worse of what the cluster and this node itself found."""
        if name not in {zone.name for zone in self._watched().zones} or not self._watched().settings.watch:
            return ListState()
        found = self._cluster[name].said if name in self._cluster else ListState()
        return worse(found, self._own[name].said) if name in self._own else found

    # ---- the board

    async def turn(self) -> None:
        """Read the board, hold or take the lease, tell. Raises PortFailure."""
        try:
            found = await cluster_states(self._board)
            # times that all nodes read are by the board's clock
            self._ahead = await self._board.now() - self._clock.now()
            led, self._leads = self._leads, await self._lease()
            self._alone = False
        except PortFailure:
            if not self.leads:
                self._next = 0.0
            self._alone, self._leads = True, False
            raise
        finally:
            self._heard.set()
        if self._leads and not led:
            self._next = 0.0
        names = {zone.name for zone in self._watched().zones}
        self._cluster.update({name: found[name] for name in names & found.keys()})
        self._say()

    async def _lease(self) -> bool:
        holder = await self._board.read(_LEASE, "leader")
        node, _, unfit = (holder or "").partition(" ")
        if node not in ("", self._node) and not (unfit and self._next and not self._faults):
            return False
        mine = f"{self._node} {_UNFIT}" if self._faults else self._node
        return await self._board.swap(_LEASE, "leader", holder, mine, _LEASE_SECONDS)

    async def leave(self) -> None:
        """Give the lease back. Raises PortFailure."""
        if self._leads:
            for mine in (self._node, f"{self._node} {_UNFIT}"):
                await self._board.swap(_LEASE, "leader", mine, None)

    def _now(self) -> float:
        return self._clock.now() + self._ahead

    # ---- looks

    async def check(self) -> None:
        """Look at all lists, if it is time. Raises PortFailure where the board does not take what was found."""
        await self._heard.wait()
        watched = self._watched()
        settings = watched.settings
        if self._clock.monotonic() < self._next or not watched.looked_at:
            return
        dns = self._resolver()
        try:
            looks = await asyncio.gather(*(look(dns, zone, settings.query_timeout) for zone in watched.looked_at))
            faults = await resolver_faults(dns, self._servers, looks, settings.query_timeout)
        finally:
            await dns.close()
        self._resolver_said(faults)
        try:
            for zone, seen in zip(watched.looked_at, looks, strict=True):
                await self._found(zone.name, self._with_hits(zone.name, seen), settings.back_after)
        finally:
            often = self.leads or any(self._own[zone.name].state != OK for zone in watched.looked_at)
            self._next = self._clock.monotonic() + (settings.check_every if often else settings.node_check_every)
            self._say()

    def _with_hits(self, name: str, seen: Look) -> Look:
        return Look(DISABLED, HIT_RATIO) if seen.state == OK and name in self._shares_out else seen

    async def _found(self, name: str, seen: Look, back_after: int) -> None:
        now = self._now()
        if not self.leads:
            self._own[name] = after(self._own.get(name), seen, now, self._node, back_after)
            return
        before = self._cluster.get(name) or self._own.get(name)
        self._own[name] = self._cluster[name] = found = after(before, seen, now, self._node, back_after)
        if not self._alone:
            await self._board.write(PLACE, name, found.as_text(), _KEPT_SECONDS)

    def _resolver_said(self, faults: Sequence[str]) -> None:
        for fault in faults:
            if fault not in self._faults:
                log.error("our resolvers are unfit for block lists: %s", fault, extra={"event": "rbl", "fault": fault})
        self._faults = tuple(faults)
        self._listener.resolver_faults(faults)

    # ---- hits

    def hear(self, said: Mapping[str, Any]) -> None:
        """A worker's counts of clients: {asked: {list: n}, hits: {list: n}}."""
        self._tally.add(said["asked"], said["hits"], self._now(), self._watched().settings.hit_window)

    async def hits(self) -> None:
        """Share our counts, and hold the newest against the mean. Raises PortFailure."""
        watched = self._watched()
        if not watched.sites or not watched.settings.watch:
            return
        now, window = self._now(), watched.settings.hit_window
        out = [zone.name for zone in watched.zones if self.state(zone.name).state == DISABLED]
        try:
            if not self._tally_read:
                await self._read_back(window)
            self._tally.roll(now, window, out)
            if (text := self._tally.as_text(window)) != self._tally_written:
                await self._board.write(HITS, self._node, text, KEPT)
                self._tally_written = text
            tallies = read_all(await self._board.entries(HITS), window) if self.leads else {}
        except PortFailure:
            tallies = {}
            await self._judge_hits({self._node: self._tally}, now, watched)
            raise
        await self._judge_hits(tallies, now, watched)

    async def _read_back(self, window: float) -> None:
        kept = read_all(await self._board.entries(HITS), window).get(self._node)
        if kept:
            # what this run has counted in the meantime is a few seconds' worth
            self._tally.hours = kept.hours
        self._tally_read = True

    async def _judge_hits(self, tallies: Mapping[str, Tally], now: float, watched: Watched) -> None:
        if not self.leads:
            self._shares_out = frozenset()
            return
        names = {site.label for site in watched.sites}
        shares = {name: share(tallies.values(), name, now, watched.settings) for name in names}
        # the mean stands still while a list is out, so that its share is held against the days before
        self._shares_out = frozenset(name for name in names if shares[name].alarms(watched.settings))
        for name in sorted(self._shares_out):
            if self.state(name).state != DISABLED:
                found = shares[name]
                log.error(
                    "list %s holds %.0f %% of %d clients, its mean of 24 hours is %.1f %%",
                    name, 100 * found.recent, found.asked, 100 * (found.mean or 0.0),
                    extra={"event": "rbl", "list": name},
                )  # fmt: skip
                await self._found(name, Look(DISABLED, HIT_RATIO), watched.settings.back_after)
        self._say()

    # ---- telling

    def _say(self) -> None:
        states = {zone.name: self.state(zone.name) for zone in self._watched().zones}
        for name, state in states.items():
            before = self._said.get(name, ListState())
            if (before.state, before.reason) != (state.state, state.reason):
                self._warned.discard(name)
                self._tell_people(name, state)
            elif state.state == DEGRADED and name not in self._warned and self._now() > state.since + _QUIET:
                self._warned.add(name)
                log.warning("list %s has been degraded for a while: %s", name, state.reason, extra=_extra(name, state))
        self._said = states
        self._listener.list_states(states)
        self._tell({name: [state.state, state.reason, state.since] for name, state in states.items()})

    def _tell_people(self, name: str, state: ListState) -> None:
        if state.state == DISABLED:
            by = self._own[name].by if name in self._own and self._own[name].state == DISABLED else self._by(name)
            text = "list %s is out of every decision: %s (seen by %s)"
            log.error(text, name, state.reason, by, extra={**_extra(name, state), "by": by})
        elif state.state == DEGRADED:
            log.info("list %s is degraded: %s", name, state.reason, extra=_extra(name, state))
        else:
            log.warning("list %s counts again", name, extra=_extra(name, state))

    def _by(self, name: str) -> str:
        return self._cluster[name].by if name in self._cluster else self._node


def _extra(name: str, state: ListState) -> dict[str, str]:
    return {"event": "rbl", "list": name, "state": state.state, "reason": state.reason}
