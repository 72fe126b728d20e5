"""A small DNS server on real sockets (UDP and TCP of one loopback port) over zone data as the openspf suite writes it.

Zone data: name -> list of ``{"TYPE": value}``, or the words ``TIMEOUT`` (no answer) and ``SERVFAIL``. They hold for the
types that do not stand before them in the list; ``{"TXT": "TIMEOUT"}`` holds for one type. ``TXT`` values are a string
or a list of strings, ``MX`` values ``[10, "host"]``. It answers like a recursive server: aliases are followed.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TXT
import dns.rrset

ZoneData = Mapping[str, Sequence[Any]]
_LINKS = 16


class Silence(Exception):
    """No answer is sent."""


class DnsResponder:
    """``address`` is (host, port). ``zone`` may be replaced at any time; ``asked`` counts questions by (name, type)."""

    def __init__(self, zone: ZoneData | None = None) -> None:
        self.zone: dict[str, Sequence[Any]] = {}
        self.asked: list[tuple[str, str]] = []
        self.serve(zone or {})
        self._tcp, self._udp = _servers(self)
        self.address: tuple[str, int] = ("127.0.0.1", int(self._udp.server_address[1]))
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            for server in (self._tcp, self._udp)
        ]
        for thread in self._threads:
            thread.start()

    def serve(self, zone: ZoneData) -> None:
        """From now on answer from this zone data."""
        self.zone = {name.lower().rstrip("."): entries for name, entries in zone.items()}

    def close(self) -> None:
        for server in (self._tcp, self._udp):
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join(5)

    def answer(self, octets: bytes, limit: int) -> bytes | None:
        """The response to a query, cut to ``limit`` octets with TC; None for silence."""
        query = dns.message.from_wire(octets)
        question = query.question[0]
        response = dns.message.make_response(query, recursion_available=True)
        rtype = dns.rdatatype.to_text(question.rdtype)
        name = question.name
        self.asked.append((_key(name), rtype))
        try:
            for _ in range(_LINKS):
                target = self._link(response, name, rtype)
                if target is None:
                    break
                name = target
            else:
                response.answer.clear()
                response.set_rcode(dns.rcode.SERVFAIL)
        except Silence:
            return None
        except _Failure:
            response.answer.clear()
            response.set_rcode(dns.rcode.SERVFAIL)
        if query.edns >= 0:
            limit = max(limit, query.payload) if limit < 65535 else limit
        with contextlib.suppress(dns.exception.TooBig):
            return bytes(response.to_wire(max_size=limit))
        response.answer.clear()
        response.flags |= dns.flags.TC
        return bytes(response.to_wire(max_size=limit))

    def _link(self, response: dns.message.Message, name: dns.name.Name, rtype: str) -> dns.name.Name | None:
        """Add what stands at a name; the alias's target when the answer goes on there."""
        key = _key(name)
        entries = self.zone.get(key)
        if entries is None:
            if key.startswith("error."):
                raise Silence
            if not any(other.endswith("." + key) for other in self.zone):
                response.set_rcode(dns.rcode.NXDOMAIN)
            return None
        found, alias = [], None
        for kind, value in _records(entries):
            if kind == "" or (kind == rtype and value in ("TIMEOUT", "SERVFAIL")):
                if found:
                    break
                raise Silence if value == "TIMEOUT" else _Failure
            if kind == rtype:
                found.append(_rdata(kind, value))
            elif kind == "CNAME":
                alias = _rdata(kind, value)
        if found:
            response.answer.append(dns.rrset.from_rdata_list(name, 60, found))
        elif alias is not None:
            response.answer.append(dns.rrset.from_rdata_list(name, 60, [alias]))
            return dns.name.from_text(alias.target.to_text())
        return None


class _Failure(Exception):
    pass


def _key(name: dns.name.Name) -> str:
    # labels as they are: to_text() would escape what macros put into them
    return ".".join(label.decode("latin-1") for label in name.labels if label).lower()


def _records(entries: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """(type, value) in order; type '' for a word that holds for all types. SPF records stand for TXT where none is given
    (the suite's convention); ``NONE`` is no record."""
    spf: list[Any] = []
    texts = False
    for entry in entries:
        if isinstance(entry, str):
            yield "", entry
            continue
        for kind, value in entry.items():
            texts = texts or kind == "TXT"
            if kind == "SPF":
                spf.append(value)
            elif value != "NONE":
                yield kind, value
    if not texts:
        for value in spf:
            yield "TXT", value


def _rdata(kind: str, value: Any) -> Any:
    if kind == "TXT":
        strings = [value] if isinstance(value, str) else list(value)
        octets = [text.encode("utf-8") for text in strings] or [b""]
        cut = [piece[at : at + 255] for piece in octets for at in range(0, max(len(piece), 1), 255)]
        return dns.rdtypes.ANY.TXT.TXT(dns.rdataclass.IN, dns.rdatatype.TXT, cut)
    if kind in ("CNAME", "PTR"):
        return dns.rdata.from_text("IN", kind, _absolute(value))
    if kind == "MX":
        return dns.rdata.from_text("IN", "MX", f"{value[0]} {_absolute(value[1])}")
    return dns.rdata.from_text("IN", kind, str(value))


def _absolute(name: str) -> str:
    return name.rstrip(".") + "."


class _Udp(socketserver.ThreadingUDPServer):
    daemon_threads = True
    responder: DnsResponder


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    responder: DnsResponder


class _Datagram(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        octets, sock = self.request
        said = self.server.responder.answer(octets, 512)  # type: ignore[attr-defined]
        if said is not None:
            sock.sendto(said, self.client_address)


class _Stream(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while len(head := self.rfile.read(2)) == 2:
            said = self.server.responder.answer(self.rfile.read(struct.unpack("!H", head)[0]), 65535)  # type: ignore[attr-defined]
            if said is None:
                continue
            self.wfile.write(struct.pack("!H", len(said)) + said)


def _servers(responder: DnsResponder) -> tuple[_Tcp, _Udp]:
    # the same number must be free for UDP and TCP
    for _ in range(50):
        tcp = _Tcp(("127.0.0.1", 0), _Stream)
        try:
            udp = _Udp(tcp.server_address, _Datagram)
        except OSError:
            tcp.server_close()
            continue
        udp.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        tcp.responder = udp.responder = responder
        return tcp, udp
    raise RuntimeError("no port is free for both UDP and TCP")


@contextlib.contextmanager
def dns_responder(zone: ZoneData | None = None) -> Iterator[DnsResponder]:
    """A responder for the time of a ``with``."""
    responder = DnsResponder(zone)
    try:
        yield responder
    finally:
        responder.close()
