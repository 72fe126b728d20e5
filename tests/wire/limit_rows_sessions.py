"""Limits of sessions and memory."""

from __future__ import annotations

import mmap
import time
from contextlib import AsyncExitStack
from typing import Any

from client import Said, connect
from house import house
from limit_rows import greeted, last, row

from gateway.config.limits_section import LimitsSettings
from gateway.mail import limits
from gateway.smtp.headroom import Headroom


async def crowded(allowed: int, **given: Any) -> Said:
    async with house(**given) as h, AsyncExitStack() as stack:
        for _ in range(allowed):
            assert (await (await stack.enter_async_context(connect(h.port))).reply()).code == 220
        async with connect(h.port) as late:
            return await last(late, await late.reply())


@row("sessions of a client a worker")
async def _() -> Said:
    return await crowded(limits.SESSIONS_PER_CLIENT)


@row("sessions of a /24 or /64 a worker")
async def _() -> Said:
    return await crowded(limits.SESSIONS_PER_NETWORK, sessions_per_client=10**6)


@row("sessions a worker")
async def _() -> Said:
    return await crowded(7, sessions=7)


@row("sessions a node (0: what its workers take)")
async def _() -> Said:
    wire = LimitsSettings.model_validate({"sessions_per_node": 12}).wire(workers=3)
    return await crowded(4, sessions=wire.sessions)


async def short_of_memory(percent: int, octets: int) -> Said:
    async with house(memory_percent=0) as h, connect(h.port) as c:
        await greeted(c)
        h.server._headroom = Headroom(percent, octets, clock=time.monotonic)
        async with connect(h.port) as late:
            said = await last(late, await late.reply())
        assert (await c.ask("NOOP")).code == 250, "open sessions go on"
        return said


@row("used memory of the control group or the machine")
async def _() -> Said:
    # 1 % is used on any machine that runs this, all but surely; else take what is missing
    block = mmap.mmap(-1, 2**20)
    try:
        return await short_of_memory(1, 0)
    finally:
        block.close()


@row("resident memory of a worker (0: any)")
async def _() -> Said:
    return await short_of_memory(0, 2**20)
