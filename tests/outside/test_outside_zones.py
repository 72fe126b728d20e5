"""The zones of deploy/dns: sound for named-checkzone, complete, and in order when a name server serves them."""

from __future__ import annotations

import json
import subprocess
from ipaddress import ip_address
from pathlib import Path

import dns.name
import dns.rdatatype
import dns.zone
import pytest
from debian import need
from dns_server import NsdServer

from gateway.cli.main import main

ZONES = Path(__file__).parents[2] / "deploy" / "dns"
FORWARD = ("equal-mx", "one-mx-many-addresses", "primary-and-backup")
REVERSE = {
    "reverse-203.0.113": "113.0.203.in-addr.arpa",
    "reverse-198.51.100": "100.51.198.in-addr.arpa",
    "reverse-2001-db8": "8.b.d.0.1.0.0.2.ip6.arpa",
}


def text(stem: str) -> str:
    return (ZONES / f"{stem}.zone").read_text(encoding="utf-8")


def test_all_files_are_known_here():
    assert {path.stem for path in ZONES.glob("*.zone")} == {*FORWARD, *REVERSE}


@pytest.mark.parametrize(("stem", "origin"), [*((stem, "example.com") for stem in FORWARD), *REVERSE.items()])
def test_named_checkzone_accepts_the_zone(stem: str, origin: str):
    strict = [f"-{kind}" for kind in "kmMnS"]
    words = [word for kind in strict for word in (kind, "fail")]
    said = subprocess.run(
        [need("named-checkzone"), "-i", "local", *words, origin, str(ZONES / f"{stem}.zone")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stdout
    assert said.stdout.rstrip().endswith("OK")


@pytest.mark.parametrize("stem", FORWARD)
def test_a_domain_published_so_is_in_order(stem: str, capsys: pytest.CaptureFixture[str]):
    zones = {"example.com": text(stem)} | {origin: text(name) for name, origin in REVERSE.items()}
    with NsdServer(zones) as nsd:
        asked = ["--resolver", "{}:{}".format(*nsd.address), "--dns-only", "-o", "json"]
        assert main(["check-domain", "example.com", *asked]) == 0
    lines = json.loads(capsys.readouterr().out)["lines"]
    good = {one["about"] for one in lines if one["level"] == "ok"}
    assert {"mx", "addresses", "ptr", "spf", "dmarc", "mta-sts", "tls-rpt"} <= good
    # documentation's addresses are not public, and no zone is signed here
    assert {one["about"] for one in lines if one["level"] == "warning"} == {"addresses", "tlsa"}


@pytest.mark.parametrize("stem", FORWARD)
def test_each_mx_host_has_both_families_tlsa_and_reverse_names(stem: str):
    zone = dns.zone.from_text(text(stem), "example.com", relativize=False, check_origin=False)
    reverse = [
        dns.zone.from_text(text(name), origin, relativize=False, check_origin=False) for name, origin in REVERSE.items()
    ]
    for mx in zone.find_rdataset("example.com.", "MX"):
        host = mx.exchange
        assert zone.get_rdataset(dns.name.from_text("_25._tcp", host), "TLSA")
        for rtype in ("A", "AAAA"):
            for one in zone.find_rdataset(host, rtype):
                pointer = dns.name.from_text(ip_address(one.address).reverse_pointer)
                found = [
                    rdataset
                    for z in reverse
                    if pointer.is_subdomain(z.origin) and (rdataset := z.get_rdataset(pointer, "PTR"))
                ]
                assert any(ptr.target == host for rdataset in found for ptr in rdataset), f"{host} {one.address}"


def test_two_name_servers_can_be_compared(capsys: pytest.CaptureFixture[str]):
    def told(zone: str) -> object:
        with NsdServer({"example.com": zone, "113.0.203.in-addr.arpa": text("reverse-203.0.113")}) as nsd:
            asked = ["--resolver", "{}:{}".format(*nsd.address), "--dns-only", "-o", "json"]
            main(["check-domain", "example.com", *asked])
        return json.loads(capsys.readouterr().out)

    assert told(text("equal-mx")) == told(text("equal-mx"))
    assert told(text("equal-mx")) != told(text("equal-mx").replace("MX 10 mx2", "MX 20 mx2"))
