"""A balancer's health check: answered, and never counted as a client.

It is greeted when it waits for that, gets 250 to HELO or EHLO at once, and may say NOOP, RSET and QUIT. MAIL shows that
it is no probe but a client whose balancer sends no PROXY header: it is refused for now, and the record says so. A
header that answers our 220 shows that it is a client: some balancers send it with the client's first octets (AWS).

Known gaps: STARTTLS is not offered to probes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.mail.advertised import greeting
from gateway.mail.reply import Reply
from gateway.smtp.identify import Probe
from gateway.smtp.proxy import begins_header
from gateway.smtp.wire import ClientLost, IdleTimeout, Wire

HEADER: Final = "header"
"""It is no probe: a header has come, though late."""
PROBE_SECONDS: Final = 30.0
PROBE_COMMANDS: Final = 20
_GOING: Final = Reply(421, "4.3.2", "Service is shutting down", close=True)
"""Takes a node that drains out of its balancer's pool."""

Send = Callable[[Reply], Awaitable[None]]


async def answer_probe(wire: Wire, send: Send, probe: Probe, hostname: str, draining: Callable[[], bool]) -> str | None:
    """Talk until it ends. Returns the observer's word for the end, HEADER where a peer that was silent answers our 220
    with a header (it is not read yet), or None where the peer begins a mail transaction and has to be refused. Raises
    ClientLost, also where nothing more comes."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PROBE_SECONDS
    if draining():
        await send(_GOING)
        return "drained"
    if probe.greet_after is not None:
        if not wire.buffer and probe.greet_after > 0:
            try:
                await wire.more(loop.time() + probe.greet_after)
            except IdleTimeout:
                pass
        if not wire.buffer:
            await send(Reply(220, "", greeting(hostname)))
    while not wire.buffer and not draining():
        await _more(wire, deadline)
    if probe.greet_after == 0 and begins_header(wire.buffer):
        return HEADER
    for _ in range(PROBE_COMMANDS):
        while (line := wire.command()) is None and not draining():
            await _more(wire, deadline)
        if draining():
            await send(_GOING)
            return "drained"
        verb = line.split(b" ")[0].upper() if isinstance(line, bytes) else b"?"
        if verb in (b"HELO", b"EHLO"):
            await send(Reply(250, "", hostname))
        elif verb in (b"NOOP", b"RSET"):
            await send(Reply(250, "2.0.0", "Ok"))
        elif verb == b"QUIT":
            await send(Reply(221, "2.0.0", "Bye", close=True))
            return "quit"
        elif verb == b"MAIL":
            return None
        else:
            await send(Reply(502, "5.5.1", "A probe may say NOOP, RSET and QUIT"))
    return "refused"


async def _more(wire: Wire, deadline: float) -> None:
    try:
        await wire.more(deadline)
    except IdleTimeout as silent:
        raise ClientLost from silent
