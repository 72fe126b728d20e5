"""Redis goes away under a running node: mail goes on without greylisting, and greylisting comes back with Redis."""

from __future__ import annotations

import socket
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
        names = (f"before{number}" for number in range(100))
        poll(lambda: send(node, next(names))[0] == 451, "greylisting works")
        if outage == "killed":
            redis.stop()
        else:
            redis.pause()
        begun = time.monotonic()
        for number in range(3):
            assert send(node, f"during{number}")[0] == 250
        assert time.monotonic() - begun < 30

        def of_the_outage():
            found = [record for record in node.events("transaction") if record["from"].startswith("during")]
            return found if len(found) == 3 else None

        records = poll(of_the_outage, "three records")
        assert {record["ledger"] for record in records} == {"unavailable"}
        assert node.metric("mxgw_ledger_total", result="unavailable") == 3
        findings = [record["findings"]["greylist"] for record in records]
        assert [finding["outcome"] for finding in findings] == ["temperror"] * 3
        assert {finding["cause"]["port"] for finding in findings} == {"store"}
        assert b"X-Gateway-Unknown: greylist" in mailstore.contents[-1]
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


@pytest.mark.parametrize(
    ("checks", "code"),
    [
        ({"greylist": {**GREYLIST["greylist"], "on_store_error": "closed"}}, 451),
        ({"greylist": {**GREYLIST["greylist"], "on_store_error": "open"}}, 250),
        ({"rate": {"client": {"messages": 5}, "on_store_error": "closed"}}, 421),
        ({"rate": {"client": {"messages": 5}, "on_store_error": "local"}}, 250),
    ],
    ids=["greylist closed", "greylist open", "rate closed", "rate local"],
)
def test_open_lets_in_closed_defers_and_neither_refuses_for_good(node_before, redis, checks, code):
    redis.stop()
    with scripted_mailstore() as mailstore:
        node = node_before(mailstore.port, checks={"dnsbl": {"sites": []}, **checks}, store=redis.url)
        if code == 421:
            with socket.create_connection(("127.0.0.1", node.smtp_port), 20) as client:
                assert client.recv(200).startswith(b"421 4.7.0 ")
        else:
            assert send(node, "anybody")[0] == code
        (name,) = checks
        counted = node.metric("mxgw_failopen_total", check=name)
        assert counted == (1 if checks[name]["on_store_error"] == "open" else 0)
