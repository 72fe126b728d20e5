"""Decision records on the board: the cluster's short memory of what was decided, bounded by count, age and octets.

Each node adds a line when it has gathered enough, or when ``flush`` seconds have passed: some records, compressed and
sealed with the cluster's secret, since they hold addresses. The node's log is the truth; this is for looking back.

Known gaps: what a node has gathered since its last line is lost when it is killed.
"""

from __future__ import annotations

import json
import logging
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.cluster.sealed import Seal
from gateway.ports.board import Board, Line

log = logging.getLogger("mxgw.cluster")

JOURNAL: Final = "decisions"
DECISIONS: Final = ("transaction", "reject", "session")
"""Events of the log that are decision records."""
JOURNAL_SECONDS: Final = 1.0
RECORD_OCTETS: Final = 8 * 1024
"""A longer record loses its findings, and says so."""
LINE_OCTETS: Final = 16 * 1024
MOST: Final = 100_000
"""So many records are read at a time."""
_LINE_RECORDS: Final = 100
_GATHERED: Final = 2000
_PAGE: Final = 100
_DROPPED: Final = ("level", "schema")
_FORGET_PERIOD: Final = 60.0
_LIVE_FLUSH: Final = 1.0
_PLAIN_OCTETS: Final = 1024 * 1024
_CUT: Final = 320
_RECIPIENTS: Final = 5
_JSON: Final = json.JSONEncoder(separators=(",", ":"), default=str)


def seal_of(secret: bytes) -> Seal:
    """The seal of this journal."""
    return Seal(secret, "decision journal")


def slim(record: Mapping[str, Any]) -> str:
    """A record as the journal keeps it, in JSON: without findings, and with the first recipients only, where it is too
    big. From here on nobody takes it apart until it is read."""
    kept = {key: value for key, value in record.items() if key not in _DROPPED}
    text = _JSON.encode(kept)
    if len(text) > RECORD_OCTETS:
        shown = ("time", "event", "node", "sid", "qid", "client_ip", "result", "verdict", "reason", "policy")
        kept = {**{key: kept[key] for key in shown if key in kept}, "truncated": True}
        long = {key: str(record[key])[:_CUT] for key in ("helo", "from", "msgid", "reply", "ms_reply") if key in record}
        kept |= {**long, "rcpt": [str(address)[:_CUT] for address in record.get("rcpt", ())[:_RECIPIENTS]]}
        text = _JSON.encode(kept)
    return text


@dataclass(frozen=True, slots=True)
class Page:
    """A line's records, oldest first; node: whose they are; missed: how many that node had to leave out."""

    node: str
    records: Sequence[Mapping[str, Any]]
    missed: int = 0


def line_of(node: str, records: Sequence[str], missed: int, seal: Seal) -> str:
    """A journal's line. records: of :func:`slim`."""
    said = f'{{"records":[{",".join(records)}],"missed":{missed}}}'
    return f"{node} {seal.close_octets(zlib.compress(said.encode('ascii'), 6))}"


def page_of(line: Line, seal: Seal) -> Page | None:
    """None where it cannot be read: another secret, or none of ours."""
    node, _, sealed = line.value.partition(" ")
    octets = seal.open_octets(sealed)
    if octets is None:
        return None
    try:
        said = json.loads(zlib.decompressobj().decompress(octets, _PLAIN_OCTETS).decode("utf-8", "surrogatepass"))
        return Page(node, said["records"], int(said["missed"]))
    except (zlib.error, ValueError, KeyError, TypeError) as error:
        log.warning("a line of the decision journal cannot be read: %r", error, extra={"event": "cluster"})
        return None


@dataclass(frozen=True, slots=True)
class Found:
    """records: newest first. missed: left out by nodes. strangers: nodes whose lines nobody here can read. oldest: when
    the board's oldest line was written, where it was asked for older ones; 0: it has none; None: it reaches further."""

    records: Sequence[Mapping[str, Any]]
    missed: int
    strangers: frozenset[str]
    oldest: float | None = None


