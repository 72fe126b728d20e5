"""Zones as guides print them: sound, found by dig and nslookup, and judged by check-domain with the TTLs that we advise."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from debian import need
from dns_server import NsdServer

from gateway.cli.main import main

EQUAL = """\
$TTL 900
@ IN SOA ns1.dns.example. hostmaster.example. (2026010101 3600 600 1209600 300)
@ IN NS ns1.dns.example.
@ IN MX 10 mx1.example.com.
@ IN MX 10 mx2.example.com.
mx1 IN A 203.0.113.10
mx2 IN A 203.0.113.20
mx1 IN AAAA 2001:db8::10
mx2 IN AAAA 2001:db8::20
"""
HEAD = EQUAL[: EQUAL.index("@ IN MX")]
ZONES = {
    "example.com": EQUAL,
    "three.example": HEAD
    + "".join(f"@ 300 MX 10 mx{n}\nmx{n} 300 A 203.0.113.{n + 9}\n" for n in (1, 2, 3)),
    "one-name.example": HEAD + "@ 300 MX 10 mail-cluster\n"
    + "".join(f"mail-cluster 300 A 203.0.113.{n}\n" for n in (10, 11, 12)),
    "pairs.example": HEAD + "@ 3600 MX 10 mx1\n@ 3600 MX 10 mx2\n"
    "mx1 3600 A 203.0.113.10\nmx1 3600 A 203.0.113.11\nmx2 3600 A 198.51.100.20\nmx2 3600 A 198.51.100.21\n",
    "passive.example": HEAD + "@ 3600 MX 10 mx-primary\n@ 3600 MX 40 mx-backup\n"
    "mx-primary 3600 A 203.0.113.50\nmx-backup 3600 A 198.51.100.60\n",
    "provider.example": HEAD + "@ 22879 MX 10 mx\n@ 22879 MX 100 mx.provider\n"
    "mx 22879 A 203.0.113.50\nmx.provider 22879 A 198.51.100.60\n",
    "single.example": HEAD + "@ MX 10 mx\nmx A 203.0.113.50\n",
    "odd.example": HEAD + "@ MX 10 ip-10-0-0-11\n@ MX 10 alias\nip-10-0-0-11 A 203.0.113.50\nalias CNAME ip-10-0-0-11\n",
}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[NsdServer]:
    with NsdServer(ZONES) as started:
        yield started


def dig(server: NsdServer, *words: str) -> str:
    host, port = server.address
    return subprocess.run(
        [need("dig"), f"@{host}", "-p", str(port), *words], capture_output=True, text=True, check=True, timeout=30
    ).stdout


def told(server: NsdServer, domain: str, capsys: pytest.CaptureFixture[str], *words: str) -> dict[tuple[str, str], str]:
    """(about, subject) -> text of what is not in order."""
    asked = ["--resolver", "{}:{}".format(*server.address), "--dns-only", "-o", "json"]
    main(["check-domain", domain, *asked, *words])
    lines = json.loads(capsys.readouterr().out)["lines"]
    return {(one["about"], one["subject"]): one["text"] for one in lines if one["level"] in ("warning", "error")}


@pytest.mark.parametrize("origin", sorted(ZONES))
def test_each_zone_is_sound(origin: str, tmp_path: Path) -> None:
    file = tmp_path / "zone"
    file.write_text(ZONES[origin], encoding="utf-8")
    # an alias as MX host is sound for nobody, and is what odd.example is there for
    words = ["-M", "ignore"] if origin == "odd.example" else ["-M", "fail"]
    done = subprocess.run(
        [need("named-checkzone"), "-i", "local", *words, origin, str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_dig_and_nslookup_as_guides_print_them(server: NsdServer) -> None:
    assert dig(server, "+short", "MX", "example.com").split() == ["10", "mx1.example.com.", "10", "mx2.example.com."]
    assert dig(server, "mx1.example.com", "A", "+short").split() == ["203.0.113.10"]
    assert dig(server, "+short", "AAAA", "mx2.example.com").split() == ["2001:db8::20"]
    assert dig(server, "+short", "SOA", "example.com").split() == [
        "ns1.dns.example.", "hostmaster.example.", "2026010101", "3600", "600", "1209600", "300",
    ]  # fmt: skip
    assert re.search(r"(?m)^example\.com\.\s+900\s+IN\s+SOA", dig(server, "+noall", "+answer", "SOA", "example.com"))
    assert sorted(dig(server, "+short", "A", "mail-cluster.one-name.example").split()) == [
        f"203.0.113.{n}" for n in (10, 11, 12)
    ]
    assert sorted(dig(server, "+short", "MX", "passive.example").splitlines()) == [
        "10 mx-primary.passive.example.", "40 mx-backup.passive.example.",
    ]  # fmt: skip
    full = dig(server, "-t", "mx", "single.example")
    for section, line in (("ANSWER", r"MX\s+10 mx\.single"), ("ADDITIONAL", r"A\s+203\.0\.113\.50")):
        assert re.search(rf"(?s);; {section} SECTION:\n[^;]*{line}", full), full
    host, port = server.address
    asked = [need("nslookup"), f"-port={port}", "-type=mx", "example.com", host]
    said = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=30).stdout
    assert said.count("mail exchanger = 10 mx") == 2, said


def test_ttls_outside_of_what_we_advise_are_told(server: NsdServer, capsys: pytest.CaptureFixture[str]) -> None:
    def of(domain: str, *words: str) -> list[str]:
        return [text for (about, _), text in told(server, domain, capsys, *words).items() if about == "ttl"]

    assert of("example.com") == of("three.example") == of("one-name.example") == []
    assert all("3600 s, not 300 to 1800" in text for text in of("pairs.example"))
    assert of("pairs.example")
    assert of("pairs.example", "--ttl", "300:3600") == of("passive.example", "--ttl", "300:3600") == []
    assert any("22879 s" in text for text in of("provider.example", "--ttl", "300:3600"))


def test_names_of_machines_aliases_and_a_lone_host_are_told(
    server: NsdServer, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = told(server, "odd.example", capsys)
    assert "looks like the name of one machine" in odd["mx", "ip-10-0-0-11.odd.example"]
    assert "is an alias" in odd["mx", "alias.odd.example"]
    assert "fail together" in odd["addresses", "203.0.113.50"]
    assert "one address only" in told(server, "single.example", capsys)["mx", "single.example"]


def test_a_provider_as_last_mx_is_told_where_the_settings_do_not_name_it(
    server: NsdServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = tmp_path / "gateway.yaml"
    config.write_text(
        "hostname: mx.provider.example\n"
        "routes:\n  - {domains: [provider.example], mailstore: smtp://127.0.0.1:25}\n"
        "publish:\n  mx:\n    - {host: mx.provider.example, preference: 10, addresses: [203.0.113.50]}\n"
    )
    found = told(server, "provider.example", capsys, "--config", str(config))
    assert "MX 100 mx.provider.provider.example is published and not meant" in found["settings", "provider.example"]
