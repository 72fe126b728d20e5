"""docs/dns.md: its settings are settings, its commands and options are there, its records come out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from certificates import Authority

from gateway.cli.main import main, parser_for

PAGE = (Path(__file__).parents[2] / "docs" / "dns.md").read_text(encoding="utf-8")


def test_the_settings_of_the_page_print_the_records_of_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    block = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert block
    file = tmp_path / "gateway.yaml"
    routes = "routes:\n  - {domains: [example.com], mailstore: smtp://10.1.0.5:25}\n"
    file.write_text(f"hostname: mx1.example.net\nstate_dir: state\n{routes}{block[1]}")
    authority = Authority()
    authority.write(tmp_path / "tls", "mx", "ecdsa", "mx1.example.net", "mx2.example.net")
    authority.write(tmp_path / "tls", "next", "ecdsa", "mx1.example.net")
    assert main(["check-config", str(file)]) == 0
    capsys.readouterr()
    assert main(["dns-records", "example.com", "--config", str(file), "-o", "json"]) == 0
    records = json.loads(capsys.readouterr().out)["records"]
    names = {(one["name"], one["type"]) for one in records}
    for name in ("_dmarc.example.com", "_smtp._tls.example.com", "_mta-sts.example.com", "example.com"):
        assert (name, "TXT") in names
    assert ("mta-sts.example.com", "CNAME") in names
    assert ("10.113.0.203.in-addr.arpa", "PTR") in names
    for host in ("mx1", "mx2"):
        assert {(f"{host}.example.net", rtype) for rtype in ("A", "AAAA", "TXT")} <= names
        # of the current and the next key
        assert sum(one["name"] == f"_25._tcp.{host}.example.net" for one in records) == 2
    assert {one["ttl"] for one in records} == {600}
    assert main(["tlsa", "show", "--config", str(file)]) == 0
    assert capsys.readouterr().out.count("; next key") == 2
    assert main(["mta-sts", "render", "--config", str(file)]) == 0
    assert "mode: testing" in capsys.readouterr().out


def commands() -> list[str]:
    found = re.findall(
        r"`(?:mxgw )?((?:check-domain|probe|dns-records|tlsa|mta-sts)(?: [^`]*)?)`", PAGE.replace("\n", " ")
    )
    found += re.findall(r"mxgw ((?:check-domain|probe)\b[^>|`]*) >", PAGE)
    return sorted({" ".join(one.split()) for one in found} - {"mta-sts"})  # that one is a record in the table


def test_the_page_has_commands():
    assert len(commands()) >= 10


@pytest.mark.parametrize("line", commands())
def test_each_command_line_of_the_page_is_understood(line: str):
    words = line.replace("[HOST]", "mx1.example.net").replace("ADDRESS[:PORT]", "192.0.2.1").split()
    if words in (["check-domain"], ["probe"], ["check-domain", "--strict"]):
        words += ["example.com"]
    assert parser_for(words).parse_args(words).module == f"gateway.cli.{words[0].replace('-', '_')}"
