"""What nodes say of themselves is true, differences are told, and one node can be taken out and put back."""

from __future__ import annotations

import hashlib
import signal
import smtplib
import ssl

from three_nodes import Client, Cluster, policy

from gateway.cluster.membership import NODES
from gateway.cluster.rollout_board import state_of


def test_a_heartbeat_says_what_clients_see(nodes: Cluster) -> None:
    said = nodes.json("cluster", "status")["nodes"]["mx2.example.net"]
    client = Client(nodes.nodes["mx2"].smtp_port)
    assert client.greeting == f"220 {said['greeting']}"
    words = [line[4:] for line in client.say("EHLO client.example").split("\n")]
    assert words == ["mx2.example.net", *said["ehlo"]]
    client.close()
    with smtplib.SMTP("127.0.0.1", nodes.nodes["mx2"].smtp_port) as smtp:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        smtp.starttls(context=context)
        assert isinstance(smtp.sock, ssl.SSLSocket)
        shown = smtp.sock.getpeercert(binary_form=True)
        assert shown
    assert hashlib.sha256(shown).hexdigest() in [one["sha256"] for one in said["certificates"]]
    status = nodes.nodes["mx2"].status()
    assert said["policy"] == status["policy"]["digest"]
    assert said["version"] == status["version"]
    assert said["store"] == "ok"
    assert all(seen["up"] for seen in said["mailstores"].values())
    assert all(one["not_after"] > 0 for one in said["certificates"])


def test_rates_and_the_table(nodes: Cluster) -> None:
    for sender in ("a@base.example", "b@base.example"):
        client = Client(nodes.nodes["mx1"].smtp_port)
        client.say("EHLO client.example")
        client.say(f"MAIL FROM:<{sender}>")
        assert client.say("RCPT TO:<user@example.com>").startswith("554")
        client.say("QUIT")
        client.close()

    def counted() -> bool:
        said = nodes.json("cluster", "status")["nodes"]["mx1.example.net"]
        return bool(said["per_minute"] == {"acc": 0, "def": 0, "rej": 2})

    nodes.wait(counted, "two refusals a minute")
    code, text = nodes.mxgw("cluster", "nodes")
    assert code == 0, text
    lines = text.splitlines()
    assert lines[0].split() == ["NODE", "VERSION", "POLICY", "STATE", "SESS", "ACC/min", "DEF/min", "REJ/min", "REDIS", "UP"]
    row = lines[1].split()
    assert (row[0], row[3], row[4], row[8], row[9]) == ("mx1.example.net", "=", "serving", "2", "ok")
    assert lines[4].startswith("POLICY generation ")


def test_a_drained_node_turns_new_sessions_away_over_a_restart_until_undrain(nodes: Cluster) -> None:
    open_one = Client(nodes.nodes["mx2"].smtp_port)
    open_one.say("EHLO client.example")
    code, text = nodes.mxgw("cluster", "drain", "mx2", "--reason", "new disk")
    assert (code, text) == (0, "mx2.example.net: drains\n")
    node = nodes.nodes["mx2"]
    assert node.wait(lambda: node.get("/readyz")[0] == 503 and node.get("/readyz")[1], "it says so") == (
        "draining by order: new disk\n"
    )
    nodes.wait(lambda: Client(node.smtp_port).greeting.startswith("421 4.3.2"), "new sessions hear 421")
    assert nodes.mxgw("cluster", "drain", "mx2", "--wait", "1")[0] == 75
    assert open_one.say("MAIL FROM:<a@b.example>").startswith("250")
    assert open_one.say("RCPT TO:<user@example.com>").startswith("250")
    assert open_one.say("QUIT").startswith("221")
    open_one.close()
    assert nodes.mxgw("cluster", "drain", "mx2", "--wait", "20") == (0, "mx2.example.net: drained\n")
    code, text = nodes.mxgw("cluster", "status")
    assert code == 0, text
    assert "draining" in text.splitlines()[2]
    assert node.stop() == 0
    nodes.start("mx2")
    assert Client(nodes.nodes["mx2"].smtp_port).greeting.startswith("421 4.3.2")
    assert nodes.mxgw("cluster", "undrain", "mx2") == (0, "mx2.example.net: serves again\n")
    nodes.wait(lambda: nodes.nodes["mx2"].get("/readyz")[0] == 200, "it is ready")
    assert Client(nodes.nodes["mx2"].smtp_port).greeting.startswith("220")
    assert nodes.mxgw("cluster", "undrain", "mx2")[0] == 1
    assert nodes.mxgw("cluster", "drain", "mx9")[0] == 69


def test_the_odd_node_is_told_and_not_ready_where_the_settings_say_so(nodes: Cluster) -> None:
    odd = nodes.nodes["mx3"]
    odd.policy.write_text(policy("odd"))
    odd.kill(signal.SIGHUP)
    nodes.wait(lambda: odd.metric("mxgw_cluster_policy_mismatch") == 1, "the metric says so")
    nodes.wait(lambda: odd.get("/readyz")[0] == 503, "it is not ready")
    assert "2 of 3 nodes have policy" in odd.get("/readyz")[1]
    nodes.wait(lambda: Client(odd.smtp_port).greeting.startswith("421"), "it sends clients to the others")
    nodes.wait(lambda: nodes.mxgw("cluster", "status")[0] == 1, "drift")
    assert "DRIFT mx3.example.net runs another policy" in nodes.mxgw("cluster", "status")[1]
    assert nodes.nodes["mx1"].metric("mxgw_cluster_policy_mismatch") == 0
    assert nodes.nodes["mx1"].get("/readyz")[0] == 200
    odd.policy.write_text(policy("base"))
    odd.kill(signal.SIGHUP)
    nodes.wait(lambda: odd.get("/readyz")[0] == 200, "it is one of them again")
    nodes.wait(lambda: nodes.mxgw("cluster", "status")[0] == 0, "no drift")


def test_a_node_that_was_killed_is_lost_and_stops_a_push_until_it_is_left_out(nodes: Cluster) -> None:
    nodes.nodes["mx3"].process.send_signal(signal.SIGKILL)
    nodes.nodes["mx3"].process.wait(10)
    # fifteen seconds of silence do the same
    nodes.on_board(lambda board: board.erase(NODES, "mx3.example.net"))
    nodes.wait(lambda: "mx3.example.net" in nodes.json("cluster", "status")["lost"], "it is lost")
    file, number = nodes.file("one", policy("one")), nodes.on_board(state_of).next_number
    code, text = nodes.mxgw("policy", "push", file, "--reason", "x", "--wait")
    assert code == 75
    assert "mx3.example.net is silent" in text
    code, text = nodes.mxgw("policy", "push", file, "--reason", "x", "--wait", "--without", "mx3")
    assert code == 0, text
    # it comes back, and serves nobody before it has the policy of the others
    nodes.start("mx3")
    assert nodes.generations() == {number}
    assert len(set(nodes.digests().values())) == 1
