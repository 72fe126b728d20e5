"""Postfix, Exim (SMTP) and Dovecot (LMTP) get envelope and content octet by octet; a tap shows what went over the wire.

No BDAT towards a mailstore: CHUNKING is offered by Postfix and Exim here and never used.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from hashlib import sha256
from random import Random

import pytest

from gateway.delivery.fold import fold
from gateway.delivery.open import open_mailstore
from gateway.delivery.smtp_client import RelayMailstore
from gateway.delivery.url import MailstoreUrl
from gateway.mail.address import Mailbox
from gateway.mail.message import OutgoingMessage
from gateway.mail.transaction import Transaction
from gateway.ports.failure import PortFailure
from gateway.ports.mailstore import DeliveryResult, Handover, Known
from tests.delivery.parts import outgoing, relay, transaction
from tests.mailstores.conftest import Real
from tests.mailstores.tap import tapped
from tests.real.dovecot import Dovecot
from tests.real.postfix import Postfix

USER, OTHER, NOBODY, BROKEN = (Mailbox(name, "example.com") for name in ("user", "other", "nobody", "broken"))
PREPENDED = b"Received: from a.test (unknown [192.0.2.1])\r\n\tby mx.test (mxgw) with ESMTP; now\r\n"
HEADER = b"From: <from@example.org>\r\nSubject: dots\r\nMessage-ID: <%s@example.org>\r\nDate: Mon, 02 Nov 2026 10:00:00 +0000\r\n\r\n"
DOTS = b".\r\n..\r\n.leading\r\n...three\r\n \r\n.\r\n\r\nFrom here\r\ntrailing \t\r\n" + b"x" * 990 + b"\r\n.last\r\n"
EIGHT = b"caf\xe9 \xff\xfe\x80 \xc3\xa9\r\n.\xe9\r\n"


async def delivered(real: Real, user: str, number: bytes, count: int = 1) -> list[bytes]:
    """The user's messages with that Message-ID, as soon as there are so many."""
    name = f"{user}@example.com" if isinstance(real, Dovecot) else user
    for _ in range(300):
        found = [each for each in real.messages(name) if b"\nMessage-ID: <%s@" % number in each]
        if len(found) >= count:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError("the mailstore does not have it after 15 s")


def mailstore(real: Real, port: int, options: str = "") -> RelayMailstore:
    return relay(port, options or "?tls=off&xclient=off", scheme="lmtp" if isinstance(real, Dovecot) else "smtp")


async def deliver(store: RelayMailstore, tx: Transaction, message: OutgoingMessage) -> DeliveryResult:
    try:
        return await store.deliver(tx, message, 30)
    finally:
        await store.close()


def ours(delivered: bytes) -> bytes:
    """From our own field on, with CRLF: what the mailstore put on top is its own affair."""
    text = delivered.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return text[text.index(PREPENDED) :]


def field(delivered: bytes, *names: bytes) -> bytes:
    """The value of the first field with one of these names, without brackets."""
    found = re.search(rb"(?im)^(?:%s): <?([^>\r\n]*)>?\r?$" % b"|".join(names), delivered)
    return found[1] if found else b""


@pytest.mark.parametrize("body", [DOTS, EIGHT, b""], ids=["dots", "8bit", "empty"])
async def test_content_and_envelope_arrive_exactly(real: Real, body: bytes) -> None:
    number = b"exact-%d" % len(body)
    octets = HEADER % number + body
    async with tapped("127.0.0.1", real.port) as tap:
        result = await deliver(mailstore(real, tap.port), transaction(USER, OTHER), outgoing(octets, PREPENDED))
    assert {each.handover for each in result.results.values()} == {Handover.DELIVERED}
    for user in ("user", "other"):
        (got,) = await delivered(real, user, number)
        assert ours(got) == PREPENDED + octets
        assert field(got, b"Return-Path") == b"from@example.org"
        if not isinstance(real, Dovecot):  # which names the recipient only where there is one
            assert field(got, b"Delivered-To", b"Envelope-To") == user.encode() + b"@example.com"
    # on the wire: each leading dot doubled, the size without them (RFC 1870), 8BITMIME only where it is needed
    assert tap.content == b"\r\n".join(
        b"." + line if line.startswith(b".") else line for line in (PREPENDED + octets).split(b"\r\n")
    )
    offered = tap.heard.decode("latin-1")
    size = f" SIZE={len(PREPENDED + octets)}" if "SIZE" in offered else ""
    eight = " BODY=8BITMIME" if body is EIGHT else ""
    verb = "LHLO" if isinstance(real, Dovecot) else "EHLO"
    assert tap.commands[:4] == [
        f"{verb} mx.test",
        f"MAIL FROM:<from@example.org>{size}{eight}",
        "RCPT TO:<user@example.com>",
        "RCPT TO:<other@example.com>",
    ]
    assert "BDAT" not in " ".join(tap.commands)


