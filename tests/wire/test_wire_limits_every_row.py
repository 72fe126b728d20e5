"""Each row of the table of limits (docs/limits.md) over a real session: all is well at it, and one more hears its reply.

A scenario lowers the limit where a setting can, goes as far as the limit allows, and returns what it heard beyond it. A row
without a scenario fails.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from ipaddress import ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from client import RawClient, Said, connect
from house import House, house
from test_wire_limits_mime import nested, parts

from gateway.checks import CHECKS
from gateway.config.limits_section import LimitsSettings
from gateway.mail import limits
from gateway.mail.limits import WIRE_TABLE, WireLimit
from gateway.mail.reply import REPLIES
from gateway.policy.load import load_packaged
from gateway.smtp.headroom import Headroom

HEADER = b"Subject: x\r\n\r\n"
Scenario = Callable[[], Awaitable[Said]]
SCENARIOS: dict[str, Scenario] = {}


def row(what: str) -> Callable[[Scenario], Scenario]:
    def keep(scenario: Scenario) -> Scenario:
        SCENARIOS[what] = scenario
        return scenario

    return keep


async def greeted(c: RawClient) -> None:
    assert (await c.reply()).code == 220
    assert (await c.ask("EHLO client.example")).code == 250


async def message(c: RawClient, content: bytes) -> Said:
    await c.data()
    await c.send(content + b".\r\n")
    return await c.reply()


async def both(well: bytes, over: bytes, **given: Any) -> Said:
    """Two messages in one session: the first is delivered octet by octet, the second is not."""
    async with house(**given) as h, connect(h.port) as c:
        await greeted(c)
        said = await message(c, well)
        assert said.status == "250 2.0.0", said
        assert h.relay.kept == [well]
        said = await message(c, over)
        assert len(h.relay.kept) == 1
        return said


async def asked(well: bytes, over: bytes, expected: str = "250", **given: Any) -> Said:
    """Two command lines in one session."""
    async with house(**given) as h, connect(h.port) as c:
        await greeted(c)
        if well.startswith(b"RCPT"):
            assert (await c.ask("MAIL FROM:<>")).code == 250
        assert (await c.ask(well)).status.startswith(expected)
        if well.startswith(b"MAIL"):
            assert (await c.ask("RSET")).code == 250
        return await c.ask(over)


# ---- lines and addresses


@row("command line with CRLF")
async def _() -> Said:
    room = limits.COMMAND_OCTETS - len(b"NOOP \r\n")
    return await asked(b"NOOP " + b"x" * room, b"NOOP " + b"x" * (room + 1))


@row("text line with CRLF")
async def _() -> Said:
    # every octet value that may stand in a line, so that "exact" means something
    line = (bytes(set(range(256)) - {0, 10, 13}) * 300)[: limits.TEXT_LINE_OCTETS - 2]
    return await both(HEADER + line + b"\r\n", HEADER + line + b"y\r\n")


@row("local part")
async def _() -> Said:
    local = b"a" * limits.LOCAL_PART_OCTETS
    sender = await asked(b"MAIL FROM:<%b@b.example>" % local, b"MAIL FROM:<%ba@b.example>" % local)
    assert sender.status == "501 5.1.7"
    return await asked(b"RCPT TO:<%b@example.com>" % local, b"RCPT TO:<%ba@example.com>" % local)


async def addresses(well: bytes, over: bytes) -> Said:
    sender = await asked(b"MAIL FROM:<" + well + b">", b"MAIL FROM:<" + over + b">")
    assert sender.status == "501 5.1.7"
    # where relaying is refused, the address was one
    return await asked(b"RCPT TO:<" + well + b">", b"RCPT TO:<" + over + b">", expected="550 5.7.1")


@row("path with its brackets")
async def _() -> Said:
    domain = b"@" + b".".join([b"d" * 49] * 4)
    well = b"a" * (limits.PATH_OCTETS - 2 - len(domain)) + domain
    return await addresses(well, b"a" + well)


@row("domain")
async def _() -> Said:
    # inside a path it meets the path's limit first, with the same reply
    return await addresses(b"a@" + b".".join([b"d" * 62] * 4), b"a@" + b".".join([b"d" * 63] * 4))


# ---- counts of a session


@row("recipients a transaction")
async def _() -> Said:
    async with house() as h, connect(h.port) as c:
        await greeted(c)
        await c.send(b"MAIL FROM:<>\r\n")
        assert (await c.reply()).code == 250
        await c.send(b"".join(b"RCPT TO:<u%d@example.com>\r\n" % n for n in range(limits.RECIPIENTS + 1)))
        said = [(await c.reply()).status for _ in range(limits.RECIPIENTS)]
        assert set(said) == {"250 2.1.5"}
        return await c.reply()


async def seconds_of(c: RawClient, command: str) -> tuple[float, Said]:
    began = time.monotonic()
    said = await c.ask(command)
    return time.monotonic() - began, said


@row("errors before replies slow down")
async def _() -> Said:
    async with house(errors_soft=3) as h, connect(h.port) as c:
        await greeted(c)
        for _ in range(3):
            assert (await seconds_of(c, "DATA"))[0] < 0.9
        seconds, said = await seconds_of(c, "DATA")
        assert seconds > 0.9
        return said


@row("errors a session")
async def _() -> Said:
    async with house(errors_soft=1000) as h, connect(h.port) as c:
        await greeted(c)
        for _ in range(limits.ERRORS_HARD - 1):
            assert (await c.ask("DATA")).status == "503 5.5.1"
        return await last(c, await c.ask("DATA"))


async def last(c: RawClient, said: Said) -> Said:
    assert (await c.reply()).code == 0, "the connection is closed behind it"
    return said


@row("unknown commands a session")
async def _() -> Said:
    async with house() as h, connect(h.port) as c:
        await greeted(c)
        for _ in range(limits.JUNK_COMMANDS - 1):
            assert (await c.ask("XYZZY")).status == "500 5.5.2"
        return await last(c, await c.ask("XYZZY"))


@row("fruitless commands since the last MAIL")
async def _() -> Said:
    async with house() as h, connect(h.port) as c:
        await greeted(c)
        assert (await c.ask("MAIL FROM:<>")).code == 250
        lines = [b"NOOP", b"HELP", b"VRFY u", b"RSET", b"EHLO client.example"] * (limits.FRUITLESS_COMMANDS // 5)
        await c.send(b"".join(line + b"\r\n" for line in lines))
        said = [(await c.reply()).code for _ in lines]
        assert set(said) == {250, 214, 252}
        # a transaction begins the count anew
        assert (await c.ask("MAIL FROM:<>")).code == 250
        await c.send(b"NOOP\r\n" * limits.FRUITLESS_COMMANDS)
        assert {(await c.reply()).code for _ in range(limits.FRUITLESS_COMMANDS)} == {250}
        return await last(c, await c.ask("NOOP"))


@row("transactions a session")
async def _() -> Said:
    async with house() as h, connect(h.port) as c:
        await greeted(c)
        for _ in range(limits.TRANSACTIONS_PER_SESSION):
            await c.send(b"MAIL FROM:<>\r\nRSET\r\n")
            assert (await c.reply()).code == (await c.reply()).code == 250
        return await last(c, await c.ask("MAIL FROM:<>"))


@row("waits of ours a session")
async def _() -> Said:
    async with house(errors_soft=1, errors_hard=100) as h, connect(h.port) as c:
        await greeted(c)
        (session,) = h.server._sessions
        # as after nineteen slow replies
        session._door._held = limits.TARPIT_SECONDS - 1
        assert (await c.ask("DATA")).status == "503 5.5.1"
        assert (await seconds_of(c, "DATA"))[0] > 0.9
        seconds, said = await seconds_of(c, "DATA")
        assert seconds < 0.9
        return said


@row("clients of a worker that wait for us")
async def _() -> Said:
    async with house(errors_soft=1) as h, connect(h.port) as c, connect(h.port) as other:
        await greeted(c)
        await greeted(other)
        h.server.slots.free = 1
        assert (await c.ask("DATA")).status == (await other.ask("DATA")).status == "503 5.5.1"
        held = asyncio.create_task(seconds_of(c, "DATA"))
        await asyncio.sleep(0.1)
        seconds, said = await seconds_of(other, "DATA")
        assert seconds < 0.7 < (await held)[0]
        return said


# ---- content


@row("message")
async def _() -> Said:
    well = HEADER + b"y" * (10_000 - len(HEADER) - 2) + b"\r\n"
    return await both(well, well[:-2] + b"y\r\n", message_octets=10_000)


@row("header")
async def _() -> Said:
    well = (b"A: " + b"x" * 1019 + b"\r\n") * (limits.HEADER_OCTETS // 1024) + b"\r\nbody\r\n"
    return await both(well, well.replace(b"A: x", b"A: xx", 1))


@row("header lines that begin a field")
async def _() -> Said:
    fields = b"A: b\r\n c\r\n" * limits.HEADER_FIELDS
    return await both(fields + b"\r\nbody\r\n", fields + b"A: b\r\n\r\nbody\r\n")


@row("MIME depth")
async def _() -> Said:
    return await both(nested(limits.MIME_DEPTH), nested(limits.MIME_DEPTH + 1))


@row("MIME parts")
async def _() -> Said:
    return await both(parts(limits.MIME_PARTS), parts(limits.MIME_PARTS + 1))


@row("lines like a MIME delimiter")
async def _() -> Said:
    head = b"Content-Type: multipart/mixed; boundary=bb\r\n\r\n"
    return await both(head + b"--x\r\n" * limits.MIME_DELIMITERS, head + b"--x\r\n" * (limits.MIME_DELIMITERS + 1))


@row("Received fields")
async def _() -> Said:
    received = b"Received: from a.example by b.example; Mon, 2 Nov 2026 10:00:00 +0000\r\n"
    well = received * limits.RECEIVED_FIELDS + HEADER
    async with house(checks=[check for check in CHECKS if check.name == "loop"]) as h, connect(h.port) as c:
        h.policy[0] = load_packaged()
        await greeted(c)
        assert (await message(c, well)).status == "250 2.0.0"
        return await message(c, received + well)


# ---- time


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


# ---- sessions


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
    import mmap

    # 1 % is used on any machine that runs this, all but surely; else take what is missing
    block = mmap.mmap(-1, 2**20)
    try:
        return await short_of_memory(1, 0)
    finally:
        block.close()


@row("resident memory of a worker (0: any)")
async def _() -> Said:
    return await short_of_memory(0, 2**20)


EXPECTED_WORDS = {
    "the reply, a second later": "503 5.5.1",
    "the reply, without a wait": "503 5.5.1",
    "the greeting": "220",
    "the connection is closed": "0",
    "421 4.7.0 to the last": "421 4.7.0",
    "501 5.1.7 or 5.1.3": "501 5.1.3",
}
"""What stands in the table for rows whose reply is not one of the reply table."""


def test_every_row_has_a_scenario() -> None:
    assert set(SCENARIOS) == {limit.what for limit in WIRE_TABLE}


@pytest.mark.parametrize("limit", WIRE_TABLE, ids=lambda limit: limit.what.replace(" ", "-"))
async def test_at_the_limit_all_is_well_and_beyond_it_its_reply_is_heard(limit: WireLimit) -> None:
    said = await SCENARIOS[limit.what]()
    known = REPLIES.get(limit.heard)
    expected = f"{known.code} {known.enhanced}" if known else EXPECTED_WORDS.get(limit.heard, limit.heard)
    assert said.status == expected
