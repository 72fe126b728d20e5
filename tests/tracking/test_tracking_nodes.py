"""Any message is found on any node, its decision is recalled, and dialogs and verdicts can be watched live."""

from __future__ import annotations

import json
import os
import smtplib
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from tracking_world import SCRIPT, NodeProcess, World, id_in, send

from gateway.adapters.board_memory import MemoryBoard
from gateway.adapters.clock_system import SystemClock
from gateway.cluster.journal import DecisionDuty, Gatherer, decisions, seal_of
from gateway.mail.visible import visible


def test_a_message_is_found_by_all_that_people_know_of_it_on_either_node(world: World) -> None:
    first, second = world.nodes
    assert send(first, "one@example.com", reverse_path="bob@find.example", msgid="<find-1@find.example>")[0] == 250
    code, text = send(second, "trap@example.com", reverse_path="bob@find.example", client="127.0.0.3")
    assert code == 554
    ident = id_in(text)
    found = world.asked("track", "--fresh", "--from", "bob@find.example")["records"]
    assert [(one["node"], one["result"]) for one in found] == [
        ("mx2.example.net", "rejected"),
        ("mx1.example.net", "accepted"),
    ]
    for node in (0, 1):
        for words, results in (
            (("--from", "find.example"), {"accepted", "rejected"}),
            (("--from", "*@find.*", "--to", "one@example.com"), {"accepted"}),
            (("--msgid", "<find-1@find.example>"), {"accepted"}),
            (("--ip", "127.0.0.3/32", "--from", "@find.example"), {"rejected"}),
            (("--id", f"[{ident}]"), {"rejected"}),
            (("--id", ident.partition("-")[0], "--verdict", "reject"), {"rejected"}),
            (("--from", "find.example", "--since", "1h", "--verdict", "rejected"), {"rejected"}),
        ):
            records = world.asked("track", *words, node=node)["records"]
            assert {one["result"] for one in records} == results, words
    code, lines, _ = world.command("track", "--from", "find.example", "-o", "jsonl")
    assert [json.loads(line)["schema"] for line in lines.splitlines()] == ["mxgw/v1/track.records"] * 2 + ["mxgw/v1/track"]
    code, text, _ = world.command("track", "--from", "find.example")
    assert text.splitlines()[0].split() == ["TIME", "ID", "NODE", "CLIENT", "FROM", "TO", "RESULT", "REASON"]
    assert "trap@example.com" in text
    # each node's log is the truth
    log = first.folder / "log.jsonl"
    log.write_text("\n".join(first.log), encoding="utf-8")
    records = world.asked("track", "--log", str(log), "--msgid", "find-1@find.example")["records"]
    assert [one["mailstore"][:4] for one in records] == ["smtp"]


def test_nothing_found_and_nonsense_have_their_exit_codes(world: World) -> None:
    code, told = world.command("track", "--from", "nobody@nowhere.example")[:2]
    assert (code, told.partition("\n")[0]) == (1, "nothing found")
    assert "the board reaches back to " in told
    assert world.command("track", "--ip", "not an address")[0] == 64
    assert world.command("track", "--verdict", "perhaps")[0] == 64
    assert world.command("explain", "0000000000-1", "--log", os.devnull)[0] == 1
    assert world.command("explain")[0] == 64
    assert world.command("trace", "--ip", "nonsense")[0] == 64


def test_a_decision_is_recalled_by_the_id_in_the_bounce(world: World) -> None:
    code, text = send(world.nodes[1], "trap@example.com", reverse_path="eve@recall.example", client="127.0.0.9")
    assert code == 554
    ident = id_in(text)
    (told,) = world.asked("explain", f"[{ident}]", node=0)["decisions"]
    record = told["record"]
    assert (record["node"], record["qid"], record["verdict"]) == ("mx2.example.net", ident, "reject")
    assert record["t_checks"]["iprev"] >= 0
    assert told["again"] == "reject"
    assert told["same_policy"]
    assert {"without": "rule", "names": ["trap"], "verdict": "accept", "reason": "accepted"} in told["alternatives"]
    code, text, _ = world.command("explain", ident, node=0)
    assert code == 0
    for words in ("127.0.0.9", "client.example", "eve@recall.example", "trap@example.com", "trap: reject", " ms "):
        assert words in text
    assert "without rule trap: accept (accepted)" in text


def test_strangers_cannot_move_the_cursor(world: World) -> None:
    helo = "[127.0.0.9]"
    msgid = "<\x1b]0;owned\x07evil@x.example>"
    assert send(world.nodes[0], client="127.0.0.9", reverse_path="esc@esc.example", msgid=msgid, helo=helo)[0] == 250
    (found,) = world.asked("track", "--fresh", "--from", "esc.example")["records"]
    _, text, _ = world.command("explain", found["qid"])
    assert "\x1b" not in text
    assert "\\x1b]0;owned\\x07" in text
    assert SCRIPT in text  # of the mailstore's reply and the PTR: markup is no danger here
    _, lines, _ = world.command("track", "--from", "esc.example", "-o", "jsonl")
    assert "\x1b" not in lines


