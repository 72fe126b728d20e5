"""A policy file breaks or vanishes and the node is told to read it: the old policy goes on judging mail."""

from __future__ import annotations

import signal
import smtplib

import pytest
from mail_world import GOOD, attempt, message, policy, poll

BLOCKED = """version: 1
mode: enforce
rules:
  - {id: nobody, at: connect, when: {client: [127.0.0.0/8]}, then: reject, reason: blocked, firm: true}
"""


def judged_by(node):
    return {worker["policy"] for worker in node.status()["workers"]}


@pytest.mark.parametrize("damage", ["half-written", "missing"])
def test_the_old_one_stays_and_the_mended_one_takes_hold(start_node, damage):
    node = start_node(policy=policy())
    before = judged_by(node)
    if damage == "missing":
        node.policy.unlink()
    else:
        node.policy.write_text(BLOCKED[:-30], encoding="utf-8")
    node.kill(signal.SIGHUP)
    fault = node.wait(lambda: [e for e in node.events("policy") if e["level"] == "error"], "the fault is logged")[0]
    assert str(node.policy) in fault["message"]
    assert node.metric("mxgw_reload_last_success", what="policy") == 0
    assert judged_by(node) == before
    assert attempt(node.smtp_port, message()).last[0] == 250
    record = poll(lambda: node.events("transaction"), "a record")[0]
    assert any(digest.startswith(record["policy"]) for digest in before)

    node.policy.write_text(BLOCKED, encoding="utf-8")
    node.kill(signal.SIGHUP)
    node.wait(lambda: not judged_by(node) & before, "all workers have the new policy")
    with smtplib.SMTP(timeout=60, source_address=(GOOD, 0)) as refused:
        assert refused.connect("127.0.0.1", node.smtp_port)[0] == 554
    assert node.metric("mxgw_reload_last_success", what="policy") == 1
