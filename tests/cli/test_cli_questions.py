"""``mxgw spf``, ``dkim``, ``dmarc`` and ``authres`` over a master file: result, evidence, DNS answers, exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.main import main

MESSAGES = Path(__file__).parents[1] / "messages"
ZONE = """example.org. 300 IN TXT "v=spf1 include:_spf.example.org -all"
_spf.example.org. 300 IN TXT "v=spf1 ip4:192.0.2.0/28 -all"
helo.example.org. 300 IN TXT "v=spf1 -all"
_dmarc.example.org. 60 IN TXT "v=DMARC1; p=reject; sp=quarantine; adkim=s"
_dmarc.broken.example. 60 IN TXT "v=DMARC1; p=maybe"
;; TIMEOUT dead.example
;; SERVFAIL _dmarc.dead.example TXT
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zone").write_text(ZONE)
    return tmp_path


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code = main([*words, "--zone", "zone", "--output", "json"])
    return code, json.loads(capsys.readouterr().out)


def text(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main([*words, "--zone", "zone"])
    return code, capsys.readouterr().out


# ---- spf


def test_spf_says_which_mechanism_and_shows_each_answer(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = ask(capsys, "spf", "192.0.2.7", "helo.example.org", "a@example.org")
    assert (code, said["schema"], said["outcome"]) == (0, "mxgw/v1/spf", "pass")
    assert said["evidence"]["mechanism"] == "include:_spf.example.org"
    assert (said["evidence"]["helo_domain"], said["evidence"]["helo_outcome"]) == ("helo.example.org", "fail")
    assert {(one["name"], one["type"], one["status"]) for one in said["dns"]} == {
        ("example.org", "TXT", "ok"),
        ("_spf.example.org", "TXT", "ok"),
        ("helo.example.org", "TXT", "ok"),
    }
    assert said["dns"][0]["ttl"] == 300


SPF = [
    ("203.0.113.1", "a@example.org", 1, "fail"),
    ("2001:db8::1", "a@example.org", 1, "fail"),
    ("192.0.2.7", "<a@none.example>", 1, "none"),
    ("192.0.2.7", "", 1, "fail"),
    ("192.0.2.7", "<>", 1, "fail"),
    ("192.0.2.7", "a@dead.example", 75, "temperror"),
]


@pytest.mark.parametrize(("ip", "mailfrom", "code", "outcome"), SPF)
def test_spf_leaves_with_the_answer(
    place: Path, capsys: pytest.CaptureFixture[str], ip: str, mailfrom: str, code: int, outcome: str
) -> None:
    left, said = ask(capsys, "spf", ip, "helo.example.org", mailfrom)
    assert (left, said["outcome"]) == (code, outcome)


def test_spf_for_people(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = text(capsys, "spf", "192.0.2.7", "h.example", "a@dead.example")
    assert code == 75
    assert "temperror" in said
    assert "cause" in said
    lines = said.partition("DNS\n")[2].splitlines()
    assert sorted(line.split() for line in lines) == [["dead.example", "TXT", "timeout"], ["h.example", "TXT", "nxdomain"]]


# ---- dkim


def test_dkim_names_each_signature(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(MESSAGES / "04-forwarded" / "zone", "zone")
    code, said = ask(capsys, "dkim", str(MESSAGES / "04-forwarded" / "msg.eml"))
    assert (code, said["outcome"]) == (0, "pass")
    (signature,) = said["signatures"]
    assert (signature["domain"], signature["selector"], signature["key_bits"]) == ("sender.example", "s1", 2048)
    assert [(one["name"], one["status"]) for one in said["dns"]] == [("s1._domainkey.sender.example", "ok")]
    assert said["dns"][0]["records"][0].startswith("v=DKIM1; k=rsa; p=")


def test_dkim_says_why_a_signature_does_not_hold(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(MESSAGES / "05-tampered" / "zone", "zone")
    code, said = text(capsys, "dkim", str(MESSAGES / "05-tampered" / "msg.eml"))
    assert code == 1
    assert "s1@sender.example  fail    body-hash" in said


def test_dkim_with_a_key_that_nobody_can_fetch_is_75(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "zone").write_text(";; SERVFAIL s1._domainkey.sender.example TXT\n")
    code, said = ask(capsys, "dkim", str(MESSAGES / "04-forwarded" / "msg.eml"))
    assert (code, said["outcome"], said["cause"]["why"]) == (75, "temperror", "protocol")
    assert said["dns"] == [
        {"name": "s1._domainkey.sender.example", "type": "TXT", "status": "protocol", "records": [], "ttl": 0}
    ]


def test_dkim_of_a_message_with_bare_line_feeds_and_without_signatures(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unix = (MESSAGES / "04-forwarded" / "msg.eml").read_bytes().replace(b"\r\n", b"\n")
    (place / "unix.eml").write_bytes(unix)
    shutil.copy(MESSAGES / "04-forwarded" / "zone", "zone")
    assert ask(capsys, "dkim", "unix.eml")[1]["outcome"] == "pass"
    (place / "plain.eml").write_bytes(b"From: a@example.org\n\nhi\n")
    code, said = ask(capsys, "dkim", "plain.eml")
    assert (code, said["outcome"], said["reason"], said["signatures"], said["dns"]) == (1, "none", "no-signature", [], [])


# ---- dmarc


DMARC = [
    (["example.org"], 0, "policy", "reject", "p"),
    (["Mail.Example.ORG."], 0, "policy", "quarantine", "sp"),
    (["a.example.org", "--spf", "bounce.example.org"], 0, "pass", "quarantine", "sp"),
    (["a.example.org", "--spf", "other.example"], 1, "fail", "quarantine", "sp"),
    (["example.org", "--dkim", "mail.example.org"], 1, "fail", "reject", "p"),
    (["example.org", "--dkim", "x.example", "--dkim", "example.org"], 0, "pass", "reject", "p"),
    (["none.example"], 1, "none", "none", None),
    (["broken.example"], 1, "permerror", "none", None),
    (["dead.example"], 75, "temperror", None, None),
    (["bücher.example"], 1, "none", "none", None),
]


@pytest.mark.parametrize(("words", "code", "result", "policy", "tag"), DMARC)
def test_dmarc_says_what_applies(
    place: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, result: str, policy: str, tag: str
) -> None:
    left, said = ask(capsys, "dmarc", *words)
    assert (left, said["result"]) == (code, result)
    assert (said["evidence"].get("policy"), said["evidence"].get("tag")) == (policy, tag)
    assert said["evidence"]["psl_org_domain"]


def test_dmarc_shows_the_walk(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, said = text(capsys, "dmarc", "a.b.example.org")
    lines = [line.split(maxsplit=2) for line in said.partition("DNS\n")[2].splitlines()]
    assert lines == [
        ["_dmarc.a.b.example.org", "TXT", "nxdomain"],
        ["_dmarc.b.example.org", "TXT", "nxdomain"],
        ["_dmarc.example.org", "TXT", "v=DMARC1; p=reject; sp=quarantine; adkim=s"],
        ["_dmarc.org", "TXT", "nxdomain"],
    ]
    assert said.splitlines()[0].split() == ["dmarc", "policy"]


# ---- authres


FORGED = (
    b'Authentication-Results: "MX.example.net" (ours); dmarc=pass header.from=bank.example\n'
    b"Authentication-Results: other.example; spf=fail (c) reason=\"x y\" smtp.mailfrom=a@example.org\n"
    b"From: a@mail.example.org\n\nhi\n"
)


def test_authres_reads_judges_and_writes(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "m.eml").write_bytes(FORGED)
    where = ["--ip", "192.0.2.7", "--helo", "helo.example.org", "--from", "a@example.org"]
    code, said = ask(capsys, "authres", "m.eml", "--authserv-id", "mx.example.net", *where)
    assert code == 0
    ours, foreign = said["fields"]
    assert (ours["removed"], ours["results"][0]["properties"]) == (True, {"header.from": "bank.example"})
    assert (foreign["removed"], foreign["authserv_id"]) == (False, "other.example")
    assert foreign["results"] == [
        {"method": "spf", "result": "fail", "reason": "x y", "properties": {"smtp.mailfrom": "a@example.org"}, "comments": ["c"]}
    ]
    assert {name: found["outcome"] for name, found in said["findings"].items()} == {
        "iprev": "permerror", "spf": "pass", "dkim": "none", "arc": "none", "dmarc": "pass", "forwarder": "none",
    }  # fmt: skip
    assert "dmarc=pass header.from=mail.example.org" in said["field"]
    assert "_dmarc.example.org" in {one["name"] for one in said["dns"]}


def test_authres_for_people_and_by_the_content_alone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "m.eml").write_bytes(FORGED)
    code, said = text(capsys, "authres", "m.eml", "--authserv-id", "mx.example.net")
    assert code == 0
    assert "claims to be ours: would be removed" in said
    assert "other.example (foreign: stays)" in said
    assert "\nOURS\n  Authentication-Results: mx.example.net;\n" in said
    assert "spf=" not in said.partition("OURS")[2]


def test_authres_takes_our_name_from_the_settings(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "m.eml").write_bytes(FORGED)
    (place / "gateway.yaml").write_text(
        "state_dir: s\nauthserv_id: other.example\nroutes: [{domains: [a.example], mailstore: 'smtp://192.0.2.1'}]\n"
    )
    _, said = ask(capsys, "authres", "m.eml", "--config", "gateway.yaml")
    assert [one["removed"] for one in said["fields"]] == [False, True]


def test_a_field_that_nobody_can_read_is_65_and_does_not_move_the_cursor(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "m.eml").write_bytes(b"Authentication-Results: x; spf=pass (\x1b[2J\x9b2J\nFrom: a@example.org\n\nhi\n")
    code, said = text(capsys, "authres", "m.eml", "--authserv-id", "mx")
    assert code == 65
    assert "cannot be read" in said
    assert "\x1b" not in said


# ---- questions that cannot be asked


WRONG = [
    (["spf", "300.1.1.1", "h", "a@b.example"], 64),
    (["spf", "192.0.2.1", "h", "not an address"], 64),
    (["spf", "192.0.2.1"], 64),
    (["dmarc", "not a domain"], 64),
    (["dmarc", "example.org", "--dkim", ".."], 64),
    (["dkim", "gone.eml"], 66),
    (["authres", "gone.eml"], 66),
    (["authres", "m.eml", "--ip", "nowhere"], 64),
    (["authres", "m.eml", "--from", "nobody"], 64),
    (["dmarc", "example.org", "--policy", "gone.yaml"], 78),
    (["dmarc", "example.org", "--config", "gone.yaml"], 78),
]


@pytest.mark.parametrize(("words", "code"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_a_question_that_cannot_be_asked(
    place: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int
) -> None:
    (place / "m.eml").write_bytes(FORGED)
    assert main([*words, "--zone", "zone"]) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert "Traceback" not in told.err
    assert told.err


def test_a_zone_that_cannot_be_used_is_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "zone").write_text("example.org. IN A not-an-address\n")
    for name, code in (("gone", 66), ("zone", 65)):
        assert main(["dmarc", "example.org", "--zone", name]) == code
        assert "Traceback" not in capsys.readouterr().err


def test_a_check_that_the_policy_switches_off_cannot_be_asked(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "off.yaml").write_text("version: 1\nchecks: {spf: {enabled: false}}\nrules: []\n")
    assert main(["spf", "192.0.2.1", "h", "a@example.org", "--zone", "zone", "--policy", "off.yaml"]) == 64
    assert "switches spf off" in capsys.readouterr().err
