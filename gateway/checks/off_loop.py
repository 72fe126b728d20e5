"""Work on a message's octets in a thread, so that the event loop serves others meanwhile.

The octets may be a mapped file that the transaction closes; hence a job is never left behind: whoever is cancelled
asks it to stop and waits for it.

Known gaps: a job that does not ask ``stopped`` is waited for to its end.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

HEADER_OCTETS = 64 * 1024
"""A header of more than this leaves the loop: each signature is a pass over it."""


async def off_loop(job: Callable[[Callable[[], bool]], T]) -> T:
    """What ``job`` returns or raises. It gets a question ``stopped``: True when nobody wants its result any more."""
    stop = threading.Event()
    running = asyncio.ensure_future(asyncio.to_thread(job, stop.is_set))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # read, so that the loop does not report the end we asked for
        raise
