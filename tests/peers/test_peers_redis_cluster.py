"""Two nodes, one Redis: who was told to wait by one node is let in by the other."""

from __future__ import annotations

import time

import pytest
from debian import need
from mail_world import attempt, message, policy, poll, scripted_mailstore
from redis_server import RedisServer

GREYLIST = {"mode": "all", "delay_all": 1.0, "exempt_clients": []}


@pytest.fixture
def redis():
    need("redis-server")
    with RedisServer() as server:
        yield server


def test_first_seen_on_one_node_accepted_on_the_other(start_node, redis, name_server):
    settings = {"store": redis.url, "workers": 1, "dns": {"servers": [f"127.0.0.1:{name_server.port}"], "timeout": 3.0}}
    first = start_node(settings=settings, policy=policy(greylist=GREYLIST))
    second = start_node(settings=settings, policy=policy(greylist=GREYLIST))
    begun = time.monotonic()
    code, text = attempt(first.smtp_port, message()).last
    assert (code, text[:5]) == (451, "4.7.1")
    record = poll(lambda: first.events("transaction"), "the first node's record")[0]
    assert record["greylist"] == "first"
    assert record["reason"] == "greylisted"
    poll(lambda: attempt(second.smtp_port, message()).last[0] == 250, "the second node lets it in", pause=0.3)
    assert time.monotonic() - begun >= 1.0
    accepted = poll(lambda: [r for r in second.events("transaction") if r["result"] == "accepted"], "its record")[0]
    assert accepted["greylist"] == "passed"
    # the second node never saw it as new
    assert "first" not in [r["greylist"] for r in second.events("transaction")]
    assert len(second.messages()) == 1
    # and back on the first one it is known
    assert attempt(first.smtp_port, message()).last[0] == 250


def test_recipients_that_one_node_asked_for_are_known_to_the_other(start_node, redis, name_server):
    with scripted_mailstore() as store:
        settings = {
            "store": redis.url, "workers": 1, "routes": [{"domains": ["example.com"], "mailstore": f"smtp://127.0.0.1:{store.port}"}],
            "dns": {"servers": [f"127.0.0.1:{name_server.port}"], "timeout": 3.0},
        }  # fmt: skip
        nodes = [start_node(settings=settings, policy=policy()) for _ in range(2)]
        for node in nodes:
            assert attempt(node.smtp_port, message()).last[0] == 250
        records = [poll(lambda node=node: node.events("transaction"), "a record")[0] for node in nodes]
        assert [r["findings"]["recipient"]["evidence"]["cached"] for r in records] == [False, True]
