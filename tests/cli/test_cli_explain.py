"""``mxgw explain`` over a zone file: no network, the same answer each time."""

import json
from pathlib import Path

import pytest

from gateway.cli.main import main

ZONE = """example.org. 300 IN TXT "v=spf1 ip4:192.0.2.7 -all"
example.org. 300 IN MX 10 mail.example.org.
_dmarc.example.org. 300 IN TXT "v=DMARC1; p=reject"
mail.example.org. 300 IN A 192.0.2.7
7.2.0.192.in-addr.arpa. 300 IN PTR mail.example.org.
"""
MESSAGE = "From: a@example.org\nTo: b@our.example\nSubject: x\nAuthentication-Results: mx.our.example; spf=pass\nDate: Fri, 20 Nov 2026 10:00:00 +0000\n\nhi\n"


@pytest.fixture
def facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zone").write_text(ZONE)
    (tmp_path / "m.eml").write_text(MESSAGE)
    return tmp_path


def _explain(ip: str, *words: str) -> int:
    return main(
        [
            "explain",
            "--ip",
            ip,
            "--helo",
            "mail.example.org",
            "--from",
            "a@example.org",
            "--rcpt",
            "b@our.example",
            "--zone",
            "zone",
            "--exit-verdict",
            *words,
        ]
    )


def test_a_sound_message_is_accepted(facts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _explain("192.0.2.7", "--file", "m.eml", "-o", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "mxgw/v1/explain"
    assert told["verdict"] == "accept"
    assert told["reply"].startswith("250 ")
    assert {step["check"]: step["finding"]["outcome"] for step in told["steps"]}["spf"] == "pass"
    assert "Authentication-Results:" in told["fields"]


def test_a_forged_message_is_refused_and_told_why(facts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _explain(
        "203.0.113.9", "--file", "m.eml", "--policy", str(Path(__file__).parents[2] / "policies/strict.yaml")
    ) in (1, 75)
    told = capsys.readouterr().out
    assert "spf" in told
    assert "VERDICT" in told
    assert "REPEAT   swaks" in told


def test_without_content_it_stops_after_rcpt(facts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _explain("192.0.2.7", "--tls") == 0
    assert "--quit-after RCPT" in capsys.readouterr().out


def test_a_domain_that_is_not_ours_is_denied(facts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (facts / "gateway.yaml").write_text(
        "state_dir: s\nroutes: [{domains: [else.example], mailstore: 'smtp://192.0.2.1'}]\n"
    )
    assert _explain("192.0.2.7", "--config", "gateway.yaml") == 1
    assert "relay" in capsys.readouterr().out


def test_a_zone_that_cannot_be_read_is_65(facts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (facts / "zone").write_text("example.org. IN A not-an-address\n")
    assert _explain("192.0.2.7") == 65
    assert "zone" in capsys.readouterr().err
