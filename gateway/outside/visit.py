"""One SMTP session as a stranger has it: greeting, EHLO, STARTTLS, certificate, answers to MAIL and RCPT. Never DATA.

In: a place, what to offer, whom to ask for. Out: a :class:`Visit`; trouble is a fact of it and never raises. Blocking
sockets, since the chain and the cipher of a handshake are what is looked at: run it in a thread.

Known gaps: the chain behind the leaf is read by a private name of Python's ssl before 3.13.
"""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from cryptography import x509

_LINE: Final = 4096
_LINES: Final = 100
_ID: Final = re.compile(r"\[[^\]]*\]|\b(?=\w*\d)(?=\w*[A-Za-z])\w{8,}\b|\d+")


@dataclass(frozen=True, slots=True)
class Heard:
    """A reply: code and the text of its lines."""

    code: int
    lines: tuple[str, ...]

    @property
    def likeness(self) -> str:
        """The reply without what differs from session to session: ids, numbers."""
        words = " ".join(self.lines)
        status = re.match(r"([245]\.\d+\.\d+)\s+", words)
        rest = words[status.end() :] if status else words
        return f"{self.code} {status[1] if status else '-'} {_ID.sub('#', rest)}".strip()

    def __str__(self) -> str:
        return f"{self.code} {' '.join(self.lines)}"


@dataclass(frozen=True, slots=True)
class Tls:
    """A handshake's result. chain: DER, leaf first."""

    version: str
    cipher: str
    chain: tuple[bytes, ...]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the leaf, hexadecimal; '' where there is none."""
        return hashlib.sha256(self.chain[0]).hexdigest() if self.chain else ""

    @property
    def names(self) -> tuple[str, ...]:
        """The leaf's DNS names in lower case."""
        if not self.chain:
            return ()
        try:
            found = x509.load_der_x509_certificate(self.chain[0]).extensions
            listed = found.get_extension_for_class(x509.SubjectAlternativeName).value
            return tuple(name.lower() for name in listed.get_values_for_type(x509.DNSName))
        except (ValueError, x509.ExtensionNotFound):
            return ()

    @property
    def not_after(self) -> float:
        """When the leaf ends, seconds since 1970; 0 where nobody knows."""
        try:
            return x509.load_der_x509_certificate(self.chain[0]).not_valid_after_utc.timestamp() if self.chain else 0.0
        except ValueError:
            return 0.0


@dataclass(frozen=True, slots=True)
class Place:
    """host: the name that is meant (also sent as server name); address and port: where it is."""

    host: str
    address: str
    port: int = 25

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Question:
    """A recipient to ask for: label (how reports call it), reverse-path and forward-path without brackets."""

    label: str
    reverse_path: str
    forward_path: str


@dataclass(frozen=True, slots=True)
class Offer:
    """What we bring. version: the only TLS version to offer; ciphers: OpenSSL's list up to TLS 1.2; verify: judge the
    chain, with the CAs of this file or of the system. verbs: commands to say in the end."""

    hello: str
    timeout: float = 15.0
    starttls: bool = True
    version: ssl.TLSVersion | None = None
    ciphers: str = ""
    verify: bool = False
    ca: str | None = None
    verbs: tuple[str, ...] = ()


@dataclass(slots=True)
class Visit:
    """What was seen, as far as it went. error: why it went no further, '' if nothing was in the way. seconds: by
    connect, greeting, ehlo, starttls, and each question's label."""

    place: Place
    greeting: Heard | None = None
    hello: Heard | None = None
    starttls: Heard | None = None
    tls: Tls | None = None
    hello_tls: Heard | None = None
    answers: dict[str, Heard] = field(default_factory=dict)
    verbs: dict[str, Heard] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    error: str = ""
    unreachable: bool = False
    handshake_error: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """The EHLO words in clear, in alphabetical order."""
        return _words(self.hello)

    @property
    def words_tls(self) -> tuple[str, ...]:
        """Those behind STARTTLS."""
        return _words(self.hello_tls)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        tls: Mapping[str, Any] | None = None
        if self.tls:
            tls = {
                "version": self.tls.version,
                "cipher": self.tls.cipher,
                "certificate": self.tls.fingerprint,
                "names": list(self.tls.names),
                "not_after": self.tls.not_after,
            }
        return {
            "greeting": str(self.greeting) if self.greeting else "",
            "ehlo": list(self.words),
            "ehlo_tls": list(self.words_tls),
            "starttls": str(self.starttls) if self.starttls else "",
            "tls": tls,
            "answers": {label: str(heard) for label, heard in self.answers.items()},
            "verbs": {verb: str(heard) for verb, heard in self.verbs.items()},
            "seconds": {name: round(spent, 4) for name, spent in self.seconds.items()},
            "error": self.error,
        }


class _Rough(Exception):
    """The other side does not speak SMTP, or stopped to."""


