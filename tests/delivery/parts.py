"""Small values for the tests of the wall to the mailstore."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from gateway.delivery.open import open_mailstore
from gateway.delivery.pool import PoolLimits
from gateway.delivery.smtp_client import RelayMailstore
from gateway.delivery.url import MailstoreUrl
from gateway.delivery.wire import Timeouts
from gateway.mail.address import Mailbox
from gateway.mail.message import Message, OutgoingMessage
from gateway.mail.transaction import Connection, Envelope, Hello, Transaction

ANN, BOB, CID = (Mailbox(name, "example.com") for name in ("ann", "bob", "cid"))
FAST = Timeouts(connect=2.0, command=2.0, dot=2.0, dot_least=0.1)


def transaction(*recipients: Mailbox, client: str = "192.0.2.1", helo: str = "a.test") -> Transaction:
    envelope = Envelope(Mailbox("from", "example.org"), recipients or (ANN,))
    return Transaction("T1", Connection("s1", ip_address(client), 4711), 0.0, Hello("EHLO", helo), envelope)


def utf8(tx: Transaction) -> Transaction:
    assert tx.envelope
    return replace(tx, envelope=replace(tx.envelope, smtputf8=True))


def outgoing(octets: bytes = b"Subject: x\r\n\r\nhello\r\n", prepended: bytes = b"Received: by mx\r\n") -> OutgoingMessage:
    return OutgoingMessage(Message.parse(octets), prepended)


def relay(
    port: int, options: str = "", *, scheme: str = "smtp", timeouts: Timeouts = FAST, pool: PoolLimits | None = None
) -> RelayMailstore:
    url = MailstoreUrl.parse(f"{scheme}://127.0.0.1:{port}{options}")
    mailstore = open_mailstore(url, "mx.test", timeouts=timeouts, pool=pool)
    assert isinstance(mailstore, RelayMailstore)
    return mailstore
