"""Commands that judge or count by the policy take the one in force: a pushed one goes before the node's own file."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from gateway.cli.main import main
from gateway.cluster.rollout import Generation
from gateway.node.policy_keeper import FILE

CLI = Path(__file__).parents[2] / "gateway" / "cli"
OWN, PUSHED = "version: 1\nrules: []\n", "version: 1\nrules: []\nchecks: {rate: {messages: 7}}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "own.yaml").write_text(OWN, encoding="utf-8")
    settings = {
        "hostname": "mx.example.com",
        "routes": [{"domains": ["example.com"], "mailstore": f"maildir:{tmp_path}/mail"}],
        "policy": "own.yaml",
        "state_dir": str(tmp_path / "state"),
    }
    (tmp_path / "state").mkdir()
    (tmp_path / "gateway.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return tmp_path / "gateway.yaml"


def test_a_pushed_policy_is_the_one_that_commands_go_by(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["limits", "show", "192.0.2.1", "--config", str(config), "--output", "json"]
    assert main(asked) == 0
    before = json.loads(capsys.readouterr().out)
    kept = {"generation": asdict(Generation(3, "d" * 64, "pushed.yaml")), "name": "pushed.yaml", "text": PUSHED}
    (config.parent / "state" / FILE).write_text(json.dumps(kept), encoding="utf-8")
    assert main(asked) == 0
    after = json.loads(capsys.readouterr().out)
    assert 7 not in [row["limit"] for row in before["limits"]]
    assert 7 in [row["limit"] for row in after["limits"]]


def test_no_command_reads_the_own_file_past_the_one_in_force() -> None:
    for path in CLI.glob("*.py"):
        assert not re.search(r"load\(settings\.policy\) if", path.read_text(encoding="utf-8")), path.name
