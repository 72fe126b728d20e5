"""What a TLS handshake was about, above all one that failed: what the client offered, and which alert ended it.

OpenSSL makes the alert that tells a client why it is refused, but an event loop that sees the error drops the
connection with the alert still in memory. Here the octets on their way in are read along until the ClientHello is
whole, and what OpenSSL still has to say is written before the error goes on to the event loop.

Known gaps: a ClientHello over several TLS records is not read along (its alert and server name are known all the same).
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

HELLO_OCTETS: Final = 16384 + 5
SHOWN_CIPHERS: Final = 8
LEASES: Final = 64
"""So many handshakes at once cost no making of a context."""
_SIGNALS: Final = (0x00FF, 0x5600)
"""No ciphers: RFC 5746 and RFC 7507 speak through the list."""
VERSIONS: Final = {0x0300: "SSLv3", 0x0301: "TLSv1", 0x0302: "TLSv1.1", 0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}
_ORDER: Final = ("other", *VERSIONS.values())
ALERTS: Final = {
    0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 22: "record_overflow", 40: "handshake_failure",
    42: "bad_certificate", 43: "unsupported_certificate", 44: "certificate_revoked", 45: "certificate_expired",
    46: "certificate_unknown", 47: "illegal_parameter", 48: "unknown_ca", 49: "access_denied", 50: "decode_error",
    51: "decrypt_error", 70: "protocol_version", 71: "insufficient_security", 80: "internal_error",
    86: "inappropriate_fallback", 90: "user_canceled", 109: "missing_extension", 110: "unsupported_extension",
    112: "unrecognized_name", 113: "bad_certificate_status_response", 115: "unknown_psk_identity",
    116: "certificate_required", 120: "no_application_protocol",
}  # fmt: skip
"""RFC 8446 section 6: number -> name."""

PLAIN_TEXT: Final = "plain_text"
CAUSES: Final = (*ALERTS.values(), PLAIN_TEXT, "not_tls", "timeout", "client_left", "other")
"""Why a handshake failed: an alert's name; or commands came in its place, octets that are no TLS, nothing, an end."""


@dataclass(slots=True)
class Facts:
    """One handshake. versions, ciphers: offered, the latter as numbers. alert_sent, alert_received: names, '' if none.
    write: takes octets for the client. early: its first octets, where they were read before TLS took over."""

    write: Callable[[bytes], object] | None = None
    early: bytes = b""
    server_name: str = ""
    versions: tuple[str, ...] = ()
    ciphers: tuple[int, ...] = ()
    alert_sent: str = ""
    alert_received: str = ""
    reason: str = ""
    octets: bytearray = field(default_factory=bytearray)

    def note(self, octets: bytes) -> None:
        """More octets of the client, until its hello is known."""
        if not self.versions:
            self.octets += octets[: HELLO_OCTETS - len(self.octets)]
            read_hello(self)

    @property
    def version(self) -> str:
        """The best version that was offered, '' if unknown."""
        return max(self.versions, key=_ORDER.index, default="")

    @property
    def cause(self) -> str:
        """One word of CAUSES for a handshake that OpenSSL ended."""
        if self.octets and self.octets[0] != 22 and not self.versions:
            return "not_tls"
        return self.alert_received or self.alert_sent or "other"

    def for_log(self) -> dict[str, object]:
        """As fields of a log line."""
        names = _cipher_names()
        return {
            "sni": self.server_name,
            "versions": list(self.versions),
            "ciphers": [names.get(number, f"0x{number:04X}") for number in self.ciphers[:SHOWN_CIPHERS]],
            "ciphers_offered": len(self.ciphers),
            "alert_sent": self.alert_sent,
            "alert_received": self.alert_received,
            "reason": self.reason,
        }


