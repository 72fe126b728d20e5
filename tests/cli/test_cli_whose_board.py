"""A command never acts in silence on a board that is not the nodes': variables beside the settings, and an empty board."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.adapters.board_sqlite import SqliteBoard
from gateway.adapters.clock_system import SystemClock
from gateway.cli.main import main
from gateway.cluster.journal import JOURNAL, line_of, seal_of
from gateway.cluster.membership import Heartbeat

SETTINGS = "state_dir: state\nhostname: mx1.example.net\nroutes:\n  - {domains: [example.com], mailstore: smtp://10.1.0.5:25}\n"
ENVIRONMENT = "# secrets\nMXGW_STORE=sqlite:///nodes.sqlite3\nMXGW_SECRET='0123456789 abcdef#'\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MXGW_CONFIG", "MXGW_STORE", "MXGW_SECRET", "MXGW_NODE", "MXGW_HOSTNAME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "state").mkdir()
    (tmp_path / "gateway.yaml").write_text(SETTINGS)
    monkeypatch.setenv("MXGW_CONFIG", str(tmp_path / "gateway.yaml"))
    return tmp_path


async def _beat(file: Path) -> None:
    board = SqliteBoard(file, SystemClock())
    said = {"ready": True, "sessions": 0, "policy": "d" * 64, "version": "0.1.0", "started": 0.0, "store": "ok"}
    await Heartbeat(board, "mx1.example.net", lambda: {**said, "state": "serving"}).turn()
    await board.close()


@pytest.mark.parametrize(
    "words",
    [
        ["unblock", "192.0.2.7"],
        ["cluster", "drain", "mx1"],
        ["cluster", "undrain", "mx1"],
        ["cluster", "forget", "mx1"],
        ["track", "--from", "example.org"],
    ],
    ids=" ".join,
)
def test_where_no_node_is_on_the_board_it_says_so_and_leaves_with_69(
    folder: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 69
    told = capsys.readouterr()
    assert told.out == ""
    assert "no node is on the board; start one (mxgw run), or else: " in told.err
    assert f"`store` is sqlite:///{folder}/state/store.sqlite3 (default, settings {folder}/gateway.yaml)" in told.err


def test_a_block_stands_there_for_nodes_to_come_and_is_no_success(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["block", "192.0.2.7"]) == 69
    told = "the block of 192.0.2.7/32 is put and stands for the nodes to come, but no node is on the board; start one"
    assert told in capsys.readouterr().err
    assert main(["blocks", "--output", "json"]) == 0
    assert [one["what"] for one in json.loads(capsys.readouterr().out)["blocks"]] == ["192.0.2.7/32"]
    for output in ("text", "json"):
        assert main(["cluster", "status", "--output", output]) == 69
        assert "no node is on the board" in capsys.readouterr().err


def test_commands_see_the_store_of_the_environment_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(_beat(folder / "nodes.sqlite3"))
    (folder / "environment").write_text(ENVIRONMENT)
    assert main(["cluster", "status"]) == 0
    assert "mx1.example.net" in capsys.readouterr().out
    assert main(["block", "192.0.2.7"]) == 0
    assert main(["cluster", "drain", "mx1"]) == 0
    assert main(["cluster", "drain", "mx9"]) == 69
    assert "no node is called mx9; there are mx1.example.net" in capsys.readouterr().err
    assert not (folder / "state" / "store.sqlite3").exists()


async def _decide(file: Path, secret: bytes) -> None:
    board = SqliteBoard(file, SystemClock())
    record = {"event": "transaction", "time": datetime.now(UTC).isoformat(), "verdict": "accept", "qid": "A1"}
    await board.append(JOURNAL, line_of("mx1.example.net", [json.dumps(record)], 0, seal_of(secret)), 10, 3600.0)
    await board.close()


def test_track_says_how_far_back_the_board_reaches(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(_beat(folder / "state" / "store.sqlite3"))
    asyncio.run(_decide(folder / "state" / "store.sqlite3", b""))
    assert main(["track", "--since", "7d"]) == 0
    told = capsys.readouterr().out
    assert "A1" in told
    assert "the board reaches back to 2" in told
    assert "older ones are in the nodes' logs: --log FILE" in told
    assert main(["track", "--since", "7d", "--limit", "1"]) == 0
    assert "reaches back" not in capsys.readouterr().out
    assert main(["track", "--since", "7d", "--from", "example.org", "--output", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["reaches_back_to"].endswith("Z")


def test_the_effect_of_a_policy_says_how_far_back_the_board_reaches(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(_beat(folder / "state" / "store.sqlite3"))
    asyncio.run(_decide(folder / "state" / "store.sqlite3", b""))
    (folder / "same.yaml").write_text("version: 1\n")
    words = ["policy", "diff", str(folder / "same.yaml"), str(folder / "same.yaml"), "--since"]
    assert main([*words, "7d"]) == 0
    assert "the board reaches back to 2" in capsys.readouterr().out
    assert main([*words, "7d", "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["effect"]["reaches_back_to"].endswith("Z")
