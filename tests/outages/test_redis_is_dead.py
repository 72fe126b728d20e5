"""Redis goes away under a running node: mail goes on without greylisting, and greylisting comes back with Redis."""

from __future__ import annotations

import time

import pytest
from mail_world import attempt, message, poll, scripted_mailstore

GREYLIST = {"greylist": {"mode": "all", "delay_all": 3600.0, "exempt_clients": []}}


def send(node, who):
    return attempt(node.smtp_port, message(), reverse_path=f"{who}@sender.example").last


@pytest.mark.parametrize("outage", ["killed", "hangs"])
def test_it_is_gone_while_the_node_runs(node_before, redis, name_server, outage):
    with scripted_mailstore() as mailstore:
        node = node_before(
            mailstore.port, checks=GREYLIST, store=redis.url,
            dns={"servers": [f"127.0.0.1:{name_server.port}"], "timeout": 3.0},
        )  # fmt: skip
        assert send(node, "first")[0] == 451
        if outage == "killed":
            redis.stop()
        else:
            redis.pause()
        begun = time.monotonic()
        for number in range(3):
            assert send(node, f"during{number}")[0] == 250
        assert time.monotonic() - begun < 30
        records = poll(lambda: node.events("transaction")[3:], "four records") and node.events("transaction")
        assert [record["findings"]["greylist"]["outcome"] for record in records[1:4]] == ["temperror"] * 3
        assert {record["findings"]["greylist"]["cause"]["port"] for record in records[1:4]} == {"store"}
        assert b"X-Gateway-Unknown: greylist" in mailstore.contents[0]
        assert node.get("/readyz")[0] == 200
        if outage == "killed":
            redis.start()
        else:
            redis.resume()
        numbers = iter(range(1000))
        poll(lambda: send(node, f"after{next(numbers)}")[0] == 451, "greylisting works again", seconds=60, pause=0.5)


def test_it_was_never_there(node_before, redis):
    redis.stop()
    with scripted_mailstore() as mailstore:
        node = node_before(mailstore.port, checks=GREYLIST, store=redis.url)
        assert send(node, "anybody")[0] == 250
        assert b"X-Gateway-Unknown:" in mailstore.contents[0]
