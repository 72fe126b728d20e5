"""Is there memory for one more session? Asked before the greeting, so that a node says 421 instead of being killed.

Looks at the control group that the process is in (version 2, then 1), at the whole machine where there is no bound, and
at the worker's own resident octets. Page cache that can go at once does not count as used.

Known gaps: a bound of an ancestor group that is tighter than the group's own is not seen.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

AGE_SECONDS = 0.5
"""So long one look is good: a flood of connections must not cost a flood of reads."""
_UNBOUNDED = 1 << 60


@dataclass(frozen=True, slots=True)
class Memory:
    """Octets used and there, of the control group or the machine, and resident in this process."""

    used: int
    total: int
    resident: int

    @property
    def percent(self) -> float:
        """Used of total; 0 where nothing is known."""
        return 100.0 * self.used / self.total if self.total else 0.0


class Headroom:
    """The limits; 0: none. root: where proc and sys are found. clock: seconds that only grow."""

    def __init__(self, percent: int, octets: int, *, clock: Callable[[], float], root: Path = Path("/")) -> None:
        self._percent = percent
        self._octets = octets
        self._clock = clock
        self._root = root
        self._until = float("-inf")
        self._short = False

    def short(self) -> bool:
        """No more sessions now. Reads procfs and the control group's files, which are memory and never wait."""
        if not self._percent and not self._octets:
            return False
        now = self._clock()
        if now >= self._until:
            self._until = now + AGE_SECONDS
            memory = memory_now(self._root)
            self._short = bool(
                (self._percent and memory.percent > self._percent) or (self._octets and memory.resident > self._octets)
            )
        return self._short


def memory_now(root: Path = Path("/")) -> Memory:
    """How it is now. A file that is missing or reads otherwise than expected counts as not there: 0 is unknown."""
    resident = _numbers(root / "proc/self/statm")[1:2]
    pages = resident[0] * os.sysconf("SC_PAGE_SIZE") if resident else 0
    used, total = _group(root) or _machine(root)
    return Memory(used, total, pages)


def _group(root: Path) -> tuple[int, int] | None:
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        names = _V2 if not controllers else _V1 if "memory" in controllers.split(",") else None
        if names is None:
            continue
        top, bound, use, cache = names
        # inside a container the path is that of the host, and the group lies at the top
        for folder in (root / top / path.lstrip("/"), root / top):
            total, used = _numbers(folder / bound)[:1], _numbers(folder / use)[:1]
            if total and used and 0 < total[0] < _UNBOUNDED:
                return max(0, used[0] - _named(folder / "memory.stat", cache, 1)), total[0]
    return None


_V2 = ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")
_V1 = ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _machine(root: Path) -> tuple[int, int]:
    path = root / "proc/meminfo"
    total, free = _named(path, "MemTotal:", 1024), _named(path, "MemAvailable:", 1024)
    return (total - free, total) if total and free else (0, 0)


def _named(path: Path, name: str, unit: int) -> int:
    for line in _text(path).splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name and words[1].isdecimal():
            return int(words[1]) * unit
    return 0


def _numbers(path: Path) -> list[int]:
    return [int(word) for word in _text(path).split() if word.isdecimal()]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