class WatchedTls(ssl.SSLObject):
    """A TLS object that fills in the facts of its handshake."""

    facts: Facts | None = None
    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO

    def do_handshake(self) -> None:
        """One step. Raises ssl.SSLError, and then the alert has been written."""
        facts = self.facts
        if facts is not None and not facts.versions and self.incoming.pending and not self.incoming.eof:
            octets = self.incoming.read()
            self.incoming.write(octets)
            facts.note(octets)
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            if facts is not None:
                self._ended(facts, error)
            raise
        if facts is not None:
            facts.octets.clear()
            self.facts = None

    def _ended(self, facts: Facts, error: ssl.SSLError) -> None:
        facts.reason = error.reason or type(error).__name__
        last_words = self.outgoing.read()
        if last_words:
            # a plain alert stands last: type, version, length 2, level, description
            if len(last_words) >= 7 and last_words[-7] == 21 and last_words[-4:-2] == b"\x00\x02":
                facts.alert_sent = ALERTS.get(last_words[-1], "other")
            if facts.write is not None:
                facts.write(last_words)
        # OpenSSL's words: TLSV1_ALERT_UNKNOWN_CA, SSLV3_ALERT_BAD_CERTIFICATE, TLSV13_ALERT_CERTIFICATE_REQUIRED
        _, is_alert, word = facts.reason.partition("_ALERT_")
        if is_alert:
            facts.alert_received = word.lower() if word.lower() in ALERTS.values() else "other"


class WatchingContext(ssl.SSLContext):
    """A context whose TLS objects can be watched: see :func:`watched`."""

    sslobject_class = WatchedTls


class _Lease(ssl.SSLContext):
    """What an event loop takes for the context of one handshake: its only way to tell one handshake from another."""

    real: ssl.SSLContext | None = None
    facts: Facts

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """A TLS object over two buffers."""
        assert self.real is not None
        tls = self.real.wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        if isinstance(tls, WatchedTls):
            tls.facts, tls.incoming, tls.outgoing = self.facts, incoming, outgoing
        # the event loop has not seen these, and its first step is to shake hands with what is here
        incoming.write(self.facts.early)
        return tls


_free: Final[list[_Lease]] = []


@contextmanager
def watched(context: ssl.SSLContext, facts: Facts) -> Iterator[ssl.SSLContext]:
    """A context for one handshake, for as long as it lasts: sessions are those of ``context``, ``facts`` get filled."""
    # OpenSSL takes a millisecond to make one
    lease = _free.pop() if _free else _Lease(ssl.PROTOCOL_TLS_SERVER)
    lease.real, lease.facts = context, facts
    try:
        yield lease
    finally:
        # the transport behind facts.write must not live on with the lease
        lease.real, lease.facts = None, Facts()
        if len(_free) < LEASES:
            _free.append(lease)


def read_hello(facts: Facts) -> None:
    """Versions, ciphers and server name of a ClientHello (RFC 8446 section 4.1.2), where it is whole and sound."""
    octets = bytes(facts.octets)
    if len(octets) < 9 or octets[0] != 22 or octets[5] != 1:
        return
    hello = octets[9 : 9 + int.from_bytes(octets[6:9])]
    if len(hello) < int.from_bytes(octets[6:9]):
        return
    legacy = int.from_bytes(hello[:2])
    _, at = _vector(hello, 34, 1)
    ciphers, at = _vector(hello, at, 2)
    _, at = _vector(hello, at, 1)
    extensions, _ = _vector(hello, at, 2)
    offered = [legacy]
    at = 0
    while at + 4 <= len(extensions):
        kind = int.from_bytes(extensions[at : at + 2])
        body, at = _vector(extensions, at + 2, 2)
        if kind == 0 and body[2:3] == b"\x00":
            name, _ = _vector(body, 3, 2)
            facts.server_name = name.decode("ascii", "replace")[:255]
        elif kind == 43:
            offered = _numbers(_vector(body, 0, 1)[0])
    facts.ciphers = tuple(number for number in _numbers(ciphers) if not (_is_grease(number) or number in _SIGNALS))
    facts.versions = tuple(VERSIONS.get(number, "other") for number in offered if not _is_grease(number))


def _vector(octets: bytes, at: int, length_octets: int) -> tuple[bytes, int]:
    start = at + length_octets
    end = start + int.from_bytes(octets[at:start])
    return octets[start:end], end


def _numbers(octets: bytes) -> list[int]:
    return [int.from_bytes(octets[at : at + 2]) for at in range(0, len(octets) - 1, 2)]


def _is_grease(number: int) -> bool:
    # RFC 8701: 0x0A0A, 0x1A1A ... are there to be ignored
    return number & 0x0F0F == 0x0A0A and number >> 8 == number & 0xFF


@functools.cache
def _cipher_names() -> dict[int, str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    return {int(cipher["id"]) & 0xFFFF: str(cipher["name"]) for cipher in context.get_ciphers()}
