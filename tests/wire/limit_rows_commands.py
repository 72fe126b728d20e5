"""Limits of lines and addresses, and of what a session may count up to."""

from __future__ import annotations

import asyncio

from client import Said, connect
from house import house
from limit_rows import HEADER, asked, both, greeted, last, row, seconds_of

from gateway.mail import limits

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
