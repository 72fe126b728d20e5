"""``mxgw greylist``: what would happen, what is known, and each way to let somebody pass."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.adapters.clock_system import SystemClock
from gateway.adapters.store_open import open_board, open_store
from gateway.checks.greylist import question_of
from gateway.checks.greylist_key import GreylistKey
from gateway.cli.main import main
from gateway.cluster.greylist import Event, Hour, publish, seal_of
from gateway.policy.settings import GreylistSettings
from gateway.ports.greylist import DELAYS
from gateway.ports.store import Seen

ZONE = """
$ORIGIN .
sender.example. 60 IN TXT "v=spf1 ip4:192.0.2.0/24 -all"
7.2.0.192.in-addr.arpa. 60 IN PTR out.sender.example.
out.sender.example. 60 IN A 192.0.2.7
"""
NAMELESS = ["--ip", "192.0.2.9", "--from", "ann@sender.example", "--to", "user@example.com"]
SPF_KEY = "spf:sender.example|example.com"


class Site:
    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder, self.state = folder, folder / "state"
        self.state.mkdir()
        self.store = f"sqlite:///{self.state}/state.sqlite"
        self.zone = folder / "zone"
        self.zone.write_text(ZONE)
        self.config = folder / "gateway.yaml"
        routes = [{"domains": ["example.com"], "mailstore": "lmtp://127.0.0.1:9"}]
        self.config.write_text(
            yaml.safe_dump(
                {
                    "hostname": "mx1.example.com",
                    "state_dir": str(self.state),
                    "store": self.store,
                    "routes": routes,
                    **settings,
                }
            )
        )

    def ask(self, key: str, **more: Any) -> Seen:
        """As a node would for this key."""

        async def asked() -> Seen:
            store = open_store(self.store, self.state, SystemClock())
            question = question_of(GreylistKey(key[:3], key.partition("|")[0], key), "x@y", GreylistSettings(**more))
            answer = await store.greylist(question)
            await store.close()
            return answer.seen

        return asyncio.run(asked())

    def tell(self, *events: Event, hours: tuple[Hour, ...] = ()) -> None:
        async def told() -> None:
            board = open_board(self.store, self.state, SystemClock())
            for event in events:
                await publish(board, seal_of(b""), event.node, [event])
            for hour in hours:
                await board.write("greylist-hours", hour.key, hour.encode())
            await board.close()

        asyncio.run(told())

    def run(self, *words: str) -> int:
        return main(["greylist", words[0], "--config", str(self.config), *words[1:]])


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_check_says_what_an_attempt_would_meet_and_records_nothing(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert site.run("check", *NAMELESS, "--zone", str(site.zone), "-o", "json") == 1
        found = said(capsys)
        assert (found["state"], found["key"], found["wait"]) == ("first", SPF_KEY, 120.0)
    assert site.ask(SPF_KEY) is Seen.FIRST
    assert site.run("check", *NAMELESS, "--zone", str(site.zone), "-o", "json") == 1
    assert said(capsys)["state"] == "early"
    named = ["--ip", "192.0.2.7", *NAMELESS[2:]]
    assert site.run("check", *named, "--zone", str(site.zone)) == 0
    assert "not-suspicious" in capsys.readouterr().out
    assert site.run("check", SPF_KEY, "-o", "json") == 1
    assert said(capsys)["waits"] is True


def test_pass_and_clear_change_one_key(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.run("pass", *NAMELESS, "--zone", str(site.zone)) == 0
    assert SPF_KEY in capsys.readouterr().out
    assert site.ask(SPF_KEY) is Seen.KNOWN
    assert site.run("clear", SPF_KEY) == 0
    assert site.ask(SPF_KEY) is Seen.FIRST
    assert site.run("pass", "net:192.0.2.0/24") == 0
    assert site.ask("net:192.0.2.0/24|a@b|c@d") is Seen.AUTO
    capsys.readouterr()
    assert site.run("list", "-o", "json") == 0
    assert [(key["key"], key["state"]) for key in said(capsys)["keys"]] == [
        (SPF_KEY, "cleared"),
        ("net:192.0.2.0/24", "passed"),
    ]


def test_allow_is_a_list_with_reasons_and_ends(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.run("allow", "Sender.Example", "--reason", "ticket 7", "--for", "4h") == 0
    assert site.run("allow", "to:user@example.com") == 0
    capsys.readouterr()
    assert site.run("check", *NAMELESS, "--zone", str(site.zone), "-o", "json") == 0
    assert said(capsys)["entry"] == "sender.example"
    assert site.run("list", "--state", "allowed", "-o", "json") == 0
    entries = said(capsys)["allowed"]
    assert [(entry["entry"], entry["reason"]) for entry in entries] == [
        ("sender.example", "ticket 7"),
        ("to:user@example.com", ""),
    ]
    assert 14_000 < entries[0]["until"] - time.time() <= 14_400
    assert entries[1]["until"] == 0
    assert site.run("list", "sender") == 0
    assert "ticket 7" in capsys.readouterr().out
    assert site.run("allow", "--remove", "sender.example") == 0
    assert site.run("allow", "--remove", "sender.example") == 1
    assert site.run("allow", "not a domain") == 64
    assert site.run("allow", "x.example", "--for", "soon") == 64


def test_list_tells_tries_nodes_and_states(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    now, waits = time.time(), "net:203.0.113.0/24|a@b.example|user@example.com"
    site.tell(
        Event("mx1", now - 300, "first", waits, 120.0),
        Event("mx2", now - 290, "early", waits, 110.0),
        Event("mx2", now - 280, "first", SPF_KEY, 120.0),
        Event("mx1", now - 100, "passed", SPF_KEY, 0.0, 180.0),
        Event("mx1", now - 90_000, "first", "spf:old.example|example.com", 120.0),
    )
    assert site.run("list") == 0
    table = capsys.readouterr().out
    assert "early" in table
    assert "mx1,mx2" in table
    assert site.run("list", "--state", "waiting", "-o", "json") == 0
    (key,) = said(capsys)["keys"]
    assert (key["key"], key["tries"], key["nodes"], key["state"]) == (waits, 2, ["mx1", "mx2"], "early")
    assert site.run("list", "sender.example", "--state", "passed", "--since", "2d", "-o", "json") == 0
    assert [key["waited"] for key in said(capsys)["keys"]] == [180.0]
    assert site.run("list", "--since", "2d", "-o", "json") == 0
    assert len(said(capsys)["keys"]) == 3


def hour(node: str, not_shared: int = 0, delays: dict[int, int] | None = None, **counts: int) -> Hour:
    made = Hour(int(time.time() // 3600), node)
    made.add(counts, [(delays or {}).get(n, 0) for n in range(len(DELAYS) + 1)], not_shared)
    return made


def test_stats_add_up_nodes_and_warn(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.tell(
        hours=(hour("mx1", first=80, passed=10, delays={3: 10}), hour("mx2", first=20, passed=10, delays={7: 10}))
    )
    assert site.run("stats", "-o", "json") == 0
    found = said(capsys)
    assert found["counts"] == {"first": 100, "passed": 20}
    assert (found["passed_of_first"], found["delay"]) == (0.2, {"p50": 300, "p95": 3600})
    assert found["nodes"]["mx2"] == {"first": 20, "passed": 10}
    assert site.run("stats") == 0
    assert "passed of first: 20%" in capsys.readouterr().out
    site.tell(hours=(hour("mx1", first=300, not_shared=4), hour("mx2", skipped_store=1)))
    assert site.run("stats", "-o", "json") == 1
    assert [text.split()[0] for text in said(capsys)["warnings"]] == ["4", "nobody", "1"]
    assert site.run("stats", "--since", "1s") == 1, "the current hour is always in it"


def record(node: str, at: str, reason: str, key: str = SPF_KEY) -> str:
    finding = {"outcome": "fail", "reason": reason, "evidence": {"key": key, "state": reason}}
    return json.dumps({"event": "transaction", "node": node, "time": at, "findings": {"greylist": finding}})


def test_logs_of_nodes_with_stores_of_their_own_show_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = tmp_path / "mx1.log", tmp_path / "mx2.log"
    one.write_text(
        "\n".join(
            [
                "greylist is not JSON",
                '{"greylist": 1}',
                record("mx1", "2026-11-21T10:00:00.000Z", "first"),
                record("mx1", "2026-11-21T10:00:00.000Z", "first", "spf:fine.example|example.com"),
            ]
        )
    )
    two.write_text(
        "\n".join(
            [
                record("mx2", "2026-11-21T10:03:00.000Z", "passed", "spf:fine.example|example.com"),
                record("mx2", "2026-11-21T10:04:00.000Z", "first", "spf:fine.example|example.com"),
                record("mx2", "2026-11-21T10:05:00.000Z", "first"),
            ]
        )
    )
    assert main(["greylist", "stats", "--log", str(one), str(two), "-o", "json"]) == 1
    (found,) = said(capsys)["first_on_two_nodes"]
    assert (found["key"], found["nodes"]) == (SPF_KEY, ["mx1", "mx2"])
    assert main(["greylist", "stats", "--log", str(one)]) == 0
    assert main(["greylist", "stats", "--log", str(tmp_path / "none")]) == 66


def test_seed_lets_known_parties_in(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = tmp_path / "known"
    listed.write_text(
        "# whom we write to\nann@mail.friend.example  # a mailbox\nbank.example\n198.51.100.7\n10.0.0.0/23\n"
    )
    assert site.run("seed", str(listed), "--dry-run") == 0
    assert site.ask("spf:bank.example|example.com") is Seen.FIRST
    assert site.run("seed", str(listed), "-o", "json") == 0
    assert len(json.loads(capsys.readouterr().out.partition("\n")[2])["parties"]) == 7
    for party in ("spf:friend.example", "ptr:bank.example", "net:198.51.100.0/24", "net:10.0.1.0/24"):
        assert site.ask(f"{party}|new@key") is Seen.AUTO
    listed.write_text("good.example\nnot a domain\n")
    assert site.run("seed", str(listed)) == 65
    assert "known:2:" in capsys.readouterr().err
    listed.write_text("10.0.0.0/8\n")
    assert site.run("seed", str(listed)) == 65


def test_questions_that_cannot_be_asked(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.run("check", "--ip", "192.0.2.7") == 64
    assert site.run("check", "--ip", "no", "--from", "", "--to", "user@example.com") == 64
    assert site.run("pass", "example.org") == 64
    (tmp_path / "memory").mkdir()
    lone = Site(tmp_path / "memory", store="memory://")
    assert lone.run("list") == 69
    assert "each worker's memory" in capsys.readouterr().err
    (tmp_path / "gone").mkdir()
    assert Site(tmp_path / "gone", store="redis://127.0.0.1:9/0").run("list") == 69
