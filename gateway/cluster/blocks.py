"""Emergency blocks: on the board for all nodes, in each worker as a table, on each node's disk for bad days.

An operator writes to the board; each node's supervisor reads it about once a second and tells its workers. While the
board is away the last word stays in force and its expiries are honoured. Where the board has forgotten everything (a
store that came back empty) the nodes write back what they know.

Known gaps: a node that starts for the first time while the board is away knows no blocks.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Final

from gateway.cluster import remembered
from gateway.cluster.kept_file import replace_text
from gateway.cluster.remembered import MARK
from gateway.mail.address import AddressError, parse_domain, parse_mailbox
from gateway.ports.blocks import Block
from gateway.ports.board import Board
from gateway.ports.clock import Clock

log = logging.getLogger("mxgw.cluster")

PLACE: Final = "blocks"
PERIOD: Final = 1.0
MOST: Final = 10_000
_AHEAD_STEP: Final = 0.5


def parse_what(text: str) -> str:
    """What is to be blocked, as the board's key: an address or a network, a domain or a mailbox. Raises ValueError."""
    try:
        return str(ip_network(text.strip().strip("[]"), strict=False))
    except ValueError:
        if "/" in text or text.replace(".", "").isdecimal() or ":" in text:
            raise
    try:
        return str(parse_mailbox(text)).lower() if "@" in text else parse_domain(text)
    except AddressError as error:
        raise ValueError(f"{text}: {error}") from error


async def put(board: Board, block: Block, seconds: float) -> Block:
    """Block for so many seconds from now by the board's clock; an earlier one of the same is replaced. Returns it as it
    is in force. Raises PortFailure, ValueError where there are too many."""
    now = await board.now()
    present = await board.entries(PLACE)
    if len(present) > MOST and block.what not in present:
        raise ValueError(f"more than {MOST} blocks: use networks, or rules of the policy")
    block = replace(block, since=round(now, 3), until=round(now + seconds, 3))
    await remembered.put(board, PLACE, block.what, _encode(block), seconds)
    return block


async def take(board: Board, what: str) -> bool:
    """Lift it. Returns whether there was one. Raises PortFailure."""
    if await board.read(PLACE, what) is None:
        return False
    await board.erase(PLACE, what)
    return True


async def listed(board: Board) -> tuple[Block, ...]:
    """All, sorted by what is blocked. Raises PortFailure."""
    return _decode(await board.entries(PLACE))


def _encode(block: Block) -> str:
    said = {key: value for key, value in asdict(block).items() if key != "what"}
    return json.dumps(said, separators=(",", ":"), ensure_ascii=False)


def _decode(entries: Mapping[str, str]) -> tuple[Block, ...]:
    found = []
    for what, value in entries.items():
        if what == MARK:
            continue
        try:
            found.append(Block(what, **json.loads(value)))
        except (TypeError, ValueError) as error:
            # one that a newer version wrote must not take the others out of force
            log.warning("block %s cannot be read: %s", what, error, extra={"event": "block"})
    return tuple(found)


class BlockTable:
    """``ports.blocks.Blocks``: what this process was told last. clock: None, where nothing runs out."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock
        self._ahead = 0.0
        self._networks: dict[tuple[int, int], dict[IPv4Network | IPv6Network, Block]] = {}
        self._names: dict[str, Block] = {}

    def told(self, said: Mapping[str, Any]) -> None:
        """Take the place of all before. said: as :class:`BlockWatch` tells it."""
        self._ahead = said["ahead"]
        self.fill(Block(**block) for block in said["blocks"])

    def fill(self, blocks: Iterable[Block]) -> None:
        """These and no others."""
        networks: dict[tuple[int, int], dict[IPv4Network | IPv6Network, Block]] = {}
        names: dict[str, Block] = {}
        for block in blocks:
            try:
                network = ip_network(block.what)
            except ValueError:
                names[block.what] = block
            else:
                networks.setdefault((network.version, network.prefixlen), {})[network] = block
        # the narrowest first: it is the one that was meant
        self._networks = dict(sorted(networks.items(), reverse=True))
        self._names = names

    def of_client(self, client: IPv4Address | IPv6Address) -> Block | None:
        """The narrowest that holds the address and has not run out."""
        for (version, prefix), blocks in self._networks.items():
            if version != client.version:
                continue
            if (hit := blocks.get(ip_network((client, prefix), strict=False))) and self._holds(hit):
                return hit
        return None

    def of_names(self, domains: Sequence[str], addresses: Sequence[str] = ()) -> Block | None:
        """The first that has not run out."""
        if not self._names:
            return None
        for name in (*addresses, *(above for domain in domains for above in _and_above(domain))):
            if (hit := self._names.get(name)) and self._holds(hit):
                return hit
        return None

    def _holds(self, block: Block) -> bool:
        return self._clock is None or block.until > self._clock.now() + self._ahead


def _and_above(domain: str) -> list[str]:
    labels = domain.lower().split(".")
    return [".".join(labels[n:]) for n in range(len(labels))]


class BlockWatch:
    """A node's duty: reads the board, tells the workers by ``tell`` at each change, keeps a copy in ``file``."""

    def __init__(self, board: Board, clock: Clock, tell: Callable[[Mapping[str, Any]], None], file: Path) -> None:
        self._board = board
        self._clock = clock
        self._tell = tell
        self._file = file
        self._ahead = 0.0
        self._known: dict[str, str] = {}

    def start(self) -> None:
        """Tell what the last run of this node knew. Reads a small file; one that cannot be read is no reason not to
        start."""
        try:
            kept = json.loads(self._file.read_text(encoding="utf-8"))
            self._ahead, self._known = float(kept["ahead"]), {str(k): str(v) for k, v in kept["blocks"].items()}
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("%s cannot be read: %s", self._file, error, extra={"event": "block"})
            return
        self._say()

    async def turn(self) -> None:
        """One look at the board. Raises PortFailure."""
        entries = dict(await self._board.entries(PLACE))
        now = await self._board.now()
        if remembered.is_lost(self._known, entries):
            entries = await self._write_back(now, entries.get(MARK))
        ahead = now - self._clock.now()
        moved = abs(ahead - self._ahead) > _AHEAD_STEP
        if moved:
            self._ahead = round(ahead, 3)
        if entries == self._known and not moved:
            return
        before, self._known = self._known, entries
        self._say()
        if entries != before:
            for what in sorted((entries.keys() ^ before.keys()) - {MARK}):
                state = "in force" if what in entries else "lifted or run out"
                log.info("block of %s: %s", what, state, extra={"event": "block", "what": what, "state": state})
            await asyncio.to_thread(self._keep)

    async def _write_back(self, now: float, mark: str | None) -> dict[str, str]:
        left = {block.what: block.until - now for block in _decode(self._known) if block.until > now}
        log.warning("the board has lost the blocks: %d written back", len(left), extra={"event": "block"})
        return await remembered.write_back(self._board, PLACE, self._known, mark, left)

    def _say(self) -> None:
        self._tell({"ahead": self._ahead, "blocks": [asdict(block) for block in _decode(self._known)]})

    def _keep(self) -> None:
        try:
            replace_text(self._file, json.dumps({"ahead": self._ahead, "blocks": self._known}, ensure_ascii=False))
        except OSError as error:
            log.warning("%s cannot be written: %s", self._file, error, extra={"event": "block"})
