"""Greylisting as the cluster sees it, on the board: whom operators let pass, what happened to which key, and how much.

The store knows keys only by their hashes, and a postmaster has to read them: each node adds what it deferred and what
came back to a journal, sealed by the cluster's secret, and its counts of each hour to a place. By the journal a node
also sees keys that were a *first* attempt both here and on another node: proof that the nodes do not share a store's
state (another secret, a store that forgets).

Known gaps: nodes with different stores have different boards, so they cannot see this; ``mxgw greylist stats --log``
finds it in their logs. In a flood a line holds what fits into 6,000 characters (some 60 attempts in two seconds), the
rest is only counted: what strangers write must not fill the store.
"""

from __future__ import annotations

import json
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.cluster import remembered
from gateway.cluster.remembered import MARK
from gateway.cluster.sealed import Seal
from gateway.ports.board import Board, Line
from gateway.ports.greylist import DELAYS

log = logging.getLogger("mxgw.cluster")

ALLOWED: Final = "greylist-allowed"
HOURS: Final = "greylist-hours"
JOURNAL: Final = "greylist"
GREYLIST_SECONDS: Final = 2.0
KEPT_LINES: Final = 3000
LINE_CHARACTERS: Final = 6000
KEPT_SECONDS: Final = 3 * 86400.0
HOURS_SECONDS: Final = 8 * 86400.0
CLEARED: Final = "cleared"
_EVENTS: Final = 500
_FIRSTS: Final = 20_000
_LINES: Final = 200
_COUNT_TURNS: Final = 5


@dataclass(frozen=True, slots=True)
class Event:
    """What became of one attempt. state: a word of ``ports.greylist.STATES``, or what an operator did to the key. time:
    seconds since 1970. wait, waited: seconds. window: seconds in which a retry counts."""

    node: str
    time: float
    state: str
    key: str
    wait: float = 0.0
    waited: float = 0.0
    window: float = 0.0


@dataclass(slots=True)
class Hour:
    """Counts of one node in one hour (since 1970). delays: real ones by the classes of ``DELAYS``. not_shared: keys
    that were first on another node too."""

    hour: int
    node: str
    counts: Counter[str] = field(default_factory=Counter)
    delays: list[int] = field(default_factory=lambda: [0] * (len(DELAYS) + 1))
    not_shared: int = 0

    def add(self, counts: Mapping[str, int], delays: Sequence[int], not_shared: int = 0) -> None:
        """More of the same."""
        self.counts.update(counts)
        self.delays = [own + more for own, more in zip(self.delays, delays, strict=True)]
        self.not_shared += not_shared

    @property
    def key(self) -> str:
        """Its key on the board."""
        return f"{self.hour} {self.node}"

    def encode(self) -> str:
        """Its value on the board."""
        return json.dumps([self.counts, self.delays, self.not_shared], separators=(",", ":"))

    @classmethod
    def decode(cls, key: str, value: str) -> Hour:
        """From the board."""
        hour, _, node = key.partition(" ")
        counts, delays, not_shared = json.loads(value)
        return cls(int(hour), node, Counter(counts), delays, not_shared)


def seal_of(secret: bytes) -> Seal:
    """The seal of the journal."""
    return Seal(secret, "greylist journal")


async def publish(board: Board, seal: Seal, node: str, events: Sequence[Event]) -> None:
    """Add a line with as many of these events to the journal as fit. Raises PortFailure."""
    rows: list[str] = []
    left = LINE_CHARACTERS
    for e in events:
        row = json.dumps([round(e.time, 3), e.state, e.key, round(e.wait, 1), round(e.waited, 1), e.window])
        left -= len(row)
        if left < 0:
            break
        rows.append(row)
    await board.append(JOURNAL, f"{node} {seal.close('[' + ','.join(rows) + ']')}", KEPT_LINES, KEPT_SECONDS)


def events_of(line: Line, seal: Seal) -> list[Event] | None:
    """The events of a line; None where another secret sealed it."""
    node, _, sealed = line.value.partition(" ")
    text = seal.open(sealed)
    return None if text is None else [Event(node, *row) for row in json.loads(text)]


async def journal(board: Board, seal: Seal, since: float) -> tuple[list[Event], set[str]]:
    """All events since then, oldest first, and the nodes whose lines nobody here can read. Raises PortFailure."""
    events: list[Event] = []
    strangers: set[str] = set()
    before = ""
    while lines := await board.latest(JOURNAL, _LINES, before):
        before = lines[-1].number
        for line in lines:
            found = events_of(line, seal)
            if found is None:
                strangers.add(line.value.partition(" ")[0])
            events += reversed(found or ())
        if lines[-1].time < since:
            break
    return [event for event in reversed(events) if event.time >= since], strangers


async def hours(board: Board) -> list[Hour]:
    """The counts of all nodes and hours that are kept. Raises PortFailure."""
    return [Hour.decode(key, value) for key, value in (await board.entries(HOURS)).items()]


async def allow(board: Board, entry: str, said: Mapping[str, Any], lifetime: float | None) -> None:
    """Let it pass. said: reason, by, at and until (seconds since 1970, 0: for good). lifetime: seconds. Raises
    PortFailure."""
    await remembered.put(board, ALLOWED, entry, json.dumps(said), lifetime)