class Command(threading.Thread):
    """``mxgw WORDS`` as a process; lines as they come."""

    def __init__(self, node: NodeProcess, *words: str) -> None:
        super().__init__(daemon=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gateway", *words, "--config", str(node.config)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self.lines: list[str] = []
        self.start()

    def run(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def until(self, *words: str) -> None:
        end = time.monotonic() + 30
        while not all(any(word in line for line in self.lines) for word in words):
            assert time.monotonic() < end, (words, self.lines)
            time.sleep(0.05)


def watched(world: World) -> bool:
    return b"mxgw:place:watch" in subprocess.run(
        ["redis-cli", "-u", world.redis.url, "keys", "mxgw:place:watch"], capture_output=True, check=True
    ).stdout


def test_verdicts_are_followed_live_on_all_nodes(world: World) -> None:
    command = Command(world.nodes[0], "tail", "--verdict", "reject", "-o", "jsonl")
    until(lambda: watched(world))
    for node in world.nodes:
        assert send(node, "user@example.com", reverse_path="good@tail.example")[0] == 250
        assert send(node, "trap@example.com", reverse_path="bad@tail.example")[0] == 554
    command.until("mx1.example.net", "mx2.example.net")
    command.process.kill()  # the nodes stop by themselves: see the last test
    command.join(20)
    found = [json.loads(line) for line in command.lines]
    assert {one["verdict"] for one in found} == {"reject"}
    assert {one["node"] for one in found if one["from"] == "bad@tail.example"} == {"mx1.example.net", "mx2.example.net"}


def test_a_live_session_is_traced_until_it_ends(world: World) -> None:
    session = smtplib.SMTP("127.0.0.1", world.nodes[1].smtp_port, source_address=("127.0.0.44", 0))
    session.ehlo("before.example")
    command = Command(world.nodes[0], "trace", "--ip", "127.0.0.40/29", "--once")
    command.until("open for")
    session.docmd("MAIL", "FROM:<ann@trace.example>")
    session.docmd("AUTH", "PLAIN c2VjcmV0")
    session.docmd("RCPT", "TO:<user@example.com>")
    assert session.data(b"Subject: a private matter\r\n\r\nbody\r\n")[0] == 250
    assert send(world.nodes[0], client="127.0.0.2", reverse_path="other@elsewhere.example")[0] == 250
    session.quit()
    assert command.process.wait(30) == 0
    command.join(5)
    text = "\n".join(command.lines)
    for words in ("C: MAIL FROM:<ann@trace.example>", "S: 250", "C: (content)", "C: AUTH ...", "ended: quit", "mx2"):
        assert words in text
    for words in ("private", "c2VjcmV0", "elsewhere"):
        assert words not in text


def test_orders_of_commands_that_were_killed_end_by_themselves(world: World) -> None:
    until(lambda: not watched(world))


def test_what_strangers_write_is_shown_as_codes() -> None:
    assert visible("caf\u00e9 <b>") == "caf\u00e9 <b>"
    assert visible("a\x1b[2J\r\n\t\x9b\u202e\U000e0001\udcff") == "a\\x1b[2J\\r\\n\\t\\x9b\\u202e\\U000e0001\\udcff"


def until(what) -> None:
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


async def test_what_cannot_be_written_drops_the_oldest_and_counts_them() -> None:
    board, seal = MemoryBoard(SystemClock()), seal_of(b"a secret of the cluster")
    duty = DecisionDuty(board, seal, "mx1", lines=100, seconds=3600, flush=0)
    gatherer = Gatherer(most=100)
    for number in range(3000):
        # while the board is out nobody takes anything; what a worker holds is bounded too
        record = {"event": "transaction", "verdict": "accept", "qid": f"Q{number}", "time": "2026-11-02T10:00:00Z"}
        gatherer.note(record)
        if number % 150 == 149:
            duty.hear(gatherer.take() or {})
    await duty.turn()
    found = await decisions(board, seal)
    assert found.missed == 20 * 50
    assert found.records[0]["qid"] == "Q2999"
    assert found.records[-1]["qid"] == "Q50"
    for number in range(3000):
        duty.hear({"records": [json.dumps({**record, "qid": f"R{number}"})], "missed": 0})
    await duty.turn()
    found = await decisions(board, seal, wanted=lambda one: one["qid"].startswith("R"))
    assert [found.records[0]["qid"], found.records[-1]["qid"], found.missed] == ["R2999", "R1000", 2000]
