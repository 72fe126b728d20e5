"""Received fields as MTAs write them, and the walk through those of hosts that we trust."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest

from gateway.mail.message import Message
from gateway.mail.received import FIELD_OCTETS, MOST_HOPS, HandedOver, Outside, client_outside, handed_over

INSIDE = (ip_network("198.51.100.0/24"), ip_network("10.0.0.0/8"), ip_network("2001:db8:1::/48"))
DATE = b"; Mon, 02 Nov 2026 10:00:00 +0000 (UTC)"


def is_inside(said: HandedOver) -> bool:
    return any(said.address in network for network in INSIDE)


READ = [
    # RFC 5321, Postfix
    (b"from mail.example (rdns.example [192.0.2.1]) by mx.example with ESMTPS id A1", "192.0.2.1", "mail.example"),
    (b"from mail.example ([192.0.2.1]) by mx.example with ESMTP id A1", "192.0.2.1", "mail.example"),
    (b"from mail.example (unknown [IPv6:2001:db8::1]) by mx.example (Postfix) with ESMTP", "2001:db8::1", "mail.example"),
    (
        b"from mail.example (rdns.example [192.0.2.1]) (using TLSv1.3 with cipher TLS_AES_256 (256/256 bits)) "
        b"(No client certificate requested) by mx.example (Postfix) with ESMTPS id A1 for <u@example.com>",
        "192.0.2.1",
        "mail.example",
    ),
    # a HELO that is a literal is the client's word; what the host saw counts
    (b"from [203.0.113.9] (rdns.example [192.0.2.1]) by mx.example with ESMTP", "192.0.2.1", "[203.0.113.9]"),
    # sendmail
    (b"from mail.example (ident@rdns.example [192.0.2.1] (may be forged)) by mx.example (8.17/8.17) with ESMTP", "192.0.2.1", "mail.example"),
    # Exchange
    (b"from MAIL.example (192.0.2.1) by EDGE.example (10.1.2.3) with Microsoft SMTP Server (version=TLS1_2) id 15.20", "192.0.2.1", "MAIL.example"),
    (b"from mail.example (2001:db8::1) by edge.example (2001:db8:1::2) with Microsoft SMTP Server", "2001:db8::1", "mail.example"),
    # Exim
    (b"from rdns.example ([192.0.2.1] helo=mail.example) by mx.example with esmtps (TLS1.3)", "192.0.2.1", "mail.example"),
    (b"from rdns.example ([192.0.2.1]:41234 helo=[203.0.113.9]) by mx.example with esmtp", "192.0.2.1", "[203.0.113.9]"),
    (b"from rdns.example ([2001:db8::1]) by mx.example with esmtp", "2001:db8::1", "rdns.example"),
    (b"from [192.0.2.1] (port=41234 helo=mail.example) by mx.example with esmtp", "192.0.2.1", "mail.example"),
    (b"from [192.0.2.1] (helo=[203.0.113.9]) by mx.example with esmtp", "192.0.2.1", "[203.0.113.9]"),
    # qmail, IronPort
    (b"from unknown (HELO mail.example) (192.0.2.1) by mx.example with SMTP", "192.0.2.1", "mail.example"),
    (b"from rdns.example (HELO mail.example) (ident@192.0.2.1) by mx.example with SMTP", "192.0.2.1", "mail.example"),
    (b"from rdns.example (EHLO mail.example) ([192.0.2.1]) by mx.example with ESMTP", "192.0.2.1", "mail.example"),
    # an IPv4 client on a socket for both families
    (b"from mail.example (rdns.example [::ffff:192.0.2.1]) by mx.example with ESMTP", "192.0.2.1", "mail.example"),
    (b"FROM mail.example (rdns.example [ipv6:2001:db8::1]) BY mx.example WITH ESMTP", "2001:db8::1", "mail.example"),
    (b'from mail.example (rdns.example [192.0.2.1]) by mx.example with ESMTP for <"by (x"@example.com>', "192.0.2.1", "mail.example"),
    # a HELO name that no one should have to show
    (b"from m\xc3\xbcll (rdns.example [192.0.2.1]) by mx.example with ESMTP", "192.0.2.1", ""),
]  # fmt: skip


@pytest.mark.parametrize(("value", "address", "helo"), READ)
def test_fields_as_they_are_written(value: bytes, address: str, helo: str) -> None:
    assert handed_over(value + DATE) == HandedOver(ip_address(address), helo)


UNREADABLE = [
    b"",
    b"by mx.example with ESMTP id A1",
    b"by mx.example (Postfix, from userid 1000) id A1",
    b"(qmail 1234 invoked from network)",
    b"from mail.example by mx.example with ESMTP",
    b"from [203.0.113.9] by mx.example with ESMTP",  # the client's own word, and nobody's else
    b"from mail.example (rdns.example) by mx.example with ESMTP",
    b"from mail.example (rdns.example [unknown]) by mx.example with ESMTP",
    b"from mail.example (rdns.example [192.0.2.300]) by mx.example with ESMTP",
    b"from mail.example (rdns.example [192.0.2.1/32]) by mx.example with ESMTP",
    b"from mail.example (rdns.example [IPv6:192.0.2.1]) by mx.example with ESMTP",
    b"from mail.example (rdns.example [fe80::1%eth0]) by mx.example with ESMTP",
    b"from mail.example (rdns.example [0.0.0.0]) by mx.example with ESMTP",
    b"from mail.example (rdns.example [192.0.2.1]) with ESMTP",
    b"from mail.example (rdns.example [192.0.2.1] by mx.example with ESMTP",
    b"from mail.example rdns.example [192.0.2.1]) by mx.example with ESMTP",
    b"from (rdns.example [192.0.2.1]) by mx.example with ESMTP",
    b"from unknown (HELO mail.example) by mx.example with SMTP",
    # a client that has its say in HELO and means 203.0.113.9
    b"from evil (x [203.0.113.9]) (rdns.example [192.0.2.1]) by mx.example with ESMTP",
    b"from evil (x [203.0.113.9]) by y (rdns.example [192.0.2.1]) by mx.example with ESMTP",
    b"from evil (x [203.0.113.9]) by y; (rdns.example [192.0.2.1]) by mx.example with ESMTP",
    b"from evil (x [203.0.113.9]) by y ( (rdns.example [192.0.2.1]) by mx.example with ESMTP",
    b'from evil (x [203.0.113.9]) by y " (rdns.example [192.0.2.1]) by mx.example with ESMTP',
    b"from evil (x [203.0.113.9]) by y \\ (rdns.example [192.0.2.1]) by mx.example with ESMTP",
    b"from rdns.example ([192.0.2.1] helo=evil [203.0.113.9]) by mx.example with esmtp",
    b"from [203.0.113.9] (helo=evil [192.0.2.1] x) (192.0.2.1) by mx.example with esmtp",
    b"from 203.0.113.9 (helo=evil) by mx.example with esmtp",
]


@pytest.mark.parametrize("value", UNREADABLE)
def test_what_is_not_clear_is_not_guessed(value: bytes) -> None:
    assert handed_over(value + DATE) is None


@pytest.mark.parametrize("word", ["ESMTPA", "esmtpsa", "LMTPSA", "UTF8SMTPA"])
def test_who_has_proven_himself_is_told(word: str) -> None:
    field = f"from pc.example (rdns.example [192.0.2.1]) by mx.example with {word} id A1; with ESMTP"
    said = handed_over(field.encode())
    assert said is not None
    assert said.authenticated


# ---- the walk


def message(*values: bytes, above: bytes = b"") -> Message:
    fields = b"".join(b"Received: " + value + DATE + b"\r\n" for value in values)
    return Message.parse(above + fields + b"From: a@sender.example\r\n\r\nReceived: from x ([203.0.113.9]) by y\r\n")


def hop(address: str, helo: str = "host.example", with_: str = "ESMTP") -> bytes:
    return f"from {helo} (rdns.example [{address}])\r\n\tby mx.example (Mail)\r\n with {with_} id A1".encode()


FORGED = hop("203.0.113.9", "forged.example")
LONG = b"x" * FIELD_OCTETS
WALKS: list[tuple[Sequence[bytes], Outside]] = [
    ([hop("192.0.2.1", "mail.example"), FORGED], Outside(1, HandedOver(ip_address("192.0.2.1"), "mail.example"))),
    (
        [hop("10.1.2.3"), hop("198.51.100.7"), hop("IPv6:2001:db8:1::9"), hop("192.0.2.1", "mail.example"), FORGED],
        Outside(4, HandedOver(ip_address("192.0.2.1"), "mail.example")),
    ),
    ([hop("IPv6:2001:db8:2::9"), FORGED], Outside(1, HandedOver(ip_address("2001:db8:2::9"), "host.example"))),
    ([], Outside(0, why="no-received")),
    ([hop("10.1.2.3"), hop("198.51.100.7")], Outside(2, why="nobody-outside")),
    ([hop("10.1.2.3"), b"by mx.example with LMTP", FORGED], Outside(2, why="unreadable")),
    ([b"from x (y [192.0.2.1]) " + LONG, FORGED], Outside(1, why="unreadable")),
    ([hop("192.0.2.1", with_="ESMTPSA"), FORGED], Outside(1, why="authenticated")),
    # a trusted host may prove itself to the next one
    ([hop("10.1.2.3", with_="ESMTPSA"), hop("192.0.2.1")], Outside(2, HandedOver(ip_address("192.0.2.1"), "host.example"))),
    ([hop("10.1.2.3")] * MOST_HOPS + [FORGED], Outside(MOST_HOPS + 1, why="too-many-hops")),
]  # fmt: skip


@pytest.mark.parametrize(("values", "found"), WALKS)
def test_the_walk_ends_at_the_first_client_outside(values: Sequence[bytes], found: Outside) -> None:
    assert client_outside(message(*values), is_inside) == found


def test_other_fields_between_are_passed_over() -> None:
    above = b"X-Spam-Status: No\r\nARC-Seal: i=1; a=x\r\n"
    found = client_outside(message(hop("192.0.2.1"), above=above), is_inside)
    assert (found.hop, found.client) == (1, HandedOver(ip_address("192.0.2.1"), "host.example"))