async def test_megabytes_and_long_lines_arrive_exactly(real: Real) -> None:
    """Dots at any place of any chunk, lines as long as the node takes them (64 KiB)."""
    random = Random(4711)
    pieces = [b".", b"..", b"\r\n", b"\r\n.", b"\r\n.\r\n", b"word", b" ", b"\xe9\xfe", b"z" * 60_000 + b"\r\n"]
    weights = [9, 9, 40, 9, 2, 20, 5, 5, 0.05]
    body = b"".join(random.choices(pieces, weights, k=120_000)).rstrip(b"\r\n")
    octets = HEADER % b"megabytes" + body + b"\r\n"
    assert len(octets) > 2_000_000
    result = await deliver(mailstore(real, real.port), transaction(USER), outgoing(octets, PREPENDED))
    assert result.results[USER].handover is Handover.DELIVERED
    (got,) = await delivered(real, "user", b"megabytes")
    assert sha256(ours(got)).hexdigest() == sha256(PREPENDED + octets).hexdigest()


async def test_lmtp_answers_for_each_recipient_and_over_a_socket_file(dovecot: Dovecot) -> None:
    """One mailbox cannot be written: 451 for that one only; the sender hears the 451 and comes again."""
    url = MailstoreUrl.parse(f"lmtp+unix:{dovecot.folder}/run/lmtp")
    store = open_mailstore(url, "mx.test")
    assert isinstance(store, RelayMailstore)
    result = await deliver(store, transaction(USER, BROKEN, OTHER), outgoing(HEADER % b"each", PREPENDED))
    assert [result.results[to].handover for to in (USER, BROKEN, OTHER)] == [
        Handover.DELIVERED, Handover.DEFERRED, Handover.DELIVERED,
    ]  # fmt: skip
    assert result.results[BROKEN].code == 451
    assert fold(result, "T1").code == 451
    for user in ("user", "other"):
        assert len(await delivered(dovecot, user, b"each")) == 1


async def test_envelope_goes_in_one_segment_where_pipelining_is_offered(real: Real) -> None:
    async with tapped("127.0.0.1", real.port) as tap:
        result = await deliver(mailstore(real, tap.port), transaction(USER), outgoing(HEADER % b"2", PREPENDED))
    assert result.results[USER].handover is Handover.DELIVERED
    assert b"PIPELINING" in tap.heard
    (envelope,) = [piece for piece in tap.writes if piece.startswith(b"MAIL ")]
    assert [line[:4] for line in envelope.splitlines()] == [b"MAIL", b"RCPT", b"DATA"]
    # nothing of the content before the 354
    assert tap.writes.index(envelope) < tap.writes.index(next(each for each in tap.writes if PREPENDED[:9] in each))


async def test_one_unknown_of_two_is_refused_for_itself(real: Real) -> None:
    store = mailstore(real, real.port)
    result = await deliver(store, transaction(USER, NOBODY), outgoing(HEADER % b"3", PREPENDED))
    assert result.results[USER].handover is Handover.DELIVERED
    assert result.results[NOBODY].handover is Handover.REFUSED
    assert (result.results[NOBODY].code, result.results[NOBODY].enhanced) == (550, "5.1.1")
    assert len(await delivered(real, "user", b"3")) == 1


async def test_all_unknown_leaves_a_session_that_serves_the_next(real: Real) -> None:
    """DATA went out with the envelope: 503, 554 or 354 and a dot, as the mailstore likes; nothing is delivered."""
    async with tapped("127.0.0.1", real.port) as tap:
        store = mailstore(real, tap.port)
        refused = await store.deliver(transaction(NOBODY), outgoing(HEADER % b"4", PREPENDED), 30)
        assert refused.results[NOBODY].handover is Handover.REFUSED
        taken = await store.deliver(transaction(USER), outgoing(HEADER % b"5", PREPENDED), 30)
        await store.close()
    assert taken.results[USER].handover is Handover.DELIVERED
    assert tap.said.count(b"HLO mx.test") == 1, "one session for both"
    await delivered(real, "user", b"5")
    assert await delivered(real, "user", b"4", 0) == []


