"""Limits are those of the cluster: two real nodes (three workers) and one real Redis."""

from __future__ import annotations

import contextlib
import os
import signal
import smtplib
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from limits_world import QUICK, NodeProcess, TwoNodes, try_to_send, until


def send(world: TwoNodes, number: int, client: str, domain: str = "", recipient: str = "") -> list[tuple[int, str]]:
    """So many messages, by turns to both nodes; each with a domain and a recipient of its own if none is named."""
    return [
        try_to_send(
            world.nodes[n % 2],
            client,
            f"ann@{domain or f'd{n}.{client}.example'}",
            recipient or f"u{n}-{client}@example.com",
        )
        for n in range(number)
    ]


def test_messages_of_a_network_count_on_all_nodes_and_can_be_shown_and_reset(world: TwoNodes) -> None:
    answers = [*send(world, 3, "127.1.1.1"), *send(world, 2, "127.1.1.2")]
    assert [code for code, _ in answers] == [250, 250, 250, 451, 451]
    assert answers[3][1].startswith("4.7.1 Too many requests")
    assert send(world, 1, "127.1.2.1")[0][0] == 250
    code, told, _ = world.command("limits", "show", "127.1.1.77", node=1)
    assert code == 1
    used = {(one["what"], one["by"]): (one["used"], one["limit"]) for one in told["limits"]}
    assert used["messages", "network"] == (3, 3)
    assert world.command("limits", "reset", "127.1.1.77")[0] == 0
    assert world.command("limits", "show", "127.1.1.77")[0] == 0
    assert send(world, 1, "127.1.1.1")[0][0] == 250


def test_a_reverse_path_domain_and_a_recipient_have_limits_over_all_clients(world: TwoNodes) -> None:
    codes = [send(world, 2, f"127.1.{10 + n}.1", domain="busy.example")[0][0] for n in range(3)]
    codes += [try_to_send(world.nodes[n % 2], f"127.1.{20 + n}.1", "bob@busy.example")[0] for n in range(2)]
    assert codes == [250, 250, 250, 451, 451]
    assert world.command("limits", "show", "busy.example")[0] == 1
    codes = [
        try_to_send(world.nodes[n % 2], f"127.1.{30 + n}.1", f"a@r{n}.example", "bombed@example.com")[0]
        for n in range(8)
    ]
    assert codes == [250] * 6 + [451] * 2
    code, told, _ = world.command("limits", "show", "Bombed@example.com")
    assert (code, told["limits"][0]["used"]) == (1, 6)


def test_greylisting_and_limits_together_lock_nobody_out(world: TwoNodes) -> None:
    client = "127.2.1.1"  # three messages a day, and each must wait for two seconds
    started = time.monotonic()
    early = []
    while time.monotonic() - started < 1.2:
        early.append(try_to_send(world.nodes[len(early) % 2], client))
    assert len(early) > 3  # more attempts than messages that it may send
    assert {text.split(" ")[1].strip(",") for _, text in early} == {"Greylisted"}
    until(lambda: try_to_send(world.nodes[0], client)[0] == 250, "accepted after its delay")
    until(lambda: world.command("limits", "show", client)[1]["limits"][0]["used"] == 1, "one message is on account")


def test_sessions_of_a_client_count_on_all_nodes_and_a_dead_node_gives_them_back(
    world: TwoNodes, tmp_path: Path
) -> None:
    client, settings = "127.1.40.1", {"store": world.server.url, "hostname": "mx3.example.net", "workers": 1, **QUICK}
    doomed = NodeProcess(tmp_path / "mx3", settings, world.nodes[0].policy.read_text())

    def session(node: NodeProcess) -> smtplib.SMTP:
        return stack.enter_context(
            contextlib.closing(smtplib.SMTP("127.0.0.1", node.smtp_port, timeout=20, source_address=(client, 0)))
        )

    def opened(node: NodeProcess) -> bool:
        with contextlib.suppress(smtplib.SMTPConnectError):  # that of the message before may count for a moment
            return bool(session(node))
        return False

    try:
        doomed.wait_ready()
        with contextlib.ExitStack() as stack:
            session(world.nodes[0])
            session(doomed)
            third = session(doomed)
            code, text = try_to_send(world.nodes[1], client)
            assert (code, text[:5]) == (421, "4.7.0")
            third.close()  # without QUIT
            until(lambda: try_to_send(world.nodes[1], client)[0] == 250, "one is given back")
            until(lambda: opened(world.nodes[1]), "the third again")
            assert try_to_send(world.nodes[0], client)[0] == 421
            pids = [worker["pid"] for worker in doomed.status()["workers"]]
            doomed.kill(signal.SIGKILL)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            took = until(lambda: try_to_send(world.nodes[0], client)[0] == 250, "the dead node's is given back")
            print(f"a dead node's session counted for {took:.1f} s (lease 4 s)")
            # those that live are renewed beyond their lease
            until(lambda: opened(world.nodes[1]), "the third again")
            time.sleep(1.5)
            assert try_to_send(world.nodes[0], client)[0] == 421
    finally:
        doomed.end()


def test_errors_count_on_all_nodes(world: TwoNodes) -> None:
    client = "127.1.50.1"
    for node in world.nodes:
        with smtplib.SMTP("127.0.0.1", node.smtp_port, timeout=20, source_address=(client, 0)) as session:
            for _ in range(7):
                assert session.docmd("MAIL")[0] >= 500
    until(lambda: try_to_send(world.nodes[0], "127.1.50.9")[0] == 421, "the network has made too many errors")
    assert try_to_send(world.nodes[1], "127.1.50.9")[0] == 421


def test_while_redis_is_away_each_worker_has_its_share(world: TwoNodes) -> None:
    time.sleep(2.5)  # each node counts the others once a second
    world.server.stop()
    try:
        answers = send(world, 12, "127.1.60.1")
        assert {code for code, _ in answers} == {250, 451}
        # three workers with 3 / (2 nodes x 2 or 1 workers) x 1.5, at least one
        assert 2 <= sum(code == 250 for code, _ in answers) <= 4
        # with DNS away too, as here, the reply may be that of a check that could not be completed
        assert all(text.startswith("4.7.1 ") for code, text in answers if code == 451)
        node = world.nodes[0]
        records = node.wait(
            lambda: [record for record in node.events("transaction") if record["client_ip"] == "127.1.60.1"], "a record"
        )
        assert records[-1]["findings"]["rate"]["evidence"]["local"] is True
        assert world.command("limits", "show", "127.1.60.1")[0] == 69
    finally:
        world.server.start()