async def allowed(board: Board) -> dict[str, Mapping[str, Any]]:
    """The operator's entries, and what :func:`allow` was told. Raises PortFailure."""
    entries = await board.entries(ALLOWED)
    return {entry: json.loads(said) for entry, said in entries.items() if entry != MARK}


class GreylistDuty:
    """The node's part. tell: gets the operator's entries. on_not_shared: gets how many keys were first on another node
    too, or could not be compared since the secrets differ ('first', 'secret')."""

    def __init__(
        self,
        board: Board,
        seal: Seal,
        node: str,
        tell: Callable[[list[str]], None],
        on_not_shared: Callable[[str, int], None],
    ) -> None:
        self._board = board
        self._seal = seal
        self._node = node
        self._tell = tell
        self._on_not_shared = on_not_shared
        self._allowed: dict[str, str] = {}
        self._events: list[Event] = []
        self._counts: Counter[str] = Counter()
        self._delays = [0] * (len(DELAYS) + 1)
        self._not_shared = 0
        self._firsts: OrderedDict[str, Event] = OrderedDict()
        self._read: str | None = None
        self._hour: Hour | None = None
        self._turns = 0
        self._warned: set[str] = set()

    def hear(self, data: Mapping[str, Any]) -> None:
        """What a worker's desk has gathered."""
        self._counts.update(data["counts"])
        self._delays = [own + more for own, more in zip(self._delays, data["delays"], strict=True)]
        for row in data["events"]:
            event = Event(self._node, *row)
            if len(self._events) < _EVENTS:
                self._events.append(event)
            self._settle(event)
            if event.state in ("first", "expired"):
                self._firsts[event.key] = event
                if len(self._firsts) > _FIRSTS:
                    self._firsts.popitem(last=False)

    async def turn(self) -> None:
        """Entries, journal, comparison, and now and then the counts. Raises PortFailure."""
        await self._look_at_allowed()
        if self._read is None:
            newest = await self._board.latest(JOURNAL, 1)
            self._read = newest[0].number if newest else ""
        if count := len(self._events):
            await publish(self._board, self._seal, self._node, self._events)
            # not those that were heard meanwhile
            del self._events[:count]
        await self._compare()
        self._turns += 1
        if self._turns % _COUNT_TURNS == 0:
            await self.count()

    async def _look_at_allowed(self) -> None:
        entries = dict(await self._board.entries(ALLOWED))
        if remembered.is_lost(self._allowed, entries):
            now = await self._board.now()
            ends = {entry: json.loads(said).get("until", 0) for entry, said in self._allowed.items() if entry != MARK}
            left = {entry: end - now if end else None for entry, end in ends.items() if not end or end > now}
            log.warning("the board has lost who never waits: %d written back", len(left), extra={"event": "greylist"})
            entries = await remembered.write_back(self._board, ALLOWED, self._allowed, entries.get(MARK), left)
        self._allowed = entries
        self._tell([entry for entry in entries if entry != MARK])

    async def count(self) -> None:
        """Add the counts to this hour's. Raises PortFailure."""
        if not self._counts and not self._not_shared:
            return
        now = int(await self._board.now() // 3600)
        if self._hour is None or self._hour.hour != now:
            # a node that was restarted goes on where it was
            fresh = Hour(now, self._node)
            before = await self._board.read(HOURS, fresh.key)
            self._hour = Hour.decode(fresh.key, before) if before else fresh
        hour = Hour.decode(self._hour.key, self._hour.encode())
        counts, delays, not_shared = self._counts, self._delays, self._not_shared
        self._counts, self._delays, self._not_shared = Counter(), [0] * (len(DELAYS) + 1), 0
        hour.add(counts, delays, not_shared)
        try:
            await self._board.write(HOURS, hour.key, hour.encode(), HOURS_SECONDS)
        except BaseException:
            self._counts.update(counts)
            self._delays = [own + more for own, more in zip(self._delays, delays, strict=True)]
            self._not_shared += not_shared
            raise
        self._hour = hour

    async def _compare(self) -> None:
        assert self._read is not None
        twice, strangers = 0, set()
        for line in await self._board.lines(JOURNAL, self._read, _LINES):
            self._read = line.number
            if line.value.startswith(f"{self._node} "):
                continue
            events = events_of(line, self._seal)
            if events is None:
                strangers.add(line.value.partition(" ")[0])
            twice += sum(self._is_first_twice(event) for event in events or ())
        for cause, number, nodes in (("first", twice, ""), ("secret", len(strangers), ", ".join(sorted(strangers)))):
            if not number:
                continue
            self._not_shared += number
            self._on_not_shared(cause, number)
            if cause not in self._warned:
                self._warned.add(cause)
                about = f"the secret of {nodes} is another" if nodes else "keys were first here and on another node"
                log.warning("greylisting is not shared: %s", about, extra={"event": "greylist", "cause": cause})

    def _is_first_twice(self, event: Event) -> bool:
        own = self._firsts.get(event.key)
        self._settle(event)
        return event.state == "first" and own is not None and abs(event.time - own.time) < own.window

    def _settle(self, event: Event) -> None:
        # whoever passed, came too late or was cleared may be first again
        if event.state != "early":
            self._firsts.pop(event.key, None)