async def decisions(
    board: Board,
    seal: Seal,
    since: float = 0.0,
    most: int = MOST,
    wanted: Callable[[Mapping[str, Any]], bool] = lambda _record: True,
) -> Found:
    """The wanted records of lines not older than ``since`` (seconds since 1970), at most so many. Raises
    PortFailure."""
    records: list[Mapping[str, Any]] = []
    strangers: set[str] = set()
    missed, before, oldest = 0, "", 0.0
    while len(records) < most and (lines := await board.latest(JOURNAL, _PAGE, before)):
        before, oldest = lines[-1].number, lines[-1].time
        for line in lines:
            if line.time < since:
                return Found(records[:most], missed, frozenset(strangers))
            page = page_of(line, seal)
            if page is None:
                strangers.add(line.value.partition(" ")[0])
                continue
            missed += page.missed
            records += [record for record in reversed(page.records) if wanted(record)]
    return Found(records[:most], missed, frozenset(strangers), None if len(records) >= most else oldest)


class DecisionDuty:
    """A node's part. lines: how many stay on the board, 0: nothing is kept. seconds: how long. flush: seconds after
    which few records make a line too. live: whether somebody watches, so that lines are made each second. Where too
    much has gathered, the oldest records go, and are counted."""

    def __init__(
        self,
        board: Board,
        seal: Seal,
        node: str,
        lines: int,
        seconds: float,
        flush: float,
        live: Callable[[], bool] = lambda: False,
    ) -> None:
        self._board = board
        self._seal = seal
        self._node = node
        self._lines = lines
        self._seconds = seconds
        self._flush = flush
        self._live = live
        self._gathered: list[str] = []
        self._missed = 0
        self._written = self._forgotten = time.monotonic()

    def hear(self, data: Mapping[str, Any]) -> None:
        """What a worker has decided."""
        if not self._lines:
            return
        self._missed += int(data["missed"])
        self._gathered += data["records"]
        self._trim()

    def _trim(self) -> None:
        if (surplus := len(self._gathered) - _GATHERED) > 0:
            del self._gathered[:surplus]
            self._missed += surplus

    async def turn(self) -> None:
        """Write what is due. Raises PortFailure."""
        while len(self._gathered) >= _LINE_RECORDS:
            await self._write()
        if time.monotonic() - self._written >= (_LIVE_FLUSH if self._live() else self._flush):
            await self.leave()
        if self._lines and time.monotonic() - self._forgotten >= _FORGET_PERIOD:
            self._forgotten = time.monotonic()
            await self._board.forget(JOURNAL, await self._board.now() - self._seconds)

    async def leave(self) -> None:
        """Write all. Raises PortFailure."""
        while self._gathered or self._missed:
            await self._write()
        self._written = time.monotonic()

    async def _write(self) -> None:
        count = min(len(self._gathered), _LINE_RECORDS)
        while True:
            line = line_of(self._node, self._gathered[:count], self._missed, self._seal)
            if len(line) <= LINE_OCTETS or count <= 1:
                break
            count //= 2
        # more is heard while this is written
        records, missed = self._gathered[:count], self._missed
        self._gathered, self._missed = self._gathered[count:], 0
        try:
            await self._board.append(JOURNAL, line, self._lines, self._seconds)
        except BaseException:
            self._gathered[:0] = records
            self._missed += missed
            self._trim()
            raise
        self._written = time.monotonic()


class Gatherer:
    """In a worker: records for the supervisor. most: so many between two takes; of more the oldest go."""

    def __init__(self, most: int = 200) -> None:
        self._records: deque[str] = deque(maxlen=most)
        self._missed = 0

    def note(self, record: Mapping[str, Any]) -> None:
        """A decision record; other log lines are let be."""
        if record.get("event") not in DECISIONS or "verdict" not in record:
            return
        self._missed += len(self._records) == self._records.maxlen
        self._records.append(slim(record))

    def take(self) -> dict[str, Any] | None:
        """For :meth:`DecisionDuty.hear`; None: nothing."""
        if not self._records and not self._missed:
            return None
        taken = {"records": list(self._records), "missed": self._missed}
        self._records.clear()
        self._missed = 0
        return taken


class NotALogError(Exception):
    """No line of it is a node's JSON."""


def from_log(lines: Iterable[str]) -> Iterable[Mapping[str, Any]]:
    """The decision records among the lines of a node's JSON log. At its end NotALogError, where no line was JSON."""
    strange = known = False
    for line in lines:
        try:
            said = json.loads(line)
        except ValueError:
            strange = strange or bool(line.strip())
            continue  # a line for people, or one that is cut
        known = True
        if isinstance(said, dict) and said.get("event") in DECISIONS and "verdict" in said:
            yield said
    if strange and not known:
        raise NotALogError
