"""STARTTLS: plain text behind it never counts, a failed handshake ends the session, certificates change while running."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path

import pytest
from client import RawClient, connect
from house import house

from gateway.smtp.starttls import HandshakeFailed, handshake
from gateway.smtp.tls import CertificateError, CertificateHolder, ensure_self_signed
from gateway.smtp.wire import Wire


class Fed(asyncio.Protocol):
    """Feeds a wire."""

    def __init__(self, wire: Wire) -> None:
        self.data_received = wire.feed  # type: ignore[method-assign]


SIZES = [1, 2, 5, 6, 511, 1000, 2048, 16384, 65535, 65536, 70000]


def injected(octets: int) -> bytes:
    return (b"RSET\r\n" * (octets // 6 + 1))[:octets]


async def last_words(c: RawClient) -> list[str]:
    """Every reply until the connection is closed."""
    said: list[str] = []
    while (reply := await c.reply()).code:
        said.append(reply.status)
    return said


@pytest.mark.parametrize("octets", SIZES)
async def test_plain_text_in_the_packet_of_starttls_is_refused(octets: int, tmp_path: Path) -> None:
    async with house(tls=tmp_path) as h, connect(h.port) as c:
        await c.reply()
        await c.ask("EHLO x")
        await c.send(b"STARTTLS\r\n" + injected(octets))
        assert await last_words(c) == ["554 5.5.1"]
        assert h.watcher.handshakes == []
        assert h.watcher.failures == ["plain_text"]


@pytest.mark.parametrize("octets", SIZES)
async def test_plain_text_in_the_next_packet_is_refused(octets: int, tmp_path: Path) -> None:
    async with house(tls=tmp_path) as h, connect(h.port) as c:
        await c.reply()
        await c.ask("EHLO x")
        assert (await c.ask("STARTTLS")).status == "220 2.0.0"
        await c.send(injected(octets))
        assert await last_words(c) == ["554 5.5.1"]
        assert h.watcher.handshakes == ["handshake_error"]
        assert h.watcher.failures == ["plain_text"]
    assert h.watcher.ended == ["error"]


@pytest.mark.parametrize("octets", SIZES)
async def test_plain_text_that_does_not_wait_for_220_is_refused(octets: int, tmp_path: Path) -> None:
    async with house(tls=tmp_path) as h, connect(h.port) as c:
        await c.reply()
        await c.ask("EHLO x")
        await c.send(b"STARTTLS\r\n")
        await asyncio.sleep(0)
        await c.send(injected(octets))
        # whether our 220 was on its way is the network's matter
        assert (await last_words(c)) in (["554 5.5.1"], ["220 2.0.0", "554 5.5.1"])
        assert h.watcher.failures == ["plain_text"]


async def test_plain_text_octet_by_octet_is_refused(tmp_path: Path) -> None:
    async with house(tls=tmp_path) as h, connect(h.port) as c:
        await c.reply()
        await c.ask("EHLO x")
        for octet in b"STARTTLS\r\nRSET\r\n":
            await c.send(bytes([octet]))
            await asyncio.sleep(0.001)
        assert (await last_words(c)) in (["554 5.5.1"], ["220 2.0.0", "554 5.5.1"])
        assert h.watcher.failures == ["plain_text"]


@pytest.mark.parametrize("first", [0, 9, 13, 10, 32, 65, 127])
async def test_no_octet_of_text_begins_tls(first: int, tmp_path: Path) -> None:
    async with house(tls=tmp_path) as h, connect(h.port) as c:
        await c.reply()
        await c.ask("EHLO x")
        assert (await c.ask("STARTTLS")).code == 220
        await c.send(bytes([first]))
        assert await last_words(c) == ["554 5.5.1"]


@pytest.mark.parametrize(
    "noise", [b"\x16" + b"x" * 300, b"\x16\x03\x01\x00\x05hello", b"\x80\x2e\x01\x00\x02" + b"x" * 60, b"\xff" * 9]
)
async def test_what_may_be_tls_is_for_openssl_to_refuse(noise: bytes, tmp_path: Path) -> None:
    async with house(tls=tmp_path) as h, connect(h.port) as c:
        await c.reply()
        await c.ask("EHLO x")
        assert (await c.ask("STARTTLS")).code == 220
        await c.send(noise)
        with contextlib.suppress(ConnectionError):
            assert b"554 5.5.1" not in await c.reader.read()
    assert h.watcher.handshakes == ["handshake_error"]
    assert h.watcher.failures[0] != "plain_text"
    assert h.watcher.ended == ["lost"]


async def test_a_hello_in_small_pieces_is_one_hello(tmp_path: Path) -> None:
    async with house(tls=tmp_path) as h, connect(h.port) as c:
        await c.reply()
        await c.ask("EHLO x")
        assert (await c.ask("STARTTLS")).code == 220
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        tls = context.wrap_bio(incoming, outgoing, server_hostname="mx.example.com")
        while True:
            try:
                tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                done = False
            for octet in outgoing.read():
                await c.send(bytes([octet]))
                await asyncio.sleep(0)
            if done:
                break
            incoming.write(await c.reader.read(65536))
        tls.write(b"NOOP\r\n")
        await c.send(outgoing.read())
        incoming.write(await c.reader.read(65536))
        assert tls.read(1000).startswith(b"250 ")
        assert h.watcher.handshakes == ["ok"]


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


@pytest.mark.parametrize("silent", [b"", b"\x16\x03\x01"])
async def test_a_client_that_never_shakes_hands_is_not_waited_for(silent: bytes, tmp_path: Path) -> None:
    wire = Wire(asyncio.get_running_loop())
    ours, theirs = socket.socketpair()
    with theirs:
        protocol = Fed(wire)
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, ours)
        wire.attach(transport)
        theirs.sendall(silent)
        holder = CertificateHolder(*ensure_self_signed(tmp_path, "mx.example.com"))
        with pytest.raises(HandshakeFailed) as failed:
            await handshake(wire, transport, protocol, holder.context(), 0.2)
        assert (failed.value.result, failed.value.cause) == ("timeout", "timeout")
        transport.abort()


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
