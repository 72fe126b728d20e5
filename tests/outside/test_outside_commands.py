"""check-domain, probe, tlsa, mta-sts and dns-records against real nodes, a real web server and real name servers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from certificates import key_pem, new_key

from gateway.cli.main import main
from tests.outside.conftest import MX2

PLACES = [("mx1.example.com", "127.0.0.2"), *(("mx2.example.com", address) for address in MX2)]
pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion")  # we ask servers for the old versions


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def lines(found: dict[str, Any], level: str) -> list[tuple[str, str, str]]:
    return [(one["about"], one["subject"], one["text"]) for one in found["lines"] if one["level"] == level]


def test_a_domain_that_publishes_what_dns_records_prints_is_in_order(world, capsys):
    assert world.run("check-domain", "example.com", "--https-port", str(world.https), "-o", "json") == 0
    found = told(capsys)
    assert found["schema"] == "mxgw/v1/check-domain"
    good = {(about, subject) for about, subject, _ in lines(found, "ok")}
    for about in ("mx", "spf", "dmarc", "mta-sts", "tls-rpt", "dnssec"):
        assert (about, "example.com") in good, about
    for host, address in PLACES:
        place = f"[{address}]:{world.port}" if ":" in address else f"{address}:{world.port}"
        assert ("ptr", f"{host} {address}") in good
        assert {("certificate", f"{host} {place}"), ("tlsa", f"{host} {place}")} <= good
    assert not lines(found, "error")
    assert not lines(found, "unknown")
    # what is left: loopback addresses are not public, and not all MX hosts have both families
    assert {about for about, _, _ in lines(found, "warning")} == {"addresses"}
    assert world.run("check-domain", "example.com", "--dns-only", "--strict", "-o", "json") == 1


def test_a_domain_out_of_order_is_told_point_by_point(world, capsys):
    https = ["--https-port", str(world.https)]
    assert world.run("check-domain", "example.net", *https, "-o", "json", resolver=world.plain) == 1
    found = told(capsys)
    bad = {(about, subject): text for about, subject, text in lines(found, "error") + lines(found, "warning")}
    assert "alias of mx3.example.com" in bad["mx", "alias.example.net"]
    assert "TTL of 60 s" in bad["ttl", "example.net"]
    assert "no SPF record" in bad["spf", "example.net"]
    assert bad["dmarc", "example.net"]
    assert "several records" in bad["mta-sts", "example.net"]
    assert "no TLS-RPT" in bad["tls-rpt", "example.net"]
    assert "belongs to mx3.example.com and alias.example.net" in bad["addresses", "127.0.0.4"]
    assert (
        "is for mx3.example.com, not for alias.example.net"
        in bad["certificate", f"alias.example.net 127.0.0.4:{world.port}"]
    )
    assert ("dnssec", "example.net", "the MX set is not validated by this resolver") in lines(found, "note")


def test_a_swapped_preference_and_a_missing_address_show_beside_the_settings(world, capsys, tmp_path: Path):
    text = Path(world.config).read_text()
    swapped = text.replace("host: mx1.example.com", "host: mx1.example.com\n    preference: 40", 1)
    (tmp_path / "gateway.yaml").write_text(swapped.replace("- 127.0.0.3", "- 127.0.0.3\n    - 127.0.0.33", 1))
    words = ["check-domain", "example.com", "--dns-only", "-o", "json"]
    assert world.run(*words, "--config", str(tmp_path / "gateway.yaml")) == 1
    wrong = [text for about, _, text in lines(told(capsys), "error") if about == "settings"]
    assert "MX 40 mx1.example.com is meant (publish.mx) and not published" in wrong
    assert "MX 10 mx1.example.com is published and not meant (publish.mx)" in wrong
    assert any("127.0.0.33" in text for text in wrong)
    assert world.run(*words, config=True) == 0
    assert any("are those of publish.mx" in text for _, _, text in lines(told(capsys), "ok"))


def test_people_get_a_table_with_the_worst_last(world, capsys):
    assert world.run("check-domain", "example.net", "--dns-only") == 1
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split() == ["LEVEL", "ABOUT", "WHO", "WHAT"]
    assert rows[1].startswith("ok ")
    assert rows[-2].startswith("error ")
    assert " error" in rows[-1]


def test_a_domain_that_is_not_there_and_a_resolver_that_is_away(world, capsys):
    assert world.run("check-domain", "no-such-domain.example.com", "--dns-only") == 1
    assert "does not exist" in capsys.readouterr().out
    assert (
        main(["check-domain", "example.com", "--config", world.config, "--resolver", "127.0.0.1:9", "--dns-only"]) == 69
    )
    assert "DNS does not answer" in capsys.readouterr().err
    assert main(["check-domain", "not a domain", "--resolver", "127.0.0.1:9"]) == 64
    assert main(["check-domain", "example.com", "--resolver", "ns.example.com"]) == 64
    assert main(["check-domain", "example.com", "--ttl", "soon"]) == 64


def test_two_nodes_that_are_alike_pass_the_probe(world, capsys):
    assert world.run("probe", "example.com", "-o", "json") == 0
    found = told(capsys)
    assert found["schema"] == "mxgw/v1/probe"
    assert [(one["host"], one["address"]) for one in found["addresses"]] == PLACES
    for one in found["addresses"]:
        assert len(one["connections"]) == 3
        assert one["tls"]["TLSv1"] == one["tls"]["TLSv1.1"] == ""
        assert one["tls"]["TLSv1.2"].startswith("ECDHE-ECDSA-")
        assert one["tls"]["TLSv1.3"].startswith("TLS_")
        assert list(one["certificates"]) == ["ecdsa"]
        assert one["verified"] is True
        assert one["latency"]["median"] > 0
        first = one["connections"][0]
        assert first["answers"]["postmaster@example.com"].startswith("250 ")
        assert first["answers"]["relay"].startswith("550 5.7.1")
        assert [said[:3] for said in first["verbs"].values()] == ["250", "250", "252", "214"], first["verbs"]
        assert not any(other["verbs"] for other in one["connections"][1:])
    assert ("addresses", f"{len(PLACES)} addresses", "all alike") in lines(found, "ok")


def test_one_family_can_be_left_out_and_lines_are_for_programs(world, capsys):
    assert world.run("probe", "example.com", "--family", "4", "--connections", "1", "-o", "jsonl") == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    places = [one["address"] for one in found if one["schema"] == "mxgw/v1/probe.addresses"]
    assert places == ["127.0.0.2", "127.0.0.3"]
    assert found[-1]["schema"] == "mxgw/v1/probe"
    assert found[-1]["exit"] == 0


def test_a_pair_that_answers_differently_fails_the_probe(world, capsys):
    assert world.run("probe", "example.net", "--rcpt", "user@example.com", "--connections", "2", "-o", "json") == 1
    wrong = {subject: text for about, subject, text in lines(told(capsys), "error") if about == "addresses"}
    # size and recipients of the settings, the kind of key of the certificate
    assert "SIZE 1000000" in wrong["ehlo"]
    assert "550 5.7.1" in wrong["answer for user@example.com"]
    assert "rsa at" in wrong["kinds of key"]
    assert "ECDHE-RSA" in wrong["TLSv1.2"]
    assert "greeting" not in wrong


def test_one_address_with_two_gateways_behind_it_fails_the_probe(world, capsys):
    assert world.run("probe", "mx4.example.com", "--domain", "example.com", "--connections", "4", "-o", "json") == 1
    found = told(capsys)
    wrong = " ".join(text for about, _, text in lines(found, "error") if about == "connections")
    assert "ehlo differs between connections" in wrong
    assert "certificate differs between connections" in wrong
    assert "answer for postmaster@example.com differs between connections" in wrong


def test_a_host_that_takes_everything_is_an_open_relay_and_one_that_is_away_is_unknown(world, capsys):
    # example.org is served by the odd node, so it stands for a host that takes mail for others
    assert world.run("probe", "127.0.0.4", "--domain", "example.com", "--foreign", "anybody@example.org") == 1
    assert "OPEN RELAY" in capsys.readouterr().out
    assert world.run("probe", "127.0.0.4", "--domain", "example.com", "--foreign", "anybody@example.net") == 0
    assert main(["probe", "127.0.0.9", "--port", str(world.port), "--resolver", world.plain]) == 69
    assert "no connection" in capsys.readouterr().out


def test_tlsa_records_of_current_and_next_key(world, capsys, tmp_path: Path):
    config = ["--config", world.config]
    assert main(["tlsa", "show", *config]) == 0
    before = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in before] == ["_25._tcp.mx1.example.com.", "_25._tcp.mx2.example.com."]
    assert world.run("tlsa", "check", config=True) == 0
    assert "fits the served certificate" in capsys.readouterr().out

    (tmp_path / "next.key").write_bytes(key_pem(new_key("ecdsa")))
    next_key = ["--next", str(tmp_path / "next.key")]
    assert main(["tlsa", "show", *config, *next_key, "-o", "json"]) == 0
    records = told(capsys)["records"]
    assert [one["key"] for one in records] == ["current", "next"] * 2
    assert all(one["data"].startswith("3 1 1 ") for one in records)
    assert world.run("tlsa", "check", *next_key, "-o", "json", config=True) == 0
    assert any("the next key is not published" in text for _, _, text in lines(told(capsys), "warning"))

    assert world.run("tlsa", "plan", *next_key, "-o", "json", config=True) == 0
    plan = told(capsys)
    assert plan["ttl"] == 900
    assert [step["done"] for step in plan["steps"]] == [True, *[False] * 6]
    assert records[1]["data"] in plan["steps"][1]["text"]
    assert plan["steps"][5]["not_before"] - plan["steps"][3]["not_before"] == pytest.approx(1800)
    assert world.run("tlsa", "plan", config=True) == 0
    assert "$ openssl genpkey" in capsys.readouterr().out


def test_tlsa_check_finds_unsigned_missing_and_wrong_records(world, capsys):
    assert world.run("tlsa", "check", "mx1.example.com", resolver=world.plain) == 1
    assert "not signed" in capsys.readouterr().out
    assert world.run("tlsa", "check", "mx4.example.com") == 1
    assert "no TLSA record is published" in capsys.readouterr().out
    assert world.run("tlsa", "check", "mx3.example.com") == 1
    assert "no published record fits the served certificate" in capsys.readouterr().out
    odd = ["--config", str(world.nodes[2].config)]
    assert world.run("tlsa", "check", "mx1.example.com", *odd) == 0


def test_mta_sts_of_the_settings_is_what_senders_fetch_through_the_ingress(world, capsys, tmp_path: Path):
    config = ["--config", world.config]
    assert main(["mta-sts", "render", *config]) == 0
    text = capsys.readouterr().out
    assert text == "version: STSv1\nmode: enforce\nmx: mx1.example.com\nmx: mx2.example.com\nmax_age: 604800\n"
    assert main(["mta-sts", "render", *config, "--out", str(tmp_path)]) == 0
    assert (tmp_path / ".well-known/mta-sts.txt").read_bytes() == text.replace("\n", "\r\n").encode()
    capsys.readouterr()
    https = ["--https-port", str(world.https)]
    assert world.run("mta-sts", "check", "example.com", *https, "-o", "json", config=True) == 0
    assert any("the policy fits all 2 MX hosts" in text for _, _, text in lines(told(capsys), "ok"))
    # a node with other settings sees that the policy is not its own
    (tmp_path / "gateway.yaml").write_text(Path(world.config).read_text().replace("mode: enforce", "mode: testing"))
    other = ["--config", str(tmp_path / "gateway.yaml")]
    assert world.run("mta-sts", "check", "example.com", "--no-smtp", *https, *other) == 1
    assert "is not that of the settings" in capsys.readouterr().out
    # senders know no private CA
    assert main(["mta-sts", "check", "example.com", "--no-smtp", "--resolver", world.plain, *https]) == 1
    assert "cannot be fetched: its certificate" in capsys.readouterr().out


def test_dns_records_as_json_with_notes(world, capsys, tmp_path: Path):
    assert main(["dns-records", "example.com", "--config", world.config, "-o", "json"]) == 0
    found = told(capsys)
    assert found["schema"] == "mxgw/v1/dns-records"
    assert {one["type"] for one in found["records"]} - {"AAAA"} == {"MX", "TXT", "CNAME", "A", "TLSA", "PTR"}
    assert {one["ttl"] for one in found["records"]} == {900}
    assert found["notes"] == []
    small = tmp_path / "gateway.yaml"
    small.write_text(
        "hostname: mx.example.com\nroutes:\n  - {domains: [example.com], mailstore: smtp://127.0.0.1:25}\n"
    )
    assert main(["dns-records", "example.net", "--config", str(small), "-o", "json"]) == 1
    notes = " / ".join(told(capsys)["notes"])
    for text in ("name no certificate", "publish.mx is not set", "no mta_sts", "no route serves example.net"):
        assert text in notes
