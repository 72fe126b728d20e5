"""PRDR and LIMITS on the wire."""

from __future__ import annotations

from client import connect
from house import house


async def test_ehlo_offers_what_the_session_honours() -> None:
    async with house(recipients=7, transactions=3) as h, connect(h.port) as c:
        await c.reply()
        said = await c.ask("EHLO client.example")
        assert set(said.texts[1:]) == {
            "PIPELINING",
            "SIZE 52428800",
            "8BITMIME",
            "SMTPUTF8",
            "ENHANCEDSTATUSCODES",
            "CHUNKING",
            "DSN",
            "PRDR",
            "LIMITS MAILMAX=3 RCPTMAX=7",
        }
        # RFC 9422: what is beyond the limit is refused as it says
        for _ in range(3):
            assert (await c.ask("MAIL FROM:<a@sender.example>")).code == 250
            assert (await c.ask("RSET")).code == 250
        assert (await c.ask("MAIL FROM:<a@sender.example>")).code == 421


async def test_replies_come_in_the_order_of_rcpt_by_data_and_by_bdat() -> None:
    async with house() as h, connect(h.port) as c:
        await c.reply()
        await c.ask("EHLO client.example")
        for verb in (b"DATA\r\nSubject: x\r\n\r\n.\r\n", b"BDAT 14 LAST\r\nSubject: x\r\n\r\n"):
            await c.send(b"MAIL FROM:<a@sender.example> PRDR\r\n")
            for user in (b"b", b"a", b"c"):
                await c.send(b"RCPT TO:<" + user + b"@example.com>\r\n")
            await c.send(verb)
            codes = [(await c.reply()).code for _ in range(10 if verb.startswith(b"DATA") else 9)]
            assert [code for code in codes if code != 354] == [250] * 4 + [353] + [250] * 4
        assert (await c.ask("NOOP")).status == "250 2.0.0"
        assert h.relay.kept == [b"Subject: x\r\n\r\n"] * 2


async def test_content_that_cannot_be_judged_has_one_reply() -> None:
    async with house() as h, connect(h.port) as c:
        await c.reply()
        await c.ask("EHLO client.example")
        await c.ask("MAIL FROM:<a@sender.example> PRDR")
        await c.ask("RCPT TO:<a@example.com>")
        await c.ask("RCPT TO:<b@example.com>")
        await c.ask("DATA")
        await c.send(b"Subject: x\r\n\r\na\nb\r\n.\r\n")
        assert (await c.reply()).code == 554
        assert h.relay.kept == []
