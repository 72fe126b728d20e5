"""STARTTLS: plain text behind it never counts, a failed handshake ends the session, certificates change while running."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from client import connect
from house import house

from gateway.smtp.tls import CertificateError, CertificateHolder, ensure_self_signed


@pytest.mark.parametrize("octets", [1, 2, 5, 1000, 2048, 16384, 65535, 65536, 70000])
async def test_plain_text_behind_starttls_is_refused(octets: int, tmp_path: Path) -> None:
    async with house(tls=tmp_path) as h, connect(h.port) as c:
        await c.reply()
        await c.ask("EHLO x")
        injected = (b"RSET\r\n" * (octets // 6 + 1))[:octets]
        await c.send(b"STARTTLS\r\n" + injected)
        assert (await c.reply()).status == "554 5.5.1"
        assert (await c.reply()).code == 0
        assert h.watcher.handshakes == []


async def test_tls_facts_reach_the_transaction(tmp_path: Path) -> None:
    async with house(tls=tmp_path) as h, connect(h.port) as c:
        await c.reply()
        assert "STARTTLS" in (await c.ask("EHLO x")).texts
        assert (await c.starttls()).status == "220 2.0.0"
        assert "STARTTLS" not in (await c.ask("EHLO x")).texts
        await c.data()
        await c.send(b"x: y\r\n\r\n" + b"text\r\n" * 40000 + b".\r\n")
        assert (await c.reply()).status == "250 2.0.0"
        tx = h.relay.transactions[0]
        assert tx.connection.tls is not None
        assert tx.connection.tls.version == "TLSv1.3"
        assert tx.connection.tls.server_name == "mx.example.com"
        assert str(tx.connection.client_ip) == "127.0.0.1"
        assert (await c.ask("QUIT")).code == 221
        assert (await c.reply()).code == 0
    assert h.watcher.handshakes == ["ok"]
    assert h.watcher.ended == ["quit"]


async def test_no_handshake_but_noise(tmp_path: Path) -> None:
    async with house(tls=tmp_path) as h, connect(h.port) as c:
        await c.reply()
        await c.ask("EHLO x")
        assert (await c.ask("STARTTLS")).code == 220
        await c.send(b"EHLO again\r\n")
        await c.reader.read()
    assert h.watcher.handshakes == ["handshake_error"]
    assert h.watcher.ended == ["lost"]


async def test_client_leaves_in_the_handshake(tmp_path: Path) -> None:
    async with house(tls=tmp_path) as h:
        async with connect(h.port) as c:
            await c.reply()
            await c.ask("EHLO x")
            assert (await c.ask("STARTTLS")).code == 220
        for _ in range(200):
            if not h.server.sessions:
                break
            await asyncio.sleep(0.01)
        assert h.server.sessions == 0
    assert h.watcher.handshakes == ["client_abort"]


def test_self_signed_is_made_once_and_is_private(tmp_path: Path) -> None:
    first = ensure_self_signed(tmp_path / "state", "mx.example.com")
    octets = first[0].read_bytes()
    assert ensure_self_signed(tmp_path / "state", "mx.example.com") == first
    assert first[0].read_bytes() == octets
    assert first[1].stat().st_mode & 0o777 == 0o600
    assert [p.name for p in (tmp_path / "state").iterdir()] == ["self-signed.pem"]


def test_a_bad_new_certificate_leaves_the_old_one(tmp_path: Path) -> None:
    certificate, key = ensure_self_signed(tmp_path, "mx.example.com")
    holder = CertificateHolder(certificate, key)
    before, ends = holder.context(), holder.not_after
    good = certificate.read_bytes()
    certificate.write_bytes(b"rubbish")
    with pytest.raises(CertificateError, match=r"self-signed\.pem"):
        holder.reload()
    assert holder.context() is before
    assert holder.not_after == ends > 2e9
    certificate.write_bytes(good)
    assert holder.reload() is not before
