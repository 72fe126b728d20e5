"""One policy on three real nodes with one real Redis: rolled out at one time, stopped by a fault, kept without Redis."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

from session_policies import Traffic, digest
from three_nodes import Client, Cluster, policy

from gateway.adapters.board_redis import RedisBoard
from gateway.cluster.rollout import Phase
from gateway.cluster.rollout_board import look, state_of


def test_no_two_sessions_after_the_switch_have_different_policies(nodes: Cluster) -> None:
    (old,), new = set(nodes.digests().values()), digest("first")
    number = nodes.on_board(state_of).next_number
    held = Client(nodes.nodes["mx2"].smtp_port)
    held.say("EHLO client.example")
    held.say("MAIL FROM:<held@first.example>")
    assert held.say("RCPT TO:<user@example.com>").startswith("250")
    with Traffic(nodes) as traffic:
        code, text = nodes.mxgw("policy", "push", nodes.file("first", policy("first")), "--reason", "OPS-1", "--wait")
        assert code == 0, text
        assert f"generation {number} ({new[:8]}): in force on all nodes since" in text
        time.sleep(0.5)
    at = nodes.on_board(state_of).current.at
    time.sleep(0.5)
    judged = traffic.judged()
    after = [seen for seen in judged if seen[0] >= at]
    assert {name for _, name, _ in after} == {"mx1", "mx2", "mx3"}
    assert {policy for _, _, policy in after} == {new[:8]}
    assert {policy for begun, _, policy in judged if begun < at - 2.0} == {old[:8]}
    assert all(begun < at + 1.0 for _, begun in traffic.refused)
    # a transaction ends with the policy that it began with; the next one has the new one
    assert held.say("RCPT TO:<other@example.com>").startswith("250")
    assert held.say("DATA").startswith("354")
    assert held.say("Subject: held\r\n\r\nover the switch\r\n.").startswith("250")
    assert held.say("MAIL FROM:<again@first.example>").startswith("250")
    assert held.say("RCPT TO:<user@example.com>").startswith("554")
    held.close()
    records = {record["from"]: record["policy"] for record in nodes.nodes["mx2"].events("transaction")}
    assert records["held@first.example"] == old[:8]
    assert nodes.generations() == {number}
    status = nodes.json("cluster", "status")
    assert status["drift"] == []
    assert {said["policy"] for said in status["nodes"].values()} == {new}


def test_a_node_that_cannot_keep_it_stops_the_rollout(nodes: Cluster) -> None:
    before = nodes.digests()
    stone = Path(nodes.folder / "state-mx3" / "policy-in-force.next")
    stone.mkdir()  # where the node would try its disk
    try:
        code, text = nodes.mxgw("policy", "push", nodes.file("two", policy("two")), "--reason", "OPS-2", "--wait")
    finally:
        stone.rmdir()
    assert code == 1
    assert "stopped: mx3.example.net cannot load it" in text
    assert "is in force" in text
    assert nodes.digests() == before
    assert nodes.json("policy", "history", "--limit", "1")["events"][0]["event"] == "stopped"


def test_a_faulty_file_or_a_failing_case_is_not_pushed(nodes: Cluster) -> None:
    code, text = nodes.mxgw("policy", "push", nodes.file("bad", "version: 1\ncolour: red\n"), "--reason", "x")
    assert code == 78
    assert "colour" in text
    cases = nodes.folder / "some-cases"
    cases.mkdir()
    (cases / "c.yaml").write_text(
        "cases:\n- {name: a stranger is refused, policy: three, at: rcpt, expect: {verdict: reject}}\n"
    )
    code, text = nodes.mxgw(
        "policy", "push", nodes.file("three", policy("three")), "--reason", "x", "--cases", cases
    )
    assert code == 1
    assert "a stranger is refused" in text
    assert nodes.on_board(state_of).rollout is None


def test_a_node_that_is_stopped_between_promise_and_switch_never_serves_the_old_policy(nodes: Cluster) -> None:
    """Its supervisor stands still, so its worker may not hear of the switch: it must turn clients away or switch."""
    new = digest("four")
    frozen = nodes.nodes["mx3"]
    code, text = nodes.mxgw("policy", "push", nodes.file("four", policy("four")), "--reason", "OPS-4")
    assert code == 0, text

    async def promised(board: RedisBoard) -> bool:
        for _ in range(2000):
            view = await look(board)
            rollout = view.state.rollout
            if rollout is None:
                return False
            said = view.said.get("mx3.example.net")
            if rollout.phase is Phase.PREPARE and said and said.id == rollout.id and said.stage == "prepared":
                return True
            await asyncio.sleep(0.002)
        return False

    nodes.on_board(promised)
    os.kill(frozen.process.pid, signal.SIGSTOP)
    try:
        with Traffic(nodes) as traffic:
            time.sleep(5.0)
    finally:
        os.kill(frozen.process.pid, signal.SIGCONT)
    nodes.wait(lambda: nodes.on_board(state_of).rollout is None, "the roll-out has ended")
    current = nodes.on_board(state_of).current
    assert current.digest == new
    nodes.wait(lambda: set(nodes.digests().values()) == {new}, "all have it")
    time.sleep(0.5)
    after = [seen for seen in traffic.judged() if seen[0] >= current.at]
    assert {policy for _, _, policy in after} == {new[:8]}
    seen = {name for begun, name, _ in after} | {name for name, begun in traffic.refused if begun >= current.at}
    assert seen == {"mx1", "mx2", "mx3"}
    nodes.wait(lambda: Client(frozen.smtp_port).greeting.startswith("220"), "it serves again")


def test_redis_that_stands_still_in_a_rollout_never_leaves_two_policies(nodes: Cluster) -> None:
    old, new = digest("four"), digest("still")
    assert nodes.mxgw("policy", "push", nodes.file("still", policy("still")), "--reason", "OPS-R")[0] == 0

    async def promised(board: RedisBoard) -> set[str]:
        while (rollout := (view := await look(board)).state.rollout) is not None:
            if found := {name for name, said in view.said.items() if said.id == rollout.id and said.stage == "prepared"}:
                nodes.redis.pause()
                return {name.partition(".")[0] for name in found}
            await asyncio.sleep(0.002)
        return set()

    bound = nodes.on_board(promised)
    try:
        with Traffic(nodes) as traffic:
            time.sleep(4.0)
    finally:
        nodes.redis.resume()
    nodes.wait(lambda: nodes.on_board(state_of).rollout is None, "the roll-out has ended", 60)
    state = nodes.on_board(state_of)
    expected = new if state.ended.outcome == "done" else old
    if expected == old:
        # who had promised could not know that nothing was decided: 421, and no 5yz
        assert bound <= {name for name, _ in traffic.refused}
    nodes.wait(lambda: set(nodes.digests().values()) == {expected}, "all are alike")
    for node in nodes.nodes.values():
        nodes.wait(lambda node=node: Client(node.smtp_port).greeting.startswith("220"), "mail flows again")
    time.sleep(0.5)
    before = {policy for begun, _, policy in traffic.judged() if begun < state.current.at or expected == old}
    assert before <= {old[:8]}
    if expected == old:
        assert nodes.mxgw("policy", "push", nodes.file("still", policy("still")), "--reason", "again", "--wait")[0] == 0


def test_a_canary_whose_rates_leave_their_band_goes_back(nodes: Cluster) -> None:
    before = set(nodes.digests().values())
    bad = nodes.file("five", policy("five").replace('"five.example"', '"*.example"'))
    words = ("policy", "push", bad, "--reason", "OPS-5", "--canary", "mx3", "--watch", "60")
    code, text = nodes.mxgw(*words)
    assert code == 0, text
    canary = nodes.nodes["mx3"]
    nodes.wait(lambda: {canary.status()["policy"]["digest"]} != before, "the canary serves it")
    assert {nodes.nodes[name].status()["policy"]["digest"] for name in ("mx1", "mx2")} == before
    for name in ("mx1", "mx2", "mx3"):
        for number in range(12):
            client = Client(nodes.nodes[name].smtp_port)
            client.say("EHLO client.example")
            client.say(f"MAIL FROM:<c{number}@author.example>")
            client.say("RCPT TO:<user@example.com>")
            client.say("QUIT")
            client.close()
    nodes.wait(lambda: nodes.on_board(state_of).rollout is None, "the canary is judged")
    nodes.wait(lambda: set(nodes.digests().values()) == before, "the canary is back")
    ended = nodes.on_board(state_of).ended
    assert ended.outcome == "returned"
    assert "canary mx3.example.net: rejected 100%" in ended.why


def test_a_sound_canary_is_followed_by_all_and_rollback_goes_back(nodes: Cluster) -> None:
    before = nodes.on_board(state_of).current
    good = nodes.file("six", policy("six"))
    code, text = nodes.mxgw(
        "policy", "push", good, "--reason", "OPS-6", "--canary", "mx1", "--watch", "1", "--wait"
    )
    assert code == 0, text
    nodes.wait(lambda: set(nodes.digests().values()) == {digest("six")}, "all have it")
    code, text = nodes.mxgw("policy", "diff", str(before.number), good)
    assert code == 1
    assert "- rule six: reject" in text
    assert "+ rule still: reject" in text
    code, text = nodes.mxgw("policy", "rollback", "--wait")
    assert code == 0, text
    nodes.wait(lambda: set(nodes.digests().values()) == {before.digest}, "all are back")
    history = nodes.json("policy", "history")["events"]
    assert [line["event"] for line in history[:2]] == ["done", "prepare"]
    assert {line["event"] for line in history} == {"begun", "prepare", "canary", "done", "stopped", "returned"}


def test_a_reload_of_the_own_file_does_not_undo_what_was_pushed(nodes: Cluster) -> None:
    node = nodes.nodes["mx1"]
    before = node.status()["policy"]["digest"]
    node.policy.write_text(policy("own"))
    node.kill(signal.SIGHUP)
    nodes.wait(lambda: any("mxgw policy unpush" in line for line in node.log), "it is told")
    assert node.status()["policy"]["digest"] == before
    assert before[:8] in nodes.mxgw("policy", "show")[1]
    node.policy.write_text(policy("base"))


def test_a_node_starts_without_redis_with_the_policy_it_had_and_tells_an_empty_redis(nodes: Cluster) -> None:
    kept = nodes.on_board(state_of).current
    assert nodes.nodes["mx3"].stop() == 0
    nodes.redis.stop()
    nodes.start("mx3")
    status = nodes.nodes["mx3"].status()
    assert (status["policy"]["digest"], status["policy"]["generation"]) == (kept.digest, kept.number)
    assert any("starts without the board" in line for line in nodes.nodes["mx3"].log)
    client = Client(nodes.nodes["mx3"].smtp_port)
    client.say("EHLO client.example")
    assert client.say("MAIL FROM:<x@still.example>").startswith("250")
    assert client.say("RCPT TO:<user@example.com>").startswith("554")
    client.close()
    nodes.redis.start()

    def known() -> bool:
        return bool(nodes.on_board(state_of).current.digest == kept.digest)

    nodes.wait(known, "the nodes have told the empty board", 60)
    assert nodes.on_board(state_of).current.number == kept.number
    assert set(nodes.digests().values()) == {kept.digest}
    assert json.loads((nodes.folder / "state-mx1" / "policy-in-force.json").read_text())["text"] == policy("still")
    nodes.wait(lambda: len(nodes.json("cluster", "status")["nodes"]) == 3, "all are on the new board", 60)
    code, text = nodes.mxgw("policy", "unpush", "--wait")
    assert code == 0, text
    assert set(nodes.digests().values()) == {digest("base")}
