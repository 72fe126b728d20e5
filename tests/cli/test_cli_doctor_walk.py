"""``mxgw doctor`` alone: each step tells what is wrong and what to do, and none hides another."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml
from debian import need
from redis_server import RedisServer

from gateway.cli.doctor_walk import clients_told, clock_told
from gateway.cli.main import main

ZONE = """\
$ORIGIN example.com.
@ 300 IN MX 10 mx1
mx1 300 IN A 192.0.2.25
25.2.0.192.in-addr.arpa. 300 IN PTR mx1.example.com.
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MXGW_CONFIG", "MXGW_STORE", "MXGW_SECRET", "MXGW_POLICY", "MXGW_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zone").write_text(ZONE)
    return tmp_path


def settings(folder: Path, **more: object) -> None:
    values = {
        "hostname": "mx1.example.com",
        "state_dir": "state",
        "secret": "0123456789abcdef0123456789abcdef",
        "routes": [{"domains": ["example.com"], "mailstore": f"maildir:{folder}/mail"}],
        "dns": {"servers": ["127.0.0.1:9"], "timeout": 0.2},
        **more,
    }
    (folder / "gateway.yaml").write_text(yaml.safe_dump(values))


def steps(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, set[str]], list[dict[str, str]]]:
    """Exit code, results by step, and the steps whole."""
    code = main(["doctor", "-o", "json", *words])
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "mxgw/v1/doctor"
    assert told["exit"] == code
    found: dict[str, set[str]] = {}
    for step in told["steps"]:
        found.setdefault(step["step"], set()).add(step["result"])
    return code, found, told["steps"]


@pytest.mark.real("redis-server")
def test_a_sound_node_is_found_sound(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need("redis-server")
    with RedisServer() as redis:
        settings(folder, store=redis.url, routes=[{"domains": ["example.com"], "mailstore": f"maildir:{folder}/mail"}])
        code, found, whole = steps(capsys, "--zone", "zone")
    assert set(found) == {"settings", "client address", "dns", "store", "mailstore", "bypass", "clock", "alone"}
    wrong = [one for one in whole if one["result"] in ("wrong", "unknown") and "keeps it right" not in one["text"]]
    assert wrong == []
    assert code in (0, 1)  # 1 where nobody keeps the clock of the machine of this test


def test_what_is_away_is_named_with_what_to_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    routes = [{"domains": ["example.com"], "mailstore": "smtp://127.0.0.1:9"}]
    settings(folder, store="redis://127.0.0.1:9/0", routes=routes)
    code, found, whole = steps(capsys)
    assert code == 1
    assert found["dns"] == found["store"] == found["mailstore"] == {"wrong"}
    assert found["bypass"] == {"unknown"}
    assert all(one["remedy"] for one in whole if one["result"] in ("wrong", "unknown"))
    assert main(["doctor"]) == 1
    told = capsys.readouterr().out
    assert "to do:\n1. dns: start the resolver" in told


def test_names_that_do_not_fit_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings(folder)
    (folder / "zone").write_text(ZONE.replace("PTR mx1", "PTR host7.provider"))
    _, found, whole = steps(capsys, "--zone", "zone")
    assert "wrong" in found["dns"]
    assert any("host7.provider.example.com" in one["text"] for one in whole)
    (folder / "zone").write_text(ZONE.replace("mx1 300 IN A 192.0.2.25", ""))
    _, found, whole = steps(capsys, "--zone", "zone")
    assert any("has no address" in one["text"] and "dns-records" in one["remedy"] for one in whole)


def test_a_public_resolver_is_wrong(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings(folder, dns={"servers": ["8.8.8.8:53"], "timeout": 0.2})
    _, _found, whole = steps(capsys, "--zone", "zone")
    assert any("block lists do not answer" in one["text"] for one in whole if one["result"] == "wrong")


def test_a_balancer_in_the_clients_place_is_seen() -> None:
    (told,) = clients_told(Counter({"10.0.0.9": 50, "192.0.2.1": 1}))
    assert told.result == "wrong"
    assert "10.0.0.9" in told.text
    assert "proxy_protocol" in told.remedy
    assert clients_told(Counter({"10.0.0.9": 3}))[0].result == "ok"
    assert clients_told(Counter({"10.0.0.9": 30, "10.0.0.8": 30}))[0].result == "ok"
    assert clients_told(Counter())[0].result == "note"


def test_a_clock_that_is_off_is_wrong() -> None:
    assert clock_told(0.02).result == "ok"
    assert clock_told(-7.0).result == "wrong"


def test_what_stands_before_the_word_holds_for_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings(folder)
    (folder / "gateway.yaml").rename(folder / "other.yaml")
    assert main(["doctor", "--config", "other.yaml", "-o", "json", "mailstore"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "mxgw/v1/doctor-mailstore"
    assert main(["doctor", "mailstore", "--config", "other.yaml"]) == 0


def test_no_settings_is_78(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 78
    assert "gateway.yaml" in capsys.readouterr().err
