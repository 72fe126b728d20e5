"""A node with ``tls.tlsa_guard``: a key that no published TLSA record fits does not come into force."""

from __future__ import annotations

import http.client
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from certificates import Authority, key_pem, new_key
from dns_server import NsdServer
from node_process import NodeProcess

from gateway.adapters.dns_broken import BrokenResolver
from gateway.adapters.dns_validated import ValidatedResolver
from gateway.node.tlsa_guard import TlsaGuard
from gateway.outside.tlsa import of_pem
from gateway.outside.visit import Offer, Place, visit
from gateway.ports.dns import Resolver
from gateway.smtp.tls_pair import CertificateError, PemPair, pair_from

HOST = "mx.example.com"


@dataclass
class Site:
    """put: another key and its certificate in the place of the old; returns its TLSA record. publish: these records."""

    node: NodeProcess
    put: Callable[[], str]
    publish: Callable[..., None]

    def served(self) -> str:
        """The record of what clients get."""
        seen = visit(Place(HOST, "127.0.0.1", self.node.smtp_port), Offer("client.example"))
        assert seen.tls
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding

        pem = x509.load_der_x509_certificate(seen.tls.chain[0]).public_bytes(Encoding.PEM).decode()
        return str(of_pem(pem))

    def said(self, text: str) -> bool:
        return any(text in record["message"] for record in self.node.events("tls") if "message" in record)

    def match(self) -> float:
        for line in self.node.get("/metrics")[1].splitlines():
            if line.startswith("mxgw_tlsa_match{") and f'host="{HOST}"' in line:
                return float(line.rpartition(" ")[2])
        return math.nan


@pytest.fixture
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    mode = request.param
    authority, tls = Authority(), tmp_path / "tls"
    first = authority.write(tls, "mx", "ecdsa", HOST)
    record = str(of_pem(Path(first["key"]).read_text()))
    with NsdServer({"example.com": f"_25._tcp.mx TLSA {record}\n"}) as nsd:
        node = NodeProcess(
            tmp_path / "node",
            {
                "hostname": HOST,
                "workers": 1,
                "tls": {**first, "tlsa_guard": mode},
                "dns": {"servers": ["{}:{}".format(*nsd.address)], "timeout": 1.0},
                "mta_sts": {"mode": "enforce", "mx": [HOST]},
            },
        )

        def put() -> str:
            new = authority.write(tmp_path / "new", "mx", "ecdsa", HOST)
            for name in ("key", "certificate"):
                shutil.move(new[name], first[name])
            return str(of_pem(Path(first["key"]).read_text()))

        def publish(*records: str) -> None:
            nsd.change("example.com", "".join(f"_25._tcp.mx TLSA {one}\n" for one in records) or "mx A 127.0.0.1\n")

        try:
            node.wait_ready()
            yield Site(node, put, publish)
        finally:
            node.end()


@pytest.mark.parametrize("site", ["block"], indirect=True)
def test_a_key_without_a_record_waits_until_its_record_is_published(site: Site):
    old = site.served()
    site.node.wait(lambda: site.match() == 1, "the metric says that a record fits")
    new = site.put()
    site.node.wait(lambda: site.said("no TLSA record of mx.example.com fits"), "the refusal is logged")
    assert site.node.metric("mxgw_reload_last_success", what="tls") == 0
    assert site.served() == old
    site.publish(old, new)
    site.node.wait(lambda: site.served() == new, "the new key is in force")
    site.node.wait(lambda: site.node.metric("mxgw_reload_last_success", what="tls") == 1, "the reload worked")
    # the policy file stands on the admin port where it has no listener of its own
    status, text = site.node.get("/.well-known/mta-sts.txt")
    assert (status, text) == (200, "version: STSv1\r\nmode: enforce\r\nmx: mx.example.com\r\nmax_age: 604800\r\n")


class Seen:
    """What the metric was told last."""

    def __init__(self) -> None:
        self.matches: dict[str, bool | None] = {}

    def seen(self, matches: dict[str, bool | None]) -> None:
        self.matches = dict(matches)


AUTHORITY = Authority()


def pair(kind: str = "ecdsa", days: float = 80, name: str = HOST) -> PemPair:
    key = new_key(kind)
    return pair_from(AUTHORITY.leaf(key, name, days=days).decode(), key_pem(key).decode(), name)


def guard(dns: Resolver, block: bool) -> tuple[TlsaGuard, Seen]:
    seen = Seen()
    return TlsaGuard(dns, HOST, block, seen), seen


async def test_warn_lets_it_in_and_says_so(caplog: pytest.LogCaptureFixture):
    old, new = pair(), pair()
    with NsdServer({"example.com": f"_25._tcp.mx TLSA {of_pem(old.certificate)}\n"}) as nsd:
        warned, seen = guard(ValidatedResolver([nsd.address]), block=False)
        await warned.admit((new,), (old,))
        assert "no TLSA record of mx.example.com fits" in caplog.text
        await warned.watch((new,))
        assert seen.matches == {HOST: False}
        assert "and it is in force" in caplog.text


async def test_each_kind_of_key_needs_a_record_and_a_name_without_records_needs_none():
    ecdsa, rsa, elsewhere = pair(), pair("rsa"), pair(name="mx.example.net")
    zones = {"example.com": f"_25._tcp.mx TLSA {of_pem(ecdsa.certificate)}\n", "example.net": "@ A 127.0.0.1\n"}
    with NsdServer(zones) as nsd:
        dns = ValidatedResolver([nsd.address])
        strict, seen = guard(dns, block=True)
        await strict.admit((ecdsa, elsewhere), (rsa,))
        with pytest.raises(CertificateError, match=r"mx\.example\.com \(rsa\)"):
            await strict.admit((ecdsa, rsa), (ecdsa,))
        await strict.watch((ecdsa, elsewhere))
        assert seen.matches == {HOST: True, "mx.example.net": None}


async def test_while_dns_is_away_the_old_one_stays_unless_it_ends():
    new, away = pair(), BrokenResolver()
    strict, seen = guard(away, block=True)
    with pytest.raises(CertificateError, match="DNS does not say"):
        await strict.admit((new,), (pair(),))
    strict, seen = guard(away, block=True)
    await strict.admit((new,), (pair(days=0.5),))
    lax, seen = guard(away, block=False)
    await lax.admit((new,), (pair(),))
    await lax.watch((new,))
    assert seen.matches == {HOST: None}


def test_the_policy_listener_knows_no_other_path(world):
    address = world.nodes[0].events("listening")[0]["mta_sts"]
    found = {}
    for path in ("/.well-known/mta-sts.txt", "/metrics", "/", "/.well-known/"):
        asked = http.client.HTTPConnection(address, timeout=10)
        asked.request("GET", path)
        answer = asked.getresponse()
        found[path] = (answer.status, answer.getheader("Content-Type"))
        asked.close()
    assert found.pop("/.well-known/mta-sts.txt") == (200, "text/plain; charset=utf-8")
    assert {status for status, _ in found.values()} == {404}
    assert world.nodes[0].get("/.well-known/mta-sts.txt")[0] == 404
