"""Do all nodes decide alike? A recorded set is replayed on each node, with its own policy and version, and compared.

Each node does so once a day, when its policy or the set changes, and when an operator asks (``mxgw cluster verify``);
so a backup MX that sees no mail shows what it would do. Place ``verify``: the operator's set, sealed, and the last
order. Place ``verify-said``: of each node the digest of every verdict. A difference that lasts is an alarm of every
node that sees it.

Known gaps: what only a live resolver, store or mailstore shows is not compared: recordings bring their answers along.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import secrets
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gateway.cluster.membership import NODES
from gateway.cluster.sealed import Seal
from gateway.ports.board import Board

log = logging.getLogger("mxgw.cluster")

PLACE: Final = "verify"
SAID: Final = "verify-said"
VERIFY_SECONDS: Final = 1.0
DAILY: Final = 86400.0
SET_OCTETS: Final = 1024 * 1024
_PLAIN_OCTETS: Final = 64 * 1024 * 1024
_KEPT: Final = 3 * DAILY
_ORDER: Final = "order"
_SET: Final = "set"
_SHOWN: Final = 5
_SETTLE: Final = 20.0
_LOOK: Final = 10
"""Turns from one look at the others to the next, while all are alike."""


def seal_of(secret: bytes) -> Seal:
    """The seal of the set."""
    return Seal(secret, "verify set")


@dataclass(frozen=True, slots=True)
class Run:
    """What a node's replay gave. digests: of each recording's verdict, by its id. faults: what it could not replay."""

    set_digest: str
    policy: str
    version: str
    digests: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeSaid:
    """A node's last run, the order that it answers ('' for a daily one) and its time by the board's clock."""

    order: str
    at: float
    run: Run

    def encode(self) -> str:
        """As it stands on the board."""
        run = self.run
        said = {"order": self.order, "at": self.at, "set": run.set_digest, "policy": run.policy}
        more = {"version": run.version, "digests": dict(run.digests), "faults": list(run.faults)}
        return json.dumps({**said, **more}, separators=(",", ":"))

    @classmethod
    def decode(cls, text: str) -> NodeSaid:
        """From the board. Raises ValueError."""
        try:
            said = json.loads(text)
            run = Run(said["set"], said["policy"], said["version"], said["digests"], tuple(said["faults"]))
            return cls(said["order"], float(said["at"]), run)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a node's word: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Comparison:
    """odd: node -> ids of the recordings that it decides otherwise than most, or cannot replay. silent: live nodes
    without a word on the set."""

    said: Mapping[str, NodeSaid]
    odd: Mapping[str, tuple[str, ...]]
    silent: tuple[str, ...] = ()

    @property
    def mismatches(self) -> int:
        """How many recordings are not decided alike by all nodes."""
        return len({ident for ids in self.odd.values() for ident in ids})


def compare(said: Mapping[str, NodeSaid], set_digest: str, live: frozenset[str]) -> Comparison:
    """Of all nodes that have replayed that set. Of two halves the one that is more like the node first in the alphabet
    counts as right."""
    same = {node: one for node, one in sorted(said.items()) if one.run.set_digest == set_digest}
    odd: dict[str, tuple[str, ...]] = {}
    idents = sorted({ident for one in same.values() for ident in one.run.digests})
    for ident in idents:
        found = [one.run.digests.get(ident, "") for one in same.values()]
        usual = Counter(found).most_common(1)[0][0]
        for node, one in same.items():
            if one.run.digests.get(ident, "") != usual:
                odd[node] = (*odd.get(node, ()), ident)
    for node, one in same.items():
        if one.run.faults and node not in odd:
            odd[node] = tuple(one.run.faults[:_SHOWN])
    return Comparison(same, odd, tuple(sorted(live - same.keys())))


async def put_set(board: Board, seal: Seal, text: str) -> None:
    """The set that all nodes replay from now on. Raises PortFailure; ValueError where it is too big."""
    sealed = seal.close_octets(zlib.compress(text.encode(), 9))
    if len(sealed) > SET_OCTETS:
        raise ValueError(f"the set is larger than {SET_OCTETS} octets, compressed")
    # the text first: who reads its name finds it
    await board.write(f"{PLACE}-set", _SET, sealed)
    await board.write(PLACE, _SET, digest_of(text))


async def drop_set(board: Board) -> None:
    """Back to the set that comes with the product. Raises PortFailure."""
    await board.erase(PLACE, _SET)
    await board.erase(f"{PLACE}-set", _SET)


async def give_order(board: Board) -> str:
    """All nodes are to replay now; the order's id. Raises PortFailure."""
    ident = secrets.token_hex(8)
    await board.write(PLACE, _ORDER, ident, _KEPT)
    return ident


