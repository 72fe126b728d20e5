"""A file of recordings that never grows beyond its bound, written by all workers of a node, off the event loop.

JSON lines, mode 0600. A full file becomes ``FILE.1``, in place of the one before. Each file holds the texts of the
policies that its recordings name.

Known gaps: two workers may both write a policy's line; readers take either.
"""

from __future__ import annotations

import fcntl
import logging
import os
import queue
import threading
from pathlib import Path
from typing import Final

log = logging.getLogger("mxgw.journal")

_WAITING: Final = 1000


class JournalFile:
    """octets: the size at which the file counts as full. dropped: lines that found no room in the queue."""

    def __init__(self, path: Path, octets: int) -> None:
        self.dropped = 0
        self._path = path
        self._octets = octets
        self._queue: queue.SimpleQueue[tuple[str, str, str] | None] = queue.SimpleQueue()
        self._inode = 0
        self._policies: set[str] = set()
        self._broken = False
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def write(self, line: str, digest: str, policy: str) -> None:
        """Add a recording; policy: the line of that digest's policy, for a file that does not have it. At once."""
        if self._queue.qsize() >= _WAITING:
            self.dropped += 1
            return
        self._queue.put((line, digest, policy))

    def close(self, timeout: float = 2.0) -> None:
        """Write what is queued."""
        self._queue.put(None)
        self._thread.join(timeout)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                self._put(*item)
                self._broken = False
            except OSError as error:
                self.dropped += 1
                if not self._broken:
                    log.error("recordings are lost: %s", error, extra={"event": "journal"})
                self._broken = True

    def _put(self, line: str, digest: str, policy: str) -> None:
        descriptor = self._open()
        try:
            if os.fstat(descriptor).st_size >= self._octets:
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
                os.close(descriptor)
                descriptor = self._open()
            inode = os.fstat(descriptor).st_ino
            if inode != self._inode:
                self._inode, self._policies = inode, set()
            lines = [line] if digest in self._policies else [policy, line]
            left = memoryview("".join(f"{one}\n" for one in lines).encode("ascii"))
            while left:
                left = left[os.write(descriptor, left) :]
            self._policies.add(digest)
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        """The file, locked, and still the one of that name."""
        while True:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                if self._path.stat().st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
            except FileNotFoundError:
                pass  # another worker has just moved it away
            os.close(descriptor)
