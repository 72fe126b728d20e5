"""An emergency block holds on all nodes within two seconds, in sessions that are open, and while Redis is away."""

from __future__ import annotations

import asyncio
import itertools
import smtplib
import sys
from pathlib import Path

from gateway.adapters.board_redis import RedisBoard
from gateway.cluster.blocks import put
from gateway.ports.blocks import Block

sys.path.insert(0, str(Path(__file__).parent))
from limits_world import QUICK, NodeProcess, TwoNodes, command, try_to_send, until


def test_in_force_on_both_nodes_and_lifted_again(world: TwoNodes) -> None:
    client = "127.0.0.10"
    assert [try_to_send(node, client)[0] for node in world.nodes] == [250, 250]
    code, found, _ = world.command("block", "127.0.0.8/29", "--for", "1h", "--reason", "drill")
    assert (code, found["what"], found["reason"]) == (0, "127.0.0.8/29", "drill")
    waited = [until(lambda n=node: try_to_send(n, client)[0] == 554, "blocked") for node in world.nodes]
    print("in force after", [round(seconds, 2) for seconds in waited])
    answer = try_to_send(world.nodes[1], client)
    assert answer[1].startswith("5.7.1 Refused by local policy")
    assert "drill" not in answer[1]
    assert try_to_send(world.nodes[1], "127.0.0.16")[0] == 250
    mx2 = world.nodes[1]
    record = mx2.wait(lambda: [r for r in mx2.events("reject") if r["client_ip"] == client], "a record")[-1]
    assert record["findings"]["block"]["evidence"]["what"] == "127.0.0.8/29"
    assert [rule["id"] for rule in record["rules"]] == ["emergency-block"]
    assert world.command("unblock", "127.0.0.8/29", node=1)[0] == 0
    for node in world.nodes:
        until(lambda n=node: try_to_send(n, client)[0] == 250, "lifted")
    assert world.command("unblock", "127.0.0.8/29")[0] == 1


def test_a_domain_stands_for_all_below_it_and_reaches_open_sessions(world: TwoNodes) -> None:
    with smtplib.SMTP("127.0.0.1", world.nodes[0].smtp_port, source_address=("127.0.0.20", 0)) as session:
        session.ehlo("client.example")
        assert session.mail("a@mail.bad.example")[0] == 250
        world.command("block", "bad.example")
        world.command("block", "bob@half.example")
        # the transaction that is open ends here too
        recipients = (f"user{n}@example.com" for n in itertools.count())
        until(lambda: session.rcpt(next(recipients))[0] == 554, "blocked in an open session")
    for node in world.nodes:
        until(lambda n=node: try_to_send(n, reverse_path="bob@half.example")[0] == 554, "the mailbox is blocked")
        assert try_to_send(node, reverse_path="x@bad.example")[0] == 554
        assert try_to_send(node, reverse_path="ann@half.example")[0] == 250
        assert try_to_send(node, reverse_path="x@notbad.example")[0] == 250
        forged = b"From: <boss@mail.bad.example>\r\nSubject: x\r\n\r\nhello\r\n"
        assert try_to_send(node, body=forged)[0] == 554


def test_the_list_and_the_question(world: TwoNodes) -> None:
    world.command("block", "192.0.2.7", "--for", "2h", "--reason", "floods us")
    code, found, _ = world.command("blocks", node=1)
    assert code == 0
    assert {"192.0.2.7/32", "bad.example", "bob@half.example"} <= {block["what"] for block in found["blocks"]}
    assert world.command("blocks", "192.0.2.7")[1]["blocks"][0]["reason"] == "floods us"
    assert world.command("blocks", "deep.bad.example")[0] == 0
    assert world.command("blocks", "192.0.2.8")[0] == 1
    assert world.command("block", "0.0.0.0/0")[0] == 64
    assert world.command("block", "192.0.2.0/33")[0] == 64
    assert world.command("block", "192.0.2.0/24", "--for", "soon")[0] == 64


def test_explain_shows_it(world: TwoNodes) -> None:
    world.command("block", "198.51.100.0/24", "--reason", "drill")
    code, told, errors = world.command(
        *("explain", "--ip", "198.51.100.9", "--from", "a@sender.example", "--rcpt", "user@example.com")
    )
    assert code == 0, errors
    assert told["reason"] == "blocked"
    step = next(step for step in told["steps"] if step["check"] == "block")
    assert step["finding"]["evidence"]["why"] == "drill"


def test_kept_while_redis_is_away_with_its_expiry_and_over_its_loss(world: TwoNodes) -> None:
    short, long = "127.0.0.31", "127.0.0.32"
    world.command("block", long, "--for", "1h")
    for node in world.nodes:
        until(lambda n=node: try_to_send(n, long)[0] == 554, "in force")
    asyncio.run(block_for_a_moment(world.server.url, f"{short}/32"))
    for node in world.nodes:
        until(lambda n=node: short in (n.folder / "state" / "blocks.json").read_text(), "known")
    world.server.stop()
    for node in world.nodes:
        assert try_to_send(node, long)[0] == 554
        until(lambda n=node: try_to_send(n, short)[0] == 250, "run out while Redis is away")
        assert try_to_send(node, long)[0] == 554
    assert command(world.nodes[0].config, "blocks")[0] == 69
    # Redis comes back and has forgotten everything: the nodes write back what they know
    world.server.start()
    until(lambda: any(b["what"] == f"{long}/32" for b in world.command("blocks")[1]["blocks"]), "written back")
    for node in world.nodes:
        assert try_to_send(node, long)[0] == 554


def test_a_node_that_starts_without_redis_knows_the_last_word(world: TwoNodes, tmp_path: Path) -> None:
    client = "127.0.0.40"
    world.command("block", client)
    file = world.nodes[1].folder / "state" / "blocks.json"
    until(lambda: client in file.read_text(), "kept on disk")
    assert file.stat().st_mode & 0o777 == 0o600
    state = tmp_path / "state"
    state.mkdir()
    (state / "blocks.json").write_bytes(file.read_bytes())
    node = NodeProcess(tmp_path / "mx3", {"store": "redis://127.0.0.1:9/0", "state_dir": str(state), "workers": 1, **QUICK})
    try:
        node.wait_ready()
        assert try_to_send(node, client)[0] == 554
        assert try_to_send(node, "127.0.0.41")[0] == 250
    finally:
        node.end()


async def block_for_a_moment(url: str, what: str) -> None:
    board = RedisBoard(url)
    await put(board, Block(what, 0.0), 4.0)
    await board.close()


def test_each_change_is_logged_once_on_each_node(world: TwoNodes) -> None:
    world.command("block", "192.0.2.99")
    for node in world.nodes:
        node.wait(lambda n=node: [e for e in n.events("block") if e.get("what") == "192.0.2.99/32"], "logged")
        assert not [event for event in node.events("block") if event.get("what") == "#"]
