"""The state file of a lone node is no database: the node serves all the same and says what is wrong."""

from __future__ import annotations

from mail_world import attempt, message, policy, poll

GREYLIST = {"mode": "all", "delay_all": 3600.0, "exempt_clients": []}


def test_at_start(start_node, tmp_path):
    file = tmp_path / "state.db"
    garbage = b"this is not a database\n" * 500
    file.write_bytes(garbage)
    node = start_node(settings={"store": f"sqlite:///{file}", "workers": 1}, policy=policy(greylist=GREYLIST))
    assert attempt(node.smtp_port, message()).last[0] == 250
    assert b"X-Gateway-Unknown:" in node.messages()[0]
    record = poll(lambda: node.events("transaction"), "a record")[0]
    assert record["findings"]["greylist"]["cause"]["port"] == "store"
    assert record["findings"]["greylist"]["cause"]["why"] == "protocol"
    assert node.metric("mxgw_store_ops_total", result="protocol") > 0
    # it may be the operator's only copy of something
    assert file.read_bytes() == garbage


def test_mail_is_greylisted_as_soon_as_the_file_is_out_of_the_way(start_node, tmp_path):
    file = tmp_path / "state.db"
    file.write_bytes(b"x" * 5000)
    node = start_node(settings={"store": f"sqlite:///{file}", "workers": 1}, policy=policy(greylist=GREYLIST))
    assert attempt(node.smtp_port, message()).last[0] == 250
    file.unlink()
    poll(lambda: attempt(node.smtp_port, message()).last[0] == 451, "the store works again", pause=0.5)
