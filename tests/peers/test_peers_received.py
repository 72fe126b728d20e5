"""What real MTAs write into Received is read as they meant it, whatever their client says in EHLO."""

from __future__ import annotations

import smtplib
from collections.abc import Callable
from ipaddress import ip_address

import pytest

from gateway.mail.message import Message
from gateway.mail.received import HandedOver, handed_over
from tests.real.exim import Exim
from tests.real.mail_world import message, poll
from tests.real.postfix import Postfix

CLIENT, PRETENDED = "198.51.100.8", "203.0.113.9"
SAID = [
    ("client.example", "client.example"),
    (f"[{PRETENDED}]", f"[{PRETENDED}]"),
    (f"x([{PRETENDED}])by", f"x?[{PRETENDED}]?by"),
]


def arrived(messages: Callable[[], list[bytes]], octets: bytes) -> HandedOver | None:
    """What the topmost field of the message says that has been delivered."""

    def look() -> list[bytes]:
        return [one for one in (m.replace(b"\n", b"\r\n") for m in messages()) if one.endswith(octets)]

    (delivered,) = poll(look, "it is delivered")
    value = Message.parse(delivered).first("received")
    assert value is not None
    return handed_over(value)


@pytest.mark.parametrize(("helo", "shown"), SAID)
def test_a_real_postfix_is_read(helo: str, shown: str, postfix_mailstore: Postfix) -> None:
    octets = message(body=f"EHLO {helo}\r\n".encode())
    with smtplib.SMTP("127.0.0.1", postfix_mailstore.port, timeout=60) as smtp:
        smtp.ehlo("test.example")
        assert smtp.docmd("XCLIENT", f"NAME=[UNAVAILABLE] ADDR={CLIENT}")[0] == 220
        assert smtp.docmd("EHLO", helo)[0] == 250
        assert smtp.docmd("MAIL", "FROM:<ann@sender.example>")[0] == 250
        assert smtp.docmd("RCPT", "TO:<user@example.com>")[0] == 250
        assert smtp.data(octets)[0] == 250
    assert arrived(postfix_mailstore.messages, octets) == HandedOver(ip_address(CLIENT), shown)


def test_a_real_exim_is_read() -> None:
    exim = Exim()
    try:
        for helo in ("client.example", f"[{PRETENDED}]"):
            octets = message(body=f"EHLO {helo}\r\n".encode())
            with smtplib.SMTP("127.0.0.1", exim.port, local_hostname=helo, timeout=60) as smtp:
                smtp.sendmail("ann@sender.example", "user@example.com", octets)
            assert arrived(exim.messages, octets) == HandedOver(ip_address("127.0.0.1"), helo)
    finally:
        exim.close()
