"""The files in which the processes of a node count (prometheus_client's multiprocess mode): their sum, and their end.

Each process has files of its own, and all of them are read for each sum. Those of a process that is gone become part of
one pair of files, or a node whose workers come and go would have ever more to read.

Known gaps: none.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path


class MetricFiles:
    """The files in ``folder``. For the process that adds up, and for any of its threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def gone(self, pid: int) -> None:
        """The process has ended: its gauges count no more, its counters and histograms stay in the sum."""
        from prometheus_client.mmap_dict import MmapedDict
        from prometheus_client.multiprocess import mark_process_dead

        with self._lock:
            mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]
            for kind in ("counter", "histogram"):
                file = self._folder / f"{kind}_{pid}.db"
                if not file.exists():
                    continue
                kept = MmapedDict(str(self._folder / f"{kind}_gone.db"))  # type: ignore[no-untyped-call]
                try:
                    for key, value in _values(file):
                        before, when = kept.read_value(key)  # type: ignore[no-untyped-call]
                        kept.write_value(key, before + value, when)  # type: ignore[no-untyped-call]
                finally:
                    kept.close()  # type: ignore[no-untyped-call]
                file.unlink()

    def text(self) -> bytes:
        """The sum in Prometheus's text format. Reads files: not for the event loop."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(self._folder))  # type: ignore[no-untyped-call]
        with self._lock:
            return generate_latest(registry)


def _values(file: Path) -> Iterator[tuple[str, float]]:
    from prometheus_client.mmap_dict import MmapedDict

    for key, value, _when, _position in MmapedDict.read_all_values_from_file(str(file)):  # type: ignore[no-untyped-call]
        yield key, value