async def words(board: Board) -> dict[str, NodeSaid]:
    """What the nodes said last. Raises PortFailure."""
    found = {}
    for node, text in (await board.entries(SAID)).items():
        try:
            found[node] = NodeSaid.decode(text)
        except ValueError as error:
            log.warning("%s: %s", node, error, extra={"event": "verify"})
    return found


async def live_nodes(board: Board) -> frozenset[str]:
    """Those with a heartbeat. Raises PortFailure."""
    return frozenset(await board.entries(NODES))


Replay = Callable[[str | None], Awaitable[Run]]
"""Replays a set with the node's policy in force; None: the set that comes with the product."""


class VerifyDuty:
    """A node's part. policy: digest of the one in force. on_result: gets the number of recordings that nodes decide
    differently."""

    def __init__(
        self,
        board: Board,
        seal: Seal,
        node: str,
        replay: Replay,
        policy: Callable[[], str],
        on_result: Callable[[int], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._board = board
        self._seal = seal
        self._node = node
        self._replay = replay
        self._policy = policy
        self._on_result = on_result
        self._done: tuple[str, str, str] | None = None
        self._said: NodeSaid | None = None
        self._doubt = 0
        self._turns = 0
        self._monotonic = monotonic
        self._ran = monotonic()
        self._old: str | None = None
        self._alarmed = 0

    async def turn(self) -> None:
        """Replay when it is due, then look at the others. Raises PortFailure."""
        asked = await self._board.entries(PLACE)
        order, wanted = asked.get(_ORDER, ""), asked.get(_SET, "")
        due, now = (order, wanted, self._policy()), self._monotonic()
        self._turns += 1
        if self._old is None:
            self._old = order
        if self._said is None and order == self._old and now - self._ran < _SETTLE:
            # a node that has just started has other work; only an operator who asks now is answered at once
            return
        if self._said is None or self._done != due or now - self._ran >= DAILY:
            sealed = await self._board.read(f"{PLACE}-set", _SET) if wanted else None
            text = self._opened(sealed or "") if wanted else None
            run = await self._replay(text)
            if text == "":
                run = replace(run, set_digest=wanted, faults=("the set cannot be read; is the secret another one?",))
            self._ran = now
            self._said, self._done = NodeSaid(order, round(await self._board.now(), 3), run), due
            await self._board.write(SAID, self._node, self._said.encode(), _KEPT)
            for fault in run.faults[:_SHOWN]:
                log.error("verify: %s", fault, extra={"event": "verify"})
        elif not self._doubt and self._turns % _LOOK:
            return
        self._judge(compare(await words(self._board), self._said.run.set_digest, await live_nodes(self._board)))

    def _opened(self, sealed: str) -> str:
        try:
            octets = self._seal.open_octets(sealed) or b""
            return zlib.decompressobj().decompress(octets, _PLAIN_OCTETS).decode()
        except (zlib.error, UnicodeDecodeError) as error:
            log.warning("verify: the set cannot be read: %s", error, extra={"event": "verify"})
            return ""

    def _judge(self, found: Comparison) -> None:
        # nodes switch to a policy and replay it within some seconds of each other: a difference must last
        self._doubt = self._doubt + 1 if found.mismatches else 0
        count = found.mismatches if self._doubt > 4 else 0
        self._on_result(count)
        if count and count != self._alarmed:
            odd = {node: list(ids[:_SHOWN]) for node, ids in found.odd.items()}
            log.error("nodes decide %d recordings differently", count, extra={"event": "verify", "odd": odd})
        elif self._alarmed and not count:
            log.info("all nodes decide alike again", extra={"event": "verify"})
        self._alarmed = count


def digest_of(text: str) -> str:
    """A short name for a set."""
    return base64.b32encode(hashlib.sha256(text.encode()).digest()[:5]).decode().lower()


def run_json(said: NodeSaid) -> dict[str, Any]:
    """For programs."""
    run = said.run
    return {
        "at": said.at,
        "policy": run.policy,
        "version": run.version,
        "replayed": len(run.digests),
        "faults": list(run.faults),
    }
