"""REQUIRETLS (RFC 8689) is offered over TLS only, and only while the way to the mailstore keeps it."""

from __future__ import annotations

from pathlib import Path

from client import connect
from house import house


async def test_over_tls_where_the_mailstore_keeps_it(tmp_path: Path) -> None:
    async with house(tls=tmp_path, keeps_requiretls=True) as h, connect(h.port) as c:
        await c.reply()
        assert "REQUIRETLS" not in (await c.ask("EHLO client.example")).texts
        assert (await c.ask("MAIL FROM:<a@sender.example> REQUIRETLS")).status == "555 5.5.4"
        assert (await c.starttls()).code == 220
        assert "REQUIRETLS" in (await c.ask("EHLO client.example")).texts
        assert (await c.ask("MAIL FROM:<a@sender.example> REQUIRETLS=1")).status == "501 5.5.4"
        assert (await c.ask("MAIL FROM:<a@sender.example> REQUIRETLS")).code == 250
        assert (await c.ask("RCPT TO:<user@example.com>")).code == 250
        assert (await c.ask("DATA")).code == 354
        await c.send(b"Subject: x\r\n\r\n.\r\n")
        assert (await c.reply()).code == 250
        (tx,) = h.relay.transactions
        assert tx.envelope
        assert tx.envelope.requiretls
        assert h.watcher.records[-1]["requiretls"] is True


async def test_not_offered_where_it_could_not_be_kept(tmp_path: Path) -> None:
    async with house(tls=tmp_path) as h, connect(h.port) as c:
        await c.reply()
        assert (await c.starttls()).code == 220
        assert "REQUIRETLS" not in (await c.ask("EHLO client.example")).texts
        assert (await c.ask("MAIL FROM:<a@sender.example> REQUIRETLS")).status == "555 5.5.4"
