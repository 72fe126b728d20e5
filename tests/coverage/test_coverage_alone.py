"""What there is one of, and all nodes hang on, is told by ``mxgw doctor``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from gateway.cli.main import main


def told(folder: Path, capsys: pytest.CaptureFixture[str], **settings: object) -> list[str]:
    values = {"hostname": "mx1.example.com", "state_dir": str(folder), "secret": "0123456789abcdef0123456789abcdef"}
    (folder / "gateway.yaml").write_text(yaml.safe_dump(values | settings))
    (folder / "zone").write_text("example.org. TXT here\n")
    main(["doctor", "--config", str(folder / "gateway.yaml"), "--zone", str(folder / "zone"), "-o", "json"])
    return [one["text"] for one in json.loads(capsys.readouterr().out)["steps"] if one["step"] == "alone"]


def test_each_single_point_of_failure_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hosts = [{"host": f"mx{n}.example.com", "preference": 10, "addresses": ["203.0.113.10"]} for n in (1, 2)]
    found = told(
        tmp_path,
        capsys,
        store="redis://127.0.0.1:9/0",
        routes=[{"domains": ["example.com"], "mailstore": "smtp://127.0.0.1:9"}],
        dns={"servers": ["192.0.2.53:53"]},
        publish={"mx": hosts},
    )
    assert [text.partition(":")[0].partition(" (")[0] for text in found] == [
        "one Redis without fail-over",
        "example.com",
        "one resolver on another machine",
        "203.0.113.10 belongs to 2 MX hosts",
    ]


def test_where_all_is_there_twice_nothing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hosts = [{"host": f"mx{n}.example.com", "preference": 10, "addresses": [f"203.0.113.{n}"]} for n in (1, 2)]
    found = told(
        tmp_path,
        capsys,
        store="sentinel://127.0.0.1:9,127.0.0.1:8/mx",
        routes=[{"domains": ["example.com"], "mailstore": ["smtp://127.0.0.1:9", "smtp://127.0.0.1:8"]}],
        dns={"servers": ["127.0.0.1:53"]},
        publish={"mx": hosts},
    )
    assert found == []
