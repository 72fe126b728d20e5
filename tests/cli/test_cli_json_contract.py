"""JSON is a contract: under a schema's name no field goes away and none changes its kind.

json_contract.json remembers them; new fields are remembered with MXGW_UPDATE=1, which also shows in review what went.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.main import main

REMEMBERED = Path(__file__).parent / "json_contract.json"
SETTINGS = """\
state_dir: state
hostname: mx1.example.com
secret: 0123456789abcdef0123456789abcdef
dns: {servers: ["127.0.0.1:9"], timeout: 0.2}
publish: {mx: [{host: mx1.example.com, addresses: [192.0.2.25]}]}
mta_sts: {mode: testing}
routes:
  - domains: [example.com]
    mailstore: maildir:FOLDER/mail
"""
ZONE = """\
$ORIGIN example.com.
@ 300 IN MX 10 mx1
mx1 300 IN A 192.0.2.25
25.2.0.192.in-addr.arpa. 300 IN PTR mx1.example.com.
example.org. 300 IN TXT "v=spf1 ip4:192.0.2.0/24 -all"
"""
POLICY = "version: 1\nmode: observe\nrules: []\n"
COMMANDS = [
    "version",
    "check-config",
    "check-config broken.yaml",
    "config show",
    "policy check policy.yaml",
    "policy check broken.yaml",
    "policy test cases",
    "policy digest policy.yaml",
    "policy show policy.yaml",
    "policy history",
    "policy rollout",
    "policy diff policy.yaml",
    "cluster status",
    "cluster skew --log log",
    "explain --ip 192.0.2.7 --helo mail.example.org --from anna@example.org --rcpt bob@example.com --offline",
    "track --log log",
    "rcpt check bob@example.com",
    "rcpt flush bob@example.com",
    "block 192.0.2.0/24 --for 4h --reason floods",
    "blocks",
    "unblock 192.0.2.0/24",
    "limits show 192.0.2.7",
    "limits reset 192.0.2.7",
    "greylist allow 198.51.100.0/24",
    "greylist list",
    "greylist stats",
    "rbl check 192.0.2.7 --zone zone",
    "rbl health --zone zone",
    "drill list",
    "doctor --zone zone",
    "doctor mailstore",
    "dns-records example.com",
    "mta-sts render",
    "spf 192.0.2.7 mail.example.org anna@example.org --zone zone",
    "dkim message.eml --zone zone",
    "dmarc example.org --zone zone",
    "authres message.eml --zone zone",
    "send --to bob@example.com --server 127.0.0.1:9",
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MXGW_CONFIG", "MXGW_STORE", "MXGW_SECRET", "MXGW_POLICY", "MXGW_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gateway.yaml").write_text(SETTINGS.replace("FOLDER", str(tmp_path)))
    (tmp_path / "state").mkdir()
    (tmp_path / "broken.yaml").write_text("routes: 7\n")
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "log").write_text("")
    (tmp_path / "zone").write_text(ZONE)
    (tmp_path / "message.eml").write_bytes(b"From: anna@example.org\r\nSubject: x\r\n\r\nx\r\n")
    (tmp_path / "cases").symlink_to(Path(__file__).parents[2] / "policies" / "cases")
    return tmp_path


def kind(value: Any) -> str:
    """Numbers are one kind; nothing may stand for any other."""
    if isinstance(value, bool):
        return "bool"
    names = {int: "number", float: "number", str: "text", list: "list", dict: "object"}
    return names.get(type(value), "any")


OPEN = {"config-show": "settings", "spf": "evidence", "dkim": "evidence", "dmarc": "evidence", "authres": "evidence"}
"""Fields whose own fields are names of settings or of facts, not of the contract."""


def fields(value: dict[str, Any], schema: str, above: str = "") -> dict[str, str]:
    """Field -> kind, two levels deep; ``list[]`` for what is in the members of a list."""
    found = {}
    for name, inner in value.items():
        found[above + name] = kind(inner)
        if above or OPEN.get(schema) == name:
            continue
        if isinstance(inner, dict):
            found |= fields(inner, schema, f"{name}.")
        elif isinstance(inner, list) and inner and isinstance(inner[0], dict):
            found |= fields(inner[0], schema, f"{name}[].")
    return found


def test_no_field_of_the_json_goes_away_or_changes_its_kind(capsys: pytest.CaptureFixture[str]) -> None:
    now: dict[str, dict[str, str]] = {}
    for line in COMMANDS:
        code = main([*line.split(), "-o", "json"])
        told = capsys.readouterr()
        assert told.out.startswith("{"), (line, code, told.err)
        value = json.loads(told.out)
        assert next(iter(value)) == "schema", line
        assert value["schema"].startswith("mxgw/v1/"), line
        schema = value.pop("schema")
        now.setdefault(schema, {}).update(fields(value, schema.removeprefix("mxgw/v1/")))
    if os.environ.get("MXGW_UPDATE"):
        REMEMBERED.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    known = json.loads(REMEMBERED.read_text(encoding="utf-8"))
    assert set(known) <= set(now)
    for schema, before in known.items():
        for name, was in before.items():
            assert name in now[schema], f"{schema}: {name} has gone: that wants a new name, mxgw/v2/..."
            assert "any" in (was, now[schema][name]) or now[schema][name] == was, f"{schema}: {name} is another kind"
