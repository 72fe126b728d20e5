"""What a probe makes of hosts that are old, broken or no mail servers: real sockets, scripted answers."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from certificates import Authority

from gateway.cli.main import main
from gateway.outside.probe import Plan, judged, probe
from gateway.outside.report import Level
from gateway.outside.visit import Offer, Place, Question, visit

pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion")

Serve = Callable[[socket.socket], None]


class Host:
    """A listener whose connections each run ``serve`` in a thread."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.place = Place("mx.example.com", "127.0.0.1", self._sock.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._sock.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, sock: socket.socket) -> None:
        sock.settimeout(10)
        try:
            self._serve(sock)
        except OSError:
            pass
        finally:
            sock.close()

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def host() -> Iterator[Callable[[Serve], Place]]:
    hosts: list[Host] = []

    def start(serve: Serve) -> Place:
        hosts.append(Host(serve))
        return hosts[-1].place

    yield start
    for one in hosts:
        one.close()


def dialog(sock: socket.socket, words: tuple[str, ...] = (), context: ssl.SSLContext | None = None) -> None:
    """SMTP that takes every recipient."""
    sock.sendall(b"220 old.example.com ESMTP\r\n")
    lines = sock.makefile("rb")
    while line := lines.readline(1000):
        verb = line[:4].upper()
        if verb == b"EHLO":
            texts = ["old.example.com", *words]
            reply = [f"250{'-' if n < len(texts) else ' '}{text}\r\n" for n, text in enumerate(texts, 1)]
            sock.sendall("".join(reply).encode())
        elif verb == b"STAR" and context is not None:
            sock.sendall(b"220 go on\r\n")
            sock = context.wrap_socket(sock, server_side=True)
            lines = sock.makefile("rb")
        elif verb == b"QUIT":
            sock.sendall(b"221 bye\r\n")
            return
        else:
            sock.sendall(b"250 ok\r\n")


OFFER = Offer("probe.example.net", timeout=5.0)
RELAY = Question("relay", "", "somebody@example.org")


def test_old_tls_versions_and_an_open_relay_are_told(host, tmp_path: Path):
    tls = Authority().write(tmp_path, "mx", "rsa", "mx.example.com")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls["certificate"], tls["key"])
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    place = host(lambda sock: dialog(sock, ("STARTTLS", "SIZE 1000"), context))
    seen = probe([place], Plan(OFFER, 2, once=(RELAY,)))
    assert seen[0].tls["TLSv1"]
    assert list(seen[0].certificates) == ["rsa"]
    lines = judged(seen)
    told = {(line.level, line.about): line.text for line in lines}
    assert "RFC 8996" in told[Level.WARNING, "tls"]
    assert "OPEN RELAY" in told[Level.ERROR, "relay"]
    assert "verify refuse it" in told[Level.NOTE, "certificate"]


def test_no_starttls_is_a_warning(host):
    place = host(lambda sock: dialog(sock, ("SIZE 1000",)))
    told = [(line.level, line.text) for line in judged(probe([place], Plan(OFFER, 1)))]
    assert (Level.WARNING, "STARTTLS is not offered") in told


BROKEN: dict[str, tuple[Serve, str]] = {
    "a web server": (lambda sock: sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "no SMTP reply"),
    "closes at once": (lambda _sock: None, "closed"),
    "refuses": (lambda sock: sock.sendall(b"554 5.7.1 not you\r\n"), "greeting: 554 5.7.1 not you"),
    "never ends": (lambda sock: sock.sendall(b"220-more\r\n" * 500), "a reply without end"),
    "one long line": (lambda sock: sock.sendall(b"220 " + b"x" * 100000), "x"),
    "promises TLS and has none": (
        lambda sock: [dialog_part(sock), sock.sendall(b"500 what?\r\n" * 3)][0],
        "TLS: ",
    ),
}


def dialog_part(sock: socket.socket) -> None:
    sock.sendall(b"220 a\r\n")
    sock.recv(1000)
    sock.sendall(b"250-a\r\n250 STARTTLS\r\n")
    sock.recv(1000)
    sock.sendall(b"220 go on\r\n")
    sock.recv(1000)


@pytest.mark.parametrize("name", BROKEN)
def test_trouble_is_a_fact_and_never_raises(name: str, host):
    serve, text = BROKEN[name]
    place = host(serve)
    seen = visit(place, OFFER, (RELAY,))
    assert text in (seen.error or str(seen.greeting))
    assert not seen.unreachable
    assert main(["probe", "127.0.0.1", "--port", str(place.port), "--resolver", "127.0.0.1:9", "--timeout", "5"]) == 1


def test_a_host_that_says_nothing_costs_the_timeout_and_no_more(host):
    done = threading.Event()
    place = host(lambda _sock: done.wait(10) and None)
    seen = visit(place, Offer("probe.example.net", timeout=0.3))
    done.set()
    assert "timed out" in seen.error or "no answer in time" in seen.error