def visit(place: Place, offer: Offer, questions: Sequence[Question] = ()) -> Visit:
    """Go there and look. Blocks for at most a few of ``offer.timeout``."""
    seen = Visit(place)
    sock: socket.socket | None = None
    try:
        began = time.monotonic()
        try:
            sock = socket.create_connection((place.address, place.port), offer.timeout)
        except OSError as fault:
            seen.unreachable = True
            raise _Rough(f"no connection: {fault.strerror or fault}") from fault
        seen.seconds["connect"] = time.monotonic() - began
        sock = _talk(sock, seen, offer, questions)
    except (_Rough, OSError) as fault:
        seen.error = str(fault) or type(fault).__name__
    finally:
        if sock is not None:
            sock.close()
    return seen


def _talk(sock: socket.socket, seen: Visit, offer: Offer, questions: Sequence[Question]) -> socket.socket:
    lines = sock.makefile("rb")
    began = time.monotonic()
    seen.greeting = _reply(lines)
    seen.seconds["greeting"] = time.monotonic() - began
    if seen.greeting.code != 220:
        raise _Rough(f"greeting: {seen.greeting}")
    seen.hello = _timed(seen, "ehlo", sock, lines, f"EHLO {offer.hello}")
    if seen.hello.code != 250:
        raise _Rough(f"EHLO: {seen.hello}")
    if offer.starttls and "STARTTLS" in seen.words:
        seen.starttls = _said(sock, lines, "STARTTLS")
        if seen.starttls.code == 220:
            began = time.monotonic()
            sock = _encrypted(sock, seen, offer)
            seen.seconds["starttls"] = time.monotonic() - began
            lines = sock.makefile("rb")
            seen.hello_tls = _said(sock, lines, f"EHLO {offer.hello}")
    for question in questions:
        began = time.monotonic()
        answer = _said(sock, lines, f"MAIL FROM:<{question.reverse_path}>")
        if answer.code == 250:
            answer = _said(sock, lines, f"RCPT TO:<{question.forward_path}>")
            seen.answers[question.label] = answer
            seen.seconds[question.label] = time.monotonic() - began
            _said(sock, lines, "RSET")
        else:
            seen.answers[question.label] = answer
    for verb in offer.verbs:
        seen.verbs[verb] = _said(sock, lines, verb)
    sock.sendall(b"QUIT\r\n")
    return sock


def _encrypted(sock: socket.socket, seen: Visit, offer: Offer) -> socket.socket:
    context = ssl.create_default_context(cafile=offer.ca) if offer.verify else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not offer.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if offer.version is not None:
        # OpenSSL offers the old versions only at this level
        context.set_ciphers(f"{offer.ciphers or 'ALL'}:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = offer.version
    try:
        tls = context.wrap_socket(sock, server_hostname=seen.place.host)
    except ssl.SSLCertVerificationError as fault:
        seen.handshake_error = fault.verify_message
        raise _Rough(f"TLS: {fault.verify_message}") from fault
    except OSError as fault:
        seen.handshake_error = str(getattr(fault, "reason", "") or fault or type(fault).__name__)
        raise _Rough(f"TLS: {seen.handshake_error}") from fault
    cipher = tls.cipher()
    seen.tls = Tls(tls.version() or "", cipher[0] if cipher else "", _chain(tls))
    return tls


def _chain(tls: ssl.SSLSocket) -> tuple[bytes, ...]:
    public: Any = getattr(tls, "get_unverified_chain", None)
    if public is not None:
        return tuple(public())
    inner: Any = getattr(tls, "_sslobj", None)
    # 2: DER, as _ssl.ENCODING_DER has it
    found = inner.get_unverified_chain() if hasattr(inner, "get_unverified_chain") else None
    if found:
        return tuple(bytes(one.public_bytes(2)) for one in found)
    leaf = tls.getpeercert(binary_form=True)
    return (leaf,) if leaf else ()


def _timed(seen: Visit, name: str, sock: socket.socket, lines: BinaryIO, line: str) -> Heard:
    began = time.monotonic()
    answer = _said(sock, lines, line)
    seen.seconds[name] = time.monotonic() - began
    return answer


def _said(sock: socket.socket, lines: BinaryIO, line: str) -> Heard:
    sock.sendall(f"{line}\r\n".encode())
    return _reply(lines)


def _reply(lines: BinaryIO) -> Heard:
    texts: list[str] = []
    while len(texts) < _LINES:
        try:
            line = lines.readline(_LINE)
        except TimeoutError as fault:
            raise _Rough("no answer in time") from fault
        if not line:
            raise _Rough("the connection was closed")
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if not re.match(r"[2-5]\d\d(?:[ -]|$)", text):
            raise _Rough(f"this is no SMTP reply: {text[:80]!r}")
        texts.append(text[4:])
        if text[3:4] != "-":
            return Heard(int(text[:3]), tuple(texts))
    raise _Rough("a reply without end")


def _words(hello: Heard | None) -> tuple[str, ...]:
    return tuple(sorted(line.strip().upper() for line in hello.lines[1:])) if hello else ()
