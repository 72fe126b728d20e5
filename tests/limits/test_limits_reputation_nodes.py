"""What one node's verdicts have taught, the other nodes know."""

from __future__ import annotations

import smtplib
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from limits_world import NodeProcess, TwoNodes, try_to_send, until


def test_a_network_that_one_node_refused_has_a_bad_name_on_the_other(world: TwoNodes) -> None:
    mx1, mx2 = world.nodes
    until(lambda: seen(mx2, "127.5.200.1") == ("none", "unknown"), "the store answers")
    for n in range(5):
        assert try_to_send(mx1, f"127.5.{n}.1", recipient="trap@example.com")[0] == 554
    # the learning leaves a moment after the reply
    until(lambda: seen(mx2, "127.5.201.1") == ("fail", "bad"), "known on the other node")
    record = next(one for one in reversed(mx2.events("transaction")) if one["client_ip"] == "127.5.201.1")
    evidence = record["findings"]["reputation"]["evidence"]
    assert (evidence["by"], evidence["of"]) == ("network", "127.5.0.0/16")
    assert evidence["score"] >= 5
    # a finding, no refusal
    assert try_to_send(mx2, "127.5.202.1")[0] == 250
    assert seen(mx2, "127.6.1.1") == ("none", "unknown")


def seen(node: NodeProcess, client: str) -> tuple[str, str]:
    """What the node says of a client that leaves before it sends anything, so that nothing is learnt."""

    def records() -> list[dict[str, Any]]:
        return [record for record in node.events("transaction") if record["client_ip"] == client]

    before = len(records())
    with smtplib.SMTP("127.0.0.1", node.smtp_port, timeout=20, source_address=(client, 0)) as session:
        session.ehlo("client.example")
        assert session.mail("ann@sender.example")[0] == 250
        assert session.rcpt(f"u-{client}@example.com")[0] == 250
    node.wait(lambda: len(records()) > before, "a record")
    found = records()[-1]["findings"]["reputation"]
    return found["outcome"], found["reason"]