async def test_recipients_are_asked_for_without_a_message(real: Real) -> None:
    store = mailstore(real, real.port)
    assert (await store.recipient(USER)).known is Known.YES
    assert (await store.recipient(NOBODY)).known is Known.NO
    assert (await store.recipient(OTHER)).known is Known.YES
    await store.close()


async def test_a_message_beyond_its_size_is_refused_before_a_byte_of_it(real: Real) -> None:
    """SIZE= in MAIL (RFC 1870): 61 MB are refused by a mailstore of 60 MB without being sent."""
    if isinstance(real, Dovecot):
        # LMTP of Dovecot 2.3 has no limit of its own and does not offer SIZE
        async with tapped("127.0.0.1", real.port) as tap:
            await deliver(mailstore(real, tap.port), transaction(USER), outgoing(HEADER % b"6", PREPENDED))
        assert b"SIZE" not in tap.heard
        assert b"SIZE=" not in tap.said
        return
    octets = HEADER % b"6" + b"y" * 998 * 64_000
    async with tapped("127.0.0.1", real.port) as tap:
        result = await deliver(mailstore(real, tap.port), transaction(USER), outgoing(octets, PREPENDED))
    assert result.results[USER].handover is Handover.REFUSED
    assert result.results[USER].code == 552
    assert len(tap.said) < 1000


async def test_smtputf8_where_it_is_offered_and_a_refusal_where_not(real: Real) -> None:
    tx = transaction(USER)
    assert tx.envelope
    tx = replace(tx, envelope=replace(tx.envelope, reverse_path=Mailbox("j\u00fcrgen", "example.org"), smtputf8=True))
    async with tapped("127.0.0.1", real.port) as tap:
        result = await deliver(mailstore(real, tap.port), tx, outgoing(HEADER % b"7", PREPENDED))
    if b"SMTPUTF8" in tap.heard:
        assert result.results[USER].handover is Handover.DELIVERED
        assert "MAIL FROM:<j\u00fcrgen@example.org>".encode() in tap.said
        assert b" SMTPUTF8" in tap.said
    else:
        assert result.results[USER].enhanced == "5.6.7"
        assert b"MAIL" not in tap.said


@pytest.mark.parametrize("name", ["postfix", "dovecot"])
async def test_xclient_gives_the_mailstore_the_client(name: str, request: pytest.FixtureRequest) -> None:
    """Postfix lists us in smtpd_authorized_xclient_hosts, Dovecot in login_trusted_networks."""
    real: Postfix | Dovecot = request.getfixturevalue(name)
    async with tapped("127.0.0.1", real.port) as tap:
        store = mailstore(real, tap.port, "?tls=off&xclient=require")
        for client in ("192.0.2.77", "2001:db8::5"):
            tx = transaction(USER, client=client, helo="client.test")
            result = await store.deliver(tx, outgoing(HEADER % b"xclient", PREPENDED), 30)
            assert result.results[USER].handover is Handover.DELIVERED
        await store.close()
    assert tap.said.count(b"XCLIENT ") == 2, "each client is told"
    assert b" ADDR=192.0.2.77\r\n" in tap.said
    assert b" ADDR=IPV6:2001:db8::5\r\n" in tap.said
    got = b"".join(each[: each.index(PREPENDED[:20])] for each in await delivered(real, "user", b"xclient", 2))
    # HELO= was said and the EHLO after the 220 overrules it, in both
    assert b" HELO=client.test " in tap.said
    assert b"Received: from mx.test (" in got
    assert b"192.0.2.77" in got
    assert b"2001:db8::5" in got


async def test_xclient_that_exim_does_not_offer(exim: Real) -> None:
    with pytest.raises(PortFailure, match="not offered"):
        await deliver(mailstore(exim, exim.port, "?xclient=require"), transaction(USER), outgoing(HEADER % b"8"))
    result = await deliver(mailstore(exim, exim.port, "?xclient=try"), transaction(USER), outgoing(HEADER % b"9"))
    assert result.results[USER].handover is Handover.DELIVERED
