"""Work on a message's octets in a thread, so that the event loop serves others meanwhile.

The octets may be a mapped file that the transaction closes; hence a job is never left behind at its work: whoever is
cancelled asks it to stop and waits for it. One that waits for a thread is given up at once and never begins.

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
    stop, begin = threading.Event(), threading.Lock()  # begin: held by whoever came first, the job or our giving up

    def run() -> T:
        if not begin.acquire(blocking=False):
            raise asyncio.CancelledError
        return job(stop.is_set)

    running = asyncio.ensure_future(asyncio.to_thread(run))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        if begin.acquire(blocking=False):
            running.add_done_callback(_read)
        else:
            await asyncio.wait([running])
            _read(running)
        raise


def _read(ended: asyncio.Future[T]) -> None:
    if not ended.cancelled():
        ended.exception()  # so that the loop does not report the end we asked for
