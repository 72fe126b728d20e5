"""Tasks that run beside the mail and that nobody waits for: one that fails says so.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

log = logging.getLogger("mxgw.node")


def beside(
    work: Coroutine[Any, Any, Any], name: str, on_failure: Callable[[], None] | None = None
) -> asyncio.Task[Any]:
    """Begin it as a task. Should it fail, that is logged under its name, and ``on_failure`` is called."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(partial(_ended, on_failure))
    return task


def _ended(on_failure: Callable[[], None] | None, task: asyncio.Task[Any]) -> None:
    if task.cancelled() or (error := task.exception()) is None:
        return
    log.error("%s has failed", task.get_name(), exc_info=error, extra={"event": "task"})
    if on_failure:
        on_failure()
