"""A real node with a real name server: no access key is ever shown, hits beyond belief, our own addresses on lists."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import sys
import time
from pathlib import Path

from gateway.cli.main import main
from gateway.cluster.list_hits import PLACE as HITS
from gateway.cluster.list_hits import Tally
from gateway.config import load_settings
from gateway.node.duties import board_of

sys.path.insert(0, str(Path(__file__).parent))
from rbl_world import SOUND, WORLD, NsdServer, command, node, policy, state_is, try_to_send, until

CANARY = "canaryabcdefghij0123456789"
NAMED, DQS, DEAD, NAMES = f"{CANARY}.paid.test", f"{CANARY}.zen.dq.spamhaus.net", f"{CANARY}.dead.test", f"{CANARY}.dbl.test"
HOLDS = f'66.0.0.127 1 A 127.0.0.2\n66.0.0.127 1 TXT "see https://lists.test/{CANARY}"\n9.2.0.192 1 A 127.0.0.4\n'


def said(*words: str) -> str:
    """All that a command prints, for people and for programs."""
    heard = io.StringIO()
    with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard):
        main(list(words))
    return heard.getvalue()


def test_an_access_key_is_shown_nowhere(tmp_path: Path) -> None:
    zones = {NAMED: SOUND + HOLDS, DQS: SOUND + HOLDS, NAMES: "test 1 A 127.0.1.2\n"}
    text = policy(
        [f"our-paid-list:{NAMED}*5", f"{DQS}*5", f"slow:{DEAD}*1"],
        domain_sites=[f"names:{NAMES}"],
        own_addresses=["192.0.2.9"],
        query_timeout=0.5,
        back_after=2,
    )
    assert CANARY in text
    with NsdServer(zones) as server:
        # sqlite: commands reach the board
        one = node(tmp_path / "n", server, text, store=f"sqlite:///{tmp_path}/store.db", log={"level": "debug"})
        try:
            one.wait_ready()
            heard = [try_to_send(one, client) for client in ("127.0.0.66", "127.0.0.67")]
            assert [code for code, _ in heard] == [554, 250]
            until(lambda: one.metric("mxgw_own_address_listed", address="192.0.2.9", list="our-paid-list") == 1, "own")
            for name, bad in ((NAMED, WORLD), (DQS, "* 1 A 127.255.255.252\n"), (NAMES, "* 1 A 203.0.113.9\n")):
                server.change(name, bad)
            for name in ("our-paid-list", "zen.dq.spamhaus.net", "names"):
                until(lambda name=name: state_is(one, name, "disabled"), f"{name} is out")
            heard.append(try_to_send(one, "127.0.0.66"))
            config, file = str(one.config), str(one.policy)
            attempt = ["explain", "--ip", "127.0.0.66", "--from", "a@sender.example", "--rcpt", "user@example.com"]
            commands = [
                [*attempt, "--config", config],
                ["config", "show", "--config", config],
                ["check-config", "--config", config],
                ["policy", "check", file],
                ["policy", "show", file],
                ["rbl", "check", "127.0.0.66", "--config", config],
                ["rbl", "check", "spam.example", "--config", config],
                ["rbl", "health", "--config", config],
                ["rbl", "own", "--config", config],
            ]
            shown = {" ".join([*words, form]): said(*words, "-o", form) for words in commands for form in ("text", "json")}
            pages = {page: one.get(page)[1] for page in ("/metrics", "/statusz", "/", "/readyz")}
            assert "our-paid-list" in shown[f"rbl health --config {config} text"]
            assert 'list="our-paid-list"' in pages["/metrics"]
            assert 'mxgw_rbl_hits_total{list="our-paid-list"} 1' in pages["/metrics"]
        finally:
            one.end()
        pages |= shown | {"log": "\n".join(one.log), "stderr": one.stderr.read_text(), "replies": str(heard)}
    assert any(record["event"] == "transaction" and record.get("rbl") for record in one.records)
    assert [name for name, text in pages.items() if CANARY in text] == []
    assert [name for name, text in pages.items() if "Traceback" in text] == []


async def put_yesterday(node_config: Path) -> None:
    """On the board: another node's counts of the day before, of which the list held one client in a hundred."""
    board = board_of(load_settings(node_config, {}))
    tally = Tally({}, {int(time.time() // 3600) - 3: {"l.test": [1000, 10]}})
    await board.write(HITS, "mx0.example.net", tally.as_text(60.0), 3600)
    await board.close()


def test_a_list_that_suddenly_holds_most_clients_is_out(tmp_path: Path) -> None:
    text = policy(["l.test*5"], hit_least=10, back_after=1000)
    # its test points are as they should be, and it holds all of a network
    with NsdServer({"l.test": SOUND + "*.2.0.127 1 A 127.0.0.2\n"}) as server:
        one = node(tmp_path / "n", server, text, store=f"sqlite:///{tmp_path}/store.db")
        try:
            one.wait_ready()
            asyncio.run(put_yesterday(one.config))
            number = itertools.cycle(range(1, 255))
            until(lambda: try_to_send(one, f"127.0.2.{next(number)}")[0] == 554, "its word counts")
            until(
                lambda: try_to_send(one, f"127.0.2.{next(number)}") and state_is(one, "l.test", "disabled"), "it is out", 60
            )
            alarm = next(line for line in one.events("rbl") if line.get("state") == "disabled")
            assert (alarm["level"], alarm["reason"]) == ("error", "hit-ratio")
            until(lambda: try_to_send(one, f"127.0.2.{next(number)}")[0] == 250, "its word counts no more")
        finally:
            one.end()


def test_our_own_addresses_come_from_mx_and_policy_and_are_told(tmp_path: Path) -> None:
    zones = {
        "l.test": SOUND + "9.2.0.192 1 A 127.0.0.4\n",
        "allow.test": SOUND + "8.2.0.192 1 A 127.0.10.2\n",
        "example.com": "@ MX 10 mx1\n@ MX 20 mx2\nmx1 A 192.0.2.8\nmx1 AAAA 2001:db8::8\nmx2 A 192.0.2.9\n@ A 192.0.2.77\n",
        "example.org": "@ A 192.0.2.10\n@ A 10.0.0.1\n",
    }
    text = policy(["l.test*5", "allow.test*-3"], own_addresses=["198.51.100.1", "2001:db8::1"])
    routes = [{"domains": ["example.com", "*.example.org"], "mailstore": f"maildir:{tmp_path}/mail"}]
    with NsdServer(zones) as server:
        one = node(tmp_path / "n", server, text, routes=routes)
        try:
            one.wait_ready()
            until(lambda: one.events("own_address"), "it is told")
            told = [(line["address"], line["list"]) for line in one.events("own_address")]
            assert told == [("192.0.2.9", "l.test")]
            assert one.metric("mxgw_own_address_listed", address="192.0.2.9", list="l.test") == 1
            assert one.metric("mxgw_own_address_listed", address="192.0.2.8") == 0
            code, found, _ = command(one.config, "rbl", "own")
            assert code == 1
            assert {row["address"]: row["source"] for row in found["addresses"]} == {
                "192.0.2.8": "mx1.example.com",
                "2001:db8::8": "mx1.example.com",
                "192.0.2.9": "mx2.example.com",
                "192.0.2.10": "example.org",
                "198.51.100.1": "policy",
                "2001:db8::1": "policy",
            }
            assert [row["listed"] for row in found["addresses"] if row["listed"]] == [{"l.test": "127.0.0.4"}]
            server.change("l.test", SOUND)
            until(lambda: one.metric("mxgw_own_address_listed", address="192.0.2.9") == 0, "it is off the list")
            assert command(one.config, "rbl", "own")[0] == 0
        finally:
            one.end()
