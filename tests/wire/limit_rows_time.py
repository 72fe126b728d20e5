"""Limits of time."""

from __future__ import annotations

import asyncio
import time
from ipaddress import ip_network
from pathlib import Path
from tempfile import TemporaryDirectory

from client import RawClient, Said, connect
from house import House, house
from limit_rows import HEADER, greeted, last, row

from gateway.mail import limits


@row("silence between commands")
async def _() -> Said:
    async with house(command_timeout=0.6) as h, connect(h.port) as c:
        await greeted(c)
        await asyncio.sleep(0.2)
        assert (await c.ask("NOOP")).code == 250
        return await last(c, await c.reply())


@row("silence between commands when a worker is full")
async def _() -> Said:
    async with house(sessions=2) as h, connect(h.port) as c, connect(h.port) as other:
        await greeted(c)
        await greeted(other)
        # within the time nobody has to go; refused ones leave no trace
        async with connect(h.port) as late:
            assert (await last(late, await late.reply())).status == "421 4.3.2"
        h.server.idle._since = {s: since - limits.COMMAND_TIMEOUT_CROWDED for s, since in h.server.idle._since.items()}
        assert (await c.ask("NOOP")).code == 250
        async with connect(h.port) as late:
            assert (await late.reply()).code == 220
            said = await last(other, await other.reply())
            assert (await c.ask("NOOP")).code == (await late.ask("NOOP")).code == 250
        return said


@row("silence inside content")
async def _() -> Said:
    async with house(data_idle_timeout=0.6) as h, connect(h.port) as c:
        await c.envelope()
        await c.send(HEADER)
        await asyncio.sleep(0.2)
        await c.send(b"x\r\n")
        return await last(c, await c.reply())


@row("a session in all")
async def _() -> Said:
    async with house(session_timeout=0.6) as h, connect(h.port) as c:
        await greeted(c)
        for _ in range(200):
            await asyncio.sleep(0.05)
            said = await c.ask("NOOP")
            if said.code != 250:
                break
        return await last(c, said)


async def dripped(h: House, c: RawClient) -> Said:
    await c.envelope()
    answer = asyncio.create_task(c.reply())
    for _ in range(400):
        if answer.done():
            break
        await c.send(b"x")
        await asyncio.sleep(0.05)
    return await last(c, await answer)


@row("least rate of content")
async def _() -> Said:
    async with house(data_rate=200, data_rate_window=1.0) as h, connect(h.port) as c:
        return await dripped(h, c)


@row("window of that rate")
async def _() -> Said:
    async with house(data_rate=200, data_rate_window=1.0) as h, connect(h.port) as c:
        await c.envelope()
        # all at once and then silence: as good as a steady flow, but only inside the window
        began = time.monotonic()
        await c.send(b"x" * 200)
        said = await c.reply()
        assert time.monotonic() - began > 0.9
        return await last(c, said)


@row("a PROXY header")
async def _() -> Said:
    async with house(proxy_trusted=[ip_network("127.0.0.0/8")], proxy_header_timeout=0.4) as h, connect(h.port) as c:
        await c.send(b"PROXY TCP4 192.0.2.7")
        return await last(c, await c.reply())


@row("the wait before the greeting")
async def _() -> Said:
    # strangers, told by a balancer: a client of the loopback interface never waits
    header = b"PROXY TCP4 198.51.100.7 198.51.100.1 5000 25\r\n"
    async with house(proxy_trusted=[ip_network("127.0.0.0/8")], greeting_delay=0.6) as h:
        took = []
        for _ in range(2):
            async with connect(h.port) as c:
                began = time.monotonic()
                await c.send(header)
                said = await c.reply()
                took.append(time.monotonic() - began)
        assert took[1] < 0.5 < took[0], "who waited once is known"
        return said


@row("a TLS handshake")
async def _() -> Said:
    with TemporaryDirectory() as folder:
        async with house(tls=Path(folder)) as h, connect(h.port) as c:
            await greeted(c)
            assert (await c.ask("STARTTLS")).code == 220
            c.seconds = 1e6
            loop, hurried = asyncio.get_running_loop(), 0.0
            time_of_loop = loop.time
            # half a minute that passes at once, for every timer of this loop
            loop.time = lambda: time_of_loop() + hurried  # type: ignore[method-assign]
            hurried = limits.TLS_HANDSHAKE_TIMEOUT - 5
            await asyncio.sleep(0.2)
            assert h.server.sessions == 1
            hurried = limits.TLS_HANDSHAKE_TIMEOUT + 1
            return await c.reply()
