"""What stands between STARTTLS and a client that speaks TLS (RFC 3207): text that came in the clear, the handshake.

The first octet behind our 220 decides. Text is no beginning of TLS: it was typed by somebody who cannot read our
answers (CVE-2011-0411), or by a client that does not know what it asked for; either is told 554 in the clear. Octets
that may be TLS go to OpenSSL, which answers what it does not like by an alert.

Known gaps: none.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Final

from gateway.mail import limits
from gateway.mail.transaction import Address, Tls
from gateway.ports.observer import Observer
from gateway.smtp.tls_watch import PLAIN_TEXT, Facts, watched
from gateway.smtp.wire import ClientLost, IdleTimeout, Wire

log = logging.getLogger("mxgw.smtp")

CONTENT_TYPES: Final = range(20, 24)
"""The first octet of a record: change_cipher_spec, alert, handshake, application_data (RFC 8446 section 5.1)."""
SSLV2_BIT: Final = 0x80
"""Set in the first octet of a hello in the format of SSLv2: OpenSSL answers it with an alert."""


class HandshakeFailed(Exception):
    """No TLS came about. result: the observer's word: handshake_error, timeout or client_abort, '' where none was
    begun. cause: one word of ``tls_watch.CAUSES``."""

    def __init__(self, result: str, cause: str, facts: Facts, reason: str = "") -> None:
        self.result = result
        self.cause = cause
        self._facts = facts
        if reason and not facts.reason:
            facts.reason = reason
        super().__init__(f"{cause} {facts.reason}".rstrip())

    @property
    def is_plain_text(self) -> bool:
        """The client can be told in the clear; else the transport is of no use any more."""
        return self.cause == PLAIN_TEXT

    def report(self, observer: Observer, session: str, client_ip: Address) -> None:
        """One line of the log and the counts."""
        fields = {"session": session, "client_ip": str(client_ip), "cause": self.cause, **self._facts.for_log()}
        log.info("TLS handshake failed: %s", self.cause, extra={"event": "tls", **fields})
        if self.result:
            observer.tls_handshake("in", self._facts.version, self.result)
        observer.tls_failure("in", self.cause)


def text_behind_starttls() -> HandshakeFailed:
    """Octets were there before STARTTLS was answered: no handshake is begun."""
    return HandshakeFailed("", PLAIN_TEXT, Facts())


async def handshake(
    wire: Wire,
    transport: asyncio.Transport,
    protocol: asyncio.Protocol,
    context: ssl.SSLContext,
    seconds: float = limits.TLS_HANDSHAKE_TIMEOUT,
    observer: Observer | None = None,
) -> tuple[asyncio.Transport, Tls]:
    """Shake hands as the server; 220 has been said. context: of ``tls.make_context``. The whole may take ``seconds``.
    observer: hears of success, and how long it took from our 220 on; a failure tells itself.

    Raises HandshakeFailed; then the client has its alert, or can be told in the clear (``is_plain_text``)."""
    loop = asyncio.get_running_loop()
    facts = Facts(write=transport.write)
    began = loop.time()
    deadline = began + seconds
    try:
        while not wire.buffer:
            await wire.more(deadline)
    except IdleTimeout as error:
        raise HandshakeFailed("timeout", "timeout", facts, f"no octet in {seconds:g} s") from error
    except ClientLost as error:
        raise HandshakeFailed("client_abort", "client_left", facts, "no octet") from error
    if wire.buffer[0] < SSLV2_BIT and wire.buffer[0] not in CONTENT_TYPES:
        raise HandshakeFailed("handshake_error", PLAIN_TEXT, facts)
    # no await between here and the loop's own taking over of the transport: nothing can come in between
    facts.early = bytes(wire.buffer)
    wire.buffer.clear()
    wire.attach(None)
    if wire.ended or wire.lost:
        facts.note(facts.early)
        raise HandshakeFailed("client_abort", "client_left", facts, "connection ended")
    encrypted, tls = await _openssl(transport, protocol, context, facts, max(1.0, deadline - loop.time()))
    if observer is not None:
        observer.tls_handshake("in", tls.version, "ok")
        observer.tls_time("in", loop.time() - began)
    return encrypted, tls


async def _openssl(
    transport: asyncio.Transport, protocol: asyncio.Protocol, context: ssl.SSLContext, facts: Facts, seconds: float
) -> tuple[asyncio.Transport, Tls]:
    loop = asyncio.get_running_loop()
    try:
        with watched(context, facts) as own:
            encrypted = await loop.start_tls(transport, protocol, own, server_side=True, ssl_handshake_timeout=seconds)
    except ssl.SSLError as error:
        raise HandshakeFailed("handshake_error", facts.cause, facts, error.reason or type(error).__name__) from error
    except ConnectionAbortedError as error:
        # the event loops' word for a handshake that took too long
        raise HandshakeFailed("timeout", "timeout", facts, f"not done in {seconds:.0f} s") from error
    except OSError as error:
        raise HandshakeFailed("client_abort", "client_left", facts, type(error).__name__) from error
    if encrypted is None or encrypted.get_extra_info("cipher") is None:
        raise HandshakeFailed("client_abort", "client_left", facts, "connection lost")
    name, version, bits = encrypted.get_extra_info("cipher")
    tls_object = encrypted.get_extra_info("ssl_object")
    version = (tls_object.version() if tls_object is not None else None) or version
    return encrypted, Tls(version, name, bits or 0, facts.server_name)
