"""SIGHUP: a sound policy takes hold without dropping a session, a broken one changes nothing."""

from __future__ import annotations

import signal
import smtplib

POLICY = "version: 1\nmode: enforce\n"


def test_a_new_policy_takes_hold_in_all_workers_and_sessions_stay(start_node):
    node = start_node(policy=POLICY)
    before = node.status()["policy"]["digest"]
    with smtplib.SMTP("127.0.0.1", node.smtp_port, timeout=60) as client:
        client.ehlo("client.example.net")
        node.policy.write_text("version: 1\nmode: observe\n", encoding="utf-8")
        node.kill(signal.SIGHUP)

        def taken():
            digests = {worker["policy"] for worker in node.status()["workers"]}
            return len(digests) == 1 and before not in digests

        node.wait(taken, "all workers have the new policy")
        assert client.noop()[0] == 250
    status = node.status()
    assert status["mode"] == "observe"
    assert node.metric("mxgw_reload_last_success", what="policy") == 1
    assert node.metric("mxgw_policy_info", digest=before[:8]) == 0


def test_a_broken_policy_leaves_the_old_one_in_force(start_node):
    node = start_node(policy=POLICY)
    before = node.status()["policy"]["digest"]
    node.policy.write_text("version: 1\nmode: enforce\nnonsense: 1\n", encoding="utf-8")
    node.kill(signal.SIGHUP)
    fault = node.wait(lambda: node.events("policy"), "the fault is logged")[0]
    assert fault["level"] == "error"
    assert f"{node.policy}:3" in fault["message"]
    assert node.metric("mxgw_reload_last_success", what="policy") == 0
    assert node.status()["policy"]["digest"] == before
    # a worker that starts now gets the policy in force, not the broken file
    import os

    victim = node.status()["workers"][0]["pid"]
    os.kill(victim, signal.SIGKILL)
    node.wait(
        lambda: [w["policy"] for w in node.status()["workers"] if w["ready"] and w["pid"] != victim] == [before] * 2,
        "the new worker has the old policy",
    )
