"""What a service manager (systemd) and the node tell each other: readiness, reloads, the end, and a watchdog.

One datagram a word to the socket that ``NOTIFY_SOCKET`` names (sd_notify(3)); without it nothing is said. The watchdog
is fed by a task of the event loop, and only while the workers speak too: a node that is stuck is started again.

Known gaps: a full queue of the service manager drops a word; the next one comes soon enough.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, MutableMapping
from typing import Final

log = logging.getLogger("mxgw.node")

MOST: Final = 20.0
"""Seconds between two words at most, so that the status line is not old."""
SPARE: Final = 15.0
"""Seconds beyond those of the drain after which the service manager may lose its patience."""


class ServiceManager:
    """place: path of the socket, ``@`` in front for an abstract one, '' for none. watchdog: seconds in which it wants
    to hear of us, 0 where it does not watch."""

    def __init__(self, place: str, watchdog: float = 0.0) -> None:
        self._watchdog = watchdog
        self._place = "\0" + place[1:] if place.startswith("@") else place
        self._socket: socket.socket | None = None
        if place:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> ServiceManager:
        """Takes ``NOTIFY_SOCKET`` and ``WATCHDOG_*`` out of the environment: children have no business with them."""
        place = environ.pop("NOTIFY_SOCKET", "")
        usec, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        ours = usec.isdecimal() and pid in ("", str(os.getpid()))
        return cls(place, int(usec) / 1e6 if ours else 0.0)

    def _say(self, *words: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto("\n".join(words).encode(), self._place)
        except OSError as error:
            log.debug("the service manager does not listen: %s", error)

    def ready(self, status: str) -> None:
        """All workers serve; also the end of a reload."""
        self._say("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Files are being read again; ``ready`` ends that."""
        self._say("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, seconds: float) -> None:
        """The node drains, for so many seconds at most."""
        self._say("STOPPING=1", "STATUS=draining", f"EXTEND_TIMEOUT_USEC={int((seconds + SPARE) * 1e6)}")

    async def tell(self, alive: Callable[[], bool], status: Callable[[], str]) -> None:
        """Until cancelled: how the node is, and the watchdog's food while ``alive()``."""
        while self._socket is not None:
            fed = ["WATCHDOG=1"] if self._watchdog and alive() else []
            self._say(*fed, f"STATUS={status()}")
            await asyncio.sleep(min(self._watchdog / 3, MOST) if self._watchdog else MOST)
