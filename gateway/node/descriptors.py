"""Room for sessions among the file descriptors that the system gives a process.

Above the soft limit accept() fails, and a listener that cannot accept is deaf: no 421, no drain, no health. So a worker
takes what the hard limit allows, and where that is too little it refuses sessions earlier instead.

Known gaps: the system-wide limit (fs.file-max) is not looked at.
"""

from __future__ import annotations

import logging
import resource
from typing import Final

log = logging.getLogger("mxgw.node")

OF_A_SESSION: Final = 2
"""The client's connection, and one of: a spooled content, a mailstore's connection."""
OF_A_WORKER: Final = 512
"""Listeners, stores, resolvers, logs, modules, and connections that are just being refused."""


def make_room(sessions: int) -> int:
    """Raise the soft limit as far as so many sessions of this process need it. Returns how many there is room for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = sessions * OF_A_SESSION + OF_A_WORKER
    if soft != resource.RLIM_INFINITY and soft < need:
        soft = need if hard == resource.RLIM_INFINITY else min(need, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= need:
        return sessions
    room = max(1, (soft - OF_A_WORKER) // OF_A_SESSION)
    log.warning("only %d file descriptors: %d sessions in place of %d", soft, room, sessions)
    return room
