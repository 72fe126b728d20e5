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
    paths = (f"ann{number}@sender.example" for number in range(100))

    def told_to_wait():
        # on a busy machine Redis may be too slow for the node, which then lets a message pass: take the next one
        path = next(paths)
        begun = time.monotonic()
        code, text = attempt(first.smtp_port, message(), reverse_path=path).last
        return (path, begun) if (code, text[:5]) == (451, "4.7.1") else None

    path, begun = poll(told_to_wait, "the first node greylists")
    record = poll(lambda: [r for r in first.events("transaction") if r["from"] == path], "the first node's record")[0]
    assert (record["greylist"], record["reason"]) == ("first", "greylisted")

    def let_in():
        return attempt(second.smtp_port, message(), reverse_path=path).last[0] == 250 and [
            record
            for record in second.events("transaction")
            if record["result"] == "accepted" and record["greylist"] == "passed"
        ]

    accepted = poll(let_in, "the second node lets it in because it has waited", pause=0.3)[0]
    assert time.monotonic() - begun >= 1.0
    assert accepted["findings"]["greylist"]["evidence"]["waited"] >= 1.0
    # the second node never saw it as new
    assert "first" not in [record["greylist"] for record in second.events("transaction")]
    # and back on the first one it is known
    assert attempt(first.smtp_port, message(), reverse_path=path).last[0] == 250


def test_recipients_that_one_node_asked_for_are_known_to_the_other(start_node, redis, name_server):
    with scripted_mailstore() as store:
        settings = {
            "store": redis.url, "workers": 1, "routes": [{"domains": ["example.com"], "mailstore": f"smtp://127.0.0.1:{store.port}"}],
            "dns": {"servers": [f"127.0.0.1:{name_server.port}"], "timeout": 3.0},
        }  # fmt: skip
        nodes = [start_node(settings=settings, policy=policy()) for _ in range(2)]
        numbers = iter(range(100))

        def known_to_the_other():
            to = f"user{next(numbers)}@example.com"
            for node in nodes:
                assert attempt(node.smtp_port, message(), to=(to,)).last[0] == 250
            first, second = (
                poll(lambda node=node: [r for r in node.events("transaction") if to in r["rcpt"]], "a record")[0]
                for node in nodes
            )
            assert first["findings"]["recipient"]["evidence"]["cached"] is False
            return second["findings"]["recipient"]["evidence"]["cached"]

        poll(known_to_the_other, "the second node need not ask")
