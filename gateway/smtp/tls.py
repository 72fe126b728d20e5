"""The server's TLS: contexts from certificates, the choice among them by server name, and reading them anew.

TLS 1.2 and later (RFC 8996); opportunistic TLS between MTAs does not judge the client's certificate (RFC 7435). One
context carries at most one certificate of each key type, and OpenSSL takes the one that the client can verify.

Known gaps: no OCSP stapling; OpenSSL's own cache of TLS 1.2 session ids stays on, since Python cannot switch it off.
"""

from __future__ import annotations

import os
import ssl
from asyncio import sslproto
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from gateway.smtp.tls_pair import CertificateError, PemPair, Signature, read_pair, signature
from gateway.smtp.tls_self_signed import ensure_self_signed
from gateway.smtp.tls_watch import WatchedTls, WatchingContext

__all__ = ["CertificateError", "CertificateHolder", "ensure_self_signed", "limit_tls_memory", "make_context"]

RECORD_OCTETS: Final = 16384
READ_ATTEMPTS: Final = 3
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""TLS 1.2: forward secrecy and authenticated encryption only. Those of TLS 1.3 are not chosen by this list."""


def limit_tls_memory() -> None:
    """Let asyncio's TLS sessions keep buffers of one TLS record: 50 instead of 284 KB an idle session."""
    sslproto.SSLProtocol.max_size = RECORD_OCTETS


def make_context(pairs: Sequence[PemPair], ciphers: str = "", tickets: bool = False) -> ssl.SSLContext:
    """The context for new sessions; on a server name that other pairs carry it hands the session to theirs.

    Writes memory files, so not for the event loop. Raises CertificateError."""
    chosen: dict[tuple[PemPair, ...], ssl.SSLContext] = {}

    def context_of(names: tuple[PemPair, ...]) -> ssl.SSLContext:
        if names not in chosen:
            chosen[names] = _plain_context(names, ciphers, tickets)
        return chosen[names]

    first = _plain_context(default_pairs(pairs), ciphers, tickets)
    chosen[default_pairs(pairs)] = first
    by_name = {name: context_of(pairs_for(pairs, name)) for pair in pairs for name in pair.names}
    first.sni_callback = _Chooser(by_name)
    return first


def pairs_for(pairs: Sequence[PemPair], name: str) -> tuple[PemPair, ...]:
    """The pairs for a server name, one of each key type: exact names before wildcards, then in the order given."""
    wildcard = name if name.startswith("*.") else "*." + name.partition(".")[2]
    exact = [pair for pair in pairs if name in pair.names]
    return _one_each(exact + [pair for pair in pairs if wildcard in pair.names])


def default_pairs(pairs: Sequence[PemPair]) -> tuple[PemPair, ...]:
    """The pairs for a client that names no server, or none of ours: the first, with its siblings of other key types."""
    names = set(pairs[0].names)
    return _one_each([pairs[0], *(pair for pair in pairs if names & set(pair.names))])


def _one_each(pairs: Sequence[PemPair]) -> tuple[PemPair, ...]:
    found: dict[str, PemPair] = {}
    for pair in pairs:
        found.setdefault(pair.kind, pair)
    return tuple(found.values())


class _Chooser:
    """OpenSSL's callback for the server name. by_name: DNS names in lower case, wildcards with ``*.``."""

    def __init__(self, by_name: Mapping[str, ssl.SSLContext]) -> None:
        self._by_name = by_name

    def __call__(self, tls: ssl.SSLSocket | ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        if not name or not isinstance(tls, ssl.SSLObject):
            return
        if isinstance(tls, WatchedTls) and tls.facts is not None:
            tls.facts.server_name = name
        asked = name.lower().rstrip(".")
        chosen = self._by_name.get(asked) or self._by_name.get("*." + asked.partition(".")[2])
        if chosen is not None and chosen is not context:
            tls.context = chosen


def _plain_context(pairs: Sequence[PemPair], ciphers: str, tickets: bool) -> ssl.SSLContext:
    context = WatchingContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    if not tickets:
        # the key of the tickets would live as long as the process, and with it the secrecy of all sessions
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    try:
        context.set_ciphers(ciphers or CIPHERS)
    except ssl.SSLError as error:
        raise CertificateError(f"ciphers: {error.reason or error}") from error
    for pair in pairs:
        _load(context, pair)
    return context


def _load(context: ssl.SSLContext, pair: PemPair) -> None:
    # Python loads keys from files only; this one is in memory, so what was judged is what is loaded
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(f"{pair.key}\n{pair.certificate}\n".encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    except (ssl.SSLError, OSError) as error:
        raise CertificateError(f"{pair.name} ({pair.kind}): {error}") from error
    finally:
        os.close(descriptor)


class CertificateHolder:
    """The certificates in force, from files. New sessions take ``context()``; running ones keep theirs.

    more: further pairs of certificate and key. ciphers: OpenSSL's list for TLS 1.2, '': ours. Raises CertificateError.
    """

    def __init__(
        self, certificate: Path, key: Path, *more: tuple[Path, Path], ciphers: str = "", tickets: bool = False
    ) -> None:
        self.files = ((certificate, key), *more)
        self.ciphers = ciphers
        self.tickets = tickets
        self.pairs: tuple[PemPair, ...] = ()
        self._seen: Signature = ()
        self._context = self.reload()

    @property
    def not_after(self) -> float:
        """When the first of the certificates in force ends: seconds since 1970."""
        return min(pair.not_after for pair in self.pairs)

    def context(self) -> ssl.SSLContext:
        """The context in force."""
        return self._context

    def changed(self) -> bool:
        """Whether a file is another one than when it was last read, be it with success or not. Asks the disk."""
        return self._signature() != self._seen

    def reload(self) -> ssl.SSLContext:
        """Read the files again. Raises CertificateError, and then the old certificates stay in force."""
        return self.use(self.read())

    def read(self) -> tuple[PemPair, ...]:
        """Read the files, and leave what is in force. Raises CertificateError."""
        return self._read(READ_ATTEMPTS)

    def use(self, pairs: tuple[PemPair, ...]) -> ssl.SSLContext:
        """Put these into force. Raises CertificateError, and then the old certificates stay in force."""
        context = make_context(pairs, self.ciphers, self.tickets)
        self.pairs, self._context = pairs, context
        return context

    def _read(self, attempts: int) -> tuple[PemPair, ...]:
        # taken before reading: a file that changes meanwhile is seen to have changed
        self._seen = self._signature()
        try:
            return tuple(read_pair(certificate, key) for certificate, key in self.files)
        except CertificateError:
            # half old and half new only because they were being replaced while we read is no fault of anybody
            if attempts > 1 and self.changed():
                return self._read(attempts - 1)
            raise

    def _signature(self) -> Signature:
        return signature([path for pair in self.files for path in pair])
